//! Owns the stage of the dashboard's tests: facts, and an interpreter of a few commands.

use super::facts::{Facts, Offered, Verb, Wish};
use super::theme::{Depth, ThemeName};
use crate::domain::{PullRequest, RepoId, RepoKind, RepoReference, Revision};
use crate::store::Level;

/// What a dashboard in a dark terminal is told.
pub(crate) fn facts() -> Facts {
    Facts {
        version: "0.1.0",
        cache_dir: "/home/me/.cache/huggingface/hub".to_owned(),
        cache_origin: "default".to_owned(),
        endpoint: "https://huggingface.co".to_owned(),
        log_file: Some("/home/me/.local/state/larder/log/larder.2026-11-24.log".to_owned()),
        home: Some("/home/me".to_owned()),
        utc_offset_s: 0,
        places: Vec::new(),
        is_read_only: false,
        is_ascii: false,
        depth: Depth::True,
        is_light: false,
        theme: Some(ThemeName::Dark),
        log_level: Level::Info,
        offered: vec![Offered {
            repo: RepoId::new(RepoKind::Model, "mlx-community/gemma-2-2b-it-4bit").unwrap(),
            title: "Gemma 2 2B".to_owned(),
            size_bytes: 1_490_000_000,
            note: "a small all-rounder".to_owned(),
        }],
        open: None,
        pull: None,
        story: Vec::new(),
        exit_when_done: false,
        interpret,
        verbs: vec![
            Verb {
                name: "pull".to_owned(),
                about: "fetch a model".to_owned(),
                flags: vec!["--all".to_owned(), "--force".to_owned()],
            },
            Verb {
                name: "verify".to_owned(),
                about: "hash what is here".to_owned(),
                flags: Vec::new(),
            },
        ],
    }
}

fn interpret(line: &str) -> Result<Wish, String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "pull" => {
            let reference = RepoReference::parse(rest).map_err(|error| error.to_string())?;
            let revision = reference.revision.unwrap_or_else(Revision::main);
            Ok(Wish::Pull(Box::new(PullRequest::new(
                reference.repo,
                revision,
            ))))
        }
        "verify" => Ok(Wish::Verify(Vec::new())),
        "purge" => Ok(Wish::PurgeIncomplete(Vec::new())),
        "ls" => Ok(Wish::Models),
        "status" => Ok(Wish::Health),
        "demo" => Ok(Wish::ShellOnly),
        _ => Err(format!("there is no command `{verb}`")),
    }
}
