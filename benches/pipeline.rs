//! Owns the timing of what bytes go through: hashing, writing, both, and the chunk map.
//!
//! Never asserts a time.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has no result"
)]

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use criterion::{BatchSize, Criterion, Throughput};
use larder::cache::{
    Backlog, Check, ChunkHasher, Chunked, Hasher, Layout, LockAttempt, Partial, Wanted, check,
    prepare_repo, try_lock,
};
use larder::domain::{Etag, RepoId, RepoKind};

/// As one write of the engine.
const STEP: usize = 256 << 10;
/// Enough that opening a file does not count.
const FILE: usize = 64 << 20;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    hashes(&mut criterion);
    files(&mut criterion);
    criterion.final_summary();
}

fn hashes(criterion: &mut Criterion) {
    let step = vec![0x5A; STEP];
    let mut group = criterion.benchmark_group("hash 256 KiB");
    group.throughput(Throughput::Bytes(STEP as u64));
    for (name, etag) in [
        ("sha-256", Etag::Sha256([0; 32])),
        ("git sha-1", Etag::GitSha1([0; 20])),
    ] {
        let mut hasher = Hasher::new(&etag, u64::MAX);
        group.bench_function(name, |bencher| bencher.iter(|| hasher.update(&step)));
    }
    let mut chunks = ChunkHasher::new(u64::MAX);
    group.bench_function("xxh3-128", |bencher| bencher.iter(|| chunks.update(&step)));
    group.finish();
}

fn files(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().canonicalize().unwrap().join("hub"));
    let repo = RepoId::new(RepoKind::Model, "bench/m").unwrap();
    prepare_repo(&layout, &repo).unwrap();
    let step = vec![0x5A; STEP];
    let mut hasher = Hasher::new(&Etag::Sha256([0; 32]), FILE as u64);
    for _ in 0..FILE / STEP {
        hasher.update(&step);
    }
    let etag = hasher.computed();
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(498_746);
    let LockAttempt::Held(lock) = try_lock(&layout, &repo, &etag, now).unwrap() else {
        return;
    };
    let size_bytes = FILE as u64;
    let backlog = Backlog::new(5 << 20);
    let wanted = Wanted {
        layout: &layout,
        repo: &repo,
        etag: &etag,
        size_bytes,
        lock: &lock,
        is_wanted: &|| true,
        backlog: &backlog,
    };
    let mut group = criterion.benchmark_group("64 MiB");
    group
        .sample_size(10)
        .throughput(Throughput::Bytes(size_bytes));
    group.bench_function("from the start, hashed on the way", |bencher| {
        bencher.iter_batched(
            || Partial::anew(&layout, &repo, &etag, size_bytes, &lock).unwrap(),
            |mut partial| {
                for _ in 0..FILE / STEP {
                    partial.append(&step).unwrap();
                }
                partial.discard().unwrap();
            },
            BatchSize::PerIteration,
        );
    });
    // As eight connections bring it: chunk by chunk in turn.
    let chunk = 8 << 20;
    group.bench_function(
        "in chunks out of order, hashed beside, with a map",
        |bencher| {
            bencher.iter_batched(
                || Chunked::<Vec<u8>>::anew(wanted).unwrap(),
                |mut chunked| {
                    for at in (0..chunk).step_by(STEP) {
                        for start in (0..FILE).step_by(chunk) {
                            let offset = (start + at) as u64;
                            chunked.write(offset, step.clone(), "bench").unwrap();
                        }
                    }
                    chunked.finish().unwrap().discard().unwrap();
                },
                BatchSize::PerIteration,
            );
        },
    );
    let path = dir.path().join("whole");
    std::fs::write(&path, step.repeat(FILE / STEP)).unwrap();
    group.bench_function("proven on disk", |bencher| {
        let mut on = |_| ControlFlow::Continue(());
        bencher.iter(|| check(&path, &etag, size_bytes, Check::Hash, &mut on).unwrap());
    });
    group.finish();
}
