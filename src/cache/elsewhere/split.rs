//! Owns the question whether programs of the shell and apps look into different Hub caches.
//!
//! Never reads more than the names in both.

use std::fs;
use std::path::Path;

use super::discover::is_hub_cache;
use super::words::by_hand;
use crate::cache::diagnosis::cause;
use crate::config::Elsewhere;
use crate::domain::{Finding, Rule, Severity};

/// Says so where it matters: one of them does not see a model that the other has.
pub(super) fn split(places: &Elsewhere) -> Option<Finding> {
    let (shell, origin) = places.shell_cache.as_ref()?;
    let app = places.app_cache.as_ref()?;
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if real(shell) == real(app) {
        return None;
    }
    let (in_shell, in_app) = (is_hub_cache(shell), is_hub_cache(app));
    if !in_shell && !in_app {
        return None;
    }
    let words = |is_there| {
        if is_there {
            "it holds models"
        } else {
            "it holds none"
        }
    };
    let mut finding = Finding::new(
        Rule::SplitCaches,
        format!(
            "programs of this shell use `{}`, apps use `{}`",
            shell.display(),
            app.display()
        ),
        cause(Rule::SplitCaches),
    )
    .seen(
        &shell.to_string_lossy(),
        None,
        None,
        &format!(
            "{origin} places it, for programs started here; {}",
            words(in_shell)
        ),
    )
    .seen(
        &app.to_string_lossy(),
        None,
        None,
        &format!(
            "the default, for apps, which do not see {origin}; {}",
            words(in_app)
        ),
    )
    .step(by_hand(format!(
        "on a Mac, `launchctl setenv` sets {origin} for apps that are started after it, until the \
         next login; or put a link to the one cache in the place of the other"
    )));
    if !in_app {
        // No app has used its own so far.
        finding.severity = Severity::Note;
    }
    Some(finding)
}
