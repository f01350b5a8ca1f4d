//! Invoices and statements: what they say, against sums made by hand and against the ledger; and how they are written.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

use control_ledger::invoice::{
    Charge, Heading, Invoice, InvoiceError, Item, Metered, Price, Tariff, invoice,
};
use control_ledger::receipt::{Digest, Receipt, Traffic, Usage};
use control_ledger::statement::statement;
use control_ledger::{
    AccountId, Action, Amount, Balance, Batch, Entry, Ledger, Movement, Net, Opening, Purpose,
    Rule, Source, Transfer, Unit, UnitId,
};
use proptest::prelude::*;

const MINUTE: u64 = 60_000;

fn pkt() -> Unit {
    Unit::new("PKT", 1 << 30).unwrap()
}

fn receipt(lease: u32, minute: u8, priority_bytes: u64) -> Receipt {
    let carried = |packets, bytes| Traffic { packets, bytes };
    let usage = Usage {
        guaranteed: carried(10, 1000),
        priority: carried(1, priority_bytes),
        free: carried(2, 200),
        dropped: Traffic::default(),
    };
    Receipt {
        issuer: Digest([9; 32]),
        lease,
        from: u64::from(minute) * MINUTE,
        until: u64::from(minute + 1) * MINUTE,
        usage,
        previous: Digest([minute; 32]),
        digest: Digest([minute + 1; 32]),
    }
}

fn heading() -> Heading {
    Heading {
        number: 3,
        tenant: 5,
        tenant_name: "=1+1, \"Red\"".into(),
        unit: UnitId(0),
        from: 0,
        until: 10 * MINUTE,
    }
}

fn tariff() -> Tariff {
    Tariff {
        priority: Price { amount: Amount(3), per_bytes: 1000 },
        free: Price { amount: Amount(0), per_bytes: 0 },
    }
}

fn one(receipts: &[Receipt]) -> Result<Invoice, InvoiceError> {
    let charges = [Charge { lease: 7, amount: Amount(5 << 29) }];
    let metered = Metered { lease: 7, tariff: tariff(), last: None, receipts };
    invoice(heading(), &charges, &[metered])
}

#[test]
fn an_invoice_charges_what_was_metered_rounded_down_once_a_line() {
    // 999 bytes a minute for three minutes: 8.991 smallest units, not three times 2.997.
    let receipts = [receipt(7, 0, 999), receipt(7, 1, 999), receipt(7, 2, 999)];
    let invoice = one(&receipts).unwrap();
    let amounts: Vec<_> = invoice.lines.iter().map(|line| (line.item, line.amount.0)).collect();
    let expected =
        [(Item::Lease, 5 << 29), (Item::Guaranteed, 0), (Item::Priority, 8), (Item::Free, 0)];
    assert_eq!(amounts, expected);
    assert_eq!((invoice.total.0, invoice.gaps.len()), ((5 << 29) + 8, 0));
}

#[test]
fn what_cannot_be_charged_once_is_not_charged() {
    let late = Receipt { from: 10 * MINUTE, until: 11 * MINUTE, ..receipt(7, 0, 1) };
    assert!(matches!(one(&[late]), Err(InvoiceError::NotOfThis { from: 600_000, .. })));
    assert!(matches!(one(&[receipt(8, 0, 1)]), Err(InvoiceError::NotOfThis { found: 8, .. })));
    let twice = one(&[receipt(7, 0, 1), receipt(7, 0, 1)]);
    assert!(matches!(twice, Err(InvoiceError::Receipts { lease: 7, .. })));
    let metered = Metered { lease: 7, tariff: tariff(), last: None, receipts: &[] };
    assert_eq!(invoice(heading(), &[], &[metered, metered]), Err(InvoiceError::Twice(7)));
    let empty = Heading { until: 0, ..heading() };
    assert_eq!(invoice(empty, &[], &[]), Err(InvoiceError::Period { from: 0, until: 0 }));
    let much = Price { amount: Amount(u128::MAX), per_bytes: 1000 };
    let tariff = Tariff { priority: much, ..tariff() };
    let receipts = [receipt(7, 0, 2)];
    let metered = Metered { lease: 7, tariff, last: None, receipts: &receipts };
    assert_eq!(invoice(heading(), &[], &[metered]), Err(InvoiceError::Overflow { lease: 7 }));
    let most = Charge { lease: 1, amount: Amount(u128::MAX) };
    let one = Charge { lease: 2, amount: Amount(1) };
    assert!(invoice(heading(), &[most], &[]).is_ok());
    assert_eq!(invoice(heading(), &[most, one], &[]), Err(InvoiceError::Overflow { lease: 2 }));
}

#[test]
fn an_invoice_as_csv() {
    let invoice = one(&[receipt(7, 0, 1000), receipt(7, 2, 1000)]).unwrap();
    let mut text = Vec::new();
    invoice.csv(&pkt(), &mut text).unwrap();
    let period = "1970-01-01T00:00:00Z,1970-01-01T00:10:00Z";
    let name = "\"'=1+1, \"\"Red\"\"\"";
    let expected = [
        "row,invoice,tenant,tenant_name,from,until,lease,item,packets,bytes,price,price_per_bytes,amount,amount_whole,unit",
        &format!("line,3,5,{name},{period},7,lease,,,,,2684354560,2.5,PKT"),
        &format!("line,3,5,{name},{period},7,guaranteed,20,2000,,,0,0,PKT"),
        &format!(
            "line,3,5,{name},{period},7,priority,2,2000,3,1000,6,0.00000000558793544769287109375,PKT"
        ),
        &format!("line,3,5,{name},{period},7,free,4,400,0,0,0,0,PKT"),
        &format!(
            "receipts missing,3,5,{name},1970-01-01T00:01:00Z,1970-01-01T00:02:00Z,7,,,,,,,,PKT"
        ),
        &format!("total,3,5,{name},{period},,,,,,,2684354566,2.50000000558793544769287109375,PKT"),
    ];
    assert_eq!(String::from_utf8(text).unwrap(), expected.join("\n") + "\n");
}

#[test]
fn an_invoice_as_json() {
    let invoice = one(&[receipt(7, 0, 1000), receipt(7, 2, 1000)]).unwrap();
    let mut text = Vec::new();
    invoice.json(&pkt(), &mut text).unwrap();
    let line = |item: &str, traffic: serde_json::Value, price: serde_json::Value, amount: &str| {
        serde_json::json!({
            "lease": 7, "item": item, "traffic": traffic, "price": price, "amount": amount
        })
    };
    let traffic =
        |packets: u64, bytes: u64| serde_json::json!({"packets": packets, "bytes": bytes});
    let price = |amount: &str, per: u64| serde_json::json!({"amount": amount, "per_bytes": per});
    let none = serde_json::Value::Null;
    let expected = serde_json::json!({
        "asset": {"code": "PKT", "per_whole": 1 << 30},
        "number": 3, "tenant": 5, "tenant_name": "=1+1, \"Red\"", "unit": 0,
        "from": 0, "until": 600_000,
        "lines": [
            line("lease", none.clone(), none.clone(), "2684354560"),
            line("guaranteed", traffic(20, 2000), none, "0"),
            line("priority", traffic(2, 2000), price("3", 1000), "6"),
            line("free", traffic(4, 400), price("0", 0), "0"),
        ],
        "total": "2684354566",
        "gaps": [{"lease": 7, "from": 60_000, "until": 120_000, "is_missing": true}],
    });
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&text).unwrap(), expected);
}

const TENANT: Opening =
    Opening { id: AccountId(1), unit: UnitId(0), rule: Rule::DebitsWithinCredits };
const WORLD: Opening = Opening { id: AccountId(2), unit: UnitId(0), rule: Rule::None };
const OTHER: Opening = Opening { id: AccountId(3), unit: UnitId(0), rule: Rule::None };

/// A ledger of what fits of these movements, one a batch: (time passed, direction, amount, what is done).
fn ledger(moves: &[(u8, bool, u8, u8)]) -> Ledger {
    let mut ledger = Ledger::default();
    let open = vec![Entry::Open(TENANT), Entry::Open(WORLD), Entry::Open(OTHER)];
    ledger.commit(&Batch { now: 0, entries: open }).unwrap();
    let mut now = 0;
    for (index, &(passed, is_in, amount, what)) in moves.iter().enumerate() {
        now += u64::from(passed);
        let (debit, credit) = if is_in { (WORLD.id, TENANT.id) } else { (TENANT.id, WORLD.id) };
        let amount = Amount(u128::from(amount));
        let source = |name: &str| Source::new(format!("{name} {index}").as_bytes()).unwrap();
        let transfer = |name, action| {
            let purpose = Purpose { code: 2, subject: 9 };
            Entry::Transfer(Transfer { source: source(name), purpose, action })
        };
        let movement = Movement { debit, credit, amount };
        let entries = match what % 4 {
            0 => vec![
                transfer("pend", Action::Pend { movement, until: None }),
                transfer("post", Action::Post { pending: source("pend"), amount: None }),
            ],
            1 => vec![transfer("pend", Action::Pend { movement, until: None })],
            2 => {
                let movement = Movement { debit: WORLD.id, credit: OTHER.id, amount };
                vec![transfer("other", Action::Move(movement))]
            }
            _ => vec![transfer("move", Action::Move(movement))],
        };
        drop(ledger.commit(&Batch { now, entries }));
    }
    ledger
}

proptest! {
    #[test]
    fn statements_of_two_periods_are_one_of_both(
        moves in proptest::collection::vec(any::<(u8, bool, u8, u8)>(), 0..60),
        cut in 0_u64..8000,
    ) {
        let ledger = ledger(&moves);
        let of = |from, until| {
            statement(&TENANT, from, until, Balance::default(), ledger.records()).unwrap()
        };
        let (first, second, both) = (of(0, cut), of(cut, u64::MAX), of(0, u64::MAX));
        let again = second.clone();
        prop_assert_eq!(first.opening, Net::default());
        prop_assert_eq!(first.closing, second.opening);
        let balance = ledger.accounts().find(|account| account.opening == TENANT).unwrap().balance;
        prop_assert_eq!(second.closing, balance.net());
        let lines = [first.lines, second.lines].concat();
        prop_assert_eq!(&lines, &both.lines);
        // By hand: what every line says of the balance follows from the one before.
        let mut sum = 0_i128;
        for line in &lines {
            let amount = i128::try_from(line.amount.0).unwrap();
            sum += if line.side == control_ledger::Side::Credit { amount } else { -amount };
            prop_assert_eq!(line.balance.to_string(), sum.to_string());
        }
        // What the account held before may also be given.
        let later = ledger.records().skip_while(|record| record.at < cut);
        let before = Balance { credits_posted: again.opening.amount, ..Balance::default() };
        prop_assert_eq!(statement(&TENANT, cut, u64::MAX, before, later).unwrap(), again);
    }
}

#[test]
fn a_statement_as_csv_and_json() {
    let ledger = ledger(&[(100, true, 64, 3), (100, false, 14, 0), (1, true, 1, 1)]);
    let of_tenant =
        statement(&TENANT, 150, 400_000_000_000_000, Balance::default(), ledger.records());
    let of_tenant = of_tenant.unwrap();
    let mut text = Vec::new();
    of_tenant.csv(&Unit::new("EUR", 10).unwrap(), &mut text).unwrap();
    let post = of_tenant.lines[0].source.to_string();
    let expected = [
        "row,time,sequence,source,code,subject,other_account,debit,credit,balance,balance_whole,unit",
        "opening,1970-01-01T00:00:00.15Z,,,,,,,,64,6.4,EUR",
        &format!("line,1970-01-01T00:00:00.2Z,2,{post},2,9,2,14,,50,5,EUR"),
        "closing,400000000000000 ms,,,,,,,,50,5,EUR",
    ];
    assert_eq!(String::from_utf8(text).unwrap(), expected.join("\n") + "\n");
    let world = statement(&WORLD, 0, 1000, Balance::default(), ledger.records()).unwrap();
    let mut text = Vec::new();
    world.json(&pkt(), &mut text).unwrap();
    let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        (&read["closing"], &read["lines"][0]["side"], &read["lines"][0]["amount"]),
        (&"-50".into(), &"debit".into(), &"64".into())
    );
}

#[test]
fn a_writer_that_fails_is_an_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let invoice = one(&[]).unwrap();
    assert!(invoice.csv(&pkt(), Full).is_err());
    assert!(invoice.json(&pkt(), Full).is_err());
}
