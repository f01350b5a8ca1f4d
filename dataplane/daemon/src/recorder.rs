//! What vifs with a mirror or a trace flag leave on disk: captures of their packets, and the steps that packets took.
//!
//! ```text
//!  state/mirror/VSWITCH-VIF.pcap    as received and as sent, and .before: at most 16 MiB each
//!  state/mirror/steps.log           a line a step, and .before
//! ```

use crate::clock;
use dataplane_api::protocol::{TapEvent, TapRecord};
use dataplane_api::{VifId, VifPolicy};
use engine::Rules;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Copies of its packets are kept.
pub(crate) const MIRROR: u8 = 1;
/// The steps of its packets are kept.
pub(crate) const TRACE: u8 = 2;

/// Bytes of a file before another is begun; the one before it is kept.
const FILE_MAX: u64 = 16 << 20;
/// Files that are open at once.
const FILES_MAX: usize = 64;
/// Classic pcap: microseconds, little-endian, version 2.4, whole frames, Ethernet.
const PCAP: [u8; 24] =
    [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];

/// By vif, which of [`MIRROR`] and [`TRACE`] it has; empty if none has any.
pub(crate) fn flags(rules: &Rules) -> Arc<[u8]> {
    let of = |policy: &VifPolicy| {
        (if policy.mirror { MIRROR } else { 0 }) | if policy.trace { TRACE } else { 0 }
    };
    let mut flags = Vec::new();
    for (vif, flag) in rules.vifs().map(|vif| (vif.id, of(&vif.policy))) {
        if flag != 0 {
            flags.resize(flags.len().max(vif.index() + 1), 0);
            flags[vif.index()] = flag;
        }
    }
    flags.into()
}

/// The files.
#[derive(Debug)]
pub(crate) struct Recorder {
    dir: PathBuf,
    files: BTreeMap<String, Kept>,
}

#[derive(Debug)]
struct Kept {
    file: File,
    bytes: u64,
}

impl Recorder {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("mirror"), files: BTreeMap::new() }
    }

    /// Keeps a copy of a packet of a mirrored vif.
    ///
    /// # Errors
    /// The system's; the copy is lost.
    pub(crate) fn mirror(&mut self, rules: &Rules, record: &TapRecord) -> io::Result<()> {
        let (TapEvent::Classified { vif } | TapEvent::Sent { vif, .. }) = record.event else {
            return Ok(());
        };
        let Some(name) = name_of(rules, vif) else { return Ok(()) };
        let wall = clock::wall_nanos() / 1_000;
        let word = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = Vec::with_capacity(16 + record.bytes.len());
        for field in
            [wall / 1_000_000, wall % 1_000_000, record.bytes.len() as u64, record.frame_len.into()]
        {
            bytes.extend(word(field));
        }
        bytes.extend(&record.bytes);
        self.append(&format!("{name}.pcap"), &PCAP, &bytes)
    }

    /// Keeps a step of a traced packet.
    ///
    /// # Errors
    /// The system's; the step is lost.
    pub(crate) fn trace(&mut self, record: &TapRecord) -> io::Result<()> {
        let TapRecord { worker, packet, event, frame_len, .. } = record;
        let wall = clock::wall_ms();
        let line = format!("{wall} worker {worker} packet {packet} {frame_len} bytes {event:?}\n");
        self.append("steps.log", &[], line.as_bytes())
    }

    fn append(&mut self, name: &str, begin: &[u8], bytes: &[u8]) -> io::Result<()> {
        if self.files.get(name).is_some_and(|kept| kept.bytes >= FILE_MAX) {
            self.files.remove(name);
            let path = self.dir.join(name);
            fs::rename(&path, path.with_added_extension("before"))?;
        }
        if !self.files.contains_key(name) {
            if self.files.len() >= FILES_MAX {
                self.files.pop_first();
            }
            fs::create_dir_all(&self.dir)?;
            let path = self.dir.join(name);
            let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
            let mut bytes = file.metadata()?.len();
            if bytes == 0 {
                file.write_all(begin)?;
                bytes = begin.len() as u64;
            }
            self.files.insert(name.to_owned(), Kept { file, bytes });
        }
        let Some(kept) = self.files.get_mut(name) else { return Ok(()) };
        kept.bytes += bytes.len() as u64;
        kept.file.write_all(bytes)
    }
}

/// A name for a file: what of the vswitch's may stand in one, and the vif's number.
fn name_of(rules: &Rules, vif: VifId) -> Option<String> {
    let vif = rules.vif(vif)?;
    let name = &rules.vswitch(vif.vswitch)?.name;
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    Some(format!("{}-{}", name.chars().map(plain).collect::<String>(), vif.number))
}
