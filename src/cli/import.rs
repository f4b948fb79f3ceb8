//! Owns `import`: what is asked, and what is printed when it ends.
//!
//! When the model is complete stdout gets the snapshot's path and nothing else; with `--dry-run` what
//! each file is.

use super::args::{ImportArgs, parse_repo};
use super::document;
use super::exit::{Ending, Work, judge};
use super::follow::{Console, Session, follow};
use super::output::{Format, Output};
use super::remedy::Subject;
use super::table::Table;
use crate::domain::{Command, FailureCode, Outcome, Recognition, Revision};
use crate::store::{Store, count, size};

/// Runs `import`; the exit code.
pub async fn import(session: Session<'_>, args: ImportArgs, output: Output) -> u8 {
    let mut console = Console::new(output).at(Work::Importing);
    if args.dry_run && output.format == Format::Human {
        console.talk = console.talk.without_files();
    }
    run(session, &args, console).await
}

async fn run(mut session: Session<'_>, args: &ImportArgs, mut console: Console<'_>) -> u8 {
    let mut store = Store::default();
    let ending = match args.request() {
        Err(failure) => Ending::refused(*failure),
        Ok(request) => {
            (session.commands)(Command::Import(request));
            let followed = follow(&mut session, &mut store, &mut console).await;
            // Where the repo is not found out, there is nothing of which a store could tell the end.
            judge(console.work, followed.outcome.as_ref(), followed.caught)
        }
    };
    console.talk.settle();
    let target = store.target();
    let repo = target.map(|target| target.repo.to_string()).or_else(|| {
        let reference = parse_repo(args.repo.as_deref()?).ok()?;
        Some(reference.repo.to_string())
    });
    let revision = target.map_or_else(Revision::main, |target| target.revision.clone());
    let is_short = ending
        .failures
        .iter()
        .any(|failure| failure.code == FailureCode::Incomplete);
    let call = match &repo {
        Some(repo) if is_short => args.pull_call(repo, &revision),
        _ => args.call(),
    };
    let subject = Subject {
        repo: repo.as_deref(),
        command: "import",
        call: Some(&call),
    };
    if console.output.format == Format::Human {
        if let Some(recognition) = store.recognition().filter(|_| args.dry_run) {
            let text = recognition_text(recognition, console.output.stdout.columns);
            console.printer.text(&text);
        }
        if let Some(Outcome::Imported(result)) = store.outcome()
            && result.is_complete()
        {
            console.printer.line(&result.snapshot);
        }
    }
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::import(&store, args.dry_run, closing, is_line)
    })
}

/// What a dry run shows.
fn recognition_text(recognition: &Recognition, columns: Option<u16>) -> String {
    let mut table = Table::new()
        .names("FILE", 16)
        .numbers("SIZE")
        .flexible("WHAT", 20);
    for offer in &recognition.offers {
        table.row(&[
            offer.path.clone(),
            offer.size_bytes.map_or_else(String::new, size),
            offer.kind.words(&size),
        ]);
    }
    let mut lines = vec![table.render(columns)];
    match recognition.more_foreign {
        0 => {}
        1 => lines.push("and 1 file that is not of this repo".to_owned()),
        more => lines.push(format!("and {more} files that are not of this repo")),
    }
    let missing = &recognition.missing;
    if missing.is_empty() {
        lines.push("with them the model would be complete".to_owned());
    } else {
        let bytes = missing.iter().map(|file| file.size_bytes).sum();
        lines.push(format!(
            "{} would still be missing, {}:",
            count(missing.len(), "file"),
            size(bytes)
        ));
        let names = missing
            .iter()
            .map(|file| format!("  {} ({})", file.path, size(file.size_bytes)));
        lines.extend(names);
    }
    lines.push(String::new());
    lines.join("\n")
}
