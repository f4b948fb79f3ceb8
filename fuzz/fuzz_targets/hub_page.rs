//! A page of the Hub's list of files, as any server could send it.
#![no_main]

use std::collections::HashSet;

use larder::domain::RepoPath;
use larder::hub::Listing;
use larder_fuzz::is_harmless;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(listing) = Listing::of_page(input) else {
        return;
    };
    let mut paths = HashSet::new();
    for file in &listing.files {
        assert!(RepoPath::new(file.path.as_str()).is_ok());
        assert!(paths.insert(file.path.as_str()), "twice: {:?}", file.path);
        assert_eq!(file.git_oid.len(), 40);
    }
    for refused in &listing.refused {
        assert!(is_harmless(&refused.path), "{:?}", refused.path);
        assert!(is_harmless(&refused.reason), "{:?}", refused.reason);
    }
});
