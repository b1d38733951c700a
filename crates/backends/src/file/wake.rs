//! The eventfd by which a backend calls its owner's poll loop.
//!
//! A counter: [`Wake::signal`] adds one, [`Wake::clear`] sets it to zero, and the descriptor is
//! readable for as long as it isn't zero. So no signal is lost if whoever clears it looks for work
//! *after* that, and whoever signals has handed over the work *before*.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Wake(OwnedFd);

impl Wake {
    /// A counter at zero.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Another descriptor of the same counter, for the owner's poll loop.
    pub(super) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Makes the owner's poll loop call [`Backend::poll`](freewheel_block::Backend::poll).
    pub(super) fn signal(&self) {
        // The only way to fail is a counter that is full, and so readable already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes back all signals so far.
    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Wake {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn readable(wake: &Wake) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(wake, PollFlags::IN)], Some(&now)).unwrap() == 1
    }

    /// What `tests/model/wake.rs` says of it.
    #[test]
    fn stays_readable_until_cleared_however_often_signalled() {
        let wake = Wake::new().unwrap();
        assert!(!readable(&wake));
        wake.clear();
        wake.signal();
        wake.signal();
        assert!(readable(&wake) && readable(&wake), "level-triggered");
        wake.clear();
        assert!(!readable(&wake), "one clear takes all signals");
    }

    #[test]
    fn a_full_counter_is_readable_and_signalling_does_not_wait() {
        let wake = Wake::new().unwrap();
        rustix::io::write(&wake, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        wake.signal();
        assert!(readable(&wake));
        wake.clear();
        assert!(!readable(&wake));
    }
}
