//! Boxes in namespaces, each with the real process, joined in a line by veth pairs.

use crate::keys::KEYS;
use dataplane_api::spec::{BeaconMode, ListenSpec, LoginSpec};
use dataplane_api::status::LinkStatus;
use dataplane_api::{
    DropReason, Generation, Handshake, LinkSpec, MacAddress, NodeSpec, Secret, Session, Spec,
    VifPolicy, VifSpec, VswitchSpec,
};
use dataplane_client::Client;
use dataplane_client::CounterFile;
use dataplane_daemon::config::{Backend, Port};
use dataplane_daemon::{Config, clock};
use lab::{End, Namespace, veth};
use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take on a busy machine.
const PATIENCE_NS: u64 = 60_000_000_000;
const LOGIN: &str = "lab-login";
const PASSWORD: &str = "lab-password-0123456789";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ethernet,
    Udp,
}

/// A box.
pub(crate) struct Box_ {
    namespace: Namespace,
    dir: TempDir,
    key: usize,
    ports: Vec<&'static str>,
    side: Side,
    handshake: Handshake,
    /// It meets its neighbours by broadcast, and knows nobody.
    pub(crate) by_beacon: bool,
    pub(crate) password: String,
    /// Policy of its link to the middle; the middle's: of whoever logs in.
    pub(crate) policy: VifPolicy,
    child: Option<Child>,
    starts: u32,
}

pub(crate) struct Line {
    pub(crate) west: Box_,
    pub(crate) middle: Box_,
    pub(crate) east: Box_,
}

/// Waits for something that this thread has no part in.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = clock::now() + PATIENCE_NS;
    while !done() {
        assert!(clock::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Addresses of the veth between the middle's `port` (0 west, 1 east) and its neighbour.
fn mac(port: usize, of_middle: bool) -> MacAddress {
    let low = u8::try_from(port).unwrap() << 1 | u8::from(of_middle);
    MacAddress([2, 0, 0, 0, 0x0a, low])
}

fn ip(port: usize, of_middle: bool) -> String {
    format!("10.9.{}.{}", port + 1, if of_middle { 2 } else { 1 })
}

pub(crate) fn line(side: Side, handshake: Handshake) -> Line {
    let namespaces: [Namespace; 3] = std::array::from_fn(|_| Namespace::new().unwrap());
    for (port, (device, neighbour)) in [("west", 0), ("east", 2)].into_iter().enumerate() {
        let end = |namespace: usize, name, of_middle| End {
            namespace: &namespaces[namespace],
            name,
            mac: mac(port, of_middle).0,
        };
        veth(end(1, device, true), end(neighbour, "middle", false), 1500, 1).unwrap();
        for (namespace, name, of_middle) in [(1, device, true), (neighbour, "middle", false)] {
            let address = format!("{}/24", ip(port, of_middle));
            namespaces[namespace].ip(&["addr", "add", &address, "dev", name]).unwrap();
        }
    }
    let [west, middle, east] = namespaces;
    let box_ = |namespace, key, ports| Box_ {
        namespace,
        dir: tempfile::tempdir().unwrap(),
        key,
        ports,
        side,
        handshake,
        by_beacon: false,
        password: PASSWORD.into(),
        policy: VifPolicy::default(),
        child: None,
        starts: 0,
    };
    Line {
        west: box_(west, 0, vec!["middle"]),
        middle: box_(middle, 1, vec!["west", "east"]),
        east: box_(east, 2, vec!["middle"]),
    }
}

impl Line {
    pub(crate) fn start_all(&mut self) {
        self.middle.start();
        self.west.start();
        self.east.start();
    }

    /// One-hop label by which the middle reaches a neighbour.
    pub(crate) fn label_at_middle(&self, neighbour: &Box_) -> u64 {
        let key = KEYS[neighbour.key].1;
        let link = self.middle.links().into_iter().find(|link| link.key == key).unwrap();
        let status = self.middle.client().status().unwrap();
        let vif = status.vifs.iter().find(|vif| vif.id == link.vif).unwrap();
        u64::from_str_radix(&vif.label, 16).unwrap()
    }
}

impl Box_ {
    fn spec(&self) -> Spec {
        let middle = self.ports.len() == 2;
        let name = if middle { "middle" } else { "end" };
        let port = usize::from(self.key == 2);
        let dialled = VifSpec {
            number: 2,
            role: Default::default(),
            mtu: None,
            link: Some(self.link(port)),
            policy: self.policy.clone(),
        };
        let knows = !middle && !self.by_beacon;
        let listens = self.ports.iter().enumerate().map(|(port, name)| match self.side {
            Side::Ethernet => ListenSpec::Ethernet {
                port: (*name).into(),
                vlan: None,
                local: Some(if middle {
                    mac(port, true)
                } else {
                    mac(usize::from(self.key == 2), false)
                }),
                beacon: if self.by_beacon { BeaconMode::Send } else { BeaconMode::Off },
            },
            Side::Udp => ListenSpec::Udp {
                port: (*name).into(),
                vlan: None,
                local: format!("{}:4000", ip(port, true)).parse().unwrap(),
            },
        });
        let login = LoginSpec {
            user: LOGIN.into(),
            password: Secret(PASSWORD.into()),
            only: None,
            role: Default::default(),
            policy: self.policy.clone(),
        };
        let vswitch = VswitchSpec {
            name: name.into(),
            public_key: KEYS[self.key].1.into(),
            vifs: if knows { vec![dialled] } else { Vec::new() },
            listens: if knows { Vec::new() } else { listens.collect() },
            logins: if middle && !self.by_beacon { vec![login] } else { Vec::new() },
            ..VswitchSpec::default()
        };
        Spec { generation: Generation(1), vswitches: vec![vswitch], ..Spec::default() }
    }

    /// To the middle.
    fn link(&self, port: usize) -> LinkSpec {
        let session = Session::Node(NodeSpec {
            public_key: KEYS[1].1.into(),
            password: Some(Secret(self.password.clone())),
            login: Some(LOGIN.into()),
            handshake: self.handshake,
            reads_all: false,
        });
        match self.side {
            Side::Ethernet => LinkSpec::Ethernet {
                port: "middle".into(),
                vlan: None,
                local: Some(mac(port, false)),
                peer: mac(port, true),
                session,
            },
            Side::Udp => LinkSpec::Udp {
                port: "middle".into(),
                vlan: None,
                local: format!("{}:4000", ip(port, false)).parse().unwrap(),
                peer: format!("{}:4000", ip(port, true)).parse().unwrap(),
                session,
            },
        }
    }

    pub(crate) fn start(&mut self) {
        let mut config = Config::default();
        let dir = self.dir.path();
        config.process.socket = dir.join("socket");
        config.process.counters = dir.join("counters");
        config.process.state_dir = dir.join("state");
        config.workers.count = 1;
        config.workers.idle_rounds = 100;
        config.limits.vswitches = 8;
        config.limits.vifs = 64;
        let port = |name: &&str| Port {
            backend: Backend::AfPacket,
            checksum_partial: true,
            ..Port::named(name)
        };
        config.ports = self.ports.iter().map(port).collect();
        let spec = self.spec();
        config.generation = spec.generation;
        config.vswitches = spec.vswitches;
        let file = dir.join("config.toml");
        std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        self.starts += 1;
        let log = File::create(dir.join(format!("log-{}", self.starts))).unwrap();
        let child = self.namespace.run(|| {
            Command::new(env!("CARGO_BIN_EXE_switchyard-dataplane"))
                .arg("--config")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
        });
        self.child = Some(child.unwrap().unwrap());
        eventually("the process serves its socket", || {
            let id = self.child.as_ref().unwrap().id();
            self.try_client()
                .is_some_and(|mut client| client.status().is_ok_and(|status| status.pid == id))
        });
        self.client().add_key(Secret(KEYS[self.key].0.into())).unwrap();
    }

    /// By one-hop label, whether a vif's neighbour tells and is told what packets claim.
    pub(crate) fn told(&self, label: u64) -> bool {
        let status = self.client().status().unwrap();
        status.vifs.iter().any(|vif| vif.told && vif.label == format!("{label:016x}"))
    }

    /// What mirrored and traced vifs left on disk, by file name.
    pub(crate) fn recorded(&self) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(self.dir.path().join("state/mirror")).into_iter().flatten();
        let file = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        };
        files.map(|entry| file(entry.unwrap())).collect()
    }

    /// Without a chance to say goodbye.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn try_client(&self) -> Option<Client> {
        Client::connect(&self.dir.path().join("socket")).ok()
    }

    pub(crate) fn client(&self) -> Client {
        self.try_client().unwrap()
    }

    pub(crate) fn links(&self) -> Vec<LinkStatus> {
        self.client().links().unwrap()
    }

    pub(crate) fn up(&self) -> usize {
        self.links().iter().filter(|link| link.state == "ESTABLISHED").count()
    }

    pub(crate) fn drops(&self, name: &str) -> u64 {
        let counters = CounterFile::open(&self.dir.path().join("counters")).unwrap();
        counters.all_drops()[DropReason::from_name(name).unwrap() as usize]
    }

    /// The path to where the middle's `label` leads.
    pub(crate) fn path_over(&self, label: u64) -> u64 {
        // v358: 2 is the director 0101, and a path ends with its terminator.
        wire::label::splice(label, 0x15).unwrap()
    }

    /// Round trip in nanoseconds of a switch ping.
    pub(crate) fn ping(&self, path: u64, timeout: Duration) -> Option<u64> {
        let name = if self.ports.len() == 2 { "middle" } else { "end" };
        self.client().ping(name, path, timeout).unwrap().map(|(nanos, _)| nanos)
    }
}

impl Box_ {
    /// How things are, for a test that failed.
    fn tell(&self) {
        let Some(mut client) = self.try_client() else { return };
        eprintln!("box {}: {:#?}", self.key, client.links());
        if let Ok(counters) = CounterFile::open(&self.dir.path().join("counters")) {
            let drops = counters.all_drops();
            let counted = DropReason::ALL.iter().zip(drops).filter(|(_, count)| *count > 0);
            eprintln!("drops: {:?}", counted.collect::<Vec<_>>());
        }
        eprintln!("{:#?}", client.status());
    }
}

impl Drop for Box_ {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        self.kill();
        if std::thread::panicking() {
            for start in 1..=self.starts {
                let log = self.dir.path().join(format!("log-{start}"));
                eprintln!("{}", std::fs::read_to_string(log).unwrap_or_default());
            }
        }
    }
}
