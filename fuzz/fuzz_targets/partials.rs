//! Unfinished blobs by any names, beside chunk maps of any text: what they are taken for is never
//! more than is there, and looking changes nothing.
#![no_main]

use std::sync::LazyLock;

use larder::cache::{
    Programs, all_resumable, is_being_written, is_complete_partial, other_progress, repos,
    resumable_bytes,
};
use larder_fuzz::{Cache, eyes, files};
use libfuzzer_sys::fuzz_target;
use twox_hash::XxHash3_64;

static CACHE: LazyLock<Cache> = LazyLock::new(Cache::new);
static PROGRAMS: LazyLock<Programs> = LazyLock::new(Programs::default);

/// A chunk map with the check that is right behind each line, since nobody finds it by chance; lines
/// with a `!` stay as they are.
fn sealed(text: &[u8], etag: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(text).replace('@', etag);
    let lines = text.split('\n').map(|line| match line.strip_prefix('!') {
        Some(line) => line.to_owned(),
        None => {
            let check = format!("{:016x}", XxHash3_64::oneshot(line.as_bytes()));
            format!("{line} {}", &check[8..])
        }
    });
    (lines.collect::<Vec<_>>().join("\n") + "\n").into_bytes()
}

fuzz_target!(|input: &[u8]| {
    let cache = &*CACHE;
    cache.clear();
    for (name, bytes) in files(input) {
        // The name of the content that is asked for is long; an `@` stands for it.
        let etag = cache.etag.to_string();
        let name = name.replace('@', &etag);
        if name.contains(".map.") {
            cache.put_blob(&name, &sealed(bytes, &etag));
        } else {
            cache.put_blob(&name, bytes);
        }
    }
    let before = cache.contents();
    let (layout, repo, etag) = (&cache.layout, &cache.repo, &cache.etag);
    let most = before.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    let all = all_resumable(layout, repo);
    assert_eq!(all.get(etag).copied(), resumable_bytes(layout, repo, etag));
    for bytes in all.values() {
        assert!(*bytes <= most, "{bytes} of {most}");
    }
    let _ = other_progress(layout, repo, etag);
    assert!(most == u64::MAX || !is_complete_partial(layout, repo, etag, most + 1));
    let _ = is_being_written(layout, repo, etag, &eyes(&PROGRAMS));
    assert_eq!(repos(layout).ok(), Some(vec![repo.clone()]));
    assert_eq!(cache.contents(), before);
});
