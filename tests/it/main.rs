//! The integration tests: one binary, so that there is one link step and one shared support.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the exemption for tests does not reach helpers outside #[test]"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read the environment that CI gives them and measure real time"
)]

mod fetch;
mod heal;
mod house;
mod stubborn;
mod support;
