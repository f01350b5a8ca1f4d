//! Dense ids that stay: the arrays of state and counters are indexed by them across changes of rules.

use dataplane_api::{VifId, VswitchId};
use std::collections::BTreeMap;

/// What an id belongs to, and which of its lives this is.
#[derive(Clone, Debug)]
struct Held<K> {
    id: u32,
    /// What is behind it: a change gives it a new epoch, so that what is queued for the old one is dropped.
    behind: K,
}

/// Ids `0..room` for things known by a `Name`.
#[derive(Clone, Debug)]
struct Ids<Name, Behind> {
    held: BTreeMap<Name, Held<Behind>>,
    /// Given back and free again; the last one is given first.
    free: Vec<u32>,
    /// Removed in an edition of the tables that some worker may not have adopted.
    retiring: Vec<(u64, u32)>,
    epochs: Vec<u8>,
    /// Never given yet: this and all above.
    next: u32,
    room: usize,
}

/// No id is free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exhausted {
    pub(crate) retiring: usize,
    pub(crate) room: usize,
}

impl<Name: Ord + Clone, Behind: PartialEq> Ids<Name, Behind> {
    fn new(room: usize) -> Self {
        let (held, free, retiring) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { held, free, retiring, epochs: vec![0; room], next: 0, room }
    }

    /// Retires every id whose name is not wanted any more.
    fn retire(&mut self, edition: u64, wanted: impl Fn(&Name) -> bool) {
        let retiring = &mut self.retiring;
        self.held.retain(|name, held| {
            let stays = wanted(name);
            if !stays {
                retiring.push((edition, held.id));
            }
            stays
        });
    }

    /// The id of `name`, its epoch, and whether it is new.
    fn claim(&mut self, name: &Name, behind: Behind) -> Result<(u32, u8, bool), Exhausted> {
        if let Some(held) = self.held.get_mut(name) {
            let epoch = &mut self.epochs[held.id as usize];
            if held.behind != behind {
                *epoch = epoch.wrapping_add(1);
                held.behind = behind;
            }
            return Ok((held.id, *epoch, false));
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None if (self.next as usize) < self.room => {
                self.next += 1;
                self.next - 1
            }
            None => return Err(Exhausted { retiring: self.retiring.len(), room: self.room }),
        };
        let epoch = &mut self.epochs[id as usize];
        *epoch = epoch.wrapping_add(1);
        let epoch = *epoch;
        self.held.insert(name.clone(), Held { id, behind });
        Ok((id, epoch, true))
    }

    fn release(&mut self, applied: u64) {
        let free = &mut self.free;
        self.retiring.retain(|(edition, id)| {
            let waits = *edition > applied;
            if !waits {
                free.push(*id);
            }
            waits
        });
    }
}

/// Ids of vswitches (by name) and vifs (by vswitch and number).
#[derive(Clone, Debug)]
pub(crate) struct StableIds<Behind> {
    vswitches: Ids<String, ()>,
    vifs: Ids<(u32, u16), Behind>,
}

impl<Behind: PartialEq> StableIds<Behind> {
    pub(crate) fn new(vswitches: usize, vifs: usize) -> Self {
        Self { vswitches: Ids::new(vswitches), vifs: Ids::new(vifs) }
    }

    /// Retires all that the names in `vswitches` and `vifs` do not keep.
    pub(crate) fn retire(
        &mut self,
        edition: u64,
        keeps_vswitch: impl Fn(&str) -> bool,
        keeps_vif: impl Fn(&str, u16) -> bool,
    ) {
        let names: BTreeMap<u32, &String> =
            self.vswitches.held.iter().map(|(name, held)| (held.id, name)).collect();
        self.vifs.retire(edition, |(vswitch, number)| {
            names.get(vswitch).is_some_and(|name| keeps_vif(name, *number))
        });
        self.vswitches.retire(edition, |name| keeps_vswitch(name));
    }

    pub(crate) fn vswitch(&mut self, name: &str) -> Result<(VswitchId, bool), Exhausted> {
        let (id, _, new) = self.vswitches.claim(&name.to_owned(), ())?;
        let full = Exhausted { retiring: 0, room: self.vswitches.room };
        Ok((VswitchId(u16::try_from(id).ok().ok_or(full)?), new))
    }

    pub(crate) fn vif(
        &mut self,
        vswitch: VswitchId,
        number: u16,
        behind: Behind,
    ) -> Result<(VifId, u8, bool), Exhausted> {
        let (id, epoch, new) = self.vifs.claim(&(u32::from(vswitch.0), number), behind)?;
        Ok((VifId(id), epoch, new))
    }

    /// Makes ids that were retired up to `applied` free again.
    pub(crate) fn release(&mut self, applied: u64) {
        self.vswitches.release(applied);
        self.vifs.release(applied);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_id_waits_until_every_worker_has_passed() {
        let mut ids = StableIds::new(1, 2);
        let (red, new) = ids.vswitch("red").unwrap();
        assert!(new);
        let (two, first_epoch, _) = ids.vif(red, 2, 'a').unwrap();
        assert_eq!(ids.vif(red, 2, 'a').unwrap(), (two, first_epoch, false));
        let (_, second_epoch, _) = ids.vif(red, 2, 'b').unwrap();
        assert_ne!(first_epoch, second_epoch, "another link behind the vif is another epoch");

        ids.retire(5, |_| true, |_, number| number != 2);
        let (three, ..) = ids.vif(red, 3, 'c').unwrap();
        assert_ne!(three, two);
        assert!(ids.vif(red, 4, 'd').is_err(), "the only other id is retiring");
        ids.release(4);
        assert!(ids.vif(red, 4, 'd').is_err());
        ids.release(5);
        let (again, epoch, new) = ids.vif(red, 4, 'd').unwrap();
        assert_eq!((again, new), (two, true));
        assert_ne!(epoch, second_epoch);
    }
}
