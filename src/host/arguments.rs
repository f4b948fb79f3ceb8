//! Owns showing the arguments of a process in one line without the secrets in them.
//!
//! Never judges what a program does with them.

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// Parts of the names of options, variables and headers whose values are secret.
const SECRET: [&str; 8] = [
    "token",
    "key",
    "pass",
    "secret",
    "auth",
    "bearer",
    "cookie",
    "credential",
];
/// Programs whose short options carry secrets: `-u user:password`, `-b cookie`, `-d data`.
const FETCHERS: [&str; 3] = ["curl", "wget", "aria2c"];
const OF_FETCHERS: [&str; 11] = [
    "-u",
    "-U",
    "-b",
    "-d",
    "-F",
    "--user",
    "--proxy-user",
    "--data",
    "--data-raw",
    "--data-binary",
    "--form",
];
/// Options whose value is a header.
const HEADERS: [&str; 2] = ["-H", "--header"];
/// Options whose value is a program's text, which may hold anything.
const TEXTS: [&str; 2] = ["-c", "-lc"];

/// Arguments in one line; what may be a secret is hidden.
pub(super) fn without_secrets<'a>(arguments: impl Iterator<Item = &'a str>) -> String {
    let mut shown: Vec<String> = Vec::new();
    let mut is_fetcher = false;
    let mut before = "";
    for (at, word) in arguments.filter(|word| !word.is_empty()).enumerate() {
        let base = word.rsplit('/').next().unwrap_or(word);
        is_fetcher |= at < 4 && FETCHERS.contains(&base);
        shown.push(if at > 0 && hides_next(before, is_fetcher) {
            HIDDEN.to_owned()
        } else if HEADERS.contains(&before) {
            header(word)
        } else {
            one(word, is_fetcher)
        });
        before = word;
    }
    shown.join(" ")
}

/// Whether the value of an option comes next and is secret.
fn hides_next(option: &str, is_fetcher: bool) -> bool {
    let is_option = option.starts_with('-') && !option.contains('=');
    is_option
        && (TEXTS.contains(&option)
            || (option.starts_with("--") && is_secret(option))
            || (is_fetcher && OF_FETCHERS.contains(&option)))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

/// A header's name, and what it says hidden.
fn header(word: &str) -> String {
    match word.split_once(':') {
        Some((name, _)) => format!("{name}: {HIDDEN}"),
        None => HIDDEN.to_owned(),
    }
}

fn one(word: &str, is_fetcher: bool) -> String {
    if let Some((name, _)) = word.split_once('=')
        && !name.contains("://")
        && is_secret(name)
    {
        return format!("{name}={HIDDEN}");
    }
    if let Some(value) = word.strip_prefix("--header=") {
        return format!("--header={}", header(value));
    }
    // The value may stand at once behind a short option.
    let is_short = word.len() > 2 && word.starts_with('-') && !word.starts_with("--");
    if is_fetcher && is_short {
        let option = word.get(..2).unwrap_or_default();
        if option == "-H" || OF_FETCHERS.contains(&option) {
            return format!("{option}{HIDDEN}");
        }
    }
    let mut shown = without_bearer(&address(word));
    while let Some(at) = shown.find("hf_").filter(|at| {
        let token = shown[at + 3..].bytes();
        token.take_while(u8::is_ascii_alphanumeric).count() >= 8
    }) {
        let end = shown[at + 3..]
            .find(|c: char| !c.is_ascii_alphanumeric())
            .map_or(shown.len(), |length| at + 3 + length);
        shown.replace_range(at..end, HIDDEN);
    }
    shown
}

/// A word with an address in it, without user, password and query.
fn address(word: &str) -> String {
    let Some(at) = word.find("://").map(|at| at + 3) else {
        return word.to_owned();
    };
    let (scheme, rest) = word.split_at(at);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    let path = match path.find(['?', '#']) {
        Some(at) => format!("{}?{HIDDEN}", &path[..at]),
        None => path.to_owned(),
    };
    format!("{scheme}{host}{path}")
}

fn without_bearer(word: &str) -> String {
    const BEARER: &str = "bearer ";
    // The lower-case form has the same length in bytes.
    match word.to_ascii_lowercase().find(BEARER) {
        Some(at) => format!("{}{HIDDEN}", &word[..at + BEARER.len()]),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_in_a_command_line() {
        for (arguments, shown) in [
            ("python3|x.py", "python3 x.py"),
            (
                "python3|-u|x.py|--model|org/m",
                "python3 -u x.py --model org/m",
            ),
            ("python3|-c|f('org/m', token='hf_x')", "python3 -c ***"),
            ("hf|--token|abc|y", "hf --token *** y"),
            ("hf|--token=abc", "hf --token=***"),
            (
                "vllm|serve|org/m|--api-key|abc",
                "vllm serve org/m --api-key ***",
            ),
            (
                "env|HF_TOKEN=abc|HF_HOME=/x|hf",
                "env HF_TOKEN=*** HF_HOME=/x hf",
            ),
            (
                "curl|-H|Authorization: Basic abc|x",
                "curl -H Authorization: *** x",
            ),
            ("curl|-HX-Api-Key: abc", "curl -H***"),
            ("curl|-u|me:abc|-L|x", "curl -u *** -L x"),
            ("curl|-ume:abc", "curl -u***"),
            (
                "/usr/bin/curl|--oauth2-bearer|abc",
                "/usr/bin/curl --oauth2-bearer ***",
            ),
            ("curl|-o|f|-d|{\"a\":1}", "curl -o f -d ***"),
            (
                "wget|--http-password=abc|--header=Cookie: a",
                "wget --http-password=*** --header=Cookie: ***",
            ),
            (
                "aria2c|https://me:abc@h/org/m?X-Amz-Signature=1",
                "aria2c https://***@h/org/m?***",
            ),
            (
                "x|https://hf_abcdefgh1:x@host/hf_hub",
                "x https://***@host/hf_hub",
            ),
            ("x|say|Bearer abc", "x say Bearer ***"),
        ] {
            assert_eq!(without_secrets(arguments.split('|')), shown);
        }
    }
}
