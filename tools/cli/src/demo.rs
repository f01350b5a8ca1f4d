//! `demo`: a box with two tenants between two neighbourhoods, real packets through it, and what becomes of them.
//!
//! ```text
//!  namespace west            namespace of the box                    namespace east
//!  generator + sink ══veth══ west │ switchyard run │ east ══veth══ generator + sink
//! ```

mod config;
mod drive;
mod gather;
mod market;
mod network;
mod plan;
mod process;
mod report;
mod rights;

use crate::connect::Process;
use crate::output::{OutputArgs, print_json};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use config::Files;
use network::Network;
use plan::Scene;
use process::Dataplane;
use report::Report;
use rights::Rights;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use traffic::{Crew, Scenario};

/// Between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks for a signal or a process that ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// After the last frame, the box's counters are as good as still.
const SETTLE: Duration = Duration::from_millis(100);
/// Home, and clear what is below.
const REDRAW: &str = "\x1b[H\x1b[J";

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Stop after this many seconds; without it, Ctrl-C ends the demo. Of the market: how long its three parts are watched
    /// together
    #[arg(long)]
    seconds: Option<f64>,
    /// What to show
    #[arg(long, value_enum, default_value_t)]
    scene: Scene,
    /// Packets a second, sent from each side
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// Seed of what is sent
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Do without root's rights even if they are there: a user namespace and AF_PACKET
    #[arg(long)]
    rootless: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub(crate) fn run(args: &DemoArgs, out: &mut dyn Write) -> Result<()> {
    // First of all: a process with threads cannot enter a user namespace.
    let rights = Rights::take(args.rootless)?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("waiting for Ctrl-C")?;
    let started = Instant::now();
    // Dropped in reverse: neighbours, box, network, files.
    let directory = tempfile::Builder::new()
        .prefix("switchyard-demo-")
        .tempdir()
        .context("a place for files")?;
    let network = Network::build()?;
    let least = args.scene.rate_min();
    ensure!(args.rate >= least, "--rate {}: this scene needs at least {least}", args.rate);
    if args.scene == Scene::Market {
        return market::run(args, out, (&network, directory.path(), rights), signals);
    }
    let spec = plan::spec(args.scene, args.rate);
    let scenario = plan::scenario(args.scene, &spec)?;
    let files = config::write(directory.path(), spec, rights)?;
    let mut dataplane = launch(&network, &files)?;
    let mut process = dataplane.ready()?;
    let mut drive = drive::start(&network, &scenario, rights, args.rate, args.seed)?;
    if !args.output.json {
        writeln!(
            out,
            "the box is up after {:.1} s; Ctrl-C ends the demo",
            started.elapsed().as_secs_f64()
        )?;
        out.flush()?;
    }
    let sending = Instant::now();
    let mut screen = Screen::new(args.output);
    let mut next = REPORT_INTERVAL;
    while !is_over(&mut signals, sending.elapsed(), args.seconds) {
        dataplane.still_runs()?;
        drive.still_runs().context("a neighbour's wire")?;
        if sending.elapsed() >= next {
            next += REPORT_INTERVAL;
            screen.show(out, look(&mut process, &drive, &scenario, sending)?)?;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    let seconds = sending.elapsed().as_secs_f64();
    let driven = drive.finish().context("a neighbour's wire")?;
    let driven = traffic::Report::join(&scenario, driven);
    std::thread::sleep(SETTLE);
    let report = gather::report(seconds, &process.snapshot()?, &process.leases()?, &driven);
    finish(args, out, &report)
}

/// Starts this program as the dataplane, inside the box's namespace.
fn launch(network: &Network, files: &Files) -> Result<Dataplane> {
    let program = std::env::current_exe().context("finding this program")?;
    let log = File::create(&files.log).context("making the box's log")?;
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(&files.config).arg("--until-stdin-closes");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    let child = network.the_box.run(|| command.spawn())?.context("starting the dataplane")?;
    Ok(Dataplane::new(child, files.socket.clone(), files.log.clone()))
}

fn is_over(signals: &mut Signals, elapsed: Duration, seconds: Option<f64>) -> bool {
    signals.pending().next().is_some()
        || seconds.is_some_and(|seconds| elapsed.as_secs_f64() >= seconds)
}

fn look(
    process: &mut Process,
    drive: &Crew,
    scenario: &Scenario,
    since: Instant,
) -> Result<Report> {
    let (snapshot, leases) = (process.snapshot()?, process.leases()?);
    let driven = drive.report(scenario);
    Ok(gather::report(since.elapsed().as_secs_f64(), &snapshot, &leases, &driven))
}

/// Where reports are shown while traffic runs: drawn over each other, a line each, or not at all.
struct Screen {
    style: Style,
    before: Option<Report>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Redraw,
    Lines,
    Silent,
}

impl Screen {
    fn new(output: OutputArgs) -> Self {
        let style = match (output.json, std::io::stdout().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Redraw,
            (false, false) => Style::Lines,
        };
        Self { style, before: None }
    }

    fn show(&mut self, out: &mut dyn Write, report: Report) -> Result<()> {
        match self.style {
            Style::Redraw => write!(
                out,
                "{REDRAW}{}\nCtrl-C ends the demo\n",
                report.text(self.before.as_ref())
            )?,
            Style::Lines => writeln!(out, "{}", report.line(self.before.as_ref()))?,
            Style::Silent => {}
        }
        self.before = Some(report);
        Ok(out.flush()?)
    }
}

fn finish(args: &DemoArgs, out: &mut dyn Write, report: &Report) -> Result<()> {
    if args.output.json {
        print_json(out, report)?;
    } else {
        write!(out, "\n{}", report.text(None))?;
    }
    out.flush()?;
    match report.failure() {
        Some(failure) => bail!("the demo failed: {failure}"),
        None => Ok(()),
    }
}
