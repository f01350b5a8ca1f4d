//! A line of the shell.

use crate::control::human::Span;
use anyhow::{Context, Result, bail, ensure};
use domain::tree::Place;

/// What people can say.
pub(crate) const HELP: &str = "\
set PLACE VALUE       put a value there: a number, a word or TOML; 10Mbit/s and 30d where they belong
set PLACE.password    put a password there, which is asked for and not shown
delete PLACE          take away what is there
edit PLACE, up, top   places are from there on
show [PLACE]          the candidate
diff [COMMIT]         how it differs from what runs, or what a commit changed
validate              what is wrong with it
commit [--confirmed SPAN] [--comment TEXT]
                      make it run; with --confirmed it goes back by itself unless you confirm it in time
confirm               let the last commit stay
rollback COMMIT [--comment TEXT]
                      make it what it was after that commit; 0: before the first
rebase                take in what others changed meanwhile
discard               give the candidate up
history               commits, newest first
exit                  the candidate is kept
";

/// Words that begin a line, for completion.
pub(crate) const VERBS: [&str; 16] = [
    "commit", "confirm", "delete", "diff", "discard", "edit", "exit", "help", "history", "rebase",
    "rollback", "set", "show", "top", "up", "validate",
];

/// What shall be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Nothing,
    Set { place: Place, value: Option<String> },
    Delete(Place),
    Edit(Place),
    Up,
    Top,
    Show(Place),
    Diff(Option<u64>),
    Validate,
    Commit { confirmed: Option<Span>, comment: String },
    Confirm,
    Rollback { to: u64, comment: String },
    Rebase,
    Discard,
    History,
    Help,
    Exit,
}

impl Order {
    /// Reads a line; its places are from `here` on. What follows `#` at its begin is a remark.
    pub(crate) fn read(line: &str, here: &Place) -> Result<Self> {
        let line = line.trim();
        let (verb, rest) = split(line);
        let place = |text: &str| below(here, text);
        let order = match verb {
            "" => return Ok(Self::Nothing),
            _ if verb.starts_with('#') => return Ok(Self::Nothing),
            "set" => {
                let (at, value) = split_place(rest);
                ensure!(!at.is_empty(), "set: expected a place and a value");
                let value = Some(value).filter(|value| !value.is_empty()).map(str::to_owned);
                return Ok(Self::Set { place: place(at)?, value });
            }
            "delete" => {
                ensure!(!rest.is_empty(), "delete: expected a place");
                return Ok(Self::Delete(place(rest)?));
            }
            "edit" => {
                ensure!(!rest.is_empty(), "edit: expected a place");
                return Ok(Self::Edit(place(rest)?));
            }
            "show" => return Ok(Self::Show(place(rest)?)),
            "diff" => {
                let number =
                    |text: &str| text.parse().context("diff: expected the number of a commit");
                return Ok(Self::Diff(
                    Some(rest).filter(|it| !it.is_empty()).map(number).transpose()?,
                ));
            }
            "commit" => return commit(rest),
            "rollback" => return rollback(rest),
            "up" => Self::Up,
            "top" => Self::Top,
            "validate" => Self::Validate,
            "confirm" => Self::Confirm,
            "rebase" => Self::Rebase,
            "discard" => Self::Discard,
            "history" => Self::History,
            "help" | "?" => Self::Help,
            "exit" | "quit" => Self::Exit,
            other => bail!("{other}: expected one of {}", VERBS.join(", ")),
        };
        ensure!(rest.is_empty(), "{verb}: expected nothing after it, found {rest:?}");
        Ok(order)
    }
}

/// Options in any order; a comment is the rest of the line.
fn commit(rest: &str) -> Result<Order> {
    let (mut confirmed, mut rest) = (None, rest);
    loop {
        match split(rest) {
            ("", _) => return Ok(Order::Commit { confirmed, comment: String::new() }),
            ("--confirmed", after) => {
                let (span, next) = split(after);
                confirmed = Some(span.parse()?);
                rest = next;
            }
            ("--comment", after) => {
                return Ok(Order::Commit { confirmed, comment: unquoted(after)?.to_owned() });
            }
            (other, _) => {
                bail!("commit: {other:?}; expected --confirmed SPAN, and at the end --comment TEXT")
            }
        }
    }
}

fn rollback(rest: &str) -> Result<Order> {
    let (to, rest) = split(rest);
    let to = to.parse().context("rollback: expected the number of a commit")?;
    let comment = match split(rest) {
        ("", _) => "",
        ("--comment", after) => unquoted(after)?,
        (other, _) => bail!("rollback: {other:?}; expected --comment TEXT"),
    };
    Ok(Order::Rollback { to, comment: comment.to_owned() })
}

fn unquoted(text: &str) -> Result<&str> {
    ensure!(!text.is_empty(), "--comment: expected a text");
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Ok(inner.unwrap_or(text))
}

/// A word, and the rest.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// A place, in which spaces may stand between quotes, and the rest.
fn split_place(text: &str) -> (&str, &str) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = text.find(|c: char| {
        let ends = c.is_whitespace() && !is_quoted;
        if c == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let (place, rest) = text.split_at(end.unwrap_or(text.len()));
    (place, rest.trim())
}

/// A place from `here` on.
pub(crate) fn below(here: &Place, text: &str) -> Result<Place> {
    let place: Place = text.parse()?;
    Ok(place.names().iter().fold(here.clone(), |place, name| place.at(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Order {
        Order::read(line, &"vswitch.red".parse().unwrap()).unwrap()
    }

    #[test]
    fn lines_are_read_from_where_one_is() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        let value = |text: &str| Some(text.to_owned());
        for (line, order) in [
            ("  ", Order::Nothing),
            ("# note", Order::Nothing),
            (
                "set vif.2.mtu 1400",
                Order::Set { place: place("vswitch.red.vif.2.mtu"), value: value("1400") },
            ),
            (
                "set login.\"a b\".role  \"peer\" ",
                Order::Set {
                    place: place("vswitch.red.login.\"a b\".role"),
                    value: value("\"peer\""),
                },
            ),
            (
                "set login.a.password",
                Order::Set { place: place("vswitch.red.login.a.password"), value: None },
            ),
            ("delete vif.2", Order::Delete(place("vswitch.red.vif.2"))),
            ("edit vif.2", Order::Edit(place("vswitch.red.vif.2"))),
            ("show", Order::Show(place("vswitch.red"))),
            ("diff", Order::Diff(None)),
            ("diff 7", Order::Diff(Some(7))),
            ("commit", Order::Commit { confirmed: None, comment: String::new() }),
            (
                "commit --confirmed 5m --comment \"new link\"",
                Order::Commit { confirmed: Some(Span(300_000)), comment: "new link".into() },
            ),
            (
                "rollback 3 --comment back again",
                Order::Rollback { to: 3, comment: "back again".into() },
            ),
            ("quit", Order::Exit),
        ] {
            assert_eq!(read(line), order, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "set",
            "delete",
            "edit",
            "sett x 1",
            "commit now",
            "commit --confirmed soon",
            "rollback",
            "rollback x",
            "up 2",
            "diff x",
            "show a..b",
            "commit --comment",
        ] {
            assert!(Order::read(line, &Place::root()).is_err(), "{line}");
        }
    }

    #[test]
    fn every_verb_is_explained_and_known() {
        for verb in VERBS {
            assert!(HELP.contains(verb) || verb == "help", "{verb}");
            let error = Order::read(verb, &Place::root()).err().map(|error| error.to_string());
            assert!(!error.is_some_and(|error| error.contains("expected one of")), "{verb}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(line in any::<String>()) {
            let _read = Order::read(&line, &Place::root());
        }
    }
}
