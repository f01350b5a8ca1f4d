//! What holds for the box as a whole, and the nodes that it is attached to.

use dataplane_api::Secret;
use serde::{Deserialize, Serialize};

/// What holds for the box as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How people call the box.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whom to call when something is wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub contact: String,
    /// By which rules leases are paid for.
    pub market: Market,
}

impl Settings {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// By which rules leases are paid for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Market {
    /// How long an offer waits for its payment to be seen.
    pub offer_ms: u64,
    /// How long an offer waits for a payment that was seen to be confirmed.
    pub hold_ms: u64,
    /// Confirmations after which a payment on a chain counts.
    pub confirmations: u32,
    /// What is given back of the unused time of a lease that ends early, parts of a million of its price, rounded down.
    pub refund_ppm: u32,
}

impl Default for Market {
    fn default() -> Self {
        Self { offer_ms: 3_600_000, hold_ms: 6 * 3_600_000, confirmations: 6, refund_ppm: 0 }
    }
}

/// A node that the box is attached to. What it says is checked where it can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Where it listens, e.g. `https://127.0.0.1:64765`.
    pub url: String,
    /// Login name, where it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Password, macaroon or token, where it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Its certificate or that of who signed it, PEM; `None`: the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

impl Node {
    pub(super) fn hide_secrets(&mut self) {
        if let Some(password) = &mut self.password {
            *password = Secret(Secret::HIDDEN.into());
        }
    }
}

/// Kinds of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A full node of the PKT chain, JSON-RPC.
    Pktd,
    /// A wallet of the PKT chain, JSON-RPC.
    Pktwallet,
    /// A Lightning node, REST; which generation it is, it says itself.
    Lightning,
}
