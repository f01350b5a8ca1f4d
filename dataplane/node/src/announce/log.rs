//! What a route server remembers of an announcer, and the announcer of itself: messages that still say something.

use super::{Announcement, Header, item::Subject};
use sha2::{Digest, Sha512};
use std::collections::{BTreeSet, VecDeque};

/// Messages older than the newest by more are forgotten, in milliseconds.
pub const KEPT_MS: u64 = 20 * 60 * 1000;

/// Hash over what is remembered; equal at both ends, or the announcer starts anew.
pub type StateHash = [u8; 64];

/// Messages in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Log {
    messages: VecDeque<Message>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Message {
    time_ms: u64,
    subjects: Box<[Subject]>,
    bytes: Box<[u8]>,
}

impl Log {
    /// Adds a message, and drops those that say nothing any more: all of whose subjects newer messages speak of, or which
    /// are too old. A message that resets drops all before it.
    pub fn push(&mut self, announcement: &Announcement<'_>) {
        let Header { time_ms, reset, .. } = announcement.header;
        if reset {
            self.clear();
        }
        let subjects = announcement.items().filter_map(|item| item.subject()).collect();
        let bytes = announcement.bytes.into();
        self.messages.push_back(Message { time_ms, subjects, bytes });
        self.prune(time_ms.saturating_sub(KEPT_MS));
        self.bytes = self.messages.iter().map(Message::size).sum();
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The fold over the messages, oldest first; zeros for none. Cost: SHA-512 over all of them.
    #[must_use]
    pub fn hash(&self) -> StateHash {
        self.messages.iter().fold([0; 64], |hash, message| {
            Sha512::new().chain_update(hash).chain_update(&message.bytes).finalize().into()
        })
    }

    /// Messages in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Memory that the messages take, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Source: CJDNS-WIRE.md §6.4, "State kept by both ends". Too old goes first, so that what it said does not count.
    fn prune(&mut self, oldest_ms: u64) {
        let mut known = BTreeSet::new();
        let newest = self.messages.len().saturating_sub(1);
        let mut at = self.messages.len();
        while at > 0 {
            at -= 1;
            let Some(message) = self.messages.get(at) else { return };
            let is_young = message.time_ms >= oldest_ms;
            let mut says_something = at == newest;
            for subject in message.subjects.iter().filter(|_| is_young) {
                says_something |= known.insert(*subject);
            }
            if !is_young || !says_something {
                self.messages.remove(at);
            }
        }
    }
}

impl Message {
    fn size(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.subjects) + self.bytes.len()
    }
}
