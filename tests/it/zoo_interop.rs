//! The zoo against the official Python client: where that warns or fails, larder finds an error or a
//! warning about the same file or repo; what that wrote alone is clean.
//!
//! Ignored on a bare machine: CI installs `huggingface_hub` and sets `LARDER_TEST_PYTHON`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use larder::serve::Serving;
use serde_json::Value;

use crate::support::python::{in_home, python};
use crate::support::report;
use crate::support::zoo::{Member, Zoo, members};
use crate::zoo::{NOT_FOUND_YET, look, places};

/// What Python warns of although nothing is wrong: other programs keep these in the cache as well, and
/// a scan has to leave them alone (hub.md, case 55).
pub(crate) const FOREIGN: &[&str] = &["xet", "version.txt", ".metadata"];

/// A scan that ended without an answer.
const CRASH: &str = "the scan died of ";

/// Python's own words about a cache: a line for each warning of its scan, and one for each repo that
/// `hf cache verify` does not like. One process, since it takes Python half a second to begin.
const ASK: &str = "import contextlib, io, json, sys
from huggingface_hub import scan_cache_dir
from huggingface_hub.cli.hf import main
cache, repos = sys.argv[1], sys.argv[2:]
try:
    warnings = [' '.join(str(w).split()) for w in scan_cache_dir(cache).warnings]
except Exception as error:
    # Some things end the scan of everything, and Python does not say which file it was.
    warnings = [f'the scan died of {error}']
failures = {}
for repo in repos:
    said = io.StringIO()
    sys.argv = ['hf', 'cache', 'verify', repo, '--cache-dir', cache]
    code = 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
            main()
    except SystemExit as end:
        code = end.code
    except Exception as error:
        code = 1
    if code:
        lines = [line.strip() for line in said.getvalue().splitlines()]
        failures[repo] = [l[2:].split(': expected')[0] for l in lines if l.startswith('- ')]
print(json.dumps({'warnings': warnings, 'failures': failures}))";

pub(crate) fn client(zoo: &Zoo, hub: &Serving, program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments);
    in_home(command, &zoo.home(), hub).output().unwrap()
}

/// What Python says of the cache.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Said {
    pub(crate) warnings: Vec<String>,
    /// Files by repo; none where Python names none.
    pub(crate) failures: std::collections::BTreeMap<String, Vec<String>>,
}

pub(crate) fn python_says(zoo: &Zoo, hub: &Serving) -> Said {
    let repos = repos(zoo);
    let mut arguments = vec!["-c", ASK, zoo.told().to_str().unwrap()];
    arguments.extend(repos.iter().map(|(_, repo)| repo.as_str()));
    let output = client(zoo, hub, &python(), &arguments);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Repos of the cache, by folder and by name.
fn repos(zoo: &Zoo) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(zoo.root()).unwrap();
    let folders = entries.map(|entry| entry.unwrap().path());
    folders
        .filter_map(|folder| {
            let name = folder.file_name()?.to_str()?;
            let id = name.strip_prefix("models--")?.replace("--", "/");
            Some((folder, id))
        })
        .collect()
}

/// The findings that a reader should worry about.
fn serious(findings: Vec<Value>) -> Vec<Value> {
    findings
        .into_iter()
        .filter(|finding| finding["severity"] != "note")
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn where_python_warns_or_fails_larder_names_the_same_file() {
    let (mut warned, mut failed) = (0, 0);
    let mut wrong = Vec::new();
    for member in members() {
        let Member { name, .. } = member;
        let zoo = Zoo::with(&member);
        let hub = Serving::start(zoo.catalogue.clone(), Vec::new())
            .await
            .unwrap();
        let findings = serious(look(&zoo, true).findings);
        let touched: BTreeSet<PathBuf> = findings
            .iter()
            .flat_map(|finding| places(&zoo, finding))
            .collect();
        let is_known_gap = NOT_FOUND_YET.iter().any(|(known, ..)| *known == name);
        let mut miss = |what: String| {
            if !is_known_gap {
                wrong.push(format!("{name}: {what}"));
            }
        };
        let said = python_says(&zoo, &hub);
        for warning in said.warnings {
            let is_foreign = FOREIGN
                .iter()
                .any(|entry| warning.contains(zoo.root().join(entry).to_str().unwrap()));
            if is_foreign {
                continue;
            }
            warned += 1;
            report(&format!("{name}: {warning}"));
            let is_named = |place: &PathBuf| {
                place.ancestors().any(|part| {
                    part != zoo.root()
                        && part.starts_with(zoo.root())
                        && warning.contains(part.to_str().unwrap())
                })
            };
            let is_told = if warning.starts_with(CRASH) {
                !touched.is_empty()
            } else {
                touched.iter().any(is_named)
            };
            if !is_told {
                miss(format!("Python's scan says {warning}; larder {touched:?}"));
            }
        }
        for (folder, repo) in repos(&zoo) {
            let Some(files) = said.failures.get(&repo) else {
                continue;
            };
            failed += 1;
            report(&format!("{name}: `hf cache verify` fails for {files:?}"));
            if files.is_empty() && !touched.iter().any(|place| place.starts_with(&folder)) {
                miss(format!(
                    "`hf cache verify {repo}` fails; larder says nothing"
                ));
            }
            for file in files {
                let is_named = findings.iter().any(|finding| {
                    finding["repo"] == repo.as_str() && {
                        let by_place = places(&zoo, finding);
                        finding["file"] == file.as_str()
                            || by_place.iter().any(|place| place.ends_with(file))
                    }
                });
                if !is_named {
                    miss(format!(
                        "`hf cache verify {repo}` fails for {file}; larder {touched:?}"
                    ));
                }
            }
        }
    }
    report(&format!(
        "Python's scan warned {warned} times, `hf cache verify` failed {failed} times"
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(warned >= 8 && failed >= 8, "{warned} {failed}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn what_python_alone_wrote_is_clean() {
    let mut zoo = Zoo::new();
    let models = ["zoo/python-one", "zoo/python-two", "zoo/python-three"].map(|name| {
        zoo.known(name);
        name
    });
    let hub = Serving::start(zoo.catalogue.clone(), Vec::new())
        .await
        .unwrap();
    let hf = python().with_file_name("hf");
    let told = zoo.told().to_str().unwrap().to_owned();
    let of_loaders = ["--include", "*.json", "--include", "*.safetensors"];
    for (model, files) in [
        (models[0], &[][..]),
        (models[1], &["config.json", "README.md"]),
        (models[2], &of_loaders),
    ] {
        let arguments = [&["download", model], files, &["--cache-dir", &told]].concat();
        let output = client(&zoo, &hub, &hf, &arguments);
        assert!(output.status.success(), "{output:?}");
    }
    // A question for what does not exist leaves a mark.
    let ask = format!(
        "from huggingface_hub import hf_hub_download
try:
    hf_hub_download('{}', 'added_tokens.json', cache_dir='{told}')
except Exception as error:
    print(type(error).__name__)",
        models[0]
    );
    let output = client(&zoo, &hub, &python(), &["-c", &ask]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        zoo.root()
            .join("models--zoo--python-one/.no_exist")
            .is_dir()
    );
    let seen = look(&zoo, true);
    assert_eq!(seen.changes, [""; 0]);
    // Of the second model only two files were asked for: that is said, and nothing else.
    let (partial, other): (Vec<_>, Vec<_>) = serious(seen.findings)
        .into_iter()
        .partition(|finding| finding["repo"] == models[1]);
    assert!(other.is_empty(), "{other:#?}");
    for finding in partial {
        let rule = finding["rule"].as_str().unwrap();
        assert!(
            ["missing-files", "half-written"].contains(&rule),
            "{finding:#}"
        );
    }
    let said = python_says(&zoo, &hub);
    assert!(
        said.warnings.is_empty() && said.failures.is_empty(),
        "{said:?}"
    );
}
