//! The configuration file of the demo's box.

use super::plan::Side;
use super::rights::Rights;
use anyhow::{Context, Result};
use daemon::config::{Backend, Config, Limits, Port, Process, Workers};
use dataplane_api::Spec;
use std::path::{Path, PathBuf};

/// Files of the demo's box, all in one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) config: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) log: PathBuf,
}

/// Writes the configuration into `directory`.
pub(super) fn write(directory: &Path, spec: Spec, rights: Rights) -> Result<Files> {
    let files = Files {
        config: directory.join("box.toml"),
        socket: directory.join("socket"),
        log: directory.join("log"),
    };
    let text = toml::to_string(&config(directory, &files.socket, spec, rights))
        .context("the demo's configuration")?;
    std::fs::write(&files.config, text)
        .with_context(|| format!("writing {}", files.config.display()))?;
    Ok(files)
}

fn config(directory: &Path, socket: &Path, spec: Spec, rights: Rights) -> Config {
    let backend = match rights {
        Rights::Root => Backend::AfXdp,
        Rights::UserNamespace => Backend::AfPacket,
    };
    let port = |side: Side| Port { backend, ..Port::named(side.port()) };
    Config {
        generation: spec.generation,
        process: Process {
            socket: socket.to_owned(),
            counters: directory.join("counters"),
            state_dir: directory.join("state"),
            ..Process::default()
        },
        workers: Workers { count: 1, ..Workers::default() },
        // What the demo needs with room to play: small tables make it start at once.
        limits: Limits { vswitches: 64, vifs: 1024, ..Limits::default() },
        ports: Side::BOTH.map(port).to_vec(),
        vswitches: spec.vswitches,
        cables: spec.cables,
        capacities: spec.capacities,
        leases: spec.leases,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::plan::{self, Scene};

    #[test]
    fn what_is_written_is_what_the_process_reads() {
        let directory = tempfile::tempdir().unwrap();
        let spec = plan::spec(Scene::Leases, 1_000);
        let files = write(directory.path(), spec.clone(), Rights::UserNamespace).unwrap();
        let config = Config::read(&files.config).unwrap();
        assert_eq!(config.spec(), Some(spec));
        assert!(config.ports.iter().all(|port| port.backend == Backend::AfPacket));
        assert!(config.process.counters.starts_with(directory.path()));
    }
}
