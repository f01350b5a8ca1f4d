//! A wire end over AF_XDP, or any other port of the dataplane.

use crate::af_packet::readable;
use crate::generator::Offer;
use crate::link::Link;
use crate::scenario::Scenario;
use crate::wire_end::{WireEnd, WireStatistics};
use dataplane_api::MacAddress;
use io::af_xdp::{AfXdp, AfXdpConfig};
use io::netdev::Netdev;
use io::xdp::{Attachment, PortFilter};
use io::{Burst, Frame, IoError, Pool, Port, Umem, UmemConfig};
use std::time::Duration;
use wire::buf::Packet;

/// Frames of memory: rings of 4096 and 2048 entries, and bursts.
const FRAMES: usize = 8192;

/// A port with its free frames.
#[derive(Debug)]
pub struct PortEnd<P> {
    port: P,
    pool: Pool<'static>,
    outgoing: Burst<Frame<'static>>,
    incoming: Burst<Frame<'static>>,
    /// Held for its end: the program leaves the device with it.
    _attachment: Option<Attachment>,
}

impl PortEnd<AfXdp<'static>> {
    /// Opens queue 0 of a device of this thread's network namespace, and takes the frames in `filter`; all others go to
    /// the kernel.
    ///
    /// # Errors
    /// Those of [`Netdev::find`], [`Umem::new`], [`Attachment::attach`] and [`AfXdp::open`].
    pub fn open(device: &str, filter: &PortFilter) -> Result<Self, IoError> {
        let device = Netdev::find(device)?;
        // A port lives as long as its process or a test; the frames must outlive the rings.
        let umem: &'static Umem =
            Box::leak(Box::new(Umem::new(UmemConfig::for_xdp(device.mtu, FRAMES))?));
        let mut pool = umem.frames()?;
        let mut attachment = Attachment::attach(&device)?;
        attachment.add(filter)?;
        let port = AfXdp::open(umem, &mut pool, &attachment, None, AfXdpConfig::default())?;
        Ok(Self::new(port, pool, Some(attachment)))
    }
}

impl<P: Port<'static>> PortEnd<P> {
    /// Over any port and frames for it.
    pub const fn new(port: P, pool: Pool<'static>, attachment: Option<Attachment>) -> Self {
        Self {
            port,
            pool,
            outgoing: Burst::new_const(),
            incoming: Burst::new_const(),
            _attachment: attachment,
        }
    }

    fn transmit(&mut self) {
        self.port.transmit(&mut self.outgoing);
        self.port.flush();
        self.port.reclaim(&mut self.pool);
    }
}

/// What neighbours behind `port` may receive: all that streams arrive with or are sent from there.
#[must_use]
pub fn filter_of(scenario: &Scenario, port: &str) -> PortFilter {
    let arriving = scenario.streams.iter().filter_map(|stream| stream.arrival.as_ref());
    let arriving = arriving.filter(|arrival| arrival.port == port).map(|arrival| arrival.link);
    let sending = scenario.from_port(port).map(|(_, stream)| stream.link.reversed());
    let mut filter = PortFilter::default();
    for link in arriving.chain(sending) {
        match link {
            Link::Ethernet { destination: MacAddress(mac), .. } => {
                filter.macs.insert(mac);
            }
            Link::Udp { destination, .. } => {
                filter.endpoints.insert(destination);
            }
        }
    }
    filter
}

impl<P: Port<'static>> WireEnd for PortEnd<P> {
    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> std::io::Result<usize> {
        let count = self.port.receive(&mut self.pool, &mut self.incoming);
        for frame in self.incoming.drain(..) {
            each(frame.bytes());
            self.pool.put(frame);
        }
        Ok(count)
    }

    fn offer(&mut self, frame: &[u8]) -> Offer {
        if self.outgoing.is_full() {
            self.transmit();
        }
        if self.port.room() <= self.outgoing.len() {
            self.transmit();
        }
        if self.outgoing.is_full() || self.port.room() <= self.outgoing.len() {
            return Offer::Full;
        }
        let Some(mut free) = self.pool.take() else { return Offer::Full };
        if !free.fill(frame) {
            self.pool.put(free);
            return Offer::Full;
        }
        self.outgoing.push(free);
        Offer::Taken
    }

    fn flush(&mut self) {
        self.transmit();
    }

    fn pending(&self) -> usize {
        self.outgoing.len() + self.port.pending()
    }

    fn wait(&self, timeout: Duration) {
        match self.port.fd() {
            Some(fd) => {
                let _came = readable(fd, timeout);
            }
            None => std::thread::yield_now(),
        }
    }

    fn statistics(&self) -> WireStatistics {
        let found = self.port.statistics();
        WireStatistics {
            rx_dropped: found.rx_dropped + found.rx_ring_full + found.rx_invalid,
            tx_refused: found.tx_invalid + found.kicks_refused,
        }
    }
}
