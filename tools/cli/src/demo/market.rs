//! The scene of the market: red orders a lease, pays for it on a simulated chain with valid proofs, has it, and loses it
//! when the chain takes the payment back.
//!
//! ```text
//!  namespace of the box: dataplane ◄─ control ─► node and wallet of the simulated chain
//!  west ══ generator + sink ══ the box's ports ══ generator + sink ══ east
//! ```

mod tree;

use super::network::Network;
use super::plan::{self, Scene};
use super::report::Report;
use super::rights::Rights;
use super::{DemoArgs, LOOK_INTERVAL, config, drive, is_over, launch, look};
use crate::connect::Process;
use crate::control::client::{Client, Endpoint, Request};
use crate::output::print_json;
use anyhow::{Context, Result, bail, ensure};
use control_daemon::config::ChainNetwork;
use control_daemon::{Config, ControlPlane};
use dataplane_api::Spec;
use primitives::address::Written;
use primitives::network::PKT_SIM;
use serde::Serialize;
use serde_json::{Value, json};
use signal_hook::iterator::Signals;
use simnode::{Options, SimNetwork, SimNode};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;
use traffic::{Crew, Scenario};

/// Blocks that are there when the demo begins: the payer's money must be 100 blocks old.
const BLOCKS: u32 = 105;
/// Confirmations that a payment needs.
pub(super) const DEEP: u32 = 2;
/// How long anything may take that needs a block, a commit or a spec.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long each part is watched, unless `--seconds` says otherwise.
const PART_S: f64 = 3.0;
/// How long the lease is, milliseconds, and how long after the order it begins.
const LEASE_MS: u64 = 3_600_000;
const BEGIN_MS: u64 = 1_000;

/// What was seen.
#[derive(Debug, Serialize)]
struct Shown {
    steps: Vec<Step>,
    parts: Vec<Part>,
    /// How the order and its payment stand at the end.
    order: Value,
    payment: Value,
    /// What the check of control's store found; nothing: it is in order.
    damage: Value,
}

#[derive(Debug, Serialize)]
struct Step {
    seconds: f64,
    what: String,
}

/// Red's packets for a while.
#[derive(Debug, Serialize)]
struct Part {
    part: &'static str,
    sent: u64,
    dropped: u64,
    /// Packets that its lease guaranteed.
    guaranteed: u64,
}

/// All that runs.
struct Stage<'a> {
    _control: ControlPlane,
    asked: Client,
    node: SimNode,
    process: Process,
    drive: Crew,
    scenario: &'a Scenario,
    signals: Signals,
    args: &'a DemoArgs,
    out: &'a mut dyn Write,
    since: Instant,
    shown: Shown,
    _runtime: Runtime,
}

pub(super) fn run(
    args: &DemoArgs,
    out: &mut dyn Write,
    (network, directory, rights): (&Network, &Path, Rights),
    signals: Signals,
) -> Result<()> {
    let spec = plan::spec(Scene::Market, args.rate);
    let scenario = plan::scenario(Scene::Market, &spec)?;
    let files = config::write(directory, Spec::default(), rights)?;
    let mut dataplane = launch(network, &files)?;
    let process = dataplane.ready()?;
    let (runtime, node) = chain(network)?;
    let mut settings = Config::default();
    settings.store.database = directory.join("control.db");
    settings.dataplane.socket = files.socket.clone();
    settings.api.socket = directory.join("control.sock");
    settings.chain.network = ChainNetwork::Simulated;
    // Its threads are where it is started.
    let control = network.the_box.run(|| ControlPlane::start(&settings))?;
    let control = control.context("starting control")?;
    let drive = drive::start(network, &scenario, rights, args.rate, args.seed)?;
    let asked = Client::new(Endpoint::Unix(settings.api.socket), None, None, None)?;
    let shown = Shown {
        steps: Vec::new(),
        parts: Vec::new(),
        order: Value::Null,
        payment: Value::Null,
        damage: Value::Null,
    };
    let mut stage = Stage {
        _control: control,
        asked,
        node,
        process,
        drive,
        scenario: &scenario,
        signals,
        args,
        out,
        since: Instant::now(),
        shown,
        _runtime: runtime,
    };
    stage.play()
}

/// A node with its wallet, and a chain that is old enough to pay from.
fn chain(network: &Network) -> Result<(Runtime, SimNode)> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().context("starting threads")?;
    let simulated = SimNetwork::new(&PKT_SIM);
    let start = || runtime.block_on(SimNode::start(&simulated, Options::default()));
    let node = network.the_box.run(start)?.context("the simulated node")?;
    let first = now_ms() / 1000 - u64::from(BLOCKS + 60) * 60;
    node.mine_at(Some(u32::try_from(first)?)).context("the first block")?;
    node.mine(BLOCKS - 1);
    Ok((runtime, node))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Stage<'_> {
    fn play(&mut self) -> Result<()> {
        let tree = tree::tree(self.args.rate, &self.node.url(), &self.node.wallet_url());
        self.asked.ask(Request::post(&["config", "apply"]).toml(&tree))?;
        self.tell(format!(
            "control runs, attached to a simulated node; {} blocks to verify",
            BLOCKS
        ))?;
        self.until("the chain is verified", |stage| {
            let chain = stage.asked.get(&["chain"])?;
            Ok(chain["tip"] == *stage.node.tip().to_string())
        })?;
        self.tell("every block and its proof is verified; red has no lease".into())?;
        self.watch("without a lease")?;

        let order = self.order()?;
        let number = order["id"].to_string();
        let price = order["price"].as_str().unwrap_or_default();
        let address = order["pay_to"]["address"].as_str().context("no address to pay to")?;
        self.tell(format!("red orders a lease: order {number}, {price} units to {address}"))?;
        let script = Written::parse(address).context("the order's address")?.address.script();
        self.node.pay(&script, price.parse()?).context("the payer has not enough")?;
        let state = |state: &'static str| {
            let number = number.clone();
            move |stage: &mut Self| -> Result<bool> {
                Ok(stage.asked.get(&["orders", &number])?["state"] == *state)
            }
        };
        self.until("the payment is seen", state("seen"))?;
        self.tell("the payment is seen, in no block yet: the offer is held for it".into())?;
        self.node.mine(DEEP);
        self.until("the payment counts", state("paid"))?;
        self.until("the lease is alive", |stage| {
            let leases = stage.process.leases()?;
            Ok(leases.iter().any(|lease| lease.totals.guaranteed.packets > 0))
        })?;
        self.tell(format!(
            "{DEEP} blocks deep: the lease is sold, and red's packets are guaranteed"
        ))?;
        self.watch("with the lease")?;

        self.node.reorganise(DEEP, DEEP + 2);
        self.node.forget_waiting();
        self.tell(format!(
            "the chain takes its last {DEEP} blocks back, and the payment with them"
        ))?;
        self.until("the payment is taken back", state("reverted"))?;
        self.until("the lease is gone", |stage| Ok(stage.process.leases()?.is_empty()))?;
        self.tell(
            "by the box's rule the lease ends, the rest of its price goes back first, and what is still missing is owed"
                .into(),
        )?;
        self.watch("after the reorg")?;
        self.finish(&number)
    }

    fn finish(&mut self, order: &str) -> Result<()> {
        self.shown.order = self.asked.get(&["orders", order])?;
        self.shown.payment = self.asked.get(&["payments"])?["items"][0].clone();
        self.shown.damage =
            self.asked.ask(Request::post(&["db", "check"]))?.json()?["damage"].clone();
        ensure!(self.shown.damage == json!([]), "the store: {}", self.shown.damage);
        let [without, with, after] = self.shown.parts.as_slice() else {
            bail!("a part is missing")
        };
        ensure!(with.guaranteed > 0, "the lease guaranteed nothing");
        ensure!(without.guaranteed == 0 && after.guaranteed == 0, "guaranteed without a lease");
        if self.args.output.json {
            print_json(self.out, &self.shown)?;
        }
        Ok(self.out.flush()?)
    }

    /// 60 % of the port towards the east, for an hour.
    fn order(&self) -> Result<Value> {
        let start = now_ms() + BEGIN_MS;
        let ask = json!({
            "port": "east", "direction": "out", "start": start, "end": start + LEASE_MS,
            "bytes_per_s": tree::lease_rate(self.args.rate)
        });
        let body = json!({
            "buy": { "tenant": "red", "ask": ask, "unit": "PKT" },
            "pay_by": "chain",
            "binding": { "vswitch": "red", "vifs": [3] }
        });
        self.asked.post(&["orders"], &body)
    }

    fn tell(&mut self, what: String) -> Result<()> {
        let seconds = self.since.elapsed().as_secs_f64();
        if !self.args.output.json {
            writeln!(self.out, "{seconds:6.1} s  {what}")?;
            self.out.flush()?;
        }
        self.shown.steps.push(Step { seconds, what });
        Ok(())
    }

    fn until(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let since = Instant::now();
        while !is_so(self)? {
            ensure!(since.elapsed() < PATIENCE, "{what}: not within {} s", PATIENCE.as_secs());
            self.still_goes_on()?;
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn still_goes_on(&mut self) -> Result<()> {
        self.drive.still_runs().context("a neighbour's wire")?;
        ensure!(!is_over(&mut self.signals, Duration::ZERO, None), "stopped before it was over");
        Ok(())
    }

    /// Looks at red's packets for a while.
    fn watch(&mut self, part: &'static str) -> Result<()> {
        let seconds = self.args.seconds.map_or(PART_S, |seconds| seconds / 3.0);
        let before = self.look()?;
        let since = Instant::now();
        while since.elapsed().as_secs_f64() < seconds {
            self.still_goes_on()?;
            std::thread::sleep(LOOK_INTERVAL);
        }
        let after = self.look()?;
        let ((sent, dropped, first), (sent_then, dropped_then, last)) = (red(&before), red(&after));
        let part = Part {
            part,
            sent: sent_then.saturating_sub(sent),
            dropped: dropped_then.saturating_sub(dropped),
            guaranteed: last.saturating_sub(first),
        };
        if !self.args.output.json {
            let Part { part, sent, dropped, guaranteed } = &part;
            writeln!(
                self.out,
                "          red {part}: {sent} packets sent, {dropped} dropped, {guaranteed} guaranteed"
            )?;
        }
        self.shown.parts.push(part);
        Ok(())
    }

    fn look(&mut self) -> Result<Report> {
        look(&mut self.process, &self.drive, self.scenario, self.since)
    }
}

/// What red sent, lost and was guaranteed so far.
fn red(report: &Report) -> (u64, u64, u64) {
    let red = report.tenants.iter().find(|tenant| tenant.tenant == "red");
    let guaranteed = report.leases.iter().map(|lease| lease.guaranteed).sum();
    red.map_or((0, 0, guaranteed), |red| (red.sent, red.dropped, guaranteed))
}
