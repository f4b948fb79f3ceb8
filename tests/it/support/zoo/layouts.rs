//! Members that lie otherwise than usual: copies in the place of links, shared stores, folders of
//! branches, rights and names; and what is healthy although it looks odd.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use larder::domain::{Rule, Severity};

use super::model::{Model, NESTED, WEIGHTS, sha256};
use super::{House, Member, Zoo, member, write};

const fn in_store(
    name: &'static str,
    house: House,
    build: fn(&mut Zoo),
    finds: &'static [(Rule, Severity)],
) -> Member {
    Member {
        house: Some(house),
        ..member(name, build, finds)
    }
}

/// A store's folder and its mark.
fn store(zoo: &Zoo) -> (PathBuf, PathBuf) {
    let folder = zoo.root().join("blobs");
    let mark = folder.join(".huggingface-shared-blobs");
    (folder, mark)
}

/// A whole model whose weights lie in the shared store: two hops from the snapshot.
pub(super) fn shared(zoo: &mut Zoo, name: &str) -> Model {
    let model = zoo.known(name).with_xet(&mut zoo.catalogue);
    model.write_listing();
    model.write_ref("main", model.commit());
    for path in model.paths() {
        model.place(&path);
    }
    let hash = model.xet(WEIGHTS).to_owned();
    let payload = store(zoo).0.join(&hash[..2]).join(&hash);
    fs::create_dir_all(payload.parent().unwrap()).unwrap();
    fs::rename(model.blob(WEIGHTS), &payload).unwrap();
    fs::set_permissions(&payload, fs::Permissions::from_mode(0o444)).unwrap();
    let etag = &model.piece(WEIGHTS).etag;
    let user = format!("{}/blobs/{etag}\n", model.folder_name());
    write(&payload.with_file_name(format!("{hash}.refs")), user);
    write(&payload.with_file_name(format!("{hash}.lock")), "");
    let target = format!("../../blobs/{}/{hash}", &hash[..2]);
    std::os::unix::fs::symlink(target, model.blob(WEIGHTS)).unwrap();
    model
}

pub(super) const MEMBERS: &[Member] = &[
    member("healthy", |zoo| drop(zoo.model("zoo/healthy")), &[]),
    member(
        "healthy_foreign_things",
        |zoo| {
            let model = zoo.model("zoo/foreign-things");
            write(&model.no_exist("added_tokens.json"), "");
            write(
                &model
                    .folder()
                    .join(".no_exist")
                    .join("6".repeat(40))
                    .join("config.json"),
                "",
            );
            let legacy = format!("{}.lock", model.piece(WEIGHTS).etag);
            write(&model.blobs().join(legacy), "");
            let swift = zoo.root().join(".locks").join(model.folder_name());
            let swift = swift.join("blobs").join(format!("{}.lock", sha256(b"x")));
            write(&swift, "");
            let listing = format!(".metadata/{}/{}.json", model.folder_name(), model.commit());
            write(&zoo.root().join(listing), "{\"entries\": []}");
            write(
                &zoo.root().join("CACHEDIR.TAG"),
                "Signature: 8a477f597d28d172789f06886806bc55\n# by huggingface_hub\n",
            );
            write(&zoo.root().join("xet/logs/xet.log"), "{}\n");
            write(&zoo.root().join("version.txt"), "1");
            write(&zoo.root().join(".DS_Store"), "Bud1");
            write(&model.folder().join(".DS_Store"), "Bud1");
            model.write_ref("refs/convert/parquet", model.commit());
        },
        &[],
    ),
    member(
        "pinned_commit_without_a_ref",
        |zoo| {
            let model = zoo.model("zoo/pinned");
            let refs = model.folder().join("refs");
            fs::remove_dir_all(&refs).unwrap();
            zoo.expect(Rule::NoRef, [refs]);
        },
        &[(Rule::NoRef, Severity::Note)],
    ),
    member(
        "two_commits",
        |zoo| {
            let old = zoo.model("zoo/two-commits");
            let text = b"# two commits, the newer\n";
            let new = old.with(&mut zoo.catalogue, &[("README.md", text, false)]);
            new.write_listing();
            new.place("README.md");
            for path in new.paths() {
                new.place(&path);
            }
            new.write_ref("main", new.commit());
            new.write_ref("older", old.commit());
        },
        &[],
    ),
    member(
        "nested_unicode_paths",
        |zoo| {
            let model = zoo.known("zoo/unicode");
            // Composed and decomposed, and deep.
            let model = model.with(
                &mut zoo.catalogue,
                &[
                    ("a/b/c/日本語 モデル.json", b"{\"deep\": 1}", false),
                    ("a/u\u{308}ber.txt", b"decomposed", false),
                ],
            );
            model.write_listing();
            model.write_ref("main", model.commit());
            for path in model.paths() {
                model.place(&path);
            }
        },
        &[],
    ),
    member(
        "without_links",
        |zoo| {
            let model = zoo.model("zoo/without-links");
            for path in model.paths() {
                fs::remove_file(model.pointer(&path)).unwrap();
                fs::rename(model.blob(&path), model.pointer(&path)).unwrap();
            }
            let files = model.paths().into_iter().map(|path| model.pointer(&path));
            zoo.expect(Rule::RegularFile, files.chain([model.snapshot()]));
        },
        &[(Rule::RegularFile, Severity::Note)],
    ),
    member(
        "copied_file",
        |zoo| {
            let model = zoo.model("zoo/copied-file");
            fs::remove_file(model.pointer(WEIGHTS)).unwrap();
            fs::copy(model.blob(WEIGHTS), model.pointer(WEIGHTS)).unwrap();
            zoo.expect(Rule::CopiedFile, model.places(WEIGHTS));
        },
        &[(Rule::CopiedFile, Severity::Warning)],
    ),
    member(
        "branch_folder",
        |zoo| {
            let model = zoo.known("zoo/branch-folder");
            let folder = model.folder().join("snapshots/main");
            for path in model.paths() {
                write(&folder.join(&path), &model.piece(&path).bytes);
            }
            let files = model.paths().into_iter().map(|path| folder.join(path));
            let places: Vec<_> = files.chain([folder.clone()]).collect();
            zoo.expect(Rule::BranchFolder, places);
        },
        &[(Rule::BranchFolder, Severity::Warning)],
    ),
    member(
        "case_collision",
        |zoo| {
            let one = zoo.model("zoo/Case-Collision");
            let other = zoo.model("zoo/case-collision");
            zoo.expect(Rule::CaseCollision, [one.folder(), other.folder()]);
        },
        &[(Rule::CaseCollision, Severity::Warning)],
    ),
    member(
        "unreadable_blob",
        |zoo| {
            let model = zoo.model("zoo/mode-zero");
            let none = fs::Permissions::from_mode(0o000);
            fs::set_permissions(model.blob(NESTED), none).unwrap();
            zoo.expect(Rule::MixedPermissions, model.places(NESTED));
        },
        &[(Rule::MixedPermissions, Severity::Warning)],
    ),
    in_store(
        "marked_shared_store",
        House::MarkedStore,
        |zoo| {
            shared(zoo, "zoo/shared-one");
            write(&store(zoo).1, "1\n");
        },
        &[],
    ),
    in_store(
        "shared_payload_without_users",
        House::MarkedStore,
        |zoo| {
            let (folder, mark) = store(zoo);
            let hash = sha256(b"of a repo that is gone");
            let payload = folder.join(&hash[..2]).join(&hash);
            write(&mark, "1\n");
            write(&payload, "of a repo that is gone");
            let user = format!("models--zoo--gone/blobs/{hash}\n");
            write(&payload.with_file_name(format!("{hash}.refs")), user);
            zoo.expect(Rule::UnusedPayload, [payload]);
        },
        &[(Rule::UnusedPayload, Severity::Warning)],
    ),
    Member {
        by_hash: true,
        ..in_store(
            "wrong_shared_payload",
            House::MarkedStore,
            |zoo| {
                let (folder, mark) = store(zoo);
                let hash = sha256(b"what Xet calls it");
                let payload = folder.join(&hash[..2]).join(&hash);
                write(&mark, "1\n");
                write(&payload, "what it is ");
                let user = format!("models--zoo--lost/blobs/{}\n", sha256(b"what it was"));
                write(&payload.with_file_name(format!("{hash}.refs")), user);
                zoo.expect(Rule::WrongHash, [payload]);
            },
            &[(Rule::WrongHash, Severity::Error)],
        )
    },
    in_store(
        "unmarked_shared_store",
        House::UnmarkedStore,
        |zoo| {
            shared(zoo, "zoo/shared-unmarked");
            let (folder, mark) = store(zoo);
            zoo.expect(Rule::UnmarkedStore, [folder, mark]);
        },
        &[(Rule::UnmarkedStore, Severity::Warning)],
    ),
];
