//! Members whose bytes or pointers are wrong.

use std::fs::{self, File};

use larder::domain::{Rule, Severity};

use super::model::{Model, NESTED, WEIGHTS, lfs_pointer, sha256};
use super::{Member, by_hash, member, write};

/// What no pointer finds behind it, and that it is there.
const FOLDER: &[(Rule, Severity)] = &[
    (Rule::DanglingPointer, Severity::Error),
    (Rule::LeftoverTemp, Severity::Warning),
];

pub(super) const MEMBERS: &[Member] = &[
    member(
        "truncated_blob",
        |zoo| {
            let model = zoo.model("zoo/truncated-blob");
            let half = model.piece(WEIGHTS).bytes.len() / 2;
            model.spoil(WEIGHTS, &model.piece(WEIGHTS).bytes[..half]);
            zoo.expect(Rule::Truncated, model.places(WEIGHTS));
        },
        &[(Rule::Truncated, Severity::Error)],
    ),
    by_hash(
        "truncated_without_a_listing",
        |zoo| {
            let model = zoo.model("zoo/truncated-unlisted");
            fs::remove_dir_all(model.listing().parent().unwrap()).unwrap();
            let half = model.piece(WEIGHTS).bytes.len() / 2;
            model.spoil(WEIGHTS, &model.piece(WEIGHTS).bytes[..half]);
            zoo.expect(Rule::WrongHash, model.places(WEIGHTS));
        },
        // That such bytes do not load follows from it.
        &[(Rule::WrongHash, Severity::Error)],
    ),
    member(
        "too_long",
        |zoo| {
            let model = zoo.model("zoo/too-long");
            let bytes = [&model.piece(WEIGHTS).bytes[..], b"more"].concat();
            model.spoil(WEIGHTS, bytes);
            zoo.expect(Rule::WrongSize, model.places(WEIGHTS));
        },
        &[(Rule::WrongSize, Severity::Error)],
    ),
    by_hash(
        "wrong_hash",
        |zoo| {
            let model = zoo.model("zoo/wrong-hash");
            let mut bytes = model.piece(WEIGHTS).bytes.clone();
            *bytes.last_mut().unwrap() ^= 1;
            model.spoil(WEIGHTS, bytes);
            zoo.expect(Rule::WrongHash, model.places(WEIGHTS));
        },
        &[(Rule::WrongHash, Severity::Error)],
    ),
    by_hash(
        "wrong_hash_of_a_small_file",
        |zoo| {
            let model = zoo.model("zoo/wrong-small");
            let length = model.piece("README.md").bytes.len();
            model.spoil("README.md", "x".repeat(length));
            zoo.expect(Rule::WrongHash, model.places("README.md"));
        },
        &[(Rule::WrongHash, Severity::Error)],
    ),
    member(
        "empty_lfs_blob",
        |zoo| {
            let model = zoo.model("zoo/empty-blob");
            model.spoil(WEIGHTS, "");
            zoo.expect(Rule::EmptyBlob, model.places(WEIGHTS));
        },
        &[(Rule::EmptyBlob, Severity::Error)],
    ),
    member(
        "lfs_pointer_as_content",
        |zoo| {
            let model = zoo.model("zoo/lfs-pointer");
            model.spoil(WEIGHTS, lfs_pointer(&model.piece(WEIGHTS).bytes));
            zoo.expect(Rule::LfsPointer, model.places(WEIGHTS));
        },
        &[(Rule::LfsPointer, Severity::Error)],
    ),
    member(
        "html_page_as_content",
        |zoo| {
            let model = zoo.model("zoo/html-page");
            model.spoil(
                "tokenizer_config.json",
                "<!DOCTYPE html>\n<html><head><title>Log in</title></head><body>Welcome to the \
                 hotel. Please log in.</body></html>\n",
            );
            zoo.expect(Rule::ErrorPage, model.places("tokenizer_config.json"));
        },
        &[(Rule::ErrorPage, Severity::Error)],
    ),
    member(
        "xml_error_as_content",
        |zoo| {
            let model = zoo.model("zoo/xml-error");
            model.spoil(
                WEIGHTS,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code>\
                 <Message>Request has expired</Message></Error>",
            );
            zoo.expect(Rule::ErrorPage, model.places(WEIGHTS));
        },
        &[(Rule::ErrorPage, Severity::Error)],
    ),
    member(
        "dangling_pointer",
        |zoo| {
            let model = zoo.model("zoo/dangling");
            fs::remove_file(model.blob(WEIGHTS)).unwrap();
            zoo.expect(Rule::DanglingPointer, model.places(WEIGHTS));
        },
        &[(Rule::DanglingPointer, Severity::Error)],
    ),
    member(
        "dangling_nested_pointer",
        |zoo| {
            let model = zoo.model("zoo/dangling-nested");
            fs::remove_file(model.blob(NESTED)).unwrap();
            zoo.expect(Rule::DanglingPointer, model.places(NESTED));
        },
        &[(Rule::DanglingPointer, Severity::Error)],
    ),
    member(
        "folder_in_the_place_of_a_blob",
        |zoo| {
            let model = zoo.model("zoo/folder-blob");
            let blob = model.blob(WEIGHTS);
            fs::remove_file(&blob).unwrap();
            write(&blob.join("sub dir/mine.txt"), "mine");
            zoo.expect(Rule::DanglingPointer, model.places(WEIGHTS));
            zoo.expect(Rule::LeftoverTemp, [blob]);
        },
        FOLDER,
    ),
    member(
        "empty_folder_in_the_place_of_a_blob",
        |zoo| {
            let model = zoo.model("zoo/folder-empty");
            let blob = model.blob(NESTED);
            fs::remove_file(&blob).unwrap();
            fs::create_dir(&blob).unwrap();
            zoo.expect(Rule::DanglingPointer, model.places(NESTED));
            zoo.expect(Rule::LeftoverTemp, [blob]);
        },
        FOLDER,
    ),
    member(
        "absolute_pointer",
        |zoo| {
            let model = zoo.model("zoo/absolute");
            model.point(WEIGHTS, model.blob(WEIGHTS));
            zoo.expect(Rule::EscapingPointer, model.places(WEIGHTS));
        },
        &[(Rule::EscapingPointer, Severity::Warning)],
    ),
    member(
        "pointer_into_another_repo",
        |zoo| {
            let lender = zoo.model("zoo/lender");
            let bytes = &lender.piece(WEIGHTS).bytes;
            let borrower = zoo.known("zoo/borrower");
            let borrower = borrower.with(&mut zoo.catalogue, &[(WEIGHTS, bytes, true)]);
            borrower.write_listing();
            borrower.write_ref("main", borrower.commit());
            for path in borrower.paths() {
                borrower.place(&path);
            }
            fs::remove_file(borrower.blob(WEIGHTS)).unwrap();
            let there = format!(
                "../../../{}/blobs/{}",
                lender.folder_name(),
                lender.piece(WEIGHTS).etag
            );
            borrower.point(WEIGHTS, there);
            zoo.expect(Rule::EscapingPointer, [borrower.pointer(WEIGHTS)]);
        },
        &[(Rule::EscapingPointer, Severity::Warning)],
    ),
    member(
        "pointer_out_of_the_cache",
        |zoo| {
            let model = zoo.model("zoo/escaping");
            let there = zoo.outside().join("weights");
            fs::rename(model.blob(WEIGHTS), there).unwrap();
            model.point(WEIGHTS, "../../../../outside/weights");
            zoo.expect(Rule::EscapingPointer, [model.pointer(WEIGHTS)]);
        },
        &[(Rule::EscapingPointer, Severity::Warning)],
    ),
    member(
        "pointer_to_another_content",
        |zoo| {
            let model = zoo.model("zoo/wrong-pointer");
            let other = &model.piece("config.json").etag;
            model.point(
                "tokenizer_config.json",
                Model::pointer_text("tokenizer_config.json", other),
            );
            fs::remove_file(model.blob("tokenizer_config.json")).unwrap();
            zoo.expect(Rule::WrongPointer, [model.pointer("tokenizer_config.json")]);
        },
        &[(Rule::WrongPointer, Severity::Error)],
    ),
    member(
        "missing_file",
        |zoo| {
            let model = zoo.model("zoo/missing-file");
            fs::remove_file(model.blob("tokenizer_config.json")).unwrap();
            fs::remove_file(model.pointer("tokenizer_config.json")).unwrap();
            zoo.expect(Rule::MissingFiles, [model.pointer("tokenizer_config.json")]);
        },
        &[(Rule::MissingFiles, Severity::Warning)],
    ),
    member(
        "blob_without_its_pointer",
        |zoo| {
            let model = zoo.model("zoo/no-pointer");
            fs::remove_file(model.pointer("tokenizer_config.json")).unwrap();
            zoo.expect(Rule::MissingFiles, [model.pointer("tokenizer_config.json")]);
            zoo.expect(Rule::OrphanBlob, [model.blob("tokenizer_config.json")]);
        },
        &[
            (Rule::MissingFiles, Severity::Warning),
            (Rule::OrphanBlob, Severity::Warning),
        ],
    ),
    member(
        "half_written_snapshot",
        |zoo| {
            let model = zoo.listed("zoo/half-written");
            model.place("README.md");
            model.place("config.json");
            let piece = model.piece(WEIGHTS);
            let partial = format!("{}.1a2b3c4d.incomplete", piece.etag);
            let partial = model.blobs().join(partial);
            write(&partial, &piece.bytes[..500]);
            let left = model.paths().into_iter().map(|path| model.pointer(&path));
            zoo.expect_fatal(Rule::HalfWritten, left.chain([model.snapshot()]));
            zoo.expect(Rule::AbandonedPartial, [partial]);
        },
        &[
            (Rule::HalfWritten, Severity::Error),
            (Rule::AbandonedPartial, Severity::Warning),
        ],
    ),
    member(
        "orphan_blob",
        |zoo| {
            let model = zoo.model("zoo/orphan");
            let orphan = model.blobs().join(sha256(b"an orphan"));
            write(&orphan, "an orphan");
            zoo.expect(Rule::OrphanBlob, [orphan]);
        },
        &[(Rule::OrphanBlob, Severity::Warning)],
    ),
    // Python's next download of that content would make a link to it without reading it.
    by_hash(
        "wrong_orphan",
        |zoo| {
            let model = zoo.model("zoo/orphan-wrong");
            let orphan = model.blobs().join(sha256(b"what it was"));
            write(&orphan, "what it is ");
            zoo.expect(Rule::WrongHash, [orphan]);
        },
        &[(Rule::WrongHash, Severity::Error)],
    ),
    member(
        "stray_weights",
        |zoo| {
            let model = zoo.known("zoo/stray-weights");
            let stray = zoo
                .known("zoo/of-another-time")
                .piece(WEIGHTS)
                .bytes
                .clone();
            let index = serde_json::json!({
                "metadata": { "total_size": 1152 },
                "weight_map": {
                    "model.embed_tokens.weight": WEIGHTS,
                    "model.norm.weight": WEIGHTS,
                },
            });
            let index = index.to_string().into_bytes();
            let model = model.with(
                &mut zoo.catalogue,
                &[
                    ("model.safetensors.index.json", &index, false),
                    ("model-old.safetensors", &stray, true),
                ],
            );
            model.write_listing();
            model.write_ref("main", model.commit());
            for path in model.paths() {
                model.place(&path);
            }
            zoo.expect(Rule::StrayWeights, model.places("model-old.safetensors"));
        },
        &[(Rule::StrayWeights, Severity::Warning)],
    ),
    member(
        "would_not_load",
        |zoo| {
            let model = zoo.known("zoo/would-not-load");
            let model = model.with(
                &mut zoo.catalogue,
                &[("config.json", b"{\"model_type\": 64}", false)],
            );
            model.write_listing();
            model.write_ref("main", model.commit());
            for path in model.paths() {
                model.place(&path);
            }
            zoo.expect(Rule::WouldNotLoad, model.places("config.json"));
        },
        &[(Rule::WouldNotLoad, Severity::Error)],
    ),
    member(
        "sparse_blob",
        |zoo| {
            let model = zoo.known("zoo/sparse");
            // Zeros behind sound weights: as long as announced, and nothing of it on the disk.
            let zeros = vec![0; 1 << 20];
            let model = model.with(&mut zoo.catalogue, &[("extra.bin", &zeros, true)]);
            model.write_listing();
            model.write_ref("main", model.commit());
            for path in model.paths() {
                model.place(&path);
            }
            let blob = File::create(model.blob("extra.bin")).unwrap();
            blob.set_len(zeros.len() as u64).unwrap();
            zoo.expect(Rule::Evicted, model.places("extra.bin"));
        },
        &[(Rule::Evicted, Severity::Note)],
    ),
];
