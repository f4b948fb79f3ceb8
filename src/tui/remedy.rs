//! Owns how a failure is put right from the dashboard: the same remedies as the command line's, in
//! keys.
//!
//! **Law**: every remedy has its words; the match is exhaustive, and every key comes from the map.

#![deny(clippy::wildcard_enum_match_arm)]

use super::action::Action;
use super::keymap::Keymap;
use crate::domain::{Failure, FailureCode, Obstacle, Remedy, shell_word};
use crate::store::{duration, size};

/// Why, in one line: the causes, or what the code means.
pub(super) fn why(failure: &Failure) -> String {
    if !failure.causes.is_empty() {
        return failure.causes.join("; ");
    }
    failure
        .url
        .as_ref()
        .map_or_else(|| failure.code.to_string(), |url| format!("asked {url}"))
}

/// What to do next, for a model of that name: with its pull, or while its plan is asked for.
pub(super) fn next(failure: &Failure, repo: &str, keymap: &Keymap, is_plan: bool) -> String {
    let first = first_next(failure, repo, keymap, is_plan);
    if is_plan || !failure.code.leaves_the_hand() {
        return first;
    }
    format!("{first}; or by hand: `{}`", keymap.key_of(Action::Guide))
}

fn first_next(failure: &Failure, repo: &str, keymap: &Keymap, is_plan: bool) -> String {
    let key = |action| format!("`{}`", keymap.key_of(action));
    // Before there is a pull, the plan is what can be asked for again.
    let retry = if is_plan {
        "Backspace, then Enter".to_owned()
    } else {
        key(Action::Retry)
    };
    let hub = failure.hub(repo);
    match failure.help() {
        Remedy::FixCall => format!("{} shows the keys; correct what was asked", key(Action::Help)),
        Remedy::FetchAll => {
            format!("fetch it anyway with `:pull {repo} --all`, or choose another repo")
        }
        Remedy::PullAgain => {
            format!("{retry} puts it right, and fetches only what is missing or wrong")
        }
        Remedy::WaitForLock => format!(
            "let the other program finish (pane {} shows it), then press {retry}: nothing is lost",
            keymap.key_of(Action::Focus(super::pane::Pane::Locks))
        ),
        Remedy::CheckNetwork => {
            format!("check the network, then press {retry}: what is here is kept")
        }
        Remedy::GoOnline => {
            "go online and start larder without `--offline` and with HF_HUB_OFFLINE unset".to_owned()
        }
        Remedy::CheckTls => {
            "have the issuer above trusted by this system, or use a network without that proxy; the clock must be right, too"
                .to_owned()
        }
        Remedy::CheckProxy => {
            "check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, or the system's proxy settings"
                .to_owned()
        }
        Remedy::LogInToNetwork => format!(
            "open any page in a browser and log in to the network, then press {retry}"
        ),
        Remedy::WaitForRateLimit => {
            let when = failure.retry_after_ms.map_or_else(
                || "in some minutes".to_owned(),
                |ms| format!("in {}", duration(ms)),
            );
            format!("press {retry} {when}; a token raises the limit: set HF_TOKEN from {hub}/settings/tokens")
        }
        Remedy::LogIn => {
            format!("set HF_TOKEN to a token from {hub}/settings/tokens, or unset it: public repos need none")
        }
        Remedy::WidenToken => {
            format!("give the token read access to `{repo}` at {hub}/settings/tokens, or set another in HF_TOKEN")
        }
        Remedy::AcceptTerms => format!(
            "accept the terms at {hub}/{repo}, then start larder with HF_TOKEN set to a token from {hub}/settings/tokens"
        ),
        Remedy::CheckName if failure.code == FailureCode::RevisionNotFound => format!(
            "choose one of the branches and tags at {hub}/{repo}/tree/main"
        ),
        Remedy::CheckName if failure.code == FailureCode::FileNotFound => {
            format!("{hub}/{repo}/tree/main lists the files there are")
        }
        Remedy::CheckName => format!(
            "check the spelling at {hub}/{repo}; for a private repo set HF_TOKEN to a token from {hub}/settings/tokens"
        ),
        Remedy::ChooseAnother => {
            format!("choose another repo, e.g. from {hub}/mlx-community")
        }
        Remedy::FreeSpace => {
            let space = match (failure.needed_bytes, failure.free_bytes) {
                (Some(needed), Some(free)) => {
                    format!("{} are needed and {} are free: ", size(needed), size(free))
                }
                (Some(needed), None) => format!("{} are needed: ", size(needed)),
                (None, _) => String::new(),
            };
            format!("{space}free some (`larder trash empty` frees what purges moved away), then press {retry}")
        }
        Remedy::FixPermissions if failure.code == FailureCode::NotWritable => format!(
            "connect the volume, or correct owner and mode of the place named above; then press {retry}"
        ),
        Remedy::FixPermissions => {
            format!("correct owner and mode of the place named above, then press {retry}")
        }
        Remedy::ExcludeFile => format!("leave it out: `:pull {repo} --exclude GLOB`"),
        Remedy::ClearWay | Remedy::Replace => clear_way(failure, repo, &retry),
        Remedy::TryAgainLater => {
            format!("nothing wrong was kept; press {retry} later, or use another `--endpoint URL`")
        }
        Remedy::Resume => format!("{retry} goes on where it stopped"),
        Remedy::ReportBug => {
            "please report it with `larder report`; nothing unproven was kept".to_owned()
        }
    }
}

/// What to do with what stands in a file's place.
fn clear_way(failure: &Failure, repo: &str, retry: &str) -> String {
    match &failure.obstacle {
        Some(Obstacle::Thing { path }) => {
            format!("move `{path}` out of the way, then press {retry}")
        }
        Some(Obstacle::Files { folder, file }) => {
            let folder = shell_word(folder);
            let file = file
                .as_ref()
                .map_or_else(String::new, |file| format!(" {}", shell_word(file)));
            format!(
                "move it elsewhere, then press {retry}; or have it replaced: `larder pull \
                 {repo}{file} --force --local-dir {folder}`"
            )
        }
        None => format!("move what is there out of the way, then press {retry}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_next_step() {
        let keymap = Keymap::default();
        for code in FailureCode::ALL {
            let next = next(&Failure::new(code, "x"), "org/m", &keymap, false);
            assert!(next.len() > 10 && !next.contains("``"), "{code}: {next}");
        }
    }
}
