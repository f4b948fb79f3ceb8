//! Folders that cannot be written: what is right in them is right, and nothing is tried.

use std::fs;

use super::{traces, visible};
use crate::support::scene::{Beginning, Kitchen, MODEL};
use crate::support::seam::EVERY_CHANGE;

#[test]
fn a_whole_model_in_a_folder_that_cannot_be_written_is_complete_and_nothing_is_tried() {
    let mut kitchen = Kitchen::new();
    let table = kitchen.table(Beginning::Nothing);
    let dir = table.path().join("dir");
    let words = ["--local-dir", "dir", MODEL];
    table.pull(&words, None).expect_complete();
    kitchen.sent_bytes();
    let before = traces(&dir);
    let seam = table.seam(&dir).always(libc::EROFS, EVERY_CHANGE);
    table.pull(&words, Some(&seam)).expect_complete();
    let log = seam.log();
    let tried = log.0.iter().filter(|line| line.outcome == "failed-too");
    let tried: Vec<String> = tried
        .map(|line| format!("{} {}", line.call, line.label))
        .collect();
    assert!(tried.is_empty(), "{tried:?}");
    assert!(traces(&dir) == before);
    assert_eq!(kitchen.sent_bytes(), 0);

    // Without its note a file is as right, and that it cannot be noted is told.
    fs::remove_file(dir.join(".cache/huggingface/download/config.json.metadata")).unwrap();
    let seam = table.seam(&dir).always(libc::EROFS, EVERY_CHANGE);
    let ran = table.pull(&words, Some(&seam));
    ran.expect_complete();
    assert!(ran.stderr.contains("noted for Python"), "{}", ran.stderr);
    assert_eq!(kitchen.sent_bytes(), 0);
}

#[test]
fn a_model_that_is_missing_in_a_folder_that_cannot_be_written_fails_with_a_reason() {
    let mut kitchen = Kitchen::new();
    let table = kitchen.table(Beginning::Nothing);
    let dir = table.path().join("dir");
    fs::create_dir(&dir).unwrap();
    let seam = table.seam(&dir).always(libc::EROFS, EVERY_CHANGE);
    let ran = table.pull(&["--local-dir", "dir", MODEL], Some(&seam));
    assert_eq!(ran.code, Some(7), "{ran:#?}");
    assert!(ran.stderr.contains("ead-only"), "{}", ran.stderr);
    assert!(visible(&dir).is_empty());
}
