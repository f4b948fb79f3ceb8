//! Caches made by chance: some models in several commits that share contents, and damage of every
//! kind to them; always the same for one recipe. A recipe is data, so that a damage can be left out to
//! see which of them matter.
//!
//! Never judges: it says what the Hub has, and what was broken.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use larder::domain::Commit;
use larder::serve::Catalogue;

use super::layouts;
use super::model::{Model, WEIGHTS, lfs_pointer, sha256};
use super::{Zoo, write};

/// What can happen to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    Flip,
    Truncate,
    Extend,
    Empty,
    LfsPointer,
    ErrorPage,
    Swap,
    DropPointer,
    DropBlob,
    DropRef,
    DropListing,
    SpoilListing,
    SpoilRef,
    AbsolutePointer,
    DanglingPointer,
    WrongPointer,
    BorrowedPointer,
    EscapingPointer,
    CopyInPlaceOfPointer,
    WrongFileInPlaceOfPointer,
    FolderInPlaceOfPointer,
    FolderInPlaceOfBlob,
    OwnFileInSnapshot,
    LeftRef,
    LeftTemp,
    Probe,
    Replacement,
    OnlyCopy,
    Aside,
    Partial,
    Marker,
    NoExist,
    BranchFolder,
    Orphan,
    WrongOrphan,
    SharedNames,
    Foreign,
}

impl Damage {
    const ALL: [Self; 37] = [
        Self::Flip,
        Self::Truncate,
        Self::Extend,
        Self::Empty,
        Self::LfsPointer,
        Self::ErrorPage,
        Self::Swap,
        Self::DropPointer,
        Self::DropBlob,
        Self::DropRef,
        Self::DropListing,
        Self::SpoilListing,
        Self::SpoilRef,
        Self::AbsolutePointer,
        Self::DanglingPointer,
        Self::WrongPointer,
        Self::BorrowedPointer,
        Self::EscapingPointer,
        Self::CopyInPlaceOfPointer,
        Self::WrongFileInPlaceOfPointer,
        Self::FolderInPlaceOfPointer,
        Self::FolderInPlaceOfBlob,
        Self::OwnFileInSnapshot,
        Self::LeftRef,
        Self::LeftTemp,
        Self::Probe,
        Self::Replacement,
        Self::OnlyCopy,
        Self::Aside,
        Self::Partial,
        Self::Marker,
        Self::NoExist,
        Self::BranchFolder,
        Self::Orphan,
        Self::WrongOrphan,
        Self::SharedNames,
        Self::Foreign,
    ];
}

/// How a cache is made.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Of what is there before the damage.
    seed: u64,
    /// What happens to it, in this order, and the dice of each.
    pub(crate) damages: Vec<(Damage, u64)>,
}

/// A cache that was made by a recipe.
pub(crate) struct Ruin {
    pub(crate) zoo: Zoo,
    /// Every commit that the Hub has.
    pub(crate) commits: Vec<Model>,
    /// Commits of repos that the Hub does not have any more.
    pub(crate) gone: Vec<Model>,
}

impl Recipe {
    /// The recipe of a seed: so many things happen.
    pub(crate) fn new(seed: u64, damages: RangeInclusive<usize>) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let count = dice.usize(damages);
        let damages = (0..count)
            .map(|_| {
                let damage = Damage::ALL[dice.usize(..Damage::ALL.len())];
                (damage, dice.u64(..))
            })
            .collect();
        Self { seed, damages }
    }

    /// Whether the Hub may be asked for listings before anything is looked at.
    pub(crate) const fn is_online(&self) -> bool {
        self.seed.is_multiple_of(2)
    }

    /// The same without one damage.
    pub(crate) fn without(&self, at: usize) -> Self {
        let mut less = self.clone();
        less.damages.remove(at);
        less
    }

    /// Makes the cache.
    pub(crate) fn make(&self) -> Ruin {
        // Not the dice of the damages: what is there stays the same without one of them.
        let mut dice = fastrand::Rng::with_seed(self.seed ^ 0x5eed);
        let mut ruin = Ruin {
            zoo: Zoo::new(),
            commits: Vec::new(),
            gone: Vec::new(),
        };
        for number in 0..dice.usize(1..=3) {
            ruin.add_repo(number, &mut dice);
        }
        if dice.u8(0..8) == 0 {
            ruin.add_gone();
        }
        for (damage, seed) in &self.damages {
            ruin.damage(*damage, &mut fastrand::Rng::with_seed(*seed));
        }
        ruin
    }
}

/// What lies in a folder that is called like a content.
fn whole_blobs(model: &Model) -> Vec<PathBuf> {
    let entries = fs::read_dir(model.blobs()).into_iter().flatten().flatten();
    let mut blobs: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            matches!(name.len(), 40 | 64) && path.is_file()
        })
        .collect();
    blobs.sort();
    blobs
}

/// Writes over what a blob holds, through whatever links lead to it.
fn overwrite(blob: &Path, content: impl AsRef<[u8]>) {
    let real = fs::canonicalize(blob).unwrap();
    let mode = fs::metadata(&real).unwrap().permissions();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&real, content).unwrap();
    fs::set_permissions(&real, mode).unwrap();
}

impl Ruin {
    /// A repo in one to three commits that share contents, with each other and with other repos.
    fn add_repo(&mut self, number: usize, dice: &mut fastrand::Rng) {
        let name = format!("ruin/model-{number}");
        if dice.u8(0..8) == 0 {
            let model = layouts::shared(&mut self.zoo, &name);
            write(
                &self.zoo.root().join("blobs/.huggingface-shared-blobs"),
                "1\n",
            );
            self.commits.push(model);
            return;
        }
        let first = self.zoo.known(&name);
        let count = dice.usize(1..=3);
        let mut model = first.clone();
        self.commits.push(first);
        for at in 0..count {
            if at > 0 {
                model = self.next_commit(&model, at, dice);
                self.commits.push(model.clone());
            }
            let is_last = at + 1 == count;
            // The cache need not hold all that the Hub has.
            if !is_last && dice.u8(0..3) == 0 {
                continue;
            }
            Self::place(&model, dice);
            let reference = format!("v{at}");
            let commit = Commit::new(model.commit()).unwrap();
            let repo = self.zoo.catalogue.repo(&model.id());
            repo.branch(&reference, commit);
            if is_last && dice.u8(0..10) > 0 {
                model.write_ref("main", model.commit());
            }
            if dice.bool() {
                model.write_ref(&reference, model.commit());
            }
        }
    }

    /// Another commit: some files are new, and some are those of other repos.
    fn next_commit(&mut self, before: &Model, at: usize, dice: &mut fastrand::Rng) -> Model {
        let text = format!("# {} {at}\n", before.name());
        let extra = vec![7; dice.choice([0, 1, 300, 70_000]).unwrap()];
        let config = before.piece("config.json").bytes.clone();
        let other = self.commits[dice.usize(..self.commits.len())].clone();
        let weights = other.piece(WEIGHTS).bytes.clone();
        let mut changed: Vec<(&str, &[u8], bool)> = vec![("README.md", text.as_bytes(), false)];
        if dice.bool() {
            changed.push(("data/extra.bin", &extra, !extra.is_empty()));
        }
        if dice.bool() {
            changed.push(("a/copy of config.json", &config, false));
        }
        if dice.bool() {
            changed.push(("empty.txt", b"", false));
        }
        if dice.bool() {
            changed.push((WEIGHTS, &weights, true));
        }
        before.with(&mut self.zoo.catalogue, &changed)
    }

    /// Puts a commit into the cache: whole, in part, or without links.
    fn place(model: &Model, dice: &mut fastrand::Rng) {
        if dice.u8(0..6) > 0 {
            model.write_listing();
        }
        let layout = dice.u8(0..8);
        for path in model.paths() {
            match layout {
                0 if dice.u8(0..4) == 0 => {}
                1 => write(&model.pointer(&path), &model.piece(&path).bytes),
                _ => model.place(&path),
            }
        }
        fs::create_dir_all(model.snapshot()).unwrap();
    }

    /// A model that the Hub has taken away since.
    fn add_gone(&mut self) {
        let mut elsewhere = Catalogue::new();
        let model = Model::new(self.zoo.root(), &mut elsewhere, "ruin/gone");
        model.write_listing();
        model.write_ref("main", model.commit());
        for path in model.paths() {
            model.place(&path);
        }
        self.gone.push(model);
    }

    /// Every commit that anybody has or had.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Model> {
        self.commits.iter().chain(&self.gone)
    }

    /// Hashes of all bytes that are right somewhere.
    pub(crate) fn right(&self) -> BTreeSet<String> {
        let pieces = self.all().flat_map(|model| {
            let paths = model.paths();
            paths.into_iter().map(|path| model.piece(&path).clone())
        });
        pieces.map(|piece| sha256(&piece.bytes)).collect()
    }

    /// One of the commits that are in the cache.
    fn one(&self, dice: &mut fastrand::Rng) -> Model {
        let here: Vec<&Model> = self
            .all()
            .filter(|model| model.snapshot().is_dir())
            .collect();
        here[dice.usize(..here.len())].clone()
    }

    /// One of the blobs of some repo.
    fn blob(&self, dice: &mut fastrand::Rng) -> Option<(Model, PathBuf)> {
        let model = self.one(dice);
        let blobs = whole_blobs(&model);
        (!blobs.is_empty()).then(|| (model, blobs[dice.usize(..blobs.len())].clone()))
    }

    /// One of the files of some commit, with its place.
    fn file(&self, dice: &mut fastrand::Rng) -> (Model, String) {
        let model = self.one(dice);
        let paths = model.paths();
        let path = paths[dice.usize(..paths.len())].clone();
        (model, path)
    }

    fn damage(&mut self, damage: Damage, dice: &mut fastrand::Rng) {
        match damage {
            Damage::Flip
            | Damage::Truncate
            | Damage::Extend
            | Damage::Empty
            | Damage::LfsPointer
            | Damage::ErrorPage
            | Damage::Swap
            | Damage::DropBlob
            | Damage::OnlyCopy
            | Damage::Replacement
            | Damage::Aside
            | Damage::FolderInPlaceOfBlob
            | Damage::SharedNames => {
                if let Some((model, blob)) = self.blob(dice) {
                    self.damage_blob(damage, (&model, &blob), dice);
                }
            }
            Damage::DropPointer
            | Damage::AbsolutePointer
            | Damage::DanglingPointer
            | Damage::WrongPointer
            | Damage::BorrowedPointer
            | Damage::EscapingPointer
            | Damage::CopyInPlaceOfPointer
            | Damage::WrongFileInPlaceOfPointer
            | Damage::FolderInPlaceOfPointer => {
                let (model, path) = self.file(dice);
                let found = model.pointer(&path).symlink_metadata();
                if found.is_ok_and(|found| !found.is_dir()) {
                    self.damage_pointer(damage, (&model, &path), dice);
                }
            }
            _ => self.leave(damage, dice),
        }
    }

    fn damage_blob(
        &self,
        damage: Damage,
        (model, blob): (&Model, &Path),
        dice: &mut fastrand::Rng,
    ) {
        let mut bytes = fs::read(blob).unwrap();
        let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
        match damage {
            Damage::Flip if !bytes.is_empty() => {
                let at = dice.usize(..bytes.len());
                bytes[at] ^= 1 << dice.u8(..8);
                overwrite(blob, bytes);
            }
            Damage::Truncate if !bytes.is_empty() => {
                bytes.truncate(dice.usize(..bytes.len()));
                overwrite(blob, bytes);
            }
            Damage::Extend => {
                bytes.extend(vec![0; dice.usize(1..5_000)]);
                overwrite(blob, bytes);
            }
            Damage::Empty => overwrite(blob, ""),
            Damage::LfsPointer => overwrite(blob, lfs_pointer(&bytes)),
            Damage::ErrorPage => overwrite(
                blob,
                "<!DOCTYPE html>\n<html><body>Please log in.</body></html>\n",
            ),
            Damage::Swap => {
                let blobs = whole_blobs(model);
                let other = &blobs[dice.usize(..blobs.len())];
                let others = fs::read(other).unwrap();
                overwrite(other, bytes);
                overwrite(blob, others);
            }
            Damage::DropBlob => fs::remove_file(blob).unwrap(),
            Damage::OnlyCopy => {
                let old = blob.with_file_name(format!(".{name}.1a2b3c4d.old"));
                fs::rename(blob, old).unwrap();
            }
            Damage::Replacement => {
                let beside = |ending: &str| blob.with_file_name(format!(".{name}.{ending}"));
                let end = dice.usize(..=bytes.len());
                write(&beside("00ff00ff.new"), &bytes[..end]);
                if dice.bool() {
                    write(&beside("00ff00ff.old"), &bytes);
                }
            }
            Damage::Aside => {
                let aside = blob.with_file_name(format!("{name}.{}.corrupt", dice.u8(..9)));
                if dice.bool() {
                    write(&aside, &bytes);
                } else {
                    write(&aside, b"wrong");
                }
                if dice.bool() {
                    fs::remove_file(blob).unwrap();
                }
            }
            Damage::FolderInPlaceOfBlob => {
                fs::remove_file(blob).unwrap();
                fs::create_dir(blob).unwrap();
                if dice.bool() {
                    write(&blob.join("sub dir/mine.txt"), "mine");
                }
            }
            // As a repair without reflinks leaves it: two repos have one file.
            Damage::SharedNames => {
                for other in self.all().filter(|other| other.name() != model.name()) {
                    let place = other.blobs().join(&name);
                    if place.is_file() && !place.is_symlink() && !blob.is_symlink() {
                        fs::remove_file(&place).unwrap();
                        fs::hard_link(blob, &place).unwrap();
                    }
                }
            }
            _ => {}
        }
    }

    fn damage_pointer(
        &self,
        damage: Damage,
        (model, path): (&Model, &str),
        dice: &mut fastrand::Rng,
    ) {
        let pointer = model.pointer(path);
        let etag = &model.piece(path).etag;
        match damage {
            Damage::DropPointer => fs::remove_file(pointer).unwrap(),
            Damage::AbsolutePointer => model.point(path, model.blob(path)),
            Damage::DanglingPointer => {
                let name = if dice.bool() {
                    "gone"
                } else {
                    &sha256(b"gone")
                };
                model.point(path, Model::pointer_text(path, name));
            }
            Damage::WrongPointer => {
                let blobs = whole_blobs(model);
                if !blobs.is_empty() {
                    let other = &blobs[dice.usize(..blobs.len())];
                    let other = other.file_name().unwrap().to_str().unwrap();
                    model.point(path, Model::pointer_text(path, other));
                }
            }
            Damage::BorrowedPointer => {
                let lender = self.one(dice);
                let up = "../".repeat(3 + path.matches('/').count());
                let there = format!("{up}{}/blobs/{etag}", lender.folder_name());
                model.point(path, there);
            }
            Damage::EscapingPointer => {
                let there = self.zoo.outside().join(etag);
                fs::write(&there, &model.piece(path).bytes).unwrap();
                model.point(path, there);
            }
            Damage::CopyInPlaceOfPointer => {
                fs::remove_file(&pointer).unwrap();
                write(&pointer, &model.piece(path).bytes);
                if dice.bool() && model.blob(path).is_file() {
                    fs::remove_file(model.blob(path)).unwrap();
                }
            }
            Damage::WrongFileInPlaceOfPointer => {
                fs::remove_file(&pointer).unwrap();
                write(&pointer, "somebody edited this");
            }
            Damage::FolderInPlaceOfPointer => {
                fs::remove_file(&pointer).unwrap();
                fs::create_dir(&pointer).unwrap();
            }
            _ => {}
        }
    }

    /// What programs and people leave.
    fn leave(&self, damage: Damage, dice: &mut fastrand::Rng) {
        let (model, path) = self.file(dice);
        let piece = model.piece(&path);
        match damage {
            Damage::DropRef => {
                drop_file(&model.reference("main"));
            }
            Damage::DropListing => {
                drop_file(&model.listing());
            }
            Damage::SpoilListing => {
                let torn = &b"{\"format_version\": 1, \"files\": {\"config.json\""[..];
                let wild = b"{\"format_version\": 1, \"files\": {}}";
                write(&model.listing(), if dice.bool() { torn } else { wild });
            }
            Damage::SpoilRef => {
                let commit = model.commit();
                let nowhere = "5".repeat(40);
                let text: &[u8] = match dice.u8(..6) {
                    0 => &[commit.as_bytes(), &b"\n"[..]].concat(),
                    1 => b"",
                    2 => &commit.as_bytes()[..7],
                    3 => &[0xff, 0xfe, 0, 0x1b],
                    4 => nowhere.as_bytes(),
                    _ => &[&b"ref: "[..], commit.as_bytes()].concat(),
                };
                let name = dice.choice(["main", "v0", "nobody/knows"]).unwrap();
                model.write_ref(name, text);
            }
            Damage::OwnFileInSnapshot => {
                let name = dice.choice(["notes.txt", "sub dir/my.json"]).unwrap();
                write(&model.snapshot().join(name), "mine");
            }
            Damage::LeftRef => {
                let text = if dice.bool() { model.commit() } else { "" };
                model.write_ref("main.1a2b3c4d.tmp", text);
            }
            Damage::LeftTemp => {
                let name = "tmp_0f8fad5b-d9cb-469f-a165-70867728950e";
                write(&model.blobs().join(name), "");
                write(&model.listing().with_file_name("tmpk29fh2_a.tmp"), "{");
            }
            Damage::Probe => {
                let folder = if dice.bool() {
                    model.folder()
                } else {
                    self.zoo.root().to_owned()
                };
                write(&folder.join("tmpq3x_7zk1/dummy_file_src"), "");
            }
            Damage::Partial => Self::leave_partial((&model, &path), dice),
            Damage::Marker => {
                let text = match dice.u8(..3) {
                    0 => "Manual download started at Thu Jan 15 12:00:00 UTC 2026\n",
                    1 => "",
                    _ => "pid: 1\nhost",
                };
                write(&model.folder().join(".manual_download_lock"), text);
            }
            Damage::NoExist => write(&model.no_exist(&path), ""),
            Damage::BranchFolder => {
                let folder = model.folder().join("snapshots/main");
                for path in model.paths() {
                    match dice.u8(..10) {
                        0 => {}
                        1 => write(&folder.join(&path), "somebody edited this"),
                        _ => write(&folder.join(&path), &model.piece(&path).bytes),
                    }
                }
                if dice.u8(..4) == 0 {
                    write(&folder.join("mine.txt"), "mine");
                }
            }
            Damage::Orphan => {
                let bytes = format!("an orphan {}", dice.u64(..));
                write(&model.blobs().join(sha256(bytes.as_bytes())), bytes);
            }
            Damage::WrongOrphan => {
                let name = sha256(format!("another {}", dice.u64(..)).as_bytes());
                write(&model.blobs().join(name), "not what its name says");
            }
            Damage::Foreign => {
                write(&self.zoo.root().join("xet/logs/xet.log"), "{}\n");
                write(&model.folder().join(".DS_Store"), "Bud1");
                write(&model.folder().join("README.txt"), &piece.bytes);
            }
            _ => {}
        }
    }

    /// What a download left that nobody goes on with.
    fn leave_partial((model, path): (&Model, &str), dice: &mut fastrand::Rng) {
        let path = if dice.bool() { path } else { WEIGHTS };
        let piece = model.piece(path);
        let bytes = match dice.u8(..5) {
            0 => piece.bytes.clone(),
            1 => vec![9; piece.bytes.len() / 2],
            2 => [&piece.bytes[..], b"more"].concat(),
            _ => piece.bytes[..dice.usize(..=piece.bytes.len())].to_vec(),
        };
        let ending = dice
            .choice([
                ".1a2b3c4d.incomplete",
                ".incomplete",
                ".part",
                ".sync.part",
                ".77777777.incomplete",
            ])
            .unwrap();
        let at = model.blobs().join(piece.etag.clone() + ending);
        let mut left = bytes.clone();
        if ending == ".sync.part" {
            left.resize(piece.bytes.len().max(bytes.len()), 0);
            left.extend((bytes.len() as u64).to_le_bytes());
        }
        write(&at, left);
        if ending.starts_with(".7") {
            let map = piece.etag.clone() + ".77777777.map.incomplete";
            write(&model.blobs().join(map), "larder-chunks 1 torn");
        }
        if dice.bool()
            && model
                .blob(path)
                .symlink_metadata()
                .is_ok_and(|it| !it.is_dir())
        {
            fs::remove_file(model.blob(path)).unwrap();
        }
    }
}

/// Takes a file away; an earlier damage may have done so before.
fn drop_file(place: &Path) {
    match fs::remove_file(place) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => panic!("{}: {error}", place.display()),
    }
}
