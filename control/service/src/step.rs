//! One step from a state to the next: in the store, the dataplane and memory alike, or in none of them.

use crate::caller::{Caller, Once};
use crate::dataplane::{Dataplane, DataplaneError};
use crate::error::ServiceError;
use crate::state::{DataplaneState, State, terms};
use dataplane_api::Generation;
use domain::{LeaseId, Leases, Time, Tree};
use ledger::{Action, Batch, Entry, Purpose, Source, Transfer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use store::{
    AuditEntry, Candidate, Commit, Confirm, EndedLease, Fact, Reader, Reply, Store, StoreError,
    Tables,
};

/// For how long a request may be sent again, milliseconds.
const REPLIES_MS: u64 = 24 * 3_600_000;
/// Readers that are kept open while nobody looks.
const READERS_KEPT: usize = 8;

/// The box, to whoever asks something of it.
#[derive(Debug)]
pub struct Service {
    state: RwLock<Arc<State>>,
    desk: Mutex<Desk>,
    readers: Mutex<Vec<Reader>>,
    path: PathBuf,
}

/// Where changes are made, one at a time.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) store: Store,
    pub(crate) dataplane: Box<dyn Dataplane>,
}

/// What a change shall do. It is only put together here; [`Service::change`] does it.
pub(crate) struct Step<'a> {
    /// When.
    pub(crate) now: Time,
    /// Who asks.
    pub(crate) caller: &'a Caller,
    /// What holds so far.
    pub(crate) before: Arc<State>,
    /// The store as it is, to look at.
    pub(crate) tables: Tables<'a>,
    tree: Option<(Arc<Tree>, Commit)>,
    confirm: Option<Option<Confirm>>,
    candidates: Vec<(String, Option<Candidate>)>,
    leases: Option<Leases>,
    touched: BTreeSet<LeaseId>,
    ended: Vec<EndedLease>,
    next_lease: Option<u32>,
    entries: Vec<Entry>,
    audit: Vec<AuditEntry>,
    writes: Vec<Write>,
    state: Vec<StateChange>,
    is_spec_changed: bool,
}

type Write = Box<dyn FnOnce(Tables<'_>) -> Result<(), StoreError>>;
type StateChange = Box<dyn FnOnce(&mut State)>;

impl Service {
    /// The service over a store, as it was left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(store: Store, dataplane: Box<dyn Dataplane>) -> Result<Self, StoreError> {
        let state = store.read(State::load)?;
        Ok(Self {
            path: store.path().to_owned(),
            state: RwLock::new(Arc::new(state)),
            desk: Mutex::new(Desk { store, dataplane }),
            readers: Mutex::new(Vec::new()),
        })
    }

    /// What holds now.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the store beside whoever changes it.
    ///
    /// # Errors
    /// What `look` returned, or that there is no looking.
    pub fn read<T>(
        &self,
        look: impl FnOnce(Tables<'_>) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let mut reader = self.reader()?;
        let found = reader.read(look);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_KEPT {
            readers.push(reader);
        }
        found
    }

    /// A connection that only looks, for as long as somebody needs one of his own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reader(&self) -> Result<Reader, StoreError> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match kept {
            Some(reader) => Ok(reader),
            None => Reader::open(&self.path),
        }
    }

    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing at the desk is half done when a thread dies: transactions go back.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_state(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }

    /// Makes one change: all of it, or nothing.
    pub(crate) fn change<T: Serialize + DeserializeOwned>(
        &self,
        now: Time,
        caller: &Caller,
        plan: impl FnOnce(&mut Step<'_>) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let mut desk = self.desk();
        self.change_at(&mut desk, now, caller, plan)
    }

    /// As [`Self::change`], by who is at the desk already.
    pub(crate) fn change_at<T: Serialize + DeserializeOwned>(
        &self,
        desk: &mut Desk,
        now: Time,
        caller: &Caller,
        plan: impl FnOnce(&mut Step<'_>) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        if let Some(once) = &caller.once
            && let Some(done) = replayed(&desk.store, caller, once)?
        {
            return Ok(done);
        }
        let Desk { store, dataplane } = desk;
        let before = self.state();
        let sent = std::cell::Cell::new(false);
        let made = store.write(|tables| {
            let mut step = Step::new(now, caller, Arc::clone(&before), tables);
            let outcome = plan(&mut step)?;
            let state = step.write(tables, &outcome, dataplane.as_mut(), &sent)?;
            Ok::<_, ServiceError>((outcome, state))
        });
        match made {
            Ok((outcome, state)) => {
                self.set_state(state);
                Ok(outcome)
            }
            Err(error) => {
                if sent.get() {
                    self.take_back(desk, &before);
                }
                Err(error)
            }
        }
    }

    /// The dataplane took a spec that the store then did not: it gets what holds, with the next generation.
    fn take_back(&self, desk: &mut Desk, before: &State) {
        let mut state = before.clone();
        state.generation += 2;
        state.send(desk.dataplane.as_mut());
        self.set_state(state);
    }
}

/// What was answered to the same request before.
fn replayed<T: DeserializeOwned>(
    store: &Store,
    caller: &Caller,
    once: &Once,
) -> Result<Option<T>, ServiceError> {
    let reply = store.read(|tables| tables.reply(&caller.name, &once.key))?;
    let Some(Reply { request, body, .. }) = reply else { return Ok(None) };
    if request != once.digest {
        return Err(ServiceError::KeyReused(once.key.clone()));
    }
    let done = serde_json::from_str(&body);
    Ok(Some(done.map_err(|error| StoreError::Value { what: "reply", error })?))
}

impl State {
    /// Sends what holds to the dataplane, and notes how that went.
    pub(crate) fn send(&mut self, dataplane: &mut dyn Dataplane) {
        let spec = self.tree.compile(Generation(self.generation), &self.leases);
        let sent = dataplane.apply(spec);
        self.note(sent);
    }

    fn note(&mut self, sent: Result<(), DataplaneError>) {
        let (accepted, pid) = (self.dataplane.accepted, self.dataplane.pid);
        self.dataplane = match sent {
            Ok(()) => {
                DataplaneState { is_there: true, accepted: self.generation, pid, trouble: None }
            }
            Err(error @ DataplaneError::Refused(_)) => {
                DataplaneState { is_there: true, accepted, pid, trouble: Some(error.to_string()) }
            }
            Err(error @ DataplaneError::Away(_)) => {
                DataplaneState { is_there: false, accepted, pid, trouble: Some(error.to_string()) }
            }
        };
    }
}

impl<'a> Step<'a> {
    fn new(now: Time, caller: &'a Caller, before: Arc<State>, tables: Tables<'a>) -> Self {
        Self {
            now,
            caller,
            before,
            tables,
            tree: None,
            confirm: None,
            candidates: Vec::new(),
            leases: None,
            touched: BTreeSet::new(),
            ended: Vec::new(),
            next_lease: None,
            entries: Vec::new(),
            audit: Vec::new(),
            writes: Vec::new(),
            state: Vec::new(),
            is_spec_changed: false,
        }
    }

    /// The tree as the step leaves it.
    pub(crate) fn tree(&self) -> Arc<Tree> {
        self.tree
            .as_ref()
            .map_or_else(|| Arc::clone(&self.before.tree), |(tree, _)| Arc::clone(tree))
    }

    /// Makes another tree hold.
    pub(crate) fn set_tree(&mut self, tree: Tree, commit: Commit) {
        self.tree = Some((Arc::new(tree), commit));
        self.is_spec_changed = true;
    }

    pub(crate) fn set_confirm(&mut self, confirm: Option<Confirm>) {
        self.confirm = Some(confirm);
    }

    pub(crate) fn set_candidate(&mut self, author: &str, candidate: Option<Candidate>) {
        self.candidates.push((author.to_owned(), candidate));
    }

    /// The leases as the step leaves them, to be changed. Whichever is changed must be [`Self::touch`]ed.
    pub(crate) fn leases(&mut self) -> &mut Leases {
        self.leases.get_or_insert_with(|| Leases::clone(&self.before.leases))
    }

    /// A lease was changed; `is_bound`: so that the dataplane must know.
    pub(crate) fn touch(&mut self, id: LeaseId, is_bound: bool) {
        self.touched.insert(id);
        self.is_spec_changed |= is_bound;
    }

    /// A lease is over.
    pub(crate) fn ended(&mut self, ended: EndedLease) {
        self.touch(ended.id, ended.lease.binding.is_some());
        self.ended.push(ended);
    }

    /// A number for a new lease.
    pub(crate) fn new_lease(&mut self) -> LeaseId {
        let id = self.next_lease.unwrap_or(self.before.next_lease);
        self.next_lease = Some(id.wrapping_add(1));
        LeaseId(id)
    }

    /// Opens an account, if it is not open.
    pub(crate) fn open(&mut self, opening: ledger::Opening) {
        self.entries.push(Entry::Open(opening));
    }

    /// Moves money.
    pub(crate) fn transfer(&mut self, source: Source, purpose: Purpose, action: Action) {
        self.entries.push(Entry::Transfer(Transfer { source, purpose, action }));
    }

    /// Notes what is done. `tenant`: whose business it is besides the box's.
    pub(crate) fn audit(
        &mut self,
        action: &str,
        tenant: Option<&str>,
        subject: impl ToString,
        detail: impl ToString,
    ) {
        self.audit.push(AuditEntry {
            at: self.now.0,
            who: self.caller.name.clone(),
            tenant: tenant.map(ToOwned::to_owned),
            action: action.to_owned(),
            subject: subject.to_string(),
            detail: detail.to_string(),
        });
    }

    /// Nothing but what time does to the books.
    pub(crate) fn post_nothing(&mut self) -> Result<(), ServiceError> {
        let now = self.now.0;
        self.write_also(move |tables| {
            let posted = tables.post(&Batch { now, entries: Vec::new() });
            posted.map(drop).map_err(|failure| StoreError::Damaged(failure.to_string()))
        });
        Ok(())
    }

    /// Something else to write.
    pub(crate) fn write_also(
        &mut self,
        write: impl FnOnce(Tables<'_>) -> Result<(), StoreError> + 'static,
    ) {
        self.writes.push(Box::new(write));
    }

    /// Something else that holds from then on.
    pub(crate) fn state_also(&mut self, change: impl FnOnce(&mut State) + 'static) {
        self.state.push(Box::new(change));
    }

    /// Writes all of it, the dataplane last: what the store would refuse is never sent.
    fn write<T: Serialize>(
        self,
        tables: Tables<'_>,
        outcome: &T,
        dataplane: &mut dyn Dataplane,
        sent: &std::cell::Cell<bool>,
    ) -> Result<State, ServiceError> {
        let mut state = State::clone(&self.before);
        if let Some(leases) = self.leases {
            state.leases = Arc::new(leases);
        }
        if let Some((tree, commit)) = self.tree {
            tables.put_commit(&commit)?;
            state.commit = commit.id;
            state.set_tree(tree);
        }
        if let Some(confirm) = self.confirm {
            tables.set_fact(Fact::Confirm, &confirm)?;
            state.confirm = confirm;
        }
        for (author, candidate) in &self.candidates {
            tables.put_candidate(author, candidate.as_ref())?;
        }
        for id in &self.touched {
            tables.put_lease(*id, state.leases.lease(*id).ok())?;
        }
        for ended in &self.ended {
            tables.put_ended_lease(ended)?;
        }
        if let Some(next) = self.next_lease {
            tables.set_fact(Fact::NextLease, &next)?;
            state.next_lease = next;
        }
        if !self.entries.is_empty() {
            tables.post(&Batch { now: self.now.0, entries: self.entries })?;
        }
        for write in self.writes {
            write(tables)?;
        }
        for change in self.state {
            change(&mut state);
        }
        for entry in &self.audit {
            tables.audit(entry)?;
        }
        if let Some(once) = &self.caller.once {
            let body = serde_json::to_string(outcome)
                .map_err(|error| StoreError::Value { what: "reply", error })?;
            let reply = Reply { request: once.digest.clone(), status: 200, body };
            let oldest = self.now.0.saturating_sub(REPLIES_MS);
            tables.put_reply(self.now.0, oldest, &self.caller.name, &once.key, &reply)?;
        }
        if self.is_spec_changed {
            state.generation = state.generation.max(state.dataplane.accepted) + 1;
            tables.set_fact(Fact::Generation, &state.generation)?;
            let spec = state.tree.compile(Generation(state.generation), &state.leases);
            match dataplane.apply(spec) {
                Err(error @ DataplaneError::Refused(_)) => {
                    return Err(shown_refusal(self.caller, error).into());
                }
                applied => {
                    sent.set(applied.is_ok());
                    state.note(applied);
                }
            }
        }
        Ok(state)
    }
}

/// Why the dataplane refuses, as who asks may see it: its words may name what others have.
fn shown_refusal(caller: &Caller, error: DataplaneError) -> DataplaneError {
    if caller.grant.only_tenant().is_none() {
        return error;
    }
    tracing::warn!(caller = caller.name, "{error}");
    let why = "it does not go with what is on the box; the operator's log says why";
    DataplaneError::Refused(why.into())
}

impl State {
    /// Makes another tree hold, and its ports' terms.
    fn set_tree(&mut self, tree: Arc<Tree>) {
        if self.tree.ports != tree.ports {
            let old: BTreeMap<_, _> = terms(&self.tree, &self.ports);
            let new = terms(&tree, &self.ports);
            let leases = Arc::make_mut(&mut self.leases);
            for (side, terms) in &new {
                if old.get(side) != Some(terms) {
                    // What no longer fits was found by the check of the tree.
                    let _misfits = leases.set_terms(side, *terms);
                }
            }
        }
        self.tree = tree;
    }
}
