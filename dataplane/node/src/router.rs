//! The router of a vswitch: end-to-end sessions and what nodes ask each other. Source: CJDNS-WIRE.md §6.
