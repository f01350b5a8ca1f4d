//! Every row of the chain's vectors, against the crate's public face: formats, money, difficulty, announcements,
//! blocks.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use bitcoin::BlockHash;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::script::ScriptBuf;
use chain_primitives::address::{Address, AddressError, Written};
use chain_primitives::announcement::Announcement;
use chain_primitives::block::{Block, height_push, parse_header};
use chain_primitives::commitment::Commitment;
use chain_primitives::compact::{Compact, target_for_work};
use chain_primitives::fault::Fault;
use chain_primitives::network::{Gates, PKT, PKT_TEST};
use chain_primitives::packetcrypt::{Level, Verifier};
use chain_primitives::vectors::{hex, read, report};
use chain_primitives::vote::{Vote, stripped};
use chain_primitives::{difficulty, header, reward};
use serde_json::Value;
use std::path::PathBuf;

fn json(name: &str) -> (PathBuf, Value) {
    let (path, bytes) = read(name);
    (path, serde_json::from_slice(&bytes).unwrap())
}

fn rows<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    let list = &file[list];
    list.as_array().or_else(|| list["rows"].as_array()).unwrap()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("no {field} in {row}"))
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn height(value: &Value) -> u32 {
    number(value).try_into().unwrap()
}

fn compact(value: &Value) -> Compact {
    Compact(u32::from_str_radix(value.as_str().unwrap(), 16).unwrap())
}

fn id(value: &Value) -> BlockHash {
    value.as_str().unwrap().parse().unwrap()
}

fn verifiers() -> Vec<Verifier> {
    Level::ALL.into_iter().filter_map(Verifier::with).collect()
}

#[test]
fn vectors_difficulty() {
    let (path, file) = json("primitives.json");
    let mut count = 0;
    for row in rows(&file, "compact") {
        let value = compact(&row["compact"]);
        let big = value.number();
        assert_eq!(format!("{big:x}"), text(row, "big"), "{row}");
        count += 1;
        if row["work"].is_null() {
            assert_eq!(value.work(), None);
            continue;
        }
        assert_eq!(Compact::from_number(&value.target().unwrap()), compact(&row["back"]), "{row}");
        let work = value.work().unwrap();
        assert_eq!(format!("{work:x}"), text(row, "work"), "{row}");
        assert_eq!(
            Compact::from_number(&target_for_work(&work)),
            compact(&row["target_for_work"]),
            "{row}"
        );
        for (version, field) in [(1, "min_ok_v1"), (2, "min_ok_v2")] {
            assert_eq!(
                difficulty::is_sane_least(value, version),
                row[field].as_bool().unwrap(),
                "{row}"
            );
        }
    }
    for row in rows(&file, "effective_target") {
        let found = difficulty::effective(
            compact(&row[0]),
            compact(&row[1]),
            number(&row[2]),
            number(&row[3]),
        );
        assert_eq!(found, compact(&row[4]), "{row}");
        count += 1;
    }
    for row in rows(&file, "aged_target") {
        let found = difficulty::aged(compact(&row[0]), height(&row[1]), number(&row[2]));
        assert_eq!(found.unwrap_or(Compact(u32::MAX)), compact(&row[3]), "{row}");
        count += 1;
    }
    for row in rows(&file, "soft_nonce_max") {
        assert_eq!(
            difficulty::soft_nonce_max(compact(&row[0])).map(u64::from),
            row[1].as_u64(),
            "{row}"
        );
        count += 1;
    }
    for row in rows(&file, "retarget") {
        let span = row[0].as_i64().unwrap();
        assert_eq!(
            header::retarget(compact(&row[1]), span, PKT.pow_limit),
            compact(&row[2]),
            "{row}"
        );
        count += 1;
    }
    report(&path, count);
}

#[test]
fn vectors_money() {
    let (path, file) = json("primitives.json");
    for row in rows(&file, "money") {
        let height = height(&row[0]);
        assert_eq!(reward::subsidy(height).units(), number(&row[1]), "{row}");
        assert_eq!(reward::steward_share(height).units(), number(&row[2]), "{row}");
        assert_eq!(reward::total_before(height).units(), number(&row[3]), "{row}");
    }
    report(&path, rows(&file, "money").len());
}

fn kind(address: &Address) -> &'static str {
    match address {
        Address::PubkeyHash(_) => "*btcutil.AddressPubKeyHash",
        Address::ScriptHash(_) => "*btcutil.AddressScriptHash",
        Address::WitnessPubkeyHash(_) => "*btcutil.AddressWitnessPubKeyHash",
        Address::WitnessScriptHash(_) => "*btcutil.AddressWitnessScriptHash",
        Address::Script(_) => "*btcutil.AddressNonStandard",
    }
}

/// A vote as the vectors have it: hex, empty for nobody.
fn votes(script: &ScriptBuf) -> [String; 2] {
    let vote = Vote::parse(script).unwrap_or_default();
    [vote.candidate, vote.against].map(|script| script.unwrap_or_default().to_hex_string())
}

#[test]
fn vectors_addresses() {
    let (path, file) = json("primitives.json");
    let mut count = 0;
    for row in rows(&file, "addresses") {
        let script = ScriptBuf::from_bytes(hex(text(row, "script")));
        let address = Address::of_script(&script);
        assert_eq!(kind(&address), text(row, "pkt_type"), "{row}");
        assert_eq!(votes(&script), [text(row, "vote_for"), text(row, "vote_against")], "{row}");
        for network in [PKT, PKT_TEST] {
            let written = text(row, network.name);
            assert_eq!(address.text(&network), written, "{row}");
            let again = Written::parse(written).unwrap();
            assert_eq!((again.is_for(&network), &again.address), (true, &address), "{row}");
        }
        assert_eq!(address.script(), script, "{row}");
        count += 1;
    }
    for row in rows(&file, "address_text") {
        let found = Written::parse(text(row, "text"));
        if row["err"].is_null() {
            let found = found.unwrap();
            assert_eq!(found.address.script().to_hex_string(), text(row, "script"), "{row}");
            assert_eq!(kind(&found.address), text(row, "type"), "{row}");
            assert_eq!(Some(found.is_for(&PKT)), row["for_net"].as_bool(), "{row}");
        } else {
            let error = found.unwrap_err();
            let is_kind = match text(row, "err").split(' ').next().unwrap() {
                "unknown" => matches!(error, AddressError::Unknown { .. }),
                "checksum" => matches!(error, AddressError::Witness(_) | AddressError::Base58(_)),
                _ => true,
            };
            assert!(is_kind, "{row}: {error}");
        }
        count += 1;
    }
    for row in rows(&file, "votes") {
        let script = ScriptBuf::from_bytes(hex(text(row, "script")));
        assert_eq!(votes(&script), [text(row, "for"), text(row, "against")], "{row}");
        assert_eq!(Address::of_script(&script).text(&PKT), text(row, "address"), "{row}");
        if let Some(vote) = Vote::parse(&script)
            && let Some(plain) = stripped(&script)
            && vote.attach(&plain).as_ref() != Some(&script)
        {
            // One of those that nobody would write: with operations behind the vote, or before.
            assert!(kind(&Address::of_script(&script)).ends_with("NonStandard"), "{row}");
        }
        count += 1;
    }
    report(&path, count);
}

fn announcement(row: &Value, field: &str) -> Announcement {
    Announcement::try_from(hex(text(row, field)).as_slice()).unwrap()
}

#[test]
fn vectors_announcements() {
    let (path, file) = json("anns_v1.json");
    let mut reasons = std::collections::BTreeMap::new();
    for verifier in &mut verifiers() {
        for row in rows(&file, "cases") {
            let announcement = announcement(row, "ann");
            assert_eq!(announcement.parent_height(), height(&row["parent_height"]));
            let parent = id(&row["parent_hash"]).to_byte_array();
            let found = verifier.announcement(
                &announcement,
                &parent,
                number(&row["pc_version"]),
                &Gates::REFERENCE,
            );
            if row["ok"] == true {
                assert_eq!(
                    found.map(|hash| hash.to_vec()),
                    Ok(hex(text(row, "work_hash"))),
                    "{}",
                    row["case"]
                );
            } else {
                let fault = found.unwrap_err();
                assert_eq!(fault.reference(), text(row, "err"), "{}", row["case"]);
                *reasons.entry(fault.reference()).or_insert(0) += 1;
            }
        }
    }
    assert!(reasons.len() >= 6, "every reason was seen: {reasons:?}");
    report(&path, rows(&file, "cases").len());
}

#[test]
fn vectors_blocks() {
    let (path, file) = json("blocks.json");
    for verifier in &mut verifiers() {
        for row in rows(&file, "cases") {
            if row["kind"] == "ann" {
                let parent = id(&row["parent"]).to_byte_array();
                let version = number(&row["pc_version"]);
                let found = verifier.announcement(
                    &announcement(row, "ann"),
                    &parent,
                    version,
                    &Gates::REFERENCE,
                );
                assert_eq!(found.map(|hash| hash.to_vec()), Ok(hex(text(row, "work_hash"))));
                continue;
            }
            block_row(verifier, row, "block");
        }
    }
    report(&path, rows(&file, "cases").len());
}

fn block_row(verifier: &mut Verifier, row: &Value, field: &str) {
    let name = format!("{} {} {}", row["name"], row["case"], row["source"]);
    let parents: Vec<BlockHash> = row["parents"].as_array().unwrap().iter().map(id).collect();
    let share = row["share_target"].as_u64().filter(|target| *target != 0);
    let share = share.map(|target| Compact(target.try_into().unwrap()));
    let bytes = hex(text(row, field));
    let found = Block::parse(&bytes).and_then(|block| {
        if block.proof.is_standard {
            // But for the order of the records.
            assert_eq!(block.to_bytes().len(), bytes.len(), "{name}");
        }
        let parents = parents.as_slice().try_into().unwrap();
        verifier.block(&block, height(&row["height"]), parents, share, &Gates::REFERENCE)
    });
    if row["ok"] == true {
        let verdict = found.unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(Some(verdict.is_block), row["is_block"].as_bool(), "{name}");
        if let Some(hash) = row["c_library"]["work_hash"].as_str() {
            assert_eq!(verdict.work_hash.to_vec(), hex(hash), "{name}");
        }
    } else {
        let fault = found.unwrap_err();
        assert!(
            text(row, "err").starts_with(fault.reference()),
            "{name}: {} is {fault}",
            row["err"]
        );
    }
}

#[test]
fn vectors_real() {
    let (path, file) = json("real.json");
    let mut count = 0;
    for verifier in &mut verifiers() {
        let row = &file["v1_announcement"];
        let parent = id(&row["parent_hash"]).to_byte_array();
        let found = verifier.announcement(&announcement(row, "ann"), &parent, 2, &PKT.gates);
        assert_eq!(found.map(|hash| hash.to_vec()), Ok(hex(text(row, "work_hash"))));
        for row in rows(&file, "v0_blocks") {
            block_row(verifier, row, "rebuilt_block");
            if let Some(hashes) = row["ann_work_hashes"].as_array() {
                let block = Block::parse(&hex(text(row, "rebuilt_block"))).unwrap();
                for (announcement, hash) in block.proof.announcements.iter().zip(hashes) {
                    let found = verifier.announcement(announcement, &[0; 32], 0, &PKT.gates);
                    assert_eq!(found.map(|hash| hash.to_vec()), Ok(hex(hash.as_str().unwrap())));
                }
                let header = parse_header(&hex(text(row, "as_stored"))[..80]).unwrap();
                assert_eq!(header.block_hash(), id(&row["stored_hash"]));
            }
        }
    }
    count += 1 + rows(&file, "v0_blocks").len();
    for row in rows(&file, "headers") {
        let bytes = hex(text(row, "header"));
        let header = parse_header(&bytes).unwrap();
        assert_eq!(header.block_hash(), id(&row["hash"]));
        assert_eq!(Compact(header.bits.to_consensus()), compact(&row["bits"]));
        assert_eq!(Some(u64::from(header.time)), row["time"].as_u64());
        assert_eq!(serialize(&header), bytes);
        count += 1;
    }
    let genesis = PKT.genesis();
    let first = parse_header(&hex(text(&file["headers"][0], "header"))).unwrap();
    assert_eq!(header::check(&first, 1, |height| (height == 0).then_some(genesis), &PKT), Ok(()));
    let coinbase: bitcoin::Transaction =
        bitcoin::consensus::deserialize(&hex(text(&file["coinbase_block_1"], "tx"))).unwrap();
    assert_eq!(coinbase.compute_txid().to_string(), text(&file["coinbase_block_1"], "txid"));
    assert!(coinbase.input[0].script_sig.as_bytes().starts_with(&height_push(1)));
    let commitment = Commitment::find(&coinbase).unwrap();
    assert_eq!(commitment.count, 434);
    assert!(
        coinbase.output.iter().any(|output| output.script_pubkey.as_bytes() == commitment.script())
    );
    count += 1;
    for (row, (height, id)) in rows(&file, "checkpoints").iter().zip(PKT.checkpoints) {
        assert_eq!((row[0].as_u64(), row[1].as_str()), (Some(u64::from(*height)), Some(*id)));
        count += 1;
    }
    assert_eq!(rows(&file, "checkpoints").len(), PKT.checkpoints.len());
    report(&path, count);
}

#[test]
fn a_fault_has_the_reference_s_name_and_a_sentence() {
    assert_eq!(Fault::AnnItem4.reference(), "Validate_checkAnn_INVAL_ITEM4");
    assert_eq!(
        Fault::AnnItem4.to_string(),
        "announcement: the item that it ends with is another one"
    );
}
