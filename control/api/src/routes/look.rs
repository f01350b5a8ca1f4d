//! The running dataplane: what it is and counts. A tenant sees its own vswitches, and of ports that they are there.

use super::config::PageQuery;
use super::leases::DirectionBody;
use super::papers::TotalsBody;
use crate::app::Api;
use crate::auth::Who;
use crate::extract::{Json, Query};
use crate::page::{Asked, Page};
use crate::problem::Problem;
use crate::rates::RatesBody;
use axum::extract::State;
use dataplane_api::status::{LinkStatus, PortStatus, VifStatus, VswitchStatus};
use dataplane_api::{DropReason, Status, VifId, VswitchId};
use domain::LeaseId;
use domain::access::Grant;
use serde::{Deserialize, Serialize};
use service::State as BoxState;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::{IntoParams, ToSchema};

/// What of a status somebody sees.
pub(crate) struct Seen<'a> {
    status: &'a Status,
    vswitches: BTreeMap<VswitchId, &'a VswitchStatus>,
}

impl<'a> Seen<'a> {
    pub(crate) fn new(status: &'a Status, state: &BoxState, grant: &Grant) -> Self {
        let vswitches = status.vswitches.iter();
        let seen = vswitches.filter(|vswitch| grant.sees_vswitch(&state.tree, &vswitch.name));
        Self { status, vswitches: seen.map(|vswitch| (vswitch.id, vswitch)).collect() }
    }

    pub(crate) fn vifs(&self) -> impl Iterator<Item = (&'a VifStatus, &'a VswitchStatus)> + '_ {
        let named = |vif: &'a VifStatus| Some((vif, *self.vswitches.get(&vif.vswitch)?));
        self.status.vifs.iter().filter_map(named)
    }
}

/// A port of the dataplane.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LivePort {
    /// Name of the network device.
    name: String,
    /// Whether the link is up.
    up: bool,
    /// Device MTU, bytes.
    mtu: u32,
    /// Back end and mode; not for tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    /// How frames reach the worker that owns their link; not for tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    steering: Option<String>,
    /// Workers by queue; not for tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<Vec<u8>>,
}

impl LivePort {
    fn new(port: &PortStatus, sees: bool) -> Self {
        Self {
            name: port.name.clone(),
            up: port.up,
            mtu: port.mtu,
            backend: sees.then(|| port.backend.clone()),
            steering: sees.then(|| port.steering.clone()),
            workers: sees.then(|| port.queues.iter().map(|(_, worker)| worker.0).collect()),
        }
    }
}

/// Ports of the dataplane.
#[utoipa::path(
    get, path = "/live/ports", tag = "live", params(PageQuery),
    responses((status = 200, body = Page<LivePort>)),
)]
pub(crate) async fn ports(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<LivePort>>, Problem> {
    let sees = who.caller.grant.only_tenant().is_none();
    page(&api, who, &query, move |seen| {
        seen.status.ports.iter().map(|port| LivePort::new(port, sees)).collect()
    })
    .await
}

/// A vswitch in the dataplane.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LiveVswitch {
    /// Name.
    name: String,
    /// Number of the tenant.
    tenant: u32,
    /// Public key, `.k` form.
    public_key: String,
    /// fc00::/8 address.
    address: String,
    /// Scheme in words.
    scheme: String,
    /// It has links with keys, or listens for them.
    needs_key: bool,
    /// Its private key is there.
    has_key: bool,
}

/// Vswitches in the dataplane.
#[utoipa::path(
    get, path = "/live/vswitches", tag = "live", params(PageQuery),
    responses((status = 200, body = Page<LiveVswitch>)),
)]
pub(crate) async fn vswitches(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<LiveVswitch>>, Problem> {
    page(&api, who, &query, |seen| {
        let body = |it: &&VswitchStatus| LiveVswitch {
            name: it.name.clone(),
            tenant: it.tenant,
            public_key: it.public_key.clone(),
            address: it.address.clone(),
            scheme: it.scheme.clone(),
            needs_key: it.needs_key,
            has_key: it.has_key,
        };
        seen.vswitches.values().map(body).collect()
    })
    .await
}

/// A vif in the dataplane.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LiveVif {
    /// Name of its vswitch.
    vswitch: String,
    /// Number in labels.
    number: u16,
    /// Role in words.
    role: String,
    /// One-hop label from its vswitch, 16 hex digits.
    label: String,
    /// The link, or the cable's other end, in words.
    link: String,
    /// Name of the link's port.
    port: Option<String>,
    /// Longest switch packet it sends, bytes.
    mtu: u32,
    /// Whether the next hop is known.
    resolved: bool,
    /// Worker that owns the link; not for tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<u8>,
}

/// Of which vswitch, and which page.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct VswitchQuery {
    /// Name of a vswitch; none: all.
    vswitch: Option<String>,
    /// Most items of the page; 100 if nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl VswitchQuery {
    fn asked(&self) -> Result<Asked, Problem> {
        Asked::new(self.limit, self.cursor.as_deref())
    }

    fn is_asked(&self, name: &str) -> bool {
        self.vswitch.as_ref().is_none_or(|asked| asked == name)
    }
}

/// Vifs in the dataplane.
#[utoipa::path(
    get, path = "/live/vifs", tag = "live", params(VswitchQuery),
    responses((status = 200, body = Page<LiveVif>)),
)]
pub(crate) async fn vifs(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<VswitchQuery>,
) -> Result<Json<Page<LiveVif>>, Problem> {
    let asked = query.asked()?;
    let sees = who.caller.grant.only_tenant().is_none();
    let page = look(&api, who, move |seen| {
        let port = |vif: &VifStatus| {
            let port = seen.status.ports.iter().find(|port| Some(port.id) == vif.port);
            port.map(|port| port.name.clone())
        };
        let body = |(vif, vswitch): (&VifStatus, &VswitchStatus)| LiveVif {
            vswitch: vswitch.name.clone(),
            number: vif.number,
            role: vif.role.clone(),
            label: vif.label.clone(),
            link: vif.link.clone(),
            port: port(vif),
            mtu: vif.mtu,
            resolved: vif.resolved,
            worker: vif.owner.filter(|_| sees).map(|worker| worker.0),
        };
        asked.of(seen.vifs().filter(|(_, vswitch)| query.is_asked(&vswitch.name)).map(body))
    });
    Ok(Json(page.await?))
}

/// A link with keys.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LiveLink {
    /// Name of its vswitch.
    vswitch: String,
    /// Number of its vif.
    number: u16,
    /// Key of the node behind it, `.k` form.
    key: String,
    /// Login by which it came, if it did.
    user: Option<String>,
    /// It came by itself.
    learned: bool,
    /// `crypto_auth` or `noise`.
    kind: String,
    /// As cjdroute names it.
    state: String,
    /// Protocol version of the node; 0: not known yet.
    version: u32,
    /// Round trip of the last answered ping, nanoseconds.
    rtt_ns: Option<u64>,
    /// Nanoseconds since an authentic packet came.
    heard_ns: Option<u64>,
    /// Sessions that came up on it.
    sessions: u64,
}

/// Links with keys.
#[utoipa::path(
    get, path = "/live/links", tag = "live", params(VswitchQuery),
    responses((status = 200, body = Page<LiveLink>)),
)]
pub(crate) async fn links(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<VswitchQuery>,
) -> Result<Json<Page<LiveLink>>, Problem> {
    let asked = query.asked()?;
    let page = api.blocking(move |api| {
        let (now, live, state) = (api.now(), api.live().as_ref(), api.service().state());
        let (status, links) = (api.cache().status(now, live)?, api.cache().links(now, live)?);
        let seen = Seen::new(&status, &state, &who.caller.grant);
        let names: BTreeMap<VifId, (&VifStatus, &VswitchStatus)> =
            seen.vifs().map(|(vif, vswitch)| (vif.id, (vif, vswitch))).collect();
        let body = |link: &LinkStatus| {
            let (vif, vswitch) = names.get(&link.vif)?;
            query.is_asked(&vswitch.name).then(|| LiveLink {
                vswitch: vswitch.name.clone(),
                number: vif.number,
                key: link.key.clone(),
                user: link.user.clone(),
                learned: link.learned,
                kind: link.kind.clone(),
                state: link.state.clone(),
                version: link.version,
                rtt_ns: link.rtt_ns,
                heard_ns: link.heard_ns,
                sessions: link.sessions,
            })
        };
        Ok(asked.of(links.iter().filter_map(body)))
    });
    Ok(Json(page.await?))
}

/// Packets that were dropped for one reason.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LiveDrop {
    /// Name of the vswitch; none: it was not known (yet).
    vswitch: Option<String>,
    /// Name of the port, where the vswitch was not known.
    port: Option<String>,
    /// Why.
    reason: String,
    /// How many, since the process started.
    packets: u64,
}

/// Packets that were dropped, by vswitch and reason; those of no vswitch by port, and not to tenants.
#[utoipa::path(
    get, path = "/live/drops", tag = "live", params(VswitchQuery),
    responses((status = 200, body = Page<LiveDrop>)),
)]
pub(crate) async fn drops(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<VswitchQuery>,
) -> Result<Json<Page<LiveDrop>>, Problem> {
    let asked = query.asked()?;
    let page = api.blocking(move |api| {
        let (now, live, state) = (api.now(), api.live().as_ref(), api.service().state());
        let status = api.cache().status(now, live)?;
        let counters = api.cache().counters(now, live)?;
        let grant = &who.caller.grant;
        let seen = Seen::new(&status, &state, grant);
        let reasons = |of: &[(DropReason, u64)], vswitch: Option<&str>, port: Option<&str>| {
            let body = |(reason, packets): &(DropReason, u64)| LiveDrop {
                vswitch: vswitch.map(ToOwned::to_owned),
                port: port.map(ToOwned::to_owned),
                reason: reason.to_string(),
                packets: *packets,
            };
            of.iter().filter(|(_, packets)| *packets > 0).map(body).collect::<Vec<_>>()
        };
        let mut drops = Vec::new();
        if grant.only_tenant().is_none() && query.vswitch.is_none() {
            for (id, of) in &counters.port_drops {
                let port = status.ports.iter().find(|port| port.id == *id);
                drops.extend(reasons(of, None, port.map(|port| port.name.as_str())));
            }
        }
        for (id, of) in &counters.vswitch_drops {
            let Some(vswitch) = seen.vswitches.get(id) else { continue };
            if query.is_asked(&vswitch.name) {
                drops.extend(reasons(of, Some(&vswitch.name), None));
            }
        }
        Ok(asked.of(drops))
    });
    Ok(Json(page.await?))
}

/// A worker of the dataplane.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LiveWorker {
    /// Its number.
    id: u8,
    /// Core it is pinned to.
    core: Option<u32>,
    /// Generation of the spec it uses.
    generation: u64,
    /// Rounds of its loop.
    rounds: u64,
    /// Rounds that moved nothing.
    idle_rounds: u64,
    /// Times it went to sleep.
    sleeps: u64,
    /// Packets handed to another worker.
    handed_off: u64,
    /// Packets handed to the slow path.
    punted: u64,
    /// Frames on its free list now.
    frames_free: u64,
    /// Frames in its queues now.
    frames_queued: u64,
}

/// What the dataplane as a whole is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LiveWorkers {
    /// Version of the program.
    version: String,
    /// Its process.
    pid: u32,
    /// Nanoseconds since it started.
    uptime_ns: u64,
    /// Newest spec that was accepted.
    accepted: u64,
    /// Lowest generation that any worker still uses.
    applied: u64,
    /// What it wants people to know.
    notices: Vec<String>,
    /// Workers, by number.
    workers: Vec<LiveWorker>,
}

/// Workers of the dataplane, and what it wants people to know. Not for tenants.
#[utoipa::path(
    get, path = "/live/workers", tag = "live", responses((status = 200, body = LiveWorkers)),
)]
pub(crate) async fn workers(
    State(api): State<Api>,
    who: Who,
) -> Result<Json<LiveWorkers>, Problem> {
    let workers = api.blocking(move |api| {
        let seen = who.caller.grant.may_see_box("the workers");
        seen.map_err(service::ServiceError::from)?;
        let (now, live) = (api.now(), api.live().as_ref());
        let status = api.cache().status(now, live)?;
        let counters = api.cache().counters(now, live)?;
        let counts: BTreeMap<_, _> = counters.workers.iter().copied().collect();
        let workers = status.workers.iter().map(|worker| {
            let counts = counts.get(&worker.id).copied().unwrap_or_default();
            LiveWorker {
                id: worker.id.0,
                core: worker.core,
                generation: worker.generation.0,
                rounds: counts.rounds,
                idle_rounds: counts.idle_rounds,
                sleeps: counts.sleeps,
                handed_off: counts.handed_off,
                punted: counts.punted,
                frames_free: counts.frames_free,
                frames_queued: counts.frames_queued,
            }
        });
        Ok(LiveWorkers {
            version: status.version.clone(),
            pid: status.pid,
            uptime_ns: status.uptime_ns,
            accepted: status.accepted.0,
            applied: status.applied.0,
            notices: status.notices.clone(),
            workers: workers.collect(),
        })
    });
    Ok(Json(workers.await?))
}

/// A lease in the dataplane, and what it gave.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LiveLease {
    /// Its number.
    id: u32,
    /// Which way.
    direction: DirectionBody,
    /// Guaranteed, bytes of wire a second.
    bytes_per_s: u64,
    /// At once, bytes.
    burst_bytes: u64,
    /// It holds now.
    holds: bool,
    /// What became of its packets since its vifs are there.
    totals: TotalsBody,
}

/// Leases in use, and what they gave.
#[utoipa::path(
    get, path = "/live/leases", tag = "live", params(PageQuery),
    responses((status = 200, body = Page<LiveLease>)),
)]
pub(crate) async fn leases(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<LiveLease>>, Problem> {
    let asked = query.asked()?;
    let page = api.blocking(move |api| {
        let (now, live, state) = (api.now(), api.live().as_ref(), api.service().state());
        let own = own_leases(&state, &who.caller.grant);
        let leases = api.cache().leases(now, live)?;
        let is_seen = |id: u32| own.as_ref().is_none_or(|own| own.contains(&LeaseId(id)));
        let seen = leases.iter().filter(|lease| is_seen(lease.id));
        Ok(asked.of(seen.map(|lease| LiveLease {
            id: lease.id,
            direction: lease.direction.into(),
            bytes_per_s: lease.rate,
            burst_bytes: lease.burst,
            holds: lease.holds,
            totals: lease.totals.into(),
        })))
    });
    Ok(Json(page.await?))
}

/// The leases of a tenant; `None`: who asks sees all.
pub(crate) fn own_leases(state: &BoxState, grant: &Grant) -> Option<BTreeSet<LeaseId>> {
    let own = grant.only_tenant_id(&state.tree)?;
    let leases = state.leases.iter().filter(|(_, lease, _)| lease.owner == Some(own));
    Some(leases.map(|(id, ..)| id).collect())
}

/// What went in and out in the last second or so, by vif; by port too, but not to tenants.
#[utoipa::path(
    get, path = "/live/rates", tag = "live", params(VswitchQuery),
    responses((status = 200, body = RatesBody)),
)]
pub(crate) async fn rates(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<VswitchQuery>,
) -> Result<Json<RatesBody>, Problem> {
    let asked = query.asked()?;
    let rates = api.blocking(move |api| {
        let rates = api.events().rates()?;
        let state = api.service().state();
        Ok(rates.body(&state, &who.caller.grant, query.vswitch.as_deref(), asked))
    });
    Ok(Json(rates.await?))
}

/// A page of what somebody sees of the status.
async fn page<T: Send + 'static>(
    api: &Api,
    who: Who,
    query: &PageQuery,
    show: impl FnOnce(&Seen<'_>) -> Vec<T> + Send + 'static,
) -> Result<Json<Page<T>>, Problem> {
    let asked = query.asked()?;
    Ok(Json(look(api, who, move |seen| asked.of(show(seen))).await?))
}

async fn look<T: Send + 'static>(
    api: &Api,
    who: Who,
    show: impl FnOnce(&Seen<'_>) -> T + Send + 'static,
) -> Result<T, Problem> {
    api.blocking(move |api| {
        let status = api.cache().status(api.now(), api.live().as_ref())?;
        let state = api.service().state();
        Ok(show(&Seen::new(&status, &state, &who.caller.grant)))
    })
    .await
}
