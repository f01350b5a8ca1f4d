//! Hellos of strangers from ever other addresses, over a veth pair into the box's own AF_XDP port.

use super::boxes::{FLOOD_PORT, Running, Side, station};
use super::{LinksBenchError, Size};
use crate::rounds::Random;
use dataplane_api::PortId;
use dataplane_api::counters::PortCounter;
use io::live::{LiveFrames, Stop, Template};
use io::netdev::Netdev;
use lab::{End, Namespace, veth};
use std::time::{Duration, Instant};
use wire::{eth_interface, ethernet};

const OUTSIDE: &str = "w0";
/// Addresses that take turns: as many as one generator has frames.
const SOURCES: usize = io::live::TEMPLATES_MAX;
/// Bytes of a hello without payload.
const HELLO_LEN: usize = 152;
/// Before anything else happens in it.
const WARM_UP: Duration = Duration::from_secs(1);
/// The box's port of the flood.
const PORT: PortId = PortId(1);

/// The namespaces, and the frames.
pub(super) struct Flood {
    outside: Namespace,
    inside: Namespace,
    live: LiveFrames,
}

/// Frames that the box had taken, and when.
pub(super) struct Rate {
    frames: u64,
    since: Instant,
}

/// Does `work` where the box's port of the flood is, if there is one.
pub(super) fn within<T: Send>(
    flood: Option<&Flood>,
    work: impl FnOnce() -> Result<T, LinksBenchError> + Send,
) -> Result<T, LinksBenchError> {
    match flood {
        Some(flood) => flood.inside.run(work)?,
        None => work(),
    }
}

impl Flood {
    pub(super) fn new(size: Size) -> Result<Self, LinksBenchError> {
        let (outside, inside) = (Namespace::new()?, Namespace::new()?);
        let end = |namespace, name, low| End { namespace, name, mac: [2, 0, 0, 0, 1, low] };
        veth(end(&inside, FLOOD_PORT, 2), end(&outside, OUTSIDE, 1), 1500, 1)?;
        let mut random = Random::new(9);
        let templates: Vec<Template> = (0..SOURCES)
            .map(|_| Template { frame: hello(&mut random, size), stamp: None })
            .collect();
        let order: Vec<usize> = (0..templates.len()).collect();
        let live =
            outside.run(|| LiveFrames::new(&Netdev::find(OUTSIDE)?, &templates, &order))??;
        Ok(Self { outside, inside, live })
    }

    /// Does `work` while it comes in.
    pub(super) fn during<T>(
        &self,
        work: impl FnOnce() -> Result<T, LinksBenchError>,
    ) -> Result<T, LinksBenchError> {
        let stop = Stop::new();
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| self.outside.run(|| self.live.run(None, &stop)));
            std::thread::sleep(WARM_UP);
            let result = work();
            stop.stop();
            match flood.join() {
                Ok(ended) => ended??,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            result
        })
    }
}

impl Rate {
    /// From now on.
    pub(super) fn of(tested: &Running) -> Result<Self, LinksBenchError> {
        let frames = tested.counters()?.port(PORT, PortCounter::RxFrames);
        Ok(Self { frames, since: Instant::now() })
    }

    /// Frames a second until now.
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    pub(super) fn until_now(&self, tested: &Running) -> Result<f64, LinksBenchError> {
        let frames = tested.counters()?.port(PORT, PortCounter::RxFrames) - self.frames;
        Ok(frames as f64 / self.since.elapsed().as_secs_f64())
    }
}

/// A hello as a stranger sends one who has no login: its look-up is as long as any, and finds nobody.
fn hello(random: &mut Random, size: Size) -> Vec<u8> {
    let vswitch = u16::try_from(random.below(size.vswitches.into())).unwrap_or(0);
    let [_, _, a, b, c, d, e, f] = random.draw().to_be_bytes();
    let header = ethernet::Header {
        destination: station(Side::Box, vswitch).0,
        source: [a & 0xfc | 2, b, c, d, e, f],
        vlan: None,
        ethertype: ethernet::ETHERTYPE_CJDNS,
    };
    let mut frame = vec![0; header.len()];
    let _written = header.write(&mut frame);
    frame.extend(eth_interface::header(HELLO_LEN).unwrap_or_default());
    // Stage 0, then login by name, which nobody has.
    frame.extend([0, 0, 0, 0, 2]);
    frame.extend((5..HELLO_LEN).map(|_| random.draw().to_le_bytes()[0]));
    frame
}
