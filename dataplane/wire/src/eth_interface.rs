//! The six bytes between an Ethernet header of type 0xfc00 and a session packet. Source: CJDNS-WIRE.md §1.3.
//!
//! ```text
//!  0         1      2                              4       6
//! | version | zero | length, this header included | fc 00 | session packet, or beacon if broadcast
//! ```

/// Bytes of the header.
pub const HEADER_LEN: usize = 6;
/// Most bytes after the Ethernet header that the reference receives.
pub const REFERENCE_LEN_MAX: usize = 1496;

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Fewer bytes than the header has.
    #[error("ETHInterface header cut short")]
    Runt,
    /// Not version 0.
    #[error("ETHInterface version is not 0")]
    Version,
    /// Not fc00.
    #[error("ETHInterface magic is not fc00")]
    Magic,
    /// Less than the header, or more than the frame.
    #[error("ETHInterface length is below its own header or beyond the frame")]
    Length,
}

/// Bytes of the session packet behind the header that `payload` (what follows the Ethernet header) begins with; what
/// the frame has beyond is padding.
///
/// # Errors
/// [`Bad`].
#[inline]
pub fn parse(payload: &[u8]) -> Result<usize, Bad> {
    let Some([version, _zero, l0, l1, m0, m1]) = payload.first_chunk::<HEADER_LEN>() else {
        return Err(Bad::Runt);
    };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    if *version != 0 {
        return Err(Bad::Version);
    }
    if [*m0, *m1] != [0xfc, 0x00] {
        return Err(Bad::Magic);
    }
    if length > payload.len() {
        return Err(Bad::Length);
    }
    length.checked_sub(HEADER_LEN).ok_or(Bad::Length)
}

/// The header before a session packet of `len` bytes. `None`: longer than the length field can say.
#[inline]
#[must_use]
pub fn header(len: usize) -> Option<[u8; HEADER_LEN]> {
    let [l0, l1] = u16::try_from(len + HEADER_LEN).ok()?.to_be_bytes();
    Some([0, 0, l0, l1, 0xfc, 0x00])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_cut_and_lies_are_refused() {
        let mut payload = header(4).unwrap().to_vec();
        payload.extend([1, 2, 3, 4, 0, 0]);
        assert_eq!(parse(&payload), Ok(4));
        assert_eq!(parse(&payload[..9]), Err(Bad::Length));
        assert_eq!(parse(&payload[..5]), Err(Bad::Runt));
        for (at, value, bad) in
            [(0, 1, Bad::Version), (4, 0, Bad::Magic), (5, 1, Bad::Magic), (3, 5, Bad::Length)]
        {
            let mut wrong = payload.clone();
            wrong[at] = value;
            assert_eq!(parse(&wrong), Err(bad), "byte {at}");
        }
        let mut second = payload;
        second[1] = 0xff;
        assert_eq!(parse(&second), Ok(4), "the second byte is ignored");
    }

    #[test]
    fn a_packet_too_long_for_the_field_has_no_header() {
        assert!(header(65_529).is_some());
        assert_eq!(header(65_530), None);
    }
}
