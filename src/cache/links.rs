//! Owns the links a pointer goes through, as they stand on the disk.
//!
//! Never opens what they lead to.

use std::fs;
use std::path::Path;

use crate::domain::sanitize;

/// More links than this in a row are nobody's layout.
const MOST: usize = 4;

/// Where each link in a row leads, as it stands in the link: from a snapshot to the blob, and from
/// there into the shared store where the content is there. Nothing for what is no link.
pub fn links_of(place: &Path) -> Vec<String> {
    let mut links = Vec::new();
    let mut at = place.to_owned();
    while links.len() < MOST
        && let Ok(target) = fs::read_link(&at)
    {
        links.push(sanitize(&target.to_string_lossy()));
        let Some(folder) = at.parent() else { break };
        at = folder.join(target);
    }
    links
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_hop_is_told_and_a_circle_ends() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("repo/snapshots/a")).unwrap();
        fs::create_dir_all(at("repo/blobs")).unwrap();
        fs::create_dir_all(at("blobs/ab")).unwrap();
        fs::write(at("blobs/ab/payload"), "x").unwrap();
        symlink("../../blobs/ab/payload", at("repo/blobs/etag")).unwrap();
        symlink("../../blobs/etag", at("repo/snapshots/a/config.json")).unwrap();
        symlink("loop", at("loop")).unwrap();
        assert_eq!(
            links_of(&at("repo/snapshots/a/config.json")),
            ["../../blobs/etag", "../../blobs/ab/payload"]
        );
        assert_eq!(links_of(&at("blobs/ab/payload")), Vec::<String>::new());
        assert_eq!(links_of(&at("nothing")), Vec::<String>::new());
        assert_eq!(links_of(&at("loop")).len(), MOST);
    }
}
