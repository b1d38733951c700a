//! The stuck-storage drill: a guest driver fills a disk's queue, the storage hangs, the guest
//! resets in every possible way, and each clause of the contract is judged by what can be
//! observed at registers, in guest memory, on the medium, and in the engine's own account.
//!
//! [`run`] takes devices that are already open, so that it works on any backend; the disk must
//! have a [`FaultLayer`](freewheel_block::fault::FaultLayer) in its stack, through which the drill
//! makes it hang; with [`run_on_storage_that_stalls`] the storage itself hangs, and the layer only
//! delays and fails. **It overwrites the disk.**
//!
//! A clause whose checks never ran is not proved, and its verdict is negative.
//!
//! | file | |
//! |---|---|
//! | `round` | one reset with a full queue: C1 to C7, C9 |
//! | `trim` | the same with a TRIM of many ranges |
//! | `budget` | resets until the slots are spent, and a second disk meanwhile: C6 |
//! | `stall` | what makes the storage stand still |
//! | `trouble` | errors, delays, completions in the middle of a cancel: C8 |

mod budget;
mod event;
mod medium;
mod report;
mod rig;
mod round;
mod stall;
mod trim;
mod trouble;
mod verdict;

use std::panic::{AssertUnwindSafe, catch_unwind};

use freewheel_ata::Device;

pub use event::{Event, EventKind, Phase};
pub use report::{Report, Times};
pub use stall::Stall;
pub use verdict::{Clause, Verdict, Verdicts};

use crate::{DriverError, Environment, ResetWay};
use rig::Rig;

/// What a drill is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrillConfig {
    /// Rounds of each way to reset.
    pub rounds: u32,
    /// A reset, or any single call into the controller, that takes longer than this violates C1.
    /// Generous, since the machine may be busy; a reset that waits for the storage never ends.
    pub limit_ns: u64,
    /// How long the drill waits for storage that does not hang.
    pub patience_ns: u64,
    /// Decides about what is random.
    pub seed: u64,
}

impl Default for DrillConfig {
    fn default() -> Self {
        Self { rounds: 20, limit_ns: 100_000_000, patience_ns: 10_000_000_000, seed: 1 }
    }
}

/// Why a drill cannot take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrillError {
    /// Nothing can make the disk hang.
    #[error("the disk has no fault layer")]
    NoFaultLayer,
    /// Nothing can be written.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The drill mixes commands that are held with others, so one or two tags are not enough.
    #[error("the disk has a queue of {depth}; the drill needs at least 4")]
    ShortQueue {
        /// Depth of its queue.
        depth: u8,
    },
    /// There is no room for what the drill writes.
    #[error("the disk has {has_bytes} bytes; the drill needs {needed_bytes}")]
    TooSmall {
        /// Size of the disk.
        has_bytes: u64,
        /// Size that it needs.
        needed_bytes: u64,
    },
    /// A disk does not even identify itself, or does not take the first data.
    #[error("the disk on port {port} does not work even before anything hangs: {error}")]
    DoesNotWork {
        /// Its port.
        port: usize,
        /// How it fails.
        error: DriverError,
    },
}

/// Runs the drill on `stuck`, with `neighbour` as the second disk of the same controller.
/// Both are overwritten. `on_event` is told what happens as it happens.
pub fn run(
    stuck: Box<dyn Device>,
    neighbour: Box<dyn Device>,
    env: Box<dyn Environment>,
    config: DrillConfig,
    on_event: &mut dyn FnMut(&Event),
) -> Result<Report, DrillError> {
    run_with(stuck, neighbour, None, env, config, on_event)
}

/// Runs the drill on storage that hangs by itself when `stall` tells it to.
///
/// What a kernel makes wait for a write that hangs differs between file systems: on many of them
/// an fsync does. So flushes are not asked to pass orphans here, but to hang themselves.
pub fn run_on_storage_that_stalls(
    stuck: Box<dyn Device>,
    neighbour: Box<dyn Device>,
    stall: Box<dyn Stall>,
    env: Box<dyn Environment>,
    config: DrillConfig,
    on_event: &mut dyn FnMut(&Event),
) -> Result<Report, DrillError> {
    run_with(stuck, neighbour, Some(stall), env, config, on_event)
}

fn run_with(
    stuck: Box<dyn Device>,
    neighbour: Box<dyn Device>,
    stall: Option<Box<dyn Stall>>,
    env: Box<dyn Environment>,
    config: DrillConfig,
    on_event: &mut dyn FnMut(&Event),
) -> Result<Report, DrillError> {
    let mut rig = Rig::new(stuck, neighbour, stall, env, config, on_event)?;
    let ended = catch_unwind(AssertUnwindSafe(|| phases(&mut rig)));
    let survived = ended.is_ok();
    // Where it is known what the thread did, being preempted on a busy machine is no fault of ours.
    let longest_ns = match rig.machine.usage() {
        Some(_) => rig.machine.longest_call_cpu_ns().max(rig.machine.longest_blocked_call_ns()),
        None => rig.machine.longest_call_ns(),
    };
    rig.check(Clause::C1, longest_ns <= config.limit_ns, || {
        format!("a call into the controller took {} us", longest_ns / 1000)
    });
    rig.check(Clause::C8, survived, || "the device model panicked".into());
    Ok(rig.into_report(survived))
}

fn phases(rig: &mut Rig) {
    for way in ResetWay::ALL {
        rig.begin(Phase::Way(way));
        for round in 0..rig.config.rounds {
            if rig.is_hopeless() {
                return;
            }
            rig.round(way, round);
        }
        rig.trim_round(way);
    }
    if rig.is_hopeless() {
        return;
    }
    rig.begin(Phase::Budget);
    rig.budget();
    if rig.is_hopeless() {
        return;
    }
    rig.begin(Phase::Trouble);
    rig.trouble();
}
