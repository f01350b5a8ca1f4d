//! What happens to a packet: pure, no I/O, no clock, no allocation after start.
#![forbid(unsafe_code)]
