//! `lease`: what is for sale, what it costs, and what owners do with what they bought.

use super::client::{Client, Request};
use super::human::{Rate, Size, Span, When};
use super::ledger::Units;
use super::list::{Column, Form, all, card, items_at, str_at, table};
use super::{ControlArgs, now};
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::io::Write;

/// Guaranteed rates of ports: sell, buy, use
#[derive(Args, Debug)]
pub(crate) struct LeaseArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Leases that hold, will, or are offered
    List {
        /// Those that have ended
        #[arg(long)]
        ended: bool,
        /// Most leases
        #[arg(long)]
        limit: Option<u32>,
    },
    /// One lease
    Show { lease: u32 },
    /// What is free on a side of a port, and when
    Calendar {
        port: String,
        direction: Direction,
        #[arg(long, value_name = "WHEN")]
        from: Option<When>,
        #[arg(long, value_name = "WHEN")]
        until: Option<When>,
    },
    /// What a lease would cost; nothing is booked
    Quote {
        #[command(flatten)]
        ask: Ask,
        /// Unit to pay in, e.g. PKT
        #[arg(long)]
        unit: String,
    },
    /// Buy a lease from what a tenant has paid in
    Buy {
        #[command(flatten)]
        ask: Ask,
        #[arg(long)]
        tenant: String,
        /// Unit to pay in, e.g. PKT
        #[arg(long)]
        unit: String,
        /// Most that it may cost, in whole units
        #[arg(long, value_name = "AMOUNT")]
        most: Option<String>,
    },
    /// Offer a lease, and keep its room free
    Offer {
        #[command(flatten)]
        ask: Ask,
        /// When the offer ends; else after the market's usual time
        #[arg(long, value_name = "WHEN")]
        open_until: Option<When>,
    },
    /// Sell what is offered
    Sell {
        lease: u32,
        #[arg(long)]
        tenant: String,
        /// Unit to pay in; without one it is for nothing
        #[arg(long)]
        unit: Option<String>,
    },
    /// Renew a lease
    Renew {
        lease: u32,
        #[command(flatten)]
        end: NewEnd,
        /// Unit to pay in; else that in which it was paid for
        #[arg(long)]
        unit: Option<String>,
    },
    /// Give a lease to vifs of a vswitch, for good
    Bind {
        lease: u32,
        #[arg(long)]
        vswitch: String,
        /// Number of a vif; say it again for more that share the lease
        #[arg(long = "vif", required = true)]
        vifs: Vec<u16>,
        /// Weight in what guarantees leave over; else the lease's rate
        #[arg(long)]
        weight: Option<Rate>,
        /// Most that leaves at all
        #[arg(long)]
        ceiling: Option<Rate>,
        /// Packets leave in the order in which they came
        #[arg(long)]
        preserve_order: bool,
    },
    /// Make two leases of one
    Split {
        lease: u32,
        #[command(flatten)]
        cut: Cut,
    },
    /// Hand a lease over to another tenant
    HandOver { lease: u32, tenant: String },
    /// End a lease early, or withdraw an offer
    #[command(visible_alias = "revoke")]
    End {
        lease: u32,
        /// When; else now
        #[arg(long, value_name = "WHEN")]
        at: Option<When>,
    },
}

/// Which way, seen from the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    Out,
    In,
}

impl Direction {
    const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// What is asked for.
#[derive(Args, Debug)]
struct Ask {
    port: String,
    direction: Direction,
    /// Guaranteed, on the wire, e.g. 10Mbit/s
    rate: Rate,
    /// When it begins: now, +1h, 2027-01-31, 2027-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", default_value = "now")]
    from: When,
    /// For how long, e.g. 30d
    #[arg(
        long = "for",
        value_name = "SPAN",
        required_unless_present = "until",
        conflicts_with = "until"
    )]
    span: Option<Span>,
    /// When it ends
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// How much at once, e.g. 64kB, as far as there is room; else as usual for the rate
    #[arg(long, value_name = "SIZE")]
    burst: Option<Size>,
    /// The burst whole, or no lease
    #[arg(long, requires = "burst")]
    burst_exactly: bool,
}

impl Ask {
    fn body(&self, now: u64) -> Result<Value> {
        let start = self.from.at(now)?;
        let end = match (self.span, self.until) {
            (Some(span), _) => {
                start.checked_add(span.0).context("that ends too far in the future")?
            }
            (None, Some(until)) => until.at(now)?,
            (None, None) => anyhow::bail!("say how long with --for or --until"),
        };
        let burst = match (self.burst, self.burst_exactly) {
            (None, _) => json!("usual"),
            (Some(Size(bytes)), true) => json!({ "exactly": bytes }),
            (Some(Size(bytes)), false) => json!({ "up_to": bytes }),
        };
        Ok(json!({
            "port": self.port,
            "direction": self.direction.name(),
            "start": start,
            "end": end,
            "bytes_per_s": self.rate.0,
            "burst": burst,
        }))
    }
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct NewEnd {
    /// Its new end
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// So much longer than it is
    #[arg(long = "for", value_name = "SPAN")]
    longer: Option<Span>,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Cut {
    /// The second begins then
    #[arg(long, value_name = "WHEN")]
    at: Option<When>,
    /// The second has so much of the rate
    #[arg(long)]
    rate: Option<Rate>,
}

const LEASES: [Column; 8] = [
    ("lease", "/id", Form::Count),
    ("state", "/state", Form::Text),
    ("owner", "/owner", Form::Text),
    ("port", "/port", Form::Text),
    ("way", "/direction", Form::Text),
    ("rate", "/bytes_per_s", Form::Rate),
    ("from", "/start", Form::Instant),
    ("until", "/end", Form::Instant),
];
const LEASE: [Column; 15] = [
    ("lease", "/id", Form::Count),
    ("state", "/state", Form::Text),
    ("state until", "/until", Form::Instant),
    ("owner", "/owner", Form::Text),
    ("port", "/port", Form::Text),
    ("direction", "/direction", Form::Text),
    ("rate", "/bytes_per_s", Form::Rate),
    ("burst", "/burst_bytes", Form::Bytes),
    ("from", "/start", Form::Instant),
    ("until", "/end", Form::Instant),
    ("grace until", "/grace_until", Form::Instant),
    ("decide by", "/lapses", Form::Instant),
    ("vswitch", "/binding/vswitch", Form::Text),
    ("vifs", "/binding/vifs", Form::Text),
    ("paid", "/shown/paid", Form::Text),
];
const STEPS: [Column; 3] = [
    ("from", "/from", Form::Instant),
    ("free", "/bytes_per_s", Form::Rate),
    ("burst", "/burst_bytes", Form::Bytes),
];
const PARTS: [Column; 4] = [
    ("price", "/price", Form::Text),
    ("from", "/start", Form::Instant),
    ("until", "/end", Form::Instant),
    ("amount", "/shown", Form::Text),
];

/// Runs the command.
pub(crate) fn run(args: &LeaseArgs, out: &mut dyn Write) -> Result<()> {
    let (control, client, now) = (&args.control, args.control.client()?, now()?);
    let of = |lease: &u32, what: &str, body: &Value| {
        client.post(&["leases", &lease.to_string(), what], body)
    };
    let lease = match &args.what {
        What::List { ended, limit } => {
            let path: &[&str] = if *ended { &["leases", "ended"] } else { &["leases"] };
            let list = all(&client, || Request::get(path), *limit)?;
            let show = |list: &Value| table(&LEASES, items_at(list, "/items"), "no leases");
            return control.print(out, &list, show);
        }
        What::Calendar { port, direction, from, until } => {
            let asked = Request::get(&["calendar", port, direction.name()])
                .query_if("from", from.map(|from| from.at(now)).transpose()?)
                .query_if("until", until.map(|until| until.at(now)).transpose()?);
            let calendar = client.ask(asked)?.json()?;
            let show = |it: &Value| table(&STEPS, items_at(it, "/steps"), "nothing is for sale");
            return control.print(out, &calendar, show);
        }
        What::Quote { ask, unit } => {
            let asked = json!({ "ask": ask.body(now)?, "unit": unit });
            let quoted = client.post(&["leases", "quote"], &asked)?;
            let units = Units::read(&client)?;
            return control.print(out, &quoted, |quoted| quote(quoted, unit, &units));
        }
        What::End { lease, at } => {
            let id = lease.to_string();
            let before = client.get(&["leases", &id])?;
            let at = at.map(|at| at.at(now)).transpose()?;
            let refund = of(lease, "end", &json!({ "at": at }))?;
            let units = Units::read(&client)?;
            return control.print(out, &refund, |refund| {
                let unit = before.pointer("/paid/unit").and_then(Value::as_u64);
                let code = unit.map_or("", |unit| units.code(unit));
                format!(
                    "lease {lease} ends; given back: {}\n",
                    units.show(code, str_at(refund, "/refund"))
                )
            });
        }
        What::Split { lease, cut } => {
            let asked = match (cut.at, cut.rate) {
                (Some(at), _) => json!({ "at": at.at(now)? }),
                (None, rate) => json!({ "bytes_per_s": rate.context("say --at or --rate")?.0 }),
            };
            let halves = of(lease, "split", &asked)?;
            return control.print(out, &halves, |halves| {
                let both = ["/first", "/second"].map(|at| halves.pointer(at));
                table(&LEASES, both.into_iter().flatten(), "none")
            });
        }
        What::Show { lease } => client.get(&["leases", &lease.to_string()])?,
        What::Buy { ask, tenant, unit, most } => {
            let most = most.as_ref().map(|most| Units::read(&client)?.parse(unit, most));
            let most = most.transpose()?;
            let asked =
                json!({ "tenant": tenant, "ask": ask.body(now)?, "unit": unit, "most": most });
            client.post(&["leases"], &asked)?
        }
        What::Offer { ask, open_until } => {
            let until = open_until.map(|until| until.at(now)).transpose()?;
            client.post(&["leases", "offers"], &json!({ "ask": ask.body(now)?, "until": until }))?
        }
        What::Sell { lease, tenant, unit } => {
            of(lease, "sell", &json!({ "tenant": tenant, "unit": unit }))?
        }
        What::Renew { lease, end, unit } => {
            let end = new_end(&client, *lease, end, now)?;
            of(lease, "renew", &json!({ "end": end, "unit": unit }))?
        }
        What::Bind { lease, vswitch, vifs, weight, ceiling, preserve_order } => {
            let asked = json!({
                "vswitch": vswitch,
                "vifs": vifs,
                "weight": weight.map(|weight| weight.0),
                "ceiling": ceiling.map(|ceiling| ceiling.0),
                "preserve_order": preserve_order,
            });
            of(lease, "bind", &asked)?
        }
        What::HandOver { lease, tenant } => of(lease, "hand-over", &json!({ "to": tenant }))?,
    };
    let units = if control.json() { Units::default() } else { Units::read(&client)? };
    control.print(out, &lease, |lease| shown(lease, &units))
}

fn new_end(client: &Client, lease: u32, end: &NewEnd, now: u64) -> Result<u64> {
    match (end.until, end.longer) {
        (Some(until), _) => until.at(now),
        (None, longer) => {
            let there = client.get(&["leases", &lease.to_string()])?;
            let end = there.get("end").and_then(Value::as_u64).context("control names no end")?;
            let longer = longer.context("say --until or --for")?;
            end.checked_add(longer.0).context("that ends too far in the future")
        }
    }
}

fn shown(lease: &Value, units: &Units) -> String {
    let mut with = lease.clone();
    if let Some(unit) = lease.pointer("/paid/unit").and_then(Value::as_u64) {
        let paid = units.show(units.code(unit), str_at(lease, "/paid/amount"));
        with["shown"] = json!({ "paid": paid });
    }
    card(&LEASE, &with)
}

fn quote(quoted: &Value, unit: &str, units: &Units) -> String {
    let part = |part: &Value| {
        let mut with = part.clone();
        with["shown"] = json!(units.show(unit, str_at(part, "/amount")));
        with
    };
    let parts: Vec<_> = items_at(quoted, "/parts").iter().map(part).collect();
    let columns = [
        ("total", "/shown", Form::Text),
        ("burst", "/burst_bytes", Form::Bytes),
        ("held until", "/held_until", Form::Instant),
    ];
    let mut whole = quoted.clone();
    whole["shown"] = json!(units.show(unit, str_at(quoted, "/total")));
    card(&columns, &whole) + &table(&PARTS, &parts, "no price applies")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        ask: Ask,
    }

    #[test]
    fn what_is_asked_for_is_exact() {
        let line = "x west out 10Mbit/s --from @1000 --for 30d --burst 64kB --burst-exactly";
        let ask = Line::try_parse_from(line.split(' ')).ok().unwrap().ask;
        let expected = json!({
            "port": "west", "direction": "out", "start": 1000, "end": 1000 + 30 * 86_400_000_u64,
            "bytes_per_s": 1_250_000, "burst": { "exactly": 64_000 },
        });
        assert_eq!(ask.body(0).unwrap(), expected);
        for line in [
            "x west out 1Mbit/s",
            "x west out 1Mbit/s --for 1d --until now",
            "x west up 1Mbit/s --for 1d",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
