//! NAPI in a thread of its own, away from the worker's core.
//!
//! The kernel polls a veth on the core that sent into it last, and stays there: one frame from the worker's core, and the
//! flood's processing takes the worker's time. A thread stays where it is put.

use lab::Namespace;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::{Command, Stdio};

/// Above whoever sends, so that the ring between them does not fill.
const PRIORITY: &str = "50";

/// Gives a device's NAPI a thread on `core`, in the real-time class. After the XDP program is attached.
pub(super) fn threaded(namespace: &Namespace, device: &str, core: usize) -> io::Result<()> {
    let before = threads(device);
    // The file is of the namespace whose /sys is mounted.
    let script = format!("mount -t sysfs none /sys && echo 1 > /sys/class/net/{device}/threaded");
    let script = ["--mount", "sh", "-c", &script];
    let done = namespace.run(|| Command::new("unshare").args(script).stdin(Stdio::null()).output());
    let done = done.map_err(io::Error::other)??;
    if !done.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
    }
    let made: Vec<String> = threads(device).difference(&before).cloned().collect();
    if made.is_empty() {
        return Err(io::Error::other("the kernel made no NAPI thread"));
    }
    for thread in made {
        for (program, arguments) in [
            ("taskset", ["-p", "-c", &core.to_string(), &thread]),
            ("chrt", ["-f", "-p", PRIORITY, &thread]),
        ] {
            let set = Command::new(program).args(arguments).stdout(Stdio::null()).status()?;
            if !set.success() {
                return Err(io::Error::other(format!("{program} refused NAPI thread {thread}")));
            }
        }
    }
    Ok(())
}

/// Process ids of the NAPI threads of devices of this name, in any namespace.
fn threads(device: &str) -> BTreeSet<String> {
    let Ok(processes) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let named = |entry: &fs::DirEntry| {
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        name.starts_with(&format!("napi/{device}-"))
    };
    processes
        .flatten()
        .filter(named)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
