//! From the wanted state to tables: all or nothing.

mod build;
mod draft;
mod leases;

use crate::ids::{Exhausted, StableIds};
use crate::rules::Rules;
use crate::spec_error::SpecError;
use dataplane_api::limits::{VIFS_MAX, VSWITCHES_MAX};
use dataplane_api::{Generation, LearnedVif, Spec, WorkerId};
use draft::{Draft, Identity};

/// What the compiler must know of a port; its id is its place in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortFacts {
    /// Name, as specs call it.
    pub name: String,
    /// Device MTU: bytes after the Ethernet header.
    pub mtu: u32,
    /// Workers with a transmit queue on it: only they can own a link there.
    pub workers: Vec<WorkerId>,
    /// Untrusted neighbours are on it, who could forge the packets of a plain link.
    pub untrusted: bool,
    /// Plain links are wanted there all the same.
    pub plain_forced: bool,
    /// Every VLAN tag of a frame is seen: none is hidden by the device or by one behind it, as far as the port found.
    pub tags_visible: bool,
    /// UDP checksums of received datagrams may be unfinished (local stacks over veth).
    pub checksum_partial: bool,
}

/// Which tables these are.
#[derive(Clone, Copy, Debug)]
struct Edition {
    /// Of the spec.
    generation: Generation,
    /// Grows with every compilation.
    number: u64,
}

/// Turns specs into [`Rules`] and keeps the ids that must not change from one to the next.
#[derive(Clone, Debug)]
pub struct Compiler {
    ids: StableIds<Identity>,
    edition: u64,
    in_force: Option<Spec>,
    /// Of the link tables. Whoever chooses a MAC address must not be able to guess it.
    seed: u64,
}

impl Compiler {
    /// A compiler for at most `vswitches` and `vifs` at a time (each bounded by the limits of the box).
    ///
    /// `seed`: unpredictable to the network.
    #[must_use]
    pub fn new(vswitches: usize, vifs: usize, seed: u64) -> Self {
        Self {
            ids: StableIds::new(vswitches.min(VSWITCHES_MAX), vifs.min(VIFS_MAX)),
            edition: 0,
            in_force: None,
            seed,
        }
    }

    /// The tables for `spec` and the neighbours that logged in, on these ports. A vif keeps its id as long as
    /// (vswitch name, number) stays.
    ///
    /// A learned vif whose vswitch is gone, or whose number, address or port the spec gives to another, is left out.
    ///
    /// # Errors
    /// [`SpecError`]; nothing has changed then.
    pub fn compile(
        &mut self,
        spec: &Spec,
        learned: &[LearnedVif],
        ports: &[PortFacts],
    ) -> Result<Rules, SpecError> {
        self.check_generation(spec)?;
        let draft = Draft::new(spec, learned, ports)?;
        let mut ids = self.ids.clone();
        let edition = Edition { generation: spec.generation, number: self.edition + 1 };
        let mut rules = build::build(&draft, ports, edition, &mut ids, self.seed)?;
        leases::add(&mut rules, spec, ports)?;
        self.ids = ids;
        self.edition += 1;
        self.in_force = Some(spec.clone());
        Ok(rules)
    }

    /// Lets ids be used again that were removed in edition `applied` of the rules or before.
    ///
    /// `applied`: every worker uses this edition or a newer one, and has sent or dropped what it had queued then.
    pub fn retire_up_to(&mut self, applied: u64) {
        self.ids.release(applied);
    }

    fn check_generation(&self, spec: &Spec) -> Result<(), SpecError> {
        match &self.in_force {
            Some(old)
                if spec.generation < old.generation
                    || spec.generation == old.generation && spec != old =>
            {
                Err(SpecError::Generation { found: spec.generation, in_force: old.generation })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// No id for something new in the spec.
fn no_id(what: &'static str, exhausted: Exhausted) -> SpecError {
    let Exhausted { retiring, room } = exhausted;
    SpecError::Ids { what, retiring, room }
}
