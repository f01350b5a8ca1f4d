//! The running configuration tree, what made it so, and what people are about to change.

use crate::facts::Fact;
use crate::tables::{Damage, StoreError, Tables, from_json, natural, number, to_json};
use domain::Tree;
use domain::tree::{Change, Place};
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

/// What made the tree what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// Its number; each is one more than the one before.
    pub id: u64,
    /// When, Unix milliseconds.
    pub at: u64,
    /// Who.
    pub author: String,
    /// Why, in the author's words.
    pub comment: String,
    /// What. Passwords are in it.
    #[serde(skip)]
    pub changes: Vec<Change>,
}

/// A commit that goes back by itself unless it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// Its number. What came after it goes back with it.
    pub commit: u64,
    /// When it goes back, Unix milliseconds.
    pub until: u64,
}

/// What somebody is about to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Grows with each edit.
    pub version: u64,
    /// What, against the running tree as it was then. Passwords are in it.
    pub changes: Vec<Change>,
}

impl Tables<'_> {
    /// The running tree.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tree(self) -> Result<Tree, StoreError> {
        let mut tree = Tree::default();
        let mut found = self.0.prepare_cached("SELECT place, value FROM entry ORDER BY place")?;
        let mut rows = found.query([])?;
        while let Some(row) = rows.next()? {
            let (place, value): (String, String) = (row.get(0)?, row.get(1)?);
            let damaged = |error: &dyn std::fmt::Display| {
                StoreError::Damaged(format!("entry {place}: {error}"))
            };
            let at: Place = place.parse().map_err(|error| damaged(&error))?;
            let new = Some(from_json("entry", &value)?);
            tree.apply(&Change { place: at, old: None, new }).map_err(|error| damaged(&error))?;
        }
        Ok(tree)
    }

    /// Number of the last commit; 0: there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last_commit(self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(max(id), 0) FROM config_commit";
        Ok(natural(self.0.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
    }

    /// Makes the tree what a commit says, and keeps the commit. Its number must be the next.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_commit(self, commit: &Commit) -> Result<(), StoreError> {
        let mut put = self.0.prepare_cached(
            "INSERT INTO entry (place, value) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET value = excluded.value",
        )?;
        let mut remove = self.0.prepare_cached("DELETE FROM entry WHERE place = ?1")?;
        for change in &commit.changes {
            let place = change.place.to_string();
            match &change.new {
                Some(value) => put.execute((place, to_json("entry", value)?))?,
                None => remove.execute([place])?,
            };
        }
        let Commit { id, at, author, comment, changes } = commit;
        let sql = "INSERT INTO config_commit (id, at, author, comment, changes)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        let row = (number(*id)?, number(*at)?, author, comment, to_json("changes", changes)?);
        self.0.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// Commits before `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn commits(self, before: u64, limit: u32) -> Result<Vec<Commit>, StoreError> {
        let sql = "SELECT id, at, author, comment, changes FROM config_commit
                   WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let mut found = self.0.prepare_cached(sql)?;
        let rows = found.query_map((before, limit), |row| Ok(commit(row)))?;
        rows.map(|row| row?).collect()
    }

    /// One commit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn commit(self, id: u64) -> Result<Option<Commit>, StoreError> {
        let sql = "SELECT id, at, author, comment, changes FROM config_commit WHERE id = ?1";
        let id = i64::try_from(id).unwrap_or(i64::MAX);
        let found =
            self.0.prepare_cached(sql)?.query_row([id], |row| Ok(commit(row))).optional()?;
        found.transpose()
    }

    /// What somebody is about to change.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn candidate(self, author: &str) -> Result<Option<Candidate>, StoreError> {
        let sql = "SELECT version, changes FROM candidate WHERE author = ?1";
        let mut found = self.0.prepare_cached(sql)?;
        let row = found.query_row([author], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
        let Some((version, changes)) = row.optional()? else { return Ok(None) };
        Ok(Some(Candidate {
            version: natural(version),
            changes: from_json("candidate", &changes)?,
        }))
    }

    /// Keeps what somebody is about to change, or forgets it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_candidate(
        self,
        author: &str,
        candidate: Option<&Candidate>,
    ) -> Result<(), StoreError> {
        let Some(Candidate { version, changes }) = candidate else {
            let sql = "DELETE FROM candidate WHERE author = ?1";
            self.0.prepare_cached(sql)?.execute([author])?;
            return Ok(());
        };
        let sql = "INSERT INTO candidate (author, version, changes) VALUES (?1, ?2, ?3)
                   ON CONFLICT DO UPDATE SET version = excluded.version, changes = excluded.changes";
        let row = (author, number(*version)?, to_json("candidate", changes)?);
        self.0.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// The tree is what its commits make.
    pub(crate) fn check_config(self, damage: &mut Vec<Damage>) -> Result<(), StoreError> {
        let mut tree = Tree::default();
        let mut found = self.0.prepare_cached(
            "SELECT id, at, author, comment, changes FROM config_commit ORDER BY id",
        )?;
        let mut next = 1;
        for row in found.query_map([], |row| Ok(commit(row)))? {
            let commit = row??;
            if commit.id != next {
                damage.push(Damage(format!("commit {next} is missing")));
                return Ok(());
            }
            next += 1;
            for change in &commit.changes {
                if let Err(error) = tree.apply(change) {
                    damage.push(Damage(format!("commit {}: {error}", commit.id)));
                    return Ok(());
                }
            }
        }
        if tree != self.tree()? {
            damage.push(Damage("the running tree is not what its commits make".into()));
        }
        if let Some(confirm) = self.fact::<Option<Confirm>>(Fact::Confirm)?.flatten()
            && confirm.commit >= next
        {
            damage.push(Damage(format!(
                "commit {} is to be confirmed, but is not there",
                confirm.commit
            )));
        }
        Ok(())
    }
}

fn commit(row: &Row<'_>) -> Result<Commit, StoreError> {
    let changes: String = row.get(4)?;
    Ok(Commit {
        id: natural(row.get(0)?),
        at: natural(row.get(1)?),
        author: row.get(2)?,
        comment: row.get(3)?,
        changes: from_json("changes", &changes)?,
    })
}
