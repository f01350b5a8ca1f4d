//! Beacons: how nodes on one wire meet. Source: CJDNS-WIRE.md §1.4.

use super::session::{CALLING, Session};
use super::{Caller, Command, Kind, Links, Newcomer};
use crypt::credential::Credential;
use dataplane_api::{DropReason, LinkAddress, MacAddress, Nanos, PortId, Role, VswitchId};
use std::collections::BTreeMap;
use wire::beacon::Beacon;
use wire::control::PROTOCOL_VERSION_MIN;
use wire::key::PublicKey;

/// Login of everybody who was met by a beacon.
pub const BEACON_LOGIN: &str = "Local Peers";
/// Between two beacons.
const INTERVAL: Nanos = 32_768_000_000;
/// Neighbours of one vswitch that beacons may make.
const MET_MAX: usize = 64;
/// From this version on a node answers Noise.
const NOISE_VERSION: u32 = 22;
/// What our beacons say: 22 would invite Noise from every node that can begin with it.
const OWN_VERSION: u32 = 21;

/// Where a vswitch meets neighbours by broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BeaconPort {
    /// Port.
    pub port: PortId,
    /// 802.1Q tag.
    pub vlan: Option<u16>,
    /// Own address there.
    pub own: MacAddress,
    /// Whether our own beacons are sent, or only those of others heard.
    pub sends: bool,
}

/// Where beacons are sent and heard, and when the next ones are due.
#[derive(Debug, Default)]
pub(super) struct Beacons {
    places: BTreeMap<(VswitchId, BeaconPort), Nanos>,
}

impl Beacons {
    /// A place that is new sends its first beacon at once.
    pub(super) fn configure(&mut self, now: Nanos, places: &[(VswitchId, BeaconPort)]) {
        let before = std::mem::take(&mut self.places);
        let due = |place| before.get(place).copied().unwrap_or(now);
        self.places = places.iter().map(|place| (*place, due(place))).collect();
    }

    /// Vswitches that hear beacons at a place.
    fn hearing(&self, port: PortId, vlan: Option<u16>) -> Vec<(VswitchId, BeaconPort)> {
        let here = |at: &BeaconPort| at.port == port && at.vlan == vlan;
        self.places.keys().filter(|(_, at)| here(at)).copied().collect()
    }
}

impl Links {
    /// Sends the beacons that are due.
    pub(super) fn send_beacons(&mut self, now: Nanos) {
        for ((vswitch, from), due) in &mut self.beacons.places {
            let Some(node) = self.nodes.get(vswitch).filter(|_| from.sends && *due <= now) else {
                continue;
            };
            let (Some(identity), Some(password)) = (&node.identity, node.beacon_password) else {
                continue;
            };
            *due = now + INTERVAL;
            let beacon = Beacon { version: OWN_VERSION, password, key: identity.public() };
            let (vswitch, from, body) = (*vswitch, *from, beacon.to_bytes());
            self.commands.push(Command::Beacon { vswitch, from, body });
        }
    }

    /// A beacon: each vswitch that hears it calls its sender, unless it knows it already.
    ///
    /// # Errors
    /// The name of its drop.
    pub fn beacon(
        &mut self,
        now: Nanos,
        address: LinkAddress,
        body: &[u8],
    ) -> Result<(), DropReason> {
        let LinkAddress::Ethernet { port, vlan, peer, .. } = address else {
            return Err(DropReason::BeaconOff);
        };
        let beacon = Beacon::parse(body).ok_or(DropReason::Handshake)?;
        if !beacon.key.is_usable() || beacon.version < PROTOCOL_VERSION_MIN {
            return Err(DropReason::Handshake);
        }
        for (vswitch, at) in self.beacons.hearing(port, vlan) {
            let address = LinkAddress::Ethernet { port, vlan, own: at.own, peer };
            self.meet(now, vswitch, address, &beacon);
        }
        Ok(())
    }

    fn meet(&mut self, now: Nanos, vswitch: VswitchId, address: LinkAddress, beacon: &Beacon) {
        let key = (vswitch, beacon.key);
        let credential = Credential::new(Some(BEACON_LOGIN.as_bytes()), &beacon.password);
        if let Some(vif) = self.by_key.get(&key) {
            let link = self.links.get_mut(vif.index()).and_then(Option::as_mut);
            if let Some(link) = link.filter(|link| link.config.learned) {
                if link.config.address == address && link.config.user.is_none() {
                    // It started anew and has another password.
                    link.log_in_with(credential);
                    return;
                }
                if link.is_alive(now) {
                    return;
                }
            } else {
                return;
            }
        }
        let Some(identity) = self.nodes.get(&vswitch).and_then(|node| node.identity.clone()) else {
            return;
        };
        if identity.public() == beacon.key
            || self.callers.contains_key(&key)
            || self.met(vswitch) >= MET_MAX
            || !self.admission.admits(now, vswitch, u32::MAX, &address)
        {
            return;
        }
        let noise = beacon.version >= NOISE_VERSION;
        let kind = if noise { Kind::Noise } else { Kind::CryptoAuth };
        let session = Session::new(kind, &identity, beacon.key, Some(credential), CALLING);
        let Some(session) = session else { return };
        let newcomer = Newcomer {
            vswitch,
            key: beacon.key,
            address,
            user: None,
            handshake: kind.into(),
            role: Role::default(),
        };
        self.take(Caller { address, session, received: None, since: now }, newcomer);
    }

    /// Neighbours of a vswitch that beacons made, and those about to be.
    fn met(&self, vswitch: VswitchId) -> usize {
        let own = (vswitch, PublicKey([0; 32]))..=(vswitch, PublicKey([0xff; 32]));
        let links = self.by_key.range(own.clone());
        let links = links.filter_map(|(_, vif)| self.links.get(vif.index())?.as_deref());
        let by_beacon = |link: &&super::Link| link.config.learned && link.config.user.is_none();
        links.filter(by_beacon).count() + self.callers.range(own).count()
    }
}
