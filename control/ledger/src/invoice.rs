//! Invoices: what a tenant owes for a period, from fixed charges and from receipts.

use crate::UnixMillis;
use crate::amount::{Amount, UnitId};
use crate::receipt::{Gap, Receipt, ReceiptError, Traffic, tally};
use serde::{Deserialize, Serialize};

/// What an invoice says before its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heading {
    /// Given by who writes it.
    pub number: u64,
    /// Whom it is for.
    pub tenant: u32,
    /// The tenant's name, as people read it.
    pub tenant_name: String,
    /// What it counts.
    pub unit: UnitId,
    /// Begin of the period.
    pub from: UnixMillis,
    /// End of the period.
    pub until: UnixMillis,
}

/// So much for so many bytes, the odd part of a smallest unit left to the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Smallest units.
    pub amount: Amount,
    /// For so many bytes on the wire; 0 means that nothing is charged.
    pub per_bytes: u64,
}

impl Price {
    /// What bytes cost, if it fits: rounded down.
    #[must_use]
    pub fn of(self, bytes: u64) -> Option<Amount> {
        let product = self.amount.0.checked_mul(u128::from(bytes))?;
        Some(Amount(product.checked_div(u128::from(self.per_bytes)).unwrap_or(0)))
    }
}

/// What a lease's metered traffic costs; what it guarantees is paid for by its charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// Sent by priority.
    pub priority: Price,
    /// Sent as free.
    pub free: Price,
}

/// A lease's fixed charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// Which.
    pub lease: u32,
    /// How much.
    pub amount: Amount,
}

/// The receipts of one lease that begin in the period, in order of time.
#[derive(Clone, Copy, Debug)]
pub struct Metered<'a> {
    /// Which.
    pub lease: u32,
    /// What its traffic costs.
    pub tariff: Tariff,
    /// The last receipt of the period before; `None` if there was none.
    pub last: Option<&'a Receipt>,
    /// Those of this one.
    pub receipts: &'a [Receipt],
}

/// What a tenant owes for a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// What stands before the lines.
    #[serde(flatten)]
    pub heading: Heading,
    /// Charges as they were given, then what was metered, lease by lease.
    pub lines: Vec<Line>,
    /// Sum of the lines.
    pub total: Amount,
    /// Time that no receipt covers, between those that are there.
    pub gaps: Vec<LeaseGap>,
}

/// One line of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which lease.
    pub lease: u32,
    /// What of it.
    pub item: Item,
    /// What was counted; `None` for a charge.
    pub traffic: Option<Traffic>,
    /// What it costs; `None` for a charge, and for what is not charged for.
    pub price: Option<Price>,
    /// How much that is.
    pub amount: Amount,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// The lease itself.
    Lease,
    /// What it carried as guaranteed: charged with the lease.
    Guaranteed,
    /// What it carried by priority.
    Priority,
    /// What it carried as free.
    Free,
    /// What was dropped: never charged.
    Dropped,
}

/// A gap among a lease's receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGap {
    /// Which lease.
    pub lease: u32,
    /// When.
    #[serde(flatten)]
    pub gap: Gap,
}

/// Why there is no invoice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvoiceError {
    /// A period must have a length.
    #[error("invoice from {from} to {until}: expected a later end")]
    Period {
        /// Its begin.
        from: UnixMillis,
        /// Its end.
        until: UnixMillis,
    },
    /// The receipts make no row.
    #[error("receipts of lease {lease}")]
    Receipts {
        /// Which.
        lease: u32,
        /// Why.
        #[source]
        source: ReceiptError,
    },
    /// A receipt is of another lease, or begins outside of the period.
    #[error(
        "receipts of lease {lease}: one of lease {found} from {from}, expected this lease and period"
    )]
    NotOfThis {
        /// Whose receipts they should be.
        lease: u32,
        /// Whose it is.
        found: u32,
        /// When it begins.
        from: UnixMillis,
    },
    /// A lease is metered twice: its receipts would be charged twice.
    #[error("lease {0}: metered twice")]
    Twice(u32),
    /// A line or the total does not fit in 128 bits.
    #[error("lease {lease}: what it costs, or the total so far, would not fit in 128 bits")]
    Overflow {
        /// At which lease.
        lease: u32,
    },
}

/// Writes an invoice.
///
/// A receipt belongs to the period in which it begins, so that each is charged once.
///
/// # Errors
/// [`InvoiceError`].
pub fn invoice(
    heading: Heading,
    charges: &[Charge],
    metered: &[Metered<'_>],
) -> Result<Invoice, InvoiceError> {
    let Heading { from, until, .. } = heading;
    if from >= until {
        return Err(InvoiceError::Period { from, until });
    }
    let charge = |charge: &Charge| Line {
        lease: charge.lease,
        item: Item::Lease,
        traffic: None,
        price: None,
        amount: charge.amount,
    };
    let mut lines: Vec<_> = charges.iter().map(charge).collect();
    let mut gaps = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for metered in metered {
        let lease = metered.lease;
        if !seen.insert(lease) {
            return Err(InvoiceError::Twice(lease));
        }
        for receipt in metered.receipts {
            if receipt.lease != lease || receipt.from < from || receipt.from >= until {
                let (found, from) = (receipt.lease, receipt.from);
                return Err(InvoiceError::NotOfThis { lease, found, from });
            }
        }
        let tally = tally(metered.last, metered.receipts)
            .map_err(|source| InvoiceError::Receipts { lease, source })?;
        let (usage, tariff) = (tally.usage, metered.tariff);
        for (item, traffic, price) in [
            (Item::Guaranteed, usage.guaranteed, None),
            (Item::Priority, usage.priority, Some(tariff.priority)),
            (Item::Free, usage.free, Some(tariff.free)),
            (Item::Dropped, usage.dropped, None),
        ] {
            if traffic != Traffic::default() {
                let amount = price.map_or(Some(Amount::ZERO), |price| price.of(traffic.bytes));
                let amount = amount.ok_or(InvoiceError::Overflow { lease })?;
                lines.push(Line { lease, item, traffic: Some(traffic), price, amount });
            }
        }
        gaps.extend(tally.gaps.into_iter().map(|gap| LeaseGap { lease, gap }));
    }
    let mut total = Amount::ZERO;
    for Line { lease, amount, .. } in &lines {
        total = total.plus(*amount).ok_or(InvoiceError::Overflow { lease: *lease })?;
    }
    Ok(Invoice { heading, lines, total, gaps })
}
