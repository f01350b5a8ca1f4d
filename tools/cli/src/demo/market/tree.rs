//! What the scene's box is configured as: red and blue as in the scene of leases, and the east port for sale.

use super::DEEP;
use crate::demo::plan::{BLUE_KEY, RED_KEY, leases};

/// The tree, attached to a node and its wallet.
pub(super) fn tree(rate: u64, node: &str, wallet: &str) -> String {
    let capacity = leases::capacity(rate);
    let login = "user = \"lab\"\npassword = \"labpass\"";
    format!(
        r#"
schema = 2
[box]
name = "demo"
market = {{ confirmations = {DEEP} }}
[node.full]
kind = "pktd"
url = "{node}"
{login}
[node.wallet]
kind = "pktwallet"
url = "{wallet}"
{login}
[port.east]
capacity = {capacity}
lease = {{ buffer_us = 25_000 }}
[unit.PKT]
id = 0
per_whole = 1_073_741_824
[price.east]
port = "east"
direction = "out"
unit = "PKT"
lease = {{ amount = "1", bytes_per_s = 1_000, ms = 1_000 }}
metered = {{ priority = {{ amount = "0", per_bytes = 0 }}, free = {{ amount = "0", per_bytes = 0 }} }}
[tenant.red]
id = 1
[tenant.blue]
id = 2
{}{}"#,
        vswitch("red", 1, RED_KEY, "v358"),
        vswitch("blue", 2, BLUE_KEY, "v48"),
    )
}

/// What red leases, bytes of wire a second.
pub(super) fn lease_rate(rate: u64) -> u64 {
    leases::capacity(rate) * 6 / 10
}

fn vswitch(name: &str, number: u8, key: &str, scheme: &str) -> String {
    let vif = |vif: u8, port: &str, side: u8| {
        let local = format!("02:00:00:{number:02x}:{side:02x}:00");
        let peer = format!("02:01:00:{number:02x}:{side:02x}:{vif:02x}");
        let link = format!("port = \"{port}\", local = \"{local}\", peer = \"{peer}\"");
        format!(
            "[vswitch.{name}.vif.{vif}]\nrole = \"customer\"\nlink = {{ ethernet = {{ {link}, session = \"plain\" }} }}\n"
        )
    };
    let head = format!(
        "[vswitch.{name}]\ntenant = \"{name}\"\npublic_key = \"{key}\"\nscheme = \"{scheme}\"\n"
    );
    format!("{head}{}{}", vif(2, "west", 1), vif(3, "east", 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::plan::{self, Scene};

    #[test]
    fn the_tree_makes_the_vswitches_that_traffic_is_sent_through() {
        let tree =
            domain::Tree::from_toml(&tree(20_000, "http://[::1]:1", "http://[::1]:2")).unwrap();
        let spec = tree.compile(dataplane_api::Generation(1), &domain::Leases::default());
        let wanted = plan::spec(Scene::Market, 20_000);
        for vswitch in &wanted.vswitches {
            let made = spec.vswitches.iter().find(|made| made.name == vswitch.name).unwrap();
            assert_eq!((&made.vifs, &made.scheme), (&vswitch.vifs, &vswitch.scheme));
        }
        assert_eq!(spec.capacities, wanted.capacities);
    }
}
