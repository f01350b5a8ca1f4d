//! CryptoAuth handshakes. Source: CJDNS-WIRE.md §2.2.
