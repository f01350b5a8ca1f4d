//! Packets as they pass: traces without their bytes, captures with them.
//!
//! A tenant sees the steps at its own vifs alone, also where a packet goes on into another's vswitch. What packets carry
//! is not shown, unless the owner or an operator asks. Each trace and capture is audited.

use crate::app::Api;
use crate::auth::Who;
use crate::events::{Events, Seat};
use crate::extract::Json;
use crate::live::{LiveError, Tap};
use crate::problem::Problem;
use crate::redact::redacted;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use dataplane_api::protocol::{TapEvent, TapFilter, TapRecord};
use dataplane_api::{DropReason, PortId, Status, VifId};
use domain::access::Grant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// Media type of one JSON object a line.
const NDJSON: &str = "application/x-ndjson";
/// Steps on their way to who reads them; while he does not, none are asked for.
const QUEUE_LEN: usize = 256;
/// How long the dataplane is waited for at a time.
const WAIT: Duration = Duration::from_millis(200);
/// Bounds of what may be asked for.
const SECONDS_MAX: u64 = 3600;
const RATE_MAX: u32 = 10_000;
const SNAP_LEN_MAX: u16 = 2048;

/// Which packets. All that is said must match.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Ingress or egress vif; a tenant must say one of its own.
    vif: Option<VifRef>,
    /// Label as received, 16 hexadecimal digits, with or without points.
    label: Option<String>,
    /// Name of the ingress or egress port.
    port: Option<String>,
    /// Drop reason.
    reason: Option<String>,
    /// Most steps a second; 1000 if nothing is said.
    #[schema(minimum = 1, maximum = 10_000)]
    rate: Option<u32>,
    /// The stream ends after so many seconds; 60 if nothing is said.
    #[schema(minimum = 1, maximum = 3600)]
    seconds: Option<u64>,
}

/// A vif.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VifRef {
    /// Name of its vswitch.
    vswitch: String,
    /// Its number.
    number: u16,
}

/// Which packets, and how much of each.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaptureAsked {
    /// Which packets.
    filter: Filter,
    /// Bytes of each frame, at most; 96 if nothing is said.
    #[schema(minimum = 1, maximum = 2048)]
    snap_len: Option<u16>,
    /// With what packets carry; for the owner and operators alone. Else only headers are shown.
    #[serde(default)]
    payload: bool,
}

/// One step of a packet.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TapStep {
    /// When, nanoseconds of the box's monotonic clock.
    at_ns: u64,
    /// Worker that saw it.
    worker: u8,
    /// Same for all steps of one packet on one worker.
    packet: u64,
    /// `received`, `classified`, `switched`, `handed_off`, `queued`, `sent`, `punted`, `dropped`.
    stage: &'static str,
    /// Length of the frame, bytes.
    frame_len: u32,
    /// The vif of the step; of `switched`: where it came from.
    vif: Option<VifRef>,
    /// Of `switched`: where it goes.
    to: Option<VifRef>,
    /// Name of the port.
    port: Option<String>,
    /// Of `switched`: label before, 16 hexadecimal digits.
    label_in: Option<String>,
    /// Of `switched`: label after.
    label_out: Option<String>,
    /// Of `switched`: bits consumed.
    bits: Option<u8>,
    /// Of `handed_off`: to which worker.
    to_worker: Option<u8>,
    /// Of `dropped`: why.
    reason: Option<String>,
    /// First bytes of the frame, hexadecimal digits; none of a trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

/// Follows packets stage by stage, one JSON object a line. Not for auditors.
#[utoipa::path(
    post, path = "/trace", tag = "taps", request_body = Filter,
    responses((
        status = 200, description = "Steps, one JSON object a line, as they happen",
        body = TapStep, content_type = "application/x-ndjson",
    )),
)]
pub(crate) async fn trace(
    State(api): State<Api>,
    who: Who,
    Json(filter): Json<Filter>,
) -> Result<Response, Problem> {
    tap(api, who, filter, 0, false).await
}

/// Frames as they come, go and are dropped, one JSON object a line. Not for auditors.
#[utoipa::path(
    post, path = "/capture", tag = "taps", request_body = CaptureAsked,
    responses((
        status = 200, description = "Steps with bytes, one JSON object a line, as they happen",
        body = TapStep, content_type = "application/x-ndjson",
    )),
)]
pub(crate) async fn capture(
    State(api): State<Api>,
    who: Who,
    Json(CaptureAsked { filter, snap_len, payload }): Json<CaptureAsked>,
) -> Result<Response, Problem> {
    let snap_len = snap_len.unwrap_or(96);
    if !(1..=SNAP_LEN_MAX).contains(&snap_len) {
        return Err(Problem::invalid("snap_len", snap_len, format!("1 to {SNAP_LEN_MAX}")));
    }
    if payload {
        let may = who.caller.grant.may_operate("what packets carry");
        may.map_err(service::ServiceError::from)?;
    }
    tap(api, who, filter, snap_len, payload).await
}

async fn tap(
    api: Api,
    who: Who,
    filter: Filter,
    snap_len: u16,
    payload: bool,
) -> Result<Response, Problem> {
    let may = who.caller.grant.may_change("watching packets");
    may.map_err(service::ServiceError::from)?;
    let seat = Events::seat(&api, &who.caller.name)?;
    let seconds = filter.seconds.unwrap_or(60);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(Problem::invalid("seconds", seconds, format!("1 to {SECONDS_MAX}")));
    }
    let grant = who.caller.grant.clone();
    let audited = who.clone();
    let (tap, status) = api
        .blocking(move |api| {
            let status = api.cache().status(api.now(), api.live().as_ref())?;
            let asked = resolved(api, &grant, &filter, &status, snap_len)?;
            let subject = filter.vif.as_ref().map_or_else(
                || "all vifs".to_owned(),
                |vif| format!("{}:{}", vif.vswitch, vif.number),
            );
            let tenant = filter.vif.as_ref().and_then(|vif| {
                let state = api.service().state();
                state.tree.vswitches.get(&vif.vswitch).map(|vswitch| vswitch.tenant.clone())
            });
            let action = if snap_len > 0 { "tap.capture" } else { "tap.trace" };
            let detail = if payload { "with payload" } else { "headers only" };
            let service = api.service();
            service.note(
                api.now(),
                &audited.caller,
                action,
                tenant.as_deref(),
                &subject,
                detail,
            )?;
            Ok((api.live().tap(&asked)?, status))
        })
        .await?;
    let (sender, receiver) = mpsc::channel(QUEUE_LEN);
    let until = api.now().after(seconds * 1000);
    let eye = Eye { api, who, status, payload, snap_len, until: until.0, _seat: seat };
    tokio::task::spawn_blocking(move || eye.watch(tap, &sender));
    let lines = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((Ok::<_, Infallible>(receiver.recv().await?), receiver))
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response())
}

/// The filter in the dataplane's own ids, if all of it is there and who asks may see it.
fn resolved(
    api: &Api,
    grant: &Grant,
    filter: &Filter,
    status: &Status,
    snap_len: u16,
) -> Result<TapFilter, Problem> {
    if grant.only_tenant().is_some() && filter.vif.is_none() {
        return Err(Problem::invalid("vif", "none", "a vif of one of your vswitches"));
    }
    let rate_max = filter.rate.unwrap_or(1000);
    if !(1..=RATE_MAX).contains(&rate_max) {
        return Err(Problem::invalid("rate", rate_max, format!("1 to {RATE_MAX}")));
    }
    let state = api.service().state();
    let vif = |asked: &VifRef| {
        let seen = grant.sees_vswitch(&state.tree, &asked.vswitch);
        let vswitch = status.vswitches.iter().find(|it| seen && it.name == asked.vswitch)?;
        let is_it = |vif: &&dataplane_api::status::VifStatus| {
            vif.vswitch == vswitch.id && vif.number == asked.number
        };
        status.vifs.iter().find(is_it).map(|vif| vif.id)
    };
    let no_vif =
        |asked: &VifRef| Problem::not_found("vif", format!("{}:{}", asked.vswitch, asked.number));
    let found = |asked: &VifRef| vif(asked).ok_or_else(|| no_vif(asked));
    let port = |name: &String| {
        let port = status.ports.iter().find(|port| port.name == *name);
        port.map(|port| port.id).ok_or_else(|| Problem::not_found("port", name))
    };
    Ok(TapFilter {
        vif: filter.vif.as_ref().map(found).transpose()?,
        label: filter.label.as_deref().map(label).transpose()?,
        port: filter.port.as_ref().map(port).transpose()?,
        reason: filter.reason.as_deref().map(reason).transpose()?,
        snap_len,
        rate_max,
    })
}

fn label(text: &str) -> Result<u64, Problem> {
    let digits: String = text.chars().filter(|c| *c != '.').collect();
    let is_hex = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let label = u64::from_str_radix(&digits, 16).ok().filter(|_| is_hex);
    label.ok_or_else(|| Problem::invalid("label", format!("{text:?}"), "16 hexadecimal digits"))
}

fn reason(text: &str) -> Result<DropReason, Problem> {
    DropReason::from_name(text)
        .ok_or_else(|| Problem::invalid("reason", format!("{text:?}"), "a drop reason"))
}

/// Who watches, and what of it he sees.
struct Eye {
    api: Api,
    who: Who,
    status: Arc<Status>,
    payload: bool,
    snap_len: u16,
    until: u64,
    _seat: Seat,
}

impl Eye {
    /// Hands steps on until the time is over, nobody reads any more, the token holds no longer or the dataplane is gone.
    fn watch(mut self, mut tap: Box<dyn Tap>, sender: &mpsc::Sender<Bytes>) {
        let stopped = self.api.events().stopped();
        let mut names = Names::new(&self.status);
        let mut checked = self.api.now().0;
        loop {
            let now = self.api.now().0;
            if now >= self.until || *stopped.borrow() || sender.is_closed() {
                return;
            }
            if now.abs_diff(checked) >= 1000 {
                checked = now;
                if !self.holds() {
                    return;
                }
                if let Ok(status) =
                    self.api.cache().status(self.api.now(), self.api.live().as_ref())
                {
                    self.status = status;
                    names = Names::new(&self.status);
                }
            }
            match tap.next_within(WAIT) {
                Ok(None) => {}
                Ok(Some(record)) => {
                    let Some(step) = self.step(&names, &record) else { continue };
                    let Ok(mut line) = serde_json::to_vec(&step) else { continue };
                    line.push(b'\n');
                    if sender.blocking_send(line.into()).is_err() {
                        return;
                    }
                }
                Err(LiveError::Away(_) | LiveError::Refused(_)) => return,
            }
        }
    }

    fn holds(&self) -> bool {
        let Some((id, _)) = self.who.token else { return true };
        matches!(self.api.service().token_holds(self.api.now(), id), Ok(Some(_)))
    }

    /// What is shown of a step; `None`: nothing.
    fn step(&self, names: &Names, record: &TapRecord) -> Option<TapStep> {
        let grant = &self.who.caller.grant;
        if grant.only_tenant().is_some() {
            let state = self.api.service().state();
            let vifs = vifs(record.event);
            let is_own = |vif: &VifId| {
                let name = names.vifs.get(vif);
                name.is_some_and(|vif| grant.sees_vswitch(&state.tree, &vif.vswitch))
            };
            // A step at no vif may be of anybody's packet.
            if vifs.is_empty() || !vifs.iter().all(is_own) {
                return None;
            }
        }
        let bytes = (self.snap_len > 0).then(|| {
            let shown = if self.payload { &record.bytes } else { redacted(record) };
            HEXLOWER.encode(shown)
        });
        Some(TapStep { bytes, ..names.step(record) })
    }
}

/// Vifs that a step is at.
fn vifs(event: TapEvent) -> Vec<VifId> {
    match event {
        TapEvent::Received { .. } | TapEvent::HandedOff { .. } => Vec::new(),
        TapEvent::Classified { vif }
        | TapEvent::Queued { vif }
        | TapEvent::Sent { vif, .. }
        | TapEvent::Punted { vif } => vec![vif],
        TapEvent::Switched { from, to, .. } => vec![from, to],
        TapEvent::Dropped { vif, .. } => vif.into_iter().collect(),
    }
}

/// Names of what the dataplane has numbers for.
struct Names {
    vifs: BTreeMap<VifId, VifRef>,
    ports: BTreeMap<PortId, String>,
}

impl Names {
    fn new(status: &Status) -> Self {
        let vswitches: BTreeMap<_, _> =
            status.vswitches.iter().map(|vswitch| (vswitch.id, &vswitch.name)).collect();
        let named = |vif: &dataplane_api::status::VifStatus| {
            let vswitch = (*vswitches.get(&vif.vswitch)?).clone();
            Some((vif.id, VifRef { vswitch, number: vif.number }))
        };
        Self {
            vifs: status.vifs.iter().filter_map(named).collect(),
            ports: status.ports.iter().map(|port| (port.id, port.name.clone())).collect(),
        }
    }

    fn step(&self, record: &TapRecord) -> TapStep {
        let vif = |id: VifId| self.vifs.get(&id).cloned();
        let port = |id: PortId| self.ports.get(&id).cloned();
        let hex = |label: u64| Some(format!("{label:016x}"));
        let step = TapStep {
            at_ns: record.at_ns,
            worker: record.worker.0,
            packet: record.packet,
            stage: "",
            frame_len: record.frame_len,
            vif: None,
            to: None,
            port: None,
            label_in: None,
            label_out: None,
            bits: None,
            to_worker: None,
            reason: None,
            bytes: None,
        };
        match record.event {
            TapEvent::Received { port: id } => {
                TapStep { stage: "received", port: port(id), ..step }
            }
            TapEvent::Classified { vif: id } => {
                TapStep { stage: "classified", vif: vif(id), ..step }
            }
            TapEvent::Switched { from, to, label_in, label_out, bits } => TapStep {
                stage: "switched",
                vif: vif(from),
                to: vif(to),
                label_in: hex(label_in),
                label_out: hex(label_out),
                bits: Some(bits),
                ..step
            },
            TapEvent::HandedOff { to } => {
                TapStep { stage: "handed_off", to_worker: Some(to.0), ..step }
            }
            TapEvent::Queued { vif: id } => TapStep { stage: "queued", vif: vif(id), ..step },
            TapEvent::Sent { port: to, vif: id } => {
                TapStep { stage: "sent", port: port(to), vif: vif(id), ..step }
            }
            TapEvent::Punted { vif: id } => TapStep { stage: "punted", vif: vif(id), ..step },
            TapEvent::Dropped { reason, vif: at, port: on } => TapStep {
                stage: "dropped",
                reason: Some(reason.to_string()),
                vif: at.and_then(vif),
                port: on.and_then(port),
                ..step
            },
        }
    }
}
