//! Switch: decode the director, shift it out, or the return director in.

use crate::rules::{Director, NO_SLOT, Narrow, Record, Return, Rules};
use dataplane_api::DropReason;
use wire::buf::Packet;
use wire::control::code::{MALFORMED_ADDRESS, RETURN_PATH_INVALID};
use wire::switch::{QUOTABLE_MIN, UNCLASSIFIED};

pub(crate) use wire::switch::HEADER_LEN;

/// The header's bit that asks for silence.
const SUPPRESS_ERRORS: u8 = 1;
/// Bits of the header's tenth byte that count the bits consumed.
const SHIFT_MASK: u8 = 63;

/// No slot.
pub const NOWHERE: u32 = NO_SLOT;

/// Takes one switch step for each packet of a burst that has a plain way on.
///
/// `ingress`: slot of the link each packet came in on ([`Rules::slot`]), or [`NOWHERE`] to leave it alone.
/// `frames`: packets from their switch header on.
/// `egress`: receives the slot of the vif each packet leaves by. [`NOWHERE`]: the packet is unchanged, and is for
/// the vswitch itself or not to be forwarded.
///
/// Cost: some 57 instructions and ten loads a packet where one narrow scheme serves all; no load waits for another packet's.
#[inline]
pub fn switch<F: Packet>(rules: &Rules, ingress: &[u32], frames: &mut [F], egress: &mut [u32]) {
    // Apart, so that the loop of a box with one narrow scheme has all registers to itself.
    match rules.schemes.only() {
        Some(tables) => each(rules, ingress, frames, egress, |from, header| {
            step_narrow(rules, tables, from, header)
        }),
        None => each(rules, ingress, frames, egress, |from, header| step(rules, from, header)),
    }
}

#[inline(never)]
fn each<F: Packet>(
    rules: &Rules,
    ingress: &[u32],
    frames: &mut [F],
    egress: &mut [u32],
    step: impl Fn(&Record, &mut [u8; HEADER_LEN]) -> u32,
) {
    let records = rules.links.records();
    for ((slot, frame), way) in ingress.iter().zip(frames).zip(egress) {
        let header = frame.bytes_mut().first_chunk_mut();
        *way = match (records.get(*slot as usize), header) {
            (Some(from), Some(header)) => step(from, header),
            _ => NO_SLOT,
        };
    }
}

/// One step of one packet: the slot it leaves by, or [`NO_SLOT`] and an unchanged header.
#[inline]
pub(crate) fn step(rules: &Rules, from: &Record, header: &mut [u8; HEADER_LEN]) -> u32 {
    match rules.schemes.narrow(from.scheme()) {
        Some(tables) => step_narrow(rules, tables, from, header),
        None => step_wide(rules, from, header),
    }
}

#[inline]
fn step_narrow(
    rules: &Rules,
    tables: &Narrow,
    from: &Record,
    header: &mut [u8; HEADER_LEN],
) -> u32 {
    let label = label_of(header);
    let director = tables.decode(label);
    let back = tables.back(from.number(), director.form());
    step_by(rules, label, director, back, from, header)
}

#[cold]
fn step_wide(rules: &Rules, from: &Record, header: &mut [u8; HEADER_LEN]) -> u32 {
    let Some(tables) = rules.schemes.wide(from.scheme()) else { return NO_SLOT };
    let label = label_of(header);
    let director = tables.decode(label);
    let back = tables.back(from.number(), director.form());
    step_by(rules, label, director, back, from, header)
}

#[inline]
fn step_by(
    rules: &Rules,
    label: u64,
    director: Director,
    back: Return,
    from: &Record,
    header: &mut [u8; HEADER_LEN],
) -> u32 {
    let slot = rules.slot_of_number(from, director.number());
    if slot == NO_SLOT || back == Return::NONE || !take(header, label, director.width(), back) {
        return NO_SLOT;
    }
    slot
}

/// Shifts a director of `width` bits out of the header's `label`, and `back` in. `false`, and nothing is changed:
/// shifted too far.
//= WIRE §3.2 steps 7 to 9: version bits and byte 8 are kept, the traffic class becomes ffff
#[inline]
fn take(header: &mut [u8; HEADER_LEN], label: u64, width: u32, back: Return) -> bool {
    let shift = header[9].wrapping_add(low_byte(width));
    // A carry out of the six bits of the shift changes the version above them: directors have 15 bits at most.
    if (shift ^ header[9]) & !SHIFT_MASK != 0 {
        return false;
    }
    let label = back.put((label >> width).swap_bytes());
    header[..8].copy_from_slice(&label.to_le_bytes());
    header[9] = shift;
    header[10..].copy_from_slice(&UNCLASSIFIED.to_le_bytes());
    true
}

#[inline]
fn label_of(header: &[u8; HEADER_LEN]) -> u64 {
    let [l0, l1, l2, l3, l4, l5, l6, l7, ..] = *header;
    u64::from_be_bytes([l0, l1, l2, l3, l4, l5, l6, l7])
}

#[inline]
fn low_byte(word: u32) -> u8 {
    word.to_le_bytes()[0]
}

/// What becomes of a packet that [`step`] left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is for the vswitch itself; its header is that of the delivered packet now.
    Delivered,
    /// It goes no further; unchanged.
    Dropped {
        reason: DropReason,
        /// Code of the switch error that its sender is owed.
        error: Option<u32>,
    },
}

/// The whole rule, in its own order, for the few packets that [`step`] does not take.
///
/// Source: cjdns `switch/SwitchCore.c`, as told in WIRE §3.2 and §3.3.
#[cold]
pub(crate) fn judge(rules: &Rules, from: &Record, packet: &mut [u8]) -> Judgement {
    let len = packet.len();
    let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() else {
        return Judgement::Dropped { reason: DropReason::SwitchRunt, error: None };
    };
    let label = label_of(header);
    let owed = len >= QUOTABLE_MIN && header[8] & SUPPRESS_ERRORS == 0;
    let refuse = |reason, code| Judgement::Dropped { reason, error: Some(code).filter(|_| owed) };

    let Some(tables) = rules.schemes.wide(from.scheme()) else {
        return refuse(DropReason::UnknownVif, MALFORMED_ADDRESS);
    };
    let director = tables.decode(label);
    if director.is_none() {
        return refuse(DropReason::UnknownVif, MALFORMED_ADDRESS);
    }
    let is_self = director.number() == 1;
    if is_self && label & 15 != 1 {
        return refuse(DropReason::SelfMalformed, MALFORMED_ADDRESS);
    }
    let (mut width, mut back) = (director.width(), tables.back(from.number(), director.form()));
    if back == Return::NONE {
        let Some((form, narrowest)) = narrowest(rules, from).filter(|_| is_self) else {
            return refuse(DropReason::DirectorNarrow, MALFORMED_ADDRESS);
        };
        //= WIRE §3.2 step 5: a self director may be stretched if the bits above it are zero
        if (label ^ 1) & ((1 << (narrowest + 4)) - 1) != 0 {
            return refuse(DropReason::ReturnPathInvalid, RETURN_PATH_INVALID);
        }
        (width, back) = (narrowest, tables.back(from.number(), form));
    }
    if !is_self && rules.slot_of_number(from, director.number()) == NO_SLOT {
        return refuse(DropReason::UnknownVif, MALFORMED_ADDRESS);
    }
    if !take(header, label, width, back) {
        return Judgement::Dropped { reason: DropReason::LabelShift, error: None };
    }
    Judgement::Delivered
}

/// Bits of the director that `label` begins with in the scheme of `from`'s vswitch, and its number.
pub(crate) fn first_director(rules: &Rules, from: &Record, label: u64) -> Option<(u16, u8)> {
    let director = rules.schemes.wide(from.scheme())?.decode(label);
    Some((director.number(), low_byte(director.width()))).filter(|_| !director.is_none())
}

/// Form and width of the narrowest director of the ingress number.
fn narrowest(rules: &Rules, from: &Record) -> Option<(usize, u32)> {
    let scheme = rules.schemes.scheme(from.scheme())?;
    let form = scheme.narrowest(from.number())?;
    Some((form, u32::from(scheme.forms().get(form)?.width())))
}
