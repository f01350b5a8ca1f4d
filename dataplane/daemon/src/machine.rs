//! What this machine is: the facts that a plan is made from, and what the process asks of the system.

use crate::config::{Backend, Config};
use crate::plan::{Device, Machine};
use anyhow::{Context, bail};
use caps::{CapSet, Capability, CapsHashSet};
use io::netdev::Netdev;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;

/// Looks at the cores and at the devices that `config` names.
///
/// # Errors
/// A device that can be no port, with what to use instead.
pub fn look(config: &Config) -> anyhow::Result<Machine> {
    let mut cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cores.sort_unstable();
    let mut machine = Machine { cores, ..Machine::default() };
    for port in &config.ports {
        if matches!(port.backend, Backend::Memory | Backend::Pcap) {
            continue;
        }
        // A device that is not there is the plan's to refuse.
        let Ok(device) = Netdev::find(&port.name) else { continue };
        if let Some(refusal) = device.refusal() {
            bail!(refusal);
        }
        let facts = Device { mtu: device.mtu, queues: receive_queues(&port.name) };
        machine.devices.insert(port.name.clone(), facts);
    }
    Ok(machine)
}

/// Receive queues of a device; 1 where sysfs does not show this network namespace.
fn receive_queues(name: &str) -> u32 {
    let Ok(entries) = fs::read_dir(format!("/sys/class/net/{name}/queues")) else { return 1 };
    let count = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-"))
        .count();
    u32::try_from(count).unwrap_or(1).max(1)
}

/// Lifts the limit on locked memory, which frame memory counts against, as far as the process may. Returns a notice
/// where that is less than `bytes`.
pub(crate) fn raise_memlock(bytes: u64) -> Option<String> {
    // Such a process is not limited.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_IPC_LOCK).unwrap_or(false) {
        return None;
    }
    if setrlimit(Resource::RLIMIT_MEMLOCK, nix::libc::RLIM_INFINITY, nix::libc::RLIM_INFINITY)
        .is_ok()
    {
        return None;
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    if soft < hard {
        // Up to the hard limit everybody may.
        let _still_low = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
    }
    (hard < bytes).then(|| {
        format!(
            "locked memory is limited to {hard} bytes and frame memory has {bytes}: AF_XDP may be refused; raise \
             RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=infinity)"
        )
    })
}

/// Keeps all memory of the process, that of now and of later, out of swap: keys are in it. Returns a notice where that is
/// not to be had.
///
/// All of it, because keys pass through the heap, the rings and the stacks of threads. To be called with the rights of the
/// start: what is mapped later counts against a limit that is lifted here.
pub(crate) fn lock_memory() -> Option<String> {
    let limit =
        setrlimit(Resource::RLIMIT_MEMLOCK, nix::libc::RLIM_INFINITY, nix::libc::RLIM_INFINITY);
    let limited = || {
        let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or_default();
        soft != nix::libc::RLIM_INFINITY
    };
    let why = if limit.is_err() && limited() {
        "locked memory is limited".to_owned()
    } else {
        match mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
            Ok(()) => return None,
            Err(error) => error.to_string(),
        }
    };
    Some(format!(
        "memory is not locked ({why}): private keys may reach swap; raise RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=infinity)"
    ))
}

/// No core dumps: the memory holds packets and keys.
pub(crate) fn forbid_core_dumps() -> anyhow::Result<()> {
    nix::sys::prctl::set_dumpable(false).context("forbid core dumps")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("forbid core dumps")
}

/// Gives up every capability that a running dataplane does not need. Threads started later have no more.
pub(crate) fn drop_capabilities() -> anyhow::Result<()> {
    // Filters, and orders to find neighbours: NET_ADMIN; maps: BPF; sockets: NET_RAW; its own files need none.
    let needed = CapsHashSet::from([
        Capability::CAP_NET_RAW,
        Capability::CAP_NET_ADMIN,
        Capability::CAP_BPF,
    ]);
    let permitted = caps::read(None, CapSet::Permitted).context("read the capabilities")?;
    let kept: CapsHashSet = permitted.intersection(&needed).copied().collect();
    for set in [CapSet::Ambient, CapSet::Inheritable] {
        caps::clear(None, set).context("give up inheritable capabilities")?;
    }
    caps::set(None, CapSet::Effective, &kept).context("give up capabilities")?;
    caps::set(None, CapSet::Permitted, &kept).context("give up capabilities")
}

/// Tells systemd, where it asked to be told.
pub(crate) fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("sd_notify: {error}");
    }
}
