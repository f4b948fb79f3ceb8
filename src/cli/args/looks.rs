//! Owns the grammar of the commands that only look: `doctor` and `locks`.

use clap::Args as ClapArgs;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::targets_of;
use crate::domain::{Failure, Rule, Severity, VerifyTarget};

/// Arguments of `doctor`.
#[derive(Clone, Debug, ClapArgs)]
pub struct DoctorArgs {
    /// ORG/NAME, ORG/NAME@REVISION, or a link; without any, everything in the cache.
    #[arg(value_name = "REPO")]
    pub repos: Vec<String>,
    /// Hide what matters less: note, warning or error.
    #[arg(long, value_name = "LEVEL", default_value = "note", hide_possible_values = true,
          hide_default_value = true, value_parser = severity_parser())]
    pub severity: Severity,
    /// Look for this only, e.g. truncated, orphan-blob; repeatable.
    #[arg(long, value_name = "NAME", hide_possible_values = true, value_parser = rule_parser())]
    pub rule: Vec<Rule>,
    /// Hash first what was not hashed since it last changed, so that wrong bytes are found, too.
    #[arg(long)]
    pub verify: bool,
    /// Ask the Hub first what models should hold of which no listing is here.
    #[arg(long)]
    pub online: bool,
    /// Show what would put it right, ask, and carry it out.
    #[arg(long)]
    pub fix: bool,
    /// Do not ask before `--fix`.
    #[arg(short, long, requires = "fix")]
    pub yes: bool,
    /// Exit with 3 also if something is wasted or surprising.
    #[arg(long)]
    pub strict: bool,
    /// The global flags that say where: without them the same call would go elsewhere.
    #[arg(skip)]
    pub places: Vec<String>,
}

impl Default for DoctorArgs {
    fn default() -> Self {
        Self {
            repos: Vec::new(),
            severity: Severity::Note,
            rule: Vec::new(),
            verify: false,
            online: false,
            fix: false,
            yes: false,
            strict: false,
            places: Vec::new(),
        }
    }
}

impl DoctorArgs {
    /// What is asked about.
    ///
    /// # Errors
    /// `usage` when a text names no repo.
    pub fn targets(&self) -> Result<Vec<VerifyTarget>, Box<Failure>> {
        targets_of(&self.repos)
    }

    /// The call without repos and places, as it was typed; without the yes.
    pub(in crate::cli) fn flags(&self) -> String {
        let mut words = vec!["larder doctor".to_owned()];
        let said = [
            (self.online, "--online"),
            (self.verify, "--verify"),
            (self.fix, "--fix"),
            (self.strict, "--strict"),
        ];
        let said = said.into_iter().filter(|(is_said, _)| *is_said);
        words.extend(said.map(|(_, flag)| flag.to_owned()));
        if self.severity != Severity::Note {
            words.push(format!("--severity {}", self.severity.name()));
        }
        let rules = self.rule.iter();
        words.extend(rules.map(|rule| format!("--rule {}", rule.name())));
        words.join(" ")
    }
}

/// Arguments of `locks`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct LocksArgs {
    /// Only of this repo, the free ones too.
    #[arg(value_name = "REPO")]
    pub repo: Option<String>,
    /// The global flags that say where: without them the same call would go elsewhere.
    #[arg(skip)]
    pub places: Vec<String>,
}

const SEVERITIES: [Severity; 3] = [Severity::Note, Severity::Warning, Severity::Error];

fn severity_parser() -> impl clap::builder::TypedValueParser<Value = Severity> {
    PossibleValuesParser::new(SEVERITIES.map(Severity::name)).map(|name| {
        let found = SEVERITIES.into_iter().find(|level| level.name() == name);
        found.unwrap_or(Severity::Note)
    })
}

fn rule_parser() -> impl clap::builder::TypedValueParser<Value = Rule> {
    PossibleValuesParser::new(Rule::ALL.map(Rule::name)).try_map(|name| {
        let found = Rule::ALL.into_iter().find(|rule| rule.name() == name);
        found.ok_or(format!("there is no rule `{name}`"))
    })
}
