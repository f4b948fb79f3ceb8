//! Owns the sentences of the log and the words for sizes and times.
//!
//! Never decides whether a line is written: that is `reduce`.

use humansize::{DECIMAL, format_size};

use super::log::Level;
use crate::domain::{
    Commit, DiscardKind, Failure, Finding, FixResult, Healing, HealingKind, ImportResult, LockWait,
    Offer, OfferKind, Origin, OtherPull, PullPlan, PullResult, PurgeResult, Recognition, RefMove,
    RetryIn, TrashResult, TrashRow, UnfinishedPull, Validation, Verification, sanitize,
};

/// A size as Finder shows it: decimal units, e.g. `1.35 GB`.
pub fn size(bytes: u64) -> String {
    format_size(bytes, DECIMAL)
}

/// A time span for people, e.g. `2.1 s`, `14 s`, `3 min`, `2 h 5 min`, `3 d`.
pub fn duration(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    match seconds {
        _ if ms < 10_000 => {
            let tenths = ms.div_ceil(100);
            if tenths.is_multiple_of(10) {
                format!("{} s", tenths / 10)
            } else {
                format!("{}.{} s", tenths / 10, tenths % 10)
            }
        }
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds.div_ceil(60)),
        7_200..=172_799 => {
            let (hours, minutes) = (seconds / 3_600, seconds % 3_600 / 60);
            if minutes == 0 {
                format!("{hours} h")
            } else {
                format!("{hours} h {minutes} min")
            }
        }
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A number with its noun, e.g. `1 file`, `6 files`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// What a look before the download came to.
pub(super) fn validation_line(validation: &Validation) -> String {
    let verdict = if validation.would_load {
        "it would load"
    } else {
        "it would not load"
    };
    let asked = size(validation.asked_bytes);
    match validation.troubles.first() {
        Some(first) => format!("{verdict}, by {asked} of its files: {}", first.sentence),
        None => format!("{verdict}, by {asked} of its files"),
    }
}

/// What a plan is going to do.
pub(super) fn plan_line(plan: &PullPlan) -> String {
    let reused = plan.total_bytes.saturating_sub(plan.fetch_bytes);
    let from = if plan.is_offline {
        " (offline: by the listing on disk)"
    } else {
        ""
    };
    format!(
        "{} @ {} → {}: {}, {}, {} to fetch, {} here already{from}",
        plan.repo,
        plan.revision,
        plan.commit.short(),
        count(plan.files.len(), "file"),
        size(plan.total_bytes),
        size(plan.fetch_bytes),
        size(reused),
    )
}

/// Why an attempt failed and what comes next.
pub(super) fn retry_line(failure: &Failure, bytes: u64, retry: RetryIn) -> String {
    let next = if bytes > 0 {
        format!(" at {}; resuming", size(bytes))
    } else {
        "; trying again".to_owned()
    };
    let when = match retry.wait_ms {
        0 => "at once".to_owned(),
        ms => format!("in {}", duration(ms)),
    };
    format!(
        "{}{next} {when} ({} of {})",
        failure.summary, retry.failure, retry.of
    )
}

/// Whom a file waits for.
pub(super) fn wait_line(lock: &LockWait) -> String {
    let holder = match (&lock.program, lock.pid) {
        (Some(program), Some(pid)) => format!("{program} (pid {pid})"),
        (Some(program), None) => program.clone(),
        (None, Some(pid)) => format!("process {pid}"),
        (None, None) => "another program".to_owned(),
    };
    let progress = lock
        .other_bytes
        .map(|bytes| format!(", which has {}", size(bytes)))
        .unwrap_or_default();
    format!(
        "waiting for {holder}{progress}; it holds the lock {}",
        lock.lock
    )
}

/// Whom a pull waits for, and how far they are.
pub fn other_pull_line(other: &OtherPull) -> String {
    let progress = other.progress.map_or_else(String::new, |progress| {
        format!(
            ": {} of {}, {} of {}",
            progress.files_done,
            count(
                usize::try_from(progress.files_total).unwrap_or(usize::MAX),
                "file"
            ),
            size(progress.bytes_done),
            size(progress.bytes_total)
        )
    });
    if other.pid.is_none() && other.program.is_none() {
        return format!("waiting for a download marker: {}{progress}", other.proof);
    }
    format!("waiting for {}, which downloads it{progress}", other.name())
}

/// A pull of an earlier run that did not end.
pub(super) fn unfinished_line(pull: &UnfinishedPull) -> String {
    let into = pull.local_dir.as_ref().map_or_else(String::new, |dir| {
        format!(" into `{}`", sanitize(&dir.to_string_lossy()))
    });
    format!(
        "{} @ {} was not fetched{into} to the end; a pull goes on with what is here",
        pull.repo, pull.revision
    )
}

/// How many tenths of its bytes another program has.
pub(super) fn tenths(other: &OtherPull) -> Option<u64> {
    let progress = other.progress?;
    Some(progress.bytes_done.saturating_mul(10) / progress.bytes_total.max(1))
}

/// Where reused bytes came from.
pub(super) fn origin_words(origin: &Origin) -> String {
    match origin {
        Origin::Cache => "already in the cache".to_owned(),
        Origin::Snapshot => "taken from a regular file in the snapshot".to_owned(),
        Origin::OtherRepo { folder } => format!("taken from {folder}"),
        Origin::LocalDir => "already in the folder".to_owned(),
        Origin::HubCache => "taken from the Hub cache".to_owned(),
        Origin::Empty => "empty, nothing to fetch".to_owned(),
        Origin::Import { path } => format!("taken from {path}"),
    }
}

/// What was broken and what became of it.
pub(super) fn healing_line(healing: &Healing) -> String {
    if let Some(line) = replaced_line(healing) {
        return line;
    }
    let what = match healing.kind {
        HealingKind::WrongHash => "the blob's bytes did not hash to its name",
        HealingKind::Truncated => "the blob was shorter than its file",
        HealingKind::TooLong => "the blob was longer than its file",
        HealingKind::LfsPointer => "the text of an LFS pointer stood in the blob's place",
        HealingKind::ErrorPage => "a web page or an error stood in the blob's place",
        HealingKind::Folder => "a folder stood in the blob's place",
        HealingKind::DanglingPointer => "the pointer led to a blob that is not there",
        HealingKind::ForeignPointer => "the pointer led out of the repo's folder",
        HealingKind::WrongPointer => "the pointer led to another blob than the listing names",
        HealingKind::RegularFile => "a regular file stood in the pointer's place",
        HealingKind::MalformedRef => "the ref did not hold one commit hash",
        HealingKind::StaleNoExist => "a marker said that this file does not exist",
        HealingKind::Leftover => "a larder that died had left something behind",
    };
    let place = healing.path.as_ref().map_or_else(
        || healing.location.clone(),
        std::string::ToString::to_string,
    );
    let kept = healing
        .set_aside
        .as_ref()
        .map(|aside| format!(", set aside at {aside}"))
        .unwrap_or_default();
    format!("{place}: {what}; healed{kept}")
}

/// The same for a file of a local dir, which no blob stands behind.
fn replaced_line(healing: &Healing) -> Option<String> {
    let path = healing.path.as_ref()?;
    let what = match healing.kind {
        HealingKind::WrongHash => "it held other bytes than the Hub's file",
        HealingKind::Truncated => "it was shorter than the Hub's file",
        HealingKind::TooLong => "it was longer than the Hub's file",
        HealingKind::LfsPointer => "the text of an LFS pointer stood in its place",
        HealingKind::ErrorPage => "a web page or an error stood in its place",
        _ => return None,
    };
    let is_itself = std::path::Path::new(&healing.location).ends_with(path.as_str());
    let kept = healing
        .set_aside
        .as_ref()
        .map(|aside| format!("; it is kept as {aside}"))
        .unwrap_or_default();
    is_itself.then(|| format!("{path}: {what} and was replaced{kept}"))
}

/// What of a model lies in an entry of the trash. A folder that is named like a ref is called by its
/// place: the ref may name another snapshot.
pub fn trashed(row: &TrashRow) -> String {
    let name = |name: &String| match Commit::new(name) {
        Ok(commit) => commit.short(),
        Err(_) => format!("snapshots/{name}"),
    };
    let what = match row.kind {
        DiscardKind::Repo => "all of it".to_owned(),
        DiscardKind::Revisions => row.what.iter().map(name).collect::<Vec<_>>().join(" "),
        DiscardKind::Corrupt if row.what.is_empty() => "put aside".to_owned(),
        DiscardKind::Corrupt => count(row.what.len(), "wrong blob"),
        DiscardKind::Orphans => count(row.what.len(), "unused blob"),
    };
    match &row.cut_off {
        Some(cut_off) => format!("{what} ({cut_off})"),
        None => what,
    }
}

/// A file that was offered and is not what it seems, or is.
pub(super) fn offer_line(offer: &Offer) -> String {
    let length = offer
        .size_bytes
        .map_or_else(String::new, |bytes| format!(" ({})", size(bytes)));
    format!("{}{length} {}", offer.path, offer.kind.words(&size))
}

/// What all offered files together are.
pub(super) fn recognised_line(recognition: &Recognition) -> String {
    let count_of = |is: &dyn Fn(&OfferKind) -> bool| {
        let offers = recognition.offers.iter();
        offers.filter(|offer| is(&offer.kind)).count()
    };
    let wanted = count_of(&|kind| matches!(kind, OfferKind::Wanted { .. }));
    let here = count_of(&|kind| matches!(kind, OfferKind::Here { .. }));
    let others = recognition.offers.len() + recognition.more_foreign - wanted - here;
    format!(
        "{} of {} @ {}, {here} in the cache already, {} not used",
        count(wanted, "file"),
        recognition.repo,
        recognition.commit.short(),
        count(others, "other"),
    )
}

/// How an import ended.
pub(super) fn imported_line(result: &ImportResult) -> String {
    let done = format!(
        "{} imported, {}, {} were here",
        count(result.imported_files, "file"),
        size(result.imported_bytes),
        result.here_files
    );
    match result.missing.as_slice() {
        [] => format!("{done}; the model is complete"),
        missing => {
            let bytes = missing.iter().map(|file| file.size_bytes).sum();
            format!(
                "{done}; {} still missing, {}",
                count(missing.len(), "file"),
                size(bytes)
            )
        }
    }
}

/// What became of the ref, and whether that is a reason to look twice.
pub(super) fn ref_line(reference: &RefMove, name: &str, commit: Commit) -> Option<(bool, String)> {
    match reference {
        RefMove::None | RefMove::Unchanged => None,
        RefMove::Moved { from: None } => {
            Some((false, format!("ref {name} names {} now", commit.short())))
        }
        // Its file held that commit and something more, or less.
        RefMove::Moved { from: Some(from) } if *from == commit => Some((
            false,
            format!(
                "ref {name} names {} as before; its file was put right",
                commit.short()
            ),
        )),
        RefMove::Moved { from: Some(from) } => Some((
            false,
            format!(
                "ref {name} moved from {} to {}",
                from.short(),
                commit.short()
            ),
        )),
        RefMove::Kept { at, why } => {
            let stays = match at {
                Some(at) => format!("stays at {}", at.short()),
                // There is none, or one that names no commit.
                None => format!("does not name {} yet", commit.short()),
            };
            let here = format!("the snapshot is there under {}", commit.short());
            Some((true, format!("ref {name} {stays}: {why}; {here}")))
        }
    }
}

/// What verifying is about to read.
pub(super) fn verify_line(snapshots: usize, files: usize, bytes: u64) -> String {
    if snapshots == 0 && files > 0 {
        return format!(
            "proving what comes back: {}, {}",
            count(files, "distinct file"),
            size(bytes)
        );
    }
    format!(
        "verifying {}: {}, {}",
        count(snapshots, "snapshot"),
        count(files, "distinct file"),
        size(bytes)
    )
}

/// What verifying one snapshot came to.
pub(super) fn verified_line(seen: &Verification) -> (Level, String) {
    let name = format!("{} @ {}", seen.name(), short(&seen.revision));
    let unknown = match seen.files_unknown.saturating_sub(seen.files_hashed) {
        0 => String::new(),
        files => format!(", {} without a known hash", count(files, "file")),
    };
    let hashed = match seen.files_hashed {
        0 => String::new(),
        files => format!(", {} hashed only", count(files, "file")),
    };
    let unknown = hashed + &unknown;
    let unread = match seen.files_unread {
        0 => String::new(),
        files => format!(", {files} unchanged since they were hashed"),
    };
    if seen.is_good() {
        let line = format!(
            "{name}: verified, {} of {} right, {}{unread}{unknown}",
            seen.files_good,
            count(seen.files_total, "file"),
            size(seen.bytes)
        );
        (Level::Info, line)
    } else {
        let line = format!(
            "{name}: {} of {} right, {}{unknown}",
            seen.files_good,
            count(seen.files_total, "file"),
            count(seen.findings.len(), "finding")
        );
        (Level::Error, line)
    }
}

/// How verifying ended.
pub(super) fn verify_end_line(good: usize, broken: usize) -> String {
    if broken == 0 {
        format!("verified: {} right", count(good, "snapshot"))
    } else {
        format!(
            "verified: {} right, {broken} broken",
            count(good, "snapshot")
        )
    }
}

/// A finding in one line.
pub(super) fn finding_line(finding: &Finding) -> String {
    match &finding.repo {
        Some(repo) => format!("{repo}: {}", finding.summary),
        None => finding.summary.clone(),
    }
}

/// What a wish about the trash came to.
pub(super) fn trash_line(result: &TrashResult) -> String {
    let ids = result.ids.join(", ");
    if result.restored.is_empty() {
        format!("freed {} of the trash", size(result.freed_bytes))
    } else {
        format!("put back {}: {ids}", size(result.restored_bytes))
    }
}

/// What a purge came to.
pub(super) fn purge_line(result: &PurgeResult) -> String {
    let kept = match result.kept.len() {
        0 => String::new(),
        kept => format!(", {kept} kept"),
    };
    if !result.trash.is_empty() {
        return format!(
            "moved {} into the trash ({}), {} freed yet{kept}",
            size(result.moved_bytes),
            result.trash.join(", "),
            size(result.freed_bytes)
        );
    }
    format!(
        "purged {}, freed {}{kept}",
        count(result.removed.len(), "file"),
        size(result.freed_bytes)
    )
}

/// What carrying out the changes of a plan came to.
pub(super) fn fix_line(result: &FixResult) -> String {
    let kept = match result.kept.len() {
        0 => String::new(),
        kept => format!(", {kept} kept"),
    };
    format!(
        "{} made, freed {}{kept}",
        count(result.done.len(), "change"),
        size(result.freed_bytes)
    )
}

/// A commit shortened for people; other names as they are.
pub fn short(revision: &str) -> String {
    Commit::new(revision).map_or_else(|_| revision.to_owned(), |commit| commit.short())
}

/// The one line about a pull that went well.
pub(super) fn complete_line(
    result: &PullResult,
    files: usize,
    total_bytes: u64,
    reused_bytes: u64,
) -> String {
    let proof = if result.is_verified {
        "verified"
    } else {
        "sizes trusted, not verified"
    };
    format!(
        "complete · {} · {}, {} fetched, {} reused · {proof}",
        count(files, "file"),
        size(total_bytes),
        size(result.fetched_bytes),
        size(reused_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `purge REPO@main` means the ref, which may name another snapshot.
    #[test]
    fn a_folder_in_the_trash_is_not_called_like_a_ref() {
        let mut row = crate::store::survey_script::trash_rows().remove(0);
        row.kind = DiscardKind::Revisions;
        row.what = vec!["ab".repeat(20), "main".to_owned()];
        assert_eq!(trashed(&row), "abababa snapshots/main");
    }

    #[test]
    fn spans_are_short() {
        for (ms, words) in [
            (0, "0 s"),
            (40, "0.1 s"),
            (2_100, "2.1 s"),
            (2_000, "2 s"),
            (9_999, "10 s"),
            (14_000, "14 s"),
            (61_000, "61 s"),
            (180_000, "3 min"),
            (7_500_000, "2 h 5 min"),
            (3_600_000 * 3, "3 h"),
            (86_400_000 * 3, "3 d"),
        ] {
            assert_eq!(duration(ms), words, "{ms}");
        }
    }

    #[test]
    fn a_file_of_a_folder_is_told_without_a_blob() {
        let healing = |location: &str| Healing {
            kind: HealingKind::WrongHash,
            path: Some(crate::domain::RepoPath::new("sub/a.json").unwrap()),
            location: location.to_owned(),
            set_aside: Some("/dir/aside/a.json.1".to_owned()),
        };
        assert_eq!(
            healing_line(&healing("/dir/sub/a.json")),
            "sub/a.json: it held other bytes than the Hub's file and was replaced; it is kept as \
             /dir/aside/a.json.1"
        );
        assert!(healing_line(&healing("/cache/blobs/00")).contains("the blob's bytes"));
    }

    #[test]
    fn a_ref_that_was_only_rewritten_did_not_move() {
        let commit = Commit::new("cde6c3e1068ba725e3267bf97df802d26de25d15").unwrap();
        let from = Some(commit);
        let (_, line) = ref_line(&RefMove::Moved { from }, "main", commit).unwrap();
        assert_eq!(
            line,
            "ref main names cde6c3e as before; its file was put right"
        );
    }

    #[test]
    fn a_ref_that_is_not_there_has_no_old_value() {
        let commit = Commit::new("cde6c3e1068ba725e3267bf97df802d26de25d15").unwrap();
        let kept = |at| RefMove::Kept {
            at,
            why: "`a` is not here yet".to_owned(),
        };
        let (_, line) = ref_line(&kept(None), "main", commit).unwrap();
        assert_eq!(
            line,
            "ref main does not name cde6c3e yet: `a` is not here yet; the snapshot is there under \
             cde6c3e"
        );
        let (_, line) = ref_line(&kept(Some(commit)), "main", commit).unwrap();
        assert!(line.starts_with("ref main stays at cde6c3e: "), "{line}");
    }

    #[test]
    fn sizes_are_decimal() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(4_100), "4.10 kB");
        assert_eq!(size(1_350_000_000), "1.35 GB");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "file"), "0 files");
    }
}
