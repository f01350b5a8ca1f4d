//! What of the machine costs packets or delay although everything works: clocks of cores, interrupts, frame sizes.

use super::{Finding, Level, finding};
use crate::plan::{Plan, PortPlan};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// An MTU below which a switch packet of usual length (1400 bytes of IPv6 within) does not fit.
const MTU_USUAL: u32 = 1500;

/// Looks below `root`, which is `/` but in tests.
pub(super) fn tuning(root: &Path, plan: &Plan) -> Vec<Finding> {
    let cores: BTreeSet<usize> = plan.workers.iter().copied().flatten().collect();
    let mut findings = vec![governor(root, &cores), jit(root)];
    findings.extend(mtus(&plan.ports));
    findings.extend(plan.ports.iter().filter_map(|port| interrupts(root, port, &cores)));
    findings
}

fn read(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned())
}

/// How the clocks of the workers' cores are chosen.
fn governor(root: &Path, cores: &BTreeSet<usize>) -> Finding {
    let of = |core: &usize| {
        read(root, &format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"))
    };
    let slow: Vec<_> = cores
        .iter()
        .filter_map(|core| Some((core, of(core)?)))
        .filter(|(_, governor)| governor != "performance")
        .map(|(core, governor)| format!("core {core}: {governor}"))
        .collect();
    if slow.is_empty() {
        let sentence = "no worker's core is slowed down by the kernel, as far as it says";
        return finding(Level::Works, "governor", sentence);
    }
    let sentence = format!(
        "{}; a core that must speed up first delays packets: cpupower frequency-set -g performance",
        slow.join(", ")
    );
    finding(Level::Hurts, "governor", sentence)
}

/// Whether XDP programs are compiled.
fn jit(root: &Path) -> Finding {
    match read(root, "proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("0") => {
            let sentence =
                "the program that chooses frames is interpreted: sysctl net.core.bpf_jit_enable=1";
            finding(Level::Hurts, "bpf", sentence)
        }
        Some(_) | None => finding(Level::Works, "bpf", "programs are compiled"),
    }
}

/// Ports that take less than others, or less than is usual.
fn mtus(ports: &[PortPlan]) -> Vec<Finding> {
    let largest = ports.iter().map(|port| port.mtu).max().unwrap_or(0);
    let short = ports.iter().filter(|port| port.mtu < largest.max(MTU_USUAL));
    let sentence = |port: &PortPlan| {
        let (name, mtu) = (&port.config.name, port.mtu);
        format!(
            "its MTU is {mtu}, others send up to {}: longer packets are dropped on their way out (mtu); \
             ip link set {name} mtu {}",
            largest.max(MTU_USUAL),
            largest.max(MTU_USUAL)
        )
    };
    short
        .map(|port| finding(Level::Hurts, format!("port {}", port.config.name), sentence(port)))
        .collect()
}

/// Interrupts of a port that come where workers spin.
fn interrupts(root: &Path, port: &PortPlan, workers: &BTreeSet<usize>) -> Option<Finding> {
    let name = &port.config.name;
    let listed = fs::read_dir(root.join(format!("sys/class/net/{name}/device/msi_irqs"))).ok()?;
    let numbers: BTreeSet<u32> =
        listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut busy = Vec::new();
    for number in numbers {
        let list = ["effective_affinity_list", "smp_affinity_list"];
        let list = list.iter().find_map(|file| read(root, &format!("proc/irq/{number}/{file}")));
        let on: Vec<_> = cores_of(&list.unwrap_or_default())
            .filter(|core| workers.contains(core))
            .map(|core| core.to_string())
            .collect();
        if !on.is_empty() {
            busy.push(format!("{number} on core {}", on.join(" and ")));
        }
    }
    let subject = format!("port {name}");
    if busy.is_empty() {
        let sentence = "its interrupts come where no worker runs";
        return Some(finding(Level::Works, subject, sentence));
    }
    let sentence = format!(
        "interrupts {} take time from a worker: write other cores to /proc/irq/N/smp_affinity_list, and stop irqbalance",
        busy.join(", ")
    );
    Some(finding(Level::Hurts, subject, sentence))
}

/// Cores of a list as the kernel writes it: `0-3,7`.
fn cores_of(list: &str) -> impl Iterator<Item = usize> + '_ {
    list.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
        })
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Backend, Config, Port};
    use crate::plan::{Machine, plan};

    /// A machine of two cores, whose worker runs on core 1.
    fn planned() -> Plan {
        let port = |name: &str| Port { backend: Backend::Memory, ..Port::named(name) };
        let mut config = Config { ports: vec![port("eth1"), port("eth2")], ..Config::default() };
        config.limits.vifs = 16;
        config.limits.vswitches = 4;
        let mut plan = plan(&config, &Machine { cores: vec![0, 1], ..Machine::default() }).unwrap();
        plan.ports[0].mtu = 9000;
        plan.ports[1].mtu = 1500;
        plan
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn what_hurts_is_said_with_its_cure() {
        let (dir, plan) = (tempfile::tempdir().unwrap(), planned());
        let root = dir.path();
        write(root, "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n");
        write(root, "proc/sys/net/core/bpf_jit_enable", "0\n");
        write(root, "sys/class/net/eth1/device/msi_irqs/45", "");
        write(root, "sys/class/net/eth1/device/msi_irqs/46", "");
        write(root, "proc/irq/45/smp_affinity_list", "0-1\n");
        write(root, "proc/irq/46/smp_affinity_list", "0-1\n");
        write(root, "proc/irq/46/effective_affinity_list", "0\n");
        let hurts: Vec<_> = tuning(root, &plan)
            .into_iter()
            .filter(|finding| finding.level == Level::Hurts)
            .map(|finding| format!("{}: {}", finding.subject, finding.sentence))
            .collect();
        assert_eq!(hurts.len(), 4, "{hurts:#?}");
        assert!(hurts[0].contains("core 1: powersave"), "{hurts:#?}");
        assert!(hurts[1].contains("bpf_jit_enable=1"), "{hurts:#?}");
        assert!(hurts[2].contains("port eth2: its MTU is 1500"), "{hurts:#?}");
        assert!(hurts[3].contains("port eth1: interrupts 45 on core 1 take"), "{hurts:#?}");
    }

    #[test]
    fn what_the_kernel_does_not_say_is_no_finding() {
        let (dir, mut plan) = (tempfile::tempdir().unwrap(), planned());
        plan.ports[0].mtu = 1500;
        let findings = tuning(dir.path(), &plan);
        assert!(findings.iter().all(|finding| finding.level == Level::Works), "{findings:#?}");
    }

    #[test]
    fn a_list_of_cores_is_read_and_nonsense_is_none() {
        assert_eq!(cores_of("0-2,7").collect::<Vec<_>>(), [0, 1, 2, 7]);
        assert_eq!(cores_of("x,,3-,2-1").count(), 0);
    }
}
