//! Owns asking what was inherited about signals.
//!
//! Never installs a handler: that is the binary's.

/// Whether SIGHUP was set to be ignored by whoever started larder, as `nohup` does.
#[expect(
    unsafe_code,
    reason = "no safe wrapper in our dependencies queries a disposition without changing it"
)]
pub fn sighup_is_ignored() -> bool {
    // SAFETY: with a null new action, sigaction only writes the old one into `current`, which is
    // valid for it; an all-zero sigaction is a valid value of that plain C struct.
    unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut current) == 0
            && current.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use crate::host::forks;

    /// Runs this test binary again below `nohup`'s trap and reads what the child saw.
    #[test]
    fn an_inherited_disposition_is_seen() {
        let own = std::env::current_exe().unwrap();
        let seen_with = |trap: &str| {
            let script = format!("{trap} exec \"$0\" --exact --nocapture --ignored \"$1\"");
            let mut command = Command::new("sh");
            command
                .args(["-c", &script])
                .arg(&own)
                .arg("host::signal::tests::say_what_is_seen")
                .stdout(Stdio::piped());
            let output = forks::spawn(&mut command).wait_with_output().unwrap();
            String::from_utf8_lossy(&output.stdout).contains("ignored=true")
        };
        assert!(seen_with("trap '' HUP;"));
        // A shell cannot take back what it inherited itself: under nohup the child has it, too.
        assert_eq!(seen_with("trap - HUP;"), super::sighup_is_ignored());
    }

    #[test]
    #[ignore = "the child of `an_inherited_disposition_is_seen`"]
    #[expect(clippy::print_stdout, reason = "the parent reads it")]
    fn say_what_is_seen() {
        println!("ignored={}", super::sighup_is_ignored());
    }
}
