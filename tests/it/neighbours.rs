//! Several programs at once on one model: larders, `hf download`, and what the old download script
//! did; killed at random. Nobody spoils what another writes, and no two larders fetch one byte.
//!
//! What each program is asked, and when it is killed, follows from the seed in `LARDER_TEST_SEED`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use larder::serve::{Effect, Fault, Matcher, Origin, Serving};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::model::{self, CHUNK_BYTES, Model};
use crate::support::python::{in_home, python};
use crate::support::{Scratch, report, wrong_bytes};

const SEED: u64 = 20_261_127;
/// After this a program has hung, on however busy a machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// The latest moment at which a program is killed.
const LATEST: Duration = Duration::from_millis(1_300);
/// What may be on its way in buffers and sockets, for each connection.
const ON_THE_WAY: u64 = 4 << 20;
const CONNECTIONS: u64 = 2;
/// What the script fetches.
const SCRIPTED: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// What the old script did (hub.md 3.4): its own marker, straight onto the final name, three tries,
/// and any length is right.
const SCRIPT: &str = r#"
repo=$1
url=$2
shift 2
mkdir -p "$repo/snapshots/main"
echo "Manual download started at $(date)" > "$repo/.manual_download_lock"
trap 'rm -f "$repo/.manual_download_lock"' EXIT
trap 'exit 143' TERM
for file in "$@"; do
  tries=1
  until curl -s -L -f -o "$repo/snapshots/main/$file" "$url/$file" &&
    [ -s "$repo/snapshots/main/$file" ]; do
    [ "$tries" -lt 3 ] || exit 1
    tries=$((tries + 1))
    sleep 2
  done
done
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Larder,
    Python,
    Script,
}

/// A program at work, and all that it starts.
struct Neighbour {
    kind: Kind,
    child: Child,
    /// When it is killed, and how.
    death: Option<(Instant, Signal)>,
    /// Whether it was.
    is_killed: bool,
    has_ended: bool,
}

impl Neighbour {
    fn start(kind: Kind, mut command: Command, death: Option<(Duration, Signal)>) -> Self {
        let child = command.process_group(0).spawn().unwrap();
        let now = Instant::now();
        Self {
            kind,
            child,
            death: death.map(|(after, signal)| (now + after, signal)),
            is_killed: false,
            has_ended: false,
        }
    }

    fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        // All of it may be gone by now.
        let _ = kill_process_group(group, signal);
    }

    /// Kills it if it is time; how it ended, once it has.
    fn look(&mut self) -> Option<ExitStatus> {
        if let Some(status) = self.child.try_wait().unwrap() {
            self.has_ended = true;
            return Some(status);
        }
        if let Some((at, signal)) = self.death
            && Instant::now() >= at
            && !self.is_killed
        {
            self.is_killed = true;
            self.signal(signal);
        }
        None
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        if !self.has_ended {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A file of the script: the inode, and what is in it.
type Scripted = BTreeMap<PathBuf, (u64, Vec<u8>)>;

/// One cache and those who use it.
struct Street {
    scratch: Scratch,
    hub: Serving,
    model: Model,
    weights: Vec<u8>,
    /// What the script left.
    scripted: Scripted,
    killed_larders: u64,
}

impl Street {
    async fn new(weights_bytes: u64, bytes_per_s: u64) -> Self {
        let (model, catalogue) = Model::of_weights(weights_bytes);
        let weights = Matcher::path("model.safetensors").origin(Origin::Cdn);
        let slow = Fault::new(weights, Effect::Slow { bytes_per_s });
        Self {
            scratch: Scratch::new(),
            hub: Serving::start(catalogue, vec![slow]).await.unwrap(),
            weights: Model::weights(weights_bytes),
            model,
            scripted: Scripted::new(),
            killed_larders: 0,
        }
    }

    fn cache(&self) -> PathBuf {
        self.scratch.path().join("hub")
    }

    fn repo(&self) -> PathBuf {
        self.cache().join(model::FOLDER)
    }

    fn command(&self, kind: Kind, connections: u64) -> Command {
        let command = match kind {
            Kind::Larder => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
                command.args(["pull", model::NAME, "--all", "--connections"]);
                command.arg(connections.to_string());
                command
            }
            Kind::Python => {
                let mut command = Command::new(python().with_file_name("hf"));
                command.args(["download", model::NAME]);
                command
            }
            Kind::Script => {
                let url = format!("{}/{}/resolve/main", self.hub.endpoint(), model::NAME);
                let mut command = Command::new("sh");
                command
                    .args(["-c", SCRIPT, "sh"])
                    .arg(self.repo())
                    .arg(url)
                    .args(SCRIPTED);
                command
            }
        };
        let mut command = in_home(command, self.scratch.path(), &self.hub);
        command
            .env("HF_HUB_CACHE", self.cache())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Bytes that larders were sent.
    fn larder_bytes(&self) -> u64 {
        let requests = self.hub.requests().into_iter();
        requests
            .filter(|request| {
                let is_body = request.origin == Origin::Cdn || request.path.contains("/resolve");
                let agent = request.user_agent.as_deref().unwrap_or_default();
                request.method == "GET" && is_body && agent.starts_with("larder")
            })
            .map(|request| request.body_bytes_sent)
            .sum()
    }

    fn look_at_scripted(&self) -> Scripted {
        let folder = self.repo().join("snapshots/main");
        SCRIPTED
            .iter()
            .map(|name| folder.join(name))
            .filter_map(|path| {
                let inode = fs::symlink_metadata(&path).ok()?.ino();
                let bytes = fs::read(&path).ok()?;
                Some((path, (inode, bytes)))
            })
            .collect()
    }

    /// What the script wrote is there as it wrote it. (A `curl` may still have been about to write.)
    #[track_caller]
    fn assert_script_is_left_alone(&self, what: &str) {
        let now = self.look_at_scripted();
        for (path, (inode, bytes)) in &self.scripted {
            let found = now.get(path);
            assert!(
                found.is_some_and(|(now, _)| now == inode),
                "{what}: {} is gone",
                path.display()
            );
            let is_kept = found.is_some_and(|(_, now)| now.starts_with(bytes));
            assert!(is_kept, "{what}: {} was changed", path.display());
        }
        if let Some((_, bytes)) = now.get(&self.repo().join("snapshots/main/model.safetensors")) {
            assert!(self.weights.starts_with(bytes), "{what}: wrong bytes");
        }
    }

    /// Runs all to their ends.
    #[track_caller]
    fn run(&mut self, neighbours: &mut [Neighbour], what: &str) {
        let until = Instant::now() + PATIENCE;
        while neighbours.iter().any(|neighbour| !neighbour.has_ended) {
            assert!(Instant::now() < until, "{what}: they hang");
            std::thread::sleep(Duration::from_millis(2));
            for neighbour in neighbours.iter_mut().filter(|one| !one.has_ended) {
                let Some(status) = neighbour.look() else {
                    continue;
                };
                let (kind, is_killed) = (neighbour.kind, neighbour.is_killed);
                let is_well = is_killed || status.success();
                assert!(is_well, "{what}: {kind:?}: {status}");
                match kind {
                    Kind::Larder => self.killed_larders += u64::from(is_killed),
                    Kind::Script => self.scripted = self.look_at_scripted(),
                    Kind::Python => {}
                }
            }
        }
        self.check(what);
    }

    /// What must hold whenever nobody runs.
    #[track_caller]
    fn check(&self, what: &str) {
        let by_script = self.repo().join("snapshots/main");
        let wrong: Vec<String> = wrong_bytes(&self.cache())
            .into_iter()
            .filter(|(path, _)| !path.starts_with(&by_script))
            .map(|(_, what)| what)
            .collect();
        assert!(wrong.is_empty(), "{what}: {wrong:#?}");
        if let Ok(marker) = File::open(self.repo().join(".manual_download_lock")) {
            assert!(marker.try_lock().is_ok(), "{what}: the marker is held");
        }
        self.assert_script_is_left_alone(what);
        let lanes = CONNECTIONS * self.killed_larders;
        // At the end of a file one connection takes from another, whose answer goes on for a moment.
        let bound = lanes * (CHUNK_BYTES + ON_THE_WAY)
            + self.killed_larders * self.model.small_bytes()
            + CHUNK_BYTES;
        let fetched = self.larder_bytes();
        assert!(
            fetched <= self.model.bytes() + bound,
            "{what}: larders were sent {fetched} bytes of {}, {lanes} connections were killed",
            self.model.bytes()
        );
    }

    /// One larder makes it whole.
    #[track_caller]
    fn complete(&mut self, what: &str) {
        let last = Neighbour::start(Kind::Larder, self.command(Kind::Larder, CONNECTIONS), None);
        self.run(&mut [last], what);
        let repo = self.repo();
        assert_eq!(self.model.missing(&repo), 0, "{what}");
        let unreadable = self.model.unreadable(&repo, &self.model.commits[0]);
        assert!(unreadable.is_empty(), "{what}: {unreadable:?}");
    }
}

fn has_curl() -> bool {
    let version = Command::new("curl").arg("--version").output();
    let is_there = version.is_ok_and(|output| output.status.success());
    if !is_there {
        report("skipped: the old script needs curl, and there is none here");
    }
    is_there
}

/// Streets on which `others` and larders come and go, in seeded order.
async fn live(streets: u64, others: &[Kind]) {
    let seed = std::env::var("LARDER_TEST_SEED").map_or(SEED, |text| text.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut programs, mut kills) = (0, 0);
    for number in 0..streets {
        let mut street = Street::new(18_000_000, 10_000_000).await;
        for round in 0..2 {
            let mut kinds = vec![Kind::Larder; random.usize(1..3)];
            kinds.extend(others.iter().filter(|_| random.u8(0..4) > 0));
            random.shuffle(&mut kinds);
            let mut neighbours = Vec::new();
            let mut plan = Vec::new();
            for kind in kinds {
                let death = (random.u8(0..4) > 0).then(|| {
                    let signal = [Signal::KILL, Signal::TERM][random.usize(0..2)];
                    // Python takes longer to begin.
                    let latest = LATEST * if kind == Kind::Python { 3 } else { 1 };
                    (latest.mul_f64(random.f64()), signal)
                });
                plan.push((kind, death));
                neighbours.push(Neighbour::start(
                    kind,
                    street.command(kind, CONNECTIONS),
                    death,
                ));
                std::thread::sleep(Duration::from_millis(random.u64(0..200)));
            }
            let what = format!("seed {seed}, street {number}, round {round}: {plan:?}");
            street.run(&mut neighbours, &what);
            programs += neighbours.len();
            kills += neighbours.iter().filter(|one| one.is_killed).count();
        }
        street.complete(&format!("seed {seed}, street {number}, the end"));
    }
    report(&format!(
        "neighbours, seed {seed}: {programs} programs on {streets} caches, {kills} killed"
    ));
    assert!(kills > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn larders_and_the_old_script_do_each_other_no_harm() {
    if has_curl() {
        live(4, &[Kind::Script]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs huggingface_hub; CI runs it"]
async fn larders_and_python_and_the_old_script_do_each_other_no_harm() {
    assert!(has_curl());
    live(10, &[Kind::Script, Kind::Python]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_larders_fetch_once_what_the_old_script_fetches_beside_them() {
    if !has_curl() {
        return;
    }
    let mut street = Street::new(12_000_000, 6_000_000).await;
    // With one connection nothing is fetched twice even at the end of a file.
    let mut all: Vec<Neighbour> = [Kind::Larder, Kind::Script, Kind::Larder]
        .into_iter()
        .map(|kind| Neighbour::start(kind, street.command(kind, 1), None))
        .collect();
    street.run(&mut all, "nobody is killed");
    // What the script has brought by then is taken from its folder.
    assert!(street.larder_bytes() <= street.model.bytes());
    let weights = street.repo().join("snapshots/main/model.safetensors");
    assert_eq!(fs::read(weights).unwrap(), street.weights);
    let fetched = street.larder_bytes();
    street.complete("nobody was killed");
    assert_eq!(street.larder_bytes(), fetched, "it was whole");
}
