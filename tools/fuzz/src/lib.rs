//! What the fuzzer calls, and what the tests replay: one function per target, any bytes in.
//!
//! A target fails by panicking: either the code under it did, or one of the target's own assertions does not hold.
//! `fuzz/` has the binaries for cargo-fuzz, `corpus/<target>/` the inputs that `cargo test` replays.
#![forbid(unsafe_code)]

mod burst;
mod chain_formats;
mod control;
mod follow;
mod handshake;
mod input;
mod node_answers;
mod node_messages;
mod noise_session;
mod packetcrypt;
mod protocol;
mod rig;
mod router;
mod session;
mod spec;
mod wire_formats;

pub use burst::burst;
pub use chain_formats::chain_formats;
pub use control::control;
pub use follow::{follow_intake, follow_records};
pub use handshake::handshake;
pub use node_answers::node_answers;
pub use node_messages::node_messages;
pub use noise_session::noise_session;
pub use packetcrypt::packetcrypt;
pub use protocol::protocol;
pub use router::router;
pub use session::session;
pub use spec::spec;
pub use wire_formats::wire_formats;

/// One target: its name, which is its corpus folder's too, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("burst", burst),
    ("chain_formats", chain_formats),
    ("control", control),
    ("follow_intake", follow_intake),
    ("follow_records", follow_records),
    ("handshake", handshake),
    ("noise_session", noise_session),
    ("node_answers", node_answers),
    ("node_messages", node_messages),
    ("packetcrypt", packetcrypt),
    ("protocol", protocol),
    ("router", router),
    ("session", session),
    ("spec", spec),
    ("wire_formats", wire_formats),
];
