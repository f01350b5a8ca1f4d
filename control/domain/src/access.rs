//! Who may see and do what.
//!
//! | role | sees | changes |
//! |---|---|---|
//! | owner | everything | everything |
//! | operator | everything | everything but who is owner, operator or auditor |
//! | tenant | its own, and what is for sale | its own vswitches and policies, within its quota; its leases |
//! | auditor | everything, but no password | nothing |
//!
//! A tenant's view of the box is a [`Tree`] with nothing in it but what it may see, and what it changes is found by
//! comparing trees: a new kind of entry is hidden and closed until somebody opens it here.

use crate::tree::{Change, Place, Quota, Tree};
use dataplane_api::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What somebody is on the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whose box it is.
    Owner,
    /// Who runs it.
    Operator,
    /// A Cloud ISP on it.
    Tenant,
    /// Who looks.
    Auditor,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owner",
            Self::Operator => "operator",
            Self::Tenant => "tenant",
            Self::Auditor => "auditor",
        })
    }
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// As what.
    pub role: Role,
    /// Which tenant: of a tenant's token, and of no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of the tenant's vswitches these alone; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vswitches: Option<BTreeSet<String>>,
    /// Less than the tenant's own quota; `None`: as much as that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// Why something is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Not for this role.
    #[error("{what} is not for role {role}")]
    Role {
        /// What was asked.
        what: &'static str,
        /// Of whom.
        role: Role,
    },
    /// Not the tenant's own, or nothing that a tenant decides.
    #[error("{0} is not yours to change")]
    Place(Place),
    /// Above what the token is good for.
    #[error("the token is good for {allowed} {what}, {found} would be there")]
    Quota {
        /// Of what.
        what: &'static str,
        /// How many would be there.
        found: usize,
        /// How many may be.
        allowed: u32,
    },
}

/// A grant that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token of role {role}: expected {expected}")]
pub struct BadGrant {
    /// Its role.
    pub role: Role,
    /// What it should say.
    pub expected: &'static str,
}

impl Grant {
    /// What whoever owns the box may do.
    #[must_use]
    pub fn owner() -> Self {
        Self { role: Role::Owner, tenant: None, vswitches: None, quota: None }
    }

    /// That only a tenant's token names a tenant, and parts of it.
    ///
    /// # Errors
    /// [`BadGrant`].
    pub fn check(&self) -> Result<(), BadGrant> {
        let bad = |expected| Err(BadGrant { role: self.role, expected });
        match (self.role, &self.tenant) {
            (Role::Tenant, None) => bad("the name of the tenant"),
            (Role::Tenant, Some(_)) => Ok(()),
            (_, Some(_)) => bad("no tenant"),
            (_, None) if self.vswitches.is_some() || self.quota.is_some() => {
                bad("no vswitches and no quota")
            }
            (_, None) => Ok(()),
        }
    }

    /// Whether somebody may hand out another grant: what nobody has he cannot give.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn may_give(&self, other: &Self) -> Result<(), Forbidden> {
        let allowed = match self.role {
            Role::Owner => true,
            Role::Operator => other.role == Role::Tenant,
            // A part of its own.
            Role::Tenant => {
                let vswitches = match (&self.vswitches, &other.vswitches) {
                    (None, _) => true,
                    (Some(own), Some(other)) => other.is_subset(own),
                    (Some(_), None) => false,
                };
                let quota = match (&self.quota, &other.quota) {
                    (None, _) => true,
                    (Some(own), Some(other)) => {
                        other.vswitches <= own.vswitches
                            && other.vifs <= own.vifs
                            && other.logins <= own.logins
                    }
                    (Some(_), None) => false,
                };
                other.role == Role::Tenant && other.tenant == self.tenant && vswitches && quota
            }
            Role::Auditor => false,
        };
        let what = "a token with these rights";
        if allowed { Ok(()) } else { Err(Forbidden::Role { what, role: self.role }) }
    }

    /// Whether somebody may do what is the box's business.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn may_operate(&self, what: &'static str) -> Result<(), Forbidden> {
        match self.role {
            Role::Owner | Role::Operator => Ok(()),
            role @ (Role::Tenant | Role::Auditor) => Err(Forbidden::Role { what, role }),
        }
    }

    /// Whether somebody may change anything at all.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn may_change(&self, what: &'static str) -> Result<(), Forbidden> {
        match self.role {
            Role::Owner | Role::Operator | Role::Tenant => Ok(()),
            role @ Role::Auditor => Err(Forbidden::Role { what, role }),
        }
    }

    /// Whether somebody may see what is the box's business.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn may_see_box(&self, what: &'static str) -> Result<(), Forbidden> {
        match self.role {
            Role::Owner | Role::Operator | Role::Auditor => Ok(()),
            role @ Role::Tenant => Err(Forbidden::Role { what, role }),
        }
    }

    /// Whether a tenant's business, or a part of it, is somebody's to see.
    #[must_use]
    pub fn sees_tenant(&self, tenant: &str) -> bool {
        self.role != Role::Tenant || self.tenant.as_deref() == Some(tenant)
    }

    /// The one tenant whose business it is; `None`: all.
    #[must_use]
    pub fn only_tenant(&self) -> Option<&str> {
        // A tenant's grant without a tenant sees nothing: no tenant has an empty name.
        (self.role == Role::Tenant).then(|| self.tenant.as_deref().unwrap_or_default())
    }

    /// The number of the one tenant whose business it is; `None`: all. Nobody has the number of who is not there.
    #[must_use]
    pub fn only_tenant_id(&self, tree: &Tree) -> Option<TenantId> {
        let tenant = self.only_tenant()?;
        Some(TenantId(tree.tenants.get(tenant).map_or(u32::MAX, |tenant| tenant.id)))
    }

    /// Whether a vswitch of the tree is somebody's to see.
    #[must_use]
    pub fn sees_vswitch(&self, tree: &Tree, name: &str) -> bool {
        let Some(tenant) = self.only_tenant() else { return true };
        let is_own = tree.vswitches.get(name).is_some_and(|vswitch| vswitch.tenant == tenant);
        is_own && self.vswitches.as_ref().is_none_or(|vswitches| vswitches.contains(name))
    }

    /// The tree as far as it is somebody's to see. Passwords are in it.
    #[must_use]
    pub fn view(&self, tree: &Tree) -> Tree {
        let Some(own) = self.only_tenant() else { return tree.clone() };
        let Tree { schema, settings, nodes: _, ports, tenants, units, prices, policies, vswitches } =
            tree;
        let vswitches = vswitches.iter().filter(|(name, _)| self.sees_vswitch(tree, name));
        let tenants = tenants.iter().filter(|(name, _)| *name == own);
        let policies = policies
            .iter()
            .filter(|(_, policy)| policy.tenant.as_deref().is_none_or(|it| it == own));
        Tree {
            schema: *schema,
            settings: settings.clone(),
            nodes: BTreeMap::new(),
            ports: ports.clone(),
            tenants: copied(tenants),
            units: units.clone(),
            prices: prices.clone(),
            policies: copied(policies),
            vswitches: copied(vswitches),
        }
    }

    /// Whether somebody may make these changes, of which `new` is the outcome.
    ///
    /// # Errors
    /// [`Forbidden`], of the first that is not allowed.
    pub fn may_commit(&self, changes: &[Change], new: &Tree) -> Result<(), Forbidden> {
        self.may_change("the configuration")?;
        let Some(own) = self.only_tenant() else { return Ok(()) };
        for change in changes {
            let [table, name] = change.place.names() else {
                return Err(Forbidden::Place(change.place.clone()));
            };
            let is_of = |value: &Option<serde_json::Value>| {
                let tenant = value.as_ref().map(|value| value.get("tenant"));
                tenant.is_none_or(|tenant| tenant.and_then(serde_json::Value::as_str) == Some(own))
            };
            let is_own = is_of(&change.old) && is_of(&change.new);
            let is_named = match table.as_str() {
                "vswitch" => self.vswitches.as_ref().is_none_or(|names| names.contains(name)),
                // A token for some vswitches cannot change what the others use.
                "policy" => self.vswitches.is_none(),
                _ => false,
            };
            if !is_own || !is_named {
                return Err(Forbidden::Place(change.place.clone()));
            }
        }
        self.within_quota(new)
    }

    fn within_quota(&self, new: &Tree) -> Result<(), Forbidden> {
        let Some(quota) = &self.quota else { return Ok(()) };
        let own = new.vswitches.iter().filter(|(name, _)| self.sees_vswitch(new, name));
        let (mut vswitches, mut vifs, mut logins) = (0, 0, 0);
        for (_, vswitch) in own {
            vswitches += 1;
            vifs += vswitch.vifs.len();
            logins += vswitch.logins.len();
        }
        for (what, found, allowed) in [
            ("vswitches", vswitches, quota.vswitches),
            ("vifs", vifs, quota.vifs),
            ("logins", logins, quota.logins),
        ] {
            if u32::try_from(found).map_or(true, |found| found > allowed) {
                return Err(Forbidden::Quota { what, found, allowed });
            }
        }
        Ok(())
    }
}

fn copied<'a, T: Clone + 'a>(
    some: impl Iterator<Item = (&'a String, &'a T)>,
) -> BTreeMap<String, T> {
    some.map(|(name, value)| (name.clone(), value.clone())).collect()
}
