//! `apply`: sends a spec to the running process.

use crate::ProcessArgs;
use crate::connect::Process;
use crate::output::{OutputArgs, print_json};
use anyhow::{Context, Result};
use clap::Args;
use dataplane_api::{Generation, Spec};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Source {
    /// File with the spec alone, TOML or (named .json) JSON, as `show spec --secrets` prints it
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Configuration file whose spec is meant; what it says of the process itself needs a restart
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &ApplyArgs, out: &mut dyn Write) -> Result<()> {
    let mut spec = match (&args.source.spec, &args.source.config) {
        (Some(path), _) => read_spec(path)?,
        (None, Some(path)) => crate::config::spec_of(path)?,
        (None, None) => anyhow::bail!("name the spec with --spec FILE or --config FILE"),
    };
    let mut process = Process::connect(&args.process)?;
    let status = process.status()?;
    spec.generation = next_generation(spec.generation, status.accepted);
    let (vswitches, cables) = (spec.vswitches.len(), spec.cables.len());
    let generation = process.apply(spec)?;
    if args.output.json {
        return print_json(out, &json!({ "generation": generation }));
    }
    Ok(writeln!(
        out,
        "generation {generation} is in force: {vswitches} vswitches, {cables} cables"
    )?)
}

/// A spec that does not number itself follows the one in force.
fn next_generation(wanted: Generation, accepted: Generation) -> Generation {
    if wanted == Generation(0) { Generation(accepted.0.saturating_add(1)) } else { wanted }
}

/// Reads a file that holds a spec.
pub(crate) fn read_spec(path: &Path) -> Result<Spec> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    if path.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a spec in JSON", path.display()))
    } else {
        toml::from_str(&text).with_context(|| format!("{} is not a spec in TOML", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"
        [[vswitch]]
        name = "red"
        tenant = 1
        public_key = "x.k"
        allow = [["customer", "peer"]]

        [[vswitch.vif]]
        number = 2
        link = { ethernet = { port = "west", peer = "02:00:00:00:00:01", session = "plain" } }

        [[vswitch.vif]]
        number = 3
        mtu = 1000
    "#;

    #[test]
    fn a_spec_is_read_from_toml_and_from_its_own_json() {
        let directory = tempfile::tempdir().unwrap();
        let (toml, json) = (directory.path().join("spec.toml"), directory.path().join("spec.json"));
        std::fs::write(&toml, SPEC).unwrap();
        let spec = read_spec(&toml).unwrap();
        assert_eq!(spec.vswitches[0].vifs[1].mtu, Some(1000));
        std::fs::write(&json, serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(read_spec(&json).unwrap(), spec);
        // What `show spec --secrets` prints can be sent back.
        std::fs::write(&toml, toml::to_string(&spec).unwrap()).unwrap();
        assert_eq!(read_spec(&toml).unwrap(), spec);
    }

    #[test]
    fn a_wrong_field_is_named_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spec.toml");
        std::fs::write(&path, "[[vswitch]]\nnome = \"red\"\n").unwrap();
        let error = format!("{:#}", read_spec(&path).unwrap_err());
        assert!(error.contains("spec.toml") && error.contains("nome"), "{error}");
    }

    #[test]
    fn a_spec_without_a_number_follows_the_one_in_force() {
        assert_eq!(next_generation(Generation(0), Generation(7)), Generation(8));
        assert_eq!(next_generation(Generation(5), Generation(7)), Generation(5));
    }
}
