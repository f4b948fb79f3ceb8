//! Owns reading the end of a text file and writing one that is not there yet.
//!
//! Never overwrites anything.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// Bytes from the end in which the last lines are looked for.
const TAIL_BYTES: u64 = 256 * 1024;

/// The last lines of a text, at most so many; what is not UTF-8 is replaced.
///
/// # Errors
/// When the file cannot be read.
pub fn read_tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    // A log that grows meanwhile must not keep the reader busy.
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut all: Vec<&str> = text.lines().collect();
    if from > 0 && !all.is_empty() {
        // The first one was cut in two.
        all.remove(0);
    }
    let skipped = all.len().saturating_sub(lines);
    Ok(all[skipped..].iter().map(|&line| line.to_owned()).collect())
}

/// Writes a file that must not exist.
///
/// # Errors
/// `AlreadyExists` when there is one, else when it cannot be written.
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Operating system, its version and the processor, e.g. `Linux 6.1.0 x86_64`.
pub fn system() -> String {
    let uname = rustix::system::uname();
    [uname.sysname(), uname.release(), uname.machine()]
        .map(|part| part.to_string_lossy().into_owned())
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_long_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "a\nb\n\nc").unwrap();
        assert_eq!(read_tail(&path, 2).unwrap(), ["", "c"]);
        assert_eq!(read_tail(&path, 9).unwrap(), ["a", "b", "", "c"]);
        let long: Vec<String> = (0..100_000).map(|line| format!("line {line}")).collect();
        let long = long.join("\n");
        std::fs::write(&path, long).unwrap();
        let tail = read_tail(&path, 200).unwrap();
        assert_eq!((tail.len(), tail[199].as_str()), (200, "line 99999"));
        let all = read_tail(&path, usize::MAX).unwrap();
        assert!(all.iter().all(|line| line.starts_with("line ")));
        std::fs::write(&path, b"\xff\n").unwrap();
        assert_eq!(read_tail(&path, 1).unwrap(), ["\u{fffd}"]);
        assert!(read_tail(&folder.path().join("none"), 1).is_err());
    }

    #[test]
    fn a_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        write_new(&path, "first").unwrap();
        let again = write_new(&path, "second").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
    }

    #[test]
    fn the_system_does_not_name_the_machine() {
        assert!(!system().is_empty());
    }
}
