//! The demo's dataplane: this very program, as a child process, ended however the demo ends.

use crate::connect::Process;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long the process may take from its start to its first answer: memory, programs, sockets.
const READY_TIMEOUT: Duration = Duration::from_secs(8);
/// How long it may take to drain and leave; longer than its own drain timeout.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at something that takes milliseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Lines of its log shown when it fails.
const LOG_LINES: usize = 15;

/// A running dataplane; stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Dataplane {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Dataplane {
    /// Takes over `child`, whose standard error is written to `log`.
    pub(super) const fn new(child: Child, socket: PathBuf, log: PathBuf) -> Self {
        Self { child, socket, log }
    }

    /// Waits until it answers.
    pub(super) fn ready(&mut self) -> Result<Process> {
        let started = Instant::now();
        loop {
            self.still_runs()?;
            match Process::open(&self.socket) {
                Ok(process) => return Ok(process),
                Err(error) if started.elapsed() > READY_TIMEOUT => {
                    return Err(error).context(format!(
                        "the dataplane did not answer within {READY_TIMEOUT:?}; its log ends:\n{}",
                        tail(&self.log)
                    ));
                }
                Err(_) => std::thread::sleep(LOOK_INTERVAL),
            }
        }
    }

    /// An error with the end of its log, if it has ended.
    pub(super) fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("looking after the dataplane")? {
            bail!("the dataplane ended ({status}); its log ends:\n{}", tail(&self.log));
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > STOP_TIMEOUT {
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        // It also ends by itself when its parent does, so what fails here is not left behind.
        let _best_effort = self.stop();
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::{Command, Stdio};

    fn start(directory: &Path, script: &str) -> Dataplane {
        let log = directory.join("log");
        let child = Command::new("sh")
            .args(["-c", script])
            .stderr(File::create(&log).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Dataplane::new(child, directory.join("none.sock"), log)
    }

    #[test]
    fn a_process_that_ends_early_is_reported_with_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = start(directory.path(), "echo no such port >&2; exit 3");
        let error = process.ready().unwrap_err().to_string();
        assert!(error.contains("no such port") && error.contains('3'), "{error}");
    }

    #[test]
    fn dropping_it_stops_it() {
        let directory = tempfile::tempdir().unwrap();
        let process = start(directory.path(), "exec sleep 60");
        let pid = Pid::from_raw(i32::try_from(process.child.id()).unwrap());
        drop(process);
        assert!(kill(pid, None).is_err(), "still there");
    }

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        std::fs::write(&log, (0..100).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
        let text = tail(&log);
        assert_eq!(text.lines().count(), LOG_LINES);
        assert!(text.ends_with("line 99"));
    }
}
