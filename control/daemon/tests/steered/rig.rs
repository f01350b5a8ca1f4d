//! A box in a network namespace with both its processes, and neighbours in others.

use crate::flows::{EndKind, Flows, PATIENCE_NS};
use crate::http;
use crate::topology::{EAST, PORTS, RED, WEST, device_mac, spec, through};
use control_daemon::Config;
use control_daemon::config::ChainNetwork;
use daemon::clock;
use daemon::config::{Backend, Port};
use dataplane_api::Status;
use dataplane_client::Client;
use lab::{End, Namespace, veth};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Names the configuration that this very program, run again, shall be a dataplane by.
const DATAPLANE: &str = "SWITCHYARD_TEST_DATAPLANE";

pub(crate) struct Rig {
    pub(crate) flows: Flows,
    pub(crate) dir: TempDir,
    control: Option<Process>,
    dataplane: Option<Process>,
    box_: Namespace,
    _neighbours: Vec<Namespace>,
    starts: u32,
}

/// A process, killed with its rig.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "what the process said belongs to a failure")]
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// The dataplane's process: this program, run again by [`Rig::start_dataplane`]. Run by anybody else it is no test.
#[test]
fn dataplane() {
    let Some(file) = std::env::var_os(DATAPLANE) else { return };
    daemon::log_to_stderr();
    let config = daemon::Config::read(Path::new(&file)).unwrap();
    daemon::run(&config, config.spec()).unwrap();
}

/// Waits for something that this thread has no part in.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = clock::now() + PATIENCE_NS;
    while !done() {
        assert!(clock::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Rig {
    /// Two neighbours, west and east of a box that nobody configured yet; both processes run.
    pub(crate) fn start() -> Self {
        let box_ = Namespace::new().unwrap();
        let neighbours: Vec<_> = (0..2).map(|_| Namespace::new().unwrap()).collect();
        for (port, neighbour) in neighbours.iter().enumerate() {
            let end = |namespace, is_neighbour| End {
                namespace,
                name: PORTS[port],
                mac: device_mac(port, is_neighbour),
            };
            veth(end(&box_, false), end(neighbour, true), 1500, 1).unwrap();
        }
        let wanted = spec(1, &[(RED, &[WEST, EAST])]);
        let streams = vec![through(&wanted, RED, WEST, EAST), through(&wanted, RED, EAST, WEST)];
        let flows = Flows::open(streams, &neighbours, &[EndKind::Packet, EndKind::Xdp]);
        let dir = tempfile::tempdir().unwrap();
        let mut rig = Self {
            flows,
            dir,
            control: None,
            dataplane: None,
            box_,
            _neighbours: neighbours,
            starts: 0,
        };
        rig.start_dataplane();
        rig.start_control();
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the dataplane; returns when it answers.
    pub(crate) fn start_dataplane(&mut self) {
        let mut config = daemon::Config::default();
        config.process.socket = self.path("dataplane.sock");
        config.process.counters = self.path("counters");
        config.process.state_dir = self.path("state");
        config.workers.count = 1;
        config.workers.idle_rounds = 100;
        config.limits.vswitches = 8;
        config.limits.vifs = 64;
        let port =
            |name: &&str| Port { backend: Backend::AfXdp, rx_entries: 4096, ..Port::named(name) };
        config.ports = PORTS[..2].iter().map(port).collect();
        let file = self.path("dataplane.toml");
        std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "rig::dataplane", "--nocapture"]).env(DATAPLANE, file);
        let process = self.spawn(command);
        let pid = process.child.id();
        self.dataplane = Some(process);
        eventually("the dataplane answers", || {
            self.try_status().is_some_and(|status| status.pid == pid)
        });
    }

    /// Starts control; returns when it answers.
    pub(crate) fn start_control(&mut self) {
        let file = self.path("control.toml");
        std::fs::write(&file, toml::to_string(&self.control_config()).unwrap()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard-control"));
        command.arg("--config").arg(file);
        let process = self.spawn(command);
        self.control = Some(process);
        let socket = self.socket();
        eventually("control answers", || {
            http::ask(&socket, "GET", "/api/v1/status", ("text/plain", "")).is_ok()
        });
    }

    pub(crate) fn control_config(&self) -> Config {
        let mut config = Config::default();
        config.chain.network = ChainNetwork::Simulated;
        config.store.database = self.path("control.db");
        config.dataplane.socket = self.path("dataplane.sock");
        config.api.socket = self.socket();
        config
    }

    /// Runs something in the box's namespace, where both processes are.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.box_.run(work).unwrap()
    }

    fn spawn(&mut self, mut command: Command) -> Process {
        self.starts += 1;
        let log = self.path(&format!("log.{}", self.starts));
        let errors = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = self.box_.run(|| command.spawn()).unwrap().unwrap();
        Process { child, log }
    }

    /// SIGKILL, whatever it is doing.
    pub(crate) fn kill_control(&mut self) {
        self.control = None;
    }

    /// SIGKILL.
    pub(crate) fn kill_dataplane(&mut self) {
        self.dataplane = None;
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("control.sock")
    }

    fn try_status(&self) -> Option<Status> {
        let client = Client::connect_within(&self.path("dataplane.sock"), Duration::from_secs(5));
        client.and_then(|mut client| client.status()).ok()
    }

    /// What the dataplane says of itself.
    pub(crate) fn status(&self) -> Status {
        self.try_status().unwrap()
    }

    pub(crate) fn dataplane_spec(&self) -> dataplane_api::Spec {
        Client::connect(&self.path("dataplane.sock")).unwrap().spec().unwrap()
    }

    /// Asks control.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        http::json(&self.socket(), method, path, &body)
    }

    /// Applies a configuration; what came of it.
    pub(crate) fn apply(&self, tree: &str, query: &str) -> (u16, Value) {
        let path = format!("/api/v1/config/apply?{query}");
        let answer = http::ask(&self.socket(), "POST", &path, ("application/toml", tree)).unwrap();
        (answer.0, serde_json::from_str(&answer.1).unwrap())
    }

    /// Makes the box one of tenant red, and waits until the workers know.
    pub(crate) fn configure(&self) {
        let (status, committed) = self.apply(TREE, "comment=first");
        assert_eq!((status, &committed["changed"]), (200, &json!(true)), "{committed}");
        let generation = committed["generation"].as_u64().unwrap();
        eventually("the workers adopt it", || self.status().applied.0 == generation);
    }
}

/// Tenant red, switched from west to east and back, as `topology` says it.
pub(crate) const TREE: &str = r#"
schema = 2
[tenant.red]
id = 1
[vswitch.red]
tenant = "red"
public_key = "u1dq204svw7ugrn6svg2w6jst2ulbn9w0n5381cj63382zwgxv90.k"
scheme = "v358"
[vswitch.red.vif.2]
role = "customer"
link = { ethernet = { port = "west", local = "02:00:00:01:00:00", peer = "02:00:00:02:00:00", session = "plain" } }
[vswitch.red.vif.3]
role = "customer"
link = { ethernet = { port = "east", local = "02:00:00:01:00:01", peer = "02:00:00:02:00:01", session = "plain" } }
"#;
