//! Sessions of links and nodes: bytes and `now` in, bytes and events out. No clock, no I/O, no threads.
//!
//! A link's session has two halves. The handshake ([`cryptoauth`], [`noise`]) does public-key work on the slow path and
//! ends in [`data::DataKeys`]; the data half opens and seals bursts with them on the packet path ([`aead`]).

pub mod aead;
pub mod credential;
pub mod cryptoauth;
pub mod data;
mod hash;
pub mod identity;
pub mod noise;
pub mod replay;
mod secretbox;
#[cfg(any(test, feature = "test_rng"))]
pub mod test_rng;
mod x25519;
