//! The process that is measured, and its spec.

use super::net::{BOX, Net, station, system};
use super::{BOX_CORE, FloodBenchError, unleased};
use crate::folder::Folder;
use crate::testpmd::forward_in_real_time;
use daemon::config::{Config, Port};
use dataplane_api::{
    CapacitySpec, Direction, DropReason, Generation, LeaseSpec, LinkSpec, MacAddress, Role,
    SchemeSpec, Session, Spec, VifName, VifSpec, VswitchSpec,
};
use dataplane_client::Client;
use dataplane_client::CounterFile;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
/// Numbers of each tenant's vifs: what comes in, what goes out.
pub(super) const VIF_IN: u16 = 2;
pub(super) const VIF_OUT: u16 = 3;
/// Entries of the receive ring: 50 ms of what is leased, if 0.6 million frames a second are.
const RX_ENTRIES: u32 = 32_768;
/// What ports are sold as, bytes a second: far more than this bench sends.
const PORT_RATE: u64 = 1_250_000_000;
/// Bytes of wire of a frame of 60.
const WIRE_LEN: f64 = 84.0;
/// Name and key of each tenant: the leased one, and the flood's.
const TENANTS: [(&str, &str); 2] = [
    ("leased", "u1dq204svw7ugrn6svg2w6jst2ulbn9w0n5381cj63382zwgxv90.k"),
    ("flood", "jfkgsxfbfv4u8351l47j6dtxc42gp66n1zm65nmnlcf2qklvk8t0.k"),
];

/// This very program, as a process of its own; it ends with this.
pub(super) struct Tested {
    child: Child,
    client: Client,
    counters: CounterFile,
    _folder: Folder,
}

impl Tested {
    /// Without leases yet.
    pub(super) fn start(net: &Net, sheds: bool) -> Result<Self, FloodBenchError> {
        let files = system("files of the process");
        let folder = Folder::new("flood").map_err(&files)?;
        let config = config(&folder, sheds);
        let file = folder.path().join("switchyard.toml");
        let text = toml::to_string(&config)
            .map_err(|error| FloodBenchError::Process(error.to_string()))?;
        fs::write(&file, text).map_err(&files)?;
        let log = folder.path().join("log");
        let errors = File::create(&log).map_err(&files)?;
        let child = net.middle.run(|| {
            // Its own core is in the configuration; the others are where this thread may run.
            Command::new(std::env::current_exe()?)
                .args(["run", "--until-stdin-closes", "--config"])
                .arg(&file)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(errors)
                .spawn()
        })?;
        let mut child = child.map_err(system("start the process"))?;
        let since = Instant::now();
        let client = loop {
            let ended = child.try_wait().map_err(system("look after the process"))?;
            if ended.is_some() || since.elapsed() > PATIENCE {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let _ended_already = child.kill();
                return Err(FloodBenchError::Process(said));
            }
            match Client::connect(&config.process.socket) {
                Ok(client) => break client,
                Err(_not_yet) => sleep(LOOK),
            }
        };
        forward_in_real_time(child.id());
        let counters = CounterFile::open(&config.process.counters)?;
        Ok(Self { child, client, counters, _folder: folder })
    }

    /// Whether its worker is in the real-time class.
    pub(super) fn is_real_time(&self) -> bool {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.child.id())) else {
            return false;
        };
        let policy = |task: fs::DirEntry| -> Option<bool> {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let stat = fs::read_to_string(task.path().join("stat")).ok()?;
            // The policy is the 41st field, 39th after the name: 1 is FIFO.
            let policy = stat.rsplit(')').next()?.split_whitespace().nth(38)?.to_owned();
            Some(name.starts_with("worker") && policy == "1")
        };
        tasks.flatten().filter_map(policy).any(|real_time| real_time)
    }

    pub(super) fn apply(&mut self, spec: &Spec) -> Result<(), FloodBenchError> {
        self.client.apply(spec.clone())?;
        Ok(())
    }

    /// What it dropped so far, in words.
    pub(super) fn drops(&self) -> Result<String, FloodBenchError> {
        let drops = DropReason::ALL.iter().zip(self.counters.all_drops());
        let told = drops.filter(|(_, count)| *count > 0);
        Ok(told.map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", "))
    }
}

impl Drop for Tested {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let since = Instant::now();
        while since.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            sleep(LOOK);
        }
        // It has ended already, as a rule.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn config(folder: &Folder, sheds: bool) -> Config {
    let mut config = Config::default();
    config.process.socket = folder.path().join("socket");
    config.process.counters = folder.path().join("counters");
    config.process.state_dir = folder.path().join("state");
    (config.workers.count, config.workers.cores) = (1, vec![BOX_CORE]);
    (config.workers.idle_rounds, config.workers.shed) = (0, sheds);
    (config.limits.vswitches, config.limits.vifs) = (8, 64);
    let port = |name: &&str| {
        let rx_entries = if *name == BOX[0] { RX_ENTRIES } else { 512 };
        Port { rx_entries, ..Port::named(name) }
    };
    config.ports = BOX.iter().map(port).collect();
    let spec = unleased();
    config.generation = spec.generation;
    (config.vswitches, config.capacities) = (spec.vswitches, spec.capacities);
    config
}

/// Two tenants; the first has leases in and out for frames of 60 bytes at this rate, frames a second.
pub(super) fn leased(rate: f64) -> Spec {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes a second")]
    let bytes = (rate * WIRE_LEN).ceil().max(64.0) as u64;
    let lease = |id: u32, vif: u16, direction: Direction| LeaseSpec {
        id,
        vifs: vec![VifName { vswitch: TENANTS[0].0.into(), vif }],
        direction,
        rate: bytes,
        burst: None,
        weight: Some(0),
        ceiling: None,
        preserve_order: false,
        start: None,
        end: None,
    };
    let capacity = |port: &str| CapacitySpec { port: port.into(), rate: PORT_RATE };
    Spec {
        generation: Generation(2),
        vswitches: (0..).zip(TENANTS).map(vswitch).collect(),
        capacities: BOX.map(capacity).into(),
        leases: vec![lease(1, VIF_IN, Direction::In), lease(2, VIF_OUT, Direction::Out)],
        ..Spec::default()
    }
}

fn vswitch((tenant, (name, key)): (u8, (&str, &str))) -> VswitchSpec {
    let vif = |number: u16, port: u8| {
        let mac = |is_box| MacAddress(station(tenant, port, is_box));
        let link = LinkSpec::Ethernet {
            port: BOX[usize::from(port)].into(),
            vlan: None,
            local: Some(mac(true)),
            peer: mac(false),
            session: Session::Plain,
        };
        VifSpec {
            number,
            role: Role::Customer,
            mtu: None,
            link: Some(link),
            policy: Default::default(),
        }
    };
    VswitchSpec {
        name: name.into(),
        tenant: tenant.into(),
        public_key: key.into(),
        scheme: SchemeSpec::F4,
        vifs: vec![vif(VIF_IN, 0), vif(VIF_OUT, tenant + 1)],
        ..VswitchSpec::default()
    }
}
