//! Private keys of vswitches: files that nobody else reads, named by the public key. A key goes in and never out.

use crypt::identity::{Identity, SecretKey};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wire::key::PublicKey;
use zeroize::Zeroizing;

/// The identities that this process may take, by public key.
pub(crate) type Identities = BTreeMap<PublicKey, Arc<Identity>>;

/// The directory of keys.
#[derive(Debug)]
pub(crate) struct KeyStore {
    dir: PathBuf,
}

impl KeyStore {
    /// A store in `state_dir`, readable by its owner alone.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let dir = state_dir.join("keys");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir })
    }

    /// All keys, and a sentence for each file that holds none.
    pub(crate) fn load(&self) -> (Identities, Vec<String>) {
        let (mut identities, mut damage) = (Identities::new(), Vec::new());
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) => {
                return (identities, vec![format!("keys in {}: {error}", self.dir.display())]);
            }
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|extension| extension != "key") {
                continue;
            }
            match read(&path) {
                Ok(identity) => {
                    identities.insert(identity.public(), Arc::new(identity));
                }
                Err(why) => {
                    damage.push(format!("the key in {} is of no use: {why}", path.display()))
                }
            }
        }
        (identities, damage)
    }

    /// Keeps a key: when this returns, it survives a power cut.
    pub(crate) fn keep(&self, identity: &Identity) -> io::Result<()> {
        let path = self.path(identity.public());
        let next = path.with_extension("next");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(identity.secret().to_hex().as_bytes())?;
        file.sync_all()?;
        fs::rename(next, path)?;
        File::open(&self.dir)?.sync_all()
    }

    /// Takes a key away.
    pub(crate) fn remove(&self, key: PublicKey) -> io::Result<()> {
        fs::remove_file(self.path(key))?;
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self, key: PublicKey) -> PathBuf {
        self.dir.join(key.to_string()).with_extension("key")
    }
}

fn read(path: &Path) -> Result<Identity, String> {
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| error.to_string())?);
    parse(&text)
}

/// An identity from 64 hexadecimal digits.
pub(crate) fn parse(text: &str) -> Result<Identity, String> {
    let secret: SecretKey = text.trim().parse().map_err(|error| format!("{error}"))?;
    Identity::new(secret).map_err(|error| error.to_string())
}
