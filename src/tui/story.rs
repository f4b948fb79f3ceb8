//! Owns the demo's story: which of its sentences is told now.
//!
//! Pure: what happened is the store's; each sentence stays long enough to be read.

use super::facts::{Chapter, Facts, Moment};
use super::ui::Ui;
use crate::domain::FailureCode;
use crate::store::{AttemptEnd, FileStatus, Pull, Store};

/// How long a sentence stays before the next one takes its place.
const READING_MS: u64 = 7_000;

/// Brings the story on by at most one sentence.
pub(super) fn go_on(ui: &mut Ui, store: &Store, facts: &Facts, now_ms: u64) {
    if now_ms < ui.chapter_until_ms {
        return;
    }
    let Some(pull) = store.pulls().next() else {
        return;
    };
    let next = (0..facts.story.len())
        .find(|at| !ui.chapters.contains(at) && has_come(pull, &facts.story[*at]));
    if let Some(at) = next {
        ui.chapters.push(at);
        ui.chapter_until_ms = now_ms + READING_MS;
    }
}

/// The sentence told now: its number, how many there are, and the words.
pub(super) fn told<'a>(ui: &Ui, facts: &'a Facts) -> Option<(usize, usize, &'a str)> {
    if facts.story.is_empty() {
        return None;
    }
    let count = facts.story.len();
    Some(match ui.chapters.last() {
        Some(at) => (ui.chapters.len(), count, facts.story[*at].text.as_str()),
        None => (
            0,
            count,
            "A small model is served from this machine; nothing leaves it. On the way some things go wrong: watch.",
        ),
    })
}

fn has_come(pull: &Pull, chapter: &Chapter) -> bool {
    let Some(file) = pull.files().find(|file| file.path.as_str() == chapter.file) else {
        return false;
    };
    match chapter.moment {
        Moment::Done => match file.status {
            FileStatus::Done | FileStatus::Reused { .. } => true,
            FileStatus::Queued
            | FileStatus::Waiting { .. }
            | FileStatus::Connecting { .. }
            | FileStatus::Downloading
            | FileStatus::Stalled { .. }
            | FileStatus::Retrying { .. }
            | FileStatus::Verifying
            | FileStatus::Failed { .. }
            | FileStatus::Cancelled
            | FileStatus::Paused => false,
        },
        Moment::Failed(code) => pull
            .attempts(file.file)
            .any(|attempt| failed_with(attempt.end.as_ref()) == Some(code)),
    }
}

fn failed_with(end: Option<&AttemptEnd>) -> Option<FailureCode> {
    match end? {
        AttemptEnd::Failed(failure) => Some(failure.code),
        AttemptEnd::Done | AttemptEnd::Reused | AttemptEnd::Cancelled | AttemptEnd::Paused => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::facts;
    use super::*;
    use crate::store::script::Script;

    #[test]
    fn each_sentence_has_its_time() {
        let mut facts = facts();
        let chapter = |file: &str, moment, text: &str| Chapter {
            file: file.to_owned(),
            moment,
            text: text.to_owned(),
        };
        facts.story = vec![
            chapter(
                "tokenizer.json",
                Moment::Failed(FailureCode::Reset),
                "never",
            ),
            chapter(
                "model.safetensors",
                Moment::Failed(FailureCode::Reset),
                "cut",
            ),
            chapter("model.safetensors", Moment::Done, "done"),
        ];
        let store = Script::complete().fold();
        let mut ui = Ui::new(&facts);
        assert_eq!(told(&ui, &facts).unwrap().0, 0);
        for (now_ms, words) in [
            (0, "cut"),
            (6_999, "cut"),
            (7_000, "done"),
            (90_000, "done"),
        ] {
            go_on(&mut ui, &store, &facts, now_ms);
            assert_eq!(told(&ui, &facts).unwrap().2, words);
        }
        assert_eq!(told(&ui, &super::super::stage::facts()), None);
    }
}
