//! What the configuration file says. Every setting, its unit and its default: `switchyard-control.example.toml`.

use domain::access::{BadGrant, Grant};
use primitives::network::{Network, PKT, PKT_SIM, PKT_TEST};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The whole file; fixed while the process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is remembered, and where.
    pub store: Store,
    /// Where the dataplane is.
    pub dataplane: Dataplane,
    /// The chain that orders are paid by.
    pub chain: Chain,
    /// Where people may ask.
    pub api: Api,
    /// Where numbers are read.
    pub metrics: Metrics,
    /// What is said.
    pub log: Log,
}

/// What is remembered, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// The SQLite file.
    pub database: PathBuf,
    /// Directory of backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backups: Option<PathBuf>,
}

/// Where the dataplane is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dataplane {
    /// Its management socket.
    pub socket: PathBuf,
    /// How long a reply may take, milliseconds.
    pub timeout_ms: u64,
}

/// The chain that orders are paid by. Its nodes are in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chain {
    /// Which.
    pub network: ChainNetwork,
    /// Where it is followed from; `None`: from its first block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<PathBuf>,
}

/// A network of the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainNetwork {
    /// Where money is money.
    #[default]
    Main,
    /// Its test network.
    Test,
    /// One that a process of this machine makes up.
    Simulated,
}

impl ChainNetwork {
    /// Its rules.
    #[must_use]
    pub const fn parameters(self) -> Network {
        match self {
            Self::Main => PKT,
            Self::Test => PKT_TEST,
            Self::Simulated => PKT_SIM,
        }
    }
}

/// Where people may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// The local socket.
    pub socket: PathBuf,
    /// Its mode.
    pub mode: Mode,
    /// Connections at once.
    pub connections: usize,
    /// The same over TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// The API over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Address and port.
    pub listen: SocketAddr,
    /// PEM, the box's own first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// PEM; `None`: no certificates of clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// What clients may.
    #[serde(default, rename = "client", skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<TlsClient>,
}

/// What a client may, by its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsClient {
    /// DNS name in its certificate.
    pub name: String,
    /// What it may.
    pub grant: Grant,
}

/// Where numbers are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Leases with metrics of their own.
    pub top_leases: usize,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// In which form.
    pub format: LogFormat,
    /// How much, as `tracing_subscriber::EnvFilter` reads it.
    pub filter: String,
}

/// The form of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For journald if that reads standard error, else text.
    #[default]
    Auto,
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// Mode of a file; octal digits in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(pub u32);

/// Text that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mode {0:?}: expected up to four octal digits, e.g. \"0660\"")]
pub struct BadMode(String);

impl TryFrom<String> for Mode {
    type Error = BadMode;

    fn try_from(text: String) -> Result<Self, BadMode> {
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o777 && text.len() <= 4 => Ok(Self(mode)),
            Ok(_) | Err(_) => Err(BadMode(text)),
        }
    }
}

impl From<Mode> for String {
    fn from(Mode(mode): Mode) -> Self {
        format!("{mode:04o}")
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { database: "/var/lib/switchyard/control.db".into(), backups: None }
    }
}

impl Default for Dataplane {
    fn default() -> Self {
        Self { socket: "/run/switchyard/dataplane.sock".into(), timeout_ms: 5000 }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self {
            socket: "/run/switchyard/control.sock".into(),
            mode: Mode(0o660),
            connections: 512,
            tls: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info".into() }
    }
}

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("read the configuration file {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not such a file.
    #[error("configuration: {0}")]
    Parse(#[from] toml::de::Error),
    /// A client may something that makes no sense.
    #[error("api.tls.client {name:?}: {source}")]
    Grant {
        /// Which client.
        name: String,
        /// Why.
        source: BadGrant,
    },
    /// Clients are named whose certificates nobody vouches for.
    #[error("api.tls.client: without api.tls.client_ca no certificate of a client is believed")]
    NoClientCa,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], with line and column where it does not parse.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)?;
        if let Some(tls) = &config.api.tls {
            if tls.client_ca.is_none() && !tls.clients.is_empty() {
                return Err(ConfigError::NoClientCa);
            }
            for TlsClient { name, grant } in &tls.clients {
                let bad = |source| ConfigError::Grant { name: name.clone(), source };
                grant.check().map_err(bad)?;
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../switchyard-control.example.toml");

    /// The example with what is commented out in it, but for prose.
    fn whole_example() -> String {
        let is_setting = |line: &str| line.contains(" = ") || line.starts_with('[');
        let lines = EXAMPLE.lines().map(|line| match line.strip_prefix("# ") {
            Some(setting) if is_setting(setting) => setting,
            Some(_) | None => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_says_the_defaults() {
        assert_eq!(Config::parse(EXAMPLE).unwrap(), Config::default());
    }

    /// Every setting that exists is in the example: a new one cannot be forgotten there.
    #[test]
    fn the_example_names_every_setting() {
        let example = Config::parse(&whole_example()).unwrap();
        let tls = example.api.tls.as_ref().unwrap();
        assert_eq!(tls.clients[0].name, "automation.isp.example");
        let destructured = &example;
        let Config { store, dataplane: _, chain, api, metrics, log: _ } = destructured;
        let set = (store.backups.is_some(), tls.client_ca.is_some(), metrics.listen.is_some());
        assert_eq!((set, chain.anchor.is_some()), ((true, true, true), true));
        let all = toml::Table::try_from(&example).unwrap();
        let named: toml::Table = toml::from_str(&whole_example()).unwrap();
        assert_eq!(all, named, "{api:?}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let refused = |text: &str| Config::parse(text).unwrap_err().to_string();
        assert!(refused("[api]\nmodus = 3\n").contains("modus"));
        assert!(refused("[api]\nmode = \"0999\"\n").contains("octal"));
        let tls = "[api.tls]\nlisten = \"[::]:1\"\ncertificate = \"a\"\nkey = \"b\"\n";
        let client = "[[api.tls.client]]\nname = \"x\"\ngrant = { role = \"tenant\" }\n";
        assert!(refused(&format!("{tls}{client}")).contains("client_ca"));
        let ca = "client_ca = \"c\"\n";
        assert!(refused(&format!("{tls}{ca}{client}")).contains("\"x\""));
    }
}
