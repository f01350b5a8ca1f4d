//! Packet memory of the benches: the process' own frames, a chosen stride apart.

use io::{Frame, IoError, PageKind, Umem, UmemConfig};

/// A power of two puts every header on the same few cache sets: up to five times slower.
pub const STRIDE_COLOURED: usize = UmemConfig::coloured(0).chunk_size;
/// As AF_XDP's aligned chunks lie.
pub const STRIDE_AF_XDP: usize = UmemConfig::for_xdp(1500, 0).chunk_size;

/// `count` empty frames, `stride` bytes apart, and what backs them. The memory is never given back.
///
/// # Errors
/// There is not so much.
pub fn frames(count: usize, stride: usize) -> Result<(Vec<Frame<'static>>, PageKind), IoError> {
    let config = UmemConfig { chunk_size: stride, chunks: count };
    let umem: &'static Umem = Box::leak(Box::new(Umem::new(config)?));
    let mut pool = umem.frames()?;
    Ok((std::iter::from_fn(|| pool.take()).collect(), umem.pages()))
}
