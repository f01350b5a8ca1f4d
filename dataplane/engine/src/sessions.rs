//! The data halves of links' sessions, as their owner has them: which keys open and seal what.

use crate::pace::Pace;
use crypt::data::DataSession;
use dataplane_api::VifId;

/// A change that the slow path asks for.
#[derive(Debug)]
pub struct SessionChange {
    /// The link.
    pub vif: VifId,
    /// Of the link: keys for another take its place, and to drop another's changes nothing.
    pub epoch: u8,
    /// What.
    pub kind: SessionChangeKind,
}

/// What shall change.
#[derive(Debug)]
pub enum SessionChangeKind {
    /// Keys of a handshake. Confirmed ones are sent with from now on; others once the peer's first packet came.
    Install(Box<DataSession>),
    /// These keys are used no more: those of this [`DataSession::id`], or all.
    Drop(Option<u32>),
    /// Nothing; but the peer has read all that was sent up to the last ping.
    Read,
}

/// What a worker tells the slow path of sessions.
#[derive(Debug)]
pub enum SessionNews {
    /// The first packet of the peer was opened with this session.
    Confirmed {
        /// The link.
        vif: VifId,
        /// Of the link.
        epoch: u8,
        /// [`DataSession::id`].
        id: u32,
    },
    /// Its numbers run out.
    Old {
        /// The link.
        vif: VifId,
        /// Of the link.
        epoch: u8,
        /// [`DataSession::id`].
        id: u32,
    },
    /// Frames on the link came close together, and now it is quiet: it wants a ping.
    Crowded {
        /// The link.
        vif: VifId,
    },
    /// Not used any more: to be wiped where nothing waits for it.
    Retired(Box<DataSession>),
}

/// Which of a link's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Which {
    /// The one that is sent with.
    Current,
    /// Made by a handshake, but not confirmed by a packet of the peer.
    Next,
    /// Replaced; packets that were under way are still opened.
    Previous,
}

impl Which {
    /// In the order in which they are tried.
    pub(crate) const ALL: [Self; 3] = [Self::Current, Self::Next, Self::Previous];
}

/// One link's sessions.
#[derive(Debug, Default)]
pub(crate) struct LinkSessions {
    current: Option<Box<DataSession>>,
    next: Option<Box<DataSession>>,
    previous: Option<Box<DataSession>>,
    /// Of the link that they belong to.
    epoch: u8,
    /// [`SessionNews::Confirmed`] was said of the current one.
    told_confirmed: bool,
    /// [`SessionNews::Old`] was said of the current one.
    told_old: bool,
    /// Here because whoever sends touches this line anyway.
    pace: Pace,
}

impl LinkSessions {
    #[inline]
    pub(crate) fn get(&self, which: Which) -> Option<&DataSession> {
        self.slot(which).as_deref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, which: Which) -> Option<&mut DataSession> {
        match which {
            Which::Current => self.current.as_deref_mut(),
            Which::Next => self.next.as_deref_mut(),
            Which::Previous => self.previous.as_deref_mut(),
        }
    }

    /// Whether a packet that `which` opened is the first that shows that the peer has it too.
    #[inline]
    pub(crate) fn is_confirmed_by(&self, which: Which) -> bool {
        match which {
            Which::Current => !self.told_confirmed,
            Which::Next => true,
            Which::Previous => false,
        }
    }

    /// Whether it has none at all.
    pub(crate) fn is_empty(&self) -> bool {
        Which::ALL.iter().all(|which| self.get(*which).is_none())
    }

    #[inline]
    fn slot(&self, which: Which) -> &Option<Box<DataSession>> {
        match which {
            Which::Current => &self.current,
            Which::Next => &self.next,
            Which::Previous => &self.previous,
        }
    }

    /// A packet was opened with the next session: the peer has it, so it is sent with from now on.
    fn promote(&mut self) -> Option<Box<DataSession>> {
        let next = self.next.take()?;
        self.told_old = false;
        self.told_confirmed = true;
        let current = self.current.replace(next);
        self.keep_previous(current)
    }

    /// Keeps a replaced session, and gives what that one replaces.
    fn keep_previous(&mut self, replaced: Option<Box<DataSession>>) -> Option<Box<DataSession>> {
        match replaced {
            Some(replaced) => self.previous.replace(replaced),
            None => None,
        }
    }
}

/// The sessions of a worker's links.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// By vif.
    links: Box<[LinkSessions]>,
}

impl Sessions {
    pub(crate) fn new(vifs: usize) -> Self {
        Self { links: std::iter::repeat_with(LinkSessions::default).take(vifs).collect() }
    }

    /// How frames leave on a vif's link, whichever that is.
    #[inline]
    pub(crate) fn pace_mut(&mut self, vif: VifId) -> Option<&mut Pace> {
        self.links.get_mut(vif.index()).map(|link| &mut link.pace)
    }

    /// A link's sessions, if they are of this epoch.
    #[inline]
    pub(crate) fn of(&self, vif: VifId, epoch: u8) -> Option<&LinkSessions> {
        self.links.get(vif.index()).filter(|link| link.epoch == epoch)
    }

    #[inline]
    pub(crate) fn of_mut(&mut self, vif: VifId, epoch: u8) -> Option<&mut LinkSessions> {
        self.links.get_mut(vif.index()).filter(|link| link.epoch == epoch)
    }

    /// Makes a change; what is not used any more goes to `news`.
    pub(crate) fn change(&mut self, change: SessionChange, news: &mut Vec<SessionNews>) {
        let SessionChange { vif, epoch, kind } = change;
        let Some(link) = self.links.get_mut(vif.index()) else {
            if let SessionChangeKind::Install(session) = kind {
                news.push(SessionNews::Retired(session));
            }
            return;
        };
        let mut retire = |session: Option<Box<DataSession>>| {
            news.extend(session.map(SessionNews::Retired));
        };
        if link.epoch != epoch {
            // The link whose keys shall go may be gone already, and another in its place with keys of its own.
            if matches!(kind, SessionChangeKind::Drop(_)) {
                return;
            }
            // Nobody is behind the link that the old ones were for.
            retire(link.current.take());
            retire(link.next.take());
            retire(link.previous.take());
            link.epoch = epoch;
        }
        match kind {
            SessionChangeKind::Install(session) if session.is_confirmed() => {
                link.told_old = false;
                link.told_confirmed = false;
                retire(link.next.take());
                let replaced = link.current.replace(session);
                retire(link.keep_previous(replaced));
            }
            SessionChangeKind::Install(session) => retire(link.next.replace(session)),
            SessionChangeKind::Read => {}
            SessionChangeKind::Drop(id) => {
                let meant = |session: &mut Box<DataSession>| id.is_none_or(|id| session.id() == id);
                retire(link.current.take_if(meant));
                retire(link.next.take_if(meant));
                retire(link.previous.take_if(meant));
            }
        }
    }

    /// The peer has the session: it is sent with from now on, and the slow path is told.
    pub(crate) fn confirm(
        &mut self,
        (vif, epoch): (VifId, u8),
        which: Which,
        news: &mut Vec<SessionNews>,
    ) {
        // Others of the same burst may have been opened with it, too.
        let link = self.of_mut(vif, epoch).filter(|link| link.is_confirmed_by(which));
        let Some(link) = link else { return };
        let Some(id) = link.get(which).map(DataSession::id) else { return };
        if which == Which::Next {
            news.extend(link.promote().map(SessionNews::Retired));
        }
        link.told_confirmed = true;
        news.push(SessionNews::Confirmed { vif, epoch, id });
    }

    /// Tells the slow path, once, that the numbers of a link's session run out.
    #[cold]
    pub(crate) fn tell_old(&mut self, vif: VifId, epoch: u8, news: &mut Vec<SessionNews>) {
        let Some(link) = self.of_mut(vif, epoch).filter(|link| !link.told_old) else { return };
        if let Some(id) = link.get(Which::Current).map(DataSession::id) {
            link.told_old = true;
            news.push(SessionNews::Old { vif, epoch, id });
        }
    }
}

/// First word of a session packet. Source: CJDNS-WIRE.md §2.1.
///
/// A data packet of Noise begins with an index that its receiver chose, never one of these.
#[inline]
pub(crate) fn is_handshake(packet: &[u8]) -> bool {
    match packet.first_chunk() {
        Some(word) => matches!(u32::from_be_bytes(*word), 0..=3 | u32::MAX),
        None => false,
    }
}
