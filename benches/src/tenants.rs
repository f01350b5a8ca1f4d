//! Boxes to measure: many vswitches of sixteen vifs, half of them on each of two ports.

use dataplane_api::spec::{BeaconMode, LinkSpec, ListenSpec, SchemeSpec, Session, VifSpec};
use dataplane_api::{
    Handshake, MacAddress, NodeSpec, Role, Spec, VswitchId, VswitchSpec, WorkerId,
};
use engine::{Compiler, PortFacts, Rules, SpecError};
use wire::key::PublicKey;
use wire::scheme::Scheme;

/// Vifs of a vswitch: all but one of v358's narrowest directors name them.
pub const VIFS: u32 = 16;
/// Ports.
pub const PORTS: u16 = 2;

/// A box, and what the bench must know to make its packets.
#[derive(Debug)]
pub struct TenantBox {
    /// Its tables.
    pub rules: Rules,
    /// The scheme of all of its vswitches.
    pub scheme: Scheme,
    /// Vswitches.
    pub vswitches: u32,
    /// Slots of all links, by vswitch and place.
    slots: Vec<u32>,
    /// Bits and director that lead from one place to another, by the two places.
    hops: [[(u8, u64); 16]; 16],
}

/// A vif by vswitch and place among its sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Vswitch.
    pub vswitch: u16,
    /// 0 to 15; even ones are on port 0.
    pub vif: u8,
}

impl Place {
    /// As labels number it: all but 1.
    #[must_use]
    pub fn number(self) -> u16 {
        if self.vif == 0 { 0 } else { u16::from(self.vif) + 1 }
    }

    /// Port of its link.
    #[must_use]
    pub fn port(self) -> u16 {
        u16::from(self.vif) % PORTS
    }

    /// Own MAC address of its link.
    #[must_use]
    pub fn own(self) -> [u8; 6] {
        let [high, low] = self.vswitch.to_be_bytes();
        [0x02, 0x0a, 0, 0, high, low]
    }

    /// The neighbour's.
    #[must_use]
    pub fn peer(self) -> [u8; 6] {
        let [high, low] = self.vswitch.to_be_bytes();
        [0x02, 0x0b, high, low, 0, self.vif]
    }
}

impl TenantBox {
    /// A box of `vswitches` with one scheme.
    ///
    /// # Errors
    /// [`SpecError`] for more vswitches than a box may have.
    pub fn new(vswitches: u16, scheme: SchemeSpec) -> Result<Self, SpecError> {
        Self::with_sessions(vswitches, scheme, false, |_| Session::Plain)
    }

    /// The same, with a node behind each link, and open to others.
    ///
    /// # Errors
    /// [`SpecError`] for more vswitches than a box may have.
    pub fn with_keys(vswitches: u16, scheme: SchemeSpec) -> Result<Self, SpecError> {
        // The nodes of one vswitch may be those of another; none is a vswitch of the box.
        let keys: Vec<_> = usable_keys().skip(vswitches.into()).take(16).collect();
        Self::with_sessions(vswitches, scheme, true, |vif| {
            Session::Node(NodeSpec {
                public_key: keys[usize::from(vif & 15)].to_string(),
                password: None,
                login: None,
                handshake: Handshake::CryptoAuth,
                reads_all: true,
            })
        })
    }

    fn with_sessions(
        vswitches: u16,
        scheme: SchemeSpec,
        takes_strangers: bool,
        session: impl Fn(u8) -> Session,
    ) -> Result<Self, SpecError> {
        let wire_scheme = if scheme == SchemeSpec::V48 { Scheme::v48() } else { Scheme::v358() };
        let specs = (0..vswitches).zip(usable_keys()).map(|(vswitch, key)| VswitchSpec {
            name: format!("t{vswitch}"),
            tenant: vswitch.into(),
            public_key: key.to_string(),
            scheme: scheme.clone(),
            vifs: (0..16).map(|vif| vif_spec(Place { vswitch, vif }, session(vif))).collect(),
            listens: if takes_strangers { listens(vswitch) } else { Vec::new() },
            ..VswitchSpec::default()
        });
        let spec = Spec { vswitches: specs.collect(), ..Spec::default() };
        let port = |index| PortFacts {
            name: format!("p{index}"),
            mtu: 1500,
            workers: vec![WorkerId(0)],
            ..PortFacts::default()
        };
        let ports: Vec<_> = (0..PORTS).map(port).collect();
        let rules = Compiler::new(4096, 65_536, 0x5eed).compile(&spec, &[], &ports)?;
        let places =
            (0..vswitches).flat_map(|vswitch| (0..16).map(move |vif| Place { vswitch, vif }));
        let slots = places.map(|place| slot(&rules, place)).collect();
        let number =
            |vif: usize| Place { vswitch: 0, vif: u8::try_from(vif).unwrap_or(0) }.number();
        let hops = std::array::from_fn(|from| {
            std::array::from_fn(|to| {
                director(&wire_scheme, number(from), number(to)).unwrap_or((0, 0))
            })
        });
        Ok(Self { rules, scheme: wire_scheme, vswitches: vswitches.into(), slots, hops })
    }

    /// Slot of a link, for the switch step alone.
    #[must_use]
    pub fn slot(&self, place: Place) -> u32 {
        let at = usize::from(place.vswitch) * 16 + usize::from(place.vif);
        self.slots.get(at).copied().unwrap_or(engine::switch::NOWHERE)
    }

    /// A label that leads from one vif to another of the same vswitch; its high bits, as much as fits, are `rest`.
    #[must_use]
    pub fn label(&self, from: Place, to: Place, rest: u64) -> u64 {
        let (bits, director) = self.hops[usize::from(from.vif & 15)][usize::from(to.vif & 15)];
        (rest >> 16) << bits | director
    }
}

fn slot(rules: &Rules, place: Place) -> u32 {
    let vif = rules.vif_numbered(VswitchId(place.vswitch), place.number());
    vif.map_or(engine::switch::NOWHERE, |vif| rules.slot(vif.id))
}

/// The narrowest director to a number that leaves room for the way back.
fn director(scheme: &Scheme, from: u16, to: u16) -> Option<(u8, u64)> {
    let least = scheme.narrowest_width(from)?;
    let directors = scheme.forms().iter().enumerate();
    let mut wide = directors.filter(|(_, form)| form.width() >= least);
    wide.find_map(|(index, form)| Some((form.width(), scheme.director(to, index)?)))
}

fn listens(vswitch: u16) -> Vec<ListenSpec> {
    let listen = |port| ListenSpec::Ethernet {
        port: format!("p{port}"),
        vlan: None,
        local: Some(MacAddress(Place { vswitch, vif: 0 }.own())),
        beacon: BeaconMode::Off,
    };
    (0..PORTS).map(listen).collect()
}

fn vif_spec(place: Place, session: Session) -> VifSpec {
    let link = LinkSpec::Ethernet {
        port: format!("p{}", place.port()),
        vlan: None,
        local: Some(MacAddress(place.own())),
        peer: MacAddress(place.peer()),
        session,
    };
    VifSpec {
        number: place.number(),
        role: Role::Customer,
        mtu: None,
        link: Some(link),
        policy: Default::default(),
    }
}

/// Keys whose address lies in fc00::/8: one in 256.
fn usable_keys() -> impl Iterator<Item = PublicKey> {
    (0_u64..)
        .map(|n| {
            let mut key = [0x77; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            PublicKey(key)
        })
        .filter(PublicKey::is_usable)
}
