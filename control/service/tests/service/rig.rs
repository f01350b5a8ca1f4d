//! A service over a real store, and a dataplane that takes and refuses what the real compiler does.

use control_service::{Caller, Dataplane, DataplaneError, Facts, Service};
use dataplane_api::{Generation, Receipt, Spec, WorkerId};
use domain::access::{Grant, Role};
use domain::{Time, Tree};
use engine::{Compiler, PortFacts};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use store::Store;
use wire::key::PublicKey;

/// What the dataplane is up to; shared with the service.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) spec: Spec,
    pub(crate) is_away: bool,
    /// Refuses whatever comes, with these words.
    pub(crate) refuses: Option<String>,
    pub(crate) applied: u32,
    pub(crate) receipts: Vec<Receipt>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Engine(pub(crate) Arc<Mutex<Inner>>);

impl Dataplane for Engine {
    fn apply(&mut self, spec: Spec) -> Result<(), DataplaneError> {
        let mut inner = self.0.lock().unwrap();
        if inner.is_away {
            return Err(DataplaneError::Away("said the test".into()));
        }
        if let Some(why) = &inner.refuses {
            return Err(DataplaneError::Refused(why.clone()));
        }
        if spec.generation <= inner.spec.generation {
            return Err(DataplaneError::Refused("an old generation".into()));
        }
        let facts = |name: &str| PortFacts {
            name: name.to_owned(),
            mtu: 1500,
            workers: vec![WorkerId(0)],
            tags_visible: true,
            ..PortFacts::default()
        };
        let compiled =
            Compiler::new(64, 1024, 1).compile(&spec, &[], &[facts("west"), facts("east")]);
        compiled.map_err(|error| DataplaneError::Refused(error.to_string()))?;
        inner.spec = spec;
        inner.applied += 1;
        Ok(())
    }

    fn facts(&mut self) -> Result<Facts, DataplaneError> {
        let inner = self.0.lock().unwrap();
        if inner.is_away {
            return Err(DataplaneError::Away("said the test".into()));
        }
        let ports = BTreeMap::from([("west".to_owned(), 1500), ("east".to_owned(), 1500)]);
        Ok(Facts { ports, accepted: inner.spec.generation, pid: 7 })
    }

    fn receipts(&mut self, after: u64) -> Result<Vec<Receipt>, DataplaneError> {
        let inner = self.0.lock().unwrap();
        let later = inner.receipts.iter().filter(|receipt| receipt.until > after);
        Ok(later.take(3).cloned().collect())
    }
}

pub(crate) struct Rig {
    _dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) engine: Engine,
    pub(crate) service: Service,
}

impl Rig {
    /// A box that was never configured.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.db");
        let engine = Engine::default();
        let service = Service::open(Store::open(&path).unwrap(), Box::new(engine.clone())).unwrap();
        service.tend_dataplane().unwrap();
        Self { _dir: dir, path, engine, service }
    }

    /// A box with two tenants, a market and money.
    pub(crate) fn new() -> Self {
        let rig = Self::empty();
        let committed = rig.service.apply(Time(1000), &owner(), &market(), "begin", None).unwrap();
        assert_eq!((committed.commit, rig.generation()), (1, committed.generation));
        rig
    }

    /// The same box after control was killed and started.
    pub(crate) fn restarted(self) -> Self {
        let Self { _dir, path, engine, service } = self;
        drop(service);
        let service = Service::open(Store::open(&path).unwrap(), Box::new(engine.clone())).unwrap();
        Self { _dir, path, engine, service }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.engine.0.lock().unwrap().spec.generation.0
    }

    /// The dataplane has what the state says, and the store has nothing wrong.
    #[track_caller]
    pub(crate) fn settled(&self) {
        let state = self.service.state();
        let spec = state.tree.compile(Generation(state.generation), &state.leases);
        assert_eq!(self.engine.0.lock().unwrap().spec, spec);
        let mut reader = store::Reader::open(&self.path).unwrap();
        assert_eq!(reader.check().unwrap(), []);
    }
}

pub(crate) fn owner() -> Caller {
    Caller { name: "anna".into(), grant: Grant::owner(), once: None }
}

pub(crate) fn tenant(name: &str) -> Caller {
    let grant = Grant { role: Role::Tenant, tenant: Some(name.into()), ..Grant::owner() };
    Caller { name: format!("{name}-token"), grant, once: None }
}

pub(crate) fn auditor() -> Caller {
    Caller {
        name: "otto".into(),
        grant: Grant { role: Role::Auditor, ..Grant::owner() },
        once: None,
    }
}

/// The nth key whose address lies in fc00::/8.
pub(crate) fn key(nth: usize) -> String {
    let keys = (0_u64..).map(|seed| {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        PublicKey(bytes)
    });
    keys.filter(PublicKey::is_usable).nth(nth).unwrap().to_string()
}

/// A megabyte a second of each port for sale, 1 smallest unit for a kilobyte a second and a second.
pub(crate) fn market() -> Tree {
    let text = format!(
        r#"
        schema = 2
        [box]
        name = "north"
        market = {{ refund_ppm = 500_000 }}
        [port.west]
        capacity = 1_000_000
        lease = {{ grace_ms = 1_000 }}
        [unit.PKT]
        id = 0
        per_whole = 1_073_741_824
        [price.west]
        port = "west"
        direction = "out"
        unit = "PKT"
        lease = {{ amount = "1", bytes_per_s = 1_000, ms = 1_000 }}
        metered = {{ priority = {{ amount = "1", per_bytes = 1_000 }}, free = {{ amount = "0", per_bytes = 0 }} }}
        [tenant.red]
        id = 1
        quota = {{ vswitches = 2 }}
        [tenant.blue]
        id = 2
        [vswitch.red-1]
        tenant = "red"
        public_key = "{}"
        vif.2.link.ethernet = {{ port = "west", peer = "02:00:00:00:00:01", session = "plain" }}
        vif.3.link.ethernet = {{ port = "east", peer = "02:00:00:00:00:01", session = "plain" }}
        login.friend.password = "hunter2"
        [vswitch.blue-1]
        tenant = "blue"
        public_key = "{}"
        vif.2.link.ethernet = {{ port = "west", peer = "02:00:00:00:00:02", session = "plain" }}
        "#,
        key(0),
        key(1),
    );
    Tree::from_toml(&text).unwrap()
}
