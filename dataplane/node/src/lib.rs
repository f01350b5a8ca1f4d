//! What a vswitch is to other nodes: its links' handshakes and supervision, its end-to-end sessions, its answers, its
//! announcements. Bytes and `now` in, bytes and commands out: no clock, no I/O, no threads.
#![forbid(unsafe_code)]

pub mod announce;
pub mod bencode;
pub mod links;
pub mod route_server;
pub mod router;
