//! Whose money is where: the accounts of a box, and what transfers between them are for.
//!
//! ```text
//! outside ─ deposit ─► tenant ─ lease, renewal ─► revenue ◄─ invoice ─ owed (by a tenant)
//!                        ▲  └──── settlement ────► owed                 │
//!                        └─ refund ── revenue                           └─ may go below nothing
//! ```

use dataplane_api::TenantId;
use ledger::{AccountId, BadSource, Opening, Purpose, Rule, Source, UnitId};

/// Highest number of a unit: accounts have it in 28 bits.
pub const UNIT_MAX: u32 = (1 << 28) - 1;

/// An account by what it is. One of each for every unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purse {
    /// The world: what came in and went out.
    Outside,
    /// What the box earned.
    Revenue,
    /// What a tenant has paid in and not spent. Never below nothing.
    Tenant(TenantId),
    /// What a tenant owes for invoices.
    Owed(TenantId),
    /// What came in and is nobody's: paid for nothing that is known, or too late. It waits for a decision.
    Unclaimed,
}

impl Purse {
    /// Its account in a unit.
    ///
    /// ```text
    /// | kind 4 bits | unit 28 | tenant 32 |
    /// ```
    #[must_use]
    pub fn account(self, unit: UnitId) -> AccountId {
        let (kind, tenant) = match self {
            Self::Outside => (0, 0),
            Self::Revenue => (1, 0),
            Self::Tenant(tenant) => (2, tenant.0),
            Self::Owed(tenant) => (3, tenant.0),
            Self::Unclaimed => (4, 0),
        };
        AccountId((kind << 60) | (u64::from(unit.0 & UNIT_MAX) << 32) | u64::from(tenant))
    }

    /// As it is opened.
    #[must_use]
    pub fn opening(self, unit: UnitId) -> Opening {
        let rule = match self {
            Self::Tenant(_) => Rule::DebitsWithinCredits,
            Self::Outside | Self::Revenue | Self::Owed(_) | Self::Unclaimed => Rule::None,
        };
        Opening { id: self.account(unit), unit, rule }
    }

    /// What an account is, and in which unit; `None`: none of the box's.
    #[must_use]
    pub fn of(account: AccountId) -> Option<(Self, UnitId)> {
        let [high, low] = [account.0 >> 32, account.0 & u64::from(u32::MAX)];
        let tenant = TenantId(u32::try_from(low).ok()?);
        let purse = match (account.0 >> 60, low) {
            (0, 0) => Self::Outside,
            (1, 0) => Self::Revenue,
            (2, _) => Self::Tenant(tenant),
            (3, _) => Self::Owed(tenant),
            (4, 0) => Self::Unclaimed,
            _ => return None,
        };
        Some((purse, UnitId(u32::try_from(high & u64::from(UNIT_MAX)).ok()?)))
    }
}

/// What transfers are for; [`Purpose::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Business {
    /// Money came in.
    Deposit = 1,
    /// Money went out.
    Withdrawal = 2,
    /// A lease was bought.
    Lease = 3,
    /// A lease was renewed.
    Renewal = 4,
    /// A lease ended early.
    Refund = 5,
    /// An invoice was written.
    Invoice = 6,
    /// An invoice was paid from what a tenant has.
    Settlement = 7,
    /// A payment was taken back by its chain.
    Reversal = 8,
}

impl Business {
    /// For a piece of it: a lease, an invoice; 0 for none.
    #[must_use]
    pub fn with(self, subject: u64) -> Purpose {
        Purpose { code: self as u16, subject }
    }

    /// What a purpose is for, in a word.
    #[must_use]
    pub fn name(purpose: Purpose) -> &'static str {
        match purpose.code {
            1 => "deposit",
            2 => "withdrawal",
            3 => "lease",
            4 => "renewal",
            5 => "refund",
            6 => "invoice",
            7 => "settlement",
            8 => "reversal",
            _ => "other",
        }
    }
}

/// The source of this name: `kind` tells whatever is of different kinds apart.
///
/// # Errors
/// [`BadSource`]: the name is too long.
pub fn source(kind: &str, name: impl std::fmt::Display) -> Result<Source, BadSource> {
    Source::new(format!("{kind}:{name}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_say_what_they_are() {
        let red = TenantId(u32::MAX);
        for purse in
            [Purse::Outside, Purse::Revenue, Purse::Tenant(red), Purse::Owed(red), Purse::Unclaimed]
        {
            for unit in [UnitId(0), UnitId(UNIT_MAX)] {
                let account = purse.account(unit);
                assert_eq!(Purse::of(account), Some((purse, unit)));
                assert_eq!(purse.opening(unit).id, account);
                assert!(i64::try_from(account.0).is_ok(), "the store keeps 63 bits");
            }
        }
        assert_eq!(Purse::of(AccountId(7)), None);
        assert_eq!(Purse::of(AccountId(u64::MAX)), None);
    }
}
