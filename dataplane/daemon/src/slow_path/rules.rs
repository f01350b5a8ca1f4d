//! What the links must know of the rules in force.

use crate::tables::Tables;
use crypt::credential::Credentials;
use dataplane_api::{BeaconMode, LoginSpec, VswitchId};
use engine::{OwnAddress, VifInfo, VswitchInfo};
use node::links::{BEACON_LOGIN, BeaconPort, LinkConfig, Links, Moment, Node};
use rand_core::CryptoRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::key::PublicKey;

/// Characters of a beacon's password; a NUL closes it. Source: CJDNS-WIRE.md §1.4.
const BEACON_PASSWORD_LEN: usize = 19;

/// What the links were told last.
#[derive(Debug, Default)]
pub(crate) struct Configured {
    edition: Option<u64>,
    /// How many identities there were, and which: a change is another map.
    identities: Option<Arc<crate::keys::Identities>>,
    /// Who may log in, made once for each list of logins.
    users: BTreeMap<VswitchId, (Vec<LoginSpec>, Arc<Credentials>)>,
    /// Of each vswitch's beacons, for as long as the process lives.
    beacon_passwords: BTreeMap<PublicKey, [u8; 20]>,
}

impl Configured {
    /// Tells the links what changed, if something did.
    pub(super) fn follow(&mut self, tables: &Tables, moment: &mut Moment<'_>, links: &mut Links) {
        let rules = &tables.rules;
        let same = self.edition == Some(rules.edition())
            && self.identities.as_ref().is_some_and(|of| Arc::ptr_eq(of, &tables.identities));
        if same {
            return;
        }
        self.edition = Some(rules.edition());
        self.identities = Some(Arc::clone(&tables.identities));
        let mut nodes = BTreeMap::new();
        let mut users = BTreeMap::new();
        let mut places = Vec::new();
        for vswitch in rules.vswitches() {
            let beacons = beacon_places(vswitch);
            let password = beacons.iter().any(|place| place.sends).then(|| {
                *self
                    .beacon_passwords
                    .entry(vswitch.key)
                    .or_insert_with(|| beacon_password(moment.rng))
            });
            places.extend(beacons.into_iter().map(|place| (vswitch.id, place)));
            let known = self.users.remove(&vswitch.id);
            let known = known.filter(|(logins, _)| *logins == vswitch.logins);
            let allowed = known.map_or_else(
                || Arc::new(credentials(&vswitch.logins, password)),
                |(_, allowed)| allowed,
            );
            users.insert(vswitch.id, (vswitch.logins.clone(), Arc::clone(&allowed)));
            let roles = vswitch.logins.iter().map(|login| (login.user.clone(), login.role));
            nodes.insert(
                vswitch.id,
                Node {
                    identity: tables.identities.get(&vswitch.key).cloned(),
                    users: allowed,
                    roles: roles.collect(),
                    beacon_password: password,
                },
            );
        }
        self.users = users;
        let configs = rules.vifs().filter_map(link_config).collect();
        links.configure(moment, nodes, configs, &places);
    }
}

fn link_config(vif: &VifInfo) -> Option<LinkConfig> {
    let node = vif.node.as_ref()?;
    Some(LinkConfig {
        vif: vif.id,
        epoch: vif.epoch,
        vswitch: vif.vswitch,
        label: vif.label,
        address: vif.link.address()?,
        key: node.key,
        password: node.password.clone(),
        login: node.login.clone(),
        handshake: node.handshake,
        learned: node.learned,
        user: node.user.clone(),
    })
}

fn beacon_places(vswitch: &VswitchInfo) -> Vec<BeaconPort> {
    let places = vswitch.listeners.iter().filter_map(|listener| match listener.own {
        OwnAddress::Mac(own) if listener.beacon != BeaconMode::Off => {
            let sends = listener.beacon == BeaconMode::Send;
            Some(BeaconPort { port: listener.port, vlan: listener.vlan, own, sends })
        }
        OwnAddress::Mac(_) | OwnAddress::Socket(_) => None,
    });
    places.collect()
}

/// Logins of the spec, and that of our own beacons.
fn credentials(logins: &[LoginSpec], beacon: Option<[u8; 20]>) -> Credentials {
    let mut users = Credentials::new();
    for login in logins {
        let password = login.password.0.as_bytes();
        if let Err(error) = users.insert(Some(&login.user), password, login.only) {
            tracing::warn!("login {}: {error}", login.user);
        }
    }
    if let Some(password) = beacon
        && let Err(error) = users.insert(Some(BEACON_LOGIN), &password, None)
    {
        tracing::warn!("login of beacons: {error}");
    }
    users
}

fn beacon_password(random: &mut dyn CryptoRng) -> [u8; 20] {
    let mut bytes = [0; BEACON_PASSWORD_LEN];
    random.fill_bytes(&mut bytes);
    let text = wire::key::base32_encode(&bytes);
    let mut password = [0; 20];
    for (to, from) in password[..BEACON_PASSWORD_LEN].iter_mut().zip(text.bytes()) {
        *to = from;
    }
    password
}
