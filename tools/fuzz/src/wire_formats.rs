//! Every parser of `wire`; what parses is written back and read the same again.

use wire::scheme::Scheme;
use wire::{beacon, checksum, control, eth_interface, ethernet, ip, key, switch, udp};

/// Parses `input` as everything.
pub fn wire_formats(input: &[u8]) {
    link_layer(input);
    network_layer(input);
    beacons(input);
    switch_packet(input);
    scheme(input);
    text(input);
}

fn link_layer(input: &[u8]) {
    if let Some(header) = ethernet::Header::parse(input) {
        assert!(header.len() <= input.len());
        let mut written = vec![0; header.len()];
        assert!(header.write(&mut written));
        assert_eq!(ethernet::Header::parse(&written), Some(header));
    }
    if let Ok(len) = eth_interface::parse(input) {
        assert!(eth_interface::HEADER_LEN + len <= input.len());
        let mut written = eth_interface::header(len).map(|head| head.to_vec()).unwrap_or_default();
        written.resize(written.len() + len, 0);
        assert_eq!(eth_interface::parse(&written), Ok(len));
    }
}

fn network_layer(input: &[u8]) {
    for header in [ip::parse_v4(input), ip::parse_v6(input)].into_iter().flatten() {
        let payload = header.header_len..header.header_len + header.payload_len;
        let Some(datagram) = input.get(payload) else {
            unreachable!("an IP payload lies inside its packet")
        };
        if let Some(found) = udp::parse(datagram) {
            let (source, destination) = (header.source, header.destination);
            // Either answer; it reads all bytes.
            let _right = udp::is_right(datagram, source, destination);
            let mut written = datagram[..udp::HEADER_LEN + found.payload_len].to_vec();
            let (from, to) = ((source, found.source), (destination, found.destination));
            if udp::write(&mut written, from, to) {
                assert!(udp::is_right(&written, source, destination));
            }
        }
    }
    if let Some(header) = udp::parse(input) {
        assert!(udp::HEADER_LEN + header.payload_len <= input.len());
    }
}

fn beacons(input: &[u8]) {
    if let Some(found) = beacon::Beacon::parse(input) {
        assert_eq!(Some(found.to_bytes().as_slice()), input.get(..beacon::BODY_LEN));
    }
    if let Some((found, port)) = beacon::Beacon::parse_udp(input) {
        assert_eq!(Some(found.to_udp_bytes(port).as_slice()), input.get(..beacon::UDP_LEN));
    }
}

fn switch_packet(input: &[u8]) {
    if let Ok(message) = control::parse(input) {
        let mut written = vec![0; control::ENVELOPE_LEN];
        written.extend(message.body);
        assert!(control::seal(&mut written, message.kind));
        assert_eq!(control::parse(&written), Ok(message));
    }
    let Some((header, payload)) = switch::Header::split(input) else { return };
    assert_eq!(switch::HEADER_LEN + payload.len(), input.len());
    for scheme in [Scheme::v358(), Scheme::v48(), Scheme::f4(), Scheme::f8()] {
        label(&scheme, header.label());
    }
    if let Some(error) = control::error_about(input, 5) {
        assert!(!header.suppresses_errors());
        let message = error.get(switch::HEADER_LEN..).map(control::parse);
        assert!(matches!(message, Some(Ok(found)) if found.kind == control::kind::ERROR));
    }
}

/// A director that decodes is the director of its number in its form, but for the vswitch itself: v48's wide form has a
/// second one, which switches refuse.
fn label(scheme: &Scheme, label: u64) {
    let canonical = scheme.canonical(label);
    if let Some(again) = canonical.and_then(|label| scheme.canonical(label)) {
        assert_eq!(Some(again), canonical, "canonical is canonical");
    }
    let Some(found) = scheme.decode(label) else { return };
    let director = scheme.director(found.number, usize::from(found.form));
    if found.number != 1 {
        assert_eq!(director, Some(label & ((1 << found.width) - 1)), "{label:016x}");
    }
    for form in 0..scheme.forms().len() {
        // Either answer; it must end.
        let _converted = scheme.to_form(label, form);
    }
}

fn scheme(input: &[u8]) {
    let Ok(scheme) = Scheme::parse(input) else { return };
    let again = Scheme::parse(&scheme.serialize());
    assert_eq!(again.map(|again| again.forms().to_vec()), Ok(scheme.forms().to_vec()));
    for number in [0, 1, 2, scheme.numbers_max()] {
        for form in 0..scheme.forms().len() {
            let Some(director) = scheme.director(number, form) else { continue };
            let found = scheme.decode(director | 1 << 63);
            assert_eq!(found.map(|found| found.number), Some(number), "{scheme:?} form {form}");
        }
    }
}

fn text(input: &[u8]) {
    // Either answer; an odd length is padded.
    let _right = checksum::is_right(input);
    assert_eq!(key::base32_decode(&key::base32_encode(input)).as_deref(), Some(input));
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(found) = text.parse::<key::PublicKey>() {
        assert_eq!(found.to_string(), text.to_ascii_lowercase());
    }
}
