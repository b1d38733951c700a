//! Ways to break the contract on purpose, one at a time, to show that the simulator would notice.
//! Only with the feature `sabotage`, which no program enables; without it nothing of this exists,
//! and [`sabotaged!`](crate::sabotaged) is `false` at compile time.
//!
//! The choice is one for the whole process, because the places that it breaks have nothing in
//! common that could carry it.

use core::sync::atomic::{AtomicUsize, Ordering};

/// What is broken. The name of each says what the code then does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[allow(missing_docs, reason = "the table below describes each")]
pub enum Sabotage {
    ResetAsksStorage,
    ResetForgetsDevice,
    SrstForgetsCommands,
    StopKeepsActive,
    AnswerAfterCancel,
    SlotGenerationIgnored,
    LateReadCopied,
    ListFetchedAgain,
    NoFence,
    NoFenceForDiscard,
    FenceDroppedEarly,
    FenceNotWide,
    HoldNotCancellable,
    HeldNeverReleased,
    UnalignedTogether,
    FlushUnasked,
    FlushOvertakes,
    FuaIgnored,
    FuaOfQueueIgnored,
    WriteThroughIgnored,
    BudgetIgnored,
    OrphanSlotReused,
    DoubtForgotten,
    ErrorSwallowed,
    ShortIsWhole,
    LastRangeForgotten,
    OrphanNotCounted,
    InterruptLost,
    DetachForgetsDevice,
    AttachInDoubt,
    EjectKeepsReading,
    EjectForgetsHost,
    ChangeUnsaid,
}

/// Each sabotage with the clause that it breaks and what it does.
pub const ALL: [(Sabotage, &str, &str); 33] = [
    (Sabotage::ResetAsksStorage, "C1", "a reset polls the storage"),
    (
        Sabotage::ResetForgetsDevice,
        "C1",
        "a stop or reset of the port cancels nothing in the device",
    ),
    (Sabotage::SrstForgetsCommands, "C1", "SRST cancels nothing in the device"),
    (Sabotage::StopKeepsActive, "C1", "PxSACT survives a stop"),
    (
        Sabotage::AnswerAfterCancel,
        "C2",
        "an operation that had ended when it was cancelled is answered, to whoever has the tag",
    ),
    (Sabotage::SlotGenerationIgnored, "C2", "a completion counts for whoever has the slot now"),
    (Sabotage::LateReadCopied, "C3", "an orphaned read's data goes to the guest"),
    (Sabotage::ListFetchedAgain, "C3", "the scatter list is fetched again when data moves"),
    (Sabotage::NoFence, "C4", "orphans raise no fence"),
    (Sabotage::NoFenceForDiscard, "C4", "orphaned discards raise no fence"),
    (Sabotage::FenceDroppedEarly, "C4", "one orphan's end takes down all fences"),
    (Sabotage::FenceNotWide, "C4", "a fence covers what was asked for, not what is written"),
    (Sabotage::HoldNotCancellable, "C4", "a held operation stays when it is cancelled"),
    (Sabotage::HeldNeverReleased, "C4", "what is held is never looked at again"),
    (Sabotage::UnalignedTogether, "C4", "unaligned writes run beside others in the same block"),
    (Sabotage::FlushUnasked, "C5", "a flush is answered without the storage"),
    (Sabotage::FlushOvertakes, "C5", "the flush behind a durable change does not wait for it"),
    (Sabotage::FuaIgnored, "C5", "FUA is ignored by the engine"),
    (Sabotage::FuaOfQueueIgnored, "C5", "FUA of queued writes is ignored by the disk"),
    (Sabotage::WriteThroughIgnored, "C5", "changes are answered early without a write cache"),
    (Sabotage::BudgetIgnored, "C6", "a slot more is made when none is free"),
    (Sabotage::OrphanSlotReused, "C6", "an orphan's slot is free at once"),
    (Sabotage::DoubtForgotten, "C7", "discards are missing from the ranges in doubt"),
    (Sabotage::ErrorSwallowed, "C8", "a failed write counts as done"),
    (Sabotage::ShortIsWhole, "C8", "a transfer that fell short counts as whole"),
    (Sabotage::LastRangeForgotten, "C8", "the last of several ranges of a TRIM is forgotten"),
    (Sabotage::OrphanNotCounted, "C9", "an orphan's end is not counted"),
    (Sabotage::InterruptLost, "C9", "a port's interrupt does not reach IS"),
    (Sabotage::DetachForgetsDevice, "C1", "a device that is pulled out keeps its commands"),
    (Sabotage::AttachInDoubt, "C4", "an image gets another engine while ranges are in doubt"),
    (Sabotage::EjectKeepsReading, "C3", "an eject cancels nothing in the medium's engine"),
    (Sabotage::EjectForgetsHost, "C2", "a read whose medium was ejected is never answered"),
    (Sabotage::ChangeUnsaid, "C9", "a medium that was changed is not reported"),
];

/// The choice, as a number from 1; 0 is none.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// Breaks this from now on, in the whole process; `None` mends everything.
pub fn choose(sabotage: Option<Sabotage>) {
    CHOSEN.store(sabotage.map_or(0, |which| which as usize + 1), Ordering::Relaxed);
}

/// Whether this is broken now.
#[inline]
pub fn is_chosen(sabotage: Sabotage) -> bool {
    CHOSEN.load(Ordering::Relaxed) == sabotage as usize + 1
}
