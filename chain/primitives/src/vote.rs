//! Votes for and against the Network Steward: they stand in output scripts, and count while the output is unspent.

use bitcoin::script::{Builder, PushBytesBuf, Script, ScriptBuf};

/// Takes two from the stack. Bitcoin's `OP_VERNOTIF`.
const OP_VOTE: u8 = 0x66;
const OP_PUSHDATA1: u8 = 0x4c;
const OP_PUSHDATA4: u8 = 0x4e;
/// Bytes of a candidate at most.
const CANDIDATE_LEN_MAX: usize = 79;

/// What an output votes; candidates are output scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Vote {
    /// Who should be steward.
    pub candidate: Option<ScriptBuf>,
    /// Which steward should not be.
    pub against: Option<ScriptBuf>,
}

impl Vote {
    /// The vote in an output's script.
    #[must_use]
    pub fn parse(script: &Script) -> Option<Self> {
        let pieces = pieces(script.as_bytes())?;
        pieces.windows(3).find_map(|window| {
            let [candidate, against, vote] = window else { return None };
            let is_vote = vote.code == OP_VOTE;
            is_vote.then_some(())?;
            Some(Self { against: against.candidate()?, candidate: candidate.candidate()? })
        })
    }

    /// `script` with this vote behind it. `None`: a candidate's script is shorter than 2 bytes or longer than 79.
    #[must_use]
    pub fn attach(&self, script: &Script) -> Option<ScriptBuf> {
        let mut bytes = script.to_bytes();
        for candidate in [&self.candidate, &self.against] {
            let Some(candidate) = candidate else {
                bytes.push(0);
                continue;
            };
            // A single byte up to 16 would have to be written as an operation of its own.
            let fits = (2..=CANDIDATE_LEN_MAX).contains(&candidate.len());
            let push = PushBytesBuf::try_from(candidate.to_bytes()).ok().filter(|_| fits)?;
            bytes.extend(Builder::new().push_slice(push).as_bytes());
        }
        bytes.push(OP_VOTE);
        Some(ScriptBuf::from_bytes(bytes))
    }
}

/// A script without the votes in it; `None`: it cannot be parsed.
#[must_use]
pub fn stripped(script: &Script) -> Option<ScriptBuf> {
    let mut kept: Vec<Piece<'_>> = Vec::new();
    for piece in pieces(script.as_bytes())? {
        match kept.as_slice() {
            [.., a, b] if piece.code == OP_VOTE && a.is_push() && b.is_push() => {
                kept.truncate(kept.len() - 2);
            }
            _ => kept.push(piece),
        }
    }
    Some(kept.iter().flat_map(|piece| piece.bytes).copied().collect::<Vec<_>>().into())
}

/// Whether outputs with this script can be spent, as far as can be seen without running it.
#[must_use]
pub fn is_spendable(script: &Script) -> bool {
    !script.is_op_return() && pieces(script.as_bytes()).is_some()
}

/// One operation with what it pushes.
#[derive(Clone, Copy)]
struct Piece<'a> {
    code: u8,
    data: &'a [u8],
    bytes: &'a [u8],
}

impl Piece<'_> {
    fn is_push(&self) -> bool {
        self.code <= OP_PUSHDATA4
    }

    /// `Some(None)`: nobody. `None`: no candidate can be written like that.
    fn candidate(&self) -> Option<Option<ScriptBuf>> {
        if self.code == 0 {
            return Some(None);
        }
        let len = self.data.len();
        let is_shortest = match self.code {
            1..OP_PUSHDATA1 => !matches!(self.data, [0..=16]),
            OP_PUSHDATA1 => len >= usize::from(OP_PUSHDATA1),
            // Longer forms hold more than a candidate can have.
            _ => false,
        };
        let is_candidate = is_shortest && (1..=CANDIDATE_LEN_MAX).contains(&len);
        is_candidate.then(|| Some(ScriptBuf::from_bytes(self.data.to_vec())))
    }
}

/// A script's operations; `None`: a push goes beyond its end.
fn pieces(script: &[u8]) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = script;
    while let Some((code, behind)) = rest.split_first() {
        let (head, len): (usize, usize) = match (code, behind) {
            (1..OP_PUSHDATA1, _) => (1, usize::from(*code)),
            (0x4c, [len, ..]) => (2, usize::from(*len)),
            (0x4d, [a, b, ..]) => (3, usize::from(u16::from_le_bytes([*a, *b]))),
            (0x4e, [a, b, c, d, ..]) => (5, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
            (OP_PUSHDATA1..=OP_PUSHDATA4, _) => return None,
            _ => (1, 0),
        };
        let (bytes, behind) = rest.split_at_checked(head.checked_add(len)?)?;
        pieces.push(Piece { code: *code, data: bytes.get(head..)?, bytes });
        rest = behind;
    }
    Some(pieces)
}
