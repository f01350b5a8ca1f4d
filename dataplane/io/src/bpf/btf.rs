//! The kernel's own type information: the number of a function that programs may call.
//!
//! Numbers differ from kernel to kernel, so they are looked up in the running one's. What is read is treated as hostile:
//! every length is checked, and a kind that is not known ends the search, for its length is not known either.
//! Source: linux/btf.h, Documentation/bpf/btf.rst.

use std::fs::File;
use std::io::{self, Read};

/// Where the running kernel shows it.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Bytes that are read at most; a distribution's kernel has 5 to 15 MiB.
const LEN_MAX: u64 = 64 << 20;

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;
const TYPE_LEN: usize = 12;
const KIND_FUNC: u8 = 12;

/// The number of a kernel function that programs may call; `None` if this kernel does not have it, or does not show.
///
/// Cost: reads some megabytes; once for a port, at start.
#[must_use]
pub fn kernel_function(name: &str) -> Option<u32> {
    function_id(&read().ok()?, name)
}

fn read() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(VMLINUX)?.take(LEN_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The number of the function `name` in this type information; `None` if it is not there, or broken before it.
#[must_use]
pub fn function_id(btf: &[u8], name: &str) -> Option<u32> {
    let header = btf.get(..HEADER_LEN)?;
    if half(header, 0)? != MAGIC {
        return None;
    }
    let sections = btf.get(word(header, 4)?..)?;
    let section = |offset: usize, len: usize| -> Option<&[u8]> {
        sections.get(word(header, offset)?..)?.get(..word(header, len)?)
    };
    let (mut types, names) = (section(8, 12)?, section(16, 20)?);
    // Number 0 is void, which is not listed.
    let mut id = 1_u32;
    while !types.is_empty() {
        let info = word(types, 4)?;
        let (count, [.., kind]) = (info & 0xffff, u32::try_from(info).ok()?.to_le_bytes());
        let kind = kind & 0x1f;
        if kind == KIND_FUNC && is_named(names, word(types, 0)?, name) {
            return Some(id);
        }
        types = types.get(TYPE_LEN + length_behind(kind, count)?..)?;
        id = id.checked_add(1)?;
    }
    None
}

/// Bytes that follow a type's record.
fn length_behind(kind: u8, count: usize) -> Option<usize> {
    Some(match kind {
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Pointer, forward declaration, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => 0,
        // Array.
        3 => 12,
        // Struct, union, data section, 64-bit enumeration.
        4 | 5 | 15 | 19 => 12 * count,
        // Enumeration, function prototype.
        6 | 13 => 8 * count,
        _ => return None,
    })
}

fn is_named(names: &[u8], offset: usize, name: &str) -> bool {
    let found = names.get(offset..).and_then(|names| names.strip_prefix(name.as_bytes()));
    found.is_some_and(|rest| rest.first() == Some(&0))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)?;
    usize::try_from(word).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Type information with a record of every kind before `wanted`.
    fn sample() -> Vec<u8> {
        let names = b"\0other\0wanted_too\0wanted\0";
        let at = |name: &[u8]| {
            let found = names.windows(name.len()).rposition(|window| window == name);
            u32::try_from(found.unwrap()).unwrap()
        };
        let mut types = Vec::new();
        let mut record = |name: u32, kind: u8, count: u32| {
            for word in [name, u32::from(kind) << 24 | count, 0] {
                types.extend(word.to_ne_bytes());
            }
            types.resize(types.len() + length_behind(kind, count as usize).unwrap(), 0xff);
        };
        for kind in 1..=19 {
            // A kind that says how many has some; a name that only begins like ours is another.
            record(at(b"wanted_too\0"), kind, u32::from(matches!(kind, 4..=6 | 13 | 15 | 19)) * 3);
        }
        record(at(b"wanted\0"), 8, 0);
        record(at(b"wanted\0"), KIND_FUNC, 1);
        let mut bytes = [&MAGIC.to_ne_bytes()[..], &[1, 0]].concat();
        let len = |len: usize| u32::try_from(len).unwrap();
        for word in [24, 0, len(types.len()), len(types.len()), len(names.len())] {
            bytes.extend(word.to_ne_bytes());
        }
        [bytes, types, names.to_vec()].concat()
    }

    #[test]
    fn a_function_is_found_by_its_whole_name() {
        assert_eq!(function_id(&sample(), "wanted"), Some(21));
        assert_eq!(function_id(&sample(), "wanted_too"), Some(12));
        assert_eq!(function_id(&sample(), "other"), None);
        assert_eq!(function_id(&sample(), "want"), None);
    }

    #[test]
    fn what_is_cut_short_or_unknown_ends_the_search() {
        let whole = sample();
        for len in 0..whole.len() - 1 {
            assert_eq!(function_id(&whole[..len], "wanted"), None, "{len}");
        }
        let mut unknown = whole;
        unknown[HEADER_LEN + 7] = 31;
        assert_eq!(function_id(&unknown, "wanted"), None);
    }

    /// That the numbers are right is seen where the kernel takes a program that calls one: `tests/devices.rs`.
    #[test]
    fn the_running_kernel_is_read() {
        // Not shown without CONFIG_DEBUG_INFO_BTF.
        let Ok(bytes) = read() else { return };
        assert!(function_id(&bytes, "vfs_read").is_some());
        assert_eq!(function_id(&bytes, "no_such_function_at_all"), None);
    }

    proptest! {
        #[test]
        fn no_input_panics(damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20)) {
            let mut bytes = sample();
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _found = function_id(&bytes, "wanted");
        }
    }
}
