use super::{Values, add};
use std::collections::HashMap;

/// Which function called which, from the roots on.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// By the place of the caller, and the frame.
    children: HashMap<(u32, u32), u32>,
    capacity: usize,
}

/// A place in the tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) parent: u32,
    pub(super) frame: u32,
    /// What was sampled right here, not in what it called.
    pub(super) own: Values,
}

impl Tree {
    /// What all roots have as their parent.
    pub(super) const ROOT: u32 = u32::MAX;

    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.min(Self::ROOT as usize - 1);
        Self { nodes: Vec::new(), children: HashMap::new(), capacity }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The place of a frame below another place; `None` when there is no room for a new one.
    pub(super) fn child(&mut self, parent: u32, frame: u32) -> Option<u32> {
        if let Some(child) = self.children.get(&(parent, frame)) {
            return Some(*child);
        }
        if self.nodes.len() >= self.capacity {
            return None;
        }
        let child = u32::try_from(self.nodes.len()).ok()?;
        self.nodes.push(Node { parent, frame, own: Values::default() });
        self.children.insert((parent, frame), child);
        Some(child)
    }

    pub(super) fn add(&mut self, node: u32, values: Values) {
        if let Some(node) = self.nodes.get_mut(node as usize) {
            add(&mut node.own, values);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All places, callers before those that they call.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The frames from a place up to its root.
    pub(super) fn path<'a>(&'a self, node: &Node) -> impl Iterator<Item = u32> + use<'a> {
        let parent = |node: &'a Node| self.nodes.get(node.parent as usize);
        let first = node.frame;
        let up = self.nodes.get(node.parent as usize);
        let above = std::iter::successors(up, move |node| parent(node)).map(|node| node.frame);
        std::iter::once(first).chain(above)
    }
}
