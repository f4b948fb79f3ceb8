//! Members in which a program that died left something, and those in which one is at work.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use larder::domain::{Rule, Severity};

use super::model::{Model, WEIGHTS, sha256};
use super::{Member, Zoo, member, write};

const TEMP: (Rule, Severity) = (Rule::LeftoverTemp, Severity::Warning);
const PARTIAL: (Rule, Severity) = (Rule::AbandonedPartial, Severity::Warning);
const MARKER: (Rule, Severity) = (Rule::StaleMarker, Severity::Warning);

/// The name of a content that nobody has whole.
fn unfinished(of: &str) -> String {
    sha256(format!("unfinished, {of}").as_bytes())
}

/// A partial in a whole model, which must be found.
fn partial(zoo: &mut Zoo, model: &Model, of: &str, ending: &str, bytes: &[u8]) -> PathBuf {
    let path = model.blobs().join(unfinished(of) + ending);
    write(&path, bytes);
    zoo.expect(Rule::AbandonedPartial, [path.clone()]);
    path
}

/// A leftover file, which must be found.
fn temp(zoo: &mut Zoo, path: PathBuf, content: impl AsRef<[u8]>) {
    write(&path, content);
    zoo.expect(Rule::LeftoverTemp, [path]);
}

/// What Python makes to learn whether links work.
fn probe(zoo: &mut Zoo, folder: &Path) {
    let probe = folder.join("tmpq3x_7zk1");
    write(&probe.join("dummy_file_src"), "");
    zoo.expect(
        Rule::LeftoverTemp,
        [probe.clone(), probe.join("dummy_file_src")],
    );
}

/// A record as larder writes it, of a process and machine that are no more.
fn record() -> String {
    let line = |name: &str, value: &str, width: usize| format!("{name}: {value:<width$}\n");
    [
        line("pid", "4000000000", 10),
        line("host", "gone.example", 64),
        line("started", "2026-01-15T11:59:00Z 1768478340000", 40),
        line("program", "larder 0.1.0", 32),
        line("files", "1/6", 21),
        line("bytes", "10/2000", 41),
    ]
    .concat()
}

pub(super) const MEMBERS: &[Member] = &[
    member(
        "partial_of_python",
        |zoo| {
            let model = zoo.model("zoo/partial-python");
            partial(zoo, &model, "python", ".1a2b3c4d.incomplete", &[1; 700]);
        },
        &[PARTIAL],
    ),
    member(
        "partial_without_a_number",
        |zoo| {
            let model = zoo.model("zoo/partial-plain");
            partial(zoo, &model, "old python", ".incomplete", &[1; 600]);
        },
        &[PARTIAL],
    ),
    member(
        "partial_of_hf_hub_sync",
        |zoo| {
            let model = zoo.model("zoo/partial-part");
            partial(zoo, &model, "hf-hub", ".part", &[1; 500]);
        },
        &[PARTIAL],
    ),
    member(
        "partial_of_hf_hub_tokio",
        |zoo| {
            let model = zoo.model("zoo/partial-sync");
            // As long as the file will be, and eight bytes that say how far it is.
            let mut bytes = vec![0; 4_000];
            bytes[..300].fill(1);
            bytes.extend(300_u64.to_le_bytes());
            partial(zoo, &model, "tokio", ".sync.part", &bytes);
        },
        &[PARTIAL],
    ),
    member(
        "partial_with_a_chunk_map",
        |zoo| {
            let model = zoo.model("zoo/partial-map");
            let path = partial(zoo, &model, "larder", ".1a2b3c4d.incomplete", &[1; 400]);
            let map = path.with_file_name(unfinished("larder") + ".1a2b3c4d.map.incomplete");
            write(&map, "larder-chunks 1 torn");
        },
        &[PARTIAL],
    ),
    member(
        "partial_of_what_is_there",
        |zoo| {
            let model = zoo.model("zoo/partial-of-whole");
            let piece = model.piece(WEIGHTS);
            let path = format!("{}.0000aaaa.incomplete", piece.etag);
            let path = model.blobs().join(path);
            write(&path, &piece.bytes[..64]);
            zoo.expect(Rule::AbandonedPartial, [path]);
        },
        &[PARTIAL],
    ),
    member(
        "live_partials",
        |zoo| {
            let model = zoo.model("zoo/partial-live");
            let (python, larder) = (unfinished("live python"), unfinished("live larder"));
            let of_python = model.blobs().join(format!("{python}.1a2b3c4d.incomplete"));
            let of_larder = model.blobs().join(format!("{larder}.1a2b3c4d.incomplete"));
            write(&of_python, [1; 300]);
            write(&of_larder, [1; 300]);
            write(&model.lock(&python), "");
            for held in [model.lock(&python), of_larder] {
                let file = File::open(held).unwrap();
                file.lock().unwrap();
                zoo.held.push(file);
            }
        },
        &[],
    ),
    member(
        "partial_of_this_minute",
        |zoo| {
            let model = zoo.model("zoo/partial-fresh");
            let path = unfinished("fresh") + ".1a2b3c4d.incomplete";
            let path = model.blobs().join(path);
            write(&path, [1; 300]);
            // Nobody is known to write it, but somebody just did.
            let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(30);
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(soon)
                .unwrap();
            zoo.fresh.push(path);
        },
        &[],
    ),
    member(
        "temp_of_the_umask_probe",
        |zoo| {
            let model = zoo.model("zoo/temp-umask");
            let name = "tmp_0f8fad5b-d9cb-469f-a165-70867728950e";
            temp(zoo, model.blobs().join(name), "");
        },
        &[TEMP],
    ),
    member(
        "temp_of_the_link_probe",
        |zoo| {
            let model = zoo.model("zoo/temp-link");
            probe(zoo, &model.folder());
        },
        &[TEMP],
    ),
    member(
        "temp_of_the_link_probe_at_the_root",
        |zoo| {
            let root = zoo.root().to_owned();
            probe(zoo, &root);
        },
        &[TEMP],
    ),
    member(
        "temps_of_a_replacement",
        |zoo| {
            let model = zoo.model("zoo/temp-replace");
            let piece = model.piece(WEIGHTS).clone();
            let beside = |ending: &str| model.blobs().join(format!(".{}.{ending}", piece.etag));
            temp(zoo, beside("1a2b3c4d.new"), &piece.bytes[..80]);
            temp(zoo, beside("1a2b3c4d.old"), &piece.bytes);
            let shared = beside("1a2b3c4d.shared");
            std::os::unix::fs::symlink("../../blobs/ab/cdef", &shared).unwrap();
            zoo.expect(Rule::LeftoverTemp, [shared]);
        },
        &[TEMP, TEMP, TEMP],
    ),
    member(
        "temp_that_is_the_only_copy",
        |zoo| {
            let model = zoo.model("zoo/temp-only-copy");
            let old = format!(".{}.1a2b3c4d.old", model.piece(WEIGHTS).etag);
            let old = model.blobs().join(old);
            fs::rename(model.blob(WEIGHTS), &old).unwrap();
            zoo.expect(Rule::DanglingPointer, model.places(WEIGHTS));
            zoo.expect(Rule::LeftoverTemp, [old]);
        },
        &[(Rule::DanglingPointer, Severity::Error), TEMP],
    ),
    member(
        "temp_listing",
        |zoo| {
            let model = zoo.model("zoo/temp-listing");
            let path = model.listing().with_file_name("tmpk29fh2_a.tmp");
            temp(zoo, path, "{\"format_version\": 1, \"fi");
        },
        &[TEMP],
    ),
    member(
        "stale_no_exist",
        |zoo| {
            let model = zoo.model("zoo/no-exist-stale");
            let mark = model.no_exist("config.json");
            write(&mark, "");
            zoo.expect(Rule::StaleNoExist, [mark, model.pointer("config.json")]);
        },
        &[(Rule::StaleNoExist, Severity::Warning)],
    ),
    member(
        "stale_marker_of_a_dead_larder",
        |zoo| {
            let model = zoo.model("zoo/marker-dead");
            let marker = model.folder().join(".manual_download_lock");
            write(&marker, record());
            zoo.expect(Rule::StaleMarker, [marker]);
        },
        &[MARKER],
    ),
    member(
        "stale_marker_of_the_old_script",
        |zoo| {
            let model = zoo.model("zoo/marker-script");
            let marker = model.folder().join(".manual_download_lock");
            write(
                &marker,
                "Manual download started at Thu Jan 15 12:00:00 UTC 2026\n",
            );
            zoo.expect(Rule::StaleMarker, [marker]);
        },
        &[MARKER],
    ),
];
