//! The engine's obvious twin: the rules of the wire specification read literally, linear searches, bit strings.
#![allow(dead_code, reason = "each test uses a part")]

use dataplane_api::spec::{LinkSpec, SchemeSpec, Session};
use dataplane_api::{DefaultClass, DropReason, MacAddress, Role, Spec, VifSpec, VswitchSpec};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use wire::key::PublicKey;
use wire::scheme::Scheme;

/// What must become of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Leaves by this vif (vswitch, number) as this packet.
    Sent(usize, u16, Vec<u8>),
    /// Goes to the slow path, delivered as this.
    Control(Vec<u8>),
    /// Goes to the slow path, for the router of a vswitch that has neighbours with keys.
    Router(Vec<u8>),
    /// Is dropped, and an error with this code is owed about these bytes.
    Error(DropReason, u32, Vec<u8>),
    Dropped(DropReason),
}

pub struct Twin {
    pub spec: Spec,
    /// Names of ports, and whether tags are trusted there.
    pub ports: Vec<(String, bool)>,
    /// Vifs (vswitch, number) whose neighbours answered that they tell what packets claim.
    pub told: BTreeSet<(usize, u16)>,
}

impl Twin {
    /// A frame received on a port.
    pub fn receive(&self, port: usize, frame: &[u8]) -> Expected {
        match self.classify(port, frame) {
            Ok((vswitch, number, packet)) => self.switch(vswitch, number, packet, 0),
            Err(reason) => Expected::Dropped(reason),
        }
    }

    fn classify(&self, port: usize, frame: &[u8]) -> Result<(usize, u16, Vec<u8>), DropReason> {
        if frame.len() < 14 {
            return Err(DropReason::Runt);
        }
        let mut at = 12;
        let mut vlan = None;
        if frame[at..at + 2] == [0x81, 0x00] {
            if frame.len() < 18 {
                return Err(DropReason::Runt);
            }
            if !self.ports[port].1 {
                return Err(DropReason::VlanUntrusted);
            }
            let tag = u16::from_be_bytes([frame[14], frame[15]]) % 4096;
            vlan = (tag != 0).then_some(tag);
            at = 16;
        }
        let payload = &frame[at + 2..];
        match frame[at..at + 2] {
            [0xfc, 0x00] => self.classify_ethernet(port, vlan, frame, payload),
            [0x08, 0x00] => self.classify_v4(port, vlan, payload),
            [0x86, 0xdd] => self.classify_v6(port, vlan, payload),
            _ => Err(DropReason::NotOurs),
        }
    }

    fn classify_ethernet(
        &self,
        port: usize,
        vlan: Option<u16>,
        frame: &[u8],
        payload: &[u8],
    ) -> Result<(usize, u16, Vec<u8>), DropReason> {
        if payload.len() < 6 {
            return Err(DropReason::Runt);
        }
        if payload[0] != 0 {
            return Err(DropReason::EthVersion);
        }
        if payload[4..6] != [0xfc, 0] {
            return Err(DropReason::EthMagic);
        }
        let length = usize::from(payload[2]) * 256 + usize::from(payload[3]);
        if length < 6 || length > payload.len() {
            return Err(DropReason::EthLength);
        }
        if frame[..6] == [0xff; 6] {
            return Err(DropReason::BeaconOff);
        }
        let mut known = false;
        for (index, vswitch) in self.spec.vswitches.iter().enumerate() {
            for vif in &vswitch.vifs {
                let Some(LinkSpec::Ethernet { port: on, vlan: tag, local, peer, .. }) = &vif.link
                else {
                    continue;
                };
                if *on == self.ports[port].0
                    && *tag == vlan
                    && own(vswitch, on, *local).0 == frame[..6]
                {
                    known = true;
                    if peer.0 == frame[6..12] {
                        return Ok((index, vif.number, payload[6..length].to_vec()));
                    }
                }
            }
        }
        Err(if known { DropReason::UnknownLink } else { DropReason::UnknownVswitch })
    }

    fn classify_v4(
        &self,
        port: usize,
        vlan: Option<u16>,
        ip: &[u8],
    ) -> Result<(usize, u16, Vec<u8>), DropReason> {
        if ip.len() < 20 {
            return Err(DropReason::Runt);
        }
        let header = usize::from(ip[0] % 16) * 4;
        let total = usize::from(ip[2]) * 256 + usize::from(ip[3]);
        if ip[0] / 16 != 4 || header < 20 {
            return Err(DropReason::IpMalformed);
        }
        if ip.len() < header {
            return Err(DropReason::Runt);
        }
        if total < header || total > ip.len() || ones_sum(&ip[..header]) != 0xffff {
            return Err(DropReason::IpMalformed);
        }
        if ip[6] & 0b1011_1111 != 0 || ip[7] != 0 {
            return Err(DropReason::IpFragment);
        }
        let address = |at: usize| IpAddr::from([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]);
        self.classify_udp((port, vlan), ip[9], address(12), address(16), &ip[header..total])
    }

    fn classify_v6(
        &self,
        port: usize,
        vlan: Option<u16>,
        ip: &[u8],
    ) -> Result<(usize, u16, Vec<u8>), DropReason> {
        if ip.len() < 40 {
            return Err(DropReason::Runt);
        }
        let length = usize::from(ip[4]) * 256 + usize::from(ip[5]);
        if ip[0] / 16 != 6 || 40 + length > ip.len() {
            return Err(DropReason::IpMalformed);
        }
        if ip[6] == 44 {
            return Err(DropReason::IpFragment);
        }
        let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap());
        self.classify_udp((port, vlan), ip[6], address(8), address(24), &ip[40..40 + length])
    }

    fn classify_udp(
        &self,
        (port, vlan): (usize, Option<u16>),
        protocol: u8,
        source: IpAddr,
        destination: IpAddr,
        datagram: &[u8],
    ) -> Result<(usize, u16, Vec<u8>), DropReason> {
        if protocol != 17 {
            return Err(DropReason::NotOurs);
        }
        let word = |at: usize| {
            datagram.get(at..at + 2).map(|word| u16::from(word[0]) * 256 + u16::from(word[1]))
        };
        let (Some(from), Some(to), Some(length), Some(checksum)) =
            (word(0), word(2), word(4), word(6))
        else {
            return Err(DropReason::UdpMalformed);
        };
        if usize::from(length) != datagram.len() || from == 0 {
            return Err(DropReason::UdpMalformed);
        }
        let (here, there) = (SocketAddr::new(destination, to), SocketAddr::new(source, from));
        let mut known = false;
        for (index, vswitch) in self.spec.vswitches.iter().enumerate() {
            for vif in &vswitch.vifs {
                let Some(LinkSpec::Udp { port: on, vlan: tag, local, peer, .. }) = &vif.link else {
                    continue;
                };
                if *on != self.ports[port].0 || *tag != vlan || *local != here {
                    continue;
                }
                known = true;
                if *peer == there {
                    let mut pseudo = Vec::new();
                    for ip in [source, destination] {
                        match ip {
                            IpAddr::V4(ip) => pseudo.extend(ip.octets()),
                            IpAddr::V6(ip) => pseudo.extend(ip.octets()),
                        }
                    }
                    pseudo.extend([0, 17]);
                    pseudo.extend(length.to_be_bytes());
                    pseudo.extend(datagram);
                    if checksum == 0 || ones_sum(&pseudo) != 0xffff {
                        return Err(DropReason::UdpChecksum);
                    }
                    return Ok((index, vif.number, datagram[8..].to_vec()));
                }
            }
        }
        Err(if known { DropReason::UnknownLink } else { DropReason::NotOurs })
    }

    /// WIRE §3.2, step by step; then the tenant's policy, the MTU and cables.
    pub fn switch(&self, vswitch: usize, src: u16, packet: Vec<u8>, cables: u32) -> Expected {
        let this = &self.spec.vswitches[vswitch];
        if packet.len() < 12 {
            return Expected::Dropped(DropReason::SwitchRunt);
        }
        let quotable = packet.len() >= 16 && packet[8] & 1 == 0;
        let fail = |reason, code| match quotable {
            true => Expected::Error(reason, code, packet.clone()),
            false => Expected::Dropped(reason),
        };
        let scheme = scheme_of(&this.scheme);
        let label = u64::from_be_bytes(packet[..8].try_into().unwrap());
        let Some(director) = scheme.decode(label) else { return fail(DropReason::UnknownVif, 1) };
        let (dst, mut width) = (director.number, u32::from(director.width));
        if dst == 1 && label % 16 != 1 {
            return fail(DropReason::SelfMalformed, 1);
        }
        let narrowest = u32::from(scheme.narrowest_width(src).unwrap());
        if narrowest > width {
            if dst != 1 {
                return fail(DropReason::DirectorNarrow, 1);
            }
            if (label ^ 1) % (1 << (narrowest + 4)) != 0 {
                return fail(DropReason::ReturnPathInvalid, 10);
            }
            width = narrowest;
        }
        let to = this.vifs.iter().find(|vif| vif.number == dst);
        if dst != 1 && to.is_none() {
            return fail(DropReason::UnknownVif, 1);
        }
        let shift = u32::from(packet[9] % 64) + width;
        if shift > 63 {
            return Expected::Dropped(DropReason::LabelShift);
        }
        let form = scheme.forms().iter().position(|form| u32::from(form.width()) == width).unwrap();
        // As a string of bits: the director's, lowest first, end up at the top.
        let back = format!("{:064b}", scheme.director(src, form).unwrap())
            .chars()
            .rev()
            .collect::<String>();
        let after = label >> width | u64::from_str_radix(&back, 2).unwrap();
        let mut out = packet.clone();
        out[..8].copy_from_slice(&after.to_be_bytes());
        out[9] = packet[9] / 64 * 64 + u8::try_from(shift).unwrap();
        out[10..12].fill(0xff);
        let claim = match src {
            1 => None,
            src => Some(self.claim(vswitch, src, u16::from_be_bytes([packet[10], packet[11]]))),
        };
        let Some(to) = to else {
            return match out.get(12..16) == Some(&[0xff; 4]) {
                true => Expected::Control(out),
                false if this.vifs.iter().any(has_keys) => Expected::Router(out),
                false => Expected::Dropped(DropReason::NotControl),
            };
        };
        let role = this.vifs.iter().find(|vif| vif.number == src).unwrap().role;
        let allows = |role| match &this.allow {
            Some(pairs) => pairs.contains(&(role, to.role)),
            None => role == Role::Customer || to.role == Role::Customer,
        };
        let on_behalf = claim.is_some_and(|(is_customer, _)| is_customer);
        if !(allows(role) || on_behalf && allows(Role::Customer)) {
            return Expected::Dropped(DropReason::Policy);
        }
        if out.len() > mtu(to) {
            return Expected::Dropped(DropReason::EgressMtu);
        }
        if let Some((is_customer, priority)) = claim.filter(|_| self.is_told(vswitch, dst)) {
            let word = if is_customer { 32_768 + priority } else { priority };
            out[10..12].copy_from_slice(&word.to_be_bytes());
        }
        match self.other_end(&this.name, dst) {
            None => Expected::Sent(vswitch, dst, out),
            Some(_) if cables == 4 => Expected::Dropped(DropReason::CableLimit),
            Some((vswitch, vif)) => self.switch(vswitch, vif, out, cables + 1),
        }
    }

    /// Customer bit and step on the scale of priorities of a packet whose header has this word.
    fn claim(&self, vswitch: usize, src: u16, word: u16) -> (bool, u16) {
        let vif = self.spec.vswitches[vswitch].vifs.iter().find(|vif| vif.number == src).unwrap();
        let policy = &vif.policy;
        let (mut is_customer, mut priority) = if word != 0xffff && self.is_told(vswitch, src) {
            (word >= 32_768, (word % 32_768).min(32_766))
        } else {
            let weight = match policy.default_class {
                DefaultClass::Free => 0,
                DefaultClass::Priority(weight) => weight,
            };
            (vif.role == Role::Customer, step_of(weight))
        };
        if policy.clear_customer_bit {
            is_customer = false;
        }
        for (cap, binds) in
            [(policy.priority_cap, true), (policy.deprioritise_non_customer, !is_customer)]
        {
            if let (Some(cap), true) = (cap, binds) {
                priority = priority.min(step_of(cap));
            }
        }
        (is_customer, priority)
    }

    fn is_told(&self, vswitch: usize, number: u16) -> bool {
        let wants = |vswitch: usize, number: u16| {
            let vifs = &self.spec.vswitches[vswitch].vifs;
            vifs.iter().any(|vif| vif.number == number && vif.policy.traffic_class)
        };
        let agreed = match self.other_end(&self.spec.vswitches[vswitch].name, number) {
            Some((vswitch, number)) => wants(vswitch, number),
            None => self.told.contains(&(vswitch, number)),
        };
        wants(vswitch, number) && agreed
    }

    fn other_end(&self, vswitch: &str, vif: u16) -> Option<(usize, u16)> {
        self.spec.cables.iter().find_map(|cable| {
            let [a, b] = [&cable.a, &cable.b];
            let other = [(a, b), (b, a)]
                .into_iter()
                .find(|(end, _)| end.vswitch == vswitch && end.vif == vif)?
                .1;
            let index =
                self.spec.vswitches.iter().position(|vswitch| vswitch.name == other.vswitch)?;
            Some((index, other.vif))
        })
    }
}

fn mtu(vif: &VifSpec) -> usize {
    let room = match &vif.link {
        Some(LinkSpec::Ethernet { .. }) => 1500 - 6,
        Some(LinkSpec::Udp { local, .. }) if local.is_ipv4() => 1500 - 28,
        Some(LinkSpec::Udp { .. }) => 1500 - 48,
        None => 65_535,
    };
    // Noise has the longer frame around a packet: index, counter and tag.
    let room = if has_keys(vif) { room - 24 } else { room };
    vif.mtu.map_or(room, usize::from)
}

/// Whether packets of its link are encrypted.
pub fn has_keys(vif: &VifSpec) -> bool {
    match &vif.link {
        Some(LinkSpec::Ethernet { session, .. } | LinkSpec::Udp { session, .. }) => {
            *session != Session::Plain
        }
        None => false,
    }
}

fn own(vswitch: &VswitchSpec, port: &str, local: Option<MacAddress>) -> MacAddress {
    local.unwrap_or_else(|| MacAddress(vswitch.public_key.parse::<PublicKey>().unwrap().mac(port)))
}

fn scheme_of(spec: &SchemeSpec) -> Scheme {
    match spec {
        SchemeSpec::V358 => Scheme::v358(),
        SchemeSpec::V48 => Scheme::v48(),
        SchemeSpec::F4 => Scheme::f4(),
        SchemeSpec::F8 => Scheme::f8(),
        SchemeSpec::Forms(forms) => {
            let form = |form: &dataplane_api::spec::FormSpec| wire::scheme::Form {
                bit_count: form.bit_count,
                prefix_len: form.prefix_len,
                prefix: form.prefix,
            };
            Scheme::from_forms(&forms.iter().map(form).collect::<Vec<_>>()).unwrap()
        }
    }
}

/// How many steps of the scale are not above a weight: 1024 to a doubling, from 1024 bytes a second on.
fn step_of(weight: u64) -> u16 {
    let doublings = (0..32).take_while(|doubling| 1_024 << doubling <= weight);
    let steps = doublings.flat_map(|doubling| (1_024..2_048).map(move |step| step << doubling));
    let below = steps.take_while(|step| *step <= weight).count();
    u16::try_from(below.min(32_766)).unwrap()
}

/// RFC 1071's sum, a 16-bit word at a time.
fn ones_sum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) * 256 + u32::from(*word.get(1).unwrap_or(&0)));
    let sum = words.sum::<u32>();
    let folded = sum % 65_536 + sum / 65_536;
    u16::try_from(folded % 65_536 + folded / 65_536).unwrap()
}
