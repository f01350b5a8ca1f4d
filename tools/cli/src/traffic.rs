//! `traffic`: the neighbours of a box, sending and counting. Speaks cjdns frames on plain links.
//!
//! ```text
//!  this program                              the box
//!  --at west=eth5  ── wire ──────────────── port west
//!  --at east=eth6@other ── wire ─────────── port east     (eth6 is in the network namespace "other")
//! ```

use crate::output::{OutputArgs, print_json};
use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use nix::sched::{CloneFlags, setns};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use traffic::af_packet::AfPacket;
use traffic::af_xdp::{PortEnd, filter_of};
use traffic::crew::Member;
use traffic::live::{LiveSender, Stop};
use traffic::through::all_pairs;
use traffic::{Accounts, Crew, Generator, Load, Report, Scenario, Sent, Sizes, Station, Timing};

/// Between two looks at what the stations tell.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct TrafficArgs {
    /// Streams to send, as a scenario file; `--print-scenario` shows one
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    scenario: Option<PathBuf>,
    /// Send between any two vifs of each vswitch in this configuration of a box
    #[arg(long, value_name = "FILE", required_unless_present = "scenario")]
    config: Option<PathBuf>,
    /// Frame lengths of `--config`'s streams without FCS: `imix`, or lengths in bytes (60,590)
    #[arg(long, default_value = "60", value_parser = sizes)]
    sizes: Sizes,
    /// A port of the box and the device on the other end of its wire, in a named network namespace if one is given
    #[arg(
        long = "at",
        value_name = "PORT=DEVICE[@NAMESPACE]",
        required_unless_present = "print_scenario"
    )]
    wires: Vec<Wire>,
    /// How frames leave and come in
    #[arg(long, value_enum, default_value_t = Backend::AfXdp)]
    backend: Backend,
    /// Packets a second, sent at each port; without it, as fast as they are taken
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Send for so long; Ctrl-C ends it sooner
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Send at most so many frames at each port
    #[arg(long)]
    count: Option<u64>,
    /// Of a thousand frames, forge so many: valid ones, broken in one place
    #[arg(long, default_value_t = 0, value_name = "PER-MILLE", value_parser = clap::value_parser!(u32).range(..=1000))]
    forged: u32,
    /// With one seed the frames are the same, but for their times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the scenario instead of sending it
    #[arg(long)]
    print_scenario: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// AF_XDP sockets
    AfXdp,
    /// Packet sockets: needs no XDP
    AfPacket,
    /// Sent by the kernel as XDP live frames, as fast as a core can; received over AF_XDP
    Live,
}

/// Where a port of the box is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wire {
    port: String,
    device: String,
    namespace: Option<String>,
}

impl FromStr for Wire {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = || anyhow!("expected PORT=DEVICE or PORT=DEVICE@NAMESPACE");
        let (port, rest) = text.split_once('=').ok_or_else(expected)?;
        let (device, namespace) = match rest.split_once('@') {
            Some((device, namespace)) => (device, Some(namespace)),
            None => (rest, None),
        };
        let names = [Some(port), Some(device), namespace];
        // A namespace becomes a path below.
        ensure!(
            names.into_iter().flatten().all(|name| !name.is_empty() && !name.contains('/')),
            expected()
        );
        let namespace = namespace.map(ToOwned::to_owned);
        Ok(Self { port: port.to_owned(), device: device.to_owned(), namespace })
    }
}

fn sizes(text: &str) -> Result<Sizes> {
    if text == "imix" {
        return Ok(Sizes::Imix);
    }
    let lens = text.split(',').map(str::parse).collect::<Result<Vec<u16>, _>>();
    let lens = lens.context("expected `imix`, or lengths in bytes with commas between")?;
    Ok(if let [len] = lens.as_slice() { Sizes::Fixed(*len) } else { Sizes::List(lens) })
}

/// Runs the command.
pub(crate) fn run(args: &TrafficArgs, out: &mut dyn Write) -> Result<()> {
    let scenario = scenario(args)?;
    if args.print_scenario {
        return Ok(write!(out, "{}", toml::to_string(&scenario)?)?);
    }
    let duration = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&asked)).context("waiting for Ctrl-C")?;
    }
    let members = args.wires.iter().map(|wire| member(args, &scenario, wire));
    let members = members.collect::<Result<Vec<_>>>()?;
    let mut crew = Crew::start(members);
    let live = match args.backend {
        Backend::Live => args
            .wires
            .iter()
            .map(|wire| Live::start(args, &scenario, wire))
            .collect::<Result<_>>()?,
        Backend::AfXdp | Backend::AfPacket => Vec::new(),
    };
    let started = Instant::now();
    while !asked.load(Ordering::Relaxed) && started.elapsed() < duration {
        crew.still_runs()?;
        let has_sent =
            if live.is_empty() { crew.has_sent() } else { live.iter().all(Live::has_sent) };
        if has_sent {
            break;
        }
        thread::sleep(LOOK_INTERVAL);
    }
    let sent = live.into_iter().map(Live::finish).collect::<Result<Vec<_>>>()?;
    let sending_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut reports = crew.finish()?;
    for (report, sent) in reports.iter_mut().zip(sent) {
        (report.sent, report.sending_ns) = (sent, sending_ns);
    }
    let report = Report::join(&scenario, reports);
    if args.output.json {
        return print_json(out, &report);
    }
    Ok(write!(out, "{report}")?)
}

fn scenario(args: &TrafficArgs) -> Result<Scenario> {
    let scenario = match (&args.scenario, &args.config) {
        (Some(file), _) => Scenario::read(file)?,
        (None, Some(file)) => {
            let spec = crate::config::spec_of(file)?;
            let config = crate::config::read(file)?;
            let mut streams = Vec::new();
            for vswitch in &spec.vswitches {
                for port in &config.ports {
                    streams.extend(all_pairs(&spec, &vswitch.name, &port.name, &args.sizes)?);
                }
            }
            Scenario { streams }
        }
        (None, None) => bail!("say what to send: --scenario or --config"),
    };
    scenario.check()?;
    Ok(if args.backend == Backend::Live { scenario.one_size_each() } else { scenario })
}

fn touches(stream: &traffic::Stream, port: &str) -> bool {
    stream.from == port || stream.arrival.as_ref().is_some_and(|arrival| arrival.port == port)
}

/// Names of all ports in a scenario, for a message.
fn ports(scenario: &Scenario) -> String {
    let mut names: Vec<&str> = scenario.streams.iter().map(|stream| stream.from.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    crate::names::listed(names.into_iter())
}

/// The neighbours behind one port, their wire open.
fn member(args: &TrafficArgs, scenario: &Scenario, wire: &Wire) -> Result<Member> {
    ensure!(
        scenario.streams.iter().any(|stream| touches(stream, &wire.port)),
        "no stream starts or arrives at a port {:?}; the streams start at {}",
        wire.port,
        ports(scenario)
    );
    let load = Load {
        rate: args.rate,
        count: args.count,
        duration_ns: None,
        forged_per_mille: args.forged,
    };
    // The kernel sends live frames; the station is a sink then.
    let sent_here = match args.backend {
        Backend::Live => Scenario::default(),
        Backend::AfXdp | Backend::AfPacket => scenario.clone(),
    };
    let generator = Generator::new(&sent_here, &wire.port, args.seed, load)?;
    let accounts = Accounts::new(scenario, &wire.port);
    let attempt = || format!("opening {} for port {}", wire.device, wire.port);
    Ok(match args.backend {
        Backend::AfXdp | Backend::Live => {
            let filter = filter_of(scenario, &wire.port);
            let end =
                wire.inside(|| PortEnd::open(&wire.device, &filter))?.with_context(attempt)?;
            Station::new(end, generator, accounts, Timing::default()).into()
        }
        Backend::AfPacket => {
            let end = wire.inside(|| AfPacket::open(&wire.device))?.with_context(attempt)?;
            Station::new(end, generator, accounts, Timing::default()).into()
        }
    })
}

impl Wire {
    /// Runs `work` on a thread in the wire's namespace.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| self.enter().map(|()| work()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves this thread into the wire's namespace.
    fn enter(&self) -> Result<()> {
        let Some(name) = &self.namespace else { return Ok(()) };
        let path = PathBuf::from("/run/netns").join(name);
        let attempt = || format!("entering the network namespace {name}");
        let file = File::open(&path).with_context(attempt)?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(attempt)
    }
}

/// The kernel's sending of live frames at one port.
struct Live {
    stop: Arc<Stop>,
    thread: JoinHandle<Result<Sent>>,
}

impl Live {
    fn start(args: &TrafficArgs, scenario: &Scenario, wire: &Wire) -> Result<Self> {
        let sender = wire.inside(|| LiveSender::new(scenario, &wire.port, &wire.device))??;
        let stop = Arc::<Stop>::default();
        let (told, count, wire) = (Arc::clone(&stop), args.count, wire.clone());
        let thread = thread::spawn(move || {
            wire.enter()?;
            sender.run(count, &told)?;
            Ok(sender.sent()?)
        });
        Ok(Self { stop, thread })
    }

    fn has_sent(&self) -> bool {
        self.thread.is_finished()
    }

    fn finish(self) -> Result<Sent> {
        self.stop.stop();
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_is_a_port_a_device_and_perhaps_a_namespace() {
        let wire: Wire = "west=eth5@other".parse().unwrap();
        assert_eq!(
            (wire.port.as_str(), wire.device.as_str(), wire.namespace.as_deref()),
            ("west", "eth5", Some("other"))
        );
        assert_eq!("west=eth5".parse::<Wire>().unwrap().namespace, None);
        for bad in ["west", "=eth5", "west=", "west=eth5@", "west=eth5@../../etc"] {
            assert!(bad.parse::<Wire>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_a_mix_or_lengths() {
        assert_eq!(sizes("imix").unwrap(), Sizes::Imix);
        assert_eq!(sizes("60").unwrap(), Sizes::Fixed(60));
        assert_eq!(sizes("60,590").unwrap(), Sizes::List(vec![60, 590]));
        assert!(sizes("big").is_err());
    }
}
