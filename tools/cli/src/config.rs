//! The configuration file, as far as commands other than `run` look into it.

use anyhow::{Context, Result};
use dataplane_api::Spec;
use std::path::Path;

/// The spec that a configuration file holds.
pub(crate) fn spec_of(path: &Path) -> Result<Spec> {
    #[derive(serde::Deserialize)]
    struct OnlySpec {
        spec: Spec,
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let file: OnlySpec = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    Ok(file.spec)
}
