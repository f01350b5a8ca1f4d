//! The tree over a block's announcements, rebuilt as far as the four proven ones need it.
//!
//! A node has a hash and the numbers from `start` to `end` that its leaves cover; the tree proof has hashes of what is
//! beside the ways from the proven leaves to the root, and as many numbers as are needed to find all others. What is
//! where follows from the number of announcements. Source: PKT-CHAIN.md §2.7.

use super::blake32;
use crate::fault::TreeFault;
use crate::proof::ANNOUNCEMENTS;

/// What is known of a node.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    kind: Kind,
    is_leaf: bool,
    is_right: bool,
    /// Their places, where there are some.
    children: Option<(usize, usize)>,
    hash: Option<[u8; 32]>,
    start: Option<u64>,
    end: Option<u64>,
    range: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// On the way from a proven leaf to the root, or such a leaf.
    #[default]
    Computable,
    /// Beyond the last announcement.
    Padding,
    /// Its hash is in the tree proof.
    Provided,
}

/// The root that the proof leads to. `hashes`: of the announcements, which are the ones at `indices` (modulo `count`).
pub(super) fn root(
    proof: &[u8],
    count: u64,
    indices: [u64; ANNOUNCEMENTS],
    hashes: [[u8; 32]; ANNOUNCEMENTS],
) -> Result<[u8; 32], TreeFault> {
    let leaves = count.checked_add(1).filter(|_| count > 0).ok_or(TreeFault::Count)?;
    // Leaf 0 is the dummy.
    let proven = indices.map(|index| index % count + 1);
    let height = u64::BITS - count.leading_zeros();
    let mut nodes = Vec::new();
    build(&mut nodes, &proven, leaves, 0, height, false);
    read(&mut nodes, proof)?;
    set_leaves(&mut nodes, &proven, &hashes, height)?;
    solve(&mut nodes)?;
    let root = nodes.first().ok_or(TreeFault::Incomplete)?;
    let (Some(hash), Some(start), Some(end), Some(range)) =
        (root.hash, root.start, root.end, root.range)
    else {
        return Err(TreeFault::Incomplete);
    };
    if (start, end, range) != (0, u64::MAX, u64::MAX) {
        return Err(TreeFault::RootRange);
    }
    Ok(blake32(&[&hash, &start.to_le_bytes(), &end.to_le_bytes()]))
}

/// Appends the node of `height` over the leaf `first`, and those below it, before those on its right; its place.
fn build(
    nodes: &mut Vec<Node>,
    proven: &[u64],
    leaves: u64,
    first: u64,
    height: u32,
    is_right: bool,
) -> usize {
    let last = first + (1u64.checked_shl(height).unwrap_or(0)).wrapping_sub(1);
    let kind = if proven.iter().any(|leaf| (first..=last).contains(leaf)) {
        Kind::Computable
    } else if first >= leaves {
        Kind::Padding
    } else {
        Kind::Provided
    };
    let place = nodes.len();
    nodes.push(Node { kind, is_leaf: height == 0, is_right, ..Node::default() });
    if first == 0 {
        nodes[place].start = Some(0);
    }
    if kind == Kind::Padding {
        let all = Some(u64::MAX);
        nodes[place] =
            Node { hash: Some([0xff; 32]), start: all, end: all, range: Some(0), ..nodes[place] };
    }
    if kind == Kind::Computable && height > 0 {
        let left = build(nodes, proven, leaves, first, height - 1, false);
        let right = build(nodes, proven, leaves, first + (1 << (height - 1)), height - 1, true);
        nodes[place].children = Some((left, right));
    }
    place
}

/// Takes what the tree proof has, in the order of the nodes. The last number or hash may be cut short: the rest of it
/// is zero, as in the reference.
fn read(nodes: &mut [Node], mut proof: &[u8]) -> Result<(), TreeFault> {
    for node in nodes.iter_mut() {
        let is_range = match node.kind {
            Kind::Padding => false,
            Kind::Computable => node.is_leaf && node.is_right,
            Kind::Provided => !node.is_leaf || node.is_right,
        };
        if is_range {
            node.range = Some(u64::from_le_bytes(take(&mut proof)?));
        }
        if node.kind == Kind::Provided {
            let hash = take(&mut proof)?;
            node.hash = Some(hash);
        }
    }
    if proof.is_empty() { Ok(()) } else { Err(TreeFault::Extra) }
}

fn take<const N: usize>(proof: &mut &[u8]) -> Result<[u8; N], TreeFault> {
    if proof.is_empty() {
        return Err(TreeFault::Runt);
    }
    let (front, rest) = proof.split_at(N.min(proof.len()));
    let mut bytes = [0; N];
    bytes[..front.len()].copy_from_slice(front);
    *proof = rest;
    Ok(bytes)
}

/// Gives the proven leaves their hashes, and all leaves the beginnings that follow from theirs.
fn set_leaves(
    nodes: &mut [Node],
    proven: &[u64; ANNOUNCEMENTS],
    hashes: &[[u8; 32]; ANNOUNCEMENTS],
    height: u32,
) -> Result<(), TreeFault> {
    for (leaf, hash) in proven.iter().zip(hashes) {
        let mut place = 0;
        for level in (0..height).rev() {
            let Some((left, right)) = nodes[place].children else { break };
            place = if leaf >> level & 1 == 1 { right } else { left };
        }
        agree(&mut nodes[place].hash, *hash)?;
    }
    for node in nodes.iter_mut().filter(|node| node.is_leaf && node.kind != Kind::Padding) {
        if let Some([b0, b1, b2, b3, b4, b5, b6, b7, ..]) = node.hash {
            agree(&mut node.start, u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]))?;
        }
    }
    Ok(())
}

/// Learns a fact; whether it is new.
fn agree<T: PartialEq>(known: &mut Option<T>, fact: T) -> Result<bool, TreeFault> {
    match known {
        None => {
            *known = Some(fact);
            Ok(true)
        }
        Some(known) if *known == fact => Ok(false),
        Some(_) => Err(TreeFault::Contradiction),
    }
}

/// Draws conclusions until there are none left.
fn solve(nodes: &mut [Node]) -> Result<(), TreeFault> {
    loop {
        let mut news = false;
        // Children come behind their parents.
        for place in (0..nodes.len()).rev() {
            news |= span(&mut nodes[place])?;
            let Some((left, right)) = nodes[place].children else { continue };
            news |= siblings(nodes, left, right)?;
            news |= parent(nodes, place, left, right)?;
        }
        if !news {
            return Ok(());
        }
    }
}

/// Of start, end and range, two give the third.
fn span(node: &mut Node) -> Result<bool, TreeFault> {
    match (node.start, node.end, node.range) {
        (Some(start), Some(end), _) => agree(&mut node.range, end.wrapping_sub(start)),
        (Some(start), None, Some(range)) => agree(&mut node.end, start.wrapping_add(range)),
        (None, Some(end), Some(range)) => agree(&mut node.start, end.wrapping_sub(range)),
        _ => Ok(false),
    }
}

/// The right one begins where the left one ends. A padding node keeps that to itself, as in the reference: a left
/// sibling's end must then come from elsewhere.
fn siblings(nodes: &mut [Node], left: usize, right: usize) -> Result<bool, TreeFault> {
    let (end, start) = (nodes[left].end, nodes[right].start);
    match (end, start) {
        (Some(end), _) => agree(&mut nodes[right].start, end),
        (None, Some(start)) if nodes[right].kind != Kind::Padding => {
            agree(&mut nodes[left].end, start)
        }
        _ => Ok(false),
    }
}

fn parent(nodes: &mut [Node], place: usize, left: usize, right: usize) -> Result<bool, TreeFault> {
    let facts = |node: &Node| Some((node.hash?, node.start?, node.end?, node.range?));
    let (Some(left), Some(right)) = (facts(&nodes[left]), facts(&nodes[right])) else {
        return Ok(false);
    };
    let node = &mut nodes[place];
    let mut news = agree(&mut node.start, left.1)?;
    news |= agree(&mut node.end, right.2)?;
    if node.hash.is_none() {
        let bytes = |number: u64| number.to_le_bytes();
        node.hash = Some(blake32(&[
            &left.0,
            &bytes(left.1),
            &bytes(left.2),
            &right.0,
            &bytes(right.1),
            &bytes(right.2),
        ]));
        news = true;
    }
    Ok(news)
}
