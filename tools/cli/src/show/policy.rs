//! `show policy`: which ways through a vswitch are open.

use super::{Listing, vswitches};
use crate::table::{Side, Table};
use anyhow::Result;
use dataplane_api::{Role, Spec, VswitchSpec};
use serde::Serialize;

#[derive(Serialize)]
struct Row {
    vswitch: String,
    from: Role,
    /// Where packets from a vif of this role may leave to.
    to: Vec<Role>,
    /// Numbers of the vifs of this role that the spec names.
    vifs: Vec<u16>,
}

pub(super) fn list(spec: &Spec, filter: &vswitches::Filter) -> Result<Listing> {
    let wanted = spec.vswitches.iter().filter(|vswitch| {
        filter.vswitch.as_ref().is_none_or(|name| *name == vswitch.name)
            && filter.tenant.is_none_or(|tenant| tenant == vswitch.tenant)
    });
    let rows: Vec<Row> = wanted.flat_map(rows).collect();
    Listing::new("policy", &rows, table(&rows))
}

fn rows(vswitch: &VswitchSpec) -> impl Iterator<Item = Row> {
    Role::ALL.into_iter().map(|from| Row {
        vswitch: vswitch.name.clone(),
        from,
        to: Role::ALL.into_iter().filter(|to| vswitch.allows(from, *to)).collect(),
        vifs: (vswitch.vifs.iter()).filter(|vif| vif.role == from).map(|vif| vif.number).collect(),
    })
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
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_what_the_class_matrix_says() {
        let vswitch = VswitchSpec { name: "red".into(), ..VswitchSpec::default() };
        let blue =
            VswitchSpec { allow: Some(vec![(Role::Peer, Role::Provider)]), ..vswitch.clone() };
        let spec = Spec { vswitches: vec![vswitch, blue], ..Spec::default() };
        let listing = list(&spec, &vswitches::Filter::default()).unwrap();
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
}
