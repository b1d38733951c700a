//! Every schedule, up to a number of preemptions or without a bound: `loom`.
//!
//! It leaves out schedules that differ only in the order of steps that don't touch the same thing,
//! which makes searches end that would otherwise last for years. It can't do more than five
//! threads, and has no way to pick schedules at random; for those see [`random`](super::random).

// The code under test is compiled here a second time, with its own tests and what only they need.
#![allow(dead_code, unused_imports)]

use std::time::{Duration, Instant};

use case::Case;
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
    pub(super) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(super) use loom::thread::{JoinHandle, spawn, yield_now};

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        condvar.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Runs `case` for every schedule with at most so many preemptions (a thread is interrupted although
/// it could go on), calling `seen` at each; panics at the first that fails. Returns whether it saw
/// all of them before `limit`.
pub(super) fn explore(
    case: Case,
    scenario: Scenario,
    preemptions: Option<usize>,
    limit: Option<Duration>,
    seen: fn(),
) -> bool {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_duration = limit;
    builder.max_branches = 100_000;
    builder.checkpoint_interval = 1000;
    let start = Instant::now();
    builder.check(move || {
        seen();
        case.run_once(scenario);
    });
    limit.is_none_or(|limit| start.elapsed() < limit)
}
