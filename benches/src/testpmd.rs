//! The reference: DPDK's testpmd, swapping MAC addresses between two null devices.

use std::fs;
use std::io::{self, Write};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// 2 MB pages that it needs.
const PAGES: u32 = 400;
const PAGES_FILE: &str = "/proc/sys/vm/nr_hugepages";

/// Why there is no reference.
#[derive(Debug, thiserror::Error)]
pub enum TestpmdError {
    /// Not installed, not allowed, or it died.
    #[error("testpmd (Debian's dpdk-dev): {0}")]
    Io(#[from] io::Error),
    /// The kernel gave fewer pages.
    #[error("testpmd: {found} huge pages of 2 MB reserved, it needs {PAGES}")]
    Pages {
        /// Reserved.
        found: u32,
    },
    /// It printed something else than expected.
    #[error("testpmd: no count of packets in its statistics")]
    Statistics,
}

/// Huge pages reserved for it, given back afterwards.
#[derive(Debug)]
pub(crate) struct Pages {
    before: String,
}

impl Pages {
    pub(crate) fn reserve() -> Result<Self, TestpmdError> {
        let before = fs::read_to_string(PAGES_FILE)?;
        let this = Self { before };
        let had: u32 = this.before.trim().parse().unwrap_or(0);
        if had < PAGES {
            fs::write(PAGES_FILE, PAGES.to_string())?;
        }
        let found = fs::read_to_string(PAGES_FILE)?.trim().parse().unwrap_or(0);
        if found < PAGES { Err(TestpmdError::Pages { found }) } else { Ok(this) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // Nothing can be done about a failure but to leave them reserved.
        let _restored = fs::write(PAGES_FILE, self.before.trim());
    }
}

/// testpmd, ready to be measured.
#[derive(Debug)]
pub struct Testpmd {
    cores: String,
    main_core: String,
    _pages: Pages,
}

/// From its start until it can forward.
pub(crate) const START_UP: Duration = Duration::from_millis(1500);
/// From a stop until its forwarding thread sleeps.
const WIND_DOWN: Duration = Duration::from_millis(50);

impl Testpmd {
    /// To forward on `core`, driven from `main_core`.
    ///
    /// # Errors
    /// [`TestpmdError`].
    pub fn new(main_core: usize, core: usize) -> Result<Self, TestpmdError> {
        let cores = format!("{main_core},{core}");
        Ok(Self { cores, main_core: main_core.to_string(), _pages: Pages::reserve()? })
    }

    /// Core time per packet while it forwards for `window`, ns.
    ///
    /// Core time, not wall time: what a neighbour takes of the core is not testpmd's doing. A process for each
    /// measurement, because it keeps its statistics in a buffer until it ends.
    ///
    /// # Errors
    /// [`TestpmdError`].
    pub fn measure(&self, window: Duration) -> Result<f64, TestpmdError> {
        let mut child = command()
            .args(["-l", &self.cores, "--main-lcore", &self.main_core, "--no-pci", "--in-memory"])
            .args([
                "--no-telemetry",
                "--vdev",
                "net_null0",
                "--vdev",
                "net_null1",
                "--log-level",
                "error",
            ])
            .args(["--", "-i", "--forward-mode=macswap", "--total-num-mbufs=16384", "--burst=64"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let busy = forward(&mut child, window);
        if busy.is_err() {
            child.kill()?;
        }
        let told = child.wait_with_output()?.stdout;
        let told = String::from_utf8_lossy(&told);
        let all =
            told.split("Accumulated forward statistics").nth(1).ok_or(TestpmdError::Statistics)?;
        let count = all.split("TX-packets:").nth(1).and_then(|rest| rest.split_whitespace().next());
        let packets: f64 =
            count.and_then(|count| count.parse().ok()).ok_or(TestpmdError::Statistics)?;
        if packets > 0.0 { Ok(busy? / packets) } else { Err(TestpmdError::Statistics) }
    }
}

/// Lets it forward for `window`; returns the core time that took, ns.
fn forward(child: &mut Child, window: Duration) -> Result<f64, TestpmdError> {
    let mut stdin = child.stdin.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
    sleep(START_UP);
    forward_in_real_time(child.id());
    let before = busy_ns(child.id())?;
    writeln!(stdin, "start")?;
    sleep(window);
    writeln!(stdin, "stop")?;
    sleep(WIND_DOWN);
    let busy = busy_ns(child.id())? - before;
    writeln!(stdin, "quit")?;
    Ok(busy)
}

/// Core time of its forwarding thread so far, ns.
fn busy_ns(process: u32) -> Result<f64, TestpmdError> {
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.contains("worker") {
            let times = fs::read_to_string(task.join("schedstat"))?;
            let busy = times.split_whitespace().next().and_then(|busy| busy.parse().ok());
            return busy.ok_or(TestpmdError::Statistics);
        }
    }
    Err(TestpmdError::Statistics)
}

/// testpmd in the ordinary class: its main thread polls, and in the real-time class it would keep whoever drives it
/// from its core for ever.
pub(crate) fn command() -> Command {
    let mut command = Command::new("chrt");
    command.args(["--other", "0", "dpdk-testpmd"]);
    command
}

/// Puts its forwarding thread into the real-time class, as the loops beside it are.
pub(crate) fn forward_in_real_time(process: u32) {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return };
    let is_worker = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.contains("worker"))
    };
    for worker in tasks.flatten().filter(is_worker) {
        // Where the class is not allowed, the loops are not in it either, and a note says so.
        let _as_it_may = Command::new("chrt")
            .args(["-f", "-p", "1"])
            .arg(worker.file_name())
            .stderr(Stdio::null())
            .status();
    }
}
