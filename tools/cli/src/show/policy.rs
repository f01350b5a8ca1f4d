//! `show policy`: which ways through a vswitch are open, and what packets of its vifs may claim.

use super::{Listing, vswitches};
use crate::claims;
use crate::names;
use crate::table::{Side, Table};
use anyhow::Result;
use dataplane_api::status::VifStatus;
use dataplane_api::{Role, Spec, Status, VifPolicy, VswitchSpec};
use serde::Serialize;

#[derive(Serialize)]
struct Row {
    vswitch: String,
    from: Role,
    /// Where packets from a vif of this role may leave to.
    to: Vec<Role>,
    /// Numbers of the vifs of this role that the spec names.
    vifs: Vec<u16>,
    /// Those of them that have a policy, and logins of this role that give one.
    policies: Vec<Policy>,
}

#[derive(Serialize)]
struct Policy {
    /// `vif 2` or `login red`.
    of: String,
    policy: VifPolicy,
    /// The neighbour answered the offer to tell claims.
    told: bool,
}

/// `is_told`: whether the neighbour of a vif (vswitch, number) answered.
pub(super) fn list(
    spec: &Spec,
    is_told: &dyn Fn(&str, u16) -> bool,
    filter: &vswitches::Filter,
) -> Result<Listing> {
    let wanted = spec.vswitches.iter().filter(|vswitch| {
        filter.vswitch.as_ref().is_none_or(|name| *name == vswitch.name)
            && filter.tenant.is_none_or(|tenant| tenant == vswitch.tenant)
    });
    let rows: Vec<Row> = wanted.flat_map(|vswitch| rows(vswitch, is_told)).collect();
    Listing::new("policy", &rows, table(&rows))
}

/// Whether the vif of this vswitch and number is told.
pub(super) fn is_told(status: &Status, vswitch: &str, number: u16) -> bool {
    let vif =
        |vif: &&VifStatus| vif.number == number && names::vswitch(status, vif.vswitch) == vswitch;
    status.vifs.iter().find(vif).is_some_and(|vif| vif.told)
}

fn rows(vswitch: &VswitchSpec, is_told: &dyn Fn(&str, u16) -> bool) -> impl Iterator<Item = Row> {
    Role::ALL.into_iter().map(move |from| Row {
        vswitch: vswitch.name.clone(),
        from,
        to: Role::ALL.into_iter().filter(|to| vswitch.allows(from, *to)).collect(),
        vifs: (vswitch.vifs.iter()).filter(|vif| vif.role == from).map(|vif| vif.number).collect(),
        policies: policies(vswitch, from, is_told),
    })
}

fn policies(vswitch: &VswitchSpec, role: Role, is_told: &dyn Fn(&str, u16) -> bool) -> Vec<Policy> {
    let vifs = vswitch.vifs.iter().filter(|vif| vif.role == role);
    let vifs = vifs.map(|vif| {
        let told = is_told(&vswitch.name, vif.number);
        (format!("vif {}", vif.number), &vif.policy, told)
    });
    let logins = vswitch.logins.iter().filter(|login| login.role == role);
    let logins = logins.map(|login| (format!("login {}", login.user), &login.policy, false));
    let all = vifs.chain(logins).filter(|(_, policy, _)| !policy.is_default());
    all.map(|(of, policy, told)| Policy { of, policy: policy.clone(), told }).collect()
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        ("vswitch", Side::Left),
        ("from", Side::Left),
        ("to customer", Side::Left),
        ("to peer", Side::Left),
        ("to provider", Side::Left),
        ("vifs", Side::Left),
    ]);
    for row in rows {
        let mut cells = vec![row.vswitch.clone(), format!("{:?}", row.from).to_lowercase()];
        let open = |to: &Role| if row.to.contains(to) { "open" } else { "closed" };
        cells.extend(Role::ALL.iter().map(|to| open(to).to_owned()));
        let vifs: Vec<String> = row.vifs.iter().map(u16::to_string).collect();
        cells.push(vifs.join(" "));
        table.row(cells);
        for Policy { of, policy, told } in &row.policies {
            let answered = if *told { "; the neighbour answered" } else { "" };
            let nothing = [(); 3].map(|()| String::new());
            let [a, b, c] = nothing;
            table.row(vec![
                row.vswitch.clone(),
                of.clone(),
                a,
                b,
                c,
                claims::words(policy) + answered,
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{DefaultClass, VifSpec};

    #[test]
    fn what_is_open_is_what_the_class_matrix_says() {
        let vswitch = VswitchSpec { name: "red".into(), ..VswitchSpec::default() };
        let blue =
            VswitchSpec { allow: Some(vec![(Role::Peer, Role::Provider)]), ..vswitch.clone() };
        let spec = Spec { vswitches: vec![vswitch, blue], ..Spec::default() };
        let listing = list(&spec, &|_, _| false, &vswitches::Filter::default()).unwrap();
        let expected = "\
vswitch  from      to customer  to peer  to provider  vifs
red      customer  open         open     open
red      peer      open         closed   closed
red      provider  open         closed   closed
red      customer  closed       closed   closed
red      peer      closed       closed   open
red      provider  closed       closed   closed
";
        assert_eq!(listing.table.to_string(), expected);
    }

    #[test]
    fn vifs_with_a_policy_have_a_line_under_their_role() {
        let policy = VifPolicy {
            default_class: DefaultClass::Priority(1_250_000),
            priority_cap: Some(12_500_000),
            deprioritise_non_customer: Some(0),
            traffic_class: true,
            ..VifPolicy::default()
        };
        let vif =
            |number, policy| VifSpec { number, role: Role::Peer, mtu: None, link: None, policy };
        let vifs = vec![vif(2, policy), vif(3, VifPolicy::default())];
        let vswitch = VswitchSpec { name: "red".into(), vifs, ..VswitchSpec::default() };
        let spec = Spec { vswitches: vec![vswitch], ..Spec::default() };
        let listing = list(&spec, &|_, number| number == 2, &vswitches::Filter::default()).unwrap();
        let table = listing.table.to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 5, "{table}");
        let words = "priority 10.0 Mbit/s by default; at most 100 Mbit/s claim priority; \
                     free unless of a customer; traffic class offered; the neighbour answered";
        assert!(lines[3].starts_with("red      vif 2 ") && lines[3].ends_with(words), "{table}");
    }
}
