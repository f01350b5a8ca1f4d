//! `peer credentials`: what another operator puts into the configuration of a stock node, and reading it from one.
//!
//! Source: CJDNS-WIRE.md §7.2, CJDNS-INTEROP.md §1.5.

use super::Address;
use crate::connect::Process;
use crate::names;
use crate::output::{OutputArgs, print_json};
use crate::{ProcessArgs, secret};
use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use dataplane_api::{ListenSpec, LoginSpec, MacAddress, Secret, VswitchSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use wire::key::PublicKey;
use zeroize::Zeroizing;

/// Print again what the operators of nodes paste to be let in
#[derive(Args, Debug)]
pub(crate) struct CredentialsArgs {
    /// Vswitch that they call
    vswitch: String,
    /// Only this login
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

/// What stands under an address in `connectTo`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Credential {
    pub(super) public_key: String,
    pub(super) password: Secret,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peer_name: Option<String>,
}

/// A login, at one of the places where it counts.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    user: String,
    /// Where in a stock node's configuration it belongs: a list of such interfaces.
    interface: &'static str,
    port: String,
    vlan: Option<u16>,
    #[serde(rename = "connectTo")]
    connect_to: BTreeMap<String, Credential>,
}

#[derive(Serialize)]
struct Printed<'a> {
    vswitch: &'a str,
    credentials: Vec<Entry>,
}

pub(super) fn run(
    args: &CredentialsArgs,
    process: &ProcessArgs,
    output: OutputArgs,
    out: &mut dyn Write,
) -> Result<()> {
    let mut spec = Process::connect(process)?.spec()?;
    let vswitch = names::vswitch_in(&mut spec, &args.vswitch)?;
    let users = || names::listed(vswitch.logins.iter().map(|login| login.user.as_str()));
    if let Some(user) = &args.user {
        ensure!(
            vswitch.logins.iter().any(|login| login.user == *user),
            "vswitch {} has no login {user:?}; it has {}",
            args.vswitch,
            users()
        );
    }
    let wanted = vswitch
        .logins
        .iter()
        .filter(|login| args.user.as_ref().is_none_or(|user| *user == login.user));
    let entries = wanted
        .map(|login| entries(vswitch, login))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    print(&args.vswitch, entries, output, out)
}

/// Prints entries, or why there are none.
pub(super) fn print(
    vswitch: &str,
    entries: Vec<Entry>,
    output: OutputArgs,
    out: &mut dyn Write,
) -> Result<()> {
    if output.json {
        return print_json(out, &Printed { vswitch, credentials: entries });
    }
    if entries.is_empty() {
        writeln!(
            out,
            "// nobody can call vswitch {vswitch} yet: it has no login, or listens nowhere; `switchyard peer accept` gives \
             it both"
        )?;
    }
    for entry in &entries {
        write!(out, "{}", text(vswitch, entry)?)?;
    }
    Ok(())
}

/// What a node needs to log in, for each address at which the vswitch listens.
pub(super) fn entries(vswitch: &VswitchSpec, login: &LoginSpec) -> Result<Vec<Entry>> {
    let key: PublicKey = vswitch.public_key.parse()?;
    let entry = |listen: &ListenSpec| {
        let (interface, address) = match listen {
            ListenSpec::Ethernet { port, local, .. } => {
                ("ETHInterface", Address::Mac(own_mac(&key, port, *local)))
            }
            ListenSpec::Udp { local, .. } => ("UDPInterface", Address::Socket(*local)),
        };
        let (ListenSpec::Ethernet { port, vlan, .. } | ListenSpec::Udp { port, vlan, .. }) = listen;
        let credential = Credential {
            public_key: vswitch.public_key.clone(),
            password: login.password.clone(),
            login: Some(login.user.clone()),
            peer_name: Some(vswitch.name.clone()),
        };
        Entry {
            user: login.user.clone(),
            interface,
            port: port.clone(),
            vlan: *vlan,
            connect_to: BTreeMap::from([(address.to_string(), credential)]),
        }
    };
    Ok(vswitch.listens.iter().map(entry).collect())
}

/// The address of a vswitch on a port, as the compiler derives it.
fn own_mac(key: &PublicKey, port: &str, local: Option<MacAddress>) -> MacAddress {
    local.unwrap_or_else(|| MacAddress(key.mac(port)))
}

/// As it is pasted: between braces, with a comment that says which ones. cjdroute's JSON has such comments.
fn text(vswitch: &str, entry: &Entry) -> Result<String> {
    let json = Zeroizing::new(serde_json::to_string_pretty(&entry.connect_to)?);
    let tag = entry.vlan.map_or_else(String::new, |vlan| format!(" vlan {vlan}"));
    let mut text = format!(
        "// vswitch {vswitch} port {}{tag}, login {:?}: into interfaces.{}[0].connectTo\n",
        entry.port, entry.user, entry.interface
    );
    let inner = json.lines().filter(|line| !matches!(*line, "{" | "}"));
    for line in inner {
        text.push_str(line.strip_prefix("  ").unwrap_or(line));
        text.push('\n');
    }
    Ok(text)
}

/// The entry of a file that fits: `wanted` picks by address, where more than one could be meant.
pub(super) fn read(path: &Path, wanted: impl Fn(Address) -> bool) -> Result<(Address, Credential)> {
    let text = secret::text(path, "Credentials")?;
    pick(parse(&text)?, wanted)
}

fn pick(
    found: BTreeMap<String, Credential>,
    wanted: impl Fn(Address) -> bool,
) -> Result<(Address, Credential)> {
    let listed = names::listed(found.keys().map(String::as_str));
    let addressed = found.into_iter().filter_map(|(address, credential)| {
        let address = address.parse::<Address>().ok()?;
        wanted(address).then_some((address, credential))
    });
    let mut fitting: Vec<_> = addressed.collect();
    match (fitting.pop(), fitting.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => bail!("the credentials are for {listed}: none of that can be dialled so"),
        (Some(_), false) => {
            bail!("the credentials are for {listed}: say which with --peer ADDRESS")
        }
    }
}

/// Reads `"address": { … }`, with or without the braces around, the commas between and comments.
fn parse(text: &str) -> Result<BTreeMap<String, Credential>> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .collect();
    // Room for all of it: what grows leaves copies of secrets behind.
    let mut json = Zeroizing::new(String::with_capacity(text.len() + 2 * lines.len() + 2));
    let bare = lines.first().is_some_and(|line| !line.starts_with('{'));
    json.push_str(if bare { "{" } else { "" });
    for (index, line) in lines.iter().enumerate() {
        let next = lines.get(index + 1);
        match line.strip_suffix(',').filter(|_| next.is_none_or(|next| next.starts_with('}'))) {
            Some(last) => json.push_str(last),
            None => json.push_str(line),
        }
        // Entries that were pasted one below the other.
        if line.ends_with('}') && next.is_some_and(|next| next.starts_with('"')) {
            json.push(',');
        }
        json.push(' ');
    }
    json.push_str(if bare { "}" } else { "" });
    // What is wrong is said by its place: the message of a wrong value would repeat it.
    serde_json::from_str(&json).map_err(|error| {
        anyhow!(
            "line {} column {}: expected \"ADDRESS\": {{ \"publicKey\": …, \"password\": …, \"login\": … }}",
            error.line(),
            error.column()
        )
    })
    .context("these are no credentials of a cjdns node")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{BeaconMode, Role};

    const KEY: &str = "lqjqj3njmggfnrb8dyxfcgdnylj1yz1dl1hr0180shynkv9wnwh0.k";

    fn red() -> (VswitchSpec, LoginSpec) {
        let login = LoginSpec {
            user: "alice".into(),
            password: Secret("pass\"word}".into()),
            only: None,
            role: Role::Customer,
            policy: Default::default(),
        };
        let ethernet = ListenSpec::Ethernet {
            port: "west".into(),
            vlan: Some(7),
            local: Some(MacAddress([2, 0, 0, 0, 0xe, 0])),
            beacon: BeaconMode::Off,
        };
        let udp = ListenSpec::Udp {
            port: "west".into(),
            vlan: None,
            local: "192.0.2.1:4000".parse().unwrap(),
        };
        let vswitch = VswitchSpec {
            name: "red".into(),
            public_key: KEY.into(),
            logins: vec![login.clone()],
            listens: vec![ethernet, udp],
            ..VswitchSpec::default()
        };
        (vswitch, login)
    }

    fn printed() -> String {
        let (vswitch, login) = red();
        let mut out = Vec::new();
        let entries = entries(&vswitch, &login).unwrap();
        print("red", entries, OutputArgs { json: false }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_printed_is_what_a_stock_node_takes() {
        let expected = format!(
            r#"// vswitch red port west vlan 7, login "alice": into interfaces.ETHInterface[0].connectTo
"02:00:00:00:0e:00": {{
  "publicKey": "{KEY}",
  "password": "pass\"word}}",
  "login": "alice",
  "peerName": "red"
}}
// vswitch red port west, login "alice": into interfaces.UDPInterface[0].connectTo
"192.0.2.1:4000": {{
  "publicKey": "{KEY}",
  "password": "pass\"word}}",
  "login": "alice",
  "peerName": "red"
}}
"#
        );
        assert_eq!(printed(), expected);
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let found = parse(&printed()).unwrap();
        assert_eq!(found.len(), 2);
        let mac = |address| matches!(address, Address::Mac(_));
        let (address, credential) = pick(found, mac).unwrap();
        assert_eq!(address.to_string(), "02:00:00:00:0e:00");
        assert_eq!(credential.password.0, "pass\"word}");
        assert_eq!(credential.login.as_deref(), Some("alice"));
        let error = pick(parse(&printed()).unwrap(), |_| true).unwrap_err().to_string();
        assert!(error.contains("192.0.2.1:4000") && error.contains("--peer"), "{error}");
    }

    #[test]
    fn other_ways_of_writing_credentials_are_read() {
        let one = |body: &str| pick(parse(body).unwrap(), |_| true).unwrap().1;
        let bare = format!(
            "\"192.0.2.1:4000\":{{\"publicKey\":\"{KEY}\",\"password\":\"p\",\"contact\":\"x\"}},\n"
        );
        assert_eq!(one(&bare).login, None);
        let whole = format!(
            "{{\n  // theirs\n  \"[2001:db8::1]:1\": {{\n    \"login\": \"l\",\n    \"password\": \"p\",\n    \"publicKey\": \"{KEY}\",\n  }},\n}}\n"
        );
        assert_eq!(one(&whole).login.as_deref(), Some("l"));
    }

    #[test]
    fn an_address_follows_from_the_key_where_none_is_given() {
        let (mut vswitch, login) = red();
        vswitch.listens = vec![ListenSpec::Ethernet {
            port: "west".into(),
            vlan: None,
            local: None,
            beacon: BeaconMode::Off,
        }];
        let key: PublicKey = KEY.parse().unwrap();
        let entries = entries(&vswitch, &login).unwrap();
        let address = MacAddress(key.mac("west")).to_string();
        assert!(entries[0].connect_to.contains_key(&address));
    }

    #[test]
    fn wrong_credentials_are_not_repeated() {
        for text in [
            "",
            "hunter2",
            "\"192.0.2.1:4000\": {\"password\": \"hunter2\"}",
            "{\"a\": \"hunter2\"}",
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains("publicKey") && !error.contains("hunter2"), "{error}");
        }
        assert!(!format!("{:?}", parse(&printed()).unwrap()).contains("word}"));
    }
}
