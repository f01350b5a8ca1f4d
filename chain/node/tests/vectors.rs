//! A real node's recorded answers (`vectors/pkt/rpc/`), served again by a plain socket and asked for by the clients.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use chain_node::answer::Broadcast;
use chain_node::rpc::{self, Call};
use chain_node::watch::news;
use chain_node::{Endpoint, News, Node as _, NodeError, Pktd, Rpc};
use common::{credentials, long};
use primitives::bitcoin::BlockHash;
use primitives::network::PKT_TEST;
use primitives::vectors::{read, report};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Method and parameters → answer.
type Recorded = BTreeMap<String, Value>;

fn recorded() -> (std::path::PathBuf, Vec<Value>) {
    let (path, bytes) = read("rpc/pktd_rpc.json");
    (path, serde_json::from_slice(&bytes).unwrap())
}

fn key(request: &Value) -> String {
    format!("{} {}", request["method"], request["params"])
}

/// Serves recorded answers, with the asker's ids in them; whatever else is asked is refused as an unknown method.
async fn serve(recorded: Recorded) -> Pktd {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let recorded = Arc::new(recorded);
    tokio::spawn(async move {
        while let Ok((stream, _from)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&recorded)));
        }
    });
    let endpoint = Endpoint::new(&url, None, &credentials("labpass")).unwrap();
    Pktd::new("recorded".to_owned(), Rpc::new(endpoint, long()))
}

async fn answer(mut stream: TcpStream, recorded: Arc<Recorded>) {
    let mut bytes = Vec::new();
    let request: Value = loop {
        let mut more = [0; 4096];
        let len = stream.read(&mut more).await.unwrap();
        bytes.extend_from_slice(&more[..len]);
        let text = String::from_utf8_lossy(&bytes);
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
        match body.and_then(|body| serde_json::from_str(body).ok()) {
            Some(request) => break request,
            None if len == 0 => return,
            None => {}
        }
    };
    let reply = |request: &Value| {
        let error =
            json!({"code": -32601, "message": "x ErrRPCMethodNotFound(-32601): not recorded"});
        let none = json!({"result": null, "error": error});
        let mut reply = recorded.get(&key(request)).cloned().unwrap_or(none);
        reply["id"] = request["id"].clone();
        reply
    };
    let batch = request.as_array().map(|calls| calls.iter().map(reply).collect::<Value>());
    let body = batch.unwrap_or_else(|| reply(&request));
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

/// Every recorded answer is read as what it is: a result or a refusal, with its code and name.
#[test]
fn vectors_of_answers_are_read() {
    let (path, rows) = recorded();
    let mut count = 0;
    for row in &rows {
        count += 1;
        let (body, id) = (row["response"].to_string(), row["request"]["id"].as_u64());
        if row["response"].is_array() {
            let results = rpc::results::<Value>(body.as_bytes(), &["a", "b"], 1).unwrap();
            assert!(results.iter().all(Result::is_ok), "{results:?}");
            continue;
        }
        let result = rpc::result::<Value>(body.as_bytes(), "m", id.unwrap());
        let error = &row["response"]["error"];
        match result {
            Ok(result) => assert_eq!(result, row["response"]["result"]),
            Err(NodeError::Refused { refusal, .. }) => {
                assert_eq!(json!(refusal.code), error["code"]);
                let name = refusal.name.as_str();
                assert!(error["message"].as_str().unwrap().contains(name) && !name.is_empty());
                assert!(!refusal.text.as_str().contains("er.go"), "a program's stack: {refusal}");
            }
            // The page of a wrong password is no JSON-RPC.
            Err(error) => assert_eq!(row["http_status"], 401, "{error}"),
        }
    }
    report(&path, count);
}

/// The typed calls get what the node had.
#[tokio::test]
async fn vectors_are_replayed_to_the_client() {
    let (path, rows) = recorded();
    let answers =
        rows.iter().filter(|row| row["request"].is_object() && row["response"].is_object());
    // The wrong password's row asks the same as another one, and is no object.
    let table: Recorded =
        answers.map(|row| (key(&row["request"]), row["response"].clone())).collect();
    let count = table.len();
    let result = |method: &str| {
        let row = rows.iter().find(|row| row["request"]["method"] == method);
        row.unwrap()["response"]["result"].clone()
    };
    let client = serve(table).await;

    let tip = client.tip().await.unwrap();
    assert_eq!((tip.height, json!(tip.id)), (2150, result("getbestblockhash")));
    let status = client.status().await.unwrap();
    assert_eq!((status.magic, status.blocks, status.peers), (PKT_TEST.magic, 2150, 0));
    let steward = client.steward().await.unwrap();
    assert_eq!(json!(steward.total.units()), result("getnetworksteward")["totalpossible"]);
    assert_eq!(client.id_at(2150).await.unwrap(), Some(tip.id));
    assert_eq!(client.id_at(999_999).await.unwrap(), None);
    assert!(client.network_rate(120).await.unwrap() > 69.0);
    assert!(client.mempool().await.unwrap().is_empty());

    let asked = |method: &str, verbose: Value| {
        let is_it = |row: &&Value| {
            row["request"]["method"] == method && row["request"]["params"][1] == verbose
        };
        rows.iter().find(is_it).unwrap()["request"]["params"][0].clone()
    };
    let id: BlockHash = serde_json::from_value(asked("getblock", json!(false))).unwrap();
    let raw = client.block(id).await.unwrap().unwrap();
    assert_eq!((raw.block.header.block_hash(), raw.block.to_bytes()), (id, raw.bytes));
    let unknown: BlockHash = "00".repeat(32).parse().unwrap();
    // Recorded with one parameter only.
    let call = Call::new("getblock", [json!(unknown)]);
    let error = client.rpc().call::<String>(&call).await.unwrap_err();
    assert!(matches!(&error, NodeError::Refused { refusal, .. } if refusal.code == -5), "{error}");

    let locator = &rows.iter().find(|row| row["request"]["method"] == "getheaders").unwrap();
    let locator: Vec<BlockHash> =
        serde_json::from_value(locator["request"]["params"][0].clone()).unwrap();
    let headers = client.headers(&locator).await.unwrap();
    assert_eq!(headers.len(), result("getheaders").as_array().unwrap().len());
    assert_eq!(headers[0].prev_blockhash, locator[0]);

    let txid = serde_json::from_value(asked("getrawtransaction", json!(0))).unwrap();
    let found = client.transactions(&[txid]).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().compute_txid(), txid);
    // What was not recorded is refused, and that is no answer to a broadcast.
    let sent = client.broadcast(found[0].as_ref().unwrap()).await;
    assert!(!matches!(sent, Ok(Broadcast::Taken)) && sent.is_err(), "{sent:?}");
    report(&path, count);
}

/// Every message of the recorded websocket.
#[test]
fn vectors_of_news_are_read() {
    let (path, bytes) = read("rpc/pktd_websocket.json");
    let rows: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
    let mut seen = BTreeMap::new();
    let from_node = rows.iter().filter(|row| row["dir"] == "server");
    for row in from_node.clone() {
        let message = &row["msg"];
        let params = &message["params"];
        let method = message["method"].as_str().unwrap_or("reply");
        let news = news(message.to_string().as_bytes()).unwrap();
        match (method, &news) {
            ("blockconnected", Some(News::Connected { id, height })) => {
                assert_eq!((json!(id), json!(height)), (params[0].clone(), params[1].clone()));
            }
            ("filteredblockconnected", Some(News::Filtered { height, transactions, .. })) => {
                assert_eq!(json!(height), params[0]);
                assert_eq!(transactions.len(), params[2].as_array().unwrap().len());
            }
            ("filteredblockconnected", None) => assert!(params[2].is_null()),
            ("relevanttxaccepted", Some(News::Waiting(transaction))) => {
                assert_eq!(json!(chain_node::answer::to_hex(transaction)), params[0]);
            }
            ("reply" | "txacceptedverbose" | "recvtx" | "redeemingtx", None) => {}
            other => panic!("{other:?}"),
        }
        *seen.entry(method).or_insert(0) += 1;
    }
    assert!(seen["blockconnected"] == 2 && seen["filteredblockconnected"] == 2, "{seen:?}");
    assert_eq!(seen["relevanttxaccepted"], 2, "{seen:?}");
    report(&path, from_node.count());
}
