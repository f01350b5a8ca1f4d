//! Leases and money through the service.

use crate::rig::{Rig, auditor, owner, tenant};
use control_service::{
    BuyLease, Caller, Deposit, Drain, InvoiceAsked, OfferLease, ServiceError, StatementAsked,
};
use dataplane_api::status::{LeaseTotals, Volume};
use dataplane_api::{Direction, Receipt, TenantId};
use domain::leases::Binding;
use domain::money::Purse;
use domain::{Ask, Burst, LeaseId, PortSide, Slot, State, Time};
use ledger::{Amount, Refusal, UnitId};
use std::collections::BTreeSet;

const PKT: UnitId = UnitId(0);

fn ask(start: u64, end: u64, bytes_per_s: u64) -> Ask {
    let side = PortSide { port: "west".into(), direction: Direction::Out };
    Ask {
        side,
        slot: Slot { start: Time(start), end: Time(end) },
        bytes_per_s,
        burst: Burst::Usual,
    }
}

fn order(tenant: &str, ask: Ask) -> BuyLease {
    BuyLease { tenant: tenant.into(), ask, unit: "PKT".into(), most: None }
}

fn binding(vswitch: &str, vif: u16) -> Binding {
    Binding { vswitch: vswitch.into(), vifs: BTreeSet::from([vif]), ..Binding::default() }
}

fn deposit(rig: &Rig, tenant: &str, amount: u128, reference: &str) {
    let deposit = Deposit {
        tenant: tenant.into(),
        unit: "PKT".into(),
        amount: Amount(amount),
        reference: reference.into(),
    };
    rig.service.deposit(Time(1), &owner(), &deposit).unwrap();
}

fn has(rig: &Rig, purse: Purse) -> i128 {
    let account =
        rig.service.read(|tables| Ok(ledger::Books::account(&tables, purse.account(PKT))?));
    let net = account.unwrap().map(|account| account.balance.net()).unwrap_or_default();
    let amount = i128::try_from(net.amount.0).unwrap();
    if net.is_negative { -amount } else { amount }
}

const RED: Purse = Purse::Tenant(TenantId(1));

#[test]
fn a_lease_is_bought_bound_and_guaranteed() {
    let rig = Rig::new();
    let red = tenant("red");
    let poor = rig.service.buy(Time(2000), &red, &order("red", ask(10_000, 20_000, 100_000)));
    assert!(matches!(poor, Err(ServiceError::Books(Refusal::Exceeds { .. }))), "{poor:?}");
    deposit(&rig, "red", 5000, "wire 1");
    deposit(&rig, "red", 5000, "wire 1");
    assert_eq!(has(&rig, RED), 5000, "money told of twice counts once");
    let priced = rig.service.quote(&ask(10_000, 20_000, 100_000), "PKT").unwrap();
    assert_eq!(priced.quote.total, Amount(1000));
    let most = BuyLease { most: Some(Amount(999)), ..order("red", ask(10_000, 20_000, 100_000)) };
    assert!(matches!(rig.service.buy(Time(2000), &red, &most), Err(ServiceError::Invalid { .. })));
    let bought =
        rig.service.buy(Time(2000), &red, &order("red", ask(10_000, 20_000, 100_000))).unwrap();
    assert_eq!((has(&rig, RED), has(&rig, Purse::Revenue)), (4000, 1000));
    assert_eq!((bought.lease.state, bought.owner.as_deref()), (State::Sold, Some("red")));
    let id = bought.id;
    for (vswitch, vif) in [("blue-1", 2), ("red-1", 9), ("red-1", 3), ("none", 2)] {
        let refused = rig.service.bind(Time(3000), &red, id, &binding(vswitch, vif));
        assert!(refused.is_err(), "{vswitch} {vif}");
    }
    rig.service.bind(Time(3000), &red, id, &binding("red-1", 2)).unwrap();
    let spec = rig.engine.0.lock().unwrap().spec.clone();
    assert_eq!(
        (spec.leases.len(), spec.leases[0].rate, spec.leases[0].end),
        (1, 100_000, Some(21_000))
    );
    rig.settled();
    let rig = rig.restarted();
    rig.service.tend_dataplane().unwrap();
    rig.service.tick(Time(15_000)).unwrap();
    assert_eq!(rig.service.lease(&red, id).unwrap().lease.state, State::Active);
    rig.service.tick(Time(20_500)).unwrap();
    assert_eq!(rig.service.lease(&red, id).unwrap().lease.state, State::Grace);
    let renewed = rig.service.renew(Time(20_500), &red, id, Time(30_000), None).unwrap();
    assert_eq!((renewed.lease.paid.unwrap().amount, has(&rig, RED)), (Amount(2000), 3000));
    rig.service.tick(Time(31_000)).unwrap();
    assert!(rig.service.lease(&red, id).is_err());
    assert_eq!(rig.service.ended_leases(&red, u32::MAX, 9).unwrap()[0].id, id);
    assert_eq!(rig.service.ended_leases(&tenant("blue"), u32::MAX, 9).unwrap(), []);
    assert_eq!(rig.engine.0.lock().unwrap().spec.leases, []);
    rig.settled();
}

#[test]
fn what_the_dataplane_refuses_is_not_bound_and_not_paid() {
    let rig = Rig::new();
    deposit(&rig, "red", 5000, "wire 1");
    let red = tenant("red");
    let id = rig.service.buy(Time(2), &red, &order("red", ask(10, 20_000, 1000))).unwrap().id;
    rig.engine.0.lock().unwrap().refuses = Some("said the test".into());
    assert!(rig.service.bind(Time(3), &red, id, &binding("red-1", 2)).is_err());
    rig.engine.0.lock().unwrap().refuses = None;
    assert_eq!(rig.service.lease(&red, id).unwrap().lease.state, State::Sold);
    rig.settled();
    rig.service.bind(Time(3), &red, id, &binding("red-1", 2)).unwrap();
    rig.settled();
}

#[test]
fn room_is_sold_once() {
    let rig = Rig::new();
    deposit(&rig, "red", 100_000, "wire 1");
    deposit(&rig, "blue", 100_000, "wire 2");
    let order_of = |name| order(name, ask(10_000, 20_000, 500_000));
    rig.service.buy(Time(2), &tenant("red"), &order_of("red")).unwrap();
    let full =
        rig.service.buy(Time(2), &tenant("blue"), &order_of("blue")).unwrap_err().to_string();
    assert!(full.contains("400000"), "{full}");
    assert_eq!(has(&rig, Purse::Tenant(TenantId(2))), 100_000);
    let steps =
        rig.service.calendar(&ask(0, 1, 1).side, Slot { start: Time(0), end: Time(30_000) });
    let free: Vec<_> = steps.unwrap().iter().map(|(at, share)| (at.0, share.bytes_per_s)).collect();
    assert_eq!(free, [(0, 900_000), (10_000, 400_000), (21_000, 900_000)]);
    // For another tenant nobody buys but who runs the box.
    let other = rig.service.buy(Time(2), &tenant("blue"), &order_of("red"));
    assert!(matches!(other, Err(ServiceError::NotFound { .. })));
    assert!(rig.service.buy(Time(2), &auditor(), &order_of("red")).is_err());
    rig.settled();
}

#[test]
fn leases_are_parted_handed_over_and_given_back() {
    let rig = Rig::new();
    deposit(&rig, "red", 10_000, "wire 1");
    let (red, blue) = (tenant("red"), tenant("blue"));
    let id =
        rig.service.buy(Time(2), &red, &order("red", ask(10_000, 20_000, 200_000))).unwrap().id;
    let [_, later] = rig.service.split_at(Time(3), &red, id, Time(15_000)).unwrap();
    let [_, half] = rig.service.split_rate(Time(3), &red, later.id, 50_000).unwrap();
    let paid = |id| rig.service.lease(&owner(), id).unwrap().lease.paid.unwrap().amount.0;
    assert_eq!((paid(id), paid(later.id), paid(half.id)), (1000, 750, 250));
    assert!(rig.service.hand_over(Time(4), &blue, half.id, "blue").is_err());
    rig.service.hand_over(Time(4), &red, half.id, "blue").unwrap();
    assert!(rig.service.lease(&red, half.id).is_err());
    rig.service.bind(Time(5), &blue, half.id, &binding("blue-1", 2)).unwrap();
    // Half of what the time given up cost goes back to whose it is.
    assert_eq!(rig.service.end(Time(17_000), &blue, half.id, Time(17_500)).unwrap(), Amount(62));
    assert_eq!(has(&rig, Purse::Tenant(TenantId(2))), 62);
    assert!(rig.service.end(Time(17_000), &red, half.id, Time(17_600)).is_err());
    assert_eq!(rig.service.end(Time(6), &red, later.id, Time(0)).unwrap(), Amount(375));
    assert_eq!(has(&rig, RED), 10_000 - 2000 + 375);
    rig.settled();
    let rig = rig.restarted();
    let of = |caller: &Caller| rig.service.leases(caller, LeaseId(0), 9).len();
    assert_eq!((of(&red), of(&blue), of(&owner())), (1, 1, 2));
    rig.service.tend_dataplane().unwrap();
    rig.settled();
}

#[test]
fn offers_are_sold_or_withdrawn() {
    let rig = Rig::new();
    deposit(&rig, "red", 10_000, "wire 1");
    let offer = |until| OfferLease { ask: ask(10_000, 20_000, 100_000), until };
    assert!(rig.service.offer(Time(2), &tenant("red"), &offer(None)).is_err());
    let first = rig.service.offer(Time(2), &owner(), &offer(Some(Time(50)))).unwrap().id;
    let second = rig.service.offer(Time(2), &owner(), &offer(None)).unwrap().id;
    assert!(rig.service.sell(Time(3), &tenant("red"), first, "red", None).is_err());
    rig.service.sell(Time(3), &tenant("red"), second, "red", Some("PKT")).unwrap();
    assert!(rig.service.end(Time(4), &tenant("red"), first, Time(0)).is_err());
    rig.service.tick(Time(50)).unwrap();
    assert!(rig.service.lease(&owner(), first).is_err());
    let gift = rig.service.offer(Time(60), &owner(), &offer(None)).unwrap().id;
    rig.service.sell(Time(60), &owner(), gift, "blue", None).unwrap();
    assert_eq!(rig.service.end(Time(61), &tenant("blue"), gift, Time(0)).unwrap(), Amount(0));
    assert_eq!(has(&rig, RED), 9000);
    rig.settled();
}

#[test]
fn nothing_new_goes_to_what_is_drained() {
    let rig = Rig::new();
    deposit(&rig, "red", 10_000, "wire 1");
    let (red, port) = (tenant("red"), Drain::Port("west".into()));
    let id = rig.service.buy(Time(2), &red, &order("red", ask(10_000, 20_000, 1000))).unwrap().id;
    assert!(rig.service.drain(Time(3), &red, &port, true).is_err());
    let left = rig.service.drain(Time(3), &owner(), &port, true).unwrap();
    assert_eq!(left.leases, [(id, 20_000)]);
    assert_eq!(left.vifs, [("blue-1".to_owned(), 1), ("red-1".to_owned(), 1)]);
    let rig = rig.restarted();
    let drained = rig.service.buy(Time(4), &red, &order("red", ask(10_000, 20_000, 1000)));
    assert!(matches!(drained, Err(ServiceError::Drained(_))));
    rig.service.drain(Time(5), &owner(), &port, false).unwrap();
    rig.service.buy(Time(6), &red, &order("red", ask(10_000, 20_000, 1000))).unwrap();
}

#[test]
fn receipts_become_an_invoice_that_is_owed_and_settled() {
    let rig = Rig::new();
    deposit(&rig, "red", 10_000, "wire 1");
    let red = tenant("red");
    let id = rig.service.buy(Time(2), &red, &order("red", ask(10_000, 400_000, 1000))).unwrap().id;
    rig.service.bind(Time(3), &red, id, &binding("red-1", 2)).unwrap();
    let receipt = |n: u64| Receipt {
        vswitch: "k".into(),
        lease: id.0,
        from: 60_000 * n,
        until: 60_000 * (n + 1),
        totals: LeaseTotals {
            priority: Volume { packets: 1, bytes: 1_500 },
            ..LeaseTotals::default()
        },
        peak: 1,
        previous: format!("{n:064x}"),
        digest: format!("{:064x}", n + 1),
        signing_key: String::new(),
        signature: String::new(),
    };
    rig.engine.0.lock().unwrap().receipts = (0..5).map(receipt).collect();
    assert_eq!(rig.service.fetch_receipts().unwrap(), 5);
    assert_eq!(rig.service.fetch_receipts().unwrap(), 0);
    assert_eq!(rig.service.receipts(&red, id, 0, u64::MAX, 9).unwrap().len(), 5);
    assert!(rig.service.receipts(&tenant("blue"), id, 0, u64::MAX, 9).is_err());
    let asked =
        |from, until| InvoiceAsked { tenant: "red".into(), unit: "PKT".into(), from, until };
    assert!(rig.service.write_invoice(Time(500_000), &red, &asked(None, 1)).is_err());
    let invoice =
        rig.service.write_invoice(Time(500_000), &owner(), &asked(None, 120_000)).unwrap();
    // 3 000 bytes above the guarantee.
    assert_eq!(has(&rig, Purse::Owed(TenantId(1))), -3, "{invoice}");
    let again = rig.service.write_invoice(Time(500_000), &owner(), &asked(Some(60_000), 180_000));
    assert!(matches!(again, Err(ServiceError::Invalid { .. })));
    rig.service.write_invoice(Time(500_000), &owner(), &asked(None, 300_000)).unwrap();
    assert_eq!(has(&rig, Purse::Owed(TenantId(1))), -7);
    assert_eq!(rig.service.invoices(&red, u64::MAX, 9).unwrap().len(), 2);
    assert_eq!(rig.service.invoices(&tenant("blue"), u64::MAX, 9).unwrap().len(), 0);
    assert!(rig.service.settle(Time(500_000), &tenant("blue"), "red", "PKT").is_err());
    assert_eq!(rig.service.settle(Time(500_000), &red, "red", "PKT").unwrap(), Amount(7));
    assert_eq!(rig.service.settle(Time(500_000), &red, "red", "PKT").unwrap(), Amount(0));
    let asked = StatementAsked { account: RED.account(PKT), from: 0, until: u64::MAX };
    let (statement, unit) = rig.service.statement(&red, &asked).unwrap();
    assert_eq!((statement.lines.len(), unit.code()), (3, "PKT"));
    assert!(rig.service.statement(&tenant("blue"), &asked).is_err());
    let outside = StatementAsked { account: Purse::Outside.account(PKT), ..asked };
    assert!(rig.service.statement(&red, &outside).is_err());
    rig.settled();
}
