//! Owns reading the headers that larder obeys. Pure: the date enters as a value.
//!
//! Never trusts a header beyond its grammar: what does not parse is as good as absent.

use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};

use crate::domain::sanitize_line;

/// What a 429 without any hint asks for.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// Longer pauses than this are nonsense, and sums with them could overflow a clock.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// The header's text, if it is there and ASCII.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// What the server calls this request, for its support; first present wins.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    ["x-request-id", "x-amzn-trace-id", "x-amz-cf-id"]
        .iter()
        .find_map(|name| text(headers, name))
        .map(|id| sanitize_line(id, 120))
}

/// Whether the answer is a web page.
pub(super) fn is_html(headers: &HeaderMap) -> bool {
    media_type(headers)
        .is_some_and(|kind| matches!(kind.as_str(), "text/html" | "application/xhtml+xml"))
}

/// Whether the answer says it is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, CONTENT_TYPE.as_str())?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

/// How long a 429 asks to wait, and the bucket it names.
///
/// The date form of `Retry-After` is read against the answer's own `Date`, so that a wrong local
/// clock does no harm.
pub(super) fn rate_limit(headers: &HeaderMap) -> (Duration, Option<String>) {
    let limit = text(headers, "ratelimit").and_then(RateLimit::parse);
    let retry_after = asked_wait(headers);
    let reset = limit
        .as_ref()
        .and_then(|limit| limit.reset_s)
        .map(|seconds| Duration::from_secs(seconds.saturating_add(1)));
    let is_spent = limit
        .as_ref()
        .is_some_and(|limit| limit.remaining == Some(0));
    let wait = if is_spent {
        reset.or(retry_after)
    } else {
        retry_after.or(reset)
    };
    (
        wait.unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT),
        limit.map(|limit| limit.bucket),
    )
}

/// `Retry-After`, if the answer has one that can be read.
pub(super) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let now = text(headers, DATE.as_str()).and_then(|date| httpdate::parse_http_date(date).ok());
    let wait = retry_after(text(headers, RETRY_AFTER.as_str())?, now)?;
    Some(wait.min(LONGEST_WAIT))
}

/// `RateLimit: "api";r=0;t=55`: bucket, remaining requests, seconds to the reset.
#[derive(Debug, PartialEq, Eq)]
struct RateLimit {
    bucket: String,
    remaining: Option<u64>,
    reset_s: Option<u64>,
}

impl RateLimit {
    fn parse(value: &str) -> Option<Self> {
        let first = value.split(',').next()?;
        let mut parts = first.split(';').map(str::trim);
        let bucket = parts.next()?.trim_matches('"');
        let mut limit = Self {
            bucket: sanitize_line(bucket, 40),
            remaining: None,
            reset_s: None,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("r", number)) => limit.remaining = number.trim().parse().ok(),
                Some(("t", number)) => limit.reset_s = number.trim().parse().ok(),
                _ => {}
            }
        }
        Some(limit)
    }
}

/// Seconds, or a date seen from `now`; `None` for a date without a `now`.
fn retry_after(value: &str, now: Option<SystemTime>) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    // A date that has passed asks for no wait.
    Some(date.duration_since(now?).unwrap_or_default())
}

/// `Content-Range: bytes 5-9/10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// First byte.
    pub(super) start: u64,
    /// The byte after the last.
    pub(super) end: u64,
    /// Length of the whole; `None` where the server wrote `*`.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// Reads the header of a 206.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (range, total) = bytes_unit(value)?.split_once('/')?;
        let (start, last) = range.trim().split_once('-')?;
        let (start, last): (u64, u64) = (digits(start)?, digits(last)?);
        let total = match total.trim() {
            "*" => None,
            total => Some(digits(total)?),
        };
        let end = last.checked_add(1)?;
        (start <= last && total.is_none_or(|total| end <= total)).then_some(Self {
            start,
            end,
            total,
        })
    }

    /// The length in the `bytes */N` of a 416.
    pub(super) fn parse_unsatisfied(value: &str) -> Option<u64> {
        let (range, total) = bytes_unit(value)?.split_once('/')?;
        (range.trim() == "*").then(|| digits(total))?
    }
}

fn bytes_unit(value: &str) -> Option<&str> {
    let (unit, rest) = value.trim().split_once(' ')?;
    unit.eq_ignore_ascii_case("bytes").then_some(rest)
}

/// Rust's `parse` takes a sign; the grammar does not.
fn digits(text: &str) -> Option<u64> {
    let text = text.trim();
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// The address with `rel="next"` in the `Link` headers.
pub(super) fn next_link(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all("link")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(next_in)
}

fn next_in(value: &str) -> Option<String> {
    let mut rest = value;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (address, after) = after.split_once('>')?;
        // Parameters end at a comma outside quotes.
        let mut is_quoted = false;
        let end = after
            .find(|c| {
                is_quoted ^= c == '"';
                c == ',' && !is_quoted
            })
            .unwrap_or(after.len());
        let is_next = after[..end].split(';').any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .trim()
                        .trim_matches('"')
                        .split_ascii_whitespace()
                        .any(|relation| relation.eq_ignore_ascii_case("next"))
            })
        });
        if is_next {
            return Some(address.trim().to_owned());
        }
        rest = &after[end..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn wait(pairs: &[(&'static str, &str)]) -> u64 {
        rate_limit(&headers(pairs)).0.as_secs()
    }

    #[test]
    fn the_wait_is_obeyed_to_the_second() {
        let spent = ("ratelimit", "\"api\";r=0;t=55");
        assert_eq!(wait(&[spent]), 56);
        assert_eq!(wait(&[spent, ("retry-after", "9")]), 56);
        assert_eq!(rate_limit(&headers(&[spent])).1.as_deref(), Some("api"));
        assert_eq!(
            wait(&[("ratelimit", "\"api\";r=3;t=55"), ("retry-after", "9")]),
            9
        );
        assert_eq!(wait(&[("ratelimit", "\"api\";r=3;t=55")]), 56);
        assert_eq!(wait(&[("retry-after", "120")]), 120);
        assert_eq!(wait(&[]), DEFAULT_WAIT.as_secs());
        assert_eq!(wait(&[("ratelimit", ";;;="), ("retry-after", "soon")]), 30);
    }

    #[test]
    fn dates_are_read_against_the_answers_own() {
        let date = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(
            wait(&[date, ("retry-after", "Wed, 21 Oct 2015 07:29:30 GMT")]),
            90
        );
        assert_eq!(
            wait(&[date, ("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT")]),
            0
        );
        let no_date = [("retry-after", "Wed, 21 Oct 2015 07:29:30 GMT")];
        assert_eq!(wait(&no_date), 30);
    }

    #[test]
    fn absurd_waits_are_cut() {
        assert_eq!(wait(&[("retry-after", "18446744073709551615")]), 86_400);
        let limit = ("ratelimit", "\"api\";r=0;t=18446744073709551615");
        assert_eq!(wait(&[limit]), 86_400);
    }

    #[test]
    fn content_ranges_follow_the_grammar() {
        let range = |start, end, total| Some(ContentRange { start, end, total });
        assert_eq!(ContentRange::parse("bytes 5-9/10"), range(5, 10, Some(10)));
        assert_eq!(ContentRange::parse("Bytes 0-0/*"), range(0, 1, None));
        for bad in [
            "",
            "bytes",
            "bytes 5-9",
            "bytes */10",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes -5/10",
            "bytes 5-/10",
            "bytes +5-9/10",
            "items 5-9/10",
            "bytes 0-18446744073709551615/*",
        ] {
            assert_eq!(ContentRange::parse(bad), None, "{bad}");
        }
        assert_eq!(ContentRange::parse_unsatisfied("bytes */10"), Some(10));
        assert_eq!(ContentRange::parse_unsatisfied("bytes 0-1/10"), None);
        assert_eq!(ContentRange::parse_unsatisfied("bytes */*"), None);
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        for (value, next) in [
            (
                "<https://h/a?cursor=x>; rel=\"next\"",
                Some("https://h/a?cursor=x"),
            ),
            (
                "<a>; rel=prev, <b,c>; title=\"x, y\"; rel=\"last next\"",
                Some("b,c"),
            ),
            ("<a>; rel=\"prev\"", None),
            ("<a>; relnext", None),
            ("a; rel=next", None),
            ("<a", None),
        ] {
            assert_eq!(
                next_link(&headers(&[("link", value)])).as_deref(),
                next,
                "{value}"
            );
        }
    }

    #[test]
    fn media_types_ignore_case_and_parameters() {
        assert!(is_html(&headers(&[(
            "content-type",
            "Text/HTML; charset=utf-8"
        )])));
        assert!(!is_html(&headers(&[("content-type", "text/plain")])));
        assert!(is_json(&headers(&[(
            "content-type",
            "application/problem+json"
        )])));
        assert!(!is_json(&headers(&[])));
    }

    proptest! {
        #[test]
        fn no_header_text_breaks_a_parser(value in "[ -~]{0,60}") {
            let all = headers(&[
                ("ratelimit", &value), ("retry-after", &value), ("link", &value), ("date", &value),
            ]);
            prop_assert!(rate_limit(&all).0 <= LONGEST_WAIT);
            let _ = next_link(&all);
            if let Some(range) = ContentRange::parse(&value) {
                prop_assert!(range.start < range.end);
            }
        }
    }
}
