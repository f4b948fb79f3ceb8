//! The real binary in a home of its own, against a Hub on loopback.
//!
//! Nothing of the caller's environment reaches it, and every wait has a deadline.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use larder::serve::{Catalogue, Fault, Serving};

use super::{Scratch, catalogue, files_below};

/// After this a run has hung.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(10);
/// Short patience: failures that are retried end soon.
const SETTINGS: &str = "retry_base_ms = 10\nretry_cap_s = 1\n";

/// A home, a Hub, and the binary that knows only these.
pub(crate) struct Home {
    scratch: Scratch,
    pub(crate) hub: Serving,
    environment: Vec<(OsString, OsString)>,
}

/// What a run did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) async fn new(catalogue: Catalogue, faults: Vec<Fault>) -> Self {
        let scratch = Scratch::new();
        let hub = Serving::start(catalogue, faults).await.unwrap();
        let folder = scratch.path().join(".config/larder");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.toml"), SETTINGS).unwrap();
        let environment = vec![
            ("HOME".into(), scratch.path().into()),
            ("TMPDIR".into(), scratch.path().into()),
            ("HF_ENDPOINT".into(), hub.endpoint().into()),
        ];
        Self {
            scratch,
            hub,
            environment,
        }
    }

    /// Sets a variable of every run.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path().join(".cache/huggingface/hub")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.cache()
            .join("models--mlx-community--gemma-2-2b-it-4bit/blobs")
    }

    pub(crate) fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// The binary, ready to run.
    pub(crate) fn larder<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    #[track_caller]
    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Ran {
        finish(&mut self.larder(arguments))
    }

    /// Runs a line that somebody was advised to type.
    #[track_caller]
    pub(crate) fn run_line(&self, line: &str) -> Ran {
        let arguments = line.strip_prefix("larder ").unwrap();
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("exec \"$0\" {arguments}"))
            .arg(env!("CARGO_BIN_EXE_larder"))
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path())
            .stdin(Stdio::null());
        finish(&mut command)
    }

    /// Waits until unfinished bytes of the weights lie in the cache.
    #[track_caller]
    pub(crate) fn wait_for_partial(&self, bytes: u64) -> PathBuf {
        let mut found = None;
        wait_until("a partial", || {
            found = self.partial(bytes);
            found.is_some()
        });
        found.unwrap()
    }

    /// A partial of the weights of at least so many bytes; the folder may change meanwhile.
    pub(crate) fn partial(&self, bytes: u64) -> Option<PathBuf> {
        static ETAG: LazyLock<String> = LazyLock::new(catalogue::gemma_weights_etag);
        fs::read_dir(self.blobs())
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| {
                entry
                    .path()
                    .extension()
                    .is_some_and(|end| end == "incomplete")
                    && entry.file_name().to_string_lossy().starts_with(&*ETAG)
                    && entry.metadata().is_ok_and(|found| found.len() >= bytes)
            })
            .map(|entry| entry.path())
    }

    /// Everything that lies in the home: settings, logs, cache.
    pub(crate) fn every_file(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files_below(self.path())
            .into_iter()
            .filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes)))
            .collect()
    }
}

/// Waits until `is_so`, and not for ever.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(LOOK);
    }
}

/// Runs a command to its end and collects what goes into pipes.
#[track_caller]
pub(crate) fn finish(command: &mut Command) -> Ran {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let stdout = collect(running.0.stdout.take());
    let stderr = collect(running.0.stderr.take());
    let status = running.wait();
    Ran {
        code: status.code(),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.unwrap().read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).expect("both streams are UTF-8")
    })
}

/// A process that does not outlive its test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the end of the process", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
