//! Payments that chains tell of, through the service.

use crate::rig::{Rig, owner, tenant};
use control_service::{BuyLease, NewOrder, ServiceError, Watched};
use dataplane_api::{Direction, TenantId};
use domain::leases::Binding;
use domain::money::Purse;
use domain::{Ask, Burst, PortSide, Slot, State, Time};
use follow::event::{Event, FOR_GOOD, Payment, Source};
use ledger::UnitId;
use std::collections::{BTreeMap, BTreeSet};
use store::{Order, OrderState, PayTo, PaymentState};

const PKT: UnitId = UnitId(0);
const RED: TenantId = TenantId(1);

fn order(rig: &Rig, now: u64, vif: Option<u16>) -> Order {
    let order = try_order(rig, now, vif).unwrap();
    assert_eq!(order.price.0, 1000);
    order
}

fn try_order(rig: &Rig, now: u64, vif: Option<u16>) -> Result<Order, ServiceError> {
    let side = PortSide { port: "west".into(), direction: Direction::Out };
    let slot = Slot { start: Time(now + 1000), end: Time(now + 101_000) };
    let ask = Ask { side, slot, bytes_per_s: 10_000, burst: Burst::Usual };
    let buy = BuyLease { tenant: "red".into(), ask, unit: "PKT".into(), most: None };
    let pay_to = PayTo::Address { chain: "pkt".into(), address: "pkt1q".into() };
    let binding = vif.map(|vif| Binding {
        vswitch: "red-1".into(),
        vifs: BTreeSet::from([vif]),
        ..Binding::default()
    });
    rig.service.order(Time(now), &tenant("red"), &NewOrder { buy, pay_to, binding })
}

fn payment(watch: &[u8], n: u64, amount: u128) -> Payment {
    Payment {
        chain: "pkt".into(),
        source: Source::new("pkt", "out", &n.to_le_bytes()).unwrap(),
        watch: watch.to_vec(),
        asset: "PKT".into(),
        amount,
    }
}

fn to(order: &Order, n: u64, amount: u128) -> Payment {
    payment(&Watched::Order(order.id).to_bytes(), n, amount)
}

fn tell(rig: &Rig, now: u64, event: &Event) {
    rig.service.chain_event(Time(now), Some(event), &[]).unwrap();
}

fn seen(rig: &Rig, now: u64, payment: &Payment) {
    tell(rig, now, &Event::Seen(payment.clone()));
}

fn confirmed(rig: &Rig, now: u64, payment: &Payment, confirmations: u32) {
    tell(rig, now, &Event::Confirmed { payment: payment.clone(), confirmations });
}

fn reverted(rig: &Rig, now: u64, payment: &Payment) {
    tell(rig, now, &Event::Reverted(payment.clone()));
}

fn has(rig: &Rig, purse: Purse) -> i128 {
    let account =
        rig.service.read(|tables| Ok(ledger::Books::account(&tables, purse.account(PKT))?));
    let net = account.unwrap().map(|account| account.balance.net()).unwrap_or_default();
    let amount = i128::try_from(net.amount.0).unwrap();
    if net.is_negative { -amount } else { amount }
}

fn state(rig: &Rig, order: &Order) -> OrderState {
    rig.service.order_by_id(&owner(), order.id).unwrap().state
}

#[test]
fn a_payment_brings_its_lease_alive_in_one_step() {
    let rig = Rig::new();
    let order = order(&rig, 0, Some(2));
    let paid = to(&order, 1, 1000);
    seen(&rig, 10, &paid);
    seen(&rig, 10, &paid);
    assert_eq!((state(&rig, &order), has(&rig, Purse::Tenant(RED))), (OrderState::Seen, 0));
    confirmed(&rig, 20, &paid, 1);
    confirmed(&rig, 30, &paid, 5);
    assert_eq!(rig.engine.0.lock().unwrap().spec.leases, []);
    confirmed(&rig, 40, &paid, 6);
    assert_eq!(state(&rig, &order), OrderState::Paid);
    assert_eq!(rig.engine.0.lock().unwrap().spec.leases.len(), 1);
    assert_eq!((has(&rig, Purse::Tenant(RED)), has(&rig, Purse::Revenue)), (0, 1000));
    confirmed(&rig, 50, &paid, 7);
    assert_eq!(has(&rig, Purse::Revenue), 1000);
    let lease = rig.service.lease(&tenant("red"), order.lease).unwrap();
    assert_eq!((lease.lease.state, lease.lease.paid.unwrap().amount.0), (State::Bound, 1000));
    rig.settled();
    // Others see neither the order nor the payment.
    assert!(rig.service.order_by_id(&tenant("blue"), order.id).is_err());
    assert_eq!(rig.service.payments(&tenant("blue"), 0, 9).unwrap(), []);
    assert_eq!(rig.service.payments(&tenant("red"), 0, 9).unwrap()[0].state, PaymentState::Posted);
}

#[test]
fn what_somebody_ordered_is_sold_to_nobody_else() {
    let rig = Rig::new();
    let order = order(&rig, 0, None);
    let stolen = rig.service.sell(Time(5), &tenant("blue"), order.lease, "blue", Some("PKT"));
    assert!(matches!(stolen, Err(ServiceError::NotFound { .. })), "{stolen:?}");
    assert!(rig.service.sell(Time(5), &owner(), order.lease, "blue", None).is_err());
    confirmed(&rig, 10, &to(&order, 1, 1000), 6);
    assert_eq!(state(&rig, &order), OrderState::Paid);
}

#[test]
fn an_offer_waits_for_a_payment_that_was_seen_and_for_no_other() {
    let rig = Rig::new();
    let (paid, unpaid) = (order(&rig, 0, None), order(&rig, 0, None));
    seen(&rig, 10, &to(&paid, 1, 1000));
    rig.service.tick(Time(3_600_000)).unwrap();
    assert!(rig.service.lease(&owner(), unpaid.lease).is_err());
    let (early, late) = (order(&rig, 4_000_000, None), order(&rig, 4_000_000, None));
    // Too late, of both: the money is the tenant's.
    rig.service.tick(Time(7_600_000)).unwrap();
    confirmed(&rig, 7_600_001, &to(&late, 2, 1000), 6);
    assert_eq!((state(&rig, &late), has(&rig, Purse::Tenant(RED))), (OrderState::Late, 1000));
    assert_eq!(state(&rig, &early), OrderState::Waiting);
    rig.settled();
}

#[test]
fn too_little_too_much_and_twice() {
    let rig = Rig::new();
    let order = order(&rig, 0, None);
    confirmed(&rig, 10, &to(&order, 1, 600), 9);
    assert_eq!((state(&rig, &order), has(&rig, Purse::Tenant(RED))), (OrderState::Waiting, 600));
    confirmed(&rig, 20, &to(&order, 2, 700), FOR_GOOD);
    assert_eq!((state(&rig, &order), has(&rig, Purse::Tenant(RED))), (OrderState::Paid, 300));
    confirmed(&rig, 30, &to(&order, 3, 1000), 9);
    assert_eq!((has(&rig, Purse::Tenant(RED)), has(&rig, Purse::Revenue)), (1300, 1000));
    // To a tenant, to nobody, in nothing that is known, and nothing.
    confirmed(&rig, 40, &payment(&Watched::Tenant(RED).to_bytes(), 4, 5), 9);
    confirmed(&rig, 50, &payment(b"order:77", 5, 7), 9);
    confirmed(&rig, 50, &payment(b"\xff", 6, 7), 9);
    confirmed(&rig, 60, &Payment { asset: "DOGE".into(), ..payment(b"order:1", 7, 9) }, 9);
    confirmed(&rig, 60, &payment(b"order:1", 8, 0), 9);
    assert_eq!((has(&rig, Purse::Tenant(RED)), has(&rig, Purse::Unclaimed)), (1305, 14));
    rig.settled();
}

#[test]
fn a_reorg_takes_back_by_the_rule() {
    let rig = Rig::new();
    let order = order(&rig, 0, Some(2));
    let paid = to(&order, 1, 1000);
    seen(&rig, 5, &paid);
    reverted(&rig, 6, &paid);
    assert_eq!(state(&rig, &order), OrderState::Waiting);
    confirmed(&rig, 10, &paid, 6);
    rig.service.tick(Time(1000)).unwrap();
    // A quarter of the lease is used when the chain takes the money back.
    reverted(&rig, 26_000, &paid);
    assert_eq!(state(&rig, &order), OrderState::Reverted);
    assert!(rig.service.lease(&owner(), order.lease).is_err());
    assert_eq!(rig.engine.0.lock().unwrap().spec.leases, []);
    assert_eq!((has(&rig, Purse::Tenant(RED)), has(&rig, Purse::Owed(RED))), (0, -250));
    assert_eq!((has(&rig, Purse::Revenue), has(&rig, Purse::Outside)), (250, 0));
    rig.settled();
    // It comes again: the tenant's, who buys again or settles.
    confirmed(&rig, 30_000, &paid, 6);
    assert_eq!((state(&rig, &order), has(&rig, Purse::Tenant(RED))), (OrderState::Reverted, 1000));
    rig.service.settle(Time(31_000), &tenant("red"), "red", "PKT").unwrap();
    assert_eq!(has(&rig, Purse::Tenant(RED)), 750);
    rig.settled();
}

#[test]
fn who_has_enough_keeps_the_lease() {
    let rig = Rig::new();
    let order = order(&rig, 0, None);
    let paid = to(&order, 1, 1000);
    confirmed(&rig, 10, &paid, 6);
    confirmed(&rig, 20, &payment(&Watched::Tenant(RED).to_bytes(), 4, 1000), 6);
    reverted(&rig, 30, &paid);
    assert_eq!((state(&rig, &order), has(&rig, Purse::Tenant(RED))), (OrderState::Paid, 0));
    rig.service.lease(&owner(), order.lease).unwrap();
    rig.settled();
}

#[test]
fn what_the_dataplane_refuses_is_paid_all_the_same() {
    let rig = Rig::new();
    let order = order(&rig, 0, Some(2));
    rig.engine.0.lock().unwrap().refuses = Some("said the test".into());
    confirmed(&rig, 10, &to(&order, 1, 1000), 6);
    rig.engine.0.lock().unwrap().refuses = None;
    assert_eq!(state(&rig, &order), OrderState::Paid);
    let lease = rig.service.lease(&owner(), order.lease).unwrap().lease;
    assert_eq!((lease.state, lease.binding), (State::Sold, None));
    rig.settled();
}

#[test]
fn what_a_follower_must_remember_is_kept_with_what_it_told() {
    let rig = Rig::new();
    let records = [("pkt/tip".to_owned(), Some(b"x".to_vec())), ("pkt/old".to_owned(), None)];
    let order = order(&rig, 0, None);
    let event = Event::Seen(to(&order, 1, 1000));
    rig.service.chain_event(Time(5), Some(&event), &records).unwrap();
    let rig = rig.restarted();
    let found = rig.service.read(|tables| Ok(tables.chain_records("pkt/")?)).unwrap();
    assert_eq!(found, [("pkt/tip".to_owned(), b"x".to_vec())]);
    assert_eq!(state(&rig, &order), OrderState::Seen);
}

/// Random chains: payments are seen, confirmed, taken back and come again, in any order, with restarts between them.
/// Money is conserved to the last unit, no lease is paid for twice, and the same seed makes the same books.
#[test]
fn random_chains_lose_and_make_no_money() {
    let seeds = std::env::var("SWITCHYARD_MARKET_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(6) {
        assert_eq!(market(seed), market(seed));
    }
}

/// What a random chain left: the accounts, in words.
fn market(seed: u64) -> String {
    let mut random = powercut::Random::new(seed);
    let mut rig = Rig::new();
    let mut now = 10;
    let mut orders = Vec::new();
    // What the chain says: amount and depth of each payment that is there.
    let mut chain: BTreeMap<u64, (Payment, u32)> = BTreeMap::new();
    for _ in 0..120 {
        now += random.any() % 20_000;
        match random.below(10) {
            // There may be no room.
            0 | 1 if orders.len() < 8 => {
                orders.extend(try_order(&rig, now, (random.below(2) == 0).then_some(2)));
            }
            2 | 3 if !orders.is_empty() => {
                let n = random.any() % 12;
                let of = &orders[random.below(orders.len())];
                let amount = [400, 1000, 1000, 1500][random.below(4)];
                let paid =
                    chain.get(&n).map_or_else(|| to(of, n, amount), |(payment, _)| payment.clone());
                chain.entry(n).or_insert_with(|| (paid.clone(), 0));
                seen(&rig, now, &paid);
            }
            4..=6 if !chain.is_empty() => {
                let keys: Vec<u64> = chain.keys().copied().collect();
                let (paid, depth) = chain.get_mut(&keys[random.below(keys.len())]).unwrap();
                *depth += u32::try_from(random.below(7)).unwrap();
                if *depth > 0 {
                    confirmed(&rig, now, paid, *depth);
                }
            }
            7 if !chain.is_empty() => {
                let keys: Vec<u64> = chain.keys().copied().collect();
                let n = keys[random.below(keys.len())];
                let (paid, _) = chain.remove(&n).unwrap();
                reverted(&rig, now, &paid);
                // The same payment may come again, as it was.
                if random.below(2) == 0 {
                    chain.insert(n, (paid, 0));
                }
            }
            8 => {
                rig = rig.restarted();
                rig.service.tend_dataplane().unwrap();
            }
            _ => rig.service.tick(Time(now)).unwrap(),
        }
        let posted: u128 = rig
            .service
            .payments(&owner(), 0, 1000)
            .unwrap()
            .iter()
            .filter(|payment| payment.state == PaymentState::Posted)
            .map(|payment| payment.amount.0)
            .sum();
        assert_eq!(-has(&rig, Purse::Outside), i128::try_from(posted).unwrap(), "seed {seed}");
        for order in &orders {
            let lease = rig.service.lease(&owner(), order.lease);
            let is_sold = lease.as_ref().is_ok_and(|view| view.owner.is_some());
            let is_paid = state(&rig, order) == OrderState::Paid;
            assert!(!is_sold || is_paid, "seed {seed}: a lease that nobody paid for");
            if is_sold {
                assert_eq!(lease.unwrap().lease.paid.unwrap().amount, order.price);
            }
        }
        let paid = orders
            .iter()
            .filter(|order| matches!(state(&rig, order), OrderState::Paid | OrderState::Reverted));
        let most = i128::try_from(paid.map(|order| order.price.0).sum::<u128>()).unwrap();
        assert!((0..=most).contains(&has(&rig, Purse::Revenue)), "seed {seed}: paid for twice");
        assert!(has(&rig, Purse::Tenant(RED)) >= 0 && has(&rig, Purse::Owed(RED)) <= 0);
        rig.settled();
    }
    let accounts = rig.service.accounts(&owner(), ledger::AccountId(0), 100).unwrap();
    format!("{accounts:?}")
}
