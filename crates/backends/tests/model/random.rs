//! Schedules at random, for cases that are too large to see all: `shuttle`.
//!
//! Two ways: any runnable thread at each step, or few preemptions at random places (PCT), which
//! finds what needs a certain order of few steps.

// The code under test is compiled here a third time, with its own tests and what only they need.
#![allow(dead_code, unused_imports)]

use std::time::Duration;

use case::Case;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use sync::Scenario;

#[path = "../../src/file/backend.rs"]
mod backend;
#[path = "../../src/file/detect.rs"]
mod detect;
#[path = "../../src/file/policy.rs"]
mod policy;
#[path = "../../src/file/pool.rs"]
mod pool;
#[path = "../../src/file/queue.rs"]
mod queue;
#[path = "../../src/file/sabotage.rs"]
mod sabotage;
#[path = "../../src/file/sync_group.rs"]
mod sync_group;

#[path = "backend_cases.rs"]
mod backend_cases;
#[path = "case.rs"]
pub(crate) mod case;
#[path = "device.rs"]
mod device;
#[path = "medium.rs"]
mod medium;
#[path = "queue_cases.rs"]
mod queue_cases;
#[path = "ring.rs"]
mod ring;
#[path = "sabotages.rs"]
pub(crate) mod sabotages;
#[path = "sync.rs"]
pub(crate) mod sync;
#[path = "wake.rs"]
mod wake;

/// What every checker has.
mod base {
    pub(super) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(super) use shuttle::thread::{JoinHandle, spawn, yield_now};

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        condvar.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Runs `case` for up to `iterations` schedules that follow from `seed`, or until `limit`, calling
/// `seen` at each; panics at the first that fails, with the schedule printed. At each step any
/// runnable thread may go on; with `pct`, that many priority changes (less one) are all there is.
pub(super) fn explore(
    case: Case,
    scenario: Scenario,
    pct: Option<usize>,
    seed: u64,
    iterations: usize,
    limit: Option<Duration>,
    seen: fn(),
) {
    let run = move || {
        seen();
        case.run_once(scenario);
    };
    let mut config = shuttle::Config::new();
    config.max_time = limit;
    match pct {
        None => {
            let scheduler = RandomScheduler::new_from_seed(seed, iterations);
            shuttle::Runner::new(scheduler, config).run(run);
        }
        Some(depth) => {
            let scheduler = PctScheduler::new_from_seed(seed, depth, iterations);
            shuttle::Runner::new(scheduler, config).run(run);
        }
    }
}

/// Runs the one schedule that a failure has printed.
pub(super) fn replay(case: Case, scenario: Scenario, schedule: &str) {
    shuttle::replay(move || case.run_once(scenario), schedule);
}
