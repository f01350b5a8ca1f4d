//! Views of wire formats over borrowed bytes, and the arithmetic of labels.
//!
//! Nothing here allocates on the packet path, panics on input, or knows what a packet is for.
#![forbid(unsafe_code)]

pub mod buf;
