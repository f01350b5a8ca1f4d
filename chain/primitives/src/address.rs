//! Addresses: what an output's script is called.

use crate::network::Network;
use crate::vote;
use bech32::{Hrp, segwit};
use bitcoin::base58;
use bitcoin::hashes::Hash as _;
use bitcoin::script::{Script, ScriptBuf};
use bitcoin::{PubkeyHash, ScriptHash, WPubkeyHash, WScriptHash};
use data_encoding::BASE64;

/// What is before the script of an address that is none of the usual ones.
const SCRIPT_PREFIX: &str = "script:";

/// An output script by its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// Pays to a key, by its hash.
    PubkeyHash(PubkeyHash),
    /// Pays to a script, by its hash.
    ScriptHash(ScriptHash),
    /// Pays to a key, witness version 0.
    WitnessPubkeyHash(WPubkeyHash),
    /// Pays to a script, witness version 0.
    WitnessScriptHash(WScriptHash),
    /// Anything else.
    Script(ScriptBuf),
}

/// An address as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What it stands for.
    pub address: Address,
    of: Of,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    Every,
    /// A human-readable part.
    Hrp(String),
    /// A version byte.
    Version(u8),
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A prefix as of a witness address, but the rest is not right.
    #[error("witness address: {0}")]
    Witness(#[from] segwit::DecodeError),
    /// Its witness version is not 0.
    #[error("witness address of version {0}: only 0 is used")]
    WitnessVersion(u8),
    /// Neither base58 nor bech32, or the checksum is wrong.
    #[error("address: {0}")]
    Base58(#[from] base58::Error),
    /// Base58, but of no kind that is known.
    #[error("address of {len} bytes and version {version}: none that is known")]
    Unknown {
        /// The first byte.
        version: u8,
        /// Bytes in all.
        len: usize,
    },
    /// Not base64 after `script:`.
    #[error("address: what follows `script:` is not base64")]
    Script,
}

impl Address {
    /// The address of outputs with this script; votes in it do not count.
    #[must_use]
    pub fn of_script(script: &Script) -> Self {
        let without = vote::stripped(script);
        let known = without.as_deref().and_then(Self::of_plain);
        known.unwrap_or_else(|| Self::Script(script.to_owned()))
    }

    fn of_plain(script: &Script) -> Option<Self> {
        let bytes = script.as_bytes();
        if script.is_p2pkh() {
            Some(Self::PubkeyHash(PubkeyHash::from_slice(bytes.get(3..23)?).ok()?))
        } else if script.is_p2sh() {
            Some(Self::ScriptHash(ScriptHash::from_slice(bytes.get(2..22)?).ok()?))
        } else if script.is_p2wpkh() {
            Some(Self::WitnessPubkeyHash(WPubkeyHash::from_slice(bytes.get(2..)?).ok()?))
        } else if script.is_p2wsh() {
            Some(Self::WitnessScriptHash(WScriptHash::from_slice(bytes.get(2..)?).ok()?))
        } else {
            None
        }
    }

    /// The script of an output that pays to it.
    #[must_use]
    pub fn script(&self) -> ScriptBuf {
        match self {
            Self::PubkeyHash(hash) => ScriptBuf::new_p2pkh(hash),
            Self::ScriptHash(hash) => ScriptBuf::new_p2sh(hash),
            Self::WitnessPubkeyHash(hash) => ScriptBuf::new_p2wpkh(hash),
            Self::WitnessScriptHash(hash) => ScriptBuf::new_p2wsh(hash),
            Self::Script(script) => script.clone(),
        }
    }

    /// As it is written on `network`.
    #[must_use]
    pub fn text(&self, network: &Network) -> String {
        let base58 =
            |version: u8, hash: &[u8; 20]| base58::encode_check(&[&[version], &hash[..]].concat());
        let witness = |program: &[u8]| {
            Hrp::parse(network.hrp)
                .ok()
                .and_then(|hrp| segwit::encode_v0(hrp, program).ok())
                .unwrap_or_default()
        };
        match self {
            Self::PubkeyHash(hash) => base58(network.pubkey_hash_version, hash.as_byte_array()),
            Self::ScriptHash(hash) => base58(network.script_hash_version, hash.as_byte_array()),
            Self::WitnessPubkeyHash(hash) => witness(hash.as_byte_array()),
            Self::WitnessScriptHash(hash) => witness(hash.as_byte_array()),
            Self::Script(script) => format!("{SCRIPT_PREFIX}{}", BASE64.encode(script.as_bytes())),
        }
    }
}

impl Written {
    /// Reads an address of any network, also of those that are not ours.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(script) = text.strip_prefix(SCRIPT_PREFIX) {
            let script = BASE64.decode(script.as_bytes()).map_err(|_wrong| AddressError::Script)?;
            return Ok(Self { address: Address::Script(script.into()), of: Of::Every });
        }
        let lower = text.to_ascii_lowercase();
        let is_witness = |network: &&Network| lower.starts_with(&format!("{}1", network.hrp));
        match segwit::decode(text) {
            Ok((hrp, version, program)) => Self::witness(hrp, version.to_u8(), &program),
            Err(error) if Network::ALL.iter().any(is_witness) => Err(error.into()),
            Err(_) => Self::base58(text),
        }
    }

    fn witness(hrp: Hrp, version: u8, program: &[u8]) -> Result<Self, AddressError> {
        let hash20 = WPubkeyHash::from_slice(program).map(Address::WitnessPubkeyHash);
        let address =
            hash20.or_else(|_| WScriptHash::from_slice(program).map(Address::WitnessScriptHash));
        match address {
            Ok(address) if version == 0 => Ok(Self { address, of: Of::Hrp(hrp.to_lowercase()) }),
            _ => Err(AddressError::WitnessVersion(version)),
        }
    }

    fn base58(text: &str) -> Result<Self, AddressError> {
        let bytes = base58::decode_check(text)?;
        let (version, len) = (bytes.first().copied().unwrap_or(0), bytes.len());
        let unknown = AddressError::Unknown { version, len };
        let Some(hash) = bytes.get(1..).and_then(|hash| <[u8; 20]>::try_from(hash).ok()) else {
            return Err(unknown);
        };
        let is =
            |of: fn(&Network) -> u8| Network::ALL.into_iter().any(|network| of(network) == version);
        let address = if is(|network| network.pubkey_hash_version) {
            Address::PubkeyHash(PubkeyHash::from_byte_array(hash))
        } else if is(|network| network.script_hash_version) {
            Address::ScriptHash(ScriptHash::from_byte_array(hash))
        } else {
            return Err(unknown);
        };
        Ok(Self { address, of: Of::Version(version) })
    }

    /// Whether it can be used on `network`.
    #[must_use]
    pub fn is_for(&self, network: &Network) -> bool {
        match &self.of {
            Of::Every => true,
            Of::Hrp(hrp) => hrp == network.hrp,
            Of::Version(version) => {
                [network.pubkey_hash_version, network.script_hash_version].contains(version)
            }
        }
    }
}
