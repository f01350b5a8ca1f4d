//! The tree in parts: what a store keeps, and what a commit changes.
//!
//! An entry is what stands at `box`, or at `port.NAME`, `vswitch.NAME` …: small enough that a change of one place is
//! a small write, large enough that a tree of 65 536 vifs is some thousand entries.

use super::edit::{typed, value};
use super::{EditError, Place, Settings, Tree};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An entry that a commit makes, changes or takes away. Passwords are in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub place: Place,
    /// What was there.
    pub old: Option<Value>,
    /// What is there from then on.
    pub new: Option<Value>,
}

impl Change {
    /// What takes it back.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { old: self.new, new: self.old, ..self }
    }
}

impl Tree {
    /// All entries; those of an empty tree are none.
    #[must_use]
    pub fn entries(&self) -> Vec<(Place, Value)> {
        let changes = changes(&Self::default(), self);
        changes.into_iter().filter_map(|change| Some((change.place, change.new?))).collect()
    }

    /// An entry, passwords included.
    #[must_use]
    pub fn entry(&self, place: &Place) -> Option<Value> {
        let (table, name) = match place.names() {
            [table] if table == "box" => {
                return (!self.settings.is_default()).then(|| value(&self.settings));
            }
            [table, name] => (table.as_str(), name),
            _ => return None,
        };
        match table {
            "node" => self.nodes.get(name).map(value),
            "policy" => self.policies.get(name).map(value),
            "port" => self.ports.get(name).map(value),
            "price" => self.prices.get(name).map(value),
            "tenant" => self.tenants.get(name).map(value),
            "unit" => self.units.get(name).map(value),
            "vswitch" => self.vswitches.get(name).map(value),
            _ => None,
        }
    }

    /// Makes an entry what a change says.
    ///
    /// # Errors
    /// [`EditError`]: there is no such table, or the value is not what belongs there.
    pub fn apply(&mut self, change: &Change) -> Result<(), EditError> {
        match (&change.new, change.place.names()) {
            (None, [top]) if top == "box" => self.settings = Settings::default(),
            (Some(new), [top]) if top == "box" => {
                self.settings = typed(new.clone(), &change.place)?
            }
            (Some(new), _) => self.set(&change.place, new.clone())?,
            (None, _) => self.delete(&change.place)?,
        }
        Ok(())
    }
}

/// What makes one tree of another, by place.
#[must_use]
pub fn changes(old: &Tree, new: &Tree) -> Vec<Change> {
    let root = Place::root();
    let mut changes = Vec::new();
    if old.settings != new.settings {
        let there = |of: &Settings| (!of.is_default()).then(|| value(of));
        let (old, new) = (there(&old.settings), there(&new.settings));
        changes.push(Change { place: root.at("box"), old, new });
    }
    table(&root.at("node"), &old.nodes, &new.nodes, &mut changes);
    table(&root.at("policy"), &old.policies, &new.policies, &mut changes);
    table(&root.at("port"), &old.ports, &new.ports, &mut changes);
    table(&root.at("price"), &old.prices, &new.prices, &mut changes);
    table(&root.at("tenant"), &old.tenants, &new.tenants, &mut changes);
    table(&root.at("unit"), &old.units, &new.units, &mut changes);
    table(&root.at("vswitch"), &old.vswitches, &new.vswitches, &mut changes);
    changes
}

fn table<T: PartialEq + Serialize>(
    place: &Place,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    changes: &mut Vec<Change>,
) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (old, new) = (old.get(name), new.get(name));
        if old != new {
            let (old, new) = (old.map(value), new.map(value));
            changes.push(Change { place: place.at(name), old, new });
        }
    }
}
