//! Wanted states of the switches, from text and from the socket's form.

use crate::rig;
use dataplane_api::{Direction, Spec};
use engine::{Leases, Rules};

/// Most steps that [`engine::explain`] may take for one label: the vswitch itself and one per cable.
const STEPS_MAX: usize = dataplane_api::limits::CABLE_HOPS_MAX as usize + 2;

/// Compiles `input`, TOML text or postcard bytes; what compiles is consistent and compiles again.
pub fn spec(input: &[u8]) {
    let text = std::str::from_utf8(input).ok();
    if let Some(spec) = text.and_then(|text| toml::from_str(text).ok()) {
        compile(&spec);
    }
    if let Ok(spec) = postcard::from_bytes(input) {
        compile(&spec);
    }
}

/// Of no port is more guaranteed than nine tenths of what it is sold as.
fn keeps_what_it_sells(rules: &Rules, at: u64) {
    let _table = Leases::at(rules, at, 1);
    for port in rules.leases().map(|lease| lease.port) {
        let holding = rules.leases().filter(|lease| {
            lease.port == port && lease.direction == Direction::Out && lease.holds(at)
        });
        let sum: u128 = holding.map(|lease| u128::from(lease.terms.rate)).sum();
        let most = u128::from(rules.capacity(port).unwrap_or(0)) * 9 / 10;
        assert!(sum <= most, "port {port} guarantees {sum} of {most} at {at}");
    }
}

fn compile(spec: &Spec) {
    let mut compiler = rig::compiler();
    let rules = match compiler.compile(spec, &[], &rig::ports()) {
        Ok(rules) => rules,
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty(), "a refusal says why");
            return;
        }
    };
    assert_eq!(rules.generation(), spec.generation);
    assert_eq!(rules.vswitches().count(), spec.vswitches.len());
    for vswitch in rules.vswitches() {
        assert_eq!(rules.vswitch_named(&vswitch.name).map(|found| found.id), Some(vswitch.id));
        for label in [0, 1, 0x13, u64::MAX, 1 << 63] {
            assert!(engine::explain(&rules, vswitch.id, 1, label).len() <= STEPS_MAX, "{label:x}");
        }
    }
    for lease in rules.leases() {
        keeps_what_it_sells(&rules, lease.start);
    }
    for vif in rules.vifs() {
        assert_ne!(vif.number, 1, "1 is the vswitch itself");
        let found = rules.vif_numbered(vif.vswitch, vif.number).map(|found| found.id);
        assert_eq!(found, Some(vif.id));
        let vswitch = rules.vswitch(vif.vswitch);
        assert!(engine::explain(&rules, vif.vswitch, vif.number, vif.label).len() <= STEPS_MAX);
        let label = vswitch.and_then(|vswitch| vswitch.scheme.peer_label(vif.number));
        assert_eq!(label, Some(vif.label), "a vif can be reached");
    }
    assert!(compiler.compile(spec, &[], &rig::ports()).is_ok(), "sending a spec twice is harmless");
}
