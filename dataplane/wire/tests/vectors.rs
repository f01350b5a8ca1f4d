//! Every row of the reference's vectors that is this crate's business, against the crate and an obvious switch model.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use dataplane_wire as wire;
use serde_json::Value;
use wire::scheme::{Form, Hop, Scheme, path};
use wire::{beacon, checksum, control, eth_interface, ethernet, key, label, switch, vectors};

fn rows<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    file[list].as_array().unwrap()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("no {field} in {row}"))
}

fn number(row: &Value, field: &str) -> u16 {
    u16::try_from(row[field].as_u64().unwrap()).unwrap()
}

/// A label; `null` is INVALID.
fn label_of(value: &Value) -> Option<u64> {
    value.as_str().map(|text| u64::from_str_radix(text, 16).unwrap())
}

fn scheme(name: &str) -> Scheme {
    match name {
        "v358" => Scheme::v358(),
        "v48" => Scheme::v48(),
        "f4" => Scheme::f4(),
        "f8" => Scheme::f8(),
        other => panic!("scheme {other}"),
    }
}

/// What a switch does with a packet, step by step as CJDNS-WIRE.md §3.2 tells it.
#[derive(Debug, PartialEq)]
enum Outcome {
    Forward(u16, Vec<u8>),
    Error(Vec<u8>),
    Drop,
}

fn switch_by_the_book(
    scheme: &Scheme,
    exists: impl Fn(u16) -> bool,
    src: u16,
    packet: &[u8],
) -> Outcome {
    let Some((header, _)) = switch::Header::split(packet) else { return Outcome::Drop };
    let label = header.label();
    let error = |code| control::error_about(packet, code).map_or(Outcome::Drop, Outcome::Error);
    let Some(first) = scheme.decode(label) else { return error(1) };
    let narrowest = u32::from(scheme.narrowest_width(src).unwrap());
    let width = u32::from(first.width);
    if first.number == 1 && label % 16 != 1 {
        return error(1);
    }
    if narrowest > width {
        if first.number == 1 {
            if (label ^ 1) & ((1 << (narrowest + 4)) - 1) != 0 {
                return error(10);
            }
        } else {
            return error(1);
        }
    }
    let width = if first.number == 1 { width.max(narrowest) } else { width };
    if !exists(first.number) {
        return error(1);
    }
    let form = scheme.forms().iter().position(|form| u32::from(form.width()) == width).unwrap();
    let back = scheme.director(src, form).unwrap();
    let shift = u32::from(header.shift()) + width;
    if shift > 63 {
        return Outcome::Drop;
    }
    let mut out = packet.to_vec();
    let (header, _) = switch::Header::split_mut(&mut out).unwrap();
    header.set_label(label >> width | back.reverse_bits());
    header.set_shift(u8::try_from(shift).unwrap());
    header.set_traffic_class(switch::UNCLASSIFIED);
    Outcome::Forward(first.number, out)
}

#[test]
fn vectors_labels() {
    let (path, json) = vectors::read("labels.json");
    let file: Value = serde_json::from_str(&json).unwrap();
    let count = schemes(&file)
        + numbers(&file)
        + switch_rows(&file)
        + arithmetic(&file)
        + scheme_ops(&file)
        + label_for(&file)
        + paths(&file);
    vectors::report(&path, count);
}

fn schemes(file: &Value) -> usize {
    let all = file["schemes"].as_object().unwrap();
    for (name, row) in all {
        let field = |form: &Value, field: &str| form[field].as_u64().unwrap();
        let forms: Vec<Form> = rows(row, "forms")
            .iter()
            .map(|form| Form {
                bit_count: u8::try_from(field(form, "bitCount")).unwrap(),
                prefix_len: u8::try_from(field(form, "prefixLen")).unwrap(),
                prefix: u32::try_from(field(form, "prefix")).unwrap(),
            })
            .collect();
        let built = Scheme::from_forms(&forms).unwrap();
        assert_eq!(built, scheme(name), "{name}");
        let serialized = vectors::hex(text(row, "serialized_hex"));
        assert_eq!(built.serialize(), serialized, "{name}");
        assert_eq!(Scheme::parse(&serialized).unwrap(), built, "{name}");
        let nameable =
            (0..built.numbers_max()).filter(|number| built.narrowest(*number).is_some()).count();
        assert_eq!(nameable as u64, row["interfaces"].as_u64().unwrap(), "{name}");
        for (iface, peer) in row["peer_label_by_iface"].as_object().unwrap() {
            let iface: u16 = iface.parse().unwrap();
            if iface != 1 {
                assert_eq!(built.peer_label(iface), label_of(peer), "{name} {iface}");
            }
        }
    }
    all.len()
}

fn numbers(file: &Value) -> usize {
    for row in rows(file, "numbers") {
        let (scheme, iface) = (scheme(text(row, "scheme")), number(row, "iface"));
        assert_eq!(
            scheme.narrowest_width(iface).map(u64::from),
            row["min_width"].as_u64(),
            "{row}"
        );
        let narrowest = scheme.narrowest(iface).unwrap();
        let widths = [("director", narrowest), ("director_w7", 1), ("director_w10", 2)];
        for (field, form) in widths.into_iter().filter(|(field, _)| row.get(field).is_some()) {
            let director = scheme.director(iface, form);
            assert_eq!(director, label_of(&row[field]), "{field} of {row}");
            let Some(director) = director.filter(|_| iface != 1) else { continue };
            let decoded = scheme.decode(director).unwrap();
            assert_eq!(
                (decoded.number, usize::from(decoded.form)),
                (iface, form),
                "{field} of {row}"
            );
        }
    }
    rows(file, "numbers").len()
}

fn switch_rows(file: &Value) -> usize {
    for row in rows(file, "switch") {
        let peers = number(row, "peers");
        let exists = |iface: u16| iface == 1 || if iface == 0 { peers > 0 } else { iface <= peers };
        let packet = vectors::hex(text(row, "in"));
        let outcome =
            switch_by_the_book(&scheme(text(row, "scheme")), exists, number(row, "src"), &packet);
        let out = || vectors::hex(text(&row["out"], "packet"));
        let expected = match text(row, "kind") {
            "forward" => Outcome::Forward(number(&row["out"], "iface"), out()),
            "error" => Outcome::Error(out()),
            _ => Outcome::Drop,
        };
        assert_eq!(outcome, expected, "{row}");
    }
    rows(file, "switch").len()
}

fn arithmetic(file: &Value) -> usize {
    let value = |row: &Value, field: &str| label_of(&row[field]).unwrap();
    for row in rows(file, "splice") {
        assert_eq!(
            label::splice(value(row, "go_here"), value(row, "via")),
            label_of(&row["result"]),
            "{row}"
        );
    }
    for row in rows(file, "unsplice") {
        assert_eq!(
            Some(label::unsplice(value(row, "full"), value(row, "mid"))),
            label_of(&row["result"]),
            "{row}"
        );
    }
    for row in rows(file, "routes_through") {
        assert_eq!(
            Some(label::routes_through(value(row, "dest"), value(row, "mid"))),
            row["result"].as_bool(),
            "{row}"
        );
    }
    for row in rows(file, "reverse") {
        assert_eq!(label::reverse(value(row, "in")), value(row, "out"), "{row}");
    }
    ["splice", "unsplice", "routes_through", "reverse"]
        .iter()
        .map(|list| rows(file, list).len())
        .sum()
}

fn scheme_ops(file: &Value) -> usize {
    for row in rows(file, "scheme_ops") {
        let scheme = scheme(text(row, "scheme"));
        let label = label_of(&row["label"]).unwrap();
        assert_eq!(scheme.form_of(label).map(|form| form as u64), row["form"].as_u64(), "{row}");
        assert_eq!(
            scheme.decode(label).map(|first| u64::from(first.number)),
            row["director"].as_u64(),
            "{row}"
        );
        assert_eq!(Some(scheme.is_self_route(label)), row["is_self"].as_bool(), "{row}");
        assert_eq!(Some(scheme.is_one_hop(label)), row["is_one_hop"].as_bool(), "{row}");
        assert_eq!(scheme.canonical(label), label_of(&row["canonical"]), "{row}");
        for (form, converted) in rows(row, "to_form").iter().enumerate() {
            assert_eq!(scheme.to_form(label, form), label_of(converted), "form {form} of {row}");
        }
    }
    rows(file, "scheme_ops").len()
}

fn label_for(file: &Value) -> usize {
    for row in rows(file, "label_for") {
        let value = |field: &str| label_of(&row[field]).unwrap();
        let result = scheme(text(row, "scheme")).label_for(value("target"), value("asker"));
        assert_eq!(result, label_of(&row["result"]), "{row}");
    }
    rows(file, "label_for").len()
}

/// What became of a packet sent along a path: the label on each wire, and at which node it ended how.
struct Walk {
    wire_labels: Vec<u64>,
    result: &'static str,
    at_hop: usize,
    delivered: Option<(u64, u8)>,
}

fn walk(path: u64, hops: &[(Scheme, u16, u16)]) -> Walk {
    use zerocopy::{FromBytes, IntoBytes};
    // Long enough to be quoted in an error.
    let mut packet = [switch::Header::new(path, 0).as_bytes(), &[0; 4]].concat();
    let mut wire_labels = Vec::new();
    for (at_hop, (scheme, src, dst)) in hops.iter().enumerate() {
        let result = match switch_by_the_book(scheme, |_| true, *src, &packet) {
            Outcome::Forward(out, bytes) => {
                assert_eq!(out, *dst);
                packet = bytes;
                let header = switch::Header::read_from_prefix(&packet).unwrap().0;
                if *dst == 1 {
                    let delivered = Some((header.label(), header.shift()));
                    return Walk { wire_labels, result: "delivered", at_hop, delivered };
                }
                wire_labels.push(header.label());
                continue;
            }
            Outcome::Error(_) => "error",
            Outcome::Drop => "drop",
        };
        return Walk { wire_labels, result, at_hop, delivered: None };
    }
    panic!("the path goes on beyond its hops");
}

fn paths(file: &Value) -> usize {
    for row in rows(file, "paths") {
        let end = |hop: &Value, field: &str| {
            hop[field].as_u64().map_or(1, |iface| u16::try_from(iface).unwrap())
        };
        let there: Vec<_> = rows(row, "hops")
            .iter()
            .map(|hop| (scheme(text(hop, "scheme")), end(hop, "in_iface"), end(hop, "out_iface")))
            .collect();
        let hops: Vec<_> =
            there.iter().map(|(scheme, from, to)| Hop { scheme, from: *from, to: *to }).collect();
        let built = path(&hops[..hops.len() - 1]);
        assert_eq!(built, label_of(&row["label"]), "{row}");
        let Some(built) = built else { continue };
        let back: Vec<_> =
            there.iter().rev().map(|(scheme, src, dst)| (scheme.clone(), *dst, *src)).collect();
        let mut label = built;
        for (way, hops) in [("forward", &there), ("reply", &back)] {
            let seen = walk(label, hops);
            let row = &row[way];
            let expected: Vec<_> =
                rows(row, "wire_labels").iter().map(|label| label_of(label).unwrap()).collect();
            assert_eq!(seen.wire_labels, expected, "{way} {row}");
            assert_eq!(seen.result, text(row, "result"), "{way} {row}");
            let Some((delivered, shift)) = seen.delivered else {
                assert_eq!(Some(seen.at_hop as u64), row["at_hop"].as_u64(), "{way} {row}");
                break;
            };
            assert_eq!(Some(delivered), label_of(&row["delivered_label"]), "{way} {row}");
            assert_eq!(Some(u64::from(shift)), row["label_shift"].as_u64(), "{way} {row}");
            label = label::reverse(delivered);
            assert_eq!(Some(label), label_of(&row["source_path_seen"]), "{way} {row}");
        }
        if let Some(equal) = row["round_trip_label_equal"].as_bool() {
            assert_eq!(label == built, equal, "{row}");
        }
    }
    rows(file, "paths").len()
}

#[test]
fn vectors_ctrl() {
    let (path, json) = vectors::read("ctrl.json");
    let file: Value = serde_json::from_str(&json).unwrap();
    for row in rows(&file, "checksum") {
        let sum = checksum::checksum(&vectors::hex(text(row, "in"))).to_be_bytes();
        assert_eq!(sum.to_vec(), vectors::hex(text(row, "out")), "{row}");
    }
    for row in rows(&file, "switch_errors") {
        let packet = vectors::hex(text(row, "in"));
        let interfaces = &row["present_interfaces"];
        let present = |iface: u16| match interfaces.as_str() {
            Some(range) => {
                let (low, high) = range.split_once("..").unwrap();
                (low.parse().unwrap()..=high.parse().unwrap()).contains(&iface)
            }
            None => interfaces
                .as_array()
                .unwrap()
                .iter()
                .any(|one| one.as_u64() == Some(u64::from(iface))),
        };
        let src = number(row, "src_iface");
        let outcome = switch_by_the_book(&scheme(text(row, "scheme")), present, src, &packet);
        let expected = match text(row, "result") {
            "error" => Outcome::Error(vectors::hex(text(row, "packet"))),
            _ => Outcome::Drop,
        };
        assert_eq!(outcome, expected, "{row}");
    }
    for row in rows(&file, "responder") {
        // What is answered with a control message parses as one, and its answer too.
        let Some(reply) = row["reply"].as_str().map(vectors::hex) else { continue };
        let Some(reply) = switch::Header::split(&reply).map(|(_, payload)| payload.to_vec()) else {
            continue;
        };
        if reply.starts_with(&control::MARK) {
            assert!(control::parse(&reply).is_ok(), "{row}");
        }
    }
    let count =
        ["checksum", "switch_errors", "responder"].iter().map(|list| rows(&file, list).len()).sum();
    vectors::report(&path, count);
}

#[test]
fn vectors_session() {
    let (path, json) = vectors::read("session.json");
    let file: Value = serde_json::from_str(&json).unwrap();
    for row in rows(&file, "base32") {
        let (bytes, encoded) = (vectors::hex(text(row, "hex")), text(row, "b32"));
        assert_eq!(key::base32_encode(&bytes), encoded, "{row}");
        assert_eq!(key::base32_decode(encoded), Some(bytes), "{row}");
    }
    let frames = &file["frames"];
    let frame = vectors::hex(text(frames, "ethernet_beacon"));
    let header = ethernet::Header::parse(&frame).unwrap();
    assert_eq!(
        (header.destination, header.ethertype),
        (ethernet::BROADCAST, ethernet::ETHERTYPE_CJDNS)
    );
    let payload = &frame[header.len()..];
    let len = eth_interface::parse(payload).unwrap();
    let body = &payload[eth_interface::HEADER_LEN..][..len];
    let beacon = beacon::Beacon::parse(body).unwrap();
    assert!(beacon.key.is_usable());
    let mut written = vec![0; header.len()];
    assert!(header.write(&mut written));
    written.extend(eth_interface::header(beacon::BODY_LEN).unwrap());
    written.extend(beacon.to_bytes());
    assert_eq!(written, frame);
    let udp = vectors::hex(text(frames, "udp_beacon_payload"));
    let (beacon, port) = beacon::Beacon::parse_udp(&udp).unwrap();
    assert_eq!(beacon.to_udp_bytes(port).to_vec(), udp);
    vectors::report(&path, rows(&file, "base32").len() + frames.as_object().unwrap().len());
}

#[test]
fn vectors_crypto_keys() {
    let (path, json) = vectors::read("crypto.json");
    let file: Value = serde_json::from_str(&json).unwrap();
    for row in rows(&file, "keys") {
        let key: key::PublicKey = text(row, "public_b32").parse().unwrap();
        assert_eq!(key.0.to_vec(), vectors::hex(text(row, "public")), "{row}");
        assert_eq!(key.to_string(), text(row, "public_b32"));
        let address: std::net::Ipv6Addr = text(row, "ipv6").parse().unwrap();
        assert_eq!(key.address(), address, "{row}");
    }
    vectors::report(&path, rows(&file, "keys").len());
}

/// CJDNS-WIRE.md §4.8, numbers 70 and 71.
#[test]
fn worked_walks_of_the_specification() {
    type Hops<'a> = &'a [(u16, u16)];
    let walks: [(u64, u64, Hops<'_>); 2] = [
        (0x493a, 0x0c2f, &[(1, 15), (17, 5), (7, 1)]),
        (0x26_a085, 0x3f_222d, &[(1, 2), (250, 131), (9, 7), (6, 1)]),
    ];
    for (label, back, hops) in walks {
        let hops: Vec<_> = hops.iter().map(|(from, to)| (Scheme::v358(), *from, *to)).collect();
        let (delivered, _) = walk(label, &hops).delivered.unwrap();
        assert_eq!(label::reverse(delivered), back);
    }
}
