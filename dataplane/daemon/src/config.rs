//! What the configuration file says. Every setting, its unit and its default: `switchyard.example.toml`.

use dataplane_api::{CableSpec, CapacitySpec, Generation, LeaseSpec, Spec, VswitchSpec};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The whole file. What belongs to the process is fixed while it runs; the spec at its end is only the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Number of the spec in this file; see [`Spec::generation`].
    pub generation: Generation,
    /// Files and times of the process.
    pub process: Process,
    /// Worker threads.
    pub workers: Workers,
    /// Frame memory.
    pub memory: Memory,
    /// Bounds; everything is allocated from them at start.
    pub limits: Limits,
    /// Network devices that are switched between.
    #[serde(rename = "port")]
    pub ports: Vec<Port>,
    /// Virtual switches of the spec in this file.
    #[serde(rename = "vswitch")]
    pub vswitches: Vec<VswitchSpec>,
    /// Cables of the spec in this file.
    #[serde(rename = "cable")]
    pub cables: Vec<CableSpec>,
    /// What ports are sold as, in the spec in this file.
    #[serde(rename = "capacity")]
    pub capacities: Vec<CapacitySpec>,
    /// Leases of the spec in this file.
    #[serde(rename = "lease")]
    pub leases: Vec<LeaseSpec>,
}

/// Files and times of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// Management socket, mode 0600.
    pub socket: PathBuf,
    /// Shared counters, mode 0644.
    pub counters: PathBuf,
    /// Where the last good spec is kept.
    pub state_dir: PathBuf,
    /// Longest time to send what is queued when the process stops, milliseconds.
    pub drain_ms: u64,
    /// Clients on the management socket at once.
    pub clients: usize,
}

/// Worker threads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workers {
    /// How many; 0: as many as the port with most queues has, as far as there are cores.
    pub count: usize,
    /// Cores to pin them to, in order; empty: the highest that are left.
    pub cores: Vec<usize>,
    /// Cores left to the kernel, the slow path and everything else.
    pub housekeeping_cores: usize,
    /// Empty rounds before a worker sleeps until something comes; 0: it never sleeps.
    pub idle_rounds: u32,
    /// A worker that is behind sheds what no lease guarantees, before anything is lost at random.
    pub shed: bool,
}

/// Frame memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Frames; 0: what all rings and queues can hold at once.
    pub frames: usize,
    /// Bytes of a chunk, 2048 or 4096; 0: what the largest MTU needs.
    pub chunk_size: usize,
}

/// Bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Virtual switches.
    pub vswitches: usize,
    /// Vifs over all of them.
    pub vifs: usize,
    /// Frames that one worker may have waiting for one port.
    pub queue_frames: usize,
    /// Of those, kept for what leases guarantee, and for what the box itself sends.
    pub guaranteed_frames: usize,
    /// Frames without a lease that one vswitch may have waiting for one port.
    pub vswitch_frames: u32,
    /// Frames on their way from one worker to another, for each of the two classes.
    pub hand_off_frames: usize,
    /// Packets on their way to the slow path, for each worker.
    pub punt_frames: usize,
    /// Control messages, and switch errors, that an ingress link may send to the slow path each second.
    pub punts_per_second: u32,
    /// The same at once.
    pub punt_burst: u32,
    /// Handshakes of strangers, and beacons, that each worker gives to the slow path in a second.
    pub strangers_per_second: u32,
}

/// Back end of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// AF_XDP: native where the driver can, else generic.
    #[default]
    AfXdp,
    /// AF_PACKET, where XDP is not to be had.
    AfPacket,
    /// The other end is in this process: tests and benches.
    Memory,
    /// A recording in, a recording out: replay.
    Pcap,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Name of the network device, and the port's name in specs.
    pub name: String,
    /// How frames get in and out.
    #[serde(default)]
    pub backend: Backend,
    /// `pcap`: recording whose frames come in; without it, none do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<PathBuf>,
    /// `pcap`: recording to be made of what goes out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<PathBuf>,
    /// Queues to use; empty: all that the device has.
    #[serde(default)]
    pub queues: Vec<u32>,
    /// Entries of the receive ring of a queue; a power of two.
    #[serde(default = "rx_entries")]
    pub rx_entries: u32,
    /// Entries of the transmit ring of a queue; a power of two.
    #[serde(default = "tx_entries")]
    pub tx_entries: u32,
    /// Most frames of a queue in the kernel's hands at once, on their way out.
    #[serde(default = "tx_pending")]
    pub tx_pending: usize,
    /// Neighbours are on it who must not be trusted: plain links are refused.
    #[serde(default)]
    pub untrusted: bool,
    /// Plain links are wanted even though it is untrusted.
    #[serde(default)]
    pub plain_forced: bool,
    /// VLAN tags never stand beside a frame; matters where nothing tells them, and must be proved there.
    #[serde(default)]
    pub vlan_trusted: bool,
    /// Received UDP checksums may be unfinished: local stacks over veth.
    #[serde(default)]
    pub checksum_partial: bool,
}

const fn rx_entries() -> u32 {
    2048
}
const fn tx_entries() -> u32 {
    2048
}
const fn tx_pending() -> usize {
    1024
}

impl Default for Process {
    fn default() -> Self {
        Self {
            socket: "/run/switchyard/dataplane.sock".into(),
            counters: "/run/switchyard/counters".into(),
            state_dir: "/var/lib/switchyard".into(),
            drain_ms: 500,
            clients: 32,
        }
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self { count: 0, cores: Vec::new(), housekeeping_cores: 1, idle_rounds: 2000, shed: true }
    }
}

impl Default for Limits {
    fn default() -> Self {
        use dataplane_api::limits::{VIFS_MAX, VSWITCHES_MAX};
        Self {
            vswitches: VSWITCHES_MAX,
            vifs: VIFS_MAX,
            queue_frames: 2048,
            guaranteed_frames: 256,
            vswitch_frames: 1024,
            hand_off_frames: 1024,
            punt_frames: 256,
            punts_per_second: 100,
            punt_burst: 50,
            strangers_per_second: 10_000,
        }
    }
}

impl Port {
    /// A port with every setting at its default.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            backend: Backend::default(),
            replay: None,
            record: None,
            queues: Vec::new(),
            rx_entries: rx_entries(),
            tx_entries: tx_entries(),
            tx_pending: tx_pending(),
            untrusted: false,
            plain_forced: false,
            vlan_trusted: false,
            checksum_partial: false,
        }
    }
}

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("read the configuration file {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not such a file.
    #[error("configuration: {0}")]
    Parse(#[from] toml::de::Error),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], with line and column where it does not parse.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`ConfigError::Parse`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(toml::from_str(text)?)
    }

    /// The spec in the file; `None` if it names no vswitch.
    #[must_use]
    pub fn spec(&self) -> Option<Spec> {
        (!self.vswitches.is_empty()).then(|| Spec {
            generation: self.generation,
            vswitches: self.vswitches.clone(),
            cables: self.cables.clone(),
            capacities: self.capacities.clone(),
            leases: self.leases.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../switchyard.example.toml");

    #[test]
    fn the_example_parses_and_its_settings_are_the_defaults() {
        let config = Config::parse(EXAMPLE).unwrap();
        let defaults = Config::default();
        assert_eq!(config.process, defaults.process);
        assert_eq!(config.workers, defaults.workers);
        assert_eq!(config.memory, defaults.memory);
        assert_eq!(config.limits, defaults.limits);
        let named: Vec<_> = config.ports.iter().map(|port| Port::named(&port.name)).collect();
        assert_eq!(config.ports, named);
        let spec = config.spec().unwrap();
        assert_eq!((spec.vswitches.len(), spec.cables.len()), (2, 1));
    }

    /// Every setting that exists is in the example: a new one cannot be forgotten there.
    #[test]
    fn the_example_names_every_setting() {
        let all = Config { ports: vec![Port::named("x")], ..Config::default() };
        let table = toml::Table::try_from(&all).unwrap();
        let example: toml::Table = toml::from_str(EXAMPLE).unwrap();
        for section in ["process", "workers", "memory", "limits"] {
            for key in table[section].as_table().unwrap().keys() {
                assert!(example[section].as_table().unwrap().contains_key(key), "{section}.{key}");
            }
        }
        for key in table["port"][0].as_table().unwrap().keys() {
            assert!(example["port"][0].as_table().unwrap().contains_key(key), "port.{key}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        let error = Config::parse("[workers]\nnumber = 3\n").unwrap_err().to_string();
        assert!(error.contains("number"), "{error}");
        assert!(Config::parse("[[port]]\nname = \"a\"\nbackend = \"dpdk\"\n").is_err());
    }

    #[test]
    fn a_file_without_vswitches_has_no_spec() {
        assert_eq!(Config::parse("generation = 4\n").unwrap().spec(), None);
    }
}
