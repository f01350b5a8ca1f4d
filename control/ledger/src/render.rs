//! Invoices and statements as CSV, for spreadsheets, and as JSON, for programs.
//!
//! Both have amounts in smallest units; CSV has them in wholes of the unit beside. Times are milliseconds in JSON, and
//! RFC 3339 in CSV. A CSV cell that a tenant has named cannot be a formula.

use crate::UnixMillis;
use crate::account::{Net, Side};
use crate::amount::{Amount, Unit};
use crate::invoice::{Invoice, Item};
use crate::statement::Statement;
use serde::Serialize;
use std::io::Write;

/// Why nothing, or not all, was written.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// CSV was not written.
    #[error("write CSV")]
    Csv(#[from] csv::Error),
    /// JSON was not written.
    #[error("write JSON")]
    Json(#[from] serde_json::Error),
    /// The end of it was not written.
    #[error("write")]
    Write(#[from] std::io::Error),
}

/// How its amounts are written, and the paper.
#[derive(Serialize)]
struct Document<'a, T> {
    asset: &'a Unit,
    #[serde(flatten)]
    content: &'a T,
}

#[derive(Serialize)]
struct StatementRow<'a> {
    row: &'static str,
    time: String,
    sequence: Option<u64>,
    source: String,
    code: Option<u16>,
    subject: Option<u64>,
    other_account: Option<u64>,
    debit: Option<Amount>,
    credit: Option<Amount>,
    balance: Net,
    balance_whole: String,
    unit: &'a str,
}

#[derive(Serialize)]
struct InvoiceRow<'a> {
    row: &'static str,
    invoice: u64,
    tenant: u32,
    tenant_name: &'a str,
    from: String,
    until: String,
    lease: Option<u32>,
    item: Option<Item>,
    packets: Option<u64>,
    bytes: Option<u64>,
    price: Option<Amount>,
    price_per_bytes: Option<u64>,
    amount: Option<Amount>,
    amount_whole: Option<String>,
    unit: &'a str,
}

impl Statement {
    /// One object, the unit with it.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn json(&self, unit: &Unit, into: impl Write) -> Result<(), RenderError> {
        json(self, unit, into)
    }

    /// A row for the opening balance, for each line, and for the closing balance.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn csv(&self, unit: &Unit, into: impl Write) -> Result<(), RenderError> {
        let mut csv = csv::Writer::from_writer(into);
        let row = |row, at, balance: Net| StatementRow {
            row,
            time: time(at),
            sequence: None,
            source: String::new(),
            code: None,
            subject: None,
            other_account: None,
            debit: None,
            credit: None,
            balance,
            balance_whole: format!("{}{}", balance.sign(), unit.format(balance.amount)),
            unit: unit.code(),
        };
        csv.serialize(row("opening", self.from, self.opening))?;
        for line in &self.lines {
            let of = |side| (line.side == side).then_some(line.amount);
            csv.serialize(StatementRow {
                sequence: Some(line.sequence),
                source: line.source.to_string(),
                code: Some(line.purpose.code),
                subject: Some(line.purpose.subject),
                other_account: Some(line.other.0),
                debit: of(Side::Debit),
                credit: of(Side::Credit),
                ..row("line", line.at, line.balance)
            })?;
        }
        csv.serialize(row("closing", self.until, self.closing))?;
        Ok(csv.flush()?)
    }
}

impl Invoice {
    /// One object, the unit with it.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn json(&self, unit: &Unit, into: impl Write) -> Result<(), RenderError> {
        json(self, unit, into)
    }

    /// A row for each line, for each gap among the receipts, and for the total.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn csv(&self, unit: &Unit, into: impl Write) -> Result<(), RenderError> {
        let mut csv = csv::Writer::from_writer(into);
        let heading = &self.heading;
        let tenant_name = no_formula(&heading.tenant_name);
        let row = |row, amount: Option<Amount>| InvoiceRow {
            row,
            invoice: heading.number,
            tenant: heading.tenant,
            tenant_name: &tenant_name,
            from: time(heading.from),
            until: time(heading.until),
            lease: None,
            item: None,
            packets: None,
            bytes: None,
            price: None,
            price_per_bytes: None,
            amount,
            amount_whole: amount.map(|amount| unit.format(amount)),
            unit: unit.code(),
        };
        for line in &self.lines {
            csv.serialize(InvoiceRow {
                lease: Some(line.lease),
                item: Some(line.item),
                packets: line.traffic.map(|traffic| traffic.packets),
                bytes: line.traffic.map(|traffic| traffic.bytes),
                price: line.price.map(|price| price.amount),
                price_per_bytes: line.price.map(|price| price.per_bytes),
                ..row("line", Some(line.amount))
            })?;
        }
        for gap in &self.gaps {
            csv.serialize(InvoiceRow {
                from: time(gap.gap.from),
                until: time(gap.gap.until),
                lease: Some(gap.lease),
                ..row(if gap.gap.is_missing { "receipts missing" } else { "no receipts" }, None)
            })?;
        }
        csv.serialize(row("total", Some(self.total)))?;
        Ok(csv.flush()?)
    }
}

fn json<T: Serialize>(content: &T, unit: &Unit, mut into: impl Write) -> Result<(), RenderError> {
    serde_json::to_writer_pretty(&mut into, &Document { asset: unit, content })?;
    Ok(into.write_all(b"\n")?)
}

/// RFC 3339, UTC; where that has no words for it, beyond the year 9999, the milliseconds.
fn time(at: UnixMillis) -> String {
    let timestamp =
        i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    timestamp.map_or_else(|| format!("{at} ms"), |timestamp| timestamp.to_string())
}

/// Spreadsheets run what begins like a formula, quoted or not; behind an apostrophe it is text.
fn no_formula(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}
