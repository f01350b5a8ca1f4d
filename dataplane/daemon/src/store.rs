//! The last good spec on disk, and the one before it.
//!
//! ```text
//! spec: | magic 8 | API version u32 | length u32 | checksum 8 | postcard |      little-endian
//! ```
//! A spec is written beside, synced, and renamed over; the directory is synced. So a file is whole or it is the old
//! one, and what a disk damaged all the same is known by its checksum.

use dataplane_api::Spec;
use dataplane_api::protocol::API_VERSION;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"SWYDSPEC";
const HEADER_LEN: usize = 24;

/// The directory.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// What was found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The newest spec that is whole.
    pub spec: Option<Spec>,
    /// What was wrong, in sentences.
    pub damage: Vec<String>,
}

/// Why a file holds no spec.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("it is too short")]
    Short,
    #[error("it is no spec file")]
    Magic,
    #[error("it is of version {0} of the contract, this is {API_VERSION}")]
    Version(u32),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it does not decode: {0}")]
    Decode(#[from] postcard::Error),
    #[error(transparent)]
    Read(#[from] io::Error),
}

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
        let bytes = encode(spec)?;
        let (current, next) = (self.path("spec"), self.path("spec.next"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        // A damaged file must not push out the good one before it.
        if read(&current).is_ok() {
            self.keep_before(&current)?;
        }
        fs::rename(&next, &current)?;
        self.sync()
    }

    /// Links the current file as the one before, so that at no moment there is none.
    fn keep_before(&self, current: &Path) -> io::Result<()> {
        let link = self.path("spec.link");
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::hard_link(current, &link)?;
        fs::rename(link, self.path("spec.before"))
    }

    /// The newest whole spec, and what was wrong with the files that are not.
    #[must_use]
    pub fn load(&self) -> Loaded {
        let mut loaded = Loaded::default();
        for name in ["spec", "spec.before"] {
            let path = self.path(name);
            match read(&path) {
                Ok(spec) => {
                    loaded.spec = Some(spec);
                    return loaded;
                }
                Err(Damage::Read(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(damage) => {
                    loaded.damage.push(format!(
                        "the spec kept in {} cannot be used: {damage}",
                        path.display()
                    ));
                }
            }
        }
        loaded
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

fn encode(spec: &Spec) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(HEADER_LEN);
    let body = postcard::to_stdvec(spec).map_err(io::Error::other)?;
    header.extend(MAGIC);
    header.extend(API_VERSION.to_le_bytes());
    header.extend(u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes());
    header.extend(checksum(&header, &body).to_le_bytes());
    header.extend(body);
    Ok(header)
}

fn read(path: &Path) -> Result<Spec, Damage> {
    decode(&fs::read(path)?)
}

fn decode(bytes: &[u8]) -> Result<Spec, Damage> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Damage::Short)?;
    if *magic != MAGIC {
        return Err(Damage::Magic);
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
    Ok(postcard::from_bytes(body)?)
}

/// FNV-1a, 64 bits: against damage, not against an enemy, who could write the file anyway.
fn checksum(header: &[u8], body: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    header.iter().chain(body).fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{CableEnd, CableSpec, Generation};

    fn spec(generation: u64) -> Spec {
        let end = |vswitch: &str| CableEnd { vswitch: vswitch.into(), vif: 4 };
        let cables = vec![CableSpec { a: end("red"), b: end("blue") }];
        Spec { generation: Generation(generation), vswitches: Vec::new(), cables }
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
            assert_eq!(store.load(), Loaded { spec: Some(spec(generation)), damage: Vec::new() });
        }
    }

    #[test]
    fn any_flipped_byte_leads_to_the_spec_before() {
        let (_dir, store) = store();
        store.keep(&spec(1)).unwrap();
        store.keep(&spec(2)).unwrap();
        let whole = fs::read(store.path("spec")).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            fs::write(store.path("spec"), &damaged).unwrap();
            let loaded = store.load();
            assert_eq!((loaded.spec, loaded.damage.len()), (Some(spec(1)), 1), "byte {at}");
        }
    }

    #[test]
    fn a_torn_write_leads_to_the_spec_before() {
        let (_dir, store) = store();
        store.keep(&spec(1)).unwrap();
        store.keep(&spec(2)).unwrap();
        let whole = fs::read(store.path("spec")).unwrap();
        for len in 0..whole.len() {
            fs::write(store.path("spec"), &whole[..len]).unwrap();
            assert_eq!(store.load().spec, Some(spec(1)), "{len} bytes");
        }
        // A write that did not get as far as its rename leaves the spec alone.
        fs::write(store.path("spec"), &whole).unwrap();
        fs::write(store.path("spec.next"), &whole[..7]).unwrap();
        assert_eq!(store.load(), Loaded { spec: Some(spec(2)), damage: Vec::new() });
    }

    #[test]
    fn a_damaged_spec_does_not_push_out_the_good_one_before() {
        let (_dir, store) = store();
        store.keep(&spec(1)).unwrap();
        store.keep(&spec(2)).unwrap();
        fs::write(store.path("spec"), b"rubbish").unwrap();
        store.keep(&spec(3)).unwrap();
        fs::write(store.path("spec"), b"rubbish").unwrap();
        assert_eq!(store.load().spec, Some(spec(1)));
    }

    #[test]
    fn nothing_whole_is_said_twice_and_yields_nothing() {
        let (_dir, store) = store();
        fs::write(store.path("spec"), b"").unwrap();
        fs::write(store.path("spec.before"), [0; 100]).unwrap();
        let loaded = store.load();
        assert_eq!((loaded.spec, loaded.damage.len()), (None, 2));
    }
}
