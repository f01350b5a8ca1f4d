//! Opening the plan's ports.

use crate::config::Backend;
use crate::plan::{PortPlan, port_id};
use crate::worker::Queue;
use dataplane_api::WorkerId;
use io::af_packet::{AfPacket, AfPacketConfig, PacketFilter};
use io::af_xdp::{AfXdp, AfXdpConfig};
use io::memory::MemoryPort;
use io::netdev::Netdev;
use io::pcap::PcapPort;
use io::unicast::Unicast;
use io::xdp::{Allowances, Attachment, PortFilter};
use io::{AnyPort, IoError, Pool, PortStatistics, Umem};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};

/// Ends of wires inside this process, by port name: one for each of its queues.
pub type MemoryPorts = BTreeMap<String, Vec<MemoryPort<'static>>>;

/// What the management thread keeps of a port.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What chooses the frames that are ours, where the kernel does.
    pub(crate) filter: Option<Filter>,
    /// What tells the device our addresses, where there is one.
    pub(crate) unicast: Option<Unicast>,
    /// Back end and mode, in words.
    pub(crate) backend: String,
    /// Whether a network device is behind it, which may go down.
    pub(crate) has_device: bool,
}

impl Opened {
    fn without_device(backend: &str) -> Self {
        Self { filter: None, unicast: None, backend: backend.to_owned(), has_device: false }
    }

    fn of_device(device: &Netdev, filter: Filter, backend: String) -> Result<Self, IoError> {
        let unicast = Some(Unicast::open(device)?);
        Ok(Self { filter: Some(filter), unicast, backend, has_device: true })
    }

    /// Lets in what is new in `wanted`; nothing is taken away yet. Returns what is worth a notice.
    pub(crate) fn add(&mut self, wanted: &PortFilter) -> Result<Option<String>, IoError> {
        if let Some(filter) = &mut self.filter {
            filter.add(wanted)?;
        }
        // A device that is gone cannot be told; the other ports go on.
        let told = self.unicast.as_mut().map(|unicast| unicast.add(&stations(wanted)));
        Ok(told.and_then(Result::err).map(|error| error.to_string()))
    }

    /// Tells the XDP program what passes while workers are behind.
    pub(crate) fn allow(&mut self, wanted: impl FnOnce() -> Allowances) -> Result<(), IoError> {
        match &mut self.filter {
            Some(Filter::Xdp(attachment)) => attachment.allow(wanted()),
            Some(Filter::AfPacket(_)) | None => Ok(()),
        }
    }

    /// Takes away what is not in `wanted`.
    pub(crate) fn remove_others(&mut self, wanted: &PortFilter) -> Result<(), IoError> {
        if let Some(filter) = &mut self.filter {
            filter.remove_others(wanted)?;
        }
        self.unicast.as_mut().map_or(Ok(()), |unicast| unicast.remove_others(&stations(wanted)))
    }
}

/// The addresses of single stations: what is for all needs no telling.
pub(crate) fn stations(wanted: &PortFilter) -> BTreeSet<[u8; 6]> {
    wanted.macs.iter().copied().filter(|mac| mac[0] & 1 == 0).collect()
}

/// Chooses in the kernel which frames are ours.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each port, made once")]
pub(crate) enum Filter {
    Xdp(Attachment),
    AfPacket(PacketFilter),
}

impl Filter {
    /// Adds what is new in `wanted`; nothing is taken away yet.
    pub(crate) fn add(&mut self, wanted: &PortFilter) -> Result<(), IoError> {
        match self {
            Self::Xdp(attachment) => attachment.add(wanted),
            Self::AfPacket(filter) => filter.add(wanted),
        }
    }

    /// Takes away what is not in `wanted`.
    pub(crate) fn remove_others(&mut self, wanted: &PortFilter) -> Result<(), IoError> {
        match self {
            Self::Xdp(attachment) => attachment.remove_others(wanted),
            Self::AfPacket(filter) => filter.remove_others(wanted),
        }
    }
}

/// Attaches to a device, with a program that sheds for up to `links` links if any; why it does not, if it should and its
/// kernel refuses such a program.
fn attach(device: &str, links: Option<usize>) -> Result<(Attachment, Option<IoError>), IoError> {
    let device = Netdev::find(device)?;
    let Some(links) = links else { return Ok((Attachment::attach(&device)?, None)) };
    match Attachment::attach_shedding(&device, links) {
        Ok(attachment) => Ok((attachment, None)),
        Err(why) => Ok((Attachment::attach(&device)?, Some(why))),
    }
}

/// Opens all queues of all ports; frames for their fill rings come from `frames`. `links`: how many XDP programs may be told
/// of; without, they shed nothing. Returns queues by worker.
pub(crate) fn open(
    plan: &[PortPlan],
    umem: &'static Umem,
    frames: &mut Pool<'static>,
    memory: &mut MemoryPorts,
    workers: usize,
    links: Option<usize>,
) -> Result<(Vec<Opened>, Vec<Vec<Queue>>), PortsError> {
    let mut queues: Vec<Vec<Queue>> = (0..workers).map(|_| Vec::new()).collect();
    let mut opened = Vec::with_capacity(plan.len());
    // A socket of the shared memory, which later ones refer to.
    let mut first: Option<OwnedFd> = None;
    for (index, port) in plan.iter().enumerate() {
        let mut give = |worker: &WorkerId, io: AnyPort<'static>| {
            let (port, seen) = (port_id(index), PortStatistics::default());
            queues[worker.index()].push(Queue { port, io, seen, pending: 0 });
        };
        match port.config.backend {
            Backend::AfXdp => {
                let (attachment, refused) = attach(&port.config.name, links)?;
                let mut zero_copy = true;
                for (queue, worker) in &port.queues {
                    let config = AfXdpConfig {
                        queue: *queue,
                        rx_entries: port.config.rx_entries,
                        tx_entries: port.config.tx_entries,
                        tx_pending_max: port.config.tx_pending,
                    };
                    let shared = first.as_ref().map(AsFd::as_fd);
                    let io = AfXdp::open(umem, frames, &attachment, shared, config)?;
                    zero_copy &= io.is_zero_copy();
                    if first.is_none() {
                        first = Some(io.socket().try_clone_to_owned().map_err(PortsError::Share)?);
                    }
                    give(worker, AnyPort::AfXdp(io));
                }
                let copy = if zero_copy { "zero-copy" } else { "copy" };
                let cannot = |why| format!(", cannot shed: {why}");
                let refused = refused.map_or_else(String::new, cannot);
                let backend = format!("af_xdp {} {copy}{refused}", attachment.mode());
                let device = attachment.device().clone();
                opened.push(Opened::of_device(&device, Filter::Xdp(attachment), backend)?);
            }
            Backend::AfPacket => {
                let device = Netdev::find(&port.config.name)?;
                let config = AfPacketConfig {
                    tx_pending_max: port.config.tx_pending,
                    ..AfPacketConfig::default()
                };
                let (ends, filter) = AfPacket::open(umem, &device, port.queues.len(), config)?;
                for ((_, worker), end) in port.queues.iter().zip(ends) {
                    give(worker, AnyPort::AfPacket(end));
                }
                let (filter, backend) = (Filter::AfPacket(filter), "af_packet".to_owned());
                opened.push(Opened::of_device(&device, filter, backend)?);
            }
            Backend::Memory => {
                let name = &port.config.name;
                let ends = memory.remove(name).filter(|ends| ends.len() == port.queues.len());
                let ends = ends.ok_or_else(|| PortsError::Memory {
                    port: name.clone(),
                    queues: port.queues.len(),
                })?;
                for ((_, worker), end) in port.queues.iter().zip(ends) {
                    give(worker, AnyPort::Memory(end));
                }
                opened.push(Opened::without_device("memory"));
            }
            Backend::Pcap => {
                for (at, (_, worker)) in port.queues.iter().enumerate() {
                    // One queue reads the recording, or every frame would come once for each.
                    let replay = port.config.replay.as_deref().filter(|_| at == 0);
                    let record = port.config.record.as_deref().filter(|_| at == 0);
                    give(worker, AnyPort::Pcap(PcapPort::open(replay, record)?));
                }
                opened.push(Opened::without_device("pcap"));
            }
        }
    }
    Ok((opened, queues))
}

/// A port that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortsError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("share the frame memory between sockets: {0}")]
    Share(std::io::Error),
    #[error(
        "port {port}: a memory port has its other end in the same process, with {queues} queue(s), and nobody gave one"
    )]
    Memory { port: String, queues: usize },
}
