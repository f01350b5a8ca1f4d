//! A port of two files: what is in one comes in, what goes out is written to the other. For replay.
//!
//! Frames come in as fast as they are taken, in the order of the file, once. Reading and writing a file may wait for
//! the disk, which no other port does: a worker that serves one is not for live traffic.

use crate::IoError;
use crate::frame::{Frame, Pool};
use crate::port::{Burst, Port, PortStatistics};
use nix::time::{ClockId, clock_gettime};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError, TsResolution};
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Read, Seek};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;
use wire::buf::Packet;

/// First bytes of a pcapng file: its section header's type.
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Most frames that [`Port::transmit`] takes at once; the file always has room.
const ROOM: usize = 1024;

/// The port.
#[derive(Debug)]
pub struct PcapPort<'m> {
    replay: Option<Replay>,
    record: Option<PcapWriter<BufWriter<File>>>,
    sent: Vec<Frame<'m>>,
    statistics: PortStatistics,
}

impl PcapPort<'_> {
    /// `replay`: a pcap or pcapng file of Ethernet frames; `None`: nothing ever comes in. `record`: a pcap file to be
    /// made; `None`: what goes out is thrown away.
    ///
    /// # Errors
    /// [`IoError::Recording`] for a file that cannot be used.
    pub fn open(replay: Option<&Path>, record: Option<&Path>) -> Result<Self, IoError> {
        let refused = |path: &Path| {
            let path = path.display().to_string();
            move |why: PcapError| IoError::Recording { path, why: why.to_string() }
        };
        Ok(Self {
            replay: replay.map(|path| Replay::open(path).map_err(refused(path))).transpose()?,
            record: record.map(|path| create(path).map_err(refused(path))).transpose()?,
            sent: Vec::with_capacity(ROOM),
            statistics: PortStatistics::default(),
        })
    }
}

fn create(path: &Path) -> Result<PcapWriter<BufWriter<File>>, PcapError> {
    let header = PcapHeader {
        datalink: DataLink::ETHERNET,
        ts_resolution: TsResolution::NanoSecond,
        ..PcapHeader::default()
    };
    let file = File::create(path).map_err(PcapError::IoError)?;
    PcapWriter::with_header(BufWriter::new(file), header)
}

impl<'m> Port<'m> for PcapPort<'m> {
    fn receive(&mut self, pool: &mut Pool<'m>, burst: &mut Burst<Frame<'m>>) -> usize {
        let before = burst.len();
        while let Some(replay) = &mut self.replay
            && burst.remaining_capacity() > 0
        {
            // Without a frame the next one waits in the file.
            let Some(mut frame) = pool.take() else { break };
            match replay.next_into(&mut frame) {
                Ok(Next::Frame) => {
                    burst.push(frame);
                    continue;
                }
                Ok(Next::TooLong) => self.statistics.rx_dropped += 1,
                Ok(Next::End) => self.replay = None,
                // What follows damage cannot be found.
                Err(_damaged) => {
                    self.statistics.rx_invalid += 1;
                    self.replay = None;
                }
            }
            pool.put(frame);
        }
        burst.len() - before
    }

    fn room(&self) -> usize {
        ROOM - self.sent.len()
    }

    fn transmit(&mut self, burst: &mut Burst<Frame<'m>>) -> usize {
        let count = self.room().min(burst.len());
        let time = clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Duration::from);
        for frame in burst.drain(..count) {
            if let Some(record) = &mut self.record {
                let bytes = frame.bytes();
                let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let written = record.write_packet(&PcapPacket::new(time, len, bytes));
                self.statistics.tx_invalid += u64::from(written.is_err());
            }
            self.sent.push(frame);
        }
        count
    }

    fn flush(&mut self) {}

    fn reclaim(&mut self, pool: &mut Pool<'m>) -> usize {
        let count = self.sent.len();
        self.sent.drain(..).for_each(|frame| pool.put(frame));
        count
    }

    fn pending(&self) -> usize {
        self.sent.len()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn statistics(&self) -> PortStatistics {
        self.statistics
    }
}

/// What came of asking a file for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Frame,
    /// It does not fit a chunk of the frame memory, or the recording holds only a part of it.
    TooLong,
    End,
}

/// A file that is read from its start to its end.
enum Replay {
    Pcap(PcapReader<File>),
    PcapNg(PcapNgReader<File>),
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcap(_) => "Pcap",
            Self::PcapNg(_) => "PcapNg",
        })
    }
}

impl Replay {
    fn open(path: &Path) -> Result<Self, PcapError> {
        let mut file = File::open(path).map_err(PcapError::IoError)?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic).map_err(PcapError::IoError)?;
        file.rewind().map_err(PcapError::IoError)?;
        if magic == PCAPNG_MAGIC {
            return Ok(Self::PcapNg(PcapNgReader::new(file)?));
        }
        let reader = PcapReader::new(file)?;
        if reader.header().datalink == DataLink::ETHERNET {
            Ok(Self::Pcap(reader))
        } else {
            Err(PcapError::InvalidField("its packets are not Ethernet frames"))
        }
    }

    fn next_into(&mut self, frame: &mut Frame<'_>) -> Result<Next, PcapError> {
        let mut fill = |data: &[u8], original: u32| {
            let whole = usize::try_from(original).is_ok_and(|original| original == data.len());
            if whole && frame.fill(data) { Next::Frame } else { Next::TooLong }
        };
        match self {
            Self::Pcap(reader) => match reader.next_packet() {
                None => Ok(Next::End),
                Some(packet) => packet.map(|packet| fill(&packet.data, packet.orig_len)),
            },
            Self::PcapNg(reader) => loop {
                match reader.next_block() {
                    None => return Ok(Next::End),
                    Some(block) => {
                        if let Block::EnhancedPacket(packet) = block? {
                            return Ok(fill(&packet.data, packet.original_len));
                        }
                    }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Umem, UmemConfig};

    fn frames_of(path: &Path) -> (Vec<Vec<u8>>, PortStatistics) {
        let umem = Umem::new(UmemConfig::coloured(8)).unwrap();
        let mut pool = umem.frames().unwrap();
        let mut port = PcapPort::open(Some(path), None).unwrap();
        let mut frames = Vec::new();
        loop {
            let mut burst = Burst::new();
            if port.receive(&mut pool, &mut burst) == 0 {
                break;
            }
            for frame in burst.drain(..) {
                frames.push(frame.bytes().to_vec());
                pool.put(frame);
            }
        }
        assert_eq!(pool.len(), 8);
        (frames, port.statistics())
    }

    #[test]
    fn what_is_recorded_can_be_replayed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.pcap");
        let umem = Umem::new(UmemConfig::coloured(8)).unwrap();
        let mut pool = umem.frames().unwrap();
        let mut port = PcapPort::open(None, Some(&path)).unwrap();
        let written: Vec<Vec<u8>> = (0..20).map(|n| vec![n; 60 + usize::from(n)]).collect();
        for bytes in &written {
            let mut burst = Burst::new();
            let mut frame = pool.take().unwrap();
            assert!(frame.fill(bytes));
            burst.push(frame);
            assert_eq!(port.transmit(&mut burst), 1);
            port.reclaim(&mut pool);
        }
        drop(port);
        assert_eq!(frames_of(&path), (written, PortStatistics::default()));
    }

    #[test]
    fn damage_ends_a_replay_and_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cut.pcap");
        let mut writer = create(&path).unwrap();
        for len in [60, 4000, 61] {
            writer
                .write_packet(&PcapPacket::new(Duration::ZERO, len, &vec![1; len as usize]))
                .unwrap();
        }
        drop(writer);
        let whole = std::fs::read(&path).unwrap();
        let (frames, statistics) = frames_of(&path);
        assert_eq!((frames.len(), statistics.rx_dropped, statistics.rx_invalid), (2, 1, 0));
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let (frames, statistics) = frames_of(&path);
        assert_eq!((frames.len(), statistics.rx_dropped, statistics.rx_invalid), (1, 1, 1));
    }

    #[test]
    fn what_is_no_recording_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("not.pcap");
        std::fs::write(&path, b"hello, world; this is text and no recording").unwrap();
        let error = PcapPort::open(Some(&path), None).unwrap_err().to_string();
        assert!(error.contains("not.pcap"), "{error}");
        assert!(PcapPort::open(Some(&directory.path().join("absent")), None).is_err());
    }
}
