//! Next hops of UDP links, kept up to date: what [`Tracker`] wants to know is asked of the kernel. Nothing waits.

use crate::next_hops::{Command, Place, Tracker, UdpLink};
use crate::reservations::Reservations;
use dataplane_api::Nanos;
use engine::{LinkInfo, NextHops, OwnAddress, Rules, VifInfo};
use io::IoError;
use io::netlink::{Change, Netlink, Watch};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::collections::BTreeSet;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

/// Of the socket that tells of changes.
pub(crate) const CHANGES: Token = Token(3);
/// Datagrams of changes taken before others have their turn; each holds one to some dozens.
const DATAGRAMS_MAX: usize = 256;
/// Between two attempts to reserve addresses that somebody else had.
const RESERVE_INTERVAL: Nanos = 5_000_000_000;

/// A port, as far as next hops depend on it.
#[derive(Clone, Debug)]
pub(crate) struct PortDevice {
    pub(crate) name: String,
    /// Whether a network device is behind it.
    pub(crate) has_device: bool,
}

/// The tracker with its kernel.
#[derive(Debug)]
pub(crate) struct Resolver {
    ports: Vec<PortDevice>,
    tracker: Tracker,
    kernel: Option<Kernel>,
    reservations: Reservations,
    reserve_again: Nanos,
    /// Why the kernel cannot be asked.
    trouble: Option<String>,
    /// Sentences that were said to the log.
    said: BTreeSet<String>,
}

#[derive(Debug)]
struct Kernel {
    netlink: Netlink,
    watch: Watch,
}

impl Kernel {
    fn open(registry: &Registry) -> Result<Self, IoError> {
        let (netlink, watch) = (Netlink::open()?, Watch::open()?);
        let fd = watch.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&fd), CHANGES, Interest::READABLE).map_err(|source| {
            let attempt = "watch the changes of routes".to_owned();
            IoError::System { attempt, source }
        })?;
        Ok(Self { netlink, watch })
    }

    /// Tells the tracker what it wants to know. Whether the table became another; and, if anything was asked or failed,
    /// how that went.
    fn work(&mut self, tracker: &mut Tracker, now: Nanos) -> (bool, Option<Result<(), IoError>>) {
        let (mut differs, mut went) = (false, self.take_changes(tracker, now).err().map(Err));
        loop {
            differs |= tracker.settle(now);
            // Ends: what was asked is due later, and the commands of a window are counted.
            let commands = tracker.commands(now);
            if commands.is_empty() {
                return (differs, went);
            }
            for command in commands {
                let done = self.execute(command, tracker, now);
                if !matches!(went, Some(Err(_))) {
                    went = Some(done);
                }
            }
        }
    }

    fn take_changes(&mut self, tracker: &mut Tracker, now: Nanos) -> Result<(), IoError> {
        let taken = self.watch.take(DATAGRAMS_MAX, |change| match change {
            Change::Devices => tracker.forget_devices(),
            Change::Addresses => tracker.forget_addresses(),
            Change::Routes => tracker.forget_routes(),
            Change::Neighbour(found) => {
                let place = Place { device: found.device, address: found.address };
                tracker.forget_neighbour(place, now);
            }
            Change::Lost => tracker.forget_all(now),
        });
        // What was left is taken at the next look, a tenth of a second from now.
        taken.map(drop)
    }

    fn execute(
        &mut self,
        command: Command,
        tracker: &mut Tracker,
        now: Nanos,
    ) -> Result<(), IoError> {
        let netlink = &mut self.netlink;
        match command {
            Command::Devices => tracker.devices(netlink.devices()?),
            Command::Addresses => tracker.addresses(netlink.addresses()?),
            Command::Route(flow) => {
                tracker.route(flow, netlink.route(flow.own, flow.peer, flow.device)?);
            }
            Command::Neighbour(place) => {
                tracker.neighbour(&netlink.neighbour(place.device, place.address)?, now);
            }
            Command::Probe(place) => {
                let refused = netlink.probe(place.device, place.address).err();
                tracker.probe(place, refused.map(|error| error.to_string()));
            }
        }
        Ok(())
    }
}

impl Resolver {
    /// Asks the kernel of this thread's network namespace; without one, nothing is resolved, and a notice says so.
    pub(crate) fn open(ports: Vec<PortDevice>, registry: &Registry) -> Self {
        let (kernel, trouble) = match Kernel::open(registry) {
            Ok(kernel) => (Some(kernel), None),
            Err(error) => (None, Some(format!("routes and neighbours are not followed: {error}"))),
        };
        Self {
            ports,
            tracker: Tracker::default(),
            kernel,
            reservations: Reservations::default(),
            reserve_again: 0,
            trouble,
            said: BTreeSet::new(),
        }
    }

    /// Follows the UDP links of `rules` from now on. Returns their table as far as it is known at once, which goes with
    /// those rules and no others.
    pub(crate) fn adopt(&mut self, rules: &Rules, now: Nanos) -> Arc<NextHops> {
        let mut wanted = BTreeSet::new();
        let mut links = Vec::new();
        for vif in rules.vifs() {
            let LinkInfo::Udp { port, vlan, own, peer } = vif.link else { continue };
            let port = self.ports.get(port.index()).cloned();
            let port = port.unwrap_or(PortDevice { name: String::new(), has_device: false });
            if port.has_device {
                wanted.insert(with_scope(own, vlan, &port.name));
            }
            links.push(UdpLink {
                vif: vif.id,
                name: name(rules, vif),
                port: port.name,
                has_device: port.has_device,
                vlan,
                own: own.ip(),
                peer: peer.ip(),
            });
        }
        // Where strangers may call, too: one that is refused must not hear from the kernel that nobody is there.
        for listener in rules.vswitches().flat_map(|vswitch| &vswitch.listeners) {
            let device = self.ports.get(listener.port.index()).filter(|port| port.has_device);
            if let (OwnAddress::Socket(own), Some(port)) = (listener.own, device) {
                wanted.insert(with_scope(own, listener.vlan, &port.name));
            }
        }
        self.reservations.keep(&wanted);
        self.tracker.set_links(links);
        self.follow(now);
        Arc::new(self.tracker.table().clone())
    }

    /// Takes what the kernel has to tell and asks what is due. The table, if it became another.
    pub(crate) fn follow(&mut self, now: Nanos) -> Option<Arc<NextHops>> {
        let differs = match &mut self.kernel {
            Some(kernel) => {
                let (differs, trouble) = kernel.work(&mut self.tracker, now);
                if let Some(trouble) = trouble {
                    self.trouble = trouble.err().map(|error| error.to_string());
                }
                differs
            }
            None => self.tracker.settle(now),
        };
        if now >= self.reserve_again {
            self.reserve_again = now + RESERVE_INTERVAL;
            self.reservations.retry();
        }
        self.speak();
        differs.then(|| Arc::new(self.tracker.table().clone()))
    }

    /// What keeps UDP links from working, in sentences.
    pub(crate) fn notices(&self) -> Vec<String> {
        let trouble = self.trouble.iter().filter(|_| self.tracker.has_links());
        let links = self.tracker.notices().iter();
        trouble.chain(links).cloned().chain(self.reservations.notices()).collect()
    }

    /// Says to the log what it has not said yet; what is no longer true may be said again.
    fn speak(&mut self) {
        let notices: BTreeSet<String> = self.notices().into_iter().collect();
        if notices != self.said {
            notices.difference(&self.said).for_each(|notice| tracing::warn!("{notice}"));
            self.said = notices;
        }
    }
}

/// As people call a vif.
fn name(rules: &Rules, vif: &VifInfo) -> String {
    let vswitch = rules.vswitch(vif.vswitch).map_or("", |vswitch| &vswitch.name);
    match vif.link {
        LinkInfo::Udp { peer, .. } => format!("{vswitch}/{} (udp {peer})", vif.number),
        LinkInfo::Ethernet { .. } | LinkInfo::Cable { .. } => format!("{vswitch}/{}", vif.number),
    }
}

/// An address that means something on one wire only, with the number of that wire.
fn with_scope(address: SocketAddr, vlan: Option<u16>, port: &str) -> SocketAddr {
    match address {
        SocketAddr::V6(at) if at.ip().is_unicast_link_local() && vlan.is_none() => {
            let scope = nix::net::if_::if_nametoindex(port).unwrap_or(0);
            SocketAddr::V6(SocketAddrV6::new(*at.ip(), at.port(), 0, scope))
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => address,
    }
}
