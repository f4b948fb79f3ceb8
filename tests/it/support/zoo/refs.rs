//! Members whose refs are wrong.

use larder::domain::{Rule, Severity};

use super::{Member, Zoo, member};

const MALFORMED: &[(Rule, Severity)] = &[(Rule::MalformedRef, Severity::Error)];
const NOWHERE: &[(Rule, Severity)] = &[(Rule::RefToNowhere, Severity::Error)];
const LEFTOVER: &[(Rule, Severity)] = &[(Rule::LeftoverRef, Severity::Warning)];

/// A whole model whose `main` holds what `text` makes of the commit.
fn malformed(zoo: &mut Zoo, name: &str, text: impl FnOnce(&str) -> Vec<u8>) {
    let model = zoo.model(name);
    model.write_ref("main", text(model.commit()));
    zoo.expect(Rule::MalformedRef, [model.reference("main")]);
}

pub(super) const MEMBERS: &[Member] = &[
    member(
        "ref_with_a_line_end",
        |zoo| {
            malformed(zoo, "zoo/ref-newline", |commit| {
                format!("{commit}\n").into()
            });
        },
        MALFORMED,
    ),
    member(
        "ref_empty",
        |zoo| {
            malformed(zoo, "zoo/ref-empty", |_| Vec::new());
        },
        MALFORMED,
    ),
    member(
        "ref_short",
        |zoo| {
            malformed(zoo, "zoo/ref-short", |commit| commit[..7].into());
        },
        MALFORMED,
    ),
    member(
        "ref_of_garbage",
        |zoo| {
            malformed(zoo, "zoo/ref-garbage", |_| vec![0xff, 0xfe, 0, 0x1b, b'[']);
        },
        MALFORMED,
    ),
    member(
        "ref_to_nowhere",
        |zoo| {
            let model = zoo.model("zoo/ref-nowhere");
            model.write_ref("older", "5".repeat(40));
            zoo.expect(Rule::RefToNowhere, [model.reference("older")]);
        },
        NOWHERE,
    ),
    member(
        "ref_before_the_first_file",
        |zoo| {
            let model = zoo.listed("zoo/ref-first");
            zoo.expect(Rule::RefToNowhere, [model.reference("main")]);
        },
        NOWHERE,
    ),
    member(
        "ref_temp_empty",
        |zoo| {
            let model = zoo.model("zoo/ref-temp-empty");
            model.write_ref("main.1a2b3c4d.tmp", "");
            zoo.expect(Rule::LeftoverRef, [model.reference("main.1a2b3c4d.tmp")]);
        },
        LEFTOVER,
    ),
    member(
        "ref_temp_with_a_commit",
        |zoo| {
            let model = zoo.model("zoo/ref-temp");
            model.write_ref("main.1a2b3c4d.tmp", model.commit());
            zoo.expect(Rule::LeftoverRef, [model.reference("main.1a2b3c4d.tmp")]);
        },
        LEFTOVER,
    ),
    member(
        "ref_temp_nested",
        |zoo| {
            let model = zoo.model("zoo/ref-temp-nested");
            model.write_ref("refs/pr/1", model.commit());
            model.write_ref("refs/pr/1.00ffee11.tmp", model.commit());
            zoo.expect(
                Rule::LeftoverRef,
                [model.reference("refs/pr/1.00ffee11.tmp")],
            );
        },
        LEFTOVER,
    ),
];
