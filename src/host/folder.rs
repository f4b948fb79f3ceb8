//! Owns listing a folder without leaving a trace, as `open.rs` does for files.
//!
//! Never writes, and never follows the names it finds.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType};

use super::open::open_folder;

/// A name in a folder.
#[derive(Clone, Debug)]
pub struct Entry {
    path: PathBuf,
    name: OsString,
    kind: FileType,
}

/// What a name stands for, itself and not what a link leads to.
#[derive(Clone, Copy, Debug)]
pub struct Kind(FileType);

impl Entry {
    /// The folder's path with the name.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The name.
    pub fn file_name(&self) -> OsString {
        self.name.clone()
    }

    /// What it is.
    ///
    /// # Errors
    /// Where the listing does not tell, and it cannot be looked at.
    pub fn file_type(&self) -> io::Result<Kind> {
        if self.kind != FileType::Unknown {
            return Ok(Kind(self.kind));
        }
        let found = self.metadata()?.file_type();
        Ok(Kind(if found.is_dir() {
            FileType::Directory
        } else if found.is_symlink() {
            FileType::Symlink
        } else if found.is_file() {
            FileType::RegularFile
        } else {
            FileType::Unknown
        }))
    }

    /// What the system knows of it, not of what it leads to.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.path.symlink_metadata()
    }
}

impl Kind {
    /// A folder, not a link to one.
    pub fn is_dir(self) -> bool {
        self.0 == FileType::Directory
    }

    /// A plain file.
    pub fn is_file(self) -> bool {
        self.0 == FileType::RegularFile
    }

    /// A symbolic link.
    pub fn is_symlink(self) -> bool {
        self.0 == FileType::Symlink
    }
}

/// What lies in a folder, in no order; the time of the folder's last access stays as it is where the
/// system allows that.
///
/// # Errors
/// When the folder cannot be opened. What cannot be read of it comes as an error among the entries.
pub fn read_dir(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<Entry>> + use<>> {
    let dir = Dir::new(open_folder(folder)?)?;
    let folder = folder.to_owned();
    Ok(dir.filter_map(move |entry| match entry {
        Ok(entry) => {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            (name != "." && name != "..").then(|| {
                Ok(Entry {
                    path: folder.join(name),
                    name: name.to_owned(),
                    kind: entry.file_type(),
                })
            })
        }
        Err(error) => Some(Err(error.into())),
    }))
}

/// The names in a folder that are text; none if it cannot be read.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.name.into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_is_listed_and_keeps_the_time_of_its_last_use() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
        let times = fs::FileTimes::new().set_accessed(old);
        fs::File::open(dir.path())
            .unwrap()
            .set_times(times)
            .unwrap();
        let mut found: Vec<(String, bool, bool, bool)> = read_dir(dir.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                let name = entry.file_name().into_string().unwrap();
                assert_eq!(entry.path(), dir.path().join(&name));
                (name, kind.is_dir(), kind.is_file(), kind.is_symlink())
            })
            .collect();
        found.sort();
        let is = |name: &str, dir, file, link| (name.to_owned(), dir, file, link);
        assert_eq!(
            found,
            [
                is("file", false, true, false),
                is("folder", true, false, false),
                is("link", false, false, true)
            ]
        );
        #[cfg(target_os = "linux")]
        assert_eq!(dir.path().metadata().unwrap().accessed().unwrap(), old);
        assert!(read_dir(&dir.path().join("file")).is_err());
        let missing = read_dir(&dir.path().join("missing")).err().unwrap();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
