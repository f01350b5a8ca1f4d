//! Bounds that both sides agree on. The process allocates for what its configuration asks, never above these.

/// Most frames taken from a queue in one poll.
pub const BURST_MAX: usize = 64;
/// Virtual switches on one box.
pub const VSWITCHES_MAX: usize = 4096;
/// Vifs on one box, over all vswitches.
pub const VIFS_MAX: usize = 65_536;
/// Ports of one process.
pub const PORTS_MAX: usize = 64;
/// Workers of one process.
pub const WORKERS_MAX: usize = 32;
/// Cables one packet may pass inside the box.
pub const CABLE_HOPS_MAX: u32 = 4;
/// Widest director of a vswitch's encoding scheme, in bits; bounds its decode table to 2¹⁵ entries.
pub const DIRECTOR_BITS_MAX: u32 = 15;
/// Longest name of a vswitch or port, in bytes.
pub const NAME_LEN_MAX: usize = 32;
/// Longest login name, in bytes.
pub const LOGIN_LEN_MAX: usize = 64;
/// Longest password, bytes.
pub const PASSWORD_LEN_MAX: usize = 1024;
/// Lowest rate that can be leased or sold, bytes a second.
pub const RATE_MIN: u64 = 64;
/// Bytes kept free before a packet for the longest encapsulation.
pub const HEADROOM_MIN: usize = 128;
/// Bytes kept free after a packet.
pub const TAILROOM_MIN: usize = 64;
/// Longest message on the management socket, bytes.
pub const MESSAGE_LEN_MAX: usize = 64 << 20;
