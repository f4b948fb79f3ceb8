//! Owns the grammar of the commands for files that somebody fetched: `import` and `guide`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{call_of, parse_repo, revision_of};
use crate::domain::{
    Commit, Failure, FailureCode, GuideRequest, ImportRequest, Revision, shell_word,
};

/// Arguments of `import`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct ImportArgs {
    /// Files, or folders with all that is below them. They are only read.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// The repo they are of: ORG/NAME, ORG/NAME@REVISION, or a link; found out if not given.
    #[arg(long, value_name = "REPO")]
    pub repo: Option<String>,
    /// Branch, tag, `refs/pr/N` or commit; `main` if not given.
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// The commit they are of, where the revision may have moved on since.
    #[arg(long, value_name = "COMMIT")]
    pub commit: Option<String>,
    /// Say what each file is; write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The global flags that say where: without them the same call would go elsewhere.
    #[arg(skip)]
    pub places: Vec<String>,
}

/// Arguments of `guide`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct GuideArgs {
    /// ORG/NAME, ORG/NAME@REVISION, or a link.
    #[arg(value_name = "REPO")]
    pub repo: String,
    /// Branch, tag, `refs/pr/N` or commit; `main` if not given.
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Print a POSIX shell script that does it all, instead of the steps.
    #[arg(long)]
    pub script: bool,
    /// The global flags that say where: without them the same call would go elsewhere.
    #[arg(skip)]
    pub places: Vec<String>,
}

impl ImportArgs {
    /// What the engine is asked.
    ///
    /// # Errors
    /// `usage` when a text names no repo, revision or commit.
    pub fn request(&self) -> Result<ImportRequest, Box<Failure>> {
        let reference = self.repo.as_deref().map(parse_repo).transpose()?;
        let (repo, named) = match reference {
            Some(reference) => (Some(reference.repo), reference.revision),
            None => (None, None),
        };
        let typed = self.repo.as_deref().unwrap_or_default();
        let revision = revision_of(typed, named, self.revision.as_deref())?;
        let commit = self.commit.as_deref().map(Commit::new).transpose();
        let commit = commit.map_err(|error| Failure::new(FailureCode::Usage, error.to_string()))?;
        if let (Some(commit), Some(named)) = (commit, revision.as_commit())
            && commit != named
        {
            return Err(Box::new(Failure::new(
                FailureCode::Usage,
                format!("`--commit {commit}` and the revision `{named}` do not agree"),
            )));
        }
        Ok(ImportRequest {
            paths: self.paths.clone(),
            repo,
            revision,
            commit,
            dry_run: self.dry_run,
        })
    }

    /// The call again, as a user would type it.
    pub(crate) fn call(&self) -> String {
        let mut words: Vec<String> = self
            .paths
            .iter()
            .map(|path| shell_word(&path.to_string_lossy()))
            .collect();
        for (flag, value) in [
            ("--repo", &self.repo),
            ("--revision", &self.revision),
            ("--commit", &self.commit),
        ] {
            let value = value.as_deref().map(shell_word);
            words.extend(value.map(|value| format!("{flag} {value}")));
        }
        words.extend(self.places.iter().cloned());
        format!("larder import {}", words.join(" "))
    }

    /// The pull that fetches what an import leaves missing.
    pub(crate) fn pull_call(&self, repo: &str, revision: &Revision) -> String {
        let at = match revision.as_str() {
            "main" => String::new(),
            other => format!(" --revision {}", shell_word(other)),
        };
        call_of(
            &format!("larder pull {}{at}", shell_word(repo)),
            [],
            &self.places,
        )
    }
}

impl GuideArgs {
    /// What the engine is asked.
    ///
    /// # Errors
    /// `usage` when the text names no repo, or two revisions.
    pub fn request(&self) -> Result<GuideRequest, Box<Failure>> {
        let reference = parse_repo(&self.repo)?;
        let revision = revision_of(&self.repo, reference.revision, self.revision.as_deref())?;
        Ok(GuideRequest {
            repo: reference.repo,
            revision,
        })
    }

    /// The call again, as a user would type it.
    pub(crate) fn call(&self) -> String {
        let revision = self.revision.as_deref().map(shell_word);
        let at = revision.map_or_else(String::new, |at| format!(" --revision {at}"));
        let script = if self.script { " --script" } else { "" };
        let start = format!("larder guide {}{at}{script}", shell_word(&self.repo));
        call_of(&start, [], &self.places)
    }
}
