//! Takes the place of `src/file/medium.rs`: an image that hangs when told to, and remembers what
//! was done to it.

use freewheel_block::{Io, IoError, IoId};

use super::base::{self, Arc};

/// Requests at this offset hang until [`Storage::release`].
pub(super) const HANGS_AT_BYTES: u64 = 0xdead_0000;

const EIO: i32 = 5;

/// The storage behind the image. Outlives the [`Medium`], which the backend owns.
pub(super) struct Storage {
    state: base::Mutex<State>,
    released: base::Condvar,
}

#[derive(Default)]
struct State {
    begun: Vec<IoId>,
    written: Vec<IoId>,
    durable: Vec<IoId>,
    syncs: u32,
    failing_sync: Option<u32>,
    syncing: bool,
    released: bool,
    closed: bool,
}

impl Storage {
    pub(super) fn new() -> Self {
        Self { state: base::Mutex::default(), released: base::Condvar::new() }
    }

    /// Lets go of everything that hangs, and will.
    pub(super) fn release(&self) {
        base::lock(&self.state).released = true;
        self.released.notify_all();
    }

    /// The `nth` sync is to fail, the first being 0.
    pub(super) fn fail_sync(&self, nth: u32) {
        base::lock(&self.state).failing_sync = Some(nth);
    }

    /// Whether the image has been closed, and so unlocked.
    pub(super) fn is_closed(&self) -> bool {
        base::lock(&self.state).closed
    }

    pub(super) fn has_begun(&self, id: IoId) -> bool {
        base::lock(&self.state).begun.contains(&id)
    }

    pub(super) fn is_durable(&self, id: IoId) -> bool {
        base::lock(&self.state).durable.contains(&id)
    }

    /// Executes `io`, as a worker or as the kernel.
    pub(super) fn execute(&self, io: &Io) -> Result<u64, IoError> {
        let mut state = base::lock(&self.state);
        assert!(!state.closed, "the image was closed under a request");
        assert!(!state.begun.contains(&io.id), "{:?} was executed twice", io.id);
        state.begun.push(io.id);
        while io.range.offset_bytes == HANGS_AT_BYTES && !state.released {
            state = base::wait(&self.released, state);
        }
        if io.kind.changes_medium() {
            state.written.push(io.id);
        }
        Ok(io.range.len_bytes)
    }

    /// An `fdatasync`: covers what was written when it began, and nothing else, to be strict.
    pub(super) fn sync(&self) -> Result<(), IoError> {
        let mut state = base::lock(&self.state);
        assert!(!state.syncing, "two syncs at a time: one may take the other's error");
        state.syncing = true;
        let covered = state.written.clone();
        drop(state);
        let mut state = base::lock(&self.state);
        state.syncing = false;
        let failed = state.failing_sync == Some(state.syncs);
        state.syncs += 1;
        if failed {
            // The kernel drops what it could not write, and won't mention it again.
            state.written.retain(|id| !covered.contains(id));
            return Err(IoError::Os(EIO));
        }
        state.durable.extend(covered);
        Ok(())
    }
}

/// The open image.
pub(super) struct Medium(Arc<Storage>);

impl Medium {
    pub(super) fn new(storage: Arc<Storage>) -> Self {
        Self(storage)
    }

    pub(super) fn storage(&self) -> &Arc<Storage> {
        &self.0
    }

    pub(super) fn execute(&self, io: &mut Io) -> Result<u64, IoError> {
        self.0.execute(io)
    }

    pub(super) fn sync(&self) -> Result<(), IoError> {
        self.0.sync()
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        base::lock(&self.0.state).closed = true;
    }
}
