//! Owns what the log says of an import: what each file is that was offered, and how it ended.

use super::log::{Level, Log};
use super::state::Pull;
use super::words;
use crate::domain::{ImportResult, OfferKind, Recognition};

/// What was offered is what: a line for each file that is not what it seems, one for the others.
pub(super) fn recognised(pull: &mut Pull, log: &mut Log, at_ms: u64, recognition: &Recognition) {
    for offer in &recognition.offers {
        let level = match &offer.kind {
            kind if kind.is_wrong() => Level::Warning,
            OfferKind::Unreadable { .. } | OfferKind::Outside => Level::Warning,
            _ => Level::Debug,
        };
        log.write(at_ms, level, None, &words::offer_line(offer));
    }
    log.write(
        at_ms,
        Level::Info,
        None,
        &words::recognised_line(recognition),
    );
    pull.recognition = Some(recognition.clone());
}

/// An import is over: what it refused, what became of the ref, what is still missing.
pub(super) fn imported(pull: &Pull, log: &mut Log, at_ms: u64, result: &ImportResult) {
    for offer in &result.refused {
        log.write(at_ms, Level::Warning, None, &words::offer_line(offer));
    }
    let revision = pull.target.revision.as_str();
    if let Some((is_kept, line)) = words::ref_line(&result.reference, revision, result.commit) {
        let level = if is_kept { Level::Warning } else { Level::Info };
        log.write(at_ms, level, None, &line);
    }
    let level = if result.is_complete() {
        Level::Info
    } else {
        Level::Warning
    };
    log.write(at_ms, level, None, &words::imported_line(result));
}
