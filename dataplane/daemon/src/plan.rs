//! What the process will do: everything of the configuration resolved against this machine. Pure.

use crate::config::{Backend, Config, Port};
use dataplane_api::limits::{
    BURST_MAX, NAME_LEN_MAX, PORTS_MAX, VIFS_MAX, VSWITCHES_MAX, WORKERS_MAX,
};
use dataplane_api::{PortId, WorkerId, counters::Layout};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Longest frame that a 2048-byte chunk takes: head room and tail room are taken off.
const SMALL_CHUNK_FRAME: u32 = 2048 - 256 - 64;
/// The same of a 4096-byte chunk.
const LARGE_CHUNK_FRAME: u32 = 4096 - 256 - 64;
/// Ethernet header and one VLAN tag, which a device's MTU does not count.
const LINK_HEADER: u32 = 18;
/// Frames that a worker has in its hands beside rings and queues: bursts, and what waits for the depot.
const WORKER_FRAMES: usize = 1024;
/// Frames for the slow path's own pings.
pub(crate) const SLOW_PATH_FRAMES: usize = 512;

/// What was found on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Cores that the process may use, ascending.
    pub cores: Vec<usize>,
    /// Devices that the configuration names, as far as they exist.
    pub devices: BTreeMap<String, Device>,
}

/// A network device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Longest payload, bytes.
    pub mtu: u32,
    /// Receive queues.
    pub queues: u32,
}

/// The plan: immutable, printable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Files and times, as configured.
    pub socket: PathBuf,
    /// Shared counters.
    pub counters: PathBuf,
    /// Last good spec.
    pub state_dir: PathBuf,
    /// Longest drain.
    pub drain: Duration,
    /// Clients at once.
    pub clients: usize,
    /// The core of each worker; `None` where it is not pinned.
    pub workers: Vec<Option<usize>>,
    /// Empty rounds before sleep; 0: never.
    pub idle_rounds: u32,
    /// Whether workers that are behind shed by lease.
    pub sheds: bool,
    /// Ports, by id.
    pub ports: Vec<PortPlan>,
    /// Frames in all.
    pub frames: usize,
    /// Bytes from chunk to chunk.
    pub chunk_size: usize,
    /// Sizes of counters and state.
    pub layout: Layout,
    /// Bounds, as configured.
    pub limits: crate::config::Limits,
    /// What is worth knowing.
    pub notices: Vec<String>,
}

/// A port of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// As configured.
    pub config: Port,
    /// Device MTU.
    pub mtu: u32,
    /// Its queues and the worker of each.
    pub queues: Vec<(u32, WorkerId)>,
}

/// A configuration that this machine cannot serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No port.
    #[error("no port is configured: name at least one network device in a [[port]]")]
    NoPort,
    /// Too many.
    #[error("{what}: {found} are configured, at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// Bound.
        max: usize,
    },
    /// A setting that makes no sense.
    #[error("{setting} = {found}: {expected}")]
    Setting {
        /// Its name.
        setting: String,
        /// What it is.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Named twice.
    #[error("port {0}: it is configured twice")]
    PortTwice(String),
    /// No such device.
    #[error("port {0}: there is no such network device in this network namespace")]
    NoDevice(String),
    /// No such queue.
    #[error("port {port} queue {queue}: the device has {queues} (0 to {last})", last = .queues.saturating_sub(1))]
    Queue {
        /// Port.
        port: String,
        /// Asked for.
        queue: u32,
        /// It has.
        queues: u32,
    },
    /// Frames that do not fit.
    #[error(
        "port {port}: its MTU of {mtu} needs chunks of more than {chunk} bytes; set an MTU of at most {max}{hint}"
    )]
    Mtu {
        /// Port.
        port: String,
        /// Its MTU.
        mtu: u32,
        /// Chunk size.
        chunk: usize,
        /// What fits.
        max: u32,
        /// What else could be done.
        hint: &'static str,
    },
    /// A core that is not there.
    #[error("workers.cores: the process may not use core {core}; it may use {allowed:?}")]
    Core {
        /// Asked for.
        core: usize,
        /// May be used.
        allowed: Vec<usize>,
    },
    /// Not enough frames.
    #[error(
        "memory.frames = {found}: rings and queues can hold {needed} at once, and a port that stands still would take another's"
    )]
    Frames {
        /// Configured.
        found: usize,
        /// Needed.
        needed: usize,
    },
}

/// Resolves `config` on `machine`.
///
/// # Errors
/// [`PlanError`], the first thing that cannot work.
pub fn plan(config: &Config, machine: &Machine) -> Result<Plan, PlanError> {
    check_limits(config)?;
    let queues =
        config.ports.iter().map(|port| queues_of(port, machine)).collect::<Result<Vec<_>, _>>()?;
    let mut notices = Vec::new();
    let workers = place_workers(config, machine, &queues, &mut notices)?;
    let ports = assign(config, machine, queues, workers.len())?;
    let chunk_size = chunk_size(config, &ports)?;
    let needed = frames_needed(config, &ports, workers.len());
    let frames = match config.memory.frames {
        0 => needed,
        found if found < needed => return Err(PlanError::Frames { found, needed }),
        found => found,
    };
    let limits = config.limits.clone();
    Ok(Plan {
        socket: config.process.socket.clone(),
        counters: config.process.counters.clone(),
        state_dir: config.process.state_dir.clone(),
        drain: Duration::from_millis(config.process.drain_ms),
        clients: config.process.clients,
        workers,
        idle_rounds: config.workers.idle_rounds,
        sheds: config.workers.shed,
        frames,
        chunk_size,
        layout: Layout { ports: ports.len(), vifs: limits.vifs, vswitches: limits.vswitches },
        ports,
        limits,
        notices,
    })
}

fn check_limits(config: &Config) -> Result<(), PlanError> {
    if config.ports.is_empty() {
        return Err(PlanError::NoPort);
    }
    let limits = &config.limits;
    let bounds = [
        ("ports", config.ports.len(), PORTS_MAX),
        ("limits.vswitches", limits.vswitches, VSWITCHES_MAX),
        ("limits.vifs", limits.vifs, VIFS_MAX),
        ("workers.count", config.workers.count, WORKERS_MAX),
        ("workers.cores", config.workers.cores.len(), WORKERS_MAX),
        ("process.clients", config.process.clients, 1024),
        ("limits.queue_frames", limits.queue_frames, 1 << 20),
        ("limits.hand_off_frames", limits.hand_off_frames, 1 << 16),
        ("limits.punt_frames", limits.punt_frames, 1 << 16),
    ];
    for (what, found, max) in bounds {
        if found > max {
            return Err(PlanError::TooMany { what, found, max });
        }
    }
    let least = [
        ("limits.queue_frames", limits.queue_frames),
        ("limits.hand_off_frames", limits.hand_off_frames),
        ("limits.punt_frames", limits.punt_frames),
        ("limits.vswitches", limits.vswitches),
        ("limits.vifs", limits.vifs),
        ("process.clients", config.process.clients),
    ];
    for (setting, found) in least {
        if found == 0 {
            return Err(PlanError::Setting {
                setting: setting.into(),
                found: "0".into(),
                expected: "at least 1",
            });
        }
    }
    if limits.guaranteed_frames >= limits.queue_frames {
        return Err(PlanError::Setting {
            setting: "limits.guaranteed_frames".into(),
            found: limits.guaranteed_frames.to_string(),
            expected: "less than limits.queue_frames",
        });
    }
    for (at, port) in config.ports.iter().enumerate() {
        if config.ports[..at].iter().any(|other| other.name == port.name) {
            return Err(PlanError::PortTwice(port.name.clone()));
        }
        check_port(port)?;
    }
    Ok(())
}

fn check_port(port: &Port) -> Result<(), PlanError> {
    let refuse = |setting: &str, found: String, expected| {
        Err(PlanError::Setting {
            setting: format!("port {} {setting}", port.name),
            found,
            expected,
        })
    };
    if port.name.is_empty() || port.name.len() > NAME_LEN_MAX {
        return refuse("name", format!("{:?}", port.name), "1 to 32 bytes");
    }
    for (setting, entries) in [("rx_entries", port.rx_entries), ("tx_entries", port.tx_entries)] {
        if !entries.is_power_of_two() || !(64..=1 << 16).contains(&entries) {
            return refuse(setting, entries.to_string(), "a power of two from 64 to 65536");
        }
    }
    if port.tx_pending == 0 || port.tx_pending > port.tx_entries as usize {
        return refuse("tx_pending", port.tx_pending.to_string(), "1 to tx_entries");
    }
    for (at, queue) in port.queues.iter().enumerate() {
        if port.queues[..at].contains(queue) {
            return refuse("queues", queue.to_string(), "each queue once");
        }
    }
    Ok(())
}

/// The queues a port uses.
fn queues_of(port: &Port, machine: &Machine) -> Result<Vec<u32>, PlanError> {
    let queues = match port.backend {
        Backend::Memory | Backend::Pcap => {
            return Ok(if port.queues.is_empty() { vec![0] } else { port.queues.clone() });
        }
        Backend::AfXdp | Backend::AfPacket => device(port, machine)?.queues.max(1),
    };
    if let Some(queue) = port.queues.iter().find(|queue| **queue >= queues) {
        return Err(PlanError::Queue { port: port.name.clone(), queue: *queue, queues });
    }
    Ok(match (port.backend, port.queues.is_empty()) {
        (_, false) => port.queues.clone(),
        // One socket sees the frames of all queues.
        (Backend::AfPacket, true) => vec![0],
        (_, true) => (0..queues).collect(),
    })
}

fn device(port: &Port, machine: &Machine) -> Result<Device, PlanError> {
    machine.devices.get(&port.name).copied().ok_or_else(|| PlanError::NoDevice(port.name.clone()))
}

/// How many workers, and where.
fn place_workers(
    config: &Config,
    machine: &Machine,
    queues: &[Vec<u32>],
    notices: &mut Vec<String>,
) -> Result<Vec<Option<usize>>, PlanError> {
    let workers = &config.workers;
    if let Some(core) = workers.cores.iter().find(|core| !machine.cores.contains(core)) {
        return Err(PlanError::Core { core: *core, allowed: machine.cores.clone() });
    }
    // Housekeeping gets the lowest cores, where interrupts and the kernel's own threads gather.
    let spare = machine.cores.len().saturating_sub(workers.housekeeping_cores).max(1);
    let chosen: Vec<usize> = match workers.cores.as_slice() {
        [] => machine.cores.iter().rev().take(spare).rev().copied().collect(),
        cores => cores.to_vec(),
    };
    let most_queues = queues.iter().map(Vec::len).max().unwrap_or(1);
    let count = match (workers.count, workers.cores.len()) {
        (0, 0) => most_queues.clamp(1, chosen.len().clamp(1, WORKERS_MAX)),
        (0, cores) => cores,
        (count, _) => count,
    };
    if machine.cores.len() <= workers.housekeeping_cores && workers.cores.is_empty() {
        notices.push(format!(
            "the process may use {} core(s): workers share them with the kernel and everything else",
            machine.cores.len()
        ));
    }
    if count > chosen.len() {
        notices.push(format!(
            "{count} workers on {} core(s): those without one of their own are not pinned",
            chosen.len()
        ));
    }
    // Of cores that were chosen here, the highest; a list in the file is taken from its start.
    let first = if workers.cores.is_empty() { chosen.len().saturating_sub(count) } else { 0 };
    Ok((first..first + count).map(|core| chosen.get(core).copied()).collect())
}

/// Gives each queue to a worker: queue for queue where a port has enough, else in turn over all ports.
fn assign(
    config: &Config,
    machine: &Machine,
    queues: Vec<Vec<u32>>,
    workers: usize,
) -> Result<Vec<PortPlan>, PlanError> {
    let mut next = 0;
    let mut ports = Vec::with_capacity(queues.len());
    for (port, queues) in config.ports.iter().zip(queues) {
        let first = if queues.len() >= workers { 0 } else { next };
        next += if queues.len() >= workers { 0 } else { queues.len() };
        let assigned = queues
            .iter()
            .enumerate()
            .map(|(at, queue)| (*queue, worker_id((first + at) % workers)));
        let mtu = match port.backend {
            Backend::Memory | Backend::Pcap => 1500,
            Backend::AfXdp | Backend::AfPacket => device(port, machine)?.mtu,
        };
        ports.push(PortPlan { config: port.clone(), mtu, queues: assigned.collect() });
    }
    Ok(ports)
}

fn chunk_size(config: &Config, ports: &[PortPlan]) -> Result<usize, PlanError> {
    let longest = ports.iter().map(|port| port.mtu + LINK_HEADER).max().unwrap_or(0);
    let chunk = match config.memory.chunk_size {
        0 if longest <= SMALL_CHUNK_FRAME => 2048,
        0 => 4096,
        size @ (2048 | 4096) => size,
        size => {
            let setting = "memory.chunk_size".to_owned();
            return Err(PlanError::Setting {
                setting,
                found: size.to_string(),
                expected: "0, 2048 or 4096",
            });
        }
    };
    let (fits, hint) = match chunk {
        2048 => (SMALL_CHUNK_FRAME, ", or memory.chunk_size = 4096"),
        _ => (LARGE_CHUNK_FRAME, ""),
    };
    let max = fits - LINK_HEADER;
    match ports.iter().find(|port| port.mtu > max) {
        Some(port) => {
            Err(PlanError::Mtu { port: port.config.name.clone(), mtu: port.mtu, chunk, max, hint })
        }
        None => Ok(chunk),
    }
}

/// Frames that everything can hold at once.
fn frames_needed(config: &Config, ports: &[PortPlan], workers: usize) -> usize {
    // A fill ring and what was received from it but not read yet.
    let queue = |port: &Port| 2 * port.rx_entries as usize + port.tx_pending;
    let rings: usize = ports.iter().map(|port| port.queues.len() * queue(&port.config)).sum();
    let limits = &config.limits;
    // A burst beside them leaves in the order it came.
    let queue_frames = limits.queue_frames + BURST_MAX;
    let queued: usize = ports.iter().map(|port| queue_frames * workers_of(port).len()).sum();
    let hand_offs = 2 * limits.hand_off_frames * workers * (workers - 1);
    let slow_path = SLOW_PATH_FRAMES + 2 * limits.punt_frames * workers;
    (rings + queued + hand_offs + slow_path + workers * (WORKER_FRAMES + 2 * BURST_MAX))
        .next_multiple_of(64)
}

/// Workers with a queue of the port, ascending.
#[must_use]
pub fn workers_of(port: &PortPlan) -> Vec<WorkerId> {
    let mut workers: Vec<_> = port.queues.iter().map(|(_, worker)| *worker).collect();
    workers.sort_unstable();
    workers.dedup();
    workers
}

/// A worker's id; there are at most [`WORKERS_MAX`].
pub(crate) fn worker_id(index: usize) -> WorkerId {
    WorkerId(u8::try_from(index).unwrap_or(u8::MAX))
}

/// A port's id; there are at most [`PORTS_MAX`].
pub(crate) fn port_id(index: usize) -> PortId {
    PortId(u16::try_from(index).unwrap_or(u16::MAX))
}

impl PortPlan {
    /// How frames reach the worker that owns their link, in words.
    #[must_use]
    pub fn steering(&self, workers: usize) -> String {
        let owners = workers_of(self);
        match (self.queues.len(), owners.len()) {
            (_, _) if workers == 1 => "one worker owns every link".to_owned(),
            (queues, 1) => format!(
                "{queues} queue(s) of worker {}, which owns every link here; packets to other ports' links are handed on",
                owners[0]
            ),
            (queues, owners) => format!(
                "{queues} queues of {owners} workers; the device spreads frames by address at best, so the receiving \
                 worker classifies, and hands what another owns on before crypto"
            ),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes.div_ceil(1 << 20);
        writeln!(
            f,
            "memory: {} frames of {} bytes, {} MiB; counters {} MiB in {}",
            self.frames,
            self.chunk_size,
            mib(self.frames * self.chunk_size),
            mib(self.layout.len() * 8 * (self.workers.len() + 1)),
            self.counters.display()
        )?;
        for (id, core) in self.workers.iter().enumerate() {
            match core {
                Some(core) => writeln!(f, "worker {id}: core {core}")?,
                None => writeln!(f, "worker {id}: not pinned")?,
            }
        }
        for port in &self.ports {
            let queues: Vec<_> =
                port.queues.iter().map(|(queue, worker)| format!("{queue}→{worker}")).collect();
            let steering = port.steering(self.workers.len());
            writeln!(
                f,
                "port {}: MTU {}, queues→workers {}; {steering}",
                port.config.name,
                port.mtu,
                queues.join(" ")
            )?;
        }
        write!(f, "room for {} vswitches, {} vifs", self.layout.vswitches, self.layout.vifs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(cores: usize, devices: &[(&str, u32, u32)]) -> Machine {
        let device = |(name, mtu, queues): &(&str, u32, u32)| {
            ((*name).to_owned(), Device { mtu: *mtu, queues: *queues })
        };
        Machine { cores: (0..cores).collect(), devices: devices.iter().map(device).collect() }
    }

    fn config(ports: &[&str]) -> Config {
        Config { ports: ports.iter().map(|name| Port::named(name)).collect(), ..Config::default() }
    }

    const PAIR: [(&str, u32, u32); 2] = [("west", 1500, 1), ("east", 1500, 1)];

    #[test]
    fn one_queue_ports_make_one_worker_on_the_last_core() {
        let plan = plan(&config(&["west", "east"]), &machine(4, &PAIR)).unwrap();
        assert_eq!(plan.workers, [Some(3)]);
        assert!(plan.ports.iter().all(|port| port.queues == [(0, WorkerId(0))]));
        assert_eq!(plan.chunk_size, 2048);
        assert!(plan.notices.is_empty());
    }

    #[test]
    fn as_many_workers_as_queues_but_a_core_stays_free() {
        let devices = [("west", 1500, 8), ("east", 1500, 2)];
        let plan = plan(&config(&["west", "east"]), &machine(4, &devices)).unwrap();
        assert_eq!(plan.workers, [Some(1), Some(2), Some(3)]);
        let owners: Vec<_> = plan.ports[0].queues.iter().map(|(_, worker)| worker.0).collect();
        assert_eq!(owners, [0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(plan.ports[1].queues, [(0, WorkerId(0)), (1, WorkerId(1))]);
    }

    #[test]
    fn more_workers_than_queues_share_the_ports_among_them() {
        let mut config = config(&["west", "east"]);
        config.workers.count = 2;
        let plan = plan(&config, &machine(4, &PAIR)).unwrap();
        let owners: Vec<_> = plan.ports.iter().map(|port| port.queues[0].1).collect();
        assert_eq!(owners, [WorkerId(0), WorkerId(1)]);
    }

    #[test]
    fn workers_beyond_the_cores_run_unpinned_and_say_so() {
        let mut config = config(&["west", "east"]);
        config.workers.count = 3;
        let plan = plan(&config, &machine(1, &PAIR)).unwrap();
        assert_eq!(plan.workers, [Some(0), None, None]);
        assert_eq!(plan.notices.len(), 2);
    }

    #[test]
    fn memory_covers_what_everything_can_hold() {
        let plan_of = |count: usize| {
            let mut config = config(&["west", "east"]);
            config.workers.count = count;
            plan(&config, &machine(8, &PAIR)).unwrap().frames
        };
        // Two ports: fill and receive rings, frames on their way out, one worker's queue each.
        assert!(plan_of(1) >= 2 * (2 * 2048 + 1024 + 2048));
        assert!(plan_of(2) >= plan_of(1) + 2 * 2 * 1024);
        let mut tight = config(&["west", "east"]);
        tight.memory.frames = 1000;
        assert!(matches!(
            plan(&tight, &machine(2, &PAIR)),
            Err(PlanError::Frames { found: 1000, .. })
        ));
    }

    #[test]
    fn the_chunk_follows_the_largest_mtu() {
        let of = |mtu| {
            plan(&config(&["west"]), &machine(2, &[("west", mtu, 1)])).map(|plan| plan.chunk_size)
        };
        assert_eq!(of(1710), Ok(2048));
        assert_eq!(of(1711), Ok(4096));
        assert_eq!(of(3758), Ok(4096));
        assert!(matches!(of(3759), Err(PlanError::Mtu { max: 3758, .. })));
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_name() {
        let said = |config: &Config| plan(config, &machine(2, &PAIR)).unwrap_err().to_string();
        assert!(said(&Config::default()).contains("[[port]]"));
        assert!(said(&config(&["north"])).contains("port north"));
        assert!(said(&config(&["west", "west"])).contains("twice"));
        let mut queue = config(&["west"]);
        queue.ports[0].queues = vec![3];
        assert!(said(&queue).contains("west queue 3"));
        let mut ring = config(&["west"]);
        ring.ports[0].rx_entries = 1000;
        assert!(said(&ring).contains("rx_entries"));
        let mut core = config(&["west"]);
        core.workers.cores = vec![9];
        assert!(said(&core).contains("core 9"));
    }

    #[test]
    fn it_prints_memory_workers_and_steering() {
        let text = plan(&config(&["west", "east"]), &machine(4, &PAIR)).unwrap().to_string();
        for part in
            ["memory: ", "worker 0: core 3", "port west: MTU 1500", "one worker owns every link"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
