//! JSON-RPC of the simulated node and of its wallet, as pktd and pktwallet speak it.

use crate::node::{Lie, Refused, State};
use crate::server::{Body, Handler, answer, body_of};
use crate::socket;
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, Response};
use primitives::address::{Address, Written};
use primitives::amount::UNITS_PER_PKT;
use primitives::bitcoin::block::Header;
use primitives::bitcoin::consensus::{deserialize, serialize};
use primitives::bitcoin::hashes::Hash as _;
use primitives::bitcoin::script::ScriptBuf;
use primitives::bitcoin::{BlockHash, Transaction, Txid};
use primitives::reward::total_before;
use primitives::vote::Vote;
use serde_json::{Value, json};
use std::sync::Arc;

/// Headers of one answer.
const HEADERS_MAX: usize = 2000;
/// Where in a block with its proof: a byte of the first announcement's Merkle siblings.
const IN_ANNOUNCEMENT: usize = 80 + 8 + 500;

/// The node's port.
pub(crate) struct Node(pub(crate) Arc<State>);

/// The wallet's port.
pub(crate) struct Wallet(pub(crate) Arc<State>);

/// A refusal: code, name, text.
pub(crate) type Refusal = (i64, &'static str, String);

type Outcome = Result<Value, Refusal>;

impl Handler for Node {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path() == "/ws" {
            let auth = request_auth(&request);
            let is_known = is_known(&self.0, &auth);
            if auth.is_some() && !is_known {
                return unauthorized();
            }
            return socket::upgrade(&self.0, request, is_known);
        }
        serve(&self.0, request, node_call).await
    }
}

impl Handler for Wallet {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        serve(&self.0, request, wallet_call).await
    }
}

fn request_auth<T>(request: &Request<T>) -> Option<String> {
    Some(request.headers().get(AUTHORIZATION)?.to_str().ok()?.to_owned())
}

pub(crate) fn is_known(state: &State, auth: &Option<String>) -> bool {
    let pair = format!("{}:{}", state.options.user, state.options.password);
    auth.as_ref().is_some_and(|auth| *auth == format!("Basic {}", BASE64.encode(pair.as_bytes())))
}

fn unauthorized() -> Response<Body> {
    answer(401, "text/plain", "401 Unauthorized.\n".to_owned())
}

async fn serve(
    state: &State,
    request: Request<Incoming>,
    call: fn(&State, &str, &[Value]) -> Outcome,
) -> Response<Body> {
    if !is_known(state, &request_auth(&request)) {
        return unauthorized();
    }
    let body = body_of(request).await.unwrap_or_default();
    let body = match serde_json::from_slice(&body) {
        Ok(Value::Array(calls)) => calls.iter().map(|one| reply(state, one, call)).collect(),
        Ok(one) => reply(state, &one, call),
        Err(_) => Value::Null,
    };
    if state.lies(Lie::NoJson) {
        return answer(200, "application/json", format!("{body},"));
    }
    answer(200, "application/json", body.to_string())
}

/// The answer to a call, with what the node lies.
pub(crate) fn reply(
    state: &State,
    request: &Value,
    call: fn(&State, &str, &[Value]) -> Outcome,
) -> Value {
    let method = request["method"].as_str().unwrap_or_default();
    let params = request["params"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut id = request["id"].clone();
    if state.lies(Lie::OtherId) {
        id = json!(id.as_u64().unwrap_or(0) + 1000);
    }
    match call(state, method, params) {
        Ok(_result) if state.lies(Lie::WrongTypes) => {
            json!({"result": [[{}]], "error": null, "id": id})
        }
        Ok(result) => json!({"result": result, "error": null, "id": id}),
        Err((code, name, text)) => {
            let message = format!("0.0.0-sim {name}({code}): {text}");
            let error = json!({"code": code, "message": message, "stack": ["simnode"]});
            json!({"result": null, "error": error, "id": id})
        }
    }
}

/// A call of the node's.
pub(crate) fn node_call(state: &State, method: &str, params: &[Value]) -> Outcome {
    let tip = state.tip();
    let height = state.network.height(&tip).unwrap_or(0);
    let told = if state.lies(Lie::HighTip) { height + 1000 } else { height };
    match method {
        "getbestblock" => Ok(json!({"hash": tip.to_string(), "height": told})),
        "getblockcount" => Ok(json!(told)),
        "getbestblockhash" => Ok(json!(tip.to_string())),
        "getblockchaininfo" => Ok(json!({
            "chain": state.network.parameters().name, "blocks": told, "headers": told,
            "bestblockhash": tip.to_string(), "initialblockdownload": false, "difficulty": 1.0,
        })),
        "getcurrentnet" => Ok(json!(state.network.parameters().magic)),
        "getinfo" => Ok(json!({"version": 0, "blocks": told, "connections": 0, "testnet": false})),
        "getnetworkhashps" => Ok(json!(1.5)),
        "getblockhash" => block_hash(state, &tip, params),
        "getblockheader" => block_header(state, &tip, params),
        "getheaders" => Ok(headers(state, &tip, params)),
        "getblock" => block(state, params),
        "getnetworksteward" => Ok(steward(state, &tip, height)),
        "getrawmempool" => {
            let ids = state
                .waiting()
                .iter()
                .map(|one| one.compute_txid().to_string())
                .collect::<Vec<_>>();
            Ok(json!(ids))
        }
        "getrawtransaction" => raw_transaction(state, &tip, params),
        "sendrawtransaction" => send_raw(state, params),
        "getnewaddress" | "getbalance" | "sendtoaddress" => {
            Err((-1, "ErrRPCNoWallet", "This RPC requires --wallet".to_owned()))
        }
        _ => Err((-32_601, "ErrRPCMethodNotFound", "Method not found".to_owned())),
    }
}

fn invalid(what: &str) -> Refusal {
    (-32_602, "ErrRPCInvalidParams", format!("Invalid parameters: {what}"))
}

fn id_of<T: std::str::FromStr>(params: &[Value]) -> Result<T, Refusal> {
    let text = params.first().and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| invalid("a hash is needed"))
}

fn block_hash(state: &State, tip: &BlockHash, params: &[Value]) -> Outcome {
    let height =
        params.first().and_then(Value::as_u64).ok_or_else(|| invalid("a height is needed"))?;
    let headers = state.network.headers(tip);
    let header = usize::try_from(height).ok().and_then(|height| headers.get(height));
    let none = || (-8, "ErrBlockHeightOutOfRange", "Block number out of range".to_owned());
    Ok(json!(header.ok_or_else(none)?.block_hash().to_string()))
}

fn not_found() -> Refusal {
    (-5, "ErrRPCBlockNotFound", "Block not found".to_owned())
}

fn block_header(state: &State, tip: &BlockHash, params: &[Value]) -> Outcome {
    let id: BlockHash = id_of(params)?;
    let header = state.network.tree().get(&id).map(|mined| mined.header).ok_or_else(not_found)?;
    if params.get(1) == Some(&Value::Bool(false)) {
        return Ok(json!(HEXLOWER.encode(&serialize(&header))));
    }
    let height = state.network.height(&id).unwrap_or(0);
    let tip_height = state.network.height(tip).unwrap_or(0);
    Ok(json!({
        "hash": id.to_string(), "height": height, "confirmations": (tip_height + 1).saturating_sub(height),
        "version": header.version.to_consensus(), "merkleroot": header.merkle_root.to_string(),
        "time": header.time, "nonce": header.nonce, "bits": format!("{:08x}", header.bits.to_consensus()),
        "previousblockhash": header.prev_blockhash.to_string(),
    }))
}

/// After the first of the locator's blocks that is in the chain; else from the first block on.
fn headers(state: &State, tip: &BlockHash, params: &[Value]) -> Value {
    let path = state.network.headers(tip);
    let locator = params.first().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let place = |id: &Value| {
        let id: BlockHash = id.as_str()?.parse().ok()?;
        path.iter().position(|header| header.block_hash() == id)
    };
    let known = locator.iter().find_map(place).unwrap_or(0);
    let mut after: Vec<Header> = path.into_iter().skip(known + 1).take(HEADERS_MAX).collect();
    if state.lies(Lie::UnlinkedHeaders) && after.len() > 2 {
        after.remove(1);
    }
    if state.lies(Lie::ForeignHeaders)
        && let Some(first) = after.first_mut()
    {
        first.prev_blockhash = BlockHash::from_byte_array([9; 32]);
    }
    if state.lies(Lie::ManyHeaders) {
        after = after.iter().copied().cycle().take(HEADERS_MAX + 1).collect();
    }
    after.iter().map(|header| json!(HEXLOWER.encode(&serialize(header)))).collect()
}

fn block(state: &State, params: &[Value]) -> Outcome {
    let id: BlockHash = id_of(params)?;
    if params.get(1) != Some(&Value::Bool(false)) {
        return Err((-1, "ErrRPCUnimplemented", "only whole blocks".to_owned()));
    }
    let mut found =
        state.block(&id).filter(|_| !state.lies(Lie::Withheld)).ok_or_else(not_found)?;
    if state.lies(Lie::OtherBlock)
        && let Some(parent) = state.block(&found.header.prev_blockhash)
    {
        found = parent;
    }
    let mut bytes = found.to_bytes();
    if state.lies(Lie::BadProof) {
        flip(&mut bytes, IN_ANNOUNCEMENT);
    }
    if state.lies(Lie::BadTransactions) {
        // In the last output's value or script.
        let last = bytes.len().saturating_sub(8);
        flip(&mut bytes, last);
    }
    if state.lies(Lie::NoBlock) {
        bytes.truncate(100);
    }
    Ok(json!(HEXLOWER.encode(&bytes)))
}

fn flip(bytes: &mut [u8], place: usize) {
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= 1;
    }
}

fn steward(state: &State, tip: &BlockHash, height: u32) -> Value {
    let tree = state.network.tree();
    let told = tree.get(tip).map(|mined| mined.tally.state().clone());
    let (script, against) = told.map(|told| (told.steward, told.disapproval)).unwrap_or_default();
    let against = i64::try_from(against).unwrap_or(i64::MAX);
    json!({
        "script": HEXLOWER.encode(script.as_bytes()), "votesagainst": against,
        "totalpossible": total_before(height).units(),
    })
}

fn raw_transaction(state: &State, tip: &BlockHash, params: &[Value]) -> Outcome {
    let id: Txid = id_of(params)?;
    let waiting = state.waiting().into_iter().find(|one| one.compute_txid() == id);
    let found = waiting.or_else(|| Some(state.network.transaction(tip, id)?.1));
    let none = || (-5, "ErrRPCNoTxInfo", "No information available about transaction".to_owned());
    let mut transaction = found.ok_or_else(none)?;
    if state.lies(Lie::OtherTransaction) {
        transaction.lock_time = primitives::bitcoin::absolute::LockTime::from_consensus(1);
    }
    Ok(json!(to_hex(&transaction)))
}

pub(crate) fn to_hex(transaction: &Transaction) -> String {
    HEXLOWER.encode(&serialize(transaction))
}

fn send_raw(state: &State, params: &[Value]) -> Outcome {
    let text = params.first().and_then(Value::as_str).unwrap_or_default();
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    let bytes = bytes.map_err(|_wrong| (-22, "ErrRPCDecodeHexString", "no hex".to_owned()))?;
    let none = |_wrong| (-22, "ErrRPCDeserialization", "TX decode failed".to_owned());
    let transaction: Transaction = deserialize(&bytes).map_err(none)?;
    let id = state.take(transaction).map_err(|refused| match refused {
        Refused::InChain => (-27, "ErrRPCTxAlreadyInChain", refused.to_string()),
        Refused::Missing => (-25, "ErrRPCTxError", refused.to_string()),
        Refused::Known | Refused::Signature | Refused::Amounts => {
            (-26, "ErrRPCTxRejected", refused.to_string())
        }
    })?;
    Ok(json!(id.to_string()))
}

/// A call of the wallet's.
fn wallet_call(state: &State, method: &str, params: &[Value]) -> Outcome {
    let network = state.network.parameters();
    let tip = state.tip();
    let height = state.network.height(&tip).unwrap_or(0);
    match method {
        "getbestblock" => Ok(json!({"hash": tip.to_string(), "height": height})),
        "getnewaddress" => {
            let is_legacy = params.first().and_then(Value::as_bool).unwrap_or(false);
            Ok(json!(state.wallet().keys.address(is_legacy).text(network)))
        }
        "getbalance" => {
            let coins = state.coins();
            let wallet = state.wallet();
            let own = coins.values().filter(|coin| wallet.keys.owns(&coin.output.script_pubkey));
            Ok(json!(pkt(own.map(|coin| coin.output.value.to_sat()).sum())))
        }
        "getreceivedbyaddress" => {
            let script = script_of(state, params.first())?;
            let wanted = params.get(1).and_then(Value::as_u64).unwrap_or(1);
            Ok(json!(pkt(received(state, &script, wanted))))
        }
        "listtransactions" => Ok(movements(state, params)),
        "listunspent" => Ok(unspent(state, params)),
        "sendtoaddress" => {
            let transaction = compose(state, params, false)?;
            let id = state.take(transaction);
            Ok(json!(id.map_err(|refused| (-4, "ErrRPCWallet", refused.to_string()))?.to_string()))
        }
        "createtransaction" => {
            let is_vote = params.get(7).and_then(Value::as_bool).unwrap_or(false);
            Ok(json!(to_hex(&compose(state, params, is_vote)?)))
        }
        "setnetworkstewardvote" => {
            let script = |param: Option<&Value>| match param {
                None | Some(Value::Null) => Ok(None),
                param => script_of(state, param).map(Some),
            };
            let vote = Vote { candidate: script(params.first())?, against: script(params.get(1))? };
            state.wallet().keys.vote = Some(vote);
            Ok(Value::Null)
        }
        "getnetworkstewardvote" => {
            let vote = state.wallet().keys.vote.clone().unwrap_or_default();
            let text = |script: Option<ScriptBuf>| {
                script.map(|script| Address::of_script(&script).text(network))
            };
            Ok(json!({"votefor": text(vote.candidate), "voteagainst": text(vote.against)}))
        }
        "walletislocked" => Ok(json!(state.wallet().is_locked)),
        "walletlock" => {
            state.wallet().is_locked = state.options.passphrase.is_some();
            Ok(Value::Null)
        }
        "walletpassphrase" => {
            if params.first().and_then(Value::as_str) != state.options.passphrase.as_deref() {
                let text = "invalid passphrase for master private key".to_owned();
                return Err((-14, "ErrRPCWalletPassphraseIncorrect", text));
            }
            state.wallet().is_locked = false;
            Ok(Value::Null)
        }
        _ => Err((-32_601, "ErrRPCMethodNotFound", "Method not found".to_owned())),
    }
}

/// In floating point, as wallets have it.
fn pkt(units: u64) -> f64 {
    units as f64 / UNITS_PER_PKT as f64
}

fn script_of(state: &State, address: Option<&Value>) -> Result<ScriptBuf, Refusal> {
    let written = address.and_then(Value::as_str).and_then(|text| Written::parse(text).ok());
    let written = written.filter(|written| written.is_for(state.network.parameters()));
    let none = || (-5, "ErrRPCInvalidAddressOrKey", "no address of this network".to_owned());
    Ok(written.ok_or_else(none)?.address.script())
}

fn compose(state: &State, params: &[Value], is_vote: bool) -> Result<Transaction, Refusal> {
    if state.wallet().is_locked {
        let text = "Enter the wallet passphrase with walletpassphrase first".to_owned();
        return Err((-13, "ErrRPCWalletUnlockNeeded", text));
    }
    let script = script_of(state, params.first())?;
    let amount = params.get(1).and_then(Value::as_f64).map(|amount| (amount * pkt_units()).round());
    let amount = amount.filter(|amount| (1.0..=pkt_units() * 6e9).contains(amount));
    let amount = amount.ok_or_else(|| invalid("an amount is needed"))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and in range, by the line above"
    )]
    let units = amount as u64;
    let none = || (-4, "InsufficientFundsError", "insufficient funds available".to_owned());
    state.compose(&script, units, is_vote).ok_or_else(none)
}

fn pkt_units() -> f64 {
    UNITS_PER_PKT as f64
}

/// Transactions of the wallet's with where they are: block and confirmations.
fn history(state: &State) -> Vec<(Transaction, Option<BlockHash>, u64)> {
    let path = state.network.headers(&state.tip());
    let count = path.len();
    let mut history = Vec::new();
    for (height, header) in path.iter().enumerate() {
        let block = state.block(&header.block_hash());
        for transaction in block.into_iter().flat_map(|block| block.transactions) {
            history.push((transaction, Some(header.block_hash()), (count - height) as u64));
        }
    }
    history.extend(state.waiting().into_iter().map(|one| (one, None, 0)));
    history
}

fn received(state: &State, script: &ScriptBuf, wanted: u64) -> u64 {
    let history = history(state);
    let old = history.iter().filter(|(_, _, confirmations)| *confirmations >= wanted);
    let outputs = old.flat_map(|(transaction, _, _)| &transaction.output);
    let paid = outputs.filter(|output| output.script_pubkey == *script);
    paid.map(|output| output.value.to_sat()).sum()
}

fn movements(state: &State, params: &[Value]) -> Value {
    let number = |place: usize, usual: u64| {
        let number = params.get(place).and_then(Value::as_u64).unwrap_or(usual);
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    let (count, skip) = (number(0, 10), number(1, 0));
    let history = history(state);
    let mut list = Vec::new();
    for (transaction, block, confirmations) in &history {
        let wallet = state.wallet();
        let own = |script: &ScriptBuf| wallet.keys.owns(script);
        let spends = transaction.input.iter().any(|input| {
            let from =
                history.iter().find(|(one, _, _)| one.compute_txid() == input.previous_output.txid);
            let output =
                from.and_then(|(one, _, _)| one.output.get(input.previous_output.vout as usize));
            output.is_some_and(|output| own(&output.script_pubkey))
        });
        for output in &transaction.output {
            let is_own = own(&output.script_pubkey);
            let units = pkt(output.value.to_sat());
            let (category, amount) = match (spends, is_own) {
                (true, false) => ("send", -units),
                (false, true) => ("receive", units),
                _ => continue,
            };
            list.push(json!({
                "txid": transaction.compute_txid().to_string(), "category": category, "amount": amount,
                "confirmations": confirmations, "blockhash": block.map(|id| id.to_string()).unwrap_or_default(),
                "walletconflicts": [],
            }));
        }
    }
    let end = list.len().saturating_sub(skip);
    let from = end.saturating_sub(count);
    list.into_iter().take(end).skip(from).collect()
}

fn unspent(state: &State, params: &[Value]) -> Value {
    let wanted = params.first().and_then(Value::as_u64).unwrap_or(1);
    let height = state.network.height(&state.tip()).unwrap_or(0);
    let coins = state.coins();
    let wallet = state.wallet();
    let own = coins.iter().filter(|(_, coin)| wallet.keys.owns(&coin.output.script_pubkey));
    let list = own.map(|(outpoint, coin)| {
        json!({
            "txid": outpoint.txid.to_string(), "vout": outpoint.vout,
            "scriptPubKey": HEXLOWER.encode(coin.output.script_pubkey.as_bytes()),
            "amount": pkt(coin.output.value.to_sat()),
            "confirmations": (height + 1).saturating_sub(coin.height), "spendable": true,
        })
    });
    list.filter(|one| one["confirmations"].as_u64() >= Some(wanted)).collect()
}
