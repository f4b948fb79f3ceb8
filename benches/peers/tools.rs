//! Owns how each tool is called, how long it takes, and what it leaves.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::arguments::Arguments;
use crate::figures::Run;

/// Connections of the ceiling.
const RANGES: u64 = 16;

/// A file of the repo.
pub(crate) struct File {
    path: String,
    pub(crate) bytes: u64,
    url: String,
}

/// A downloader, ready to run.
pub(crate) struct Tool {
    name: String,
    /// Programs that run at once; `{cache}` stands for the folder.
    calls: Vec<Vec<String>>,
    endpoint: String,
    writes: bool,
}

/// Asks the server what the repo holds.
pub(crate) async fn files_of(endpoint: &str, repo: &str) -> Vec<File> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut next = Some(format!(
        "{endpoint}/api/models/{repo}/tree/main?recursive=true"
    ));
    let mut files = Vec::new();
    while let Some(url) = next {
        let answer = client.get(&url).send().await.unwrap();
        next = answer
            .headers()
            .get("link")
            .and_then(|link| link.to_str().ok())
            .filter(|link| link.contains("rel=\"next\""))
            .and_then(|link| Some(link.split('<').nth(1)?.split('>').next()?.to_owned()))
            .map(|link| match link.strip_prefix('/') {
                Some(path) => format!("{endpoint}/{path}"),
                None => link,
            });
        let page: serde_json::Value = answer.json().await.unwrap();
        for entry in page.as_array().unwrap() {
            if entry["type"] == "file" {
                let path = entry["path"].as_str().unwrap();
                files.push(File {
                    path: path.to_owned(),
                    bytes: entry["size"].as_u64().unwrap(),
                    url: format!(
                        "{endpoint}/{repo}/resolve/main/{}",
                        path.replace(' ', "%20")
                    ),
                });
            }
        }
    }
    files
}

impl Tool {
    pub(crate) fn new(name: &str, arguments: &Arguments, repo: &str, files: &[File]) -> Self {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let program = |path: &Path| path.display().to_string();
        let list = |ending: &str, line: &dyn Fn(&File) -> String| {
            let path = arguments.scratch.join(ending);
            fs::write(&path, files.iter().map(line).collect::<String>()).unwrap();
            path.display().to_string()
        };
        let curl = || {
            list("curl.txt", &|file| {
                format!("url = \"{}\"\noutput = \"{}\"\n", file.url, file.path)
            })
        };
        let calls: Vec<Vec<String>> = match name {
            "larder" => vec![words(&[
                &program(&arguments.larder),
                "pull",
                "--all",
                "--quiet",
                repo,
            ])],
            "hf" => vec![words(&[&program(&arguments.hf), "download", repo])],
            "hfrs" => {
                let script = format!(
                    "{} download {repo} --cache-dir . && \
                     find . -type f -size +1M -exec openssl dgst -sha256 {{}} + && sync",
                    program(&arguments.hfrs)
                );
                vec![words(&["sh", "-c", &script])]
            }
            "aria2" => {
                let list = list("aria2.txt", &|file| {
                    format!("{}\n  out={}\n", file.url, file.path)
                });
                vec![words(&["aria2c", "-x16", "-s16", "-j5", "-q", "-i", &list])]
            }
            "curl" => vec![words(&["curl", "-sfL", "--create-dirs", "-K", &curl()])],
            "curlZ" => vec![words(&["curl", "-sfLZ", "--create-dirs", "-K", &curl()])],
            "ceiling" => ranges(files)
                .into_iter()
                .map(|(url, range)| words(&["curl", "-sfL", "-o", "/dev/null", "-r", &range, &url]))
                .collect(),
            other => {
                println!("there is no tool `{other}`");
                std::process::exit(2);
            }
        };
        Self {
            name: name.to_owned(),
            calls,
            endpoint: arguments.endpoint.clone(),
            writes: name != "ceiling",
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs it once, in `folder`.
    pub(crate) fn run(&self, folder: &Path) -> Run {
        let start = Instant::now();
        let children: Vec<Child> = self
            .calls
            .iter()
            .map(|call| {
                Command::new(&call[0])
                    .args(&call[1..])
                    .current_dir(folder)
                    .env("HF_ENDPOINT", &self.endpoint)
                    .env("HF_HOME", folder.join("home"))
                    .env("HF_HUB_CACHE", folder.join("hub"))
                    .env("HOME", folder)
                    .env("XDG_STATE_HOME", folder.join("state"))
                    .env("HF_HUB_DISABLE_UPDATE_CHECK", "1")
                    .env("HF_HUB_DISABLE_TELEMETRY", "1")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap_or_else(|error| {
                        println!("{}: {error}", call[0]);
                        std::process::exit(2);
                    })
            })
            .collect();
        let mut run = Run {
            is_ok: true,
            ..Run::default()
        };
        for child in children {
            let (is_ok, cpu_s, peak_mib) = wait(&child);
            run.is_ok &= is_ok;
            run.cpu_s += cpu_s;
            run.peak_mib = run.peak_mib.max(peak_mib);
        }
        run.wall_s = start.elapsed().as_secs_f64();
        run
    }

    /// Bytes of all files in a folder, each once; `None` where the tool writes none.
    pub(crate) fn bytes_in(&self, folder: &Path) -> Option<u64> {
        fn walk(folder: &Path, seen: &mut std::collections::HashSet<u64>) -> u64 {
            let mut bytes = 0;
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let found = entry.metadata().unwrap();
                if found.is_dir() {
                    bytes += walk(&entry.path(), seen);
                } else if found.is_file() && seen.insert(found.ino()) {
                    bytes += found.len();
                }
            }
            bytes
        }
        self.writes
            .then(|| walk(folder, &mut std::collections::HashSet::new()))
    }
}

/// Parts of about the same size of everything that is large.
fn ranges(files: &[File]) -> Vec<(String, String)> {
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let each = total.div_ceil(RANGES).max(1 << 20);
    let mut ranges = Vec::new();
    for file in files.iter().filter(|file| file.bytes >= 1 << 20) {
        let parts = file.bytes.div_ceil(each);
        let length = file.bytes.div_ceil(parts);
        for part in 0..parts {
            let end = ((part + 1) * length).min(file.bytes) - 1;
            ranges.push((file.url.clone(), format!("{}-{end}", part * length)));
        }
    }
    ranges
}

/// Waits for a process: whether it ended well, its CPU seconds, its peak memory in MiB.
#[expect(
    unsafe_code,
    reason = "only wait4 tells what a single child has used, and it is in no safe wrapper"
)]
fn wait(child: &Child) -> (bool, f64, f64) {
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    let mut status = 0;
    // SAFETY: a structure of numbers, for which zeroes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places live longer than the call; the process is our child and not waited for
    // anywhere else.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu_s = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    // Linux counts in KiB, Apple in bytes.
    let unit = if cfg!(target_vendor = "apple") {
        1.0
    } else {
        1024.0
    };
    let peak_mib = usage.ru_maxrss as f64 * unit / f64::from(1 << 20);
    let is_ok = waited == pid && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
    (is_ok, cpu_s, peak_mib)
}
