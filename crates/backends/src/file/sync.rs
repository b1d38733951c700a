//! What the threads of a backend synchronise with.
//!
//! The modules that share data between threads ([`queue`](super::queue), [`pool`](super::pool),
//! [`backend`](super::backend)) take their primitives from here and from [`wake`](super::wake)
//! only. `tests/model` compiles the same modules a second time against primitives whose
//! interleavings a model checker decides; a production build knows nothing of that.

use std::io;
use std::sync::TryLockError;

use super::sabotage::Sabotage;

pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Workers only make system calls.
const STACK_BYTES: usize = 128 * 1024;

/// Starts a worker thread, which nobody will ever wait for.
pub(super) fn start_worker(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = std::thread::Builder::new().name("freewheel-io".into()).stack_size(STACK_BYTES);
    builder.spawn(work).map(drop)
}

/// The lock, if it is free just now: for the device thread, which waits for nobody.
pub(super) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Whether the code is to go wrong on purpose here: never, but in the model checker's tests.
pub(super) const fn sabotaged(_: Sabotage) -> bool {
    false
}
