//! A deterministic simulation of a guest, a controller and a faulty disk, with an oracle that knows
//! what a guest may observe. One seed decides everything; the same seed gives the same run on every
//! machine.
//!
//! ```text
//!   seed ─► plan: WorldConfig, [Step] ─► World { guest ─ registers, memory ─ Hba ─ Disk ─ Engine ─ faults ─ storage }
//!                                          │ after every event: registers, memory, counters
//!                                          │ at every end: data, durability
//!                                          ▼
//!                                       Violation ─► shrink ─► the shortest list that still fails
//! ```
//!
//! The crates under test are the real ones, unchanged. Only the guest, its memory, the storage and
//! the clock are simulated.
//!
//! Left out: two live commands of which one changes what the other is about (ATA promises nothing
//! about them), transfers that fall short within a sector, and true concurrency (the backends' model checking has that).

mod campaign;
mod commands;
mod config;
mod coverage;
mod disc;
mod disk;
mod drive;
mod drive_rules;
mod faults;
mod guest;
mod hot_plug;
mod links;
mod memory;
mod oracle;
mod resets;
mod rng;
mod shrink;
mod step;
mod violation;
mod witness;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(feature = "sabotage")]
pub use freewheel_block::sabotage;

pub use campaign::{Campaign, ENOUGH, Summary, run_campaign};
pub use config::WorldConfig;
pub use coverage::Coverage;
pub use faults::{Fault, FaultStats};
pub use rng::Rng;
pub use shrink::shrink;
pub use step::{How, Op, PacketOp, Retry, Step, plan};
pub use violation::{Kind, Violation};

use world::World;

/// What happened in a run, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commands issued.
    pub operations: u64,
    /// Calls into the controller.
    pub events: u64,
    /// Resets.
    pub resets: u64,
    /// Resets with a command in flight.
    pub resets_in_flight: u64,
    /// Errors that the guest recovered from.
    pub errors: u64,
    /// Orphans.
    pub orphans: u64,
    /// Fences raised.
    pub fences: u64,
    /// Operations held.
    pub holds: u64,
    /// Points at which the process was taken to be killed.
    pub crashes: u64,
    /// Injected faults.
    pub faults: FaultStats,
}

/// One run's list of steps, and what it runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What it runs on.
    pub config: WorldConfig,
    /// What happens.
    pub steps: Vec<Step>,
    /// Only what a guest can notice counts as a violation.
    pub guest_only: bool,
}

impl Run {
    /// The run that `seed` names.
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut config = WorldConfig::random(&mut rng);
        let mut steps = plan(&mut rng, config.disks, config.drive);
        faults::sprinkle(&mut rng, &mut config, &mut steps);
        Self { config, steps, guest_only: false }
    }

    /// Runs it.
    pub fn execute(&self) -> Outcome {
        self.run(false, false)
    }

    /// Runs it, checks everything after every event, and tells the story.
    pub fn trace(&self) -> Outcome {
        self.run(true, true)
    }

    /// Runs it as [`Run::execute`] does, which ends in the same violation, and tells the story.
    pub fn story(&self) -> Outcome {
        self.run(true, false)
    }

    fn run(&self, traced: bool, strict: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let mut at = 0;
        let mut world = None;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let world = world.insert(World::new(self, traced, strict));
            for step in &self.steps {
                at += 1;
                world.step(step);
                if world.violation.is_some() {
                    return;
                }
            }
            world.finish();
        }));
        let panicked = result.err().map(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Violation::new(Kind::Panic, text)
        });
        let Some(mut world) = world else {
            outcome.violation = panicked;
            return outcome;
        };
        world.note(panicked.map_or(Ok(()), Err));
        outcome.violation = world.violation.take();
        outcome.stats = world.stats;
        outcome.coverage = world.coverage();
        outcome.trace = world.take_trace();
        outcome.steps_done = at;
        outcome
    }
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The first violation, if there was one.
    pub violation: Option<Violation>,
    /// Steps until then.
    pub steps_done: usize,
    /// Numbers.
    pub stats: Stats,
    /// What was visited.
    pub coverage: Coverage,
    /// The story, if it was asked for.
    pub trace: Vec<String>,
}
