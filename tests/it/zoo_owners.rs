//! What belongs to another user and is kept from the one who looks: it is named, with whose it is, and
//! nothing else suffers from it.
//!
//! As root, which CI is, files are really given away and the binary runs as somebody without any
//! privilege; else the rights are taken away, which modes can do, too.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::zoo::{Model, Zoo};
use crate::zoo::{ask, look, places};

const WEIGHTS: &str = "model.safetensors";

/// A cache with a model to spare, and one that another keeps something of.
fn look_at(kept: impl Fn(&Model) -> PathBuf) -> (Zoo, Vec<Value>, PathBuf, u32) {
    let mut zoo = Zoo::of_a_user();
    zoo.model("zoo/own");
    let model = zoo.model("zoo/others");
    let kept = kept(&model);
    let mode = zoo.share_with_another(std::slice::from_ref(&kept));
    let seen = look(&zoo, true);
    assert!(seen.changes.is_empty(), "{:#?}", seen.changes);
    (zoo, seen.findings, kept, mode)
}

/// Every finding is about the model of the other, some are of such a rule and name the path or what
/// is in it, and of the own model all is well.
fn assert_told(zoo: &Zoo, findings: &[Value], rules: &[&str], kept: &Path, mode: u32) {
    let is_of = |finding: &&Value| rules.iter().any(|rule| finding["rule"] == **rule);
    let is_there = |place: &PathBuf| place.starts_with(kept);
    let named: Vec<&Value> = findings
        .iter()
        .filter(is_of)
        .filter(|finding| places(zoo, finding).iter().any(is_there))
        .collect();
    assert!(!named.is_empty(), "{rules:?}: {findings:#?}");
    let evidence = named
        .iter()
        .flat_map(|finding| finding["evidence"].as_array().unwrap());
    let said: Vec<&str> = evidence.filter_map(|seen| seen["seen"].as_str()).collect();
    let said = said.join(" ");
    let mode = format!("{mode:04o}");
    assert!(said.contains("owned by") && said.contains(&mode), "{said}");
    for finding in findings {
        assert_eq!(finding["repo"], "zoo/others", "{finding:#?}");
    }
    let listed = ask(zoo, &["ls"]);
    let own = listed["models"].as_array().unwrap().iter();
    let own: Vec<&Value> = own.filter(|model| model["repo"] == "zoo/own").collect();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0]["state"], "complete", "{own:#?}");
}

#[test]
fn a_blob_that_another_keeps_to_himself_is_named() {
    let (zoo, findings, kept, mode) = look_at(|model| model.blob(WEIGHTS));
    assert_told(&zoo, &findings, &["mixed-permissions"], &kept, mode);
    Zoo::open_again(&[kept]);
}

#[test]
fn a_ref_that_another_keeps_to_himself_is_named() {
    // What a ref holds back says which commits are in use: nothing is said of the rest.
    let (zoo, findings, kept, mode) = look_at(|model| model.reference("main"));
    assert_told(&zoo, &findings, &["unreadable"], &kept, mode);
    Zoo::open_again(&[kept]);
}

#[test]
fn a_repo_that_another_keeps_to_himself_is_named() {
    // What is its user's own and closed to him fails already when its refs are listed.
    let (zoo, findings, kept, mode) = look_at(Model::folder);
    let rules = ["mixed-permissions", "unreadable"];
    assert_told(&zoo, &findings, &rules, &kept, mode);
    Zoo::open_again(&[kept]);
}
