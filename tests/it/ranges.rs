//! Large files over several connections: every fault with ranges on, servers that lie, processes
//! that die, partials that others left.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use larder::cache::Extents;
use larder::domain::{Event, FailureCode, Outcome};
use larder::serve::{Effect, Fault, Matcher, Origin as From, RequestRecord, Serving};

use crate::fetch::{Place, Pulled, request};
use crate::support::catalogue::{self, BIG, BIG_WEIGHTS_BYTES};
use crate::support::{Scratch, assert_all_visible_bytes_proven};

const MIB: u64 = 1 << 20;
const CHUNK: u64 = 8 * MIB;

fn weights() -> Matcher {
    Matcher::path("model.safetensors").origin(From::Cdn)
}

/// A Hub with a large file, and a client that does not take a busy machine for a stall.
async fn place(faults: Vec<Fault>) -> Place {
    let mut place = Place::new(catalogue::big(), faults).await;
    place.config.stall_timeout = Duration::from_secs(20);
    place
}

fn code(pulled: &Pulled) -> FailureCode {
    match &pulled.outcome {
        Outcome::Failed { failures } => failures[0].code,
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// Requests for the weights that `origin` answered.
fn asked(hub: &Serving, origin: From) -> Vec<RequestRecord> {
    let mut requests = hub.requests();
    requests.retain(|asked| asked.origin == origin && asked.path.ends_with("model.safetensors"));
    requests
}

fn body_bytes(hub: &Serving) -> u64 {
    asked(hub, From::Cdn)
        .iter()
        .map(|asked| asked.body_bytes_sent)
        .sum()
}

/// Bytes of the weights that were asked for, each once.
fn wanted_bytes(hub: &Serving) -> u64 {
    let mut wanted = Extents::default();
    for request in asked(hub, From::Cdn) {
        let range = request
            .range
            .unwrap_or_else(|| format!("bytes=0-{}", BIG_WEIGHTS_BYTES - 1));
        let (from, to) = range
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        let to: u64 = to.parse().unwrap_or(BIG_WEIGHTS_BYTES - 1);
        wanted.insert(from.parse().unwrap()..to + 1);
    }
    wanted.bytes()
}

fn blobs_of(cache: &Path) -> PathBuf {
    cache.join("models--someone--big/blobs")
}

fn partials(cache: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(blobs_of(cache))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(".incomplete"))
        .collect();
    found.sort();
    found
}

fn partial_of(cache: &Path) -> PathBuf {
    let mut found = partials(cache);
    found.retain(|path| !path.to_str().unwrap().ends_with(".map.incomplete"));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// No two requests got the same bytes, and together they got all.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_share_one_link_and_fetch_every_byte_once() {
    let slow = Fault::new(
        weights(),
        Effect::Slow {
            bytes_per_s: 30_000_000,
        },
    );
    let place = place(vec![slow]).await;
    let pulled = place.pull(request(BIG)).await;
    assert!(
        matches!(pulled.outcome, Outcome::Complete(_)),
        "{:?}",
        pulled.outcome
    );
    assert_eq!(
        asked(&place.hub, From::Hub).len(),
        1,
        "the link is asked for once"
    );
    let ranges = asked(&place.hub, From::Cdn);
    assert!(ranges.len() >= 3, "{} ranges", ranges.len());
    assert_eq!(wanted_bytes(&place.hub), BIG_WEIGHTS_BYTES);
    // A range may be cut short when another connection takes its second half.
    assert!(body_bytes(&place.hub) < BIG_WEIGHTS_BYTES + 32 * MIB);
    assert!(partials(&place.config.cache_dir).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_survived() {
    let at = |what| Fault::new(weights(), what);
    let faults: Vec<(&str, Vec<Fault>)> = vec![
        ("cut", vec![at(Effect::CutAfter { bytes: 3_000_000 })]),
        ("reset", vec![at(Effect::ResetAfter { bytes: 5_000_000 })]),
        (
            "cut before the first byte",
            vec![at(Effect::CutAfter { bytes: 0 }).times(2)],
        ),
        (
            "stall",
            vec![
                at(Effect::Stall {
                    after_bytes: 100_000,
                    millis: 900,
                })
                .times(1),
            ],
        ),
        ("no ranges", vec![at(Effect::IgnoreRange)]),
        (
            "no ranges after the first",
            vec![
                at(Effect::Delay { millis: 0 }).times(1),
                at(Effect::IgnoreRange),
            ],
        ),
        ("wrong ranges", vec![at(Effect::WrongContentRange).times(3)]),
        ("416", vec![at(Effect::Status416).times(1)]),
        ("429", vec![at(Effect::retry_after_seconds(1)).times(2)]),
        ("500", vec![at(Effect::Status { code: 500 }).times(3)]),
        ("503", vec![at(Effect::Unavailable { seconds: 1 }).times(1)]),
        (
            "an expired link",
            vec![
                at(Effect::Delay { millis: 0 }).times(2),
                at(Effect::ExpiredLink).times(2),
            ],
        ),
        ("compressed", vec![at(Effect::Gzip)]),
        (
            "one wrong byte, once",
            vec![at(Effect::FlipByte { at: 20_000_000 }).times(4)],
        ),
    ];
    for (name, faults) in faults {
        let mut place = place(faults).await;
        if name == "stall" {
            place.config.stall_timeout = Duration::from_millis(700);
        }
        let pulled = place.pull(request(BIG)).await;
        assert!(
            matches!(&pulled.outcome, Outcome::Complete(result) if result.is_verified),
            "{name}: {:?}",
            pulled.outcome
        );
        assert!(partials(&place.config.cache_dir).is_empty(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_cost_no_bytes_twice() {
    let place = place(vec![Fault::new(
        weights(),
        Effect::ResetAfter { bytes: 4_000_000 },
    )])
    .await;
    let pulled = place.pull(request(BIG)).await;
    assert!(
        matches!(pulled.outcome, Outcome::Complete(_)),
        "{:?}",
        pulled.outcome
    );
    let lost =
        |stamped: &larder::domain::Stamped| matches!(stamped.event, Event::ConnectionLost { .. });
    assert!(pulled.events.iter().any(lost));
    assert!(
        !pulled
            .events
            .iter()
            .any(|s| matches!(s.event, Event::Failed { .. }))
    );
    // What a reset destroys on its way is sent again; that is no more than sockets hold.
    let resets = asked(&place.hub, From::Cdn).len() as u64;
    assert!(body_bytes(&place.hub) < BIG_WEIGHTS_BYTES + resets * 4 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_answer_to_a_range_costs_that_range_and_not_the_file() {
    for delta in [1, -1] {
        let place = place(vec![
            Fault::new(weights(), Effect::Delay { millis: 0 }).times(2),
            Fault::new(weights(), Effect::WrongLength { delta }).times(2),
        ])
        .await;
        let pulled = place.pull(request(BIG)).await;
        assert!(
            matches!(pulled.outcome, Outcome::Complete(_)),
            "{delta}: {:?}",
            pulled.outcome
        );
        assert!(
            !pulled
                .events
                .iter()
                .any(|s| matches!(s.event, Event::Rewound { .. })),
            "{delta}"
        );
        assert!(partials(&place.config.cache_dir).is_empty(), "{delta}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lies_in_one_chunk_is_given_up_and_nothing_is_shown() {
    let lie = Fault::new(weights(), Effect::FlipByte { at: 3 * CHUNK + 9 });
    let place = place(vec![lie]).await;
    let pulled = place.pull(request(BIG)).await;
    assert_eq!(code(&pulled), FailureCode::ChecksumMismatch);
    // The other file is verified as well.
    let rounds = pulled
        .events
        .iter()
        .filter(|stamped| matches!(stamped.event, Event::Verifying { .. }))
        .count();
    assert_eq!(rounds, 3, "once, and once afresh");
    assert!(
        partials(&place.config.cache_dir).is_empty(),
        "wrong bytes are not kept"
    );
    place.hub.set_faults(Vec::new());
    let pulled = place.pull(request(BIG)).await;
    assert!(matches!(pulled.outcome, Outcome::Complete(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_between_ranges_is_given_up_and_nothing_is_shown() {
    let changed = vec![
        Fault::new(weights(), Effect::Delay { millis: 0 }).times(2),
        Fault::new(weights(), Effect::OtherBytes),
    ];
    let place = place(changed).await;
    let pulled = place.pull(request(BIG)).await;
    assert_eq!(code(&pulled), FailureCode::ChecksumMismatch);
    // The other file is verified as well.
    let rounds = pulled
        .events
        .iter()
        .filter(|stamped| matches!(stamped.event, Event::Verifying { .. }))
        .count();
    assert_eq!(rounds, 3, "once, and once afresh");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_source_sent_is_suspected_first() {
    let mut place = place(vec![Fault::new(weights(), Effect::FlipByte { at: 7 }).and(
        Effect::Slow {
            bytes_per_s: 30_000_000,
        },
    )])
    .await;
    place.config.connections = 1;
    let mut progress = 0;
    // Stopped when the first chunk, with its wrong byte, is there.
    let pulled = place
        .pull_commanding(request(BIG), |stamped| match stamped.event {
            Event::Progress { bytes, .. } if bytes > 9 * MIB && progress == 0 => {
                progress = bytes;
                Some(larder::domain::Command::Cancel(
                    larder::domain::FileSelection::All,
                ))
            }
            _ => None,
        })
        .await;
    assert!(
        matches!(pulled.outcome, Outcome::Cancelled),
        "{:?}",
        pulled.outcome
    );
    place.config.connections = 16;
    place.hub.set_faults(Vec::new());
    place.hub.clear_requests();
    let pulled = place.pull(request(BIG)).await;
    let Outcome::Complete(result) = &pulled.outcome else {
        panic!("{:?}", pulled.outcome);
    };
    // What arrived: a server sends more than that to a connection that is closed, into buffers.
    assert!(
        result.fetched_bytes < BIG_WEIGHTS_BYTES + 24 * MIB,
        "what this run fetched was not fetched again: {} bytes",
        result.fetched_bytes
    );
}

/// The real binary on `cache` with a home of its own.
fn pull(hub: &Serving, home: &Path, cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command
        .args(["pull", BIG])
        .env_clear()
        .env("HOME", home)
        .env("HF_HUB_CACHE", cache)
        .env("HF_ENDPOINT", hub.endpoint())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Kills a pull once its partial holds so many bytes by its map.
fn kill_after(hub: &Serving, home: &Path, cache: &Path, chunks: usize) {
    let mut child = pull(hub, home, cache).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let there: usize = partials(cache)
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .map(|map| {
                map.lines()
                    .filter(|line| line.starts_with("chunk "))
                    .count()
            })
            .sum();
        if there >= chunks {
            break;
        }
        assert!(Instant::now() < until, "no chunk arrived");
        if let Some(status) = child.try_wait().unwrap() {
            panic!("it ended by itself with {there} chunks: {status}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn slow(bytes_per_s: u64) -> Vec<Fault> {
    vec![Fault::new(weights(), Effect::Slow { bytes_per_s })]
}

#[tokio::test(flavor = "multi_thread")]
async fn another_home_goes_on_and_damage_costs_one_chunk() {
    let scratch = Scratch::new();
    let cache = scratch.path().join("hub");
    let hub = Serving::start(catalogue::big(), slow(1_000_000))
        .await
        .unwrap();
    kill_after(&hub, &scratch.path().join("one"), &cache, 2);
    let map = fs::read_to_string(larder_map(&partial_of(&cache))).unwrap();
    let chunks: Vec<u64> = map
        .lines()
        .filter_map(|line| line.strip_prefix("chunk ")?.split(' ').next()?.parse().ok())
        .collect();
    let chunk = chunks[0];
    // The last chunk is shorter, and may be among the first to be there.
    let length = |chunk: u64| CHUNK.min(BIG_WEIGHTS_BYTES - chunk * CHUNK);
    let good: u64 = chunks[1..].iter().copied().map(length).sum();
    let file = fs::File::options()
        .write(true)
        .open(partial_of(&cache))
        .unwrap();
    file.write_all_at(b"damage", chunk * CHUNK + 5).unwrap();
    drop(file);
    hub.set_faults(Vec::new());
    hub.clear_requests();
    let home = scratch.path().join("another");
    assert!(pull(&hub, &home, &cache).status().unwrap().success());
    assert_all_visible_bytes_proven(&cache);
    assert!(partials(&cache).is_empty());
    assert_eq!(wanted_bytes(&hub), BIG_WEIGHTS_BYTES - good);
}

fn larder_map(partial: &Path) -> PathBuf {
    let name = partial
        .to_str()
        .unwrap()
        .strip_suffix(".incomplete")
        .unwrap();
    PathBuf::from(format!("{name}.map.incomplete"))
}

/// Sixty kills at seeded random moments, over as many caches as it takes.
#[tokio::test(flavor = "multi_thread")]
async fn sixty_kills_cost_at_most_a_chunk_for_each_connection() {
    const KILLS: u64 = 60;
    /// As many as the pace allows by default.
    const CONNECTIONS: u64 = 16;
    let mut random = fastrand::Rng::with_seed(4);
    let scratch = Scratch::new();
    let hub = Serving::start(catalogue::big(), slow(6_000_000))
        .await
        .unwrap();
    let (mut cache_number, mut done, mut since, mut worst) = (0, 0, 0, 0);
    while done < KILLS {
        let cache = scratch.path().join(format!("hub{cache_number}"));
        let mut child = pull(&hub, scratch.path(), &cache).spawn().unwrap();
        let until = Instant::now() + Duration::from_millis(random.u64(40..700));
        let mut ended = None;
        while Instant::now() < until && ended.is_none() {
            std::thread::sleep(Duration::from_millis(2));
            ended = child.try_wait().unwrap();
        }
        if ended.is_none() {
            child.kill().unwrap();
            done += 1;
            since += 1;
        }
        child.wait().unwrap();
        if cache.is_dir() {
            assert_all_visible_bytes_proven(&cache);
        }
        let is_there = blobs_of(&cache).is_dir() && partials(&cache).is_empty();
        if ended.is_some_and(|status| status.success()) || (is_there && since > 6) {
            // What was fetched beyond the file was in flight at a kill.
            let extra = body_bytes(&hub).saturating_sub(BIG_WEIGHTS_BYTES);
            worst = worst.max(extra / u64::max(since, 1));
            assert!(
                extra <= since * CONNECTIONS * CHUNK,
                "{extra} bytes for {since} kills"
            );
            hub.clear_requests();
            (cache_number, since) = (cache_number + 1, 0);
        }
    }
    let cache = scratch.path().join(format!("hub{cache_number}"));
    hub.set_faults(Vec::new());
    assert!(
        pull(&hub, scratch.path(), &cache)
            .status()
            .unwrap()
            .success()
    );
    assert_all_visible_bytes_proven(&cache);
    assert!(cache_number > 0 || worst == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_is_limited_over_all_connections() {
    let mut place = place(Vec::new()).await;
    place.config.limit_rate = Some(30_000_000);
    // The engine's own clock decides; that it was not faster than allowed can be seen.
    let start = Instant::now();
    let pulled = place.pull_unchecked(request(BIG)).await;
    assert!(matches!(pulled.outcome, Outcome::Complete(_)));
    assert!(
        start.elapsed() >= Duration::from_millis(1_100),
        "{:?}",
        start.elapsed()
    );
}
