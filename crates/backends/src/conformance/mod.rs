//! What every backend must do, as named cases.
//!
//! A backend's tests implement [`Fixture`], which opens one medium any number of times, and run all
//! of [`CASES`] on a new fixture each. A case panics with the reason if the backend fails it.
//! Whatever happens, no case waits longer than [`PATIENCE`] for a completion.
//!
//! Every case drives the backend through [`Rig`], which checks at each completion what holds
//! always: it answers a request that is in flight, for the first time, with the request's own
//! fields and its own buffer at the same address.
//!
//! Left out: what needs storage that misbehaves (see `tests/hanging_storage`), and what is the
//! engine's affair (splitting, fences, cancelling).

mod cases;
mod rig;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use freewheel_block::Backend;

use crate::file::{FileOptions, OpenError, OpenFile, open};

pub use cases::CASES;
pub use rig::{PATIENCE, Rig};

/// The medium is at least this long, and a multiple of it, in bytes.
pub const MEDIUM_BYTES: u64 = 16 << 20;

/// A medium that a backend serves.
pub trait Fixture {
    /// Opens it. What was written and flushed before, by a backend that has been dropped, is there.
    ///
    /// # Panics
    /// If it can't be opened: the case has failed.
    fn open(&self, read_only: bool) -> Subject;
}

/// An open backend.
pub struct Subject {
    /// The backend.
    pub backend: Box<dyn Backend>,
    /// Becomes readable when [`Backend::poll`] has something, if the backend has such a thing.
    pub wake: Option<OwnedFd>,
}

/// Something that every backend must do.
pub struct Case {
    /// What it is about, in words joined by underscores.
    pub name: &'static str,
    /// Runs it. Panics if the backend fails.
    pub run: fn(&dyn Fixture),
}

/// Opens an image that may have been in use a moment ago: a file is closed, and its lock given back,
/// by a thread of its own.
pub fn open_again(path: &Path, options: &FileOptions) -> Result<OpenFile, OpenError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match open(path, options) {
            Err(OpenError::Locked { .. } | OpenError::Busy { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}
