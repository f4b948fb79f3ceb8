//! Owns telling what other programs do with a repo, from their arguments and the files they have open:
//! who downloads it, and who only loads it.
//!
//! Never takes a lock and never waits: a program that loads a model is nobody to wait for.

use std::path::Path;

use super::Layout;
use crate::domain::RepoId;
use crate::host::{Holder, OpenFile, Process};

/// The old download script, and ours of the same name: by it apps recognise a manual download
/// (hub.md 3.4). Its arguments name no model.
const SCRIPT: &str = "manual_model_download";
/// Programs that fetch what their arguments name.
const FETCHERS: [&str; 3] = ["curl", "wget", "aria2c"];
/// Programs that fetch with `download` among their arguments.
const CLIENTS: [&str; 3] = ["hf", "huggingface-cli", "hfrs"];
const DOWNLOAD: &str = "download";
/// Programs that load or serve a model that is named to them; those of MLX begin alike.
const LOADERS: [&str; 8] = [
    "vllm",
    "exo",
    "ollama",
    "lms",
    "llama-server",
    "llama-cli",
    "transformers",
    "sglang",
];
const MLX: &str = "mlx";
/// Programs that run others, whose names come after theirs.
const INTERPRETERS: [&str; 13] = [
    "python", "sh", "bash", "zsh", "dash", "ksh", "ash", "fish", "busybox", "env", "sudo", "uv",
    "uvx",
];
/// Their options after which a value comes that is no program.
const WITH_VALUE: [&str; 7] = ["-o", "+o", "-W", "-X", "--rcfile", "--init-file", "--from"];
/// The option after which the program itself comes as text, perhaps with others before it.
const TEXT_END: char = 'c';
/// The longest name that is shown, in characters.
const NAME: usize = 40;

/// What a program does with the models that are named to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It fetches them.
    Downloads,
    /// It reads them.
    Loads,
}

/// Other programs that have to do with models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// Whether the system was asked, and answered.
    is_known: bool,
    all: Vec<Program>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) holder: Holder,
    pub(super) role: Role,
    is_script: bool,
    /// Its arguments in lower case: names of repos do not tell case apart on the Hub.
    arguments: Vec<String>,
    open: Vec<OpenFile>,
}

impl Programs {
    /// Nobody was asked.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Those among the processes of this machine that download or load models. `open` is asked for
    /// the files that some processes have open; `None` if the system does not answer.
    pub fn among(
        processes: Option<&[Process]>,
        open: impl FnOnce(&[u32]) -> Option<Vec<OpenFile>>,
    ) -> Self {
        let mut all: Vec<Program> = processes
            .unwrap_or_default()
            .iter()
            .filter_map(|process| {
                let (role, is_script, name) = role(&process.arguments)?;
                let words = process.arguments.iter();
                let arguments: Vec<String> = words.map(|word| word.to_ascii_lowercase()).collect();
                let mut holder = Holder::from(process);
                holder.program = Some(name);
                Some(Program {
                    holder,
                    role,
                    is_script,
                    arguments,
                    open: Vec::new(),
                })
            })
            .collect();
        let mut is_known = processes.is_some();
        if !all.is_empty() {
            let pids: Vec<u32> = all.iter().map(|program| program.holder.pid).collect();
            let files = open(&pids);
            is_known &= files.is_some();
            for file in files.into_iter().flatten() {
                if let Some(program) = all.iter_mut().find(|one| one.holder.pid == file.pid) {
                    program.open.push(file);
                }
            }
        }
        Self { is_known, all }
    }

    /// Those, whatever they are called, that have some files open: the system was asked about these
    /// files and named no other program.
    pub(super) fn with_open(files: Vec<OpenFile>) -> Self {
        let mut all: Vec<Program> = Vec::new();
        for file in files {
            if let Some(known) = all.iter_mut().find(|one| one.holder.pid == file.pid) {
                known.open.push(file);
                continue;
            }
            all.push(Program {
                holder: Holder::of(file.pid),
                role: Role::Loads,
                is_script: false,
                arguments: Vec::new(),
                open: vec![file],
            });
        }
        Self {
            is_known: true,
            all,
        }
    }

    /// Whether the absence of a program says that it does not run.
    pub(super) const fn is_known(&self) -> bool {
        self.is_known
    }

    /// Those that have to do with the repo.
    pub(super) fn on(&self, layout: &Layout, repo: &RepoId) -> impl Iterator<Item = &Program> {
        let folder = layout.repo(repo);
        let names = [
            repo.name().to_ascii_lowercase(),
            repo.folder().to_ascii_lowercase(),
        ];
        self.all.iter().filter(move |program| {
            program.open_in(&folder).is_some()
                || names
                    .iter()
                    .any(|name| program.arguments.iter().any(|word| names_it(word, name)))
        })
    }

    /// Those that download the repo. With `has_marker`, its marker is a script's, and a script that
    /// names no model counts too.
    pub(super) fn downloaders(
        &self,
        layout: &Layout,
        repo: &RepoId,
        has_marker: bool,
    ) -> Vec<&Program> {
        let folder = layout.repo(repo);
        let scripts = self
            .all
            .iter()
            .filter(|program| has_marker && program.is_script);
        let mut found: Vec<&Program> = self
            .on(layout, repo)
            .filter(|program| program.role == Role::Downloads || program.writes_in(&folder))
            .chain(scripts)
            .collect();
        found.sort_by_key(|program| program.holder.pid);
        found.dedup_by_key(|program| program.holder.pid);
        found
    }

    /// The only program that has the file open: where the system names no holder of a lock, it is
    /// taken for that.
    pub(super) fn only_opener_of(&self, path: &Path) -> Option<&Holder> {
        let has_it = |program: &&Program| program.open.iter().any(|open| open.path == path);
        let mut found = self.all.iter().filter(has_it);
        let first = found.next()?;
        found.next().is_none().then_some(&first.holder)
    }

    /// Whether programs are at work of which nobody knows what they have open: it may be any file.
    pub(super) const fn may_write_unseen(&self) -> bool {
        !self.is_known && !self.all.is_empty()
    }

    /// The program that has the file open for writing.
    pub(super) fn writer_of(&self, path: &Path) -> Option<&Holder> {
        let writes = |open: &OpenFile| open.is_writable && open.path == path;
        let found = self
            .all
            .iter()
            .find(|program| program.open.iter().any(writes));
        found.map(|program| &program.holder)
    }
}

impl Program {
    /// A file below `folder` that it has open; one that it may write before others.
    pub(super) fn open_in(&self, folder: &Path) -> Option<&OpenFile> {
        let inside = || {
            let files = self.open.iter();
            files.filter(|open| open.path.starts_with(folder))
        };
        let written = inside().find(|open| open.is_writable);
        written.or_else(|| inside().next())
    }

    /// Which process it is.
    pub(super) const fn holder(&self) -> &Holder {
        &self.holder
    }

    fn writes_in(&self, folder: &Path) -> bool {
        self.open_in(folder).is_some_and(|open| open.is_writable)
    }
}

/// What a process does with models, if anything; whether it is a download script; and what it is
/// called.
fn role(words: &[String]) -> Option<(Role, bool, String)> {
    let mut words = words.iter().map(String::as_str);
    let mut name = base(words.next()?).to_ascii_lowercase();
    let mut is_python = false;
    while INTERPRETERS.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')) {
        is_python |= name.starts_with("python");
        match program_after(&name, &mut words) {
            Some(word) => name = base(word).to_ascii_lowercase(),
            // Interactive, or a program given as text.
            None => break,
        }
    }
    let is_script = name.starts_with(SCRIPT);
    let role = if is_script || FETCHERS.contains(&name.as_str()) {
        Role::Downloads
    } else if name == "larder" {
        // Who downloads with it holds locks and a marker; who does not is nobody to wait for.
        return None;
    } else if CLIENTS.contains(&name.as_str()) || name.starts_with("huggingface_hub") {
        if !words.any(|word| word == DOWNLOAD) {
            return None;
        }
        Role::Downloads
    } else if LOADERS.contains(&name.as_str()) || name.starts_with(MLX) || is_python {
        Role::Loads
    } else {
        return None;
    };
    Some((role, is_script, name.chars().take(NAME).collect()))
}

/// The program that an interpreter runs, from the words after its name.
fn program_after<'a>(
    interpreter: &str,
    words: &mut impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    while let Some(word) = words.next() {
        let is_short = word.starts_with('-') && !word.starts_with("--");
        if is_short && word.ends_with(TEXT_END) {
            return None;
        }
        // Short options of a shell may stand together: `-euo pipefail`.
        let is_together = is_short && word.len() > 2 && word.ends_with('o');
        let is_user = interpreter == "sudo" && word == "-u";
        if WITH_VALUE.contains(&word) || is_together || is_user {
            words.next();
        } else if !word.starts_with(['-', '+']) && !word.contains('=') {
            return Some(word);
        }
    }
    None
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a word names the repo: `name` stands in it, and is not the beginning or end of another's.
fn names_it(word: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    word.match_indices(name).any(|(at, _)| {
        let before = word[..at].chars().next_back();
        let after = word[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture;

    fn process(pid: u32, line: &str) -> Process {
        let arguments: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
        Process {
            pid,
            arguments,
            since_ms: Some(1),
        }
    }

    #[test]
    fn what_a_program_does_is_told_from_its_arguments() {
        let downloads = Some((Role::Downloads, false));
        let loads = Some((Role::Loads, false));
        let script = Some((Role::Downloads, true));
        for (line, is) in [
            ("curl -L -o x https://h/org/m/resolve/main/x", downloads),
            ("/opt/homebrew/bin/aria2c https://h/org/m", downloads),
            ("wget https://h/org/m", downloads),
            (
                "/usr/bin/python3.12 /home/u/.local/bin/hf download org/m",
                downloads,
            ),
            ("hf download org/m", downloads),
            ("hf cache ls", None),
            ("hfrs download org/m", downloads),
            ("huggingface-cli download org/m", downloads),
            (
                "/bin/bash ./manual_model_download.sh",
                Some((Role::Downloads, true)),
            ),
            (
                "env bash -e /x/manual_model_download.sh -f",
                Some((Role::Downloads, true)),
            ),
            ("python3 -m mlx_lm.server --model org/m", loads),
            ("mlx_lm.generate --model org/m", loads),
            ("/Library/Python.framework/Python chat.py org/m", loads),
            ("vllm serve org/m", loads),
            ("larder pull org/m", None),
            ("vim models--org--m/refs/main", None),
            ("grep -r org/m", None),
            ("bash", None),
            ("bash -c curl", None),
            ("bash -x /x/manual_model_download.sh", script),
            ("bash -euo pipefail /x/manual_model_download.sh", script),
            ("bash -o pipefail manual_model_download.sh", script),
            ("sudo -u me curl https://h/org/m", downloads),
            ("env A=b hf download org/m", downloads),
            ("uvx --from huggingface_hub hf download org/m", downloads),
            ("python3 -W ignore -m mlx_lm.server", loads),
            ("python3 -c print(1)", loads),
            ("python3 -u /bin/hf download org/m", downloads),
            ("python3", loads),
        ] {
            let words: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
            let told = role(&words).map(|(role, is_script, _)| (role, is_script));
            assert_eq!(told, is, "{line}");
        }
    }

    #[test]
    fn a_name_inside_another_is_not_it() {
        for (word, is) in [
            ("org/m", true),
            ("https://huggingface.co/org/m/resolve/main/x", true),
            ("https://h/org/m?x=1", true),
            ("--model=org/m", true),
            ("org/m@main", true),
            ("org/m-2", false),
            ("org/m.bak", false),
            ("cyborg/m", false),
            ("an-org/m", false),
            ("cyborg/m or org/m", true),
        ] {
            assert_eq!(names_it(word, "org/m"), is, "{word}");
        }
    }

    #[test]
    fn programs_on_a_repo_are_found_by_name_and_by_open_file() {
        let layout = Layout::new("/hub".into());
        let (one, other) = (fixture::repo("org/M"), fixture::repo("org/other"));
        let processes = [
            process(3, "curl https://h/Org/m/resolve/main/x"),
            process(4, "curl https://h/elsewhere"),
            process(5, "python3 chat.py"),
            process(6, "sh manual_model_download.sh"),
        ];
        let open = |pids: &[u32]| {
            assert_eq!(pids, [3, 4, 5, 6]);
            let file = |pid, path: &str, is_writable| OpenFile {
                pid,
                path: path.into(),
                is_writable,
            };
            Some(vec![
                file(5, "/hub/models--org--other/blobs/a", false),
                file(4, "/hub/models--org--other/blobs/b", true),
                file(4, "/hub/models--org--others/x", true),
            ])
        };
        let programs = Programs::among(Some(&processes), open);
        let pids = |repo| -> Vec<u32> {
            let on = programs.on(&layout, repo);
            on.map(|program| program.holder.pid).collect()
        };
        assert_eq!(pids(&one), [3]);
        assert_eq!(pids(&other), [4, 5]);
        let downloaders = |repo, has_marker| -> Vec<u32> {
            let found = programs.downloaders(&layout, repo, has_marker);
            found.iter().map(|program| program.holder.pid).collect()
        };
        assert_eq!(downloaders(&one, true), [3, 6]);
        assert_eq!(downloaders(&other, false), [4]);
        let writer = programs.writer_of(Path::new("/hub/models--org--other/blobs/b"));
        assert_eq!(writer.map(|holder| holder.pid), Some(4));
        let reader = programs.writer_of(Path::new("/hub/models--org--other/blobs/a"));
        assert_eq!(reader, None);
        let opener = |name: &str| {
            let path = format!("/hub/models--org--other/blobs/{name}");
            let holder = programs.only_opener_of(Path::new(&path));
            holder.map(|holder| holder.pid)
        };
        assert_eq!(
            (opener("a"), opener("b"), opener("c")),
            (Some(5), Some(4), None)
        );
        assert!(programs.is_known() && !Programs::unknown().is_known());
        assert!(!programs.may_write_unseen() && !Programs::unknown().may_write_unseen());
        // Who is at work is seen, and what they have open is not: that may be any file.
        let silent = Programs::among(Some(&processes), |_| None);
        assert!(silent.may_write_unseen() && !silent.is_known());
    }
}
