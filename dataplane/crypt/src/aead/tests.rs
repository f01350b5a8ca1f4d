//! Every level against dryoc, which shares no code with any of them, and against what others published or recorded.

use super::*;
use crate::test_rng::TestRng;
use dryoc::classic::crypto_aead_chacha20poly1305_ietf as dryoc_chacha;
use dryoc::classic::crypto_secretbox as dryoc_secretbox;
use proptest::prelude::*;
use rand_core::Rng;
use wire::vectors::{self, hex};

const CIPHERS: [Cipher; 2] = [Cipher::XSalsa, Cipher::ChaCha];

/// A packet that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    key: [u8; 32],
    nonce: u64,
    packet: Vec<u8>,
}

impl Owned {
    fn random(rng: &mut TestRng, packet_len: usize) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        let mut packet = vec![0; packet_len];
        rng.fill_bytes(&mut packet);
        Self { key, nonce: rng.next_u64(), packet }
    }

    fn can_be_sealed(&self) -> bool {
        (TAG_LEN..65_536).contains(&self.packet.len())
    }

    fn sealed_by_dryoc(&self, cipher: Cipher) -> Self {
        let mut sealed = self.clone();
        if !self.can_be_sealed() {
            return sealed;
        }
        let (tag, text) = match cipher {
            Cipher::XSalsa => sealed.packet.split_first_chunk_mut().unwrap(),
            Cipher::ChaCha => {
                let (text, tag) = sealed.packet.split_last_chunk_mut().unwrap();
                (tag, text)
            }
        };
        match cipher {
            Cipher::XSalsa => {
                let mut nonce = [0; 24];
                nonce[..8].copy_from_slice(&self.nonce.to_le_bytes());
                let plain = text.to_vec();
                dryoc_secretbox::crypto_secretbox_detached(text, tag, &plain, &nonce, &self.key)
            }
            Cipher::ChaCha => {
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&self.nonce.to_le_bytes());
                dryoc_chacha::crypto_aead_chacha20poly1305_ietf_encrypt_detached_inplace(
                    text, tag, None, &nonce, &self.key,
                )
            }
        }
        .unwrap();
        sealed
    }
}

fn jobs(burst: &mut [Owned]) -> Vec<Job<'_>> {
    burst
        .iter_mut()
        .map(|Owned { key, nonce, packet }| Job { key, nonce: *nonce, packet })
        .collect()
}

/// Runs `check` at every level that this processor has, and says which it has not.
#[expect(clippy::print_stderr, reason = "skipped loudly")]
fn at_every_level(mut check: impl FnMut(&mut Aead)) {
    for level in Level::ALL {
        match Aead::with(level) {
            Some(mut aead) => check(&mut aead),
            None => eprintln!("SKIPPED: this processor has no {level:?}"),
        }
    }
}

/// Seals and opens `plain` at every level, and compares each step with dryoc's.
fn check(plain: &[Owned]) {
    for cipher in CIPHERS {
        let sealed: Vec<Owned> = plain.iter().map(|owned| owned.sealed_by_dryoc(cipher)).collect();
        at_every_level(|aead| {
            let mut burst = plain.to_vec();
            aead.seal(cipher, &mut jobs(&mut burst));
            assert_eq!(burst, sealed, "{cipher:?} {:?}", aead.level());
            let opened = aead.open(cipher, &mut jobs(&mut burst));
            for (place, (opened_to, plain)) in burst.iter().zip(plain).enumerate() {
                let can_be_opened = plain.can_be_sealed();
                assert_eq!(
                    opened >> place & 1 == 1,
                    can_be_opened,
                    "{cipher:?} {:?}",
                    aead.level()
                );
                let text = |owned: &Owned| {
                    cipher.split(&mut owned.packet.clone()).map(|(_, text)| text.to_vec())
                };
                assert_eq!(text(opened_to), text(plain), "{cipher:?} {:?}", aead.level());
            }
        });
    }
}

#[test]
fn bursts_of_one_length_are_as_dryoc_makes_them() {
    let mut rng = TestRng::new(1);
    for packet_len in (0..300).chain((300..2100).step_by(7)) {
        let burst: Vec<Owned> = (0..9).map(|_| Owned::random(&mut rng, packet_len)).collect();
        check(&burst);
    }
}

#[test]
fn every_length_up_to_2047_is_as_dryoc_makes_it() {
    let mut rng = TestRng::new(7);
    let packets: Vec<Owned> = (0..2048).map(|len| Owned::random(&mut rng, len)).collect();
    for burst in packets.chunks(JOBS_MAX) {
        check(burst);
    }
    // Neighbours in a burst that are far apart in length.
    for first in 0..32 {
        check(&packets.iter().skip(first).step_by(32).cloned().collect::<Vec<_>>());
    }
}

#[test]
fn bytes_beside_a_packet_are_left_alone() {
    const GAP: u8 = 0x5a;
    let mut rng = TestRng::new(8);
    for cipher in CIPHERS {
        for first_len in (TAG_LEN..400).step_by(3) {
            let plain: Vec<Owned> =
                (0..20).map(|more| Owned::random(&mut rng, first_len + more)).collect();
            let sealed: Vec<Owned> =
                plain.iter().map(|owned| owned.sealed_by_dryoc(cipher)).collect();
            at_every_level(|aead| {
                // One behind the other, a byte between two.
                let mut memory = vec![GAP; plain.iter().map(|owned| owned.packet.len() + 1).sum()];
                let mut rest = memory.as_mut_slice();
                let mut jobs = Vec::new();
                for Owned { key, nonce, packet } in &plain {
                    let (place, behind) = rest.split_at_mut(packet.len());
                    place.copy_from_slice(packet);
                    jobs.push(Job { key, nonce: *nonce, packet: place });
                    rest = &mut behind[1..];
                }
                aead.seal(cipher, &mut jobs);
                let expected: Vec<u8> = sealed
                    .iter()
                    .flat_map(|owned| owned.packet.iter().copied().chain([GAP]))
                    .collect();
                assert!(memory == expected, "{cipher:?} {:?} {first_len}", aead.level());
            });
        }
    }
}

#[test]
fn full_bursts_of_mixed_lengths_are_as_dryoc_makes_them() {
    let mut rng = TestRng::new(2);
    for _ in 0..60 {
        let packet_len = |rng: &mut TestRng| (rng.next_u32() % 2016) as usize;
        let mut owned = |_| {
            let packet_len = packet_len(&mut rng);
            Owned::random(&mut rng, packet_len)
        };
        check(&(0..JOBS_MAX).map(&mut owned).collect::<Vec<_>>());
    }
}

#[test]
fn the_longest_packets_are_sealed_and_longer_ones_left_alone() {
    let mut rng = TestRng::new(3);
    let lens = [65_535, 64, 16, 65_536, 65_534, 15, 65_535 - 48, 0, 17];
    check(&lens.map(|len| Owned::random(&mut rng, len)));
}

#[test]
fn more_than_a_burst_is_sealed_in_several() {
    let mut rng = TestRng::new(4);
    let plain: Vec<Owned> = (0..150).map(|_| Owned::random(&mut rng, 100)).collect();
    for cipher in CIPHERS {
        at_every_level(|aead| {
            let mut burst = plain.clone();
            aead.seal(cipher, &mut jobs(&mut burst));
            let sealed = plain.iter().map(|owned| owned.sealed_by_dryoc(cipher));
            assert!(burst.iter().cloned().eq(sealed), "{cipher:?} {:?}", aead.level());
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_burst_is_as_dryoc_makes_it(
        seed: u64,
        lens in prop::collection::vec(prop_oneof![0..80_usize, 0..700_usize, 1000..2000_usize], 0..=JOBS_MAX),
    ) {
        let mut rng = TestRng::new(seed);
        check(&lens.iter().map(|len| Owned::random(&mut rng, *len)).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_forged_is_left_as_it_was(
        seed: u64,
        lens in prop::collection::vec(prop_oneof![16..80_usize, 16..700_usize], 1..=JOBS_MAX),
        forged: u64,
    ) {
        let mut rng = TestRng::new(seed);
        let plain: Vec<Owned> = lens.iter().map(|len| Owned::random(&mut rng, *len)).collect();
        for cipher in CIPHERS {
            let mut sent: Vec<Owned> = plain.iter().map(|owned| owned.sealed_by_dryoc(cipher)).collect();
            for (place, owned) in sent.iter_mut().enumerate().filter(|(place, _)| forged >> place & 1 == 1) {
                let at = (rng.next_u32() as usize + place) % owned.packet.len();
                owned.packet[at] ^= 1 << (rng.next_u32() % 8);
            }
            at_every_level(|aead| {
                let mut burst = sent.clone();
                let opened = aead.open(cipher, &mut jobs(&mut burst));
                for (place, owned) in burst.iter_mut().enumerate() {
                    let expected = if forged >> place & 1 == 1 { &sent[place] } else { &plain[place] };
                    let (_, text) = cipher.split(&mut owned.packet).unwrap();
                    let mut expected = expected.packet.clone();
                    assert_eq!(text, cipher.split(&mut expected).unwrap().1);
                    assert_ne!(opened >> place & 1, forged >> place & 1);
                }
            });
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let mut rng = TestRng::new(5);
    for cipher in CIPHERS {
        for text_len in [0, 1, 15, 16, 17, 31, 32, 33, 64, 65, 100] {
            let sealed = Owned::random(&mut rng, TAG_LEN + text_len).sealed_by_dryoc(cipher);
            let forgeries: Vec<Owned> = (0..sealed.packet.len() * 8)
                .map(|bit| {
                    let mut forged = sealed.clone();
                    forged.packet[bit / 8] ^= 1 << (bit % 8);
                    forged
                })
                .collect();
            at_every_level(|aead| {
                for forgeries in forgeries.chunks(JOBS_MAX) {
                    let mut burst = forgeries.to_vec();
                    assert_eq!(aead.open(cipher, &mut jobs(&mut burst)), 0, "{:?}", aead.level());
                    assert_eq!(burst, forgeries, "{:?}", aead.level());
                }
                assert_eq!(aead.open(cipher, &mut jobs(&mut [sealed.clone()])), 1);
            });
        }
    }
}

#[test]
fn another_key_can_be_tried() {
    let mut rng = TestRng::new(6);
    let plain = Owned::random(&mut rng, 200);
    for cipher in CIPHERS {
        at_every_level(|aead| {
            let mut packet = plain.sealed_by_dryoc(cipher).packet;
            let mut open = |key: &[u8; 32], nonce| {
                aead.open(cipher, &mut [Job { key, nonce, packet: &mut packet }])
            };
            assert_eq!(open(&[0; 32], plain.nonce), 0);
            assert_eq!(open(&plain.key, plain.nonce ^ 1), 0);
            assert_eq!(open(&plain.key, plain.nonce), 1);
        });
    }
}

/// RFC 8439 A.2, test vector 2: the text is encrypted from block 1 on, as in the AEAD; the first four bytes of the nonce
/// are zero, as here.
#[test]
fn chacha_encrypts_as_in_rfc_8439() {
    let text = b"Any submission to the IETF intended by the Contributor for publication as all or part of an IETF \
        Internet-Draft or RFC and any statement made within the context of an IETF activity is considered an \"IETF \
        Contribution\". Such statements include oral statements in IETF sessions, as well as written and electronic \
        communications made at any time or place, which are addressed to";
    let sealed = hex(
        "a3fbf07df3fa2fde4f376ca23e82737041605d9f4f4f57bd8cff2c1d4b7955ec2a97948bd3722915c8f3d337f7d370050e9e96d647\
         b7c39f56e031ca5eb6250d4042e02785ececfa4b4bb5e8ead0440e20b6e8db09d881a7c6132f420e52795042bdfa7773d8a9051447\
         b3291ce1411c680465552aa6c405b7764d5e87bea85ad00f8449ed8f72d0d662ab052691ca66424bc86d2df80ea41f43abf937d325\
         9dc4b2d0dfb48a6c9139ddd7f76966e928e635553ba76c5c879d7b35d49eb2e62b0871cdac638939e25e8a1e0ef9d5280fa8ca328b\
         351c3c765989cbcf3daa8b6ccc3aaf9f3979c92b3720fc88dc95ed84a1be059c6499b9fda236e7e818b04b0bc39c1e876b193bfe55\
         69753f88128cc08aaa9b63d1a16f80ef2554d7189c411f5869ca52c5b83fa36ff216b9c1d30062bebcfd2dc5bce0911934fda79a86\
         f6e698ced759c3ff9b6477338f3da4f9cd8514ea9982ccafb341b2384dd902f3d1ab7ac61dd29c6f21ba5b862f3730e37cfdc4fd80\
         6c22f221",
    );
    let mut key = [0; 32];
    key[31] = 1;
    at_every_level(|aead| {
        let mut packet = [text.as_slice(), &[0; TAG_LEN]].concat();
        let nonce = u64::from_le_bytes([0, 0, 0, 0, 0, 0, 0, 2]);
        aead.seal_chacha(&mut [Job { key: &key, nonce, packet: &mut packet }]);
        assert_eq!(packet[..text.len()], sealed, "{:?}", aead.level());
        assert_eq!(aead.open_chacha(&mut [Job { key: &key, nonce, packet: &mut packet }]), 1);
    });
}

/// Data packets that cjdns itself sealed with libsodium.
#[test]
fn xsalsa_vectors() {
    let (path, text) = vectors::read("crypto.json");
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut rows = 0;
    for session in file["cryptoauth_sessions"].as_array().unwrap() {
        let transcript = session["transcript"].as_array().unwrap();
        let Some(key) = transcript.iter().find_map(|row| row["session_secret"].as_str()) else {
            continue;
        };
        let key: [u8; 32] = hex(key).try_into().unwrap();
        for row in transcript.iter().filter(|row| row["nonce"].as_u64().unwrap() >= 4) {
            let from_initiator = row["dir"] == "client->server";
            let nonce = row["nonce"].as_u64().unwrap() << if from_initiator { 32 } else { 0 };
            let sealed = hex(row["packet"].as_str().unwrap());
            at_every_level(|aead| {
                let mut packet = sealed[4..].to_vec();
                let mut job = [Job { key: &key, nonce, packet: &mut packet }];
                assert_eq!(aead.open_xsalsa(&mut job), 1, "{row}");
                let plain = hex(row["plaintext"].as_str().unwrap());
                assert_eq!(job[0].packet[TAG_LEN..], plain, "{row}");
                aead.seal_xsalsa(&mut job);
                assert_eq!(packet, sealed[4..], "{row}");
            });
            rows += 1;
        }
    }
    vectors::report(&path, rows);
}

/// RFC 8439 A.3, test vectors 7 to 11: sums at the edges of the prime and of the limbs.
#[cfg(target_arch = "x86_64")]
#[test]
fn poly1305_is_right_at_the_edges_of_rfc_8439() {
    let ones = [0xff; 16];
    let word = |first: u8, rest: u8| {
        let mut word = [rest; 16];
        word[0] = first;
        word
    };
    let mut far = word(1, 0);
    far[8] = 4;
    let long = hex(
        "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000",
    );
    let longer = [long.as_slice(), &word(1, 0)].concat();
    let mut sum = word(0x14, 0);
    sum[8] = 0x55;
    let rows = [
        (word(2, 0), [0; 16], ones.to_vec(), word(3, 0)),
        (word(2, 0), ones, word(2, 0).to_vec(), word(3, 0)),
        (word(1, 0), [0; 16], [ones, word(0xf0, 0xff), word(0x11, 0)].concat(), word(5, 0)),
        (word(1, 0), [0; 16], [ones, word(0xfb, 0xfe), [1; 16]].concat(), [0; 16]),
        (word(2, 0), [0; 16], word(0xfd, 0xff).to_vec(), word(0xfa, 0xff)),
        (far, [0; 16], longer, sum),
        (far, [0; 16], long, word(0x13, 0)),
    ];
    at_every_level(|aead| {
        let mut columns = columns::Columns::EMPTY;
        let mut packets =
            rows.each_ref().map(|(_, _, text, _)| [&[0; TAG_LEN], text.as_slice()].concat());
        let mut jobs = packets.each_mut().map(|packet| Job { key: &[0; 32], nonce: 0, packet });
        let texts = columns.arrange(Cipher::XSalsa, &mut jobs);
        for (column, text) in texts.iter().enumerate().take(rows.len()) {
            let (r, s, _, _) = rows.iter().find(|row| row.2 == **text).unwrap();
            for (row, word) in
                columns.poly_key.iter_mut().zip([r, s].iter().flat_map(|half| half.as_chunks().0))
            {
                row[column] = u32::from_le_bytes(*word);
            }
        }
        match &aead.0 {
            Code::Portable => return,
            Code::Avx2(kernel, _) => {
                burst::Kernel::authenticate(*kernel, Cipher::XSalsa, &mut columns, &texts);
            }
            Code::Avx512(kernel, _) => {
                burst::Kernel::authenticate(*kernel, Cipher::XSalsa, &mut columns, &texts)
            }
        }
        columns.write_tags(Cipher::XSalsa, &mut jobs);
        for (packet, (_, _, _, tag)) in packets.iter().zip(&rows) {
            assert_eq!(packet[..TAG_LEN], *tag, "{:?}", aead.level());
        }
    });
}
