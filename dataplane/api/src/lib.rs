//! The contract between the dataplane and whoever steers or reads it: ids, limits, the wanted state
//! ([`Spec`]), the observed state ([`Status`]), drop reasons, the counter layout and the socket's messages.
//!
//! Everything here is a value. Nothing reads a clock, a file or a socket.
#![forbid(unsafe_code)]

pub mod counters;
pub mod drop_reason;
pub mod ids;
pub mod limiter;
pub mod limits;
mod link_address;
mod policy;
pub mod port_share;
pub mod protocol;
pub mod receipt;
pub mod spec;
pub mod status;

pub use drop_reason::DropReason;
pub use ids::{Generation, Nanos, PortId, TenantId, VifId, VswitchId, WorkerId};
pub use link_address::LinkAddress;
pub use policy::{DefaultClass, VifPolicy};
pub use receipt::Receipt;
pub use spec::{
    BeaconMode, CableSpec, CapacitySpec, Direction, Handshake, LearnedVif, LeaseSpec, LinkSpec,
    ListenSpec, LoginSpec, MacAddress, NodeSpec, Role, RouteServerSpec, SchemeSpec, Secret,
    Session, Spec, VifName, VifSpec, VswitchSpec,
};
pub use status::Status;
