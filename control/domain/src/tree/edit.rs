//! Changing one place of a tree, and telling two trees apart.
//!
//! Both work on one entry of a table (`port`, `vswitch` …) at a time where they can: a tree has tens of thousands of
//! places.

use super::{Node, Place, Tree, Vswitch};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why a place was not changed. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is nothing.
    #[error("{0}: there is nothing to delete")]
    Nothing(Place),
    /// Something is there that has no places.
    #[error("{0}: a value stands above it, which has no names below")]
    NoTable(Place),
    /// The value is not what belongs there.
    #[error("{place}: {error}")]
    Type {
        /// Where, as near as can be told.
        place: Place,
        /// What was expected.
        error: String,
    },
}

/// One place that differs between two trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where.
    pub place: Place,
    /// What is there in the old one, passwords left out.
    pub old: Option<Value>,
    /// What is there in the new one, passwords left out.
    pub new: Option<Value>,
}

impl Tree {
    /// Puts a value at a place; tables above it are made.
    ///
    /// # Errors
    /// [`EditError::NoTable`], [`EditError::Type`].
    pub fn set(&mut self, place: &Place, value: Value) -> Result<(), EditError> {
        self.edit(place, |root, names| {
            let mut here = root;
            for (depth, name) in names.iter().enumerate() {
                if here.is_null() {
                    *here = Value::Object(serde_json::Map::new());
                }
                let no_table = || EditError::NoTable(above(place, names.len() - depth));
                here = match here {
                    Value::Object(table) => table.entry(name).or_insert(Value::Null),
                    Value::Array(list) => {
                        let index = name.parse::<usize>().ok().filter(|at| *at <= list.len());
                        let index = index.ok_or_else(no_table)?;
                        if index == list.len() {
                            list.push(Value::Null);
                        }
                        list.get_mut(index).ok_or_else(no_table)?
                    }
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                        return Err(no_table());
                    }
                };
            }
            *here = value;
            Ok(())
        })
    }

    /// Takes away what is at a place.
    ///
    /// # Errors
    /// [`EditError::Nothing`], [`EditError::Type`] if the tree cannot be without.
    pub fn delete(&mut self, place: &Place) -> Result<(), EditError> {
        self.edit(place, |root, names| {
            let nothing = || EditError::Nothing(place.clone());
            let Some((last, above)) = names.split_last() else {
                let was = std::mem::take(root);
                return if was.is_null() { Err(nothing()) } else { Ok(()) };
            };
            let table = above.iter().try_fold(root, |here, name| step(here, name));
            let removed = match table.ok_or_else(nothing)? {
                Value::Object(table) => table.remove(last),
                Value::Array(list) => {
                    let index = last.parse::<usize>().ok().filter(|index| *index < list.len());
                    index.map(|index| list.remove(index))
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            };
            removed.map(drop).ok_or_else(nothing)
        })
    }

    /// What is at a place, passwords left out.
    #[must_use]
    pub fn show(&self, place: &Place) -> Option<Value> {
        let (mut root, names) = match place.names() {
            [top, below @ ..] if top == "box" => (value(&self.settings), below),
            [top, name, below @ ..] => {
                let entry = match top.as_str() {
                    "node" => value(&shown_node(self.nodes.get(name)?)),
                    "port" => value(self.ports.get(name)?),
                    "tenant" => value(self.tenants.get(name)?),
                    "unit" => value(self.units.get(name)?),
                    "price" => value(self.prices.get(name)?),
                    "policy" => value(self.policies.get(name)?),
                    "vswitch" => value(&shown(self.vswitches.get(name)?)),
                    _ => return None,
                };
                (entry, below)
            }
            names => (value(&self.without_secrets()), names),
        };
        names.iter().try_fold(&mut root, |here, name| step(here, name)).map(std::mem::take)
    }

    fn edit(
        &mut self,
        place: &Place,
        change: impl FnOnce(&mut Value, &[String]) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        if let [top, below @ ..] = place.names()
            && top == "box"
        {
            let mut root = value(&self.settings);
            change(&mut root, below)?;
            let root = if root.is_null() { Value::Object(serde_json::Map::new()) } else { root };
            self.settings = typed(root, &Place::root().at(top))?;
            return Ok(());
        }
        if let [top, name, below @ ..] = place.names() {
            let entry = Entry { at: Place::root().at(top).at(name), name, below };
            match top.as_str() {
                "node" => return edit_entry(&mut self.nodes, &entry, change),
                "port" => return edit_entry(&mut self.ports, &entry, change),
                "tenant" => return edit_entry(&mut self.tenants, &entry, change),
                "unit" => return edit_entry(&mut self.units, &entry, change),
                "price" => return edit_entry(&mut self.prices, &entry, change),
                "policy" => return edit_entry(&mut self.policies, &entry, change),
                "vswitch" => return edit_entry(&mut self.vswitches, &entry, change),
                _ => {}
            }
        }
        let mut root = value(self);
        change(&mut root, place.names())?;
        *self = typed(root, &Place::root())?;
        Ok(())
    }
}

/// Which entry of a map, and which places below it.
struct Entry<'a> {
    at: Place,
    name: &'a str,
    below: &'a [String],
}

fn edit_entry<T: Serialize + DeserializeOwned>(
    map: &mut BTreeMap<String, T>,
    entry: &Entry<'_>,
    change: impl FnOnce(&mut Value, &[String]) -> Result<(), EditError>,
) -> Result<(), EditError> {
    let mut root = map.get(entry.name).map_or(Value::Null, value);
    change(&mut root, entry.below)?;
    if root.is_null() {
        map.remove(entry.name);
    } else {
        map.insert(entry.name.to_owned(), typed(root, &entry.at)?);
    }
    Ok(())
}

/// Where the trees differ, in order; lists are compared as a whole.
#[must_use]
pub fn diff(old: &Tree, new: &Tree) -> Vec<Difference> {
    let Tree { schema, settings, nodes, ports, tenants, units, prices, policies, vswitches } = old;
    let mut differences = Vec::new();
    let root = Place::root();
    let (before, after) = (Value::from(*schema), Value::from(new.schema));
    walk(
        &root.at("schema"),
        (Some(&before), Some(&before)),
        (Some(&after), Some(&after)),
        &mut differences,
    );
    let (before, after) = (value(settings), value(&new.settings));
    let before = (Some(&before), Some(&before));
    walk(&root.at("box"), before, (Some(&after), Some(&after)), &mut differences);
    maps(&root.at("node"), nodes, &new.nodes, shown_node, &mut differences);
    maps(&root.at("port"), ports, &new.ports, Clone::clone, &mut differences);
    maps(&root.at("tenant"), tenants, &new.tenants, Clone::clone, &mut differences);
    maps(&root.at("unit"), units, &new.units, Clone::clone, &mut differences);
    maps(&root.at("price"), prices, &new.prices, Clone::clone, &mut differences);
    maps(&root.at("policy"), policies, &new.policies, Clone::clone, &mut differences);
    maps(&root.at("vswitch"), vswitches, &new.vswitches, shown, &mut differences);
    differences
}

fn maps<T: PartialEq + Serialize>(
    place: &Place,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    shown: impl Fn(&T) -> T,
    differences: &mut Vec<Difference>,
) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (old, new) = (old.get(name), new.get(name));
        if old != new {
            let values = |of: Option<&T>| (of.map(value), of.map(|of| value(&shown(of))));
            let ((old, old_shown), (new, new_shown)) = (values(old), values(new));
            let old = (old.as_ref(), old_shown.as_ref());
            walk(&place.at(name), old, (new.as_ref(), new_shown.as_ref()), differences);
        }
    }
}

/// A value, and what of it may be shown: of the same shape.
type Both<'a> = (Option<&'a Value>, Option<&'a Value>);

fn walk(place: &Place, old: Both<'_>, new: Both<'_>, differences: &mut Vec<Difference>) {
    if old.0 == new.0 {
        return;
    }
    let (Some(Value::Object(a)), Some(Value::Object(b))) = (old.0, new.0) else {
        let (old, new) = (old.1.cloned(), new.1.cloned());
        differences.push(Difference { place: place.clone(), old, new });
        return;
    };
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        walk(&place.at(name), below(old, name), below(new, name), differences);
    }
}

fn below<'a>(both: Both<'a>, name: &str) -> Both<'a> {
    let at = |value: Option<&'a Value>| value.and_then(|value| value.get(name));
    (at(both.0), at(both.1))
}

fn shown(vswitch: &Arc<Vswitch>) -> Arc<Vswitch> {
    let mut shown = Vswitch::clone(vswitch);
    shown.hide_secrets();
    Arc::new(shown)
}

fn shown_node(node: &Node) -> Node {
    let mut shown = node.clone();
    shown.hide_secrets();
    shown
}

fn step<'a>(here: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    match here {
        Value::Object(table) => table.get_mut(name),
        Value::Array(list) => list.get_mut(name.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The place so many names above another.
fn above(place: &Place, names: usize) -> Place {
    let kept = place.names().len().saturating_sub(names);
    place.names().iter().take(kept).fold(Place::root(), |place, name| place.at(name))
}

pub(super) fn value<T: Serialize>(of: &T) -> Value {
    // Names are text and numbers fit: nothing of the tree cannot be a value.
    let mut value = serde_json::to_value(of).unwrap_or(Value::Null);
    without_nulls(&mut value);
    value
}

/// What is `None` is not there.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(table) => {
            table.retain(|_, value| !value.is_null());
            table.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub(super) fn typed<T: DeserializeOwned>(value: Value, at: &Place) -> Result<T, EditError> {
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    T::deserialize(tracked).map_err(|error| {
        let below = track.path();
        let place = below.iter().fold(at.clone(), |place, segment| match segment {
            serde_path_to_error::Segment::Seq { index } => place.at(index),
            serde_path_to_error::Segment::Map { key } => place.at(key),
            serde_path_to_error::Segment::Enum { variant } => place.at(variant),
            serde_path_to_error::Segment::Unknown => place,
        });
        EditError::Type { place, error: error.to_string() }
    })
}
