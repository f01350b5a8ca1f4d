//! Lightning's REST: generation A is lnd's gateway inside pktd (2021), generation B that of pld (2023 on). Which of
//! them answers is found out by asking.
//!
//! Both are written for Bitcoin and count PKT's units as satoshis, so that a channel holds a hundredth of a PKT, or
//! nearly one: most prices must be paid on the chain, and [`Offer`] says so.

mod message;
mod rest;

pub use message::{Balance, Decoded, Invoice, InvoiceState, Payment};

use crate::answer;
use crate::endpoint::Endpoint;
use crate::error::{Lie, NodeError, Refusal};
use crate::http::Limits;
use crate::secret::{PaymentHash, Preimage};
use data_encoding::{BASE64, BASE64URL};
use message::{
    AddressAnswer, BalanceAnswer, InfoA, InfoB, InvoiceAnswer, InvoiceMade, PaymentAnswer,
    Payments, RequestAnswer, Sent, bytes32,
};
use primitives::amount::Amount;
use primitives::network::Network;
use rest::Rest;
use serde::de::IgnoredAny;
use serde_json::json;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Between two questions where news cannot be subscribed to.
const POLL: Duration = Duration::from_secs(2);
/// Bytes of a payment request at most.
const REQUEST_LEN_MAX: usize = 4096;
/// gRPC: no such thing.
const NOT_FOUND: i64 = 5;
/// gRPC: this server does not do that.
const UNIMPLEMENTED: i64 = 12;

/// Which program answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// lnd's gateway inside pktd: has hold invoices where it was built with them.
    A,
    /// pld: has none.
    B,
}

/// A Lightning node.
#[derive(Debug)]
pub struct Lightning {
    rest: Rest,
    network: Network,
    channels: Channels,
    generation: Generation,
}

/// How much its channels can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// Up to 2^24 − 1 units (0.0156 PKT).
    #[default]
    Small,
    /// Up to 10^9 units (0.93 PKT): where both ends allow large ones.
    Large,
}

impl Channels {
    /// The most that can be paid at once.
    #[must_use]
    pub fn most(self) -> Amount {
        let units = match self {
            Self::Small => (1 << 24) - 1,
            Self::Large => 1_000_000_000,
        };
        Amount::from_units(units).unwrap_or_default()
    }
}

/// What an invoice shall be.
#[derive(Clone, Debug)]
pub struct Order {
    /// How much.
    pub price: Amount,
    /// What the payer reads.
    pub memo: String,
    /// How long it can be paid.
    pub expiry_s: u32,
    /// Whether the money shall wait for [`Lightning::settle`] when it comes.
    pub is_hold: bool,
    /// What settles it.
    pub preimage: Preimage,
}

/// How something can be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Over Lightning.
    Invoice(Invoice),
    /// On the chain only.
    OnChain(OnChain),
}

/// Why something can be paid on the chain only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnChain {
    /// More than a channel holds.
    TooMuch {
        /// The price.
        price: Amount,
        /// The most.
        most: Amount,
    },
    /// An invoice without a price could be paid with anything.
    Nothing,
    /// The money was to wait for us, and this node has no invoices of that kind.
    NoHoldInvoices,
    /// The wallet is locked, or Lightning not started.
    NotReady(Refusal),
}

impl fmt::Display for OnChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuch { price, most } => {
                write!(f, "{price} PKT is more than a Lightning channel holds ({most} PKT)")
            }
            Self::Nothing => f.write_str("nothing is asked"),
            Self::NoHoldInvoices => f.write_str("the Lightning node has no hold invoices"),
            Self::NotReady(refusal) => write!(f, "the Lightning node is not ready: {refusal}"),
        }
    }
}

/// What a Lightning node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether its wallet is unlocked.
    pub is_unlocked: bool,
    /// Whether it can make and pay invoices.
    pub is_ready: bool,
    /// The last block that it knows.
    pub height: u32,
}

impl Lightning {
    /// Asks who is there.
    ///
    /// # Errors
    /// See [`NodeError`]: that of the last question, if neither generation answers.
    pub async fn detect(
        endpoint: Endpoint,
        limits: Limits,
        network: Network,
        channels: Channels,
    ) -> Result<Self, NodeError> {
        let rest = Rest { endpoint, limits };
        let generation = match rest.get::<InfoB>("getinfo", "/api/v1/meta/getinfo").await {
            Ok(info) if info.neutrino.is_some() || info.wallet.is_some() => Generation::B,
            // Nobody there: the other question would have the same answer.
            Err(
                error @ (NodeError::Connect { .. }
                | NodeError::Tls { .. }
                | NodeError::Timeout { .. }
                | NodeError::Unauthorized
                | NodeError::Busy),
            ) => return Err(error),
            _other => match rest.get::<InfoA>("getinfo", "/v1/getinfo").await {
                Ok(_info) => Generation::A,
                Err(NodeError::Refused { .. }) => Generation::A,
                Err(error) => return Err(error),
            },
        };
        Ok(Self { rest, network, channels, generation })
    }

    /// Who is there.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn status(&self) -> Result<Status, NodeError> {
        match self.generation {
            Generation::A => match self.rest.get::<InfoA>("getinfo", "/v1/getinfo").await {
                Ok(info) => {
                    let (is_ready, height) = (info.synced_to_chain, info.block_height);
                    Ok(Status { is_unlocked: true, is_ready, height })
                }
                // Before the wallet is open there is nothing but unlocking.
                Err(error) if is_absent(&error) => {
                    Ok(Status { is_unlocked: false, is_ready: false, height: 0 })
                }
                Err(error) => Err(error),
            },
            Generation::B => {
                let info: InfoB = self.rest.get("getinfo", "/api/v1/meta/getinfo").await?;
                let height = info.neutrino.map_or(0, |neutrino| neutrino.height);
                let is_unlocked = info.wallet.is_some();
                Ok(Status {
                    is_unlocked,
                    is_ready: is_unlocked && info.lightning.is_some(),
                    height,
                })
            }
        }
    }

    /// Its money on the chain.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn balance(&self) -> Result<Balance, NodeError> {
        let path = self.path("/v1/balance/blockchain", "/api/v1/wallet/balance");
        let answer: BalanceAnswer = self.rest.get("balance", path).await?;
        Ok(Balance::try_from(answer)?)
    }

    /// A new address of its wallet.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn address(&self) -> Result<String, NodeError> {
        let answer: AddressAnswer = match self.generation {
            Generation::A => self.rest.get("newaddress", "/v1/newaddress").await?,
            Generation::B => {
                let path = "/api/v1/wallet/address/create";
                self.rest.post("address/create", path, &json!({"legacy": false})).await?
            }
        };
        answer::script_of(&answer.address, &self.network)?;
        Ok(answer.address)
    }

    /// Makes an invoice, where the node can; else says why it must be paid on the chain. What the node made is checked
    /// against what was ordered.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn offer(&self, order: &Order) -> Result<Offer, NodeError> {
        let (price, most) = (order.price, self.channels.most());
        if price == Amount::ZERO {
            return Ok(Offer::OnChain(OnChain::Nothing));
        }
        if price > most {
            return Ok(Offer::OnChain(OnChain::TooMuch { price, most }));
        }
        let made = match (self.generation, order.is_hold) {
            (Generation::B, true) => return Ok(Offer::OnChain(OnChain::NoHoldInvoices)),
            (_, true) => match self.make_hold(order).await {
                // A locked wallet has no path at all.
                Err(error) if is_absent(&error) && self.status().await?.is_unlocked => {
                    return Ok(Offer::OnChain(OnChain::NoHoldInvoices));
                }
                made => made,
            },
            (_, false) => self.make(order).await,
        };
        match made {
            Ok(made) => self.checked(made, order).await.map(Offer::Invoice),
            Err(NodeError::Refused { refusal, .. }) => {
                Ok(Offer::OnChain(OnChain::NotReady(refusal)))
            }
            Err(error) => Err(error),
        }
    }

    async fn make(&self, order: &Order) -> Result<InvoiceMade, NodeError> {
        let (value, expiry) = (order.price.units().to_string(), order.expiry_s.to_string());
        let preimage = BASE64.encode(order.preimage.expose());
        match self.generation {
            Generation::A => {
                let body = json!({"memo": order.memo, "value": value, "expiry": expiry, "r_preimage": preimage});
                self.rest.post("invoices", "/v1/invoices", &body).await
            }
            Generation::B => {
                let body = json!({"memo": order.memo, "value": value, "expiry": expiry, "rPreimage": preimage});
                self.rest.post("invoice/create", "/api/v1/lightning/invoice/create", &body).await
            }
        }
    }

    async fn make_hold(&self, order: &Order) -> Result<InvoiceMade, NodeError> {
        let hash = BASE64.encode(&order.preimage.hash().0);
        let (value, expiry) = (order.price.units().to_string(), order.expiry_s.to_string());
        let body = json!({"memo": order.memo, "hash": hash, "value": value, "expiry": expiry});
        self.rest.post("invoices/hodl", "/v2/invoices/hodl", &body).await
    }

    /// The text's prefix is ours to read; what else is in it the node reads, and it must be what was ordered.
    async fn checked(&self, made: InvoiceMade, order: &Order) -> Result<Invoice, NodeError> {
        let hash = order.preimage.hash();
        if !made.r_hash.is_empty() && bytes32(&made.r_hash) != Some(hash.0) {
            return Err(Lie::OtherInvoice("hash").into());
        }
        let request = made.payment_request;
        if !self.is_ours(&request) {
            return Err(Lie::OtherInvoice("network").into());
        }
        let decoded = self.decode(&request).await?;
        if decoded.hash != hash {
            return Err(Lie::OtherInvoice("hash").into());
        }
        if decoded.price != order.price {
            return Err(Lie::OtherInvoice("price").into());
        }
        Ok(Invoice { hash, price: order.price, request, state: InvoiceState::Open })
    }

    /// Whether a payment request is of this network, and can stand in a path.
    fn is_ours(&self, request: &str) -> bool {
        let prefix = format!("ln{}", self.network.hrp);
        let is_plain = request.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_plain
            && request.len() <= REQUEST_LEN_MAX
            && request.to_ascii_lowercase().starts_with(&prefix)
    }

    /// What a payment request asks for, as the node reads it.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn decode(&self, request: &str) -> Result<Decoded, NodeError> {
        if !self.is_ours(request) {
            return Err(Lie::OtherInvoice("network").into());
        }
        let answer: RequestAnswer = match self.generation {
            Generation::A => self.rest.get("payreq", &format!("/v1/payreq/{request}")).await?,
            Generation::B => {
                let path = "/api/v1/lightning/invoice/decodepayreq";
                self.rest.post("decodepayreq", path, &json!({"payReq": request})).await?
            }
        };
        Ok(Decoded::try_from(answer)?)
    }

    /// What has become of an invoice.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn invoice(&self, hash: PaymentHash) -> Result<Invoice, NodeError> {
        let answer: InvoiceAnswer = match self.generation {
            Generation::A => self.rest.get("invoice", &format!("/v1/invoice/{hash}")).await?,
            Generation::B => {
                let path = "/api/v1/lightning/invoice/lookup";
                let body = json!({"rHash": BASE64.encode(&hash.0)});
                self.rest.post("invoice/lookup", path, &body).await?
            }
        };
        Ok(answer.of(hash)?)
    }

    /// Waits until an invoice is no longer in the state that is `known`, or until `wait` is over; either way says what
    /// has become of it.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn change(
        &self,
        hash: PaymentHash,
        known: &InvoiceState,
        wait: Duration,
    ) -> Result<Invoice, NodeError> {
        let until = Instant::now() + wait;
        if self.generation == Generation::A {
            match self.subscribed(hash, known, until).await {
                Err(error) if is_absent(&error) => {}
                Ok(Some(invoice)) => return Ok(invoice),
                Ok(None) => return self.invoice(hash).await,
                Err(error) => return Err(error),
            }
        }
        loop {
            let invoice = self.invoice(hash).await?;
            let left = until.saturating_duration_since(Instant::now());
            if invoice.state != *known || left.is_zero() {
                return Ok(invoice);
            }
            sleep(POLL.min(left)).await;
        }
    }

    /// `None`: no news until then.
    async fn subscribed(
        &self,
        hash: PaymentHash,
        known: &InvoiceState,
        until: Instant,
    ) -> Result<Option<Invoice>, NodeError> {
        let path = format!("/v2/invoices/subscribe/{}", BASE64URL.encode(&hash.0));
        let mut lines =
            self.rest.stream::<InvoiceAnswer>("invoices/subscribe", &path, None).await?;
        loop {
            let Ok(answer) = timeout_at(until, lines.next()).await else { return Ok(None) };
            let invoice = answer?.of(hash)?;
            if invoice.state != *known {
                return Ok(Some(invoice));
            }
        }
    }

    /// Takes the money that waits at a hold invoice.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn settle(&self, preimage: &Preimage) -> Result<(), NodeError> {
        let body = json!({"preimage": BASE64.encode(preimage.expose())});
        let _empty: IgnoredAny =
            self.rest.post("invoices/settle", "/v2/invoices/settle", &body).await?;
        Ok(())
    }

    /// Gives the money back that waits at a hold invoice, or takes no more.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn cancel(&self, hash: PaymentHash) -> Result<(), NodeError> {
        let body = json!({"payment_hash": BASE64.encode(&hash.0)});
        let _empty: IgnoredAny =
            self.rest.post("invoices/cancel", "/v2/invoices/cancel", &body).await?;
        Ok(())
    }

    /// Pays, and waits for up to `wait` for what becomes of it. [`Payment::InFlight`], and any error, mean that it may
    /// still arrive: ask [`Lightning::payment`].
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn pay(
        &self,
        request: &str,
        fee_max: Amount,
        wait: Duration,
    ) -> Result<Payment, NodeError> {
        let hash = self.decode(request).await?.hash;
        let fee = fee_max.units().to_string();
        match self.generation {
            Generation::A => {
                let seconds = wait.as_secs().clamp(1, 3600);
                let body = json!({"payment_request": request, "timeout_seconds": seconds, "fee_limit_sat": fee});
                let path = "/v2/router/send";
                let lines =
                    self.rest.stream::<PaymentAnswer>("router/send", path, Some(&body)).await?;
                last(lines, hash, wait).await
            }
            Generation::B => {
                let body = json!({"paymentRequest": request, "feeLimit": {"fixed": fee}});
                let path = "/api/v1/lightning/payment/send";
                let sent: Sent = self.rest.post_and_wait("payment/send", path, &body, wait).await?;
                Ok(sent.of(hash)?)
            }
        }
    }

    /// What has become of a payment of ours; `None`: there is none.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn payment(&self, hash: PaymentHash) -> Result<Option<Payment>, NodeError> {
        match self.generation {
            Generation::A => {
                let path = format!("/v2/router/track/{}", BASE64URL.encode(&hash.0));
                let tracked = self.rest.stream::<PaymentAnswer>("router/track", &path, None).await;
                let first = match tracked {
                    Ok(lines) => last(lines, hash, Duration::ZERO).await,
                    Err(error) => Err(error),
                };
                match first {
                    Err(NodeError::Refused { refusal, .. }) if refusal.code == NOT_FOUND => {
                        Ok(None)
                    }
                    first => first.map(Some),
                }
            }
            Generation::B => {
                let (path, body) =
                    ("/api/v1/lightning/payment", json!({"includeIncomplete": true}));
                let list: Payments = self.rest.post("payment", path, &body).await?;
                let is_it = |payment: &&PaymentAnswer| {
                    message::hex32(&payment.payment_hash) == Some(hash.0)
                };
                let payment = list.payments.iter().rev().find(is_it);
                Ok(payment.map(|payment| payment.of(hash)).transpose()?)
            }
        }
    }

    fn path(&self, a: &'static str, b: &'static str) -> &'static str {
        match self.generation {
            Generation::A => a,
            Generation::B => b,
        }
    }
}

/// The first message that is final, or the last one within `wait` of the first.
async fn last(
    mut lines: rest::Lines<PaymentAnswer>,
    hash: PaymentHash,
    wait: Duration,
) -> Result<Payment, NodeError> {
    /// For the first message, which says how things are.
    const FIRST: Duration = Duration::from_secs(10);
    let mut until = Instant::now() + FIRST.max(wait);
    let mut known = None;
    while let Ok(answer) = timeout_at(until, lines.next()).await {
        let payment = answer?.of(hash)?;
        if payment != Payment::InFlight || wait.is_zero() {
            return Ok(payment);
        }
        if known.is_none() {
            until = Instant::now() + wait;
        }
        known = Some(payment);
    }
    known.ok_or(NodeError::Timeout { what: "news of a payment", limit: FIRST.max(wait) })
}

/// Whether a server says that it has no such path.
fn is_absent(error: &NodeError) -> bool {
    if let NodeError::Refused { refusal, .. } = error {
        return [NOT_FOUND, UNIMPLEMENTED].contains(&refusal.code);
    }
    matches!(error, NodeError::Status { status: 404 | 501, .. })
}

/// Every message of Lightning, for whoever feeds it anything.
#[doc(hidden)]
pub fn parse_anything(bytes: &[u8], network: &Network) {
    let hash = PaymentHash([7; 32]);
    let _invoice = rest::message::<InvoiceAnswer>(bytes, "").map(|answer| answer.of(hash));
    let _payment = rest::message::<PaymentAnswer>(bytes, "").map(|answer| answer.of(hash));
    let _sent = crate::json::read::<Sent>(bytes).map(|answer| answer.of(hash));
    let _balance = crate::json::read::<BalanceAnswer>(bytes).map(Balance::try_from);
    let _request = crate::json::read::<RequestAnswer>(bytes).map(Decoded::try_from);
    let _info = crate::json::read::<InfoB>(bytes);
    let address = crate::json::read::<AddressAnswer>(bytes);
    let _script = address.map(|answer| answer::script_of(&answer.address, network));
}
