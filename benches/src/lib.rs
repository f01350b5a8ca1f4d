//! Measurements: the switch step, the pipeline, the whole box, the sealing of packets, the chain, and what leases hold.
//!
//! A figure is the median over rounds in which the things that are compared take turns, so that a clock step or a
//! neighbour on the machine hits all of them. A number without its machine is not a number: [`report::Report`] has both.
#![deny(unsafe_code)]

pub mod chain;
pub mod control;
pub mod crypto;
pub mod engine;
#[cfg(target_arch = "x86_64")]
pub mod flood;
mod folder;
pub mod frames;
pub mod leases;
pub mod links;
pub mod processor;
pub mod report;
pub mod rounds;
pub mod switch;
pub mod tenants;
pub mod testpmd;
#[cfg(target_arch = "x86_64")]
pub mod veth;
