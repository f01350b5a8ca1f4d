//! `bench`: what switching costs on this machine, beside what others cost on it.

use crate::output::{OutputArgs, print_json};
use crate::table::{Side, Table};
use anyhow::Result;
use benches::report::Report;
use clap::{Args, Subcommand};
use std::io::Write;

#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// The switch step alone, over packets in memory
    Switch,
    /// The whole pipeline on memory ports, beside testpmd
    Engine,
    /// The box between two veth pairs over AF_XDP, beside a bare loop and testpmd
    Veth,
    /// Sealing and opening bursts of many keys, beside the usual libraries
    Crypto(CryptoArgs),
    /// Verifying announcements and blocks of the PKT chain, beside the C library of PacketCrypt
    Chain(ChainArgs),
    /// A flood on the port of a leased tenant: what he loses, with shedding and without
    Flood,
    /// Many links with keys: how fast they come up, what they cost when idle, and how they fare in a flood of strangers
    Links(LinksArgs),
    /// A commit, a full apply and reads at a box of 4 096 tenants and 65 536 leases, and the memory of control
    Control(ControlArgs),
    /// Leases in virtual time under loads that want to break them, beside exact twins and other methods; and their cost
    Leases(LeasesArgs),
}

#[derive(Args, Clone, Debug)]
struct ControlArgs {
    /// Be the control that is measured
    #[arg(long, hide = true, value_name = "CONFIG")]
    serve: Option<std::path::PathBuf>,
}

#[derive(Args, Clone, Debug)]
struct LeasesArgs {
    /// A few cells instead of all
    #[arg(long)]
    quick: bool,
    /// Only cells whose name contains this, as in 10g_2000_w1_mix_90, and nothing else
    #[arg(long)]
    only: Option<String>,
    /// Draw plots into this folder, as SVG
    #[arg(long)]
    plots: Option<std::path::PathBuf>,
}

#[derive(Args, Clone, Copy, Debug)]
struct LinksArgs {
    /// Vswitches, with sixteen links each
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..=4096))]
    vswitches: u16,
    /// How long the links are left alone, seconds
    #[arg(long, default_value_t = 60)]
    idle: u16,
    /// Noise instead of CryptoAuth
    #[arg(long)]
    noise: bool,
    /// Then let strangers call, a million a second if the machine can, while known links come back
    #[arg(long)]
    flood: bool,
}

#[derive(Args, Clone, Copy, Debug)]
struct ChainArgs {
    /// Neither build nor measure the library
    #[arg(long)]
    alone: bool,
    /// Rounds
    #[arg(long, default_value_t = benches::chain::ROUNDS)]
    rounds: usize,
}

#[derive(Args, Clone, Copy, Debug)]
struct CryptoArgs {
    /// Neither build nor measure the libraries
    #[arg(long)]
    alone: bool,
    /// Rounds, where it is measured alone
    #[arg(long, default_value_t = benches::crypto::ROUNDS, requires = "alone")]
    rounds: usize,
}

/// Runs the command.
pub(crate) fn run(args: &BenchArgs, out: &mut dyn Write) -> Result<()> {
    let report = match args.what.clone() {
        What::Switch => benches::switch::run()?,
        What::Engine => benches::engine::run()?,
        What::Veth => benches::veth::run()?,
        What::Flood => benches::flood::run()?,
        What::Crypto(CryptoArgs { alone: true, rounds }) => {
            benches::crypto::run(Vec::new(), rounds, Vec::new())?
        }
        What::Crypto(CryptoArgs { alone: false, .. }) => benches::crypto::rivals::run()?,
        What::Chain(ChainArgs { alone, rounds }) => benches::chain::run(rounds, alone)?,
        What::Links(LinksArgs { vswitches, idle, noise, flood }) => {
            benches::links::run(benches::links::Options {
                size: benches::links::Size { vswitches },
                idle: std::time::Duration::from_secs(idle.into()),
                handshakes: if noise {
                    benches::links::Handshakes::Noise
                } else {
                    benches::links::Handshakes::CryptoAuth
                },
                flood,
            })?
        }
        What::Control(ControlArgs { serve: Some(config) }) => {
            return control_daemon::run(&control_daemon::Config::read(&config)?);
        }
        What::Control(ControlArgs { serve: None }) => {
            let program = std::env::current_exe()?;
            benches::control::run(|config| {
                let mut control = std::process::Command::new(&program);
                control.args(["bench", "control", "--serve"]).arg(config);
                control
            })?
        }
        What::Leases(LeasesArgs { quick, only, plots }) => {
            benches::leases::run(&benches::leases::Options { quick, only, plots })?
        }
    };
    if args.output.json {
        return print_json(out, &report);
    }
    Ok(write!(out, "{}", text(&report))?)
}

fn text(report: &Report) -> String {
    let machine = &report.machine;
    let mut table = Table::new(&[
        ("figure", Side::Left),
        ("value", Side::Right),
        ("unit", Side::Left),
        ("±", Side::Right),
        ("n", Side::Right),
    ]);
    for result in &report.results {
        table.row(vec![
            result.name.clone(),
            format!("{:.3}", result.value),
            result.unit.clone().into_owned(),
            format!("{:.3}", result.spread),
            result.n.to_string(),
        ]);
    }
    let notes: String = report.notes.iter().map(|note| format!("note: {note}\n")).collect();
    format!(
        "{} at {:.2} GHz, {}, vectors {}, pages {}\n\n{table}{notes}",
        machine.cpu,
        machine.clock_ghz,
        machine.caches.join(", "),
        machine.vector,
        machine.pages
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use benches::report::{Machine, Measurement};

    fn report() -> Report {
        Report {
            machine: Machine {
                cpu: "Some CPU".into(),
                caches: vec!["L1 Data 32K".into(), "L2 Unified 1M".into()],
                clock_ghz: 3.0,
                vector: "AVX2".into(),
                pages: "small".into(),
            },
            results: vec![
                Measurement {
                    name: "label_op_ns".into(),
                    value: 1.75,
                    unit: "ns".into(),
                    spread: 0.0625,
                    n: 7,
                },
                Measurement {
                    name: "ratio".into(),
                    value: 12.0,
                    unit: "ratio".into(),
                    spread: 0.5,
                    n: 7,
                },
            ],
            notes: vec!["no huge pages".into()],
        }
    }

    #[test]
    fn the_table_names_the_machine_first() {
        let expected = "\
Some CPU at 3.00 GHz, L1 Data 32K, L2 Unified 1M, vectors AVX2, pages small

figure        value  unit       ±  n
label_op_ns   1.750  ns     0.062  7
ratio        12.000  ratio  0.500  7
note: no huge pages
";
        assert_eq!(text(&report()), expected);
    }

    #[test]
    fn json_has_the_shape_that_every_bench_prints() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["machine"]["cpu"], "Some CPU");
        for key in ["name", "value", "unit", "spread", "n"] {
            assert!(!json["results"][0][key].is_null(), "{key}");
        }
    }
}
