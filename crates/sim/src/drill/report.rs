//! What a drill has found.

use super::Verdicts;
use crate::{Identity, ResetWay};

/// Measured times, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    sorted_ns: Vec<u64>,
}

impl Times {
    pub(super) fn add(&mut self, ns: u64) {
        let at = self.sorted_ns.partition_point(|other| *other <= ns);
        self.sorted_ns.insert(at, ns);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sorted_ns.len()
    }

    /// The smallest that at least `percent` % of all do not exceed (nearest rank); 0 without any.
    pub fn percentile_ns(&self, percent: u64) -> u64 {
        let rank = (self.sorted_ns.len() as u64 * percent).div_ceil(100).max(1) as usize;
        self.sorted_ns.get(rank - 1).copied().unwrap_or(0)
    }

    /// The largest; 0 without any.
    pub fn max_ns(&self) -> u64 {
        self.sorted_ns.last().copied().unwrap_or(0)
    }
}

/// The result of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What executed the requests, by the backend's own name.
    pub backend: String,
    /// The disk, as it introduced itself.
    pub identity: Identity,
    /// The storage itself hung, not a fault in front of it.
    pub real_stall: bool,
    /// Queued commands that hung in each round.
    pub commands_hung: usize,
    /// Rounds of each way to reset.
    pub rounds: u32,
    /// Slots of the engine: its budget.
    pub slots: usize,
    /// Reset times, of each way that was tried, in order.
    pub ways: Vec<(ResetWay, Times)>,
    /// Reset times of all ways.
    pub resets: Times,
    /// What the resets computed, where that can be known.
    pub resets_cpu: Times,
    /// The longest that any single call into the controller took, in nanoseconds.
    pub longest_call_ns: u64,
    /// The longest that any single call into the controller computed, in nanoseconds. What a busy
    /// machine adds to `longest_call_ns` is not in it.
    pub longest_call_cpu_ns: u64,
    /// Calls into the controller in which the thread waited for something, if only for a lock that
    /// another thread had for an instant; `None` if that can't be known here. (One that waited for
    /// storage that hangs would never have returned: the same thread lets the storage go.)
    pub blocked_calls: Option<u64>,
    /// The longest of those, in nanoseconds.
    pub longest_blocked_call_ns: u64,
    /// Calls into the controller.
    pub calls: u64,
    /// The longest command of the other disk while the budget of the first was spent, in
    /// nanoseconds.
    pub neighbour_longest_ns: u64,
    /// Orphans over the whole drill.
    pub orphans_total: u64,
    /// Fences over the whole drill.
    pub fences_total: u64,
    /// Operations that were held over the whole drill.
    pub held_total: u64,
    /// The verdicts.
    pub verdicts: Verdicts,
}

impl Report {
    /// Whether every clause holds.
    pub fn ok(&self) -> bool {
        self.verdicts.all_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut times = Times::default();
        assert_eq!((times.percentile_ns(50), times.max_ns()), (0, 0));
        for ns in (1..=100).rev() {
            times.add(ns);
        }
        assert_eq!(times.percentile_ns(50), 50);
        assert_eq!(times.percentile_ns(99), 99);
        assert_eq!(times.percentile_ns(100), 100);
        assert_eq!((times.max_ns(), times.count()), (100, 100));
    }
}
