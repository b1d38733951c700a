//! Time, and waiting for the storage, as whoever drives a [`Machine`](crate::Machine) sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use freewheel_block::Nanos;

/// Where time comes from, and how to wait for a backend.
pub trait Environment {
    /// The time.
    fn now(&mut self) -> Nanos;

    /// Waits until a backend may have completed something, for at most `at_most_ns` nanoseconds.
    /// May return early without reason.
    fn wait(&mut self, at_most_ns: u64);

    /// What the calling thread has used so far, if that can be known.
    fn usage(&mut self) -> Option<Usage> {
        None
    }
}

/// What a thread has used of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a processor, in nanoseconds. Waiting isn't counted, nor is being preempted.
    pub cpu_ns: u64,
    /// How often it gave its processor away because it had to wait for something. Being preempted
    /// isn't counted.
    pub waits: u64,
}

/// A clock that moves only when told: by a fixed tick at each look at it, and by waiting. Clones
/// show the same time.
#[derive(Clone, Debug)]
pub struct VirtualClock {
    now_ns: Arc<AtomicU64>,
    tick_ns: u64,
}

impl VirtualClock {
    /// A clock that moves on by `tick_ns` each time somebody looks.
    pub fn new(tick_ns: u64) -> Self {
        Self { now_ns: Arc::new(AtomicU64::new(1)), tick_ns }
    }

    /// Moves the clock on.
    pub fn advance(&self, delta_ns: u64) {
        self.now_ns.fetch_add(delta_ns, Ordering::Relaxed);
    }
}

impl Default for VirtualClock {
    /// Ticks by 100 ns.
    fn default() -> Self {
        Self::new(100)
    }
}

impl Environment for VirtualClock {
    fn now(&mut self) -> Nanos {
        self.advance(self.tick_ns);
        Nanos(self.now_ns.load(Ordering::Relaxed))
    }

    fn wait(&mut self, at_most_ns: u64) {
        self.advance(at_most_ns);
    }
}
