//! Lightning's messages as they are told.

use super::{Fate, Invoice, Payment, Settlement, TIME_S};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};

/// Height at which what is held goes back.
const UNTIL_HEIGHT: u32 = 147;

pub(super) fn invoice_json(invoice: &Invoice) -> Value {
    let (state, paid) = match invoice.settlement {
        Settlement::Open => ("OPEN", 0),
        Settlement::Accepted => ("ACCEPTED", 0),
        Settlement::Settled => ("SETTLED", invoice.price),
        Settlement::Cancelled => ("CANCELED", 0),
    };
    let held = match invoice.settlement {
        Settlement::Accepted | Settlement::Settled => json!([{
            "chan_id": "1", "htlc_index": "0", "amt_msat": (invoice.price * 1000).to_string(),
            "expiry_height": UNTIL_HEIGHT, "state": state,
        }]),
        Settlement::Open | Settlement::Cancelled => json!([]),
    };
    // A hold invoice's preimage is not known to the node before it is settled.
    let preimage = invoice.preimage.map(|bytes| BASE64.encode(&bytes));
    json!({
        "memo": invoice.memo, "r_preimage": preimage.unwrap_or_default(), "r_hash": BASE64.encode(&invoice.hash),
        "value": invoice.price.to_string(), "value_msat": (invoice.price * 1000).to_string(),
        "creation_date": TIME_S.to_string(), "settle_date": "0", "payment_request": invoice.request,
        "expiry": invoice.expiry.to_string(), "add_index": "1", "amt_paid_sat": paid.to_string(),
        "amt_paid_msat": (paid * 1000).to_string(), "state": state, "htlcs": held,
    })
}

pub(super) fn payment_json(payment: &Payment, receipt: &[u8; 32]) -> Value {
    let (status, reason, preimage) = match payment.fate {
        Fate::Arrives => ("SUCCEEDED", "FAILURE_REASON_NONE", HEXLOWER.encode(receipt)),
        Fate::Fails => ("FAILED", "FAILURE_REASON_NO_ROUTE", String::new()),
        Fate::Hangs => ("IN_FLIGHT", "FAILURE_REASON_NONE", String::new()),
    };
    json!({
        "payment_hash": HEXLOWER.encode(&payment.hash), "value_sat": payment.price.to_string(),
        "payment_preimage": preimage, "fee_sat": "1", "fee_msat": "1000", "status": status, "failure_reason": reason,
    })
}

/// The same message with field names in lowerCamelCase.
pub(super) fn camel(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().map(|(name, value)| (camel_name(&name), camel(value))).collect()
        }
        Value::Array(list) => list.into_iter().map(camel).collect(),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}

fn camel_name(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
