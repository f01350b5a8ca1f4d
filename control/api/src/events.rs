//! What happens, told as it happens: server-sent events.
//!
//! ```text
//! watch: state four times a second, counters once ─► what is new ─► broadcast (bounded) ─► each stream: is it his to see?
//! ```
//!
//! Whoever reads too slowly misses events, and is told how many.

use crate::app::Api;
use crate::auth::Who;
use crate::extract::Query;
use crate::live::Counters;
use crate::problem::{Kind, Problem};
use crate::rates::{Rates, RatesEvent};
use crate::routes::config::CommitBody;
use crate::routes::leases::LeaseBody;
use crate::routes::me::DataplaneBody;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event as Sse, KeepAlive, Sse as SseResponse};
use domain::access::Grant;
use domain::{LeaseId, Leases};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use service::{Caller, Service, State as BoxState};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use utoipa::{IntoParams, ToSchema};

/// Events that a stream may be behind.
const QUEUE_LEN: usize = 256;
/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Looks at the state for one at the counters.
const LOOKS: u32 = 4;
/// Streams at a time.
const STREAMS_MAX: usize = 256;
/// Streams at a time of one caller.
const STREAMS_OF_ONE_MAX: usize = 8;
/// How often a stream looks whether its token still holds.
const RECHECK: Duration = Duration::from_secs(2);
/// Leases and commits that are told of at a time; whoever needs more looks them up.
const LEASES_MAX: usize = 1000;
const COMMITS_MAX: u64 = 50;

/// What streams are told from.
#[derive(Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
    rates: RwLock<Option<Arc<Rates>>>,
    stopped: watch::Sender<bool>,
    streams: Mutex<BTreeMap<String, usize>>,
    /// As it was when the watching began.
    first: Arc<BoxState>,
}

/// Something that happened. Who may see what of it is decided for each stream.
#[derive(Clone, Debug)]
enum Event {
    State(Arc<Step>),
    Rates(Arc<Rates>),
}

/// The box as it was and as it is.
#[derive(Debug)]
struct Step {
    before: Arc<BoxState>,
    after: Arc<BoxState>,
    /// Commits in between.
    commits: Vec<CommitBody>,
    /// Leases that are not what they were.
    leases: Vec<LeaseId>,
}

impl Events {
    pub(crate) fn new(service: &Service) -> Self {
        Self {
            sender: broadcast::Sender::new(QUEUE_LEN),
            rates: RwLock::default(),
            stopped: watch::Sender::new(false),
            streams: Mutex::default(),
            first: service.state(),
        }
    }

    /// The last rates.
    pub(crate) fn rates(&self) -> Result<Arc<Rates>, Problem> {
        let rates = self.rates.read().unwrap_or_else(PoisonError::into_inner).clone();
        let none = || {
            Problem::new(
                Kind::Away,
                "there are no rates yet: the dataplane was seen less than twice",
            )
        };
        rates.ok_or_else(none)
    }

    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.subscribe()
    }

    /// Room for one more stream.
    pub(crate) fn seat(api: &Api, name: &str) -> Result<Seat, Problem> {
        let streams = &api.events().streams;
        let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = streams.values().sum();
        let own = streams.get(name).copied().unwrap_or(0);
        if all >= STREAMS_MAX || own >= STREAMS_OF_ONE_MAX {
            let detail = format!(
                "{own} streams of yours, {all} in all; at most {STREAMS_OF_ONE_MAX} and {STREAMS_MAX}"
            );
            return Err(Problem::too_many(detail, 10));
        }
        streams.insert(name.to_owned(), own + 1);
        Ok(Seat { api: api.clone(), name: name.to_owned() })
    }
}

/// A stream's place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    api: Api,
    name: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let streams = &self.api.events().streams;
        let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = streams.get_mut(&self.name) {
            *own -= 1;
            if *own == 0 {
                streams.remove(&self.name);
            }
        }
    }
}

/// Looks at state and counters until `stop`.
pub(crate) async fn watch(api: &Api, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut before, mut counters, mut round) = (Arc::clone(&api.events().first), None, 0_u32);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = ticks.tick() => {}
        }
        let after = api.service().state();
        if !Arc::ptr_eq(&before, &after) {
            let step = step(api, before, Arc::clone(&after)).await;
            // Nobody may be listening.
            let _heard = api.events().sender.send(Event::State(Arc::new(step)));
            before = after;
        }
        if round == 0 {
            counters = look_at_counters(api, counters).await;
        }
        round = (round + 1) % LOOKS;
    }
    api.events().stopped.send_replace(true);
}

/// Makes rates of the last look and this one.
async fn look_at_counters(api: &Api, last: Option<Arc<Counters>>) -> Option<Arc<Counters>> {
    let looked = api.blocking(move |api| {
        let (now, live) = (api.now(), api.live().as_ref());
        let counters = Arc::new(live.counters()?);
        let status = api.cache().status(now, live)?;
        let rates = last.and_then(|last| Rates::between(&last, &counters, &status));
        Ok((counters, rates.map(Arc::new)))
    });
    let Ok((counters, rates)) = looked.await else {
        *api.events().rates.write().unwrap_or_else(PoisonError::into_inner) = None;
        return None;
    };
    if let Some(rates) = &rates {
        let _heard = api.events().sender.send(Event::Rates(Arc::clone(rates)));
    }
    *api.events().rates.write().unwrap_or_else(PoisonError::into_inner) = rates;
    Some(counters)
}

/// What happened between two looks.
async fn step(api: &Api, before: Arc<BoxState>, after: Arc<BoxState>) -> Step {
    let leases = changed_leases(&before.leases, &after.leases);
    let made = after.commit.saturating_sub(before.commit).min(COMMITS_MAX);
    let mut commits = Vec::new();
    if made > 0 {
        let (last, made) = (after.commit.saturating_add(1), u32::try_from(made).unwrap_or(0));
        let box_itself = Caller::switchyard();
        let found = api.run(move |service, _| service.commits(&box_itself, last, made)).await;
        commits = found.unwrap_or_default().iter().map(CommitBody::from).collect();
        commits.reverse();
    }
    Step { before, after, commits, leases }
}

/// Leases that are not what they were.
fn changed_leases(before: &Arc<Leases>, after: &Arc<Leases>) -> Vec<LeaseId> {
    if Arc::ptr_eq(before, after) {
        return Vec::new();
    }
    let ids: BTreeSet<_> = before.iter().chain(after.iter()).map(|(id, ..)| id).collect();
    let is_changed = |id: &LeaseId| before.lease(*id).ok() != after.lease(*id).ok();
    ids.into_iter().filter(is_changed).take(LEASES_MAX).collect()
}

/// Which events.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Kinds, joined by commas: `commit`, `confirm`, `lease`, `dataplane`, `rates`; all if nothing is said.
    kinds: Option<String>,
}

const KINDS: [&str; 5] = ["commit", "confirm", "lease", "dataplane", "rates"];

impl EventsQuery {
    fn kinds(&self) -> Result<BTreeSet<&'static str>, Problem> {
        let Some(asked) = &self.kinds else { return Ok(KINDS.into()) };
        let known = |name: &str| KINDS.into_iter().find(|kind| *kind == name.trim());
        let bad = |name: &str| Problem::invalid("kinds", format!("{name:?}"), KINDS.join(", "));
        asked.split(',').map(|name| known(name).ok_or_else(|| bad(name))).collect()
    }
}

/// A commit that was made, or that waits no more.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ConfirmEvent {
    /// The commit that goes back unless it is confirmed; none: none waits any more.
    commit: Option<u64>,
    /// When it goes back, Unix milliseconds.
    until: Option<u64>,
}

/// A lease that is not what it was.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LeaseEvent {
    /// Its number.
    id: u32,
    /// What it is; none: it has ended, or is nothing to see any more.
    lease: Option<LeaseBody>,
}

/// Events that were missed.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct LostEvent {
    /// How many, at least.
    lost: u64,
}

/// The data of an event, by its kind. `GET /api/v1/events` sends each as JSON in `data:`, its kind in `event:`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Event)]
pub(crate) enum EventBody {
    /// The configuration was changed.
    Commit(CommitBody),
    /// A commit waits to be confirmed, or waits no more.
    Confirm(ConfirmEvent),
    /// A lease was changed.
    Lease(Box<LeaseEvent>),
    /// The dataplane stands otherwise to what is wanted.
    Dataplane(DataplaneBody),
    /// What went in and out.
    Rates(RatesEvent),
    /// The stream was too slow.
    Lost(LostEvent),
}

impl EventBody {
    fn kind(&self) -> &'static str {
        match self {
            Self::Commit(_) => "commit",
            Self::Confirm(_) => "confirm",
            Self::Lease(_) => "lease",
            Self::Dataplane(_) => "dataplane",
            Self::Rates(_) => "rates",
            Self::Lost(_) => "lost",
        }
    }

    fn sse(&self) -> Sse {
        let data = match self {
            Self::Commit(body) => serde_json::to_string(body),
            Self::Confirm(body) => serde_json::to_string(body),
            Self::Lease(body) => serde_json::to_string(body),
            Self::Dataplane(body) => serde_json::to_string(body),
            Self::Rates(body) => serde_json::to_string(body),
            Self::Lost(body) => serde_json::to_string(body),
        };
        Sse::default().event(self.kind()).data(data.unwrap_or_default())
    }
}

/// What happens, as it happens: commits, leases, the dataplane, and each second what goes in and out. A tenant is told
/// of its own. The stream ends when its token does.
#[utoipa::path(
    get, path = "/events", tag = "events", params(EventsQuery),
    responses((
        status = 200, description = "Events; the schema is that of `data:`, under its kind",
        body = EventBody, content_type = "text/event-stream",
    )),
)]
pub(crate) async fn stream(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<EventsQuery>,
) -> Result<impl IntoResponse, Problem> {
    let kinds = query.kinds()?;
    let seat = Events::seat(&api, &who.caller.name)?;
    let receiver = api.events().sender.subscribe();
    let follower = Follower { api, who, kinds, receiver, waiting: Vec::new(), _seat: seat };
    Ok(SseResponse::new(follower.stream()).keep_alive(KeepAlive::default()))
}

/// One stream.
struct Follower {
    api: Api,
    who: Who,
    kinds: BTreeSet<&'static str>,
    receiver: broadcast::Receiver<Event>,
    /// What is to be told next, the last first.
    waiting: Vec<EventBody>,
    _seat: Seat,
}

impl Follower {
    fn stream(self) -> impl Stream<Item = Result<Sse, Infallible>> {
        futures_util::stream::unfold(self, |mut this| async move {
            let body = this.next().await?;
            Some((Ok(body.sse()), this))
        })
    }

    async fn next(&mut self) -> Option<EventBody> {
        let mut stopped = self.api.events().stopped();
        loop {
            if let Some(body) = self.waiting.pop() {
                return Some(body);
            }
            let received = tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return None,
                received = tokio::time::timeout(RECHECK, self.receiver.recv()) => received,
            };
            match received {
                Ok(Ok(event)) => {
                    if !self.who.still_holds(&self.api).await {
                        return None;
                    }
                    let mut bodies = bodies(&self.api, &event, &self.who.caller);
                    bodies.retain(|body| self.kinds.contains(body.kind()));
                    bodies.reverse();
                    self.waiting = bodies;
                }
                Ok(Err(RecvError::Lagged(lost))) => {
                    return Some(EventBody::Lost(LostEvent { lost }));
                }
                Ok(Err(RecvError::Closed)) => return None,
                Err(_quiet) => {
                    if !self.who.still_holds(&self.api).await {
                        return None;
                    }
                }
            }
        }
    }
}

/// What somebody is told of an event.
fn bodies(api: &Api, event: &Event, caller: &Caller) -> Vec<EventBody> {
    let grant = &caller.grant;
    let step = match event {
        Event::Rates(rates) => {
            let rates = rates.event(&api.service().state(), grant);
            return Vec::from([EventBody::Rates(rates)]);
        }
        Event::State(step) => step,
    };
    let is_his =
        |commit: &&CommitBody| grant.only_tenant().is_none() || commit.author == caller.name;
    let commits = step.commits.iter().filter(is_his).cloned().map(EventBody::Commit);
    let mut bodies: Vec<_> = commits.collect();
    bodies.extend(confirm(step));
    let leases = step.leases.iter().filter(|id| sees(step, grant, **id));
    bodies.extend(leases.map(|id| {
        let lease = api.service().lease(caller, *id).ok().map(Into::into);
        EventBody::Lease(Box::new(LeaseEvent { id: id.0, lease }))
    }));
    bodies.extend(dataplane(step, grant));
    bodies
}

fn confirm(step: &Step) -> Option<EventBody> {
    let Step { before, after, .. } = step;
    (before.confirm != after.confirm).then(|| {
        EventBody::Confirm(ConfirmEvent {
            commit: after.confirm.map(|confirm| confirm.commit),
            until: after.confirm.map(|confirm| confirm.until),
        })
    })
}

fn dataplane(step: &Step, grant: &Grant) -> Option<EventBody> {
    let [before, after] =
        [&step.before, &step.after].map(|state| DataplaneBody::new(&state.dataplane, grant));
    (before != after).then_some(EventBody::Dataplane(after))
}

/// Whether a lease was, or is, somebody's to see.
fn sees(step: &Step, grant: &Grant, id: LeaseId) -> bool {
    [&step.before, &step.after].into_iter().any(|state| {
        let Ok((lease, _)) = state.leases.lease(id) else { return false };
        let own = grant.only_tenant_id(&state.tree);
        own.is_none() || lease.owner.is_none() || lease.owner == own
    })
}
