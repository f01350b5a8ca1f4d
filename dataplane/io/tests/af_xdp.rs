//! AF_XDP over veth, in network namespaces of its own.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "real packets take real time; waits are bounded by the clock"
)]

use dataplane_io as io;
use io::af_xdp::{AfXdp, AfXdpConfig};
use io::netdev::Netdev;
use io::xdp::{Attachment, PortFilter};
use io::{Burst, IoError, Pool, Port, Umem, UmemConfig};
use lab::{End, Namespace};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use wire::buf::Packet;
use wire::ethernet::{ETHERTYPE_CJDNS, Header};

const WEST: [u8; 6] = [2, 0, 0, 0, 1, 1];
const BOX_WEST: [u8; 6] = [2, 0, 0, 0, 1, 2];
const BOX_EAST: [u8; 6] = [2, 0, 0, 0, 2, 1];
const EAST: [u8; 6] = [2, 0, 0, 0, 2, 2];

struct Net {
    west: Namespace,
    middle: Namespace,
    east: Namespace,
}

/// west w0 ── p0 middle p1 ── e0 east
fn net(test: &str) -> Option<Net> {
    if !lab::may(test) {
        return None;
    }
    let [west, middle, east] = [(); 3].map(|()| Namespace::new().unwrap());
    let end = |namespace, name, mac| End { namespace, name, mac };
    lab::veth(end(&middle, "p0", BOX_WEST), end(&west, "w0", WEST), 1500, 1).unwrap();
    lab::veth(end(&middle, "p1", BOX_EAST), end(&east, "e0", EAST), 1500, 1).unwrap();
    Some(Net { west, middle, east })
}

fn umem() -> Umem {
    Umem::new(UmemConfig::for_xdp(1500, 4096)).unwrap()
}

const SMALL: AfXdpConfig =
    AfXdpConfig { queue: 0, rx_entries: 512, tx_entries: 512, tx_pending_max: 512 };

/// Attaches to `name` with `mac` as ours, and opens queue 0.
fn open<'m>(
    umem: &'m Umem,
    pool: &mut Pool<'m>,
    name: &str,
    mac: [u8; 6],
) -> Result<(Attachment, AfXdp<'m>), IoError> {
    open_shared(umem, pool, name, mac, None)
}

fn open_shared<'m>(
    umem: &'m Umem,
    pool: &mut Pool<'m>,
    name: &str,
    mac: [u8; 6],
    shared: Option<BorrowedFd<'_>>,
) -> Result<(Attachment, AfXdp<'m>), IoError> {
    let mut attachment = Attachment::attach(&Netdev::find(name)?)?;
    attachment.add(&PortFilter { macs: [mac].into(), ..PortFilter::default() })?;
    let port = AfXdp::open(umem, pool, &attachment, shared, SMALL)?;
    Ok((attachment, port))
}

fn frame<'m>(
    pool: &mut Pool<'m>,
    destination: [u8; 6],
    source: [u8; 6],
    sequence: u32,
) -> io::Frame<'m> {
    let mut bytes = [0; 60];
    assert!(
        Header { destination, source, vlan: None, ethertype: ETHERTYPE_CJDNS }.write(&mut bytes)
    );
    bytes[14..18].copy_from_slice(&sequence.to_be_bytes());
    let mut frame = pool.take().unwrap();
    assert!(frame.fill(&bytes));
    frame
}

/// Moves what can be moved until `done`, for at most ten seconds.
fn until(mut step: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !step() {
        assert!(Instant::now() < end, "nothing moved for ten seconds");
        std::thread::yield_now();
    }
}

#[test]
fn frames_cross_two_ports_of_one_memory() {
    let Some(net) = net("frames_cross_two_ports_of_one_memory") else { return };
    const FRAMES: u32 = 20_000;
    let (west_memory, middle_memory, east_memory) = (umem(), umem(), umem());
    let mut pools = [&west_memory, &middle_memory, &east_memory].map(|umem| umem.frames().unwrap());
    let [west_pool, middle_pool, east_pool] = &mut pools;
    let (_west, mut sender) =
        net.west.run(|| open(&west_memory, west_pool, "w0", WEST).unwrap()).unwrap();
    let (_p0, mut p0) =
        net.middle.run(|| open(&middle_memory, middle_pool, "p0", BOX_WEST).unwrap()).unwrap();
    let first = p0.socket();
    let (_p1, mut p1) = net
        .middle
        .run(|| open_shared(&middle_memory, middle_pool, "p1", BOX_EAST, Some(first)).unwrap())
        .unwrap();
    let (_east, mut sink) =
        net.east.run(|| open(&east_memory, east_pool, "e0", EAST).unwrap()).unwrap();

    let (mut sent, mut received) = (0, 0);
    let mut forwarding: Burst<io::Frame<'_>> = Burst::new();
    until(|| {
        // No more on their way than every ring holds, so that nothing may be lost.
        let mut burst = Burst::new();
        while sent < FRAMES && sent - received < 128 && burst.remaining_capacity() > 0 {
            burst.push(frame(west_pool, BOX_WEST, WEST, sent));
            sent += 1;
        }
        sender.transmit(&mut burst);
        assert!(burst.is_empty());
        sender.flush();
        sender.reclaim(west_pool);

        p0.receive(middle_pool, &mut forwarding);
        for frame in &mut forwarding {
            frame.bytes_mut()[..6].copy_from_slice(&EAST);
        }
        p1.transmit(&mut forwarding);
        p1.flush();
        p1.reclaim(middle_pool);

        let mut burst = Burst::new();
        sink.receive(east_pool, &mut burst);
        for frame in burst {
            assert_eq!(frame.bytes()[14..18], received.to_be_bytes());
            received += 1;
            east_pool.put(frame);
        }
        received == FRAMES
    });
    assert_eq!(p0.statistics().rx_dropped + p0.statistics().rx_ring_full, 0);
    // Frames: in the pool, posted, or not yet completed.
    until(|| p1.reclaim(middle_pool) == 0 && p1.pending() == 0);
    assert_eq!(
        middle_pool.len() + 2 * 512,
        4096,
        "free frames and two full fill rings are all there are"
    );
}

#[test]
fn a_ring_that_fills_says_so() {
    let Some(net) = net("a_ring_that_fills_says_so") else { return };
    let (west_memory, memory) = (umem(), umem());
    let (mut west_pool, mut pool) = (west_memory.frames().unwrap(), memory.frames().unwrap());
    let (_west, mut sender) =
        net.west.run(|| open(&west_memory, &mut west_pool, "w0", WEST).unwrap()).unwrap();
    let (_p0, mut p0) =
        net.middle.run(|| open(&memory, &mut pool, "p0", BOX_WEST).unwrap()).unwrap();
    let mut backlogs = Vec::new();
    for round in 0..8 {
        let mut burst: Burst<io::Frame<'_>> =
            (0..64).map(|n| frame(&mut west_pool, BOX_WEST, WEST, 64 * round + n)).collect();
        until(|| {
            sender.transmit(&mut burst);
            sender.flush();
            sender.reclaim(&mut west_pool);
            burst.is_empty() && sender.pending() == 0
        });
        until(|| p0.backlog() == u8::try_from(round + 1).unwrap().min(7));
        backlogs.push(p0.backlog());
    }
    assert_eq!(backlogs, [1, 2, 3, 4, 5, 6, 7, 7], "eighths, and nearly full");
    for _ in 0..8 {
        let mut burst = Burst::new();
        assert_eq!(p0.receive(&mut pool, &mut burst), 64);
        burst.into_iter().for_each(|frame| pool.put(frame));
    }
    assert_eq!(p0.backlog(), 0);
}

#[test]
fn a_program_of_somebody_else_is_named_and_left_alone() {
    let Some(net) = net("a_program_of_somebody_else_is_named_and_left_alone") else { return };
    net.middle
        .run(|| {
            let device = Netdev::find("p0").unwrap();
            let first = Attachment::attach(&device).unwrap();
            let refused = Attachment::attach(&device).unwrap_err().to_string();
            assert!(refused.contains("p0") && refused.contains("\"switchyard\""), "{refused}");
            drop(first);
            Attachment::attach(&device).unwrap();
        })
        .unwrap();
}

#[test]
fn a_queue_is_free_again_within_a_second() {
    let Some(net) = net("a_queue_is_free_again_within_a_second") else { return };
    net.middle
        .run(|| {
            for _ in 0..3 {
                let memory = umem();
                let mut pool = memory.frames().unwrap();
                let start = Instant::now();
                let opened = open(&memory, &mut pool, "p0", BOX_WEST).unwrap();
                assert!(start.elapsed() < Duration::from_secs(1));
                drop(opened);
            }
        })
        .unwrap();
}

#[test]
fn a_queue_that_is_not_there_or_held_is_refused() {
    let Some(net) = net("a_queue_that_is_not_there_or_held_is_refused") else { return };
    net.middle
        .run(|| {
            let memory = umem();
            let mut pool = memory.frames().unwrap();
            let attachment = Attachment::attach(&Netdev::find("p0").unwrap()).unwrap();
            let missing = AfXdp::open(
                &memory,
                &mut pool,
                &attachment,
                None,
                AfXdpConfig { queue: 9, ..SMALL },
            );
            assert!(missing.unwrap_err().to_string().contains("no such queue"));
            let _first = AfXdp::open(&memory, &mut pool, &attachment, None, SMALL).unwrap();
            let other = umem();
            let mut others = other.frames().unwrap();
            let held = AfXdp::open(&other, &mut others, &attachment, None, SMALL);
            assert!(held.unwrap_err().to_string().contains("another socket holds it"));
            assert!(matches!(Netdev::find("nowhere"), Err(IoError::NoDevice { .. })));
        })
        .unwrap();
}

#[test]
fn a_port_that_is_down_loses_no_frame() {
    let Some(net) = net("a_port_that_is_down_loses_no_frame") else { return };
    let memory = umem();
    let mut pool = memory.frames().unwrap();
    let (_p1, mut p1) =
        net.middle.run(|| open(&memory, &mut pool, "p1", BOX_EAST).unwrap()).unwrap();
    net.middle.ip(&["link", "set", "p1", "down"]).unwrap();
    let mut burst = Burst::new();
    for sequence in 0..32 {
        burst.push(frame(&mut pool, EAST, BOX_EAST, sequence));
    }
    assert_eq!(p1.transmit(&mut burst), 32);
    p1.flush();
    assert_eq!((p1.statistics().kicks_refused, p1.pending()), (1, 32));
    net.middle.ip(&["link", "set", "p1", "up"]).unwrap();
    until(|| {
        p1.flush();
        p1.reclaim(&mut pool);
        p1.pending() == 0
    });
    assert_eq!(pool.len() + 512, 4096);
}
