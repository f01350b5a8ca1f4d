//! `peer remove`: a vif that is dialled, or a login and whoever came by it.

use crate::ProcessArgs;
use crate::connect::Process;
use crate::names;
use crate::output::{OutputArgs, print_json};
use anyhow::{Result, bail, ensure};
use clap::Args;
use dataplane_api::status::LinkStatus;
use dataplane_api::{LinkSpec, Spec, Status, VswitchSpec};
use serde::Serialize;
use std::io::Write;
use std::str::FromStr;
use wire::key::PublicKey;

/// Take a neighbour away: a vif with a link, or a login and whoever came by it
#[derive(Args, Debug)]
pub(crate) struct RemoveArgs {
    /// Vswitch whose neighbour it is
    vswitch: String,
    /// Number of its vif, or its public key
    #[arg(value_name = "NUMBER|KEY", required_unless_present = "user")]
    which: Option<Which>,
    /// Login to take away, instead
    #[arg(long, value_name = "NAME", conflicts_with = "which")]
    user: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Number(u16),
    Key(PublicKey),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().map(Self::Number);
        number
            .or_else(|_| text.parse().map(Self::Key))
            .map_err(|_bad| format!("{text:?} is neither the number of a vif nor a public key"))
    }
}

/// What was taken away.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Removed {
    Number(u16),
    User(String),
}

pub(super) fn run(
    args: &RemoveArgs,
    process: &ProcessArgs,
    output: OutputArgs,
    out: &mut dyn Write,
) -> Result<()> {
    let mut process = Process::connect(process)?;
    let (status, links) = (process.status()?, process.links()?);
    let (removed, generation) = process.edit(|spec| remove(spec, args, &status, &links))?;
    if output.json {
        let value = serde_json::json!({
            "vswitch": args.vswitch, "removed": removed, "generation": generation
        });
        return print_json(out, &value);
    }
    let what = match removed {
        Removed::Number(number) => format!("vif {}:{number}", args.vswitch),
        Removed::User(user) => format!("login {user} of vswitch {}", args.vswitch),
    };
    Ok(writeln!(out, "{what} is gone, generation {generation}")?)
}

fn remove(
    spec: &mut Spec,
    args: &RemoveArgs,
    status: &Status,
    links: &[LinkStatus],
) -> Result<Removed> {
    let vswitch = names::vswitch_in(spec, &args.vswitch)?;
    match (args.which, &args.user) {
        (_, Some(user)) => remove_login(vswitch, user),
        (Some(which), None) => remove_vif(vswitch, which, status, links),
        (None, None) => bail!("name the neighbour by number, key or --user NAME"),
    }
}

fn remove_login(vswitch: &mut VswitchSpec, user: &str) -> Result<Removed> {
    let known = names::listed(vswitch.logins.iter().map(|login| login.user.as_str()));
    let before = vswitch.logins.len();
    vswitch.logins.retain(|login| login.user != user);
    ensure!(
        vswitch.logins.len() < before,
        "vswitch {} has no login {user:?}; it has {known}",
        vswitch.name
    );
    Ok(Removed::User(user.to_owned()))
}

fn remove_vif(
    vswitch: &mut VswitchSpec,
    which: Which,
    status: &Status,
    links: &[LinkStatus],
) -> Result<Removed> {
    let at = vswitch.vifs.iter().position(|vif| match which {
        Which::Number(number) => vif.number == number,
        Which::Key(key) => {
            let node = vif.link.as_ref().and_then(LinkSpec::node);
            node.is_some_and(|node| node.public_key == key.to_string())
        }
    });
    let Some(at) = at else {
        bail!("{}", absent(&vswitch.name, which, status, links));
    };
    let number = vswitch.vifs[at].number;
    ensure!(
        vswitch.vifs[at].link.is_some(),
        "vif {}:{number} is the end of a cable, not a link to a neighbour",
        vswitch.name
    );
    vswitch.vifs.remove(at);
    Ok(Removed::Number(number))
}

/// Why the spec has no such vif: nobody has, or the neighbour came by itself.
fn absent(vswitch: &str, which: Which, status: &Status, links: &[LinkStatus]) -> String {
    let there = links.iter().find(|link| {
        status.vifs.iter().any(|vif| {
            let wanted = match which {
                Which::Number(number) => vif.number == number,
                Which::Key(key) => link.key == key.to_string(),
            };
            wanted && vif.id == link.vif && names::vswitch(status, vif.vswitch) == vswitch
        })
    });
    match there.map(|link| link.user.as_deref()) {
        Some(Some(user)) => format!(
            "the spec does not have this neighbour: it came by the login {user:?}, which `switchyard peer remove \
             {vswitch} --user {user:?}` takes away"
        ),
        Some(None) => format!(
            "the spec does not have this neighbour: it was met by a beacon; turn beacons off where vswitch {vswitch} \
             listens"
        ),
        None => match which {
            Which::Number(number) => format!("vswitch {vswitch} has no vif {number}"),
            Which::Key(key) => format!("vswitch {vswitch} has no link to {key}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{
        Handshake, LoginSpec, MacAddress, NodeSpec, Role, Secret, Session, VifSpec,
    };
    use dataplane_client::sample;

    const KEY: &str = "lqjqj3njmggfnrb8dyxfcgdnylj1yz1dl1hr0180shynkv9wnwh0.k";

    fn spec() -> Spec {
        let node = NodeSpec {
            public_key: KEY.into(),
            password: None,
            login: None,
            handshake: Handshake::CryptoAuth,
            reads_all: false,
        };
        let link = LinkSpec::Ethernet {
            port: "west".into(),
            vlan: None,
            local: None,
            peer: MacAddress([2; 6]),
            session: Session::Node(node),
        };
        let vif = |number, link| VifSpec {
            number,
            role: Role::Customer,
            mtu: None,
            link,
            policy: Default::default(),
        };
        let login = LoginSpec {
            user: "alice".into(),
            password: Secret("x".into()),
            only: None,
            role: Role::Customer,
            policy: Default::default(),
        };
        let vswitch = |name: &str, vifs| VswitchSpec {
            name: name.into(),
            vifs,
            logins: vec![login.clone()],
            ..VswitchSpec::default()
        };
        let red = vswitch("red", vec![vif(2, Some(link)), vif(4, None)]);
        Spec { vswitches: vec![red, vswitch("blue", Vec::new())], ..Spec::default() }
    }

    fn removed(spec: &mut Spec, vswitch: &str, which: Option<&str>, user: Option<&str>) -> String {
        let args = RemoveArgs {
            vswitch: vswitch.into(),
            which: which.map(|which| which.parse().unwrap()),
            user: user.map(str::to_owned),
        };
        let removed = remove(spec, &args, &sample::status(1), &sample::links());
        removed.map_or_else(|error| error.to_string(), |removed| format!("{removed:?}"))
    }

    #[test]
    fn a_neighbour_is_taken_away_by_number_key_or_login() {
        for which in ["2", KEY] {
            let mut spec = spec();
            assert_eq!(removed(&mut spec, "red", Some(which), None), "Number(2)");
            assert_eq!(spec.vswitches[0].vifs.len(), 1);
        }
        let mut spec = spec();
        assert_eq!(removed(&mut spec, "red", None, Some("alice")), "User(\"alice\")");
        assert_eq!(
            removed(&mut spec, "red", None, Some("alice")),
            "vswitch red has no login \"alice\"; it has none"
        );
    }

    #[test]
    fn what_is_no_neighbour_of_the_spec_stays() {
        let mut spec = spec();
        let before = spec.clone();
        assert!(removed(&mut spec, "red", Some("4"), None).contains("cable"));
        assert_eq!(removed(&mut spec, "red", Some("9"), None), "vswitch red has no vif 9");
        for which in ["5", KEY] {
            let error = removed(&mut spec, "blue", Some(which), None);
            assert!(error.contains("--user \"alice\""), "{error}");
        }
        assert_eq!(spec, before);
    }
}
