//! Dense ids and units. An id indexes arrays; a name is for people.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// For indexing.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A port of the process, in the order of its configuration.
    PortId(u16)
}
id! {
    /// A worker thread, in the order of its configuration.
    WorkerId(u8)
}
id! {
    /// A virtual switch. Given at first sight of its name and kept while the process runs.
    VswitchId(u16)
}
id! {
    /// A vif of some vswitch, dense over the whole process. Given at first sight of (vswitch, number).
    VifId(u32)
}
id! {
    /// A Cloud ISP on the box.
    TenantId(u32)
}

/// Number of a spec: grows with each one, acknowledged by workers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// CLOCK_MONOTONIC, nanoseconds.
pub type Nanos = u64;
