//! Both generations of Lightning's REST, told apart by asking, on real sockets.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use chain_node::error::Lie;
use chain_node::lightning::{
    Channels, Generation, InvoiceState, Offer, OnChain, Order, Payment, Status,
};
use chain_node::{
    Credentials, Endpoint, Lightning, Limits, NodeError, PaymentHash, Preimage, Secret, Standing,
    Trust,
};
use common::{LONG, long, short};
use primitives::amount::Amount;
use primitives::network::PKT_SIM;
use simnode::{Fate, LightningLie, Manner, Program, Settlement, SimLightning};
use std::time::Duration;

const MACAROON: &str = "0201036c6e6402f801030a10";
const ALL: [Program; 3] = [Program::Gateway, Program::GatewayWithoutHold, Program::Pld];

fn units(units: u64) -> Amount {
    Amount::from_units(units).unwrap()
}

async fn detect(
    node: &SimLightning,
    macaroon: &str,
    limits: Limits,
) -> Result<Lightning, NodeError> {
    let trust = node.certificate().map(|pem| Trust::from_pem(pem.as_bytes()).unwrap());
    let credentials = Credentials::Macaroon(Secret::new(macaroon.to_owned()));
    let credentials = if trust.is_some() { credentials } else { Credentials::None };
    let endpoint = Endpoint::new(&node.url(), trust, &credentials).unwrap();
    Lightning::detect(endpoint, limits, PKT_SIM, Channels::Large).await
}

async fn start(program: Program) -> (SimLightning, Lightning) {
    let node = SimLightning::start(&PKT_SIM, program, MACAROON).await.unwrap();
    let client = detect(&node, MACAROON, long()).await.unwrap();
    (node, client)
}

fn order(price: u64, is_hold: bool) -> Order {
    let (price, memo) = (units(price), "lease 17".to_owned());
    Order { price, memo, expiry_s: 3600, is_hold, preimage: Preimage::new([7; 32]) }
}

#[tokio::test]
async fn who_is_there_is_found_out() {
    for program in ALL {
        let (node, client) = start(program).await;
        let expected = if program == Program::Pld { Generation::B } else { Generation::A };
        assert_eq!(client.generation(), expected);
        let open = Status { is_unlocked: true, is_ready: true, height: 7 };
        assert_eq!(client.status().await.unwrap(), open, "{program:?}");
        let balance = client.balance().await.unwrap();
        assert_eq!((balance.confirmed, balance.unconfirmed), (units(200), units(100)));
        assert!(client.address().await.unwrap().starts_with("tpk1q"));
        node.set_locked(true);
        assert!(!client.status().await.unwrap().is_unlocked, "{program:?}");
        let again = detect(&node, MACAROON, long()).await.unwrap();
        assert_eq!(again.generation(), expected, "{program:?}");
        for is_hold in [false, true] {
            let offer = again.offer(&order(1000, is_hold)).await.unwrap();
            let is_ready = !matches!(offer, Offer::OnChain(OnChain::NotReady(_)));
            assert_eq!(is_ready, is_hold && program == Program::Pld, "{program:?} {offer:?}");
        }
    }
    let (node, _client) = start(Program::Gateway).await;
    let stranger = detect(&node, "00", long()).await.unwrap();
    let error = stranger.status().await.unwrap_err();
    assert!(error.to_string().contains("verification failed"), "{error}");
    assert!(!format!("{stranger:?}").contains("0201036c"));
}

#[tokio::test]
async fn an_invoice_is_paid() {
    for program in ALL {
        let (node, client) = start(program).await;
        let order = order(1_000_000, false);
        let Offer::Invoice(invoice) = client.offer(&order).await.unwrap() else { panic!() };
        assert_eq!((invoice.hash, invoice.price), (order.preimage.hash(), order.price));
        assert_eq!(client.invoice(invoice.hash).await.unwrap(), invoice);
        let decoded = client.decode(&invoice.request).await.unwrap();
        assert_eq!((decoded.hash, decoded.price), (invoice.hash, order.price));
        // Nothing changes within no time.
        let same = client.change(invoice.hash, &InvoiceState::Open, Duration::ZERO).await.unwrap();
        assert_eq!(same.state, InvoiceState::Open);
        let waiting = client.change(invoice.hash, &InvoiceState::Open, LONG);
        let (changed, is_paid) = tokio::join!(waiting, async { node.pay(&invoice.request) });
        assert!(is_paid);
        let paid = InvoiceState::Settled { paid: order.price, preimage: order.preimage.clone() };
        assert_eq!(changed.unwrap().state, paid, "{program:?}");
        assert!(!node.pay(&invoice.request));
    }
}

#[tokio::test]
async fn a_hold_invoice_waits_for_us() {
    let (node, client) = start(Program::Gateway).await;
    let order = order(1_000_000, true);
    let hash = order.preimage.hash();
    for is_taken in [true, false] {
        let Offer::Invoice(invoice) = client.offer(&order).await.unwrap() else { panic!() };
        let waiting = client.change(hash, &InvoiceState::Open, LONG);
        let (held, _paid) = tokio::join!(waiting, async { node.pay(&invoice.request) });
        let held = held.unwrap().state;
        assert_eq!(held, InvoiceState::Accepted { paid: order.price, until_height: 147 });
        assert_eq!(node.settlement(&hash.0), Some(Settlement::Accepted));
        if is_taken {
            client.settle(&order.preimage).await.unwrap();
            let settled = client.change(hash, &held, LONG).await.unwrap().state;
            assert_eq!(
                settled,
                InvoiceState::Settled { paid: order.price, preimage: order.preimage.clone() }
            );
            let error = client.cancel(hash).await.unwrap_err();
            assert_eq!(error.standing(), Standing::Answers, "{error}");
        } else {
            client.cancel(hash).await.unwrap();
            let back = client.change(hash, &held, LONG).await.unwrap().state;
            assert_eq!(back, InvoiceState::Cancelled);
            assert!(client.settle(&order.preimage).await.is_err());
        }
    }
}

#[tokio::test]
async fn what_lightning_cannot_carry_is_offered_on_the_chain() {
    for program in ALL {
        let (_node, client) = start(program).await;
        let most = units(1_000_000_000);
        assert!(matches!(
            client.offer(&order(1_000_000_000, false)).await.unwrap(),
            Offer::Invoice(_)
        ));
        let offer = client.offer(&order(1_000_000_001, false)).await.unwrap();
        let price = units(1_000_000_001);
        let reason = OnChain::TooMuch { price, most };
        assert_eq!(offer, Offer::OnChain(reason.clone()));
        let text = "0.931322575546801090240478515625 PKT is more than a Lightning channel holds (0.931322574615478515625 PKT)";
        assert_eq!(reason.to_string(), text);
        assert_eq!(client.offer(&order(0, false)).await.unwrap(), Offer::OnChain(OnChain::Nothing));
        let held = client.offer(&order(1000, true)).await.unwrap();
        let has_hold = program == Program::Gateway;
        assert_eq!(
            held == Offer::OnChain(OnChain::NoHoldInvoices),
            !has_hold,
            "{program:?} {held:?}"
        );
    }
    assert_eq!(Channels::Small.most(), units(16_777_215));
}

#[tokio::test]
async fn payments_arrive_or_fail_or_hang() {
    for program in ALL {
        let (node, client) = start(program).await;
        let preimage = Preimage::new([9; 32]);
        assert_eq!(client.payment(preimage.hash()).await.unwrap(), None, "{program:?}");
        let paid = Payment::Paid { preimage: preimage.clone(), fee: units(1) };
        let request = node.stranger([9; 32], 5000, Fate::Arrives);
        assert_eq!(client.pay(&request, units(10), LONG).await.unwrap(), paid, "{program:?}");
        assert_eq!(client.payment(preimage.hash()).await.unwrap(), Some(paid));
        let request = node.stranger([8; 32], 5000, Fate::Fails);
        let failed = client.pay(&request, units(10), LONG).await.unwrap();
        assert!(matches!(failed, Payment::Failed(_)), "{program:?} {failed:?}");
        let unknown = format!("lntpk5000x3600x{}", PaymentHash([1; 32]));
        assert!(matches!(
            client.pay(&unknown, units(10), LONG).await,
            Err(NodeError::Refused { .. })
        ));
        let foreign = client.pay("lnbc1qqq", units(10), LONG).await;
        assert!(
            matches!(foreign, Err(NodeError::Lie(Lie::OtherInvoice("network")))),
            "{foreign:?}"
        );
    }
    let (node, client) = start(Program::Gateway).await;
    let request = node.stranger([9; 32], 5000, Fate::Hangs);
    // The stream ends without an end of the payment.
    let lost = client.pay(&request, units(10), LONG).await;
    assert!(matches!(lost, Err(NodeError::Closed)), "{lost:?}");
    let preimage = Preimage::new([9; 32]);
    assert_eq!(client.payment(preimage.hash()).await.unwrap(), Some(Payment::InFlight));
    node.arrive();
    let arrived = client.payment(preimage.hash()).await.unwrap();
    assert_eq!(arrived, Some(Payment::Paid { preimage, fee: units(1) }));
}

#[tokio::test]
async fn lies_about_invoices_are_named() {
    for program in ALL {
        let (node, client) = start(program).await;
        for (lie, what) in [
            (LightningLie::OtherPrice, "price"),
            (LightningLie::OtherHash, "hash"),
            (LightningLie::OtherNetwork, "network"),
        ] {
            node.lie(lie);
            let said = client.offer(&order(1000, program == Program::Gateway)).await;
            let is_named =
                matches!(&said, Err(NodeError::Lie(Lie::OtherInvoice(named))) if *named == what);
            assert!(is_named, "{program:?} {lie:?}: {said:?}");
        }
        node.lie(LightningLie::OtherPreimage);
        let request = node.stranger([9; 32], 5000, Fate::Arrives);
        let said = client.pay(&request, units(10), LONG).await;
        assert!(matches!(said, Err(NodeError::Lie(Lie::OtherPreimage))), "{said:?}");
        node.lie(LightningLie::WrongTypes);
        let error = client.offer(&order(1000, false)).await.unwrap_err();
        assert_eq!(error.standing(), Standing::Broken, "{error}");
        let error = client.balance().await.unwrap_err();
        assert_eq!(error.standing(), Standing::Broken, "{error}");
    }
}

#[tokio::test]
async fn hostile_servers_are_bounded_here_too() {
    let manners = [
        Manner::Silent,
        Manner::Drip,
        Manner::Closing,
        Manner::Garbage,
        Manner::EndlessHead,
        Manner::TenGigabytes,
        Manner::Packed,
        Manner::Status(503),
        Manner::Deep,
    ];
    for program in [Program::Gateway, Program::Pld] {
        let (node, client) = start(program).await;
        // On a loaded machine the first may be late.
        let quick = loop {
            if let Ok(quick) = detect(&node, MACAROON, short()).await {
                break quick;
            }
        };
        for manner in manners {
            node.behave(manner);
            let waits = matches!(manner, Manner::Silent | Manner::Drip);
            let client = if waits { &quick } else { &client };
            let error = client.balance().await.unwrap_err();
            assert_ne!(error.standing(), Standing::Answers, "{manner:?}: {error}");
            let hash = PaymentHash([7; 32]);
            let error = client.change(hash, &InvoiceState::Open, Duration::ZERO).await.unwrap_err();
            assert_ne!(error.standing(), Standing::Answers, "{manner:?}: {error}");
        }
    }
}
