//! Owns what a file has beside its bytes, its owner and its mode: an access list and extended
//! attributes.
//!
//! Takes some away from a file that was just made; never changes those of another.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;

use rustix::io::Errno;

/// Room for all names, and for one value: Linux has no longer ones.
const ROOM: usize = 64 << 10;

/// What systems and browsers note by themselves about a download: no program's right to read a file
/// depends on it, and systems do not let all of it be copied.
const NOTED: [&str; 5] = [
    "com.apple.provenance",
    "com.apple.quarantine",
    "com.apple.lastuseddate#PS",
    "com.apple.metadata:",
    "user.xdg.",
];

/// What such a list is called where it is an attribute.
const ACCESS_LIST: &CStr = c"system.posix_acl_access";

/// What one of two files has beside its bytes and the other has not, or has otherwise, in words.
///
/// # Errors
/// When the system does not say what they have.
pub fn unlike(one: &Path, other: &Path) -> io::Result<Option<String>> {
    if access_list(one)? != access_list(other)? {
        return Ok(Some("an access list".to_owned()));
    }
    let (one, other) = (attributes(one)?, attributes(other)?);
    let mut names = one.keys().chain(other.keys());
    let differs = names.find(|name| one.get(*name) != other.get(*name));
    Ok(differs.map(|name| match name.as_c_str() {
        name if name == ACCESS_LIST => "an access list".to_owned(),
        name => format!("the attribute `{}`", name.to_string_lossy()),
    }))
}

/// Takes from a new file the attributes that another one has not: a clone may have those of its source,
/// and a folder may give some to what is made in it. What cannot be taken away stays.
pub fn shed_attributes(new: &Path, like: &Path) {
    let (Ok(has), Ok(meant)) = (attributes(new), attributes(like)) else {
        return;
    };
    for name in has.keys().filter(|name| !meant.contains_key(*name)) {
        if let Err(error) = rustix::fs::lremovexattr(new, name) {
            tracing::debug!(?name, %error, "an attribute stays");
        }
    }
}

/// The attributes of what lies at a path itself that do not come and go by themselves.
fn attributes(path: &Path) -> io::Result<BTreeMap<CString, Vec<u8>>> {
    let mut names = vec![0; ROOM];
    match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(bytes) => names.truncate(bytes),
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    }
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|it| !it.is_empty()) {
        let text = String::from_utf8_lossy(name);
        if NOTED.iter().any(|noted| text.starts_with(noted)) {
            continue;
        }
        let name = CString::new(name)?;
        let mut value = vec![0; ROOM];
        match rustix::fs::lgetxattr(path, &name, &mut value[..]) {
            Ok(bytes) => value.truncate(bytes),
            // It went meanwhile.
            #[cfg(target_os = "linux")]
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error.into()),
        }
        found.insert(name, value);
    }
    Ok(found)
}

/// The access list of a file, as text; `None` if it has none. Apple's systems do not show it among the
/// attributes.
#[cfg(target_vendor = "apple")]
#[expect(
    unsafe_code,
    reason = "access lists are in no safe wrapper; the list and its text are freed here"
)]
fn access_list(path: &Path) -> io::Result<Option<String>> {
    use std::ffi::{c_char, c_int, c_uint, c_void};
    use std::os::fd::AsRawFd as _;

    /// `ACL_TYPE_EXTENDED` of `sys/acl.h`.
    const EXTENDED: c_uint = 0x100;
    unsafe extern "C" {
        fn acl_get_fd_np(file: c_int, kind: c_uint) -> *mut c_void;
        fn acl_to_text(list: *mut c_void, length: *mut libc::ssize_t) -> *mut c_char;
        fn acl_free(object: *mut c_void) -> c_int;
    }
    let file = super::open_itself(path)?;
    // SAFETY: the descriptor is open for as long as `file` lives.
    let list = unsafe { acl_get_fd_np(file.as_raw_fd(), EXTENDED) };
    if list.is_null() {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTSUP) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: the list was given a moment ago; where the length goes may be left out.
    let text = unsafe { acl_to_text(list, std::ptr::null_mut()) };
    let read = if text.is_null() {
        Err(io::Error::last_os_error())
    } else {
        // SAFETY: it is a text with an end.
        let text = unsafe { CStr::from_ptr(text) };
        Ok(text.to_string_lossy().into_owned())
    };
    // SAFETY: both were given to be freed so, and are not used any more.
    unsafe {
        if !text.is_null() {
            acl_free(text.cast());
        }
        acl_free(list);
    }
    // The first line says that it is a list.
    read.map(|text| Some(text).filter(|text| text.lines().count() > 1))
}

/// Elsewhere it is an attribute.
#[cfg(not(target_vendor = "apple"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "where the system is asked, it may fail"
)]
const fn access_list(_path: &Path) -> io::Result<Option<String>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{XattrFlags, lsetxattr};

    use super::*;

    #[test]
    #[expect(
        clippy::print_stderr,
        reason = "what is not tested here is said to whoever runs the tests"
    )]
    fn files_are_alike_that_have_the_same_beside_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        fs::write(&one, "1").unwrap();
        fs::write(&other, "2").unwrap();
        let set = |path: &Path, name: &str, value: &[u8]| {
            lsetxattr(path, name, value, XattrFlags::empty())
        };
        assert_eq!(unlike(&one, &other).unwrap(), None);
        assert!(unlike(&one, &dir.path().join("none")).is_err());
        if set(&one, "user.tag", b"mine").is_err() {
            eprintln!("not tested: the file system of the tests has no attributes");
            return;
        }
        let says = unlike(&one, &other).unwrap();
        assert_eq!(says.as_deref(), Some("the attribute `user.tag`"));
        set(&other, "user.tag", b"theirs").unwrap();
        assert_eq!(unlike(&other, &one).unwrap(), says);
        set(&other, "user.tag", b"mine").unwrap();
        assert_eq!(unlike(&one, &other).unwrap(), None);
        // Where it came from is nobody's permission.
        set(&one, "user.xdg.origin.url", b"https://hub").unwrap();
        assert_eq!(unlike(&one, &other).unwrap(), None);

        // Of Linux: the owner, one more user, the group, the mask, everybody else.
        let entries: [(u16, u16, u32); 5] = [
            (1, 6, u32::MAX),
            (2, 4, 1234),
            (4, 4, u32::MAX),
            (16, 4, u32::MAX),
            (32, 4, u32::MAX),
        ];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, right, id) in entries {
            list.extend([tag.to_le_bytes(), right.to_le_bytes()].as_flattened());
            list.extend(id.to_le_bytes());
        }
        if set(&other, "system.posix_acl_access", &list).is_ok() {
            let says = unlike(&one, &other).unwrap();
            assert_eq!(says.as_deref(), Some("an access list"));
            shed_attributes(&other, &one);
            assert_eq!(unlike(&one, &other).unwrap(), None);
        } else {
            eprintln!("not tested: the file system of the tests has no access lists");
        }

        set(&other, "user.more", b"").unwrap();
        assert!(unlike(&one, &other).unwrap().is_some());
        shed_attributes(&other, &one);
        assert_eq!(unlike(&one, &other).unwrap(), None);
        assert_eq!(attributes(&other).unwrap().len(), 1);
    }
}
