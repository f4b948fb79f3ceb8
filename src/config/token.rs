//! Owns the token: where it is found, and that it is never shown.
//!
//! Never decides whom it is shown to: that is `hub`.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::Failure;

use super::environment::{Environment, is_true};
use super::value::Origin;

/// What stands in the place of a token wherever one could be seen.
pub(super) const SHOWN: &str = "***";

/// A Hub token. `Debug` and `Display` print `***`; wiped from memory when dropped.
#[derive(Clone)]
pub struct Token(SecretString);

impl Token {
    /// The token in `text` without line breaks and surrounding blanks; `None` if nothing is left
    /// or the rest cannot travel in a header.
    pub fn new(text: &str) -> Option<Self> {
        let bare = clean(text);
        let is_usable = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_graphic());
        is_usable.then(|| Self(bare.into()))
    }

    /// The token itself, for the `Authorization` header and for striking it out of messages.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

fn clean(text: &str) -> String {
    text.replace(['\r', '\n'], "").trim().to_owned()
}

/// The token of the environment, else the saved one, unless tokens are not to be sent unasked.
pub(super) fn find(
    env: &Environment,
    file: Option<&Path>,
) -> Result<(Option<Token>, Origin), Failure> {
    const SILENT: &str = "HF_HUB_DISABLE_IMPLICIT_TOKEN";
    if env.text(SILENT)?.is_some_and(is_true) {
        return Ok((None, Origin::Variable(SILENT)));
    }
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(text) = env.text(name)?
            && let Some(found) = usable(text, Origin::Variable(name))?
        {
            return Ok(found);
        }
    }
    let Some(file) = file else {
        return Ok((None, Origin::Default));
    };
    let origin = Origin::File(file.to_owned());
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(usable(&text, origin)?.unwrap_or((None, Origin::Default))),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(origin.failure("does not hold a token", "it is not UTF-8"))
        }
        // Public models need no token; a saved one that this user cannot read is as good as none,
        // and `config show` names the file.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::IsADirectory
            ) =>
        {
            Ok((None, origin))
        }
        Err(_) => Ok((None, Origin::Default)),
    }
}

/// `None` if the text is blank: then the next place is asked.
fn usable(text: &str, origin: Origin) -> Result<Option<(Option<Token>, Origin)>, Failure> {
    if clean(text).is_empty() {
        return Ok(None);
    }
    match Token::new(text) {
        Some(token) => Ok(Some((Some(token), origin))),
        None => Err(origin.failure(
            "does not hold a token",
            "a token is made of visible ASCII characters",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_trimmed_and_must_fit_a_header() {
        assert_eq!(Token::new(" hf_abc\r\n").unwrap().expose(), "hf_abc");
        for bad in ["", " \r\n", "hf a", "hf_ü", "hf\u{7f}"] {
            assert!(Token::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::new("hf_secret").unwrap();
        assert_eq!(
            format!("{token} {token:?} {:?}", Some(&token)),
            "*** *** Some(***)"
        );
    }

    #[test]
    fn an_unusable_token_names_its_place_and_not_itself() {
        let env = Environment::from_pairs([("HF_TOKEN", "hf secret")]);
        let failure = find(&env, None).unwrap_err().to_string();
        assert!(failure.contains("HF_TOKEN"), "{failure}");
        assert!(!failure.contains("secret"), "{failure}");
    }
}
