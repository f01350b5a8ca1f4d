//! A box for tests: a real store and service, a dataplane that takes and refuses what the real compiler does, and the
//! API above them. Two tenants are on it: `red`, who asks, and another one, every field of whose things holds a word
//! that nobody else has.
#![allow(dead_code, reason = "each of those who use it needs another part")]

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use control_api::chain::ChainNode;
use control_api::{
    Api, Chain, ChainError, ChainStatus, Counters, Live, LiveError, PayBy, Peer, Settings, Tap,
    Till, Traffic, WorkerCounts,
};
use dataplane_api::protocol::{TapEvent, TapFilter, TapRecord};
use dataplane_api::status::{
    LeaseStatus, LinkStatus, PortStatus, VifStatus, VswitchStatus, WorkerStatus,
};
use dataplane_api::{DropReason, PortId, Receipt, Spec, Status, WorkerId};
use domain::Time;
use engine::{Compiler, LinkInfo, PortFacts, Rules};
use http_body_util::BodyExt;
use ledger::Amount;
use serde_json::Value;
use service::{Caller, Dataplane, DataplaneError, Facts, NewToken, Service};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Order, PayTo, Store};
use tower::ServiceExt;
use wire::key::PublicKey;

/// When tests begin, Unix milliseconds.
pub const BEGIN: u64 = 1_700_000_000_000;
/// An hour.
pub const HOUR: u64 = 3_600_000;

/// The dataplane's stand-in; what it has is shared with the service.
#[derive(Clone, Debug)]
pub struct StandIn(pub Arc<Mutex<Inner>>);

pub struct Inner {
    pub is_away: bool,
    pub spec: Spec,
    pub receipts: Vec<Receipt>,
    pub links: Vec<LinkStatus>,
    /// What a tap sees, again and again.
    pub packets: Vec<TapRecord>,
    compiler: Compiler,
    rules: Rules,
    looks: u64,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inner")
    }
}

fn ports() -> [PortFacts; 2] {
    ["west", "east"].map(|name| PortFacts {
        name: name.to_owned(),
        mtu: 1500,
        workers: vec![WorkerId(0)],
        tags_visible: true,
        plain_forced: true,
        ..PortFacts::default()
    })
}

impl StandIn {
    fn new() -> Self {
        let mut compiler = Compiler::new(64, 1024, 1);
        let rules = compiler.compile(&Spec::default(), &[], &ports()).unwrap();
        Self(Arc::new(Mutex::new(Inner {
            is_away: false,
            spec: Spec::default(),
            receipts: Vec::new(),
            links: Vec::new(),
            packets: Vec::new(),
            compiler,
            rules,
            looks: 0,
        })))
    }
}

impl Dataplane for StandIn {
    fn apply(&mut self, spec: Spec) -> Result<(), DataplaneError> {
        let mut inner = self.0.lock().unwrap();
        if inner.is_away {
            return Err(DataplaneError::Away("said the test".into()));
        }
        let compiled = inner.compiler.compile(&spec, &[], &ports());
        inner.rules = compiled.map_err(|error| DataplaneError::Refused(error.to_string()))?;
        inner.compiler.retire_up_to(u64::MAX);
        inner.spec = spec;
        Ok(())
    }

    fn facts(&mut self) -> Result<Facts, DataplaneError> {
        let inner = self.0.lock().unwrap();
        if inner.is_away {
            return Err(DataplaneError::Away("said the test".into()));
        }
        let ports = ports().map(|port| (port.name, 1500));
        Ok(Facts { ports: ports.into(), accepted: inner.spec.generation, pid: 7 })
    }

    fn receipts(&mut self, after: u64) -> Result<Vec<Receipt>, DataplaneError> {
        let inner = self.0.lock().unwrap();
        Ok(inner.receipts.iter().filter(|receipt| receipt.until > after).cloned().collect())
    }
}

/// A chain whose wallet always has the same address, and on which nothing happens by itself.
impl Chain for StandIn {
    fn till(&self, by: PayBy, unit: &str, price: Amount) -> Result<Till, ChainError> {
        if unit != "PKT" || price == Amount::ZERO {
            return Err(ChainError::Refused(format!("{price} of {unit}")));
        }
        let pay_to = PayTo::Address { chain: "pktsim".into(), address: "tpk1q".into() };
        let reason = (by == PayBy::Lightning).then(|| "there is no Lightning node".into());
        Ok(Till { pay_to, reason })
    }

    fn watch(&self, _: &Order) -> Result<(), ChainError> {
        Ok(())
    }

    fn give_back(&self, _: &Till) {}

    fn status(&self) -> Result<ChainStatus, ChainError> {
        let node = ChainNode { name: "zq-node".into(), ..ChainNode::default() };
        Ok(ChainStatus { height: 12, nodes: vec![node], ..ChainStatus::default() })
    }
}

impl Live for StandIn {
    fn status(&self) -> Result<Status, LiveError> {
        let inner = self.0.lock().unwrap();
        if inner.is_away {
            return Err(LiveError::Away("said the test".into()));
        }
        let port = |(index, port): (usize, PortFacts)| PortStatus {
            id: PortId(u16::try_from(index).unwrap()),
            name: port.name,
            backend: "stand-in".into(),
            up: true,
            mtu: port.mtu,
            queues: vec![(0, WorkerId(0))],
            steering: "one worker".into(),
        };
        let vswitch = |vswitch: &engine::VswitchInfo| VswitchStatus {
            id: vswitch.id,
            name: vswitch.name.clone(),
            tenant: vswitch.tenant,
            public_key: vswitch.key.to_string(),
            address: vswitch.address.to_string(),
            scheme: vswitch.scheme_name.clone(),
            needs_key: false,
            has_key: true,
        };
        let vif = |vif: &engine::VifInfo| VifStatus {
            id: vif.id,
            vswitch: vif.vswitch,
            number: vif.number,
            role: format!("{:?}", vif.role),
            label: format!("{:016x}", vif.label),
            link: match &vif.link {
                LinkInfo::Ethernet { peer, .. } => format!("ethernet {peer}"),
                other @ (LinkInfo::Udp { .. } | LinkInfo::Cable { .. }) => format!("{other:?}"),
            },
            port: vif.port(),
            owner: vif.owner,
            mtu: vif.mtu.into(),
            resolved: true,
            ..VifStatus::default()
        };
        Ok(Status {
            version: "0.0.0".into(),
            pid: 7,
            uptime_ns: 1,
            accepted: inner.spec.generation,
            applied: inner.spec.generation,
            ports: ports().into_iter().enumerate().map(port).collect(),
            workers: vec![WorkerStatus { id: WorkerId(0), ..WorkerStatus::default() }],
            vswitches: inner.rules.vswitches().map(vswitch).collect(),
            vifs: inner.rules.vifs().map(vif).collect(),
            notices: inner.rules.vswitches().map(|it| format!("{} is there", it.name)).collect(),
            ..Status::default()
        })
    }

    fn links(&self) -> Result<Vec<LinkStatus>, LiveError> {
        Ok(self.0.lock().unwrap().links.clone())
    }

    fn leases(&self) -> Result<Vec<LeaseStatus>, LiveError> {
        let inner = self.0.lock().unwrap();
        let lease = |lease: &dataplane_api::LeaseSpec| LeaseStatus {
            id: lease.id,
            direction: lease.direction,
            ..LeaseStatus::default()
        };
        Ok(inner.spec.leases.iter().map(lease).collect())
    }

    fn counters(&self) -> Result<Counters, LiveError> {
        let mut inner = self.0.lock().unwrap();
        if inner.is_away {
            return Err(LiveError::Away("said the test".into()));
        }
        inner.looks += 1;
        let traffic = Traffic {
            rx_packets: inner.looks * 10,
            rx_bytes: inner.looks * 1000,
            tx_packets: inner.looks * 10,
            tx_bytes: inner.looks * 1000,
        };
        let drops = vec![(DropReason::Policy, inner.looks)];
        Ok(Counters {
            at: BEGIN + inner.looks * 1000,
            pid: 7,
            ports: vec![(PortId(0), traffic), (PortId(1), traffic)],
            vifs: inner.rules.vifs().map(|vif| (vif.id, traffic)).collect(),
            port_drops: vec![(PortId(0), drops.clone())],
            vswitch_drops: inner.rules.vswitches().map(|it| (it.id, drops.clone())).collect(),
            workers: vec![(WorkerId(0), WorkerCounts::default())],
        })
    }

    fn tap(&self, filter: &TapFilter) -> Result<Box<dyn Tap>, LiveError> {
        let packets = self.0.lock().unwrap().packets.clone();
        let snap_len = usize::from(filter.snap_len);
        let cut = |mut record: TapRecord| {
            record.bytes.truncate(snap_len);
            record
        };
        Ok(Box::new(Packets(packets.into_iter().map(cut).collect())))
    }
}

/// Packets that passed, and none after them.
struct Packets(std::collections::VecDeque<TapRecord>);

impl Tap for Packets {
    fn next_within(&mut self, _: Duration) -> Result<Option<TapRecord>, LiveError> {
        match self.0.pop_front() {
            Some(record) => Ok(Some(record)),
            None => Err(LiveError::Away("no more packets".into())),
        }
    }
}

/// A step of a packet at a vif.
pub fn step(event: TapEvent, bytes: &[u8]) -> TapRecord {
    TapRecord {
        at_ns: 1,
        worker: WorkerId(0),
        packet: 1,
        event,
        frame_len: u32::try_from(bytes.len()).unwrap(),
        bytes: bytes.to_vec(),
    }
}

/// The nth key whose address lies in fc00::/8.
pub fn key(nth: usize) -> String {
    let keys = (0_u64..).map(|seed| {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        PublicKey(bytes)
    });
    keys.filter(PublicKey::is_usable).nth(nth).unwrap().to_string()
}

/// Two tenants on two ports that are sold.
pub fn market() -> String {
    let price = |port: &str, direction: &str| {
        format!(
            r#"
            [price.{port}-{direction}]
            port = "{port}"
            direction = "{direction}"
            unit = "PKT"
            lease = {{ amount = "10", bytes_per_s = 1000, ms = 3600000 }}
            metered = {{ priority = {{ amount = "1", per_bytes = 1000 }}, free = {{ amount = "1", per_bytes = 10000 }} }}
            "#
        )
    };
    let prices = [price("west", "out"), price("west", "in"), price("east", "out")].concat();
    format!(
        r#"
        schema = 2
        [box]
        name = "north"
        contact = "noc@example.net"
        market = {{ refund_ppm = 500000 }}
        [node.secret-node]
        kind = "pktd"
        url = "https://zq-node.example:1"
        password = "zq-node-password"
        [port.west]
        capacity = 1250000000
        [port.east]
        capacity = 1250000000
        [unit.PKT]
        id = 1
        per_whole = 1000000000
        {prices}
        [tenant.red]
        id = 11
        quota = {{ vswitches = 4 }}
        [tenant.zq-tenant]
        id = 7777001
        quota = {{ vswitches = 5, vifs = 7777002, logins = 7777003 }}
        [policy.open]
        allow = [["peer", "peer"]]
        [policy.zq-policy]
        tenant = "zq-tenant"
        allow = [["peer", "provider"]]
        [vswitch.red-1]
        tenant = "red"
        public_key = "{red}"
        [vswitch.red-1.vif.2]
        link.ethernet = {{ port = "west", peer = "02:00:00:00:00:01", session = "plain" }}
        [vswitch.red-1.login.friend]
        password = "red-password"
        [vswitch.zq-vswitch]
        tenant = "zq-tenant"
        public_key = "{other}"
        policy = "zq-policy"
        [vswitch.zq-vswitch.vif.2]
        link.ethernet = {{ port = "west", peer = "02:7a:71:7a:71:01", session = {{ node = {{ public_key = "{peer}", login = "zq-link-login", password = "zq-link-password" }} }} }}
        [vswitch.zq-vswitch.vif.3]
        link.ethernet = {{ port = "east", vlan = 777, peer = "02:7a:71:7a:71:02", session = "plain" }}
        [vswitch.zq-vswitch.login.zq-login]
        password = "zq-login-password"
        "#,
        red = key(0),
        other = key(1),
        peer = key(2),
    )
}

/// A box and its API.
pub struct World {
    pub folder: tempfile::TempDir,
    pub path: PathBuf,
    pub service: Arc<Service>,
    pub standin: StandIn,
    pub api: Api,
    pub now: Arc<AtomicU64>,
    router: axum::Router,
}

pub fn owner() -> Caller {
    Caller { name: "uid 0".into(), grant: domain::access::Grant::owner(), once: None }
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.db");
        let standin = StandIn::new();
        let store = Store::open(&path).unwrap();
        let service = Arc::new(Service::open(store, Box::new(standin.clone())).unwrap());
        service.tend_dataplane().unwrap();
        let tree = domain::Tree::from_toml(&market()).unwrap();
        service.apply(Time(BEGIN), &owner(), &tree, "begin", None).unwrap();
        service.tend_dataplane().unwrap();
        let now = Arc::new(AtomicU64::new(BEGIN));
        let backups = folder.path().join("backups");
        std::fs::create_dir(&backups).unwrap();
        let settings =
            Settings { own_uid: 1, backups: Some(backups), version: "0.0.0-test".into() };
        let clock = Arc::clone(&now);
        let api = Api::new(
            Arc::clone(&service),
            Arc::new(standin.clone()),
            Arc::new(standin.clone()),
            Box::new(move || Time(clock.load(Ordering::Relaxed))),
            settings,
        );
        let api = api.unwrap();
        let router = api.router();
        Self { folder, path, service, standin, api, now, router }
    }

    pub fn now_ms(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    pub fn time(&self) -> Time {
        Time(self.now.load(Ordering::Relaxed))
    }

    /// Lets time pass, and what is due happen.
    pub fn pass(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
        self.service.tick(self.time()).unwrap();
    }

    /// A token with these rights, as JSON says them; and its number.
    pub fn token(&self, name: &str, grant: domain::access::Grant) -> (u32, String) {
        let new = NewToken { name: name.into(), grant, expires: None };
        let (id, secret) = self.service.new_token(self.time(), &owner(), &new).unwrap();
        (id, secret.0.to_string())
    }

    /// A token of a tenant.
    pub fn tenant(&self, name: &str, tenant: &str) -> (u32, String) {
        let grant = domain::access::Grant {
            role: domain::access::Role::Tenant,
            tenant: Some(tenant.into()),
            ..domain::access::Grant::owner()
        };
        self.token(name, grant)
    }

    pub fn role(&self, name: &str, role: domain::access::Role) -> (u32, String) {
        self.token(name, domain::access::Grant { role, ..domain::access::Grant::owner() })
    }

    /// Who a token's holder is to the service.
    pub fn caller(&self, id: u32) -> Caller {
        let token = self.service.token_holds(self.time(), id).unwrap().unwrap();
        Caller { name: format!("{}#{id}", token.name), grant: token.grant, once: None }
    }

    pub async fn send(&self, ask: Ask) -> Answer {
        let response = self.begin(ask).await;
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(Duration::from_secs(60), body.collect()).await;
        let body = body.expect("the answer ends").unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// As [`Self::send`], where the answer need not end.
    pub async fn begin(&self, ask: Ask) -> axum::response::Response {
        let Ask { method, path, token, peer, headers, body } = ask;
        let mut request = Request::builder().method(method.as_str()).uri(&path);
        if let Some(token) = &token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let mut request = request.body(Body::from(body)).unwrap();
        request.extensions_mut().insert(peer);
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// All that the store holds, but the audit log if it is said so.
    pub fn dump(&self, with_audit: bool) -> String {
        let connection = rusqlite::Connection::open(&self.path).unwrap();
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
        let mut names = connection.prepare(sql).unwrap();
        let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let mut dump = String::new();
        for name in names.map(Result::unwrap) {
            if name.starts_with("sqlite_") || (name == "audit" && !with_audit) {
                continue;
            }
            let mut rows = connection.prepare(&format!("SELECT * FROM {name}")).unwrap();
            let columns = rows.column_count();
            let mut rows = rows.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                dump += &name;
                for column in 0..columns {
                    dump += &format!(" {:?}", row.get_ref(column).unwrap());
                }
                dump.push('\n');
            }
        }
        dump
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub path: String,
    pub token: Option<String>,
    pub peer: Peer,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn new(method: &str, path: &str) -> Self {
        let addr = "192.0.2.1:1000".parse().unwrap();
        Self {
            method: method.to_uppercase(),
            path: path.to_owned(),
            token: None,
            peer: Peer::Tcp { addr },
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: &str, body: Value) -> Self {
        Self::new("POST", path).json(&body)
    }

    pub fn json(self, body: &Value) -> Self {
        Self { body: body.to_string().into_bytes(), ..self }
            .header("content-type", "application/json")
    }

    pub fn toml(self, body: &str) -> Self {
        Self { body: body.into(), ..self }.header("content-type", "application/toml")
    }

    pub fn by(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// As root on the box.
    pub fn by_root(self) -> Self {
        Self { peer: Peer::Unix { uid: 0 }, ..self }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Tables of a JSON answer, by name.
pub type Table = BTreeMap<String, Value>;
