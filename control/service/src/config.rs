//! Configuration: candidates, commits, confirmation, going back.

use crate::caller::Caller;
use crate::error::ServiceError;
use crate::state::State;
use crate::step::{Service, Step};
use domain::access::Role;
use domain::tree::{Change, Difference, EditError, Place, Problem, changes, diff};
use domain::{Time, Tree};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use store::{Candidate, Commit, Confirm};

/// Commits that can be gone back to.
pub const ROLLBACKS_MAX: u64 = 50;
/// Longest comment, bytes.
const COMMENT_LEN_MAX: usize = 1024;
/// Commits that are read at a time.
const COMMITS_READ: u32 = 100;
/// Longest time for which a commit waits to be confirmed, milliseconds: a day.
const CONFIRM_MS_MAX: u64 = 24 * 3_600_000;
/// Most entries that a candidate may change.
const CHANGES_MAX: usize = 100_000;

/// A change of a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// Puts a value at a place; tables above it are made.
    Set {
        /// Where.
        place: Place,
        /// What.
        value: Value,
    },
    /// Takes away what is at a place.
    Delete {
        /// Where.
        place: Place,
    },
}

/// A candidate, and how it stands to what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Grows with each edit; 0: nothing was edited.
    pub version: u64,
    /// The running tree as far as who asks sees it.
    pub running: Tree,
    /// The same with his changes.
    pub candidate: Tree,
    /// What else was changed there since: [`Service::rebase`] takes it in.
    pub conflicts: Vec<Place>,
}

impl Pending {
    /// What differs, passwords left out.
    #[must_use]
    pub fn diff(&self) -> Vec<Difference> {
        diff(&self.running, &self.candidate)
    }
}

/// What came of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Its number; the last one's, if nothing was to be changed.
    pub commit: u64,
    /// Generation of the spec that it made.
    pub generation: u64,
    /// Whether anything was changed.
    pub changed: bool,
    /// When it goes back by itself, Unix milliseconds.
    pub confirm_until: Option<u64>,
}

/// What came of taking in what others changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebased {
    /// Version of the candidate.
    pub version: u64,
    /// Entries of the candidate that were given up, because others changed them.
    pub dropped: Vec<Place>,
}

impl Service {
    /// What somebody is about to change.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn candidate(&self, caller: &Caller) -> Result<Pending, ServiceError> {
        let state = self.state();
        let stored = self.read(|tables| Ok(tables.candidate(&caller.name)?))?.unwrap_or_default();
        pending(&state, caller, &stored)
    }

    /// Changes the candidate of who asks: all edits, or none.
    ///
    /// `expected`: the version that he saw, if he cares. Returns the new one.
    ///
    /// # Errors
    /// [`ServiceError::Version`], [`ServiceError::Edit`], [`ServiceError::Forbidden`].
    pub fn edit(
        &self,
        now: Time,
        caller: &Caller,
        expected: Option<u64>,
        edits: &[Edit],
    ) -> Result<u64, ServiceError> {
        caller.grant.may_change("the configuration")?;
        self.change(now, caller, |step| {
            let stored = step.stored_candidate(expected)?;
            let Pending { mut candidate, .. } = pending(&step.before, caller, &stored)?;
            for edit in edits {
                match edit {
                    Edit::Set { place, value } => candidate.set(place, value.clone())?,
                    Edit::Delete { place } => candidate.delete(place)?,
                }
            }
            step.keep_candidate(&stored, &candidate)
        })
    }

    /// Makes the candidate of who asks this tree.
    ///
    /// `expected`: the version that he saw, if he cares. Returns the new one.
    ///
    /// # Errors
    /// [`ServiceError::Version`], [`ServiceError::Forbidden`].
    pub fn replace_candidate(
        &self,
        now: Time,
        caller: &Caller,
        expected: Option<u64>,
        tree: &Tree,
    ) -> Result<u64, ServiceError> {
        caller.grant.may_change("the configuration")?;
        self.change(now, caller, |step| {
            let stored = step.stored_candidate(expected)?;
            let tree = with_known_secrets(tree, &caller.grant.view(&step.before.tree));
            step.keep_candidate(&stored, &tree)
        })
    }

    /// Gives up what somebody was about to change.
    ///
    /// `expected`: the version that he saw, if he cares.
    ///
    /// # Errors
    /// [`ServiceError::Version`].
    pub fn discard(
        &self,
        now: Time,
        caller: &Caller,
        expected: Option<u64>,
    ) -> Result<(), ServiceError> {
        caller.grant.may_change("the configuration")?;
        self.change(now, caller, |step| {
            step.stored_candidate(expected)?;
            step.set_candidate(&caller.name, None);
            Ok(())
        })
    }

    /// Takes what others changed into the candidate. Where both changed an entry, theirs stays.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn rebase(&self, now: Time, caller: &Caller) -> Result<Rebased, ServiceError> {
        caller.grant.may_change("the configuration")?;
        self.change(now, caller, |step| {
            let stored = step.stored_candidate(None)?;
            let dropped = conflicts(&step.before.tree, &stored.changes);
            let kept = |change: &Change| !dropped.contains(&change.place);
            let changes = stored.changes.iter().filter(|change| kept(change)).cloned().collect();
            let version = stored.version + 1;
            step.set_candidate(&caller.name, Some(Candidate { version, changes }));
            Ok(Rebased { version, dropped })
        })
    }

    /// What would be wrong with the candidate of who asks; none: it may be committed, unless the dataplane refuses.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn validate(&self, caller: &Caller) -> Result<Vec<Problem>, ServiceError> {
        let state = self.state();
        let stored = self.read(|tables| Ok(tables.candidate(&caller.name)?))?.unwrap_or_default();
        let tree = merged(&state, caller, &stored.changes)?;
        Ok(shown_problems(caller, &tree, tree.check(&state.ports, &state.leases)))
    }

    /// Makes the candidate of who asks the running configuration.
    ///
    /// `expected`: the version that he saw, if he cares.
    /// `confirm_ms`: it goes back by itself unless it is confirmed within so long.
    ///
    /// # Errors
    /// [`ServiceError::Version`], [`ServiceError::Nothing`], [`ServiceError::Conflict`], [`ServiceError::Problems`], [`ServiceError::Forbidden`], [`ServiceError::Dataplane`],
    /// [`ServiceError::Unconfirmed`].
    pub fn commit(
        &self,
        now: Time,
        caller: &Caller,
        expected: Option<u64>,
        comment: &str,
        confirm_ms: Option<u64>,
    ) -> Result<Committed, ServiceError> {
        self.change(now, caller, |step| {
            let stored = step.stored_candidate(expected)?;
            let tree = merged(&step.before, caller, &stored.changes)?;
            let committed = step.commit(tree, comment, confirm_ms)?;
            if !committed.changed {
                return Err(ServiceError::Nothing);
            }
            step.set_candidate(&caller.name, None);
            Ok(committed)
        })
    }

    /// Makes a tree the running configuration, as far as who asks may change it. If it is already, nothing is done.
    ///
    /// # Errors
    /// As [`Self::commit`], but for [`ServiceError::Nothing`] and [`ServiceError::Conflict`].
    pub fn apply(
        &self,
        now: Time,
        caller: &Caller,
        tree: &Tree,
        comment: &str,
        confirm_ms: Option<u64>,
    ) -> Result<Committed, ServiceError> {
        caller.grant.may_change("the configuration")?;
        self.change(now, caller, |step| {
            let view = caller.grant.view(&step.before.tree);
            let wanted = changes(&view, &with_known_secrets(tree, &view));
            let tree = merged(&step.before, caller, &wanted)?;
            step.commit(tree, comment, confirm_ms)
        })
    }

    /// What [`Self::apply`] would change, passwords left out, and what would be wrong with it. Nothing is done.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`].
    pub fn check_apply(
        &self,
        caller: &Caller,
        tree: &Tree,
    ) -> Result<(Vec<Difference>, Vec<Problem>), ServiceError> {
        caller.grant.may_change("the configuration")?;
        let state = self.state();
        let view = caller.grant.view(&state.tree);
        let wanted = changes(&view, &with_known_secrets(tree, &view));
        let tree = merged(&state, caller, &wanted)?;
        let problems = tree.check(&state.ports, &state.leases);
        let shown = shown_problems(caller, &tree, problems);
        Ok((diff(&view, &caller.grant.view(&tree)), shown))
    }

    /// Lets the last commit stay.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]: none waits, or it has gone back.
    pub fn confirm(&self, now: Time, caller: &Caller) -> Result<Committed, ServiceError> {
        caller.grant.may_change("the configuration")?;
        self.change(now, caller, |step| {
            let none = || ServiceError::NotFound { what: "commit to confirm", name: String::new() };
            let confirm =
                step.before.confirm.filter(|confirm| now.0 < confirm.until).ok_or_else(none)?;
            step.may_decide_about(confirm.commit)?;
            step.set_confirm(None);
            step.audit("config.confirm", caller.grant.only_tenant(), confirm.commit, "");
            let generation = step.before.generation;
            Ok(Committed { commit: confirm.commit, generation, changed: true, confirm_until: None })
        })
    }

    /// Makes the configuration what it was after a commit; 0: before the first. It becomes a commit of its own, and
    /// whatever waited for its confirmation waits no more.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]: there is no such commit, or it is too long ago; as [`Self::commit`].
    pub fn rollback(
        &self,
        now: Time,
        caller: &Caller,
        to: u64,
        comment: &str,
    ) -> Result<Committed, ServiceError> {
        caller.grant.may_operate("going back to an earlier configuration")?;
        self.change(now, caller, |step| {
            let last = step.before.commit;
            if to >= last || last - to > ROLLBACKS_MAX {
                let name = format!("{to} (of the last {ROLLBACKS_MAX}, to {last})");
                return Err(ServiceError::NotFound { what: "commit", name });
            }
            let tree = step.tree_before(to + 1)?;
            step.set_confirm(None);
            step.commit_tree(tree, &said(comment, &format!("back to {to}"))?, None)
        })
    }

    /// Lets a commit go back that was not confirmed in time. Whether one did.
    ///
    /// # Errors
    /// [`ServiceError`]; it will be tried again.
    pub(crate) fn revert_unconfirmed(&self, now: Time) -> Result<bool, ServiceError> {
        let caller = Caller::switchyard();
        let Some(confirm) = self.state().confirm.filter(|confirm| confirm.until <= now.0) else {
            return Ok(false);
        };
        self.change(now, &caller, |step| {
            if step.before.confirm != Some(confirm) {
                return Ok(false);
            }
            let tree = step.tree_before(confirm.commit)?;
            step.set_confirm(None);
            step.commit_tree(tree, &format!("commit {} was not confirmed", confirm.commit), None)?;
            Ok(true)
        })
    }

    /// Commits before `before`, newest first, as far as who asks may see them: a tenant sees its own.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn commits(
        &self,
        caller: &Caller,
        before: u64,
        limit: u32,
    ) -> Result<Vec<Commit>, ServiceError> {
        let is_his =
            |commit: &Commit| caller.grant.only_tenant().is_none() || commit.author == caller.name;
        self.read(|tables| {
            let (mut found, mut before) = (Vec::new(), before);
            while found.len() < limit as usize {
                let some = tables.commits(before, COMMITS_READ.min(limit))?;
                let Some(last) = some.last() else { break };
                before = last.id;
                found.extend(some.into_iter().filter(is_his));
            }
            found.truncate(limit as usize);
            Ok(found)
        })
    }

    /// What a commit changed, passwords left out.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub fn commit_diff(
        &self,
        caller: &Caller,
        id: u64,
    ) -> Result<(Commit, Vec<Difference>), ServiceError> {
        let none = || ServiceError::NotFound { what: "commit", name: id.to_string() };
        let commit = self.read(|tables| Ok(tables.commit(id)?))?.ok_or_else(none)?;
        if caller.grant.only_tenant().is_some() && commit.author != caller.name {
            return Err(none());
        }
        let (mut old, mut new) = (Tree::default(), Tree::default());
        for change in &commit.changes {
            new.apply(change)?;
            if change.old.is_some() {
                old.apply(&Change { new: change.old.clone(), ..change.clone() })?;
            }
        }
        Ok((commit, diff(&old, &new)))
    }
}

impl Step<'_> {
    fn stored_candidate(&self, expected: Option<u64>) -> Result<Candidate, ServiceError> {
        let stored = self.tables.candidate(&self.caller.name)?.unwrap_or_default();
        match expected {
            Some(expected) if expected != stored.version => {
                Err(ServiceError::Version { found: stored.version, expected })
            }
            Some(_) | None => Ok(stored),
        }
    }

    /// Keeps a tree, as who asks sees it, as his candidate.
    fn keep_candidate(&mut self, stored: &Candidate, tree: &Tree) -> Result<u64, ServiceError> {
        let view = self.caller.grant.view(&self.before.tree);
        let mut wanted = changes(&view, tree);
        if wanted.len() > CHANGES_MAX {
            let found = format!("{} entries", wanted.len());
            return Err(ServiceError::Invalid {
                what: "candidate",
                found,
                expected: format!("at most {CHANGES_MAX}"),
            });
        }
        // What was seen when it was first changed is what a conflict is judged by.
        for change in &mut wanted {
            let earlier = stored.changes.iter().find(|earlier| earlier.place == change.place);
            if let Some(earlier) = earlier {
                change.old.clone_from(&earlier.old);
            }
        }
        let merged = merge(&self.before.tree, &wanted)?;
        let real = changes(&self.before.tree, &merged);
        self.caller.grant.may_commit(&real, &merged)?;
        let version = stored.version + 1;
        self.set_candidate(&self.caller.name, Some(Candidate { version, changes: wanted }));
        Ok(version)
    }

    /// Makes a tree the running one, if who asks may and it is in order.
    fn commit(
        &mut self,
        tree: Tree,
        comment: &str,
        confirm_ms: Option<u64>,
    ) -> Result<Committed, ServiceError> {
        if let Some(Confirm { commit, until }) = self.before.confirm {
            return Err(ServiceError::Unconfirmed { commit, until });
        }
        let until = match confirm_ms {
            None => None,
            Some(ms) if (1..=CONFIRM_MS_MAX).contains(&ms) => Some(self.now.after(ms).0),
            Some(ms) => {
                let (found, expected) = (format!("{ms} ms"), format!("1 to {CONFIRM_MS_MAX}"));
                return Err(ServiceError::Invalid { what: "time to confirm", found, expected });
            }
        };
        self.commit_tree(tree, &said(comment, "")?, until)
    }

    fn commit_tree(
        &mut self,
        tree: Tree,
        comment: &str,
        confirm_until: Option<u64>,
    ) -> Result<Committed, ServiceError> {
        let made = changes(&self.before.tree, &tree);
        let (commit, generation) = (self.before.commit, self.before.generation);
        if made.is_empty() {
            return Ok(Committed { commit, generation, changed: false, confirm_until: None });
        }
        self.caller.grant.may_commit(&made, &tree)?;
        let (ports, leases) = (&self.before.ports, &self.before.leases);
        let problems = tree.check_change(&self.before.tree, ports, leases);
        if !problems.is_empty() {
            return Err(ServiceError::Problems(shown_problems(self.caller, &tree, problems)));
        }
        let commit = commit + 1;
        let places: Vec<_> = made.iter().take(20).map(|change| change.place.to_string()).collect();
        let more = made.len() - places.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let tenant = self.caller.grant.only_tenant();
        let detail = format!("{}{more}: {comment}", places.join(", "));
        self.audit("config.commit", tenant, commit, detail);
        if let Some(until) = confirm_until {
            self.set_confirm(Some(Confirm { commit, until }));
        }
        self.set_tree(
            tree,
            Commit {
                id: commit,
                at: self.now.0,
                author: self.caller.name.clone(),
                comment: comment.to_owned(),
                changes: made,
            },
        );
        let generation = generation.max(self.before.dataplane.accepted) + 1;
        Ok(Committed { commit, generation, changed: true, confirm_until })
    }

    /// The tree as it was before a commit.
    fn tree_before(&self, commit: u64) -> Result<Tree, ServiceError> {
        let mut tree = Tree::clone(&self.before.tree);
        let count = u32::try_from(self.before.commit + 1 - commit).unwrap_or(u32::MAX);
        for taken in self.tables.commits(u64::MAX, count)? {
            for change in taken.changes {
                tree.apply(&change.reversed())?;
            }
        }
        Ok(tree)
    }

    /// A tenant decides about its own commits.
    fn may_decide_about(&self, commit: u64) -> Result<(), ServiceError> {
        let author = self.tables.commit(commit)?.map(|commit| commit.author);
        if self.caller.grant.role == Role::Tenant && author.as_ref() != Some(&self.caller.name) {
            self.caller.grant.may_operate("another's commit")?;
        }
        Ok(())
    }

    /// That nothing waits which may go back: what is built on it would fall with it.
    pub(crate) fn expect_confirmed(&self) -> Result<(), ServiceError> {
        match self.before.confirm {
            Some(Confirm { commit, until }) => Err(ServiceError::Unconfirmed { commit, until }),
            None => Ok(()),
        }
    }
}

fn said(comment: &str, otherwise: &str) -> Result<String, ServiceError> {
    let comment = if comment.is_empty() { otherwise } else { comment };
    if comment.len() > COMMENT_LEN_MAX || comment.chars().any(|c| c.is_control() && c != '\n') {
        let found = format!("{} bytes", comment.len());
        let expected = format!("at most {COMMENT_LEN_MAX}, no control characters");
        return Err(ServiceError::Invalid { what: "comment", found, expected });
    }
    Ok(comment.to_owned())
}

fn pending(
    state: &Arc<State>,
    caller: &Caller,
    stored: &Candidate,
) -> Result<Pending, ServiceError> {
    let running = caller.grant.view(&state.tree);
    let candidate = merge(&running, &stored.changes)?;
    let conflicts = conflicts(&state.tree, &stored.changes);
    Ok(Pending { version: stored.version, running, candidate, conflicts })
}

/// The running tree with these changes, if nobody changed the same.
fn merged(state: &State, caller: &Caller, wanted: &[Change]) -> Result<Tree, ServiceError> {
    let conflicts = conflicts(&state.tree, wanted);
    if !conflicts.is_empty() {
        return Err(ServiceError::Conflict(conflicts));
    }
    let tree = merge(&state.tree, wanted)?;
    caller.grant.may_commit(wanted, &tree)?;
    Ok(tree)
}

fn merge(tree: &Tree, wanted: &[Change]) -> Result<Tree, ServiceError> {
    let mut merged = tree.clone();
    for change in wanted {
        match merged.apply(change) {
            // Somebody took it away already.
            Err(EditError::Nothing(_)) if change.new.is_none() => {}
            applied => applied?,
        }
    }
    Ok(merged)
}

/// Entries that are neither as they were when they were changed, nor as they shall be.
fn conflicts(tree: &Tree, wanted: &[Change]) -> Vec<Place> {
    let is_conflict = |change: &&Change| {
        let there = tree.entry(&change.place);
        there != change.old && there != change.new
    };
    wanted.iter().filter(is_conflict).map(|change| change.place.clone()).collect()
}

/// Problems as who asks may see them: what others have is not told.
fn shown_problems(caller: &Caller, tree: &Tree, problems: Vec<Problem>) -> Vec<Problem> {
    if caller.grant.only_tenant().is_none() {
        return problems;
    }
    let view = caller.grant.view(tree);
    let shown = |problem: Problem| {
        let entry = problem.place.names().iter().take(2);
        let entry = entry.fold(Place::root(), |place, name| place.at(name));
        let is_own = view.entry(&entry).is_some();
        if is_own && entry.names().first().is_some_and(|table| table != "port") {
            // Who else has the same key is nobody's business.
            let found = if problem.found.starts_with("the key of vswitch") {
                "the key of another vswitch".to_owned()
            } else {
                problem.found
            };
            return Problem { found, ..problem };
        }
        Problem {
            place: Place::root(),
            found: "something that others on the box need or have".into(),
            allowed: "what leaves it as it is".into(),
        }
    };
    problems.into_iter().map(shown).collect()
}

/// A tree that was shown without its passwords gets them back where it still says that they were not shown.
fn with_known_secrets(tree: &Tree, known: &Tree) -> Tree {
    let mut tree = tree.clone();
    tree.restore_secrets(known);
    tree
}
