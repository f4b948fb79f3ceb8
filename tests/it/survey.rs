//! What the engine says of a cache by looking, watching and hashing, and what a purge takes away:
//! against real files, real locks of other processes, and several pulls at once.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant, SystemTime};

use larder::domain::{
    Command, Event, FailureCode, FileSelection, Finding, JobId, LockKind, LockState, Network,
    Outcome, PartialRow, PartialState, Plan, PullRequest, RepoId, RepoKind, Rule, Severity,
    Stamped, VerifyTarget,
};
use larder::engine::{Engine, Handle};
use larder::serve::{Catalogue, Content, Effect, Fault, Matcher, SourceFile};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::fetch::{Place, request};
use crate::support::catalogue;
use crate::support::program::Running;

const GEMMA: &str = "mlx-community/gemma-2-2b-it-4bit";

/// An engine at work.
struct Desk {
    handle: Handle,
    events: mpsc::Receiver<Stamped>,
    tasks: JoinSet<()>,
}

impl Desk {
    fn open(place: &Place) -> Self {
        let (engine, handle, events) = Engine::new(place.config.clone()).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(engine.run());
        Self {
            handle,
            events,
            tasks,
        }
    }

    fn send(&self, command: Command) {
        assert!(self.handle.send(command));
    }

    async fn next(&mut self) -> Stamped {
        tokio::time::timeout(Duration::from_secs(30), self.events.recv())
            .await
            .expect("an event in time")
            .expect("the engine is alive")
    }

    /// Events up to and with the one that `is_it`.
    async fn until(&mut self, is_it: impl Fn(&Stamped) -> bool) -> Vec<Stamped> {
        let mut seen = Vec::new();
        loop {
            let stamped = self.next().await;
            seen.push(stamped);
            if is_it(&seen[seen.len() - 1]) {
                return seen;
            }
        }
    }

    /// Sends a command and collects what comes until the next job ends.
    async fn ask(&mut self, command: Command) -> Vec<Event> {
        self.send(command);
        let seen = self
            .until(|stamped| matches!(stamped.event, Event::Ended(_)))
            .await;
        seen.into_iter().map(|stamped| stamped.event).collect()
    }

    /// Drops the handle and waits for the engine to be done.
    async fn close(self) {
        let Self {
            handle,
            mut events,
            mut tasks,
        } = self;
        drop(handle);
        while events.recv().await.is_some() {}
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }
}

/// What one look saw.
#[derive(Debug, Default)]
struct Survey {
    models: Vec<larder::domain::ModelRow>,
    findings: Vec<Finding>,
    partials: Vec<PartialRow>,
    locks: Vec<larder::domain::LockRow>,
    network: Option<Network>,
    has_disk: bool,
}

impl Survey {
    fn rules(&self) -> BTreeSet<Rule> {
        self.findings.iter().map(|finding| finding.rule).collect()
    }
}

async fn survey(place: &Place, repo: Option<&str>) -> Survey {
    let mut desk = Desk::open(place);
    let repo = repo.map(|name| request(name).repo);
    let mut seen = Survey::default();
    for event in desk.ask(Command::Survey(repo)).await {
        match event {
            Event::CachesSeen { caches } => assert_eq!(caches.len(), 1, "one place, and no other"),
            Event::ModelsListed { models } => seen.models = models,
            Event::FindingsSeen { findings } => seen.findings = findings,
            Event::PartialsSeen { partials } => seen.partials = partials,
            Event::LocksSeen { mut locks } => {
                // Other tests run programs on a model of this name.
                locks.retain(|lock| !lock.is_program());
                seen.locks = locks;
            }
            Event::DiskSeen(room) => seen.has_disk = room.free_bytes <= room.total_bytes,
            Event::NetworkSeen(network) => seen.network = Some(network),
            Event::Ended(outcome) => assert_eq!(outcome, Outcome::Listed),
            other => panic!("a survey does not say {other:?}"),
        }
    }
    desk.close().await;
    seen
}

/// A place that holds the whole model.
async fn pulled() -> Place {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    let outcome = place.pull(request(GEMMA)).await.outcome;
    assert!(matches!(outcome, Outcome::Complete(_)));
    place
}

fn snapshot_of(place: &Place) -> PathBuf {
    let mut found = fs::read_dir(place.repo_folder().join("snapshots")).unwrap();
    found.next().unwrap().unwrap().path()
}

fn blob_of(place: &Place, file: &str) -> PathBuf {
    fs::canonicalize(snapshot_of(place).join(file)).unwrap()
}

/// Sets the last change of a file some hours back.
fn age(path: &Path) {
    let old = SystemTime::now() - Duration::from_hours(3);
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(old)).unwrap();
}

/// Another program that holds a file's `flock`.
fn holder(path: &Path) -> (Running, u32) {
    const SCRIPT: &str = "import fcntl, sys, time
f = open(sys.argv[-1], 'ab')
fcntl.flock(f, fcntl.LOCK_EX)
print('held', flush=True)
time.sleep(120)";
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut child = Process::new("python3")
        .args(["-c", SCRIPT, "--token", "hf_secretsecret"])
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3, as every machine that runs the tests has it");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "held\n");
    let pid = child.id();
    (Running(child), pid)
}

fn lock_of(place: &Place, etag: &str) -> PathBuf {
    let folder = place.repo_folder();
    let name = folder.file_name().unwrap();
    place
        .config
        .cache_dir
        .join(".locks")
        .join(name)
        .join(format!("{etag}.lock"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_cache_has_no_findings_whatever_others_keep_in_it() {
    let place = pulled().await;
    let folder = place.repo_folder();
    let commit = snapshot_of(&place);
    let commit = commit.file_name().unwrap().to_str().unwrap();
    for file in [
        folder.join(format!(".no_exist/{commit}/added_tokens.json")),
        folder.join("refs/refs/convert/parquet"),
        folder
            .join("blobs")
            .join(format!("{}.lock", "1".repeat(64))),
        place.config.cache_dir.join(".metadata/x/y.json"),
    ] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let content = if file.ends_with("parquet") {
            commit
        } else {
            ""
        };
        fs::write(file, content).unwrap();
    }
    fs::remove_file(folder.join("refs/main")).unwrap();
    let seen = survey(&place, None).await;
    assert!(seen.findings.is_empty(), "{:?}", seen.findings);
    assert_eq!(seen.models.len(), 1);
    assert!(seen.partials.is_empty() && seen.has_disk);
    assert!(matches!(seen.network, Some(Network::Reachable { .. })));
    assert!(seen.locks.is_empty(), "none is held: {:?}", seen.locks);
    let focus = survey(&place, Some(GEMMA)).await;
    let kinds: BTreeSet<_> = focus.locks.iter().map(|lock| lock.kind).collect();
    assert_eq!(
        kinds,
        [LockKind::Hub, LockKind::Swift, LockKind::Legacy].into()
    );
    for lock in &focus.locks {
        assert_eq!(lock.state, LockState::Free, "{lock:?}");
        assert!(lock.proof.contains("normal"), "{lock:?}");
    }
    let named = |file: &str| {
        let is_it = |lock: &&larder::domain::LockRow| lock.file.as_deref() == Some(file);
        focus.locks.iter().filter(is_it).count()
    };
    assert_eq!(named("model.safetensors"), 2, "{:?}", focus.locks);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_finds_its_animal_and_only_that() {
    type Harm = fn(&Place);
    let cases: [(&[Rule], Harm); 11] = [
        (&[Rule::DanglingPointer], |place| {
            fs::remove_file(blob_of(place, "model.safetensors")).unwrap();
        }),
        (&[Rule::Truncated], |place| {
            let blob = blob_of(place, "model.safetensors");
            let file = File::options().write(true).open(blob).unwrap();
            file.set_len(1_000_000).unwrap();
        }),
        (&[Rule::WrongSize], |place| {
            let blob = blob_of(place, "model.safetensors");
            let mut file = File::options().append(true).open(blob).unwrap();
            file.write_all(b"more").unwrap();
        }),
        (&[Rule::LfsPointer], |place| {
            let blob = blob_of(place, "tokenizer.json");
            fs::write(blob, "version https://git-lfs.github.com/spec/v1\n").unwrap();
        }),
        (&[Rule::WrongPointer], |place| {
            let (one, other) = (
                snapshot_of(place).join("tokenizer_config.json"),
                fs::read_link(snapshot_of(place).join("config.json")).unwrap(),
            );
            fs::remove_file(&one).unwrap();
            symlink(other, one).unwrap();
        }),
        (&[Rule::MissingFiles], |place| {
            fs::remove_file(snapshot_of(place).join("tokenizer_config.json")).unwrap();
        }),
        (&[Rule::RefToNowhere], |place| {
            fs::write(place.repo_folder().join("refs/older"), "5".repeat(40)).unwrap();
        }),
        (&[Rule::MalformedRef], |place| {
            let main = place.repo_folder().join("refs/main");
            let commit = fs::read_to_string(&main).unwrap();
            fs::write(main, format!("{commit}\n")).unwrap();
        }),
        (&[Rule::WouldNotLoad], |place| {
            let blob = blob_of(place, "special_tokens_map.json");
            let length = fs::metadata(&blob).unwrap().len();
            fs::write(blob, "x".repeat(usize::try_from(length).unwrap())).unwrap();
        }),
        (&[Rule::AbandonedPartial], |place| {
            let etag = "ab".repeat(32);
            let partial = place.repo_folder().join(format!("blobs/{etag}.part"));
            fs::write(&partial, vec![1; 1234]).unwrap();
            age(&partial);
        }),
        (&[Rule::Unreadable], |place| {
            let snapshots = place.repo_folder().join("snapshots");
            fs::remove_dir_all(&snapshots).unwrap();
            fs::write(snapshots, "in the way").unwrap();
        }),
    ];
    for (rules, harm) in cases {
        let place = pulled().await;
        harm(&place);
        let seen = survey(&place, None).await;
        let expected: BTreeSet<Rule> = rules.iter().copied().collect();
        assert_eq!(seen.rules(), expected, "{:?}", seen.findings);
        for finding in &seen.findings {
            assert_eq!(finding.repo, Some(request(GEMMA).repo));
            assert!(!finding.evidence.is_empty() && !finding.cause.is_empty());
            assert!(finding.evidence[0].path.starts_with('/'), "{finding:?}");
            assert!(!finding.plan.steps.is_empty(), "{finding:?}");
        }
        let one = survey(&place, Some(GEMMA)).await;
        assert_eq!(one.rules(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_cannot_be_read_says_so_and_one_that_is_not_there_is_empty() {
    let mut place = Place::new(catalogue::gemma(), Vec::new()).await;
    let nothing = survey(&place, None).await;
    assert!(nothing.models.is_empty() && nothing.has_disk);
    assert!(!place.config.cache_dir.exists());
    place.config.cache_dir = "/mnt/larder-no-such-volume/hub".into();
    let events = Desk::open(&place).ask(Command::Survey(None)).await;
    let [
        Event::CachesSeen { caches },
        Event::FindingsSeen { findings },
        Event::CacheUnreadable { failure },
        Event::Ended(Outcome::Failed { failures }),
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert!(caches[0].trouble.is_some() && !caches[0].is_present);
    assert_eq!(findings[0].rule, Rule::AbsentVolume);
    assert_eq!(failure.code, FailureCode::NotWritable);
    assert_eq!(&failures[..], std::slice::from_ref(failure));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_writer_is_seen_and_its_partial_is_kept() {
    let place = pulled().await;
    let etag = catalogue::gemma_weights_etag();
    let blobs = place.repo_folder().join("blobs");
    let (live, dead) = (
        blobs.join(format!("{etag}.0000aaaa.incomplete")),
        blobs.join(format!("{}.incomplete", "cd".repeat(32))),
    );
    for partial in [&live, &dead] {
        fs::write(partial, vec![7; 4321]).unwrap();
        age(partial);
    }
    fs::write(blobs.join(format!("{etag}.0000bbbb.corrupt")), "kept").unwrap();
    let (writer, pid) = holder(&lock_of(&place, &etag));
    let seen = survey(&place, None).await;
    assert_eq!(seen.partials.len(), 2, "{:?}", seen.partials);
    let row = |path: &Path| {
        let path = path.to_str().unwrap();
        seen.partials.iter().find(|row| row.path == path).unwrap()
    };
    assert!(row(&live).is_foreign());
    assert_eq!(row(&live).file.as_deref(), Some("model.safetensors"));
    assert_eq!(
        row(&live).expected_bytes,
        Some(catalogue::GEMMA_WEIGHTS_BYTES)
    );
    assert_eq!(row(&dead).state, PartialState::Abandoned);
    let [lock] = &seen.locks[..] else {
        panic!("{:?}", seen.locks);
    };
    assert_eq!((lock.kind, lock.state), (LockKind::Hub, LockState::Held));
    assert!(!lock.is_ours);
    #[cfg(target_os = "linux")]
    {
        let PartialState::Live {
            pid: seen_pid,
            program,
            ..
        } = &row(&live).state
        else {
            panic!("it is live");
        };
        assert_eq!(*seen_pid, Some(pid));
        assert!(program.as_deref().unwrap().starts_with("python"));
        assert_eq!(lock.pid, Some(pid));
        let command = lock.command_line.as_deref().unwrap();
        assert!(command.contains("--token ***") && !command.contains("secret"));
        assert!(lock.since_ms.is_some() && lock.proof.contains(&pid.to_string()));
    }
    let _ = pid;

    // The plan of one that was abandoned a moment ago, carried out while somebody writes.
    let by_rule = |rule| seen.findings.iter().find(|finding| finding.rule == rule);
    let mut plan = by_rule(Rule::AbandonedPartial).unwrap().plan.clone();
    assert!(by_rule(Rule::LeftoverTemp).is_some(), "what was set aside");
    assert_eq!(seen.findings.len(), 2, "{:?}", seen.findings);
    assert_eq!(plan.freed_bytes(), 4321);
    plan.steps.push(larder::domain::PlanStep::RemovePartial {
        repo: request(GEMMA).repo,
        path: live.display().to_string(),
        bytes: 4321,
        modified_ms: row(&live).modified_ms,
        is_superseded: false,
        map: None,
    });
    let result = purge(&place, plan.clone()).await;
    assert_eq!(result.removed, [dead.display().to_string()]);
    assert_eq!(result.freed_bytes, 4321);
    assert_eq!(result.kept.len(), 1);
    assert!(result.kept[0].why.contains("holds its lock"), "{result:?}");
    assert!(live.exists() && !dead.exists());

    drop(writer);
    plan.steps.remove(0);
    fs::write(&live, vec![7; 4322]).unwrap();
    let kept = purge(&place, plan.clone()).await;
    assert!(kept.kept[0].why.contains("changed"), "{kept:?}");
    fs::write(&live, vec![7; 4321]).unwrap();
    assert_eq!(purge(&place, plan).await.kept.len(), 1, "the time differs");
    assert!(live.exists());
}

async fn purge(place: &Place, plan: Plan) -> larder::domain::PurgeResult {
    let mut desk = Desk::open(place);
    let mut events = desk.ask(Command::Purge(plan)).await;
    desk.close().await;
    match (events.pop(), events.len()) {
        (Some(Event::Ended(Outcome::Purged(result))), 0) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_are_told_with_their_proof() {
    let place = pulled().await;
    let marker = place.repo_folder().join(".manual_download_lock");
    let host = larder_host();
    let mut gone = Process::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let dead = gone.id();
    for (content, state, says) in [
        (
            format!("pid {dead}\nhost {host}\n"),
            LockState::Stale,
            "which is gone",
        ),
        (
            format!("pid: {}\nhost: {host}\n", std::process::id()),
            LockState::Free,
            "has ended its download",
        ),
        (
            format!("pid={dead}\nhost=elsewhere\n"),
            LockState::Stale,
            "`elsewhere`",
        ),
        (
            "Manual download started at Mon".to_owned(),
            LockState::Held,
            "a script",
        ),
        (String::new(), LockState::Free, "empty"),
    ] {
        fs::write(&marker, &content).unwrap();
        let seen = survey(&place, Some(GEMMA)).await;
        let lock = seen
            .locks
            .iter()
            .find(|lock| lock.kind == LockKind::Marker)
            .unwrap();
        assert_eq!(lock.state, state, "{content:?} {lock:?}");
        assert!(lock.proof.contains(says), "{lock:?}");
        assert_eq!(fs::read_to_string(&marker).unwrap(), content);
    }
    let (_writer, _) = holder(&marker);
    let seen = survey(&place, None).await;
    assert_eq!(seen.locks.len(), 1);
    assert_eq!(seen.locks[0].state, LockState::Held);
    fs::remove_file(&marker).unwrap();
    symlink("/etc/hostname", &marker).unwrap();
    let seen = survey(&place, Some(GEMMA)).await;
    let lock = seen.locks.iter().find(|lock| lock.etag.is_none()).unwrap();
    assert_eq!(lock.state, LockState::Unknown);
    assert!(lock.proof.contains("link"), "{lock:?}");
}

fn larder_host() -> String {
    let told = Process::new("uname").arg("-n").output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

/// Names, kinds, sizes and times of everything below a folder; of files also that of the access.
fn trace(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let seen = fs::symlink_metadata(&path).unwrap();
        let accessed = if seen.is_file() && cfg!(target_os = "linux") {
            (seen.atime(), seen.atime_nsec())
        } else {
            (0, 0)
        };
        found.push(format!(
            "{} {:?} {} {}.{} {accessed:?}",
            path.display(),
            seen.file_type(),
            seen.len(),
            seen.mtime(),
            seen.mtime_nsec()
        ));
        if seen.is_dir() {
            open.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_and_hashing_leave_no_trace() {
    let place = pulled().await;
    let cache = place.config.cache_dir.clone();
    let partial = place
        .repo_folder()
        .join(format!("blobs/{}.part", "ab".repeat(32)));
    fs::write(&partial, "x").unwrap();
    fs::write(place.repo_folder().join(".manual_download_lock"), "pid 1\n").unwrap();
    // With an old time of access, one that is kept up by the system's rules would show.
    for file in crate::support::files_below(&cache) {
        if let Ok(file) = File::options().write(true).open(file) {
            let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
            let times = FileTimes::new().set_accessed(old);
            file.set_times(times).unwrap();
        }
    }
    let before = trace(&cache);
    survey(&place, None).await;
    survey(&place, Some(GEMMA)).await;
    let mut desk = Desk::open(&place);
    desk.ask(Command::Verify {
        targets: Vec::new(),
        is_deep: true,
    })
    .await;
    desk.ask(Command::List(None)).await;
    desk.close().await;
    assert_eq!(before, trace(&cache));
}

/// Two models that have nothing in common.
fn two_models() -> Catalogue {
    let mut catalogue = Catalogue::new();
    for (name, seed) in [("someone/one", 11), ("someone/two", 12)] {
        let repo = catalogue.repo(&RepoId::new(RepoKind::Model, name).unwrap());
        let weights = Content::Generated {
            seed,
            len: 1_200_000,
        };
        let commit = repo.commit(vec![
            SourceFile::lfs("model.safetensors", weights),
            SourceFile::git("config.json", format!("{{\"model_type\": \"m{seed}\"}}")),
        ]);
        repo.branch("main", commit);
    }
    catalogue
}

fn slow() -> Fault {
    Fault::new(
        Matcher::path("model.safetensors").origin(larder::serve::Origin::Cdn),
        Effect::Slow {
            bytes_per_s: 1_000_000,
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_run_side_by_side_and_share_one_budget() {
    let mut place = Place::new(two_models(), vec![slow()]).await;
    place.config.connections = 1;
    let mut desk = Desk::open(&place);
    let began = Instant::now();
    desk.send(Command::Pull(request("someone/one")));
    desk.send(Command::Pull(request("someone/two")));
    let mut planned = 0;
    let mut complete = BTreeSet::new();
    while complete.len() < 2 {
        let stamped = desk.next().await;
        match stamped.event {
            Event::Planned(_) => {
                planned += 1;
                assert!(complete.is_empty(), "the second waited for the first");
            }
            Event::Ended(Outcome::Complete(_)) => {
                complete.insert(stamped.job);
            }
            Event::Ended(other) => panic!("{other:?}"),
            _ => {}
        }
    }
    assert_eq!((planned, complete.len()), (2, 2));
    // Each takes 1.2 s of the only connection.
    assert!(began.elapsed() > Duration::from_secs(2), "each had its own");
    desk.close().await;
    crate::support::assert_all_visible_bytes_proven(&place.config.cache_dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pull_of_the_same_is_noted_and_a_cancel_ends_one_job() {
    let place = Place::new(two_models(), vec![slow()]).await;
    let mut desk = Desk::open(&place);
    desk.send(Command::Pull(request("someone/one")));
    desk.send(Command::Pull(request("someone/two")));
    desk.send(Command::Pull(request("someone/one")));
    let dry = PullRequest {
        dry_run: true,
        ..request("someone/one")
    };
    desk.send(Command::Pull(dry));
    let mut noted = Vec::new();
    let mut ended = Vec::new();
    let mut is_cancelled = false;
    while ended.len() < 3 {
        let stamped = desk.next().await;
        match stamped.event {
            Event::Noted { note } => noted.push((stamped.job, note)),
            Event::Progress { .. } if stamped.job == JobId(0) && !is_cancelled => {
                is_cancelled = true;
                desk.send(Command::Cancel(FileSelection::Job(JobId(0))));
            }
            Event::Ended(outcome) => ended.push((stamped.job, outcome)),
            _ => {}
        }
    }
    ended.sort_by_key(|(job, _)| *job);
    assert!(
        matches!(
            &ended[..],
            [
                (JobId(0), Outcome::Cancelled),
                (JobId(1), Outcome::Complete(_)),
                (JobId(2), Outcome::Planned),
            ]
        ),
        "{ended:?}"
    );
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert_eq!(noted[0].0, JobId(0));
    assert!(noted[0].1.contains("already"), "{noted:?}");
    // What was cancelled makes way for a new pull of the same.
    place.hub.set_faults(Vec::new());
    desk.send(Command::Pull(request("someone/one")));
    let again = desk
        .until(|stamped| matches!(stamped.event, Event::Ended(_)))
        .await;
    let last = again.last().unwrap();
    assert_eq!(last.job, JobId(3));
    assert!(matches!(last.event, Event::Ended(Outcome::Complete(_))));
    // And is not there any more to be tried again.
    desk.send(Command::Retry(FileSelection::All));
    assert!(
        tokio::time::timeout(Duration::from_millis(300), desk.events.recv())
            .await
            .is_err()
    );
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flipped_byte_is_found_and_the_others_are_good() {
    let place = pulled().await;
    let blob = blob_of(&place, "model.safetensors");
    let mut bytes = fs::read(&blob).unwrap();
    bytes[1_500_000] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    let commit = snapshot_of(&place);
    let commit = commit.file_name().unwrap().to_str().unwrap().to_owned();
    // A regular file is proven by the listing.
    let config = snapshot_of(&place).join("config.json");
    let content = fs::read(&config).unwrap();
    fs::remove_file(&config).unwrap();
    fs::write(&config, content).unwrap();
    let mut desk = Desk::open(&place);
    for revision in [None, Some("main"), Some(&commit[..8]), Some(&commit[..])] {
        let targets = match revision {
            None => Vec::new(),
            Some(revision) => vec![VerifyTarget {
                repo: request(GEMMA).repo,
                revision: Some(revision.to_owned()),
            }],
        };
        let events = desk
            .ask(Command::Verify {
                targets,
                is_deep: true,
            })
            .await;
        let Some(Event::ModelVerified(found)) = events
            .iter()
            .find(|event| matches!(event, Event::ModelVerified(_)))
        else {
            panic!("{events:?}");
        };
        let Event::VerifyStarted {
            snapshots: 1,
            files,
            bytes,
        } = events[0]
        else {
            panic!("{events:?}");
        };
        assert_eq!(files, found.files_total);
        assert_eq!(bytes, found.bytes);
        assert_eq!(found.files_good, found.files_total - 1, "{found:?}");
        assert_eq!(found.files_unknown, 0);
        let [finding] = &found.findings[..] else {
            panic!("{:?}", found.findings);
        };
        assert_eq!(finding.rule, Rule::WrongHash);
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.file.as_deref(), Some("model.safetensors"));
        assert_eq!(finding.evidence[0].path, blob.to_str().unwrap());
        assert!(finding.evidence[0].seen.starts_with("it hashes to "));
        assert!(matches!(
            events.last(),
            Some(Event::Ended(Outcome::Verified { good: 0, broken: 1 }))
        ));
    }
    for (repo, revision) in [
        ("someone/else", None),
        (GEMMA, Some("nothing")),
        (GEMMA, Some(&commit[..6])),
    ] {
        let target = VerifyTarget {
            repo: request(repo).repo,
            revision: revision.map(str::to_owned),
        };
        let events = desk
            .ask(Command::Verify {
                targets: vec![target],
                is_deep: true,
            })
            .await;
        assert!(
            matches!(
                &events[..],
                [Event::Ended(Outcome::Failed { failures })]
                    if failures[0].code == FailureCode::Incomplete
            ),
            "{events:?}"
        );
    }
    // A lock excuses nothing: a reader gets the wrong bytes now.
    let (_writer, _) = holder(&lock_of(&place, &catalogue::gemma_weights_etag()));
    let events = desk
        .ask(Command::Verify {
            targets: Vec::new(),
            is_deep: true,
        })
        .await;
    assert!(matches!(
        events.last(),
        Some(Event::Ended(Outcome::Verified { good: 0, broken: 1 }))
    ));
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verifying_is_cancelled_between_two_steps() {
    let place = Place::new(catalogue::gemma(), Vec::new()).await;
    let blobs = place.config.cache_dir.join("models--someone--large/blobs");
    let snapshot = place
        .config
        .cache_dir
        .join("models--someone--large/snapshots")
        .join("a".repeat(40));
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    let etag = "ef".repeat(32);
    // Room is taken and nothing written: a sparse file's bytes would count as being elsewhere. It takes
    // longer to hash than the first word of progress.
    let file = File::create(blobs.join(&etag)).unwrap();
    let flags = rustix::fs::FallocateFlags::empty();
    rustix::fs::fallocate(&file, flags, 0, 2 << 30).unwrap();
    symlink(
        format!("../../blobs/{etag}"),
        snapshot.join("model.safetensors"),
    )
    .unwrap();
    let mut desk = Desk::open(&place);
    desk.send(Command::Verify {
        targets: Vec::new(),
        is_deep: true,
    });
    desk.until(|stamped| matches!(stamped.event, Event::VerifyProgress { bytes, .. } if bytes > 0))
        .await;
    let asked = Instant::now();
    desk.send(Command::Cancel(FileSelection::All));
    let seen = desk
        .until(|stamped| matches!(stamped.event, Event::Ended(_)))
        .await;
    assert!(matches!(
        seen.last().unwrap().event,
        Event::Ended(Outcome::Cancelled)
    ));
    assert!(asked.elapsed() < Duration::from_secs(3));
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_silent_until_something_happens() {
    let mut place = pulled().await;
    place.config.is_offline = true;
    let mut desk = Desk::open(&place);
    desk.send(Command::Watch(Some(request(GEMMA).repo)));
    let is = |name: &'static str| {
        move |stamped: &Stamped| {
            let found = match stamped.event {
                Event::ModelsListed { .. } => "models",
                Event::FindingsSeen { .. } => "findings",
                Event::PartialsSeen { .. } => "partials",
                Event::LocksSeen { .. } => "locks",
                Event::NetworkSeen(_) => "network",
                Event::CacheUnreadable { .. } => "trouble",
                _ => "other",
            };
            found == name
        }
    };
    let first = desk.until(is("network")).await;
    for name in ["models", "findings", "partials"] {
        assert_eq!(first.iter().filter(|s| is(name)(s)).count(), 1, "{name}");
    }
    assert!(first.iter().any(is("locks")));
    // The disk is everybody's, and so are the processes of other tests on a model of this name: both
    // may change at any time.
    let heard = async {
        loop {
            match desk.events.recv().await {
                Some(seen)
                    if matches!(seen.event, Event::DiskSeen(_) | Event::LocksSeen { .. }) => {}
                other => break other,
            }
        }
    };
    let quiet = tokio::time::timeout(Duration::from_secs(5), heard).await;
    assert!(quiet.is_err(), "{quiet:?}");

    // Another program's partial begins, and grows.
    let etag = "ab".repeat(32);
    let partial = place.repo_folder().join(format!("blobs/{etag}.incomplete"));
    fs::write(&partial, vec![1; 100]).unwrap();
    let bytes_of = |seen: &[Stamped]| match &seen.last().unwrap().event {
        Event::PartialsSeen { partials } => partials[0].bytes,
        other => panic!("{other:?}"),
    };
    assert_eq!(bytes_of(&desk.until(is("partials")).await), 100);
    fs::write(&partial, vec![1; 300]).unwrap();
    assert_eq!(bytes_of(&desk.until(is("partials")).await), 300);

    // A model comes, and goes.
    let other = place.config.cache_dir.join("models--someone--new");
    let snapshot = other.join("snapshots").join("b".repeat(40));
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(snapshot.join("config.json"), "{}").unwrap();
    let count = |seen: &[Stamped]| match &seen.last().unwrap().event {
        Event::ModelsListed { models } => models.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(count(&desk.until(is("models")).await), 2);
    fs::remove_dir_all(&other).unwrap();
    while count(&desk.until(is("models")).await) != 1 {}

    // The focus moves, and is answered at once.
    desk.send(Command::Watch(None));
    // A word about programs of other tests may still be on its way, with the locks of the old focus.
    loop {
        let seen = desk.until(is("locks")).await;
        let Event::LocksSeen { locks } = &seen.last().unwrap().event else {
            unreachable!();
        };
        if locks.iter().all(larder::domain::LockRow::is_program) {
            break;
        }
    }

    // The volume goes, and comes back.
    let aside = place.config.cache_dir.with_extension("aside");
    fs::rename(&place.config.cache_dir, &aside).unwrap();
    fs::write(&place.config.cache_dir, "no folder").unwrap();
    desk.until(is("trouble")).await;
    fs::remove_file(&place.config.cache_dir).unwrap();
    fs::rename(&aside, &place.config.cache_dir).unwrap();
    assert_eq!(count(&desk.until(is("models")).await), 1);
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_follows_our_own_pull_and_knows_it_for_ours() {
    // Slow enough that it is not over when it is paused, on any machine.
    let slower = Fault::new(
        Matcher::path("model.safetensors").origin(larder::serve::Origin::Cdn),
        Effect::Slow {
            bytes_per_s: 60_000,
        },
    );
    let place = Place::new(two_models(), vec![slower]).await;
    let is_of_weights =
        |row: &PartialRow| row.bytes > 0 && row.file.as_deref() == Some("model.safetensors");
    let mut desk = Desk::open(&place);
    desk.send(Command::Watch(None));
    desk.send(Command::Pull(request("someone/one")));
    let seen = desk
        .until(|stamped| {
            matches!(&stamped.event, Event::PartialsSeen { partials }
                if partials.iter().any(is_of_weights))
        })
        .await;
    let Event::PartialsSeen { partials } = &seen.last().unwrap().event else {
        unreachable!();
    };
    // The small file's partial may be there for a moment, too.
    let partials: Vec<&PartialRow> = partials.iter().filter(|row| is_of_weights(row)).collect();
    assert!(
        matches!(partials[0].state, PartialState::Live { is_ours: true, .. }),
        "{partials:?}"
    );
    assert_eq!(partials[0].file.as_deref(), Some("model.safetensors"));
    assert_eq!(partials[0].expected_bytes, Some(1_200_000));
    // Paused, it is still ours, and a purge leaves it.
    desk.send(Command::Pause(FileSelection::All));
    desk.until(|stamped| {
        matches!(
            stamped.event,
            Event::Cancelled {
                is_paused: true,
                ..
            }
        )
    })
    .await;
    let steps = partials
        .iter()
        .map(|row| {
            let path = PathBuf::from(&row.path);
            let found = fs::metadata(&path).unwrap();
            let modified = found.modified().unwrap();
            let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            larder::domain::PlanStep::RemovePartial {
                repo: row.repo.clone(),
                path: row.path.clone(),
                bytes: found.len(),
                modified_ms: u64::try_from(since.as_millis()).unwrap(),
                is_superseded: false,
                map: None,
            }
        })
        .collect();
    desk.send(Command::Purge(Plan { steps }));
    let seen = desk
        .until(|stamped| matches!(stamped.event, Event::Ended(_)))
        .await;
    let Event::Ended(Outcome::Purged(result)) = &seen.last().unwrap().event else {
        panic!("{:?}", seen.last());
    };
    assert!(result.removed.is_empty(), "{result:?}");
    assert!(result.kept[0].why.contains("goes on"), "{result:?}");
    // Let go of, it is nobody's at once and not for a minute somebody's unknown.
    desk.send(Command::Cancel(FileSelection::All));
    desk.until(|stamped| {
        matches!(&stamped.event, Event::PartialsSeen { partials }
            if partials.iter().all(|row| row.state == PartialState::Abandoned))
    })
    .await;
    // A watch is not cancelled with the rest, and sees the model as soon as it is there.
    place.hub.set_faults(Vec::new());
    desk.send(Command::Retry(FileSelection::All));
    desk.until(|stamped| matches!(stamped.event, Event::Ended(Outcome::Complete(_))))
        .await;
    let done = Instant::now();
    desk.until(
        |stamped| matches!(&stamped.event, Event::PartialsSeen { partials } if partials.is_empty()),
    )
    .await;
    assert!(done.elapsed() < Duration::from_secs(2));
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, to be run by hand"]
#[expect(clippy::print_stderr, reason = "it prints what it measured")]
async fn a_thousand_models_cost_little() {
    let mut place = Place::new(catalogue::gemma(), Vec::new()).await;
    place.config.is_offline = true;
    for model in 0..1_000 {
        let repo = place
            .config
            .cache_dir
            .join(format!("models--org--m{model:04}"));
        let commit = "c".repeat(40);
        let snapshot = repo.join("snapshots").join(&commit);
        for folder in [&repo.join("blobs"), &repo.join("refs"), &snapshot] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(repo.join("refs/main"), &commit).unwrap();
        for file in 0..10 {
            let name = match file {
                0 => "config.json".to_owned(),
                1 => "tokenizer.json".to_owned(),
                n => format!("part{n}.json"),
            };
            let blob = format!("{file:040}");
            fs::write(repo.join("blobs").join(&blob), "{\"model_type\":\"x\"}").unwrap();
            symlink(format!("../../blobs/{blob}"), snapshot.join(name)).unwrap();
        }
    }
    let began = Instant::now();
    let seen = survey(&place, None).await;
    eprintln!(
        "survey of {} models: {:?}",
        seen.models.len(),
        began.elapsed()
    );
    let mut desk = Desk::open(&place);
    let began = Instant::now();
    desk.send(Command::Watch(None));
    desk.until(|stamped| matches!(stamped.event, Event::NetworkSeen(_)))
        .await;
    eprintln!("first look of a watch: {:?}", began.elapsed());
    let (before, waited) = (cpu_ticks(), Duration::from_secs(20));
    let quiet = tokio::time::timeout(waited, desk.events.recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let spent_ms = (cpu_ticks() - before) * 10;
    eprintln!("idle: {spent_ms} ms of CPU in {waited:?}");
    desk.close().await;
}

/// Hundredths of a second of CPU that this process has used.
fn cpu_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<u64> = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse().unwrap())
        .collect();
    fields.iter().sum()
}
