//! Where what waits lies, whatever it waits for.

use super::Queued;

/// No node. Nodes are numbered from 1, so that memory that nobody wrote to is empty lists.
const NIL: u32 = 0;

#[derive(Debug)]
struct Node<E> {
    item: Option<E>,
    /// The next one of its list.
    next: u32,
}

/// A list of nodes, first in, first out: first and last node in one word, 0 when it is empty.
///
/// A plain number, so that an array of many is memory that the system gives when it is first used.
pub(super) type List = u64;

fn ends(list: List) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = list.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

fn list(first: u32, last: u32) -> List {
    u64::from(first) | u64::from(last) << 32
}

/// A fixed number of nodes, in lists.
#[derive(Debug)]
pub(super) struct Slab<E> {
    nodes: Vec<Node<E>>,
    room: usize,
    /// Those that left their list; the one that came last goes first, while it is warm.
    unused: u32,
    len: usize,
}

impl<E: Queued> Slab<E> {
    pub(super) fn new(room: usize) -> Self {
        let room = room.min(u32::MAX as usize - 1);
        Self { nodes: Vec::with_capacity(room), room, unused: NIL, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Room left.
    pub(super) fn room(&self) -> usize {
        self.room - self.len
    }

    fn node(&mut self, number: u32) -> Option<&mut Node<E>> {
        self.nodes.get_mut((number as usize).wrapping_sub(1))
    }

    /// Puts an item at the end of a list.
    ///
    /// # Errors
    /// The item, if there is no room.
    #[inline]
    pub(super) fn push(&mut self, to: &mut List, item: E) -> Result<(), E> {
        let number = self.unused;
        let number = if let Some(unused) = self.node(number) {
            let next = unused.next;
            *unused = Node { item: Some(item), next: NIL };
            self.unused = next;
            number
        } else if self.nodes.len() < self.room {
            self.nodes.push(Node { item: Some(item), next: NIL });
            // Room is below 2³².
            u32::try_from(self.nodes.len()).unwrap_or(NIL)
        } else {
            return Err(item);
        };
        let (first, last) = ends(*to);
        let first = match self.node(last) {
            Some(last) => {
                last.next = number;
                first
            }
            None => number,
        };
        *to = list(first, number);
        self.len += 1;
        Ok(())
    }

    /// A list's first item.
    #[inline]
    pub(super) fn first(&self, of: List) -> Option<&E> {
        let (first, _) = ends(of);
        self.nodes.get((first as usize).wrapping_sub(1))?.item.as_ref()
    }

    /// Takes the first item off its list; it stays here until it is taken by the number that this gives.
    // A number and not the item: that would be copied on each level of its way out.
    #[inline]
    pub(super) fn unlink(&mut self, from: &mut List) -> Option<u32> {
        let (first, last) = ends(*from);
        let next = self.node(first)?.next;
        *from = if next == NIL { 0 } else { list(next, last) };
        Some(first)
    }

    /// Takes an item that is on no list.
    #[inline]
    pub(super) fn take(&mut self, number: u32) -> Option<E> {
        let unused = self.unused;
        let node = self.node(number)?;
        node.next = unused;
        let item = node.item.take();
        self.unused = number;
        self.len -= 1;
        item
    }
}
