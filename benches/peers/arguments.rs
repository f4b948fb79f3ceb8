//! Owns what the comparison is told.

use std::path::PathBuf;

pub(crate) const HELP: &str = "\
--larder BIN      the binary to measure
--endpoint URL    the server
--repo ORG/NAME   the repo; without it nothing is compared
--rounds N        paired rounds (7)
--tools A,B       of larder, hf, hfrs, aria2, curl, curlZ, ceiling (larder)
--hf BIN          huggingface_hub's `hf`
--hfrs BIN        hf-hub's `hfrs`; followed by `openssl dgst -sha256` and `sync`
--scratch DIR     where the caches go; emptied at the end";

/// What to run, against what, how often.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) larder: PathBuf,
    pub(crate) hf: PathBuf,
    pub(crate) hfrs: PathBuf,
    pub(crate) endpoint: String,
    pub(crate) repo: Option<String>,
    pub(crate) rounds: usize,
    pub(crate) tools: Vec<String>,
    pub(crate) scratch: PathBuf,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            larder: "larder".into(),
            hf: "hf".into(),
            hfrs: "hfrs".into(),
            endpoint: "http://127.0.0.1:8080".to_owned(),
            repo: None,
            rounds: 7,
            tools: vec!["larder".to_owned()],
            scratch: std::env::temp_dir().join("larder-peers"),
        }
    }
}

impl Arguments {
    /// Reads the command line; what Cargo adds by itself is left out.
    pub(crate) fn parse(given: &[String]) -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut words = given
            .iter()
            .filter(|word| !matches!(word.as_str(), "--bench" | "--test" | "--nocapture"));
        while let Some(name) = words.next() {
            let mut value = || words.next().ok_or(format!("`{name}` needs a value"));
            match name.as_str() {
                "--larder" => arguments.larder = value()?.into(),
                "--hf" => arguments.hf = value()?.into(),
                "--hfrs" => arguments.hfrs = value()?.into(),
                "--endpoint" => {
                    value()?
                        .trim_end_matches('/')
                        .clone_into(&mut arguments.endpoint);
                }
                "--repo" => arguments.repo = Some(value()?.clone()),
                "--scratch" => arguments.scratch = value()?.into(),
                "--tools" => {
                    arguments.tools = value()?.split(',').map(ToOwned::to_owned).collect();
                }
                "--rounds" => {
                    arguments.rounds = value()?
                        .parse()
                        .ok()
                        .filter(|rounds| *rounds > 0)
                        .ok_or("`--rounds` is a number from 1")?;
                }
                other => return Err(format!("`{other}` is not known")),
            }
        }
        Ok(arguments)
    }
}
