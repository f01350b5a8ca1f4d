//! `trace`: follows packets stage by stage, and says why each step was taken.

use crate::connect::Process;
use crate::label::Label;
use crate::names::{self, VifName};
use crate::output::OutputArgs;
use crate::{ProcessArgs, why};
use anyhow::Result;
use clap::Args;
use dataplane_api::protocol::{TapEvent, TapFilter, TapRecord};
use dataplane_api::{DropReason, Status};
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};

/// Which packets; all that is given must match.
#[derive(Args, Debug, Default)]
pub(crate) struct FilterArgs {
    /// Label as received
    #[arg(long)]
    pub(crate) label: Option<Label>,
    /// Ingress or egress vif, as VSWITCH:NUMBER
    #[arg(long)]
    pub(crate) vif: Option<VifName>,
    /// Ingress or egress port
    #[arg(long)]
    pub(crate) port: Option<String>,
    /// Drop reason
    #[arg(long, value_parser = why::parse)]
    pub(crate) reason: Option<DropReason>,
}

impl FilterArgs {
    /// The filter in the process' own ids.
    pub(crate) fn resolve(
        &self,
        status: &Status,
        snap_len: u16,
        rate_max: u32,
    ) -> Result<TapFilter> {
        Ok(TapFilter {
            label: self.label.map(|label| label.0),
            vif: self
                .vif
                .as_ref()
                .map(|name| names::vif_named(status, name))
                .transpose()?
                .map(|vif| vif.id),
            port: self
                .port
                .as_ref()
                .map(|name| names::port_named(status, name))
                .transpose()?
                .map(|port| port.id),
            reason: self.reason,
            snap_len,
            rate_max,
        })
    }
}

#[derive(Args, Debug)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Most records a second; the packet path never waits for a trace
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Stop after this many packets came to their end
    #[arg(short, long)]
    count: Option<u64>,
    /// Stop after this many seconds
    #[arg(long)]
    seconds: Option<u64>,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub(crate) fn run(args: &TraceArgs, out: &mut dyn Write) -> Result<()> {
    let mut process = Process::connect(&args.process)?;
    let status = process.status()?;
    let filter = args.filter.resolve(&status, 0, args.rate)?;
    let mut tap = process.tap(filter)?;
    let started = Instant::now();
    let (mut ended, mut first_ns) = (0, None);
    while args.count.is_none_or(|count| ended < count)
        && args.seconds.is_none_or(|seconds| started.elapsed().as_secs() < seconds)
    {
        let Some(record) = tap.next_within(Duration::from_millis(200))? else { continue };
        let first_ns = *first_ns.get_or_insert(record.at_ns);
        if args.output.json {
            serde_json::to_writer(&mut *out, &object(&status, &record))?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", line(&status, &record, first_ns))?;
        }
        out.flush()?;
        ended += u64::from(is_end(&record.event));
    }
    Ok(())
}

/// Whether nothing more happens to the packet.
const fn is_end(event: &TapEvent) -> bool {
    matches!(event, TapEvent::Sent { .. } | TapEvent::Punted { .. } | TapEvent::Dropped { .. })
}

/// One step as a line: when, who, which packet, what, why.
fn line(status: &Status, record: &TapRecord, first_ns: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "microseconds are shown")]
    let seconds = record.at_ns.saturating_sub(first_ns) as f64 / 1e9;
    let (stage, words) = step(status, record);
    format!(
        "{seconds:11.6} s  worker {}  packet {:<6}  {stage:<8}  {words}",
        record.worker, record.packet
    )
}

/// Name of the stage, and what happened there in words.
fn step(status: &Status, record: &TapRecord) -> (&'static str, String) {
    let vif = |id| names::vif(status, id);
    let port = |id| names::port(status, id);
    match record.event {
        TapEvent::Received { port: id } => {
            ("receive", format!("{} bytes on port {}", record.frame_len, port(id)))
        }
        TapEvent::Classified { vif: id } => (
            "classify",
            format!("from {}: its source and destination addresses are that link's", vif(id)),
        ),
        TapEvent::Switched { from, to, label_in, label_out, bits } => (
            "switch",
            format!(
                "{} → {}: the low {bits} bits of {} name {}; {} goes on",
                vif(from),
                vif(to),
                Label(label_in),
                vif(to),
                Label(label_out)
            ),
        ),
        TapEvent::HandedOff { to } => {
            ("hand off", format!("to worker {to}, which owns the next link"))
        }
        TapEvent::Queued { vif: id } => ("queue", format!("for {}", vif(id))),
        TapEvent::Sent { port: id, vif: egress } => {
            ("send", format!("{} bytes on port {} to {}", record.frame_len, port(id), vif(egress)))
        }
        TapEvent::Punted { vif: id } => {
            ("punt", format!("from {}: for the vswitch itself, the slow path answers it", vif(id)))
        }
        TapEvent::Dropped { reason, vif: at, port: on } => {
            let place = at
                .map(|id| format!(" at {}", vif(id)))
                .or_else(|| on.map(|id| format!(" on port {}", port(id))));
            ("drop", format!("{reason}{}: {}", place.unwrap_or_default(), why::sentence(reason)))
        }
    }
}

/// One step as JSON.
fn object(status: &Status, record: &TapRecord) -> Value {
    let vif = |id| names::vif(status, id);
    let port = |id| names::port(status, id);
    let (stage, words) = step(status, record);
    let mut object = json!({
        "at_ns": record.at_ns,
        "worker": record.worker,
        "packet": record.packet,
        "stage": stage,
        "bytes": record.frame_len,
        "words": words,
    });
    let details = match record.event {
        TapEvent::Received { port: id } => json!({ "port": port(id) }),
        TapEvent::Classified { vif: id }
        | TapEvent::Queued { vif: id }
        | TapEvent::Punted { vif: id } => {
            json!({ "vif": vif(id) })
        }
        TapEvent::Switched { from, to, label_in, label_out, bits } => json!({
            "from": vif(from),
            "vif": vif(to),
            "label_in": Label(label_in),
            "label_out": Label(label_out),
            "bits": bits,
        }),
        TapEvent::HandedOff { to } => json!({ "to_worker": to }),
        TapEvent::Sent { port: id, vif: egress } => json!({ "port": port(id), "vif": vif(egress) }),
        TapEvent::Dropped { reason, vif: at, port: on } => {
            json!({ "reason": reason, "vif": at.map(vif), "port": on.map(port) })
        }
    };
    if let (Value::Object(object), Value::Object(details)) = (&mut object, details) {
        object.extend(details);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{PortId, VifId, WorkerId};
    use dataplane_client::sample;

    fn record(event: TapEvent) -> TapRecord {
        TapRecord {
            at_ns: 1_500_000,
            worker: WorkerId(1),
            packet: 42,
            event,
            frame_len: 98,
            bytes: Vec::new(),
        }
    }

    #[test]
    fn each_step_says_what_happened_and_why() {
        let status = sample::status(1);
        let switched = TapEvent::Switched {
            from: VifId(0),
            to: VifId(1),
            label_in: 0x17,
            label_out: 0xa << 60 | 1,
            bits: 4,
        };
        let dropped =
            TapEvent::Dropped { reason: DropReason::Policy, vif: Some(VifId(4)), port: None };
        let lines: Vec<String> = [
            TapEvent::Received { port: PortId(0) },
            TapEvent::Classified { vif: VifId(0) },
            switched,
            TapEvent::Queued { vif: VifId(1) },
            TapEvent::Sent { port: PortId(1), vif: VifId(1) },
            dropped,
        ]
        .map(|event| line(&status, &record(event), 500_000))
        .to_vec();
        let expected = [
            "   0.001000 s  worker 1  packet 42      receive   98 bytes on port west",
            "   0.001000 s  worker 1  packet 42      classify  from red:2: its source and destination addresses are that link's",
            "   0.001000 s  worker 1  packet 42      switch    red:2 → red:3: the low 4 bits of 0000.0000.0000.0017 name red:3; a000.0000.0000.0001 goes on",
            "   0.001000 s  worker 1  packet 42      queue     for red:3",
            "   0.001000 s  worker 1  packet 42      send      98 bytes on port east to red:3",
            "   0.001000 s  worker 1  packet 42      drop      policy at blue:5: the vswitch's class matrix does not let this ingress role reach this egress role",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn json_names_what_the_line_names() {
        let status = sample::status(1);
        let event =
            TapEvent::Dropped { reason: DropReason::UnknownLink, vif: None, port: Some(PortId(0)) };
        let object = object(&status, &record(event));
        assert_eq!(object["stage"], "drop");
        assert_eq!(object["reason"], "unknown_link");
        assert_eq!(object["port"], "west");
        assert_eq!(object["vif"], Value::Null);
        assert_eq!(object["packet"], 42);
    }

    #[test]
    fn filters_are_resolved_by_name() {
        let status = sample::status(1);
        let args = FilterArgs {
            label: Some(Label(0x13)),
            vif: Some("blue:5".parse().unwrap()),
            port: Some("east".into()),
            reason: Some(DropReason::Policy),
        };
        let expected = TapFilter {
            label: Some(0x13),
            vif: Some(VifId(4)),
            port: Some(PortId(1)),
            reason: Some(DropReason::Policy),
            snap_len: 96,
            rate_max: 10,
        };
        assert_eq!(args.resolve(&status, 96, 10).unwrap(), expected);
        let wrong = FilterArgs { port: Some("up".into()), ..FilterArgs::default() };
        assert!(wrong.resolve(&status, 0, 1).is_err());
    }

    #[test]
    fn a_packet_ends_where_nothing_more_happens_to_it() {
        assert!(is_end(&TapEvent::Sent { port: PortId(0), vif: VifId(0) }));
        assert!(!is_end(&TapEvent::HandedOff { to: WorkerId(1) }));
    }
}
