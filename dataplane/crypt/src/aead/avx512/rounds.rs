//! The twenty rounds, for one state or for two at once.
//!
//! Two states fill the registers and give the four pipes more to choose from: 0.55 cycles an operation instead of 0.65
//! (AMD Zen 4). The order of the operations decides that, and a compiler changes it, so the rounds of two are written
//! out as instructions.

use super::stream::State;
use std::arch::asm;
use std::arch::x86_64::{_mm512_add_epi32, _mm512_rol_epi32, _mm512_xor_si512};

/// Four quarter rounds of Salsa20 that do not wait for each other.
macro_rules! salsa_quarters {
    ($x:ident: $([$a:literal $b:literal $c:literal $d:literal])*) => {
        $($x[$b] = _mm512_xor_si512($x[$b], _mm512_rol_epi32::<7>(_mm512_add_epi32($x[$a], $x[$d])));)*
        $($x[$c] = _mm512_xor_si512($x[$c], _mm512_rol_epi32::<9>(_mm512_add_epi32($x[$b], $x[$a])));)*
        $($x[$d] = _mm512_xor_si512($x[$d], _mm512_rol_epi32::<13>(_mm512_add_epi32($x[$c], $x[$b])));)*
        $($x[$a] = _mm512_xor_si512($x[$a], _mm512_rol_epi32::<18>(_mm512_add_epi32($x[$d], $x[$c])));)*
    };
}

/// Four quarter rounds of ChaCha20 that do not wait for each other.
macro_rules! chacha_quarters {
    ($x:ident: $([$a:literal $b:literal $c:literal $d:literal])*) => {
        $($x[$a] = _mm512_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = _mm512_rol_epi32::<16>(_mm512_xor_si512($x[$d], $x[$a]));)*
        $($x[$c] = _mm512_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = _mm512_rol_epi32::<12>(_mm512_xor_si512($x[$b], $x[$c]));)*
        $($x[$a] = _mm512_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = _mm512_rol_epi32::<8>(_mm512_xor_si512($x[$d], $x[$a]));)*
        $($x[$c] = _mm512_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = _mm512_rol_epi32::<7>(_mm512_xor_si512($x[$b], $x[$c]));)*
    };
}

/// Salsa20, by columns and by rows in turn.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn salsa(initial: &State) -> State {
    let mut x = *initial;
    for _ in 0..10 {
        salsa_quarters!(x: [0 4 8 12] [5 9 13 1] [10 14 2 6] [15 3 7 11]);
        salsa_quarters!(x: [0 1 2 3] [5 6 7 4] [10 11 8 9] [15 12 13 14]);
    }
    x
}

/// ChaCha20, by columns and by diagonals in turn.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn chacha(initial: &State) -> State {
    let mut x = *initial;
    for _ in 0..10 {
        chacha_quarters!(x: [0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15]);
        chacha_quarters!(x: [0 5 10 15] [1 6 11 12] [2 7 8 13] [3 4 9 14]);
    }
    x
}

/// A word of a state as an operand. One word of Salsa20's second state has to lie in memory.
macro_rules! word {
    (salsa y 15) => {
        "zmmword ptr [{far}]"
    };
    ($cipher:tt $state:tt $word:tt) => {
        concat!("{", stringify!($state), $word, "}")
    };
}

/// One step of four quarter rounds of Salsa20: `[to a b]` adds the rotated sum of a and b to a word.
macro_rules! salsa_step {
    ($by:literal; $($state:tt [$to:tt $a:tt $b:tt])*) => {
        concat!($(
            "vpaddd {sum}, ", word!(salsa $state $a), ", ", word!(salsa $state $b), "\n",
            "vprold {sum}, {sum}, ", $by, "\n",
            salsa_store!($state $to),
        )*)
    };
}

macro_rules! salsa_store {
    (y 15) => {
        "vpxord {sum}, {sum}, zmmword ptr [{far}]\nvmovdqa64 zmmword ptr [{far}], {sum}\n"
    };
    ($state:tt $to:tt) => {
        concat!("vpxord ", word!(salsa $state $to), ", ", word!(salsa $state $to), ", {sum}\n")
    };
}

/// A step of both states.
macro_rules! salsa_steps {
    ($by:literal: $([$to:tt $a:tt $b:tt])*) => {
        concat!(salsa_step!($by; $(x [$to $a $b])*), salsa_step!($by; $(y [$to $a $b])*))
    };
}

/// Half a step of four quarter rounds of ChaCha20, of both states: `[a b d]` adds b to a, and then a to d, rotated.
macro_rules! chacha_steps {
    ($by:literal: $([$a:tt $b:tt $d:tt])*) => {
        concat!(chacha_step!($by; $(x [$a $b $d])*), chacha_step!($by; $(y [$a $b $d])*))
    };
}

macro_rules! chacha_step {
    ($by:literal; $($state:tt [$a:tt $b:tt $d:tt])*) => {
        concat!(
            $("vpaddd ", word!(chacha $state $a), ", ", word!(chacha $state $a), ", ", word!(chacha $state $b), "\n",)*
            $("vpxord ", word!(chacha $state $d), ", ", word!(chacha $state $d), ", ", word!(chacha $state $a), "\n",)*
            $("vprold ", word!(chacha $state $d), ", ", word!(chacha $state $d), ", ", $by, "\n",)*
        )
    };
}

/// Ten times the instructions for two states, of which all but the last word of the second one are named as operands.
macro_rules! ten_times {
    ($x:ident $y:ident: $($step:expr,)*; $($operands:tt)*) => {
        asm!(
            "2:",
            $($step,)*
            "dec {turns}",
            "jnz 2b",
            turns = inout(reg) 10_u64 => _,
            $($operands)*
            x0 = inout(zmm_reg) $x[0], x1 = inout(zmm_reg) $x[1], x2 = inout(zmm_reg) $x[2], x3 = inout(zmm_reg) $x[3],
            x4 = inout(zmm_reg) $x[4], x5 = inout(zmm_reg) $x[5], x6 = inout(zmm_reg) $x[6], x7 = inout(zmm_reg) $x[7],
            x8 = inout(zmm_reg) $x[8], x9 = inout(zmm_reg) $x[9], x10 = inout(zmm_reg) $x[10], x11 = inout(zmm_reg) $x[11],
            x12 = inout(zmm_reg) $x[12], x13 = inout(zmm_reg) $x[13], x14 = inout(zmm_reg) $x[14], x15 = inout(zmm_reg) $x[15],
            y0 = inout(zmm_reg) $y[0], y1 = inout(zmm_reg) $y[1], y2 = inout(zmm_reg) $y[2], y3 = inout(zmm_reg) $y[3],
            y4 = inout(zmm_reg) $y[4], y5 = inout(zmm_reg) $y[5], y6 = inout(zmm_reg) $y[6], y7 = inout(zmm_reg) $y[7],
            y8 = inout(zmm_reg) $y[8], y9 = inout(zmm_reg) $y[9], y10 = inout(zmm_reg) $y[10], y11 = inout(zmm_reg) $y[11],
            y12 = inout(zmm_reg) $y[12], y13 = inout(zmm_reg) $y[13], y14 = inout(zmm_reg) $y[14],
            options(nostack),
        )
    };
}

/// [`salsa`] of two states.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn salsa_two(x: &State, y: &State) -> (State, State) {
    let (mut x, mut y) = (*x, *y);
    let mut far = y[15];
    // SAFETY: the instructions are those of AVX-512F, which the caller has; they read and write nothing but the registers
    // named, and `far`, which is exclusive and, as a vector, aligned.
    unsafe {
        ten_times!(
            x y:
            salsa_steps!(7: [4 0 12] [9 5 1] [14 10 6] [3 11 15]),
            salsa_steps!(9: [8 4 0] [13 9 5] [2 14 10] [7 3 15]),
            salsa_steps!(13: [12 8 4] [1 13 9] [6 2 14] [11 7 3]),
            salsa_steps!(18: [0 12 8] [5 1 13] [10 6 2] [15 11 7]),
            salsa_steps!(7: [1 0 3] [6 5 4] [11 10 9] [12 14 15]),
            salsa_steps!(9: [2 1 0] [7 6 5] [8 11 10] [13 12 15]),
            salsa_steps!(13: [3 2 1] [4 7 6] [9 8 11] [14 13 12]),
            salsa_steps!(18: [0 3 2] [5 4 7] [10 9 8] [15 14 13]),;
            far = in(reg) &raw mut far,
            sum = out(zmm_reg) _,
        );
    }
    let [y0, y1, y2, y3, y4, y5, y6, y7, y8, y9, y10, y11, y12, y13, y14, _] = y;
    (x, [y0, y1, y2, y3, y4, y5, y6, y7, y8, y9, y10, y11, y12, y13, y14, far])
}

/// [`chacha`] of two states.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn chacha_two(x: &State, y: &State) -> (State, State) {
    let (mut x, mut y) = (*x, *y);
    // SAFETY: the instructions are those of AVX-512F, which the caller has; they touch nothing but the registers named.
    unsafe {
        ten_times!(
            x y:
            chacha_steps!(16: [0 4 12] [1 5 13] [2 6 14] [3 7 15]),
            chacha_steps!(12: [8 12 4] [9 13 5] [10 14 6] [11 15 7]),
            chacha_steps!(8: [0 4 12] [1 5 13] [2 6 14] [3 7 15]),
            chacha_steps!(7: [8 12 4] [9 13 5] [10 14 6] [11 15 7]),
            chacha_steps!(16: [0 5 15] [1 6 12] [2 7 13] [3 4 14]),
            chacha_steps!(12: [10 15 5] [11 12 6] [8 13 7] [9 14 4]),
            chacha_steps!(8: [0 5 15] [1 6 12] [2 7 13] [3 4 14]),
            chacha_steps!(7: [10 15 5] [11 12 6] [8 13 7] [9 14 4]),;
            y15 = inout(zmm_reg) y[15],
        );
    }
    (x, y)
}
