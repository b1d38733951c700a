//! What an operator, a test or a timeline can see of an engine (contract C9).

use alloc::string::String;
use alloc::vec::Vec;

use crate::{ByteRange, Nanos, OpKind};

/// Totals since the engine was built. Every field only grows, but for the `_now` ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Operations accepted.
    pub submitted_total: u64,
    /// Operations answered with success.
    pub completed_total: u64,
    /// Operations answered with an error.
    pub failed_total: u64,
    /// Operations cancelled by the device model.
    pub cancelled_total: u64,
    /// Requests handed to the backend and then orphaned.
    pub orphans_total: u64,
    /// Orphans that the backend has not let go of yet.
    pub orphans_now: u64,
    /// Fences raised, each for an orphan that may still change the medium.
    pub fences_total: u64,
    /// Fences that stand.
    pub fences_now: u64,
    /// Times that an operation was held behind a fence.
    pub held_total: u64,
    /// Operations held now, behind a fence or another unaligned write.
    pub held_now: u64,
    /// Held operations that went on because what held them ended.
    pub released_total: u64,
    /// Operations that wait for a slot or for their turn now.
    pub queued_now: u64,
    /// Requests that the backend works on for a live operation now.
    pub running_now: u64,
    /// Completions that matched nothing: repeated, or invented by the backend.
    pub spurious_total: u64,
    /// Transfers that fell short and were continued.
    pub short_total: u64,
    /// Bytes read for completed requests.
    pub read_bytes_total: u64,
    /// Bytes written by completed requests.
    pub written_bytes_total: u64,
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpState {
    /// It waits for a slot.
    Queued,
    /// It waits for a fence to fall.
    Held,
    /// The backend works on it.
    Running,
}

/// An operation that has not been answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpStatus {
    /// The device model's tag.
    pub tag: u32,
    /// What it does.
    pub kind: OpKind,
    /// Its first range.
    pub range: ByteRange,
    /// Where it is.
    pub state: OpState,
    /// Nanoseconds since it was submitted.
    pub age_ns: u64,
}

/// An orphan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanStatus {
    /// What it does.
    pub kind: OpKind,
    /// Where.
    pub range: ByteRange,
    /// Whether a fence stands over the range.
    pub fenced: bool,
    /// Nanoseconds since it was handed to the backend.
    pub age_ns: u64,
    /// Nanoseconds since it was cancelled.
    pub orphaned_ns: u64,
}

/// The whole state of an engine at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStatus {
    /// What does the work.
    pub backend: String,
    /// Size of the medium in bytes.
    pub size_bytes: u64,
    /// Slots that are free.
    pub free_slots: usize,
    /// Slots that there are.
    pub slots: usize,
    /// The totals.
    pub counters: Counters,
    /// What is not answered yet.
    pub operations: Vec<OpStatus>,
    /// What the backend has not let go of.
    pub orphans: Vec<OrphanStatus>,
}

/// What happened to an operation or a request of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceKind {
    /// The device model submitted an operation.
    Submit,
    /// A request was handed to the backend.
    Start,
    /// The backend completed a request of a live operation.
    Finish,
    /// The operation was answered; true for success.
    Answer(bool),
    /// The operation was held behind a fence.
    Hold,
    /// What held the operation is gone.
    Release,
    /// The operation was cancelled.
    Cancel,
    /// A request was orphaned; true if a fence stands over it.
    Orphan(bool),
    /// The backend let go of an orphan.
    OrphanEnd,
    /// A completion matched nothing.
    Spurious,
}

/// One entry of the engine's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When.
    pub at: Nanos,
    /// What happened.
    pub kind: TraceKind,
    /// To what sort of operation.
    pub op: OpKind,
    /// The device model's tag; that of the former operation for an orphan.
    pub tag: u32,
    /// Where on the medium.
    pub range: ByteRange,
}
