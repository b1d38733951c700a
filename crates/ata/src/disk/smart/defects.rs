//! Sectors that could not be read and have been neither read nor written since: what a drive calls
//! pending.

use alloc::collections::BTreeMap;

/// How many sectors are remembered; any more go uncounted.
pub(crate) const MAX_DEFECTS: usize = 4096;

/// LBAs, and whether a self-test found them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defects {
    sectors: BTreeMap<u64, bool>,
}

impl Defects {
    /// `lba` could not be read.
    pub(crate) fn add(&mut self, lba: u64, found_by_test: bool) {
        if self.sectors.len() < MAX_DEFECTS || self.sectors.contains_key(&lba) {
            *self.sectors.entry(lba).or_insert(false) |= found_by_test;
        }
    }

    /// `count` sectors from `lba` have been read or written.
    pub(crate) fn heal(&mut self, lba: u64, count: u64) {
        if self.sectors.is_empty() {
            return;
        }
        let end = lba.saturating_add(count);
        while let Some((&healed, _)) = self.sectors.range(lba..end).next() {
            self.sectors.remove(&healed);
        }
    }

    /// How many there are.
    pub(crate) fn pending(&self) -> u32 {
        self.sectors.len() as u32
    }

    /// How many of them a self-test has found.
    pub(crate) fn found_by_tests(&self) -> u32 {
        self.sectors.values().filter(|found| **found).count() as u32
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, bool)> {
        self.sectors.iter().map(|(lba, found)| (*lba, *found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_is_pending_until_it_is_read_or_written() {
        let mut defects = Defects::default();
        defects.add(7, false);
        defects.add(7, true);
        defects.add(9, false);
        defects.add(7, false);
        assert_eq!((defects.pending(), defects.found_by_tests()), (2, 1));
        defects.heal(8, 1);
        assert_eq!(defects.pending(), 2);
        defects.heal(0, 8);
        assert_eq!((defects.pending(), defects.found_by_tests()), (1, 0));
        defects.heal(9, u64::MAX);
        assert_eq!(defects.pending(), 0);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut defects = Defects::default();
        for lba in 0..2 * MAX_DEFECTS as u64 {
            defects.add(lba, false);
        }
        assert_eq!(defects.pending() as usize, MAX_DEFECTS);
    }
}
