//! The cache zoo: a builder of every state that a Hub cache can be in, alone and with others, always
//! the same to the byte and to the last change. What a member is says hub.md 2 and 9.
//!
//! Never judges: what must be found in it is what the member itself announces.

mod beside;
mod bytes;
mod layouts;
mod leftovers;
mod model;
mod neighbours;
mod owners;
mod refs;
mod ruin;
mod trace;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use larder::domain::{Rule, Severity};
use larder::serve::Catalogue;

use super::Scratch;
pub(crate) use beside::{Apart, DOCUMENTS, beside, twins};
pub(crate) use model::{Model, NESTED, WEIGHTS, sha256};
pub(crate) use ruin::{Recipe, Ruin};
pub(crate) use trace::Trace;

/// One thing that must be found.
#[derive(Clone, Debug)]
pub(crate) struct Expect {
    pub(crate) rule: Rule,
    pub(crate) severity: Severity,
    /// A finding names one of these places, absolute.
    pub(crate) any_of: Vec<PathBuf>,
}

/// A state that a cache can be in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) build: fn(&mut Zoo),
    /// What must be found, in the order in which it is announced.
    pub(crate) finds: &'static [(Rule, Severity)],
    /// Whether it is only found by hashing.
    pub(crate) by_hash: bool,
    /// Members of one house exclude each other.
    pub(crate) house: Option<House>,
}

/// What two members cannot both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum House {
    /// The shared blob store with its mark.
    MarkedStore,
    /// The shared blob store without one.
    UnmarkedStore,
}

/// A member that a look finds.
const fn member(
    name: &'static str,
    build: fn(&mut Zoo),
    finds: &'static [(Rule, Severity)],
) -> Member {
    Member {
        name,
        build,
        finds,
        by_hash: false,
        house: None,
    }
}

/// One that is only found by hashing.
const fn by_hash(
    name: &'static str,
    build: fn(&mut Zoo),
    finds: &'static [(Rule, Severity)],
) -> Member {
    Member {
        by_hash: true,
        ..member(name, build, finds)
    }
}

/// Every member.
pub(crate) fn members() -> Vec<Member> {
    [
        bytes::MEMBERS,
        refs::MEMBERS,
        leftovers::MEMBERS,
        layouts::MEMBERS,
        neighbours::MEMBERS,
    ]
    .concat()
}

/// Whether two members can live in one cache.
pub(crate) fn get_along(one: &Member, other: &Member) -> bool {
    one.name != other.name
        && match (one.house, other.house) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        }
}

/// A cache with members.
pub(crate) struct Zoo {
    scratch: Scratch,
    /// As programs are told of it.
    told: PathBuf,
    /// As it is.
    root: PathBuf,
    /// What the Hub has of all this.
    pub(crate) catalogue: Catalogue,
    /// What must be found.
    pub(crate) expected: Vec<Expect>,
    /// What somebody is at work on: it stays as new as it is.
    fresh: Vec<PathBuf>,
    /// Files whose `flock` is held for as long as the zoo is open.
    held: Vec<File>,
    /// Whether the cache is where a user has it who has other places, too.
    is_a_users: bool,
    /// Folders that the user has named to larder.
    folders: Vec<PathBuf>,
    /// Who looks, if it is not whoever runs the tests.
    reader: Option<u32>,
}

impl Zoo {
    /// An empty cache.
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        let root = scratch.path().join("hub");
        fs::create_dir(&root).unwrap();
        Self {
            told: root.clone(),
            root,
            scratch,
            catalogue: Catalogue::new(),
            expected: Vec::new(),
            fresh: Vec::new(),
            held: Vec::new(),
            is_a_users: false,
            folders: Vec::new(),
            reader: None,
        }
    }

    /// An empty cache where it is by itself: in a home, where the other programs have their places.
    pub(crate) fn of_a_user() -> Self {
        let mut zoo = Self::new();
        zoo.root = zoo.user().join(".cache/huggingface/hub");
        fs::create_dir_all(&zoo.root).unwrap();
        zoo.told.clone_from(&zoo.root);
        zoo.is_a_users = true;
        zoo
    }

    /// An empty cache behind a link.
    pub(crate) fn behind_a_link() -> Self {
        let mut zoo = Self::new();
        zoo.told = zoo.scratch.path().join("link");
        symlink("hub", &zoo.told).unwrap();
        zoo
    }

    /// A cache with one member.
    pub(crate) fn with(member: &Member) -> Self {
        let mut zoo = Self::new();
        zoo.add(member);
        zoo
    }

    /// Puts a member in.
    pub(crate) fn add(&mut self, member: &Member) {
        let before = self.expected.len();
        (member.build)(self);
        let announced: Vec<_> = self.expected[before..]
            .iter()
            .map(|expect| (expect.rule, expect.severity))
            .collect();
        assert_eq!(announced, member.finds, "{}", member.name);
    }

    /// The cache folder as programs are told of it.
    pub(crate) fn told(&self) -> &Path {
        &self.told
    }

    /// The cache folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A folder beside the cache.
    pub(crate) fn outside(&self) -> PathBuf {
        let folder = self.root.parent().unwrap().join("outside");
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A home folder for a program.
    pub(crate) fn home(&self) -> PathBuf {
        let folder = self.scratch.path().join("home");
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// The home of the user who has more places than one. Unlike [`Self::home`] nobody may write there.
    pub(crate) fn user(&self) -> PathBuf {
        self.scratch.path().join("user")
    }

    /// Names a folder to larder, as the user does.
    fn name_folder(&mut self, folder: &Path) {
        self.folders.push(folder.to_owned());
    }

    /// How a program is told of all this, by its surroundings and its arguments.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.env_clear().stdin(Stdio::null());
        if let Some(reader) = self.reader {
            command.uid(reader).gid(reader);
        }
        if !self.is_a_users {
            command
                .arg("--cache-dir")
                .arg(self.told())
                .env("HOME", self.home())
                .current_dir(self.home());
            return;
        }
        let folders = std::env::join_paths(&self.folders).unwrap();
        command
            .env("HOME", self.user())
            .env("XDG_STATE_HOME", self.home())
            .env("LARDER_FOLDERS", folders)
            .current_dir(self.home());
    }

    /// Announces a finding about one of these places.
    pub(crate) fn expect<P: Into<PathBuf>>(
        &mut self,
        rule: Rule,
        any_of: impl IntoIterator<Item = P>,
    ) {
        self.expected.push(Expect {
            rule,
            severity: rule.severity(),
            any_of: any_of.into_iter().map(Into::into).collect(),
        });
    }

    /// As [`expect`](Self::expect), of what keeps a model from loading.
    pub(crate) fn expect_fatal<P: Into<PathBuf>>(
        &mut self,
        rule: Rule,
        any_of: impl IntoIterator<Item = P>,
    ) {
        self.expect(rule, any_of);
        if let Some(last) = self.expected.last_mut() {
            last.severity = Severity::Error;
        }
    }

    /// A whole model as `huggingface_hub` 2.x writes it, with `main` leading to it.
    pub(crate) fn model(&mut self, name: &str) -> Model {
        let model = self.listed(name);
        for path in model.paths() {
            model.place(&path);
        }
        model
    }

    /// The same in another cache.
    fn model_in(&mut self, root: &Path, name: &str) -> Model {
        let model = Model::new(root, &mut self.catalogue, name);
        model.write_listing();
        model.write_ref("main", model.commit());
        for path in model.paths() {
            model.place(&path);
        }
        model
    }

    /// As far as `huggingface_hub` 2.x gets before the first file: the listing and the ref.
    pub(crate) fn listed(&mut self, name: &str) -> Model {
        let model = self.known(name);
        model.write_listing();
        model.write_ref("main", model.commit());
        model
    }

    /// A model that the Hub knows and the cache does not.
    pub(crate) fn known(&mut self, name: &str) -> Model {
        Model::new(&self.root, &mut self.catalogue, name)
    }

    /// Gives every file, folder and link in and beside the cache its last change and its last use.
    pub(crate) fn settle(&self) -> Trace {
        Trace::settled(self.scratch.path(), &[self.home()], &self.fresh)
    }
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}
