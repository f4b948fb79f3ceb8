//! Owns the filters on models, in the grammar of `hf cache ls`: `KEY OP VALUE`, with keys of larder's
//! own beside Python's. Both faces use it.
//!
//! Never asks a clock: ages are counted from the `now_ms` that is passed in.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::domain::{CacheKind, ModelRow, ModelState, RepoKind};

/// A condition on a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: String,
    condition: Condition,
}

/// Why a filter cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Size(Comparison, u64),
    /// Longer ago than so many milliseconds, for `>`.
    Accessed(Comparison, u64),
    Modified(Comparison, u64),
    Kind(RepoKind),
    Ref(String),
    /// Larder's own, as all below.
    State(bool, State),
    Cache(bool, CacheKind),
    /// Hashed longer ago than so many milliseconds, for `>`.
    Verified(Comparison, u64),
    IsVerified(bool),
}

/// What `state` can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Of(ModelState),
    Unreferenced,
}

/// Every kind of cache, in the order of its table.
const CACHES: [CacheKind; 7] = [
    CacheKind::Hub,
    CacheKind::LocalDir,
    CacheKind::HubApi,
    CacheKind::LmStudio,
    CacheKind::MlxCache,
    CacheKind::Swama,
    CacheKind::Folder,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Greater => ordering.is_gt(),
            Self::Less => ordering.is_lt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }
}

impl Filter {
    /// The keys, Python's first.
    pub const KEYS: [&str; 8] = [
        "size", "type", "refs", "accessed", "modified", "state", "verified", "cache",
    ];

    /// Whether `row` passes at `now_ms`. A time that is not known passes nothing.
    pub fn matches(&self, row: &ModelRow, now_ms: u64) -> bool {
        let age = |comparison: Comparison, then_ms: Option<u64>, age_ms: u64| {
            then_ms.is_some_and(|then| comparison.holds(now_ms.saturating_sub(then).cmp(&age_ms)))
        };
        match &self.condition {
            Condition::Size(comparison, bytes) => comparison.holds(row.size_bytes.cmp(bytes)),
            Condition::Accessed(comparison, ms) => age(*comparison, row.accessed_ms, *ms),
            Condition::Modified(comparison, ms) => age(*comparison, row.modified_ms, *ms),
            Condition::Kind(kind) => row.repo.kind() == *kind,
            Condition::Ref(name) => row.refs.contains(name),
            Condition::State(is_wanted, State::Of(state)) => (row.state == *state) == *is_wanted,
            Condition::State(is_wanted, State::Unreferenced) => row.is_unreferenced == *is_wanted,
            Condition::Cache(is_wanted, kind) => (row.cache == *kind) == *is_wanted,
            Condition::Verified(comparison, ms) => age(*comparison, row.verified_ms, *ms),
            Condition::IsVerified(is_wanted) => row.verified_ms.is_some() == *is_wanted,
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let reject = |why: String| Err(FilterError(why));
        let at = text.find(['=', '!', '<', '>']).ok_or_else(|| {
            FilterError("it needs KEY OP VALUE, e.g. `size>1GB` or `accessed>30d`".to_owned())
        })?;
        let (key, rest) = text.split_at(at);
        let (comparison, value) = if let Some(value) = rest.strip_prefix("==") {
            return reject(format!("use one `=`: `{}={}`", key.trim(), value.trim()));
        } else if let Some(value) = rest.strip_prefix("!=") {
            (Comparison::NotEqual, value)
        } else if let Some(value) = rest.strip_prefix(">=") {
            (Comparison::GreaterOrEqual, value)
        } else if let Some(value) = rest.strip_prefix("<=") {
            (Comparison::LessOrEqual, value)
        } else if let Some(value) = rest.strip_prefix('>') {
            (Comparison::Greater, value)
        } else if let Some(value) = rest.strip_prefix('<') {
            (Comparison::Less, value)
        } else if let Some(value) = rest.strip_prefix('=') {
            (Comparison::Equal, value)
        } else {
            return reject("the operators are = != > < >= <=".to_owned());
        };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        if value.is_empty() {
            return reject(format!("`{key}` needs a value"));
        }
        let condition = match key.as_str() {
            "size" => Condition::Size(comparison, parse_size(value)?),
            "accessed" => Condition::Accessed(comparison, parse_age(value)?),
            "modified" => Condition::Modified(comparison, parse_age(value)?),
            "type" | "refs" if comparison != Comparison::Equal => {
                return reject(format!("`{key}` can only be compared with `=`"));
            }
            "type" => match value.to_ascii_lowercase().as_str() {
                "model" => Condition::Kind(RepoKind::Model),
                "dataset" => Condition::Kind(RepoKind::Dataset),
                "space" => Condition::Kind(RepoKind::Space),
                _ => return reject("the types are model, dataset and space".to_owned()),
            },
            "refs" => Condition::Ref(value.to_owned()),
            "state" => Condition::State(is_equality(comparison, &key)?, parse_state(value)?),
            "cache" => Condition::Cache(is_equality(comparison, &key)?, parse_cache(value)?),
            "verified" => match value.to_ascii_lowercase().as_str() {
                "yes" => Condition::IsVerified(is_equality(comparison, &key)?),
                "no" => Condition::IsVerified(!is_equality(comparison, &key)?),
                _ => Condition::Verified(comparison, parse_age(value)?),
            },
            _ => return reject(format!("the keys are {}", listed(&Self::KEYS))),
        };
        Ok(Self {
            text: text.to_owned(),
            condition,
        })
    }
}

/// Whether `=` is meant, and not `!=`.
fn is_equality(comparison: Comparison, key: &str) -> Result<bool, FilterError> {
    match comparison {
        Comparison::Equal => Ok(true),
        Comparison::NotEqual => Ok(false),
        Comparison::Greater
        | Comparison::Less
        | Comparison::GreaterOrEqual
        | Comparison::LessOrEqual => Err(FilterError(format!(
            "`{key}` can only be compared so with `=` and `!=`"
        ))),
    }
}

fn parse_state(text: &str) -> Result<State, FilterError> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "complete" => State::Of(ModelState::Complete),
        "partial" => State::Of(ModelState::Partial),
        "broken" => State::Of(ModelState::Broken),
        "absent" => State::Of(ModelState::Absent),
        "unreferenced" => State::Unreferenced,
        _ => {
            return Err(FilterError(
                "the states are complete, partial, broken, absent and unreferenced".to_owned(),
            ));
        }
    })
}

fn parse_cache(text: &str) -> Result<CacheKind, FilterError> {
    let found = CACHES
        .iter()
        .find(|kind| kind.name().eq_ignore_ascii_case(text));
    found.copied().ok_or_else(|| {
        let names = CACHES.map(CacheKind::name);
        FilterError(format!("the caches are {}", listed(&names)))
    })
}

/// Names as a sentence has them.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// Splits `1.5GB` into number and unit.
fn quantity(text: &str) -> Option<(f64, String)> {
    let unit_at = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().ok()?;
    Some((number, unit.trim().to_ascii_lowercase()))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number has no sign by its grammar, and a float to integer cast saturates"
)]
fn scaled(number: f64, unit: f64) -> u64 {
    (number * unit).round() as u64
}

/// Decimal sizes: `500`, `10k`, `1.5GB`.
fn parse_size(text: &str) -> Result<u64, FilterError> {
    let wrong = || FilterError(format!("`{text}` is not a size such as 500M or 1.5GB"));
    let (number, unit) = quantity(text).ok_or_else(wrong)?;
    let factor = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "p" => 1e15,
        _ => return Err(wrong()),
    };
    Ok(scaled(number, factor))
}

/// Ages in milliseconds: `30s 5m 2h 7d 2w 6mo 1y`.
/// Reads a span of time in the grammar of `hf cache ls`, e.g. `30d`, in milliseconds.
///
/// # Errors
/// What is wrong with it.
pub fn span_ms(text: &str) -> Result<u64, FilterError> {
    parse_age(text.trim())
}

fn parse_age(text: &str) -> Result<u64, FilterError> {
    let wrong = || {
        FilterError(format!(
            "`{text}` is not an age such as 12h, 7d, 2w, 6mo or 1y"
        ))
    };
    let (number, unit) = quantity(text).ok_or_else(wrong)?;
    let seconds = match unit.as_str() {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "w" => 7.0 * 86_400.0,
        "mo" => 30.0 * 86_400.0,
        "y" => 365.0 * 86_400.0,
        _ => return Err(wrong()),
    };
    Ok(scaled(number, seconds * 1_000.0))
}

#[cfg(test)]
mod tests {
    use super::super::script::{START_MS, model_row};
    use super::*;

    fn matches(filter: &str) -> bool {
        // 1.5 GB, read 3 days ago, changed 40 days ago, named by `main`, hashed 2 hours ago.
        let mut row = model_row("org/m", 1_500_000_000);
        row.verified_ms = Some(START_MS - 2 * 3_600_000);
        let filter: Filter = filter.parse().unwrap();
        filter.matches(&row, START_MS)
    }

    #[test]
    fn conditions_mean_what_hf_means() {
        for (filter, expected) in [
            ("size>1GB", true),
            ("size > 1.5g", false),
            ("size>=1.5GB", true),
            ("size=1500000000", true),
            ("size!=1500m", false),
            ("SIZE<2t", true),
            ("accessed>2d", true),
            ("accessed>1w", false),
            ("accessed<=3d", true),
            ("modified>1mo", true),
            ("modified<1y", true),
            ("modified<12h", false),
            ("type=model", true),
            ("type=dataset", false),
            ("refs=main", true),
            ("refs=v1", false),
            ("state=complete", true),
            ("state!=complete", false),
            ("STATE=Broken", false),
            ("state=unreferenced", false),
            ("cache=hub", true),
            ("cache!=hub", false),
            ("cache=lm-studio", false),
            ("verified>1h", true),
            ("verified>7d", false),
            ("verified<=2h", true),
            ("verified=yes", true),
            ("verified!=yes", false),
            ("verified=no", false),
        ] {
            assert_eq!(matches(filter), expected, "{filter}");
        }
    }

    #[test]
    fn a_time_that_is_not_known_passes_nothing() {
        let mut row = model_row("org/m", 1);
        row.accessed_ms = None;
        for filter in [
            "accessed>1d",
            "accessed<1d",
            "accessed!=1d",
            "verified>1d",
            "verified<1d",
            "verified=yes",
        ] {
            let filter: Filter = filter.parse().unwrap();
            assert!(!filter.matches(&row, START_MS), "{filter}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let errors: Vec<String> = [
            "size",
            "size==1",
            "size>",
            "size>big",
            "size>1x",
            "size>-1",
            "age>1d",
            "type>model",
            "type=dog",
            "refs!=main",
            "accessed>7",
            "size!1",
            "=",
            "accessed>1.2.3d",
            "state>broken",
            "state=bad",
            "cache=attic",
            "verified>yes",
            "verified=soon",
        ]
        .iter()
        .map(|text| format!("{text}: {}", text.parse::<Filter>().unwrap_err()))
        .collect();
        insta::assert_snapshot!(errors.join("\n"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_grammar(text in ".{0,40}") {
            let _ = text.parse::<Filter>();
        }
    }
}
