//! Mistakes to make on purpose, to see that the model checker (`tests/model`) finds them.
//!
//! Each is one that somebody could really make, in the place where they would make it.
//! [`sync::sabotaged`](super::sync::sabotaged) switches them on; in a production build it is a
//! constant `false`, and nothing of them is left.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// `Queue::try_append` wakes a worker before the jobs are there, not after.
    NotifyBeforeAppend,
    /// `Queue::pop` leaves jobs behind and wakes nobody for them.
    WakeNotPassedOn,
    /// `Queue::pop` lets go of the lock between looking for a job and waiting for one.
    WaitWithoutLock,
    /// `Queue::pop` takes it that there is a job for whoever wakes up.
    WokenMeansJob,
    /// `Queue::close` doesn't wake the idle workers.
    CloseInSilence,
    /// A worker holds the lock of the list of what has finished while it executes.
    LockDuringIo,
    /// A worker signals before its work is on the list of what has finished.
    SignalBeforeFinished,
    /// A worker signals while it still has the lock of that list, which the device thread tries.
    SignalUnderLock,
    /// A worker gives a request back twice.
    GiveBackTwice,
    /// A worker says that it is done before it has let go of the image.
    SayBeforeLettingGo,
    /// A withdrawn job is given back but stays in the queue.
    WithdrawnJobStays,
    /// The device thread finds the queue's lock taken and doesn't come back with its batch.
    LockedMeansDone,
    /// `FileBackend::poll` clears the signal after it has taken what has finished.
    ClearAfterTaking,
    /// `SyncGroup` starts a sync although one is running.
    TwoSyncs,
    /// A running sync also serves those who asked after it had begun.
    SyncServesLateComers,
}
