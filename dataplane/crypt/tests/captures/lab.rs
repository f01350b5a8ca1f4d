//! What lies in the folder of captures: frames, secrets, and what was found in the frames.

use crate::link::NODES;
use dataplane_crypt::identity::Identity;
use flate2::read::GzDecoder;
use pcap_file::pcap::PcapReader;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;
use wire::vectors::hex;

pub(crate) fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("no {field} in {row}"))
}

/// One capture of two links.
pub(crate) struct Capture {
    pub(crate) frames: Vec<Frame>,
    pub(crate) rows: Vec<Value>,
    pub(crate) nodes: BTreeMap<&'static str, Identity>,
    pub(crate) login: String,
    pub(crate) password: String,
    /// Temporary private keys of CryptoAuth, by node.
    pub(crate) temporary: BTreeMap<&'static str, Vec<Vec<u8>>>,
    /// Ephemeral private keys of Noise, by node and its index.
    pub(crate) ephemeral: BTreeMap<(&'static str, u32), Vec<u8>>,
}

/// One frame, and where it was seen.
pub(crate) struct Frame {
    pub(crate) link: &'static str,
    pub(crate) number: usize,
    time: Duration,
    pub(crate) source: Vec<u8>,
    pub(crate) broadcast: bool,
    /// The session packet, or the beacon.
    pub(crate) packet: Vec<u8>,
}

impl Capture {
    pub(crate) fn read(folder: &Path, name: &str) -> Self {
        let keys = fs::read_to_string(folder.join(format!("{name}.keys.json"))).unwrap();
        let keys: Value = serde_json::from_str(&keys).unwrap();
        let mut frames = Vec::new();
        for link in ["am", "mb"] {
            frames.extend(read_frames(&folder.join(format!("{name}-{link}.pcap")), link));
        }
        frames.sort_by_key(|frame| frame.time);
        let decoded = File::open(folder.join(format!("{name}.decoded.jsonl.gz"))).unwrap();
        let rows = BufReader::new(GzDecoder::new(decoded))
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        let nodes =
            NODES.map(|node| (node, text(&keys["nodes"][node], "privateKey").parse().unwrap()));
        let (mut temporary, mut ephemeral) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::new());
        for node in NODES {
            for line in keys["keylog"][node].as_array().unwrap() {
                let (kind, fields) = line.as_str().unwrap().split_once(' ').unwrap();
                let fields: BTreeMap<_, _> =
                    fields.split(' ').filter_map(|field| field.split_once('=')).collect();
                match kind {
                    "CA_SECRET" => temporary.entry(node).or_default().push(hex(fields["my_priv"])),
                    "NOISE_EPHEMERAL_INIT" | "NOISE_EPHEMERAL_RESP" => {
                        let index = u32::from_str_radix(fields["local_index"], 16).unwrap();
                        ephemeral.insert((node, index), hex(fields["priv"]));
                    }
                    _ => {}
                }
            }
            temporary.entry(node).or_default().dedup();
        }
        Self {
            frames,
            rows,
            nodes: nodes.into(),
            login: text(&keys["nodes"]["peering"], "login").to_owned(),
            password: text(&keys["nodes"]["peering"], "password").to_owned(),
            temporary,
            ephemeral,
        }
    }
}

fn read_frames(path: &Path, link: &'static str) -> Vec<Frame> {
    let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        frames.push(Frame::parse(link, frames.len() + 1, packet.timestamp, &packet.data));
    }
    frames
}

impl Frame {
    fn parse(link: &'static str, number: usize, time: Duration, bytes: &[u8]) -> Self {
        let ethernet = wire::ethernet::Header::parse(bytes).unwrap();
        let payload = &bytes[ethernet.len()..];
        let (source, packet) = if ethernet.ethertype == 0xfc00 {
            let len = wire::eth_interface::parse(payload).unwrap();
            (ethernet.source.to_vec(), &payload[wire::eth_interface::HEADER_LEN..][..len])
        } else {
            let ip = wire::ip::parse_v4(payload).unwrap();
            let datagram = &payload[ip.header_len..][..ip.payload_len];
            let udp = wire::udp::parse(datagram).unwrap();
            (ip.source.to_string().into(), &datagram[wire::udp::HEADER_LEN..][..udp.payload_len])
        };
        let broadcast = ethernet.destination == wire::ethernet::BROADCAST;
        Self { link, number, time, source, broadcast, packet: packet.to_vec() }
    }
}
