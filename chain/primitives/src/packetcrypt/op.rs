//! RandHash's 63 operations, on one register each. They have no branches, so that a loop over lanes becomes vector
//! code.
//!
//! Families: 8, 16 or 32 bits in the lanes of a 32-bit word, every lane by itself; then 64 bits. Source: PKT-CHAIN.md
//! §3.5.

/// Calls a macro with all operations in the order of their codes, from 1 on, by the shape of their operands and
/// results.
macro_rules! operations {
    ($callback:ident) => {
        $callback! {
            one_to_one {
                1 popcnt8, 2 popcnt16, 3 popcnt32, 4 clz8, 5 clz16, 6 clz32, 7 ctz8, 8 ctz16, 9 ctz32,
                10 bswap16, 11 bswap32
            }
            two_to_one {
                12 add8, 13 add16, 14 add32, 15 sub8, 16 sub16, 17 sub32, 18 shll8, 19 shll16, 20 shll32,
                21 shrl8, 22 shrl16, 23 shrl32, 24 shra8, 25 shra16, 26 shra32, 27 rotl8, 28 rotl16, 29 rotl32,
                30 mul8, 31 mul16, 32 mul32, 33 and, 34 or, 35 xor
            }
            two_to_two {
                36 add8c, 37 add16c, 38 add32c, 39 sub8c, 40 sub16c, 41 sub32c, 42 mul8c, 43 mul16c, 44 mul32c,
                45 mulsu8c, 46 mulsu16c, 47 mulsu32c, 48 mulu8c, 49 mulu16c, 50 mulu32c
            }
            four_to_two {
                51 add64, 52 sub64, 53 shll64, 54 shrl64, 55 shra64, 56 rotl64, 57 rotr64, 58 mul64
            }
            four_to_four {
                59 add64c, 60 sub64c, 61 mul64c, 62 mulsu64c, 63 mulu64c
            }
        }
    };
}
pub(super) use operations;

/// First codes of the shapes with more than one operand, and of what is no operation.
pub(super) const TWO_TO_ONE: u8 = 12;
pub(super) const TWO_TO_TWO: u8 = 36;
pub(super) const FOUR_TO_TWO: u8 = 51;
pub(super) const FOUR_TO_FOUR: u8 = 59;
pub(super) const IN: u8 = 64;
pub(super) const MEMORY: u8 = 65;
pub(super) const LOOP: u8 = 66;
pub(super) const IF_LIKELY: u8 = 67;
pub(super) const IF_RANDOM: u8 = 68;
pub(super) const JMP: u8 = 69;
pub(super) const END: u8 = 70;

/// Registers that an operation writes.
pub(super) fn results(code: u8) -> usize {
    match code {
        0..TWO_TO_TWO => 1,
        TWO_TO_TWO..FOUR_TO_FOUR => 2,
        _ => 4,
    }
}

const LOW_7: u32 = 0x7f7f_7f7f;
const LOW_15: u32 = 0x7fff_7fff;

#[inline(always)]
pub(super) fn popcnt8(a: u32) -> u32 {
    let pairs = a - (a >> 1 & 0x5555_5555);
    let fours = (pairs & 0x3333_3333) + (pairs >> 2 & 0x3333_3333);
    (fours + (fours >> 4)) & 0x0f0f_0f0f
}

#[inline(always)]
pub(super) fn popcnt16(a: u32) -> u32 {
    let bytes = popcnt8(a);
    (bytes + (bytes >> 8)) & 0x00ff_00ff
}

#[inline(always)]
pub(super) fn popcnt32(a: u32) -> u32 {
    a.count_ones()
}

#[inline(always)]
pub(super) fn clz8(a: u32) -> u32 {
    let a = a | a >> 1 & LOW_7;
    let a = a | a >> 2 & 0x3f3f_3f3f;
    popcnt8(!(a | a >> 4 & 0x0f0f_0f0f))
}

#[inline(always)]
pub(super) fn clz16(a: u32) -> u32 {
    let a = a | a >> 1 & LOW_15;
    let a = a | a >> 2 & 0x3fff_3fff;
    let a = a | a >> 4 & 0x0fff_0fff;
    popcnt16(!(a | a >> 8 & 0x00ff_00ff))
}

#[inline(always)]
pub(super) fn clz32(a: u32) -> u32 {
    a.leading_zeros()
}

#[inline(always)]
pub(super) fn ctz8(a: u32) -> u32 {
    popcnt8(!a & sub8(a, 0x0101_0101))
}

#[inline(always)]
pub(super) fn ctz16(a: u32) -> u32 {
    popcnt16(!a & sub16(a, 0x0001_0001))
}

#[inline(always)]
pub(super) fn ctz32(a: u32) -> u32 {
    (!a & a.wrapping_sub(1)).count_ones()
}

#[inline(always)]
pub(super) fn bswap16(a: u32) -> u32 {
    (a & 0x00ff_00ff) << 8 | a >> 8 & 0x00ff_00ff
}

#[inline(always)]
pub(super) fn bswap32(a: u32) -> u32 {
    a.swap_bytes()
}

#[inline(always)]
pub(super) fn add8(a: u32, b: u32) -> u32 {
    ((a & LOW_7) + (b & LOW_7)) ^ (a ^ b) & !LOW_7
}

#[inline(always)]
pub(super) fn add16(a: u32, b: u32) -> u32 {
    ((a & LOW_15) + (b & LOW_15)) ^ (a ^ b) & !LOW_15
}

#[inline(always)]
pub(super) fn add32(a: u32, b: u32) -> u32 {
    a.wrapping_add(b)
}

#[inline(always)]
pub(super) fn sub8(a: u32, b: u32) -> u32 {
    ((a | !LOW_7) - (b & LOW_7)) ^ (a ^ !b) & !LOW_7
}

#[inline(always)]
pub(super) fn sub16(a: u32, b: u32) -> u32 {
    ((a | !LOW_15) - (b & LOW_15)) ^ (a ^ !b) & !LOW_15
}

#[inline(always)]
pub(super) fn sub32(a: u32, b: u32) -> u32 {
    a.wrapping_sub(b)
}

/// Each of four unsigned lanes through `f`; what is above its 8 bits is cut off.
#[inline(always)]
fn each8(a: u32, b: u32, f: impl Fn(u32, u32) -> u32) -> u32 {
    let lane = |shift: u32| (f(a >> shift & 0xff, b >> shift & 0xff) & 0xff) << shift;
    lane(0) | lane(8) | lane(16) | lane(24)
}

#[inline(always)]
fn each16(a: u32, b: u32, f: impl Fn(u32, u32) -> u32) -> u32 {
    f(a & 0xffff, b & 0xffff) & 0xffff | f(a >> 16, b >> 16) << 16
}

#[inline(always)]
pub(super) fn shll8(a: u32, b: u32) -> u32 {
    each8(a, b, |a, b| a << (b & 7))
}

#[inline(always)]
pub(super) fn shll16(a: u32, b: u32) -> u32 {
    each16(a, b, |a, b| a << (b & 15))
}

#[inline(always)]
pub(super) fn shll32(a: u32, b: u32) -> u32 {
    a << (b & 31)
}

#[inline(always)]
pub(super) fn shrl8(a: u32, b: u32) -> u32 {
    each8(a, b, |a, b| a >> (b & 7))
}

#[inline(always)]
pub(super) fn shrl16(a: u32, b: u32) -> u32 {
    each16(a, b, |a, b| a >> (b & 15))
}

#[inline(always)]
pub(super) fn shrl32(a: u32, b: u32) -> u32 {
    a >> (b & 31)
}

#[inline(always)]
pub(super) fn shra8(a: u32, b: u32) -> u32 {
    each8(a, b, |a, b| signed8(a).wrapping_shr(b & 7).cast_unsigned())
}

#[inline(always)]
pub(super) fn shra16(a: u32, b: u32) -> u32 {
    each16(a, b, |a, b| signed16(a).wrapping_shr(b & 15).cast_unsigned())
}

#[inline(always)]
pub(super) fn shra32(a: u32, b: u32) -> u32 {
    (a.cast_signed() >> (b & 31)).cast_unsigned()
}

#[inline(always)]
pub(super) fn rotl8(a: u32, b: u32) -> u32 {
    each8(a, b, |a, b| a << (b & 7) | a >> (8 - (b & 7)))
}

#[inline(always)]
pub(super) fn rotl16(a: u32, b: u32) -> u32 {
    each16(a, b, |a, b| a << (b & 15) | a >> (16 - (b & 15)))
}

#[inline(always)]
pub(super) fn rotl32(a: u32, b: u32) -> u32 {
    // Written out: vectors rotate by shifting.
    a << (b & 31) | a >> (b.wrapping_neg() & 31)
}

#[inline(always)]
pub(super) fn mul8(a: u32, b: u32) -> u32 {
    each8(a, b, u32::wrapping_mul)
}

#[inline(always)]
pub(super) fn mul16(a: u32, b: u32) -> u32 {
    each16(a, b, u32::wrapping_mul)
}

#[inline(always)]
pub(super) fn mul32(a: u32, b: u32) -> u32 {
    a.wrapping_mul(b)
}

#[inline(always)]
pub(super) fn and(a: u32, b: u32) -> u32 {
    a & b
}

#[inline(always)]
pub(super) fn or(a: u32, b: u32) -> u32 {
    a | b
}

#[inline(always)]
pub(super) fn xor(a: u32, b: u32) -> u32 {
    a ^ b
}

/// The low 8 bits, sign-extended.
#[inline(always)]
fn signed8(a: u32) -> i32 {
    (a << 24).cast_signed() >> 24
}

#[inline(always)]
fn signed16(a: u32) -> i32 {
    (a << 16).cast_signed() >> 16
}

/// Each of four lanes of `a` and `b` through `f` into 16 bits of the results.
#[inline(always)]
fn wide8(a: u32, b: u32, f: impl Fn(u32, u32) -> u32) -> [u32; 2] {
    let lane = |shift: u32| f(a >> shift & 0xff, b >> shift & 0xff);
    [lane(0) & 0xffff | lane(8) << 16, lane(16) & 0xffff | lane(24) << 16]
}

#[inline(always)]
fn wide16(a: u32, b: u32, f: impl Fn(u32, u32) -> u32) -> [u32; 2] {
    [f(a & 0xffff, b & 0xffff), f(a >> 16, b >> 16)]
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
pub(super) fn halves(a: u64) -> [u32; 2] {
    [a as u32, (a >> 32) as u32]
}

#[inline(always)]
pub(super) fn add8c(a: u32, b: u32) -> [u32; 2] {
    wide8(a, b, u32::wrapping_add)
}

#[inline(always)]
pub(super) fn add16c(a: u32, b: u32) -> [u32; 2] {
    wide16(a, b, u32::wrapping_add)
}

#[inline(always)]
pub(super) fn add32c(a: u32, b: u32) -> [u32; 2] {
    halves(u64::from(a) + u64::from(b))
}

#[inline(always)]
pub(super) fn sub8c(a: u32, b: u32) -> [u32; 2] {
    wide8(a, b, u32::wrapping_sub)
}

#[inline(always)]
pub(super) fn sub16c(a: u32, b: u32) -> [u32; 2] {
    wide16(a, b, u32::wrapping_sub)
}

#[inline(always)]
pub(super) fn sub32c(a: u32, b: u32) -> [u32; 2] {
    halves(u64::from(a).wrapping_sub(u64::from(b)))
}

#[inline(always)]
pub(super) fn mul8c(a: u32, b: u32) -> [u32; 2] {
    wide8(a, b, |a, b| signed8(a).wrapping_mul(signed8(b)).cast_unsigned())
}

#[inline(always)]
pub(super) fn mul16c(a: u32, b: u32) -> [u32; 2] {
    wide16(a, b, |a, b| signed16(a).wrapping_mul(signed16(b)).cast_unsigned())
}

#[inline(always)]
pub(super) fn mul32c(a: u32, b: u32) -> [u32; 2] {
    halves((i64::from(a.cast_signed()) * i64::from(b.cast_signed())).cast_unsigned())
}

#[inline(always)]
pub(super) fn mulsu8c(a: u32, b: u32) -> [u32; 2] {
    wide8(a, b, |a, b| signed8(a).cast_unsigned().wrapping_mul(b))
}

#[inline(always)]
pub(super) fn mulsu16c(a: u32, b: u32) -> [u32; 2] {
    wide16(a, b, |a, b| signed16(a).cast_unsigned().wrapping_mul(b))
}

#[inline(always)]
pub(super) fn mulsu32c(a: u32, b: u32) -> [u32; 2] {
    // Signed by unsigned: unsigned, less b in the high half where a is negative.
    let [low, high] = mulu32c(a, b);
    [low, high.wrapping_sub((a.cast_signed() >> 31).cast_unsigned() & b)]
}

#[inline(always)]
pub(super) fn mulu8c(a: u32, b: u32) -> [u32; 2] {
    wide8(a, b, u32::wrapping_mul)
}

#[inline(always)]
pub(super) fn mulu16c(a: u32, b: u32) -> [u32; 2] {
    wide16(a, b, u32::wrapping_mul)
}

#[inline(always)]
pub(super) fn mulu32c(a: u32, b: u32) -> [u32; 2] {
    halves(u64::from(a) * u64::from(b))
}

#[inline(always)]
pub(super) fn add64(a: u64, b: u64) -> u64 {
    a.wrapping_add(b)
}

#[inline(always)]
pub(super) fn sub64(a: u64, b: u64) -> u64 {
    a.wrapping_sub(b)
}

#[inline(always)]
pub(super) fn shll64(a: u64, b: u64) -> u64 {
    a << (b & 63)
}

#[inline(always)]
pub(super) fn shrl64(a: u64, b: u64) -> u64 {
    a >> (b & 63)
}

#[inline(always)]
pub(super) fn shra64(a: u64, b: u64) -> u64 {
    (a.cast_signed() >> (b & 63)).cast_unsigned()
}

#[inline(always)]
pub(super) fn rotl64(a: u64, b: u64) -> u64 {
    a << (b & 63) | a >> (b.wrapping_neg() & 63)
}

#[inline(always)]
pub(super) fn rotr64(a: u64, b: u64) -> u64 {
    a >> (b & 63) | a << (b.wrapping_neg() & 63)
}

#[inline(always)]
pub(super) fn mul64(a: u64, b: u64) -> u64 {
    a.wrapping_mul(b)
}

/// The sum and the carry.
#[inline(always)]
pub(super) fn add64c(a: u64, b: u64) -> [u64; 2] {
    let sum = a.wrapping_add(b);
    [sum, u64::from(sum < a)]
}

/// The difference and the borrow, as all ones.
#[inline(always)]
pub(super) fn sub64c(a: u64, b: u64) -> [u64; 2] {
    [a.wrapping_sub(b), u64::from(a < b).wrapping_neg()]
}

/// From products of halves: vectors have no others.
#[inline(always)]
pub(super) fn mulu64c(a: u64, b: u64) -> [u64; 2] {
    let (a0, a1, b0, b1) = (a & 0xffff_ffff, a >> 32, b & 0xffff_ffff, b >> 32);
    let (low, high) = (a0 * b0, a1 * b1);
    let middle = a1 * b0 + (low >> 32);
    let other = a0 * b1 + (middle & 0xffff_ffff);
    [other << 32 | low & 0xffff_ffff, high + (middle >> 32) + (other >> 32)]
}

/// All ones where the number is negative.
#[inline(always)]
fn sign64(a: u64) -> u64 {
    (a.cast_signed() >> 63).cast_unsigned()
}

#[inline(always)]
pub(super) fn mulsu64c(a: u64, b: u64) -> [u64; 2] {
    let [low, high] = mulu64c(a, b);
    [low, high.wrapping_sub(sign64(a) & b)]
}

#[inline(always)]
pub(super) fn mul64c(a: u64, b: u64) -> [u64; 2] {
    let [low, high] = mulsu64c(a, b);
    [low, high.wrapping_sub(sign64(b) & a)]
}

/// What operand B of a word is as a number, if it is one: 12 bits with sign, or a pattern of two bits.
pub(super) fn immediate(word: u32) -> u64 {
    if word & 1 << 19 == 0 {
        return i64::from(word.cast_signed() >> 20).cast_unsigned();
    }
    let bit = |shift: u32| u64::from(word >> shift & 1);
    let place = |shift: u32| 1u64 << (word >> shift & 31);
    let inverted = (bit(30) << 63).wrapping_sub(1);
    (inverted ^ place(25) ^ place(20)) | bit(31) << 63
}
