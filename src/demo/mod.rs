//! Owns the stage: `serve` over a small generated model, with the faults and the story of
//! `larder demo`. Nothing touches the disk or the network beyond loopback.

mod model;

use std::io;

use crate::domain::{RepoId, Revision};
use crate::serve::{Catalogue, Effect, Fault, Matcher, Origin, Serving};

/// A running demo Hub. Dropping it ends it.
pub struct Stage {
    serving: Serving,
}

/// How fast the slow file comes.
const SLOW_BYTES_PER_S: u64 = 30_000;
/// Where the weights are cut, in bytes.
const CUT_AT: u64 = 7_000_000;
/// How fast the weights come, so that one can watch.
const WEIGHTS_BYTES_PER_S: u64 = 2_000_000;

impl Stage {
    /// Opens the stage.
    ///
    /// # Errors
    /// When no loopback port can be opened.
    pub async fn start() -> io::Result<Self> {
        let mut catalogue = Catalogue::new();
        let repo = catalogue.repo(&model::repo());
        let commit = repo.commit(model::files());
        repo.branch(Revision::main().as_str(), commit);
        let weights = || Matcher::path(model::WEIGHTS).origin(Origin::Cdn);
        let slow_weights = Effect::Slow {
            bytes_per_s: WEIGHTS_BYTES_PER_S,
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
                    bytes_per_s: SLOW_BYTES_PER_S,
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
        let stage = Stage::start().await.unwrap();
        assert!(stage.endpoint().starts_with("http://127.0.0.1:"));
        assert_eq!(model::files().len(), 6);
        assert!(Stage::script().iter().all(|line| line.len() <= 78));
    }
}
