//! Takes the place of `src/file/ring.rs`: a kernel that completes each request on a thread of its
//! own, posts it, and then signals the eventfd, as io_uring does.
//!
//! Left out: the memory that the real one lends to the kernel, and asynchronous cancelling.

use freewheel_block::{Io, IoBuf, IoId};

use super::base::{self, Arc};
use super::medium::{Medium, Storage};
use super::sync::start_kernel;
use super::wake::Wake;

/// Like the real one.
pub(super) enum RingEvent {
    Io { io: Io, result: i32, cancelled: bool },
    Sync(i32),
}

/// See the module's description.
pub(super) struct Ring {
    storage: Arc<Storage>,
    wake: Arc<Wake>,
    noted: Vec<Io>,
    completed: Arc<base::Mutex<Vec<RingEvent>>>,
}

impl Ring {
    pub(super) fn new(medium: &Medium, wake: &Arc<Wake>) -> Self {
        Self {
            storage: Arc::clone(medium.storage()),
            wake: Arc::clone(wake),
            noted: Vec::new(),
            completed: Arc::new(base::Mutex::default()),
        }
    }

    pub(super) fn register_buffers(&mut self, _bufs: &mut [IoBuf]) {}

    pub(super) fn submit(&mut self, io: Io, _worker: bool) -> Result<(), Io> {
        self.noted.push(io);
        Ok(())
    }

    /// Without room: the pool does it, which is the more interesting place.
    pub(super) fn sync(&mut self) -> bool {
        false
    }

    pub(super) fn cancel(&mut self, _id: IoId) {}

    pub(super) fn enter(&mut self) -> bool {
        for io in self.noted.drain(..) {
            let (storage, wake, completed) =
                (Arc::clone(&self.storage), Arc::clone(&self.wake), Arc::clone(&self.completed));
            start_kernel(move || {
                let result = storage.execute(&io).map_or(-5, |bytes| bytes as i32);
                base::lock(&completed).push(RingEvent::Io { io, result, cancelled: false });
                wake.signal();
            });
        }
        true
    }

    pub(super) fn harvest(&mut self, events: &mut Vec<RingEvent>) {
        events.append(&mut base::lock(&self.completed));
    }
}
