//! Takes the place of `src/file/wake.rs`: the eventfd. That the real one behaves like this is what
//! its own tests look at.

use super::base;

/// A counter that can be waited for.
pub(super) struct Wake {
    count: base::Mutex<u64>,
    readable: base::Condvar,
}

impl Wake {
    pub(super) fn new() -> Self {
        Self { count: base::Mutex::new(0), readable: base::Condvar::new() }
    }

    /// Adds one. A full counter would stay as it is; none gets there.
    pub(super) fn signal(&self) {
        *base::lock(&self.count) += 1;
        self.readable.notify_all();
    }

    /// Reads the counter without waiting, which sets it to zero.
    pub(super) fn clear(&self) {
        *base::lock(&self.count) = 0;
    }

    /// The poll loop's wait, level-triggered: goes on as long as the counter isn't zero.
    pub(super) fn wait_readable(&self) {
        let mut count = base::lock(&self.count);
        while *count == 0 {
            count = base::wait(&self.readable, count);
        }
    }
}
