//! The whole process in a thread, on memory ports: packets cross, hand-offs cross, hostile clients do no harm, and a
//! stop accounts for every packet.
#![expect(clippy::tests_outside_test_module, reason = "the file is one")]

mod rig;

use dataplane_api::protocol::{self, API_VERSION, Hello, Reply, Request, TapEvent, TapFilter};
use dataplane_api::{DropReason, Generation};
use dataplane_client::{Client, ClientError};
use rig::{Rig, spec};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn packets_cross_two_vswitches_on_one_worker_and_all_are_accounted_for() {
    let mut rig = Rig::start(1, Some(spec(1)));
    rig.send_and_check(20_000);
    rig.stop_and_account();
}

#[test]
fn packets_cross_between_two_workers_and_all_are_accounted_for() {
    let mut rig = Rig::start(2, Some(spec(1)));
    rig.send_and_check(20_000);
    let handed: u64 = rig.handed_off();
    assert!(handed >= 20_000, "{handed}");
    rig.stop_and_account();
}

#[test]
fn a_stop_under_load_names_every_packet() {
    for workers in [1, 2] {
        let mut rig = Rig::start(workers, Some(spec(1)));
        rig.send(5_000);
        rig.stop_and_account();
    }
}

#[test]
fn a_neighbour_that_never_reads_costs_a_bounded_drain_and_named_packets() {
    for workers in [1, 2] {
        let mut rig = Rig::start(workers, Some(spec(1)));
        rig.send_unread(10_000);
        let named = rig.stop_unread_and_account();
        // The wire holds 1024 and the vswitch's share of the queue 1024: those wait when the time is over, and with them
        // whatever was received and not looked at yet.
        assert!(named.iter().any(|(reason, n)| *reason == "stopping" && *n >= 1024), "{named:?}");
        assert!(named.iter().any(|(reason, n)| *reason == "queue_share" && *n > 0), "{named:?}");
    }
}

#[test]
fn the_socket_is_private() {
    let rig = Rig::start(1, None);
    let mode = std::fs::metadata(rig.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_spec_is_taken_whole_or_not_at_all() {
    let rig = Rig::start(1, None);
    let mut client = rig.client();
    assert_eq!(client.apply(spec(3)).unwrap(), Generation(3));
    assert_eq!(client.spec().unwrap(), spec(3));
    // The same again is harmless; an older or changed one of that number is refused.
    assert_eq!(client.apply(spec(3)).unwrap(), Generation(3));
    assert!(matches!(client.apply(spec(2)), Err(ClientError::Refused(_))));
    let mut broken = spec(4);
    broken.vswitches[1].vifs[0].number = 1;
    assert!(matches!(client.apply(broken), Err(ClientError::Refused(_))));
    let status = client.status().unwrap();
    assert_eq!(
        (status.accepted, status.refused.map(|(generation, _)| generation)),
        (Generation(3), Some(Generation(4)))
    );
    assert_eq!(client.spec().unwrap(), spec(3));
    assert!(!status.vswitches.is_empty() && !status.vifs.is_empty());
    let brief = client.brief().unwrap();
    assert!(brief.vswitches.is_empty() && brief.vifs.is_empty());
    assert_eq!(
        (brief.pid, brief.accepted, brief.ports),
        (status.pid, status.accepted, status.ports)
    );
    rig::eventually("workers adopt it", || client.status().unwrap().applied == Generation(3));
}

#[test]
fn the_last_good_spec_is_used_at_the_next_start() {
    let rig = Rig::start(1, Some(spec(1)));
    rig.client().apply(spec(5)).unwrap();
    let dir = rig.stop();
    let again = Rig::start_in(dir, 1, Some(spec(1)));
    assert_eq!(again.client().status().unwrap().accepted, Generation(5));
    let dir = again.stop();
    // The newest is damaged: the one before is used, and the status says so.
    std::fs::write(dir.path().join("state/spec"), b"rubbish").unwrap();
    let third = Rig::start_in(dir, 1, None);
    let status = third.client().status().unwrap();
    assert_eq!(status.accepted, Generation(1));
    assert!(
        status.notices.iter().any(|notice| notice.contains("cannot be used")),
        "{:?}",
        status.notices
    );
}

#[test]
fn hostile_clients_are_closed_and_others_are_served() {
    let rig = Rig::start(1, Some(spec(1)));
    let connect = || {
        let stream = UnixStream::connect(rig.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    };
    let is_closed = |mut stream: UnixStream| stream.read_to_end(&mut Vec::new()).is_ok();
    let hello = protocol::encode(&Hello { version: API_VERSION }).unwrap();

    let mut length = connect();
    length.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(is_closed(length), "a huge length");

    let mut version = connect();
    version.write_all(&protocol::encode(&Hello { version: API_VERSION + 1 }).unwrap()).unwrap();
    assert!(is_closed(version), "another version");

    let mut rubbish = connect();
    rubbish.write_all(&hello).unwrap();
    rubbish.write_all(&[4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).unwrap();
    assert!(is_closed(rubbish), "rubbish");

    let mut half = connect();
    half.write_all(&hello).unwrap();
    half.write_all(&protocol::encode(&Request::Apply(spec(9))).unwrap()[..50]).unwrap();
    drop(half);

    // One who asks and never reads; the process must not keep answers without bound, nor wait.
    let mut greedy = connect();
    greedy.set_nonblocking(true).unwrap();
    greedy.write_all(&hello).unwrap();
    let asked = protocol::encode(&Request::Status).unwrap().repeat(1000);
    let _full = greedy.write(&asked);

    // Slow, byte by byte, but right.
    let mut slow = connect();
    for byte in hello.iter().chain(&protocol::encode(&Request::Status).unwrap()) {
        slow.write_all(&[*byte]).unwrap();
    }
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    let status = loop {
        let n = slow.read(&mut chunk).unwrap();
        assert!(n > 0);
        answer.extend_from_slice(&chunk[..n]);
        let Some((_, taken)) = protocol::decode::<Hello>(&answer).unwrap() else { continue };
        if let Some((reply, _)) = protocol::decode::<Reply>(&answer[taken..]).unwrap() {
            break reply;
        }
    };
    assert!(matches!(status, Reply::Status(_)));
    assert_eq!(rig.client().status().unwrap().accepted, Generation(1));
}

#[test]
fn a_tap_shows_the_stages_of_a_dropped_packet() {
    let mut rig = Rig::start(1, Some(spec(1)));
    let filter = TapFilter {
        reason: Some(DropReason::UnknownVif),
        snap_len: 64,
        rate_max: 1000,
        ..TapFilter::default()
    };
    let mut records = rig.client().tap(filter).unwrap();
    rig::eventually("the tap is on", || {
        rig.send_unknown_vif();
        let record = records.next_within(Duration::from_millis(200)).unwrap();
        record.is_some_and(|record| {
            matches!(record.event, TapEvent::Received { .. }) && record.bytes.len() == 64
        })
    });
}

#[test]
fn a_ping_along_a_cable_comes_back_and_one_to_nowhere_does_not() {
    let rig = Rig::start(2, Some(spec(1)));
    let mut client: Client = rig.client();
    let (nanos, version) =
        client.ping("red", rig::CABLE_LABEL, Duration::from_secs(2)).unwrap().unwrap();
    assert!(nanos > 0);
    assert_eq!(version, 22);
    // To the neighbour, who never answers.
    assert_eq!(client.ping("red", rig::NEIGHBOUR_LABEL, Duration::from_millis(50)).unwrap(), None);
    assert!(matches!(
        client.ping("green", 0x13, Duration::from_millis(50)),
        Err(ClientError::Refused(_))
    ));
}
