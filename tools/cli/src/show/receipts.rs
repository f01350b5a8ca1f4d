//! `show receipts`.

use super::Listing;
use crate::table::{Side, Table};
use crate::units;
use anyhow::Result;
use clap::Args;
use dataplane_api::Receipt;

/// Digits of a digest that tell it from others at a glance.
const DIGEST_SHOWN: usize = 12;

#[derive(Args, Debug, Default)]
pub(crate) struct Filter {
    /// Only receipts of this lease
    #[arg(long)]
    pub(crate) lease: Option<u32>,
    /// Only receipts that end after this moment, Unix milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) after: u64,
}

pub(super) fn list(receipts: &[Receipt]) -> Result<Listing> {
    let mut table = Table::new(&[
        ("lease", Side::Right),
        ("until (Unix ms)", Side::Right),
        ("seconds", Side::Right),
        ("guaranteed", Side::Right),
        ("priority", Side::Right),
        ("free", Side::Right),
        ("dropped pkt", Side::Right),
        ("peak bit/s", Side::Right),
        ("99.9 % within", Side::Right),
        ("digest", Side::Left),
        ("signed", Side::Left),
    ]);
    for receipt in receipts {
        let totals = &receipt.totals;
        let dropped = totals.above_ceiling.packets + totals.no_room.packets;
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let peak = receipt.peak as f64 * 8.0;
        table.row(vec![
            receipt.lease.to_string(),
            receipt.until.to_string(),
            (receipt.until.saturating_sub(receipt.from) / 1_000).to_string(),
            units::bytes(totals.guaranteed.bytes),
            units::bytes(totals.priority.bytes),
            units::bytes(totals.free.bytes),
            units::count(dropped),
            units::rate(peak),
            totals.delay_within(0.999).map_or_else(|| "-".into(), units::nanos),
            receipt.digest.chars().take(DIGEST_SHOWN).collect(),
            if receipt.signature.is_empty() { "NO KEY" } else { "yes" }.into(),
        ]);
    }
    Listing::new("receipts", &receipts, table)
}
