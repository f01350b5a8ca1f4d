//! testpmd between the same two devices, over its own AF_XDP driver.

use super::net::Net;
use super::{VethBenchError, WARM_UP};
use crate::testpmd::{Pages, START_UP, TestpmdError, command, forward_in_real_time};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// From `quit` until it is gone, at most.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// testpmd, ready to be measured.
pub(super) struct AfXdpTestpmd {
    cores: String,
    main_core: String,
    _pages: Pages,
}

impl AfXdpTestpmd {
    pub(super) fn new(main_core: usize, core: usize) -> Result<Self, TestpmdError> {
        let found = Command::new("dpdk-testpmd")
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        found?;
        let cores = format!("{main_core},{core}");
        Ok(Self { cores, main_core: main_core.to_string(), _pages: Pages::reserve()? })
    }

    /// Million frames a second that the sink gets while it forwards.
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    pub(super) fn measure(&self, net: &Net, window: Duration) -> Result<f64, VethBenchError> {
        let child = net.middle.run(|| self.spawn())?;
        let mut child = Running(child.map_err(VethBenchError::Testpmd)?);
        sleep(START_UP);
        forward_in_real_time(child.0.id());
        child.say("start")?;
        sleep(WARM_UP);
        let (start, before) = (Instant::now(), net.sink_frames()?);
        sleep(window);
        let (length, after) = (start.elapsed(), net.sink_frames()?);
        child.say("stop")?;
        child.say("quit")?;
        child.wait();
        Ok(after.saturating_sub(before) as f64 / length.as_secs_f64() / 1e6)
    }

    fn spawn(&self) -> std::io::Result<Child> {
        command()
            .args(["-l", &self.cores, "--main-lcore", &self.main_core])
            .args(["--no-pci", "--in-memory", "--no-telemetry", "--log-level", "error"])
            .args(["--vdev", "net_af_xdp0,iface=p0", "--vdev", "net_af_xdp1,iface=p1"])
            .args(["--", "-i", "--forward-mode=macswap", "--total-num-mbufs=16384", "--burst=64"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }
}

/// A process that ends with this, in any case.
struct Running(Child);

impl Running {
    fn say(&mut self, word: &str) -> Result<(), VethBenchError> {
        let stdin = self.0.stdin.as_mut();
        let said = stdin.map_or(Ok(()), |stdin| writeln!(stdin, "{word}"));
        said.map_err(VethBenchError::Testpmd)
    }

    fn wait(&mut self) {
        let end = Instant::now() + WIND_DOWN;
        while Instant::now() < end && matches!(self.0.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, as a rule; then there is nothing to kill and to wait for.
        let _ended_already = self.0.kill();
        let _gone = self.0.wait();
    }
}
