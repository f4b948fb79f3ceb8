//! Owns `ls`: the models in the cache as a table, or the files of one.
//!
//! Never scans: the engine does, and says what it found.

use super::args::{LsArgs, parse_repo};
use super::document;
use super::exit::{Ending, Work, judge};
use super::follow::{Console, Session, follow};
use super::output::{Format, Output};
use super::remedy::Subject;
use super::table::Table;
use crate::domain::{
    CacheKind, Command, Failure, FailureCode, FileRow, FileState, ModelRow, ModelState,
    RepoReference, sanitize,
};
use crate::store::{FOLDER, Listing, Shelf, Store, count, duration, is_at, size};

/// A model, with its files where those were asked for.
type Row<'a> = (&'a ModelRow, Option<&'a [FileRow]>);

/// Runs `ls`; the exit code.
pub async fn ls(session: Session<'_>, args: LsArgs, output: Output) -> u8 {
    run(session, &args, Console::new(output).at(Work::Looking)).await
}

async fn run(mut session: Session<'_>, args: &LsArgs, mut console: Console<'_>) -> u8 {
    let mut store = Store::default();
    let mut wanted = None;
    let mut ending = match args.repo.as_deref().map(parse_repo).transpose() {
        Err(failure) => Ending::refused(*failure),
        Ok(reference) => {
            let repo = reference.as_ref().map(|reference| reference.repo.clone());
            wanted = reference;
            (session.commands)(Command::List(repo));
            let followed = follow(&mut session, &mut store, &mut console).await;
            judge(console.work, followed.outcome.as_ref(), followed.caught)
        }
    };
    console.talk.settle();
    let mut rows = select(store.listing(), args, wanted.as_ref(), session.started_ms);
    let all = rows.len();
    if let Some(failure) =
        absent(&rows, store.listing(), wanted.as_ref()).filter(|_| ending.exit_code == 0)
    {
        ending = Ending::refused(failure);
    }
    rows.truncate(args.limit.unwrap_or(usize::MAX));
    let subject = Subject {
        repo: args.repo.as_deref(),
        command: "ls",
        call: None,
    };
    if console.output.format == Format::Human && ending.exit_code == 0 {
        let columns = console.output.stdout.columns;
        if all > 0 && rows.is_empty() {
            console.talk.remark(&count_words(0, all));
        } else if rows.is_empty() {
            console.talk.remark(if args.filter.is_empty() {
                "no models in the cache"
            } else {
                "no model matches"
            });
        } else if wanted.is_some() {
            let text = files_text(&rows, columns, session.started_ms);
            console.printer.text(&text);
        } else {
            let table = models_table(&rows, store.shelf(), columns, session.started_ms);
            console.printer.text(&table);
            console.talk.remark(&count_words(rows.len(), all));
        }
    }
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::ls(&rows, closing, is_line)
    })
}

/// The rows asked for, in the order asked for.
fn select<'a>(
    listing: &'a Listing,
    args: &LsArgs,
    wanted: Option<&RepoReference>,
    now_ms: u64,
) -> Vec<Row<'a>> {
    let models = listing.models.iter().map(|row| (row, None));
    let single = listing
        .files
        .iter()
        .map(|(row, files)| (row, Some(files.as_slice())));
    let revision = wanted.and_then(|reference| reference.revision.as_ref());
    let mut rows: Vec<Row<'a>> = models
        .chain(single)
        .filter(|(row, _)| revision.is_none_or(|revision| is_at(row, revision.as_str())))
        .filter(|(row, _)| args.filter.iter().all(|filter| filter.matches(row, now_ms)))
        .collect();
    rows.sort_by(|(a, _), (b, _)| args.sort.compare(a, b));
    rows
}

/// How many there are, and that not all of them are shown.
fn count_words(shown: usize, all: usize) -> String {
    match shown {
        shown if shown == all => count(all, "snapshot"),
        0 => format!("none of {} shown: `--limit 0`", count(all, "snapshot")),
        shown => format!(
            "{shown} of {} shown: `--limit {shown}`",
            count(all, "snapshot")
        ),
    }
}

/// A revision that is not in the cache, although the repo is.
fn absent(rows: &[Row<'_>], listing: &Listing, wanted: Option<&RepoReference>) -> Option<Failure> {
    let reference = wanted?;
    let revision = reference.revision.as_ref()?;
    if !rows.is_empty() || listing.files.is_empty() {
        return None;
    }
    let here: Vec<String> = listing
        .files
        .iter()
        .map(|(row, _)| revision_words(row))
        .collect();
    Some(
        Failure::new(
            FailureCode::Incomplete,
            format!(
                "`{}` is in the cache, but not at `{revision}`",
                reference.repo
            ),
        )
        .because(format!("in the cache are: {}", here.join(", "))),
    )
}

fn models_table(rows: &[Row<'_>], shelf: &Shelf, columns: Option<u16>, now_ms: u64) -> String {
    let places: Vec<String> = rows.iter().map(|(row, _)| shelf.place_words(row)).collect();
    // In one place there is nothing to tell apart.
    let has_places = places.windows(2).any(|pair| pair[0] != pair[1]);
    let mut table = Table::new().names("REPO", 20).names("REVISION", 8);
    if has_places {
        table = table.names("CACHE", 9);
    }
    table = table
        .numbers("SIZE")
        .flexible("STATE", 10)
        .column("VERIFIED")
        .column("LAST USED");
    for ((row, _), place) in rows.iter().zip(places) {
        let mut cells = vec![row.repo.to_string(), revision_words(row)];
        cells.extend(has_places.then_some(place));
        cells.extend([
            size(row.size_bytes),
            state_words(row),
            match (row.verified_ms, row.wrong_ms) {
                (Some(then), _) => ago(then, now_ms),
                (None, Some(then)) => format!("wrong, {}", ago(then, now_ms)),
                (None, None) => "no".to_owned(),
            },
            last_used(row, now_ms),
        ]);
        table.row(&cells);
    }
    table.render(columns)
}

fn files_text(rows: &[Row<'_>], columns: Option<u16>, now_ms: u64) -> String {
    let mut text = String::new();
    for (row, files) in rows {
        if !text.is_empty() {
            text.push('\n');
        }
        let verified = match (row.verified_ms, row.wrong_ms) {
            (Some(then), _) => format!("verified {}", ago(then, now_ms)),
            (None, Some(then)) => format!("wrong bytes found {}", ago(then, now_ms)),
            (None, None) => "unverified".to_owned(),
        };
        let head = format!(
            "{} @ {}: {}, {verified}, {}, last used {}\n{}\n",
            row.repo,
            revision_words(row),
            state_words(row),
            size(row.size_bytes),
            last_used(row, now_ms),
            row.snapshot,
        );
        text.extend(head.lines().map(|line| format!("{}\n", sanitize(line))));
        for problem in &row.problems {
            text.extend(["problem: ", &sanitize(problem), "\n"]);
        }
        let mut table = Table::new()
            .names("FILE", 20)
            .numbers("SIZE")
            .flexible("STATE", 10);
        for file in files.unwrap_or_default() {
            table.row(&[
                file.path.clone(),
                file.size_bytes.map_or_else(|| "-".to_owned(), size),
                file_state(file, now_ms),
            ]);
        }
        text.push_str(&table.render(columns));
    }
    text
}

/// The refs that name it, else the commit, else what the folder is called.
fn revision_words(row: &ModelRow) -> String {
    if !row.refs.is_empty() {
        return row.refs.join(", ");
    }
    match row.commit {
        Some(commit) => commit.short(),
        // A ref may have the same name, and it means something else.
        None if is_branch_folder(row) => format!("{FOLDER}{}", row.revision),
        None => row.revision.clone(),
    }
}

/// Whether it is a folder of a Hub cache that is named after something else than a commit.
fn is_branch_folder(row: &ModelRow) -> bool {
    let folder = std::path::Path::new(&row.snapshot);
    row.cache == CacheKind::Hub
        && folder
            .file_name()
            .is_some_and(|name| name == row.revision.as_str())
        && folder
            .parent()
            .is_some_and(|parent| parent.ends_with("snapshots"))
}

fn state_words(row: &ModelRow) -> String {
    let state = match (row.state, row.files_expected) {
        (ModelState::Complete, _) => "complete".to_owned(),
        (ModelState::Partial, Some(expected)) => {
            format!("partial {} of {expected}", row.files_present)
        }
        (ModelState::Partial, None) => "partial".to_owned(),
        (ModelState::Broken, _) => "broken".to_owned(),
        (ModelState::Absent, _) => "absent".to_owned(),
    };
    if row.is_unreferenced {
        format!("{state}, unreferenced")
    } else {
        state
    }
}

fn last_used(row: &ModelRow, now_ms: u64) -> String {
    row.accessed_ms
        .map_or_else(|| "unknown".to_owned(), |then| ago(then, now_ms))
}

/// How long ago something was. Clocks jump: a time to come is now.
pub(super) fn ago(then_ms: u64, now_ms: u64) -> String {
    match now_ms.saturating_sub(then_ms) {
        0..60_000 => "just now".to_owned(),
        age_ms => format!("{} ago", duration(age_ms)),
    }
}

fn file_state(file: &FileRow, now_ms: u64) -> String {
    let expected = file.expected_bytes.map(size);
    match (file.state, expected) {
        (FileState::Verified, _) => match file.verified_ms {
            Some(then) => format!("verified {}", ago(then, now_ms)),
            None => "verified".to_owned(),
        },
        (FileState::Unverified, _) => "unverified".to_owned(),
        (FileState::WrongHash, _) => match file.verified_ms {
            Some(then) => format!("wrong hash, seen {}", ago(then, now_ms)),
            None => "wrong hash".to_owned(),
        },
        (FileState::Truncated, Some(expected)) => format!("truncated, should be {expected}"),
        (FileState::Truncated, None) => "truncated".to_owned(),
        (FileState::WrongSize, Some(expected)) => format!("wrong size, should be {expected}"),
        (FileState::WrongSize, None) => "wrong size".to_owned(),
        (FileState::Missing, _) => "missing: the pointer leads nowhere".to_owned(),
        (FileState::Regular, _) => "regular file, no pointer".to_owned(),
        (FileState::Absent, _) if file.size_bytes.is_some() => {
            "no pointer: its blob is here, nothing to fetch".to_owned()
        }
        (FileState::Absent, Some(expected)) => format!("absent, {expected} to fetch"),
        (FileState::Absent, None) => "absent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::schema::{EVENT_SCHEMA, LS_SCHEMA};
    use super::super::stage::{self, Played, play};
    use super::*;
    use crate::domain::{Event, Outcome};
    use crate::store::script::{START_MS, Script, file_row, model_row};

    async fn listed(script: &Script, output: Output, args: LsArgs) -> Played {
        play(script, output, None, async |session, console| {
            run(session, &args, console).await
        })
        .await
    }

    /// A zoo: healthy, partial, broken, without a ref, a folder that is no commit, hostile text.
    fn zoo() -> Vec<ModelRow> {
        let mut rows = vec![
            model_row("mlx-community/gemma-2-2b-it-4bit", 1_350_000_000),
            model_row("a/partial", 12_000_000),
            model_row("b/broken", 5),
            model_row("c/unreferenced", 42_000_000_000),
            model_row(&format!("d/{}", "x".repeat(96)), 7_000),
            model_row("e/hostile", 0),
        ];
        rows[1].state = ModelState::Partial;
        rows[1].files_present = 3;
        rows[0].verified_ms = Some(START_MS - 2 * 3_600_000);
        rows[3].verified_ms = Some(START_MS - 12 * 86_400_000);
        rows[2].state = ModelState::Broken;
        rows[2].accessed_ms = None;
        rows[3].refs.clear();
        rows[3].is_unreferenced = true;
        rows[3].accessed_ms = Some(START_MS + 5_000);
        rows[4].refs = vec!["main".to_owned(), "分支/🦙-".repeat(25)];
        rows[5].commit = None;
        rows[5].refs = Vec::new();
        rows[5].revision = "\u{1b}]0;owned\u{7}\u{202e}模型".to_owned();
        rows[5].state = ModelState::Absent;
        rows
    }

    #[tokio::test]
    async fn a_table_of_80_columns() {
        let played = listed(
            &Script::listed(zoo()),
            stage::columns(80),
            LsArgs::default(),
        )
        .await;
        insta::assert_snapshot!(played.shown());
        for line in played.stdout.lines() {
            assert!(line.width() <= 80, "{line}");
        }
        assert!(!played.stdout.contains('\u{1b}'));
    }

    #[tokio::test]
    async fn without_a_terminal_nothing_is_cut() {
        let played = listed(&Script::listed(zoo()), stage::human(), LsArgs::default()).await;
        assert!(!played.stdout.contains('…'));
        assert!(played.stdout.contains(&"x".repeat(96)));
        assert!(!played.stdout.contains('\u{1b}'));
    }

    #[tokio::test]
    async fn the_document_has_every_model() {
        let played = listed(&Script::listed(zoo()), stage::json(), LsArgs::default()).await;
        let document = played.document(LS_SCHEMA);
        assert_eq!(document["models"].as_array().unwrap().len(), 6);
        assert_eq!(document["models"][0]["repo"], "a/partial");
        assert_eq!(document["models"][0]["accessed_at"], "2026-11-21T02:00:00Z");
        assert_eq!(document["models"][5]["size_bytes"], 1_350_000_000_u64);
        let lines = listed(&Script::listed(zoo()), stage::events(), LsArgs::default()).await;
        let lines: Vec<&str> = lines.stdout.lines().collect();
        for line in &lines[..2] {
            stage::check(&serde_json::from_str(line).unwrap(), EVENT_SCHEMA);
        }
        stage::check(&serde_json::from_str(lines[2]).unwrap(), LS_SCHEMA);
    }

    #[tokio::test]
    async fn filters_and_orders_choose_rows() {
        let args = LsArgs {
            filter: vec!["size>6k".parse().unwrap(), "accessed>1d".parse().unwrap()],
            sort: "size".parse().unwrap(),
            ..LsArgs::default()
        };
        let first = LsArgs {
            limit: Some(1),
            ..args.clone()
        };
        let played = listed(&Script::listed(zoo()), stage::json(), first).await;
        let document = played.document(LS_SCHEMA);
        assert_eq!(document["models"].as_array().unwrap().len(), 1);
        assert!(
            document["models"][0]["repo"]
                .as_str()
                .unwrap()
                .starts_with("mlx")
        );
        let played = listed(&Script::listed(zoo()), stage::json(), args).await;
        let document = played.document(LS_SCHEMA);
        let repos: Vec<&str> = document["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| &model["repo"].as_str().unwrap()[..3])
            .collect();
        assert_eq!(repos, ["mlx", "a/p", "d/x"]);
    }

    #[tokio::test]
    async fn a_limit_that_leaves_something_out_says_so() {
        for (limit, says) in [
            (Some(0), "none of 6 snapshots shown: `--limit 0`"),
            (Some(2), "2 of 6 snapshots shown: `--limit 2`"),
            (Some(6), "6 snapshots"),
            (None, "6 snapshots"),
        ] {
            let args = LsArgs {
                limit,
                ..LsArgs::default()
            };
            let played = listed(&Script::listed(zoo()), stage::human(), args).await;
            assert!(played.stderr.contains(says), "{limit:?}: {}", played.stderr);
            assert_eq!(played.exit_code, 0);
        }
        let nothing = LsArgs {
            limit: Some(0),
            ..LsArgs::default()
        };
        let played = listed(&Script::listed(Vec::new()), stage::human(), nothing).await;
        assert!(
            played.stderr.contains("no models in the cache"),
            "{}",
            played.stderr
        );
    }

    fn files() -> Script {
        let mut old = model_row("org/m", 9);
        old.refs.clear();
        old.revision = "0b".repeat(20);
        old.commit = None;
        old.is_unreferenced = true;
        let mut row = model_row("org/m", 1_350_000_000);
        row.state = ModelState::Broken;
        row.problems = vec!["`model.safetensors` is truncated\u{1b}".to_owned()];
        let mut files = vec![
            file_row("tokenizer.json", 17_000_000),
            file_row("vocab.json", 17),
            file_row("config.json", 4_100),
            file_row("model.safetensors", 1_000),
            file_row("模型/🦙.json", 12),
            file_row("gone.json", 12),
        ];
        files[0].state = FileState::Verified;
        files[0].verified_ms = Some(START_MS - 2 * 3_600_000);
        files[1].state = FileState::WrongHash;
        files[1].verified_ms = Some(START_MS - 3 * 60_000);
        files[3].state = FileState::Truncated;
        files[3].expected_bytes = Some(1_330_000_000);
        files[4].state = FileState::Regular;
        files[5].state = FileState::Absent;
        files[5].size_bytes = None;
        Script::new()
            .then(
                1,
                Event::FilesListed {
                    model: Box::new(row),
                    files,
                },
            )
            .then(
                1,
                Event::FilesListed {
                    model: Box::new(old),
                    files: Vec::new(),
                },
            )
            .then(1, Event::Ended(Outcome::Listed))
    }

    #[tokio::test]
    async fn the_files_of_one_repo() {
        let args = |repo: &str| LsArgs {
            repo: Some(repo.to_owned()),
            ..LsArgs::default()
        };
        let played = listed(&files(), stage::columns(80), args("org/m@main")).await;
        insta::assert_snapshot!(played.shown());
        let both = listed(&files(), stage::json(), args("org/m")).await;
        let document = both.document(LS_SCHEMA);
        assert_eq!(document["models"].as_array().unwrap().len(), 2);
        assert_eq!(document["models"][1]["files"][5]["state"], "absent");
        let other = listed(&files(), stage::human(), args("org/m@v9")).await;
        assert_eq!(other.exit_code, 3);
        assert!(other.stderr.contains("not at `v9`"), "{}", other.stderr);
        let wrong = listed(&Script::new(), stage::json(), args("a b")).await;
        assert_eq!(wrong.exit_code, 2);
        wrong.document(LS_SCHEMA);
    }

    #[tokio::test]
    async fn an_empty_cache_is_no_failure() {
        let played = listed(
            &Script::listed(Vec::new()),
            stage::human(),
            LsArgs::default(),
        )
        .await;
        assert_eq!((played.stdout.as_str(), played.exit_code), ("", 0));
        assert_eq!(played.stderr, "no models in the cache\n");
    }
}
