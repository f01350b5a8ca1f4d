//! Live frames over veth, in network namespaces of its own.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "real packets take real time; waits are bounded by the clock"
)]

use dataplane_io as io;
use io::af_xdp::{AfXdp, AfXdpConfig};
use io::live::{Ended, LiveFrames, Pace, Stamp, Stop, Template};
use io::netdev::Netdev;
use io::xdp::{Attachment, PortFilter};
use io::{Burst, IoError, Pool, Port, Umem, UmemConfig};
use lab::{End, Namespace};
use std::slice::from_ref;
use std::thread;
use std::time::{Duration, Instant};
use wire::buf::Packet;
use wire::ethernet::{ETHERTYPE_CJDNS, Header};

const SENDER: [u8; 6] = [2, 0, 0, 0, 1, 1];
const SINK: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// sender s0 ── r0 sink
fn net(test: &str) -> Option<(Namespace, Namespace)> {
    if !lab::may(test) {
        return None;
    }
    let (sender, sink) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let end = |namespace, name, mac| End { namespace, name, mac };
    lab::veth(end(&sender, "s0", SENDER), end(&sink, "r0", SINK), 1500, 1).unwrap();
    Some((sender, sink))
}

fn open<'m>(umem: &'m Umem, pool: &mut Pool<'m>) -> (Attachment, AfXdp<'m>) {
    let mut attachment = Attachment::attach(&Netdev::find("r0").unwrap()).unwrap();
    attachment.add(&PortFilter { macs: [SINK].into(), ..PortFilter::default() }).unwrap();
    let port = AfXdp::open(umem, pool, &attachment, None, AfXdpConfig::default()).unwrap();
    (attachment, port)
}

/// A frame whose bytes tell which template it is.
fn template(len: usize, filler: u8, stamp: Option<Stamp>) -> Template {
    let mut frame = vec![filler; len];
    let header =
        Header { destination: SINK, source: SENDER, vlan: None, ethertype: ETHERTYPE_CJDNS };
    assert!(header.write(&mut frame));
    Template { frame, stamp }
}

/// Sequence and time, once the check is right.
fn read(stamp: Stamp, frame: &[u8]) -> (u64, u64) {
    let bytes = &frame[stamp.at..stamp.at + 20];
    let wide = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let check = u32::from_be_bytes(bytes[16..].try_into().unwrap());
    let half = |n: u64| u32::try_from(n & 0xffff_ffff).unwrap();
    let fold = |n: u64| half(n) ^ half(n >> 32);
    assert_eq!(check, stamp.constant ^ fold(wide(0)) ^ fold(wide(8)));
    (wide(0), wide(8))
}

#[test]
fn frames_arrive_in_order_whole_and_stamped() {
    let Some((sender, sink)) = net("frames_arrive_in_order_whole_and_stamped") else { return };
    // Fewer than the RX ring holds, so that none is lost before it is read.
    const ROUNDS: u64 = 500;
    let umem = Umem::new(UmemConfig::for_xdp(1500, 8192)).unwrap();
    let mut pool = umem.frames().unwrap();
    let (_attachment, mut port) = sink.run(|| open(&umem, &mut pool)).unwrap();

    let stamps = [
        Some(Stamp { at: 32, constant: 0x1234_5678 }),
        Some(Stamp { at: 1494, constant: u32::MAX }),
        None,
    ];
    let templates = [
        template(60, 0xaa, stamps[0]),
        template(1514, 0xbb, stamps[1]),
        template(590, 0xcc, stamps[2]),
    ];
    let order = [0, 1, 0, 2, 1, 0];
    let (ended, sent) = sender
        .run(|| {
            let live = LiveFrames::new(&Netdev::find("s0").unwrap(), &templates, &order).unwrap();
            let count = ROUNDS * order.len() as u64;
            (live.run(Some(count), &Stop::new()).unwrap(), live.sent().unwrap())
        })
        .unwrap();
    assert_eq!(ended, Ended::Complete);
    assert_eq!(sent, [3 * ROUNDS, 2 * ROUNDS, ROUNDS]);

    let turns: Vec<usize> =
        order.into_iter().cycle().take(usize::try_from(ROUNDS).unwrap() * order.len()).collect();
    let mut received = Vec::new();
    let end = Instant::now() + Duration::from_secs(10);
    while received.len() < turns.len() {
        assert!(Instant::now() < end, "{} came: {:?}", received.len(), port.statistics());
        let mut burst = Burst::new();
        port.receive(&mut pool, &mut burst);
        received.extend(burst);
    }
    let mut next = [0; 3];
    let mut before = 0;
    for (turn, frame) in turns.into_iter().zip(received) {
        let mut expected = templates[turn].frame.clone();
        if let Some(stamp) = stamps[turn] {
            let (sequence, time) = read(stamp, frame.bytes());
            assert_eq!(sequence, next[turn]);
            assert!(time > before, "{time} after {before}");
            before = time;
            expected[stamp.at..stamp.at + 20]
                .copy_from_slice(&frame.bytes()[stamp.at..stamp.at + 20]);
        }
        assert_eq!(frame.bytes(), expected);
        next[turn] += 1;
    }
    assert_eq!(next.to_vec(), sent);
}

#[test]
fn a_run_without_end_is_stopped() {
    let Some((sender, sink)) = net("a_run_without_end_is_stopped") else { return };
    let umem = Umem::new(UmemConfig::for_xdp(1500, 8192)).unwrap();
    let mut pool = umem.frames().unwrap();
    let _sink = sink.run(|| open(&umem, &mut pool)).unwrap();
    sender
        .run(|| {
            let device = Netdev::find("s0").unwrap();
            let live = LiveFrames::new(&device, &[template(60, 1, None)], &[0]).unwrap();
            let stop = Stop::new();
            thread::scope(|scope| {
                let run = scope.spawn(|| live.run(None, &stop).unwrap());
                let end = Instant::now() + Duration::from_secs(10);
                while live.sent().unwrap() == [0] {
                    assert!(Instant::now() < end, "nothing is sent");
                    thread::yield_now();
                }
                let asked = Instant::now();
                stop.stop();
                assert_eq!(run.join().unwrap(), Ended::Interrupted);
                assert!(asked.elapsed() < Duration::from_secs(2));
            });
            // A stop that comes first holds for what comes after it.
            let sent = live.sent().unwrap();
            assert_eq!(live.run(None, &stop).unwrap(), Ended::Interrupted);
            assert_eq!(live.sent().unwrap(), sent);
        })
        .unwrap();
}

#[test]
fn a_paced_template_keeps_its_interval_among_others() {
    let Some((sender, sink)) = net("a_paced_template_keeps_its_interval_among_others") else {
        return;
    };
    const EVERY: u64 = 50_000;
    let umem = Umem::new(UmemConfig::for_xdp(1500, 8192)).unwrap();
    let mut pool = umem.frames().unwrap();
    let (_attachment, mut port) = sink.run(|| open(&umem, &mut pool)).unwrap();
    let stamp = Stamp { at: 32, constant: 7 };
    let templates = [template(60, 1, Some(stamp)), template(60, 2, None)];
    let sent = sender
        .run(|| {
            let live = LiveFrames::new(&Netdev::find("s0").unwrap(), &templates, &[1]).unwrap();
            let first_every = std::num::NonZeroU64::new(EVERY);
            live.pace(Pace { first_every, alone: true }).unwrap();
            live.run(Some(20_000), &Stop::new()).unwrap();
            let alone = live.sent().unwrap();
            live.pace(Pace { first_every, alone: false }).unwrap();
            live.run(Some(20_000), &Stop::new()).unwrap();
            (alone, live.sent().unwrap())
        })
        .unwrap();
    let (alone, all) = sent;
    assert!(alone[0] > 0 && alone[1] == 0, "{alone:?}");
    assert_eq!(all[0] + all[1], alone[0] + 20_000);
    let mut times = Vec::new();
    let mut burst = Burst::new();
    while port.receive(&mut pool, &mut burst) > 0 {
        for frame in burst.drain(..) {
            times.extend((frame.bytes()[59] == 1).then(|| read(stamp, frame.bytes()).1));
            pool.put(frame);
        }
    }
    // Whatever delays one, over a stretch there are no more than the pace allows and it makes good for.
    let stretch = times.last().unwrap() - times.first().unwrap();
    let most = stretch / EVERY + 2 + 2 * 1_000_000 / EVERY;
    assert!(times.len() as u64 <= most, "{} in {stretch} ns", times.len());
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let Some((sender, _sink)) = net("what_cannot_be_sent_is_refused") else { return };
    sender
        .run(|| {
            let device = Netdev::find("s0").unwrap();
            let good = template(60, 1, None);
            let outside = template(60, 1, Some(Stamp { at: 41, constant: 0 }));
            let long = Template { frame: vec![0; 1515], stamp: None };
            let refused: [(&[Template], &[usize]); 6] = [
                (&[], &[0]),
                (from_ref(&good), &[]),
                (from_ref(&good), &[1]),
                (&[outside], &[0]),
                (&[long], &[0]),
                (&vec![good.clone(); 65], &[0]),
            ];
            for (templates, order) in refused {
                let error = LiveFrames::new(&device, templates, order).unwrap_err();
                assert!(matches!(error, IoError::Templates { .. }), "{error}");
            }
        })
        .unwrap();
}
