//! Many seeds on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Coverage, Run, Stats, Violation};

/// Seeds that a thread takes at a time.
const BLOCK: u64 = 64;

/// How many commands every seed should have.
pub const ENOUGH: u64 = 200;

/// Which seeds, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// Until then at most.
    pub at_most: Option<Duration>,
    /// Threads.
    pub threads: usize,
    /// Only what a guest can notice counts.
    pub guest_only: bool,
}

/// What came of them.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: u64,
    /// The fewest commands that a seed had.
    pub fewest_operations: Option<u64>,
    /// Seeds with fewer commands than [`ENOUGH`].
    pub short: u64,
    /// Seeds without a reset with commands in flight.
    pub without_reset: u64,
    /// The sum of all.
    pub stats: Stats,
    /// The sum of all.
    pub coverage: Coverage,
    /// The lowest seed that failed, of those that were run.
    pub failure: Option<(u64, Violation)>,
    /// How long it took.
    pub took: Duration,
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: super::Outcome) {
        let stats = outcome.stats;
        self.seeds += 1;
        let fewest = self.fewest_operations.unwrap_or(u64::MAX);
        self.fewest_operations = Some(fewest.min(stats.operations));
        self.short += u64::from(stats.operations < ENOUGH);
        self.without_reset += u64::from(stats.resets_in_flight == 0);
        self.stats.add(&stats);
        self.coverage.add(&outcome.coverage);
        if let Some(violation) = outcome.violation
            && self.failure.as_ref().is_none_or(|(other, _)| seed < *other)
        {
            self.failure = Some((seed, violation));
        }
    }

    fn merge(&mut self, other: Summary) {
        self.seeds += other.seeds;
        let fewest = [self.fewest_operations, other.fewest_operations];
        self.fewest_operations = fewest.into_iter().flatten().min();
        self.short += other.short;
        self.without_reset += other.without_reset;
        self.stats.add(&other.stats);
        self.coverage.add(&other.coverage);
        let failures = [self.failure.take(), other.failure];
        self.failure = failures.into_iter().flatten().min_by_key(|(seed, _)| *seed);
    }
}

impl Stats {
    fn add(&mut self, other: &Stats) {
        self.operations += other.operations;
        self.events += other.events;
        self.resets += other.resets;
        self.resets_in_flight += other.resets_in_flight;
        self.errors += other.errors;
        self.orphans += other.orphans;
        self.fences += other.fences;
        self.holds += other.holds;
        self.crashes += other.crashes;
        self.faults.add(&other.faults);
    }
}

/// Runs them, until one fails.
pub fn run_campaign(campaign: &Campaign) -> Summary {
    let start = Instant::now();
    let next = AtomicU64::new(campaign.first);
    let end = campaign.first.saturating_add(campaign.seeds);
    // Everything below the lowest seed that fails is still run, so that it is the lowest.
    let lowest = AtomicU64::new(u64::MAX);
    let total = Mutex::new(Summary::default());
    let work = || {
        let mut summary = Summary::default();
        loop {
            let late = campaign.at_most.is_some_and(|at_most| start.elapsed() >= at_most);
            let block = next.fetch_add(BLOCK, Ordering::Relaxed);
            if late || block >= end || block > lowest.load(Ordering::Relaxed) {
                break;
            }
            for seed in block..end.min(block.saturating_add(BLOCK)) {
                let mut run = Run::of_seed(seed);
                run.guest_only = campaign.guest_only;
                let outcome = run.execute();
                let fails = outcome.violation.is_some();
                summary.add(seed, outcome);
                if fails {
                    lowest.fetch_min(seed, Ordering::Relaxed);
                    break;
                }
            }
        }
        if let Ok(mut total) = total.lock() {
            total.merge(summary);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..campaign.threads {
            scope.spawn(work);
        }
        work();
    });
    let mut summary = total.into_inner().unwrap_or_default();
    summary.took = start.elapsed();
    summary
}
