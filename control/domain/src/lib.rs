//! What an ISP sells and promises: lease terms, and the calendar that keeps promises within a port's means.
//!
//! Pure: no clock, no I/O, no threads. `now` is an argument, and the same calls in the same order give the same state.
//!
//! ```text
//! Ask ─► Calendar::admit ─► Booking
//!             └► Refusal: rate or burst, when, how much is free, which slot would fit
//! ```
#![forbid(unsafe_code)]

pub mod calendar;
pub mod terms;

pub use calendar::{Booking, Calendar, Quantity, Refusal};
pub use terms::{Ask, Burst, Direction, LeaseId, PortSide, PortTerms, Share, Slot, Time};
