//! Replies, byte for byte. Source: WIRE §5.2.

use super::Supernode;
use crate::rules::{LinkInfo, Rules, VswitchInfo};
use dataplane_api::DropReason;
use std::net::SocketAddr;
use wire::control::{
    self, GetSnode, KEY_PING_OPAQUE_MAX, KeyPing, Lladdr, Message, PROTOCOL_VERSION,
    PROTOCOL_VERSION_MIN, Ping, Rpath, kind, magic,
};
use wire::switch::Header;
use zerocopy::network_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Rate of a link whose rate is not known.
const KBPS_UNKNOWN: u32 = u32::MAX;

/// The whole packet that answers `query`, along `path_back` from the vswitch's router.
pub(super) fn reply(
    rules: &Rules,
    vswitch: &VswitchInfo,
    supernode: Option<&Supernode>,
    path_back: u64,
    query: Message<'_>,
) -> Result<Vec<u8>, DropReason> {
    let header = request_header(path_back);
    match query.kind {
        kind::PING => {
            let (ping, opaque) = split::<Ping>(query.body)?;
            check_magic(ping, magic::PING)?;
            check_version(ping)?;
            Ok(control::packet(header, kind::PONG, &head(magic::PONG), opaque))
        }
        kind::KEY_PING => {
            let (ping, opaque) = split::<KeyPing>(query.body)?;
            if opaque.len() > KEY_PING_OPAQUE_MAX {
                return Err(DropReason::ControlLength);
            }
            check_magic(&ping.head, magic::KEY_PING)?;
            check_version(&ping.head)?;
            let body = KeyPing { head: head(magic::KEY_PONG), key: vswitch.key.0 };
            Ok(control::packet(header, kind::KEY_PONG, &body, opaque))
        }
        kind::GET_SNODE => {
            let (query, opaque) = split::<GetSnode>(query.body)?;
            check_magic(&query.head, magic::SNODE_QUERY)?;
            check_version(&query.head)?;
            let body = supernode_for(vswitch, supernode, path_back);
            Ok(control::packet(header, kind::GET_SNODE_REPLY, &body, opaque))
        }
        kind::RPATH => {
            let (query, opaque) = split::<Rpath>(query.body)?;
            check_magic(&query.head, magic::SNODE_QUERY)?;
            let body = Rpath { head: head(magic::SNODE_REPLY), path: U64::new(path_back) };
            Ok(control::packet(header, kind::RPATH_REPLY, &body, opaque))
        }
        kind::LLADDR => {
            let (query, opaque) = split::<Lladdr>(query.body)?;
            check_magic(&query.head, magic::LLADDR_QUERY)?;
            let address = address_of_asker(rules, vswitch, path_back)?;
            let body =
                Lladdr { head: head(magic::LLADDR_REPLY), address: control::link_address(address) };
            Ok(control::packet(header, kind::LLADDR_REPLY, &body, opaque))
        }
        _ => Err(DropReason::ControlType),
    }
}

//= WIRE §4.5: the path is as wide at its start as the asker needs for the way back
fn supernode_for(vswitch: &VswitchInfo, supernode: Option<&Supernode>, asker: u64) -> GetSnode {
    let told = supernode
        .and_then(|supernode| Some((supernode, vswitch.scheme.label_for(supernode.path, asker)?)));
    GetSnode {
        head: head(magic::SNODE_REPLY),
        snode_version: told.map_or(U32::ZERO, |(supernode, _)| U32::new(supernode.version)),
        kbps: U32::new(KBPS_UNKNOWN),
        snode_key: told.map_or([0; 32], |(supernode, _)| supernode.key.0),
        path: told.map_or(U64::ZERO, |(_, path)| U64::new(path)),
    }
}

/// Header of what the router sends along `path`: shift 0, as before its own switch.
pub(super) fn request_header(path: u64) -> Header {
    Header::new(path, 0)
}

pub(super) fn head(magic: u32) -> Ping {
    Ping { magic: U32::new(magic), version: U32::new(PROTOCOL_VERSION) }
}

pub(super) fn split<B: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned>(
    body: &[u8],
) -> Result<(&B, &[u8]), DropReason> {
    B::ref_from_prefix(body).ok().ok_or(DropReason::ControlLength)
}

pub(super) fn check_magic(head: &Ping, wanted: u32) -> Result<(), DropReason> {
    if head.magic.get() == wanted { Ok(()) } else { Err(DropReason::ControlMagic) }
}

fn check_version(head: &Ping) -> Result<(), DropReason> {
    if head.version.get() >= PROTOCOL_VERSION_MIN {
        Ok(())
    } else {
        Err(DropReason::ControlVersion)
    }
}

//= WIRE §5.2: LLADDR is answered to a current peer, asked from exactly one hop away
fn address_of_asker(
    rules: &Rules,
    vswitch: &VswitchInfo,
    path_back: u64,
) -> Result<Option<SocketAddr>, DropReason> {
    if !vswitch.scheme.is_one_hop(path_back) {
        return Err(DropReason::ControlOrigin);
    }
    let number = vswitch.scheme.decode(path_back).map(|director| director.number);
    let vif = number
        .and_then(|number| rules.vif_numbered(vswitch.id, number))
        .ok_or(DropReason::ControlOrigin)?;
    match vif.link {
        LinkInfo::Udp { peer, .. } => Ok(Some(peer)),
        LinkInfo::Ethernet { .. } | LinkInfo::Cable { .. } => Ok(None),
    }
}
