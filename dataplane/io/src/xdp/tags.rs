//! Whether the driver tells the program about 802.1Q tags that stand beside a frame instead of in it.
//!
//! A device that strips tags, or a VLAN device above a veth's peer, takes the tag out of the bytes: XDP sees a frame that
//! looks untagged. Drivers that have it in the metadata answer a kernel function; whether a driver does is asked over
//! generic netlink, for the function itself is there on every device and answers EOPNOTSUPP.
//! Source: Documentation/networking/xdp-rx-metadata.rst, linux/netdev.h.

use crate::ask::{Asker, attribute, half, to_attribute};
use crate::bpf::btf;
use crate::netdev::Netdev;
use std::io;

/// The function that a program asks.
const FUNCTION: &str = "bpf_xdp_metadata_rx_vlan_tag";

const GENERIC_CONTROL: u16 = 0x10;
const CONTROL_GET_FAMILY: u8 = 3;
const CONTROL_FAMILY_ID: u16 = 1;
const CONTROL_FAMILY_NAME: u16 = 2;
const NETDEV_GET: u8 = 1;
const NETDEV_IFINDEX: u16 = 1;
const NETDEV_RX_METADATA: u16 = 5;
const GENERIC_HEADER_LEN: usize = 4;
/// In the set of hints that a driver has.
const RX_METADATA_VLAN_TAG: u64 = 4;

/// What a port's program learns of tags that stand beside a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// The driver tells it, and it puts them back into the frame: all tags are seen.
    Told,
    /// Nothing: such a frame looks untagged. Why, as the end of a sentence.
    Untold(String),
}

/// The number of the function that tells tags on this device.
///
/// # Errors
/// Why there is none, as the end of a sentence.
pub(super) fn function_for(device: &Netdev) -> Result<u32, String> {
    match rx_metadata(device.index) {
        Ok(hints) if hints & RX_METADATA_VLAN_TAG != 0 => {}
        Ok(_) => return Err("its driver does not tell them".to_owned()),
        Err(error) => {
            return Err(format!("the kernel was asked whether its driver tells them: {error}"));
        }
    }
    btf::kernel_function(FUNCTION)
        .ok_or_else(|| "the kernel's type information (CONFIG_DEBUG_INFO_BTF) does not show how to ask for them".to_owned())
}

/// Whether a program on the device would be told of tags: what [`super::Attachment::tags`] will say if it can be attached
/// natively. Attaches and loads nothing.
#[must_use]
pub fn expected(device: &Netdev) -> Tags {
    function_for(device).map_or_else(Tags::Untold, |_function| Tags::Told)
}

/// Which hints a device's driver has.
fn rx_metadata(index: u32) -> io::Result<u64> {
    let mut asker = Asker::generic()?;
    let name = to_attribute(CONTROL_FAMILY_NAME, b"netdev\0");
    let family = asker.one(GENERIC_CONTROL, &[&generic(CONTROL_GET_FAMILY)[..], &name].concat())?;
    let family =
        family.get(GENERIC_HEADER_LEN..).and_then(|answer| attribute(answer, CONTROL_FAMILY_ID));
    let family = family
        .and_then(|id| half(id, 0))
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let device = to_attribute(NETDEV_IFINDEX, &index.to_ne_bytes());
    let answer = asker.one(family, &[&generic(NETDEV_GET)[..], &device].concat())?;
    let hints =
        answer.get(GENERIC_HEADER_LEN..).and_then(|answer| attribute(answer, NETDEV_RX_METADATA));
    // Kernels before 6.8 have no such set, and no such hint.
    Ok(hints.and_then(|hints| hints.first_chunk().copied()).map_or(0, u64::from_ne_bytes))
}

fn generic(command: u8) -> [u8; GENERIC_HEADER_LEN] {
    [command, 1, 0, 0]
}
