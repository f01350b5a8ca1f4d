//! `peer`: neighbours with keys. Those that are dialled are vifs of the spec; those that may call are logins, and each
//! becomes a vif by itself.
//!
//! Each command reads the spec in force, changes it, and applies it whole.

mod accept;
mod add;
mod credentials;
mod remove;

use crate::output::OutputArgs;
use crate::{ProcessArgs, secret};
use anyhow::{Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use crypt::credential::TEXT_MAX;
use dataplane_api::{Handshake, MacAddress, Role, Secret, Status};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

/// Neighbours with keys: dial nodes, let nodes log in, print what their operators paste.
#[derive(Args, Debug)]
pub(crate) struct PeerArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Subcommand, Debug)]
enum What {
    Add(add::AddArgs),
    Accept(accept::AcceptArgs),
    Credentials(credentials::CredentialsArgs),
    Remove(remove::RemoveArgs),
}

/// Runs the command.
pub(crate) fn run(args: &PeerArgs, out: &mut dyn Write) -> Result<()> {
    match &args.what {
        What::Add(add) => add::run(add, &args.process, args.output, out),
        What::Accept(accept) => accept::run(accept, &args.process, args.output, out),
        What::Credentials(which) => credentials::run(which, &args.process, args.output, out),
        What::Remove(which) => remove::run(which, &args.process, args.output, out),
    }
}

/// A password from a file, or from standard input for `-`.
fn password(path: &Path) -> Result<Secret> {
    let password = secret::line(path, "Password")?;
    ensure!(
        password.len() <= TEXT_MAX,
        "the password has {} bytes: at most {TEXT_MAX} are allowed",
        password.len()
    );
    Ok(Secret(password.as_str().to_owned()))
}

/// What is still to be done before sessions of a vswitch come up.
fn without_key(status: &Status, vswitch: &str) -> Option<String> {
    let without = status.vswitches.iter().find(|of| of.name == vswitch && !of.has_key)?;
    Some(format!(
        "the private key of {} is not here yet: give it with `switchyard keys import`",
        without.public_key
    ))
}

/// Where on the box a neighbour is met.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = true)]
struct PlaceArgs {
    /// Port, for ETHInterface frames
    #[arg(long, value_name = "PORT", conflicts_with = "udp")]
    ethernet: Option<String>,
    /// Port, for UDP datagrams
    #[arg(long, value_name = "PORT")]
    udp: Option<String>,
    /// 802.1Q tag; without it, untagged
    #[arg(long, value_name = "TAG")]
    vlan: Option<u16>,
    /// Own address: a MAC address (else it follows from the key and the port), or IP:PORT
    #[arg(long, value_name = "ADDRESS")]
    local: Option<Address>,
}

/// A link-level address, as credentials name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    Mac(MacAddress),
    Socket(SocketAddr),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mac = text.parse().map(Self::Mac);
        mac.or_else(|_| text.parse().map(Self::Socket)).map_err(|_bad| {
            format!(
                "{text:?} is no address: write a MAC address, 192.0.2.1:4000 or [2001:db8::1]:4000"
            )
        })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Socket(socket) => socket.fmt(f),
        }
    }
}

/// What a neighbour is to the tenant.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleArg {
    Customer,
    Peer,
    Provider,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Customer => Self::Customer,
            RoleArg::Peer => Self::Peer,
            RoleArg::Provider => Self::Provider,
        }
    }
}

/// Which handshake to begin with.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum HandshakeArg {
    CryptoAuth,
    Noise,
}

impl From<HandshakeArg> for Handshake {
    fn from(handshake: HandshakeArg) -> Self {
        match handshake {
            HandshakeArg::CryptoAuth => Self::CryptoAuth,
            HandshakeArg::Noise => Self::Noise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_credentials_name_them() {
        for text in ["02:00:00:00:0e:00", "192.0.2.1:4000", "[2001:db8::1]:4000"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for bad in ["", "192.0.2.1", "02:00:00:00:0e", "2001:db8::1:4000x", "host:4000"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
