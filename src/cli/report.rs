//! Owns `report`: what a bug report needs, in one text that can be read before it is posted.
//!
//! **Law**: nothing leaves this file that did not go through `redact`; nothing is written that was
//! not shown, and no file is ever overwritten.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::args::{ReportArgs, call_of};
use super::ask::{Answer, ask};
use super::document::{self, Bundle, Closing, Look};
use super::exit::{Ending, Work, judge};
use super::follow::{Console, Session};
use super::look::survey;
use super::output::{Format, Output};
use super::page::Page;
use super::redact::Redactor;
use super::remedy::{self, Subject};
use super::table::Table;
use crate::domain::{Failure, FailureCode, Finding, Setting, TerminalFacts, sanitize};
use crate::store::Store;

/// Lines of the log that a report holds.
const LOG_LINES: usize = 200;

/// What `main` lays out for a report: facts, the log, the pen, and what is to be struck out.
pub struct Desk<'a> {
    /// Every setting in force.
    pub settings: &'a [Setting],
    /// What the environment says about the terminal.
    pub terminal: &'a TerminalFacts,
    /// Operating system, its version and the processor.
    pub system: &'a str,
    /// The home folder.
    pub home: Option<&'a Path>,
    /// The names of the user and of the machine.
    pub names: &'a [String],
    /// Secrets in use, the token for one.
    pub secrets: &'a [String],
    /// Reads the last lines of a file.
    pub read_tail: &'a dyn Fn(&Path, usize) -> io::Result<Vec<String>>,
    /// Writes a file that must not exist.
    pub write_new: &'a dyn Fn(&Path, &str) -> io::Result<()>,
    /// Whether nothing may be written.
    pub is_read_only: bool,
}

/// Runs `report`; the exit code.
pub async fn report(session: Session<'_>, args: ReportArgs, desk: Desk<'_>, output: Output) -> u8 {
    let mut console = Console::new(output);
    console.talk = console.talk.without_log();
    run(session, &args, &desk, console).await
}

async fn run(
    mut session: Session<'_>,
    args: &ReportArgs,
    desk: &Desk<'_>,
    mut console: Console<'_>,
) -> u8 {
    let mut store = Store::default();
    let format = console.output.format;
    if format == Format::Events {
        // The engine's own lines know nothing of what must be struck out.
        console.output.format = Format::Json;
    }
    let looked = survey(&mut session, &mut console, &mut store, None).await;
    console.output.format = format;
    let log = log_lines(desk, session.log_file.as_deref());
    let home = desk.home.map(|home| home.to_string_lossy().into_owned());
    let redactor = Redactor::new(home.as_deref(), desk.names, desk.secrets);
    let look = Look {
        shelf: store.shelf(),
        repo: None,
        settings: desk.settings,
    };
    let sheet = Sheet {
        desk,
        look,
        output: console.output,
        now_ms: session.started_ms,
        looked: &looked,
        log: &log,
        redactor: &redactor,
        places: &args.places,
    };
    let text = redactor.text(&sheet.text());
    let call = call_of("larder report", [], &args.places);
    let subject = Subject {
        repo: None,
        command: "report",
        call: Some(&call),
    };
    // A cache that cannot be read belongs into a report; only the user's stop ends it.
    let mut ending = if looked.outcome == "cancelled" {
        looked.clone()
    } else {
        Ending::done("listed")
    };
    let mut written = None;
    if ending.exit_code == 0 {
        if console.output.format == Format::Human {
            console.printer.text(&text);
        }
        (written, ending) = match write(&mut session, args, desk, &text, &mut console).await {
            Ok(path) => (path, ending),
            Err(ending) => (None, ending),
        };
    }
    let written = written.map(|path| path.display().to_string());
    if console.output.format != Format::Human {
        let closing = Closing {
            ending: &ending,
            subject,
            at_ms: store.last_ms().unwrap_or(session.started_ms),
            log_file: session.log_file.as_deref(),
        };
        let bundle = Bundle {
            version: env!("CARGO_PKG_VERSION"),
            system: desk.system,
            terminal: desk.terminal,
            size: (console.output.stdout.columns, console.output.stdout.rows),
            has_color: console.output.stdout.has_color,
            log: &log,
            written_to: written.as_deref(),
        };
        let is_line = console.output.format == Format::Events;
        let document = document::report(look, bundle, &closing, is_line);
        console
            .printer
            .line(&struck_out(&redactor, &document, is_line));
    }
    if let Some(path) = &written {
        console
            .talk
            .remark(&format!("written to {}", sanitize(path)));
    }
    console
        .talk
        .failures(&ending, subject, session.log_file.as_deref());
    console.close(ending.exit_code)
}

/// The document without what nobody else may know.
fn struck_out(redactor: &Redactor, document: &str, is_line: bool) -> String {
    let Ok(mut value) = serde_json::from_str(document) else {
        // It was made a moment ago; were it no JSON, striking out the text is the safe way.
        return redactor.text(document);
    };
    redactor.json(&mut value);
    if is_line {
        value.to_string()
    } else {
        serde_json::to_string_pretty(&value).unwrap_or_default()
    }
}

fn log_lines(desk: &Desk<'_>, log_file: Option<&Path>) -> Vec<String> {
    let Some(path) = log_file else {
        return vec!["no log is kept".to_owned()];
    };
    match (desk.read_tail)(path, LOG_LINES) {
        Ok(lines) => lines.iter().map(|line| sanitize(line)).collect(),
        Err(error) => vec![sanitize(&format!(
            "`{}` cannot be read: {error}",
            path.display()
        ))],
    }
}

/// Writes the text where that is wanted; the file, or how the command ends without it.
async fn write(
    session: &mut Session<'_>,
    args: &ReportArgs,
    desk: &Desk<'_>,
    text: &str,
    console: &mut Console<'_>,
) -> Result<Option<PathBuf>, Ending> {
    if let Some(failure) = console.printer.failure() {
        return Err(Ending::refused(failure));
    }
    let path = match &args.output {
        Some(path) => path.clone(),
        None => PathBuf::from(file_name(session.started_ms)),
    };
    if !args.yes {
        let place = if args.output.is_none() {
            " in the current folder"
        } else {
            ""
        };
        let question = sanitize(&format!("write it to {}{place}?", path.display()));
        let answer = if desk.is_read_only {
            Answer::Nobody
        } else {
            ask(session, console, &question).await
        };
        match answer {
            Answer::Yes => {}
            Answer::Caught(signal) => return Err(judge(Work::Looking, None, Some(signal))),
            // A file that was named is wanted.
            Answer::Nobody if args.output.is_some() => {}
            Answer::No | Answer::Nobody => return Ok(None),
        }
    }
    match (desk.write_new)(&path, text) {
        Ok(()) => Ok(Some(path)),
        Err(error) => {
            let shown = path.display();
            let failure = if error.kind() == ErrorKind::AlreadyExists {
                Failure::new(FailureCode::Refused, format!("`{shown}` exists already"))
                    .because("no file is ever overwritten")
            } else {
                Failure::new(
                    FailureCode::NotWritable,
                    format!("`{shown}` cannot be written"),
                )
                .because(error.to_string())
            };
            Err(Ending::refused(failure))
        }
    }
}

/// The name of a report without one.
fn file_name(now_ms: u64) -> String {
    let stamp = i64::try_from(now_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(
            || now_ms.to_string(),
            |now| now.strftime("%Y%m%d-%H%M%S").to_string(),
        );
    format!("larder-report-{stamp}.txt")
}

/// The text before anything is struck out.
struct Sheet<'a> {
    desk: &'a Desk<'a>,
    look: Look<'a>,
    output: Output,
    now_ms: u64,
    looked: &'a Ending,
    log: &'a [String],
    /// For what must be struck out before it is laid out.
    redactor: &'a Redactor,
    /// The flags that say where, for the commands it names.
    places: &'a [String],
}

impl Sheet<'_> {
    fn text(&self) -> String {
        let mut text = format!(
            "larder {} on {}\n",
            env!("CARGO_PKG_VERSION"),
            sanitize(self.desk.system)
        );
        section(&mut text, "Settings", &self.settings());
        section(&mut text, "Terminal", &self.terminal());
        let page = Page {
            look: self.look,
            now_ms: self.now_ms,
            columns: None,
            is_whole: true,
            places: self.places,
        };
        let mut status = page.text();
        for failure in &self.looked.failures {
            let told = remedy::tell(failure, Subject::default());
            let (what, why) = (sanitize(&told.what), sanitize(&told.why));
            status.extend(["failed: ", &what, ": ", &why, "\n"]);
        }
        section(&mut text, "Status", &status);
        let findings: String = self
            .look
            .shelf
            .findings()
            .into_iter()
            .map(evidence)
            .collect();
        section(&mut text, "Findings", &findings);
        let title = format!("Log, the last {LOG_LINES} lines");
        section(&mut text, &title, &self.log.join("\n"));
        text
    }

    fn settings(&self) -> String {
        let mut table = Table::new()
            .column("SETTING")
            .column("VALUE")
            .column("FROM");
        for setting in self.desk.settings {
            table.row(&[
                setting.name.to_owned(),
                self.redactor.text(&setting.value),
                self.redactor.text(&setting.origin),
            ]);
        }
        table.render(None)
    }

    fn terminal(&self) -> String {
        let facts = self.desk.terminal;
        let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
        let cells = |number: Option<u16>| {
            number.map_or_else(|| "no terminal".to_owned(), |number| number.to_string())
        };
        let rows = [
            ("TERM", said(&facts.term)),
            ("TERM_PROGRAM", said(&facts.program)),
            ("COLORTERM", said(&facts.colorterm)),
            ("NO_COLOR", yes(facts.is_no_color)),
            ("tmux", yes(facts.is_tmux)),
            ("SSH", yes(facts.is_ssh)),
            ("UTF-8", yes(facts.is_utf8)),
            ("light", yes(facts.is_light)),
            ("columns", cells(self.output.stdout.columns)),
            ("rows", cells(self.output.stdout.rows)),
            ("colours", yes(self.output.stdout.has_color)),
        ];
        rows.iter()
            .flat_map(|(name, value)| [format!("{name:<13} "), sanitize(value), "\n".to_owned()])
            .collect()
    }
}

fn section(text: &mut String, title: &str, body: &str) {
    let body = if body.trim().is_empty() {
        "none"
    } else {
        body.trim_end()
    };
    text.extend(["\n## ", title, "\n", body, "\n"]);
}

/// A finding with all that it rests on.
fn evidence(finding: &Finding) -> String {
    let mut lines = vec![format!(
        "{} {}: {}",
        finding.severity.name(),
        finding.rule.name(),
        finding.summary
    )];
    if let Some(repo) = &finding.repo {
        let revision = finding.revision.as_deref().unwrap_or("any revision");
        lines.push(format!("  {repo} @ {revision}"));
    }
    for seen in &finding.evidence {
        lines.push(format!("  {}: {}", seen.path, seen.seen));
    }
    lines.push(format!("  cause: {}", finding.cause));
    let (plan, _) = remedy::fix(finding, &finding.plan.steps, &[]);
    if !plan.is_empty() {
        lines.push(format!("  plan: {plan}"));
    }
    lines
        .iter()
        .flat_map(|line| [sanitize(line), "\n".to_owned()])
        .collect()
}

#[cfg(test)]
mod tests;
