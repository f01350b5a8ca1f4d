//! `capture`: frames of a port, a vif or a drop reason, as pcapng.

use crate::ProcessArgs;
use crate::connect::Process;
use crate::names;
use crate::trace::FilterArgs;
use crate::why;
use anyhow::{Context, Result, ensure};
use clap::Args;
use dataplane_api::Status;
use dataplane_api::protocol::{TapEvent, TapRecord};
use nix::time::{ClockId, clock_gettime};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// `epb_flags`: bits 0 and 1 hold the direction.
const FLAG_INBOUND: u32 = 1;
const FLAG_OUTBOUND: u32 = 2;
/// `if_tsresol`: time stamps count 10⁻⁹ s.
const NANOSECONDS: u8 = 9;

#[derive(Args, Debug)]
pub(crate) struct CaptureArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// File to write; `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    write: PathBuf,
    /// Bytes of each frame to keep
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u16).range(1..))]
    snap_len: u16,
    /// Most frames a second; the packet path never waits for a capture
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Stop after this many frames
    #[arg(short, long)]
    count: Option<u64>,
    /// Stop after this many seconds
    #[arg(long)]
    seconds: Option<u64>,
    #[command(flatten)]
    process: ProcessArgs,
}

/// Runs the command.
pub(crate) fn run(args: &CaptureArgs, out: &mut dyn Write) -> Result<()> {
    let filter = &args.filter;
    ensure!(
        filter.port.is_some()
            || filter.vif.is_some()
            || filter.reason.is_some()
            || filter.label.is_some(),
        "say what to capture: --port, --vif, --reason or --label"
    );
    let mut process = Process::connect(&args.process)?;
    let status = process.status()?;
    let tap_filter = filter.resolve(&status, args.snap_len, args.rate)?;
    let mut tap = process.tap(tap_filter)?;
    let to_file = args.write.as_os_str() != "-";
    let sink: Box<dyn Write + '_> = if to_file {
        let file = File::create(&args.write)
            .with_context(|| format!("creating {}", args.write.display()))?;
        Box::new(BufWriter::new(file))
    } else {
        Box::new(out)
    };
    let mut capture = Capture::new(sink, &status, args.snap_len, wall_minus_monotonic()?)?;
    let (started, mut frames) = (Instant::now(), 0);
    while args.count.is_none_or(|count| frames < count)
        && args.seconds.is_none_or(|seconds| started.elapsed().as_secs() < seconds)
    {
        match tap.next_within(Duration::from_millis(200))? {
            Some(record) if wanted(&record.event, filter) => {
                capture.write(&status, &record)?;
                frames += 1;
            }
            Some(_) => {}
            // Whoever reads along sees what there is when traffic pauses.
            None => capture.flush()?,
        }
    }
    capture.flush()
}

/// One frame once: on its way in (where it is first known to match) and on its way out, or where it was dropped.
const fn wanted(event: &TapEvent, filter: &FilterArgs) -> bool {
    let by_switching = filter.vif.is_some() || filter.label.is_some();
    match event {
        TapEvent::Dropped { .. } => filter.reason.is_some(),
        TapEvent::Sent { .. } => filter.reason.is_none(),
        TapEvent::Received { .. } => filter.reason.is_none() && !by_switching,
        TapEvent::Classified { .. } => filter.reason.is_none() && by_switching,
        TapEvent::Switched { .. }
        | TapEvent::HandedOff { .. }
        | TapEvent::Queued { .. }
        | TapEvent::Punted { .. } => false,
    }
}

/// A pcapng file with one interface per port, in the order of their ids, and one for frames without a port.
struct Capture<W: Write> {
    writer: PcapNgWriter<W>,
    ports: usize,
    /// Added to CLOCK_MONOTONIC to get the time of day.
    clock_offset: Duration,
}

impl<W: Write> Capture<W> {
    fn new(sink: W, status: &Status, snap_len: u16, clock_offset: Duration) -> Result<Self> {
        let mut writer = PcapNgWriter::new(sink).context("writing the capture's header")?;
        let names = status.ports.iter().map(|port| port.name.as_str());
        for name in names.chain(["inside the box"]) {
            let options = vec![
                InterfaceDescriptionOption::IfName(name.into()),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ];
            let block = InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: snap_len.into(),
                options,
            };
            writer.write_pcapng_block(block).context("writing the capture's header")?;
        }
        Ok(Self { writer, ports: status.ports.len(), clock_offset })
    }

    fn write(&mut self, status: &Status, record: &TapRecord) -> Result<()> {
        let (port, comment, flags) = match record.event {
            TapEvent::Received { port } => (Some(port), None, FLAG_INBOUND),
            TapEvent::Sent { port, vif } => {
                (Some(port), Some(format!("to {}", names::vif(status, vif))), FLAG_OUTBOUND)
            }
            TapEvent::Dropped { reason, vif, port } => {
                let place =
                    vif.map(|vif| format!(" at {}", names::vif(status, vif))).unwrap_or_default();
                let comment = format!("dropped{place}: {reason}: {}", why::sentence(reason));
                (port.or_else(|| vif.and_then(|vif| port_of(status, vif))), Some(comment), 0)
            }
            TapEvent::Classified { vif } | TapEvent::Queued { vif } | TapEvent::Punted { vif } => (
                port_of(status, vif),
                Some(format!("from {}", names::vif(status, vif))),
                FLAG_INBOUND,
            ),
            TapEvent::Switched { from, .. } => (port_of(status, from), None, FLAG_INBOUND),
            TapEvent::HandedOff { .. } => (None, None, 0),
        };
        let known = port.and_then(|port| status.ports.iter().position(|known| known.id == port));
        let interface = known.unwrap_or(self.ports);
        let mut options = vec![EnhancedPacketOption::Flags(flags)];
        options.extend(comment.map(|comment| EnhancedPacketOption::Comment(comment.into())));
        let block = EnhancedPacketBlock {
            interface_id: u32::try_from(interface).context("more ports than a capture can name")?,
            timestamp: Duration::from_nanos(record.at_ns) + self.clock_offset,
            original_len: record.frame_len,
            data: record.bytes.as_slice().into(),
            options,
        };
        self.writer.write_pcapng_block(block).context("writing a captured frame")?;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.writer.get_mut().flush()?)
    }
}

/// Port of a vif's link.
fn port_of(status: &Status, vif: dataplane_api::VifId) -> Option<dataplane_api::PortId> {
    status.vifs.iter().find(|known| known.id == vif)?.port
}

/// Records carry CLOCK_MONOTONIC, captures the time of day.
fn wall_minus_monotonic() -> Result<Duration> {
    let wall = Duration::from(clock_gettime(ClockId::CLOCK_REALTIME)?);
    let monotonic = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    // A clock set to before the machine started is 1970 all the same.
    Ok(wall.saturating_sub(monotonic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{DropReason, PortId, VifId, WorkerId};
    use dataplane_client::sample;
    use pcap_file::pcapng::{Block, PcapNgReader};

    fn record(event: TapEvent, bytes: &[u8]) -> TapRecord {
        TapRecord {
            at_ns: 5_000,
            worker: WorkerId(0),
            packet: 1,
            event,
            frame_len: 98,
            bytes: bytes.into(),
        }
    }

    #[test]
    fn a_capture_reads_back_with_ports_directions_times_and_reasons() {
        let status = sample::status(1);
        let mut file = Vec::new();
        let mut capture = Capture::new(&mut file, &status, 64, Duration::from_secs(7)).unwrap();
        capture
            .write(&status, &record(TapEvent::Received { port: PortId(1) }, &[1, 2, 3]))
            .unwrap();
        let dropped =
            TapEvent::Dropped { reason: DropReason::Policy, vif: Some(VifId(4)), port: None };
        capture.write(&status, &record(dropped, &[4; 5])).unwrap();
        capture.flush().unwrap();

        let mut reader = PcapNgReader::new(file.as_slice()).unwrap();
        let (mut names, mut packets) = (Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            let block = block.unwrap().into_owned();
            if let Block::InterfaceDescription(interface) = block {
                names.push(interface.options[0].clone());
            } else if let Block::EnhancedPacket(packet) = block {
                packets.push(packet);
            }
        }
        assert_eq!(names[1], InterfaceDescriptionOption::IfName("east".into()));
        assert_eq!(names.len(), 3);
        let [first, second] = packets.as_slice() else { panic!("{packets:?}") };
        assert_eq!(
            (first.interface_id, first.original_len, first.data.as_ref()),
            (1, 98, &[1, 2, 3][..])
        );
        assert_eq!(first.timestamp, Duration::new(7, 5_000));
        assert_eq!(first.options, [EnhancedPacketOption::Flags(FLAG_INBOUND)]);
        assert_eq!(second.interface_id, 0, "blue:5 is on port west");
        let EnhancedPacketOption::Comment(comment) = &second.options[1] else {
            panic!("{:?}", second.options)
        };
        assert!(comment.starts_with("dropped at blue:5: policy: "), "{comment}");
    }

    #[test]
    fn each_frame_is_written_once_in_and_once_out() {
        let by_port = FilterArgs { port: Some("west".into()), ..FilterArgs::default() };
        let by_vif = FilterArgs { vif: Some("red:2".parse().unwrap()), ..FilterArgs::default() };
        let by_reason = FilterArgs { reason: Some(DropReason::Runt), ..FilterArgs::default() };
        let events = [
            TapEvent::Received { port: PortId(0) },
            TapEvent::Classified { vif: VifId(0) },
            TapEvent::Queued { vif: VifId(0) },
            TapEvent::Sent { port: PortId(0), vif: VifId(0) },
            TapEvent::Dropped { reason: DropReason::Runt, vif: None, port: None },
        ];
        let of = |filter: &FilterArgs| events.map(|event| wanted(&event, filter));
        assert_eq!(of(&by_port), [true, false, false, true, false]);
        assert_eq!(of(&by_vif), [false, true, false, true, false]);
        assert_eq!(of(&by_reason), [false, false, false, false, true]);
    }
}
