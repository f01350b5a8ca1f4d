//! What must survive a restart, on disk: the last good spec, what is known of neighbours, and of each the one before.
//!
//! ```text
//! | magic 8 | API version u32 | length u32 | checksum 8 | postcard |      little-endian
//! ```
//! A file is written beside, synced, and renamed over; the directory is synced. So a file is whole or it is the old
//! one, and what a disk damaged all the same is known by its checksum.

use crate::neighbours::Neighbours;
use dataplane_api::Spec;
use dataplane_api::protocol::API_VERSION;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const HEADER_LEN: usize = 24;

/// The directory.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// What was found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded<T> {
    /// The newest that is whole.
    pub value: Option<T>,
    /// What was wrong, in sentences.
    pub damage: Vec<String>,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("it is too short")]
    Short,
    #[error("it is no file of this kind ({0})")]
    Magic(&'static str),
    #[error("it is of version {0} of the contract, this is {API_VERSION}")]
    Version(u32),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it does not decode: {0}")]
    Decode(#[from] postcard::Error),
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// The files of a store.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    magic: [u8; 8],
}

const SPEC: Kind = Kind { name: "spec", magic: *b"SWYDSPEC" };
const NEIGHBOURS: Kind = Kind { name: "neighbours", magic: *b"SWYDPEER" };

impl Store {
    /// A store in `dir`, which is made if need be.
    ///
    /// # Errors
    /// The system's, if the directory cannot be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Keeps `spec`; the one kept so far becomes the one before. When this returns, both survive a power cut.
    ///
    /// # Errors
    /// The system's; the spec kept so far is still there.
    pub fn keep(&self, spec: &Spec) -> io::Result<()> {
        self.write(SPEC, spec)
    }

    /// Keeps what is known of neighbours, in the same way.
    ///
    /// # Errors
    /// The system's; what was kept so far is still there.
    pub fn keep_neighbours(&self, neighbours: &Neighbours) -> io::Result<()> {
        self.write(NEIGHBOURS, neighbours)
    }

    /// The newest whole spec, and what was wrong with the files that are not.
    #[must_use]
    pub fn load(&self) -> Loaded<Spec> {
        self.newest(SPEC)
    }

    /// The newest whole knowledge of neighbours, and what was wrong with the files that are not.
    #[must_use]
    pub fn load_neighbours(&self) -> Loaded<Neighbours> {
        self.newest(NEIGHBOURS)
    }

    fn write(&self, kind: Kind, value: &impl Serialize) -> io::Result<()> {
        let bytes = encode(kind, value)?;
        let (current, next) = (self.path(kind, ""), self.path(kind, ".next"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        // A damaged file must not push out the good one before it.
        if fs::read(&current).is_ok_and(|bytes| body(kind, &bytes).is_ok()) {
            self.keep_before(kind, &current)?;
        }
        fs::rename(&next, &current)?;
        self.sync()
    }

    /// Links the current file as the one before, so that at no moment there is none.
    fn keep_before(&self, kind: Kind, current: &Path) -> io::Result<()> {
        let link = self.path(kind, ".link");
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::hard_link(current, &link)?;
        fs::rename(link, self.path(kind, ".before"))
    }

    fn newest<T: DeserializeOwned>(&self, kind: Kind) -> Loaded<T> {
        let mut loaded = Loaded { value: None, damage: Vec::new() };
        for suffix in ["", ".before"] {
            let path = self.path(kind, suffix);
            match read(kind, &path) {
                Ok(value) => {
                    loaded.value = Some(value);
                    return loaded;
                }
                Err(Damage::Read(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(damage) => {
                    let (name, path) = (kind.name, path.display());
                    loaded
                        .damage
                        .push(format!("the {name} kept in {path} cannot be used: {damage}"));
                }
            }
        }
        loaded
    }

    fn path(&self, kind: Kind, suffix: &str) -> PathBuf {
        self.dir.join(format!("{}{suffix}", kind.name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

fn encode(kind: Kind, value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(HEADER_LEN);
    let body = postcard::to_stdvec(value).map_err(io::Error::other)?;
    header.extend(kind.magic);
    header.extend(API_VERSION.to_le_bytes());
    header.extend(u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes());
    header.extend(checksum(&header, &body).to_le_bytes());
    header.extend(body);
    Ok(header)
}

fn read<T: DeserializeOwned>(kind: Kind, path: &Path) -> Result<T, Damage> {
    Ok(postcard::from_bytes(body(kind, &fs::read(path)?)?)?)
}

/// What a whole file holds.
fn body(kind: Kind, bytes: &[u8]) -> Result<&[u8], Damage> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Damage::Short)?;
    if *magic != kind.magic {
        return Err(Damage::Magic(kind.name));
    }
    let (version, rest) = rest.split_first_chunk::<4>().ok_or(Damage::Short)?;
    let version = u32::from_le_bytes(*version);
    if version != API_VERSION {
        return Err(Damage::Version(version));
    }
    let (len, rest) = rest.split_first_chunk::<4>().ok_or(Damage::Short)?;
    let (sum, body) = rest.split_first_chunk::<8>().ok_or(Damage::Short)?;
    if usize::try_from(u32::from_le_bytes(*len)).ok() != Some(body.len()) {
        return Err(Damage::Short);
    }
    if u64::from_le_bytes(*sum) != checksum(&bytes[..16], body) {
        return Err(Damage::Checksum);
    }
    Ok(body)
}

/// FNV-1a, 64 bits: against damage, not against an enemy, who could write the file anyway.
fn checksum(header: &[u8], body: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    header.iter().chain(body).fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{CableSpec, Generation, VifName};

    fn spec(generation: u64) -> Spec {
        let end = |vswitch: &str| VifName { vswitch: vswitch.into(), vif: 4 };
        let cables = vec![CableSpec { a: end("red"), b: end("blue") }];
        Spec { generation: Generation(generation), cables, ..Spec::default() }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state")).unwrap();
        (dir, store)
    }

    #[test]
    fn the_newest_spec_comes_back() {
        let (_dir, store) = store();
        assert_eq!(store.load(), Loaded::default());
        for generation in 1..4 {
            store.keep(&spec(generation)).unwrap();
            assert_eq!(store.load(), Loaded { value: Some(spec(generation)), damage: Vec::new() });
        }
    }

    #[test]
    fn any_flipped_byte_leads_to_the_spec_before() {
        let (_dir, store) = store();
        store.keep(&spec(1)).unwrap();
        store.keep(&spec(2)).unwrap();
        let whole = fs::read(store.path(SPEC, "")).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            fs::write(store.path(SPEC, ""), &damaged).unwrap();
            let loaded = store.load();
            assert_eq!((loaded.value, loaded.damage.len()), (Some(spec(1)), 1), "byte {at}");
        }
    }

    #[test]
    fn a_torn_write_leads_to_the_spec_before() {
        let (_dir, store) = store();
        store.keep(&spec(1)).unwrap();
        store.keep(&spec(2)).unwrap();
        let whole = fs::read(store.path(SPEC, "")).unwrap();
        for len in 0..whole.len() {
            fs::write(store.path(SPEC, ""), &whole[..len]).unwrap();
            assert_eq!(store.load().value, Some(spec(1)), "{len} bytes");
        }
        // A write that did not get as far as its rename leaves the spec alone.
        fs::write(store.path(SPEC, ""), &whole).unwrap();
        fs::write(store.path(SPEC, ".next"), &whole[..7]).unwrap();
        assert_eq!(store.load(), Loaded { value: Some(spec(2)), damage: Vec::new() });
    }

    #[test]
    fn a_damaged_spec_does_not_push_out_the_good_one_before() {
        let (_dir, store) = store();
        store.keep(&spec(1)).unwrap();
        store.keep(&spec(2)).unwrap();
        fs::write(store.path(SPEC, ""), b"rubbish").unwrap();
        store.keep(&spec(3)).unwrap();
        fs::write(store.path(SPEC, ""), b"rubbish").unwrap();
        assert_eq!(store.load().value, Some(spec(1)));
    }

    #[test]
    fn nothing_whole_is_said_twice_and_yields_nothing() {
        let (_dir, store) = store();
        fs::write(store.path(SPEC, ""), b"").unwrap();
        fs::write(store.path(SPEC, ".before"), [0; 100]).unwrap();
        let loaded = store.load();
        assert_eq!((loaded.value, loaded.damage.len()), (None, 2));
    }
}
