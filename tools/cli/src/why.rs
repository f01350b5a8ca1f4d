//! What each drop reason tells the operator: what was wrong with the packet, and where to look.

use dataplane_api::DropReason;

/// One sentence without a full stop.
pub(crate) const fn sentence(reason: DropReason) -> &'static str {
    use DropReason as R;
    match reason {
        R::Runt => "the frame ends before its headers do",
        R::NotOurs => "neither ethertype fc00 nor UDP for an address of a link",
        R::EthVersion => "the ETHInterface version is not 0",
        R::EthLength => {
            "the ETHInterface length is shorter than its header or longer than the frame"
        }
        R::EthMagic => "the ETHInterface magic is not fc00",
        R::VlanUntrusted => "a VLAN tag that this port cannot vouch for",
        R::IpMalformed => "the IPv4 or IPv6 header does not parse",
        R::IpFragment => "an IP fragment; links are never fragmented, so lower the neighbour's MTU",
        R::UdpMalformed => "the UDP length disagrees with the IP length, or the source port is 0",
        R::UdpChecksum => "the UDP checksum is wrong on a link that nothing else protects",
        R::UnknownVswitch => "no vswitch has this port, VLAN and destination address",
        R::UnknownLink => "the vswitch has no link with this source address",
        R::BeaconOff => "a beacon where no vswitch enabled beacons",
        R::Stranger => "not a handshake, from an address that no link has",
        R::SessionRunt => "too short for a session packet",
        R::NoSession => "the link has no session yet",
        R::Unauthentic => {
            "no key of the link opens it: the neighbour has another session, or somebody forges"
        }
        R::Replayed => "its number was seen before, or is too old to tell",
        R::LinkDown => "the egress link has no session that may be sent with",
        R::Handshake => {
            "a handshake that does not fit the link: malformed, not authentic, or with an unknown login"
        }
        R::HandshakeLimited => {
            "more handshakes than this source, this login or this vswitch may ask for"
        }
        R::ShedFree => "the processor is short, and no lease covers the frame",
        R::ShedPriority => "the processor is short, and the frame is above its ingress lease",
        R::ShedXdp => {
            "the processor is short: dropped by the XDP program, above what the link's ingress lease guarantees"
        }
        R::HandOffFull => "the owning worker's ring for control and leased packets is full",
        R::HandOffFullFree => {
            "the owning worker's ring is full, or this link used up its share of it"
        }
        R::SwitchRunt => "shorter than a switch header",
        R::LabelShift => "the label was shifted by more than 63 bits: the path has too many hops",
        R::SelfMalformed => "the self director is not 0001",
        R::DirectorNarrow => {
            "the ingress number needs a wider director than the label spent on this hop"
        }
        R::ReturnPathInvalid => "the self director leaves no room for the return path",
        R::UnknownVif => "the director names a vif that the vswitch does not have",
        R::CableLimit => "passed more cables inside the box than allowed",
        R::Policy => {
            "the vswitch's class matrix does not let this ingress role reach this egress role"
        }
        R::EgressMtu => "longer than the MTU of the egress vif",
        R::QueueFull => "the egress queue is full: the port is slower than what is sent to it",
        R::Ceiling => "above the ceiling of its lease",
        R::PriorityFull => "its lease has as much waiting above its guarantee as it may",
        R::QueueShare => "the vswitch used up its share of queued frames",
        R::LinkGone => "the link was removed while the packet waited",
        R::Unresolved => "the neighbour's next hop is not known yet",
        R::PortDown => "the egress port is down",
        R::TxInvalid => "the kernel refused the frame's descriptor",
        R::PuntFull => "the slow path is behind",
        R::PuntLimited => "the ingress link asks the slow path for more than its rate",
        R::NotControl => "for the vswitch itself, but not a control message",
        R::ControlLength => {
            "the control message is shorter than its type needs, or longer than it allows"
        }
        R::ControlChecksum => "the control checksum is wrong",
        R::ControlType => "a control type that is unknown or never answered",
        R::ControlMagic => "the control magic is wrong",
        R::ControlVersion => "the sender's protocol version is below 20",
        R::ControlOrigin => "the asker is not a neighbour one hop away",
        R::NoFrame => "no free frame for a reply",
        R::Stopping => "still queued when the process stopped",
    }
}

/// Reads a drop reason's name.
pub(crate) fn parse(text: &str) -> Result<DropReason, String> {
    DropReason::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        format!("{text:?} is not a drop reason; these are: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_sentence() {
        let mut sentences: Vec<&str> =
            DropReason::ALL.iter().map(|reason| sentence(*reason)).collect();
        assert!(sentences.iter().all(|text| !text.is_empty() && !text.ends_with('.')));
        sentences.sort_unstable();
        sentences.dedup();
        assert_eq!(sentences.len(), DropReason::COUNT);
    }

    #[test]
    fn an_unknown_reason_is_answered_with_the_known_ones() {
        assert_eq!(parse("policy"), Ok(DropReason::Policy));
        assert!(parse("polcy").unwrap_err().contains("policy"));
    }
}
