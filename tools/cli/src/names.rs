//! Names for ids, and ids for names, by the process' status.

use anyhow::{Result, anyhow};
use dataplane_api::status::{PortStatus, VifStatus, VswitchStatus};
use dataplane_api::{PortId, Spec, Status, VifId, VswitchId, VswitchSpec};
use std::str::FromStr;

/// A vif as people name it: `vswitch:number`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VifName {
    pub(crate) vswitch: String,
    pub(crate) number: u16,
}

impl FromStr for VifName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("{text:?} does not name a vif: write VSWITCH:NUMBER, for example red:2");
        let (vswitch, number) = text.rsplit_once(':').ok_or_else(bad)?;
        let number = number.parse().ok().ok_or_else(bad)?;
        if vswitch.is_empty() { Err(bad()) } else { Ok(Self { vswitch: vswitch.into(), number }) }
    }
}

/// The vswitch with this name.
pub(crate) fn vswitch_named<'a>(status: &'a Status, name: &str) -> Result<&'a VswitchStatus> {
    status.vswitches.iter().find(|vswitch| vswitch.name == name).ok_or_else(|| {
        let known = listed(status.vswitches.iter().map(|vswitch| vswitch.name.as_str()));
        anyhow!("there is no vswitch {name:?}; the running spec has {known}")
    })
}

/// The vswitch with this name in a spec.
pub(crate) fn vswitch_in<'a>(spec: &'a mut Spec, name: &str) -> Result<&'a mut VswitchSpec> {
    let known = listed(spec.vswitches.iter().map(|vswitch| vswitch.name.as_str()));
    let found = spec.vswitches.iter_mut().find(|vswitch| vswitch.name == name);
    found.ok_or_else(|| anyhow!("there is no vswitch {name:?}; the running spec has {known}"))
}

/// The port with this name.
pub(crate) fn port_named<'a>(status: &'a Status, name: &str) -> Result<&'a PortStatus> {
    status.ports.iter().find(|port| port.name == name).ok_or_else(|| {
        let known = listed(status.ports.iter().map(|port| port.name.as_str()));
        anyhow!("there is no port {name:?}; the process has {known}")
    })
}

/// The vif with this name.
pub(crate) fn vif_named<'a>(status: &'a Status, name: &VifName) -> Result<&'a VifStatus> {
    let vswitch = vswitch_named(status, &name.vswitch)?;
    let mut vifs = status.vifs.iter().filter(|vif| vif.vswitch == vswitch.id);
    vifs.clone().find(|vif| vif.number == name.number).ok_or_else(|| {
        let known: Vec<String> = vifs.by_ref().map(|vif| vif.number.to_string()).collect();
        let known = listed(known.iter().map(String::as_str));
        anyhow!("vswitch {} has no vif {}; it has {known}", name.vswitch, name.number)
    })
}

/// Name of a vswitch; its id where the status does not list it (any more).
pub(crate) fn vswitch(status: &Status, id: VswitchId) -> String {
    let found = status.vswitches.iter().find(|vswitch| vswitch.id == id);
    found.map_or_else(|| format!("vswitch#{id}"), |vswitch| vswitch.name.clone())
}

/// Name of a port.
pub(crate) fn port(status: &Status, id: PortId) -> String {
    let found = status.ports.iter().find(|port| port.id == id);
    found.map_or_else(|| format!("port#{id}"), |port| port.name.clone())
}

/// Name of a vif.
pub(crate) fn vif(status: &Status, id: VifId) -> String {
    let found = status.vifs.iter().find(|vif| vif.id == id);
    found.map_or_else(
        || format!("vif#{id}"),
        |vif| format!("{}:{}", vswitch(status, vif.vswitch), vif.number),
    )
}

/// `a, b and c`; `none` for an empty list. Long lists are cut.
pub(crate) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN_MAX: usize = 12;
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [] => "none".into(),
        [one] => (*one).into(),
        many if many.len() > SHOWN_MAX => {
            format!("{} and {} more", many[..SHOWN_MAX].join(", "), many.len() - SHOWN_MAX)
        }
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_client::sample;

    #[test]
    fn a_vif_is_named_by_vswitch_and_number() {
        assert_eq!("red:2".parse(), Ok(VifName { vswitch: "red".into(), number: 2 }));
        assert_eq!("a:b:7".parse(), Ok(VifName { vswitch: "a:b".into(), number: 7 }));
        for bad in ["red", "red:", ":2", "red:x", "red:65536"] {
            assert!(bad.parse::<VifName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_lead_to_ids_and_back() {
        let status = sample::status(1);
        let found = vif_named(&status, &"blue:5".parse().unwrap()).unwrap();
        assert_eq!(vif(&status, found.id), "blue:5");
        assert_eq!(vif(&status, VifId(99)), "vif#99");
        assert_eq!(port(&status, port_named(&status, "east").unwrap().id), "east");
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        let status = sample::status(1);
        let text = |error: anyhow::Error| error.to_string();
        assert_eq!(
            text(vif_named(&status, &"blue:9".parse().unwrap()).unwrap_err()),
            "vswitch blue has no vif 9; it has 4 and 5"
        );
        assert_eq!(
            text(vswitch_named(&status, "green").unwrap_err()),
            "there is no vswitch \"green\"; the running spec has red and blue"
        );
        assert_eq!(
            text(port_named(&status, "up0").unwrap_err()),
            "there is no port \"up0\"; the process has west and east"
        );
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..15).map(|n| n.to_string()).collect();
        assert!(listed(names.iter().map(String::as_str)).ends_with("11 and 3 more"));
        assert_eq!(listed(std::iter::empty()), "none");
    }
}
