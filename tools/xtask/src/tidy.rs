//! Who may depend on whom, and where `unsafe` may stand. The architecture, as data.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Package → packages of this workspace that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("dataplane-wire", &[]),
    ("dataplane-api", &["dataplane-wire"]),
    ("dataplane-sync", &["dataplane-api"]),
    ("dataplane-io", &["dataplane-wire"]),
    ("dataplane-client", &["dataplane-api", "dataplane-io"]),
    ("dataplane-crypt", &["dataplane-wire"]),
    ("dataplane-engine", &["dataplane-wire", "dataplane-api", "dataplane-crypt"]),
    ("dataplane-node", &["dataplane-wire", "dataplane-api", "dataplane-crypt"]),
    (
        "dataplane-daemon",
        &[
            "dataplane-wire",
            "dataplane-api",
            "dataplane-crypt",
            "dataplane-sync",
            "dataplane-io",
            "dataplane-engine",
            "dataplane-node",
        ],
    ),
    ("control-ledger", &[]),
    ("control-domain", &["dataplane-wire", "dataplane-api", "control-ledger"]),
    ("control-store", &["dataplane-wire", "dataplane-api", "control-ledger", "control-domain"]),
    (
        "control-service",
        &[
            "dataplane-wire",
            "dataplane-api",
            "control-ledger",
            "control-domain",
            "control-store",
            "chain-follow",
        ],
    ),
    (
        "control-api",
        &[
            "dataplane-wire",
            "dataplane-api",
            "control-ledger",
            "control-domain",
            "control-store",
            "control-service",
        ],
    ),
    (
        "control-daemon",
        &[
            "dataplane-api",
            "dataplane-client",
            "control-ledger",
            "control-domain",
            "control-store",
            "control-service",
            "control-api",
            "chain-primitives",
            "chain-follow",
            "chain-node",
        ],
    ),
    ("chain-primitives", &[]),
    ("chain-follow", &["chain-primitives"]),
    ("chain-node", &["chain-primitives", "chain-follow"]),
    ("chain-simnode", &["chain-primitives"]),
    ("benches", ANY),
    ("fuzz-targets", ANY),
    ("lab", &[]),
    ("powercut", &[]),
    ("switchyard", ANY),
    ("switchyard-tests", ANY),
    ("traffic", ANY),
    ("xtask", &[]),
];

/// Tools and benches may use anything; nothing but tools uses them.
const ANY: &[&str] = &[
    "dataplane-wire",
    "dataplane-api",
    "dataplane-sync",
    "dataplane-io",
    "dataplane-crypt",
    "dataplane-engine",
    "dataplane-node",
    "dataplane-client",
    "dataplane-daemon",
    "control-ledger",
    "control-domain",
    "control-store",
    "control-service",
    "control-api",
    "control-daemon",
    "chain-primitives",
    "chain-follow",
    "chain-node",
    "chain-simnode",
    "benches",
    "fuzz-targets",
    "lab",
    "traffic",
];

/// Crates of the registry that must not be used under `dataplane/`, and why.
const BANNED_IN_DATAPLANE: &[(&str, &str)] = &[
    ("tokio", "workers own their core; the management thread uses mio"),
    ("serde_json", "text belongs to the command line"),
    ("rand", "randomness is a seeded argument"),
];

/// Folders whose sources may say `unsafe`.
const UNSAFE_ALLOWED: &[&str] = &[
    "dataplane/io/src/",
    "dataplane/crypt/src/aead/",
    "chain/primitives/src/packetcrypt/kernel/",
    "benches/",
];

/// Lines of a file that make one ask whether it holds two things.
const LINES_MANY: usize = 700;

/// Runs every rule and prints what is wrong.
pub(crate) fn run(root: &Path) -> Result<()> {
    let sources = sources(root)?;
    let mut wrong = edges(&metadata(root)?);
    wrong.extend(sources.iter().flat_map(unsafe_outside));
    wrong.extend(sources.iter().filter_map(without_forbid));
    let blocks: usize = sources.iter().map(|source| unsafe_blocks(&source.text)).sum();
    println!("tidy: {} source files, {blocks} unsafe blocks", sources.len());
    for long in sources.iter().filter(|source| source.text.lines().count() > LINES_MANY) {
        println!("tidy: {} has more than {LINES_MANY} lines: does it hold two things?", long.path);
    }
    for line in &wrong {
        println!("tidy: {line}");
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{} rules are broken", wrong.len()) }
}

/// A source file, by its path from the root.
struct Source {
    path: String,
    text: String,
}

fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> = ["dataplane", "control", "chain", "benches", "tools"]
        .map(|folder| root.join(folder))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                let path = path.strip_prefix(root)?.display().to_string();
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn metadata(root: &Path) -> Result<Value> {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    serde_json::from_slice(&cargo.stdout).context("read cargo metadata")
}

/// Edges that are not in the table.
fn edges(metadata: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let in_dataplane =
            package["manifest_path"].as_str().is_some_and(|path| path.contains("/dataplane/"));
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{name} is not in the table of allowed edges"));
            continue;
        };
        let used = package["dependencies"].as_array().into_iter().flatten();
        for used in used.filter(|dependency| dependency["kind"].as_str() != Some("dev")) {
            let used = used["name"].as_str().unwrap_or_default();
            if ALLOWED.iter().any(|(known, _)| *known == used) && !allowed.contains(&used) {
                wrong.push(format!("{name} must not use {used}"));
            }
            let ban = BANNED_IN_DATAPLANE.iter().find(|(banned, _)| *banned == used);
            if let (true, Some((_, why))) = (in_dataplane, ban) {
                wrong.push(format!("{name} must not use {used}: {why}"));
            }
        }
    }
    wrong
}

/// Lines with `unsafe` code where none may be. Lints and prose speak of it in other words or in comments.
fn unsafe_outside(source: &Source) -> Vec<String> {
    let allowed = UNSAFE_ALLOWED.iter().any(|folder| source.path.starts_with(folder));
    // A test's counting allocator cannot be written without.
    let allocator = source.path.contains("/tests/") && source.text.contains("GlobalAlloc");
    if allowed || allocator || source.path.starts_with("tools/xtask/") {
        return Vec::new();
    }
    let lines = source.text.lines().enumerate();
    let found = lines.filter(|(_, line)| is_unsafe(line));
    found
        .map(|(number, _)| format!("{}:{}: unsafe is not allowed here", source.path, number + 1))
        .collect()
}

fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"]
        .iter()
        .any(|word| code.contains(word))
}

fn unsafe_blocks(text: &str) -> usize {
    text.lines().filter(|line| is_unsafe(line)).count()
}

/// A crate's root that does not forbid unsafe code although its folder may not have any.
fn without_forbid(source: &Source) -> Option<String> {
    let is_root = ["/src/lib.rs", "/src/main.rs"].iter().any(|root| source.path.ends_with(root));
    // A folder that may have some can be a part of the crate: the rest is held by the rule on folders.
    let crate_folder = source.path.trim_end_matches("lib.rs").trim_end_matches("main.rs");
    let allowed = UNSAFE_ALLOWED
        .iter()
        .any(|folder| source.path.starts_with(folder) || folder.starts_with(crate_folder));
    let forbids = source.text.contains("#![forbid(unsafe_code)]");
    (is_root && !allowed && !forbids)
        .then(|| format!("{}: #![forbid(unsafe_code)] is missing", source.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, used: &[&str]) -> Value {
        let dependencies: Vec<_> =
            used.iter().map(|name| json!({"name": name, "kind": null})).collect();
        let manifest_path = "/r/dataplane/x/Cargo.toml";
        json!({"packages": [{"name": name, "manifest_path": manifest_path, "dependencies": dependencies}]})
    }

    #[test]
    fn a_wrong_edge_is_named() {
        assert_eq!(
            edges(&package("dataplane-engine", &["dataplane-io"])),
            ["dataplane-engine must not use dataplane-io"]
        );
        assert!(edges(&package("dataplane-engine", &["dataplane-wire"])).is_empty());
        assert_eq!(
            edges(&package("stranger", &[])),
            ["stranger is not in the table of allowed edges"]
        );
        assert!(
            edges(&package("dataplane-daemon", &["tokio"]))[0]
                .starts_with("dataplane-daemon must not use tokio")
        );
    }

    #[test]
    fn unsafe_is_found_where_it_may_not_be() {
        let source =
            |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        assert_eq!(
            unsafe_outside(&source("dataplane/wire/src/a.rs", "x\nlet y = unsafe { z };")).len(),
            1
        );
        assert!(unsafe_outside(&source("dataplane/io/src/a.rs", "unsafe { z }")).is_empty());
        assert!(unsafe_outside(&source("dataplane/wire/src/a.rs", "// unsafe { z }")).is_empty());
        assert!(without_forbid(&source("dataplane/wire/src/lib.rs", "")).is_some());
    }
}
