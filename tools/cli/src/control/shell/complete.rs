//! What could come next on a line: verbs, places that are there or could be, and names that belong there.

use super::order::{VERBS, below};
use domain::tree::Place;
use rustyline::Context;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use serde_json::Value;

/// Names that can stand below a place, whether or not they do; `*` is any name.
const KNOWN: [(&[&str], &[&str]); 17] = [
    (&[], &["box", "node", "policy", "port", "price", "tenant", "unit", "vswitch"]),
    (&["box"], &["contact", "market", "name"]),
    (&["box", "market"], &["confirmations", "hold_ms", "offer_ms", "refund_ppm"]),
    (&["node", "*"], &["certificate", "kind", "password", "url", "user"]),
    (&["policy", "*"], &["allow", "roles", "tenant"]),
    (&["port", "*"], &["capacity", "lease"]),
    (
        &["port", "*", "lease"],
        &["buffer_us", "first_refusal_ms", "grace_ms", "guaranteed_ppm", "notice_ms"],
    ),
    (&["price", "*"], &["direction", "from", "lease", "metered", "port", "unit", "until"]),
    (&["price", "*", "lease"], &["amount", "bytes_per_s", "ms"]),
    (&["tenant", "*"], &["id", "quota"]),
    (&["tenant", "*", "quota"], &["logins", "ports", "vifs", "vswitches"]),
    (&["unit", "*"], &["id", "per_whole"]),
    (
        &["vswitch", "*"],
        &["listen", "login", "policy", "public_key", "route_server", "scheme", "tenant", "vif"],
    ),
    (&["vswitch", "*", "login", "*"], &["only", "password", "role"]),
    (&["vswitch", "*", "vif", "*"], &["cable", "link", "mtu", "policy", "role"]),
    (&["vswitch", "*", "vif", "*", "link"], &["ethernet", "udp"]),
    (&["vswitch", "*", "vif", "*", "link", "*"], &["peer", "port", "session"]),
];
/// Fields whose value is the name of an entry of a table.
const NAMED: [(&str, &str); 5] = [
    ("policy", "policy"),
    ("port", "port"),
    ("ports", "port"),
    ("tenant", "tenant"),
    ("unit", "unit"),
];
const ROLES: [&str; 3] = ["customer", "peer", "provider"];

/// What rustyline asks.
pub(crate) struct Helper {
    tree: Value,
    here: Place,
}

impl Helper {
    /// `tree`: the candidate; `here`: from where places are.
    pub(crate) const fn new(tree: Value, here: Place) -> Self {
        Self { tree, here }
    }
}

impl rustyline::Helper for Helper {}
impl Highlighter for Helper {}
impl Validator for Helper {}
impl Hinter for Helper {
    type Hint = String;
}

impl Completer for Helper {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..pos).unwrap_or_default();
        Ok(complete(&self.tree, &self.here, typed))
    }
}

/// Where the word under the cursor begins, and what it could be.
fn complete(tree: &Value, here: &Place, typed: &str) -> (usize, Vec<String>) {
    let space = typed.char_indices().rev().find(|(_, c)| c.is_whitespace());
    let start = space.map_or(0, |(at, space)| at + space.len_utf8());
    let word = typed.get(start..).unwrap_or_default();
    let before: Vec<&str> = typed.get(..start).unwrap_or_default().split_whitespace().collect();
    let found = match before.as_slice() {
        [] => starting(VERBS.iter().map(|verb| format!("{verb} ")), word),
        ["set" | "delete" | "edit" | "show"] => places(tree, here, word),
        ["set", place] => starting(values(tree, here, place).into_iter(), word),
        ["commit", ..] => {
            starting(["--confirmed ", "--comment "].map(str::to_owned).into_iter(), word)
        }
        ["rollback", _] => starting(["--comment "].map(str::to_owned).into_iter(), word),
        _ => Vec::new(),
    };
    (start, found)
}

fn starting(names: impl Iterator<Item = String>, word: &str) -> Vec<String> {
    names.filter(|name| name.starts_with(word)).collect()
}

/// Places that begin so: up to the last point they are, what follows is to be found.
fn places(tree: &Value, here: &Place, word: &str) -> Vec<String> {
    let (above, _) = word.rsplit_once('.').unwrap_or(("", word));
    let Ok(at) = below(here, above) else { return Vec::new() };
    let there = at.names().iter().try_fold(tree, |value, name| value.get(name));
    let mut names: Vec<String> = there
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    names.extend(known(&at).iter().map(|name| (*name).to_owned()));
    names.sort_unstable();
    names.dedup();
    let Ok(above) = above.parse::<Place>() else { return Vec::new() };
    starting(names.into_iter().map(|name| above.at(name).to_string()), word)
}

fn known(place: &Place) -> &'static [&'static str] {
    let fits = |pattern: &[&str]| {
        let pairs = pattern.iter().zip(place.names());
        pattern.len() == place.names().len()
            && pairs.into_iter().all(|(part, name)| *part == "*" || part == name)
    };
    KNOWN.iter().find(|(pattern, _)| fits(pattern)).map_or(&[], |(_, names)| names)
}

/// What could stand at a place.
fn values(tree: &Value, here: &Place, place: &str) -> Vec<String> {
    let Ok(place) = below(here, place) else { return Vec::new() };
    let name = place.names().last().map_or("", String::as_str);
    if let Some((_, table)) = NAMED.iter().find(|(field, _)| *field == name) {
        let entries = tree.get(table).and_then(Value::as_object);
        return entries.into_iter().flatten().map(|(name, _)| name.clone()).collect();
    }
    let fixed: &[&str] = match name {
        "role" => &ROLES,
        "direction" => &["in", "out"],
        _ => &[],
    };
    fixed.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Tree;
    use proptest::prelude::*;
    use serde_json::json;

    fn tree() -> Value {
        json!({
            "tenant": {"red": {"id": 1}, "royal": {"id": 2}},
            "port": {"eth1.5": {"capacity": 1}},
            "vswitch": {"one": {"tenant": "red", "vif": {"2": {"mtu": 1400}}}},
        })
    }

    fn found(here: &str, typed: &str) -> Vec<String> {
        complete(&tree(), &here.parse().unwrap(), typed).1
    }

    #[test]
    fn verbs_places_and_values_are_found() {
        assert_eq!(found("", "co"), ["commit ", "confirm "]);
        assert_eq!(found("", "set t"), ["tenant"]);
        assert_eq!(found("", "set tenant.r"), ["tenant.red", "tenant.royal"]);
        assert_eq!(found("", "show vswitch.one.vif.2.m"), ["vswitch.one.vif.2.mtu"]);
        assert_eq!(found("", "edit port."), ["port.\"eth1.5\""]);
        assert_eq!(found("vswitch.one", "set vif.2.ca"), ["vif.2.cable"]);
        assert_eq!(found("", "set vswitch.one.tenant r"), ["red", "royal"]);
        assert_eq!(found("vswitch.one", "set vif.2.role p"), ["peer", "provider"]);
        assert_eq!(found("", "commit --comm"), ["--comment "]);
        assert_eq!(found("", "exit now "), Vec::<String>::new());
        assert_eq!(complete(&tree(), &Place::root(), "set tenant.r").0, 4);
        assert_eq!(complete(&tree(), &Place::root(), "set\u{a0}t").0, 5, "a space of two bytes");
    }

    /// A name that the tree does not know would be refused for another reason than its value.
    #[test]
    fn what_is_known_is_known_to_the_tree() {
        for (pattern, names) in KNOWN {
            for name in names {
                let place = pattern.iter().fold(Place::root(), |place, part| {
                    place.at(if *part == "*" { "2" } else { part })
                });
                let mut tree = Tree::default();
                let error = tree.set(&place.at(name), json!([])).err();
                let text = error.map(|error| error.to_string()).unwrap_or_default();
                assert!(!text.contains("unknown field"), "{place}.{name}: {text}");
            }
        }
    }

    proptest! {
        #[test]
        fn completing_never_panics(typed in any::<String>()) {
            let (start, _) = complete(&tree(), &Place::root(), &typed);
            prop_assert!(typed.is_char_boundary(start));
        }
    }
}
