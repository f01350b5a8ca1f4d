//! AF_PACKET over veth, in network namespaces of its own.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "real packets take real time; waits are bounded by the clock"
)]

use dataplane_io as io;
use io::af_packet::{AfPacket, AfPacketConfig, PacketFilter};
use io::netdev::Netdev;
use io::xdp::PortFilter;
use io::{Burst, Frame, IoError, Pool, Port, Umem, UmemConfig};
use lab::{End, Namespace};
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use wire::buf::Packet;
use wire::ethernet::{ETHERTYPE_CJDNS, ETHERTYPE_IPV4, HEADER_LEN, Header};
use wire::{ip, udp};

const WEST: [u8; 6] = [2, 0, 0, 0, 1, 1];
const EAST: [u8; 6] = [2, 0, 0, 0, 1, 2];
const NOBODY: [u8; 6] = [2, 0, 0, 0, 9, 9];

/// west w0 ── e0 east
fn net(test: &str, queues: u32) -> Option<(Namespace, Namespace)> {
    if !lab::may(test) {
        return None;
    }
    let [west, east] = [(); 2].map(|()| Namespace::new().unwrap());
    let end = |namespace, name, mac| End { namespace, name, mac };
    lab::veth(end(&west, "w0", WEST), end(&east, "e0", EAST), 1500, queues).unwrap();
    Some((west, east))
}

fn umem() -> Umem {
    Umem::new(UmemConfig::coloured(2048)).unwrap()
}

fn only(mac: [u8; 6]) -> PortFilter {
    PortFilter { macs: [mac].into(), ..PortFilter::default() }
}

/// One socket in a namespace, `mac` being ours.
fn open<'m>(
    umem: &'m Umem,
    namespace: &Namespace,
    name: &str,
    mac: [u8; 6],
) -> (AfPacket<'m>, PacketFilter) {
    let (mut ports, mut filter) = namespace
        .run(|| AfPacket::open(umem, &Netdev::find(name)?, 1, AfPacketConfig::default()))
        .unwrap()
        .unwrap();
    filter.add(&only(mac)).unwrap();
    (ports.pop().unwrap(), filter)
}

fn frame<'m>(
    pool: &mut Pool<'m>,
    destination: [u8; 6],
    vlan: Option<u16>,
    number: u32,
) -> Frame<'m> {
    let mut bytes = [0; 64];
    let header = Header { destination, source: WEST, vlan, ethertype: ETHERTYPE_CJDNS };
    assert!(header.write(&mut bytes));
    bytes[header.len()..header.len() + 4].copy_from_slice(&number.to_be_bytes());
    let mut frame = pool.take().unwrap();
    assert!(frame.fill(&bytes));
    frame
}

fn number_of(frame: &Frame<'_>) -> u32 {
    let header = Header::parse(frame.bytes()).unwrap();
    u32::from_be_bytes(*frame.bytes()[header.len()..].first_chunk().unwrap())
}

/// Moves what can be moved until `done`, for at most ten seconds.
fn until(mut step: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !step() {
        assert!(Instant::now() < end, "ten seconds passed");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Receives `count` frames, gives each to `look`, and puts it back.
fn receive<'m>(
    port: &mut AfPacket<'m>,
    pool: &mut Pool<'m>,
    count: usize,
    mut look: impl FnMut(&Frame<'m>),
) {
    let mut seen = 0;
    until(|| {
        let mut burst = Burst::new();
        port.receive(pool, &mut burst);
        seen += burst.len();
        burst.iter().for_each(&mut look);
        burst.into_iter().for_each(|frame| pool.put(frame));
        seen >= count
    });
    assert_eq!(seen, count);
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn skipped(what: &str, error: &lab::LabError) {
    eprintln!("SKIPPED {what}: {error}");
}

#[test]
fn our_frames_cross_in_order_and_others_do_not() {
    const COUNT: u32 = 5000;
    let Some((west, east)) = net("our_frames_cross_in_order_and_others_do_not", 1) else { return };
    let umem = umem();
    let mut pool = umem.frames().unwrap();
    let (mut sender, _west_filter) = open(&umem, &west, "w0", WEST);
    let (mut receiver, mut filter) = open(&umem, &east, "e0", EAST);
    let (mut sent, mut next) = (0, 0);
    let mut burst = Burst::new();
    until(|| {
        while sent < COUNT && !burst.is_full() {
            // Every fifth to somebody else.
            let destination = if sent % 5 == 4 { NOBODY } else { EAST };
            burst.push(frame(&mut pool, destination, None, sent));
            sent += 1;
        }
        sender.transmit(&mut burst);
        sender.flush();
        sender.reclaim(&mut pool);
        let mut received = Burst::new();
        receiver.receive(&mut pool, &mut received);
        for frame in &received {
            assert_eq!((number_of(frame), frame.len()), (next, 64));
            next += if next % 5 == 3 { 2 } else { 1 };
        }
        received.into_iter().for_each(|frame| pool.put(frame));
        next == COUNT
    });
    assert_eq!((sender.pending(), sender.statistics().kicks_refused), (0, 0));
    let lost = receiver.statistics();
    assert_eq!((lost.rx_dropped, lost.rx_ring_full), (0, 0));
    // All frames but those posted for the next calls are back.
    assert!(pool.len() >= 2048 - 64 - 64, "{}", pool.len());

    filter.remove_others(&PortFilter::default()).unwrap();
    let mut burst = Burst::from_iter([frame(&mut pool, EAST, None, 0)]);
    sender.transmit(&mut burst);
    sender.flush();
    filter.add(&only(EAST)).unwrap();
    let mut burst = Burst::from_iter([frame(&mut pool, EAST, None, 7)]);
    sender.transmit(&mut burst);
    sender.flush();
    receive(&mut receiver, &mut pool, 1, |frame| assert_eq!(number_of(frame), 7));
}

/// A tag in the data, and one set beside it as a VLAN device does: both are seen, where XDP would miss the second.
#[test]
fn tags_are_seen_however_they_were_set() {
    let Some((west, east)) = net("tags_are_seen_however_they_were_set", 1) else { return };
    let umem = umem();
    let mut pool = umem.frames().unwrap();
    let (mut trunk, _trunk_filter) = open(&umem, &west, "w0", WEST);
    let (mut receiver, _filter) = open(&umem, &east, "e0", EAST);
    let vlan = |frame: &Frame<'_>| Header::parse(frame.bytes()).unwrap().vlan;

    for tag in [None, Some(9)] {
        let mut burst = Burst::from_iter([frame(&mut pool, EAST, tag, 1)]);
        trunk.transmit(&mut burst);
        trunk.flush();
        receive(&mut receiver, &mut pool, 1, |frame| {
            assert_eq!((vlan(frame), number_of(frame), frame.len()), (tag, 1, 64));
        });
    }
    if let Err(error) =
        west.ip(&["link", "add", "link", "w0", "name", "w0.7", "type", "vlan", "id", "7"])
    {
        skipped("the VLAN device of tags_are_seen_however_they_were_set", &error);
        return;
    }
    west.ip(&["link", "set", "w0.7", "up"]).unwrap();
    let (mut access, _access_filter) = open(&umem, &west, "w0.7", WEST);
    let mut burst = Burst::from_iter([frame(&mut pool, EAST, None, 2)]);
    access.transmit(&mut burst);
    access.flush();
    receive(&mut receiver, &mut pool, 1, |frame| {
        assert_eq!((vlan(frame), number_of(frame), frame.len()), (Some(7), 2, 68));
    });
}

/// A local stack leaves the checksum to hardware that veth does not have.
#[test]
fn a_local_stacks_checksum_is_finished() {
    let Some((west, east)) = net("a_local_stacks_checksum_is_finished", 1) else { return };
    west.ip(&["address", "add", "10.9.0.1/24", "dev", "w0"]).unwrap();
    west.ip(&["neighbour", "add", "10.9.0.2", "lladdr", "02:00:00:00:01:02", "dev", "w0"]).unwrap();
    let umem = umem();
    let mut pool = umem.frames().unwrap();
    let (mut receiver, mut filter) = open(&umem, &east, "e0", EAST);
    let endpoints = ["10.9.0.2:4000".parse().unwrap()].into();
    filter.add(&PortFilter { endpoints, ..PortFilter::default() }).unwrap();
    west.run(|| {
        let socket = UdpSocket::bind("10.9.0.1:4001").unwrap();
        socket.send_to(b"to another port", "10.9.0.2:4002").unwrap();
        socket.send_to(b"whole", "10.9.0.2:4000").unwrap();
    })
    .unwrap();
    receive(&mut receiver, &mut pool, 1, |frame| {
        assert_eq!(Header::parse(frame.bytes()).unwrap().ethertype, ETHERTYPE_IPV4);
        let packet = &frame.bytes()[HEADER_LEN..];
        let header = ip::parse_v4(packet).unwrap();
        let datagram = &packet[header.header_len..][..header.payload_len];
        assert!(datagram.ends_with(b"whole"));
        assert_ne!(udp::parse(datagram).unwrap().checksum, 0);
        assert!(udp::is_right(datagram, header.source, header.destination));
    });
}

#[test]
fn sockets_of_one_port_share_its_frames() {
    const COUNT: usize = 400;
    let Some((west, east)) = net("sockets_of_one_port_share_its_frames", 2) else { return };
    let umem = umem();
    let mut pool = umem.frames().unwrap();
    let (mut sender, _west_filter) = open(&umem, &west, "w0", WEST);
    let (mut ports, mut filter) = east
        .run(|| AfPacket::open(&umem, &Netdev::find("e0")?, 2, AfPacketConfig::default()))
        .unwrap()
        .unwrap();
    filter.add(&only(EAST)).unwrap();
    let mut seen = vec![0_usize; COUNT];
    let mut sent = 0;
    until(|| {
        if sent < COUNT {
            let number = u32::try_from(sent).unwrap();
            let mut burst = Burst::from_iter([frame(&mut pool, EAST, None, number)]);
            sender.transmit(&mut burst);
            sender.flush();
            sender.reclaim(&mut pool);
            sent += 1;
        }
        for port in &mut ports {
            let mut burst = Burst::new();
            port.receive(&mut pool, &mut burst);
            for frame in burst {
                seen[usize::try_from(number_of(&frame)).unwrap()] += 1;
                pool.put(frame);
            }
        }
        seen.iter().sum::<usize>() >= COUNT
    });
    assert!(seen.iter().all(|times| *times == 1), "each frame reaches one socket, once");
}

#[test]
fn a_port_that_is_down_keeps_its_frames_until_it_is_up() {
    let Some((west, east)) = net("a_port_that_is_down_keeps_its_frames_until_it_is_up", 1) else {
        return;
    };
    let umem = umem();
    let mut pool = umem.frames().unwrap();
    let (mut sender, _west_filter) = open(&umem, &west, "w0", WEST);
    let (mut receiver, _filter) = open(&umem, &east, "e0", EAST);
    west.ip(&["link", "set", "w0", "down"]).unwrap();
    let mut burst: Burst<_> = (0..5).map(|n| frame(&mut pool, EAST, None, n)).collect();
    assert_eq!(sender.transmit(&mut burst), 5);
    sender.flush();
    assert_eq!((sender.statistics().kicks_refused, sender.reclaim(&mut pool)), (1, 0));
    west.ip(&["link", "set", "w0", "up"]).unwrap();
    until(|| west.run(|| io::netdev::is_up("w0")).unwrap());
    let mut burst = Burst::from_iter([frame(&mut pool, EAST, None, 5)]);
    sender.transmit(&mut burst);
    sender.flush();
    assert_eq!((sender.statistics().tx_invalid, sender.reclaim(&mut pool)), (0, 6));
    let mut next = 0;
    receive(&mut receiver, &mut pool, 6, |frame| {
        assert_eq!(number_of(frame), next);
        next += 1;
    });
}

/// Frames that nobody reads are counted, each once.
#[test]
fn a_full_buffer_is_counted() {
    const COUNT: u64 = 3000;
    let Some((west, east)) = net("a_full_buffer_is_counted", 1) else { return };
    let umem = umem();
    let mut pool = umem.frames().unwrap();
    let (mut sender, _west_filter) = open(&umem, &west, "w0", WEST);
    let config = AfPacketConfig { receive_buffer: 64 << 10, ..AfPacketConfig::default() };
    let (mut ports, mut filter) =
        east.run(|| AfPacket::open(&umem, &Netdev::find("e0")?, 1, config)).unwrap().unwrap();
    filter.add(&only(EAST)).unwrap();
    let mut receiver = ports.pop().unwrap();
    for n in 0..COUNT {
        let mut burst = Burst::from_iter([frame(&mut pool, EAST, None, u32::try_from(n).unwrap())]);
        until(|| {
            sender.transmit(&mut burst);
            sender.flush();
            sender.reclaim(&mut pool) > 0
        });
    }
    let mut received = 0;
    let mut backlogs = Vec::new();
    until(|| {
        let mut burst = Burst::new();
        received += receiver.receive(&mut pool, &mut burst) as u64;
        backlogs.push(receiver.backlog());
        burst.into_iter().for_each(|frame| pool.put(frame));
        received + receiver.statistics().rx_ring_full == COUNT
    });
    assert!((1..COUNT).contains(&received), "{received}");
    // A full buffer, less a burst; and in the end nothing waits.
    assert!((3..8).contains(&backlogs[0]) && backlogs.is_sorted_by(|a, b| a >= b), "{backlogs:?}");
    assert_eq!(backlogs.last(), Some(&0));
    assert_eq!(sender.statistics().kicks_refused, 0);
}

#[test]
fn an_mtu_larger_than_a_chunk_is_refused() {
    let Some((west, _east)) = net("an_mtu_larger_than_a_chunk_is_refused", 1) else { return };
    west.ip(&["link", "set", "w0", "mtu", "9000"]).unwrap();
    let umem = umem();
    let opened = west
        .run(|| AfPacket::open(&umem, &Netdev::find("w0")?, 1, AfPacketConfig::default()))
        .unwrap();
    let Err(error @ IoError::Queue { .. }) = opened else { panic!("opened") };
    assert!(error.to_string().contains("its MTU is 9000"), "{error}");
}
