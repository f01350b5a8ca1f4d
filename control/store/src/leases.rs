//! Leases beside their bookings.

use crate::tables::{Damage, StoreError, Tables, from_json, natural, number, to_json};
use domain::{Booking, Lease, LeaseId, Leases, PortSide, PortTerms};
use serde::Serialize;
use std::collections::BTreeMap;

/// A lease that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndedLease {
    /// Its number.
    pub id: LeaseId,
    /// When it ended, Unix milliseconds.
    pub at: u64,
    /// As it was.
    pub lease: Lease,
    /// The room it had.
    pub booking: Booking,
}

impl Tables<'_> {
    /// All leases that have not ended, in a calendar of these terms.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leases(self, terms: &BTreeMap<PortSide, PortTerms>) -> Result<Leases, StoreError> {
        let mut leases = Leases::default();
        for (side, terms) in terms {
            leases.set_terms(side, *terms);
        }
        let mut found =
            self.0.prepare_cached("SELECT id, lease, booking FROM lease ORDER BY id")?;
        let mut rows = found.query([])?;
        while let Some(row) = rows.next()? {
            let id = lease_id(row.get(0)?)?;
            let (lease, booking): (String, String) = (row.get(1)?, row.get(2)?);
            let restored =
                leases.restore(id, from_json("lease", &lease)?, from_json("booking", &booking)?);
            restored.map_err(|error| StoreError::Damaged(format!("lease {id}: {error}")))?;
        }
        Ok(leases)
    }

    /// Keeps a lease as it is, or forgets it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_lease(
        self,
        id: LeaseId,
        lease: Option<(&Lease, &Booking)>,
    ) -> Result<(), StoreError> {
        let Some((lease, booking)) = lease else {
            self.0.prepare_cached("DELETE FROM lease WHERE id = ?1")?.execute([id.0])?;
            return Ok(());
        };
        let sql = "INSERT INTO lease (id, lease, booking) VALUES (?1, ?2, ?3)
                   ON CONFLICT DO UPDATE SET lease = excluded.lease, booking = excluded.booking";
        let row = (id.0, to_json("lease", lease)?, to_json("booking", booking)?);
        self.0.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// Keeps what a lease was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_ended_lease(self, ended: &EndedLease) -> Result<(), StoreError> {
        let EndedLease { id, at, lease, booking } = ended;
        let sql =
            "INSERT INTO ended_lease (id, at, owner, lease, booking) VALUES (?1, ?2, ?3, ?4, ?5)";
        let owner = lease.owner.map(|owner| owner.0);
        let row =
            (id.0, number(*at)?, owner, to_json("lease", lease)?, to_json("booking", booking)?);
        self.0.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// Leases that ended, newest id first, those below `before`, at most `limit`; of one owner, or of all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ended_leases(
        self,
        owner: Option<u32>,
        before: u32,
        limit: u32,
    ) -> Result<Vec<EndedLease>, StoreError> {
        let sql = "SELECT id, at, lease, booking FROM ended_lease
                   WHERE (?1 IS NULL OR owner = ?1) AND id < ?2 ORDER BY id DESC LIMIT ?3";
        let mut found = self.0.prepare_cached(sql)?;
        let mut rows = found.query((owner, before, limit))?;
        let mut ended = Vec::new();
        while let Some(row) = rows.next()? {
            let (lease, booking): (String, String) = (row.get(2)?, row.get(3)?);
            ended.push(EndedLease {
                id: lease_id(row.get(0)?)?,
                at: natural(row.get(1)?),
                lease: from_json("lease", &lease)?,
                booking: from_json("booking", &booking)?,
            });
        }
        Ok(ended)
    }

    /// Each lease reads, and none is there twice.
    pub(crate) fn check_leases(self, damage: &mut Vec<Damage>) -> Result<(), StoreError> {
        let sql = "SELECT id FROM lease WHERE id IN (SELECT id FROM ended_lease)";
        let mut found = self.0.prepare_cached(sql)?;
        for id in found.query_map([], |row| row.get::<_, i64>(0))? {
            damage.push(Damage(format!("lease {} has ended and is there", id?)));
        }
        let mut found = self.0.prepare_cached("SELECT id, lease, booking FROM lease")?;
        let mut rows = found.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let (lease, booking): (String, String) = (row.get(1)?, row.get(2)?);
            let read = from_json::<Lease>("lease", &lease).map(drop);
            if let Err(error) = read.and_then(|()| from_json::<Booking>("booking", &booking)) {
                damage.push(Damage(format!("lease {id}: {error}")));
            }
        }
        Ok(())
    }
}

fn lease_id(id: i64) -> Result<LeaseId, StoreError> {
    let id = u32::try_from(id).map_err(|_no_id| StoreError::Damaged(format!("lease {id}")))?;
    Ok(LeaseId(id))
}
