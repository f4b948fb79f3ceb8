//! Every state that a Hub cache can be in: what larder finds in it, which file it names, how bad it
//! says that is, where that comes from, and what it would do; and that looking changes nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::Command;

use larder::domain::Rule;
use serde_json::Value;

use crate::support::peak::peak_of;
use crate::support::program::finish;
use crate::support::zoo::{Expect, Member, Zoo, beside, get_along, members};

/// What a member announces and no rule finds yet, with what is found in its place. The test fails
/// for what is listed here and found all the same, so the list can only shrink.
pub(crate) const NOT_FOUND_YET: &[(&str, Rule, &[Rule])] = &[];

/// What is found in a member and should not be. This list can only shrink as well.
const FOUND_TOO_MUCH: &[(&str, Rule)] = &[];

/// Members that are put together at random, how many at a time, and how often.
const AT_RANDOM: (usize, u64) = (7, 8);

macro_rules! animals {
    ($($name:ident),* $(,)?) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*
    };
}

animals! {
    truncated_blob,
    truncated_without_a_listing,
    too_long,
    wrong_hash,
    wrong_hash_of_a_small_file,
    empty_lfs_blob,
    lfs_pointer_as_content,
    html_page_as_content,
    xml_error_as_content,
    dangling_pointer,
    dangling_nested_pointer,
    folder_in_the_place_of_a_blob,
    empty_folder_in_the_place_of_a_blob,
    absolute_pointer,
    pointer_into_another_repo,
    pointer_out_of_the_cache,
    pointer_to_another_content,
    missing_file,
    blob_without_its_pointer,
    half_written_snapshot,
    orphan_blob,
    wrong_orphan,
    stray_weights,
    would_not_load,
    sparse_blob,
    ref_with_a_line_end,
    ref_empty,
    ref_short,
    ref_of_garbage,
    ref_to_nowhere,
    ref_before_the_first_file,
    ref_temp_empty,
    ref_temp_with_a_commit,
    ref_temp_nested,
    partial_of_python,
    partial_without_a_number,
    partial_of_hf_hub_sync,
    partial_of_hf_hub_tokio,
    partial_with_a_chunk_map,
    partial_of_what_is_there,
    live_partials,
    partial_of_this_minute,
    temp_of_the_umask_probe,
    temp_of_the_link_probe,
    temp_of_the_link_probe_at_the_root,
    temps_of_a_replacement,
    temp_that_is_the_only_copy,
    temp_listing,
    stale_no_exist,
    stale_marker_of_a_dead_larder,
    stale_marker_of_the_old_script,
    healthy,
    healthy_foreign_things,
    pinned_commit_without_a_ref,
    two_commits,
    nested_unicode_paths,
    without_links,
    copied_file,
    branch_folder,
    case_collision,
    unreadable_blob,
    marked_shared_store,
    shared_payload_without_users,
    wrong_shared_payload,
    unmarked_shared_store,
    by_hf_hub,
    by_hf_hub_0_5,
    by_swift_huggingface,
    by_swift_huggingface_in_part,
}

#[test]
fn every_member_has_a_test() {
    let mut names: BTreeSet<&str> = members().iter().map(|member| member.name).collect();
    assert_eq!(names.len(), members().len(), "two have one name");
    assert_eq!(names, TESTED.iter().copied().collect());
    names.extend(beside().iter().map(|member| member.name));
    let listed = NOT_FOUND_YET.iter().map(|(name, ..)| name);
    for name in listed.chain(FOUND_TOO_MUCH.iter().map(|(name, _)| name)) {
        assert!(names.contains(name), "{name} is no member");
    }
}

#[test]
fn a_look_that_leaves_a_trace_is_seen() {
    let zoo = Zoo::with(&member("healthy"));
    let trace = zoo.settle();
    assert_eq!(trace.changes(), [""; 0]);
    let file = trace.any_file();
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    let mount = rustix::fs::statvfs(file).unwrap().f_flag;
    if !mount.contains(rustix::fs::StatVfsMountFlags::NOATIME) {
        let changes = trace.changes();
        assert_eq!(changes.len(), 1, "one file was read: {changes:#?}");
        assert!(changes[0].starts_with(file.to_str().unwrap()));
    }
    std::fs::write(file, &bytes).unwrap();
    assert_eq!(trace.changes().len(), 1, "it was written with what it held");
    let trace = zoo.settle();
    std::fs::write(zoo.root().join("new"), "").unwrap();
    let changes = trace.changes();
    assert!(changes.iter().any(|change| change.ends_with("new is new")));
}

/// Would not load, and hashes right: a warning once it was hashed, as all are here.
const JUDGED: &str = "would_not_load";

#[test]
fn all_of_them_together() {
    let mut zoo = Zoo::behind_a_link();
    let (all, excluded): (Vec<_>, Vec<_>) = members().into_iter().partition(|member| {
        let marked = crate::support::zoo::House::MarkedStore;
        member.house.is_none_or(|house| house == marked)
    });
    assert_eq!(excluded.len(), 1);
    let all: Vec<_> = all.into_iter().filter(|one| one.name != JUDGED).collect();
    for member in &all {
        zoo.add(member);
    }
    together(&zoo, &all, "all");
    let rules = |document: &Value| -> Vec<(String, String)> {
        let word = |finding: &Value, name: &str| finding[name].to_string();
        let all = findings_of(document).into_iter();
        all.map(|finding| (word(&finding, "rule"), word(&finding, "summary")))
            .collect()
    };
    let (doctor, status) = (ask(&zoo, &["doctor"]), ask(&zoo, &["status"]));
    assert_eq!(rules(&doctor), rules(&status), "both faces say the same");
}

#[test]
fn some_of_them_together() {
    let (count, seeds) = AT_RANDOM;
    for seed in 0..seeds {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut chosen: Vec<Member> = Vec::new();
        while chosen.len() < count {
            let all = members();
            let one = all[dice.usize(..all.len())];
            if one.name != JUDGED && chosen.iter().all(|other| get_along(&one, other)) {
                chosen.push(one);
            }
        }
        let mut zoo = Zoo::new();
        for member in &chosen {
            zoo.add(member);
        }
        let names: Vec<_> = chosen.iter().map(|member| member.name).collect();
        together(&zoo, &chosen, &format!("seed {seed}: {names:?}"));
    }
}

/// The small files of a cache as no program writes them: three gigabytes each, and not a byte of it on
/// the disk. Whoever reads them whole takes more memory and time than this allows.
#[test]
fn files_without_end_cost_no_memory() {
    let mut zoo = Zoo::new();
    let model = zoo.model("zoo/endless");
    let map = format!("{}.1a2b3c4d", "ab".repeat(32));
    let partial = model.blobs().join(format!("{map}.incomplete"));
    std::fs::write(partial, "begun").unwrap();
    for file in [
        model.reference("main"),
        model.reference("main.1a2b3c4d.tmp"),
        model.listing(),
        model.folder().join(".manual_download_lock"),
        model.blobs().join(format!("{map}.map.incomplete")),
        model.no_exist("config.json"),
        model.lock(&"cd".repeat(32)),
    ] {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let file = std::fs::File::create(file).unwrap();
        file.set_len(3 << 30).unwrap();
    }
    let trace = [model.reference("main"), model.listing()];
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(["doctor", "--json", "--offline"]);
    zoo.tell(&mut command);
    let (code, peak_bytes) = peak_of(&command);
    assert_eq!(code, 3, "the ref is malformed");
    assert!(peak_bytes < 200 << 20, "{} MB", peak_bytes >> 20);
    for file in trace {
        assert_eq!(file.metadata().unwrap().len(), 3 << 30);
    }
}

fn member(name: &str) -> Member {
    let found = members().into_iter().find(|member| member.name == name);
    found.unwrap_or_else(|| panic!("no member {name}"))
}

/// One member alone.
#[track_caller]
fn check(name: &str) {
    let member = member(name);
    alone(&Zoo::with(&member), member);
}

#[track_caller]
pub(crate) fn alone(zoo: &Zoo, member: Member) {
    let seen = look(zoo, member.by_hash);
    let name = member.name;
    let mut wrong = seen.changes.clone();
    wrong.extend(judge(zoo, &[member], &seen.findings));
    let shown = render(zoo, &seen.findings);
    assert!(wrong.is_empty(), "{}\n\n{shown}", wrong.join("\n"));
    if !seen.findings.is_empty() {
        insta::with_settings!({
            snapshot_path => "snapshots/zoo",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, { insta::assert_snapshot!(name, shown) });
    }
}

/// Several at once: each is found as if it were alone.
#[track_caller]
pub(crate) fn together(zoo: &Zoo, members: &[Member], what: &str) {
    let seen = look(zoo, true);
    let mut wrong = seen.changes.clone();
    wrong.extend(judge(zoo, members, &seen.findings));
    assert!(wrong.is_empty(), "{what}\n{}", wrong.join("\n"));
}

/// What a look came to.
pub(crate) struct Seen {
    pub(crate) findings: Vec<Value>,
    /// What the look changed.
    pub(crate) changes: Vec<String>,
}

/// Lets the real binary look at the cache, and hash it if asked to.
pub(crate) fn look(zoo: &Zoo, by_hash: bool) -> Seen {
    let trace = zoo.settle();
    let document = if by_hash {
        // What changed in a tick of the clock is not remembered, and is told with other words.
        std::thread::sleep(std::time::Duration::from_millis(200));
        ask(zoo, &["doctor", "--verify"])
    } else {
        ask(zoo, &["doctor"])
    };
    Seen {
        findings: findings_of(&document),
        changes: trace.changes(),
    }
}

fn findings_of(document: &Value) -> Vec<Value> {
    document["findings"].as_array().unwrap().clone()
}

pub(crate) fn ask(zoo: &Zoo, arguments: &[&str]) -> Value {
    let mut command = Command::new(zoo.program());
    command.args(arguments).args(["--json", "--offline"]);
    zoo.tell(&mut command);
    let ran = finish(&mut command);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
}

/// Where a finding points: its evidence, and the file in the snapshot.
pub(crate) fn places(zoo: &Zoo, finding: &Value) -> Vec<PathBuf> {
    let evidence = finding["evidence"].as_array().unwrap().iter();
    let mut places: Vec<PathBuf> = evidence
        .map(|seen| PathBuf::from(seen["path"].as_str().unwrap()))
        .collect();
    if let (Some(repo), Some(revision), Some(file)) = (
        finding["repo"].as_str(),
        finding["revision"].as_str(),
        finding["file"].as_str(),
    ) {
        let folder = format!("models--{}", repo.replace('/', "--"));
        places.push(
            zoo.root()
                .join(folder)
                .join("snapshots")
                .join(revision)
                .join(file),
        );
    }
    places
}

/// What is not found and should be, and what is found and should not be.
pub(crate) fn judge(zoo: &Zoo, members: &[Member], findings: &[Value]) -> Vec<String> {
    let fits = |finding: &Value, expect: &Expect| {
        finding["rule"] == expect.rule.name()
            && finding["severity"] == expect.severity.name()
            && places(zoo, finding)
                .iter()
                .any(|place| expect.any_of.contains(place))
    };
    let listed: Vec<_> = NOT_FOUND_YET
        .iter()
        .filter(|(name, ..)| members.iter().any(|member| member.name == *name))
        .collect();
    // What is announced stands in the order of the members.
    let owners = members
        .iter()
        .flat_map(|member| member.finds.iter().map(|_| member.name));
    let mut wrong = Vec::new();
    for (expect, owner) in zoo.expected.iter().zip(owners) {
        let is_found = findings.iter().any(|finding| fits(finding, expect));
        let is_listed = listed
            .iter()
            .any(|(name, rule, _)| *name == owner && *rule == expect.rule);
        let (rule, place) = (expect.rule.name(), expect.any_of[0].display());
        match (is_found, is_listed) {
            (true, false) | (false, true) => {}
            (false, false) => wrong.push(format!("{owner}: no {rule} at {place}")),
            (true, true) => wrong.push(format!(
                "{owner}: {rule} is found now: take it from NOT_FOUND_YET"
            )),
        }
    }
    let surplus = || {
        let all = FOUND_TOO_MUCH.iter();
        all.filter(|(name, _)| members.iter().any(|member| member.name == *name))
    };
    for (name, rule) in surplus() {
        if !findings
            .iter()
            .any(|finding| finding["rule"] == rule.name())
        {
            let rule = rule.name();
            wrong.push(format!(
                "{name}: no {rule} any more: take it from FOUND_TOO_MUCH"
            ));
        }
    }
    for finding in findings {
        let is_surplus = surplus().any(|(_, rule)| finding["rule"] == rule.name());
        let is_expected = zoo.expected.iter().any(|expect| fits(finding, expect));
        let stands_in = listed
            .iter()
            .any(|(_, _, instead)| instead.iter().any(|rule| finding["rule"] == rule.name()));
        if !is_expected && !stands_in && !is_surplus {
            let (rule, summary) = (&finding["rule"], &finding["summary"]);
            wrong.push(format!(
                "{rule} is found for no reason: {summary} {:?}",
                places(zoo, finding)
            ));
        }
    }
    wrong
}

/// The findings as a text that is the same on every machine.
pub(crate) fn render(zoo: &Zoo, findings: &[Value]) -> String {
    let mut text = String::new();
    for finding in findings {
        let word = |name: &str| finding[name].as_str().unwrap_or("-").to_owned();
        let _ = writeln!(text, "{} {}", word("severity"), word("rule"));
        for name in ["repo", "revision", "file", "summary"] {
            let _ = writeln!(text, "  {name}: {}", word(name));
        }
        for seen in finding["evidence"].as_array().unwrap() {
            let of = |name: &str| {
                seen[name]
                    .as_u64()
                    .map_or("-".to_owned(), |n| n.to_string())
            };
            let (path, words) = (
                seen["path"].as_str().unwrap(),
                seen["seen"].as_str().unwrap(),
            );
            assert!(!path.ends_with('/'), "{path}");
            let (bytes, expected) = (of("bytes"), of("expected_bytes"));
            let _ = writeln!(
                text,
                "  evidence: {path}\n    {bytes} of {expected}: {words}"
            );
        }
        let _ = writeln!(text, "  cause: {}", word("cause"));
        for step in finding["plan"]["steps"].as_array().unwrap() {
            let mut step = step.clone();
            step.as_object_mut().unwrap().remove("modified_ms");
            let _ = writeln!(text, "  plan: {step}");
        }
        text.push('\n');
    }
    let text = text.replace(zoo.root().to_str().unwrap(), "<cache>");
    without_ages(&text.replace(zoo.user().to_str().unwrap(), "<user>"))
}

/// The text without what depends on the day and the user.
fn without_ages(text: &str) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    for at in 2..words.len() {
        if words[at].starts_with("ago") && words[at - 2].parse::<u64>().is_ok() {
            words[at - 2] = "<so many>";
            words[at - 1] = "<units>";
        }
        if words[at - 2] == "owned" && words[at - 1] == "by" {
            words[at] = "<user>,";
        }
    }
    words.join(" ")
}
