//! The seam between larder and the file system: `seam.c` is compiled, put before the binary, told at
//! which step to do what; its log is read.
//!
//! Never judges: what a fault may do to a cache is for the tests to say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::program::finish;
use super::zoo::Zoo;

/// The library, compiled once for each text of it.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    const TEXT: &str = include_str!("seam.c");

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = TEXT.bytes().fold(5_381_u64, |hash, byte| {
        hash.wrapping_mul(33) ^ u64::from(byte)
    });
    let library = folder.join(format!("seam-{name:016x}.so"));
    if !library.exists() {
        // Under a name of its own first: other tests may do the same.
        let own = folder.join(format!("seam-{name:016x}.{}", std::process::id()));
        let source = own.with_extension(format!("{}.c", std::process::id()));
        fs::create_dir_all(folder).unwrap();
        fs::write(&source, TEXT).unwrap();
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&own)
            .arg(&source)
            .arg("-lpthread")
            .output()
            .expect("a machine that builds Rust has `cc`");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        fs::remove_file(source).unwrap();
        fs::rename(own, &library).unwrap();
    }
    library
});

/// Says what was tried, to whoever runs the tests with `--nocapture`.
#[expect(
    clippy::print_stdout,
    reason = "figures are for the reader of a long run"
)]
pub(crate) fn tell(words: &str) {
    println!("{words}");
}

/// Every call that changes something.
pub(crate) const EVERY_CHANGE: &str =
    "openw,create,write,truncate,mkdir,symlink,link,rename,unlink,rmdir,chmod,allocate";

/// One step: the call and its path, and the how manieth of its kind, from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    /// `write models--a--b/blobs/….#.incomplete`.
    pub(crate) name: String,
    pub(crate) nth: usize,
}

impl Step {
    /// The call alone.
    pub(crate) fn call(&self) -> &str {
        self.name.split(' ').next().unwrap()
    }
}

/// What happens at a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It fails with this error, and so do these calls from then on.
    Fails { errno: i32, onwards: &'static str },
    /// It writes half of what it was given.
    Short,
    /// The process dies before it.
    KillBefore,
    /// The process dies after it.
    KillAfter,
}

/// A library to be put before a command.
pub(crate) struct Seam {
    root: PathBuf,
    log: PathBuf,
    keep: Option<PathBuf>,
    at: Option<(Step, Fault)>,
}

impl Seam {
    /// Looks at what happens below `root`.
    pub(crate) fn at(root: &Path, log: &Path) -> Self {
        // A log is of one run.
        let _ = fs::remove_file(log);
        Self {
            root: root.to_owned(),
            log: log.to_owned(),
            keep: None,
            at: None,
        }
    }

    /// What is to go wrong.
    pub(crate) fn with(mut self, step: &Step, fault: Fault) -> Self {
        self.at = Some((step.clone(), fault));
        self
    }

    /// What is wrong from the beginning.
    pub(crate) fn always(self, errno: i32, onwards: &'static str) -> Self {
        let any = Step {
            name: "*".to_owned(),
            nth: 1,
        };
        self.with(&any, Fault::Fails { errno, onwards })
    }

    /// Gives files that lose their last name another one in `folder`, so that it can be undone.
    pub(crate) fn keeping(mut self, folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        self.keep = Some(folder.to_owned());
        self
    }

    /// Puts the library before a command.
    pub(crate) fn before(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &*LIBRARY)
            .env("SEAM_ROOT", &self.root)
            .env("SEAM_LOG", &self.log);
        if let Some(folder) = &self.keep {
            command.env("SEAM_KEEP", folder);
        }
        let Some((step, fault)) = &self.at else {
            return;
        };
        command
            .env("SEAM_STEP", &step.name)
            .env("SEAM_NTH", step.nth.to_string());
        let what = match fault {
            Fault::Fails { errno, onwards } => {
                command
                    .env("SEAM_ERRNO", errno.to_string())
                    .env("SEAM_ONWARDS", onwards);
                "fail"
            }
            Fault::Short => "short",
            Fault::KillBefore => "kill-before",
            Fault::KillAfter => "kill-after",
        };
        command.env("SEAM_WHAT", what);
    }

    /// What happened, once the process is gone.
    pub(crate) fn log(&self) -> Log {
        Log::read(&self.log)
    }
}

/// Runs the binary for the user of a zoo, without a network and with something going wrong; what happened.
pub(crate) fn run_in(zoo: &Zoo, arguments: &[&str], fault: Option<(&Step, Fault)>) -> Log {
    let seam = Seam::at(&zoo.user(), &zoo.home().join("seam.log"));
    let seam = match fault {
        Some((step, fault)) => seam.with(step, fault),
        None => seam,
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(arguments).args(["--offline", "--json"]);
    zoo.tell(&mut command);
    seam.before(&mut command);
    finish(&mut command);
    seam.log()
}

/// A death before each of these steps and after the last: after one is before the next.
pub(crate) fn deaths(steps: &[Step]) -> Vec<(&Step, Fault)> {
    let mut deaths: Vec<_> = steps.iter().map(|step| (step, Fault::KillBefore)).collect();
    deaths.extend(steps.last().map(|step| (step, Fault::KillAfter)));
    deaths
}

/// One call that happened.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) call: String,
    /// What is random in the path is `#`.
    pub(crate) label: String,
    /// Below the folder; the new name of what gets another.
    pub(crate) path: String,
    pub(crate) other: String,
    pub(crate) inode: u64,
    /// Of a write; the new length of a truncation.
    pub(crate) offset: i64,
    pub(crate) length: u64,
    /// Its length before; -1 if there was nothing.
    pub(crate) before: i64,
    /// The name under which what lost its name is kept, or whether something was there.
    pub(crate) kept: String,
    pub(crate) outcome: String,
}

/// All calls of a run, in the order in which they happened.
#[derive(Debug)]
pub(crate) struct Log(pub(crate) Vec<Line>);

impl Log {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(|line| {
            let mut words = line.split('\t');
            let mut word = || words.next().unwrap().to_owned();
            Line {
                number: word().parse().unwrap(),
                call: word(),
                label: word(),
                path: word(),
                other: word(),
                inode: word().parse().unwrap(),
                offset: word().parse().unwrap(),
                length: word().parse().unwrap(),
                before: word().parse().unwrap(),
                kept: word(),
                outcome: word(),
            }
        });
        Self(lines.collect())
    }

    /// Fails if a call was made that a file system which cannot be written refuses.
    #[track_caller]
    pub(crate) fn assert_nothing_tried(&self) {
        let tried = self.0.iter().filter(|line| line.outcome == "failed-too");
        let tried: Vec<String> = tried
            .map(|line| format!("{} {}", line.call, line.label))
            .collect();
        assert!(tried.is_empty(), "{tried:?}");
    }

    /// Every step, so that it can be found again in another run.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let steps = self.0.iter().map(|line| {
            let name = format!("{} {}", line.call, line.label);
            let nth = counts.entry(name.clone()).or_default();
            *nth += 1;
            Step { name, nth: *nth }
        });
        steps.collect()
    }

    /// The steps of them that change something.
    pub(crate) fn changes(&self) -> Vec<Step> {
        let mut steps = self.steps();
        steps.retain(|step| step.call() != "open");
        steps
    }

    /// Whether what was to go wrong did.
    pub(crate) fn has_happened(&self) -> bool {
        self.0.iter().any(|line| {
            let outcome = line.outcome.as_str();
            matches!(outcome, "failed" | "short") || outcome.starts_with("killed")
        })
    }
}
