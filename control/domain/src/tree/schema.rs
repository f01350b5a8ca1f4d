//! Reading and writing trees, of this schema and of earlier ones.
//!
//! | schema | what came with it |
//! |---|---|
//! | 1 | ports, tenants, units, prices, policies, vswitches |
//! | 2 | `box`, `node`, `policy.NAME.tenant`, `tenant.NAME.quota.ports` |
//!
//! Upwards nothing is lost: what an earlier schema does not say has its default. Downwards what the earlier schema
//! cannot say is refused with its places, and never left out: a box that goes back must be told first.

use super::{Place, SCHEMA, Tree};
use serde::Deserialize;

/// Why a text is no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Line, column, and what was expected there.
    #[error(transparent)]
    Text(#[from] toml::de::Error),
    /// A schema that this program does not know.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// A schema that is not known, or that cannot say what is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// From the future, or no schema at all.
    #[error("schema {found}: expected 1 to {SCHEMA}")]
    Unknown {
        /// What the text says.
        found: u32,
    },
    /// What it has no words for.
    #[error("schema {schema} cannot say what is at {}", list(places))]
    Unsaid {
        /// The earlier schema.
        schema: u32,
        /// Where something is that it does not know.
        places: Vec<Place>,
    },
}

fn list(places: &[Place]) -> String {
    let mut text: Vec<_> = places.iter().take(8).map(Place::to_string).collect();
    if places.len() > text.len() {
        text.push(format!("… ({} in all)", places.len()));
    }
    text.join(", ")
}

/// What every schema has.
#[derive(Deserialize)]
struct Head {
    schema: u32,
}

impl Tree {
    /// Reads a tree from TOML, of this schema or of an earlier one.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn from_toml(text: &str) -> Result<Self, TreeError> {
        let Head { schema } = toml::from_str(text)?;
        match schema {
            SCHEMA => Ok(toml::from_str(text)?),
            1 => {
                let tree: Self = toml::from_str(text)?;
                let places = beyond_schema_1(&tree);
                if !places.is_empty() {
                    return Err(SchemaError::Unsaid { schema, places }.into());
                }
                // All of schema 1 means the same in 2.
                Ok(Self { schema: SCHEMA, ..tree })
            }
            found => Err(SchemaError::Unknown { found }.into()),
        }
    }

    /// The tree as TOML, passwords included.
    ///
    /// # Errors
    /// A number above 2⁶³, which TOML does not have.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// The same tree for a program that knows an earlier schema.
    ///
    /// # Errors
    /// [`SchemaError`]: there is no such schema, or it cannot say all of the tree.
    pub fn downgraded(&self, schema: u32) -> Result<Self, SchemaError> {
        match schema {
            SCHEMA => Ok(self.clone()),
            1 => {
                let places = beyond_schema_1(self);
                if places.is_empty() {
                    Ok(Self { schema, ..self.clone() })
                } else {
                    Err(SchemaError::Unsaid { schema, places })
                }
            }
            found => Err(SchemaError::Unknown { found }),
        }
    }
}

/// Where something is that schema 1 does not know.
fn beyond_schema_1(tree: &Tree) -> Vec<Place> {
    let root = Place::root();
    let settings = (!tree.settings.is_default()).then(|| root.at("box"));
    let nodes = tree.nodes.keys().map(|name| root.at("node").at(name));
    let policies = tree.policies.iter().filter(|(_, policy)| policy.tenant.is_some());
    let policies = policies.map(|(name, _)| root.at("policy").at(name).at("tenant"));
    let tenants = tree.tenants.iter().filter(|(_, tenant)| tenant.quota.ports.is_some());
    let tenants = tenants.map(|(name, _)| root.at("tenant").at(name).at("quota").at("ports"));
    settings.into_iter().chain(nodes).chain(policies).chain(tenants).collect()
}
