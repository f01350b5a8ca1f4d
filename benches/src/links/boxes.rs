//! Two dataplanes in this process, joined by a wire of memory: a box of many vswitches, and the nodes behind its links.

use super::{Handshakes, LinksBenchError, Size};
use crypt::identity::Identity;
use crypt::test_rng::TestRng;
use daemon::config::{Backend, Port as PortConfig};
use daemon::{Config, Dataplane, Hosting, Memory, MemoryPorts, StopHandle, machine, plan};
use dataplane_api::spec::{FormSpec, ListenSpec, LoginSpec};
use dataplane_api::status::LinkStatus;
use dataplane_api::{
    BeaconMode, Generation, Handshake, LinkSpec, MacAddress, NodeSpec, Role, SchemeSpec, Secret,
    Session, Spec, VifSpec, VswitchSpec,
};
use dataplane_client::Client;
use dataplane_client::CounterFile;
use io::memory::MemoryPort;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

const LOGIN: &str = "bench";
const PASSWORD: &str = "bench-password-0123456789";
/// The box's device for strangers.
pub(super) const FLOOD_PORT: &str = "p0";
/// Links of each vswitch of the box: one to each of as many nodes.
pub(super) const NODES: u16 = 16;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The one that is measured: many vswitches, sixteen links each.
    Box,
    /// Its neighbours: sixteen vswitches, a link to each of the box's.
    Nodes,
}

/// Keys of both.
pub(super) struct Keys {
    boxes: Vec<Identity>,
    nodes: Vec<Identity>,
}

impl Keys {
    /// The same in every run.
    pub(super) fn new(size: Size) -> Self {
        // One key in 256 has an address that can be used, so this takes some seconds on all cores.
        let draw = |seed: u64, count: usize| {
            let mut random = TestRng::new(seed);
            (0..count).map(|_| Identity::generate(&mut random)).collect::<Vec<_>>()
        };
        let half = usize::from(size.vswitches) / 2;
        let boxes = std::thread::scope(|scope| {
            let other = scope.spawn(|| draw(1, half));
            let mut all = draw(2, usize::from(size.vswitches) - half);
            all.extend(other.join().unwrap_or_default());
            all
        });
        Self { boxes, nodes: draw(3, NODES.into()) }
    }
}

/// A dataplane that runs.
pub(super) struct Running {
    dir: PathBuf,
    stop: StopHandle,
    server: JoinHandle<anyhow::Result<()>>,
    /// Kernel ids of its slow path and its worker.
    pub(super) slow_path: Vec<i32>,
    pub(super) workers: Vec<i32>,
}

/// Station of a vswitch.
pub(super) fn station(side: Side, vswitch: u16) -> MacAddress {
    let [high, low] = vswitch.to_be_bytes();
    MacAddress([2, if side == Side::Box { 0x0a } else { 0x0b }, 0, 0, high, low])
}

fn number(of: u16) -> u16 {
    if of == 0 { 0 } else { of + 1 }
}

fn spec(side: Side, keys: &Keys, handshake: Handshake, flooded: bool) -> Spec {
    let (own, others) = match side {
        Side::Box => (&keys.boxes, &keys.nodes),
        Side::Nodes => (&keys.nodes, &keys.boxes),
    };
    let other_side = if side == Side::Box { Side::Nodes } else { Side::Box };
    let vif = |vswitch: u16, (other, identity): (u16, &Identity)| {
        let dials = side == Side::Nodes;
        let session = Session::Node(NodeSpec {
            public_key: identity.public().to_string(),
            password: dials.then(|| Secret(PASSWORD.into())),
            login: dials.then(|| LOGIN.into()),
            handshake,
            reads_all: true,
        });
        let (local, peer) = (Some(station(side, vswitch)), station(other_side, other));
        let link = LinkSpec::Ethernet { port: "wire".into(), vlan: None, local, peer, session };
        VifSpec {
            number: number(other),
            role: Role::Customer,
            mtu: None,
            link: Some(link),
            policy: Default::default(),
        }
    };
    let login = LoginSpec {
        user: LOGIN.into(),
        password: Secret(PASSWORD.into()),
        only: None,
        role: Role::Customer,
        policy: Default::default(),
    };
    let wide = SchemeSpec::Forms(vec![
        FormSpec { bit_count: 3, prefix_len: 1, prefix: 1 },
        FormSpec { bit_count: 13, prefix_len: 2, prefix: 2 },
    ]);
    let vswitches = (0..).zip(own).map(|(vswitch, identity)| VswitchSpec {
        name: format!("v{vswitch}"),
        tenant: vswitch.into(),
        public_key: identity.public().to_string(),
        scheme: if side == Side::Box { SchemeSpec::V358 } else { wide.clone() },
        vifs: (0..).zip(others).map(|other| vif(vswitch, other)).collect(),
        logins: if side == Side::Box { vec![login.clone()] } else { Vec::new() },
        listens: if flooded { vec![listen(vswitch)] } else { Vec::new() },
        ..VswitchSpec::default()
    });
    Spec { generation: Generation(1), vswitches: vswitches.collect(), ..Spec::default() }
}

/// Strangers may call at the port of the flood.
fn listen(vswitch: u16) -> ListenSpec {
    ListenSpec::Ethernet {
        port: FLOOD_PORT.into(),
        vlan: None,
        local: Some(station(Side::Box, vswitch)),
        beacon: BeaconMode::Off,
    }
}

/// What a dataplane of this bench is planned from.
///
/// `flood`: the box has a port over AF_XDP, too, in the namespace of the calling thread.
pub(super) fn planned(
    side: Side,
    dir: &Path,
    size: Size,
    flood: bool,
) -> anyhow::Result<plan::Plan> {
    let mut config = Config::default();
    config.process.socket = dir.join("socket");
    config.process.counters = dir.join("counters");
    config.process.state_dir = dir.join("state");
    config.workers.count = 1;
    config.workers.idle_rounds = 100;
    config.limits.vswitches = if side == Side::Box { size.vswitches.into() } else { NODES.into() };
    config.limits.vifs = size.links();
    config.limits.punt_frames = 4096;
    let port = PortConfig::named;
    config.ports = vec![PortConfig { backend: Backend::Memory, rx_entries: 4096, ..port("wire") }];
    if side == Side::Box && flood {
        config.ports.push(port(FLOOD_PORT));
    }
    let mut plan = plan::plan(&config, &machine::look(&config)?)?;
    // Two cores are shared by all threads of both.
    plan.workers = vec![None];
    Ok(plan)
}

/// Frame memory of both: frames that cross the wire are the other's then, so it is one.
pub(super) fn memory(a: &plan::Plan, b: &plan::Plan) -> anyhow::Result<[Memory; 2]> {
    let mut all = a.clone();
    all.frames = a.frames + b.frames;
    let count = all.frames;
    let mut first = Memory::allocate(&all)?;
    let mut small = b.clone();
    small.frames = 64;
    let mut second = Memory::allocate(&small)?;
    second.umem = first.umem;
    second.frames = first.frames.split(b.frames, count);
    // Pages are there from now on, so that they are not taken for memory of links.
    let touched: Vec<_> = std::iter::from_fn(|| first.frames.take()).collect();
    for mut frame in touched {
        let _fits = frame.fill(&[0]);
        first.frames.put(frame);
    }
    Ok([first, second])
}

impl Running {
    pub(super) fn start(
        side: Side,
        dir: &Path,
        keys: &Keys,
        handshakes: Handshakes,
        (plan, memory): (plan::Plan, Memory),
        port: MemoryPort<'static>,
    ) -> Result<Self, LinksBenchError> {
        write_keys(dir, if side == Side::Box { &keys.boxes } else { &keys.nodes })?;
        let flooded = plan.ports.len() > 1;
        let spec = spec(side, keys, handshakes.kind(), flooded);
        let before = threads();
        let ports = MemoryPorts::from([("wire".to_owned(), vec![port])]);
        let dataplane = Dataplane::start(plan, memory, ports, Some(spec), Hosting::Guest)
            .map_err(LinksBenchError::Dataplane)?;
        let stop = dataplane.stop_handle();
        // A thread gives itself its name.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let named = |name: &str| -> Vec<i32> {
            let new = threads().into_iter().filter(|thread| !before.contains(thread));
            new.filter(|thread| thread.1.starts_with(name)).map(|thread| thread.0).collect()
        };
        let (slow_path, workers) = (named("slow-path"), named("worker-"));
        let server = std::thread::spawn(move || dataplane.serve());
        Ok(Self { dir: dir.to_owned(), stop, server, slow_path, workers })
    }

    pub(super) fn counters(&self) -> Result<CounterFile, LinksBenchError> {
        CounterFile::open(&self.dir.join("counters")).map_err(LinksBenchError::Counters)
    }

    /// Whether all links are established.
    pub(super) fn is_up(&self) -> Result<bool, LinksBenchError> {
        Ok(self.links()?.iter().all(|link| link.state == "ESTABLISHED"))
    }

    pub(super) fn links(&self) -> Result<Vec<LinkStatus>, LinksBenchError> {
        let mut client = Client::connect(&self.dir.join("socket"))?;
        Ok(client.links()?)
    }

    /// Asks it to stop, and waits.
    pub(super) fn stop(self) -> Result<(), LinksBenchError> {
        self.stop.stop();
        match self.server.join() {
            Ok(ended) => ended.map_err(LinksBenchError::Dataplane),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write_keys(dir: &Path, identities: &[Identity]) -> std::io::Result<()> {
    let folder = dir.join("state/keys");
    fs::create_dir_all(&folder)?;
    for identity in identities {
        let path = folder.join(identity.public().to_string()).with_extension("key");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        std::io::Write::write_all(&mut file, identity.secret().to_hex().as_bytes())?;
    }
    Ok(())
}

/// Threads of this process, and their names.
fn threads() -> BTreeSet<(i32, String)> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks
        .filter_map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            Some((task.file_name().to_str()?.parse().ok()?, name))
        })
        .collect()
}

/// Seconds that these threads ran.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of some minutes")]
pub(super) fn cpu_seconds(threads: &[i32]) -> f64 {
    let of = |thread: &i32| {
        let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    threads.iter().filter_map(of).sum::<u64>() as f64 / 1e9
}

/// Bytes of this process in memory, without what backs packets.
#[expect(clippy::cast_precision_loss, reason = "some gigabytes")]
pub(super) fn resident_bytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) as f64 * 1024.0
}
