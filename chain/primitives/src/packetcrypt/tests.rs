//! Every level against the twin, and both against the vectors of the parts.

#![allow(clippy::cast_possible_truncation, reason = "numbers of the vectors")]

use super::chacha::{GROUP_LEN, Stream};
use super::generate::generate;
use super::item::{Maker, item_v0, run};
use super::kernel::Code;
use super::op;
use super::program::Program;
use super::run::{Machine, WINDOW};
use super::state::{State, blake32};
use super::{Level, twin};
use crate::vectors::{hex, read, report};
use proptest::prelude::*;
use serde_json::Value;
use std::path::PathBuf;

fn levels() -> Vec<Code> {
    Level::ALL.into_iter().filter_map(Code::with).collect()
}

fn primitives() -> (PathBuf, Value) {
    let (path, json) = read("primitives.json");
    (path, serde_json::from_slice(&json).unwrap())
}

fn rows<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    file[list].as_array().unwrap()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("no {field} in {row}"))
}

fn bytes32(row: &Value, field: &str) -> [u8; 32] {
    hex(text(row, field)).try_into().unwrap()
}

fn number(row: &Value, field: &str) -> u64 {
    row[field].as_u64().or_else(|| row[field].as_str()?.parse().ok()).unwrap()
}

fn word(value: &Value) -> u32 {
    u32::from_str_radix(value.as_str().unwrap(), 16).unwrap()
}

fn to_words(bytes: &[u8]) -> [u32; WINDOW] {
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|place| u32::from_le_bytes(words[place]))
}

fn to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn vectors_expansion() {
    let (path, file) = primitives();
    for row in rows(&file, "hash_expand") {
        let (out, counter) = (hex(text(row, "out")), number(row, "counter") as u32);
        assert_eq!(twin::expand(&bytes32(row, "key"), out.len(), counter), out);
        for code in levels() {
            let mut group = [0; GROUP_LEN];
            Stream::expand(&bytes32(row, "key"), counter).blocks(code, 0, &mut group);
            let len = out.len().min(GROUP_LEN);
            assert_eq!(group[..len], out[..len], "{code:?}");
        }
    }
    report(&path, rows(&file, "hash_expand").len());
}

#[test]
fn vectors_operations() {
    let (path, file) = primitives();
    let mut count = 0;
    for operation in rows(&file, "ops") {
        let code = number(operation, "op") as u8;
        for row in rows(operation, "rows") {
            let row = row.as_array().unwrap();
            let arrow = row.iter().position(|word| word == "=>").unwrap();
            let operands: Vec<u64> = row[..arrow].iter().map(|value| word(value).into()).collect();
            let results: Vec<u32> = row[arrow + 1..].iter().map(word).collect();
            let (a, b) = match operands[..] {
                [a, b] => (a, b),
                [a0, a1, b0, b1] => (a0 | a1 << 32, b0 | b1 << 32),
                _ => panic!("operands {operands:?}"),
            };
            assert_eq!(
                twin::operate(code, a, b),
                results,
                "{} {a:x} {b:x}",
                text(operation, "name")
            );
            count += 1;
        }
    }
    for row in rows(&file, "immediates") {
        let value = u64::from_str_radix(row[1].as_str().unwrap(), 16).unwrap();
        assert_eq!(op::immediate(word(&row[0])), value, "{row}");
        count += 1;
    }
    report(&path, count);
}

#[test]
fn vectors_programs() {
    let (path, file) = primitives();
    for row in rows(&file, "randgen") {
        for code in levels() {
            let mut words = Vec::new();
            assert!(generate(code, &bytes32(row, "seed"), &mut words));
            assert_eq!(words.len() as u64, number(row, "words"));
            assert_eq!(blake32(&[&to_bytes(&words)]), bytes32(row, "blake2b256_of_le_words"));
            if let Some(program) = row["program_le_hex"].as_str() {
                assert_eq!(to_bytes(&words), hex(program));
            }
        }
    }
    report(&path, rows(&file, "randgen").len());
}

#[test]
fn vectors_runs() {
    let (path, file) = primitives();
    for row in rows(&file, "interpret") {
        let memory_counter = number(row, "memory_counter") as u32;
        let memory = twin::expand(&bytes32(row, "memory_seed"), 1024, memory_counter);
        let cycles = number(row, "cycles") as u32;
        for code in levels() {
            let (mut words, mut program, mut machine) =
                (Vec::new(), Program::default(), Machine::new());
            assert!(generate(code, &bytes32(row, "program_seed"), &mut words));
            program.translate(&words).unwrap();
            machine.load(&program);
            machine.memory = to_words(&memory);
            let mut state = State::zero();
            state.init(code, &bytes32(row, "state_seed"), number(row, "state_nonce"));
            assert_eq!(blake32(&[&state.0]), bytes32(row, "state_before_blake2b256"));
            let mut by_twin = [to_words(&state.0[..1024]), to_words(&state.0[1024..])];
            run(code, &mut machine, &program, &mut state, cycles).unwrap();
            assert_eq!(blake32(&[&state.0]), bytes32(row, "state_after_blake2b256"), "{code:?}");
            for cycle in 0..cycles as usize {
                let [first, second] = &mut by_twin;
                let (input, output) =
                    if cycle % 2 == 0 { (first, second) } else { (second, first) };
                twin::interpret(&words, input, output, &machine.memory).unwrap();
            }
            assert_eq!(to_bytes(by_twin.as_flattened()), state.0, "{code:?}");
        }
    }
    report(&path, rows(&file, "interpret").len());
}

#[test]
fn vectors_cycles() {
    let (path, file) = primitives();
    for row in rows(&file, "cryptocycle") {
        for code in levels() {
            let mut state = State::zero();
            state.init(code, &bytes32(row, "seed"), number(row, "nonce"));
            if let Some(patch) = row["patch_bytes_16_20"].as_str() {
                state.0[16..20].copy_from_slice(&hex(patch));
                state.fuzz();
            }
            assert_eq!(blake32(&[&state.0]), bytes32(row, "before"));
            assert_eq!(state.0[12..16], hex(text(row, "data")));
            assert_eq!(state.number(), number(row, "item_no"));
            state.cycle(code);
            assert_eq!(blake32(&[&state.0]), bytes32(row, "after"), "{code:?} {row}");
            assert_eq!(state.0[16..32], hex(text(row, "poly")));
            state.smul();
            assert_eq!(blake32(&[&state.0]), bytes32(row, "after_smul"));
            assert_eq!(state.finish(), bytes32(row, "final32"));
        }
    }
    report(&path, rows(&file, "cryptocycle").len());
}

#[test]
fn vectors_items() {
    let (path, file) = primitives();
    let mut count = 0;
    for row in rows(&file, "items_v0") {
        for code in levels() {
            let item = item_v0(code, number(row, "item"), &bytes32(row, "seed"));
            assert_eq!(blake32(&[&item]), bytes32(row, "blake2b256"), "{code:?}");
        }
        count += 1;
    }
    for row in rows(&file, "items_v1") {
        for code in levels() {
            let mut maker = Maker::new(code);
            maker.load(&bytes32(row, "program_seed")).unwrap();
            for item in rows(row, "items") {
                let made = maker.item(number(item, "item"), &bytes32(row, "item_seed")).unwrap();
                assert_eq!(blake32(&[made]), bytes32(item, "blake2b256"), "{code:?}");
                if let Some(bytes) = item["bytes"].as_str() {
                    assert_eq!(made[..], hex(bytes));
                }
            }
        }
        count += rows(row, "items").len();
    }
    report(&path, count);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any program on any data: every level is the twin, also where it takes too long.
    #[test]
    fn every_level_runs_like_the_twin(
        seed in any::<[u8; 32]>(),
        data in any::<[u8; 32]>(),
    ) {
        let halves = twin::expand(&data, 3072, 0);
        let (input, memory) = (to_words(&halves[..1024]), to_words(&halves[2048..]));
        for code in levels() {
            let (mut words, mut program, mut machine) = (Vec::new(), Program::default(), Machine::new());
            prop_assume!(generate(code, &seed, &mut words));
            program.translate(&words).unwrap();
            machine.load(&program);
            (machine.input, machine.memory) = (input, memory);
            let (mut fast, mut slow) = (to_words(&halves[1024..2048]), to_words(&halves[1024..2048]));
            let fast_is_short = machine.run(code, &program, &mut fast);
            let slow_is_short = twin::interpret(&words, &input, &mut slow, &memory).is_some();
            prop_assert_eq!(fast_is_short, slow_is_short);
            prop_assert!(!fast_is_short || fast == slow, "{:?}", code);
        }
    }

    /// Small sets, whose trees can be looked at whole; and any others, which must end in an answer.
    #[test]
    fn a_tree_proof_of_any_bytes_has_an_answer(
        proof in prop::collection::vec(any::<u8>(), 0..2048),
        count in prop_oneof![any::<u64>(), 1u64..40, Just(u64::MAX), Just(u64::MAX - 1)],
        indices in any::<[u64; 4]>(),
        hashes in any::<[[u8; 32]; 4]>(),
    ) {
        // Random bytes never fit together by chance.
        prop_assert!(super::tree::root(&proof, count, indices, hashes).is_err());
    }

    #[test]
    fn the_authenticator_is_the_library_s(
        key in any::<[u8; 32]>(),
        blocks in prop::collection::vec(any::<[u8; 16]>(), 0..20),
        ones in any::<bool>(),
    ) {
        use poly1305::universal_hash::{KeyInit, UniversalHash};
        let blocks: Vec<_> = blocks.into_iter().map(|block| if ones { [0xff; 16] } else { block }).collect();
        let mut library = poly1305::Poly1305::new(&key.into());
        library.update_padded(blocks.as_flattened());
        let (most, last) = blocks.split_at(blocks.len().saturating_sub(1));
        prop_assert_eq!(super::poly1305::authenticate(&key, most, last).to_vec(), library.finalize().to_vec());
    }

    #[test]
    fn every_level_has_the_library_s_key_stream(key in any::<[u8; 32]>(), counter in any::<u32>()) {
        let expected = twin::expand(&key, 2 * GROUP_LEN, counter);
        for code in levels() {
            let mut group = [0; GROUP_LEN];
            Stream::expand(&key, counter).blocks(code, 16, &mut group);
            prop_assert_eq!(&group[..], &expected[GROUP_LEN..]);
            Stream::numbers(&key).blocks(code, counter, &mut group);
            for (block, counter) in group.chunks(64).zip(0u32..).map(|(block, at)| (block, counter.wrapping_add(at))) {
                prop_assert_eq!(block, twin::expand(&key, 64, counter));
            }
        }
    }
}
