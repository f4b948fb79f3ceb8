//! Owns the two lines that stay in the scrollback: what is complete and where, and what is not.

use super::facts::Facts;
use super::pulling;
use crate::domain::PullRequest;
use crate::store::{Phase, Pull, Store, count, size};

/// The lines, without control characters.
pub(super) fn lines(store: &Store, facts: &Facts) -> [String; 2] {
    [complete(store, facts), missing(store, facts)]
}

fn complete(store: &Store, facts: &Facts) -> String {
    let done: Vec<&Pull> = store
        .latest_pulls()
        .into_iter()
        .filter(|pull| pull.result().is_some())
        .collect();
    let text = match done.as_slice() {
        [] => {
            let models = store.shelf().models().unwrap_or_default().len();
            let word = if store.pulls().any(|pull| pull.fetched_bytes() > 0) {
                "nothing new is complete"
            } else {
                "nothing was fetched"
            };
            format!(
                "larder: {word}; {}, {} in {}",
                count(models, "model"),
                size(store.shelf().size_bytes()),
                facts.short_path(&facts.cache_dir)
            )
        }
        [pull] => {
            let snapshot = pull.result().map_or("", |result| result.snapshot.as_str());
            format!(
                "larder: {} is complete and {}: {}",
                pull.target().repo,
                if pull.result().is_some_and(|result| result.is_verified) {
                    "verified"
                } else {
                    "its sizes are right"
                },
                facts.short_path(snapshot)
            )
        }
        [first, ..] => format!(
            "larder: {} are complete, {} among them; in {}",
            count(done.len(), "model"),
            first.target().repo,
            facts.short_path(&facts.cache_dir)
        ),
    };
    crate::domain::sanitize(&text)
}

fn missing(store: &Store, facts: &Facts) -> String {
    let open: Vec<&Pull> = store
        .latest_pulls()
        .into_iter()
        .filter(|pull| pull.result().is_none())
        .filter(|pull| pull.phase() != Phase::Ended || !pull.is_import())
        .collect();
    let text = match open.first() {
        None => match (store.shelf().trouble(), store.shelf().findings().len()) {
            (Some(failure), _) => format!("larder: the cache cannot be read: {failure}"),
            (None, 0) => "larder: nothing is missing and nothing was found wrong".to_owned(),
            (None, findings) => format!(
                "larder: {}; `{}` shows them",
                count(findings, "finding"),
                facts.call("status")
            ),
        },
        Some(pull) => {
            let target = pull.target();
            let request = PullRequest::new(target.repo.clone(), target.revision.clone());
            let (files, of) = pull.files_in_place();
            let call = if facts.story.is_empty() {
                format!("`{}` goes on", pulling::pull_call(facts, &request))
            } else {
                // The demo's Hub ends with it.
                "`larder demo` shows it from the beginning".to_owned()
            };
            let state = if pull.phase() == Phase::Ended && !pull.failures().is_empty() {
                let code = pull.failures().first().map(|failure| failure.code.name());
                format!("failed ({})", code.unwrap_or_default())
            } else {
                "is not complete".to_owned()
            };
            let others = match open.len() {
                1 => String::new(),
                others => format!(" (and {} more)", others - 1),
            };
            format!(
                "larder: {} {state}, {files} of {} in place{others}; {call}",
                target.repo,
                count(of, "file"),
            )
        }
    };
    crate::domain::sanitize(&text)
}

#[cfg(test)]
mod tests {
    use super::super::stage::facts;
    use super::*;
    use crate::store::script::Script;

    #[test]
    fn what_is_complete_is_named_with_its_place() {
        let [complete, missing] = lines(&Script::complete().fold(), &facts());
        assert!(
            complete.contains("gemma-2-2b-it-4bit is complete and verified: /cache/"),
            "{complete}"
        );
        assert!(missing.contains("nothing is missing"), "{missing}");
    }

    #[test]
    fn a_pull_that_was_started_again_is_what_counts() {
        let mut store = Script::broken().fold();
        for mut stamped in Script::complete().events {
            stamped.job = crate::domain::JobId(1);
            crate::store::reduce(&mut store, &stamped);
        }
        assert_eq!(store.pulls().count(), 2);
        let [complete, missing] = lines(&store, &facts());
        assert!(complete.contains("is complete and verified"), "{complete}");
        assert!(missing.contains("nothing is missing"), "{missing}");
    }

    #[test]
    fn what_is_not_says_how_to_go_on() {
        let [complete, missing] = lines(&Script::broken().fold(), &facts());
        assert!(complete.contains("nothing new is complete"), "{complete}");
        assert!(
            missing.contains("0 of 6 files in place")
                && missing.contains("`larder pull mlx-community/gemma-2-2b-it-4bit` goes on"),
            "{missing}"
        );
    }
}
