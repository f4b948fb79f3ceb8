//! Tests of `chunked.rs`: any order, any loss, any damage gives the right file or none.

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;
use crate::cache::fixture::{self, etag, held, now, repo};
use crate::cache::{CHUNK_BYTES, PromoteError, SetAside, resumable_bytes};

/// [`CHUNK_BYTES`] as a length in memory.
const CHUNK: usize = 8 << 20;

struct Scene {
    _dir: fixture::Folder,
    layout: Layout,
    repo: RepoId,
    etag: Etag,
    good: Vec<u8>,
    lock: BlobLock,
    backlog: Arc<Backlog>,
}

impl Scene {
    fn new(bytes: usize) -> Self {
        let (dir, layout) = fixture::cache();
        let repo = repo("org/m");
        crate::cache::prepare_repo(&layout, &repo).unwrap();
        let good = fixture::content(bytes);
        let etag = etag(&good);
        let lock = held(&layout, &repo, &etag);
        Self {
            _dir: dir,
            layout,
            repo,
            etag,
            good,
            lock,
            backlog: Backlog::new(5 << 20),
        }
    }

    fn open(&self) -> (Chunked<Vec<u8>>, Found) {
        self.open_from(None)
    }

    fn open_from(&self, seed: Option<&Path>) -> (Chunked<Vec<u8>>, Found) {
        let from = Salvage {
            now: now(),
            seed,
            damaged: None,
        };
        Chunked::open(self.wanted(&|| true), from).unwrap()
    }

    fn wanted<'a>(&'a self, is_wanted: &'a (dyn Fn() -> bool + Sync)) -> Wanted<'a> {
        Wanted {
            layout: &self.layout,
            repo: &self.repo,
            etag: &self.etag,
            size_bytes: self.good.len() as u64,
            lock: &self.lock,
            is_wanted,
            backlog: &self.backlog,
        }
    }

    fn write(&self, chunked: &mut Chunked<Vec<u8>>, range: Range<usize>) {
        for start in range.clone().step_by(300_000) {
            let end = range.end.min(start + 300_000);
            let bytes = self.good[start..end].to_vec();
            chunked.write(start as u64, bytes, "cdn").unwrap();
        }
    }

    fn fill(&self, chunked: &mut Chunked<Vec<u8>>) {
        for gap in chunked.present().gaps(&(0..self.good.len() as u64)) {
            let (start, end) = (
                usize::try_from(gap.start).unwrap(),
                usize::try_from(gap.end).unwrap(),
            );
            self.write(chunked, start..end);
        }
    }

    fn promote(&self, chunked: Chunked<Vec<u8>>) -> Result<(), PromoteError> {
        let partial = chunked.finish().unwrap();
        partial
            .prove_and_promote(&self.lock, SetAside::Keep)
            .map(drop)
    }

    fn names(&self) -> Vec<String> {
        fixture::names(&self.layout.blobs(&self.repo))
    }

    fn partial(&self) -> PathBuf {
        let blobs = self.layout.blobs(&self.repo);
        let mut names = self.names();
        names.retain(|name| name.ends_with(".incomplete") && !name.ends_with(".map.incomplete"));
        assert_eq!(names.len(), 1, "{names:?}");
        blobs.join(&names[0])
    }

    #[track_caller]
    fn assert_promoted(&self) {
        assert_eq!(self.names(), [self.etag.to_string()]);
        let blob = std::fs::read(self.layout.blob(&self.repo, &self.etag)).unwrap();
        assert!(blob == self.good);
    }
}

/// A range that came late lets the hash fall behind all that came before it.
#[test]
fn what_is_to_keep_step_waits_for_the_hash_to_catch_up() {
    let scene = Scene::new(4 * CHUNK);
    let (mut chunked, _) = scene.open();
    chunked.keep_in_step(true);
    scene.write(&mut chunked, CHUNK..4 * CHUNK);
    assert_eq!(chunked.hashing.taken(), 0, "there is a gap before it");
    scene.write(&mut chunked, 0..CHUNK);
    assert_eq!(chunked.present().prefix(), 4 * CHUNK_BYTES);
    assert!(chunked.hashing.taken() >= 4 * CHUNK_BYTES - CHUNK_BYTES / 2);
    scene.promote(chunked).unwrap();
    scene.assert_promoted();
}

#[test]
fn bytes_in_any_order_become_the_blob_and_nothing_is_left() {
    let scene = Scene::new(3 * CHUNK + 12_345);
    let (mut chunked, found) = scene.open();
    assert_eq!(found, Found::default());
    for (from, to) in [(2, 3), (0, 1), (1, 2)] {
        scene.write(&mut chunked, from * CHUNK..to * CHUNK);
    }
    scene.fill(&mut chunked);
    let partial = chunked.finish().unwrap();
    let (length, digests) = partial.digests().unwrap();
    assert_eq!((length, digests.len()), (CHUNK_BYTES, 4));
    partial
        .prove_and_promote(&scene.lock, SetAside::Keep)
        .unwrap();
    scene.assert_promoted();
}

#[test]
fn a_kill_loses_only_chunks_in_flight_and_a_stop_nothing() {
    let scene = Scene::new(4 * CHUNK);
    let (mut chunked, _) = scene.open();
    scene.write(&mut chunked, CHUNK..2 * CHUNK);
    scene.write(&mut chunked, 2 * CHUNK..2 * CHUNK + 1_000_000);
    scene.write(&mut chunked, 3 * CHUNK + 1_000_000..4 * CHUNK);
    // As a kill leaves it.
    drop(chunked);
    assert_eq!(
        resumable_bytes(&scene.layout, &scene.repo, &scene.etag),
        Some(CHUNK_BYTES)
    );
    let (mut chunked, found) = scene.open();
    assert_eq!(found.adopted_bytes, CHUNK_BYTES);
    scene.write(&mut chunked, 2 * CHUNK..2 * CHUNK + 1_000_000);
    chunked.close("cdn").unwrap();
    let (mut chunked, found) = scene.open();
    assert_eq!(found.adopted_bytes, CHUNK_BYTES + 1_000_000);
    // The begun chunk goes on where it was.
    scene.write(&mut chunked, 2 * CHUNK + 1_000_000..3 * CHUNK);
    chunked.close("cdn").unwrap();
    let (mut chunked, found) = scene.open();
    assert_eq!(found.adopted_bytes, 2 * CHUNK_BYTES);
    scene.fill(&mut chunked);
    scene.promote(chunked).unwrap();
    scene.assert_promoted();
}

#[test]
fn damage_on_disk_costs_the_chunk_it_is_in() {
    let scene = Scene::new(4 * CHUNK);
    let (mut chunked, _) = scene.open();
    scene.write(&mut chunked, 0..3 * CHUNK);
    chunked.close("cdn").unwrap();
    let file = File::options().write(true).open(scene.partial()).unwrap();
    file.write_all_at(b"damage", CHUNK_BYTES + 77).unwrap();
    let (mut chunked, found) = scene.open();
    assert_eq!(found.damaged_bytes, CHUNK_BYTES);
    assert_eq!(
        chunked.present().gaps(&(0..4 * CHUNK_BYTES)),
        [
            CHUNK_BYTES..2 * CHUNK_BYTES,
            3 * CHUNK_BYTES..4 * CHUNK_BYTES
        ]
    );
    // What was lost stays lost, also after the next kill.
    chunked.close("cdn").unwrap();
    let found;
    (chunked, found) = scene.open();
    assert_eq!(
        (found.damaged_bytes, found.adopted_bytes),
        (0, 2 * CHUNK_BYTES)
    );
    scene.fill(&mut chunked);
    scene.promote(chunked).unwrap();
    scene.assert_promoted();
}

#[test]
fn a_file_cut_by_a_power_loss_is_noticed() {
    let scene = Scene::new(3 * CHUNK);
    let (mut chunked, _) = scene.open();
    scene.write(&mut chunked, 0..2 * CHUNK);
    chunked.close("cdn").unwrap();
    let file = File::options().write(true).open(scene.partial()).unwrap();
    file.set_len(CHUNK_BYTES + 1).unwrap();
    let (mut chunked, found) = scene.open();
    assert_eq!(
        (found.damaged_bytes, found.adopted_bytes),
        (CHUNK_BYTES, CHUNK_BYTES)
    );
    scene.fill(&mut chunked);
    scene.promote(chunked).unwrap();
    scene.assert_promoted();
}

#[test]
fn partials_without_a_map_go_on_after_their_length() {
    for name in ["incomplete", "part"] {
        let scene = Scene::new(3 * CHUNK);
        let foreign = scene
            .layout
            .blobs(&scene.repo)
            .join(format!("{}.{name}", scene.etag));
        std::fs::write(&foreign, &scene.good[..CHUNK + 5]).unwrap();
        let (mut chunked, found) = scene.open();
        assert_eq!(found.adopted_bytes, CHUNK_BYTES + 5);
        assert!(!foreign.exists());
        scene.fill(&mut chunked);
        scene.promote(chunked).unwrap();
        scene.assert_promoted();
    }
}

#[test]
fn a_truncated_blob_is_a_beginning() {
    let scene = Scene::new(3 * CHUNK);
    let blob = scene.layout.blob(&scene.repo, &scene.etag);
    std::fs::write(&blob, &scene.good[..=2 * CHUNK]).unwrap();
    let (mut chunked, found) = scene.open_from(Some(&blob));
    assert_eq!(found.adopted_bytes, 2 * CHUNK_BYTES + 1);
    scene.fill(&mut chunked);
    let partial = chunked.finish().unwrap();
    partial
        .prove_and_promote(&scene.lock, SetAside::Drop)
        .unwrap();
    scene.assert_promoted();
}

#[test]
fn old_bytes_are_suspected_before_new_ones() {
    let scene = Scene::new(3 * CHUNK);
    let (mut chunked, _) = scene.open();
    let mut wrong = scene.good[..CHUNK].to_vec();
    wrong[5] ^= 1;
    chunked.write(0, wrong, "liar").unwrap();
    chunked.close("liar").unwrap();
    let (mut chunked, _) = scene.open();
    scene.fill(&mut chunked);
    let failed = scene.promote(chunked).unwrap_err();
    assert!(matches!(failed.error, Error::HashMismatch { .. }));
    let mut partial = *failed.partial;
    assert_eq!(partial.forget_old().unwrap(), Some(CHUNK_BYTES));
    assert_eq!(partial.forget_old().unwrap(), None);
    drop(partial);
    let (mut chunked, found) = scene.open();
    assert_eq!(found.adopted_bytes, 2 * CHUNK_BYTES);
    scene.fill(&mut chunked);
    scene.promote(chunked).unwrap();
    scene.assert_promoted();
}

#[test]
fn when_everything_is_old_or_nothing_there_is_no_suspect() {
    let scene = Scene::new(2 * CHUNK);
    let (mut chunked, _) = scene.open();
    let wrong = vec![0; 2 * CHUNK];
    chunked.write(0, wrong, "liar").unwrap();
    let mut partial = chunked.finish().unwrap();
    assert_eq!(partial.forget_old().unwrap(), None, "all is new");
    drop(partial);
    let (chunked, _) = scene.open();
    let mut partial = chunked.finish().unwrap();
    assert_eq!(partial.forget_old().unwrap(), None, "all is old");
    assert!(partial.has_foreign_bytes());
    partial.discard().unwrap();
    assert!(scene.names().is_empty());
}

#[test]
fn a_prune_in_the_middle_costs_nothing() {
    let scene = Scene::new(4 * CHUNK);
    let (mut chunked, _) = scene.open();
    scene.write(&mut chunked, 2 * CHUNK..3 * CHUNK);
    for entry in std::fs::read_dir(scene.layout.blobs(&scene.repo)).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    scene.write(&mut chunked, 0..2 * CHUNK);
    // And what a kill after that leaves.
    drop(chunked);
    let (mut chunked, found) = scene.open();
    assert!(found.adopted_bytes >= 2 * CHUNK_BYTES, "{found:?}");
    let map = Layout::map_of(&scene.partial()).unwrap();
    std::fs::remove_file(&map).unwrap();
    scene.fill(&mut chunked);
    scene.promote(chunked).unwrap();
    scene.assert_promoted();
}

/// Killed between making the map and writing its first line: the partial gets another name.
#[test]
fn a_map_that_says_nothing_does_not_outlive_its_partial() {
    for text in ["", "larder-chu"] {
        let scene = Scene::new(2 * CHUNK);
        let blobs = scene.layout.blobs(&scene.repo);
        for number in ["0123abcd", "4567abcd"] {
            let path = |ending| blobs.join(format!("{}.{number}.{ending}", scene.etag));
            std::fs::write(path("incomplete"), "").unwrap();
            std::fs::write(path("map.incomplete"), text).unwrap();
        }
        let (mut chunked, _) = scene.open();
        scene.fill(&mut chunked);
        scene.promote(chunked).unwrap();
        scene.assert_promoted();
    }
}

#[test]
fn orphan_maps_are_taken_away_and_others_stay() {
    let scene = Scene::new(2 * CHUNK);
    let blobs = scene.layout.blobs(&scene.repo);
    let orphan = blobs.join(format!("{}.0123abcd.map.incomplete", scene.etag));
    let other = blobs.join(format!("{}.0123abcd.map.incomplete", "ab".repeat(32)));
    std::fs::write(&orphan, "x").unwrap();
    std::fs::write(&other, "x").unwrap();
    let (mut chunked, _) = scene.open();
    assert!(!orphan.exists() && other.exists());
    scene.fill(&mut chunked);
    scene.promote(chunked).unwrap();
}

#[test]
fn of_a_damaged_blob_the_right_chunks_are_taken() {
    let scene = Scene::new(4 * CHUNK + 5);
    let digests: Vec<ChunkDigest> = scene
        .good
        .chunks(CHUNK)
        .map(|chunk| {
            let mut digester = Digester::new();
            digester.update(chunk);
            digester.digest()
        })
        .collect();
    let blob = scene.layout.blobs(&scene.repo).join("wrong");
    let mut bad = scene.good.clone();
    bad[CHUNK + 7] ^= 1;
    bad.extend_from_slice(b"and more");
    std::fs::write(&blob, &bad).unwrap();
    let open = |chunk_bytes, digests: &[ChunkDigest]| {
        let damaged = Some(Damaged {
            path: &blob,
            chunk_bytes,
            digests,
        });
        let from = Salvage {
            now: now(),
            seed: None,
            damaged,
        };
        Chunked::open(scene.wanted(&|| true), from).unwrap()
    };
    // What does not fit the content is of no use.
    for (chunk_bytes, digests) in [
        (CHUNK_BYTES / 2, &digests[..]),
        (CHUNK_BYTES, &digests[1..]),
    ] {
        let (chunked, found) = open(chunk_bytes, digests);
        assert_eq!(found.adopted_bytes, 0);
        drop(chunked);
    }
    let (mut chunked, found) = open(CHUNK_BYTES, &digests);
    assert_eq!(found.adopted_bytes, scene.good.len() as u64 - CHUNK_BYTES);
    let all = 0..scene.good.len() as u64;
    let gaps = chunked.present().gaps(&all);
    assert_eq!((gaps.len(), &gaps[0]), (1, &(CHUNK_BYTES..2 * CHUNK_BYTES)));
    scene.fill(&mut chunked);
    std::fs::remove_file(&blob).unwrap();
    scene.promote(chunked).unwrap();
    let blob = std::fs::read(scene.layout.blob(&scene.repo, &scene.etag)).unwrap();
    assert!(blob == scene.good);
}

#[test]
fn nobody_waits_for_what_is_not_wanted() {
    let scene = Scene::new(3 * CHUNK);
    let (mut chunked, _) = scene.open();
    scene.write(&mut chunked, 0..2 * CHUNK);
    chunked.close("cdn").unwrap();
    let from = Salvage {
        now: now(),
        seed: None,
        damaged: None,
    };
    let stopped = Chunked::<Vec<u8>>::open(scene.wanted(&|| false), from);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let (_, found) = scene.open();
    assert_eq!(found.adopted_bytes, 2 * CHUNK_BYTES, "nothing was lost");
}

#[test]
fn a_map_that_cannot_be_written_is_an_error_and_not_a_wrong_file() {
    let scene = Scene::new(2 * CHUNK);
    let blobs = scene.layout.blobs(&scene.repo);
    std::fs::set_permissions(&blobs, std::fs::Permissions::from_mode(0o555)).unwrap();
    let from = Salvage {
        now: now(),
        seed: None,
        damaged: None,
    };
    let opened = Chunked::<Vec<u8>>::open(scene.wanted(&|| true), from);
    std::fs::set_permissions(&blobs, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Root may write everywhere.
    if rustix::process::geteuid().is_root() {
        return;
    }
    assert!(matches!(opened, Err(Error::Permission { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Any order, any loss, any damage, any number of kills: the right file in the end.
    #[test]
    fn any_history_ends_in_the_right_file(
        runs in proptest::collection::vec(
            (proptest::collection::vec((0_usize..40, 1_usize..12, any::<bool>()), 1..6),
             any::<bool>(),
             proptest::option::of(0_u64..20)), 1..5),
    ) {
        const PIECE: usize = 500_000;
        let scene = Scene::new(2 * CHUNK + 3 * PIECE);
        for (writes, is_killed, damage) in runs {
            let (mut chunked, _) = scene.open();
            for (from, pieces, is_near) in writes {
                chunked.keep_in_step(is_near);
                for piece in from..from + pieces {
                    let start = piece * PIECE;
                    let end = (start + PIECE).min(scene.good.len());
                    if start < end {
                        scene.write(&mut chunked, start..end);
                    }
                }
            }
            if is_killed { drop(chunked) } else { chunked.close("cdn").unwrap() }
            if let Some(at) = damage {
                let file = File::options().write(true).open(scene.partial()).unwrap();
                file.write_all_at(&[0xEE], at * PIECE as u64).unwrap();
            }
        }
        let (mut chunked, _) = scene.open();
        scene.fill(&mut chunked);
        scene.promote(chunked).unwrap();
        scene.assert_promoted();
    }
}
