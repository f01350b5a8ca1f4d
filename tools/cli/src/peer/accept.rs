//! `peer accept`: a login for a node that calls us, and where it may call.

use super::{Address, PlaceArgs, RoleArg, credentials, password, without_key};
use crate::ProcessArgs;
use crate::connect::Process;
use crate::names;
use crate::output::OutputArgs;
use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use dataplane_api::{BeaconMode, ListenSpec, LoginSpec, Secret, Spec, VswitchSpec};
use rand_core::{Rng, UnwrapErr};
use std::io::Write;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Bytes of randomness in a password that is made here: 160 bits, 32 characters.
const PASSWORD_BYTES: usize = 20;

/// Let a node log in, and print what its operator pastes into the node's configuration
///
/// Each node that logs in becomes a vif by itself. For a login that is there already, only what is given changes.
#[derive(Args, Debug)]
pub(crate) struct AcceptArgs {
    /// Vswitch that is called
    vswitch: String,
    /// Login name; the neighbour is shown by it
    #[arg(long, value_name = "NAME")]
    user: String,
    /// File with the password; `-` is standard input. Without it, one is made
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make another password for a login that is there already
    #[arg(long, conflicts_with = "password_file")]
    new_password: bool,
    /// Only the node with this fc00::/8 address may use the login
    #[arg(long, value_name = "ADDRESS")]
    only: Option<Ipv6Addr>,
    /// What the neighbour is to the tenant: customer, unless given
    #[arg(long, value_enum)]
    role: Option<RoleArg>,
    #[command(flatten)]
    place: PlaceArgs,
    /// With --ethernet: what is done with beacons there
    #[arg(long, value_enum, requires = "ethernet", conflicts_with = "udp")]
    beacon: Option<BeaconArg>,
}

/// What is done with beacons.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum BeaconArg {
    /// Nothing
    Off,
    /// Whoever sends one is dialled
    Accept,
    /// The same, and our own are sent
    Send,
}

impl From<BeaconArg> for BeaconMode {
    fn from(beacon: BeaconArg) -> Self {
        match beacon {
            BeaconArg::Off => Self::Off,
            BeaconArg::Accept => Self::Accept,
            BeaconArg::Send => Self::Send,
        }
    }
}

pub(super) fn run(
    args: &AcceptArgs,
    process: &ProcessArgs,
    output: OutputArgs,
    out: &mut dyn Write,
) -> Result<()> {
    let given = args.password_file.as_ref().map(|path| password(path)).transpose()?;
    let mut process = Process::connect(process)?;
    let (entries, generation) = process.edit(|spec| accept(spec, args, given))?;
    if !output.json {
        writeln!(out, "// {} may log in, generation {generation}", args.user)?;
        if let Some(sentence) = without_key(&process.status()?, &args.vswitch) {
            writeln!(out, "// {sentence}")?;
        }
    }
    credentials::print(&args.vswitch, entries, output, out)
}

/// Adds or changes the login, and the place where it counts.
fn accept(
    spec: &mut Spec,
    args: &AcceptArgs,
    given: Option<Secret>,
) -> Result<Vec<credentials::Entry>> {
    let vswitch = names::vswitch_in(spec, &args.vswitch)?;
    if let Some(listen) = listen(args)? {
        add_listen(vswitch, listen, args.beacon);
    }
    let at = vswitch.logins.iter().position(|login| login.user == args.user);
    let login = match at {
        Some(at) => {
            let login = &mut vswitch.logins[at];
            let made = args.new_password.then(new_password);
            if let Some(password) = given.or(made) {
                login.password = password;
            }
            login.only = args.only.or(login.only);
            login.role = args.role.map_or(login.role, Into::into);
            login.clone()
        }
        None => {
            let login = LoginSpec {
                user: args.user.clone(),
                password: given.unwrap_or_else(new_password),
                only: args.only,
                role: args.role.map(Into::into).unwrap_or_default(),
                policy: Default::default(),
            };
            vswitch.logins.push(login.clone());
            login
        }
    };
    credentials::entries(vswitch, &login)
}

/// Where the vswitch shall listen, if the command says so.
fn listen(args: &AcceptArgs) -> Result<Option<ListenSpec>> {
    let PlaceArgs { ethernet, udp, vlan, local } = &args.place;
    let listen = match (ethernet, udp, local) {
        (Some(port), None, local @ (None | Some(Address::Mac(_)))) => {
            let local = match local {
                Some(Address::Mac(mac)) => Some(*mac),
                _ => None,
            };
            let beacon = args.beacon.map(Into::into).unwrap_or_default();
            ListenSpec::Ethernet { port: port.clone(), vlan: *vlan, local, beacon }
        }
        (None, Some(port), Some(Address::Socket(local))) => {
            ListenSpec::Udp { port: port.clone(), vlan: *vlan, local: *local }
        }
        (None, None, local) => {
            ensure!(
                local.is_none() && vlan.is_none(),
                "--local and --vlan go with --ethernet PORT or --udp PORT"
            );
            return Ok(None);
        }
        _ => bail!("--ethernet goes with a MAC address as --local, --udp needs IP:PORT as --local"),
    };
    Ok(Some(listen))
}

/// Adds a place, unless the vswitch listens there; what is said of beacons counts either way.
fn add_listen(vswitch: &mut VswitchSpec, wanted: ListenSpec, beacons: Option<BeaconArg>) {
    let place = |listen: &ListenSpec| match listen {
        ListenSpec::Ethernet { port, vlan, local, .. } => {
            (port.clone(), *vlan, local.map(Address::Mac))
        }
        ListenSpec::Udp { port, vlan, local } => {
            (port.clone(), *vlan, Some(Address::Socket(*local)))
        }
    };
    let known = vswitch.listens.iter_mut().find(|listen| {
        std::mem::discriminant(*listen) == std::mem::discriminant(&wanted)
            && place(listen) == place(&wanted)
    });
    match (known, beacons) {
        (Some(ListenSpec::Ethernet { beacon, .. }), Some(wanted)) => *beacon = wanted.into(),
        (Some(_), _) => {}
        (None, _) => vswitch.listens.push(wanted),
    }
}

/// A password that nobody guesses, in characters that every configuration takes.
fn new_password() -> Secret {
    let mut bytes = Zeroizing::new([0; PASSWORD_BYTES]);
    UnwrapErr(getrandom::SysRng).fill_bytes(bytes.as_mut_slice());
    Secret(wire::key::base32_encode(bytes.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::Role;

    fn args(place: PlaceArgs) -> AcceptArgs {
        AcceptArgs {
            vswitch: "red".into(),
            user: "alice".into(),
            password_file: None,
            new_password: false,
            only: None,
            role: None,
            place,
            beacon: None,
        }
    }

    fn ethernet() -> PlaceArgs {
        PlaceArgs { ethernet: Some("west".into()), ..PlaceArgs::default() }
    }

    fn spec() -> Spec {
        let red = VswitchSpec {
            name: "red".into(),
            public_key: "lqjqj3njmggfnrb8dyxfcgdnylj1yz1dl1hr0180shynkv9wnwh0.k".into(),
            ..VswitchSpec::default()
        };
        Spec { vswitches: vec![red], ..Spec::default() }
    }

    #[test]
    fn a_new_login_gets_a_password_that_differs_each_time() {
        let (a, b) = (new_password(), new_password());
        assert_eq!(a.0.len(), 32);
        assert_ne!(a, b);
    }

    #[test]
    fn accepting_twice_changes_only_what_is_given() {
        let mut spec = spec();
        assert_eq!(accept(&mut spec, &args(ethernet()), None).unwrap().len(), 1);
        let first = spec.vswitches[0].logins[0].clone();
        assert_eq!(first.role, Role::Customer);
        assert_eq!(accept(&mut spec, &args(ethernet()), None).unwrap().len(), 1);
        assert_eq!(spec.vswitches[0].logins, std::slice::from_ref(&first));
        let mut other = args(PlaceArgs {
            udp: Some("west".into()),
            local: Some("192.0.2.1:4000".parse().unwrap()),
            ..PlaceArgs::default()
        });
        other.new_password = true;
        other.role = Some(RoleArg::Peer);
        assert_eq!(accept(&mut spec, &other, None).unwrap().len(), 2);
        let login = &spec.vswitches[0].logins[0];
        assert_eq!(login.role, Role::Peer);
        assert_ne!(login.password, first.password);
        accept(&mut spec, &args(PlaceArgs::default()), Some(Secret("theirs".into()))).unwrap();
        assert_eq!(spec.vswitches[0].logins[0].password.0, "theirs");
    }

    #[test]
    fn beacons_may_be_turned_on_later() {
        let mut spec = spec();
        accept(&mut spec, &args(ethernet()), None).unwrap();
        let with = AcceptArgs { beacon: Some(BeaconArg::Send), ..args(ethernet()) };
        accept(&mut spec, &with, None).unwrap();
        let [ListenSpec::Ethernet { beacon, .. }] = spec.vswitches[0].listens.as_slice() else {
            panic!("{:?}", spec.vswitches[0].listens)
        };
        assert_eq!(*beacon, BeaconMode::Send);
    }

    #[test]
    fn a_place_without_its_address_is_refused() {
        let udp = PlaceArgs { udp: Some("west".into()), ..PlaceArgs::default() };
        assert!(accept(&mut spec(), &args(udp), None).is_err());
        let vlan = PlaceArgs { vlan: Some(7), ..PlaceArgs::default() };
        assert!(accept(&mut spec(), &args(vlan), None).is_err());
    }
}
