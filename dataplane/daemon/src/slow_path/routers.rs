//! The routers of vswitches: what they are told, what they send, when they are due.

use super::cables::Cables;
use crate::clock;
use crate::counters::SharedCounters;
use crate::tables::Tables;
use dataplane_api::counters::VifCounter;
use dataplane_api::status::RouterStatus;
use dataplane_api::{Nanos, VswitchId};
use engine::slow_path::{Responder, Supernode};
use engine::{Rules, VswitchInfo};
use node::links::{LinkState, Links};
use node::router::{Moment, Neighbour, Output, RouteServers, Router};
use rand_core::CryptoRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::key::PublicKey;

/// Polls rest for so many times as long as the last ones took: a router with thousands of neighbours that come up must not
/// look at all of them for each.
const REST: Nanos = 4;

/// What a router was made for; another is another router.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    key: PublicKey,
    scheme: String,
    servers: RouteServers,
}

#[derive(Debug)]
struct Entry {
    made: Made,
    router: Router,
}

/// The routers, by vswitch: of those that have neighbours with keys, and whose own key is here.
#[derive(Debug, Default)]
pub(crate) struct Routers {
    entries: BTreeMap<VswitchId, Entry>,
    /// When each wants to be polled.
    due: BTreeSet<(Nanos, VswitchId)>,
    /// Those whose links are not what they were.
    changed: BTreeSet<VswitchId>,
    rest_until: Nanos,
    edition: Option<u64>,
    identities: Option<Arc<crate::keys::Identities>>,
    cables: Cables,
}

/// A packet of a router, to be sent through its vswitch.
pub(super) type Sent = (VswitchId, Vec<u8>);

impl Routers {
    /// Makes and drops routers as the rules have vswitches now.
    pub(super) fn follow(&mut self, tables: &Tables, rng: &mut dyn CryptoRng) {
        let rules = &tables.rules;
        let same = self.edition == Some(rules.edition())
            && self.identities.as_ref().is_some_and(|of| Arc::ptr_eq(of, &tables.identities));
        if same {
            return;
        }
        self.edition = Some(rules.edition());
        self.identities = Some(Arc::clone(&tables.identities));
        let mut before = std::mem::take(&mut self.entries);
        for vswitch in rules.vswitches().filter(|vswitch| vswitch.is_node) {
            let Some(identity) = tables.identities.get(&vswitch.key) else { continue };
            let made = made_for(vswitch);
            let entry = match before.remove(&vswitch.id).filter(|entry| entry.made == made) {
                Some(entry) => entry,
                None => {
                    let (identity, scheme) = (Arc::clone(identity), vswitch.scheme.clone());
                    let servers = made.servers.clone();
                    let router = Router::new(identity, scheme, servers, &mut moment(rng));
                    Entry { made, router }
                }
            };
            self.entries.insert(vswitch.id, entry);
        }
        self.cables = Cables::of(rules, |vswitch| self.entries.contains_key(&vswitch));
        let now = clock::now();
        self.due = self.entries.keys().map(|vswitch| (now, *vswitch)).collect();
    }

    /// A packet for a vswitch's router that is no control message. `false`: the vswitch has no router.
    pub(super) fn delivered(
        &mut self,
        rng: &mut dyn CryptoRng,
        vswitch: VswitchId,
        packet: &[u8],
        out: &mut Vec<Sent>,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&vswitch) else { return false };
        let before = entry.router.next_due();
        let output = entry.router.delivered(&mut moment(rng), packet);
        self.take(vswitch, before, output, out);
        true
    }

    /// A control message. `false`: it is not the router's.
    pub(super) fn control(
        &mut self,
        rng: &mut dyn CryptoRng,
        vswitch: VswitchId,
        packet: &[u8],
        out: &mut Vec<Sent>,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&vswitch) else { return false };
        let before = entry.router.next_due();
        let Some(output) = entry.router.control(&mut moment(rng), packet) else { return false };
        self.take(vswitch, before, output, out);
        true
    }

    /// Polls the routers that are due, and those of `changed` vswitches, whose links are not what they were, once they had
    /// their rest.
    pub(super) fn poll(
        &mut self,
        rng: &mut dyn CryptoRng,
        (rules, links, counters): (&Rules, &Links, &SharedCounters),
        changed: BTreeSet<VswitchId>,
        responder: &mut Responder,
        out: &mut Vec<Sent>,
    ) {
        let now = clock::now();
        self.changed.extend(changed);
        if now < self.rest_until {
            return;
        }
        let mut due = std::mem::take(&mut self.changed);
        while let Some((at, vswitch)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, vswitch));
            due.insert(vswitch);
        }
        for vswitch in due {
            let Some(entry) = self.entries.get_mut(&vswitch) else { continue };
            let neighbours: Vec<Neighbour> = links
                .states_of(now, vswitch)
                .filter_map(|link| neighbour(rules, counters, &link))
                .chain(self.cables.neighbours(vswitch, counters))
                .collect();
            let before = entry.router.next_due();
            let output = entry.router.poll(&mut moment(rng), &neighbours);
            let supernode = entry.router.supernode().map(|of| Supernode {
                key: of.key,
                version: of.version,
                path: of.path,
            });
            responder.set_supernode(vswitch, supernode);
            self.take(vswitch, before, output, out);
        }
        let ended = clock::now();
        self.rest_until = ended + REST * ended.saturating_sub(now);
    }

    /// What each is up to.
    pub(super) fn statuses(&self) -> impl Iterator<Item = RouterStatus> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.entries.iter().map(move |(vswitch, entry)| {
            let status = entry.router.status();
            RouterStatus {
                vswitch: *vswitch,
                route_server: status.supernode.map(|supernode| supernode.key.to_string()),
                path: status.supernode.map(|supernode| format!("{:016x}", supernode.path)),
                links_announced: count(status.links_announced),
                sessions: count(status.sessions),
                nodes_served: count(status.nodes_served),
                dropped: status.dropped,
            }
        })
    }

    /// Whoever asked a question of a router has it answered by the router itself, so answers go nowhere yet.
    fn take(&mut self, vswitch: VswitchId, before: Nanos, output: Output, out: &mut Vec<Sent>) {
        out.extend(output.packets.into_iter().map(|packet| (vswitch, packet)));
        let Some(entry) = self.entries.get(&vswitch) else { return };
        let due = entry.router.next_due();
        self.due.remove(&(before, vswitch));
        self.due.insert((due, vswitch));
    }
}

fn made_for(vswitch: &VswitchInfo) -> Made {
    let servers = match &vswitch.route_servers {
        _ if vswitch.is_route_server => RouteServers::Host,
        None => RouteServers::Any,
        Some(keys) => RouteServers::Listed(keys.clone()),
    };
    Made { key: vswitch.key, scheme: vswitch.scheme_name.clone(), servers }
}

fn neighbour(rules: &Rules, counters: &SharedCounters, link: &LinkState) -> Option<Neighbour> {
    let vif = rules.vif(link.vif)?;
    let count = |counter| counters.vif(link.vif, counter);
    let lag = link.rtt.map(|rtt| (rtt / 1_000_000).max(1));
    Some(Neighbour {
        number: vif.number,
        key: link.key,
        version: link.version,
        established: link.up,
        mtu: vif.mtu,
        lag_ms: lag.and_then(|lag| u16::try_from(lag).ok()),
        received: count(VifCounter::Opened),
        lost: count(VifCounter::Skipped).saturating_sub(count(VifCounter::Late)),
        received_bytes: count(VifCounter::RxBytes),
    })
}

fn moment(rng: &mut dyn CryptoRng) -> Moment<'_> {
    Moment { now: clock::now(), wall_ms: clock::wall_ms(), rng }
}
