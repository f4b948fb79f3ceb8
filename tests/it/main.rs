//! The integration tests: one binary, so that there is one link step and one shared support.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the exemption for tests does not reach helpers outside #[test]"
)]
#![expect(clippy::too_many_lines, reason = "tables of cases are long and simple")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read the environment that CI gives them and measure real time"
)]

mod amended;
mod campaign;
mod cli;
#[cfg(target_os = "linux")]
mod clones;
mod contract;
mod crash;
mod damaged;
mod dashboard;
#[cfg(target_os = "linux")]
mod disk;
mod doctor;
mod elsewhere;
mod everything;
mod fetch;
mod fixing;
#[cfg(target_os = "linux")]
mod fixing_killed;
mod guide;
mod heal;
mod house;
mod import;
#[cfg(target_os = "linux")]
mod import_seam;
mod interop;
mod ledger;
mod live;
mod load;
mod local_dir;
mod many;
mod marker;
mod neighbours;
mod newcomer;
mod old_app;
#[cfg(target_os = "linux")]
mod power;
mod ranges;
mod ready;
mod script;
#[cfg(target_os = "linux")]
mod seam;
mod serve;
mod sharing_bytes;
mod stopped;
mod stubborn;
mod support;
mod survey;
mod terminal;
mod trash;
mod whole;
mod zoo;
mod zoo_beside;
mod zoo_healed;
mod zoo_healed_interop;
mod zoo_interop;
mod zoo_owners;
