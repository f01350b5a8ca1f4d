//! `bench links`: 65 536 links with keys on 4096 vswitches, brought up between two dataplanes of this process, then left
//! alone; and with a flood of strangers' hellos, how soon known links are back after their neighbours restarted.
//!
//! ```text
//! box: 4096 vswitches ◄── a wire of memory ──► nodes: 16 vswitches
//!   ▲ strangers' hellos (--flood)
//! ```
//! Both are whole dataplanes: worker, slow path, management thread, state on disk. All time is real time. Both sides greet
//! each other, and a handshake has two sides: what counts is what the box's own slow path ran from its start on, which is one
//! side of each handshake and all else that the thread does meanwhile.

mod boxes;
mod flood;

use crate::folder::Folder;
use crate::report::{Machine, Measurement, Report};
use boxes::{Keys, NODES, Running, Side};
use dataplane_api::VifId;
use dataplane_api::counters::VifCounter;
use dataplane_client::ClientError;
use dataplane_client::CountersError;
use flood::{Flood, Rate};
use io::memory::wire;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long all links may take to come up.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at the counters.
const LOOK: Duration = Duration::from_millis(20);
/// After the last link came up, before it is idle.
const SETTLE: Duration = Duration::from_secs(10);
/// Frames on the wire, each way.
const WIRE: usize = 4096;
/// Bars: handshakes a second and core; share of a core when idle; seconds until known links are back in a flood.
const HANDSHAKES_MIN: f64 = 5000.0;
const IDLE_MAX: f64 = 0.5;
const BACK_MAX: f64 = 5.0;

/// Which handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshakes {
    /// What every node has.
    CryptoAuth,
    /// Of nodes that are known to have it.
    Noise,
}

impl Handshakes {
    fn kind(self) -> dataplane_api::Handshake {
        match self {
            Self::CryptoAuth => dataplane_api::Handshake::CryptoAuth,
            Self::Noise => dataplane_api::Handshake::Noise,
        }
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Vswitches of the box, with sixteen links each.
    pub vswitches: u16,
}

impl Size {
    fn links(self) -> usize {
        usize::from(self.vswitches) * usize::from(NODES)
    }
}

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many links.
    pub size: Size,
    /// Which handshakes.
    pub handshakes: Handshakes,
    /// How long they are left alone.
    pub idle: Duration,
    /// Restart the nodes while strangers call.
    pub flood: bool,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum LinksBenchError {
    /// A dataplane did not start, or did not end well.
    #[error("a dataplane of the bench: {0:#}")]
    Dataplane(anyhow::Error),
    /// Its files.
    #[error("files of the bench: {0}")]
    Files(#[from] std::io::Error),
    /// Its counters.
    #[error(transparent)]
    Counters(#[from] CountersError),
    /// It did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No network for the flood.
    #[error(transparent)]
    Lab(#[from] lab::LabError),
    /// No device, or no frames for it.
    #[error(transparent)]
    Io(#[from] io::IoError),
    /// Links did not come up.
    #[error("{up} of {all} links came up within {} s", PATIENCE.as_secs())]
    Down {
        /// How many did.
        up: usize,
        /// How many were to.
        all: usize,
    },
}

/// Measures it.
///
/// # Errors
/// [`LinksBenchError`].
pub fn run(options: Options) -> Result<Report, LinksBenchError> {
    let folder = Folder::new("links")?;
    let dirs = ["box", "nodes"].map(|name| folder.path().join(name));
    dirs.iter().try_for_each(std::fs::create_dir_all)?;
    let keys = Keys::new(options.size);
    let flood = options.flood.then(|| Flood::new(options.size)).transpose()?;
    let plan = |side, dir: &PathBuf| {
        boxes::planned(side, dir, options.size, options.flood).map_err(LinksBenchError::Dataplane)
    };
    // The port of the flood is a device of its namespace.
    let box_plan = flood::within(flood.as_ref(), || plan(Side::Box, &dirs[0]))?;
    let node_plan = plan(Side::Nodes, &dirs[1])?;
    let [box_memory, node_memory] =
        boxes::memory(&box_plan, &node_plan).map_err(LinksBenchError::Dataplane)?;
    let pages = box_memory.umem.pages().to_string();
    let (here, there) = wire(WIRE);

    let mut found = Found::default();
    let before = boxes::resident_bytes();
    let made = (box_plan, box_memory);
    let tested = flood::within(flood.as_ref(), || {
        Running::start(Side::Box, &dirs[0], &keys, options.handshakes, made, here)
    })?;
    found.box_bytes = boxes::resident_bytes() - before;
    let made = (node_plan, node_memory);
    let start = || -> Result<Running, LinksBenchError> {
        let nodes = Running::start(Side::Nodes, &dirs[1], &keys, options.handshakes, made, there)?;
        let since = Instant::now();
        wait([&tested, &nodes], options.size)?;
        found.seconds = since.elapsed().as_secs_f64();
        Ok(nodes)
    };
    let nodes = match &flood {
        Some(flood) => {
            let (nodes, rate) = flood.during(|| {
                let rate = Rate::of(&tested)?;
                let nodes = start()?;
                Ok((nodes, rate.until_now(&tested)?))
            })?;
            found.strangers_per_second = rate;
            nodes
        }
        None => start()?,
    };
    found.slow_path_seconds = boxes::cpu_seconds(&tested.slow_path);
    found.all_bytes = boxes::resident_bytes() - before;
    if !options.flood {
        found.leave_alone(&tested, options)?;
    }
    nodes.stop()?;
    tested.stop()?;
    Ok(found.report(options, &pages))
}

/// Until every link of both is established.
fn wait(sides: [&Running; 2], size: Size) -> Result<(), LinksBenchError> {
    let all = size.links();
    let counters: Vec<_> = sides.iter().map(|side| side.counters()).collect::<Result<_, _>>()?;
    let vifs = || (0..).map(VifId).take(all);
    let since = Instant::now();
    loop {
        let up = |file: &dataplane_client::CounterFile| {
            vifs().filter(|vif| file.vif(*vif, VifCounter::Opened) > 0).count()
        };
        let up = counters.iter().map(up).min().unwrap_or(0);
        // One that was up may have begun again since, or be up on one side alone.
        if up == all && sides[0].is_up()? && sides[1].is_up()? {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            return Err(LinksBenchError::Down { up, all });
        }
        sleep(LOOK);
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    /// From the start of the nodes until all links were up.
    seconds: f64,
    /// What the box's slow path ran from its start until then.
    slow_path_seconds: f64,
    box_bytes: f64,
    all_bytes: f64,
    strangers_per_second: f64,
    /// Shares of a core, idle.
    idle_slow_path: f64,
    idle_worker: f64,
    lost: usize,
}

impl Found {
    /// Nothing but keep-alives; then every link must be up, by the session that it had.
    fn leave_alone(&mut self, tested: &Running, options: Options) -> Result<(), LinksBenchError> {
        sleep(SETTLE);
        let sessions = |links: &[dataplane_api::status::LinkStatus]| -> Vec<u64> {
            links.iter().map(|link| link.sessions).collect()
        };
        let before = sessions(&tested.links()?);
        sleep(SETTLE / 10);
        let (slow_path, worker) =
            (boxes::cpu_seconds(&tested.slow_path), boxes::cpu_seconds(&tested.workers));
        let since = Instant::now();
        sleep(options.idle);
        let length = since.elapsed().as_secs_f64();
        self.idle_slow_path = (boxes::cpu_seconds(&tested.slow_path) - slow_path) / length;
        self.idle_worker = (boxes::cpu_seconds(&tested.workers) - worker) / length;
        let links = tested.links()?;
        let again = sessions(&links);
        let kept = links
            .iter()
            .zip(before.iter().zip(&again))
            .filter(|(link, (before, again))| link.state == "ESTABLISHED" && before == again);
        self.lost = options.size.links() - kept.count();
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "some ten thousand")]
    fn report(&self, options: Options, pages: &str) -> Report {
        let (links, mut notes) = (options.size.links() as f64, Vec::new());
        let one = |name: &str, unit, value| Measurement::of_rounds(name, unit, &[value]);
        let mut bar = |name: &str, value: f64, bound: &str, holds: bool| {
            let holds = if holds { "holds" } else { "MISSED" };
            notes.push(format!("{name} {value:.2}, {bound}: {holds}"));
        };
        let mut results = vec![
            one("links", "", links),
            one("vswitches", "", options.size.vswitches.into()),
            one("all_up_seconds", "s", self.seconds),
        ];
        if options.flood {
            let value = self.seconds;
            bar("all_up_seconds", value, &format!("at most {BACK_MAX}"), value <= BACK_MAX);
            results.push(one("strangers_per_second", "", self.strangers_per_second));
        } else {
            let per_core = links / self.slow_path_seconds;
            let least = format!("at least {HANDSHAKES_MIN}");
            bar("handshakes_per_core_second", per_core, &least, per_core >= HANDSHAKES_MIN);
            let idle = self.idle_slow_path;
            bar("idle_slow_path_share", idle, &format!("at most {IDLE_MAX}"), idle <= IDLE_MAX);
            bar("links_lost", self.lost as f64, "none", self.lost == 0);
            results.extend([
                one("handshakes_per_core_second", "", per_core),
                one("slow_path_seconds", "s", self.slow_path_seconds),
                one("idle_seconds", "s", options.idle.as_secs_f64()),
                one("idle_slow_path_share", "core", idle),
                one("idle_worker_share", "core", self.idle_worker),
                one("links_lost", "", self.lost as f64),
                // The nodes have as many links, on few vswitches.
                one("bytes_per_link", "B", self.all_bytes / links / 2.0),
                one(
                    "bytes_per_vswitch_with_its_links",
                    "B",
                    self.box_bytes / f64::from(options.size.vswitches),
                ),
            ]);
        }
        Report { machine: Machine::read(pages), results, notes }
    }
}
