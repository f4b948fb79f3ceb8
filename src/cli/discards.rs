//! Owns how models that a purge takes away, and what lies in the trash, read as text.
//!
//! Never decides what goes. Paths are never cut.

use super::table::Table;
use crate::domain::{Discard, DiscardKind, PlanStep, PurgePlan, TrashRow, sanitize};
use crate::store::{count, duration, size};

/// Everything a plan names, and the sums.
pub(super) fn plan_text(planned: &PurgePlan, now_ms: u64) -> String {
    let mut text = partials_text(planned, now_ms);
    for discard in planned.plan.discards() {
        text.push_str(&discard_text(discard, now_ms));
    }
    if !planned.trash.is_empty() {
        text.push_str("free what lies in the trash:\n");
        text.push_str(&rows_text(&planned.trash, now_ms));
    }
    for kept in &planned.kept {
        let line = sanitize(&format!("stays: {}: {}", kept.path, kept.why));
        text.extend([line.as_str(), "\n"]);
    }
    text
}

fn partials_text(planned: &PurgePlan, now_ms: u64) -> String {
    let mut table = Table::new().numbers("SIZE").numbers("AGE").column("FILE");
    let (mut partials, mut bytes_all) = (0, 0);
    for step in &planned.plan.steps {
        if let PlanStep::RemovePartial {
            path,
            bytes,
            modified_ms,
            map,
            ..
        } = step
        {
            partials += 1;
            bytes_all += bytes;
            table.row(&[
                size(*bytes),
                duration(now_ms.saturating_sub(*modified_ms)),
                path.clone(),
            ]);
            if let Some(map) = map {
                table.row(&[String::new(), String::new(), map.clone()]);
            }
        }
    }
    if partials == 0 {
        return String::new();
    }
    format!(
        "{}\n{}, {}\n",
        table.render(None),
        count(partials, "unfinished blob"),
        size(bytes_all)
    )
}

fn discard_text(discard: &Discard, now_ms: u64) -> String {
    let what = match discard.kind {
        DiscardKind::Repo => "all of it".to_owned(),
        DiscardKind::Revisions => discard.what.join(", "),
        DiscardKind::Corrupt => format!("{} with wrong bytes", count(discard.what.len(), "blob")),
    };
    let used = match discard.accessed_ms {
        Some(at_ms) => format!("last used {} ago", duration(now_ms.saturating_sub(at_ms))),
        None => "when it was last used is not known".to_owned(),
    };
    let mut table = Table::new().numbers("SIZE").column("FILE");
    for path in &discard.paths {
        let bytes = if path.bytes > 0 {
            size(path.bytes)
        } else {
            String::new()
        };
        table.row(&[bytes, path.path.clone()]);
    }
    let end = match &discard.trash {
        Some(trash) => format!(
            "{} into the trash {trash}: 0 bytes free by that",
            size(discard.bytes)
        ),
        None => format!("{} freed at once", size(discard.bytes)),
    };
    let head = sanitize(&format!(
        "{}: {what} ({}; {used})",
        discard.repo,
        discard.reason.words()
    ));
    format!("{head}\n{}{end}\n", table.render(None))
}

/// What lies in the trash, as a table.
pub(super) fn rows_text(rows: &[TrashRow], now_ms: u64) -> String {
    let mut table = Table::new()
        .column("ID")
        .numbers("SIZE")
        .numbers("AGE")
        .column("MODEL")
        .column("WHAT")
        .column("CACHE")
        .column("LIES IN");
    for row in rows {
        let what = match row.kind {
            DiscardKind::Repo => "all of it".to_owned(),
            DiscardKind::Revisions => {
                let names = row.what.iter().map(|name| crate::store::short(name));
                names.collect::<Vec<_>>().join(" ")
            }
            DiscardKind::Corrupt => count(row.what.len(), "wrong blob"),
        };
        let what = match &row.cut_off {
            Some(cut_off) => format!("{what} ({cut_off})"),
            None => what,
        };
        table.row(&[
            row.id.clone(),
            size(row.bytes),
            duration(now_ms.saturating_sub(row.purged_ms)),
            row.repo.to_string(),
            what,
            row.cache.clone(),
            row.path.clone(),
        ]);
    }
    table.render(None)
}
