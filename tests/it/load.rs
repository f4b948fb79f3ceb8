//! Owns the proof that larder judges models as the real `mlx_lm.load` does, case by case.
//!
//! The verdicts of mlx-lm are recorded in `load/verdicts.json`; with `LARDER_TEST_MLX_PYTHON` (a
//! Python that has mlx-lm) they are asked for again.

mod build;
mod cases;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use larder::mlx;
use serde::Deserialize;

/// What mlx-lm said, and which versions said it.
#[derive(Deserialize)]
struct Recorded {
    versions: BTreeMap<String, String>,
    verdicts: BTreeMap<String, Verdict>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Verdict {
    loads: bool,
    says: Option<String>,
}

#[test]
fn write_zoo() {
    let root = Path::new("/tmp/mlxzoo");
    let _ = fs::remove_dir_all(root);
    for case in cases::all() {
        case.folder().write(&root.join(case.name));
    }
}
