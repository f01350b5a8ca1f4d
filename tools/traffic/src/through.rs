//! Streams through a box, from its spec: the label to inject and the one that must come out.
//!
//! Written from the labels' definition (CJDNS-WIRE.md §3.2, §3.4), on its own: it must not share the engine's mistakes.

use crate::link::Link;
use crate::scenario::{Arrival, Sizes, Stream};
use dataplane_api::spec::{FormSpec, LinkSpec, SchemeSpec, VifSpec};
use dataplane_api::{MacAddress, Role, Spec, VswitchSpec};
use wire::key::PublicKey;
use wire::label::reverse;
use wire::scheme::{Form, Hop, Scheme, SchemeError, path};

/// The neighbour's own switch consumed a 4-bit director (v358, or f4).
const NEIGHBOUR_SHIFT: u8 = 4;
/// It came from the neighbour's router: the reversed director 1.
const NEIGHBOUR_RETURN: u64 = 1 << 63;

/// One vswitch on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// Its name.
    pub vswitch: &'a str,
    /// Vif the packet comes in on.
    pub from: u16,
    /// Vif it leaves by.
    pub to: u16,
}

/// Why there is no such stream.
#[derive(Debug, thiserror::Error)]
pub enum NoStream {
    /// No vswitch has the name.
    #[error("vswitch {0:?}: the spec has none of that name")]
    Vswitch(String),
    /// The vswitch has no such vif, or one without the link that is needed there.
    #[error("vswitch {vswitch:?}: no vif {vif} with a link")]
    Vif {
        /// Whose.
        vswitch: String,
        /// Which.
        vif: u16,
    },
    /// The encoding scheme cannot be.
    #[error("vswitch {vswitch:?}")]
    Scheme {
        /// Whose.
        vswitch: String,
        /// Why.
        #[source]
        source: SchemeError,
    },
    /// The key cannot be read, and an address is derived from it.
    #[error("vswitch {0:?}: bad public key")]
    Key(String),
    /// No label leads this way.
    #[error("no label leads along {0}")]
    Path(String),
}

/// A stream from the neighbour behind the first vif to the one behind the last, over the cables between. Its arrival is
/// `None` where a class matrix forbids the way.
///
/// # Errors
/// [`NoStream`].
pub fn stream(spec: &Spec, way: &[Via<'_>], sizes: Sizes, weight: u32) -> Result<Stream, NoStream> {
    let name = way
        .iter()
        .map(|via| format!("{} {}>{}", via.vswitch, via.from, via.to))
        .collect::<Vec<_>>()
        .join(", ");
    let (Some(first), Some(last)) = (way.first(), way.last()) else {
        return Err(NoStream::Path(name));
    };
    let stops = way.iter().map(|via| Stop::new(spec, via)).collect::<Result<Vec<_>, _>>()?;
    let hops: Vec<_> = stops
        .iter()
        .map(|stop| Hop { scheme: &stop.scheme, from: stop.from, to: stop.to })
        .collect();
    let label = path(&hops).ok_or_else(|| NoStream::Path(name.clone()))? | NEIGHBOUR_RETURN;
    let out = stops
        .iter()
        .try_fold((label, NEIGHBOUR_SHIFT), |(label, shift), stop| stop.step(label, shift));
    let (label_out, shift_out) = out.ok_or_else(|| NoStream::Path(name.clone()))?;
    let entry = Neighbour::new(spec, first.vswitch, first.from)?;
    let exit = Neighbour::new(spec, last.vswitch, last.to)?;
    let arrival = Arrival { port: exit.port, link: exit.to_it, label: label_out, shift: shift_out };
    Ok(Stream {
        name,
        tenant: vswitch(spec, first.vswitch)?.tenant,
        from: entry.port,
        link: entry.to_it.reversed(),
        label,
        shift: NEIGHBOUR_SHIFT,
        sizes,
        weight,
        arrival: stops.iter().all(|stop| stop.allowed).then_some(arrival),
    })
}

/// A stream between any two vifs of a vswitch that have links and of which the first is on `port`.
///
/// # Errors
/// [`NoStream`].
pub fn all_pairs(
    spec: &Spec,
    name: &str,
    port: &str,
    sizes: &Sizes,
) -> Result<Vec<Stream>, NoStream> {
    let vifs = &vswitch(spec, name)?.vifs;
    let linked = || vifs.iter().filter(|vif| vif.link.is_some());
    let mut streams = Vec::new();
    for from in linked().filter(|vif| port_of(vif) == Some(port)) {
        for to in linked().filter(|to| to.number != from.number) {
            let via = Via { vswitch: name, from: from.number, to: to.number };
            streams.push(stream(spec, &[via], sizes.clone(), 1)?);
        }
    }
    Ok(streams)
}

/// The neighbour behind a vif.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The box's port towards it.
    pub port: String,
    /// Headers of what the box sends to it.
    pub to_it: Link,
}

impl Neighbour {
    /// The neighbour behind a vif. Frames of a UDP link get locally administered addresses on Ethernet: who sends
    /// over a real network puts the next hop's there.
    ///
    /// # Errors
    /// [`NoStream`].
    pub fn new(spec: &Spec, name: &str, number: u16) -> Result<Self, NoStream> {
        let vswitch = vswitch(spec, name)?;
        let gone = || NoStream::Vif { vswitch: name.to_owned(), vif: number };
        let vif = vswitch.vifs.iter().find(|vif| vif.number == number).ok_or_else(gone)?;
        match vif.link.as_ref().ok_or_else(gone)? {
            LinkSpec::Ethernet { port, vlan, local, peer, .. } => {
                let derived = || {
                    let key: PublicKey = vswitch.public_key.parse().ok()?;
                    Some(MacAddress(key.mac(port)))
                };
                let source =
                    local.or_else(derived).ok_or_else(|| NoStream::Key(name.to_owned()))?;
                let to_it = Link::Ethernet { source, destination: *peer, vlan: *vlan };
                Ok(Self { port: port.clone(), to_it })
            }
            LinkSpec::Udp { port, vlan, local, peer, .. } => {
                let (source_mac, destination_mac) =
                    (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
                let to_it = Link::Udp {
                    source_mac,
                    destination_mac,
                    vlan: *vlan,
                    source: *local,
                    destination: *peer,
                };
                Ok(Self { port: port.clone(), to_it })
            }
        }
    }
}

/// One vswitch on the way, resolved.
struct Stop {
    scheme: Scheme,
    from: u16,
    to: u16,
    allowed: bool,
}

impl Stop {
    fn new(spec: &Spec, via: &Via<'_>) -> Result<Self, NoStream> {
        let vswitch = vswitch(spec, via.vswitch)?;
        let role = |number| {
            let vif = vswitch.vifs.iter().find(|vif| vif.number == number);
            vif.map(|vif| vif.role)
                .ok_or_else(|| NoStream::Vif { vswitch: via.vswitch.to_owned(), vif: number })
        };
        let roles = (role(via.from)?, role(via.to)?);
        let allowed = match &vswitch.allow {
            Some(allow) => allow.contains(&roles),
            None => roles.0 == Role::Customer || roles.1 == Role::Customer,
        };
        let scheme = scheme(&vswitch.scheme)
            .map_err(|source| NoStream::Scheme { vswitch: via.vswitch.to_owned(), source })?;
        Ok(Self { scheme, from: via.from, to: via.to, allowed })
    }

    /// Label and shift behind this vswitch.
    fn step(&self, label: u64, shift: u8) -> Option<(u64, u8)> {
        let director = self.scheme.decode(label)?;
        let back = self.scheme.director(self.from, usize::from(director.form))?;
        let shift =
            shift.checked_add(director.width).filter(|shift| *shift <= wire::switch::SHIFT_MAX)?;
        (director.number == self.to).then_some((label >> director.width | reverse(back), shift))
    }
}

fn vswitch<'a>(spec: &'a Spec, name: &str) -> Result<&'a VswitchSpec, NoStream> {
    spec.vswitches
        .iter()
        .find(|vswitch| vswitch.name == name)
        .ok_or_else(|| NoStream::Vswitch(name.to_owned()))
}

fn port_of(vif: &VifSpec) -> Option<&str> {
    match vif.link.as_ref()? {
        LinkSpec::Ethernet { port, .. } | LinkSpec::Udp { port, .. } => Some(port),
    }
}

fn scheme(spec: &SchemeSpec) -> Result<Scheme, SchemeError> {
    Ok(match spec {
        SchemeSpec::V358 => Scheme::v358(),
        SchemeSpec::V48 => Scheme::v48(),
        SchemeSpec::F4 => Scheme::f4(),
        SchemeSpec::F8 => Scheme::f8(),
        SchemeSpec::Forms(forms) => {
            let form = |form: &FormSpec| Form {
                bit_count: form.bit_count,
                prefix_len: form.prefix_len,
                prefix: form.prefix,
            };
            Scheme::from_forms(&forms.iter().map(form).collect::<Vec<_>>())?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::spec::Session;

    fn spec(scheme: SchemeSpec, numbers: &[u16]) -> Spec {
        let vif = |number: &u16| VifSpec {
            number: *number,
            role: if *number == 9 { Role::Peer } else { Role::Customer },
            mtu: None,
            link: Some(LinkSpec::Ethernet {
                port: format!("p{}", number % 2),
                vlan: None,
                local: Some(MacAddress([2; 6])),
                peer: MacAddress([4, 0, 0, 0, 0, u8::try_from(*number).unwrap()]),
                session: Session::Plain,
            }),
            policy: Default::default(),
        };
        let vswitch = VswitchSpec {
            name: "red".into(),
            tenant: 3,
            public_key: String::new(),
            scheme,
            vifs: numbers.iter().map(vif).collect(),
            ..VswitchSpec::default()
        };
        Spec { vswitches: vec![vswitch], ..Spec::default() }
    }

    fn labels(from: u16, to: u16) -> (u64, u64, u8) {
        let spec = spec(SchemeSpec::V358, &[0, 2, 3, 9, 10, 100]);
        let stream = stream(&spec, &[Via { vswitch: "red", from, to }], Sizes::Imix, 1).unwrap();
        let arrival = stream.arrival.unwrap();
        (stream.label, arrival.label, arrival.shift)
    }

    /// Rows 6 and 10 of CJDNS-WIRE.md §4.8, and a way through vif 0.
    #[test]
    fn labels_are_the_worked_examples() {
        assert_eq!(labels(3, 2), (0x8000_0000_0000_0015, 0xe800_0000_0000_0001, 8));
        assert_eq!(labels(100, 2), (0x8000_0000_0000_0404, 0x31a0_0000_0000_0001, 14));
        assert_eq!(labels(3, 10), (0x8000_0000_0000_00a6, 0x5100_0000_0000_0001, 11));
        assert_eq!(labels(0, 9), (0x8000_0000_0000_00a2, 0x4100_0000_0000_0001, 11));
    }

    #[test]
    fn who_may_not_does_not_arrive() {
        let mut spec = spec(SchemeSpec::F8, &[2, 3, 9]);
        spec.vswitches[0].vifs[1].role = Role::Provider;
        let pairs = all_pairs(&spec, "red", "p1", &Sizes::default()).unwrap();
        let arrives: Vec<_> =
            pairs.iter().map(|stream| (stream.name.as_str(), stream.arrival.is_some())).collect();
        assert_eq!(
            arrives,
            [("red 3>2", true), ("red 3>9", false), ("red 9>2", true), ("red 9>3", false)]
        );
        assert!(pairs.iter().all(|stream| stream.from == "p1" && stream.tenant == 3));
        assert!(matches!(Neighbour::new(&spec, "red", 7), Err(NoStream::Vif { vif: 7, .. })));
        assert!(matches!(Neighbour::new(&spec, "blue", 7), Err(NoStream::Vswitch(_))));
    }
}
