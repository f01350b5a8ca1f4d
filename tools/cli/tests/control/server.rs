//! The API over a real store, on real sockets, in this process; its dataplane takes and refuses what the real compiler
//! does, and cannot be looked at.

use axum::body::Body;
use axum::extract::Request;
use control_api::{Api, Counters, Live, LiveError, Peer, Settings, Tap};
use dataplane_api::protocol::TapFilter;
use dataplane_api::status::{LeaseStatus, LinkStatus};
use dataplane_api::{Receipt, Spec, Status, WorkerId};
use domain::Time;
use engine::{Compiler, PortFacts};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use service::{Dataplane, DataplaneError, Facts, Service};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::SystemTime;
use store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tower::ServiceExt as _;
use wire::key::PublicKey;

#[derive(Debug, Default)]
struct Engine(Spec);

impl Dataplane for Engine {
    fn apply(&mut self, spec: Spec) -> Result<(), DataplaneError> {
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
        self.0 = spec;
        Ok(())
    }

    fn facts(&mut self) -> Result<Facts, DataplaneError> {
        let ports = BTreeMap::from([("west".to_owned(), 1500), ("east".to_owned(), 1500)]);
        Ok(Facts { ports, accepted: self.0.generation, pid: 7 })
    }

    fn receipts(&mut self, _: u64) -> Result<Vec<Receipt>, DataplaneError> {
        Ok(Vec::new())
    }
}

#[derive(Debug)]
struct Unseen;

impl Unseen {
    fn away<T>() -> Result<T, LiveError> {
        Err(LiveError::Away("it cannot be looked at".into()))
    }
}

impl Live for Unseen {
    fn status(&self) -> Result<Status, LiveError> {
        Self::away()
    }

    fn links(&self) -> Result<Vec<LinkStatus>, LiveError> {
        Self::away()
    }

    fn leases(&self) -> Result<Vec<LeaseStatus>, LiveError> {
        Self::away()
    }

    fn counters(&self) -> Result<Counters, LiveError> {
        Self::away()
    }

    fn tap(&self, _: &TapFilter) -> Result<Box<dyn Tap>, LiveError> {
        Self::away()
    }
}

/// Control, until this is dropped.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("backups")).unwrap();
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let path = folder.path().to_owned();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve(&path, stopped, &ready));
        };
        let thread = Some(std::thread::spawn(serve));
        let port = is_ready.recv().unwrap();
        Self { folder, port, stop, thread }
    }

    /// A box with two tenants and a market.
    pub(crate) fn with_market() -> Self {
        let server = Self::start();
        std::fs::write(server.path("market.toml"), market()).unwrap();
        let file = server.path("market.toml");
        server.ok(&["config", "apply", file.to_str().unwrap(), "--comment", "begin"]);
        server
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stops answering, and closes the store.
    pub(crate) fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// The command line, talking to this box.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.args(words).stdin(Stdio::null());
        command.env_remove("SWITCHYARD_TOKEN").env_remove("SWITCHYARD_TOKEN_FILE");
        command.env("SWITCHYARD_CONTROL", self.path("control.sock"));
        command
    }

    pub(crate) fn run(&self, words: &[&str], input: &str) -> Output {
        use std::io::Write;
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Whoever refuses its arguments reads nothing.
        let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What it prints, if it succeeds.
    #[track_caller]
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        self.fed(words, "")
    }

    /// The same with something on standard input.
    #[track_caller]
    pub(crate) fn fed(&self, words: &[&str], input: &str) -> String {
        let output = self.run(words, input);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{words:?}: {out}{err}");
        assert_eq!(err, "", "{words:?}");
        out
    }

    /// Its exit code, and all that it prints, if it fails.
    #[track_caller]
    pub(crate) fn refused(&self, words: &[&str], input: &str) -> (i32, String) {
        let output = self.run(words, input);
        let (out, err) = texts(&output);
        assert!(!output.status.success(), "{words:?}: {out}{err}");
        (output.status.code().unwrap(), out + &err)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

async fn serve(
    folder: &Path,
    mut stopped: watch::Receiver<bool>,
    ready: &std::sync::mpsc::Sender<u16>,
) {
    let store = Store::open(&folder.join("control.db")).unwrap();
    let service = Service::open(store, Box::new(Engine::default())).unwrap();
    service.tend_dataplane().unwrap();
    let clock = Box::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Time(since.as_millis().try_into().unwrap())
    });
    let settings = Settings {
        own_uid: nix::unistd::getuid().as_raw(),
        backups: Some(folder.join("backups")),
        version: "test".into(),
    };
    let api = Api::new(
        Arc::new(service),
        Arc::new(Unseen),
        Arc::new(control_api::NoChain),
        clock,
        settings,
    )
    .unwrap();
    let router = api.router();
    let unix = UnixListener::bind(folder.join("control.sock")).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = acceptor(folder);
    ready.send(tcp.local_addr().unwrap().port()).unwrap();
    let mut open = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            accepted = unix.accept() => {
                let stream = accepted.unwrap().0;
                let uid = stream.peer_cred().unwrap().uid();
                open.spawn(answer(stream, Peer::Unix { uid }, router.clone()));
            }
            accepted = tcp.accept() => {
                let (stream, addr) = accepted.unwrap();
                let (tls, router) = (tls.clone(), router.clone());
                open.spawn(async move {
                    // Who does not trust us goes away.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    answer(stream, Peer::Tls { addr, client: None }, router).await;
                });
            }
        }
    }
    open.shutdown().await;
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer, router: axum::Router) {
    let answer = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    // A client may go away in the middle.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

/// TLS as `localhost`; who believes that finds the certificate in `ca.pem`.
fn acceptor(folder: &Path) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("ca.pem"), made.cert.pem()).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// The nth key whose address lies in fc00::/8.
fn key(nth: usize) -> String {
    let keys = (0_u64..).map(|seed| {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        PublicKey(bytes)
    });
    keys.filter(PublicKey::is_usable).nth(nth).unwrap().to_string()
}

/// 10 MB a second of a port for sale, 1 smallest unit for a kilobyte a second and a second.
pub(crate) fn market() -> String {
    format!(
        r#"
        schema = 2
        [box]
        name = "north"
        [node.wallet]
        kind = "pktwallet"
        url = "https://nobody:planted-login@127.0.0.1:8332"
        user = "nobody"
        password = "planted-node"
        [port.west]
        capacity = 10_000_000
        [unit.PKT]
        id = 0
        per_whole = 1_073_741_824
        [price.west]
        port = "west"
        direction = "out"
        unit = "PKT"
        lease = {{ amount = "1", bytes_per_s = 1_000, ms = 1_000 }}
        [tenant.red]
        id = 1
        quota = {{ vswitches = 2 }}
        [tenant.blue]
        id = 2
        [vswitch.one]
        tenant = "red"
        public_key = "{}"
        vif.2.link.ethernet = {{ port = "west", peer = "02:00:00:00:00:01", session = "plain" }}
        vif.3.link.ethernet = {{ port = "east", peer = "02:00:00:00:00:01", session = "plain" }}
        login.friend.password = "planted-friend"
        [vswitch.two]
        tenant = "blue"
        public_key = "{}"
        vif.2.link.ethernet = {{ port = "west", peer = "02:00:00:00:00:02", session = "plain" }}
        "#,
        key(0),
        key(1),
    )
}
