//! Whether a model would load, by any files: nothing panics, and what is said can be shown.
#![no_main]

use std::collections::BTreeMap;
use std::fs::File;

use larder::domain::LoadTrouble;
use larder::mlx::{Listed, Reading, asks, examine, examine_listed};
use larder_fuzz::{files, is_harmless};
use libfuzzer_sys::fuzz_target;

fn check(troubles: &[LoadTrouble]) {
    for trouble in troubles {
        assert!(is_harmless(&trouble.sentence), "{:?}", trouble.sentence);
        assert!(trouble.sentence.len() < 2_000, "{}", trouble.sentence);
    }
}

fuzz_target!(|input: &[u8]| {
    let parts = files(input);
    let listed: BTreeMap<String, Listed> = parts
        .iter()
        .map(|(name, bytes)| {
            let (size_bytes, start) = (bytes.len() as u64, Some(bytes.to_vec()));
            (name.clone(), Listed { size_bytes, start })
        })
        .collect();
    let _ = asks(&[], &listed);
    let before = examine_listed(&listed);
    check(&before.troubles);
    // The same as a folder: it is judged alike, whatever its names.
    let dir = larder_fuzz::Cache::new();
    dir.clear();
    let root = dir.layout.root();
    let are_names = listed.iter().all(|(name, file)| {
        let bytes = file.start.as_deref().unwrap_or_default();
        !name.contains('/') && !name.is_empty() && dir.put(&root.join(name), bytes)
    });
    drop(std::fs::remove_dir_all(dir.layout.repo(&dir.repo)));
    if !are_names {
        return;
    }
    let reading = Reading {
        open: &|path| File::open(path),
        list: &larder::host::names,
        is_deep: true,
    };
    let after = examine(root, reading, &|_| false);
    check(&after.troubles);
    assert_eq!(
        before.would_load(),
        after.would_load(),
        "{before:?} {after:?}"
    );
});
