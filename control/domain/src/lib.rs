//! What an ISP sells and promises: lease terms, the calendar that keeps promises within a port's means, and the life
//! of a lease.
//!
//! Pure: no clock, no I/O, no threads. `now` is an argument, and the same calls in the same order give the same state.
//!
//! ```text
//! Ask ─► Calendar::admit ─► Booking          Leases: offered ─► sold ─► bound ─► active ─► grace ─► ended
//!             │                                        └─ each step holds, moves or frees a booking ─┘
//!             └► Refusal: rate or burst, when, how much is free, which slot would fit
//! ```
#![forbid(unsafe_code)]

pub mod access;
pub mod calendar;
pub mod leases;
pub mod money;
pub mod terms;
pub mod tree;

pub use calendar::{Booking, Calendar, Quantity, Refusal};
pub use leases::{Happened, Lease, Leases, State};
pub use terms::{Ask, Burst, LeaseId, PortSide, PortTerms, Share, Slot, Time};
pub use tree::Tree;
