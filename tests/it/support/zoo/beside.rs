//! Members that live beside the Hub cache: folders of other programs, each made as its program makes
//! it (hub.md 3), in the home of a user who has them all.
//!
//! Never in the Hub cache itself, but for the member that lies in both.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use larder::domain::{Rule, Severity};

use super::model::{Model, NESTED, WEIGHTS, large_weights, lfs_pointer};
use super::trace::MODIFIED_S;
use super::{Member, Zoo, by_hash, member, write};

/// Where swift-transformers keeps models, below a home.
pub(crate) const DOCUMENTS: &str = "Documents/huggingface/models";
/// What Python calls a partial of `tokenizer.json`: the hash of that name.
const PYTHONS_TOKENIZER: &str = "HgM_lKo9sdSCfRtVg7MMFS7EKqo=";
const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "config.json";

/// A model in a folder of its own.
pub(crate) struct Apart {
    pub(crate) model: Model,
    pub(crate) folder: PathBuf,
}

/// A model with large weights in the main cache, and once more in that of an app.
pub(crate) fn twins(zoo: &mut Zoo, name: &str) -> [Model; 2] {
    let weights = large_weights();
    let root = zoo
        .user()
        .join(CONTAINER)
        .join("Library/Caches/huggingface/hub");
    let main = zoo.root().to_owned();
    [main, root].map(|root| {
        let model = Model::new(&root, &mut zoo.catalogue, name);
        let model = model.with(&mut zoo.catalogue, &[(WEIGHTS, &weights, true)]);
        model.write_listing();
        model.write_ref("main", model.commit());
        for path in model.paths() {
            model.place(&path);
        }
        model
    })
}

impl Apart {
    /// The plain files, below `place` in the user's home.
    pub(crate) fn plain(zoo: &mut Zoo, place: &str, name: &str) -> Self {
        let model = zoo.known(name);
        let folder = zoo.user().join(place).join(name);
        for path in model.paths() {
            write(&folder.join(&path), &model.piece(&path).bytes);
        }
        Self { model, folder }
    }

    /// As `HubApi` does: a note beside every file.
    pub(crate) fn hub_api(zoo: &mut Zoo, place: &str, name: &str) -> Self {
        let apart = Self::plain(zoo, place, name);
        for path in apart.model.paths() {
            apart.note(&path, &apart.model.piece(&path).etag, 0);
        }
        apart
    }

    /// As Python does with `local_dir`, in a folder that the user has named to larder.
    pub(crate) fn local_dir(zoo: &mut Zoo, name: &str) -> Self {
        let apart = Self::hub_api(zoo, "work", name);
        let base = apart.folder.join(".cache/huggingface");
        write(&base.join(".gitignore"), "*");
        write(&base.join("CACHEDIR.TAG"), "Signature: 8a477f");
        for path in apart.model.paths() {
            write(&base.join(format!("download/{path}.lock")), "");
        }
        let listing = base.join(format!("trees/{}.json", apart.model.commit()));
        write(&listing, apart.model.listing_text());
        zoo.name_folder(&apart.folder);
        apart
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    pub(crate) fn download(&self, name: &str) -> PathBuf {
        self.at(".cache/huggingface/download").join(name)
    }

    /// Where it is noted what a file is.
    pub(crate) fn noted(&self, path: &str) -> PathBuf {
        self.download(&format!("{path}.metadata"))
    }

    /// What is noted of a file, so many seconds after its last change.
    pub(crate) fn note(&self, path: &str, etag: &str, after_s: i64) {
        let at = MODIFIED_S + after_s;
        let text = format!("{}\n{etag}\n{at}.5\n", self.model.commit());
        write(&self.noted(path), text);
    }

    pub(crate) fn cut(&self, path: &str, bytes: u64) {
        let file = File::options().write(true).open(self.at(path)).unwrap();
        file.set_len(bytes).unwrap();
    }

    /// A file that is as long as it should be and holds nothing.
    fn hollow(&self, path: &str) {
        let length = fs::metadata(self.at(path)).unwrap().len();
        fs::remove_file(self.at(path)).unwrap();
        let file = File::create(self.at(path)).unwrap();
        file.set_len(length.max(1 << 20)).unwrap();
    }
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

const HUB_API: &[Member] = &[
    member(
        "hub_api",
        |zoo| drop(Apart::hub_api(zoo, DOCUMENTS, "zoo/api")),
        &[],
    ),
    member(
        "hub_api_in_downloads",
        |zoo| {
            Apart::hub_api(zoo, "Downloads/huggingface/models", "zoo/api-downloads");
        },
        &[],
    ),
    member(
        "hub_api_file_without_metadata",
        |zoo| {
            let apart = Apart::hub_api(zoo, DOCUMENTS, "zoo/api-visible");
            write(&apart.at("notes.txt"), "mine");
            zoo.expect(Rule::MissingMetadata, [apart.noted("notes.txt")]);
        },
        &[(Rule::MissingMetadata, Severity::Warning)],
    ),
    member(
        "hub_api_without_any_metadata",
        |zoo| {
            let apart = Apart::plain(zoo, DOCUMENTS, "zoo/api-bare");
            zoo.expect(Rule::MissingMetadata, [apart.noted(CONFIG)]);
        },
        &[(Rule::MissingMetadata, Severity::Warning)],
    ),
    member(
        "hub_api_torn_metadata",
        |zoo| {
            let apart = Apart::hub_api(zoo, DOCUMENTS, "zoo/api-torn");
            write(&apart.noted(CONFIG), "abc\n");
            zoo.expect(Rule::MissingMetadata, [apart.noted(CONFIG)]);
        },
        &[(Rule::MissingMetadata, Severity::Warning)],
    ),
    // The file is gone, and a start of it is there: two loads raced.
    member(
        "hub_api_partial",
        |zoo| {
            let apart = Apart::hub_api(zoo, DOCUMENTS, "zoo/api-partial");
            let etag = apart.model.piece(TOKENIZER).etag.clone();
            fs::remove_file(apart.at(TOKENIZER)).unwrap();
            let partial = apart.download(&format!("{TOKENIZER}.{etag}.incomplete"));
            write(&partial, "a start");
            zoo.expect(
                Rule::MissingFiles,
                [apart.at(TOKENIZER), apart.folder.clone()],
            );
            zoo.expect(Rule::AbandonedPartial, [partial]);
        },
        &[
            (Rule::MissingFiles, Severity::Warning),
            (Rule::AbandonedPartial, Severity::Warning),
        ],
    ),
    member(
        "hub_api_link_to_nothing",
        |zoo| {
            let apart = Apart::hub_api(zoo, DOCUMENTS, "zoo/api-dangling");
            fs::remove_file(apart.at(CONFIG)).unwrap();
            symlink("/nowhere", apart.at(CONFIG)).unwrap();
            zoo.expect(Rule::DanglingPointer, [apart.at(CONFIG)]);
        },
        &[(Rule::DanglingPointer, Severity::Error)],
    ),
    member(
        "hub_api_lfs_pointer",
        |zoo| {
            let apart = Apart::hub_api(zoo, DOCUMENTS, "zoo/api-pointer");
            let text = lfs_pointer(&apart.model.piece(WEIGHTS).bytes);
            write(&apart.at(WEIGHTS), text);
            zoo.expect(Rule::LfsPointer, [apart.at(WEIGHTS)]);
        },
        &[(Rule::LfsPointer, Severity::Error)],
    ),
    member(
        "hub_api_error_page",
        |zoo| {
            let apart = Apart::hub_api(zoo, DOCUMENTS, "zoo/api-page");
            write(&apart.at(TOKENIZER), "<!DOCTYPE html><p>Sign in</p>");
            zoo.expect(Rule::ErrorPage, [apart.at(TOKENIZER)]);
        },
        &[(Rule::ErrorPage, Severity::Error)],
    ),
    // In a cloud folder the system may have taken the bytes away.
    member(
        "hub_api_evicted",
        |zoo| {
            let apart = Apart::hub_api(zoo, DOCUMENTS, "zoo/api-evicted");
            apart.hollow(WEIGHTS);
            zoo.expect(Rule::Evicted, [apart.at(WEIGHTS)]);
        },
        &[(Rule::Evicted, Severity::Note)],
    ),
    by_hash(
        "hub_api_wrong_hash",
        |zoo| {
            let apart = Apart::hub_api(zoo, DOCUMENTS, "zoo/api-hash");
            let bytes = flipped(&apart.model.piece(WEIGHTS).bytes);
            write(&apart.at(WEIGHTS), bytes);
            zoo.expect(Rule::WrongHash, [apart.at(WEIGHTS)]);
        },
        &[(Rule::WrongHash, Severity::Error)],
    ),
    member(
        "hub_api_in_a_purgeable_folder",
        |zoo| {
            let place = "Library/Caches/models";
            let apart = Apart::hub_api(zoo, place, "zoo/api-caches");
            zoo.expect(
                Rule::PurgeableFolder,
                [zoo.user().join(place), apart.folder],
            );
        },
        &[(Rule::PurgeableFolder, Severity::Note)],
    ),
];

const LOCAL_DIR: &[Member] = &[
    member(
        "local_dir",
        |zoo| drop(Apart::local_dir(zoo, "zoo/local")),
        &[],
    ),
    // What is noted is of another revision of the repo, and so is the content.
    by_hash(
        "local_dir_of_another_revision",
        |zoo| {
            let apart = Apart::local_dir(zoo, "zoo/local-stale");
            let old = apart.model.with(
                &mut zoo.catalogue,
                &[(CONFIG, b"{\"model_type\": \"gemma3_text\"}", false)],
            );
            write(&apart.at(CONFIG), &old.piece(CONFIG).bytes);
            let text = format!(
                "{}\n{}\n{MODIFIED_S}.5\n",
                old.commit(),
                old.piece(CONFIG).etag
            );
            write(&apart.noted(CONFIG), text);
        },
        &[],
    ),
    member(
        "local_dir_modified",
        |zoo| {
            let apart = Apart::local_dir(zoo, "zoo/local-modified");
            apart.note(CONFIG, &apart.model.piece(CONFIG).etag, -600);
            zoo.expect(Rule::MissingMetadata, [apart.noted(CONFIG)]);
        },
        &[(Rule::MissingMetadata, Severity::Warning)],
    ),
    member(
        "local_dir_missing_file",
        |zoo| {
            let apart = Apart::local_dir(zoo, "zoo/local-missing");
            fs::remove_file(apart.at(NESTED)).unwrap();
            zoo.expect(Rule::MissingFiles, [apart.at(NESTED), apart.folder.clone()]);
        },
        &[(Rule::MissingFiles, Severity::Warning)],
    ),
    member(
        "local_dir_truncated",
        |zoo| {
            let apart = Apart::local_dir(zoo, "zoo/local-cut");
            apart.cut(WEIGHTS, 500);
            zoo.expect(Rule::Truncated, [apart.at(WEIGHTS)]);
        },
        &[(Rule::Truncated, Severity::Error)],
    ),
    member(
        "local_dir_wrong_size",
        |zoo| {
            let apart = Apart::local_dir(zoo, "zoo/local-size");
            apart.cut(WEIGHTS, 5_000);
            zoo.expect(Rule::WrongSize, [apart.at(WEIGHTS)]);
        },
        &[(Rule::WrongSize, Severity::Error)],
    ),
    member(
        "local_dir_partial",
        |zoo| {
            let apart = Apart::local_dir(zoo, "zoo/local-partial");
            let etag = apart.model.piece(TOKENIZER).etag.clone();
            let name = format!("{PYTHONS_TOKENIZER}.{etag}.0a1b2c3d.incomplete");
            write(&apart.download(&name), "a start");
            zoo.expect(Rule::AbandonedPartial, [apart.download(&name)]);
        },
        &[(Rule::AbandonedPartial, Severity::Warning)],
    ),
    by_hash(
        "local_dir_wrong_hash",
        |zoo| {
            let apart = Apart::local_dir(zoo, "zoo/local-hash");
            let bytes = flipped(&apart.model.piece(WEIGHTS).bytes);
            write(&apart.at(WEIGHTS), bytes);
            zoo.expect(Rule::WrongHash, [apart.at(WEIGHTS)]);
        },
        &[(Rule::WrongHash, Severity::Error)],
    ),
];

/// Below a home, what an app in a sandbox takes for one.
const CONTAINER: &str = "Library/Containers/com.example.chat/Data";

/// A model in the Hub cache of an app, which lies among its caches.
fn contained(zoo: &mut Zoo, name: &str) -> Model {
    let data = zoo.user().join(CONTAINER);
    let root = data.join("Library/Caches/huggingface/hub");
    write(&data.join(".DS_Store"), "x");
    zoo.expect(Rule::PurgeableFolder, [root.clone()]);
    zoo.model_in(&root, name)
}

const OTHERS: &[Member] = &[
    member(
        "container_hub",
        |zoo| drop(contained(zoo, "zoo/contained-hub")),
        &[(Rule::PurgeableFolder, Severity::Note)],
    ),
    member(
        "container_hub_dangling_pointer",
        |zoo| {
            let model = contained(zoo, "zoo/contained-dangling");
            fs::remove_file(model.blob(NESTED)).unwrap();
            zoo.expect(Rule::DanglingPointer, model.places(NESTED));
        },
        &[
            (Rule::PurgeableFolder, Severity::Note),
            (Rule::DanglingPointer, Severity::Error),
        ],
    ),
    member(
        "container_hub_api_without_metadata",
        |zoo| {
            let place = format!("{CONTAINER}/{DOCUMENTS}");
            let apart = Apart::hub_api(zoo, &place, "zoo/contained-api");
            write(&apart.at("notes.txt"), "mine");
            zoo.expect(Rule::MissingMetadata, [apart.noted("notes.txt")]);
        },
        &[(Rule::MissingMetadata, Severity::Warning)],
    ),
    member(
        "lm_studio",
        |zoo| drop(Apart::plain(zoo, ".lmstudio/models", "zoo/studio")),
        &[],
    ),
    member(
        "lm_studio_truncated",
        |zoo| {
            let apart = Apart::plain(zoo, ".lmstudio/models", "zoo/studio-cut");
            apart.cut(WEIGHTS, 500);
            zoo.expect(Rule::WouldNotLoad, [apart.at(WEIGHTS)]);
        },
        &[(Rule::WouldNotLoad, Severity::Error)],
    ),
    member(
        "mlx_cache",
        |zoo| {
            let place = "Library/Caches/MLXCache";
            let apart = Apart::plain(zoo, place, "zoo/mlx-cache");
            zoo.expect(
                Rule::PurgeableFolder,
                [zoo.user().join(place), apart.folder],
            );
        },
        &[(Rule::PurgeableFolder, Severity::Note)],
    ),
    member(
        "swama",
        |zoo| drop(Apart::plain(zoo, ".swama/models", "zoo/swama")),
        &[],
    ),
    member(
        "swama_without_tokenizer",
        |zoo| {
            let apart = Apart::plain(zoo, ".swama/models", "zoo/swama-mute");
            fs::remove_file(apart.at(TOKENIZER)).unwrap();
            zoo.expect(
                Rule::MissingFiles,
                [apart.at(TOKENIZER), apart.folder.clone()],
            );
        },
        &[(Rule::MissingFiles, Severity::Warning)],
    ),
    member(
        "named_folder",
        |zoo| {
            Apart::plain(zoo, "collection", "zoo/named");
            zoo.name_folder(&zoo.user().join("collection"));
        },
        &[],
    ),
    member(
        "named_folder_empty_file",
        |zoo| {
            let apart = Apart::plain(zoo, "shelf", "zoo/named-empty");
            write(&apart.at(WEIGHTS), "");
            zoo.name_folder(&zoo.user().join("shelf"));
            zoo.expect(Rule::WouldNotLoad, [apart.at(WEIGHTS)]);
        },
        &[(Rule::WouldNotLoad, Severity::Error)],
    ),
    member(
        "named_folder_on_an_absent_volume",
        |zoo| {
            let place = Path::new("/Volumes/larder-no-such-volume/models");
            zoo.name_folder(place);
            zoo.expect(Rule::AbsentVolume, [place, place.parent().unwrap()]);
        },
        &[(Rule::AbsentVolume, Severity::Error)],
    ),
    // The same bytes in the Hub cache and in an app's folder.
    member(
        "duplicate_across_stores",
        |zoo| {
            let here = zoo.model("zoo/twice");
            let there = Apart::hub_api(zoo, DOCUMENTS, "zoo/twice");
            let places = [here.snapshot(), here.folder(), there.folder];
            zoo.expect(Rule::DuplicateModel, places);
        },
        &[(Rule::DuplicateModel, Severity::Warning)],
    ),
];

/// Every member that lives beside the Hub cache.
pub(crate) fn beside() -> Vec<Member> {
    [HUB_API, LOCAL_DIR, OTHERS].concat()
}
