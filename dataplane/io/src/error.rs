//! What can go wrong with memory, devices and sockets, in sentences.

use std::io;

/// What was attempted, and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// No such network device here.
    #[error("port {name}: there is no such network device in this network namespace")]
    NoDevice {
        /// As configured.
        name: String,
    },
    /// A size that the memory cannot have.
    #[error("frame memory of {chunks} chunks of {chunk_size} bytes: {why}")]
    Memory {
        /// Chunks asked for.
        chunks: usize,
        /// Bytes of each.
        chunk_size: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The frames were taken before.
    #[error("the frames of this memory were taken already")]
    FramesTaken,
    /// A right is missing.
    #[error(
        "{attempt}: not permitted; run as root, or with CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF"
    )]
    Rights {
        /// What was attempted.
        attempt: String,
    },
    /// A program of somebody else is attached.
    #[error(
        "port {port}: an XDP program of somebody else is attached ({holder}); remove it first, it is not touched"
    )]
    Occupied {
        /// Device.
        port: String,
        /// Id and name of the program.
        holder: String,
    },
    /// A queue that the device does not have, or that somebody holds.
    #[error("port {port} queue {queue}: {why}")]
    Queue {
        /// Device.
        port: String,
        /// Queue.
        queue: u32,
        /// What is wrong.
        why: String,
    },
    /// Live frames that cannot be sent.
    #[error("port {port}: live frames take {why}")]
    Templates {
        /// Device.
        port: String,
        /// What is taken.
        why: &'static str,
    },
    /// A recording that cannot be replayed or made.
    #[error("recording {path}: {why}")]
    Recording {
        /// Its file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The verifier refused the program: a bug, or a kernel older than 6.1.
    #[error("the kernel refused the XDP program: {log}")]
    Verifier {
        /// End of the verifier's log.
        log: String,
    },
    /// A system call failed.
    #[error("{attempt}: {source}")]
    System {
        /// What was attempted.
        attempt: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl IoError {
    /// The last system call's error, as a sentence about `attempt`.
    #[must_use]
    pub(crate) fn last(attempt: impl Into<String>) -> Self {
        Self::from_os(attempt, io::Error::last_os_error())
    }

    pub(crate) fn from_os(attempt: impl Into<String>, source: io::Error) -> Self {
        let attempt = attempt.into();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Rights { attempt },
            _ => Self::System { attempt, source },
        }
    }
}
