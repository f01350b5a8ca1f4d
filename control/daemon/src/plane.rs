//! Control as a whole: from its parts to a running process, and down again.

use crate::chain;
use crate::clock;
use crate::config::{self, Config};
use crate::dataplane::{Link, Window};
use crate::metrics;
use crate::serve::{Door, Listener};
use crate::timer::{ROUND, Timer, notify};
use crate::tls::Keys;
use anyhow::{Context, bail};
use control_api::{Api, Settings};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, setrlimit};
use sd_notify::NotifyState;
use service::Service;
use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use store::Store;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Threads that serve; what waits has threads of its own.
const SERVERS: usize = 2;
/// Threads for what waits, at most.
const WAITERS_MAX: usize = 64;
/// Connections of scrapers at once.
const SCRAPERS_MAX: usize = 16;
/// How long open connections may take when the process stops.
const STOP: Duration = Duration::from_secs(8);

/// Control, running. It stops when this is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    service: Arc<Service>,
    keys: Option<Arc<Keys>>,
    tls_address: Option<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    serving: Option<JoinSet<()>>,
    timer: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
    chain: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
    socket: PathBuf,
    _lock: Flock<File>,
}

/// Runs control until SIGTERM or SIGINT; at SIGHUP certificates are read again.
///
/// # Errors
/// What cannot work, in a sentence.
pub fn run(config: &Config) -> anyhow::Result<()> {
    // Passwords and tokens pass through this memory.
    nix::sys::prctl::set_dumpable(false).context("forbid core dumps")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("forbid core dumps")?;
    let plane = ControlPlane::start(config)?;
    notify(&[NotifyState::Ready]);
    plane.wait_for_signals()?;
    notify(&[NotifyState::Stopping]);
    tracing::info!("asked to stop");
    drop(plane);
    Ok(())
}

impl ControlPlane {
    /// Opens the store, makes it if there is none, and serves. Returns when whoever connects is answered.
    ///
    /// # Errors
    /// What cannot work, in a sentence; nothing is left behind then.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let database = &config.store.database;
        let lock = lock(database)?;
        if let Some(backups) = &config.store.backups {
            fs::create_dir_all(backups)
                .with_context(|| format!("backups in {}", backups.display()))?;
        }
        let timeout = Duration::from_millis(config.dataplane.timeout_ms);
        let link = Link::new(config.dataplane.socket.clone(), timeout);
        let service = Service::open(Store::open(database)?, Box::new(link))?;
        let service = Arc::new(service);
        // Whoever asks finds the box as it is: what is due is done, and the ports are known.
        service.tick(clock::now()).unwrap_or_else(|error| tracing::error!("what is due: {error}"));
        service.tend_dataplane()?;
        let window = Arc::new(Window::new(&config.dataplane.socket, timeout));
        let keys = config.api.tls.clone().map(Keys::open).transpose()?.map(Arc::new);
        let settings = Settings {
            own_uid: nix::unistd::geteuid().as_raw(),
            backups: config.store.backups.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let stop = watch::Sender::new(false);
        let (counter, chain) = chain::start(&service, &config.chain, stop.subscribe())?;
        let counter = Arc::new(counter);
        let (live, shown) = (Arc::clone(&window), Arc::clone(&counter));
        let api = Api::new(Arc::clone(&service), live, shown, Box::new(clock::now), settings)?;
        let page = metrics::Page::new(
            Arc::clone(&service),
            window,
            counter,
            database.clone(),
            config.metrics.top_leases,
        );

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(SERVERS)
            .max_blocking_threads(WAITERS_MAX)
            .thread_name("serve")
            .enable_all()
            .build()
            .context("start threads")?;
        let beat = Arc::new(AtomicU64::new(0));
        let doors = Doors { config, api, page, keys: keys.clone(), stop: &stop };
        let (mut serving, tls_address, metrics_address) = runtime.block_on(doors.open())?;
        serving.spawn_on(heart(Arc::clone(&beat), stop.subscribe()), runtime.handle());

        let (stop_timer, asked) = mpsc::channel();
        let timer = Timer { service: Arc::clone(&service), beat, stop: asked };
        let timer = std::thread::Builder::new().name("timer".into()).spawn(|| timer.work());
        let timer = timer.context("start threads")?;
        tracing::info!(
            database = %database.display(),
            socket = %config.api.socket.display(),
            tls = tls_address.map(tracing::field::display),
            metrics = metrics_address.map(tracing::field::display),
            commit = service.state().commit,
            "control runs",
        );
        Ok(Self {
            service,
            keys,
            tls_address,
            metrics_address,
            stop,
            serving: Some(serving),
            timer: Some((stop_timer, timer)),
            chain: Some(chain),
            runtime: Some(runtime),
            socket: config.api.socket.clone(),
            _lock: lock,
        })
    }

    /// What it serves.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Where it listens for TLS.
    #[must_use]
    pub const fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Where it listens for scrapers.
    #[must_use]
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Reads certificate and key again, for connections to come.
    ///
    /// # Errors
    /// What is wrong with them; the ones before stay.
    pub fn reload(&self) -> anyhow::Result<()> {
        self.keys.as_ref().map_or(Ok(()), |keys| keys.reload())
    }

    fn wait_for_signals(&self) -> anyhow::Result<()> {
        let Some(runtime) = &self.runtime else { return Ok(()) };
        runtime.block_on(async {
            let watch = |kind| signal(kind).context("watch signals");
            let mut end = watch(SignalKind::terminate())?;
            let mut interrupt = watch(SignalKind::interrupt())?;
            let mut hang_up = watch(SignalKind::hangup())?;
            loop {
                tokio::select! {
                    _ = end.recv() => return Ok(()),
                    _ = interrupt.recv() => return Ok(()),
                    () = heard(&mut hang_up) => match self.reload() {
                        Ok(()) => tracing::info!("certificates were read again"),
                        Err(error) => tracing::error!("{error:#}; the ones before stay"),
                    },
                }
            }
        })
    }
}

async fn heard(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some((stop, timer)) = self.timer.take() {
            drop(stop);
            if timer.join().is_err() {
                tracing::error!("the timer had panicked");
            }
        }
        if self.chain.take().is_some_and(|chain| chain.join().is_err()) {
            tracing::error!("what follows the chain had panicked");
        }
        if let (Some(runtime), Some(serving)) = (self.runtime.take(), self.serving.take()) {
            let ended = async { tokio::time::timeout(STOP, serving.join_all()).await };
            if runtime.block_on(ended).is_err() {
                tracing::warn!("connections did not end within {STOP:?}");
            }
            runtime.shutdown_timeout(STOP);
        }
        // Whoever starts next replaces it anyway.
        let _left_behind = fs::remove_file(&self.socket);
    }
}

/// What is to be opened to others.
struct Doors<'a> {
    config: &'a Config,
    api: Api,
    page: metrics::Page,
    keys: Option<Arc<Keys>>,
    stop: &'a watch::Sender<bool>,
}

type Opened = (JoinSet<()>, Option<SocketAddr>, Option<SocketAddr>);

impl Doors<'_> {
    async fn open(self) -> anyhow::Result<Opened> {
        let Doors { config, api, page, keys, stop } = self;
        let mut serving = JoinSet::new();
        let door = || Door::new(api.router(), config.api.connections, stop.subscribe());
        let tls_address = match (&config.api.tls, keys) {
            (Some(config::Tls { listen, .. }), Some(keys)) => {
                let (listener, address) = listen_tcp(*listen).await?;
                serving.spawn(door().serve(Listener::Tls(listener, keys)));
                Some(address)
            }
            (_, _) => None,
        };
        let metrics_address = match config.metrics.listen {
            Some(listen) => {
                let (listener, address) = listen_tcp(listen).await?;
                let door = Door::new(page.router(), SCRAPERS_MAX, stop.subscribe());
                serving.spawn(door.serve(Listener::Tcp(listener)));
                Some(address)
            }
            None => None,
        };
        let listener = listen_unix(&config.api)?;
        serving.spawn(door().serve(Listener::Unix(listener)));
        let mut stop = stop.subscribe();
        serving.spawn(api.watch(async move {
            let _stopped = stop.wait_for(|stop| *stop).await.map(drop);
        }));
        Ok((serving, tls_address, metrics_address))
    }
}

/// Grows while the threads that serve do.
async fn heart(beat: Arc<AtomicU64>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(ROUND / 2);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {
                beat.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// That no other process has the same database.
fn lock(database: &Path) -> anyhow::Result<Flock<File>> {
    if let Some(above) = database.parent().filter(|above| !above.as_os_str().is_empty()) {
        fs::create_dir_all(above).with_context(|| format!("make {}", above.display()))?;
    }
    let path = database.with_extension("lock");
    let open = File::options().create(true).append(true).open(&path);
    let file = open.with_context(|| format!("open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
            bail!("another control has the database {}", database.display())
        }
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

async fn listen_tcp(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let bound = TcpListener::bind(address).await;
    let listener = bound.with_context(|| format!("listen on {address}"))?;
    let address = listener.local_addr().context("own address")?;
    Ok((listener, address))
}

/// Listens at the local socket. One that nobody listens on any more is replaced.
fn listen_unix(api: &config::Api) -> anyhow::Result<UnixListener> {
    let path = &api.socket;
    let context = || format!("listen on {}", path.display());
    if StdStream::connect(path).is_ok() {
        bail!("{}: another process listens there", path.display());
    }
    if let Some(above) = path.parent() {
        fs::create_dir_all(above).with_context(context)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(context);
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(context)?;
    // Until here the umask ruled; whoever connected in between is asked for its user like everybody.
    fs::set_permissions(path, Permissions::from_mode(api.mode.0)).with_context(context)?;
    Ok(listener)
}
