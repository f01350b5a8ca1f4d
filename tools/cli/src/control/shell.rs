//! `configure`: the configuration by hand: a candidate is changed place by place, looked at, and committed. From a terminal
//! with completion; else the lines of standard input one by one, until one fails.

mod complete;
mod order;

use super::ControlArgs;
use super::client::Client;
use super::config::actions::Desk;
use super::config::{How, value};
use super::list::clean;
use crate::output::Exit;
use crate::secret;
use anyhow::{Context, Result};
use clap::Args;
use complete::Helper;
use domain::tree::Place;
use order::Order;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

/// Longest line of a script, bytes: a place and a value.
const LINE_LEN_MAX: usize = 1 << 20;

/// Change the configuration by hand, with completion; `help` says how
#[derive(Args, Debug)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    control: ControlArgs,
}

/// Runs the command.
pub(crate) fn run(args: &ShellArgs, out: &mut dyn Write) -> Result<()> {
    let client = args.control.client()?;
    let mut shell = Shell::new(&client, &args.control, out)?;
    if std::io::stdin().is_terminal() {
        shell.converse()
    } else {
        shell.obey(&mut std::io::stdin().lock())
    }
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    End,
}

struct Shell<'a> {
    desk: Desk<'a>,
    here: Place,
    /// For completion.
    tree: serde_json::Value,
}

impl<'a> Shell<'a> {
    fn new(client: &'a Client, control: &'a ControlArgs, out: &'a mut dyn Write) -> Result<Self> {
        let mut desk = Desk::new(client, control, out);
        let tree = desk.candidate()?;
        Ok(Self { desk, here: Place::root(), tree })
    }

    /// With a person. What goes wrong is said, and the next line is asked for.
    fn converse(&mut self) -> Result<()> {
        let config = Config::builder().auto_add_history(false).build();
        let mut editor = Editor::<Helper, MemHistory>::with_history(config, MemHistory::new())?;
        loop {
            editor.set_helper(Some(Helper::new(self.tree.clone(), self.here.clone())));
            let line = match editor.readline(self.prompt().as_str()) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error).context("reading the terminal"),
            };
            // A password is not to be found by going back.
            if !line.contains("password") {
                editor.add_history_entry(&line)?;
            }
            match self.line(&line) {
                Ok(Flow::On) => {}
                Ok(Flow::End) => return Ok(()),
                // What was wrong was said.
                Err(error) if error.is::<Exit>() => {}
                Err(error) => writeln!(std::io::stderr(), "{error:#}")?,
            }
            self.desk.out().flush()?;
        }
    }

    fn prompt(&self) -> String {
        let name = clean(super::list::str_at(&self.tree, "/box/name"));
        let name = if name.is_empty() { "switchyard" } else { name.as_str() };
        match self.here.names() {
            [] => format!("{name}# "),
            _ => format!("{name} {}# ", self.here),
        }
    }

    /// Line by line, without a person: the first that fails ends it.
    fn obey(&mut self, lines: &mut dyn BufRead) -> Result<()> {
        for (at, line) in lines.lines().enumerate() {
            let at = || format!("line {}", at + 1);
            let line = line.with_context(at)?;
            anyhow::ensure!(
                line.len() <= LINE_LEN_MAX,
                "{}: longer than {LINE_LEN_MAX} bytes",
                at()
            );
            if self.line(&line).with_context(at)? == Flow::End {
                break;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<Flow> {
        match Order::read(line, &self.here)? {
            Order::Nothing => {}
            Order::Set { place, value } => {
                let value = match value {
                    Some(text) => value::read(&place, &text)?,
                    None => asked(&place)?,
                };
                self.desk.set(&place, value)?;
                self.look()?;
            }
            Order::Delete(place) => {
                self.desk.delete(&place)?;
                self.look()?;
            }
            Order::Edit(place) => self.here = place,
            Order::Up => self.here = above(&self.here),
            Order::Top => self.here = Place::root(),
            Order::Show(place) => self.desk.show(&place, true)?,
            Order::Diff(None) => self.desk.diff()?,
            Order::Diff(Some(commit)) => self.desk.commit_diff(commit)?,
            Order::Validate => self.desk.validate()?,
            Order::Commit { confirmed, comment } => {
                self.desk.commit(&How { confirmed, comment })?;
                self.look()?;
            }
            Order::Confirm => self.desk.confirm()?,
            Order::Rollback { to, comment } => {
                self.desk.rollback(to, &comment)?;
                self.look()?;
            }
            Order::Rebase => {
                self.desk.rebase()?;
                self.look()?;
            }
            Order::Discard => {
                self.desk.discard()?;
                self.look()?;
            }
            Order::History => self.desk.history(50)?,
            Order::Help => self.desk.out().write_all(order::HELP.as_bytes())?,
            Order::Exit => return Ok(Flow::End),
        }
        Ok(Flow::On)
    }

    fn look(&mut self) -> Result<()> {
        self.tree = self.desk.candidate()?;
        Ok(())
    }
}

/// A value that was not said: a password is asked for without showing it.
fn asked(place: &Place) -> Result<serde_json::Value> {
    anyhow::ensure!(value::is_password(place), "{place}: say a value");
    let password = secret::line(Path::new("-"), &place.to_string())?;
    Ok(serde_json::Value::String(password.to_string()))
}

fn above(place: &Place) -> Place {
    let names = place.names();
    let above = names.split_last().map(|(_, above)| above).unwrap_or_default();
    above.iter().fold(Place::root(), |place, name| place.at(name))
}
