//! Writes the seeds of the corpus: rows of the vectors, and hostile cases made by hand.
//!
//! `cargo run -p fuzz-targets --example seed_corpus`; what the fuzzer found lies beside them and stays.

#![allow(clippy::unwrap_used, reason = "a tool of this folder, run by hand")]
#![allow(clippy::cast_possible_truncation, reason = "seeds are short")]

use crypt::identity::Identity;
use crypt::test_rng::TestRng;
use dataplane_api::Spec;
use dataplane_api::protocol::{Hello, Reply, Request, encode};
use node::announce;
use node::announce::item::{Item, Peer, align};
use node::bencode::Writer;
use serde_json::Value;
use std::fs;
use std::path::Path;
use wire::control::{self, PROTOCOL_VERSION, Ping, kind, magic};
use wire::scheme::Scheme;
use wire::switch::Header;
use wire::vectors::{hex, read};

fn main() {
    let labels: Value = serde_json::from_str(&read("labels.json").1).unwrap();
    let ctrl: Value = serde_json::from_str(&read("ctrl.json").1).unwrap();
    let session: Value = serde_json::from_str(&read("session.json").1).unwrap();
    let crypto: Value = serde_json::from_str(&read("crypto.json").1).unwrap();
    wire_formats(&labels, &ctrl, &session);
    burst(&labels, &ctrl);
    control_messages(&ctrl);
    protocol();
    spec();
    handshakes(&crypto);
    sessions();
    noise_sessions();
    let texts = texts_of_sessions(&session);
    node_messages(&session, &texts);
    routers(&texts);
    chain();
    node_answers();
    follow();
}

fn save(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

fn step(op: u8, argument: u8, bytes: &[u8]) -> Vec<u8> {
    [&[op, argument], &(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// About `n` rows of a list, spread over it, as bytes of one field.
fn rows(list: &Value, n: usize, field: &str) -> Vec<Vec<u8>> {
    let list = list.as_array().unwrap();
    list.iter()
        .step_by((list.len() / n).max(1))
        .filter_map(|row| row[field].as_str())
        .map(hex)
        .collect()
}

/// A ping of `label`, as its sender writes it.
fn ping(label: u64) -> Vec<u8> {
    let body = Ping { magic: magic::PING.into(), version: PROTOCOL_VERSION.into() };
    control::packet(Header::new(label, 0), kind::PING, &body, b"seed")
}

/// An IPv4 packet with a UDP datagram for 192.0.2.1:4000, which then is bent.
fn datagram(payload: &[u8], bend: impl Fn(&mut [u8])) -> Vec<u8> {
    let (from, to) = ([192, 0, 2, 2], [192, 0, 2, 1]);
    let mut udp = [&[0; 8], payload].concat();
    assert!(wire::udp::write(&mut udp, (from.into(), 4001), (to.into(), 4000)));
    let ip = wire::ip::header_v4(from.into(), to.into(), udp.len()).unwrap();
    let mut packet = [&ip[..], &udp].concat();
    bend(&mut packet);
    packet[10..12].fill(0);
    let header_len = usize::from(packet[0] & 15) * 4;
    let sum = wire::checksum::checksum(&packet[..header_len.clamp(20, packet.len())]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn hostile_datagrams() -> Vec<(&'static str, Vec<u8>)> {
    let packet = ping(1);
    vec![
        ("udp-good", datagram(&packet, |_| {})),
        ("ip-total-length-lies", datagram(&packet, |p| p[2..4].copy_from_slice(&[0xff, 0xff]))),
        ("ip-total-length-short", datagram(&packet, |p| p[2..4].copy_from_slice(&[0, 19]))),
        ("ip-header-length-0", datagram(&packet, |p| p[0] = 0x40)),
        ("ip-header-length-15", datagram(&packet, |p| p[0] = 0x4f)),
        ("ip-first-fragment", datagram(&packet, |p| p[6] = 0x20)),
        ("ip-last-fragment", datagram(&packet, |p| p[7] = 1)),
        ("udp-length-7", datagram(&packet, |p| p[24..26].copy_from_slice(&[0, 7]))),
        ("udp-length-beyond", datagram(&packet, |p| p[24..26].copy_from_slice(&[0xff, 0xff]))),
        ("udp-source-port-0", datagram(&packet, |p| p[20..22].fill(0))),
        ("udp-no-checksum", datagram(&packet, |p| p[26..28].fill(0))),
        ("udp-wrong-checksum", datagram(&packet, |p| p[27] ^= 1)),
    ]
}

fn wire_formats(labels: &Value, ctrl: &Value, session: &Value) {
    for (name, scheme) in labels["schemes"].as_object().unwrap() {
        let bytes = hex(scheme["serialized_hex"].as_str().unwrap());
        save("wire_formats", &format!("scheme-{name}"), &bytes);
    }
    for (index, bytes) in rows(&labels["switch"], 24, "in").iter().enumerate() {
        save("wire_formats", &format!("switch-{index:02}"), bytes);
    }
    for (index, bytes) in rows(&ctrl["responder"], 16, "in").iter().enumerate() {
        save("wire_formats", &format!("control-{index:02}"), &bytes[12.min(bytes.len())..]);
    }
    for (index, frame) in session["frames"].as_array().into_iter().flatten().enumerate() {
        for value in frame.as_object().unwrap().values().filter_map(Value::as_str) {
            if value.len() > 60 && value.bytes().all(|c| c.is_ascii_hexdigit()) {
                save("wire_formats", &format!("beacon-{index}-{}", value.len() / 2), &hex(value));
            }
        }
    }
    for (name, packet) in hostile_datagrams() {
        save("wire_formats", name, &packet);
    }
    save("wire_formats", "key", b"fwkj8mwncn0z6ykzbh4bhrpfjxg5t5gjg8m9jm8k5k0hs1vfp8s0.k");
    // 31 forms asked for, none there; widths that add up to more than a label.
    save("wire_formats", "scheme-cut", &[0xff, 0xff]);
    save("wire_formats", "scheme-wide", &[0xff; 40]);
}

fn burst(labels: &Value, ctrl: &Value) {
    let all = |list: &[Vec<u8>], op: u8| -> Vec<u8> {
        list.iter().enumerate().flat_map(|(i, bytes)| step(op, i as u8, bytes)).collect()
    };
    save("burst", "switch-rows", &all(&rows(&labels["switch"], 48, "in"), 1));
    save("burst", "responder-rows", &all(&rows(&ctrl["responder"], 24, "in"), 1));
    save("burst", "error-rows", &all(&rows(&ctrl["switch_errors"], 24, "in"), 1));
    save("burst", "router-rows", &all(&rows(&labels["switch"], 24, "in"), 2));
    let mut frames = Vec::new();
    for (_, packet) in hostile_datagrams() {
        for port in 0..2 {
            frames.extend(step(
                0,
                port,
                &[&[4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 8, 0], &packet[..]].concat(),
            ));
        }
    }
    save("burst", "hostile-datagrams", &frames);
    let mut runts = Vec::new();
    for len in [0usize, 1, 13, 14, 17, 18, 19, 20, 31, 32] {
        let mut frame = vec![0xff; 12];
        frame.extend([0x81, 0, 0, 7, 0xfc, 0, 0, 0, 0, 6, 0xfc, 0]);
        frame.resize(32, 0);
        runts.extend(step(0, 0, &frame[..len]));
    }
    save("burst", "runts", &runts);
    // Back and forth over the cable, until the limit; then a queue that overflows, and its turn to send.
    let bounce = 0x0010_2902_9029;
    let mut steps = step(1, 0, &ping(bounce));
    for label in [0, 1, 0x13, 0x15, 0x17, u64::MAX, 1 << 63, 0x8000_0000_0000_0001] {
        steps.extend(step(1, 0, &ping(label)));
        steps.extend(step(2, 0, &ping(label)));
        steps.extend(step(2, 2, &ping(label)));
    }
    save("burst", "labels", &steps);
    let mut flood: Vec<u8> = (0..24).flat_map(|_| step(2, 0, &ping(0x13))).collect();
    flood.extend(step(3, 0, &[]));
    flood.extend(step(2, 0, &ping(0x13)));
    save("burst", "queue-overflow", &flood);
    ethernet_frames();
    keyed_packets();
    save("burst", "longest", &step(1, 0, &[&ping(0xa2)[..], &[0xaa; 1200]].concat()));
}

/// Keys of each kind for both links with keys, packets and keep-alives with them, handshakes, and no keys any more.
fn keyed_packets() {
    let mut steps = Vec::new();
    for what in [4, 6, 0, 2, 1] {
        for link in 0..2 {
            steps.extend(step(5, link, &[what]));
            for label in [0x13, 0x15, 0x17, 0x11, 1] {
                steps.extend(step(4, link, &ping(label)));
            }
            steps.extend(step(4, link, &[]));
            steps.extend(step(3, link, &[]));
        }
    }
    for link in 0..16 {
        steps.extend(step(1, link, &[&[0, 0, 0, 1], &[9; 120][..]].concat()));
        steps.extend(step(1, link, &[&[1, 2, 3, 4], &[9; 40][..]].concat()));
    }
    save("burst", "keys", &steps);
}

/// A good frame of the first link, and one with each part of its headers wrong.
fn ethernet_frames() {
    let mut good =
        vec![0x02, 0xaa, 0, 0, 0, 0, 0x02, 0xbb, 0, 0, 0, 0, 0xfc, 0, 0, 0, 0, 0, 0xfc, 0];
    let packet = ping(0x15);
    good[17] = packet.len() as u8 + 6;
    good.extend(packet);
    let mut steps = step(0, 0, &good);
    for place in [0, 1, 5, 11, 12, 14, 15, 16, 17, 18, 27, 28, 29] {
        let mut bent = good.clone();
        bent[place] ^= 0xfe;
        steps.extend(step(0, 0, &bent));
    }
    let tagged = [&good[..12], &[0x81, 0, 0, 9], &good[12..]].concat();
    steps.extend([step(0, 0, &tagged), step(0, 1, &tagged)].concat());
    save("burst", "bent-headers", &steps);
}

fn control_messages(ctrl: &Value) {
    for (name, list, op) in [("responder", "responder", 0), ("errors", "switch_errors", 1)] {
        for (index, part) in rows(&ctrl[list], 48, "in").chunks(12).enumerate() {
            let steps: Vec<u8> = part.iter().flat_map(|bytes| step(op, 5, bytes)).collect();
            save("control", &format!("{name}-{index}"), &steps);
        }
    }
    // Every type with bodies of every small length, checksum right.
    let mut steps = Vec::new();
    for kind in 0..16 {
        for len in [0usize, 4, 7, 8, 40, 47, 56, 72, 200] {
            let mut packet = ping(1);
            packet.resize(20 + len, 0);
            steps.extend(step(2, kind, &packet));
        }
    }
    save("control", "every-type", &steps);
    let pong = Ping { magic: magic::PONG.into(), version: PROTOCOL_VERSION.into() };
    let unasked = control::packet(Header::new(1, 0), kind::PONG, &pong, &[0; 8]);
    save("control", "pong-nobody-asked-for", &step(0, 0, &unasked));
    save("control", "error-about-runt", &[step(1, 5, &[0; 11]), step(1, 5, &[0; 15])].concat());
}

fn protocol() {
    let spec: Spec = toml::from_str(include_str!("../src/box.toml")).unwrap();
    let ping = Request::Ping { vswitch: "red".into(), label: 0x13, timeout_ms: 5 };
    save("protocol", "hello", &encode(&Hello { version: 1 }).unwrap());
    save("protocol", "apply", &encode(&Request::Apply(spec.clone())).unwrap());
    save("protocol", "status", &encode(&Request::Status).unwrap());
    save("protocol", "ping", &encode(&ping).unwrap());
    save("protocol", "tap", &encode(&Request::Tap(Default::default())).unwrap());
    save("protocol", "refused", &encode(&Reply::Refused("no such port".into())).unwrap());
    save("protocol", "spec", &encode(&Reply::Spec(spec)).unwrap());
    save("protocol", "length-4g", &[0xff; 4]);
    // A list that claims 2⁶³ vswitches.
    let claim = [0u8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    save("protocol", "list-of-2-63", &[&11u32.to_le_bytes()[..], &claim].concat());
}

fn spec() {
    let text = include_str!("../src/box.toml");
    let good: Spec = toml::from_str(text).unwrap();
    save("spec", "box.toml", text.as_bytes());
    save("spec", "box.postcard", &postcard::to_extend(&good, Vec::new()).unwrap());
    let edits = [
        ("same-number-twice", "number = 2\nrole", "number = 0\nrole"),
        ("number-1", "number = 9", "number = 1"),
        ("number-beyond-scheme", "number = 9", "number = 60000"),
        ("no-such-port", "\"p1\"", "\"p9\""),
        ("families-differ", "[2001:db8::2]:4001", "192.0.2.7:1"),
        ("port-0", "192.0.2.1:4000", "192.0.2.1:0"),
        ("group-peer", "02:bb:00:00:00:00", "ff:ff:ff:ff:ff:ff"),
        ("same-name", "\"blue\"\ntenant", "\"red\"\ntenant"),
        ("cable-to-itself", "vswitch = \"blue\", vif = 2", "vswitch = \"red\", vif = 4"),
        ("cable-on-link", "vswitch = \"red\", vif = 4", "vswitch = \"red\", vif = 0"),
        ("vlan-4095", "vlan = 7", "vlan = 4095"),
        ("mtu-0", "mtu = 600", "mtu = 0"),
        ("key-cut", ".k\"", "\""),
        ("leases-overlap", "end = 2_000", "end = 2_001"),
        ("lease-oversold", "rate = 100_000_000", "rate = 120_000_000"),
        ("lease-id-twice", "id = 2", "id = 1"),
        ("lease-of-nobody", "vif = 0 }]", "vif = 8 }]"),
        ("capacity-of-no-port", "port = \"p0\"\nrate", "port = \"p9\"\nrate"),
    ];
    for (name, from, to) in edits {
        let edited = text.replace(from, to);
        assert_ne!(edited, text, "{name}");
        save("spec", name, edited.as_bytes());
    }
    let forms =
        |forms: &str| text.replace("scheme = \"f8\"", &format!("scheme = {{ forms = [{forms}] }}"));
    let form = |bits: u32, prefix_len: u32, prefix: u32| {
        format!("{{ bit_count = {bits}, prefix_len = {prefix_len}, prefix = {prefix} }}")
    };
    save("spec", "forms-none", forms("").as_bytes());
    save("spec", "forms-15-bits", forms(&form(15, 0, 0)).as_bytes());
    save("spec", "forms-16-bits", forms(&form(16, 0, 0)).as_bytes());
    save("spec", "forms-255-bits", forms(&form(255, 255, u32::MAX)).as_bytes());
    let two = format!("{}, {}", form(3, 1, 1), form(12, 2, 0));
    save("spec", "forms-two", forms(&two).as_bytes());
    save(
        "spec",
        "forms-ambiguous",
        forms(&format!("{}, {}", form(3, 1, 1), form(8, 2, 3))).as_bytes(),
    );
}

/// The handshake packets of recorded sessions, which the target's box opens, and some that it should not.
fn handshakes(crypto: &Value) {
    for (list, prefix) in [("cryptoauth_sessions", "cryptoauth"), ("noise_sessions", "noise")] {
        for (index, session) in crypto[list].as_array().unwrap().iter().enumerate() {
            for (place, bytes) in
                rows(&session["transcript"], 4, "packet").iter().take(4).enumerate()
            {
                save("handshake", &format!("{prefix}-{index}-{place}"), bytes);
            }
        }
    }
    for name in ["cookie_reply", "retry_init_packet"] {
        let bytes = hex(crypto["noise_cookie"][name].as_str().unwrap());
        save("handshake", name, &bytes);
    }
    let hello = hex(crypto["cryptoauth_sessions"][0]["transcript"][0]["packet"].as_str().unwrap());
    let mut unknown = hello.clone();
    unknown[4] = 3;
    save("handshake", "auth-type-3", &unknown);
    unknown[4] = 0;
    save("handshake", "no-login", &unknown);
    save("handshake", "additional", &[0, 2, 0, 0, 3, 4, 22, 0, 0, 0, 1, 8, 3, 1, 2, 3, 4, 5, 6, 7]);
}

/// See `fuzz_targets::session` for the operations.
fn sessions() {
    let (a, b) = (0, 1);
    let run = |ops: &[(u8, u8)]| -> Vec<u8> {
        ops.iter().flat_map(|(op, argument)| step(*op, *argument, &[])).collect()
    };
    let (send, arrive, bend, bytes, wait, restart) = (0, 4, 8, 10, 12, 14);
    let established = [
        (send | a, 0),
        (arrive | a, 0),
        (send | b, 0),
        (arrive | b, 0),
        (send | a, 0),
        (arrive | a, 1),
    ];
    save("session", "established", &run(&established));
    let crossing = [(send | a, 0), (send | b, 0), (arrive | b, 0), (arrive | a, 0)];
    save("session", "crossing", &run(&crossing));
    let mut replays = established.to_vec();
    replays.extend([
        (restart | a, 0),
        (arrive | a, 0),
        (arrive | b, 0),
        (wait, 8),
        (arrive | a, 1),
    ]);
    replays.extend([
        (send | b, 0),
        (arrive | b, 1),
        (wait, 250),
        (arrive | a, 0),
        (restart | b, 0),
    ]);
    save("session", "replays", &run(&replays));
    let mut bent = run(&established);
    bent.extend(step(bend | a, 0, &[0, 0, 0, 1]));
    bent.extend(step(bend | a, 0, &[0, 0, 0, 2, 1]));
    bent.extend(step(bytes | a, 0, &[0xff; 24]));
    bent.extend(step(bytes | b, 0, &[0; 130]));
    save("session", "bent", &bent);
}

/// See `fuzz_targets::noise_session` for the operations.
fn noise_sessions() {
    let (a, b) = (0, 1);
    let run = |ops: &[(u8, u8)]| -> Vec<u8> {
        ops.iter().flat_map(|(op, argument)| step(*op, *argument, &[])).collect()
    };
    let (send, initiate, arrive, bend, bytes, wait, restart) = (0, 2, 4, 8, 10, 12, 14);
    let established =
        [(send | a, 0), (arrive | a, 0), (arrive | b, 0), (arrive | a, 1), (send | b, 0)];
    save("noise_session", "established", &run(&established));
    let crossing = [(initiate | a, 0), (initiate | b, 0), (arrive | b, 0), (arrive | a, 0)];
    save("noise_session", "crossing", &run(&crossing));
    let mut rekey = established.to_vec();
    rekey.extend([(wait, 121), (arrive | a, 2), (arrive | b, 2), (wait, 60), (send | b, 0)]);
    rekey.extend([(restart | b, 0), (arrive | a, 0), (send | a, 0), (wait, 200)]);
    save("noise_session", "rekey", &run(&rekey));
    let mut bent = step(bytes | a, 1, &[0xff; 60]);
    bent.extend(run(&established));
    bent.extend(step(bend | a, 0, &[0, 0, 0, 0, 2]));
    bent.extend(step(bend | b, 0, &[0, 0, 0, 0, 0, 0, 0, 0, 1]));
    save("noise_session", "loaded-and-bent", &bent);
}

/// What routers said to each other: dictionaries, without the handle and the data header before them.
fn texts_of_sessions(session: &Value) -> Vec<Vec<u8>> {
    let sessions = session["end_to_end_sessions"].as_array().unwrap();
    let entries = sessions.iter().flat_map(|session| session["transcript"].as_array().unwrap());
    let text = |entry: &Value| {
        let plaintext = hex(entry["plaintext"].as_str()?);
        let before = if entry["ca_nonce"].as_u64()? < 4 { 8 } else { 4 };
        Some(plaintext[before..].to_vec())
    };
    entries.filter_map(text).collect()
}

fn node_messages(session: &Value, texts: &[Vec<u8>]) {
    for (index, text) in texts.iter().step_by(3).enumerate() {
        save("node_messages", &format!("text-{index:02}"), text);
    }
    for (index, row) in session["announcements"].as_array().unwrap().iter().enumerate() {
        let bytes = hex(row["announce_hex"].as_str().unwrap());
        save("node_messages", &format!("announcement-{index}"), &bytes);
    }
    let node = "n".repeat(40);
    for (name, text) in [
        ("length-of-2-63", "d4:txid9223372036854775807:".to_owned()),
        ("length-of-zeros", format!("d{}4:txid1:xe", "0".repeat(64))),
        ("deep", format!("d1:a{}{}e", "l".repeat(600), "e".repeat(600))),
        ("many-keys", format!("d{}e", "1:ai1e".repeat(200))),
        ("versions-of-5-bytes", format!("d1:n40:{node}2:np6:\x05vwxyz1:pi22e4:txid1:xe")),
        ("versions-of-0-bytes", format!("d1:n40:{node}2:np1:\x001:pi22e4:txid1:xe")),
        ("number-too-large", "d1:pi99999999999999999999ee".to_owned()),
    ] {
        save("node_messages", name, text.as_bytes());
    }
}

/// The steps of `fuzz_targets::router`, for a route server and for one that looks for one.
fn routers(texts: &[Vec<u8>]) {
    let text = |dictionary: &[u8]| step(2, 0, &[&[0x10, 0, 1, 0], dictionary].concat());
    let poll = |quarters: u8| step(4, quarters, &[]);
    let said: Vec<u8> = texts.iter().flat_map(|dictionary| text(dictionary)).collect();
    for (name, servers) in [("texts-host", 0), ("texts", 2)] {
        save("router", name, &[&[servers], &poll(2)[..], &said].concat());
    }
    let [own, client] = [1, 2].map(|seed| Identity::generate(&mut TestRng::new(seed)));
    let mut items = Vec::new();
    let scheme = Scheme::v358().serialize();
    for item in [
        Item::Scheme(&scheme),
        Item::Version(22),
        Item::Peer(Peer::new(own.address(), 0x13, 0, 0x15, 1400)),
    ] {
        item.put(&mut items);
        align(&mut items);
    }
    let time_ms = 1_800_000_000_000;
    let header = announce::Header { server: own.address(), time_ms, reset: true };
    let announcement = announce::sign(&client, &header, &items, &mut TestRng::new(3));
    let query = |what: Writer| {
        let mut dictionary = Vec::new();
        what.integer("p", 22).bytes("txid", b"x").finish(&mut dictionary);
        text(&dictionary)
    };
    let announced = query(Writer::new().bytes("sq", b"ann").bytes("ann", &announcement));
    let (here, there) = (client.address().octets(), own.address().octets());
    let route = query(Writer::new().bytes("sq", b"gr").bytes("src", &here).bytes("tar", &there));
    let find = query(Writer::new().bytes("q", b"fn").bytes("tar", &here));
    let steps = [poll(2), announced.clone(), announced, route, find, poll(255), poll(255)];
    save("router", "announcement", &[&[0][..], &steps.concat()].concat());
    // It asks a neighbour, is told of the client, and asks that; the client never says that it is a route server.
    let mut told = vec![0x73, 0x6e, 0x6f, 0x72, 0, 0, 0, 22, 0, 0, 0, 22, 0xff, 0xff, 0xff, 0xff];
    told.extend(client.public().0);
    told.extend([0, 0, 0, 0, 0, 0, 0, 1]);
    let steps = [poll(1), step(3, 8, &told), poll(13), step(3, 8, &told), poll(254), poll(1)];
    for (name, servers) in [("told-of-a-route-server", 2), ("told-of-a-listed-one", 1)] {
        save("router", name, &[&[servers], &steps.concat()[..]].concat());
    }
    let rpath = [0x73, 0x6e, 0x6f, 0x72, 0, 0, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0x15];
    let host: Vec<u8> =
        (0..20).flat_map(|_| [poll(40), step(3, 10, &rpath), poll(1)].concat()).collect();
    save("router", "host-with-links", &[&[0], &host[..]].concat());
    let error = [&[0; 12][..], &[0xff; 4], &[0, 0, 0, 0, 0, 0, 0, 6], &[7; 36]].concat();
    let raw = [step(0, 0, &[0; 40]), step(0, 0, &[0xff; 40]), step(1, 2, &error), poll(1)].concat();
    save("router", "raw", &[&[2], &raw[..]].concat());
}

/// Blocks, announcements, scripts and addresses of the chain's vectors.
fn chain() {
    let json =
        |name| -> Value { serde_json::from_slice(&primitives::vectors::read(name).1).unwrap() };
    let (primitives, blocks) = (json("primitives.json"), json("blocks.json"));
    let named = |name: &str, case: &str| -> Vec<u8> {
        let mut cases = blocks["cases"].as_array().unwrap().iter();
        let found = cases
            .find(|row| row["name"] == name && row["case"].as_str().unwrap().starts_with(case));
        hex(found.unwrap()["block"].as_str().unwrap())
    };
    let count1 = named("count1", "valid");
    for (name, block) in [
        ("block", count1.clone()),
        ("block-signed", named("signed", "signature list")),
        ("block-content", named("v1_content", "content length 77, content")),
        ("block-end-with-length", named("count700", "end marker with")),
    ] {
        save("chain_formats", name, &block);
    }
    let chain = json("chain.json");
    for (index, row) in chain["rows"].as_array().unwrap().iter().skip(1).take(2).enumerate() {
        save("chain_formats", &format!("transactions-{index}"), &hex(row[3].as_str().unwrap()));
        save("chain_formats", &format!("header-{index}"), &hex(row[2].as_str().unwrap()));
    }
    for (index, script) in rows(&primitives["votes"], 12, "script").iter().enumerate() {
        save("chain_formats", &format!("script-{index:02}"), script);
    }
    for (index, row) in primitives["address_text"].as_array().unwrap().iter().enumerate() {
        save(
            "chain_formats",
            &format!("address-{index:02}"),
            row["text"].as_str().unwrap().as_bytes(),
        );
    }
    save("chain_formats", "amount", b"4166.000000000931322574615478515625");
    save("packetcrypt", "block", &count1);
    let announcements = json("anns_v1.json");
    for (index, row) in announcements["cases"].as_array().unwrap().iter().take(2).enumerate() {
        let mut parent = hex(row["parent_hash"].as_str().unwrap());
        parent.reverse();
        let bytes = [parent, hex(row["ann"].as_str().unwrap())].concat();
        save("packetcrypt", &format!("announcement-{index}"), &bytes);
    }
    let real = json("real.json");
    let v0 = hex(real["v0_blocks"][0]["rebuilt_block"].as_str().unwrap());
    // Header, record head and nonce are before the first announcement.
    save("packetcrypt", "announcement-v0", &[&[0; 32], &v0[88..88 + 1024]].concat());
}

/// What a real node answered, each with the id that the target asks with; and Lightning's and the wallet's forms.
fn node_answers() {
    let json =
        |name| -> Value { serde_json::from_slice(&primitives::vectors::read(name).1).unwrap() };
    for row in json("rpc/pktd_rpc.json").as_array().unwrap() {
        let mut answer = row["response"].clone();
        let Some(method) = row["request"]["method"].as_str() else {
            save("node_answers", "batch", answer.to_string().as_bytes());
            continue;
        };
        if answer.is_object() {
            answer["id"] = 1.into();
        }
        // Long ones only cost time: one block is in the texts.
        if answer.to_string().len() > 16_000 {
            continue;
        }
        let name = format!("{method}-{}", row["request"]["id"]);
        save("node_answers", &name, answer.to_string().as_bytes());
        // The texts inside are read by themselves too.
        if let Some(text) = answer["result"].as_str() {
            save("node_answers", &format!("{name}-text"), text.as_bytes());
        }
    }
    let socket = json("rpc/pktd_websocket.json");
    let messages = socket.as_array().unwrap().iter().filter(|row| row["dir"] == "server");
    for (index, row) in messages.enumerate() {
        save("node_answers", &format!("socket-{index:02}"), row["msg"].to_string().as_bytes());
    }
    let hash = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let held = r#"{"amt_msat":"1000","expiry_height":7,"state":"ACCEPTED"}"#;
    for (name, text) in [
        ("invoice", format!(r#"{{"result":{{"r_hash":"{hash}","value":"5","state":"ACCEPTED","htlcs":[{held}]}}}}"#)),
        ("payment", r#"{"result":{"payment_hash":"00","status":"SUCCEEDED","fee_msat":"1"}}"#.to_owned()),
        ("stream-error", r#"{"error":{"grpc_code":5,"http_code":404,"message":"no"}}"#.to_owned()),
        ("sent", format!(r#"{{"paymentError":"","paymentPreimage":"{hash}","paymentRoute":{{"totalFeesMsat":"9"}}}}"#)),
        ("balance", r#"{"confirmedBalance":"200","unconfirmedBalance":-1}"#.to_owned()),
        ("request", r#"{"payment_hash":"00","num_satoshis":"1","timestamp":"9223372036854775807","expiry":"1"}"#.to_owned()),
        ("movements", r#"[{"txid":"00","category":"send","amount":-1e300,"confirmations":-1}]"#.to_owned()),
        ("deep", "[".repeat(33) + &"]".repeat(33)),
        ("long", format!("[{}0]", "0,".repeat(20_000))),
    ] {
        save("node_answers", name, text.as_bytes());
    }
}

/// A short chain with a fork, a payment and a vote, as a node tells it, and the records of it.
fn follow() {
    use follow::{Anchor, Follow, Input, NodeId, Params, Said, Watch};
    use primitives::bitcoin::ScriptBuf;
    use primitives::bitcoin::consensus::deserialize;
    use primitives::builder::{Plan, Tree};
    use primitives::network::PKT_SIM;
    let script: ScriptBuf = [&[0, 20][..], &[7; 20]].concat().into();
    let mut tree = Tree::new(&PKT_SIM);
    let mut mine = |parent, time_s, salt| {
        let plan = Plan { parent, time_s, payee: script.clone(), transactions: Vec::new(), salt };
        tree.mine(&plan).unwrap()
    };
    let start = 1_800_000_000;
    let genesis = PKT_SIM.genesis().block_hash();
    let one = mine(genesis, start, 0);
    let two = mine(one, start + 130, 0);
    let (other, longer) = (mine(one, start + 60, 1), mine(two, start + 200, 2));
    let node = NodeId(1);
    let mut inputs = vec![
        (1_800_000_500, Input::Watch(script.clone(), Watch { reference: vec![1], depth: 3 })),
        (0, Input::Attach(node)),
    ];
    let tell = |tip, wanted: &[_]| {
        let headers = tree.path(&tip).into_iter().skip(1).collect();
        let blocks = wanted.iter().map(|id| tree.get(id).unwrap().block.as_ref().unwrap());
        let blocks = blocks.map(|block| Said::Block(block.to_bytes()));
        let said = [Said::Tip(tip), Said::Headers(headers)].into_iter().chain(blocks);
        said.map(|said| (0, Input::Said(node, said))).collect::<Vec<_>>()
    };
    inputs.extend(tell(two, &[one, two]));
    inputs.push((20, Input::Tick));
    inputs.extend(tell(other, &[other]));
    let mut waiting = tree.get(&one).unwrap().block.as_ref().unwrap().transactions[0].clone();
    waiting.input[0].previous_output.vout = 1;
    let bytes = primitives::bitcoin::consensus::serialize(&waiting);
    inputs.push((0, Input::Said(node, Said::Transaction(deserialize(&bytes).unwrap()))));
    let expect = Input::Expect { hash: [3; 32], reference: vec![2], node };
    inputs.push((0, expect));
    let mut state = Follow::new(&Params::new(PKT_SIM), Anchor::genesis(&PKT_SIM));
    let mut now_s = 0;
    for (wait_s, input) in &inputs {
        now_s += wait_s;
        state.step(now_s * 1000, input.clone()).unwrap();
    }
    assert_eq!(state.tip().1, other, "the other has more work");
    let records: Vec<_> = state.records().into_iter().collect();
    save("follow_records", "fork", &postcard::to_stdvec(&records).unwrap());
    save("follow_intake", "fork", &postcard::to_stdvec(&inputs).unwrap());
    inputs.push((20, Input::Tick));
    inputs.extend(tell(longer, &[two, longer]));
    save("follow_intake", "back", &postcard::to_stdvec(&inputs).unwrap());
    let lies = [Said::NoBlock, Said::Garbage, Said::Failed, Said::Block(vec![0; 90])];
    let lies = lies.into_iter().map(|said| (20, Input::Said(node, said)));
    let beginning = inputs.iter().take(4).cloned();
    let lies: Vec<_> = beginning.chain(lies).chain([(4000, Input::Tick)]).collect();
    save("follow_intake", "lies", &postcard::to_stdvec(&lies).unwrap());
}
