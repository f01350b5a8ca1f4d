//! `ping`: switch pings along a path, from one of the box's vswitches.

use crate::connect::Process;
use crate::label::Label;
use crate::output::{OutputArgs, print_json};
use crate::{ProcessArgs, units};
use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;
use std::io::Write;
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub(crate) struct PingArgs {
    /// Path to ping along: begins with the vswitch's own director
    label: Label,
    /// Vswitch to send from
    #[arg(long)]
    vswitch: String,
    /// Pings to send
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Milliseconds between two pings
    #[arg(long, default_value_t = 1000)]
    interval_ms: u64,
    /// Milliseconds to wait for an answer
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    timeout_ms: u32,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What came of all pings.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Summary {
    sent: u32,
    received: u32,
    /// Protocol version of the last answer.
    version: Option<u32>,
    min_ns: Option<u64>,
    mean_ns: Option<u64>,
    max_ns: Option<u64>,
    round_trips_ns: Vec<Option<u64>>,
}

impl Summary {
    fn new(answers: &[Option<(u64, u32)>]) -> Self {
        let times: Vec<u64> = answers.iter().flatten().map(|(nanos, _)| *nanos).collect();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            sent: count(answers.len()),
            received: count(times.len()),
            version: answers.iter().flatten().last().map(|(_, version)| *version),
            min_ns: times.iter().min().copied(),
            mean_ns: times.iter().sum::<u64>().checked_div(times.len() as u64),
            max_ns: times.iter().max().copied(),
            round_trips_ns: answers.iter().map(|answer| answer.map(|(nanos, _)| nanos)).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{} sent, {} answered", self.sent, self.received);
        if let (Some(min), Some(mean), Some(max)) = (self.min_ns, self.mean_ns, self.max_ns) {
            let [min, mean, max] = [min, mean, max].map(units::nanos);
            text.push_str(&format!("; round trip min {min}, mean {mean}, max {max}"));
        }
        text
    }
}

/// Runs the command.
pub(crate) fn run(args: &PingArgs, out: &mut dyn Write) -> Result<()> {
    let mut process = Process::connect(&args.process)?;
    let mut answers = Vec::new();
    for sequence in 1..=args.count {
        let sent = Instant::now();
        let answer = process.ping(&args.vswitch, args.label.0, args.timeout_ms)?;
        answers.push(answer);
        if !args.output.json {
            writeln!(out, "{}", line(sequence, args.label, answer, args.timeout_ms))?;
            out.flush()?;
        }
        if sequence < args.count {
            std::thread::sleep(
                Duration::from_millis(args.interval_ms).saturating_sub(sent.elapsed()),
            );
        }
    }
    let summary = Summary::new(&answers);
    if args.output.json {
        print_json(out, &summary)?;
    } else {
        writeln!(out, "{}", summary.text())?;
    }
    ensure!(
        summary.received > 0,
        "nobody answered along {} from vswitch {}; `switchyard explain {} --vswitch {}` shows how far this box would \
         take the packet",
        args.label,
        args.vswitch,
        args.label,
        args.vswitch
    );
    Ok(())
}

fn line(sequence: u32, label: Label, answer: Option<(u64, u32)>, timeout_ms: u32) -> String {
    match answer {
        Some((nanos, version)) => {
            format!(
                "{label}: ping {sequence} answered in {} by version {version}",
                units::nanos(nanos)
            )
        }
        None => format!("{label}: ping {sequence} not answered within {timeout_ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_only_answers() {
        let summary = Summary::new(&[Some((100_000, 22)), None, Some((300_000, 21))]);
        assert_eq!(
            summary.text(),
            "3 sent, 2 answered; round trip min 100 µs, mean 200 µs, max 300 µs"
        );
        assert_eq!(summary.version, Some(21));
        assert_eq!(Summary::new(&[None]).text(), "1 sent, 0 answered");
    }

    #[test]
    fn each_ping_has_its_line() {
        assert_eq!(
            line(1, Label(0x13), Some((12_340, 22)), 5),
            "0000.0000.0000.0013: ping 1 answered in 12.3 µs by version 22"
        );
        assert_eq!(
            line(2, Label(0x13), None, 5),
            "0000.0000.0000.0013: ping 2 not answered within 5 ms"
        );
    }
}
