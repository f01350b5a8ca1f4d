//! Taking secrets out. Control shows none; this is for what somebody put where it does not belong: a comment, a log line,
//! a URL.

use dataplane_api::Secret;
use serde_json::Value;

/// What stands where something was.
const GONE: &str = Secret::HIDDEN;
/// Words after which a secret follows in a text.
const WORDS: [&str; 8] =
    ["password", "passwd", "secret", "token", "bearer", "macaroon", "private_key", "private-key"];
/// How our tokens begin.
const TOKEN: &str = "swy_";
/// Hexadecimal digits of a private key.
const KEY_DIGITS: usize = 64;

/// The same value without what a field's name or a text says is secret.
pub(crate) fn redacted(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(redacted_text(&text)),
        Value::Array(list) => Value::Array(list.into_iter().map(redacted).collect()),
        Value::Object(table) => {
            let field = |(name, value): (String, Value)| {
                let is_text = value.is_string() && is_word(&name);
                let value = if is_text { GONE.into() } else { redacted(value) };
                (name, value)
            };
            Value::Object(table.into_iter().map(field).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// The same text without tokens, long hexadecimal numbers, passwords in URLs, and what follows words like `password`.
pub(crate) fn redacted_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        shown.push_str(&redacted_line(line));
    }
    shown
}

fn redacted_line(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut hides_next = false;
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let ends = rest.find(|c| is_part(c) != is_part(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(ends);
        rest = after;
        if !is_part(first) {
            // Signs between a name and its value: `password = "x"`, `token: x`.
            hides_next &= !piece.contains(['\n', ';', ',']);
            shown.push_str(piece);
        } else if is_word(piece) {
            hides_next = true;
            shown.push_str(piece);
        } else if hides_next || is_secret(piece) {
            hides_next = false;
            shown.push_str(GONE);
        } else {
            shown.push_str(&without_login(piece));
        }
    }
    shown
}

/// What names, numbers, tokens, base64 and URLs are made of.
fn is_part(c: char) -> bool {
    !c.is_whitespace() && !"\"'`=,;()[]{}<>|".contains(c)
}

fn is_word(piece: &str) -> bool {
    let name = piece.trim_end_matches(':').to_ascii_lowercase();
    WORDS.iter().any(|word| {
        name == *word || name.ends_with(&format!("_{word}")) || name.ends_with(&format!(".{word}"))
    })
}

fn is_secret(piece: &str) -> bool {
    let mut run = 0;
    let has_key = piece.bytes().any(|byte| {
        run = if byte.is_ascii_hexdigit() { run + 1 } else { 0 };
        run >= KEY_DIGITS
    });
    has_key || piece.contains(TOKEN)
}

/// `https://user:password@host` without who logs in.
fn without_login(piece: &str) -> String {
    let Some((scheme, rest)) = piece.split_once("://") else { return piece.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://{GONE}{}", rest.get(at..).unwrap_or_default()),
        None => piece.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn secrets_are_gone_and_the_rest_is_there() {
        let key = "ab".repeat(32);
        for (text, shown) in [
            ("commit 5: new link to red".to_owned(), "commit 5: new link to red".to_owned()),
            ("password = \"hunter2\" kept".into(), "password = \"(not shown)\" kept".into()),
            (
                "Authorization: Bearer abc.def rest".into(),
                "Authorization: Bearer (not shown) rest".into(),
            ),
            ("made swy_12_ABCDEF for bob".into(), "made (not shown) for bob".into()),
            (format!("key {key}!"), "key (not shown)".into()),
            ("https://bob:pw@host:1/x".into(), "https://(not shown)@host:1/x".into()),
            ("login.bob.password: x".into(), "login.bob.password: (not shown)".into()),
            ("the password, it was said".into(), "the password, it was said".into()),
        ] {
            assert_eq!(redacted_text(&text), shown);
        }
        let value = json!({"login": {"password": "a"}, "tokens": 5, "url": "https://u:p@h/", "api_token": "t"});
        let shown = json!({"login": {"password": GONE}, "tokens": 5, "url": "https://(not shown)@h/", "api_token": GONE});
        assert_eq!(redacted(value), shown);
    }

    proptest! {
        #[test]
        fn a_token_never_gets_through(before in any::<String>(), after in any::<String>(), secret in "[A-Z2-7]{52}") {
            let text = format!("{before}swy_3_{secret}{after}");
            prop_assert!(!redacted_text(&text).contains(&secret));
        }

        #[test]
        fn nothing_is_lost_but_secrets(text in "[a-z .,\n]{0,80}") {
            let has_word = WORDS.iter().any(|word| text.contains(word));
            prop_assert!(has_word || redacted_text(&text) == text);
        }
    }
}
