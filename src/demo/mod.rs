//! Owns the stage: `serve` over a small generated model, with the faults and the story of
//! `larder demo`. Nothing touches the disk or the network beyond loopback.

mod model;

use std::io;

use crate::domain::{FailureCode, RepoId, Revision};
use crate::serve::{Catalogue, Effect, Fault, Matcher, Origin, Serving};

/// A running demo Hub. Dropping it ends it.
pub struct Stage {
    serving: Serving,
}

/// Where the weights are cut, in bytes.
const CUT_AT: u64 = 7_000_000;

/// How fast the weights come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So that somebody can read along on the dashboard.
    ToWatch,
    /// So that lines are soon done.
    Quick,
}

impl Pace {
    const fn weights_bytes_per_s(self) -> u64 {
        match self {
            Self::ToWatch => 700_000,
            Self::Quick => 2_000_000,
        }
    }

    const fn tokenizer_bytes_per_s(self) -> u64 {
        match self {
            Self::ToWatch => 15_000,
            Self::Quick => 30_000,
        }
    }
}

impl Stage {
    /// Opens the stage.
    ///
    /// # Errors
    /// When no loopback port can be opened.
    pub async fn start(pace: Pace) -> io::Result<Self> {
        let mut catalogue = Catalogue::new();
        let repo = catalogue.repo(&model::repo());
        let commit = repo.commit(model::files());
        repo.branch(Revision::main().as_str(), commit);
        let weights = || Matcher::path(model::WEIGHTS).origin(Origin::Cdn);
        let slow_weights = Effect::Slow {
            bytes_per_s: pace.weights_bytes_per_s(),
        };
        let faults = vec![
            Fault::new(Matcher::path("config.json"), Effect::Status { code: 503 }).times(1),
            Fault::new(
                Matcher::path("tokenizer_config.json"),
                Effect::FlipByte { at: 100 },
            )
            .times(1),
            Fault::new(
                Matcher::path("tokenizer.json").origin(Origin::Cdn),
                Effect::Slow {
                    bytes_per_s: pace.tokenizer_bytes_per_s(),
                },
            ),
            Fault::new(weights(), slow_weights.clone())
                .and(Effect::ResetAfter { bytes: CUT_AT })
                .times(1),
            Fault::new(weights(), slow_weights),
        ];
        Ok(Self {
            serving: Serving::start(catalogue, faults).await?,
        })
    }

    /// The demo Hub's address.
    pub fn endpoint(&self) -> String {
        self.serving.endpoint()
    }

    /// The model it serves.
    pub fn repo() -> RepoId {
        model::repo()
    }

    /// What is about to happen, for someone who sees larder for the first time.
    pub const fn script() -> &'static [&'static str] {
        &[
            "A small model is served from this machine; nothing leaves it. On the way",
            "config.json is refused once (503), tokenizer_config.json arrives with a",
            "wrong byte, tokenizer.json is slow, and the connection of",
            "model.safetensors is reset half-way. Each gets through, all of it is proven",
            "against the hashes the Hub promised, and only then does it become visible.",
            "",
        ]
    }

    /// The story as the dashboard tells it: a file, what went wrong with it (`None`: nothing, it is
    /// done), and a sentence about that; in the order in which things happen.
    pub fn story() -> Vec<(&'static str, Option<FailureCode>, &'static str)> {
        vec![
            (
                "config.json",
                Some(FailureCode::Server),
                "config.json: the Hub was busy (503). larder waits a moment and asks again; the other files go on meanwhile.",
            ),
            (
                "tokenizer_config.json",
                Some(FailureCode::ChecksumMismatch),
                "tokenizer_config.json: it arrived with one wrong byte. Its hash gave that away, the bytes were thrown away and fetched afresh: nothing unproven ever becomes visible.",
            ),
            (
                "tokenizer.json",
                None,
                "tokenizer.json: a slow one, and nobody waited for it: files come side by side.",
            ),
            (
                model::WEIGHTS,
                Some(FailureCode::Reset),
                "model.safetensors: the connection was cut half-way. larder goes on from the byte it had, not from the beginning.",
            ),
            (
                model::WEIGHTS,
                None,
                "All of it is here and proven against the hashes the Hub promised; only now apps can see it. Enter shows what happened to a file, ? the keys, q leaves.",
            ),
        ]
    }

    /// What to do next, for someone who has just seen it.
    pub const fn epilogue() -> &'static str {
        "Now a real one: larder pull mlx-community/gemma-2-2b-it-4bit"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_stage_serves_six_files() {
        let stage = Stage::start(Pace::Quick).await.unwrap();
        assert!(stage.endpoint().starts_with("http://127.0.0.1:"));
        assert_eq!(model::files().len(), 6);
        assert!(Stage::script().iter().all(|line| line.len() <= 78));
    }
}
