//! Who calls whom among the live functions, in what order of depth, and with how much stack.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::atoms::{AtomId, Home};
use super::frames::Frame;
use super::resolve::Target;
use super::view::View;

/// Circles that are looked for; more say nothing new.
const MAX_CIRCLES: usize = 20;

/// A call, or the address of a function that something here calls back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    /// Bytes from the caller's start.
    pub(super) offset: u64,
    pub(super) callee: AtomId,
}

/// The call graph, without what runs later on a stack of its own.
pub(super) struct Calls {
    pub(super) from: BTreeMap<AtomId, Vec<Call>>,
    pub(super) frames: BTreeMap<AtomId, Frame<AtomId>>,
    /// Where a chain of frames begins: programs, and callbacks that run later.
    pub(super) tops: Vec<AtomId>,
}

impl Calls {
    /// A callback counts as called where its address is taken, as the kernel has it (`check_max_stack_depth_subprog`).
    pub(super) fn new(view: &View<'_, '_>, frames: BTreeMap<AtomId, Frame<AtomId>>) -> Self {
        let later: BTreeSet<AtomId> = frames
            .values()
            .flat_map(|frame| &frame.later)
            .copied()
            .collect();
        let mut from = BTreeMap::new();
        let mut tops = Vec::new();
        for id in view.functions() {
            let calls = view
                .references(id)
                .iter()
                .filter_map(|reference| match reference.target {
                    Target::Atom { atom, .. }
                        if view.atom(atom).home.is_code()
                            && !(later.contains(&atom) && is_address(reference)) =>
                    {
                        Some(Call {
                            offset: reference.offset,
                            callee: atom,
                        })
                    }
                    Target::Atom { .. } | Target::External { .. } => None,
                });
            from.insert(id, calls.collect());
            if matches!(view.atom(id).home, Home::Program(_)) || later.contains(&id) {
                tops.push(id);
            }
        }
        Self { from, frames, tops }
    }

    fn of(&self, id: AtomId) -> &[Call] {
        self.from.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The shortest way from a function back to itself.
    fn circle(&self, start: AtomId) -> Option<Vec<(AtomId, Call)>> {
        let mut came: BTreeMap<AtomId, (AtomId, Call)> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(id) = queue.pop_front() {
            for call in self.of(id) {
                if came.contains_key(&call.callee) {
                    continue;
                }
                came.insert(call.callee, (id, *call));
                if call.callee != start {
                    queue.push_back(call.callee);
                    continue;
                }
                let mut way = Vec::new();
                let mut here = start;
                while let Some(step) = came.get(&here) {
                    way.push(*step);
                    here = step.0;
                    if here == start {
                        break;
                    }
                }
                way.reverse();
                return Some(way);
            }
        }
        None
    }

    /// The functions in order of depth, callers first; where functions call each other in circles, the circles.
    pub(super) fn circles(&self) -> Result<Vec<AtomId>, Vec<Vec<(AtomId, Call)>>> {
        // Functions leave in the order in which nobody is left who calls them.
        let mut callers: BTreeMap<AtomId, usize> = self.from.keys().map(|id| (*id, 0)).collect();
        for call in self.from.values().flatten() {
            *callers.entry(call.callee).or_default() += 1;
        }
        let mut order: Vec<AtomId> = Vec::new();
        let free = callers.iter().filter(|(_, count)| **count == 0);
        let mut free: Vec<AtomId> = free.map(|(id, _)| *id).collect();
        while let Some(id) = free.pop() {
            order.push(id);
            for call in self.of(id) {
                if let Some(count) = callers.get_mut(&call.callee) {
                    *count -= 1;
                    if *count == 0 {
                        free.push(call.callee);
                    }
                }
            }
        }
        if order.len() == self.from.len() {
            return Ok(order);
        }
        let done: BTreeSet<AtomId> = order.into_iter().collect();
        let rest = self.from.keys().filter(|id| !done.contains(id)).copied();
        Err(self.circles_among(rest.collect()))
    }

    /// `rest` are functions in circles, and what circles lead to.
    fn circles_among(&self, mut rest: BTreeSet<AtomId>) -> Vec<Vec<(AtomId, Call)>> {
        // What leads to no circle goes first: then every step from one that is left leads to one that is left.
        let mut callers: BTreeMap<AtomId, Vec<AtomId>> = BTreeMap::new();
        let mut ways: BTreeMap<AtomId, usize> = BTreeMap::new();
        for id in &rest {
            let callees = self.of(*id).iter().map(|call| call.callee);
            for callee in callees.filter(|callee| rest.contains(callee)) {
                callers.entry(callee).or_default().push(*id);
                *ways.entry(*id).or_default() += 1;
            }
        }
        let mut ends: Vec<AtomId> = rest
            .iter()
            .filter(|id| !ways.contains_key(id))
            .copied()
            .collect();
        while let Some(end) = ends.pop() {
            rest.remove(&end);
            for caller in callers.get(&end).into_iter().flatten() {
                if let Some(left) = ways.get_mut(caller) {
                    *left -= 1;
                    if *left == 0 {
                        ends.push(*caller);
                    }
                }
            }
        }
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for start in &rest {
            let mut here = *start;
            let mut walk = BTreeSet::new();
            // Ends at what an earlier walk has seen, or where this one meets itself: there a circle is.
            while seen.insert(here) {
                walk.insert(here);
                let next = self.of(here).iter().map(|call| call.callee);
                match next
                    .filter(|next| rest.contains(next))
                    .min_by_key(|next| seen.contains(next))
                {
                    Some(next) => here = next,
                    None => break,
                }
            }
            if walk.contains(&here)
                && circles.len() < MAX_CIRCLES
                && let Some(circle) = self.circle(here)
            {
                circles.push(circle);
            }
        }
        circles
    }

    /// For each function the costliest chain that leads down from it: the cost, and the first call of the chain.
    /// `order` has callers first.
    pub(super) fn heaviest(
        &self,
        order: &[AtomId],
        cost: impl Fn(AtomId) -> u64,
    ) -> BTreeMap<AtomId, (u64, Option<Call>)> {
        let mut heaviest: BTreeMap<AtomId, (u64, Option<Call>)> = BTreeMap::new();
        for id in order.iter().rev() {
            let below = self
                .of(*id)
                .iter()
                .filter_map(|call| heaviest.get(&call.callee).map(|(cost, _)| (*cost, *call)))
                .reduce(|best, next| if next.0 > best.0 { next } else { best });
            let own = cost(*id);
            let entry = match below {
                Some((cost, call)) => (own.saturating_add(cost), Some(call)),
                None => (own, None),
            };
            heaviest.insert(*id, entry);
        }
        heaviest
    }

    /// Everything that a function reaches by calls, itself included.
    pub(super) fn reach(&self, top: AtomId) -> BTreeSet<AtomId> {
        let mut reached = BTreeSet::from([top]);
        let mut open = vec![top];
        while let Some(id) = open.pop() {
            for call in self.of(id) {
                if reached.insert(call.callee) {
                    open.push(call.callee);
                }
            }
        }
        reached
    }
}

fn is_address(reference: &super::resolve::Reference) -> bool {
    match reference.kind {
        crate::elf::RelocationKind::Imm64 => true,
        crate::elf::RelocationKind::Call
        | crate::elf::RelocationKind::Abs64
        | crate::elf::RelocationKind::Abs32
        | crate::elf::RelocationKind::Nodyld32 => false,
    }
}
