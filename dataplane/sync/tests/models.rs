//! Real threads; every interleaving under `RUSTFLAGS="--cfg loom"`; many random ones under `--cfg shuttle`.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use dataplane_api::port_share::{PortShare, Standing};
use dataplane_sync::{port_share, publish, waker};
#[cfg(loom)]
use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
#[cfg(shuttle)]
use shuttle::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
#[cfg(not(any(loom, shuttle)))]
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

fn model(body: impl Fn() + Send + Sync + 'static) {
    #[cfg(loom)]
    loom::model(body);
    #[cfg(shuttle)]
    shuttle::check_random(body, 20_000);
    #[cfg(not(any(loom, shuttle)))]
    (0..500).for_each(|_| body());
}

type Graves = Arc<Mutex<Vec<(u64, thread::ThreadId)>>>;

/// A value that writes down where it died.
struct Mortal(u64, Graves);

impl Drop for Mortal {
    fn drop(&mut self) {
        self.1.lock().unwrap().push((self.0, thread::current().id()));
    }
}

#[test]
fn readers_only_move_forward_and_never_run_a_destructor() {
    model(|| {
        let graves = Graves::default();
        let (mut publisher, readers) = publish::publish(Mortal(1, Arc::clone(&graves)), 1);
        let here = thread::current().id();
        let readers: Vec<_> = readers
            .into_iter()
            .map(|mut reader| {
                thread::spawn(move || {
                    let first = reader.refresh().0;
                    let second = reader.refresh().0;
                    assert!(first <= second, "went back from {first} to {second}");
                    reader
                })
            })
            .collect();
        publisher.store(Mortal(2, Arc::clone(&graves)));
        publisher.store(Mortal(3, Arc::clone(&graves)));
        let readers: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(publisher.applied() <= 3);
        drop(readers);
        assert_eq!((publisher.applied(), publisher.reclaim()), (3, 1));
        drop(publisher);
        let graves = graves.lock().unwrap();
        assert_eq!(graves.len(), 3, "each value dies once");
        assert!(graves.iter().all(|(_, thread)| *thread == here), "a reader ran a destructor");
    });
}

#[test]
fn no_wake_up_is_lost() {
    model(|| {
        let bell = Arc::new(AtomicBool::new(false));
        let item = Arc::new(AtomicBool::new(false));
        let rung = Arc::clone(&bell);
        let (waker, sleeper) = waker::pair(move || rung.store(true, Ordering::SeqCst));
        let sent = Arc::clone(&item);
        let sender = thread::spawn(move || {
            sent.store(true, Ordering::Relaxed);
            waker.wake();
        });
        sleeper.prepare();
        // Would sleep now, until the bell: the item must be there already, or the bell must ring.
        let sleeps = !item.load(Ordering::Relaxed);
        sender.join().unwrap();
        assert!(!sleeps || bell.load(Ordering::SeqCst), "asleep for ever with an item in the ring");
        sleeper.awake();
    });
}

#[test]
fn no_two_workers_are_given_the_same_time_of_a_port() {
    model(|| {
        let mut shares = port_share::shares(2);
        let other = shares.pop().unwrap();
        let own = shares.pop().unwrap();
        let other = thread::spawn(move || {
            other.tell(Standing { served: Some(3), bytes: 30 });
            // When it was given, and how long it takes.
            [(12, 5), (13, 4)].map(|(now, time)| (now, time, other.charge(now, time)))
        });
        let charges = [(10, 7), (11, 2)].map(|(now, time)| (now, time, own.charge(now, time)));
        let mut all: Vec<_> = other.join().unwrap().into_iter().chain(charges).collect();
        all.sort_by_key(|(_, _, end)| *end);
        let mut busy_until = 0;
        for (now, time, end) in all {
            assert!(end - time >= now, "sent before it was there");
            assert!(end - time >= busy_until, "two at the same time");
            busy_until = end;
        }
        assert_eq!(own.clock(), busy_until);
        assert_eq!(own.others(), Standing { served: Some(3), bytes: 30 });
    });
}
