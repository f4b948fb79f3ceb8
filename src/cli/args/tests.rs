//! Proves the grammar: what is taken, what is refused, what the help says.

use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::domain::RepoKind;

fn pull(line: &[&str]) -> PullArgs {
    let line = ["larder", "pull"].iter().chain(line);
    match Args::try_parse_from(line).unwrap().verb {
        Some(Verb::Pull(args)) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_grammar_is_sound() {
    Args::command().debug_assert();
}

#[test]
fn the_help_names_every_exit_code() {
    let help = Args::command().render_long_help().to_string();
    for code in FailureCode::ALL {
        let exit = format!("  {}", code.exit_code());
        assert!(
            help.lines().any(|line| line.starts_with(&exit)) || help.contains(&exit[1..]),
            "{code} gives {exit}"
        );
    }
}

#[test]
fn help_reads_well_at_80_columns() {
    let mut text = String::new();
    for name in [
        "", "pull", "ls", "status", "verify", "doctor", "locks", "purge", "report", "demo",
    ] {
        let mut command = Args::command().term_width(80);
        command.build();
        let help = match command.find_subcommand_mut(name) {
            Some(command) => command.render_help(),
            None => command.render_help(),
        };
        text.push_str(&help.to_string());
        text.push_str("\n=====\n");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_repo_is_whatever_people_paste() {
    let request = pull(&["org/m@v1"]).request().unwrap();
    assert_eq!(request.revision, Revision::new("v1").unwrap());
    let request = pull(&["https://huggingface.co/org/m/blob/dev/sub/a.json"])
        .request()
        .unwrap();
    assert_eq!(request.files, ["sub/a.json"]);
    assert_eq!(request.revision, Revision::new("dev").unwrap());
    let request = pull(&["datasets/o/d", "x", "y"]).request().unwrap();
    assert_eq!(request.repo.kind(), RepoKind::Dataset);
    assert_eq!(request.files, ["x", "y"]);
    assert_eq!(request.revision, Revision::main());
}

#[test]
fn contradictions_are_usage() {
    for line in [
        &["org/m@v1", "--revision", "v2"][..],
        &["https://huggingface.co/org/m/blob/main/a.json", "--all"],
        &["org/m", "--revision", "../x"],
        &["a b"],
        &["https://huggingface.co"],
    ] {
        let failure = pull(line).request().unwrap_err();
        assert_eq!(failure.code, FailureCode::Usage, "{line:?}");
    }
    assert!(pull(&["org/m@v1", "--revision", "v1"]).request().is_ok());
    for line in [
        &["org/m", "a", "--include", "b"][..],
        &["org/m", "--all", "--include", "b"],
        &["org/m", "--connections", "0"],
        &["org/m", "-v", "-q"],
        &["org/m", "--color", "pink"],
        &[],
    ] {
        let line = ["larder", "pull"].iter().chain(line);
        assert!(Args::try_parse_from(line.clone()).is_err(), "{line:?}");
    }
}

#[test]
fn the_call_again_is_the_call() {
    let line = [
        "org/m@v1",
        "--include",
        "*.json",
        "--exclude",
        "it's",
        "--force",
        "--revision",
        "v1",
    ];
    let args = pull(&line);
    assert_eq!(
        args.call(),
        r"larder pull org/m@v1 --revision v1 --include '*.json' --exclude 'it'\''s' --force"
    );
    assert_eq!(pull(&["o/m", "a b", "c"]).call(), "larder pull o/m 'a b' c");
}

#[test]
fn patterns_and_globals_go_where_people_put_them() {
    let args = Args::try_parse_from([
        "larder",
        "--json",
        "pull",
        "o/m",
        "--include",
        "*.json",
        "--include=a*",
        "--exclude",
        "b",
        "-vv",
    ])
    .unwrap();
    assert!(args.globals.json);
    assert_eq!(args.globals.verbose, 2);
    let Some(Verb::Pull(pull)) = args.verb else {
        panic!("not a pull");
    };
    assert_eq!(pull.include, ["*.json", "a*"]);
    assert_eq!(pull.exclude, ["b"]);
}
