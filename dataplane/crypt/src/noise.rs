//! Noise IKpsk2 handshakes. Source: CJDNS-WIRE.md §2.3.
