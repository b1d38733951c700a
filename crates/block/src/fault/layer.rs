//! The stack of faults, between the engine and the backend below. Which part does what, and in which
//! order, is in the [module's documentation](super).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::corrupt::Corrupt;
use super::delay::Delay;
use super::error::Error;
use super::hang::Hang;
use super::rules::{Planned, Rules, Shape, UnsupportedFault};
use super::short::Short;
use super::spec::FaultSpec;
use crate::{Backend, BackendInfo, Done, Io, IoBuf, IoId, Nanos};

/// Delays, holds, fails, damages or cuts requests as [`FaultSpec`]s say. A delayed or held request
/// has *not* been carried out: that happens when its time comes, late, as with real storage.
pub struct FaultLayer {
    inner: Box<dyn Backend>,
    shape: Shape,
    rules: Rules,
    hang: Hang,
    delay: Delay,
    error: Error,
    corrupt: Corrupt,
    short: Short,
}

impl FaultLayer {
    /// A layer over `inner` with the given faults. LBAs count sectors of `sector_bytes`. `seed`
    /// decides about probabilities and damage.
    pub fn new(
        inner: Box<dyn Backend>,
        sector_bytes: u64,
        faults: impl IntoIterator<Item = FaultSpec>,
        seed: u64,
    ) -> Result<Self, UnsupportedFault> {
        let shape = Shape::new(inner.info(), sector_bytes);
        let mut layer = Self {
            inner,
            shape,
            rules: Rules::new(seed),
            hang: Hang::default(),
            delay: Delay::default(),
            error: Error::default(),
            corrupt: Corrupt::new(seed, shape),
            short: Short::new(shape),
        };
        faults.into_iter().try_for_each(|fault| layer.add(fault))?;
        Ok(layer)
    }

    /// Adds a fault, for requests from now on.
    pub fn add(&mut self, fault: FaultSpec) -> Result<(), UnsupportedFault> {
        self.rules.add(fault)
    }

    /// Removes every fault. What is parked stays parked.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// How many requests are parked here, delayed or held.
    pub fn parked(&self) -> usize {
        self.hang.len() + self.delay.len()
    }

    /// Lets every parked request go down, delayed ones too; returns how many there were. What else
    /// was to happen to them happens.
    pub fn release(&mut self, now: Nanos) -> usize {
        let mut parked = self.hang.release();
        parked.append(&mut self.delay.release());
        let count = parked.len();
        for request in parked {
            self.below_delay(request, now);
        }
        self.inner.kick(now);
        count
    }

    fn below_delay(&mut self, request: Planned, now: Nanos) {
        if let Some(mut request) = self.error.down(request) {
            self.corrupt.down(&mut request);
            self.short.down(&mut request);
            self.inner.submit(request.io, now);
        }
    }
}

impl Backend for FaultLayer {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    fn register_buffers(&mut self, bufs: &mut [IoBuf]) {
        self.inner.register_buffers(bufs);
    }

    fn submit(&mut self, io: Io, now: Nanos) {
        let plan = self.rules.plan(&io, self.shape);
        let request = self.hang.down(Planned { io, plan });
        if let Some(request) = request.and_then(|request| self.delay.down(request, now)) {
            self.below_delay(request, now);
        }
    }

    fn kick(&mut self, now: Nanos) {
        self.inner.kick(now);
    }

    fn poll(&mut self, now: Nanos, done: &mut Vec<Done>) {
        let due = self.delay.due(now);
        let any_due = !due.is_empty();
        for request in due {
            self.below_delay(request, now);
        }
        if any_due {
            self.inner.kick(now);
        }
        self.error.poll(done);
        let from_below = done.len();
        self.inner.poll(now, done);
        for completion in &mut done[from_below..] {
            self.short.up(completion);
            self.corrupt.up(completion);
        }
    }

    fn cancel_hint(&mut self, id: IoId) {
        self.inner.cancel_hint(id);
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        if !self.error.is_empty() {
            return Some(Nanos(0));
        }
        [self.delay.next_wakeup(), self.inner.next_wakeup()].into_iter().flatten().min()
    }

    fn fault_layer(&mut self) -> Option<&mut FaultLayer> {
        Some(self)
    }
}
