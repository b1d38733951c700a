//! The layer that carries faults out, between the engine and the backend below.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::spec::{FaultAction, FaultSpec, OpMatch};
use crate::{Backend, BackendInfo, ByteRange, Done, Io, IoBuf, IoError, IoId, Nanos};

/// A fault that this layer cannot carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedFault {
    /// `short` and `corrupt` are read, but not carried out yet.
    #[error("the actions `short` and `corrupt` are not available yet; use delay, hang or error")]
    Action,
    /// Faults of the link are read, but not carried out yet.
    #[error("faults of the link are not available yet; use a fault of an operation")]
    Link,
}

struct Rule {
    matching: OpMatch,
    action: FaultAction,
    matches: u64,
}

struct Parked {
    io: Io,
    /// `None`: until it is released.
    until: Option<Nanos>,
}

/// Delays, holds or fails requests on their way down. A delayed or held request has *not* been
/// carried out: that happens when its time comes, late, as with real storage.
pub struct FaultLayer {
    inner: Box<dyn Backend>,
    sector_bytes: u64,
    rules: Vec<Rule>,
    parked: Vec<Parked>,
    failed: Vec<Done>,
    random: u64,
}

impl FaultLayer {
    /// A layer over `inner` with the given faults. LBAs count sectors of `sector_bytes`. `seed`
    /// decides about probabilities.
    pub fn new(
        inner: Box<dyn Backend>,
        sector_bytes: u64,
        faults: impl IntoIterator<Item = FaultSpec>,
        seed: u64,
    ) -> Result<Self, UnsupportedFault> {
        let rules = faults.into_iter().map(rule).collect::<Result<_, _>>()?;
        Ok(Self {
            inner,
            sector_bytes,
            rules,
            parked: Vec::new(),
            failed: Vec::new(),
            random: seed | 1,
        })
    }

    /// Adds a fault.
    pub fn add(&mut self, fault: FaultSpec) -> Result<(), UnsupportedFault> {
        self.rules.push(rule(fault)?);
        Ok(())
    }

    /// Removes every fault. What is parked stays parked.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// How many requests are parked here.
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Lets every parked request go down, delayed ones too; returns how many there were.
    pub fn release(&mut self, now: Nanos) -> usize {
        let parked = core::mem::take(&mut self.parked);
        let count = parked.len();
        for entry in parked {
            self.inner.submit(entry.io, now);
        }
        self.inner.kick(now);
        count
    }

    fn action_for(&mut self, io: &Io) -> Option<FaultAction> {
        for rule in &mut self.rules {
            let OpMatch { kind, lba, nth, probability } = rule.matching;
            if kind.is_some_and(|kind| kind != io.kind) {
                continue;
            }
            if let Some((first, count)) = lba {
                let range = ByteRange::new(
                    first.saturating_mul(self.sector_bytes),
                    count.saturating_mul(self.sector_bytes),
                );
                if !range.overlaps(io.range) {
                    continue;
                }
            }
            rule.matches += 1;
            if nth.is_some_and(|nth| nth != rule.matches) {
                continue;
            }
            if let Some(probability) = probability {
                // xorshift64: enough for faults, and no dependency.
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                if (self.random >> 11) as f64 / (1u64 << 53) as f64 >= probability {
                    continue;
                }
            }
            return Some(rule.action);
        }
        None
    }
}

fn rule(fault: FaultSpec) -> Result<Rule, UnsupportedFault> {
    match fault {
        FaultSpec::Link(_) => Err(UnsupportedFault::Link),
        FaultSpec::Op { action: FaultAction::Short | FaultAction::Corrupt, .. } => {
            Err(UnsupportedFault::Action)
        }
        FaultSpec::Op { matching, action } => Ok(Rule { matching, action, matches: 0 }),
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
        match self.action_for(&io) {
            None | Some(FaultAction::Short | FaultAction::Corrupt) => self.inner.submit(io, now),
            Some(FaultAction::Delay(delay_ns)) => {
                self.parked.push(Parked { io, until: Some(now.plus(delay_ns)) });
            }
            Some(FaultAction::Hang) => self.parked.push(Parked { io, until: None }),
            Some(FaultAction::Error(errno)) => {
                self.failed.push(io.done(Err(IoError::from_errno(errno))));
            }
        }
    }

    fn kick(&mut self, now: Nanos) {
        self.inner.kick(now);
    }

    fn poll(&mut self, now: Nanos, done: &mut Vec<Done>) {
        done.append(&mut self.failed);
        let mut index = 0;
        while index < self.parked.len() {
            if self.parked[index].until.is_some_and(|until| until <= now) {
                let entry = self.parked.remove(index);
                self.inner.submit(entry.io, now);
            } else {
                index += 1;
            }
        }
        self.inner.poll(now, done);
    }

    fn cancel_hint(&mut self, id: IoId) {
        self.inner.cancel_hint(id);
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        if !self.failed.is_empty() {
            return Some(Nanos(0));
        }
        let parked = self.parked.iter().filter_map(|entry| entry.until).min();
        [parked, self.inner.next_wakeup()].into_iter().flatten().min()
    }

    fn fault_layer(&mut self) -> Option<&mut FaultLayer> {
        Some(self)
    }
}
