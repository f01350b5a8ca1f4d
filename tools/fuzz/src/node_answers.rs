//! Whatever a node, a wallet, Lightning or a websocket may answer.

use chain_node::answer;
use chain_node::error::{Refusal, Text};
use chain_node::{json, lightning, rpc, wallet, watch};
use primitives::bitcoin::{BlockHash, Txid};
use primitives::network::PKT_TEST;
use serde_json::Value;

/// Bytes of a text that is kept, with what is written for a letter that is not shown.
const SHOWN_LEN_MAX: usize = 256;

/// Reads `input` as an answer to each question.
pub fn node_answers(input: &[u8]) {
    bounds(input);
    typed(input);
    if let Ok(text) = std::str::from_utf8(input) {
        texts(text);
    }
    let _news = watch::news(input);
    lightning::parse_anything(input, &PKT_TEST);
    wallet::parse_anything(input);
}

/// What is read is what any JSON parser reads, and within the bounds; whoever goes deeper is refused.
fn bounds(input: &[u8]) {
    let read = json::read::<Value>(input);
    let plain = serde_json::from_slice::<Value>(input);
    if let Ok(read) = &read {
        assert!(plain.is_ok_and(|plain| plain == *read));
        assert!(depth(read) <= json::DEPTH_MAX);
    } else if let Ok(plain) = &plain {
        assert!(depth(plain) > json::DEPTH_MAX || longest(plain) > json::ENTRIES_MAX);
    }
    if let Err(error) = &read {
        assert!(error.to_string().len() < 4 * SHOWN_LEN_MAX);
    }
}

fn parts(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn depth(value: &Value) -> usize {
    let inner = parts(value).into_iter().map(depth).max().unwrap_or(0);
    inner + usize::from(value.is_array() || value.is_object())
}

/// Objects may have lost entries that were there twice.
fn longest(value: &Value) -> usize {
    let inner = parts(value).into_iter().map(longest).max().unwrap_or(0);
    if value.is_object() { usize::MAX } else { inner.max(parts(value).len()) }
}

fn typed(input: &[u8]) {
    let result = rpc::result::<u64>(input, "m", 1);
    let results = rpc::results::<Vec<String>>(input, &["a", "b"], 1);
    assert!(results.is_err() || results.is_ok_and(|results| results.len() == 2));
    if let Err(error) = result {
        let _standing = error.standing();
        let _broadcast = answer::broadcast(error);
    }
    let _best = rpc::result::<answer::BestBlock>(input, "m", 1).map(answer::Tip::from);
    let _info = rpc::result::<answer::Info>(input, "m", 1);
    let steward = rpc::result::<answer::StewardAnswer>(input, "m", 1);
    let _steward = steward.map(answer::Steward::try_from);
    let _ids = rpc::result::<Vec<Txid>>(input, "m", 1);
    let texts = rpc::result::<Option<Vec<String>>>(input, "m", 1);
    if let Ok(headers) = answer::headers(&texts.ok().flatten().unwrap_or_default()) {
        let ids: Vec<BlockHash> = headers.iter().map(|header| header.block_hash()).collect();
        let linked = headers.iter().skip(1).zip(&ids);
        assert!(linked.clone().all(|(header, before)| header.prev_blockhash == *before));
    }
}

fn texts(text: &str) {
    let shown = Text::new(text);
    assert!(shown.as_str().len() < SHOWN_LEN_MAX);
    assert!(!shown.as_str().contains(char::is_control));
    let refusal = Refusal::new(0, text);
    assert!(refusal.text.as_str().len() < SHOWN_LEN_MAX);
    let _script = answer::script_of(text, &PKT_TEST);
    if let Ok(transaction) = answer::transaction(text) {
        let again =
            answer::transaction_of(&answer::to_hex(&transaction), transaction.compute_txid());
        assert!(again.is_ok_and(|again| again == transaction));
    }
    let id = text.get(..160).and_then(|header| answer::headers(&[header.to_owned()]).ok());
    let id = id.and_then(|headers| headers.first().map(|header| header.block_hash()));
    if let Some(raw) = id.and_then(|id| answer::block(text, id).ok()) {
        assert_eq!(Some(raw.block.header.block_hash()), id);
        assert_eq!(raw.bytes.len(), text.len() / 2);
    }
}
