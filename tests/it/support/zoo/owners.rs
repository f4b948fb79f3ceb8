//! A cache of one user with things in it that belong to another: what happens after `sudo hf download`,
//! or on a machine that several people use.
//!
//! Only root can give files away. Whoever else runs the tests takes the rights from himself, which is
//! less, and the most that he can do.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Zoo;

/// Who looks: nobody in particular.
const READER: u32 = 65_534;
/// Who keeps things to himself.
const OTHER: u32 = 54_321;

impl Zoo {
    /// Gives all of it to a user without any privilege, who will be the one that looks, and some
    /// paths to another who keeps them to himself. Returns the mode that these have.
    pub(crate) fn share_with_another(&mut self, kept: &[PathBuf]) -> u32 {
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            self.reader = Some(READER);
            drop(self.home());
            give(self.scratch.path(), READER);
            set_mode(self.scratch.path(), 0o755);
        }
        let mode = if is_root { 0o700 } else { 0 };
        for path in kept {
            if is_root {
                give(path, OTHER);
            }
            set_mode(path, mode);
        }
        mode
    }

    /// Lets everybody in again, so that it can be cleared away.
    pub(crate) fn open_again(kept: &[PathBuf]) {
        for path in kept {
            set_mode(path, 0o755);
        }
    }

    /// The binary, where whoever looks can run it: a checkout may lie in a home that he may not enter.
    pub(crate) fn program(&self) -> PathBuf {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_larder"));
        let mut trial = Command::new(&built);
        self.tell(&mut trial);
        if self.reader.is_none() || trial.arg("--version").output().is_ok() {
            return built;
        }
        let copy = self.home().join("larder");
        if !copy.exists() {
            fs::copy(&built, &copy).unwrap();
        }
        copy
    }
}

fn give(path: &Path, user: u32) {
    lchown(path, Some(user), Some(user)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
