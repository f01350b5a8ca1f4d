//! PacketCrypt's C library as a process: reads cases from standard input, then for each two bytes (what, on how many
//! cores) verifies all of them on each core and writes how many nanoseconds that took. `benches/src/chain/rival.rs` is
//! the other end.

use packetcrypt_sys::{
    PacketCrypt_ValidateCtx_t, PacketCryptAnn, Validate_checkBlock, ValidateCtx,
    ValidateCtx_create, check_ann,
};
use std::io::{self, Read, Write};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

/// An announcement, 4-byte aligned as the library wants it, and its parent.
struct Announcement {
    announcement: PacketCryptAnn,
    parent: [u8; 32],
}

/// What [`Validate_checkBlock`] is given.
struct Block {
    height: u32,
    commitment: Vec<u64>,
    parents: Vec<u8>,
    /// Header, padding, nonce, announcements, tree proof.
    proof: Vec<u64>,
    proof_len: u32,
}

struct Work {
    announcements: Vec<Announcement>,
    blocks: Vec<Block>,
}

/// The library's scratch memory for blocks: the safe wrapper keeps its own to itself.
struct Scratch(*mut PacketCrypt_ValidateCtx_t);

fn main() -> io::Result<()> {
    packetcrypt_sys::init();
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let announcements = read_cases(&mut input)?.iter().map(|case| announcement(case)).collect();
    let blocks = read_cases(&mut input)?.iter().map(|case| block(case)).collect();
    let work = Work { announcements, blocks };
    let mut refused = 0u32;
    let mut context = ValidateCtx::default();
    for case in &work.announcements {
        let hash = check_ann(&case.announcement, &case.parent, &mut context).unwrap_or([0; 32]);
        output.write_all(&hash)?;
    }
    let scratch = Scratch::new();
    refused += work.blocks.iter().map(|block| u32::from(!scratch.takes(block))).sum::<u32>();
    output.write_all(&refused.to_le_bytes())?;
    output.flush()?;
    let mut command = [0; 2];
    while input.read_exact(&mut command).is_ok() {
        let nanoseconds = pass(&work, command[0] == 0, command[1].into());
        output.write_all(&nanoseconds.to_le_bytes())?;
        output.flush()?;
    }
    Ok(())
}

fn read_cases(input: &mut impl Read) -> io::Result<Vec<Vec<u8>>> {
    let number = |input: &mut dyn Read| {
        let mut bytes = [0; 8];
        input.read_exact(&mut bytes).map(|()| usize::from_le_bytes(bytes))
    };
    (0..number(input)?)
        .map(|_| {
            let mut case = vec![0; number(input)?];
            input.read_exact(&mut case).map(|()| case)
        })
        .collect()
}

fn announcement(case: &[u8]) -> Announcement {
    let (parent, bytes) = case.split_first_chunk().expect("a parent before each announcement");
    Announcement {
        announcement: PacketCryptAnn { bytes: bytes::Bytes::copy_from_slice(bytes) },
        parent: *parent,
    }
}

fn block(case: &[u8]) -> Block {
    let (height, rest) = case.split_first_chunk().expect("a height before each block");
    let (commitment, rest) = rest.split_at(48);
    let (parents, proof) = rest.split_at(128);
    Block {
        height: u32::from_le_bytes(*height),
        commitment: aligned(commitment),
        parents: parents.to_vec(),
        proof: aligned(proof),
        proof_len: u32::try_from(proof.len()).expect("a block of at most 4 MB"),
    }
}

/// The bytes, and zeros to the next multiple of 8, where structures of C may lie.
fn aligned(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    };
    bytes.chunks(8).map(word).collect()
}

/// Everything once on each of `cores`; nanoseconds.
fn pass(work: &Work, announcements: bool, cores: usize) -> u64 {
    let one = |work: &Work, context: &mut ValidateCtx, scratch: &Scratch| {
        if announcements {
            for case in &work.announcements {
                check_ann(&case.announcement, &case.parent, context).expect("a valid announcement");
            }
        } else {
            assert!(work.blocks.iter().all(|block| scratch.takes(block)), "valid blocks");
        }
    };
    let elapsed = if cores == 1 {
        let (mut context, scratch) = (ValidateCtx::default(), Scratch::new());
        let start = Instant::now();
        one(work, &mut context, &scratch);
        start.elapsed()
    } else {
        let ready = Barrier::new(cores + 1);
        thread::scope(|scope| {
            let (ready, one) = (&ready, &one);
            let threads: Vec<_> = (0..cores)
                .map(|core| {
                    scope.spawn(move || {
                        core_affinity::set_for_current(core_affinity::CoreId { id: core });
                        let (mut context, scratch) = (ValidateCtx::default(), Scratch::new());
                        ready.wait();
                        one(work, &mut context, &scratch);
                    })
                })
                .collect();
            ready.wait();
            let start = Instant::now();
            threads.into_iter().for_each(|thread| thread.join().expect("a thread that verifies"));
            start.elapsed()
        })
    };
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

impl Scratch {
    fn new() -> Self {
        // SAFETY: the function takes nothing and allocates what it returns.
        Self(unsafe { ValidateCtx_create() })
    }

    fn takes(&self, block: &Block) -> bool {
        let mut hash = [0; 32];
        // SAFETY: header, proof and commitment are 8-byte aligned and as long as the library is told or its structures
        // are; four ids follow each other; the hash has its 32 bytes; the scratch memory is this thread's alone.
        let verdict = unsafe {
            Validate_checkBlock(
                block.proof.as_ptr().cast(),
                block.proof_len,
                block.height,
                0,
                block.commitment.as_ptr().cast(),
                block.parents.as_ptr(),
                hash.as_mut_ptr(),
                self.0,
            )
        };
        verdict == 0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: it was created by the library, and nobody else has it.
        unsafe { packetcrypt_sys::ValidateCtx_destroy(self.0) }
    }
}
