//! Sets up, builds and runs the package with the rivals, which measures ours beside them.

use crate::report::Report;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Debian's packages of the C libraries, and a file of each.
const PACKAGES: [(&str, &str); 2] = [
    ("libsodium-dev", "/usr/include/sodium.h"),
    ("libipsec-mb-dev", "/usr/include/intel-ipsec-mb.h"),
];

/// Why there are no rivals.
#[derive(Debug, thiserror::Error)]
pub enum RivalsError {
    /// The binary is somewhere else than its sources.
    #[error("rivals are built from {}, which is not there: run it where it was built", .0.display())]
    Sources(PathBuf),
    /// Not installed, and not root.
    #[error("{0} are missing: run `apt-get install {0}`, or this command as root")]
    Packages(String),
    /// A step did not end well.
    #[error("`{command}`: {status}")]
    Step {
        /// What was run.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A step did not begin.
    #[error("`{command}`: {source}")]
    Start {
        /// What was to be run.
        command: String,
        /// Why it was not.
        source: io::Error,
    },
    /// It printed something else than a report.
    #[error("report of the rivals: {0}")]
    Report(#[from] serde_json::Error),
}

/// The report of ours beside all rivals.
///
/// # Errors
/// [`RivalsError`].
pub fn run() -> Result<Report, RivalsError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals");
    if !folder.join("Cargo.toml").exists() {
        return Err(RivalsError::Sources(folder));
    }
    install()?;
    let mut build = Command::new("cargo");
    build.args(["build", "--release"]).current_dir(&folder);
    output(&mut build)?;
    let mut measure = Command::new(folder.join("target/release/rivals"));
    measure.current_dir(&folder);
    Ok(serde_json::from_slice(&output(&mut measure)?)?)
}

/// Installs what is missing.
fn install() -> Result<(), RivalsError> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        return Err(RivalsError::Packages(missing.join(" ")));
    }
    output(Command::new("apt-get").args(["install", "-y"]).args(missing)).map(drop)
}

/// Runs a step to its end; what it says beside its output is shown.
fn output(step: &mut Command) -> Result<Vec<u8>, RivalsError> {
    let command = format!("{step:?}");
    match step.stdin(Stdio::null()).stderr(Stdio::inherit()).output() {
        Ok(output) if output.status.success() => Ok(output.stdout),
        Ok(output) => Err(RivalsError::Step { command, status: output.status }),
        Err(source) => Err(RivalsError::Start { command, source }),
    }
}
