//! Control and dataplane as real processes, packets between neighbours in network namespaces, and what becomes of them
//! when either process dies.
#![cfg(test)]

extern crate daemon as dataplane_daemon;

#[path = "../../../../dataplane/daemon/tests/netns/flows.rs"]
#[expect(dead_code, reason = "the dataplane's tests use more of it")]
mod flows;
#[path = "../../../../dataplane/daemon/tests/netns/topology.rs"]
#[expect(dead_code, reason = "the dataplane's tests use more of it")]
mod topology;

mod commits;
mod deaths;
mod http;
mod market;
mod rig;
mod tls;
