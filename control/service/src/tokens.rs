//! Tokens: who may talk to the box.
//!
//! ```text
//! swy_NUMBER_SECRET      52 base-32 characters of 32 random bytes; kept as argon2id of them
//! ```

use crate::caller::Caller;
use crate::error::ServiceError;
use crate::step::Service;
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use data_encoding::BASE32_NOPAD;
use domain::Time;
use domain::access::{Grant, Role};
use serde::{Deserialize, Serialize};
use std::fmt;
use store::Token;
use zeroize::Zeroizing;

const PREFIX: &str = "swy_";
const SECRET_LEN: usize = 32;
/// Longest name, bytes.
const NAME_LEN_MAX: usize = 64;

/// What a token shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// How people call it.
    pub name: String,
    /// What it is good for.
    pub grant: Grant,
    /// When it ends by itself, Unix milliseconds; `None`: never.
    pub expires: Option<u64>,
}

/// A token as it is shown, once.
#[derive(Clone)]
pub struct TokenSecret(pub Zeroizing<String>);

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Service {
    /// Makes a token. It is shown once, and never kept.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]: nobody gives what he has not; [`ServiceError::Grant`], [`ServiceError::Invalid`], [`ServiceError::NotFound`].
    pub fn new_token(
        &self,
        now: Time,
        caller: &Caller,
        new: &NewToken,
    ) -> Result<(u32, TokenSecret), ServiceError> {
        let NewToken { name, grant, expires } = new;
        grant.check()?;
        caller.grant.may_give(grant)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(plain) {
            let expected = format!("1 to {NAME_LEN_MAX} letters, digits, - _ . @");
            return Err(ServiceError::Invalid {
                what: "name",
                found: format!("{name:?}"),
                expected,
            });
        }
        if let Some(expires) = expires.filter(|expires| *expires <= now.0) {
            let expected = format!("later than {}", now.0);
            return Err(ServiceError::Invalid {
                what: "expires",
                found: expires.to_string(),
                expected,
            });
        }
        if let Some(tenant) = grant.tenant.as_ref()
            && !self.state().tree.tenants.contains_key(tenant)
        {
            return Err(ServiceError::NotFound { what: "tenant", name: tenant.clone() });
        }
        let mut secret = Zeroizing::new([0_u8; SECRET_LEN]);
        let random = getrandom::fill(secret.as_mut());
        random.map_err(|error| ServiceError::Internal(format!("no randomness: {error}")))?;
        let hash = Argon2::default().hash_password(secret.as_ref());
        let hash = hash.map_err(|error| ServiceError::Internal(error.to_string()))?.to_string();
        // Never sent twice: what is kept of a reply would hold the secret.
        let caller = Caller { once: None, ..caller.clone() };
        let id = self.change(now, &caller, |step| {
            if step.tables.tokens()?.iter().any(|token| token.name == *name && token.holds(now.0)) {
                let expected = "a name that no other token has".to_owned();
                return Err(ServiceError::Invalid {
                    what: "name",
                    found: format!("{name:?}"),
                    expected,
                });
            }
            let id = step.tables.add_token(name, &hash, grant, now.0, *expires)?;
            step.audit("token.new", grant.tenant.as_deref(), id, format!("{name}, {}", grant.role));
            Ok(id)
        })?;
        let text = format!("{PREFIX}{id}_{}", BASE32_NOPAD.encode(secret.as_ref()));
        Ok((id, TokenSecret(Zeroizing::new(text))))
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Forbidden`].
    pub fn revoke_token(&self, now: Time, caller: &Caller, id: u32) -> Result<(), ServiceError> {
        caller.grant.may_change("tokens")?;
        self.change(now, caller, |step| {
            let none = || ServiceError::NotFound { what: "token", name: id.to_string() };
            let (token, _) = step.tables.token(id)?.ok_or_else(none)?;
            if !sees(caller, &token) {
                return Err(none());
            }
            caller.grant.may_give(&token.grant)?;
            if !step.tables.revoke_token(id, now.0)? {
                return Err(none());
            }
            step.audit("token.revoke", token.grant.tenant.as_deref(), id, token.name);
            Ok(())
        })
    }

    /// Tokens that who asks may see, without their secrets.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn tokens(&self, caller: &Caller) -> Result<Vec<Token>, ServiceError> {
        let mut tokens = self.read(|tables| Ok(tables.tokens()?))?;
        tokens.retain(|token| sees(caller, token));
        Ok(tokens)
    }

    /// Whose token a text is, if it holds. It takes tens of milliseconds and some megabytes on purpose: who asks often
    /// keeps the answer, and asks [`Self::token_holds`].
    ///
    /// # Errors
    /// [`ServiceError`] of the store; a text that is no token is `None`.
    pub fn verify_token(&self, now: Time, text: &str) -> Result<Option<Token>, ServiceError> {
        let Some((id, secret)) = parse(text) else { return Ok(None) };
        let found = self.read(|tables| Ok(tables.token(id)?))?;
        let Some((token, hash)) = found.filter(|(token, _)| token.holds(now.0)) else {
            return Ok(None);
        };
        let hash =
            PasswordHash::new(&hash).map_err(|error| ServiceError::Internal(error.to_string()))?;
        let is_it = Argon2::default().verify_password(secret.as_ref(), &hash).is_ok();
        Ok(is_it.then_some(token))
    }

    /// A token by its number, if it still holds.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn token_holds(&self, now: Time, id: u32) -> Result<Option<Token>, ServiceError> {
        let found = self.read(|tables| Ok(tables.token(id)?))?;
        Ok(found.map(|(token, _)| token).filter(|token| token.holds(now.0)))
    }
}

fn sees(caller: &Caller, token: &Token) -> bool {
    match caller.grant.role {
        Role::Owner | Role::Auditor => true,
        Role::Operator => true,
        Role::Tenant => token.grant.tenant.is_some() && token.grant.tenant == caller.grant.tenant,
    }
}

/// The number and the secret of a token.
fn parse(text: &str) -> Option<(u32, Zeroizing<Vec<u8>>)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let secret = Zeroizing::new(BASE32_NOPAD.decode(secret.as_bytes()).ok()?);
    (secret.len() == SECRET_LEN).then_some((id.parse().ok()?, secret))
}
