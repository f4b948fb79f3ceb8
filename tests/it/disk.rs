//! A disk that is full, one that becomes full, a cache that cannot be written: what larder says, what
//! it keeps, and that it goes on afterwards.
//!
//! A disk of one's own needs a mount namespace. Where the system gives none to this user, the test
//! says so and has the calls fail instead.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::support::program::{Ran, Running, finish, wait_until};
use crate::support::scene::{Beginning, Kitchen, MODEL, Table, copy};
use crate::support::seam::{EVERY_CHANGE, tell};
use crate::support::{assert_all_visible_bytes_proven, files_below, traces};

/// A small file system in memory, seen by what runs in its namespace.
struct Disk {
    /// A shell in the namespace; it ends when nothing more comes to read.
    shell: Running,
    _lines: ChildStdin,
    mount: PathBuf,
}

impl Disk {
    /// `None` where the system allows none.
    fn new(mount: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(mount).unwrap();
        let mut shell: Child = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
            .arg("mount -t tmpfs -o \"$2\" larder \"$1\" && : > \"$1/ready\" && exec cat")
            .args(["sh", mount.to_str().unwrap(), options])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let lines = shell.stdin.take().unwrap();
        let mut disk = Self {
            shell: Running(shell),
            _lines: lines,
            mount: mount.to_owned(),
        };
        let mut is_over = false;
        wait_until("the disk", || {
            is_over = disk.shell.0.try_wait().unwrap().is_some();
            is_over || disk.inside().join("ready").exists()
        });
        (!is_over).then_some(disk)
    }

    /// The disk, as it is seen from outside of the namespace.
    fn inside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.shell.0.id()));
        root.join(self.mount.strip_prefix("/").unwrap())
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.shell.0.id()))
            .args(["--user", "--mount", "--preserve-credentials", "--"]);
        command
    }

    #[track_caller]
    fn remount(&self, options: &str) {
        let mut command = self.enter();
        command.args(["mount", "-o", &format!("remount,{options}")]);
        let ran = finish(command.arg(&self.mount));
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    /// `larder pull` in the namespace, with the cache on the disk.
    fn pull(&self, table: &Table) -> Command {
        let mut command = self.enter();
        command.args([env!("CARGO_BIN_EXE_larder"), "pull", "--all", MODEL]);
        table.at_home(&mut command);
        command.env("HF_HUB_CACHE", self.mount.join("hub"));
        command
    }
}

/// Says that there is no disk to try this with.
fn tell_there_is_none(what: &str) {
    let words = "this system gives no mount namespace to this user";
    tell(&format!("{words}: {what} was tried by failing calls only"));
}

#[track_caller]
fn assert_says(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:#?}");
    for word in words {
        assert!(ran.stderr.contains(word), "no `{word}` in {ran:#?}");
    }
}

#[test]
fn a_disk_that_is_too_small_is_told_before_anything_is_written() {
    let mut kitchen = Kitchen::new();
    let table = kitchen.table(Beginning::Nothing);
    let Some(disk) = Disk::new(&table.path().join("mount"), "size=12m") else {
        return tell_there_is_none("a disk that is too small");
    };
    let ran = finish(&mut disk.pull(&table));
    assert_says(&ran, 7, &["disk-full", "free", "--cache-dir"]);
    assert_eq!(files_below(&disk.inside()).len(), 1, "only the test's own");
    disk.remount("size=64m");
    finish(&mut disk.pull(&table)).expect_complete();
    copy(&disk.inside().join("hub"), &table.cache());
    table.assert_whole("with room");
}

#[test]
fn a_disk_that_becomes_full_keeps_what_came_and_the_next_run_goes_on_from_there() {
    let mut kitchen = Kitchen::new();
    let table = kitchen.table(Beginning::Nothing);
    let Some(disk) = Disk::new(&table.path().join("mount"), "size=40m") else {
        tell_there_is_none("a disk that becomes full");
        let seam = table.seam(&table.cache()).always(libc::ENOSPC, "write");
        let ran = table.pull_model(Some(&seam));
        assert_says(&ran, 7, &["disk-full", "--cache-dir"]);
        table.pull_model(None).expect_complete();
        return table.assert_whole("with room");
    };
    kitchen.slow_down(1_000_000);
    let mut command = disk.pull(&table);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = std::thread::spawn(move || finish(&mut command));
    let hub = disk.inside().join("hub");
    let partial = || {
        let files = files_below_if_there(&hub).into_iter();
        let lengths = files
            .filter(|path| path.to_string_lossy().ends_with(".incomplete"))
            .filter_map(|path| path.metadata().ok());
        // It has holes: what was allocated was written.
        lengths.map(|found| found.blocks() * 512).max().unwrap_or(0)
    };
    wait_until("a megabyte of weights", || partial() > 1_500_000);
    let balloon = disk.inside().join("balloon");
    // As much as there is.
    let filled = fs::write(&balloon, vec![1; 40 << 20]);
    assert_eq!(filled.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    let ran = running.join().unwrap();
    assert_says(&ran, 7, &["disk-full", hub_name(&disk), "--cache-dir"]);
    assert!(partial() > 1_000_000, "what came is kept");
    copy(&hub, &table.cache());
    assert_all_visible_bytes_proven(&table.cache());
    fs::remove_dir_all(table.cache()).unwrap();
    fs::remove_file(balloon).unwrap();
    kitchen.speed_up();
    finish(&mut disk.pull(&table)).expect_complete();
    copy(&hub, &table.cache());
    table.assert_whole("with room");
}

fn hub_name(disk: &Disk) -> &str {
    disk.mount.to_str().unwrap()
}

fn files_below_if_there(folder: &Path) -> Vec<PathBuf> {
    // It changes while it is looked at.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder {
                files_below_if_there(&entry.path())
            } else {
                vec![entry.path()]
            }
        })
        .collect()
}

/// Takes away or gives the right to write.
fn set_writable(folder: &Path, is_writable: bool) {
    let mode = match (folder.is_dir(), is_writable) {
        (true, true) => 0o755,
        (true, false) => 0o555,
        (false, true) => 0o644,
        (false, false) => 0o444,
    };
    if folder.is_symlink() {
        return;
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    if folder.is_dir() {
        for entry in fs::read_dir(folder).unwrap() {
            set_writable(&entry.unwrap().path(), is_writable);
        }
    }
}

/// `larder pull` by a user for whom modes count: for root they do not.
fn pull_as_a_user(table: &Table) -> Ran {
    let larder = [env!("CARGO_BIN_EXE_larder"), "pull", "--all", MODEL];
    let mut command = if rustix::process::geteuid().is_root() {
        for folder in table.path().ancestors().take(2) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let everybody = fs::Permissions::from_mode(0o777);
        for folder in ["home", "home/.config", "home/.config/larder"] {
            fs::set_permissions(table.path().join(folder), everybody.clone()).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.args(larder);
        command
    } else {
        let mut command = Command::new(larder[0]);
        command.args(&larder[1..]);
        command
    };
    table.at_home(&mut command);
    // `setpriv` is looked for where programs are.
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    finish(&mut command)
}

#[test]
fn a_whole_model_in_a_cache_that_cannot_be_written_is_complete_and_nothing_is_tried() {
    let mut kitchen = Kitchen::new();
    let table = kitchen.table(Beginning::Nothing);
    table.pull_model(None).expect_complete();
    let before = traces(&table.cache());
    let seam = table.seam(&table.cache()).always(libc::EROFS, EVERY_CHANGE);
    table.pull_model(Some(&seam)).expect_complete();
    seam.log().assert_nothing_tried();
    assert_eq!(traces(&table.cache()), before);

    set_writable(&table.cache(), false);
    let before = traces(&table.cache());
    let ran = pull_as_a_user(&table);
    let after = traces(&table.cache());
    set_writable(&table.cache(), true);
    ran.expect_complete();
    assert_eq!(after, before);

    let Some(disk) = Disk::new(&table.path().join("mount"), "size=64m") else {
        return tell_there_is_none("a file system that is read-only");
    };
    copy(&table.cache(), &disk.inside().join("hub"));
    disk.remount("ro");
    finish(&mut disk.pull(&table)).expect_complete();
}

#[test]
fn a_model_that_is_missing_in_a_cache_that_cannot_be_written_fails_with_a_reason_and_a_way_out() {
    let mut kitchen = Kitchen::new();
    let table = kitchen.table(Beginning::Older);
    let before = (table.look(), traces(&table.cache()));
    let seam = table.seam(&table.cache()).always(libc::EROFS, EVERY_CHANGE);
    let ran = table.pull_model(Some(&seam));
    assert_says(&ran, 7, &["not-writable", "ead-only", "--cache-dir"]);

    set_writable(&table.cache(), false);
    let ran = pull_as_a_user(&table);
    set_writable(&table.cache(), true);
    assert_says(
        &ran,
        7,
        &["permission", "owned by", "mode 0555", "--cache-dir"],
    );
    table.assert_no_worse_than(&before.0, "without the right to write");
    assert_eq!(
        before.1.keys().collect::<Vec<_>>(),
        traces(&table.cache()).keys().collect::<Vec<_>>()
    );

    if let Some(disk) = Disk::new(&table.path().join("mount"), "size=64m") {
        copy(&table.cache(), &disk.inside().join("hub"));
        disk.remount("ro");
        let ran = finish(&mut disk.pull(&table));
        assert_says(&ran, 7, &["not-writable", "ead-only", "--cache-dir"]);
    } else {
        tell_there_is_none("a file system that is read-only");
    }
    table.pull_model(None).expect_complete();
    table.assert_whole("with the right to write");
}
