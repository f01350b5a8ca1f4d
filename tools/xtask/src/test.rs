//! All tests, in the order in which a failure says most.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What it is called, the arguments of cargo, and its environment.
type Step<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)]);

/// Everything that must pass. Prints each step and how long it took; stops at the first that fails.
pub(crate) fn all(root: &Path) -> Result<()> {
    let steps: &[Step<'_>] = &[
        // One run with what tests print: which vector files were read, and what was skipped for want of rights.
        ("tests", &["test", "--workspace", "--locked", "--", "--nocapture"], &[]),
        (
            "every interleaving (loom)",
            &["test", "--locked", "--package", "dataplane-sync", "--test", "models", "--release"],
            &[("RUSTFLAGS", "--cfg loom"), ("CARGO_TARGET_DIR", "target/loom")],
        ),
        (
            "random interleavings (shuttle)",
            &["test", "--locked", "--package", "dataplane-sync", "--test", "models", "--release"],
            &[("RUSTFLAGS", "--cfg shuttle"), ("CARGO_TARGET_DIR", "target/shuttle")],
        ),
    ];
    crate::tidy::run(root)?;
    let mut times = Vec::new();
    for (name, arguments, environment) in steps {
        let start = Instant::now();
        cargo(root, name, arguments, environment)?;
        times.push(format!("{name}: {} s", start.elapsed().as_secs()));
    }
    println!("xtask test: all passed ({})", times.join(", "));
    Ok(())
}

/// rustfmt and clippy; either is passed over, and named, where it is not installed.
pub(crate) fn lint(root: &Path) -> Result<()> {
    if has(root, "fmt") {
        cargo(root, "fmt", &["fmt", "--all", "--check"], &[])?;
    }
    if has(root, "clippy") {
        let arguments =
            ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        cargo(root, "clippy", &arguments, &[])?;
    }
    Ok(())
}

fn has(root: &Path, tool: &str) -> bool {
    let version = Command::new(env!("CARGO"))
        .args([tool, "--version"])
        .current_dir(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let has = version.is_ok_and(|status| status.success());
    if !has {
        println!("xtask lint: cargo {tool} is not installed, passed over");
    }
    has
}

fn cargo(root: &Path, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    println!("xtask: {name}: cargo {}", arguments.join(" "));
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root)
        .status()
        .with_context(|| format!("run cargo for {name}"))?;
    if status.success() { Ok(()) } else { bail!("{name} failed") }
}
