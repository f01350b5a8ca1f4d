//! Messages on the management socket.

use dataplane_api::protocol::{Hello, Reply, Request, decode, encode};

/// Decodes `input` as every kind of message; what decodes is written and read the same again.
pub fn protocol(input: &[u8]) {
    round::<Hello>(input);
    round::<Request>(input);
    round::<Reply>(input);
}

fn round<T: for<'de> serde::Deserialize<'de> + serde::Serialize>(input: &[u8]) {
    let Ok(Some((message, taken))) = decode::<T>(input) else { return };
    assert!(taken <= input.len(), "no more is taken than there is");
    let Ok(written) = encode(&message) else { return };
    let Ok(Some((again, len))) = decode::<T>(&written) else {
        unreachable!("what was written is read")
    };
    assert_eq!(len, written.len());
    // As bytes, because a number that is none does not equal itself.
    assert_eq!(encode(&again).ok(), Some(written));
}
