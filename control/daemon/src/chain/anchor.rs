//! Where a chain is followed from, if not from its first block: a file that the operator trusts.

use anyhow::{Context, bail};
use data_encoding::HEXLOWER_PERMISSIVE;
use follow::Anchor;
use primitives::address::Written;
use primitives::block::parse_header;
use primitives::network::Network;
use primitives::steward::State;
use serde::Deserialize;
use std::path::Path;

/// Bytes of such a file at most: 4 032 headers of 160 digits.
const FILE_LEN_MAX: u64 = 2 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Height of the first header; one of a retarget.
    first: u32,
    /// Address of the Network Steward at the last one.
    steward: String,
    /// Smallest units whose owners vote against it, at the last one.
    #[serde(default)]
    against: u64,
    /// Hexadecimal, each on the one before; the last one is trusted.
    headers: Vec<String>,
}

pub(super) fn read(path: &Path, network: &Network) -> anyhow::Result<Anchor> {
    let context = || format!("chain.anchor: {}", path.display());
    if std::fs::metadata(path).with_context(context)?.len() > FILE_LEN_MAX {
        bail!("{}: more than {FILE_LEN_MAX} bytes", context());
    }
    let text = std::fs::read_to_string(path).with_context(context)?;
    parse(&text, network).with_context(context)
}

fn parse(text: &str, network: &Network) -> anyhow::Result<Anchor> {
    let File { first, steward, against, headers } = toml::from_str(text)?;
    let header = |text: &String| {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).context("headers")?;
        parse_header(&bytes).with_context(|| format!("header {text}"))
    };
    let headers = headers.iter().map(header).collect::<anyhow::Result<_>>()?;
    let steward = Written::parse(&steward).context("steward")?.address.script();
    let state = State { steward, disapproval: against.into(), is_disputed: false };
    Ok(Anchor::at(network, first, headers, state)?)
}
