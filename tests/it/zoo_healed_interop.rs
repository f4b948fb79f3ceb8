//! Every state of the zoo, repaired, and then read by the official Python client: its scan warns of
//! nothing, its verification passes, and what it would prune larder does not call healthy.
//!
//! Ignored on a bare machine: CI installs `huggingface_hub` and sets `LARDER_TEST_PYTHON`.

use std::collections::BTreeSet;

use larder::serve::Serving;
use serde_json::Value;

use crate::support::python::python;
use crate::support::report;
use crate::support::zoo::{Member, Zoo, get_along, members};
use crate::zoo_healed::larder;
use crate::zoo_interop::{FOREIGN, client, python_says};

/// What Python says all the same: of which state, a part of its words, and why a repair does not
/// change that.
const STAYS: &[(&str, &str, &str)] = &[(
    "unmarked_shared_store",
    "/hub/blobs",
    "nobody can tell whether it is a store, and one that has no mark must not be adopted",
)];

/// What `hf cache prune` would take, in its own words, and the unfinished downloads among it.
const PRUNE: &str = "import contextlib, io, json, sys
from huggingface_hub import scan_cache_dir
from huggingface_hub.cli.hf import main
cache = sys.argv[1]
said = io.StringIO()
sys.argv = ['hf', 'cache', 'prune', '--dry-run', '--cache-dir', cache]
try:
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        main()
except SystemExit as end:
    assert not end.code, said.getvalue()
unfinished = [str(file.file_path) for file in scan_cache_dir(cache).incomplete_files]
print(json.dumps({'said': said.getvalue(), 'unfinished': unfinished}))";

/// What a prune would take.
#[derive(Debug, serde::Deserialize)]
struct Pruned {
    said: String,
    unfinished: Vec<String>,
}

impl Pruned {
    fn of(zoo: &Zoo, hub: &Serving) -> Self {
        let arguments = ["-c", PRUNE, zoo.told().to_str().unwrap()];
        let output = client(zoo, hub, &python(), &arguments);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Whether it would take a snapshot.
    fn takes(&self, repo: &str, revision: &str) -> bool {
        let (mut is_in_repo, head) = (false, format!("  - model/{repo}"));
        self.said.lines().any(|line| {
            if line.starts_with("  - ") {
                is_in_repo = line.strip_prefix(&head) == Some(":");
                return line.strip_prefix(&head) == Some(" (entire repo)");
            }
            is_in_repo && line.trim_start().starts_with(revision)
        })
    }
}

/// What Python would take that larder calls healthy, and the snapshots it would take in all.
fn taken(zoo: &Zoo, hub: &Serving) -> (Vec<String>, usize) {
    let pruned = Pruned::of(zoo, hub);
    let (mut wrong, mut count) = (Vec::new(), 0);
    let listed = larder(zoo, hub, &["ls"]);
    for row in listed["models"].as_array().unwrap() {
        let (repo, revision) = (
            row["repo"].as_str().unwrap(),
            row["revision"].as_str().unwrap(),
        );
        let is_taken = pruned.takes(repo, revision);
        count += usize::from(is_taken);
        if is_taken && row["state"] == "complete" && row["is_unreferenced"] != true {
            wrong.push(format!("`hf cache prune` would take {repo} at {revision}"));
        }
    }
    let seen = larder(zoo, hub, &["doctor"]);
    let findings = seen["findings"].as_array().unwrap();
    let unused = findings
        .iter()
        .filter(|finding| finding["rule"] == "unused-payload");
    // The sum is in the first line: so many revisions, downloads and shared blobs.
    let shared = pruned.said.split_once(" unreferenced shared blob");
    let shared = shared.and_then(|(before, _)| before.rsplit(' ').next()?.parse::<usize>().ok());
    if shared.unwrap_or(0) > unused.count() {
        wrong.push(format!("larder does not know of them: {}", pruned.said));
    }
    let status = larder(zoo, hub, &["status"]);
    let known: BTreeSet<&str> = all_texts(&status).into_iter().collect();
    for path in &pruned.unfinished {
        if !known.contains(path.as_str()) {
            wrong.push(format!("larder does not know of the unfinished {path}"));
        }
    }
    (wrong, count)
}

/// Every text in a document.
fn all_texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(all_texts).collect(),
        Value::Object(fields) => fields.values().flat_map(all_texts).collect(),
        _ => Vec::new(),
    }
}

/// All members, so many in a cache as get along: Python takes its time to begin.
fn groups() -> Vec<Vec<Member>> {
    const TOGETHER: usize = 8;

    let mut groups: Vec<Vec<Member>> = Vec::new();
    for member in members() {
        let fitting = groups.iter_mut().find(|group| {
            group.len() < TOGETHER && group.iter().all(|other| get_along(&member, other))
        });
        match fitting {
            Some(group) => group.push(member),
            None => groups.push(vec![member]),
        }
    }
    groups
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn python_finds_nothing_wrong_in_a_repaired_cache_and_prunes_nothing_healthy() {
    let mut wrong = Vec::new();
    let (mut pruned, mut checked) = (0, 0);
    for group in groups() {
        let names: Vec<&str> = group.iter().map(|member| member.name).collect();
        let mut zoo = Zoo::new();
        for member in &group {
            zoo.add(member);
        }
        let hub = Serving::start(zoo.catalogue.clone(), Vec::new())
            .await
            .unwrap();
        zoo.settle();
        let (said, (taken, count)) = tokio::task::block_in_place(|| {
            larder(&zoo, &hub, &["doctor", "--verify", "--fix", "--yes"]);
            (python_says(&zoo, &hub), taken(&zoo, &hub))
        });
        checked += group.len();
        pruned += count;
        wrong.extend(taken.into_iter().map(|words| format!("{names:?}: {words}")));
        let is_foreign = |words: &String| {
            let mut foreign = FOREIGN.iter();
            foreign.any(|entry| words.contains(zoo.root().join(entry).to_str().unwrap()))
        };
        let warnings = said.warnings.into_iter().filter(|it| !is_foreign(it));
        let failures = said.failures.into_iter();
        let failures = failures.map(|(repo, files)| format!("verify of {repo} fails: {files:?}"));
        for words in warnings.chain(failures) {
            let is_known = STAYS
                .iter()
                .any(|(state, part, _)| names.contains(state) && words.contains(part));
            if !is_known {
                wrong.push(format!("{names:?}: {words}"));
            }
        }
    }
    report(&format!(
        "{checked} states; a prune would take {pruned} snapshots"
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        pruned > 0,
        "nothing was to be pruned, so nothing was compared"
    );
}
