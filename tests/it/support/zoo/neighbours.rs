//! Caches as other clients write them, by the order of writes that hub.md 2.9 describes.

use std::fs;

use super::model::WEIGHTS;
use super::{Member, Zoo, member, write};

const fn healthy(name: &'static str, build: fn(&mut Zoo)) -> Member {
    member(name, build, &[])
}

pub(super) const MEMBERS: &[Member] = &[
    // Files one by one, then the ref; no listing; the lock beside Python's.
    healthy("by_hf_hub", |zoo| {
        let model = zoo.known("zoo/by-hf-hub");
        for path in model.paths() {
            model.place(&path);
        }
        model.write_ref("main", model.commit());
    }),
    // Locks beside the blobs.
    healthy("by_hf_hub_0_5", |zoo| {
        let model = zoo.known("zoo/by-hf-hub-0-5");
        for path in model.paths() {
            model.place(&path);
            fs::remove_file(model.lock(&model.piece(&path).etag)).unwrap();
            let lock = format!("{}.lock", model.piece(&path).etag);
            write(&model.blobs().join(lock), "");
        }
        model.write_ref("main", model.commit());
    }),
    // Its lock mirrors the blob's path; its listing is its own and names what it knows.
    healthy("by_swift_huggingface", |zoo| {
        let model = zoo.known("zoo/by-swift");
        let mut entries = Vec::new();
        for path in model.paths() {
            model.place(&path);
            let piece = model.piece(&path);
            fs::remove_file(model.lock(&piece.etag)).unwrap();
            let locks = zoo.root().join(".locks").join(model.folder_name());
            write(&locks.join(format!("blobs/{}.lock", piece.etag)), "");
            entries.push(serde_json::json!({
                "path": path, "type": "file", "size": piece.bytes.len(),
            }));
        }
        model.write_ref("main", model.commit());
        let listing = format!(".metadata/{}/{}.json", model.folder_name(), model.commit());
        let document = serde_json::json!({ "entries": entries });
        write(&zoo.root().join(listing), document.to_string());
    }),
    // Only what an app asked for, without a listing: config, tokenizer and weights.
    healthy("by_swift_huggingface_in_part", |zoo| {
        let model = zoo.known("zoo/by-swift-in-part");
        for path in [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            WEIGHTS,
        ] {
            model.place(path);
        }
        model.write_ref("main", model.commit());
    }),
];
