//! Real time, and waiting for the backends' eventfds.

use std::os::fd::OwnedFd;
use std::time::Duration;

use freewheel_block::Nanos;
use freewheel_sim::{Environment, Usage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::Clock;
use crate::usage;

/// The machine that the drill runs on.
pub(super) struct Host {
    clock: Clock,
    wakes: Vec<OwnedFd>,
}

impl Host {
    pub(super) fn new(wakes: Vec<OwnedFd>) -> Self {
        Self { clock: Clock::start(), wakes }
    }
}

impl Environment for Host {
    fn now(&mut self) -> Nanos {
        self.clock.now()
    }

    fn wait(&mut self, at_most_ns: u64) {
        let mut fds: Vec<PollFd<'_>> =
            self.wakes.iter().map(|wake| PollFd::new(wake, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(Duration::from_nanos(at_most_ns)).ok();
        // A signal or an error only means that the drill looks earlier.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    fn usage(&mut self) -> Option<Usage> {
        usage::of_this_thread()
    }
}
