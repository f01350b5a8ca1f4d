use super::super::Neighbour;
use super::*;
use crate::announce::item::SLOTS;
use crypt::test_rng::TestRng;
use wire::key::PublicKey;

/// A router's announcer, and what its route server has.
struct Rig {
    announcer: Announcer,
    server: Log,
    identity: Identity,
    peers: Peers,
    rng: TestRng,
    now: Nanos,
}

const START_MS: u64 = 1_800_000_000_000;

impl Rig {
    fn new(neighbours: &[Neighbour]) -> Self {
        let mut rng = TestRng::new(1);
        let identity = Identity::generate(&mut rng);
        let announcer = Announcer::new(0, &mut rng);
        let mut rig = Self {
            announcer,
            server: Log::default(),
            identity,
            peers: Peers::default(),
            rng,
            now: 0,
        };
        rig.adopt(neighbours);
        rig
    }

    fn adopt(&mut self, neighbours: &[Neighbour]) {
        self.peers.adopt(&self.identity.public(), &Scheme::v358(), neighbours);
        for peer in self.peers.iter_mut() {
            peer.their_label = Some(0x15);
        }
    }

    fn compose(&mut self) -> Vec<u8> {
        let scheme = Scheme::v358();
        let subjects =
            Subjects { identity: &self.identity, scheme: &scheme, peers: &mut self.peers };
        let time_ms = START_MS + self.now / 1_000_000;
        let server = "fc00::1".parse().unwrap();
        let announcement = self.announcer.compose(server, time_ms, subjects, &mut self.rng);
        announcement.to_vec()
    }

    fn reply(&mut self, hash: Option<[u8; 64]>) -> bool {
        let reply = Reply { state_hash: hash, ..Reply::default() };
        self.announcer.replied(self.now, &reply, &mut self.rng)
    }

    /// When it is due, it announces, and the route server takes it. What was said.
    fn announce(&mut self) -> Vec<u8> {
        self.now = self.announcer.due();
        let announcement = self.compose();
        assert_eq!(self.announcer.due(), Nanos::MAX, "one at a time");
        let parsed = Announcement::parse(&announcement).unwrap();
        assert_eq!(parsed.signer(), Ok(self.identity.public()));
        assert!(announcement.len() <= LEN_MAX, "{}", announcement.len());
        self.server.push(&parsed);
        let hash = self.server.hash();
        assert!(self.reply(Some(hash)), "in step");
        announcement
    }

    fn wait(&self) -> Nanos {
        self.announcer.due() - self.now
    }
}

fn subjects_of(announcement: &[u8]) -> Vec<Subject> {
    let parsed = Announcement::parse(announcement).unwrap();
    parsed.items().filter_map(|item| item.subject()).collect()
}

fn is_reset(announcement: &[u8]) -> bool {
    Announcement::parse(announcement).unwrap().header.reset
}

fn neighbour(number: u16) -> Neighbour {
    Neighbour {
        number,
        key: PublicKey([u8::try_from(number % 256).unwrap(); 32]),
        version: 22,
        established: true,
        mtu: 1400,
        lag_ms: Some(3),
        received: 0,
        lost: 0,
        received_bytes: 0,
    }
}

#[test]
fn the_first_announcement_says_everything_and_the_next_only_what_is_new() {
    let mut rig = Rig::new(&[neighbour(0), neighbour(8)]);
    assert!((FIRST..FIRST + SPREAD).contains(&rig.announcer.due()));
    let first = rig.announce();
    assert!(is_reset(&first));
    let all = [Subject::Scheme, Subject::Version, Subject::Peer(0x13), Subject::Peer(0x9e)];
    assert_eq!(subjects_of(&first), all);
    assert_eq!(rig.announcer.links(), 2);
    assert!((STEADY..STEADY + SPREAD).contains(&rig.wait()));
    let second = rig.announce();
    assert!(!is_reset(&second));
    assert_eq!(subjects_of(&second), []);

    rig.adopt(&[neighbour(8), neighbour(33)]);
    rig.announcer.links_changed(rig.now, true, false);
    assert_eq!(rig.wait(), GAINED);
    rig.announcer.links_changed(rig.now, false, true);
    assert_eq!(rig.wait(), LOST, "a loss is more urgent");
    rig.announcer.links_changed(rig.now, true, false);
    assert_eq!(rig.wait(), LOST);
    let third = rig.announce();
    assert_eq!(subjects_of(&third), [Subject::Peer(0x13), Subject::Peer(0x480)]);
    let labels: Vec<u32> = Announcement::parse(&third)
        .unwrap()
        .items()
        .filter_map(|item| if let Item::Peer(peer) = item { Some(peer.label.get()) } else { None })
        .collect();
    assert_eq!(labels, [0, 0x15], "0 withdraws");
    assert_eq!(rig.announcer.links(), 2);
    assert_eq!(subjects_of(&rig.announce()), [], "withdrawn once");
}

#[test]
fn the_mtu_and_the_form_are_true() {
    let mut rig = Rig::new(&[neighbour(33)]);
    let announcement = rig.announce();
    let parsed = Announcement::parse(&announcement).unwrap();
    let peer = parsed.items().find(|item| matches!(item, Item::Peer(_)));
    let Some(Item::Peer(peer)) = peer else { panic!("no link") };
    assert_eq!((peer.mtu_8.get(), peer.form, peer.label.get()), (1400 / 8, 2, 0x15));
    assert_eq!(peer.address, PublicKey([33; 32]).address().octets());
}

#[test]
fn many_links_take_many_announcements_in_quick_succession() {
    let numbers = (0..=256_u16).filter(|number| *number != 1);
    let neighbours: Vec<_> = numbers.map(neighbour).collect();
    let mut rig = Rig::new(&neighbours);
    for _slot in 0..2 * SLOTS {
        rig.peers.iter_mut().zip(&neighbours).for_each(|(peer, link)| peer.sample(link));
    }
    let mut announcements = 0;
    let mut states = 0;
    loop {
        let announcement = rig.announce();
        announcements += 1;
        assert_eq!(is_reset(&announcement), announcements == 1);
        let parsed = Announcement::parse(&announcement).unwrap();
        states += parsed.items().filter(|item| matches!(item, Item::LinkState(_))).count();
        if rig.wait() >= STEADY {
            break;
        }
        assert!((MORE..MORE + SPREAD).contains(&rig.wait()));
    }
    assert_eq!((rig.announcer.links(), states), (256, 256));
    assert!(announcements < 60, "{announcements}");
}

#[test]
fn a_hash_that_is_not_ours_begins_anew_and_never_too_often() {
    let mut rig = Rig::new(&[neighbour(0)]);
    rig.announce();
    let mut waits = Vec::new();
    for hash in [Some([7; 64]), None, Some([0; 64]), None, None, None, None, None, None, None] {
        rig.now = rig.announcer.due();
        let announcement = rig.compose();
        assert_eq!(is_reset(&announcement), !waits.is_empty());
        assert_eq!(subjects_of(&announcement).len(), if waits.is_empty() { 0 } else { 3 });
        assert!(!rig.reply(hash));
        waits.push(rig.wait());
    }
    assert_eq!(waits[..4], [MORE, 2 * MORE, 4 * MORE, 8 * MORE]);
    assert_eq!(waits.last(), Some(&RESET_WAIT_MAX));
    // It answers well: what it forgot is said, and all is as before.
    rig.server.clear();
    let announcement = rig.announce();
    assert!(is_reset(&announcement));
    assert!((STEADY..STEADY + SPREAD).contains(&rig.wait()));
    assert!(!is_reset(&rig.announce()));
}

#[test]
fn everything_is_said_again_before_twenty_minutes_are_over() {
    let mut rig = Rig::new(&[neighbour(0), neighbour(2), neighbour(8)]);
    let mut said: BTreeMap<Subject, u64> = BTreeMap::new();
    let mut again = Vec::new();
    for _minute in 0..70 {
        let announcement = rig.announce();
        let time_ms = Announcement::parse(&announcement).unwrap().header.time_ms;
        for subject in subjects_of(&announcement) {
            again.extend(said.insert(subject, time_ms).map(|before| time_ms - before));
        }
        let oldest = said.values().min().unwrap();
        assert!(time_ms - oldest < KEPT_MS);
        // The newest, and as many as still say something.
        assert!(rig.server.len() <= said.len() + 1);
    }
    assert!(again.len() >= 15, "{again:?}");
    assert!(again.iter().all(|after| (9 * 60_000..=20 * 60_000).contains(after)), "{again:?}");
}

#[test]
fn time_never_goes_back() {
    let mut rig = Rig::new(&[]);
    rig.now = 100 * SECOND;
    let late = rig.compose();
    rig.now = 0;
    rig.announcer.begin_anew(0);
    let early = rig.compose();
    let time_ms = |bytes: &[u8]| Announcement::parse(bytes).unwrap().header.time_ms;
    assert_eq!(time_ms(&early), time_ms(&late) + 1);
}
