//! The configuration file, as far as commands other than `run` look into it.

use anyhow::{Context, Result};
use daemon::Config;
use dataplane_api::Spec;
use std::path::Path;

/// A configuration file.
pub(crate) fn read(path: &Path) -> Result<Config> {
    Config::read(path).with_context(|| path.display().to_string())
}

/// The spec that a configuration file holds.
pub(crate) fn spec_of(path: &Path) -> Result<Spec> {
    read(path)?.spec().with_context(|| format!("{} names no vswitch", path.display()))
}
