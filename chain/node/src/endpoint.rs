//! Where a node is, who is to answer there, and who we are to it.

use crate::error::{ConfigError, Text};
use crate::secret::Secret;
use crate::tls::Trust;
use data_encoding::BASE64;
use hyper::Uri;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use std::fmt;
use std::net::IpAddr;

/// An address with what is needed to be let in.
#[derive(Clone)]
pub struct Endpoint {
    host: String,
    port: u16,
    trust: Option<Trust>,
    auth: Option<(HeaderName, HeaderValue)>,
}

/// Who we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Nothing is asked: generation B of Lightning.
    None,
    /// pktd and pktwallet; a cookie file has both, with a colon in between.
    Basic {
        /// Without a colon.
        user: String,
        /// As it is.
        password: Secret,
    },
    /// Generation A of Lightning: the file's bytes as hexadecimal text.
    Macaroon(Secret),
}

impl Credentials {
    /// What the node wrote to its `.cookie`: `user:password`.
    #[must_use]
    pub fn from_cookie(cookie: &str) -> Option<Self> {
        let (user, password) = cookie.trim_end().split_once(':')?;
        Some(Self::Basic { user: user.to_owned(), password: Secret::new(password.to_owned()) })
    }

    fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, ConfigError> {
        let (name, text) = match self {
            Self::None => return Ok(None),
            Self::Basic { user, password } if !user.contains(':') => {
                let pair = Secret::new(format!("{user}:{}", password.expose()));
                let pair = Secret::new(BASE64.encode(pair.expose().as_bytes()));
                (AUTHORIZATION, Secret::new(format!("Basic {}", pair.expose())))
            }
            Self::Basic { .. } => return Err(ConfigError::Credentials),
            Self::Macaroon(hex) => (HeaderName::from_static("grpc-metadata-macaroon"), hex.clone()),
        };
        let mut value =
            HeaderValue::from_str(text.expose()).map_err(|_wrong| ConfigError::Credentials)?;
        // Not shown by `Debug`, and not compressed by protocols that would.
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }
}

impl Endpoint {
    /// `address`: `http://host:port` or `https://host:port`. `trust`: which certificate answers there, for `https`.
    ///
    /// # Errors
    /// An address that is none, credentials that would go in the clear to another machine, `https` without anybody
    /// to trust.
    pub fn new(
        address: &str,
        trust: Option<Trust>,
        credentials: &Credentials,
    ) -> Result<Self, ConfigError> {
        // Whoever writes a password into the address shall not find it in the error.
        let shown = Text::new(address.rsplit('@').next().unwrap_or_default());
        let wrong = || ConfigError::Address(shown.clone());
        let uri: Uri = address.parse().map_err(|_wrong| wrong())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let (host, port) =
            authority.and_then(|a| Some((a.host(), a.port_u16()?))).ok_or_else(wrong)?;
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(wrong());
        }
        let trust = match (uri.scheme_str(), trust) {
            (Some("http"), _) => None,
            (Some("https"), Some(trust)) => Some(trust),
            (Some("https"), None) => return Err(ConfigError::NoCertificate(shown)),
            _ => return Err(wrong()),
        };
        let auth = credentials.header()?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if trust.is_none() && auth.is_some() && !is_this_machine(&host) {
            return Err(ConfigError::InTheClear(shown));
        }
        Ok(Self { host, port, trust, auth })
    }

    /// A name or an address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Of TCP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    pub(crate) fn auth(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.auth.as_ref()
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// `host:port`, as in a URL.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.trust.is_some() { "https" } else { "http" };
        write!(f, "Endpoint({scheme}://{self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic() -> Credentials {
        Credentials::Basic { user: "box".to_owned(), password: Secret::new("hunter2".to_owned()) }
    }

    #[test]
    fn addresses_are_checked() {
        for (address, shown) in [
            ("http://127.0.0.1:64765", "127.0.0.1:64765"),
            ("http://[::1]:64765/", "[::1]:64765"),
            ("http://localhost:1", "localhost:1"),
        ] {
            assert_eq!(Endpoint::new(address, None, &basic()).unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "127.0.0.1:1",
            "http://x",
            "ftp://localhost:1",
            "http://localhost:1/x",
            "http://u:p@localhost:1",
        ] {
            let error = Endpoint::new(wrong, None, &basic()).unwrap_err();
            assert!(matches!(error, ConfigError::Address(_)), "{wrong}: {error}");
            assert!(!error.to_string().contains("u:p"), "{error}");
        }
        let far = Endpoint::new("http://192.0.2.1:64765", None, &basic());
        assert!(matches!(far, Err(ConfigError::InTheClear(_))));
        assert!(Endpoint::new("http://192.0.2.1:64765", None, &Credentials::None).is_ok());
        let nobody = Endpoint::new("https://192.0.2.1:64765", None, &basic());
        assert!(matches!(nobody, Err(ConfigError::NoCertificate(_))));
    }

    #[test]
    fn secrets_are_not_shown() {
        let macaroon = Credentials::Macaroon(Secret::new("0201036c6e64".to_owned()));
        for credentials in [basic(), macaroon, Credentials::from_cookie("box:hunter2\n").unwrap()] {
            let endpoint = Endpoint::new("http://localhost:1", None, &credentials).unwrap();
            let shown = format!("{credentials:?} {endpoint:?} {endpoint} {:?}", endpoint.auth());
            for secret in ["hunter2", "0201", "Ym94Omh1bnRlcjI"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
        let colon = Credentials::Basic { user: "a:b".to_owned(), password: Secret::default() };
        let error = Endpoint::new("http://localhost:1", None, &colon);
        assert!(matches!(error, Err(ConfigError::Credentials)));
        let line = Credentials::Macaroon(Secret::new("a\r\nx: y".to_owned()));
        assert!(Endpoint::new("http://localhost:1", None, &line).is_err());
    }
}
