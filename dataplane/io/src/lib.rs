//! Ports and frames: the only crate that touches mappings, sockets and the kernel.
