//! What of this machine and a configuration works, hurts, or will be refused. Opens nothing that packets pass.

mod tuning;

use crate::config::{Backend, Config};
use crate::dataplane::port_facts;
use crate::vlan_tags::Sight;
use crate::{machine, plan};
use caps::{CapSet, Capability};
use engine::{Compiler, PortFacts};
use std::fmt;
use std::path::Path;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Works,
    /// It runs, but slower or with less than it could.
    Hurts,
    /// It will not start.
    Refused,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Works => "works",
            Self::Hurts => "hurts",
            Self::Refused => "refused",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about, e.g. `port eth1`.
    pub subject: String,
    /// What was found, and what to do.
    pub sentence: String,
}

fn finding(level: Level, subject: impl Into<String>, sentence: impl Into<String>) -> Finding {
    Finding { level, subject: subject.into(), sentence: sentence.into() }
}

/// Looks at rights, cores, devices, memory, and at the spec of the configuration.
#[must_use]
pub fn check(config: &Config) -> Vec<Finding> {
    let mut findings = rights(config);
    let machine = match machine::look(config) {
        Ok(machine) => machine,
        Err(error) => {
            findings.push(finding(Level::Refused, "ports", format!("{error:#}")));
            return findings;
        }
    };
    let plan = match plan::plan(config, &machine) {
        Ok(plan) => plan,
        Err(error) => {
            findings.push(finding(Level::Refused, "configuration", error.to_string()));
            return findings;
        }
    };
    findings.push(cores(&machine.cores, plan.workers.len(), config));
    findings
        .extend(plan.notices.iter().map(|notice| finding(Level::Hurts, "workers", notice.clone())));
    findings.push(memory(plan.frames * plan.chunk_size));
    for port in &plan.ports {
        findings.extend(ports(port, plan.workers.len()));
    }
    findings.extend(tuning::tuning(Path::new("/"), &plan));
    if let Some(spec) = config.spec() {
        let facts: Vec<PortFacts> = plan
            .ports
            .iter()
            // A declaration is taken at its word here; it is proved when the port is open.
            .map(|port| port_facts(port, Sight::expected(port).may_become_whole()))
            .collect();
        let compiled =
            Compiler::new(plan.limits.vswitches, plan.limits.vifs, 0).compile(&spec, &[], &facts);
        findings.push(match compiled {
            Ok(rules) => finding(
                Level::Works,
                "spec",
                format!(
                    "{} vswitches, {} vifs; tables of {} KiB",
                    rules.vswitches().count(),
                    rules.vifs().count(),
                    rules.table_bytes().div_ceil(1024)
                ),
            ),
            Err(error) => finding(Level::Refused, "spec", error.to_string()),
        });
    }
    findings
}

fn rights(config: &Config) -> Vec<Finding> {
    let needs_xdp = config.ports.iter().any(|port| port.backend == Backend::AfXdp);
    let mut needed = vec![Capability::CAP_NET_RAW, Capability::CAP_NET_ADMIN];
    if needs_xdp {
        needed.push(Capability::CAP_BPF);
    }
    let missing: Vec<String> = needed
        .into_iter()
        .filter(|right| !caps::has_cap(None, CapSet::Effective, *right).unwrap_or(false))
        .map(|right| right.to_string())
        .collect();
    vec![if missing.is_empty() {
        finding(Level::Works, "rights", "all that is needed")
    } else {
        let what = missing.join(", ");
        finding(
            Level::Refused,
            "rights",
            format!("missing: {what}; run as root, or grant them (systemd: AmbientCapabilities)"),
        )
    }]
}

fn cores(cores: &[usize], workers: usize, config: &Config) -> Finding {
    let left = cores.len().saturating_sub(workers);
    let level = if left >= config.workers.housekeeping_cores { Level::Works } else { Level::Hurts };
    finding(
        level,
        "cores",
        format!("{workers} worker(s) on {} core(s), {left} left for everything else", cores.len()),
    )
}

fn memory(bytes: usize) -> Finding {
    let huge_page = 2 << 20;
    let needed = bytes.div_ceil(huge_page);
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
        .ok()
        .and_then(|text| text.trim().parse::<usize>().ok())
        .unwrap_or(0);
    let size = format!("{} MiB of frame memory", bytes.div_ceil(1 << 20));
    if free >= needed {
        finding(Level::Works, "memory", format!("{size} in reserved huge pages"))
    } else {
        finding(
            Level::Hurts,
            "memory",
            format!(
                "{size}; {free} huge pages are free, {needed} are needed: reserve them (sysctl vm.nr_hugepages)"
            ),
        )
    }
}

fn ports(port: &plan::PortPlan, workers: usize) -> Vec<Finding> {
    let name = &port.config.name;
    let subject = format!("port {name}");
    let mut findings = vec![finding(
        Level::Works,
        subject.clone(),
        format!("MTU {}, {} queue(s); {}", port.mtu, port.queues.len(), port.steering(workers)),
    )];
    if matches!(port.config.backend, Backend::AfXdp | Backend::AfPacket) && !io::netdev::is_up(name)
    {
        findings.push(finding(
            Level::Hurts,
            subject.clone(),
            "it is down; nothing passes until it is up",
        ));
    }
    if io::netdev::Netdev::find(name).is_ok_and(|device| device.merges_frames()) {
        let sentence = format!(
            "it makes one frame of several, which are then too long: ethtool -K {name} lro off"
        );
        findings.push(finding(Level::Hurts, subject.clone(), sentence));
    }
    if port.config.backend == Backend::AfXdp {
        findings.push(match Sight::expected(port).sentence(name) {
            Some(sentence) => finding(Level::Hurts, subject, sentence),
            None => finding(
                Level::Works,
                subject,
                "the driver tells VLAN tags beside a frame, in native mode",
            ),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Port;

    #[test]
    fn a_port_that_is_not_there_is_refused_by_name() {
        let config = Config { ports: vec![Port::named("no-such-dev")], ..Config::default() };
        let findings = check(&config);
        let refused: Vec<_> =
            findings.iter().filter(|finding| finding.level == Level::Refused).collect();
        assert!(
            refused.iter().any(|finding| finding.sentence.contains("no-such-dev")),
            "{findings:?}"
        );
    }

    #[test]
    fn a_spec_that_does_not_compile_is_found() {
        let mut config =
            Config::parse("[[vswitch]]\nname = \"red\"\npublic_key = \"x.k\"\n").unwrap();
        config.ports = vec![Port { backend: Backend::Memory, ..Port::named("m") }];
        let findings = check(&config);
        assert!(
            findings
                .iter()
                .any(|finding| finding.subject == "spec" && finding.level == Level::Refused)
        );
        assert!(findings.iter().any(|finding| finding.subject == "memory"));
    }
}
