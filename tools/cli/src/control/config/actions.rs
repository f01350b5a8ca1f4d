//! What is done with the configuration, by `config` and `configure` alike.

use super::How;
use crate::control::ControlArgs;
use crate::control::client::{Client, Reply, Request};
use crate::control::human::instant;
use crate::control::list::{Column, Form, all, clean, items_at, str_at, table, text};
use crate::control::problem::{ApiError, Flaw};
use crate::output::{Exit, print_json};
use anyhow::{Context, Result, bail};
use domain::tree::Place;
use hyper::Method;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// What `config apply --check` exits with if something would change.
const WOULD_CHANGE: u8 = 3;

const CANDIDATE: [&str; 2] = ["config", "candidate"];
const HISTORY: [Column; 4] = [
    ("commit", "/id", Form::Text),
    ("time", "/at", Form::Instant),
    ("author", "/author", Form::Text),
    ("comment", "/comment", Form::Text),
];

/// Where somebody works on the configuration.
pub(crate) struct Desk<'a> {
    client: &'a Client,
    control: &'a ControlArgs,
    out: &'a mut dyn Write,
    /// Version of the candidate that he saw last; `None`: whatever it is.
    version: Option<u64>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(
        client: &'a Client,
        control: &'a ControlArgs,
        out: &'a mut dyn Write,
    ) -> Self {
        Self { client, control, out, version: None }
    }

    /// Where things are printed.
    pub(crate) fn out(&mut self) -> &mut dyn Write {
        self.out
    }

    /// The whole candidate. From now on it is the one that was seen.
    pub(crate) fn candidate(&mut self) -> Result<Value> {
        let reply = self.client.ask(Request::get(&CANDIDATE))?;
        self.version = reply.etag;
        reply.json()
    }

    pub(crate) fn show(&mut self, place: &Place, candidate: bool) -> Result<()> {
        let path: &[&str] = if candidate { &CANDIDATE } else { &CANDIDATE[..1] };
        let asked = Request::get(path).query("place", place);
        if self.control.json() {
            let value = self.client.ask(asked)?.json()?;
            return print_json(self.out, &value);
        }
        let reply = match self.client.ask(asked.query("format", "toml")) {
            // What is no table is no TOML either.
            Err(error) if is(&error, "not_acceptable") => {
                let value = self.client.ask(Request::get(path).query("place", place))?.json()?;
                return Ok(writeln!(self.out, "{}", text(&value))?);
            }
            reply => reply?,
        };
        let shown: String = reply.text()?.lines().map(|line| clean(line) + "\n").collect();
        Ok(self.out.write_all(shown.as_bytes())?)
    }

    pub(crate) fn set(&mut self, place: &Place, value: Value) -> Result<()> {
        self.edit(&json!({ "set": { "place": place, "value": value } }))
    }

    pub(crate) fn delete(&mut self, place: &Place) -> Result<()> {
        self.edit(&json!({ "delete": { "place": place } }))
    }

    fn edit(&mut self, edit: &Value) -> Result<()> {
        let asked = Request::new(Method::PATCH, &CANDIDATE).json(&json!({ "edits": [edit] }));
        let reply = self.ask_about_candidate(asked)?;
        let version = reply.json()?;
        self.control.print(self.out, &version, |_| String::new())
    }

    /// Asks about the candidate that was seen. What another session did to it is told once, and then seen.
    fn ask_about_candidate(&mut self, asked: Request) -> Result<Reply> {
        match self.client.ask(asked.if_match(self.version)) {
            Ok(reply) => {
                self.version = self.version.and(reply.etag);
                Ok(reply)
            }
            Err(error) if is(&error, "version") => {
                self.version = self.version.and(self.client.ask(Request::get(&CANDIDATE))?.etag);
                Err(error
                    .context("another session changed this candidate; look at it and try again"))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn diff(&mut self) -> Result<()> {
        let diff = self.client.get(&["config", "candidate", "diff"])?;
        self.control.print(self.out, &diff, differences)
    }

    pub(crate) fn commit_diff(&mut self, commit: u64) -> Result<()> {
        let diff = self.client.get(&["config", "history", &commit.to_string()])?;
        self.control.print(self.out, &diff, |diff| {
            let head = diff.pointer("/commit").map(|commit| table(&HISTORY, [commit], ""));
            head.unwrap_or_default() + &differences(diff)
        })
    }

    pub(crate) fn validate(&mut self) -> Result<()> {
        let found = self.client.post(&["config", "candidate", "validate"], &Value::Null)?;
        let flaws = flaws(&found)?;
        let none = "the candidate is in order\n";
        self.control.print(self.out, &found, |_| {
            if flaws.is_empty() { none.into() } else { said(&flaws) }
        })?;
        if flaws.is_empty() { Ok(()) } else { Err(Exit(1).into()) }
    }

    pub(crate) fn commit(&mut self, how: &How) -> Result<()> {
        let seconds = how.confirmed.map(|span| span.seconds()).transpose()?;
        let asked = json!({ "comment": how.comment, "confirm_s": seconds });
        let asked = Request::post(&["config", "candidate", "commit"]).json(&asked);
        let reply = self.ask_about_candidate(asked)?;
        self.version = None;
        self.print_committed(&reply.json()?)
    }

    pub(crate) fn confirm(&mut self) -> Result<()> {
        let committed = self.client.post(&["config", "confirm"], &Value::Null)?;
        self.control
            .print(self.out, &committed, |it| format!("commit {} stays\n", number(it, "commit")))
    }

    pub(crate) fn rollback(&mut self, to: u64, comment: &str) -> Result<()> {
        let asked = json!({ "to": to, "comment": comment });
        let committed = self.client.post(&["config", "rollback"], &asked)?;
        self.print_committed(&committed)
    }

    pub(crate) fn rebase(&mut self) -> Result<()> {
        let rebased = self.client.post(&["config", "candidate", "rebase"], &Value::Null)?;
        self.version = None;
        self.control.print(self.out, &rebased, |rebased| {
            let dropped = items_at(rebased, "/dropped").iter().map(text).collect::<Vec<_>>();
            if dropped.is_empty() {
                return "the candidate has what others changed\n".to_owned();
            }
            format!("others changed the same, and theirs stays: {}\n", dropped.join(", "))
        })
    }

    pub(crate) fn discard(&mut self) -> Result<()> {
        self.ask_about_candidate(Request::new(Method::DELETE, &CANDIDATE))?;
        self.version = None;
        let done = json!({ "discarded": true });
        self.control.print(self.out, &done, |_| "the candidate is what runs\n".to_owned())
    }

    pub(crate) fn history(&mut self, limit: u32) -> Result<()> {
        let list = all(self.client, || Request::get(&["config", "history"]), Some(limit))?;
        let show = |list: &Value| table(&HISTORY, items_at(list, "/items"), "no commits");
        self.control.print(self.out, &list, show)
    }

    pub(crate) fn export(&mut self, file: Option<&Path>) -> Result<()> {
        let reply = self.client.ask(Request::get(&["config"]).query("format", "toml"))?;
        let text = reply.text()?;
        let Some(path) = file else { return Ok(self.out.write_all(text.as_bytes())?) };
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        let written = made.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.with_context(|| format!("writing {}", path.display()))?;
        let done = json!({ "path": path.display().to_string() });
        self.control
            .print(self.out, &done, |_| format!("the configuration is in {}\n", path.display()))
    }

    pub(crate) fn import(&mut self, toml: &str) -> Result<()> {
        let reply = self.ask_about_candidate(Request::new(Method::PUT, &CANDIDATE).toml(toml))?;
        let version = reply.json()?;
        let show = |_: &Value| "it is the candidate; look at it with `diff`\n".to_owned();
        self.control.print(self.out, &version, show)
    }

    pub(crate) fn apply(&mut self, toml: &str, how: &How) -> Result<()> {
        let seconds = how.confirmed.map(|span| span.seconds()).transpose()?;
        let asked = Request::post(&["config", "apply"]).query_if("confirm_s", seconds).toml(toml);
        let comment = Some(&how.comment).filter(|comment| !comment.is_empty());
        let reply = self.client.ask(asked.query_if("comment", comment))?;
        self.print_committed(&reply.json()?)
    }

    pub(crate) fn check(&mut self, toml: &str) -> Result<()> {
        let asked = Request::post(&["config", "apply", "check"]).toml(toml);
        let found = self.client.ask(asked)?.json()?;
        let flaws = flaws(&found)?;
        let shown = |found: &Value| differences(found) + &said(&flaws);
        self.control.print(self.out, &found, shown)?;
        match (flaws.is_empty(), items_at(&found, "/changes").is_empty()) {
            (true, true) => Ok(()),
            (true, false) => Err(Exit(WOULD_CHANGE).into()),
            (false, _) => Err(Exit(1).into()),
        }
    }

    fn print_committed(&mut self, committed: &Value) -> Result<()> {
        self.control.print(self.out, committed, said_of_commit)
    }
}

fn is(error: &anyhow::Error, kind: &str) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|error| error.is(kind))
}

fn number(value: &Value, at: &str) -> u64 {
    value.get(at).and_then(Value::as_u64).unwrap_or(0)
}

fn said_of_commit(committed: &Value) -> String {
    let commit = number(committed, "commit");
    if committed.get("changed") == Some(&json!(false)) {
        return format!("nothing to do: commit {commit} is that\n");
    }
    let text = format!("commit {commit} runs, generation {}\n", number(committed, "generation"));
    match committed.get("confirm_until").and_then(Value::as_u64) {
        Some(until) => {
            text + &format!("it goes back at {} unless you confirm it\n", instant(until))
        }
        None => text,
    }
}

/// A line for each place: `+` new, `-` gone, `~` another value.
fn differences(diff: &Value) -> String {
    let line = |change: &Value| {
        let place = clean(str_at(change, "/place"));
        let value =
            |at| change.get(at).filter(|value| !value.is_null()).map(|it| clean(&it.to_string()));
        match (value("old"), value("new")) {
            (Some(old), Some(new)) => format!("~ {place} = {old} -> {new}\n"),
            (None, Some(new)) => format!("+ {place} = {new}\n"),
            (Some(old), None) => format!("- {place} = {old}\n"),
            (None, None) => format!("~ {place}\n"),
        }
    };
    let mut lines: String = items_at(diff, "/changes").iter().map(line).collect();
    if lines.is_empty() {
        lines.push_str("no changes\n");
    }
    for conflict in items_at(diff, "/conflicts") {
        lines +=
            &format!("! {} was changed by somebody else meanwhile: `rebase`\n", text(conflict));
    }
    lines
}

fn flaws(found: &Value) -> Result<Vec<Flaw>> {
    let Some(problems) = found.get("problems") else { bail!("control names no problems") };
    serde_json::from_value(problems.clone()).context("control's problems do not read")
}

fn said(flaws: &[Flaw]) -> String {
    flaws.iter().map(|flaw| format!("{flaw}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_lines() {
        let diff = json!({"changes": [
            {"place": "box.name", "old": "north", "new": "south"},
            {"place": "port.west", "old": null, "new": {"capacity": 5}},
            {"place": "tenant.red", "old": {"id": 1}, "new": null},
        ], "conflicts": ["box.name"]});
        let expected = "\
~ box.name = \"north\" -> \"south\"
+ port.west = {\"capacity\":5}
- tenant.red = {\"id\":1}
! box.name was changed by somebody else meanwhile: `rebase`
";
        assert_eq!(differences(&diff), expected);
        assert_eq!(differences(&json!({"changes": []})), "no changes\n");
    }

    #[test]
    fn a_commit_says_when_it_goes_back() {
        let committed =
            json!({"commit": 4, "generation": 9, "changed": true, "confirm_until": 1000});
        let expected = "commit 4 runs, generation 9\nit goes back at 1970-01-01 00:00:01Z unless you confirm it\n";
        assert_eq!(said_of_commit(&committed), expected);
        let same = json!({"commit": 4, "generation": 9, "changed": false});
        assert_eq!(said_of_commit(&same), "nothing to do: commit 4 is that\n");
    }
}
