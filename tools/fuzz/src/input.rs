//! Reading a fuzzer's bytes as a list of steps.

/// One step: what to do, and with which bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    /// Chosen by the target.
    pub(crate) op: u8,
    /// An argument of the operation.
    pub(crate) argument: u8,
    /// The rest of it; cut short if the input is.
    pub(crate) bytes: &'a [u8],
}

/// The steps that `input` spells: operation, argument, length (2 bytes, big-endian), bytes; again and again.
pub(crate) fn steps(mut input: &[u8]) -> impl Iterator<Item = Step<'_>> {
    std::iter::from_fn(move || {
        let ([op, argument, l0, l1], rest) = input.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([*l0, *l1])).min(rest.len());
        let (bytes, rest) = rest.split_at(len);
        input = rest;
        Some(Step { op: *op, argument: *argument, bytes })
    })
}
