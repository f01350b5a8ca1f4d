//! What the demo builds: two tenants on two shared ports, and the streams that show what differs between them.
//!
//! ```text
//!   west neighbours ── west ┌───────────────── box ─────────────────┐ east ── east neighbours
//!        customer 2 ────────┤ red  (v358, customers only)           ├──────── 3 customer
//!                           │  4 ──── cable ──── 5                  │
//!        customer 2 ────────┤ blue (v48: customer, peer, provider;  ├──────── 3 peer, at most 700 bytes
//!        provider 4 ────────┤       valley-free)                    │
//!                           └───────────────────────────────────────┘
//! ```

use anyhow::{Context, Result};
use dataplane_api::{
    CableSpec, Generation, LinkSpec, MacAddress, Role, SchemeSpec, Session, Spec, VifName, VifSpec,
    VswitchSpec,
};
use traffic::through::{Via, stream};
use traffic::{Link, Scenario, Sizes, Stream};

pub(super) mod leases;

/// What the demo shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scene {
    /// Two tenants with policies that differ
    #[default]
    Policies,
    /// A tenant with a lease keeps its rate while another floods the port that both use
    Leases,
    /// A tenant pays for a lease on a simulated chain, has it, and loses it when the chain takes the payment back
    Market,
}

/// Public keys whose addresses lie in fc00::/8. They are hashes of "switchyard demo red 279" and "… blue 25", so
/// nobody holds the private halves; plain links need none.
pub(super) const RED_KEY: &str = "u1dq204svw7ugrn6svg2w6jst2ulbn9w0n5381cj63382zwgxv90.k";
pub(super) const BLUE_KEY: &str = "jfkgsxfbfv4u8351l47j6dtxc42gp66n1zm65nmnlcf2qklvk8t0.k";

/// Longest switch packet towards blue's peer, bytes.
const PEER_MTU: u16 = 700;
/// Ends of the cable between the tenants.
const RED_CABLE: u16 = 4;
const BLUE_CABLE: u16 = 5;
/// A vif that red does not have.
const RED_ABSENT: u16 = 7;

/// A side of the box: the port there, and the namespace behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    West,
    East,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::West, Self::East];

    /// Name of the box's port.
    pub(super) const fn port(self) -> &'static str {
        match self {
            Self::West => "west",
            Self::East => "east",
        }
    }

    /// For addresses.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::West => 1,
            Self::East => 2,
        }
    }
}

const RED: Tenant = Tenant { name: "red", number: 1 };
const BLUE: Tenant = Tenant { name: "blue", number: 2 };

impl Scene {
    /// Least packets a second from each side that show it.
    pub(super) const fn rate_min(self) -> u64 {
        match self {
            Self::Policies => 1,
            Self::Leases | Self::Market => leases::RATE_MIN,
        }
    }
}

/// The spec of the box, for `rate` packets a second from each side.
pub(super) fn spec(scene: Scene, rate: u64) -> Spec {
    match scene {
        Scene::Policies => policies(),
        Scene::Leases => leases::spec(rate),
        Scene::Market => Spec { leases: Vec::new(), ..leases::spec(rate) },
    }
}

fn policies() -> Spec {
    let (red, blue) = (RED, BLUE);
    let red_vifs = vec![
        red.vif(2, Side::West, Role::Customer, None),
        red.vif(3, Side::East, Role::Customer, None),
        cable_end(RED_CABLE),
    ];
    let blue_vifs = vec![
        blue.vif(2, Side::West, Role::Customer, None),
        blue.vif(3, Side::East, Role::Peer, Some(PEER_MTU)),
        blue.vif(4, Side::West, Role::Provider, None),
        cable_end(BLUE_CABLE),
    ];
    let end = |tenant: Tenant, vif| VifName { vswitch: tenant.name.into(), vif };
    let customers_only = vec![(Role::Customer, Role::Customer)];
    Spec {
        generation: Generation(1),
        vswitches: vec![
            red.vswitch(RED_KEY, SchemeSpec::V358, red_vifs, Some(customers_only)),
            blue.vswitch(BLUE_KEY, SchemeSpec::V48, blue_vifs, None),
        ],
        cables: vec![CableSpec { a: end(red, RED_CABLE), b: end(blue, BLUE_CABLE) }],
        ..Spec::default()
    }
}

#[derive(Clone, Copy)]
struct Tenant {
    name: &'static str,
    number: u8,
}

impl Tenant {
    fn vswitch(
        self,
        key: &str,
        scheme: SchemeSpec,
        vifs: Vec<VifSpec>,
        allow: Option<Vec<(Role, Role)>>,
    ) -> VswitchSpec {
        let (name, tenant) = (self.name.to_owned(), self.number.into());
        VswitchSpec {
            name,
            tenant,
            public_key: key.into(),
            scheme,
            vifs,
            allow,
            ..VswitchSpec::default()
        }
    }

    /// A vif with a neighbour behind it. A vswitch has one address on a port, a neighbour one of its own; all are
    /// locally administered.
    fn vif(self, number: u8, side: Side, role: Role, mtu: Option<u16>) -> VifSpec {
        let link = LinkSpec::Ethernet {
            port: side.port().into(),
            vlan: None,
            local: Some(MacAddress([0x02, 0, 0, self.number, side.number(), 0])),
            peer: MacAddress([0x02, 1, 0, self.number, side.number(), number]),
            session: Session::Plain,
        };
        VifSpec { number: number.into(), role, mtu, link: Some(link), policy: Default::default() }
    }
}

fn cable_end(number: u16) -> VifSpec {
    VifSpec { number, role: Role::Customer, mtu: None, link: None, policy: Default::default() }
}

/// What is sent.
pub(super) fn scenario(scene: Scene, spec: &Spec) -> Result<Scenario> {
    match scene {
        Scene::Policies => refusals(spec),
        Scene::Leases | Scene::Market => leases::scenario(spec),
    }
}

fn through(
    spec: &Spec,
    name: &str,
    way: &[Via<'_>],
    frame_len: u16,
    weight: u32,
) -> Result<Stream> {
    let stream =
        stream(spec, way, Sizes::Fixed(frame_len), weight).context("a stream of the demo")?;
    Ok(Stream { name: name.into(), ..stream })
}

/// The streams: most arrive, some are refused by a policy, some are made to be dropped.
fn refusals(spec: &Spec) -> Result<Scenario> {
    let way = |vswitch, from, to| Via { vswitch, from, to };
    let through = |name: &str, way: &[Via<'_>], frame_len: u16, weight: u32| {
        through(spec, name, way, frame_len, weight)
    };
    let red = through("red, customer to customer", &[way("red", 2, 3)], 256, 450)?;
    let blue = through("blue, customer to peer", &[way("blue", 2, 3)], 512, 330)?;
    Ok(Scenario {
        streams: vec![
            absent(&red),
            forged(&red),
            too_long(&blue),
            red,
            through("red, back", &[way("red", 3, 2)], 256, 500)?,
            through(
                "red to blue's customer over the cable",
                &[way("red", 2, RED_CABLE), way("blue", BLUE_CABLE, 2)],
                256,
                100,
            )?,
            blue,
            through("blue, peer to customer", &[way("blue", 3, 2)], 512, 400)?,
            through("blue, provider to peer", &[way("blue", 4, 3)], 512, 50)?,
            through("blue, peer to provider", &[way("blue", 3, 4)], 512, 80)?,
        ],
    })
}

/// Packets whose label names a vif that red does not have.
fn absent(red: &Stream) -> Stream {
    // In v358 a director of four bits is the number, above a 1.
    let label = 1 << 63 | 1 << 4 | u64::from(RED_ABSENT) << 1 | 1;
    Stream { name: "red, no such vif".into(), label, weight: 20, arrival: None, ..red.clone() }
}

/// Packets from an address that is no neighbour's.
fn forged(red: &Stream) -> Stream {
    let link = match red.link {
        Link::Ethernet { destination, vlan, .. } => {
            Link::Ethernet { source: MacAddress([0x02, 0xff, 0, 0, 0, 0x66]), destination, vlan }
        }
        other @ Link::Udp { .. } => other,
    };
    Stream { name: "forged".into(), tenant: FORGER, link, weight: 20, arrival: None, ..red.clone() }
}

/// Tenant number of streams that belong to none.
pub(super) const FORGER: u32 = 0;

/// Packets that the customer may send but the peer's link does not take.
fn too_long(blue: &Stream) -> Stream {
    let sizes = Sizes::Fixed(1200);
    Stream {
        name: "blue, too long for the peer".into(),
        sizes,
        weight: 30,
        arrival: None,
        ..blue.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Compiler, PortFacts};
    use std::collections::BTreeSet;

    fn port(side: Side) -> PortFacts {
        PortFacts {
            name: side.port().into(),
            mtu: 1500,
            workers: vec![dataplane_api::WorkerId(0)],
            ..PortFacts::default()
        }
    }

    #[test]
    fn the_spec_compiles_on_two_ports() {
        let rules =
            Compiler::new(4, 16, 0).compile(&policies(), &[], &Side::BOTH.map(port)).unwrap();
        assert_eq!(rules.vifs().count(), 7);
    }

    #[test]
    fn each_tenant_sends_what_arrives_and_what_does_not() {
        let scenario = refusals(&policies()).unwrap();
        scenario.check().unwrap();
        for tenant in [1, 2] {
            let streams: Vec<&Stream> =
                scenario.streams.iter().filter(|stream| stream.tenant == tenant).collect();
            assert!(streams.iter().any(|stream| stream.arrival.is_some()), "{tenant}");
            assert!(streams.iter().any(|stream| stream.arrival.is_none()), "{tenant}");
        }
        let sides: BTreeSet<&str> =
            scenario.streams.iter().map(|stream| stream.from.as_str()).collect();
        assert_eq!(sides, BTreeSet::from(["east", "west"]));
        assert_eq!(scenario.streams.iter().filter(|stream| stream.tenant == FORGER).count(), 1);
    }

    #[test]
    fn the_tenants_policies_differ() {
        let scenario = refusals(&policies()).unwrap();
        let arrives = |name: &str| {
            scenario
                .streams
                .iter()
                .find(|stream| stream.name == name)
                .map(|stream| stream.arrival.is_some())
        };
        assert_eq!(arrives("blue, customer to peer"), Some(true));
        assert_eq!(arrives("blue, peer to provider"), Some(false));
        assert_eq!(arrives("red to blue's customer over the cable"), Some(true));
    }

    #[test]
    fn the_absent_vif_is_what_its_label_names() {
        let scenario = refusals(&policies()).unwrap();
        let label = scenario.streams[0].label;
        let director = wire::scheme::Scheme::v358().decode(label).unwrap();
        assert_eq!(director.number, RED_ABSENT);
    }
}
