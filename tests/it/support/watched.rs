//! A run of larder that is listened to: what its `--events` say, as it says it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::program::Running;

/// After this a run has hung, on however busy a machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A run and what it has said.
pub(crate) struct Watched {
    running: Running,
    lines: Receiver<Value>,
    pub(crate) said: Vec<Value>,
}

impl Watched {
    /// Starts a command that prints events.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        // Ends with the process, or when nobody listens any more.
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // What was killed may have said half a line.
                let Ok(event) = serde_json::from_str(&line) else {
                    return;
                };
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self {
            running: Running(child),
            lines,
            said: Vec::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.0.id()
    }

    /// Takes what was said since the last time.
    pub(crate) fn hear(&mut self) -> &[Value] {
        let before = self.said.len();
        self.said.extend(self.lines.try_iter());
        &self.said[before..]
    }

    /// How often it said that event so far.
    pub(crate) fn count(&self, event: &str) -> usize {
        self.said
            .iter()
            .filter(|said| said["event"] == event)
            .count()
    }

    /// The last event of that kind about the file of that path.
    pub(crate) fn last(&self, event: &str, path: &str) -> Option<&Value> {
        let plan = self.said.iter().find(|said| said["event"] == "planned")?;
        let files = plan["files"].as_array()?;
        let file = &files.iter().find(|file| file["path"] == path)?["file"];
        let mut said = self.said.iter().rev();
        said.find(|said| said["event"] == event && said["file"] == *file)
    }

    /// Waits until it has said that of the file.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, event: &str, path: &str) -> Value {
        self.wait_until(event, |run| run.last(event, path).cloned())
    }

    /// Waits until it says that another larder downloads the same.
    #[track_caller]
    pub(crate) fn waits_for_pull(&mut self) -> Value {
        let event = "waiting-for-pull";
        self.wait_until(event, |run| {
            let mut said = run.said.iter();
            said.find(|said| said["event"] == event).cloned()
        })
    }

    #[track_caller]
    fn wait_until(&mut self, what: &str, look: impl Fn(&Self) -> Option<Value>) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            self.hear();
            if let Some(said) = look(self) {
                return said;
            }
            let last = self.said.last().cloned();
            assert!(Instant::now() < until, "no {what}: {last:?}");
            assert!(!self.has_ended(), "it ended without {what}: {last:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.running.0.try_wait().unwrap().is_some()
    }

    /// SIGKILL; whether it was still running. Afterwards everything it said has been heard.
    pub(crate) fn kill(&mut self) -> bool {
        let was_running = !self.has_ended();
        self.running.0.kill().unwrap();
        let status = self.running.0.wait().unwrap();
        self.said.extend(self.lines.iter());
        was_running && status.code().is_none()
    }

    /// Waits for its own end; the exit code. Afterwards everything it said has been heard.
    #[track_caller]
    pub(crate) fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while !self.has_ended() {
            self.hear();
            assert!(Instant::now() < until, "it hangs: {:?}", self.said.last());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.said.extend(self.lines.iter());
        self.running.0.wait().unwrap().code()
    }
}
