//! Owns `history`: past pulls, verifications and purges as a table.
//!
//! Never reads the ledger: the engine does, and says what is remembered.

use super::args::{HistoryArgs, parse_repo};
use super::document;
use super::exit::{Ending, Work, judge};
use super::follow::{Console, Session, follow};
use super::output::{Format, Output};
use super::remedy::Subject;
use super::table::Table;
use crate::domain::{Command, HistoryRow};
use crate::store::{Store, count, duration, size};

/// Runs `history`; the exit code.
pub async fn history(session: Session<'_>, args: HistoryArgs, output: Output) -> u8 {
    run(session, &args, Console::new(output).at(Work::Looking)).await
}

async fn run(mut session: Session<'_>, args: &HistoryArgs, mut console: Console<'_>) -> u8 {
    let mut store = Store::default();
    let ending = match args.repo.as_deref().map(parse_repo).transpose() {
        Err(failure) => Ending::refused(*failure),
        Ok(reference) => {
            (session.commands)(Command::History {
                repo: reference.map(|reference| reference.repo),
                most: args.limit,
            });
            let followed = follow(&mut session, &mut store, &mut console).await;
            judge(console.work, followed.outcome.as_ref(), followed.caught)
        }
    };
    console.talk.settle();
    let rows = &store.listing().history;
    let subject = Subject {
        repo: args.repo.as_deref(),
        command: "history",
        call: None,
    };
    if console.output.format == Format::Human && ending.exit_code == 0 {
        if rows.is_empty() {
            console.talk.remark("nothing is remembered yet");
        } else {
            let table = table(rows, console.output.stdout.columns, session.started_ms);
            console.printer.text(&table);
            console.talk.remark(&count(rows.len(), "transfer"));
        }
    }
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::history(rows, closing, is_line)
    })
}

fn table(rows: &[HistoryRow], columns: Option<u16>, now_ms: u64) -> String {
    let mut table = Table::new()
        .numbers("AGO")
        .column("WHAT")
        .names("REPO", 16)
        .numbers("SIZE")
        .numbers("TOOK")
        .numbers("RATE")
        .numbers("RETRIES")
        .flexible("OUTCOME", 9);
    for row in rows {
        let unless_zero = |number: u64, text: String| match number {
            0 => String::new(),
            _ => text,
        };
        table.row(&[
            duration(now_ms.saturating_sub(row.at_ms)),
            row.kind.clone(),
            row.repo.clone(),
            unless_zero(row.bytes, size(row.bytes)),
            duration(row.took_ms),
            rate(row),
            unless_zero(row.retries.into(), row.retries.to_string()),
            match &row.reason {
                Some(reason) => format!("{}: {reason}", row.outcome),
                None => row.outcome.clone(),
            },
        ]);
    }
    table.render(columns)
}

/// Bytes a second; nothing for what took no time or moved no bytes.
fn rate(row: &HistoryRow) -> String {
    match row.bytes.saturating_mul(1000).checked_div(row.took_ms) {
        Some(per_s) if row.bytes > 0 && row.kind != "purge" => format!("{}/s", size(per_s)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::HISTORY_SCHEMA;
    use super::super::stage::{self, Played, play};
    use super::*;
    use crate::store::script::{START_MS, Script};

    fn rows() -> Vec<HistoryRow> {
        let row = |kind: &str, outcome: &str, bytes, retries, reason: Option<&str>| HistoryRow {
            at_ms: START_MS - 90_000,
            kind: kind.to_owned(),
            repo: "mlx-community/gemma-2-2b-it-4bit".to_owned(),
            revision: "main".to_owned(),
            bytes,
            took_ms: 10_400,
            retries,
            outcome: outcome.to_owned(),
            reason: reason.map(ToOwned::to_owned),
        };
        let silent = "the server did not answer\u{1b}[2J";
        vec![
            row("pull", "complete", 1_316_263_984, 3, None),
            row("verify", "broken", 900, 0, Some("1 good, 1 broken")),
            row("pull", "failed", 0, 5, Some(silent)),
            HistoryRow {
                repo: String::new(),
                ..row("purge", "purged", 12, 0, Some("2 removed, 0 kept"))
            },
        ]
    }

    async fn ran(rows: Vec<HistoryRow>, output: Output) -> Played {
        let args = HistoryArgs {
            repo: None,
            limit: 20,
        };
        play(
            &Script::remembered(rows),
            output,
            None,
            async |session, console| run(session, &args, console).await,
        )
        .await
    }

    #[tokio::test]
    async fn a_table_of_80_columns() {
        let played = ran(rows(), stage::columns(80)).await;
        insta::assert_snapshot!(played.shown());
        for line in played.stdout.lines() {
            assert!(unicode_width::UnicodeWidthStr::width(line) <= 80, "{line}");
        }
        assert!(!played.stdout.contains('\u{1b}'));
        assert_eq!(
            played.commands,
            [Command::History {
                repo: None,
                most: 20
            }]
        );
    }

    #[tokio::test]
    async fn nothing_remembered_is_no_failure() {
        let played = ran(Vec::new(), stage::human()).await;
        assert_eq!((played.exit_code, played.stdout.as_str()), (0, ""));
        assert!(played.stderr.contains("nothing is remembered yet"));
    }

    #[tokio::test]
    async fn the_document_has_every_row() {
        let document = ran(rows(), stage::json()).await.document(HISTORY_SCHEMA);
        assert_eq!(document["transfers"].as_array().unwrap().len(), 4);
        assert_eq!(document["transfers"][0]["bytes"], 1_316_263_984);
        assert_eq!(document["transfers"][3]["repo"], serde_json::Value::Null);
    }
}
