//! PURE: what a change of a table does to the flows that are looked up in it.

use std::collections::HashMap;

use super::{Identity, Member};

/// Which share of the slots has another backend than before. Both shares are of all slots, so they add up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disruption {
    /// Slots whose backend takes part no more: they have to move.
    pub removed: f64,
    /// Slots whose backend still takes part, but elsewhere.
    pub others: f64,
}

impl Disruption {
    /// Nothing moves.
    pub const NONE: Self = Self {
        removed: 0.0,
        others: 0.0,
    };

    /// All that move.
    pub fn total(self) -> f64 {
        self.removed + self.others
    }
}

/// Compares two tables by who is in their slots, not by the numbers that stand for them. Where there was no table nothing
/// moves, where there is none any more everything does. Tables of different sizes send a flow to slots that have nothing to
/// do with each other; what stays is what the same backend has in both by chance.
pub fn disruption(before: (&[Member], &[u16]), after: (&[Member], &[u16])) -> Disruption {
    let (old, new) = (before.1.len(), after.1.len());
    if old == 0 {
        return Disruption::NONE;
    }
    let has = counts(after);
    if old != new {
        let mut moves = Disruption::NONE;
        for (identity, count) in counts(before) {
            let share = count as f64 / old as f64;
            match has.get(&identity) {
                None => moves.removed += share,
                Some(&kept) => moves.others += share * (1.0 - kept as f64 / new as f64),
            }
        }
        return moves;
    }
    let (mut removed, mut others) = (0u32, 0u32);
    for (one, other) in slots(before).zip(slots(after)) {
        match one {
            Some(identity) if one != other && has.contains_key(&identity) => others += 1,
            Some(_) if one != other => removed += 1,
            Some(_) | None => {}
        }
    }
    Disruption {
        removed: f64::from(removed) / old as f64,
        others: f64::from(others) / old as f64,
    }
}

fn slots<'t>(
    (members, table): (&'t [Member], &'t [u16]),
) -> impl Iterator<Item = Option<Identity>> + 't {
    table
        .iter()
        .map(|&index| Some(members.get(usize::from(index))?.identity))
}

fn counts(table: (&[Member], &[u16])) -> HashMap<Identity, u32> {
    let mut counts = HashMap::new();
    for identity in slots(table).flatten() {
        *counts.entry(identity).or_insert(0) += 1;
    }
    counts
}
