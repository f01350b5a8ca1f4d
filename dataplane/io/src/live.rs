//! Frames that the kernel sends by itself, from prepared ones: several million a second on veth, where nothing else does.
//!
//! BPF_PROG_TEST_RUN in its live mode runs an XDP program over pages that it recycles, and what the program redirects
//! leaves by the device. A recycled page holds what its last receiver left in it, so the program writes the whole frame
//! each time. A call takes 20 ms to set up and tear down: one long call, ended by a signal, sends evenly; many short
//! ones send in bursts.
//!
//! The device must take redirected frames: a veth does once its peer has an XDP program attached natively, or GRO on.
//! Frames that it does not take are in its `tx_dropped`.

use crate::IoError;
use crate::bpf::assembler::{Alu, Assembler, If, Reg, Width};
use crate::bpf::{Map, MapKind, Program};
use crate::netdev::Netdev;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

/// Templates of one generator.
pub const TEMPLATES_MAX: usize = 64;
/// Entries of its order.
pub const ORDER_MAX: usize = 4096;
/// Shortest template: an Ethernet header.
const LEN_MIN: usize = 14;
/// Longest template, without FCS.
pub const LEN_MAX: usize = 1514;
/// Bytes that a [`Stamp`] takes.
pub const STAMP_LEN: usize = 20;

// A template in its map: next sequence number, length − 1, place of the stamp, constant part of the check, frame, and
// room behind it where the stamp of a template without one goes.
const SEQUENCE_AT: usize = 0;
const LAST_AT: usize = 8;
const STAMP_AT: usize = 12;
const CHECK_AT: usize = 16;
const FRAME_AT: usize = 24;
const VALUE_LEN: usize = (FRAME_AT + LEN_MAX + STAMP_LEN).next_multiple_of(8);

// The position: next turn, when the first template is due (ns), its interval (ns, 0: it is not paced), whether the others are
// silent.
const TURN_AT: usize = 0;
const DUE_AT: usize = 8;
const EVERY_AT: usize = 16;
const SILENT_AT: usize = 24;
const POSITION_LEN: usize = 32;
/// Place of the time on the program's stack.
const NOW: i16 = -16;
/// Who is later than this with a paced frame, nanoseconds, does not make good for what it missed.
const LATE_MAX: i32 = 1_000_000;

/// One call runs so many frames at most; the kernel's own count is 32 bits and must not wrap. Nearly two minutes.
const RUN_MAX: u32 = 1 << 31;
/// Between two signals to a run that is to stop.
const STOP_PAUSE: Duration = Duration::from_millis(2);

const HELPER_MAP_LOOKUP: i32 = 1;
const HELPER_KTIME_GET_NS: i32 = 5;
const HELPER_REDIRECT: i32 = 23;
const HELPER_XDP_ADJUST_TAIL: i32 = 65;
const HELPER_XDP_STORE_BYTES: i32 = 190;
const XDP_DROP: i32 = 1;

/// Where each frame is told apart. The program writes there, in network order: the template's sequence number (64 bits,
/// from 0), CLOCK_MONOTONIC in nanoseconds (64 bits), and a check (32 bits): `constant` exclusive-or the four 32-bit
/// halves of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Offset in the frame.
    pub at: usize,
    /// Constant part of the check.
    pub constant: u32,
}

/// A frame to be sent again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// From the Ethernet header on, 14 to 1514 bytes.
    pub frame: Vec<u8>,
    /// `None`: sent as it is.
    pub stamp: Option<Stamp>,
}

/// How often frames go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Nanoseconds from one frame of the first template to the next; `None`: it goes when it is its turn.
    pub first_every: Option<std::num::NonZeroU64>,
    /// Nothing else goes.
    pub alone: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All frames were sent.
    Complete,
    /// By [`Stop`], or by another signal to the thread.
    Interrupted,
}

/// A generator for one device.
#[derive(Debug)]
pub struct LiveFrames {
    device: Netdev,
    program: Program,
    maps: Maps,
    templates: usize,
    /// What the kernel makes its pages of: as long as the longest template.
    page: Vec<u8>,
}

#[derive(Debug)]
struct Maps {
    templates: Map,
    /// Numbers of templates, in the order of sending.
    order: Map,
    /// One entry: where it stands, and its pace.
    position: Map,
}

impl LiveFrames {
    /// Prepares to send `templates` from `device`, in turn as `order` (places in `templates`) says, again and again.
    ///
    /// # Errors
    /// [`IoError::Templates`] for what cannot be sent, [`IoError::Rights`], [`IoError::System`].
    pub fn new(device: &Netdev, templates: &[Template], order: &[usize]) -> Result<Self, IoError> {
        let refuse = |why| Err(IoError::Templates { port: device.name.clone(), why });
        if !(1..=TEMPLATES_MAX).contains(&templates.len()) {
            return refuse("1 to 64 templates");
        }
        if !(1..=ORDER_MAX).contains(&order.len()) {
            return refuse("an order of 1 to 4096 places");
        }
        if order.iter().any(|place| *place >= templates.len()) {
            return refuse("an order of templates that there are");
        }
        if !templates.iter().all(|template| (LEN_MIN..=LEN_MAX).contains(&template.frame.len())) {
            return refuse("frames of 14 to 1514 bytes");
        }
        if !templates.iter().all(Template::holds_its_stamp) {
            return refuse("stamps within their frames");
        }
        let maps = Maps {
            templates: Map::create(MapKind::Array, 4, VALUE_LEN, templates.len())?,
            order: Map::create(MapKind::Array, 4, 4, order.len())?,
            position: Map::create(MapKind::Array, 4, POSITION_LEN, 1)?,
        };
        let full = |error| IoError::from_os("write the templates of live frames", error);
        for (place, template) in (0_u32..).zip(templates) {
            maps.templates.set(&place.to_ne_bytes(), &template.value()).map_err(full)?;
        }
        for (turn, place) in (0_u32..).zip(order) {
            let place = u32::try_from(*place).unwrap_or(u32::MAX);
            maps.order.set(&turn.to_ne_bytes(), &place.to_ne_bytes()).map_err(full)?;
        }
        let longest = templates.iter().map(|template| template.frame.len()).max();
        let page = vec![0; longest.unwrap_or(LEN_MIN)];
        let code = program(&maps, device.index, order.len(), page.len());
        let program = Program::load_xdp("switchyard_live", &code)?;
        Ok(Self { device: device.clone(), program, maps, templates: templates.len(), page })
    }

    /// Sends the first template at a pace from now on, and the others in their turns in between: the order should not name
    /// it then. Before it, all go in turn.
    ///
    /// # Errors
    /// [`IoError::System`] with the kernel's reason.
    pub fn pace(&self, pace: Pace) -> Result<(), IoError> {
        let mut position = [0; POSITION_LEN];
        let every = pace.first_every.map_or(0, std::num::NonZeroU64::get);
        position[EVERY_AT..][..8].copy_from_slice(&every.to_ne_bytes());
        position[SILENT_AT..][..8].copy_from_slice(&u64::from(pace.alone).to_ne_bytes());
        let set = self.maps.position.set(&0_u32.to_ne_bytes(), &position);
        set.map_err(|error| IoError::from_os("pace the live frames", error))
    }

    /// Sends `count` frames (`None`: until stopped), as fast as this thread's core can, and waits for it. The thread
    /// must be in the device's network namespace.
    ///
    /// # Errors
    /// [`IoError::System`] with the kernel's reason.
    pub fn run(&self, count: Option<u64>, stop: &Stop) -> Result<Ended, IoError> {
        let _running = stop.running()?;
        let mut left = count.unwrap_or(u64::MAX);
        while left > 0 {
            // After the thread's number was set, before the call: so `stop` sees the number, or this sees the wish.
            if stop.asked.load(Ordering::SeqCst) {
                return Ok(Ended::Interrupted);
            }
            let now = u32::try_from(left).unwrap_or(RUN_MAX).min(RUN_MAX);
            match self.program.run_live(&self.page, now) {
                Ok(()) if count.is_some() => left -= u64::from(now),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    return Ok(Ended::Interrupted);
                }
                Err(error) => {
                    let attempt = format!("port {}: send live frames", self.device.name);
                    return Err(IoError::from_os(attempt, error));
                }
            }
        }
        Ok(Ended::Complete)
    }

    /// Frames given to the device so far, by template: each one's next sequence number.
    ///
    /// # Errors
    /// [`IoError::System`] with the kernel's reason.
    pub fn sent(&self) -> Result<Vec<u64>, IoError> {
        (0_u32..)
            .take(self.templates)
            .map(|place| {
                let value = self.maps.templates.read(&place.to_ne_bytes());
                let value =
                    value.map_err(|error| IoError::from_os("count the live frames", error))?;
                Ok(value.first_chunk().map_or(0, |sequence| u64::from_ne_bytes(*sequence)))
            })
            .collect()
    }
}

impl Template {
    fn holds_its_stamp(&self) -> bool {
        self.stamp.is_none_or(|stamp| {
            stamp.at.checked_add(STAMP_LEN).is_some_and(|end| end <= self.frame.len())
        })
    }

    /// As it stands in the map; lengths were checked.
    fn value(&self) -> Vec<u8> {
        let (at, constant) = self.stamp.map_or((LEN_MAX, 0), |stamp| (stamp.at, stamp.constant));
        let number = |n: usize| u32::try_from(n).unwrap_or(0).to_ne_bytes();
        let mut value = vec![0; VALUE_LEN];
        value[LAST_AT..][..4].copy_from_slice(&number(self.frame.len() - 1));
        value[STAMP_AT..][..4].copy_from_slice(&number(at));
        value[CHECK_AT..][..4].copy_from_slice(&constant.to_ne_bytes());
        value[FRAME_AT..][..self.frame.len()].copy_from_slice(&self.frame);
        value
    }
}

/// Ends a run from another thread.
#[derive(Debug, Default)]
pub struct Stop {
    asked: AtomicBool,
    /// Thread of the run; 0: none.
    thread: AtomicI32,
}

/// Takes the thread's number back when the run ends, however it does.
struct Running<'a>(&'a Stop);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.thread.store(0, Ordering::SeqCst);
    }
}

impl Stop {
    /// Not asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run that was given this, and any later one; returns when it has ended.
    pub fn stop(&self) {
        self.asked.store(true, Ordering::SeqCst);
        // Again and again: the first may arrive right before the call that it is to end.
        loop {
            let thread = self.thread.load(Ordering::SeqCst);
            if thread == 0 {
                return;
            }
            let process = std::process::id();
            // SAFETY: plain values. The thread is of this process, and if it has ended meanwhile and the number is
            // another one's, the signal's handler does nothing there.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal()) };
            thread::sleep(STOP_PAUSE);
        }
    }

    fn running(&self) -> Result<Running<'_>, IoError> {
        handle_signal()?;
        self.thread.store(nix::unistd::gettid().as_raw(), Ordering::SeqCst);
        Ok(Running(self))
    }
}

/// The last but one of the real-time signals, which nothing else in this process uses.
fn signal() -> libc::c_int {
    libc::SIGRTMAX() - 1
}

extern "C" fn do_nothing(_signal: libc::c_int) {}

/// A signal that is ignored, or that ends the process, would not end the call.
fn handle_signal() -> Result<(), IoError> {
    // SAFETY: sigaction is plain old data, for which all zeros is a value: no flags, nothing masked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int) = do_nothing;
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the handler does nothing, which is safe at any point of any thread; the old action is not asked for.
    let set = unsafe { libc::sigaction(signal(), &raw const action, std::ptr::null_mut()) };
    if set == 0 { Ok(()) } else { Err(IoError::last("handle the signal that ends live frames")) }
}

/// Writes the template whose turn it is over the page, stamps it, and sends it out of the device.
fn program(maps: &Maps, ifindex: u32, turns: usize, page_len: usize) -> Vec<u64> {
    use Reg::{Fp, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
    use Width::{Double, Word};
    let mut code = Assembler::new();
    code.copy(R6, R1).store_value(Word, Fp, -4, 0);
    look_up(&mut code, &maps.position);
    // r9 = position. One thread runs the program at a time, so what counts on there needs no atomic.
    code.copy(R9, R0).call(HELPER_KTIME_GET_NS).store(Double, Fp, NOW, R0);
    code.load(Double, R7, R9, offset(EVERY_AT)).jump_if(R7, If::Equal, 0, "in turn");
    code.load(Double, R1, R9, offset(DUE_AT));
    code.jump_if_reg(R1, If::Greater, R0, "not due");
    code.copy(R2, R1).alu(Alu::Add, R2, LATE_MAX).jump_if_reg(R2, If::Greater, R0, "in time");
    code.copy(R1, R0).label("in time").alu_reg(Alu::Add, R1, R7);
    code.store(Double, R9, offset(DUE_AT), R1).store_value(Word, Fp, -4, 0).jump("chosen");
    code.label("not due").load(Double, R1, R9, offset(SILENT_AT));
    code.jump_if(R1, If::NotEqual, 0, "drop");
    // r8 = turn.
    code.label("in turn").load(Double, R8, R9, offset(TURN_AT)).copy(R1, R8);
    code.alu(Alu::Add, R1, 1).store(Double, R9, offset(TURN_AT), R1);
    code.alu(Alu::Modulo, R8, small(turns)).store(Word, Fp, -4, R8);
    look_up(&mut code, &maps.order);
    code.load(Word, R1, R0, 0).store(Word, Fp, -4, R1);
    code.label("chosen");
    look_up(&mut code, &maps.templates);
    // r9 = template, r8 = its length, shown to the verifier to be 1 to 1514.
    code.copy(R9, R0).load(Word, R8, R9, offset(LAST_AT));
    code.jump_if(R8, If::Greater, small(LEN_MAX - 1), "drop").alu(Alu::Add, R8, 1);
    // The page comes as long as the longest.
    code.copy(R1, R6).copy(R2, R8).alu(Alu::Add, R2, -small(page_len));
    code.jump_if(R2, If::Equal, 0, "fits");
    code.call(HELPER_XDP_ADJUST_TAIL).jump_if(R0, If::NotEqual, 0, "drop").label("fits");

    // r0 = time, r1 = sequence, r2 = check: all in host order, then turned.
    code.load(Double, R0, Fp, NOW).load(Double, R1, R9, offset(SEQUENCE_AT));
    code.copy(R7, R1).alu(Alu::Add, R7, 1).load(Word, R2, R9, offset(CHECK_AT));
    for wide in [R0, R1] {
        code.copy(R5, wide).alu_reg(Alu::Xor, R2, R5);
        code.alu(Alu::ShiftRight, R5, 32).alu_reg(Alu::Xor, R2, R5);
    }
    code.to_network(R0, 64).to_network(R1, 64).to_network(R2, 32);
    code.load(Word, R3, R9, offset(STAMP_AT)).jump_if(R3, If::Greater, small(LEN_MAX), "drop");
    code.copy(R4, R9).alu_reg(Alu::Add, R4, R3);
    code.store(Double, R4, offset(FRAME_AT), R1).store(Double, R4, offset(FRAME_AT + 8), R0);
    code.store(Word, R4, offset(FRAME_AT + 16), R2);

    code.copy(R1, R6).set(R2, 0).copy(R3, R9).alu(Alu::Add, R3, small(FRAME_AT)).copy(R4, R8);
    code.call(HELPER_XDP_STORE_BYTES).jump_if(R0, If::NotEqual, 0, "drop");
    code.store(Double, R9, offset(SEQUENCE_AT), R7);
    code.set(R1, ifindex.cast_signed()).set(R2, 0).call(HELPER_REDIRECT).exit();
    code.label("drop").set(R0, XDP_DROP).exit();
    // Every label used is right above; a missing one shows as a program that the verifier refuses.
    code.finish().unwrap_or_default()
}

/// r0 = the map's entry of the key at fp − 4.
fn look_up(code: &mut Assembler, map: &Map) {
    code.load_map(Reg::R1, map.fd()).copy(Reg::R2, Reg::Fp).alu(Alu::Add, Reg::R2, -4);
    code.call(HELPER_MAP_LOOKUP).jump_if(Reg::R0, If::Equal, 0, "drop");
}

/// A bound of this module, none of which is over 4096.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most 4096")]
const fn small(n: usize) -> i32 {
    n as i32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most 4096")]
const fn offset(n: usize) -> i16 {
    n as i16
}
