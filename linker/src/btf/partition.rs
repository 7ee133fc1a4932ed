//! Which nodes of a labelled graph are alike: the coarsest division into classes such that two nodes of a class have
//! the same label, and their edges lead, one by one, to the same classes. Cycles need no special care.
//!
//! ```text
//! start:   one class for each label            a ─▶ b ─▶ c ─▶ d          {a b c} {d}
//! repeat:  nodes of a class whose edges lead                             {a b} {c} {d}
//!          to different classes part           c leads to {d}, a and b   {a} {b} {c} {d}
//!                                              do not: c leaves
//! ```
//!
//! When a class parts, its largest piece keeps the number and only the others are looked at again by those that lead to
//! them (Hopcroft 1971). A node then moves at most log₂(n) times, since each move halves its class, and so the work is
//! edges × log₂(nodes), whatever the graph: a hostile one costs no more than a tame one of its size.

use std::collections::HashMap;

/// A graph whose nodes have a label and edges in order. Nodes are numbered from 0.
#[derive(Debug, Default)]
pub(super) struct Graph {
    labels: Vec<u32>,
    /// Where the edges of each node end in `edges`.
    ends: Vec<usize>,
    edges: Vec<u32>,
}

impl Graph {
    /// Adds the next node. Its edges may lead to nodes that are yet to come.
    pub(super) fn add(&mut self, label: u32, edges: impl IntoIterator<Item = u32>) {
        self.labels.push(label);
        self.edges.extend(edges);
        self.ends.push(self.edges.len());
    }

    /// The same for a node whose edges are shown one by one.
    pub(super) fn add_with(&mut self, label: u32, show: impl FnOnce(&mut dyn FnMut(u32))) {
        self.labels.push(label);
        show(&mut |edge| self.edges.push(edge));
        self.ends.push(self.edges.len());
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn edges(&self, node: usize) -> &[u32] {
        let start = node.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.edges[start..self.ends[node]]
    }

    /// The class of each node, as the smallest number in it. Edges to a node lead to `stand_in[node]` instead, and the
    /// node is of that one's class; a node that stands for itself stands in for others only directly.
    pub(super) fn classes(&self, stand_in: &[u32]) -> Vec<u32> {
        let mut division = Division::new(self, stand_in);
        let mut dirty: Vec<u32> = division.nodes.clone();
        while !dirty.is_empty() {
            dirty = division.part(&dirty);
        }
        let classes = division.smallest(stand_in);
        if self.holds(&classes, stand_in) {
            classes
        } else {
            // Two different signatures had the same 64-bit sum. Nobody is alike, then, which is always true enough.
            (0..self.len() as u32).collect()
        }
    }

    /// Whether members of a class are alike in every edge.
    fn holds(&self, classes: &[u32], stand_in: &[u32]) -> bool {
        let class = |node: &u32| classes[stand_in[*node as usize] as usize];
        (0..self.len())
            .filter(|node| stand_in[*node] as usize == *node)
            .all(|node| {
                let first = classes[node] as usize;
                let (own, others) = (self.edges(node), self.edges(first));
                self.labels[node] == self.labels[first]
                    && own.len() == others.len()
                    && own.iter().map(class).eq(others.iter().map(class))
            })
    }
}

/// A division on its way to the coarsest one that holds.
struct Division {
    /// The nodes that stand for themselves.
    nodes: Vec<u32>,
    class: Vec<u32>,
    /// The nodes of each class, and the place of each node among them.
    members: Vec<Vec<u32>>,
    place: Vec<u32>,
    /// What the edges of a node lead to, as a sum over them that can be mended edge by edge.
    signature: Vec<u64>,
    /// Where the edges that lead to each node end in `parents`.
    parent_ends: Vec<usize>,
    /// From which node an edge comes, and the how manieth of its edges it is.
    parents: Vec<(u32, u32)>,
}

impl Division {
    /// One class for each label.
    fn new(graph: &Graph, stand_in: &[u32]) -> Self {
        let nodes: Vec<u32> = (0..graph.len() as u32)
            .filter(|node| stand_in[*node as usize] == *node)
            .collect();
        let mut division = Self {
            class: vec![0; graph.len()],
            members: Vec::new(),
            place: vec![0; graph.len()],
            signature: vec![0; graph.len()],
            parent_ends: vec![0; graph.len()],
            parents: Vec::new(),
            nodes,
        };
        let mut by_label: HashMap<u32, u32> = HashMap::new();
        for node in division.nodes.clone() {
            let next = division.members.len() as u32;
            let class = *by_label
                .entry(graph.labels[node as usize])
                .or_insert_with(|| next);
            if class == next {
                division.members.push(Vec::new());
            }
            division.enter(node, class);
        }
        division.turn_around(graph, stand_in);
        for node in division.nodes.clone() {
            let edges = graph.edges(node as usize).iter().zip(0u32..);
            division.signature[node as usize] = edges.fold(0, |sum: u64, (to, position)| {
                let to = stand_in[*to as usize] as usize;
                sum.wrapping_add(mix(position, division.class[to]))
            });
        }
        division
    }

    /// Edges by where they lead to.
    fn turn_around(&mut self, graph: &Graph, stand_in: &[u32]) {
        let target = |to: u32| stand_in[to as usize] as usize;
        for node in &self.nodes {
            for to in graph.edges(*node as usize) {
                self.parent_ends[target(*to)] += 1;
            }
        }
        let mut end = 0;
        for count in &mut self.parent_ends {
            end += *count;
            *count = end;
        }
        let mut free: Vec<usize> = std::iter::once(0)
            .chain(self.parent_ends.iter().copied())
            .collect();
        self.parents = vec![(0, 0); end];
        for node in &self.nodes {
            for (to, position) in graph.edges(*node as usize).iter().zip(0u32..) {
                let slot = &mut free[target(*to)];
                self.parents[*slot] = (*node, position);
                *slot += 1;
            }
        }
    }

    fn enter(&mut self, node: u32, class: u32) {
        let members = &mut self.members[class as usize];
        self.class[node as usize] = class;
        self.place[node as usize] = members.len() as u32;
        members.push(node);
    }

    fn leave(&mut self, node: u32) {
        let members = &mut self.members[self.class[node as usize] as usize];
        let place = self.place[node as usize] as usize;
        members.swap_remove(place);
        if let Some(moved) = members.get(place) {
            self.place[*moved as usize] = place as u32;
        }
    }

    /// Parts the classes of the nodes whose signature changed; says whose changed by that.
    ///
    /// The members of a class that are not in `dirty` still have one signature: it differs from all new ones, which hold
    /// a class that did not exist when theirs was made.
    fn part(&mut self, dirty: &[u32]) -> Vec<u32> {
        let mut sorted: Vec<(u32, u64, u32)> = dirty
            .iter()
            .map(|node| {
                let index = *node as usize;
                (self.class[index], self.signature[index], *node)
            })
            .collect();
        sorted.sort_unstable();
        let mut moves: Vec<(u32, u32)> = Vec::new();
        let mut next = self.members.len() as u32;
        for touched in sorted.chunk_by(|one, two| one.0 == two.0) {
            let class = touched[0].0;
            let all = &self.members[class as usize];
            let untouched = all.len() - touched.len();
            let groups = || touched.chunk_by(|one, two| one.1 == two.1);
            let largest = groups().map(<[_]>::len).max().unwrap_or(0);
            let mut keeper = (untouched < largest).then_some(largest);
            for group in groups() {
                if keeper == Some(group.len()) {
                    keeper = None;
                    continue;
                }
                moves.extend(group.iter().map(|(_, _, node)| (*node, next)));
                next += 1;
            }
            if untouched > 0 && untouched < largest {
                let mut changed: Vec<u32> = touched.iter().map(|(_, _, node)| *node).collect();
                changed.sort_unstable();
                let others = all
                    .iter()
                    .filter(|node| changed.binary_search(node).is_err());
                moves.extend(others.map(|node| (*node, next)));
                next += 1;
            }
        }
        self.members.resize(next as usize, Vec::new());
        let mut changed = Vec::new();
        for (node, to) in moves {
            let from = self.class[node as usize];
            self.leave(node);
            self.enter(node, to);
            let start = (node as usize)
                .checked_sub(1)
                .map_or(0, |before| self.parent_ends[before]);
            for (parent, position) in &self.parents[start..self.parent_ends[node as usize]] {
                let signature = &mut self.signature[*parent as usize];
                *signature = signature
                    .wrapping_sub(mix(*position, from))
                    .wrapping_add(mix(*position, to));
                changed.push(*parent);
            }
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    fn smallest(&self, stand_in: &[u32]) -> Vec<u32> {
        let first: Vec<u32> = self
            .members
            .iter()
            .map(|members| members.iter().min().copied().unwrap_or(0))
            .collect();
        stand_in
            .iter()
            .map(|node| first[self.class[*node as usize] as usize])
            .collect()
    }
}

/// One edge's part of a signature: the last steps of splitmix64 (Steele, Lea, Flood 2014).
fn mix(position: u32, class: u32) -> u64 {
    let mut z = (u64::from(position) << 32 | u64::from(class)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn graph(nodes: &[(u32, &[u32])]) -> Graph {
        let mut graph = Graph::default();
        for (label, edges) in nodes {
            graph.add(*label, edges.iter().copied());
        }
        graph
    }

    fn classes(graph: &Graph) -> Vec<u32> {
        let own: Vec<u32> = (0..graph.len() as u32).collect();
        graph.classes(&own)
    }

    #[test]
    fn cycles_of_different_lengths_are_alike_when_nothing_tells_them_apart() {
        // 0 ─▶ 0, and 1 ─▶ 2 ─▶ 1
        let graph = graph(&[(7, &[0]), (7, &[2]), (7, &[1])]);
        assert_eq!(classes(&graph), [0, 0, 0]);
    }

    #[test]
    fn the_end_of_a_chain_tells_all_of_it_apart() {
        let graph = graph(&[(1, &[1]), (1, &[2]), (1, &[3]), (2, &[])]);
        assert_eq!(classes(&graph), [0, 1, 2, 3]);
    }

    #[test]
    fn the_order_of_edges_matters() {
        let graph = graph(&[(1, &[2, 3]), (1, &[3, 2]), (5, &[]), (6, &[]), (1, &[2, 3])]);
        assert_eq!(classes(&graph), [0, 1, 2, 3, 0]);
    }

    #[test]
    fn what_stands_in_is_what_edges_lead_to() {
        // 2 is a forward declaration of 3: 0 and 1 are alike when 3 stands in for it.
        let graph = graph(&[(1, &[2]), (1, &[3]), (8, &[]), (9, &[0])]);
        assert_eq!(classes(&graph), [0, 1, 2, 3]);
        assert_eq!(graph.classes(&[0, 1, 3, 3]), [0, 0, 3, 3]);
    }

    #[test]
    fn a_long_chain_under_a_wide_node_takes_no_square() {
        // Each round of refinement finds one more link of the chain, and each concerns the wide node.
        const LENGTH: u32 = 200_000;
        let mut graph = Graph::default();
        for node in 1..LENGTH {
            graph.add(1, [node]);
        }
        graph.add(2, []);
        graph.add(3, 0..LENGTH);
        let started = std::time::Instant::now();
        let found = classes(&graph);
        assert!(found.iter().zip(0..).all(|(class, node)| *class == node));
        assert!(started.elapsed().as_secs() < 20);
    }

    /// The same by its definition, in the time that takes.
    fn slowly(graph: &Graph) -> Vec<u32> {
        let mut class: Vec<u32> = graph.labels.clone();
        loop {
            let mut known: HashMap<(u32, Vec<u32>), u32> = HashMap::new();
            let next: Vec<u32> = (0..graph.len())
                .map(|node| {
                    let edges = graph.edges(node).iter().map(|to| class[*to as usize]);
                    let fresh = known.len() as u32;
                    *known.entry((class[node], edges.collect())).or_insert(fresh)
                })
                .collect();
            let count = |all: &[u32]| all.iter().collect::<std::collections::BTreeSet<_>>().len();
            if count(&next) == count(&class) {
                return next;
            }
            class = next;
        }
    }

    proptest! {
        #[test]
        fn it_is_the_coarsest_division_that_holds(
            nodes in proptest::collection::vec((0u32..3, proptest::collection::vec(0u32..24, 0..3)), 24)
        ) {
            let mut graph = Graph::default();
            for (label, edges) in nodes {
                graph.add(label * 4 + edges.len() as u32, edges);
            }
            let (fast, slow) = (classes(&graph), slowly(&graph));
            for one in 0..24 {
                for two in 0..24 {
                    prop_assert_eq!(fast[one] == fast[two], slow[one] == slow[two]);
                }
            }
        }
    }
}
