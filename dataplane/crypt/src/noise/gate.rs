//! What stands before the Diffie-Hellman of an init: the first authentication code, and under load a cookie.

use super::message::{Init, cookie_key, mac1_key};
use super::symmetric::seal_cookie;
use super::{CONTROL, Refusal};
use crate::hash::{HASH_LEN, MAC_LEN, mac};
use rand_core::CryptoRng;
use wire::key::PublicKey;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret makes cookies for so long.
const SECRET_NS: u64 = 120_000_000_000;

/// What to do with an init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Open it.
    Open,
    /// Send this packet instead, to where the init came from.
    Reply(Vec<u8>),
}

/// One vswitch's: all of its peers share it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Gate {
    mac1_key: [u8; HASH_LEN],
    cookie_key: [u8; HASH_LEN],
    secret: Option<Secret>,
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct Secret {
    bytes: [u8; HASH_LEN],
    made: u64,
}

impl Gate {
    /// `own`: the permanent key of the vswitch.
    #[must_use]
    pub fn new(own: &PublicKey) -> Self {
        Self { mac1_key: mac1_key(own), cookie_key: cookie_key(own), secret: None }
    }

    /// Looks at an init from `source`: any bytes that name the link-layer address, always the same for one address.
    ///
    /// `loaded`: there are more handshakes than shall be answered unseen, so that a sender must show that it receives what
    /// is sent to its address. A reply is 68 bytes, shorter than any init.
    ///
    /// # Errors
    /// [`Refusal::Mac1`].
    ///
    /// Cost: one keyed hash; under load up to three, and one cookie to seal.
    pub fn admit(
        &mut self,
        now: u64,
        rng: &mut dyn CryptoRng,
        source: &[u8],
        init: &Init<'_>,
        loaded: bool,
    ) -> Result<Admission, Refusal> {
        if !init.macs().mac1_fits(&self.mac1_key) {
            return Err(Refusal::Mac1);
        }
        if !loaded {
            return Ok(Admission::Open);
        }
        let cookie = self.cookie(now, rng, source);
        if init.macs().mac2_fits(&cookie) {
            return Ok(Admission::Open);
        }
        let mut nonce = [0; 24];
        rng.fill_bytes(&mut nonce);
        let mut reply = CONTROL.to_vec();
        reply.extend(3_u32.to_le_bytes());
        reply.extend(init.sender_index.to_le_bytes());
        reply.extend(nonce);
        reply.extend(seal_cookie(&self.cookie_key, &nonce, &cookie, init.macs().mac1));
        Ok(Admission::Reply(reply))
    }

    /// The cookie of an address.
    fn cookie(&mut self, now: u64, rng: &mut dyn CryptoRng, source: &[u8]) -> [u8; MAC_LEN] {
        self.secret.take_if(|secret| now.saturating_sub(secret.made) >= SECRET_NS);
        let secret = self.secret.get_or_insert_with(|| {
            let mut secret = Secret { bytes: [0; HASH_LEN], made: now };
            rng.fill_bytes(&mut secret.bytes);
            secret
        });
        mac(&secret.bytes, &[source])
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate(..)")
    }
}
