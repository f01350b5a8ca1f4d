//! Errors of the API, as sentences.

use super::list::clean;
use serde::Deserialize;
use std::fmt;

/// Most of what is no problem of ours that is shown, characters.
const FOREIGN_LEN_MAX: usize = 200;

/// What control answered instead of doing it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ApiError {
    status: u16,
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
    problems: Vec<Flaw>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Flaw {
    pub(crate) place: String,
    pub(crate) found: String,
    pub(crate) allowed: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, found, allowed } = self;
        if !place.is_empty() {
            write!(f, "{}: ", clean(place))?;
        }
        write!(f, "{}; expected {}", clean(found), clean(allowed))
    }
}

impl ApiError {
    /// Reads problem+json; whatever else somebody in between answers is shown as it is.
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        if let Ok(error) = serde_json::from_slice::<Self>(body)
            && !error.kind.is_empty()
        {
            return Self { status, ..error };
        }
        let text: String = String::from_utf8_lossy(body).chars().take(FOREIGN_LEN_MAX).collect();
        let detail = format!("HTTP status {status}: {}", text.trim());
        Self { status, detail, ..Self::default() }
    }

    /// Whether it is of this kind, e.g. `conflict`.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.strip_prefix("urn:switchyard:problem:") == Some(kind)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [] => {
                f.write_str(&clean(if self.detail.is_empty() { &self.title } else { &self.detail }))
            }
            [only] => only.fmt(f),
            many => {
                write!(f, "{} things are wrong:", many.len())?;
                many.iter().try_for_each(|flaw| write!(f, "\n  {flaw}"))
            }
        }
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_what_would_be_allowed() {
        let one =
            br#"{"type":"urn:switchyard:problem:invalid","title":"t","status":422,"detail":"d",
            "problems":[{"place":"vswitch.red.vif.2.mtu","found":"20","allowed":"64 to 1500"}]}"#;
        let error = ApiError::read(422, one);
        assert!(error.is("invalid"));
        assert_eq!(error.to_string(), "vswitch.red.vif.2.mtu: 20; expected 64 to 1500");
        let none = br#"{"type":"urn:switchyard:problem:conflict","detail":"nothing to commit"}"#;
        assert_eq!(ApiError::read(409, none).to_string(), "nothing to commit");
    }

    #[test]
    fn what_is_not_of_control_is_shown_without_its_control_characters() {
        let error = ApiError::read(502, b"<html>\x1b[2Jbad gateway");
        assert_eq!(error.to_string(), "HTTP status 502: <html>\u{fffd}[2Jbad gateway");
        assert!(ApiError::read(500, &vec![b'x'; 1 << 20]).to_string().len() < 300);
    }
}
