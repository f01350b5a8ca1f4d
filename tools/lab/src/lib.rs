//! Network namespaces joined by veth, for whoever needs a network to try things on.
//!
//! A namespace lives as long as its [`Namespace`]: no name is left behind, however the process ends. Devices are made
//! with iproute2's `ip`, run inside.
#![forbid(unsafe_code)]

use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Looks at a device that should run.
const RUNNING_TRIES: u32 = 500;
const RUNNING_PAUSE: Duration = Duration::from_millis(10);

/// What did not work.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// No right to make a network namespace.
    #[error("make a network namespace: {0}; this needs root")]
    Namespace(#[source] io::Error),
    /// A command failed inside a namespace.
    #[error("{command}: {message}")]
    Command {
        /// As it was called.
        command: String,
        /// What it, or the system, said.
        message: String,
    },
}

/// A network namespace, kept by a thread of this process that sleeps in it.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    thread_id: i32,
    keeper: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Namespace {
    /// Makes an empty namespace with its loopback up.
    ///
    /// # Errors
    /// [`LabError::Namespace`] without the right to.
    pub fn new() -> Result<Self, LabError> {
        let (ready, made) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let keeper = thread::spawn(move || {
            let made = unshare(CloneFlags::CLONE_NEWNET)
                .map_err(io::Error::from)
                .and_then(|()| File::open("/proc/thread-self/ns/net"))
                .map(|file| (file, nix::unistd::gettid().as_raw()));
            let keep = made.is_ok();
            if ready.send(made).is_ok() && keep {
                // Returns when the namespace is dropped: its sender hangs up.
                let _hung_up = stopped.recv();
            }
        });
        let gone = || Err(io::Error::other("the thread that keeps it ended"));
        let (file, thread_id) =
            made.recv().unwrap_or_else(|_| gone()).map_err(LabError::Namespace)?;
        let namespace = Self { file, thread_id, keeper: Some((stop, keeper)) };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// A path that other processes enter it by, while this process lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/task/{}/ns/net", std::process::id(), self.thread_id).into()
    }

    /// Runs `work` on a thread inside, and waits for it.
    ///
    /// # Errors
    /// [`LabError::Namespace`] if it cannot be entered.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
                Ok(work())
            });
            match inside.join() {
                Ok(result) => result.map_err(LabError::Namespace),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs iproute2's `ip` inside.
    ///
    /// # Errors
    /// [`LabError::Command`] with what it said.
    pub fn ip(&self, arguments: &[&str]) -> Result<(), LabError> {
        let output =
            self.run(|| Command::new("ip").args(arguments).stdin(Stdio::null()).output())?;
        let command = || format!("ip {}", arguments.join(" "));
        match output {
            Ok(Output { status, .. }) if status.success() => Ok(()),
            Ok(output) => {
                let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(LabError::Command { command: command(), message })
            }
            Err(error) => {
                let message = format!("{error}; is iproute2 installed?");
                Err(LabError::Command { command: command(), message })
            }
        }
    }

    /// Waits until a device runs. The kernel's link watch sets its queueing discipline up to a second after the device
    /// and its peer are up, and what is sent before that is lost.
    fn wait_until_running(&self, device: &str) -> Result<(), LabError> {
        let arguments = ["-o", "link", "show", "dev", device];
        for _ in 0..RUNNING_TRIES {
            let output = self.run(|| Command::new("ip").args(arguments).output())?;
            if output
                .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("state UP"))
            {
                return Ok(());
            }
            thread::sleep(RUNNING_PAUSE);
        }
        let message = "it is not running after five seconds".to_owned();
        Err(LabError::Command { command: format!("ip {}", arguments.join(" ")), message })
    }

    /// Sets something under /proc/sys/net of the namespace, e.g. `ipv6/conf/all/disable_ipv6`.
    ///
    /// # Errors
    /// [`LabError::Command`] if there is no such setting.
    pub fn sysctl(&self, setting: &str, value: &str) -> Result<(), LabError> {
        let path = format!("/proc/sys/net/{setting}");
        let written = self.run(|| std::fs::write(&path, value))?;
        written.map_err(|error| LabError::Command {
            command: format!("write {path}"),
            message: error.to_string(),
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some((stop, keeper)) = self.keeper.take() {
            drop(stop);
            // The keeper has nothing to say; a panic there cannot be helped here.
            let _ended = keeper.join();
        }
    }
}

/// One end of a veth pair to be made.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where it goes.
    pub namespace: &'a Namespace,
    /// Device name, at most 15 bytes.
    pub name: &'a str,
    /// Address.
    pub mac: [u8; 6],
}

/// Makes a veth pair of `queues` queues with an end in each namespace, and sets both up.
///
/// IPv6 is off on both, so that no frame crosses that nobody sent.
///
/// # Errors
/// [`LabError::Command`].
pub fn veth(left: End<'_>, right: End<'_>, mtu: u32, queues: u32) -> Result<(), LabError> {
    let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let (left_mac, right_mac, mtu) = (text(left.mac), text(right.mac), mtu.to_string());
    let (queues, keeper) = (queues.to_string(), right.namespace.thread_id.to_string());
    for end in [left, right] {
        end.namespace.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    }
    let shape = ["mtu", &mtu, "numrxqueues", &queues, "numtxqueues", &queues];
    let mut add = vec!["link", "add", left.name, "address", &left_mac];
    add.extend(shape);
    add.extend([
        "type", "veth", "peer", "name", right.name, "address", &right_mac, "netns", &keeper,
    ]);
    add.extend(shape);
    left.namespace.ip(&add)?;
    for end in [left, right] {
        end.namespace.ip(&["link", "set", end.name, "up"])?;
    }
    for end in [left, right] {
        end.namespace.wait_until_running(end.name)?;
    }
    Ok(())
}

/// Whether this process may make network namespaces; says so loudly if not, for tests that are then skipped.
#[must_use]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn may(what: &str) -> bool {
    let may = Namespace::new();
    if let Err(error) = &may {
        eprintln!("SKIPPED {what}: {error}");
    }
    may.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_namespaces_are_joined_and_gone_afterwards() {
        if !may("two_namespaces_are_joined_and_gone_afterwards") {
            return;
        }
        let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let end = |namespace, name, last| End { namespace, name, mac: [2, 0, 0, 0, 0, last] };
        veth(end(&left, "lab0", 1), end(&right, "lab1", 2), 1500, 1).unwrap();
        let names = |namespace: &Namespace| {
            let listed = namespace
                .run(|| Command::new("ip").args(["-o", "link"]).output())
                .unwrap()
                .unwrap();
            String::from_utf8(listed.stdout).unwrap()
        };
        assert!(names(&left).contains("lab0@") && !names(&left).contains("lab1:"));
        assert!(names(&right).contains("lab1@"));
        drop(left);
        // The pair goes with the namespace of either end, which the kernel takes down a moment later.
        let gone = (0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            !names(&right).contains("lab1@")
        });
        assert!(gone);
    }
}
