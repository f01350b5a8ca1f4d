//! Poly1305 over whole blocks, four of them at once.
//!
//! Of our own for its speed: encrypting and authenticating 1.3 kB of a state takes 1.9 µs with the usual crate, whose vector
//! code is not inlined unless the whole build is for those vectors, and 0.9 with this (AMD Zen 5). Nothing here is secret.

/// Bits of the lower limbs of a number, and of the highest of three.
const LIMB: u64 = (1 << 44) - 1;
const HIGH: u64 = (1 << 42) - 1;

/// A number modulo 2^130 − 5, in limbs of 44, 44 and 42 bits and somewhat more.
type Number = [u64; 3];

/// The authenticator of `blocks`, then `more`: each with a bit behind its 16 bytes.
pub(super) fn authenticate(key: &[u8; 32], blocks: &[[u8; 16]], more: &[[u8; 16]]) -> [u8; 16] {
    let half = |from: usize| u128::from_le_bytes(*key[from..].first_chunk().unwrap_or(&[0; 16]));
    let r = limbs(half(0) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff, 0);
    let r2 = carry(product(&r, &r));
    let r3 = carry(product(&r2, &r));
    let r4 = carry(product(&r2, &r2));
    let mut sum = [0; 3];
    let (fours, rest) = blocks.as_chunks::<4>();
    for [a, b, c, d] in fours {
        let terms = [
            product(&add(sum, block(a)), &r4),
            product(&block(b), &r3),
            product(&block(c), &r2),
            product(&block(d), &r),
        ];
        sum = carry(std::array::from_fn(|limb| terms.iter().map(|term| term[limb]).sum()));
    }
    for one in rest.iter().chain(more) {
        sum = carry(product(&add(sum, block(one)), &r));
    }
    whole(sum).wrapping_add(half(16)).to_le_bytes()
}

fn block(bytes: &[u8; 16]) -> Number {
    limbs(u128::from_le_bytes(*bytes), 1 << 40)
}

#[expect(clippy::cast_possible_truncation, reason = "masked")]
fn limbs(number: u128, above: u64) -> Number {
    [number as u64 & LIMB, (number >> 44) as u64 & LIMB, (number >> 88) as u64 | above]
}

fn add(a: Number, b: Number) -> Number {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// What passes 2^130 comes back five times, and what passes a limb's place two bits higher.
fn product(a: &Number, b: &Number) -> [u128; 3] {
    let wide = |a: u64, b: u64| u128::from(a) * u128::from(b);
    let (b1, b2) = (b[1] * 20, b[2] * 20);
    [
        wide(a[0], b[0]) + wide(a[1], b2) + wide(a[2], b1),
        wide(a[0], b[1]) + wide(a[1], b[0]) + wide(a[2], b2),
        wide(a[0], b[2]) + wide(a[1], b[1]) + wide(a[2], b[0]),
    ]
}

#[expect(clippy::cast_possible_truncation, reason = "sums of twelve products of 92 bits")]
fn carry(wide: [u128; 3]) -> Number {
    let low = wide[0];
    let middle = wide[1] + (low >> 44);
    let high = wide[2] + (middle >> 44);
    let low = (low as u64 & LIMB) + (high >> 42) as u64 * 5;
    [low & LIMB, (middle as u64 & LIMB) + (low >> 44), high as u64 & HIGH]
}

/// The number below the modulus, less what is above 128 bits.
fn whole(sum: Number) -> u128 {
    // Twice: the first may leave a little more than a limb in the middle.
    let [low, middle, high] = carry(carry(sum.map(u128::from)).map(u128::from));
    let number =
        u128::from(low).wrapping_add(u128::from(middle) << 44).wrapping_add(u128::from(high) << 88);
    // Five more pass 2^130 where the modulus was reached.
    let passes = (((low + 5) >> 44) + middle) >> 44;
    if passes + high > HIGH { number.wrapping_add(5) } else { number }
}
