//! Wanted states of the switches, from text and from the socket's form.

use crate::rig;
use dataplane_api::Spec;

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
            assert!(engine::explain(&rules, vswitch.id, label).len() <= STEPS_MAX, "{label:x}");
        }
    }
    for vif in rules.vifs() {
        assert_ne!(vif.number, 1, "1 is the vswitch itself");
        let found = rules.vif_numbered(vif.vswitch, vif.number).map(|found| found.id);
        assert_eq!(found, Some(vif.id));
        let vswitch = rules.vswitch(vif.vswitch);
        let label = vswitch.and_then(|vswitch| vswitch.scheme.peer_label(vif.number));
        assert_eq!(label, Some(vif.label), "a vif can be reached");
    }
    assert!(compiler.compile(spec, &[], &rig::ports()).is_ok(), "sending a spec twice is harmless");
}
