//! What stands between the engine and its storage, fault layers included, and sees all that the one
//! lends to the other.
//!
//! Requests that a fault layer keeps have not arrived at the storage, and those that it fails never
//! do. Whether the engine keeps to its fences, its slots and its budget, and whether its counters are
//! true, is therefore judged here.

use freewheel_block::fault::FaultLayer;
use freewheel_block::{Backend, BackendInfo, ByteRange, Done, Io, IoBuf, IoId, Nanos, OpKind};

use super::coverage::{SlotEvent, SlotState};
use super::disk::{DiskState, FaultyDisk, busy};
use super::violation::Kind;

/// A request that the engine has lent and has not got back.
pub(super) struct Lent {
    pub(super) id: IoId,
    pub(super) kind: OpKind,
    pub(super) range: ByteRange,
    /// The engine has said that nobody waits for it: an orphan.
    pub(super) cancelled: bool,
    /// The storage itself has, or had, it.
    pub(super) arrived: bool,
    /// A fault layer keeps it, or kept it.
    parked: bool,
}

/// The engine's backend.
pub(super) struct Witness {
    below: Box<dyn Backend>,
    disk: FaultyDisk,
}

impl Witness {
    /// Watches `below`, at the bottom of which `disk` is.
    pub(super) fn new(below: Box<dyn Backend>, disk: FaultyDisk) -> Self {
        Self { below, disk }
    }
}

impl DiskState {
    /// The engine hands a request over.
    fn lend(&mut self, io: &Io) {
        self.calls += 1;
        let (range, kind) = (io.range, io.kind);
        if let Some(other) = self.lent.iter().find(|other| other.id.slot == io.id.slot) {
            let what = format!("slot {} is used while storage has its {}", io.id.slot, other.kind);
            self.object(Kind::Budget, what);
        } else if self.lent.len() >= self.budget {
            let what = format!("storage has {} requests already", self.lent.len());
            self.object(Kind::Budget, what);
        }
        // What is read beyond what was asked for, because of the alignment, nobody sees.
        let guarded = kind.changes_medium()
            || kind == OpKind::Read && self.info.io_align_bytes <= self.sector_bytes;
        let stale = self.stale.iter().map(|(_, lent)| lent);
        let orphan = self.lent.iter().chain(stale).find(|other| {
            other.cancelled && other.kind.changes_medium() && other.range.overlaps(range)
        });
        if let (true, Some(orphan)) = (guarded, orphan) {
            let (fence, sort) = (orphan.range, orphan.kind);
            let what = format!("a {kind} of {range:?} while an orphaned {sort} has {fence:?}");
            self.object(Kind::Fence, what);
        }
        self.coverage.slot(SlotState::Free, SlotEvent::HandOver);
        self.coverage.slot(SlotState::Queued, SlotEvent::HandOver);
        let id = io.id;
        self.lent.push(Lent { id, kind, range, cancelled: false, arrived: false, parked: false });
    }

    /// The storage gets a request. Says whether it has been cancelled on its way.
    pub(super) fn note_arrival(&mut self, id: IoId) -> bool {
        let Some(lent) = self.lent.iter_mut().rfind(|lent| lent.id == id) else { return false };
        lent.arrived = true;
        if lent.parked {
            self.coverage.slot(busy(lent.cancelled, lent.kind), SlotEvent::Unparked);
        }
        lent.cancelled
    }

    fn note_parked(&mut self, id: IoId) {
        if let Some(lent) = self.lent.iter_mut().rfind(|lent| lent.id == id) {
            lent.parked = true;
            self.coverage.slot(busy(lent.cancelled, lent.kind), SlotEvent::Parked);
            self.parked += 1;
        }
    }

    /// The engine gets a completion. What is not lent, or not any more, is a repetition.
    fn take_back(&mut self, id: IoId) {
        if let Some(at) = self.lent.iter().position(|lent| lent.id == id) {
            let lent = self.lent.swap_remove(at);
            if !lent.arrived {
                self.coverage.slot(busy(lent.cancelled, lent.kind), SlotEvent::Failed);
                self.failed += 1;
            }
        }
    }

    fn cancel(&mut self, id: IoId) {
        self.hints += 1;
        let era = self.era;
        let mut waits = self.waiting.iter_mut();
        let waits = waits.find(|waiting| waiting.era == era && waiting.io.id == id);
        let waits = waits.map(|waiting| waiting.cancelled = true).is_some();
        let Some(lent) = self.lent.iter_mut().find(|lent| lent.id == id) else { return };
        lent.cancelled = true;
        let state = match waits || !lent.arrived {
            true => busy(false, lent.kind),
            // It is in the queue of what has completed, and nobody will want it.
            false => SlotState::Completed,
        };
        self.coverage.slot(state, SlotEvent::Cancelled);
    }
}

impl Backend for Witness {
    fn info(&self) -> &BackendInfo {
        self.below.info()
    }

    fn register_buffers(&mut self, bufs: &mut [IoBuf]) {
        self.below.register_buffers(bufs);
    }

    fn submit(&mut self, io: Io, now: Nanos) {
        let id = io.id;
        self.disk.state().lend(&io);
        let parked = |below: &mut dyn Backend| below.fault_layer().map(|layer| layer.parked());
        let before = parked(&mut *self.below);
        self.below.submit(io, now);
        if before.is_some() && parked(&mut *self.below) > before {
            self.disk.state().note_parked(id);
        }
    }

    fn kick(&mut self, now: Nanos) {
        self.below.kick(now);
    }

    fn poll(&mut self, now: Nanos, done: &mut Vec<Done>) {
        let from = done.len();
        self.below.poll(now, done);
        if done.len() > from {
            let mut state = self.disk.state();
            done[from..].iter().for_each(|done| state.take_back(done.io.id));
        }
    }

    fn cancel_hint(&mut self, id: IoId) {
        self.disk.state().cancel(id);
        self.below.cancel_hint(id);
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        self.below.next_wakeup()
    }

    fn fault_layer(&mut self) -> Option<&mut FaultLayer> {
        self.below.fault_layer()
    }
}
