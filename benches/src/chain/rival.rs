//! Sets up, builds and starts the process with PacketCrypt's C library.
//!
//! It is built when its binary is missing or older than its sources, and not even looked at by cargo otherwise: the
//! library's build script has cargo search the whole file system for changes. So nothing of ours is linked with it, and
//! the two talk by pipe: cases go in, then a command for each pass, and what it took comes out.

use super::{ChainBenchError, Kind, Work};
use primitives::bitcoin::consensus::serialize;
use primitives::bitcoin::hashes::Hash as _;
use primitives::commitment::Commitment;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

/// As the report calls it.
pub(super) const NAME: &str = "packetcrypt_sys";

/// Why there is no rival.
#[derive(Debug, thiserror::Error)]
pub enum RivalError {
    /// The binary is somewhere else than its sources.
    #[error("the rival is built from {}, which is not there: run it where it was built", .0.display())]
    Sources(PathBuf),
    /// Its build did not end well.
    #[error("cargo build in {}: {status}", .folder.display())]
    Build {
        /// Where.
        folder: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// It does not start, or does not answer.
    #[error("the rival's process: {0}")]
    Process(#[from] io::Error),
    /// It refuses what is valid.
    #[error("the rival refuses {0} of the valid cases")]
    Refused(u32),
}

/// The built program.
pub(super) struct Rival(PathBuf);

impl Rival {
    pub(super) fn build() -> Result<Self, RivalError> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packetcrypt");
        let binary = folder.join("target/release/packetcrypt-rival");
        let changed = |file: &str| fs::metadata(folder.join(file)).and_then(|data| data.modified());
        let Ok(source) = changed("src/main.rs") else { return Err(RivalError::Sources(folder)) };
        let newest = ["Cargo.toml", "Cargo.lock"].into_iter().filter_map(|file| changed(file).ok());
        let newest = newest.fold(source, SystemTime::max);
        let is_built = fs::metadata(&binary)
            .and_then(|data| data.modified())
            .is_ok_and(|built| built >= newest);
        if !is_built {
            let mut build = Command::new("cargo");
            build.args(["build", "--release", "--locked"]).current_dir(&folder);
            let status = build.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
            if !status.success() {
                return Err(RivalError::Build { folder, status });
            }
        }
        Ok(Self(binary))
    }

    /// Starts it and has it verify everything once.
    pub(super) fn start(&mut self, work: &Work) -> Result<Process, ChainBenchError> {
        let mut child = Command::new(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(RivalError::from)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) =
            pipes.ok_or_else(|| RivalError::from(io::Error::from(io::ErrorKind::BrokenPipe)))?;
        let mut process = Process { child, stdin, stdout };
        process.load(work)?;
        Ok(process)
    }
}

/// The running program. It ends when its input does.
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Process {
    fn load(&mut self, work: &Work) -> Result<(), ChainBenchError> {
        let announcements: Vec<_> = work
            .announcements
            .iter()
            .map(|(announcement, parent)| [&parent[..], &announcement.0].concat())
            .collect();
        let blocks: Vec<_> = work.blocks.iter().filter_map(block_case).collect();
        for cases in [&announcements, &blocks] {
            self.send(&cases.len().to_le_bytes())?;
            for case in cases {
                self.send(&case.len().to_le_bytes())?;
                self.send(case)?;
            }
        }
        self.stdin.flush().map_err(RivalError::from)?;
        let mut hash = [0; 32];
        for (place, expected) in work.hashes.iter().enumerate() {
            self.stdout.read_exact(&mut hash).map_err(RivalError::from)?;
            if hash != *expected {
                return Err(ChainBenchError::Hash { contestant: NAME, place });
            }
        }
        let mut refused = [0; 4];
        self.stdout.read_exact(&mut refused).map_err(RivalError::from)?;
        match u32::from_le_bytes(refused) {
            0 => Ok(()),
            refused => Err(RivalError::Refused(refused).into()),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), RivalError> {
        Ok(self.stdin.write_all(bytes)?)
    }

    /// Everything once on each of `cores`; how long it took.
    pub(super) fn pass(&mut self, kind: Kind, cores: usize) -> Result<Duration, RivalError> {
        let kind = match kind {
            Kind::Announcement => 0,
            Kind::Block => 1,
        };
        self.send(&[kind, cores.to_le_bytes()[0]])?;
        self.stdin.flush()?;
        let mut nanoseconds = [0; 8];
        self.stdout.read_exact(&mut nanoseconds)?;
        Ok(Duration::from_nanos(u64::from_le_bytes(nanoseconds)))
    }
}

/// What the library is given: height, commitment, ids of the parents, header, nonce, announcements, tree proof.
fn block_case(
    (block, height, parents): &(primitives::block::Block, u32, [primitives::bitcoin::BlockHash; 4]),
) -> Option<Vec<u8>> {
    let commitment = Commitment::find(block.transactions.first()?)?.script();
    let mut case = [&height.to_le_bytes()[..], commitment.get(2..)?].concat();
    parents.iter().for_each(|parent| case.extend(parent.as_byte_array()));
    case.extend(serialize(&block.header));
    case.extend([0; 4]);
    case.extend(block.proof.nonce.to_le_bytes());
    block.proof.announcements.iter().for_each(|announcement| case.extend(announcement.0));
    case.extend(&block.proof.tree);
    Some(case)
}
