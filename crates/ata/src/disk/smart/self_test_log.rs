//! Self-tests that have ended: what logs 06h and 07h are made of (`../log/self_test.rs` lays them
//! out).

use alloc::collections::VecDeque;

/// Results that are remembered: as many as log 06h has room for.
pub(crate) const MAX_RESULTS: usize = 21;

/// How a self-test ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SelfTestResult {
    /// The subcommand that started it.
    pub(crate) subcommand: u8,
    /// Self-test execution status: how it ended, and how much was left.
    pub(crate) status: u8,
    /// Power-on hours.
    pub(crate) life_timestamp: u16,
    /// The first sector that could not be read, if that is how it ended.
    pub(crate) failing_lba: Option<u64>,
}

/// The latest results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SelfTests {
    /// How many there have been.
    pub(crate) total: u64,
    /// The latest of them, oldest first.
    pub(crate) results: VecDeque<SelfTestResult>,
}

impl SelfTests {
    /// One more.
    pub(crate) fn push(&mut self, result: SelfTestResult) {
        if self.results.len() == MAX_RESULTS {
            self.results.pop_front();
        }
        self.results.push_back(result);
        self.total = self.total.saturating_add(1);
    }

    /// The status of the latest one; 0 if there was none.
    pub(crate) fn latest_status(&self) -> u8 {
        self.results.back().map_or(0, |result| result.status)
    }

    /// The latest results, at most `ring` of them, each with its place in a circular buffer of that
    /// size.
    pub(crate) fn in_ring(&self, ring: usize) -> impl Iterator<Item = (usize, &SelfTestResult)> {
        let latest = self.results.iter().rev().take(ring);
        latest.enumerate().map(move |(age, result)| (self.place(age, ring), result))
    }

    /// The index (from 1) of the latest one in such a buffer; 0 if there is none.
    pub(crate) fn index(&self, ring: usize) -> u16 {
        if self.results.is_empty() { 0 } else { self.place(0, ring) as u16 + 1 }
    }

    fn place(&self, age: usize, ring: usize) -> usize {
        (self.total.saturating_sub(1 + age as u64) % ring as u64) as usize
    }
}
