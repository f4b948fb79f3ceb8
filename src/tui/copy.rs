//! Owns what can be done about a copy of a model in another place than the main cache, which no pull
//! changes: the words of its findings' plans.
//!
//! Never decides what a pull does: that is `wish`'s.

use super::rows::ModelItem;
use crate::domain::{ModelState, PlanStep, Severity};
use crate::store::Store;

/// Why `r` is not for a copy that is not whole, and what is to be done instead; `None` where it is
/// for it, or where nothing is to be done.
pub(super) fn instead(item: &ModelItem<'_>, store: &Store) -> Option<String> {
    let (row, place) = (item.row?, item.elsewhere?);
    if row.state == ModelState::Complete {
        return None;
    }
    let findings = store.shelf().findings_of_copy(row);
    // The worst first, and of that the first step that is in words.
    let advice = findings
        .iter()
        .filter(|finding| finding.severity > Severity::Note)
        .flat_map(|finding| &finding.plan.steps)
        .find_map(|step| match step {
            PlanStep::ByHand { advice } => Some(advice.clone()),
            PlanStep::Change(change) => Some(change.words()),
            PlanStep::RemovePartial { .. } | PlanStep::Pull { .. } | PlanStep::Discard(_) => None,
        });
    let advice = advice.unwrap_or_else(|| "Health shows what is wrong with it".to_owned());
    Some(format!(
        "no pull changes this copy ({}): {advice}",
        place.kind.name()
    ))
}
