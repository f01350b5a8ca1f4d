//! A small box for tests: ports west and east, vswitches red and blue, two workers.

mod counters;

pub use counters::snapshot;
use dataplane_api::status::{
    LinkStatus, PortStatus, SlowPathStatus, VifStatus, VswitchStatus, WorkerStatus,
};
use dataplane_api::{Generation, PortId, Status, VifId, VswitchId, WorkerId};

/// What it says of itself after `seconds`.
pub fn status(seconds: u64) -> Status {
    let vif = |id: u32,
               vswitch: u16,
               number: u16,
               role: &str,
               port: Option<u16>,
               link: &str,
               label: u64| VifStatus {
        id: VifId(id),
        vswitch: VswitchId(vswitch),
        number,
        role: role.into(),
        label: format!("{label:016x}"),
        link: link.into(),
        port: port.map(PortId),
        owner: port.map(|port| WorkerId(port.to_be_bytes()[1])),
        mtu: 1480,
        resolved: true,
        told: false,
    };
    let port = |id: u16, name: &str| PortStatus {
        id: PortId(id),
        name: name.into(),
        backend: "af_xdp native copy".into(),
        up: true,
        mtu: 1500,
        queues: vec![(0, WorkerId(id.to_be_bytes()[1]))],
        steering: "one queue".into(),
    };
    let vswitch = |id: u16, name: &str, scheme: &str| VswitchStatus {
        id: VswitchId(id),
        name: name.into(),
        tenant: u32::from(id) + 1,
        public_key: format!("{name}.k"),
        address: format!("fc00::{id}"),
        scheme: scheme.into(),
        needs_key: name == "blue",
        has_key: false,
    };
    Status {
        version: "0.1.0".into(),
        pid: 77,
        uptime_ns: seconds * 1_000_000_000,
        accepted: Generation(3),
        applied: Generation(3),
        ports: vec![port(0, "west"), port(1, "east")],
        workers: (0..2)
            .map(|id| WorkerStatus {
                id: WorkerId(id),
                core: Some(u32::from(id) + 1),
                generation: Generation(3),
            })
            .collect(),
        vswitches: vec![vswitch(0, "red", "v358"), vswitch(1, "blue", "v48")],
        vifs: vec![
            vif(0, 0, 2, "customer", Some(0), "ethernet west 02:00:00:00:00:02", 0x15),
            vif(1, 0, 3, "customer", Some(1), "ethernet east 02:00:00:00:00:03", 0x17),
            vif(2, 0, 4, "customer", None, "cable to blue:4", 0x19),
            vif(3, 1, 4, "customer", None, "cable to red:4", 0x2b),
            vif(4, 1, 5, "peer", Some(0), "udp 192.0.2.1:4000", 0x29),
        ],
        slow_path: SlowPathStatus {
            answered: vec![(3, 9)],
            errors: vec![(1, 2)],
            drops: Vec::new(),
            links: (0, 0),
        },
        notices: vec!["port east: small pages".into()],
        ..Status::default()
    }
}

/// What it says of its links: the one of blue:5 has keys.
pub fn links() -> Vec<LinkStatus> {
    vec![LinkStatus {
        vif: VifId(4),
        key: "lqjqj3njmggfnrb8dyxfcgdnylj1yz1dl1hr0180shynkv9wnwh0.k".into(),
        user: Some("alice".into()),
        learned: true,
        kind: "crypto_auth".into(),
        state: "ESTABLISHED".into(),
        version: 22,
        rtt_ns: Some(1_230_000),
        heard_ns: Some(400_000_000),
        sessions: 2,
    }]
}
