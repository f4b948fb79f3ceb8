//! Owns the words about a failure: what failed, why, what to do next.
//!
//! **Law**: every command named here exists, every code has its words; the matches are exhaustive.

use super::args::{call_of, parse_repo};
use crate::domain::{Failure, FailureCode, Finding, Obstacle, PlanStep, Remedy, shell_word};
use crate::store::{duration, size};

/// What the command was about, so that the advice can name it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Subject<'a> {
    /// The repo as a user types it.
    pub(super) repo: Option<&'a str>,
    /// The command that failed.
    pub(super) command: &'a str,
    /// How to call it again; `None` where the repo says enough.
    pub(super) call: Option<&'a str>,
}

/// The three lines about a failure.
pub(super) struct Told {
    pub(super) what: String,
    pub(super) why: String,
    pub(super) next: String,
}

/// Tells a failure.
pub(super) fn tell(failure: &Failure, subject: Subject<'_>) -> Told {
    let mut what = format!("{}: {}", failure.code, failure.summary);
    let place: Vec<&str> = [&failure.path, &failure.url]
        .into_iter()
        .flatten()
        .map(String::as_str)
        // The summary may name the file already.
        .filter(|place| !failure.summary.contains(place))
        .collect();
    if !place.is_empty() {
        what = format!("{what} ({})", place.join(", "));
    }
    let why = if failure.causes.is_empty() {
        meaning(failure.code).to_owned()
    } else {
        failure.causes.join("; ")
    };
    Told {
        what,
        why,
        next: advice(failure, subject),
    }
}

/// What a code means where the failure itself names no cause.
const fn meaning(code: FailureCode) -> &'static str {
    match code {
        FailureCode::Usage => "it cannot be understood as it was typed",
        FailureCode::Refused => "it was refused as asked",
        FailureCode::ReadOnly => "this mode changes nothing",
        FailureCode::NoWeights => "the repo holds no weights that MLX reads",
        FailureCode::Incomplete => "files of the model are missing",
        FailureCode::Findings => "something in the cache is broken",
        FailureCode::LockBusy => "another program holds the lock and made no progress",
        FailureCode::Offline => "the network may not be asked, or there is none",
        FailureCode::Dns => "the host's name has no address here",
        FailureCode::Connect => "no connection could be made",
        FailureCode::Timeout => "the server did not answer in time",
        FailureCode::Stalled => "no bytes arrived for too long",
        FailureCode::Server => "the server has a problem of its own",
        FailureCode::Reset => "the connection was cut",
        FailureCode::Tls => "the server's certificate is not trusted",
        FailureCode::Proxy => "the proxy did not let it through",
        FailureCode::CaptivePortal => "something else answered in the Hub's place",
        FailureCode::RateLimited => "too many requests from this address or token",
        FailureCode::TokenInvalid => "the Hub does not know the token",
        FailureCode::TokenScope => "the token's rights do not cover this repo",
        FailureCode::Gated => "the owner wants the terms accepted first",
        FailureCode::RepoNotFound => "no such repo, or a private one: the Hub does not say which",
        FailureCode::RepoDisabled => "the Hub has taken it out of service",
        FailureCode::RevisionNotFound => "the repo has no such branch, tag or commit",
        FailureCode::FileNotFound => "the repo has no such file at this commit",
        FailureCode::DiskFull => "the disk has too little space",
        FailureCode::Permission => "the system denies access",
        FailureCode::NotWritable => "it cannot be written",
        FailureCode::NameCollision => "two files would have one name on this disk",
        FailureCode::UnsafePath => "its name could leave the cache",
        FailureCode::ChecksumMismatch => "the bytes do not hash to what the Hub promised",
        FailureCode::SizeMismatch => "it is not as long as the Hub promised",
        FailureCode::ChangedUpstream => "the source has other content than the Hub's listing",
        FailureCode::Cancelled => "it was stopped",
        FailureCode::Internal => "larder has a bug",
    }
}

/// How to make the same call again.
fn call_again(subject: Subject<'_>, repo: &str) -> String {
    match (subject.call, subject.command) {
        (Some(call), _) => call.to_owned(),
        (None, "purge") => "larder purge --incomplete".to_owned(),
        (None, "import") => "larder import PATH".to_owned(),
        (None, "guide") => format!("larder guide {repo}"),
        (
            None,
            command @ ("ls" | "demo" | "status" | "verify" | "doctor" | "locks" | "report"
            | "trash"),
        ) => {
            format!("larder {command}")
        }
        (None, _) => format!("larder pull {repo}"),
    }
}

/// What to do while another program is at it.
fn wait(subject: Subject<'_>, repo: &str, again: &str) -> String {
    if subject.command == "ready" {
        return format!("`larder wait {repo}` waits for it and then says whether it can be loaded");
    }
    format!("let the other program finish or end it, then run `{again}`: nothing is lost")
}

/// What to do next, in words of the command line.
fn advice(failure: &Failure, subject: Subject<'_>) -> String {
    let next = first_advice(failure, subject);
    match (subject.command, subject.repo) {
        // The demo is a pull as well, and nothing of it can be had elsewhere.
        ("pull", Some(repo))
            if failure.code.leaves_the_hand()
                && subject.call.is_none_or(|call| {
                    // The guide leads into the cache.
                    call.starts_with("larder pull") && !call.contains("--local-dir")
                }) =>
        {
            format!("{next}; or by hand: `{}`", guide_call(repo, subject.call))
        }
        _ => next,
    }
}

/// The guide for what a pull was for. The flags that say where are those of the pull.
fn guide_call(repo: &str, pull: Option<&str>) -> String {
    let pull = pull.unwrap_or_default();
    with_flags_of(pull, format!("larder guide {repo}"))
}

/// A call, with the flags of another that say which revision, where to and where from.
fn with_flags_of(other: &str, call: String) -> String {
    let flags = ["--revision", "--local-dir", "--cache-dir", "--endpoint"];
    let words = shell_words(other);
    let mut call = vec![call];
    // `ORG/NAME@REVISION`, or a link.
    let reference = words.get(2).and_then(|typed| {
        let typed = typed.trim_matches('\'');
        parse_repo(typed).ok()
    });
    if let Some(revision) = reference.and_then(|reference| reference.revision) {
        call.push(format!("--revision {}", shell_word(revision.as_str())));
    }
    for pair in words.windows(2).filter(|pair| flags.contains(&pair[0])) {
        call.push(pair.join(" "));
    }
    call.join(" ")
}

/// The words of a call as [`shell_word`] writes them, with their quotes.
fn shell_words(call: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let split = |c: char| {
        is_quoted ^= c == '\'' && !is_escaped;
        is_escaped = c == '\\' && !is_quoted;
        c == ' ' && !is_quoted
    };
    call.split(split).collect()
}

/// The pull of what a call was about. Only a pull can take what MLX does not read.
fn pull_call(call: &str, repo: &str) -> String {
    if call.starts_with("larder pull ") {
        return call.to_owned();
    }
    let guide = call.strip_prefix("larder guide ");
    guide.map_or_else(
        || format!("larder pull {repo}"),
        |rest| format!("larder pull {}", rest.replacen(" --script", "", 1)),
    )
}

#[expect(clippy::too_many_lines, reason = "one table of sentences")]
fn first_advice(failure: &Failure, subject: Subject<'_>) -> String {
    let repo = subject.repo.unwrap_or("ORG/NAME");
    let again = call_again(subject, repo);
    let hub = failure.hub(repo);
    match failure.help() {
        Remedy::FixCall => right_call(failure, subject, repo, &again),
        Remedy::FetchAll => format!(
            "fetch it anyway with `{} --all`, or choose another repo",
            pull_call(&again, repo)
        ),
        Remedy::PullAgain => pull_again(failure, subject),
        Remedy::WaitForLock => wait(subject, repo, &again),
        Remedy::CheckNetwork => {
            format!("check the network, then run `{again}`: it goes on with what is here")
        }
        Remedy::GoOnline => {
            format!("go online and run `{again}` without `--offline` and with HF_HUB_OFFLINE unset")
        }
        Remedy::CheckTls => {
            "have the issuer above trusted by this system, or use a network without that proxy; \
             the clock must be right, too"
                .to_owned()
        }
        Remedy::CheckProxy => {
            "check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, or the system's proxy settings"
                .to_owned()
        }
        Remedy::LogInToNetwork => {
            format!(
                "open any page in a browser and log in to the network, or correct the endpoint if it is no Hub (`larder config show`); then run `{again}`"
            )
        }
        Remedy::WaitForRateLimit => {
            let when = failure.retry_after_ms.map_or_else(
                || "in some minutes".to_owned(),
                |ms| format!("in {}", duration(ms)),
            );
            format!(
                "run `{again}` {when}; a token raises the limit: set HF_TOKEN from {hub}/settings/tokens"
            )
        }
        Remedy::LogIn => {
            format!(
                "set HF_TOKEN to a token from {hub}/settings/tokens, or unset it: public repos need none"
            )
        }
        Remedy::WidenToken => {
            format!(
                "give the token read access to `{repo}` at {hub}/settings/tokens, or set another in HF_TOKEN"
            )
        }
        Remedy::AcceptTerms => format!(
            "accept the terms at {hub}/{repo}, then run `{again}` with HF_TOKEN \
             set to a token from {hub}/settings/tokens"
        ),
        Remedy::CheckName if failure.code == FailureCode::FileNotFound => {
            format!("`larder pull {repo} --all --dry-run` lists the files of its main branch")
        }
        Remedy::CheckName if failure.code == FailureCode::RevisionNotFound => {
            format!("choose one of the branches and tags at {hub}/{repo}/tree/main")
        }
        Remedy::CheckName => format!(
            "check the spelling at {hub}/{repo}; for a private repo set HF_TOKEN \
             to a token from {hub}/settings/tokens"
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
            let cache = cache_of(&again);
            format!(
                "{space}free some (`larder trash{cache}` shows what purges moved away, \
                 `larder trash empty{cache}` frees that), or use another disk with `{}`",
                other_place(&again).1
            )
        }
        Remedy::FixPermissions => {
            let (what, flag) = other_place(&again);
            let volume = if failure.code == FailureCode::NotWritable {
                "connect the volume, or "
            } else {
                ""
            };
            let then = if volume.is_empty() { ", or" } else { "; or" };
            format!(
                "{volume}correct owner and mode of the place named above{then} use another {what} \
                 with `{flag}`"
            )
        }
        // Only a pull leaves anything out.
        Remedy::ExcludeFile => exclude(failure, &pull_call(&again, repo)),
        Remedy::ClearWay => match &failure.obstacle {
            Some(Obstacle::Thing { path }) => {
                format!("move `{path}` out of the way, then run `{again}`")
            }
            Some(Obstacle::Files { .. }) | None => {
                format!("move what is there out of the way, then run `{again}`")
            }
        },
        Remedy::Replace => replace(failure, repo, &again),
        Remedy::TryAgainLater => {
            format!("nothing wrong was kept; run `{again}` later, or ask another `--endpoint URL`")
        }
        Remedy::Resume if again == "larder demo" => {
            "`larder demo` shows it again from the beginning".to_owned()
        }
        Remedy::Resume if !matches!(subject.command, "pull" | "") => {
            format!("`{again}` begins again")
        }
        Remedy::Resume => format!("`{again}` goes on where it stopped"),
        Remedy::ReportBug => format!(
            "please report it with what `larder report` puts together; `{again} -vv` says more, and nothing unproven was kept"
        ),
    }
}

/// Where a call can lead in the place of where it did.
fn other_place(again: &str) -> (&'static str, &'static str) {
    if again.contains(" --local-dir ") {
        ("folder", "--local-dir DIR")
    } else {
        ("cache", "--cache-dir DIR")
    }
}

/// The part of a call that names another cache, with a blank before it: its trash is another one, too.
fn cache_of(call: &str) -> String {
    let words = shell_words(call);
    let at = words.iter().position(|word| *word == "--cache-dir");
    let dir = at.and_then(|at| words.get(at + 1));
    dir.map_or_else(String::new, |dir| format!(" --cache-dir {dir}"))
}

/// How a file is left out.
fn exclude(failure: &Failure, call: &str) -> String {
    let first = shell_words(call).into_iter().nth(3);
    if first.is_some_and(|word| !word.starts_with('-')) {
        return "name only files that can be stored here".to_owned();
    }
    // A path of the repo that no pattern means otherwise.
    let path = failure.path.as_deref().filter(|path| {
        !path.starts_with('/') && !path.contains(['*', '?', '[', ']', '{', '}', '\\', '!'])
    });
    let glob = path.map_or_else(|| "GLOB".to_owned(), shell_word);
    format!("leave it out: `{call} --exclude {glob}`")
}

/// How a file in a folder gives way.
fn replace(failure: &Failure, repo: &str, again: &str) -> String {
    let file = match &failure.obstacle {
        Some(Obstacle::Files { file, .. }) => file.as_deref(),
        Some(Obstacle::Thing { .. }) | None => None,
    };
    match file {
        Some(file) => {
            let call = format!(
                "larder pull {} {} --force",
                shell_word(repo),
                shell_word(file)
            );
            let forced = with_flags_of(again, call);
            format!(
                "move it elsewhere and run `{again}`; or run `{forced}`: then it is replaced, and \
                 the old one kept in `.cache/huggingface/larder/aside`"
            )
        }
        None => format!(
            "choose another folder for `{repo}`; or run `{again} --force`: then what is in the way is replaced"
        ),
    }
}

/// What completes or heals.
fn pull_again(failure: &Failure, subject: Subject<'_>) -> String {
    // Of an import the call is the pull that goes on with it.
    if let ("import", Some(call)) = (subject.command, subject.call) {
        return format!("`{call}` fetches what is missing");
    }
    if subject.command == "trash" && failure.code == FailureCode::Incomplete {
        let list = subject
            .call
            .filter(|call| call.starts_with("larder trash ls"));
        let list = list.unwrap_or("larder trash ls");
        return format!("`{list}` lists what can be put back");
    }
    // What somebody may just be writing is left for a minute.
    let is_fresh = |cause: &String| cause.contains("less than a minute ago");
    if subject.command == "doctor" && failure.causes.iter().any(is_fresh) {
        let call = subject.call.unwrap_or("larder doctor --fix");
        return format!("run `{call}` again in a minute");
    }
    // Nothing is missing or broken where a model was only asked to be verified.
    if let ("ready" | "wait", Some(repo), FailureCode::Findings) =
        (subject.command, subject.repo, failure.code)
    {
        return format!("`larder verify {repo}` hashes it");
    }
    match subject.repo {
        Some(repo) if subject.command != "purge" => {
            format!("`larder pull {repo}` puts it right, and fetches only what is missing or wrong")
        }
        Some(_) | None if failure.code == FailureCode::Incomplete => {
            "`larder ls` lists what is in the cache".to_owned()
        }
        Some(_) | None => {
            "each finding names what puts it right, or says what is left to you".to_owned()
        }
    }
}

/// What would be the right call.
fn right_call(failure: &Failure, subject: Subject<'_>, repo: &str, again: &str) -> String {
    match (failure.code, subject.command) {
        (FailureCode::ReadOnly, _) => {
            "leave out `--read-only`; if it was not given, `larder config show` says where it comes from"
                .to_owned()
        }
        // What cannot be put back.
        (FailureCode::Refused, "trash") if again.starts_with("larder trash ls") => {
            let empty = again.replacen("trash ls", "trash empty", 1);
            format!("`{again}` shows what there is, `{empty}` frees all of it")
        }
        (FailureCode::Refused, "trash") => {
            // Else only emptying it is refused.
            let again = match again {
                "larder trash" => "larder trash empty",
                again => again,
            };
            format!("`larder trash ls` shows what there is; to free it say `{again} --yes`")
        }
        (FailureCode::Refused, "purge") => {
            format!("look at it with `{again} --dry-run`, then say `{again} --yes`")
        }
        (FailureCode::Refused, "doctor") => {
            let fix = if again.contains("--fix") { "" } else { " --fix" };
            format!("the plan stands above; carry it out with `{again}{fix} --yes`")
        }
        (FailureCode::Refused, "report") => {
            "choose a name that is free: `larder report --output FILE`".to_owned()
        }
        (_, "") => {
            format!("`larder status` shows everything once, `larder pull {repo}` fetches a model")
        }
        (_, command) => format!("`larder {command} --help` shows the right call"),
    }
}

/// What a plan does, in a few words, and the commands that do it; `None` where there is nothing
/// to type.
pub(super) fn fix(
    finding: &Finding,
    steps: &[PlanStep],
    places: &[String],
) -> (String, Option<String>) {
    let (mut words, mut commands) = (Vec::new(), Vec::new());
    let is_change = |step: &PlanStep| matches!(step, PlanStep::Change(_));
    let is_repaired = finding.is_repaired() && steps.iter().any(is_change);
    let (mut has_removals, mut removed_bytes, mut goes_on) = (false, 0, false);
    for step in steps {
        match step {
            PlanStep::RemovePartial {
                repo,
                bytes,
                is_superseded,
                ..
            } => {
                has_removals = true;
                removed_bytes += *bytes;
                goes_on |= !is_superseded;
                let repo = shell_word(&repo.to_string());
                // What is of use is used rather than taken away.
                commands.push(if *is_superseded {
                    call_of(&format!("larder doctor {repo} --fix"), [], places)
                } else {
                    call_of(&format!("larder pull {repo}"), [], places)
                });
            }
            PlanStep::Discard(discard) => {
                words.push(format!("take {} away", discard.repo));
                let repo = shell_word(&discard.repo.to_string());
                commands.push(call_of(&format!("larder purge {repo}"), [], places));
            }
            PlanStep::Pull {
                repo,
                revision,
                files,
                fetch_bytes,
            } => {
                let named = match files.as_slice() {
                    [] => String::new(),
                    few if few.len() <= NAMED => format!(" `{}`", few.join("`, `")),
                    many => format!(" {} files", many.len()),
                };
                words.push(match fetch_bytes {
                    Some(0) => format!("pull{named} again, nothing to fetch"),
                    Some(bytes) => format!("pull{named} again, up to {}", size(*bytes)),
                    None => format!("pull{named} again"),
                });
                let at = match revision.as_str() {
                    "main" => String::new(),
                    other => format!(" --revision {}", shell_word(other)),
                };
                let repo = shell_word(&repo.to_string());
                commands.push(if files.len() <= NAMED {
                    call_of(&format!("larder pull {repo}{at}"), files, places)
                } else {
                    call_of(&format!("larder doctor {repo} --fix"), [], places)
                });
            }
            PlanStep::Change(change) => words.push(change.words()),
            PlanStep::ByHand { advice } => words.push(advice.clone()),
        }
    }
    if has_removals {
        let or = if goes_on { "goes on, or " } else { "" };
        let words_of_it = format!("{or}frees {}", size(removed_bytes));
        words.insert(0, words_of_it);
    }
    words.dedup();
    commands.dedup();
    if is_repaired {
        // It shows the plan, and the pulls are part of it.
        let repo = finding.repo.as_ref().map_or_else(String::new, |repo| {
            format!(" {}", shell_word(&repo.to_string()))
        });
        commands = vec![call_of(&format!("larder doctor{repo} --fix"), [], places)];
    }
    let commands = commands.join(" && ");
    (words.join("; "), (!commands.is_empty()).then_some(commands))
}

/// So many files are called by their names where one line has to do.
pub(super) const NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_told() {
        let subject = Subject {
            repo: Some("org/model"),
            command: "pull",
            call: None,
        };
        let mut text = String::new();
        for code in FailureCode::ALL {
            let failure = Failure::new(code, "what happened").at_path("model.safetensors");
            let told = tell(&failure, subject);
            text.extend([
                &told.what,
                "\n  why:  ",
                &told.why,
                "\n  next: ",
                &told.next,
                "\n",
            ]);
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn numbers_and_causes_are_told() {
        let mut failure = Failure::new(FailureCode::DiskFull, "`org/m` does not fit")
            .because("nothing was written")
            .because("quota");
        failure.needed_bytes = Some(1_350_000_000);
        failure.free_bytes = Some(20_000);
        let told = tell(&failure, Subject::default());
        assert_eq!(told.why, "nothing was written; quota");
        assert!(
            told.next
                .starts_with("1.35 GB are needed and 20 kB are free"),
            "{}",
            told.next
        );
        // Another cache has another trash.
        let subject = Subject {
            repo: Some("org/m"),
            command: "pull",
            call: Some("larder pull org/m --cache-dir '/c d'"),
        };
        let next = tell(&failure, subject).next;
        assert!(
            next.contains("`larder trash empty --cache-dir '/c d'`"),
            "{next}"
        );
        let fresh = Failure::new(FailureCode::Findings, "1 of 2 steps of the repair not done")
            .because("it changed less than a minute ago, so somebody may be at work");
        let subject = Subject {
            repo: None,
            command: "doctor",
            call: Some("larder doctor org/m --fix"),
        };
        let next = tell(&fresh, subject).next;
        assert_eq!(next, "run `larder doctor org/m --fix` again in a minute");
        let mut limited = Failure::new(FailureCode::RateLimited, "x");
        limited.retry_after_ms = Some(125_000);
        assert!(tell(&limited, Subject::default()).next.contains("in 3 min"));
    }

    #[test]
    fn what_a_guide_leaves_out_is_fetched_by_a_pull_into_the_same_cache() {
        let failure = Failure::new(FailureCode::NoWeights, "x");
        let subject = Subject {
            repo: Some("org/m"),
            command: "guide",
            call: Some("larder guide org/m --revision v2 --script --cache-dir /c"),
        };
        let next = tell(&failure, subject).next;
        let call = "`larder pull org/m --revision v2 --cache-dir /c --all`";
        assert!(next.contains(call), "{next}");
    }

    #[test]
    fn a_file_in_a_folder_is_replaced_by_a_call_of_the_same_revision_and_places() {
        let failure = Failure::new(FailureCode::Refused, "x").blocked_by(Obstacle::Files {
            folder: "/my dir".to_owned(),
            file: Some("it's.json".to_owned()),
        });
        let places = "--local-dir '/it'\\''s my dir' --cache-dir '/c d' --endpoint http://h";
        for at in ["org/m@v2 --all", "org/m --revision v2 --exclude '*.a b'"] {
            let call = format!("larder pull {at} {places}");
            let subject = Subject {
                repo: Some("org/m"),
                command: "pull",
                call: Some(&call),
            };
            let next = tell(&failure, subject).next;
            let forced =
                format!("`larder pull org/m 'it'\\''s.json' --force --revision v2 {places}`");
            assert!(next.contains(&forced), "{next}");
            let reset = Failure::new(FailureCode::Reset, "x");
            let by_hand = format!("larder pull {at} --cache-dir '/c d'");
            let subject = Subject {
                call: Some(&by_hand),
                ..subject
            };
            let next = tell(&reset, subject).next;
            let guide = "`larder guide org/m --revision v2 --cache-dir '/c d'`";
            assert!(next.ends_with(guide), "{next}");
        }
    }

    #[test]
    fn commands_in_the_advice_exist() {
        use clap::{CommandFactory as _, Parser as _};
        let command = super::super::args::Args::command();
        let verbs: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        let mut flags: Vec<String> = Vec::new();
        for sub in command.get_subcommands().chain([&command]) {
            flags.extend(
                sub.get_arguments()
                    .filter_map(|arg| arg.get_long())
                    .map(str::to_owned),
            );
        }
        flags.push("help".to_owned());
        for code in FailureCode::ALL {
            for place in [
                "pull", "guide", "import", "ls", "status", "verify", "doctor", "locks", "purge",
                "trash", "report", "demo", "",
            ] {
                let subject = Subject {
                    repo: None,
                    command: place,
                    // As of `trash restore`.
                    call: (place == "trash").then_some("larder trash ls --cache-dir /c"),
                };
                let next = tell(&Failure::new(code, "x"), subject).next;
                for call in next.split('`').skip(1).step_by(2) {
                    if call.starts_with("larder ") {
                        let parsed = super::super::args::Args::try_parse_from(call.split(' '));
                        let is_help = parsed.as_ref().is_err_and(|error| !error.use_stderr());
                        assert!(parsed.is_ok() || is_help, "{code} {place}: {call}: {next}");
                    }
                }
                for word in next.split("larder ").skip(1) {
                    let verb = word.split([' ', '`']).next().unwrap();
                    assert!(verb.starts_with("--") || verbs.contains(&verb), "{next}");
                }
                for flag in next.split("--").skip(1) {
                    let flag = flag.split([' ', '`']).next().unwrap().to_owned();
                    assert!(flags.contains(&flag), "{next}");
                }
            }
        }
    }
}
