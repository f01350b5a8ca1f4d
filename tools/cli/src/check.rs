//! `check`: what of this machine and a configuration works, hurts or is refused. Starts nothing.

use crate::output::{OutputArgs, print_json};
use crate::table::{Side, Table};
use anyhow::{Result, bail};
use clap::Args;
use daemon::{Finding, Level};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Configuration file to check this machine against
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command; an error if something is refused, so that scripts see it too.
pub(crate) fn run(args: &CheckArgs, out: &mut dyn Write) -> Result<()> {
    let findings = daemon::check(&crate::config::read(&args.config)?);
    if args.output.json {
        print_json(out, &json!({ "findings": findings }))?;
    } else {
        write!(out, "{}", table(&findings))?;
    }
    out.flush()?;
    match findings.iter().filter(|finding| finding.level == Level::Refused).count() {
        0 => Ok(()),
        refused => bail!("{refused} of {} would keep the dataplane from starting", findings.len()),
    }
}

/// The worst first.
fn table(findings: &[Finding]) -> Table {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let mut table = Table::new(&[("", Side::Left), ("what", Side::Left), ("finding", Side::Left)]);
    for Finding { level, subject, sentence } in sorted {
        table.row(vec![level.to_string(), subject.clone(), sentence.clone()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_comes_first() {
        let finding = |level, subject: &str| Finding {
            level,
            subject: subject.into(),
            sentence: "a sentence".into(),
        };
        let text =
            table(&[finding(Level::Works, "cores"), finding(Level::Refused, "port x")]).to_string();
        let at = |word| text.find(word).unwrap();
        assert!(at("port x") < at("cores"), "{text}");
    }

    #[test]
    fn a_refusal_is_a_failure_of_the_command() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("box.toml");
        std::fs::write(&config, "[[port]]\nname = \"no-such-dev\"\n").unwrap();
        let args = CheckArgs { config, output: OutputArgs { json: true } };
        let mut out = Vec::new();
        assert!(run(&args, &mut out).unwrap_err().to_string().contains("starting"));
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(json["findings"].as_array().unwrap().iter().any(|f| f["level"] == "refused"));
    }
}
