//! How much memory a program takes at most: what its parent is told when it has ended.
//!
//! Never judges.

use std::process::{Command, Stdio};

/// The system tells it of all children together, so that each is asked about by a parent of its own.
const ASK: &str = "import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(code, peak * (1 if sys.platform == 'darwin' else 1024))";

/// How a command ends, and its most memory in bytes.
#[track_caller]
pub(crate) fn peak_of(command: &Command) -> (i32, u64) {
    let mut parent = Command::new("python3");
    parent
        .args(["-c", ASK])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            parent.env(name, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        parent.current_dir(folder);
    }
    // Where it is looked for: this process has a search path, and the command need not.
    let output = parent
        .output()
        .expect("python3, as every machine that runs the tests has it");
    let said = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let (code, peak) = said
        .trim()
        .split_once(' ')
        .unwrap_or_else(|| panic!("{told}"));
    (code.parse().unwrap(), peak.parse().unwrap())
}
