//! What of a tapped frame is shown to whom what it carries is none of his business: headers.

use dataplane_api::protocol::{TapEvent, TapRecord};

const ETHERNET: usize = 14;
const TAG: usize = 4;
const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ETHERTYPE_CJDNS: [u8; 2] = [0xfc, 0x00];
const IPV6: usize = 40;
const UDP: usize = 8;
/// ETHInterface's own header.
const ETH_INTERFACE: usize = 4;
/// Label and what stands beside it.
const SWITCH: usize = 12;

/// The first bytes of a record, up to the end of its switch header, or of the nonce where the link has keys.
pub(crate) fn redacted(record: &TapRecord) -> &[u8] {
    let bytes = record.bytes.as_slice();
    let len = match record.event {
        TapEvent::Received { .. }
        | TapEvent::Classified { .. }
        | TapEvent::Sent { .. }
        | TapEvent::Dropped { port: Some(_), .. } => link_headers(bytes).unwrap_or(ETHERNET),
        // What is between the links begins with the switch header.
        TapEvent::Switched { .. }
        | TapEvent::Dropped { port: None, .. }
        | TapEvent::HandedOff { .. }
        | TapEvent::Queued { .. }
        | TapEvent::Punted { .. } => 0,
    };
    let len = len.saturating_add(SWITCH);
    bytes.get(..len).unwrap_or(bytes)
}

/// Length of what stands before the packet; `None`: that is no frame of ours.
fn link_headers(bytes: &[u8]) -> Option<usize> {
    let mut at = ETHERNET;
    let mut ethertype = bytes.get(12..14)?;
    if ethertype == ETHERTYPE_VLAN {
        ethertype = bytes.get(16..18)?;
        at += TAG;
    }
    match *ethertype.first_chunk()? {
        ETHERTYPE_CJDNS => Some(at + ETH_INTERFACE),
        ETHERTYPE_IPV4 => Some(at + usize::from(bytes.get(at)? & 0x0f) * 4 + UDP),
        ETHERTYPE_IPV6 => Some(at + IPV6 + UDP),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{PortId, VifId, WorkerId};

    fn shown(event: TapEvent, bytes: &[u8]) -> usize {
        let record = TapRecord {
            at_ns: 0,
            worker: WorkerId(0),
            packet: 0,
            event,
            frame_len: 0,
            bytes: bytes.to_vec(),
        };
        redacted(&record).len()
    }

    fn frame(ethertype: &[u8], then: &[u8]) -> Vec<u8> {
        [&[1; 12], ethertype, then, &[0xee; 200]].concat()
    }

    #[test]
    fn headers_are_shown_and_nothing_behind_them() {
        let received = TapEvent::Received { port: PortId(0) };
        assert_eq!(shown(received, &frame(&[0xfc, 0x00], &[])), 14 + 4 + 12);
        assert_eq!(shown(received, &frame(&[0x81, 0x00, 0, 5, 0xfc, 0x00], &[])), 18 + 4 + 12);
        assert_eq!(shown(received, &frame(&[0x08, 0x00], &[0x45])), 14 + 20 + 8 + 12);
        assert_eq!(shown(received, &frame(&[0x86, 0xdd], &[0x60])), 14 + 40 + 8 + 12);
        // Of what is nobody's, no more than of the shortest.
        assert_eq!(shown(received, &frame(&[0x08, 0x06], &[])), 14 + 12);
        assert_eq!(shown(TapEvent::Queued { vif: VifId(0) }, &[0xee; 100]), 12);
        for len in 0..20 {
            assert!(shown(received, &[0x45; 20][..len]) <= len);
        }
    }
}
