//! Who did what.

use crate::caller::Caller;
use crate::error::ServiceError;
use crate::step::Service;
use domain::Time;
use store::AuditRecord;

impl Service {
    /// What was done, before a sequence, newest first, at most `limit`: a tenant sees what is its business.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn audit(
        &self,
        caller: &Caller,
        before: u64,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, ServiceError> {
        self.read(|tables| Ok(tables.audit_records(caller.grant.only_tenant(), before, limit)?))
    }

    /// Notes what was done that changes nothing here: who watched packets, who made a backup.
    ///
    /// # Errors
    /// [`ServiceError`]; whatever is to be noted must not be done then.
    pub fn note(
        &self,
        now: Time,
        caller: &Caller,
        action: &str,
        tenant: Option<&str>,
        subject: &str,
        detail: &str,
    ) -> Result<(), ServiceError> {
        // Each time counts, also when the request is sent again.
        let caller = Caller { once: None, ..caller.clone() };
        self.change(now, &caller, |step| {
            step.audit(action, tenant, subject, detail);
            Ok(())
        })
    }
}
