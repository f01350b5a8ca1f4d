//! The vector code, by what the processor has.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use super::Level;
use super::chacha::{GROUP_LEN, Stream};
use super::program::{Op, Program};
use super::run::{Lane, Lanes, Machine, Outputs};

/// What the interpreter needs beside loops over lanes.
pub(super) trait Kernel: Copy {
    /// `run::body`, compiled for this kernel's vectors.
    fn body(self, machine: &mut Machine, program: &Program, first: usize, lane: &mut Lane);

    /// Lane `i` of the result is lane `of[i]`.
    fn permute(self, lanes: &Lanes, of: &Lanes) -> Lanes;
}

/// A level that this processor was found to have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
}

impl Code {
    /// `None`: this processor does not have it.
    pub(super) fn with(level: Level) -> Option<Self> {
        match level {
            Level::Portable => Some(Self::Portable),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => avx2::Avx2::detect().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => avx512::Avx512::detect().map(Self::Avx512),
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => None,
        }
    }

    pub(super) fn level(self) -> Level {
        match self {
            Self::Portable => Level::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Level::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Level::Avx512,
        }
    }

    /// Sixteen blocks of key stream.
    pub(super) fn blocks(self, stream: &Stream, out: &mut [u8; GROUP_LEN]) {
        match self {
            Self::Portable => portable::blocks(stream, out),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(kernel) => kernel.blocks(stream, out),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(kernel) => kernel.blocks(stream, out),
        }
    }

    /// A loop and all in it.
    pub(super) fn repeat(
        self,
        machine: &mut Machine,
        program: &Program,
        op: Op,
        around: &mut Lane,
    ) {
        match self {
            Self::Portable => super::run::repeat(portable::Portable, machine, program, op, around),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(kernel) => super::run::repeat(kernel, machine, program, op, around),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(kernel) => super::run::repeat(kernel, machine, program, op, around),
        }
    }

    /// Writes what a run has logged to its sequence of outputs.
    pub(super) fn place(self, log: &[Lanes], outputs: &[Outputs], sequence: &mut [u32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(kernel) => kernel.place(log, outputs, sequence),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => super::run::place(log, outputs, sequence),
            Self::Portable => super::run::place(log, outputs, sequence),
        }
    }
}
