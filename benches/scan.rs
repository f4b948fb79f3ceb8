//! Owns the timing of a look at a cache: 200 models of ten files.
//!
//! Never asserts a time.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has no result"
)]

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::symlink;

use criterion::Criterion;
use larder::cache::{Judge, Layout, repos, scan};
use larder::{host, mlx};

const MODELS: usize = 200;
const FILES: usize = 10;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for model in 0..MODELS {
        let repo = root.join(format!("models--bench--m{model}"));
        let commit = format!("{model:040x}");
        let snapshot = repo.join("snapshots").join(&commit);
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(repo.join("refs")).unwrap();
        fs::create_dir_all(repo.join("blobs")).unwrap();
        fs::write(repo.join("refs/main"), &commit).unwrap();
        for file in 0..FILES {
            let blob = format!("{:040x}", model * FILES + file);
            fs::write(repo.join("blobs").join(&blob), "{}").unwrap();
            let pointer = snapshot.join(format!("f{file}.json"));
            symlink(format!("../../blobs/{blob}"), pointer).unwrap();
        }
    }
    let layout = Layout::new(root);
    let judge = Judge {
        examine: &|folder, _| {
            let reading = mlx::Reading {
                open: &host::open_quietly,
                list: &host::names,
                is_deep: false,
            };
            mlx::examine(folder, reading, &|_| false)
        },
        select: &mlx::default_selection,
        hashed: &|_, _, _| None,
        content: &|_, _| None,
        listing: &|_, _| None,
        paired: &|_, _| None,
    };
    criterion.bench_function("names of 200 repos", |bencher| {
        bencher.iter(|| black_box(repos(&layout).unwrap()).len());
    });
    criterion.bench_function("scan of 200 models, 2000 files", |bencher| {
        bencher.iter(|| black_box(scan(&layout, judge).unwrap()));
    });
    criterion.final_summary();
}
