//! The committed document is what the code says. `SWITCHYARD_WRITE_OPENAPI=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

use serde_json::Value;
use std::path::Path;

#[test]
fn the_committed_document_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let made = format!("{}\n", control_api::openapi().to_pretty_json().unwrap());
    if std::env::var_os("SWITCHYARD_WRITE_OPENAPI").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "openapi.json is not what the code says: SWITCHYARD_WRITE_OPENAPI=1 cargo test -p control-api --test document"
    );
}

#[test]
fn every_operation_says_who_may_and_what_may_go_wrong() {
    let document = serde_json::to_value(control_api::openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["security"][0]["token"], Value::Array(Vec::new()));
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with("/api/v1/"), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let responses = operation["responses"].as_object().unwrap();
            for status in ["400", "401", "403", "404", "409", "413", "422", "429", "500", "503"] {
                let named = responses[status]["$ref"].as_str().unwrap_or_default();
                let problem = document.pointer(named.trim_start_matches('#')).unwrap();
                let content = &problem["content"]["application/problem+json"];
                assert_eq!(content["schema"]["$ref"], "#/components/schemas/Problem");
            }
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path} says what it does");
        }
    }
    assert!(operations > 50, "{operations}");
}

#[test]
fn every_reference_of_the_document_is_there() {
    let document = serde_json::to_value(control_api::openapi()).unwrap();
    let (mut waiting, mut references) = (vec![&document], 0);
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(table) => {
                if let Some(Value::String(to)) = table.get("$ref") {
                    references += 1;
                    assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to}");
                }
                waiting.extend(table.values());
            }
            Value::Array(list) => waiting.extend(list),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    assert!(references > 100, "{references}");
}
