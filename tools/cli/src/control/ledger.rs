//! `ledger`: accounts, statements, invoices, money that came in and went out.

use super::client::{Client, Request};
use super::human::When;
use super::list::{Column, Form, all, card, str_at, table};
use super::problem::ApiError;
use super::{ControlArgs, now};
use crate::output::print_json;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use ledger::{Amount, Unit};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;

/// Accounts, statements and invoices
#[derive(Args, Debug)]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Accounts, and what each holds
    Accounts,
    /// What moved on an account
    Statement {
        /// Number of the account
        account: u64,
        /// Begin of the period; else all there is
        #[arg(long, value_name = "WHEN")]
        from: Option<When>,
        /// End of the period; else now
        #[arg(long, value_name = "WHEN")]
        until: Option<When>,
        /// Print CSV
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// Book money that came in for a tenant; with the same reference it counts once
    Deposit(Moved),
    /// Book money of a tenant that went out; with the same reference it counts once
    Withdraw(Moved),
    /// Write an invoice for what a tenant's leases carried above their guarantees
    Invoice {
        tenant: String,
        /// Unit, e.g. PKT
        #[arg(long)]
        unit: String,
        /// Begin of the period; else where the last invoice ended
        #[arg(long, value_name = "WHEN")]
        from: Option<When>,
        /// End of the period
        #[arg(long, value_name = "WHEN", default_value = "now")]
        until: When,
    },
    /// Invoices, newest first, or one of them
    Invoices {
        /// Number of the one to show
        number: Option<u64>,
        /// Print CSV
        #[arg(long, requires = "number", conflicts_with = "json")]
        csv: bool,
    },
    /// Pay what a tenant owes from what it has paid in
    Settle {
        tenant: String,
        /// Unit, e.g. PKT
        #[arg(long)]
        unit: String,
    },
    /// Records of the books, by sequence
    Records {
        /// Most records
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

#[derive(Args, Debug)]
struct Moved {
    tenant: String,
    /// In whole units, e.g. 12.5
    amount: String,
    /// Unit, e.g. PKT
    #[arg(long)]
    unit: String,
    /// What it is called where it came from or went to
    #[arg(long)]
    reference: String,
}

const ACCOUNTS: [Column; 6] = [
    ("account", "/id", Form::Text),
    ("kind", "/kind", Form::Text),
    ("tenant", "/tenant", Form::Text),
    ("unit", "/unit", Form::Text),
    ("balance", "/shown/net", Form::Text),
    ("available", "/shown/available", Form::Text),
];
const STATEMENT: [Column; 6] = [
    ("time", "/at", Form::Instant),
    ("sequence", "/sequence", Form::Count),
    ("side", "/side", Form::Text),
    ("amount", "/shown/amount", Form::Text),
    ("balance", "/shown/balance", Form::Text),
    ("source", "/source", Form::Text),
];
const INVOICES: [Column; 6] = [
    ("invoice", "/number", Form::Count),
    ("tenant", "/tenant_name", Form::Text),
    ("from", "/from", Form::Instant),
    ("until", "/until", Form::Instant),
    ("total", "/shown/total", Form::Text),
    ("unit", "/asset/code", Form::Text),
];
const RECORDS: [Column; 7] = [
    ("sequence", "/sequence", Form::Count),
    ("time", "/at", Form::Instant),
    ("purpose", "/purpose", Form::Text),
    ("state", "/state", Form::Text),
    ("amount", "/moved/amount", Form::Text),
    ("debit", "/moved/debit", Form::Text),
    ("credit", "/moved/credit", Form::Text),
];

/// Runs the command.
pub(crate) fn run(args: &LedgerArgs, out: &mut dyn Write) -> Result<()> {
    let (control, client) = (&args.control, args.control.client()?);
    match &args.what {
        What::Accounts => {
            let list = all(&client, || Request::get(&["ledger", "accounts"]), None)?;
            let units = Units::read(&client)?;
            control.print(out, &list, |list| accounts(list, &units))
        }
        What::Statement { account, from, until, csv } => {
            let at = now()?;
            let account = account.to_string();
            let asked = Request::get(&["ledger", "accounts", &account, "statement"])
                .query_if("from", from.map(|from| from.at(at)).transpose()?)
                .query_if("until", until.map(|until| until.at(at)).transpose()?);
            paper(control, &client, asked, *csv, out, statement)
        }
        What::Deposit(moved) => money(control, &client, "deposits", moved, out),
        What::Withdraw(moved) => money(control, &client, "withdrawals", moved, out),
        What::Invoice { tenant, unit, from, until } => {
            let at = now()?;
            let from = from.map(|from| from.at(at)).transpose()?;
            let asked =
                json!({ "tenant": tenant, "unit": unit, "from": from, "until": until.at(at)? });
            let invoice = client.post(&["ledger", "invoices"], &asked)?;
            control.print(out, &invoice, invoice_card)
        }
        What::Invoices { number: Some(number), csv } => {
            let asked = Request::get(&["ledger", "invoices", &number.to_string()]);
            paper(control, &client, asked, *csv, out, invoice_card)
        }
        What::Invoices { number: None, .. } => {
            let list = all(&client, || Request::get(&["ledger", "invoices"]), None)?;
            control.print(out, &list, |list| {
                let items: Vec<_> = items(list).iter().map(with_total).collect();
                table(&INVOICES, &items, "no invoices")
            })
        }
        What::Settle { tenant, unit } => {
            let asked = json!({ "tenant": tenant, "unit": unit });
            let settled = client.post(&["ledger", "settlements"], &asked)?;
            let units = Units::read(&client)?;
            control.print(out, &settled, |settled| {
                format!("{tenant} paid {}\n", units.show(unit, str_at(settled, "/paid")))
            })
        }
        What::Records { limit } => {
            let list = all(&client, || Request::get(&["ledger", "records"]), Some(*limit))?;
            control.print(out, &list, |list| table(&RECORDS, items(list), "no records"))
        }
    }
}

/// A paper as CSV, JSON or for people.
fn paper(
    control: &ControlArgs,
    client: &Client,
    asked: Request,
    csv: bool,
    out: &mut dyn Write,
    show: impl FnOnce(&Value) -> String,
) -> Result<()> {
    if csv {
        let reply = client.ask(asked.query("format", "csv"))?;
        return Ok(out.write_all(reply.text()?.as_bytes())?);
    }
    control.print(out, &client.ask(asked)?.json()?, show)
}

fn money(
    control: &ControlArgs,
    client: &Client,
    path: &str,
    moved: &Moved,
    out: &mut dyn Write,
) -> Result<()> {
    let Moved { tenant, amount, unit, reference } = moved;
    let units = Units::read(client)?;
    let amount = units.parse(unit, amount)?;
    let asked = json!({ "tenant": tenant, "unit": unit, "amount": amount, "reference": reference });
    let balance = client.post(&["ledger", path], &asked)?;
    if control.json() {
        return print_json(out, &balance);
    }
    Ok(writeln!(out, "{tenant} has {}", units.show(unit, str_at(&balance, "/net")))?)
}

fn items(list: &Value) -> &[Value] {
    super::list::items_at(list, "/items")
}

fn accounts(list: &Value, units: &Units) -> String {
    let shown = |account: &Value| {
        let unit = str_at(account, "/unit");
        let show = |at| account.pointer(at).and_then(Value::as_str).map(|it| units.show(unit, it));
        let mut shown = account.clone();
        shown["shown"] = json!({ "net": show("/balance/net"), "available": show("/available") });
        shown
    };
    let items: Vec<_> = items(list).iter().map(shown).collect();
    table(&ACCOUNTS, &items, "no accounts")
}

/// The paper's own unit: the tree may have another one by now.
fn unit_of(paper: &Value) -> Option<Unit> {
    let per_whole = paper.pointer("/asset/per_whole").and_then(Value::as_u64)?;
    Unit::new(str_at(paper, "/asset/code"), per_whole).ok()
}

fn statement(paper: &Value) -> String {
    let unit = unit_of(paper);
    let show = |text: &str| shown(unit.as_ref(), text);
    let line = |line: &Value| {
        let mut line_shown = line.clone();
        line_shown["shown"] = json!({
            "amount": show(str_at(line, "/amount")),
            "balance": show(str_at(line, "/balance")),
        });
        line_shown
    };
    let lines = super::list::items_at(paper, "/lines").iter().map(line).collect::<Vec<_>>();
    let (opening, closing) = (show(str_at(paper, "/opening")), show(str_at(paper, "/closing")));
    let lines = table(&STATEMENT, &lines, "nothing moved");
    format!("opening {opening}\n{lines}closing {closing}\n")
}

fn with_total(invoice: &Value) -> Value {
    let mut with = invoice.clone();
    let total = shown(unit_of(invoice).as_ref(), str_at(invoice, "/total"));
    with["shown"] = json!({ "total": total });
    with
}

fn invoice_card(invoice: &Value) -> String {
    card(&INVOICES, &with_total(invoice))
}

fn shown(unit: Option<&Unit>, smallest: &str) -> String {
    let (sign, digits) = smallest.strip_prefix('-').map_or(("", smallest), |rest| ("-", rest));
    match (unit, digits.parse::<u128>()) {
        (Some(unit), Ok(amount)) => {
            format!("{sign}{} {}", unit.format(Amount(amount)), unit.code())
        }
        (None, _) | (_, Err(_)) => super::list::clean(smallest),
    }
}

/// Units of the running configuration, by code and by number.
#[derive(Debug, Default)]
pub(crate) struct Units {
    by_code: BTreeMap<String, Unit>,
    codes: BTreeMap<u64, String>,
}

impl Units {
    /// Asks which there are.
    pub(crate) fn read(client: &Client) -> Result<Self> {
        match client.ask(Request::get(&["config"]).query("place", "unit")) {
            Ok(reply) => Ok(Self::new(&reply.json()?)),
            // A box without a market has none.
            Err(error) if error.downcast_ref().is_some_and(|it: &ApiError| it.is("not_found")) => {
                Ok(Self::default())
            }
            Err(error) => Err(error),
        }
    }

    fn new(tree: &Value) -> Self {
        let mut units = Self::default();
        for (code, asset) in tree.as_object().into_iter().flatten() {
            let number = |at| asset.get(at).and_then(Value::as_u64);
            let (Some(id), Some(per_whole)) = (number("id"), number("per_whole")) else { continue };
            if let Ok(unit) = Unit::new(code, per_whole) {
                units.by_code.insert(code.clone(), unit);
                units.codes.insert(id, code.clone());
            }
        }
        units
    }

    /// Code of the unit of a number.
    pub(crate) fn code(&self, id: u64) -> &str {
        self.codes.get(&id).map_or("", String::as_str)
    }

    /// Smallest units as wholes with their code; as they are if there is no such unit any more.
    pub(crate) fn show(&self, code: &str, smallest: &str) -> String {
        shown(self.by_code.get(code), smallest)
    }

    /// Wholes as smallest units, in decimal digits.
    pub(crate) fn parse(&self, code: &str, wholes: &str) -> Result<String> {
        let known = || {
            let codes: Vec<_> = self.by_code.keys().map(String::as_str).collect();
            format!("unit {code:?}: there is none; expected one of {}", codes.join(", "))
        };
        let unit = self.by_code.get(code).with_context(known)?;
        Ok(unit.parse(wholes)?.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_wholes_for_people_and_smallest_units_for_control() {
        let units = Units::new(&json!({"PKT": {"id": 7, "per_whole": 1_u64 << 30}}));
        assert_eq!(units.parse("PKT", "2.5").unwrap(), "2684354560");
        assert_eq!(units.show("PKT", "2684354560"), "2.5 PKT");
        assert_eq!(units.show("PKT", "-1073741824"), "-1 PKT");
        assert_eq!(units.show("GONE", "12"), "12");
        assert_eq!(units.code(7), "PKT");
        let error = units.parse("EUR", "1").unwrap_err().to_string();
        assert_eq!(error, "unit \"EUR\": there is none; expected one of PKT");
        assert!(units.parse("PKT", "0.0000000001").is_err());
    }
}
