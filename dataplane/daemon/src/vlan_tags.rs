//! Whether a port sees every VLAN tag of its frames: what the port found decides, not what is hoped.
//!
//! A tag that the device or a VLAN device behind it keeps beside the frame is invisible to XDP unless the driver tells the
//! program. Where nothing tells, a tagged frame looks untagged. Links with a vlan are refused there, unless the port is
//! declared to have no such tags (`vlan_trusted`), the device does not strip them, and a tagged frame that came with the
//! tag in its bytes proves it. Untagged links cannot be refused, so people are told.

use crate::clock;
use crate::config::Backend;
use crate::dataplane::port_facts;
use crate::plan::PortPlan;
use crate::ports::{Filter, Opened};
use dataplane_api::{LinkSpec, Nanos, Spec};
use engine::PortFacts;
use io::netdev::Netdev;
use io::xdp::Tags;
use std::thread;
use std::time::Duration;

/// Longest wait at start for a tagged frame that proves a declaration, if the spec has links with a vlan on the port.
const PROOF_WAIT: Nanos = 5_000_000_000;
const PROOF_PAUSE: Duration = Duration::from_millis(20);

/// What a port sees of tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// All of them.
    Whole,
    /// Not those beside a frame.
    Partial {
        /// Why, as the end of a sentence.
        why: String,
        /// What there is to do about it.
        remedy: Remedy,
    },
}

/// What makes a port fit for links with a vlan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    Declare,
    StopStripping,
    Prove,
}

impl Sight {
    /// Of an open port, now.
    pub(crate) fn of(port: &PortPlan, opened: &Opened) -> Self {
        match &opened.filter {
            Some(Filter::Xdp(attachment)) => {
                let strips = || attachment.device().strips_tags();
                judge(attachment.tags(), port.config.vlan_trusted, strips, || attachment.saw_tag())
            }
            // A packet socket gets the tag beside the frame; memory and recordings have nothing beside.
            Some(Filter::AfPacket(_)) | None => Self::Whole,
        }
    }

    /// Of a port that is not open, as it will be before any frame has come.
    pub(crate) fn expected(port: &PortPlan) -> Self {
        match (port.config.backend, Netdev::find(&port.config.name)) {
            (Backend::AfXdp, Ok(device)) => {
                let (tags, declared) = (io::xdp::expected(&device), port.config.vlan_trusted);
                judge(&tags, declared, || device.strips_tags(), || false)
            }
            _ => Self::Whole,
        }
    }

    /// Whether links with a vlan are taken, once a declaration is proved.
    pub(crate) fn may_become_whole(&self) -> bool {
        matches!(self, Self::Whole | Self::Partial { remedy: Remedy::Prove, .. })
    }

    /// What people must know of it.
    pub(crate) fn sentence(&self, port: &str) -> Option<String> {
        let Self::Partial { why, remedy } = self else { return None };
        let about = subject(port);
        let help = match remedy {
            Remedy::Declare => {
                "if no such frame can come, declare it (vlan_trusted), and a tagged frame must prove it".to_owned()
            }
            Remedy::StopStripping => {
                format!("the device takes tags out itself: stop that (ethtool -K {port} rxvlan off)")
            }
            Remedy::Prove => {
                "vlan_trusted is declared and not proved yet: have a neighbour send a tagged frame".to_owned()
            }
        };
        Some(format!(
            "{about} ({why}): a frame with such a tag looks untagged and reaches untagged links, and links with a vlan \
             are refused; {help}"
        ))
    }
}

/// How every such sentence about a port begins.
pub(crate) fn subject(port: &str) -> String {
    format!("port {port}: VLAN tags beside a frame are not seen")
}

fn judge(
    tags: &Tags,
    declared: bool,
    strips: impl FnOnce() -> bool,
    seen: impl FnOnce() -> bool,
) -> Sight {
    let Tags::Untold(why) = tags else { return Sight::Whole };
    let remedy = if !declared {
        Remedy::Declare
    } else if strips() {
        // A frame with two tags would show one even so, and prove nothing.
        Remedy::StopStripping
    } else if !seen() {
        Remedy::Prove
    } else {
        return Sight::Whole;
    };
    Sight::Partial { why: why.clone(), remedy }
}

/// Facts of the ports for compiling `spec`. Where only a proof is missing that the spec needs, it is waited for, as there is
/// nobody yet who could send the spec again.
pub(crate) fn facts_for(spec: &Spec, ports: &[PortPlan], opened: &[Opened]) -> Vec<PortFacts> {
    let until = clock::now() + PROOF_WAIT;
    let mut said = false;
    loop {
        let sights: Vec<_> =
            ports.iter().zip(opened).map(|(port, opened)| Sight::of(port, opened)).collect();
        let unproved = ports.iter().zip(&sights).find(|(port, sight)| {
            matches!(sight, Sight::Partial { remedy: Remedy::Prove, .. })
                && has_tagged_links(spec, &port.config.name)
        });
        if let (Some((port, _)), true) = (unproved, clock::now() < until) {
            if !said {
                tracing::info!("port {}: waiting for a tagged frame", port.config.name);
            }
            said = true;
            thread::sleep(PROOF_PAUSE);
            continue;
        }
        let facts = ports.iter().zip(sights);
        return facts.map(|(port, sight)| port_facts(port, sight == Sight::Whole)).collect();
    }
}

fn has_tagged_links(spec: &Spec, name: &str) -> bool {
    let links =
        spec.vswitches.iter().flat_map(|vswitch| &vswitch.vifs).filter_map(|vif| vif.link.as_ref());
    links.into_iter().any(|link| match link {
        LinkSpec::Ethernet { port, vlan, .. } | LinkSpec::Udp { port, vlan, .. } => {
            port == name && vlan.is_some()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(declared: bool, strips: bool, seen: bool) -> Option<Remedy> {
        let untold = Tags::Untold("nobody tells".to_owned());
        match judge(&untold, declared, || strips, || seen) {
            Sight::Whole => None,
            Sight::Partial { remedy, .. } => Some(remedy),
        }
    }

    #[test]
    fn a_driver_that_tells_needs_neither_declaration_nor_proof() {
        assert_eq!(judge(&Tags::Told, false, || true, || false), Sight::Whole);
    }

    #[test]
    fn otherwise_all_three_are_needed() {
        assert_eq!(remedy(true, false, true), None);
        assert_eq!(remedy(false, false, true), Some(Remedy::Declare));
        assert_eq!(remedy(true, true, true), Some(Remedy::StopStripping));
        assert_eq!(remedy(true, false, false), Some(Remedy::Prove));
    }

    #[test]
    fn the_sentence_says_what_helps() {
        let sight = judge(&Tags::Untold("no hint".to_owned()), true, || true, || true);
        let sentence = sight.sentence("eth1").unwrap();
        assert!(sentence.starts_with(&subject("eth1")), "{sentence}");
        assert!(
            sentence.contains("no hint") && sentence.contains("ethtool -K eth1 rxvlan off"),
            "{sentence}"
        );
        assert!(!sight.may_become_whole());
        assert_eq!(Sight::Whole.sentence("eth1"), None);
    }
}
