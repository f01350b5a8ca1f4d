//! What would become of a packet, hop by hop inside this box, for people.

use crate::admit::admit;
use crate::rules::{LinkInfo, LinkKind, Record, Rules};
use crate::switch::{self, HEADER_LEN, Judgement};
use dataplane_api::limits::CABLE_HOPS_MAX;
use dataplane_api::{DropReason, VifId, VswitchId};
use std::fmt;
use wire::label::Dotted;
use wire::label::reverse;
use zerocopy::IntoBytes;

/// One switch step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name of the vswitch.
    pub vswitch: String,
    /// Number of the ingress vif; 1 is the vswitch itself.
    pub from: u16,
    /// Label before the step.
    pub label: u64,
    /// Number and width of the director that the label begins with; `None`: it begins with none of this scheme.
    pub director: Option<(u16, u8)>,
    /// What happens.
    pub end: StepEnd,
}

/// What a step leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEnd {
    /// Out of the box.
    Leaves {
        /// Id of the egress vif.
        vif: VifId,
        /// Number of the egress vif.
        number: u16,
        /// Label after the step.
        label: u64,
        /// What is behind the vif.
        link: LinkInfo,
    },
    /// Through a cable; the next step is in the other vswitch.
    Cable {
        /// Number of the egress vif.
        number: u16,
        /// Label after the step.
        label: u64,
    },
    /// To the vswitch itself.
    Delivered {
        /// Label after the step.
        label: u64,
        /// Path that leads back to the sender.
        path_back: u64,
    },
    /// Nowhere.
    Dropped {
        /// Why.
        reason: DropReason,
        /// Code of the switch error that the sender is told.
        error: Option<u32>,
    },
}

/// Follows a path that begins in `vswitch`: as a packet that came in by vif `from` would go, which says nothing of
/// itself. 1: as a packet of its own router would. No step: there is no such vif.
#[must_use]
pub fn explain(rules: &Rules, vswitch: VswitchId, from: u16, label: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    let Some(router) = rules.router(vswitch) else { return steps };
    let from = match from {
        1 => Some(router),
        number => rules.links.get(rules.slot_of_number(router, number)),
    };
    let Some(mut from) = from else { return steps };
    // As long as the shortest packet that is owed an error.
    let mut packet = [0; HEADER_LEN + 4];
    packet[..HEADER_LEN].copy_from_slice(wire::switch::Header::new(label, 0).as_bytes());
    for cables in 0..=CABLE_HOPS_MAX {
        let (step, next) = one_step(rules, from, &mut packet, cables);
        steps.push(step);
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    steps
}

fn one_step<'a>(
    rules: &'a Rules,
    from: &Record,
    packet: &mut [u8; HEADER_LEN + 4],
    cables: u32,
) -> (Step, Option<&'a Record>) {
    let label = label_of(packet);
    let director = switch::first_director(rules, from, label);
    let vswitch =
        rules.vswitch(from.vswitch()).map(|vswitch| vswitch.name.clone()).unwrap_or_default();
    let step = |end| Step { vswitch, from: from.number(), label, director, end };

    let slot = packet
        .first_chunk_mut()
        .map_or(switch::NOWHERE, |header| switch::step(rules, from, header));
    let Some(to) = rules.links.get(slot) else {
        return (step(judged(rules, from, packet)), None);
    };
    let (number, label) = (to.number(), label_of(packet));
    if let Err(reason) = admit(from, to, packet.len()) {
        return (step(StepEnd::Dropped { reason, error: None }), None);
    }
    if to.kind() == LinkKind::Cable {
        let reason = DropReason::CableLimit;
        return match rules.links.get(to.other()).filter(|_| cables < CABLE_HOPS_MAX) {
            Some(other) => (step(StepEnd::Cable { number, label }), Some(other)),
            None => (step(StepEnd::Dropped { reason, error: None }), None),
        };
    }
    let end = match rules.vif(to.vif()) {
        Some(vif) => StepEnd::Leaves { vif: vif.id, number, label, link: vif.link },
        None => StepEnd::Dropped { reason: DropReason::LinkGone, error: None },
    };
    (step(end), None)
}

fn judged(rules: &Rules, from: &Record, packet: &mut [u8]) -> StepEnd {
    match switch::judge(rules, from, packet) {
        Judgement::Delivered => {
            let label = label_of(packet);
            StepEnd::Delivered { label, path_back: reverse(label) }
        }
        Judgement::Dropped { reason, error } => StepEnd::Dropped { reason, error },
    }
}

fn label_of(packet: &[u8]) -> u64 {
    packet.first_chunk().map_or(0, |label| u64::from_be_bytes(*label))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vswitch, from, label, director, end } = self;
        match from {
            1 => write!(f, "{vswitch}: label {} from itself", Dotted(*label))?,
            from => write!(f, "{vswitch}: label {} from vif {from}", Dotted(*label))?,
        }
        match director {
            Some((number, bits)) => write!(f, ", its low {bits} bits name vif {number}: ")?,
            None => write!(f, ", its low bits name nothing in this scheme: ")?,
        }
        match end {
            StepEnd::Leaves { vif: _, number, label, link } => {
                write!(f, "leaves by vif {number} ({link}) with label {}", Dotted(*label))
            }
            StepEnd::Cable { number, label } => {
                write!(f, "through the cable at vif {number} with label {}", Dotted(*label))
            }
            StepEnd::Delivered { label, path_back } => {
                write!(
                    f,
                    "delivered to the vswitch with label {}, the path back is {}",
                    Dotted(*label),
                    Dotted(*path_back)
                )
            }
            StepEnd::Dropped { reason, error: None } => write!(f, "dropped as {reason}, silently"),
            StepEnd::Dropped { reason, error: Some(code) } => {
                write!(f, "dropped as {reason}, the sender is told by switch error {code}")
            }
        }
    }
}

impl fmt::Display for LinkInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vlan =
            |vlan: &Option<u16>| vlan.map(|vlan| format!(" VLAN {vlan}")).unwrap_or_default();
        match self {
            Self::Ethernet { port, vlan: tag, own, peer } => {
                write!(f, "port {port}{}, {own} to {peer}", vlan(tag))
            }
            Self::Udp { port, vlan: tag, own, peer } => {
                write!(f, "port {port}{}, UDP {own} to {peer}", vlan(tag))
            }
            Self::Cable { to } => write!(f, "cable to vif id {to}"),
        }
    }
}
