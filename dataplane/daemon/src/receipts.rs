//! Minute receipts of leases: made, signed, kept in a file, and held for who asks.
//!
//! The file is records of postcard, COBS-framed: a 0 byte ends each, so that one which is damaged costs no other.
//! A receipt is lost if the process dies in the minute that it is of; the chain of digests goes on after a restart.

use crate::keys::Identities;
use data_encoding::HEXLOWER;
use dataplane_api::Receipt;
use dataplane_api::protocol::RECEIPTS_MAX;
use dataplane_api::status::{LeaseStatus, LeaseTotals};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use wire::key::PublicKey;

/// The file that is appended to becomes the one before at this size, bytes.
const FILE_MAX: u64 = 64 << 20;
/// Receipts held for who asks; older ones are in the files.
const HELD_MAX: usize = 65_536;
/// Receipts signed in one go: the management thread has other work, and each takes some tens of microseconds.
const SIGNED_AT_ONCE: usize = 1_024;
/// Ends a record.
const END: u8 = 0;
const MINUTE_MS: u64 = 60_000;
const SECOND_MS: u64 = 1_000;

/// What a lease had at the begin of its minute.
#[derive(Clone, Copy, Debug)]
struct Begun {
    from: u64,
    totals: LeaseTotals,
    /// Bytes sent when the last second began.
    second: u64,
    peak: u64,
}

/// The book of receipts.
#[derive(Debug)]
pub(crate) struct Receipts {
    path: PathBuf,
    begun: BTreeMap<u32, Begun>,
    /// Digest of the last receipt of each lease.
    last: BTreeMap<u32, String>,
    /// To be signed and kept.
    due: VecDeque<Receipt>,
    held: VecDeque<Receipt>,
    /// When leases were looked at last, Unix milliseconds, and in which minute that was.
    second: u64,
    minute: u64,
}

impl Receipts {
    /// A book in `state_dir`, going on where the last process stopped. Records that are no receipts are passed
    /// over, and counted in the second value.
    ///
    /// # Errors
    /// The system's, if a file is there and cannot be read.
    pub(crate) fn open(state_dir: &Path) -> io::Result<(Self, u64)> {
        let mut book = Self {
            path: state_dir.join("receipts"),
            begun: BTreeMap::new(),
            last: BTreeMap::new(),
            due: VecDeque::new(),
            held: VecDeque::new(),
            second: 0,
            minute: 0,
        };
        let mut damaged = 0;
        for path in [book.before(), book.path.clone()] {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for record in BufReader::new(file).split(END) {
                match postcard::from_bytes_cobs::<Receipt>(&mut record?) {
                    Ok(receipt) => {
                        book.last.insert(receipt.lease, receipt.digest.clone());
                        book.hold(receipt);
                    }
                    Err(_) => damaged += 1,
                }
            }
        }
        Ok((book, damaged))
    }

    fn before(&self) -> PathBuf {
        self.path.with_extension("before")
    }

    fn hold(&mut self, receipt: Receipt) {
        if self.held.len() >= HELD_MAX {
            self.held.pop_front();
        }
        self.held.push_back(receipt);
    }

    /// Looks at leases at `now`, Unix milliseconds, each beside the key of its vswitch: to be called several times a
    /// second, and cheap then. `leases` is asked once a second.
    pub(crate) fn follow(&mut self, now: u64, leases: impl FnOnce() -> Vec<(String, LeaseStatus)>) {
        let passed = now.saturating_sub(self.second);
        if passed < SECOND_MS {
            return;
        }
        self.second = now;
        let minute = now / MINUTE_MS;
        let ends = std::mem::replace(&mut self.minute, minute) != minute;
        let leases = leases();
        for (vswitch, lease) in &leases {
            let totals = lease.totals;
            let fresh = Begun { from: now, totals, second: totals.sent_bytes(), peak: 0 };
            let begun = self.begun.entry(lease.id).or_insert(fresh);
            let sent = totals.sent_bytes();
            // Who was away for longer cannot tell its seconds apart: what a second had on average is what it can vouch for.
            let bytes = u128::from(sent.saturating_sub(begun.second));
            let rate = bytes * u128::from(SECOND_MS) / u128::from(passed);
            begun.peak = begun.peak.max(u64::try_from(rate).unwrap_or(u64::MAX));
            begun.second = sent;
            if !ends || begun.from >= now {
                continue;
            }
            let given = totals.since(&begun.totals);
            let (from, peak) = (begun.from, begun.peak);
            *begun = fresh;
            if lease.holds || given != LeaseTotals::default() {
                self.due.push_back(Receipt {
                    vswitch: vswitch.clone(),
                    lease: lease.id,
                    from,
                    until: now,
                    totals: given,
                    peak,
                    previous: String::new(),
                    digest: String::new(),
                    signing_key: String::new(),
                    signature: String::new(),
                });
            }
        }
        if ends {
            let there: std::collections::BTreeSet<u32> =
                leases.iter().map(|(_, lease)| lease.id).collect();
            self.begun.retain(|lease, _| there.contains(lease));
        }
    }

    /// Signs and keeps some of the receipts that are due.
    ///
    /// # Errors
    /// The system's; what could not be kept is held all the same, and said to be lost by the next one that is read.
    pub(crate) fn keep(
        &mut self,
        identities: &Identities,
        rng: &mut dyn CryptoRng,
    ) -> io::Result<()> {
        if self.due.is_empty() {
            return Ok(());
        }
        let mut records = Vec::new();
        for _ in 0..SIGNED_AT_ONCE {
            let Some(mut receipt) = self.due.pop_front() else { break };
            self.seal(&mut receipt, identities, rng);
            records.extend(postcard::to_stdvec_cobs(&receipt).map_err(io::Error::other)?);
            self.hold(receipt);
        }
        self.append(&records)
    }

    fn seal(&mut self, receipt: &mut Receipt, identities: &Identities, rng: &mut dyn CryptoRng) {
        let first = || HEXLOWER.encode(&[0; 32]);
        receipt.previous = self.last.get(&receipt.lease).cloned().unwrap_or_else(first);
        // Key and digest are our own, so there is a message.
        let digest = Sha256::digest(receipt.message().unwrap_or_default());
        receipt.digest = HEXLOWER.encode(&digest);
        self.last.insert(receipt.lease, receipt.digest.clone());
        let key: Option<PublicKey> = receipt.vswitch.parse().ok();
        if let Some(identity) = key.and_then(|key| identities.get(&key)) {
            receipt.signing_key = HEXLOWER.encode(&identity.signing_key());
            receipt.signature = HEXLOWER.encode(&identity.sign(&digest, rng));
        }
    }

    fn append(&self, records: &[u8]) -> io::Result<()> {
        let len = fs::metadata(&self.path).map_or(0, |file| file.len());
        if len >= FILE_MAX {
            fs::rename(&self.path, self.before())?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        let mut file = BufWriter::new(file);
        file.write_all(records)?;
        file.flush()?;
        file.get_ref().sync_data()?;
        if len == 0 || len >= FILE_MAX {
            // The name is new, and must survive a power cut as what it names does.
            let above = self.path.parent().unwrap_or_else(|| Path::new("."));
            File::open(above)?.sync_all()?;
        }
        Ok(())
    }

    /// Receipts that end after `after`, oldest first; at most [`RECEIPTS_MAX`].
    pub(crate) fn since(&self, after: u64, lease: Option<u32>) -> Vec<Receipt> {
        let wanted = |receipt: &&Receipt| {
            receipt.until > after && lease.is_none_or(|lease| lease == receipt.lease)
        };
        self.held.iter().filter(wanted).take(RECEIPTS_MAX).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypt::identity::{Identity, verify};
    use dataplane_api::status::Volume;
    use rand_core::UnwrapErr;
    use std::sync::Arc;

    fn lease(id: u32, bytes: u64) -> LeaseStatus {
        let guaranteed = Volume { packets: bytes / 100, bytes };
        let totals = LeaseTotals { guaranteed, ..LeaseTotals::default() };
        LeaseStatus { id, holds: true, totals, ..LeaseStatus::default() }
    }

    #[test]
    fn a_minute_has_one_receipt_that_names_the_one_before_and_is_signed() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = UnwrapErr(getrandom::SysRng);
        let identity = Identity::generate(&mut rng);
        let public = identity.public();
        let identities = Identities::from([(public, Arc::new(identity))]);
        let (mut book, damaged) = Receipts::open(dir.path()).unwrap();
        assert_eq!(damaged, 0);
        let start = 1_800_000_000_000;
        // A hundred bytes each second, and a thousand in one of them.
        let bytes = |second: u64| second * 100 + if second > 70 { 900 } else { 0 };
        for second in 0..=180 {
            let now = start + second * 1_000;
            book.follow(now, || vec![(public.to_string(), lease(7, bytes(second)))]);
            book.follow(now + 200, || panic!("asked twice in a second"));
            book.keep(&identities, &mut rng).unwrap();
        }
        let (book, damaged) = Receipts::open(dir.path()).unwrap();
        let receipts = book.since(0, Some(7));
        let peaks: Vec<_> = receipts
            .iter()
            .map(|receipt| (receipt.totals.guaranteed.bytes, receipt.peak))
            .collect();
        assert_eq!((peaks, damaged), (vec![(6_000, 100), (6_900, 1_000), (6_000, 100)], 0));
        assert_eq!(book.since(receipts[0].until, None).len(), 2);
        let mut previous = HEXLOWER.encode(&[0; 32]);
        for receipt in &receipts {
            assert_eq!(receipt.previous, previous);
            let digest = Sha256::digest(receipt.message().unwrap());
            assert_eq!(receipt.digest, HEXLOWER.encode(&digest));
            let bytes = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
            let (key, signature) = (bytes(&receipt.signing_key), bytes(&receipt.signature));
            let signing_key = key.as_slice().try_into().unwrap();
            assert!(verify(&signing_key, &digest, signature.as_slice().try_into().unwrap()));
            assert_eq!(crypt::identity::x25519_of(&signing_key), Some(public));
            previous.clone_from(&receipt.digest);
        }
    }

    #[test]
    fn a_peak_is_a_rate_over_a_second_or_what_it_took_to_look_again() {
        let dir = tempfile::tempdir().unwrap();
        let (mut book, _) = Receipts::open(dir.path()).unwrap();
        let start = 1_800_000_000_000;
        let mut look = |at: u64, bytes| {
            book.follow(start + at, || vec![("x.k".to_owned(), lease(7, bytes))]);
        };
        look(0, 0);
        // Less than a second is not looked at, and 1.7 s have 1 000 bytes a second.
        look(900, 5_000);
        look(1_700, 1_700);
        look(2_700, 2_500);
        look(60_000, 10_000);
        book.keep(&Identities::new(), &mut UnwrapErr(getrandom::SysRng)).unwrap();
        assert_eq!(
            book.since(0, None).iter().map(|receipt| receipt.peak).collect::<Vec<_>>(),
            [1_000]
        );
    }

    #[test]
    fn the_chain_goes_on_after_a_restart_and_past_a_damaged_record() {
        let dir = tempfile::tempdir().unwrap();
        let (mut rng, key) = (UnwrapErr(getrandom::SysRng), "x.k".to_owned());
        let mut run = |start: u64| {
            let (mut book, damaged) = Receipts::open(dir.path()).unwrap();
            for now in [start, start + 60_000] {
                book.follow(now, || vec![(key.clone(), lease(7, now / 1_000))]);
            }
            book.keep(&Identities::new(), &mut rng).unwrap();
            (book.since(0, None), damaged)
        };
        let (first, _) = run(1_800_000_000_000);
        let path = dir.path().join("receipts");
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_within(5..);
        fs::write(&path, bytes).unwrap();
        let (both, damaged) = run(1_800_001_000_000);
        assert_eq!((first.len(), both.len(), damaged), (1, 2, 1));
        assert_eq!((&both[1].previous, both[1].signature.as_str()), (&both[0].digest, ""));
    }
}
