//! Lightning's messages in JSON, of both generations: field names in snake_case or lowerCamelCase, 64-bit numbers as
//! texts, bytes in base64.

use crate::error::{Lie, NodeError, Refusal, Text};
use crate::secret::{PaymentHash, Preimage};
use data_encoding::{BASE64, BASE64URL, HEXLOWER_PERMISSIVE};
use primitives::amount::Amount;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::fmt;

/// A 64-bit number, as a text or as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number(pub(super) i64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 64-bit number, or a text of one")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Number, E> {
                Ok(Number(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
                i64::try_from(number).map(Number).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse().map(Number).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Number {
    fn amount(self, what: &'static str) -> Result<Amount, Lie> {
        let units = u64::try_from(self.0).ok();
        units.and_then(|units| Amount::from_units(units).ok()).ok_or(Lie::Impossible(what))
    }

    /// From thousandths of units. What is less than a unit is not counted.
    fn amount_of_thousandths(self, what: &'static str) -> Result<Amount, Lie> {
        Self(self.0.div_euclid(1000)).amount(what)
    }
}

/// 32 bytes in base64, of either alphabet.
pub(super) fn bytes32(text: &str) -> Option<[u8; 32]> {
    let bytes = BASE64.decode(text.as_bytes()).or_else(|_| BASE64URL.decode(text.as_bytes()));
    bytes.ok()?.try_into().ok()
}

/// 32 bytes in hexadecimal text.
pub(super) fn hex32(text: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// An error of either generation.
#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    #[serde(default, alias = "grpc_code")]
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
}

impl Failure {
    pub(super) fn refused(&self, method: &'static str) -> NodeError {
        NodeError::Refused { method, refusal: Refusal::new(self.code, &self.message) }
    }
}

/// A line of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Line<T> {
    #[serde(default = "none")]
    pub(super) result: Option<T>,
    #[serde(default)]
    pub(super) error: Option<Failure>,
}

fn none<T>() -> Option<T> {
    None
}

/// `/v1/getinfo`.
#[derive(Debug, Deserialize)]
pub(super) struct InfoA {
    #[serde(default)]
    pub(super) block_height: u32,
    #[serde(default)]
    pub(super) synced_to_chain: bool,
}

/// `/api/v1/meta/getinfo`.
#[derive(Debug, Deserialize)]
pub(super) struct InfoB {
    pub(super) neutrino: Option<NeutrinoB>,
    pub(super) wallet: Option<de::IgnoredAny>,
    pub(super) lightning: Option<de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NeutrinoB {
    #[serde(default)]
    pub(super) height: u32,
}

/// Money on the chain.
#[derive(Debug, Deserialize)]
pub(super) struct BalanceAnswer {
    #[serde(default, alias = "confirmedBalance")]
    confirmed_balance: Number,
    #[serde(default, alias = "unconfirmedBalance")]
    unconfirmed_balance: Number,
}

/// A wallet's money on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// In blocks.
    pub confirmed: Amount,
    /// Waiting.
    pub unconfirmed: Amount,
}

impl TryFrom<BalanceAnswer> for Balance {
    type Error = Lie;

    fn try_from(answer: BalanceAnswer) -> Result<Self, Lie> {
        Ok(Self {
            confirmed: answer.confirmed_balance.amount("a balance")?,
            unconfirmed: answer.unconfirmed_balance.amount("a balance")?,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct AddressAnswer {
    pub(super) address: String,
}

/// What making an invoice answers; a hold invoice has no hash in it.
#[derive(Debug, Deserialize)]
pub(super) struct InvoiceMade {
    #[serde(default, alias = "rHash")]
    pub(super) r_hash: String,
    #[serde(alias = "paymentRequest")]
    pub(super) payment_request: String,
}

/// What a payment request says.
#[derive(Debug, Deserialize)]
pub(super) struct RequestAnswer {
    #[serde(alias = "paymentHash")]
    payment_hash: String,
    #[serde(default, alias = "numSatoshis")]
    num_satoshis: Number,
    #[serde(default)]
    timestamp: Number,
    #[serde(default)]
    expiry: Number,
}

/// What a payment request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Its name.
    pub hash: PaymentHash,
    /// How much; nothing: the payer says.
    pub price: Amount,
    /// Until when, seconds since 1970.
    pub until_s: u64,
}

impl TryFrom<RequestAnswer> for Decoded {
    type Error = Lie;

    fn try_from(answer: RequestAnswer) -> Result<Self, Lie> {
        let hash = hex32(&answer.payment_hash).ok_or(Lie::Impossible("a payment hash"))?;
        let until_s = answer.timestamp.0.saturating_add(answer.expiry.0);
        Ok(Self {
            hash: PaymentHash(hash),
            price: answer.num_satoshis.amount("a price")?,
            until_s: u64::try_from(until_s).map_err(|_negative| Lie::Impossible("an expiry"))?,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct InvoiceAnswer {
    #[serde(alias = "rHash")]
    r_hash: String,
    #[serde(default)]
    value: Number,
    #[serde(default, alias = "paymentRequest")]
    payment_request: String,
    #[serde(default, alias = "rPreimage")]
    r_preimage: String,
    #[serde(default, alias = "amtPaidSat")]
    amt_paid_sat: Number,
    #[serde(default)]
    state: Option<StateName>,
    #[serde(default)]
    htlcs: Vec<Htlc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum StateName {
    Open,
    Accepted,
    Settled,
    Canceled,
}

#[derive(Debug, Deserialize)]
struct Htlc {
    #[serde(default, alias = "amtMsat")]
    amt_msat: Number,
    #[serde(default, alias = "expiryHeight")]
    expiry_height: u32,
    #[serde(default)]
    state: Option<StateName>,
}

/// An invoice of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Its name.
    pub hash: PaymentHash,
    /// What was asked.
    pub price: Amount,
    /// What the payer needs.
    pub request: String,
    /// What has become of it.
    pub state: InvoiceState,
}

/// What has become of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvoiceState {
    /// Nothing yet.
    Open,
    /// A hold invoice: the payer has paid, and the money waits for us to settle or cancel.
    Accepted {
        /// How much.
        paid: Amount,
        /// Block height at which the first part of it goes back.
        until_height: u32,
    },
    /// Ours.
    Settled {
        /// How much.
        paid: Amount,
        /// What the payer has got for it.
        preimage: Preimage,
    },
    /// Nothing was paid, and nothing will be.
    Cancelled,
}

impl InvoiceAnswer {
    /// As invoice `hash`.
    pub(super) fn of(self, hash: PaymentHash) -> Result<Invoice, Lie> {
        if bytes32(&self.r_hash) != Some(hash.0) {
            return Err(Lie::OtherInvoice("hash"));
        }
        let state = match self.state {
            None | Some(StateName::Open) => InvoiceState::Open,
            Some(StateName::Accepted) => self.accepted()?,
            Some(StateName::Settled) => self.settled(hash)?,
            Some(StateName::Canceled) => InvoiceState::Cancelled,
        };
        let price = self.value.amount("a price")?;
        Ok(Invoice { hash, price, request: self.payment_request, state })
    }

    fn settled(&self, hash: PaymentHash) -> Result<InvoiceState, Lie> {
        let preimage = bytes32(&self.r_preimage).map(Preimage::new);
        let preimage = preimage.filter(|preimage| preimage.hash() == hash);
        let preimage = preimage.ok_or(Lie::OtherPreimage)?;
        Ok(InvoiceState::Settled { paid: self.amt_paid_sat.amount("a paid amount")?, preimage })
    }

    fn accepted(&self) -> Result<InvoiceState, Lie> {
        let mut thousandths = 0i64;
        let mut until_height = u32::MAX;
        for htlc in self.htlcs.iter().filter(|htlc| htlc.state == Some(StateName::Accepted)) {
            let sum = thousandths.checked_add(htlc.amt_msat.0).filter(|_| htlc.amt_msat.0 >= 0);
            thousandths = sum.ok_or(Lie::Impossible("a held amount"))?;
            until_height = until_height.min(htlc.expiry_height);
        }
        let paid = Number(thousandths).amount_of_thousandths("a held amount")?;
        Ok(InvoiceState::Accepted { paid, until_height })
    }
}

/// A payment as generation A tells of it, and as generation B lists it.
#[derive(Debug, Deserialize)]
pub(super) struct PaymentAnswer {
    #[serde(default, alias = "paymentHash")]
    pub(super) payment_hash: String,
    #[serde(default, alias = "paymentPreimage")]
    payment_preimage: String,
    #[serde(default, alias = "feeMsat")]
    fee_msat: Number,
    #[serde(default)]
    status: PaymentStatus,
    #[serde(default, alias = "failureReason")]
    failure_reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum PaymentStatus {
    #[default]
    #[serde(rename = "UNKNOWN")]
    Unknown,
    #[serde(rename = "IN_FLIGHT")]
    InFlight,
    #[serde(rename = "SUCCEEDED")]
    Succeeded,
    #[serde(rename = "FAILED")]
    Failed,
}

#[derive(Debug, Deserialize)]
pub(super) struct Payments {
    #[serde(default)]
    pub(super) payments: Vec<PaymentAnswer>,
}

/// What generation B's sending answers, once.
#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    #[serde(default, rename = "paymentError")]
    error: String,
    #[serde(default, rename = "paymentPreimage")]
    preimage: String,
    #[serde(default, rename = "paymentRoute")]
    route: Option<Route>,
}

#[derive(Debug, Deserialize)]
struct Route {
    #[serde(default, rename = "totalFeesMsat")]
    total_fees_msat: Number,
}

/// What has become of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payment {
    /// Under way: it may still arrive.
    InFlight,
    /// It has arrived.
    Paid {
        /// The receipt.
        preimage: Preimage,
        /// What it cost beside the price, without fractions of a unit.
        fee: Amount,
    },
    /// It has not, and will not.
    Failed(Text),
}

impl PaymentAnswer {
    /// As payment `hash`.
    pub(super) fn of(&self, hash: PaymentHash) -> Result<Payment, Lie> {
        match self.status {
            PaymentStatus::Unknown | PaymentStatus::InFlight => Ok(Payment::InFlight),
            PaymentStatus::Failed => Ok(Payment::Failed(Text::new(&self.failure_reason))),
            PaymentStatus::Succeeded => paid(hex32(&self.payment_preimage), self.fee_msat, hash),
        }
    }
}

impl Sent {
    /// As payment `hash`.
    pub(super) fn of(&self, hash: PaymentHash) -> Result<Payment, Lie> {
        if !self.error.is_empty() {
            return Ok(Payment::Failed(Text::new(&self.error)));
        }
        let fee = self.route.as_ref().map_or(Number(0), |route| route.total_fees_msat);
        paid(bytes32(&self.preimage), fee, hash)
    }
}

fn paid(preimage: Option<[u8; 32]>, fee: Number, hash: PaymentHash) -> Result<Payment, Lie> {
    let preimage = Preimage::new(preimage.ok_or(Lie::OtherPreimage)?);
    if preimage.hash() != hash {
        return Err(Lie::OtherPreimage);
    }
    Ok(Payment::Paid { preimage, fee: fee.amount_of_thousandths("a fee")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn both_generations_names_are_read() {
        let hash = PaymentHash([7; 32]);
        let text = BASE64.encode(&hash.0);
        let a = format!(
            r#"{{"r_hash":"{text}","value":"5","payment_request":"lntpk1","state":"ACCEPTED","htlcs":[
            {{"amt_msat":"3500","expiry_height":90,"state":"ACCEPTED"}},{{"amt_msat":"1500","expiry_height":80,"state":"ACCEPTED"}},
            {{"amt_msat":"9999","expiry_height":1,"state":"CANCELED"}}]}}"#
        );
        let invoice = json::read::<InvoiceAnswer>(a.as_bytes()).unwrap().of(hash).unwrap();
        let paid = Amount::from_units(5).unwrap();
        assert_eq!(invoice.state, InvoiceState::Accepted { paid, until_height: 80 });
        let preimage = Preimage::new([9; 32]);
        let hash = preimage.hash();
        let [text, shown] = [hash.0, [9; 32]].map(|bytes| BASE64.encode(&bytes));
        let b = format!(
            r#"{{"rHash":"{text}","rPreimage":"{shown}","value":5,"paymentRequest":"lntpk1","state":"SETTLED","amtPaidSat":"5"}}"#
        );
        let invoice = json::read::<InvoiceAnswer>(b.as_bytes()).unwrap().of(hash).unwrap();
        assert_eq!(invoice.state, InvoiceState::Settled { paid, preimage });
        assert_eq!((invoice.price, invoice.request.as_str()), (paid, "lntpk1"));
    }

    #[test]
    fn what_cannot_be_is_a_lie() {
        let hash = Preimage::new([9; 32]).hash();
        let [text, shown] = [hash.0, [9; 32]].map(|bytes| BASE64.encode(&bytes));
        for (answer, lie) in [
            (r#"{"r_hash":"","value":"5"}"#.to_owned(), Lie::OtherInvoice("hash")),
            (format!(r#"{{"r_hash":"{text}","value":"-5"}}"#), Lie::Impossible("a price")),
            (
                format!(
                    r#"{{"r_hash":"{text}","r_preimage":"{shown}","state":"SETTLED","amt_paid_sat":"7000000000000000000"}}"#
                ),
                Lie::Impossible("a paid amount"),
            ),
            (
                format!(r#"{{"r_hash":"{text}","r_preimage":"{text}","state":"SETTLED"}}"#),
                Lie::OtherPreimage,
            ),
            (format!(r#"{{"r_hash":"{text}","state":"SETTLED"}}"#), Lie::OtherPreimage),
            (
                format!(
                    r#"{{"r_hash":"{text}","state":"ACCEPTED","htlcs":[{{"amt_msat":"9223372036854775807","state":"ACCEPTED"}},
                    {{"amt_msat":"1","state":"ACCEPTED"}}]}}"#
                ),
                Lie::Impossible("a held amount"),
            ),
        ] {
            let read: InvoiceAnswer = json::read(answer.as_bytes()).unwrap();
            assert_eq!(read.of(hash), Err(lie), "{answer}");
        }
        for wrong in [
            r#"{"r_hash":"","state":"PAID"}"#,
            r#"{"r_hash":"","value":"5.5"}"#,
            r#"{"r_hash":"","value":1e30}"#,
            "{}",
        ] {
            assert!(json::read::<InvoiceAnswer>(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let sent = Sent { error: String::new(), preimage: BASE64.encode(&[1; 32]), route: None };
        assert_eq!(sent.of(hash), Err(Lie::OtherPreimage));
        let preimage = Preimage::new([1; 32]);
        let paid = Payment::Paid { preimage: preimage.clone(), fee: Amount::ZERO };
        assert_eq!(sent.of(preimage.hash()), Ok(paid));
    }
}
