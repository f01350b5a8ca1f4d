//! Leases that are paid for on a simulated chain with valid proofs: a reorganisation, a control that is killed in between,
//! nodes that vanish and lie, and both ways of paying. No payment counts twice, and the books are in order throughout.

use crate::rig::{Rig, TREE, eventually};
use lab::may;
use primitives::address::Written;
use primitives::network::PKT_SIM;
use serde_json::{Value, json};
use simnode::{Lie, Manner, Options, Program, Settlement, SimLightning, SimNetwork, SimNode};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;

const MACAROON: &str = "0201";
/// Confirmations that a payment needs here.
const DEEP: u32 = 3;

/// A box with a market, and its nodes.
struct Market {
    rig: Rig,
    node: SimNode,
    /// Does not tell the truth, or nothing at all.
    other: SimNode,
    lightning: SimLightning,
    _runtime: Runtime,
}

#[expect(clippy::disallowed_methods, reason = "leases begin by the wall clock of control")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

impl Market {
    fn open() -> Self {
        let rig = Rig::start();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let network = SimNetwork::new(&PKT_SIM);
        let start = |name: &str| {
            let options = Options { name: name.into(), ..Options::default() };
            rig.inside(|| runtime.block_on(SimNode::start(&network, options)).unwrap())
        };
        let (node, other) = (start("node"), start("other"));
        let lightning = rig.inside(|| {
            runtime.block_on(SimLightning::start(&PKT_SIM, Program::Gateway, MACAROON)).unwrap()
        });
        // Old enough that no block is ahead of the clock, and that the wallet has money.
        let first = u32::try_from(now_ms() / 1000).unwrap() - 300 * 60;
        node.mine_at(Some(first)).unwrap();
        node.mine(110);
        let market = Self { rig, node, other, lightning, _runtime: runtime };
        let (status, committed) = market.rig.apply(&market.tree(), "");
        assert_eq!(status, 200, "{committed}");
        market
    }

    fn tree(&self) -> String {
        let login = "user = \"lab\"\npassword = \"labpass\"";
        let certificate = self.lightning.certificate().unwrap();
        format!(
            r#"
{TREE}
[box]
market = {{ confirmations = {DEEP}, refund_ppm = 0 }}
[port.west]
capacity = 125_000_000
[unit.PKT]
id = 0
per_whole = 1_073_741_824
[price.west]
port = "west"
direction = "out"
unit = "PKT"
lease = {{ amount = "1", bytes_per_s = 1_000, ms = 1_000 }}
metered = {{ priority = {{ amount = "1", per_bytes = 1_000 }}, free = {{ amount = "0", per_bytes = 0 }} }}
[node.full]
kind = "pktd"
url = "{}"
{login}
[node.other]
kind = "pktd"
url = "{}"
{login}
[node.wallet]
kind = "pktwallet"
url = "{}"
{login}
[node.bolt]
kind = "lightning"
url = "{}"
password = "{MACAROON}"
certificate = """
{certificate}"""
"#,
            self.node.url(),
            self.other.url(),
            self.node.wallet_url(),
            self.lightning.url(),
        )
    }

    /// A megabyte a second for so long, ordered.
    fn order(&self, pay_by: &str, seconds: u64) -> Value {
        let start = now_ms() + 1000;
        let ask = json!({
            "port": "west", "direction": "out", "start": start, "end": start + seconds * 1000,
            "bytes_per_s": 1_000_000
        });
        let buy = json!({ "tenant": "red", "ask": ask, "unit": "PKT" });
        let binding = json!({ "vswitch": "red", "vifs": [2] });
        let body = json!({ "buy": buy, "pay_by": pay_by, "binding": binding });
        let (status, order) = self.rig.ask("POST", "/api/v1/orders", body);
        assert_eq!((status, &order["state"]), (201, &json!("waiting")), "{order}");
        order
    }

    fn get(&self, path: &str) -> Value {
        let (status, answer) = self.rig.ask("GET", &format!("/api/v1{path}"), Value::Null);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    fn until(&self, order: &Value, state: &str) {
        let path = format!("/orders/{}", order["id"]);
        eventually(state, || self.get(&path)["state"] == *state);
    }

    fn until_at_tip(&self) {
        let tip = self.node.tip().to_string();
        eventually("the follower is at the tip", || self.get("/chain")["tip"] == *tip);
    }

    fn pay(&self, order: &Value, units: u64) {
        let address = order["pay_to"]["address"].as_str().unwrap();
        let script = Written::parse(address).unwrap().address.script();
        self.node.pay(&script, units).unwrap();
    }

    fn standing(&self, node: &str) -> String {
        let chain = self.get("/chain");
        let nodes = chain["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|it| it["name"] == *node).unwrap();
        node["standing"].as_str().unwrap().to_owned()
    }

    fn leases(&self) -> usize {
        self.rig.dataplane_spec().leases.len()
    }

    /// Every payment counts once, and every cross-check of the store finds nothing.
    fn settled(&self) {
        let (status, found) = self.rig.ask("POST", "/api/v1/db/check", Value::Null);
        assert_eq!((status, &found["damage"]), (200, &json!([])), "{found}");
    }
}

fn price(order: &Value) -> u64 {
    order["price"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_lease_is_paid_for_across_deaths_and_lies_and_a_reorg_takes_it_back() {
    if !may("a_lease_is_paid_for_across_deaths_and_lies_and_a_reorg_takes_it_back") {
        return;
    }
    let mut market = Market::open();
    market.other.lie(Lie::WrongTypes);
    market.until_at_tip();
    let order = market.order("chain", 3600);
    assert_eq!(order["pay_to"]["kind"], "address", "{order}");
    market.pay(&order, price(&order));
    market.until(&order, "seen");
    market.node.mine(1);
    market.until_at_tip();
    // Whoever decides dies, the chain goes on meanwhile.
    market.rig.kill_control();
    market.node.mine(DEEP - 1);
    market.rig.start_control();
    market.until(&order, "paid");
    eventually("the dataplane has it", || market.leases() == 1);
    let payments = market.get("/payments");
    assert_eq!(payments["items"].as_array().unwrap().len(), 1, "{payments}");
    assert_eq!(payments["items"][0]["state"], "posted", "{payments}");
    market.settled();

    assert_eq!(market.standing("other"), "lying");
    market.node.forget_waiting();
    market.node.reorganise(DEEP + 1, DEEP + 3);
    market.node.forget_waiting();
    market.until(&order, "reverted");
    eventually("the dataplane has it no more", || market.leases() == 0);
    market.settled();
    // Control forgets none of it.
    market.rig.kill_control();
    market.rig.start_control();
    market.until(&order, "reverted");
    assert_eq!(market.get("/payments")["items"][0]["state"], "reverted");
    market.settled();
}

#[test]
fn lightning_settles_what_is_sold_and_the_rest_is_paid_on_the_chain() {
    if !may("lightning_settles_what_is_sold_and_the_rest_is_paid_on_the_chain") {
        return;
    }
    let mut market = Market::open();
    market.until_at_tip();
    let order = market.order("lightning", 600);
    assert_eq!(order["pay_to"]["kind"], "invoice", "{order}");
    market.rig.kill_control();
    let request = order["pay_to"]["request"].as_str().unwrap();
    assert!(market.lightning.pay(request));
    market.rig.start_control();
    market.until(&order, "paid");
    eventually("the dataplane has it", || market.leases() == 1);
    let hash = order["pay_to"]["hash"].as_str().unwrap();
    let hash = data_encoding::HEXLOWER.decode(hash.as_bytes()).unwrap().try_into().unwrap();
    assert!(matches!(market.lightning.settlement(&hash), Some(Settlement::Settled)));
    // More than a channel holds.
    let large = market.order("lightning", 30_000);
    assert_eq!(large["pay_to"]["kind"], "address", "{large}");
    assert!(large["reason"].as_str().unwrap().contains("channel"), "{large}");

    // A node that is gone is named, and takes nothing away.
    market.node.behave(Manner::Closing);
    market.node.hang_up();
    eventually("it is named", || market.standing("full") == "vanished");
    assert_eq!(market.get(&format!("/orders/{}", order["id"]))["state"], "paid");
    assert_eq!(market.leases(), 1);
    market.settled();
}
