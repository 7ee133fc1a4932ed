//! PURE: numbers that stay: who had one keeps it, who is new gets one that nobody has, had in the last configuration, or is
//! still named by.

/// The numbers that are taken.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    taken: Vec<bool>,
    /// Below it all are taken.
    low: usize,
}

impl Ids {
    /// Takes a number for good.
    pub fn take(&mut self, id: u32) {
        let id = id as usize;
        if id >= self.taken.len() {
            self.taken.resize(id + 1, false);
        }
        self.taken[id] = true;
    }

    /// Takes the lowest that is free.
    pub fn fresh(&mut self) -> u32 {
        while self.taken.get(self.low) == Some(&true) {
            self.low += 1;
        }
        let id = self.low as u32;
        self.take(id);
        id
    }

    /// One more than the highest that is taken.
    pub fn end(&self) -> u32 {
        self.taken.len() as u32
    }
}

/// The size of a map for so many numbers: room for a quarter more, so that it need not grow with the next backend.
pub fn room(end: u32, before: u32) -> u32 {
    let wanted = end.saturating_add(end / 4).max(16);
    if end <= before {
        return before;
    }
    wanted.checked_next_power_of_two().unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_comes_next() {
        let mut ids = Ids::default();
        ids.take(1);
        ids.take(3);
        assert_eq!([ids.fresh(), ids.fresh(), ids.fresh()], [0, 2, 4]);
        assert_eq!(ids.end(), 5);
    }

    #[test]
    fn there_is_room_to_grow_and_a_map_that_fits_stays() {
        assert_eq!(room(1, 0), 16);
        assert_eq!(room(16, 16), 16);
        assert_eq!(room(17, 16), 32);
        assert_eq!(room(30, 0), 64);
        assert_eq!(room(3, 64), 64);
    }
}
