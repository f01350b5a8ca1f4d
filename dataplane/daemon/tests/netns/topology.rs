//! The box's ports, tenants and links, as values.

use dataplane_api::{Generation, LinkSpec, MacAddress, Role, Session, Spec, VifSpec, VswitchSpec};
use traffic::Sizes;
use traffic::Stream;
use traffic::through::{Via, stream};

/// Ports, by id; a test uses the first few. A device has the same name on both sides.
pub(crate) const PORTS: [&str; 3] = ["west", "east", "north"];
pub(crate) const WEST: usize = 0;
pub(crate) const EAST: usize = 1;
pub(crate) const NORTH: usize = 2;

/// Name, tenant and key of each vswitch there may be.
const TENANTS: [(&str, &str); 3] = [
    ("red", "u1dq204svw7ugrn6svg2w6jst2ulbn9w0n5381cj63382zwgxv90.k"),
    ("blue", "jfkgsxfbfv4u8351l47j6dtxc42gp66n1zm65nmnlcf2qklvk8t0.k"),
    ("green", "t98pkkmwr1ryucw3896d8b43r7sfq8fhvysr03k4v7q2s4nfx7x0.k"),
];
pub(crate) const RED: usize = 0;
pub(crate) const BLUE: usize = 1;
pub(crate) const GREEN: usize = 2;

/// Own address of the box's device, and of the neighbour's.
pub(crate) fn device_mac(port: usize, neighbour: bool) -> [u8; 6] {
    [2, 0, 0, 0, u8::from(neighbour), u8::try_from(port).unwrap()]
}

/// The neighbour's address on a link.
pub(crate) fn peer(tenant: usize, port: usize) -> MacAddress {
    MacAddress([2, 0, 0, 2, u8::try_from(tenant).unwrap(), u8::try_from(port).unwrap()])
}

fn own(tenant: usize, port: usize) -> MacAddress {
    MacAddress([2, 0, 0, 1, u8::try_from(tenant).unwrap(), u8::try_from(port).unwrap()])
}

/// Number of a vswitch's vif on a port.
pub(crate) fn vif(port: usize) -> u16 {
    u16::try_from(port).unwrap() + 2
}

/// A spec with these vswitches, each with a vif on each of its ports.
pub(crate) fn spec(generation: u64, vswitches: &[(usize, &[usize])]) -> Spec {
    let vif = |tenant: usize, port: usize| VifSpec {
        number: vif(port),
        role: Role::Customer,
        mtu: None,
        link: Some(LinkSpec::Ethernet {
            port: PORTS[port].into(),
            vlan: None,
            local: Some(own(tenant, port)),
            peer: peer(tenant, port),
            session: Session::Plain,
        }),
        policy: Default::default(),
    };
    let vswitch = |(tenant, ports): &(usize, &[usize])| VswitchSpec {
        name: TENANTS[*tenant].0.into(),
        tenant: u32::try_from(*tenant).unwrap() + 1,
        public_key: TENANTS[*tenant].1.into(),
        scheme: dataplane_api::SchemeSpec::V358,
        vifs: ports.iter().map(|port| vif(*tenant, *port)).collect(),
        ..VswitchSpec::default()
    };
    Spec {
        generation: Generation(generation),
        vswitches: vswitches.iter().map(vswitch).collect(),
        ..Spec::default()
    }
}

/// A tenant's stream from one port to another, IMIX.
pub(crate) fn through(spec: &Spec, tenant: usize, from: usize, to: usize) -> Stream {
    let via = Via { vswitch: TENANTS[tenant].0, from: vif(from), to: vif(to) };
    stream(spec, &[via], Sizes::Imix, 1).unwrap()
}
