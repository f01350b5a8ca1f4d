//! `chain`: what of the PKT chain can be verified without believing a node.

use crate::output::{OutputArgs, print_json};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use primitives::address::Address;
use primitives::bitcoin::block::Header;
use primitives::block::Block;
use primitives::fault::Fault;
use primitives::header;
use primitives::network::{self, Network};
use primitives::packetcrypt::Verifier;
use primitives::steward::{Tally, check_coinbase};
use primitives::unspent::Unspent;
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::thread;

/// The PKT chain
#[derive(Args, Debug)]
pub(crate) struct ChainArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Verify a chain from its genesis: headers, proofs, transactions, the steward's pay and elections
    ///
    /// Scripts and signatures of transactions are the node's business and are not verified.
    Verify(VerifyArgs),
}

#[derive(Args, Debug)]
struct VerifyArgs {
    /// Blocks from height 1 on, each behind its length in 4 bytes, little-endian
    file: PathBuf,
    /// Whose rules
    #[arg(long, value_enum, default_value_t = Rules::Pkt)]
    network: Rules,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Rules {
    /// The main network
    Pkt,
    /// The test network
    Pkttest,
    /// The test network's, with version-2 proofs and version-1 announcements from the beginning
    Lab,
}

impl Rules {
    fn network(self) -> Network {
        match self {
            Self::Pkt => network::PKT,
            Self::Pkttest => network::PKT_TEST,
            Self::Lab => network::PKT_LAB,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &ChainArgs, out: &mut dyn Write) -> Result<()> {
    let What::Verify(VerifyArgs { file, network }) = &args.what;
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let network = network.network();
    let summary = verify(&bytes, &network).with_context(|| format!("verify {}", file.display()))?;
    if args.output.json {
        print_json(out, &summary)
    } else {
        Ok(write!(out, "{}", text(&summary))?)
    }
}

/// What was found to be true.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Summary {
    network: &'static str,
    height: u32,
    tip: String,
    /// Sum over the headers, the genesis included; hexadecimal.
    work: String,
    announcements: usize,
    transactions: usize,
    /// Units of 1/2³⁰ PKT in unspent outputs.
    unspent_units: u128,
    steward: String,
    disapproval_units: String,
    elections: Vec<Election>,
}

/// A steward that came to be one with a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Election {
    height: u32,
    steward: String,
}

fn text(summary: &Summary) -> String {
    let Summary { network, height, tip, work, announcements, transactions, steward, .. } = summary;
    let elections: String = summary
        .elections
        .iter()
        .map(|Election { height, steward }| format!("elected      {steward} in block {height}\n"))
        .collect();
    format!(
        "network      {network}\nheight       {height}\ntip          {tip}\nwork         0x{work}\n\
         verified     {announcements} announcements, {transactions} transactions\n{elections}steward      {steward}\n"
    )
}

fn verify(bytes: &[u8], network: &Network) -> Result<Summary> {
    let blocks = read(bytes)?;
    let headers: Vec<Header> =
        std::iter::once(network.genesis()).chain(blocks.iter().map(|block| block.header)).collect();
    let at = |height: u32| headers.get(height as usize).copied();
    let (mut tally, mut unspent) = (Tally::genesis(), Unspent::default());
    let mut elections = Vec::new();
    for (block, height) in blocks.iter().zip(1..) {
        let before = tally.state().steward.clone();
        header::check(&block.header, height, at, network)
            .and_then(|()| block.check_transactions(height))
            .and_then(|()| unspent.connect(block))
            .and_then(|fees| check_coinbase(&block.transactions[0], height, &before, Some(fees)))
            .map_err(|fault| refused(height, fault))?;
        // It can be taken back, which nobody here wants to.
        let _undo = tally.connect(height, &block.transactions);
        if tally.state().steward != before {
            let steward = Address::of_script(&tally.state().steward).text(network);
            elections.push(Election { height, steward });
        }
    }
    check_proofs(&blocks, &headers, network)?;
    let height = u32::try_from(blocks.len())?;
    Ok(Summary {
        network: network.name,
        height,
        tip: headers.last().map(|header| header.block_hash().to_string()).unwrap_or_default(),
        work: format!("{:x}", header::total_work(&headers)),
        announcements: blocks.len() * 4,
        transactions: blocks.iter().map(|block| block.transactions.len()).sum(),
        unspent_units: unspent.units(),
        steward: Address::of_script(&tally.state().steward).text(network),
        disapproval_units: tally.state().disapproval.to_string(),
        elections,
    })
}

fn refused(height: u32, fault: Fault) -> anyhow::Error {
    anyhow::Error::new(fault).context(format!("block {height} ({})", fault.reference()))
}

/// The blocks of a file.
fn read(mut bytes: &[u8]) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let height = u32::try_from(blocks.len())? + 1;
        let len = usize::try_from(u32::from_le_bytes(*len))?;
        let Some((block, rest)) = rest.split_at_checked(len) else {
            bail!("block {height} has {len} bytes, and the file only {} more", rest.len());
        };
        blocks.push(Block::parse(block).map_err(|fault| refused(height, fault))?);
        bytes = rest;
    }
    ensure!(bytes.is_empty(), "{} bytes behind the last block", bytes.len());
    Ok(blocks)
}

/// All proofs, on every core; the lowest block that is wrong is named.
fn check_proofs(blocks: &[Block], headers: &[Header], network: &Network) -> Result<()> {
    let cores = thread::available_parallelism()?.get();
    let check = |core: usize| {
        let mut verifier = Verifier::detect();
        let own = blocks.iter().zip(1u32..).skip(core).step_by(cores);
        own.map(|(block, height)| {
            (height, check_proof(&mut verifier, block, height, headers, network))
        })
        .find_map(|(height, result)| Some((height, result.err()?)))
    };
    let check = &check;
    let wrong = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || check(core))).collect();
        let results: Result<Vec<_>, _> = threads.into_iter().map(|thread| thread.join()).collect();
        results.map(|wrong| wrong.into_iter().flatten().min_by_key(|(height, _)| *height))
    });
    match wrong {
        Ok(None) => Ok(()),
        Ok(Some((height, fault))) => Err(refused(height, fault)),
        Err(_) => bail!("a thread that verifies proofs has panicked"),
    }
}

fn check_proof(
    verifier: &mut Verifier,
    block: &Block,
    height: u32,
    headers: &[Header],
    network: &Network,
) -> Result<(), Fault> {
    // An announcement's parent is below the block that has it.
    let known = headers.get(..height as usize).unwrap_or_default();
    let mut parents = [headers[0].block_hash(); 4];
    for (parent, height) in parents.iter_mut().zip(block.parent_heights()) {
        *parent = known.get(height as usize).ok_or(Fault::ParentAboveBlock)?.block_hash();
    }
    verifier.block(block, height, &parents, None, &network.gates).map(|_verdict| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use primitives::vectors;

    #[test]
    fn vectors_chain_verifies_and_a_bent_one_does_not() {
        let (path, mut bytes) = vectors::read("chain_full.dat");
        let first = bytes.len().min(12 * 5500);
        let summary = verify(&bytes, &network::PKT_LAB).unwrap();
        vectors::report(&path, summary.height as usize);
        if summary.height == 2161 {
            assert_eq!(summary.work, "872000");
            assert_eq!(
                summary.elections.iter().map(|election| election.height).collect::<Vec<_>>(),
                [1101]
            );
        }
        // With the height at which these proofs are allowed on the public network.
        let error = verify(&bytes, &network::PKT_TEST).unwrap_err();
        assert!(
            format!("{error:#}").starts_with("block 1 (Unallowed PacketCrypt proof version)"),
            "{error:#}"
        );
        bytes[first - 5000] ^= 1;
        assert!(verify(&bytes, &network::PKT_LAB).is_err());
    }
}
