//! What a neighbour logs in with, and the table of those who may.
//!
//! Source: CJDNS-WIRE.md §2.2.2 (CryptoAuth), §2.3.3 item 3 (Noise), §7.2, §7.3.

use crate::hash::hmac;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Users that one table holds at most.
pub const USERS_MAX: usize = 65_536;
/// Bytes of a login or a password at most.
pub const TEXT_MAX: usize = 1024;

/// Kind of authentication (1, 2; Noise: 3) and the seven bytes by which the secret is found.
pub type Lookup = [u8; 8];

/// Secrets of one login and password, for both kinds of session. Wiped when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Secrets {
    /// SHA-256 of the password.
    password_hash: [u8; 32],
    /// Noise's pre-shared key.
    psk: [u8; 32],
}

/// What we log in with at a neighbour.
#[derive(Clone)]
pub struct Credential {
    secrets: Secrets,
    lookup: Lookup,
    noise_lookup: Lookup,
}

impl Credential {
    /// `login`: that of the neighbour's user entry. With one, CryptoAuth says type 2, without, type 1; Noise needs exactly
    /// the login of the entry, so none if the entry has none.
    #[must_use]
    pub fn new(login: Option<&[u8]>, password: &[u8]) -> Self {
        let (psk, noise_lookup) = noise_secrets(login.unwrap_or_default(), password);
        let password_hash = Sha256::digest(password).into();
        let lookup = login.map_or_else(|| lookup_of_hash(&password_hash), lookup_of_login);
        Self { secrets: Secrets { password_hash, psk }, lookup, noise_lookup }
    }

    /// Bytes 4 to 12 of a CryptoAuth handshake packet.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        self.lookup
    }

    /// The authentication entity of Noise's additional data.
    #[must_use]
    pub fn noise_lookup(&self) -> Lookup {
        self.noise_lookup
    }

    /// SHA-256 of the password: mixed into CryptoAuth's handshake keys. Secret.
    #[must_use]
    pub fn password_hash(&self) -> &[u8; 32] {
        &self.secrets.password_hash
    }

    /// The pre-shared key of Noise. Secret.
    #[must_use]
    pub fn psk(&self) -> &[u8; 32] {
        &self.secrets.psk
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// One who may log in.
#[derive(Clone)]
pub struct User {
    serial: u32,
    name: String,
    address: Option<Ipv6Addr>,
    secrets: Secrets,
    lookups: [Lookup; 3],
}

impl User {
    /// The login; `Anon #n` for an entry without.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of the entry, never given twice by one table: what a caller keeps limits and counters by.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The only node that may use this entry.
    #[must_use]
    pub fn address(&self) -> Option<Ipv6Addr> {
        self.address
    }

    /// SHA-256 of the password: mixed into CryptoAuth's handshake keys. Secret.
    #[must_use]
    pub fn password_hash(&self) -> &[u8; 32] {
        &self.secrets.password_hash
    }

    /// The pre-shared key of Noise. Secret.
    #[must_use]
    pub fn psk(&self) -> &[u8; 32] {
        &self.secrets.psk
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("serial", &self.serial)
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// An entry that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUser {
    /// Another entry has this login.
    #[error("user {0:?}: another entry has this login")]
    Duplicate(String),
    /// Nobody shall get in with an empty password.
    #[error("user {0:?}: the password is empty")]
    NoPassword(String),
    /// A login or password is longer than [`TEXT_MAX`].
    #[error("user: a login or password of {0} bytes is longer than the {TEXT_MAX} allowed")]
    TooLong(usize),
    /// The table has [`USERS_MAX`] entries.
    #[error("user {0:?}: the table already has the {USERS_MAX} entries allowed")]
    TooMany(String),
}

/// Why nobody was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No entry has this lookup.
    Unknown,
    /// One has, but for another node.
    OtherAddress,
}

/// The authorized users of one vswitch.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    users: BTreeMap<u32, User>,
    /// By lookup, then by age: of entries with one password, the oldest that fits counts.
    by_lookup: BTreeMap<(Lookup, u32), ()>,
    serial_next: u32,
}

impl Credentials {
    /// Nobody may log in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry and gives its serial. Without `login` it gets the name `Anon #n`, n being the count of entries.
    ///
    /// `address`: the only node that may use the entry.
    ///
    /// # Errors
    /// [`BadUser`]; nothing is changed then.
    pub fn insert(
        &mut self,
        login: Option<&str>,
        password: &[u8],
        address: Option<Ipv6Addr>,
    ) -> Result<u32, BadUser> {
        let longest = password.len().max(login.map_or(0, str::len));
        if longest > TEXT_MAX {
            return Err(BadUser::TooLong(longest));
        }
        let name = login.map_or_else(|| format!("Anon #{}", self.users.len()), str::to_owned);
        if password.is_empty() {
            return Err(BadUser::NoPassword(name));
        }
        if login.is_some() && self.by_name(&name).is_some() {
            return Err(BadUser::Duplicate(name));
        }
        if self.users.len() >= USERS_MAX {
            return Err(BadUser::TooMany(name));
        }
        let password_hash = Sha256::digest(password).into();
        let (psk, noise_lookup) = noise_secrets(login.unwrap_or_default().as_bytes(), password);
        let lookups =
            [lookup_of_hash(&password_hash), lookup_of_login(name.as_bytes()), noise_lookup];
        let serial = self.serial_next;
        self.serial_next = self.serial_next.wrapping_add(1);
        self.by_lookup.extend(lookups.map(|lookup| ((lookup, serial), ())));
        let secrets = Secrets { password_hash, psk };
        self.users.insert(serial, User { serial, name, address, secrets, lookups });
        Ok(serial)
    }

    /// Removes all entries of this name and says whether there was one. Sessions that used one go on.
    pub fn remove(&mut self, name: &str) -> bool {
        let gone: Vec<_> =
            self.users.values().filter(|user| user.name == name).map(User::serial).collect();
        for user in gone.iter().filter_map(|serial| self.users.remove(serial)) {
            for lookup in user.lookups {
                self.by_lookup.remove(&(lookup, user.serial));
            }
        }
        !gone.is_empty()
    }

    /// Who `node` is by what it presented: a CryptoAuth challenge's first eight bytes, or Noise's authentication entity.
    ///
    /// # Errors
    /// [`NotFound`].
    ///
    /// Cost: two lookups in trees; no cryptography.
    pub fn find(&self, lookup: &Lookup, node: Ipv6Addr) -> Result<&User, NotFound> {
        let mut reason = NotFound::Unknown;
        let entries = self.by_lookup.range((*lookup, 0)..=(*lookup, u32::MAX));
        for user in entries.filter_map(|((_, serial), ())| self.users.get(serial)) {
            if user.address.is_none_or(|only| only == node) {
                return Ok(user);
            }
            reason = NotFound::OtherAddress;
        }
        Err(reason)
    }

    /// The entry of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&User> {
        let lookup = lookup_of_login(name.as_bytes());
        let entries = self.by_lookup.range((lookup, 0)..=(lookup, u32::MAX));
        entries
            .filter_map(|((_, serial), ())| self.users.get(serial))
            .find(|user| user.name == name)
    }

    /// All entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }
}

/// Type 1: bytes 1 to 8 of the hash of the password's hash.
fn lookup_of_hash(password_hash: &[u8; 32]) -> Lookup {
    lookup(1, &Sha256::digest(password_hash).into())
}

/// Type 2: bytes 1 to 8 of the login's hash.
fn lookup_of_login(login: &[u8]) -> Lookup {
    lookup(2, &Sha256::digest(login).into())
}

/// The pre-shared key, and the lookup of type 3.
fn noise_secrets(login: &[u8], password: &[u8]) -> ([u8; 32], Lookup) {
    let mut root = hmac(password, &[login, &[3]]);
    let secrets = (hmac(&root, &[&[0]]), lookup(3, &hmac(&root, &[&[1]])));
    root.zeroize();
    secrets
}

fn lookup(kind: u8, digest: &[u8; 32]) -> Lookup {
    let mut lookup = [0; 8];
    lookup.copy_from_slice(&digest[..8]);
    lookup[0] = kind;
    lookup
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYONE: Ipv6Addr = Ipv6Addr::LOCALHOST;

    #[test]
    fn an_entry_is_found_by_each_of_its_lookups_until_it_is_removed() {
        let mut table = Credentials::new();
        let serial = table.insert(Some("bob"), b"pw-bob-1", None).unwrap();
        let with = Credential::new(Some(b"bob"), b"pw-bob-1");
        let without = Credential::new(None, b"pw-bob-1");
        for lookup in [with.lookup(), without.lookup(), with.noise_lookup()] {
            assert_eq!(table.find(&lookup, ANYONE).unwrap().serial(), serial);
        }
        assert_eq!(
            table.find(&without.noise_lookup(), ANYONE).unwrap_err(),
            NotFound::Unknown,
            "noise wants the login of the entry"
        );
        assert!(table.remove("bob"));
        assert!(!table.remove("bob"));
        assert_eq!(table.find(&with.lookup(), ANYONE).unwrap_err(), NotFound::Unknown);
        assert!(table.by_lookup.is_empty());
    }

    #[test]
    fn an_entry_without_login_is_named_by_the_count() {
        let mut table = Credentials::new();
        table.insert(Some("bob"), b"1", None).unwrap();
        table.insert(None, b"2", None).unwrap();
        let anonymous = table.by_name("Anon #1").unwrap();
        let by_name = Credential::new(Some(b"Anon #1"), b"2");
        assert_eq!(table.find(&by_name.lookup(), ANYONE).unwrap().serial(), anonymous.serial());
    }

    #[test]
    fn an_entry_for_one_node_is_for_no_other() {
        let mut table = Credentials::new();
        let (ours, others): (Ipv6Addr, Ipv6Addr) =
            ("fc01::1".parse().unwrap(), "fc01::2".parse().unwrap());
        table.insert(Some("a"), b"same", Some(ours)).unwrap();
        let lookup = Credential::new(None, b"same").lookup();
        assert_eq!(table.find(&lookup, ours).unwrap().name(), "a");
        assert_eq!(table.find(&lookup, others).unwrap_err(), NotFound::OtherAddress);
        table.insert(Some("b"), b"same", None).unwrap();
        assert_eq!(table.find(&lookup, others).unwrap().name(), "b");
    }

    #[test]
    fn entries_that_cannot_be_are_refused() {
        let mut table = Credentials::new();
        table.insert(Some("bob"), b"x", None).unwrap();
        let refused = |table: &mut Credentials, login, password: &[u8]| {
            table.insert(login, password, None).unwrap_err()
        };
        assert_eq!(refused(&mut table, Some("bob"), b"y"), BadUser::Duplicate("bob".into()));
        assert_eq!(refused(&mut table, None, b""), BadUser::NoPassword("Anon #1".into()));
        assert_eq!(refused(&mut table, None, &[b'x'; 1025]), BadUser::TooLong(1025));
        assert_eq!(table.iter().count(), 1);
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut table = Credentials::new();
        table.insert(Some("bob"), b"hunter2", None).unwrap();
        let shown = format!("{table:?} {:?}", Credential::new(Some(b"bob"), b"hunter2"));
        assert!(shown.contains("bob") && !shown.contains("hunter2"));
        assert!(!shown.contains("psk"));
    }
}
