//! `switchyard bench crypto` beside its rivals: prints the report as JSON.
//!
//! Each rival has what a session could make of its key beforehand, and gets the packets of a burst in its own best way:
//! one by one, but for Intel's library.

mod ipsec_mb;
mod libraries;
mod libsodium;

use benches::crypto::{Contestant, ROUNDS, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut rivals: Vec<Box<dyn Contestant>> = vec![
        Box::new(libraries::Ring::default()),
        Box::new(libraries::AwsLc::default()),
        Box::new(libraries::Dryoc::default()),
    ];
    let mut notes = Vec::new();
    match libsodium::Libsodium::new() {
        Some(libsodium) => rivals.push(Box::new(libsodium)),
        None => notes.push("libsodium does not start".to_owned()),
    }
    match ipsec_mb::IpsecMb::new() {
        Some(ipsec_mb) => rivals.push(Box::new(ipsec_mb)),
        None => notes.push("ipsec-mb does not start".to_owned()),
    }
    let report = run(rivals, ROUNDS, notes)?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// The bytes of a ChaCha20 nonce.
fn chacha_nonce(nonce: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&nonce.to_le_bytes());
    bytes
}

/// The bytes of an XSalsa20 nonce.
fn xsalsa_nonce(nonce: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&nonce.to_le_bytes());
    bytes
}

/// Text and tag of a ChaCha20 packet.
fn text_and_tag(packet: &mut [u8]) -> (&mut [u8], &mut [u8; 16]) {
    packet.split_last_chunk_mut().expect("every packet of the bench has a tag")
}

/// Tag and text of an XSalsa20 packet.
fn tag_and_text(packet: &mut [u8]) -> (&mut [u8; 16], &mut [u8]) {
    packet.split_first_chunk_mut().expect("every packet of the bench has a tag")
}

/// How many of a burst `open` took.
fn count<T>(packets: impl IntoIterator<Item = T>, open: impl FnMut(T) -> bool) -> u32 {
    packets.into_iter().map(open).map(u32::from).sum()
}
