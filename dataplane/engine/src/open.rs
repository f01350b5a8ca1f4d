//! Open: from a frame to the switch packet inside.

use crate::outcome::Arrival;
use wire::buf::Packet;

/// Takes a plain link's headers and padding off, in place.
///
/// Links with keys will be decrypted here, a burst at a time.
#[inline]
pub(crate) fn open<F: Packet>(frame: &mut F, arrival: Arrival) {
    frame.trim_front(usize::from(arrival.start));
    frame.truncate(usize::from(arrival.len));
}
