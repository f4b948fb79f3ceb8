//! Owns the words about findings: in two lines on a screen about everything, in full by `doctor`.
//!
//! **Law**: paths and commands are never cut: they are to be copied. What others named is made
//! harmless here.

use unicode_width::UnicodeWidthStr as _;

use super::remedy;
use crate::domain::{Change, Evidence, Finding, PlanStep, Rule, lost_name, sanitize};
use crate::store::{FindingGroup, count, short, size};

/// Columns of what stands before the words of a block.
const LABEL: usize = 12;
/// The narrowest column of words.
const NARROWEST: usize = 24;

/// What nobody can judge yet; `None` where there is nothing of that kind.
pub(super) fn fresh_words((files, bytes): (usize, u64)) -> Option<String> {
    let what = count(files, "unfinished blob");
    (files > 0).then(|| {
        format!(
            "{what}, {}, changed a moment ago: too fresh to tell whether anybody writes there",
            size(bytes)
        )
    })
}

/// What is told together, in short: what, about which model, and what puts it right.
pub(super) fn rows(group: &FindingGroup<'_>, places: &[String]) -> Vec<String> {
    let first = group.first;
    let mut words = match group.all.len() {
        1 => what(first),
        many if first.rule == Rule::AbandonedPartial => format!(
            "{}, and nobody is fetching the rest",
            count(many, "unfinished blob")
        ),
        many => format!("{}, {many} times: {}", first.rule.name(), what(first)),
    };
    if let Some(model) = model_words(first) {
        words = format!("{words} ({model})");
    }
    let mut rows = vec![format!(
        "  {:<9} {}",
        first.severity.name(),
        sanitize(&words)
    )];
    let (plan, command) = remedy::fix(first, &group.steps(), places);
    match command {
        Some(command) => rows.push(format!("    {}: {}", sanitize(&plan), sanitize(&command))),
        None if plan.is_empty() => {}
        None => rows.push(format!("    {}", sanitize(&plan))),
    }
    rows
}

/// What is told together, in full.
pub(super) fn block(group: &FindingGroup<'_>, places: &[String], columns: Option<u16>) -> String {
    let mut block = Block {
        text: String::new(),
        columns: columns.map(usize::from),
    };
    let first = group.first;
    let many = match group.all.len() {
        1 => String::new(),
        many => format!(", {many} times"),
    };
    let model = model_words(first).map_or_else(String::new, |model| format!(": {model}"));
    let head = format!(
        "{} {}{many}{model}",
        first.severity.name(),
        first.rule.name()
    );
    block.text.extend([&sanitize(&head), "\n"]);
    let mut said = None;
    for finding in &group.all {
        let what = what(finding);
        if said.as_ref() != Some(&what) {
            block.entry("what", &what);
            said = Some(what);
        }
        let mut place = None;
        for fact in &finding.evidence {
            if place != Some(&fact.path) {
                block.whole(&fact.path);
                place = Some(&fact.path);
            }
            let words = fact_words(fact);
            // What the finding says already is not said twice.
            if words.is_empty() || !said.as_ref().is_some_and(|said| said.contains(&words)) {
                block.entry("", &words);
            }
        }
    }
    block.entry("cause", &first.cause);
    let steps = group.steps();
    if !block.removals(group, &steps) {
        for (at, step) in steps.iter().enumerate() {
            let label = if at == 0 { "plan" } else { "" };
            block.step(label, at + 1, step);
        }
    }
    let (_, command) = remedy::fix(first, &steps, places);
    if let Some(command) = command {
        block.command(&command);
    }
    block.text
}

/// Steps with their numbers and every path.
pub(super) fn steps_text(steps: &[PlanStep], columns: Option<u16>) -> String {
    let mut block = Block {
        text: String::new(),
        columns: columns.map(usize::from),
    };
    for (at, step) in steps.iter().enumerate() {
        match step {
            PlanStep::RemovePartial {
                path, bytes, map, ..
            } => {
                let words = format!("remove this, which frees {}:", exact(*bytes));
                block.hanging(&format!("  {:<10}{}. ", "", at + 1), &words);
                block.path_of_step(path);
                if let Some(map) = map {
                    block.path_of_step(map);
                }
            }
            PlanStep::Pull { .. }
            | PlanStep::Discard(_)
            | PlanStep::Change(_)
            | PlanStep::ByHand { .. } => {
                block.step("", at + 1, step);
            }
        }
    }
    block.text
}

/// One finding in one sentence.
pub(super) fn what(finding: &Finding) -> String {
    match &finding.file {
        Some(file) if !finding.summary.contains(file.as_str()) => {
            format!("{file}: {}", finding.summary)
        }
        Some(_) | None => finding.summary.clone(),
    }
}

fn model_words(finding: &Finding) -> Option<String> {
    let repo = finding.repo.as_ref()?;
    Some(match &finding.revision {
        Some(revision) => format!("{repo} @ {}", short(revision)),
        None => repo.to_string(),
    })
}

/// Bytes as people read them and as they are.
pub(super) fn exact(bytes: u64) -> String {
    if bytes < 1_000 {
        return size(bytes);
    }
    format!("{} ({bytes} bytes)", size(bytes))
}

fn fact_words(fact: &Evidence) -> String {
    let bytes = match (fact.bytes, fact.expected_bytes) {
        (Some(bytes), Some(of)) => {
            format!("{} of {} ({bytes} of {of} bytes)", size(bytes), size(of))
        }
        (Some(bytes), None) => exact(bytes),
        (None, Some(of)) => format!("nothing of {}", exact(of)),
        (None, None) => return fact.seen.clone(),
    };
    if fact.seen.is_empty() {
        bytes
    } else {
        format!("{bytes}; {}", fact.seen)
    }
}

/// What else can become of what is unfinished.
fn or_pull(is_superseded: bool, it: &str) -> String {
    if is_superseded {
        String::new()
    } else {
        format!("pull, which goes on with {it}, or ")
    }
}

/// A block as it grows.
struct Block {
    text: String,
    /// `None` means: no terminal, so no line is broken.
    columns: Option<usize>,
}

impl Block {
    /// Words behind a label, broken at blanks.
    fn entry(&mut self, label: &str, words: &str) {
        self.hanging(&format!("  {label:<10}"), words);
    }

    /// A line that is never broken.
    fn whole(&mut self, words: &str) {
        let blanks = " ".repeat(LABEL);
        self.text.extend([&blanks, &sanitize(words), "\n"]);
    }

    fn command(&mut self, command: &str) {
        let line = format!("  {:<10}{}\n", "run", sanitize(command));
        self.text.push_str(&line);
    }

    /// Several files that are to go and stand above already; whether that is all of the plan.
    fn removals(&mut self, group: &FindingGroup<'_>, steps: &[PlanStep]) -> bool {
        let facts = || group.all.iter().flat_map(|finding| &finding.evidence);
        let (mut freed_bytes, mut maps, mut is_needless) = (0, Vec::new(), true);
        for step in steps {
            match step {
                PlanStep::RemovePartial {
                    path,
                    bytes,
                    map,
                    is_superseded,
                    ..
                } if facts().any(|fact| fact.path == *path) => {
                    freed_bytes += bytes;
                    is_needless &= is_superseded;
                    maps.extend(map.as_deref());
                }
                PlanStep::RemovePartial { .. }
                | PlanStep::Discard(_)
                | PlanStep::Pull { .. }
                | PlanStep::Change(_)
                | PlanStep::ByHand { .. } => return false,
            }
        }
        if steps.len() < 2 {
            return false;
        }
        let files = steps.len();
        let (and, colon) = match maps.len() {
            0 => (String::new(), ""),
            many => (format!(" and {} of theirs", count(many, "chunk map")), ":"),
        };
        let pull = or_pull(is_needless, "them");
        let words = format!(
            "{pull}remove the {files} files above{and}, which frees {}{colon}",
            exact(freed_bytes)
        );
        self.hanging(&format!("  {:<10}1. ", "plan"), &words);
        for map in maps {
            self.path_of_step(map);
        }
        true
    }

    /// A step of the plan, with its number.
    fn step(&mut self, label: &str, number: usize, step: &PlanStep) {
        let head = format!("  {label:<10}{number}. ");
        match step {
            PlanStep::RemovePartial {
                path,
                bytes,
                map,
                is_superseded,
                ..
            } => {
                let pull = or_pull(*is_superseded, "it");
                let words = format!("{pull}remove this, which frees {}:", exact(*bytes));
                self.hanging(&head, &words);
                self.path_of_step(path);
                if let Some(map) = map {
                    self.path_of_step(map);
                }
            }
            PlanStep::Discard(discard) => {
                self.hanging(&head, &format!("take {} away", discard.repo));
                for path in &discard.paths {
                    self.path_of_step(&path.path);
                }
            }
            PlanStep::Pull {
                repo,
                revision,
                files,
                fetch_bytes,
            } => {
                let bytes = fetch_bytes.map_or_else(String::new, |bytes| match bytes {
                    0 => ", nothing to fetch".to_owned(),
                    bytes => format!(", at most {} to fetch", exact(bytes)),
                });
                let what = match files.as_slice() {
                    [] => repo.to_string(),
                    few if few.len() <= remedy::NAMED => {
                        format!("`{}` of {repo}", few.join("`, `"))
                    }
                    many => format!("{} files of {repo} by their names", many.len()),
                };
                let words = format!(
                    "pull {what} @ {} again{bytes}: what is right is reused, what is wrong is \
                     replaced once the right bytes are proven",
                    short(revision)
                );
                self.hanging(&head, &words);
            }
            PlanStep::Change(change) => self.change(&head, change),
            PlanStep::ByHand { advice } => self.hanging(&head, &format!("by hand: {advice}")),
        }
    }

    fn change(&mut self, head: &str, change: &Change) {
        match change {
            Change::Remove { path, bytes: 0 } => {
                self.hanging(head, "remove this:");
                self.path_of_step(path);
            }
            Change::Remove { path, bytes } => {
                self.hanging(
                    head,
                    &format!("remove this, which frees {}:", exact(*bytes)),
                );
                self.path_of_step(path);
            }
            Change::RemoveCopy {
                path,
                bytes,
                revision,
                file,
            } => {
                let words = format!(
                    "remove this copy, {}, once `{file}` of {} is proven to hold these bytes:",
                    exact(*bytes),
                    short(revision)
                );
                self.hanging(head, &words);
                self.path_of_step(path);
            }
            Change::DropRef {
                path,
                repo,
                revision,
                holds,
            } => {
                let words = format!(
                    "if the Hub knows no {}, remove this ref; {repo} cannot be looked up by `{revision}` \
                     offline after that, and now that finds nothing:",
                    lost_name(revision, holds)
                );
                self.hanging(head, &words);
                self.path_of_step(path);
            }
            Change::Move { from, to, .. } => {
                self.hanging(head, "move this to that, in one step:");
                self.path_of_step(from);
                self.path_of_step(to);
            }
            Change::Write { path, text } => {
                self.hanging(head, &format!("write `{}` into this:", text.trim_end()));
                self.path_of_step(path);
            }
            Change::Link { path, target } => {
                self.hanging(head, &format!("make this a pointer to `{target}`:"));
                self.path_of_step(path);
            }
            Change::Share { path, with, bytes } => {
                let words = format!(
                    "let the first share the bytes of the second, which frees {}:",
                    exact(*bytes)
                );
                self.hanging(head, &words);
                self.path_of_step(path);
                self.path_of_step(with);
            }
            Change::Place {
                path,
                from,
                bytes,
                aside,
            } => {
                let words = format!(
                    "put the bytes of the first, {}, in the place of the second, once they are \
                     proven there; what lies there now gets the name of the third, and goes if it \
                     is a link, empty, a web page, an LFS pointer or the start of the right bytes; \
                     anything else is kept in the model's `.cache/huggingface/larder/aside`:",
                    exact(*bytes)
                );
                self.hanging(head, &words);
                self.path_of_step(from);
                self.path_of_step(path);
                self.path_of_step(aside);
            }
            Change::Note {
                path,
                file,
                etag,
                commit,
            } => {
                let words = format!(
                    "write into the first that the second is {etag} of commit {}, once it is \
                     proven:",
                    short(commit)
                );
                self.hanging(head, &words);
                self.path_of_step(path);
                self.path_of_step(file);
            }
        }
    }

    fn path_of_step(&mut self, path: &str) {
        self.whole(&format!("   {path}"));
    }

    /// Words whose further lines begin below the first word.
    fn hanging(&mut self, head: &str, words: &str) {
        let indent = head.width();
        let room = self.columns.map_or(usize::MAX, |columns| {
            columns.saturating_sub(indent).max(NARROWEST)
        });
        for (at, line) in wrapped(&sanitize(words), room).iter().enumerate() {
            let head = if at == 0 {
                head.to_owned()
            } else {
                " ".repeat(indent)
            };
            let line = format!("{head}{line}");
            self.text.extend([line.trim_end(), "\n"]);
        }
    }
}

/// Lines of at most `room` columns, broken at blanks; a longer word stays whole.
pub(super) fn wrapped(words: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words.split(' ') {
        if !line.is_empty() && line.width() + 1 + word.width() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_blanks_and_words_stay_whole() {
        assert_eq!(wrapped("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrapped("a verylongword b", 4), ["a", "verylongword", "b"]);
        assert_eq!(wrapped("one line", usize::MAX), ["one line"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
