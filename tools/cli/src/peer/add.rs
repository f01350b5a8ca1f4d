//! `peer add`: a vif with a node behind it, which is dialled.

use super::{Address, HandshakeArg, PlaceArgs, RoleArg, credentials, password, without_key};
use crate::ProcessArgs;
use crate::connect::Process;
use crate::names;
use crate::output::{OutputArgs, print_json};
use anyhow::{Context, Result, bail, ensure};
use clap::{ArgGroup, Args};
use dataplane_api::{LinkSpec, ListenSpec, NodeSpec, Session, Spec, Status, VifSpec, VswitchSpec};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use wire::key::PublicKey;

/// Give a vswitch a vif with a node behind it, and dial the node
///
/// The node is named by the credentials that its operator gave (--credentials), or by --peer and --key. Without a
/// password the node must know us in another way, or call itself.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("port").required(true).args(["ethernet", "udp"])))]
pub(crate) struct AddArgs {
    /// Vswitch that gets the vif
    vswitch: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// The node's address: MAC, or IP:PORT
    #[arg(long, value_name = "ADDRESS", required_unless_present = "credentials")]
    peer: Option<Address>,
    /// The node's public key
    #[arg(long, value_name = "KEY", required_unless_present = "credentials")]
    key: Option<PublicKey>,
    /// Login that the node's operator gave; the password is then asked for, or read from standard input
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
    /// File with the password; `-` is standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// File with the operator's credentials, as an entry of `connectTo`; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "login", "password_file"])]
    credentials: Option<PathBuf>,
    /// Handshake to begin with; noise is for nodes that are known to speak it
    #[arg(long, value_enum, default_value = "crypto_auth")]
    handshake: HandshakeArg,
    /// Number of the vif in labels; without it, the lowest that is free
    #[arg(long)]
    number: Option<u16>,
    /// What the neighbour is to the tenant
    #[arg(long, value_enum, default_value = "customer")]
    role: RoleArg,
    /// Longest switch packet to send, bytes; without it, what the port's MTU allows
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u16>,
}

pub(super) fn run(
    args: &AddArgs,
    process: &ProcessArgs,
    output: OutputArgs,
    out: &mut dyn Write,
) -> Result<()> {
    let (peer, node) = node(args)?;
    let key = node.public_key.clone();
    let mut process = Process::connect(process)?;
    let status = process.status()?;
    let (number, generation) = process.edit(|spec| add(spec, &status, args, peer, node))?;
    if output.json {
        return print_json(
            out,
            &json!({ "vswitch": args.vswitch, "number": number, "generation": generation }),
        );
    }
    writeln!(out, "vif {}:{number} dials {key} at {peer}, generation {generation}", args.vswitch)?;
    if let Some(sentence) = without_key(&status, &args.vswitch) {
        writeln!(out, "{sentence}")?;
    }
    Ok(())
}

/// The node, and where it is.
fn node(args: &AddArgs) -> Result<(Address, NodeSpec)> {
    let handshake = args.handshake.into();
    if let Some(path) = &args.credentials {
        let ethernet = args.place.ethernet.is_some();
        let wanted = |address: Address| {
            matches!(address, Address::Mac(_)) == ethernet
                && args.peer.is_none_or(|peer| peer == address)
        };
        let (peer, credential) = credentials::read(path, wanted)?;
        let credentials::Credential { public_key, password, login, .. } = credential;
        return Ok((
            peer,
            NodeSpec { public_key, password: Some(password), login, handshake, reads_all: false },
        ));
    }
    let (Some(peer), Some(key)) = (args.peer, args.key) else {
        bail!("name the node with --peer ADDRESS and --key KEY, or with --credentials FILE")
    };
    let standard_input = args.login.as_ref().map(|_| PathBuf::from("-"));
    let file = args.password_file.clone().or(standard_input);
    let password = file.map(|path| password(&path)).transpose()?;
    let login = args.login.clone();
    Ok((
        peer,
        NodeSpec { public_key: key.to_string(), password, login, handshake, reads_all: false },
    ))
}

/// Adds the vif to the spec; returns its number.
fn add(
    spec: &mut Spec,
    status: &Status,
    args: &AddArgs,
    peer: Address,
    node: NodeSpec,
) -> Result<u16> {
    let vswitch = names::vswitch_in(spec, &args.vswitch)?;
    let known = vswitch.vifs.iter().find(|vif| {
        let of = vif.link.as_ref().and_then(LinkSpec::node);
        of.is_some_and(|of| of.public_key == node.public_key)
    });
    if let Some(vif) = known {
        bail!("vif {}:{} has this node already: remove it first", args.vswitch, vif.number);
    }
    let number = match args.number {
        Some(number) => number,
        None => lowest_free(vswitch, status)
            .with_context(|| format!("vswitch {} has no number left", args.vswitch))?,
    };
    let link = Some(link(vswitch, &args.place, peer, Session::Node(node))?);
    vswitch.vifs.push(VifSpec {
        number,
        role: args.role.into(),
        mtu: args.mtu,
        link,
        policy: Default::default(),
    });
    Ok(number)
}

/// The lowest number from 2 on that no vif has, whether of the spec or of a neighbour that logged in.
fn lowest_free(vswitch: &VswitchSpec, status: &Status) -> Option<u16> {
    let id = status.vswitches.iter().find(|of| of.name == vswitch.name).map(|of| of.id);
    let there = status.vifs.iter().filter(|vif| Some(vif.vswitch) == id).map(|vif| vif.number);
    let taken: BTreeSet<u16> = vswitch.vifs.iter().map(|vif| vif.number).chain(there).collect();
    (2..=u16::MAX).find(|number| !taken.contains(number))
}

fn link(
    vswitch: &VswitchSpec,
    place: &PlaceArgs,
    peer: Address,
    session: Session,
) -> Result<LinkSpec> {
    let vlan = place.vlan;
    match (&place.ethernet, &place.udp, peer, place.local) {
        (Some(port), None, Address::Mac(peer), None) => {
            Ok(LinkSpec::Ethernet { port: port.clone(), vlan, local: None, peer, session })
        }
        (Some(port), None, Address::Mac(peer), Some(Address::Mac(local))) => {
            Ok(LinkSpec::Ethernet { port: port.clone(), vlan, local: Some(local), peer, session })
        }
        (None, Some(port), Address::Socket(peer), Some(Address::Socket(local))) => {
            Ok(LinkSpec::Udp { port: port.clone(), vlan, local, peer, session })
        }
        (None, Some(port), Address::Socket(peer), None) => {
            let local = own_socket(vswitch, port, vlan, peer)?;
            Ok(LinkSpec::Udp { port: port.clone(), vlan, local, peer, session })
        }
        _ => bail!(
            "the addresses do not fit: --ethernet goes with MAC addresses, --udp with IP:PORT"
        ),
    }
}

/// The address that the vswitch has on a port anyway, if it is one.
fn own_socket(
    vswitch: &VswitchSpec,
    at: &str,
    tag: Option<u16>,
    peer: SocketAddr,
) -> Result<SocketAddr> {
    let listened = vswitch.listens.iter().filter_map(|listen| match listen {
        ListenSpec::Udp { port, vlan, local } => Some((port, *vlan, *local)),
        ListenSpec::Ethernet { .. } => None,
    });
    let linked = vswitch.vifs.iter().filter_map(|vif| match vif.link.as_ref()? {
        LinkSpec::Udp { port, vlan, local, .. } => Some((port, *vlan, *local)),
        LinkSpec::Ethernet { .. } => None,
    });
    let here = listened.chain(linked).filter(|(port, vlan, local)| {
        *port == at && *vlan == tag && local.is_ipv4() == peer.is_ipv4()
    });
    let addresses: BTreeSet<SocketAddr> = here.map(|(_, _, local)| local).collect();
    let one = addresses.first().copied().filter(|_| addresses.len() == 1);
    ensure!(
        one.is_some(),
        "vswitch {} has {} own addresses on port {at}: say which to use with --local IP:PORT",
        vswitch.name,
        addresses.len()
    );
    one.context("no address")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{Handshake, Role, Secret};
    use dataplane_client::sample;

    const KEY: &str = "lqjqj3njmggfnrb8dyxfcgdnylj1yz1dl1hr0180shynkv9wnwh0.k";

    fn spec() -> Spec {
        let red = VswitchSpec { name: "red".into(), ..VswitchSpec::default() };
        Spec { vswitches: vec![red], ..Spec::default() }
    }

    fn args(place: PlaceArgs) -> AddArgs {
        AddArgs {
            vswitch: "red".into(),
            place,
            peer: None,
            key: None,
            login: None,
            password_file: None,
            credentials: None,
            handshake: HandshakeArg::Noise,
            number: None,
            role: RoleArg::Provider,
            mtu: None,
        }
    }

    fn node() -> NodeSpec {
        NodeSpec {
            public_key: KEY.into(),
            password: None,
            login: None,
            handshake: Handshake::Noise,
            reads_all: false,
        }
    }

    fn udp(local: Option<&str>) -> PlaceArgs {
        let local = local.map(|text| text.parse().unwrap());
        PlaceArgs { udp: Some("west".into()), local, ..PlaceArgs::default() }
    }

    #[test]
    fn a_neighbour_gets_the_lowest_number_that_nobody_has() {
        let mut spec = spec();
        let place =
            PlaceArgs { ethernet: Some("west".into()), vlan: Some(7), ..Default::default() };
        let peer = "02:00:00:00:00:09".parse().unwrap();
        // The status has 2, 3 and 4: neighbours that logged in are in no spec.
        let number =
            add(&mut spec, &sample::status(1), &args(place.clone()), peer, node()).unwrap();
        assert_eq!(number, 5);
        let vif = &spec.vswitches[0].vifs[0];
        assert_eq!((vif.number, vif.role), (5, Role::Provider));
        assert_eq!(vif.link.as_ref().and_then(LinkSpec::node), Some(&node()));
        let again = add(&mut spec, &sample::status(1), &args(place), peer, node()).unwrap_err();
        assert_eq!(again.to_string(), "vif red:5 has this node already: remove it first");
    }

    #[test]
    fn an_own_udp_address_is_taken_where_there_is_just_one() {
        let mut spec = spec();
        let status = sample::status(1);
        let peer = "192.0.2.9:4000".parse().unwrap();
        let error = add(&mut spec, &status, &args(udp(None)), peer, node()).unwrap_err();
        assert!(error.to_string().contains("--local"), "{error}");
        spec.vswitches[0].listens.push(ListenSpec::Udp {
            port: "west".into(),
            vlan: None,
            local: "192.0.2.1:4000".parse().unwrap(),
        });
        add(&mut spec, &status, &args(udp(None)), peer, node()).unwrap();
        let Some(LinkSpec::Udp { local, .. }) = &spec.vswitches[0].vifs[0].link else {
            panic!("no UDP link")
        };
        assert_eq!(local.to_string(), "192.0.2.1:4000");
    }

    #[test]
    fn addresses_of_two_kinds_do_not_fit() {
        let mut spec = spec();
        let status = sample::status(1);
        let (mac, socket) =
            ("02:00:00:00:00:09".parse().unwrap(), "192.0.2.9:4000".parse().unwrap());
        let ethernet = PlaceArgs {
            ethernet: Some("west".into()),
            local: Some(socket),
            ..PlaceArgs::default()
        };
        for (place, peer) in
            [(udp(None), mac), (ethernet, mac), (udp(Some("02:00:00:00:00:01")), socket)]
        {
            let error = add(&mut spec, &status, &args(place), peer, node()).unwrap_err();
            assert!(error.to_string().contains("do not fit"), "{error}");
        }
        assert!(spec.vswitches[0].vifs.is_empty());
    }

    #[test]
    fn a_password_comes_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "hunter2\n").unwrap();
        let mut args = args(udp(None));
        args.peer = Some("192.0.2.9:4000".parse().unwrap());
        args.key = Some(KEY.parse().unwrap());
        args.login = Some("us".into());
        args.password_file = Some(path);
        let (_, node) = super::node(&args).unwrap();
        assert_eq!(node.password, Some(Secret("hunter2".into())));
        assert!(!format!("{args:?} {node:?}").contains("hunter2"));
    }
}
