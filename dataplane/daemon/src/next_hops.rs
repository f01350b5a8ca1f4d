//! Next hops of UDP links, as they follow from what the kernel says of devices, addresses, routes and neighbours. Pure:
//! facts and `now` in, a table and commands out.
//!
//! ```text
//! link ─► device (port, or its vlan device) ─► own address is on it ─► route leaves by it ─► gateway, or the peer itself
//!      ─► neighbour's MAC
//! ```
//! The kernel keeps an entry of a neighbour only while somebody uses it, and our frames pass it by. So each next hop is
//! looked at every few seconds, and used in the kernel's eyes, which has the kernel ask the neighbour again by its own
//! rules.

use dataplane_api::{MacAddress, Nanos, VifId};
use engine::{NextHop, NextHops};
use io::netlink::{Device, Neighbour, NeighbourState, OwnAddress, Route, RouteKind};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

const SECOND: Nanos = 1_000_000_000;
/// Commands in a window; the rest waits for the next. A command is a system call or two.
const COMMANDS_MAX: usize = 1024;
const WINDOW: Nanos = SECOND / 10;
/// Between two questions about a route of which no change was heard.
const ROUTE_INTERVAL: Nanos = 30 * SECOND;
/// Between two looks at a neighbour that answers: below the 5 s for which the kernel counts an entry as used, so that it
/// asks the neighbour again before the entry goes stale.
const REFRESH: Nanos = 4 * SECOND;
/// Between two looks at a neighbour that is being asked, and the least between two orders to ask it.
const ATTENTION: Nanos = SECOND;
/// Most between two orders to ask a neighbour that does not answer.
const PAUSE_MAX: Nanos = 8 * SECOND;
/// How long an address outlives its entry, while the neighbour is asked again: the kernel needs 3 s to give up.
const HOLD: Nanos = 4 * SECOND;
/// Sentences about links at once.
const NOTICES_MAX: usize = 16;

/// A UDP link of the spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UdpLink {
    pub(crate) vif: VifId,
    /// For people.
    pub(crate) name: String,
    /// Name of the port.
    pub(crate) port: String,
    /// Whether a network device is behind the port.
    pub(crate) has_device: bool,
    pub(crate) vlan: Option<u16>,
    pub(crate) own: IpAddr,
    pub(crate) peer: IpAddr,
}

/// What is to be asked of the kernel; each answer goes to the method of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Devices,
    Addresses,
    Route(Flow),
    /// What is known of a neighbour.
    Neighbour(Place),
    /// Find it, or keep it. Its entry was not permanent a moment ago.
    Probe(Place),
}

/// What a route depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flow {
    pub(crate) own: IpAddr,
    pub(crate) peer: IpAddr,
    /// Of addresses that mean something on one wire only.
    pub(crate) device: Option<u32>,
}

/// Where a neighbour is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) device: u32,
    pub(crate) address: IpAddr,
}

/// Why a link has no next hop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Unresolved {
    #[error("the kernel is being asked")]
    Asked,
    #[error("port {0} has no network device")]
    NoDevice(String),
    #[error(
        "port {port} has no device for vlan {vlan}, where routes and neighbours of a tagged link are looked for: make \
         one (ip link add link {port} name {port}.{vlan} type vlan id {vlan}) and give it the link's own address"
    )]
    NoVlanDevice { port: String, vlan: u16 },
    #[error("device {0} has no Ethernet address")]
    NoMac(String),
    #[error("this machine has no address {0}")]
    NoAddress(IpAddr),
    #[error("its own address {own} is on device {on}, not on {device}")]
    AddressElsewhere { own: IpAddr, on: String, device: String },
    #[error("there is no route to {0}")]
    NoRoute(IpAddr),
    #[error("its peer {0} is an address of this machine")]
    PeerIsLocal(IpAddr),
    #[error("the route to {peer} leaves by device {by}, not by {device}")]
    OtherDevice { peer: IpAddr, by: String, device: String },
    #[error("{address} does not answer on device {device}")]
    Silent { address: IpAddr, device: String },
    #[error("{0}")]
    Refused(String),
}

/// The route of a flow.
#[derive(Clone, Copy, Debug)]
struct RouteState {
    /// `None`: not asked yet.
    answer: Option<Option<Route>>,
    due: Nanos,
}

/// A next hop.
#[derive(Clone, Debug)]
struct Hop {
    mac: Option<MacAddress>,
    /// The kernel gave up.
    silent: bool,
    /// Why the kernel does not even try.
    refused: Option<String>,
    /// Until when `mac` counts although its entry is gone.
    held_until: Option<Nanos>,
    /// No order to ask it before.
    probe_after: Nanos,
    pause: Nanos,
    due: Nanos,
}

/// What is looked at from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Route(Flow),
    Neighbour(Place),
}

/// Everything that next hops follow from.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    links: Vec<UdpLink>,
    devices: BTreeMap<u32, Device>,
    addresses: BTreeSet<OwnAddress>,
    routes: BTreeMap<Flow, RouteState>,
    hops: BTreeMap<Place, Hop>,
    /// All tasks, by when they are due.
    schedule: BTreeSet<(Nanos, Task)>,
    probes: VecDeque<Place>,
    devices_known: bool,
    addresses_known: bool,
    routes_known: bool,
    /// No question about all devices, addresses or routes before: each is a long one.
    ask_after: Nanos,
    /// Something that the table follows from is different.
    changed: bool,
    window_end: Nanos,
    commands_left: usize,
    table: NextHops,
    notices: Vec<String>,
}

impl Tracker {
    /// From now on these are the links.
    pub(crate) fn set_links(&mut self, links: Vec<UdpLink>) {
        if links != self.links {
            self.links = links;
            self.changed = true;
        }
    }

    /// Devices are different.
    pub(crate) fn forget_devices(&mut self) {
        self.devices_known = false;
        // A device that goes up or down takes routes along, not always with a word about each.
        self.routes_known = false;
    }

    /// Addresses of this machine are different.
    pub(crate) fn forget_addresses(&mut self) {
        self.addresses_known = false;
        self.routes_known = false;
    }

    /// Routes are different.
    pub(crate) fn forget_routes(&mut self) {
        self.routes_known = false;
    }

    /// Anything may be different.
    pub(crate) fn forget_all(&mut self, now: Nanos) {
        self.forget_devices();
        self.forget_addresses();
        let places: Vec<_> = self.hops.keys().copied().collect();
        places.into_iter().for_each(|place| self.forget_neighbour(place, now));
    }

    /// A neighbour's entry is different. What a message says of it may be old by now, so it is looked at.
    pub(crate) fn forget_neighbour(&mut self, place: Place, now: Nanos) {
        if self.hops.get(&place).is_some_and(|hop| hop.due > now) {
            self.set_hop_due(place, now);
        }
    }

    /// What is to be asked now, and no more than the kernel can answer without keeping the thread from its work.
    pub(crate) fn commands(&mut self, now: Nanos) -> Vec<Command> {
        if now >= self.window_end {
            (self.window_end, self.commands_left) = (now + WINDOW, COMMANDS_MAX);
        }
        let mut commands = Vec::new();
        if self.links.is_empty() {
            return commands;
        }
        let known = self.devices_known && self.addresses_known && self.routes_known;
        if !known && now >= self.ask_after {
            self.ask_after = now + WINDOW;
            commands.extend((!self.devices_known).then_some(Command::Devices));
            commands.extend((!self.addresses_known).then_some(Command::Addresses));
            if !std::mem::replace(&mut self.routes_known, true) {
                let flows: Vec<_> = self.routes.keys().copied().collect();
                flows.into_iter().for_each(|flow| self.look_at_route(flow, now));
            }
        }
        while commands.len() < self.commands_left
            && let Some(place) = self.probes.pop_front()
        {
            commands.push(Command::Probe(place));
        }
        while commands.len() < self.commands_left
            && let Some((due, task)) = self.schedule.first().copied()
            && due <= now
        {
            // The answer may bring it forward, or put it off.
            commands.push(match task {
                Task::Route(flow) => {
                    self.set_route_due(flow, now + ROUTE_INTERVAL);
                    Command::Route(flow)
                }
                Task::Neighbour(place) => {
                    self.set_hop_due(place, now + ATTENTION);
                    Command::Neighbour(place)
                }
            });
        }
        self.commands_left = self.commands_left.saturating_sub(commands.len());
        commands
    }

    /// All devices.
    pub(crate) fn devices(&mut self, devices: Vec<Device>) {
        self.devices_known = true;
        let devices = devices.into_iter().map(|device| (device.index, device)).collect();
        self.changed |= self.devices != devices;
        self.devices = devices;
    }

    /// All addresses of this machine.
    pub(crate) fn addresses(&mut self, addresses: Vec<OwnAddress>) {
        self.addresses_known = true;
        let addresses = addresses.into_iter().collect();
        self.changed |= self.addresses != addresses;
        self.addresses = addresses;
    }

    /// The route of a flow; `None`: there is none.
    pub(crate) fn route(&mut self, flow: Flow, route: Option<Route>) {
        if let Some(state) = self.routes.get_mut(&flow) {
            self.changed |= state.answer != Some(route);
            state.answer = Some(route);
        }
    }

    /// What is known of a neighbour now.
    pub(crate) fn neighbour(&mut self, found: &Neighbour, now: Nanos) {
        let place = Place { device: found.device, address: found.address };
        let Some(hop) = self.hops.get_mut(&place) else { return };
        let before = (hop.mac, hop.silent);
        let mac = found.mac.map(MacAddress).filter(is_station);
        let (use_it, next) = match found.state {
            NeighbourState::Permanent | NeighbourState::NoArp => {
                hop.answers(mac);
                (false, REFRESH)
            }
            NeighbourState::Reachable => {
                hop.answers(mac);
                (true, REFRESH)
            }
            NeighbourState::Stale => {
                hop.answers(mac);
                (true, ATTENTION)
            }
            NeighbourState::Delay | NeighbourState::Probe => {
                hop.answers(mac);
                (false, ATTENTION)
            }
            NeighbourState::Incomplete => {
                hop.hold(now);
                (false, ATTENTION)
            }
            NeighbourState::Absent => {
                hop.hold(now);
                (true, ATTENTION)
            }
            NeighbourState::Failed => {
                (hop.mac, hop.silent, hop.held_until) = (None, true, None);
                (true, ATTENTION)
            }
        };
        self.changed |= before != (hop.mac, hop.silent);
        if use_it && now >= hop.probe_after {
            hop.probe_after = now + hop.pause;
            if hop.mac.is_none() {
                hop.pause = (hop.pause * 2).min(PAUSE_MAX);
            }
            self.probes.push_back(place);
        }
        self.set_hop_due(place, now + next);
    }

    /// The kernel's answer to an order to find a neighbour.
    pub(crate) fn probe(&mut self, place: Place, refused: Option<String>) {
        if let Some(hop) = self.hops.get_mut(&place)
            && hop.refused != refused
        {
            hop.refused = refused;
            self.changed = true;
        }
    }

    /// Draws the conclusions from what was learned. `true`: the table is another.
    pub(crate) fn settle(&mut self, now: Nanos) -> bool {
        if !std::mem::take(&mut self.changed) {
            return false;
        }
        let places = self.places();
        self.keep_routes(&places, now);
        let links = std::mem::take(&mut self.links);
        let found: Vec<_> = links.iter().map(|link| self.place(link, &places)).collect();
        self.keep_hops(found.iter().flatten().map(|(place, _)| *place).collect(), now);
        let mut table = NextHops::default();
        let (mut notices, mut more) = (Vec::new(), 0);
        for (link, found) in links.iter().zip(found) {
            match found.and_then(|(place, src)| self.resolve(place, src)) {
                Ok(next_hop) => table.set(link.vif, Some(next_hop)),
                Err(Unresolved::Asked) => {}
                Err(_) if notices.len() >= NOTICES_MAX => more += 1,
                Err(why) => notices.push(format!(
                    "{}: {why}; what should leave by it is dropped as unresolved",
                    link.name
                )),
            }
        }
        if more > 0 {
            notices.push(format!("{more} more UDP links are unresolved"));
        }
        self.links = links;
        self.notices = notices;
        let differs = table != self.table;
        self.table = table;
        differs
    }

    /// Whether there is anything to resolve.
    pub(crate) fn has_links(&self) -> bool {
        !self.links.is_empty()
    }

    /// The table as it was settled last.
    pub(crate) fn table(&self) -> &NextHops {
        &self.table
    }

    /// Why links have no next hop, in sentences.
    pub(crate) fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Devices by name, and vlan devices by what is below them and their tag.
    fn places(&self) -> DevicesByName {
        let mut places = DevicesByName::default();
        for device in self.devices.values() {
            places.names.insert(device.name.clone(), device.index);
            if let Some(vlan) = device.vlan {
                places.vlans.entry(vlan).or_insert(device.index);
            }
        }
        places
    }

    /// Knows a route for each flow, and no other.
    fn keep_routes(&mut self, places: &DevicesByName, now: Nanos) {
        let wanted: BTreeSet<Flow> = self
            .links
            .iter()
            .filter_map(|link| Some(flow(link, places.device(link).ok()?)))
            .collect();
        let gone: Vec<Flow> =
            self.routes.keys().filter(|flow| !wanted.contains(flow)).copied().collect();
        for flow in gone {
            if let Some(state) = self.routes.remove(&flow) {
                self.schedule.remove(&(state.due, Task::Route(flow)));
            }
        }
        for flow in wanted {
            if let Entry::Vacant(new) = self.routes.entry(flow) {
                new.insert(RouteState { answer: None, due: now });
                self.schedule.insert((now, Task::Route(flow)));
            }
        }
    }

    /// Knows a hop for each place, and no other.
    fn keep_hops(&mut self, wanted: BTreeSet<Place>, now: Nanos) {
        let gone: Vec<Place> =
            self.hops.keys().filter(|place| !wanted.contains(place)).copied().collect();
        for place in gone {
            if let Some(hop) = self.hops.remove(&place) {
                self.schedule.remove(&(hop.due, Task::Neighbour(place)));
            }
        }
        self.probes.retain(|place| wanted.contains(place));
        for place in wanted {
            if let Entry::Vacant(new) = self.hops.entry(place) {
                new.insert(Hop::new(now));
                self.schedule.insert((now, Task::Neighbour(place)));
            }
        }
    }

    /// Whom a link's frames go to, and the address that they come from.
    fn place(
        &self,
        link: &UdpLink,
        places: &DevicesByName,
    ) -> Result<(Place, MacAddress), Unresolved> {
        if !self.devices_known && self.devices.is_empty() {
            return Err(Unresolved::Asked);
        }
        let device = places.device(link)?;
        let name = || self.name(device);
        let mac = self.devices.get(&device).and_then(|device| device.mac);
        let mac = mac.ok_or_else(|| Unresolved::NoMac(name()))?;
        self.check_own_address(link.own, device)?;
        let peer = link.peer;
        let answer = self.routes.get(&flow(link, device)).and_then(|state| state.answer);
        let route = answer.ok_or(Unresolved::Asked)?.ok_or(Unresolved::NoRoute(peer))?;
        match route.kind {
            RouteKind::Unicast => {}
            RouteKind::Local => return Err(Unresolved::PeerIsLocal(peer)),
            RouteKind::Other => return Err(Unresolved::NoRoute(peer)),
        }
        if route.device != device {
            let by = self.name(route.device);
            return Err(Unresolved::OtherDevice { peer, by, device: name() });
        }
        Ok((Place { device, address: route.gateway.unwrap_or(peer) }, MacAddress(mac)))
    }

    /// The own address is on the device, or on the loopback, which routers like to give it to.
    fn check_own_address(&self, own: IpAddr, device: u32) -> Result<(), Unresolved> {
        if !self.addresses_known && self.addresses.is_empty() {
            return Err(Unresolved::Asked);
        }
        let of = |device| OwnAddress { address: own, device };
        let mut on = self.addresses.range(of(0)..=of(u32::MAX)).map(|at| at.device);
        let Some(first) = on.clone().next() else { return Err(Unresolved::NoAddress(own)) };
        let loopback = |index: &u32| self.devices.get(index).is_some_and(|device| device.loopback);
        if on.any(|at| at == device || loopback(&at)) {
            return Ok(());
        }
        let (on, device) = (self.name(first), self.name(device));
        Err(Unresolved::AddressElsewhere { own, on, device })
    }

    fn resolve(&self, place: Place, src: MacAddress) -> Result<NextHop, Unresolved> {
        let hop = self.hops.get(&place).ok_or(Unresolved::Asked)?;
        let Place { address, device } = place;
        match (hop.mac, &hop.refused) {
            (Some(dst), _) => Ok(NextHop { dst, src }),
            (None, Some(why)) => Err(Unresolved::Refused(why.clone())),
            (None, None) if hop.silent => {
                Err(Unresolved::Silent { address, device: self.name(device) })
            }
            (None, None) => Err(Unresolved::Asked),
        }
    }

    /// A device's name, for people.
    fn name(&self, device: u32) -> String {
        self.devices
            .get(&device)
            .map_or_else(|| format!("number {device}"), |device| device.name.clone())
    }

    fn look_at_route(&mut self, flow: Flow, now: Nanos) {
        if self.routes.get(&flow).is_some_and(|state| state.due > now) {
            self.set_route_due(flow, now);
        }
    }

    fn set_route_due(&mut self, flow: Flow, due: Nanos) {
        if let Some(state) = self.routes.get_mut(&flow) {
            self.schedule.remove(&(state.due, Task::Route(flow)));
            state.due = due;
            self.schedule.insert((due, Task::Route(flow)));
        }
    }

    fn set_hop_due(&mut self, place: Place, due: Nanos) {
        if let Some(hop) = self.hops.get_mut(&place) {
            self.schedule.remove(&(hop.due, Task::Neighbour(place)));
            hop.due = due;
            self.schedule.insert((due, Task::Neighbour(place)));
        }
    }
}

impl Hop {
    fn new(now: Nanos) -> Self {
        Self {
            mac: None,
            silent: false,
            refused: None,
            held_until: None,
            probe_after: now,
            pause: ATTENTION,
            due: now,
        }
    }

    /// The kernel has an address, or a state that should have one.
    fn answers(&mut self, mac: Option<MacAddress>) {
        (self.mac, self.silent, self.held_until) = (mac, mac.is_none(), None);
        if mac.is_some() {
            (self.refused, self.pause) = (None, ATTENTION);
        }
    }

    /// The entry is gone, and the neighbour perhaps not: its address counts on for a moment.
    fn hold(&mut self, now: Nanos) {
        if self.mac.is_some() && now >= *self.held_until.get_or_insert(now + HOLD) {
            (self.mac, self.silent, self.held_until) = (None, true, None);
        }
    }
}

#[derive(Debug, Default)]
struct DevicesByName {
    names: BTreeMap<String, u32>,
    vlans: BTreeMap<(u32, u16), u32>,
}

impl DevicesByName {
    /// Index of the device that a link's frames leave by in the kernel's eyes.
    fn device(&self, link: &UdpLink) -> Result<u32, Unresolved> {
        let no_device = || Unresolved::NoDevice(link.port.clone());
        let found = self.names.get(&link.port).copied().filter(|_| link.has_device);
        let port = found.ok_or_else(no_device)?;
        let Some(vlan) = link.vlan else { return Ok(port) };
        let no_vlan = || Unresolved::NoVlanDevice { port: link.port.clone(), vlan };
        self.vlans.get(&(port, vlan)).copied().ok_or_else(no_vlan)
    }
}

fn flow(link: &UdpLink, device: u32) -> Flow {
    let on_one_wire = |address: IpAddr| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let device = (on_one_wire(link.own) || on_one_wire(link.peer)).then_some(device);
    Flow { own: link.own, peer: link.peer, device }
}

/// Whether frames may go to it.
fn is_station(mac: &MacAddress) -> bool {
    mac.0[0] & 1 == 0 && mac.0 != [0; 6]
}

#[cfg(test)]
mod tests;
