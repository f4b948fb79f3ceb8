//! The small files of a repo with any text: refs, the marker, listings, pointers' places. What is read
//! from them is safe to use as a name and to show.
#![no_main]

use std::sync::LazyLock;

use larder::cache::{read_marker, read_ref, read_tree, refs_of};
use larder::domain::{RepoPath, Revision};
use larder_fuzz::{Cache, files, is_harmless};
use libfuzzer_sys::fuzz_target;

static CACHE: LazyLock<Cache> = LazyLock::new(Cache::new);

fuzz_target!(|input: &[u8]| {
    let cache = &*CACHE;
    cache.clear();
    let (layout, repo, commit) = (&cache.layout, &cache.repo, &cache.commit);
    let mut refs = Vec::new();
    // Of a ref that is empty it is waited whether it stays so.
    for (name, bytes) in files(input)
        .into_iter()
        .filter(|(_, bytes)| !bytes.is_empty())
    {
        let path = match name.as_str() {
            "marker" => layout.marker(repo),
            "tree" => layout.tree(repo, commit),
            "own-tree" => layout.own_tree(repo, commit),
            name => {
                let Ok(revision) = Revision::new(name) else {
                    continue;
                };
                let path = layout.reference(repo, &revision);
                refs.push(revision);
                path
            }
        };
        cache.put(&path, bytes);
    }
    let before = cache.contents();
    for revision in &refs {
        if let Ok(Some(value)) = read_ref(layout, repo, revision) {
            assert!(value.is_malformed || value.commit.is_some());
        }
    }
    let _ = refs_of(layout, repo);
    if let Some(said) = read_marker(layout, repo) {
        for text in [said.host, said.program].into_iter().flatten() {
            assert!(is_harmless(&text), "{text:?}");
        }
    }
    for file in read_tree(layout, repo, commit).unwrap_or_default() {
        assert!(RepoPath::new(file.path.as_str()).is_ok());
        assert!(file.xet_hash.is_none_or(|hash| hash.len() == 64));
    }
    assert_eq!(cache.contents(), before);
});
