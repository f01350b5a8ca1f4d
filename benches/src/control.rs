//! `bench control`: what a change costs at a box that is full, and what control costs beside it.
//!
//! ```text
//! this process: dataplane, ports of memory      its child: switchyard-control, as it is
//!        ▲  socket, counters                        │ ▲ HTTP over its socket
//!        └──────────────────────────────────────────┘ └── this process asks, one question after the other
//! ```
//! 4 096 tenants with a vswitch each, 65 536 vifs, each with a lease. A commit is timed from the edit of its one place to
//! the moment at which the dataplane's workers use it.

pub mod full;

use crate::folder::Folder;
use crate::report::{Machine, Measurement, Report};
use daemon::config::{Backend, Port as PortConfig};
use daemon::{Config, Dataplane, Hosting, Memory, MemoryPorts, machine, plan};
use dataplane_api::Spec;
use dataplane_client::Client;
use domain::leases::LeaseError;
use io::memory::wire;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};
use store::{Fact, Store, StoreError};

/// Commits that are timed.
const COMMITS: usize = 11;
/// Questions that are timed.
const READS: usize = 2000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bars, milliseconds and MB.
const COMMIT_MAX: f64 = 200.0;
const APPLY_MAX: f64 = 2000.0;
const READ_MAX: f64 = 20.0;
const RSS_MAX: f64 = 300.0;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum ControlBenchError {
    /// The dataplane or control did not start, or did not end well.
    #[error("a process of the bench: {0:#}")]
    Process(anyhow::Error),
    /// Files or sockets.
    #[error("files of the bench: {0}")]
    Io(#[from] std::io::Error),
    /// The dataplane did not answer.
    #[error(transparent)]
    Client(#[from] dataplane_client::ClientError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The full box does not fit.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Control answered something else.
    #[error("control: {0}")]
    Answer(String),
}

/// Measures it. `control`: starts a process that runs control by the configuration file of this path.
///
/// # Errors
/// [`ControlBenchError`].
pub fn run(control: impl Fn(&Path) -> Command) -> Result<Report, ControlBenchError> {
    let folder = Folder::new("control")?;
    let dir = folder.path();
    let dataplane = dataplane(dir).map_err(ControlBenchError::Process)?;
    let stop = dataplane.stop_handle();
    let server = std::thread::spawn(move || dataplane.serve());
    let measured = measure(dir, &control);
    stop.stop();
    match server.join() {
        Ok(ended) => ended.map_err(ControlBenchError::Process)?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    measured
}

fn measure(dir: &Path, control: &impl Fn(&Path) -> Command) -> Result<Report, ControlBenchError> {
    let config = dir.join("control.toml");
    std::fs::write(&config, configuration(dir))?;
    let mut asked = Asked { socket: dir.join("control.sock"), dataplane: dir.join("socket") };

    let mut running = Running(control(&config).spawn()?);
    asked.wait()?;
    let tree = full::tree();
    let text = tree.to_toml().map_err(|error| ControlBenchError::Answer(error.to_string()))?;
    let begin = Instant::now();
    let answer = asked.ask("POST", "/api/v1/config/apply", "application/toml", text.as_bytes())?;
    asked.until_applied(generation(&answer)?)?;
    let apply_ms = begin.elapsed().as_secs_f64() * 1e3;
    running.stop()?;

    put_leases(&dir.join("control.db"))?;
    let mut running = Running(control(&config).spawn()?);
    asked.wait()?;
    let mut commits = Vec::new();
    for n in 0..COMMITS {
        commits.push(commit(&mut asked, n)?);
    }
    let mut reads = Vec::new();
    for n in 0..READS {
        let tenant = n * 37 % full::TENANTS as usize;
        let path = match n % 5 {
            0 => "/api/v1/status".to_owned(),
            1 => format!("/api/v1/config?place=vswitch.t{tenant}"),
            2 => "/api/v1/leases?limit=100".to_owned(),
            3 => format!("/api/v1/tenants/t{tenant}"),
            _ => "/api/v1/ledger/accounts".to_owned(),
        };
        let begin = Instant::now();
        asked.ask("GET", &path, "application/json", b"")?;
        reads.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let rss_mb = running.resident_mb()?;
    running.stop()?;

    let read_p99 = crate::rounds::quantile(&reads, 0.99);
    let one =
        |name: &str, unit: &'static str, value: f64| Measurement::of_rounds(name, unit, &[value]);
    let results = vec![
        Measurement::of_rounds("commit_ms", "ms", &commits),
        one("full_apply_ms", "ms", apply_ms),
        one("read_p99_ms", "ms", read_p99),
        one("rss_mb", "MB", rss_mb),
    ];
    let mut notes = vec![format!(
        "{} tenants, {} vifs, each with a lease; {READS} reads of 5 kinds; the dataplane's one worker is idle",
        full::TENANTS,
        full::LEASES
    )];
    for (name, most) in [
        ("commit_ms", COMMIT_MAX),
        ("full_apply_ms", APPLY_MAX),
        ("read_p99_ms", READ_MAX),
        ("rss_mb", RSS_MAX),
    ] {
        let found = results.iter().find(|result| result.name == name).map(|result| result.value);
        if found.is_some_and(|found| found > most) {
            notes.push(format!("{name} is above its bar, {most}"));
        }
    }
    Ok(Report { machine: Machine::read("small"), results, notes })
}

/// One edit of one place, until the workers use it, ms.
fn commit(asked: &mut Asked, n: usize) -> Result<f64, ControlBenchError> {
    let vswitch = n * 331 % full::TENANTS as usize;
    let edit = format!(
        r#"{{"edits": [{{"set": {{"place": "vswitch.t{vswitch}.vif.3.mtu", "value": {}}}}}]}}"#,
        1200 + n
    );
    let begin = Instant::now();
    asked.ask("PATCH", "/api/v1/config/candidate", "application/json", edit.as_bytes())?;
    let commit = "/api/v1/config/candidate/commit";
    let answer = asked.ask("POST", commit, "application/json", br#"{"comment": "bench"}"#)?;
    asked.until_applied(generation(&answer)?)?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

fn generation(answer: &str) -> Result<u64, ControlBenchError> {
    let value: serde_json::Value = serde_json::from_str(answer)
        .map_err(|error| ControlBenchError::Answer(error.to_string()))?;
    let generation = value.get("generation").and_then(serde_json::Value::as_u64);
    generation.ok_or_else(|| ControlBenchError::Answer(answer.to_owned()))
}

/// All leases at once: buying them one by one is another bench.
fn put_leases(database: &Path) -> Result<(), ControlBenchError> {
    let leases = full::leases()?;
    let mut store = Store::open(database)?;
    store.write(|tables| {
        for (id, lease, booking) in leases.iter() {
            tables.put_lease(id, Some((lease, booking)))?;
        }
        // The dataplane has a spec without them: it gets another.
        let generation: u64 = tables.fact(Fact::Generation)?.unwrap_or(0);
        tables.set_fact(Fact::NextLease, &full::LEASES)?;
        tables.set_fact(Fact::Generation, &(generation + 1))
    })?;
    Ok(())
}

fn dataplane(dir: &Path) -> anyhow::Result<Dataplane> {
    let mut config = Config::default();
    config.process.socket = dir.join("socket");
    config.process.counters = dir.join("counters");
    config.process.state_dir = dir.join("state");
    config.workers.count = 1;
    config.workers.idle_rounds = 100;
    config.limits.vswitches = full::TENANTS as usize;
    config.limits.vifs = full::LEASES as usize;
    config.ports = vec![PortConfig { backend: Backend::Memory, ..PortConfig::named("west") }];
    let mut plan = plan::plan(&config, &machine::look(&config)?)?;
    plan.workers = vec![None];
    let memory = Memory::allocate(&plan)?;
    let (port, _other) = wire(64);
    let ports = MemoryPorts::from([("west".to_owned(), vec![port])]);
    Dataplane::start(plan, memory, ports, Some(Spec::default()), Hosting::Guest)
}

fn configuration(dir: &Path) -> String {
    let path = |name: &str| dir.join(name).display().to_string();
    format!(
        "[store]\ndatabase = {:?}\n[dataplane]\nsocket = {:?}\ntimeout_ms = 30000\n[api]\nsocket = {:?}\n\
         [log]\nfilter = \"error\"\n",
        path("control.db"),
        path("socket"),
        path("control.sock")
    )
}

/// A child that is ended with this.
struct Running(Child);

impl Running {
    fn stop(&mut self) -> Result<(), ControlBenchError> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// What of it is in memory, MB.
    fn resident_mb(&self) -> Result<f64, ControlBenchError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
        Ok(f64::from(kib.unwrap_or(0)) * 1024.0 / 1e6)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _killed = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Who is asked.
struct Asked {
    socket: PathBuf,
    dataplane: PathBuf,
}

impl Asked {
    /// Until control answers.
    fn wait(&self) -> Result<(), ControlBenchError> {
        let begin = Instant::now();
        loop {
            match self.ask("GET", "/api/v1/whoami", "application/json", b"") {
                Ok(_) => return Ok(()),
                Err(error) if begin.elapsed() > PATIENCE => return Err(error),
                Err(_) => sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Until the dataplane's workers use a generation.
    fn until_applied(&self, generation: u64) -> Result<(), ControlBenchError> {
        let begin = Instant::now();
        let mut client = Client::connect(&self.dataplane)?;
        while client.status()?.applied.0 < generation {
            if begin.elapsed() > PATIENCE {
                return Err(ControlBenchError::Answer(format!("{generation} is not applied")));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// One question on a connection of its own; the answer's body.
    fn ask(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> Result<String, ControlBenchError> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: box\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        // A body that is refused is not read to its end; the answer says why.
        let _sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.starts_with("HTTP/1.1 2") {
            return Ok(body.to_owned());
        }
        let status = head.lines().next().unwrap_or_default();
        let body: String = body.chars().take(400).collect();
        Err(ControlBenchError::Answer(format!("{method} {path}: {status}: {body}")))
    }
}
