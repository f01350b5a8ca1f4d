//! What kind of device one is, as the kernel calls it: the same in every network namespace, unlike sysfs.

use crate::ask::{Asker, attribute, device_message};
use std::io;

// Source: linux/rtnetlink.h, linux/if_link.h.
const RTM_GETLINK: u16 = 18;
const LINK_HEADER_LEN: usize = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

/// The kind of a device, e.g. `veth` or `bond`; `None` for hardware.
pub(crate) fn kind_of(index: u32) -> io::Result<Option<String>> {
    let family = u8::try_from(libc::AF_UNSPEC).unwrap_or(0);
    let answer = Asker::route()?.one(RTM_GETLINK, &device_message(family, index))?;
    Ok(read(&answer))
}

fn read(answer: &[u8]) -> Option<String> {
    let info = attribute(answer.get(LINK_HEADER_LEN..)?, IFLA_LINKINFO)?;
    let kind = attribute(info, IFLA_INFO_KIND)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(kind).into_owned())
}

/// Why a device of this kind cannot be a port, and what to use instead; `None` if it can.
pub(crate) fn refusal(kind: &str) -> Option<&'static str> {
    match kind {
        "bond" | "team" => Some("use the devices that it joins, each as a port"),
        "bridge" => Some("use the devices that it bridges, each as a port"),
        "vlan" => Some("use the device below it as the port, and give the vlan in the link"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::to_attribute;

    #[test]
    fn the_kind_is_in_the_link_info() {
        let info = to_attribute(IFLA_INFO_KIND, b"bridge\0");
        let answer = [&[0; 16][..], &to_attribute(3, b"x\0"), &to_attribute(IFLA_LINKINFO, &info)];
        assert_eq!(read(&answer.concat()).as_deref(), Some("bridge"));
        assert_eq!(read(&[0; 16]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn bonds_bridges_and_vlans_are_refused() {
        for kind in ["bond", "team", "bridge", "vlan"] {
            assert!(refusal(kind).is_some(), "{kind}");
        }
        assert_eq!(refusal("veth"), None);
    }
}
