//! What happens during a drill, for whoever tells it to people.

use freewheel_block::{ByteRange, Nanos};

use crate::{Identity, ResetWay};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Nanos,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The disk has introduced itself, and the engine has told its budget.
    Identified {
        /// The disk.
        identity: Identity,
        /// The backend's name.
        backend: String,
        /// The engine's slots.
        slots: usize,
    },
    /// A part of the drill begins.
    Phase(Phase),
    /// A round of a way to reset begins; only the first of each way is told in detail.
    Round {
        /// Counted from 0.
        round: u32,
    },
    /// A fault was injected.
    Fault {
        /// In the grammar of faults.
        spec: &'static str,
    },
    /// The storage itself stands still from now on.
    Stalled,
    /// The guest rang the doorbell.
    Doorbell {
        /// The slots.
        slots: u32,
        /// What the commands are.
        what: &'static str,
    },
    /// Requests stand in the storage.
    Stuck {
        /// How many.
        requests: usize,
    },
    /// The guest has reset.
    Reset {
        /// In which way.
        way: ResetWay,
        /// The registers say that it has ended.
        ended: bool,
        /// How long it took, in nanoseconds.
        took_ns: u64,
        /// Requests that the storage still had afterwards.
        still_stuck: usize,
    },
    /// The engine's account after a reset.
    Orphans {
        /// Orphans.
        orphans: usize,
        /// Fences.
        fences: usize,
        /// What is in doubt.
        in_doubt: Vec<ByteRange>,
        /// Free slots, of how many.
        free_slots: usize,
        /// Slots that there are.
        slots: usize,
    },
    /// The memory of the cancelled commands was painted.
    Canary {
        /// How much, in bytes.
        bytes: u64,
    },
    /// New commands ended.
    Ended {
        /// Their slots.
        slots: u32,
        /// What they were.
        what: &'static str,
        /// Since the doorbell, in nanoseconds.
        took_ns: u64,
    },
    /// New commands are held behind fences.
    Held {
        /// Their slots.
        slots: u32,
    },
    /// The storage was released.
    Released {
        /// Requests that went on.
        requests: usize,
    },
    /// All orphans have ended, and all that was held.
    Drained {
        /// Since the release, in nanoseconds.
        took_ns: u64,
    },
    /// What was found at the end of a round.
    Checked {
        /// Bytes of canary that were intact.
        canary_bytes: u64,
        /// Places of the medium that were read back and were right.
        chunks: usize,
    },
    /// The budget of slots is spent.
    BudgetSpent {
        /// Resets that it took.
        resets: u32,
        /// Operations that wait for a slot.
        queued: u64,
    },
    /// The other disk works all the same.
    Neighbour {
        /// Commands that ended.
        commands: u32,
        /// The longest, in nanoseconds.
        longest_ns: u64,
    },
    /// Random trouble: a number of iterations went by.
    Trouble {
        /// What was tried.
        what: &'static str,
        /// How many were survived.
        survived: u32,
        /// Of how many.
        tried: u32,
    },
    /// Something went wrong; the verdicts say the same.
    Violation {
        /// In words.
        words: String,
    },
}

/// A part of the drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Getting to know the disk.
    StartUp,
    /// A way to reset, round after round.
    Way(ResetWay),
    /// Resets without release until the budget is spent.
    Budget,
    /// Errors, delays, completions in the middle.
    Trouble,
}
