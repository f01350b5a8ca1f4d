//! Policies of vifs, in words.

use crate::units;
use dataplane_api::{DefaultClass, VifPolicy};

/// What packets that come in by a vif of this policy may claim, and who sees them; nothing of what is as usual.
pub(crate) fn words(policy: &VifPolicy) -> String {
    let mut words = Vec::new();
    if let DefaultClass::Priority(weight) = policy.default_class {
        words.push(format!("priority {} by default", weight_words(weight)));
    }
    match policy.priority_cap {
        None => {}
        Some(0) => words.push("nothing may claim priority".to_owned()),
        Some(cap) => words.push(format!("at most {} claim priority", weight_words(cap))),
    }
    if policy.clear_customer_bit {
        words.push("customer bit cleared".to_owned());
    }
    match policy.deprioritise_non_customer {
        None => {}
        Some(0) => words.push("free unless of a customer".to_owned()),
        Some(cap) => {
            words.push(format!("priority {} at most unless of a customer", weight_words(cap)));
        }
    }
    for (on, word) in [
        (policy.traffic_class, "traffic class offered"),
        (policy.mirror, "mirrored"),
        (policy.trace, "traced"),
    ] {
        if on {
            words.push(word.to_owned());
        }
    }
    words.join("; ")
}

/// Weights are rates, and told like them.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn weight_words(weight: u64) -> String {
    format!("{}bit/s", units::rate(weight as f64 * 8.0))
}
