//! The engine: runs a disk's operations on a backend, and cancels them without waiting.
//!
//! Two tables. *Operations* are what the device model asked for, each answered exactly once.
//! *Slots* are what the backend has been handed: one piece of an operation each, with a buffer
//! that the engine owns. Cancelling an operation frees its entry at once; the slots it had with
//! the backend become *orphans*, which keep slot and buffer until the backend lets go. An orphan
//! that may still change the medium raises a *fence* over its range: later pieces that overlap are
//! *held*, everything else goes on.
//!
//! Nothing here waits: [`Engine::submit`] and [`Engine::cancel`] do work bounded by the number of
//! slots and operations, [`Engine::poll`] takes what the backend has finished.
//!
//! An unaligned write (smaller than the backend's alignment) is read, merged and written by the
//! engine. While it is in flight, no other change to the same blocks starts, and it does not start
//! while one is in flight, since otherwise the merge could undo a neighbour's write.
//!
//! Left out: any order among live operations that overlap (ATA and virtio give none), and
//! persistence of anything.

mod completion;
mod dispatch;
mod operations;
mod probe;
#[cfg(feature = "sabotage")]
pub mod sabotage;
mod sight;
mod slots;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use operations::{Cutter, Operations, Place};
pub use operations::{OpError, OpToken};
use slots::{SlotState, Slots};

use crate::fence::Fences;
use crate::{
    Backend, BackendInfo, ByteRange, Counters, Done, IoBuf, IoId, Nanos, OpKind, PAGE_BYTES,
    Request, TraceEvent, TraceKind,
};

/// How many events the trace keeps.
const TRACE_CAPACITY: usize = 2048;

/// Guest memory is not there, or not writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("guest memory is not accessible")]
pub struct GuestMemoryError;

/// The device model, as the engine sees it. Called only from within [`Engine::submit`] and
/// [`Engine::poll`], and only for operations that are live (C3).
pub trait Client {
    /// Fills `buf` with the data of operation `tag`, from `offset_bytes` within it.
    fn gather(
        &mut self,
        tag: u32,
        offset_bytes: u64,
        buf: &mut [u8],
    ) -> Result<(), GuestMemoryError>;

    /// Hands over data that operation `tag` has read, at `offset_bytes` within it.
    fn scatter(&mut self, tag: u32, offset_bytes: u64, data: &[u8])
    -> Result<(), GuestMemoryError>;

    /// The one answer to operation `token`, which the device model called `tag`.
    fn answer(&mut self, token: OpToken, tag: u32, result: Result<(), OpError>);
}

/// A request that the engine does not take. Nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A range ends behind the medium.
    #[error("the range ends behind the medium")]
    OutOfRange,
    /// The medium may not be written.
    #[error("the medium is read-only")]
    ReadOnly,
    /// The backend cannot do this.
    #[error("the backend does not support the operation")]
    Unsupported,
    /// As many operations as the engine was built for are live already.
    #[error("too many operations at a time")]
    TooMany,
    /// The kind and the number of ranges do not go together.
    #[error("the request has the wrong number of ranges")]
    Invalid,
}

/// What an engine is built with: every bound of contract C6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Requests that the backend may have at a time, orphans included; each has a buffer.
    pub slots: u16,
    /// Size of a buffer in bytes: a power of two, at least [`PAGE_BYTES`].
    pub buf_bytes: u32,
    /// Operations that may be live at a time.
    pub max_operations: u16,
    /// Pieces of one operation that the backend may have at a time.
    pub window: u16,
    /// Every change is durable before it is answered.
    pub write_through: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            slots: 64,
            buf_bytes: 128 << 10,
            max_operations: 64,
            window: 8,
            write_through: false,
        }
    }
}

/// The engine of one disk. See the [module's documentation](self).
pub struct Engine {
    backend: Box<dyn Backend>,
    info: BackendInfo,
    cutter: Cutter,
    write_through: bool,
    operations: Operations,
    slots: Slots,
    fences: Fences,
    ready: VecDeque<OpToken>,
    held: VecDeque<OpToken>,
    answers: VecDeque<OpToken>,
    /// Something that may have held an operation is gone.
    recheck_held: bool,
    /// Scratch for [`Engine::poll`], kept to spare an allocation.
    done: Vec<Done>,
    counters: Counters,
    trace: VecDeque<TraceEvent>,
}

impl Engine {
    /// Builds the engine over `backend`.
    ///
    /// # Panics
    /// If `config` is out of its documented bounds, or memory for the buffers is exhausted: both
    /// belong to start-up.
    pub fn new(mut backend: Box<dyn Backend>, config: EngineConfig) -> Self {
        assert!(config.buf_bytes.is_power_of_two() && config.buf_bytes as usize >= PAGE_BYTES);
        assert!(config.slots > 0 && config.max_operations > 0 && config.window > 0);
        let info = backend.info().clone();
        assert!(info.io_align_bytes.is_power_of_two() && info.io_align_bytes <= PAGE_BYTES as u64);
        let slot_count = config.slots.min(info.queue_depth).max(1);
        let mut bufs: Vec<IoBuf> =
            (0..slot_count).map(|index| IoBuf::new(index, config.buf_bytes as usize)).collect();
        backend.register_buffers(&mut bufs);
        Self {
            cutter: Cutter::new(&info, config.buf_bytes, config.window),
            write_through: config.write_through,
            operations: Operations::new(config.max_operations),
            slots: Slots::new(bufs),
            fences: Fences::default(),
            ready: VecDeque::with_capacity(usize::from(config.max_operations)),
            held: VecDeque::with_capacity(usize::from(config.max_operations)),
            answers: VecDeque::with_capacity(usize::from(config.max_operations)),
            recheck_held: false,
            done: Vec::with_capacity(usize::from(slot_count)),
            counters: Counters::default(),
            trace: VecDeque::with_capacity(TRACE_CAPACITY),
            info,
            backend,
        }
    }

    /// What the backend is able to do.
    pub fn info(&self) -> &BackendInfo {
        &self.info
    }

    /// The backend, to steer its layers.
    pub fn backend_mut(&mut self) -> &mut dyn Backend {
        &mut *self.backend
    }

    /// Makes each change that is submitted from now on durable before it is answered, or not.
    pub fn set_write_through(&mut self, on: bool) {
        self.write_through = on;
    }

    /// Takes a request. Its answer comes through [`Client::answer`] from a later
    /// [`Engine::poll`], unless it is cancelled before. May call [`Client::gather`].
    ///
    /// What this starts is on its way once [`Engine::kick`] or [`Engine::poll`] has been called.
    pub fn submit(
        &mut self,
        mut request: Request,
        now: Nanos,
        client: &mut dyn Client,
    ) -> Result<OpToken, SubmitError> {
        self.check(&request)?;
        if !self.operations.has_room() {
            return Err(SubmitError::TooMany);
        }
        let native_fua = request.kind == OpKind::Write && self.info.fua;
        request.fua |= self.write_through && !sabotaged!(WriteThroughIgnored);
        request.fua &= !sabotaged!(FuaIgnored);
        let flush_after = request.fua && request.kind.changes_medium() && !native_fua;
        let (kind, tag) = (request.kind, request.tag);
        let range = request.ranges.first().copied().unwrap_or_default();
        let token =
            self.operations.insert(request, now, flush_after).ok_or(SubmitError::TooMany)?;
        self.counters.submitted_total += 1;
        self.note(now, TraceKind::Submit, kind, tag, range);
        self.ready.push_back(token);
        self.dispatch(now, client);
        Ok(token)
    }

    fn check(&self, request: &Request) -> Result<(), SubmitError> {
        let count = request.ranges.len();
        let count_fits = match request.kind {
            OpKind::Flush => count == 0,
            OpKind::Discard => true,
            _ => count == 1,
        };
        if !count_fits {
            return Err(SubmitError::Invalid);
        }
        if request.kind.changes_medium() && self.info.read_only {
            return Err(SubmitError::ReadOnly);
        }
        if request.kind == OpKind::Discard && self.info.discard.is_none() {
            return Err(SubmitError::Unsupported);
        }
        let fits = |range: &ByteRange| {
            let end = range.offset_bytes.checked_add(range.len_bytes);
            end.is_some_and(|end| end <= self.info.size_bytes)
        };
        if request.ranges.iter().all(fits) { Ok(()) } else { Err(SubmitError::OutOfRange) }
    }

    /// Cancels an operation: it is never answered, and from now on touches no guest memory.
    /// Returns whether it was still live. Never waits: what the backend has already is orphaned.
    pub fn cancel(&mut self, token: OpToken, now: Nanos) -> bool {
        let place = self.operations.get(token).map(|operation| operation.place);
        if sabotaged!(AnswerAfterCancel) && place == Some(Place::Done) {
            return true;
        }
        if sabotaged!(HoldNotCancellable) && place == Some(Place::Held) {
            return true;
        }
        if sabotaged!(ResetAsksStorage) {
            self.backend.poll(now, &mut self.done);
        }
        let Some(operation) = self.operations.remove(token) else {
            return false;
        };
        match operation.place {
            Place::Ready => self.ready.retain(|other| *other != token),
            Place::Held => self.held.retain(|other| *other != token),
            Place::Done => self.answers.retain(|other| *other != token),
            Place::InFlight => {}
        }
        // An unaligned write that waited may have been what others queued behind.
        self.recheck_held |= !self.held.is_empty();
        self.counters.cancelled_total += 1;
        let range = operation.request.ranges.first().copied().unwrap_or_default();
        self.note(now, TraceKind::Cancel, operation.request.kind, operation.request.tag, range);
        for index in 0..self.slots.len() as u16 {
            if self.slots.get(index).state == (SlotState::Submitted { op: token }) {
                self.orphan(index, now);
            }
        }
        true
    }

    /// Cancels every operation; returns how many there were.
    pub fn cancel_all(&mut self, now: Nanos) -> usize {
        let live: Vec<OpToken> = self.operations.iter().map(|(token, _)| token).collect();
        live.iter().filter(|token| self.cancel(**token, now)).count()
    }

    fn orphan(&mut self, index: u16, now: Nanos) {
        let slot = self.slots.get_mut(index);
        let fenced = slot.may_change_medium()
            && !sabotaged!(NoFence)
            && !(sabotaged!(NoFenceForDiscard) && slot.piece.kind == OpKind::Discard);
        slot.state = SlotState::Orphaned { since: now, fenced };
        let (range, kind, tag) = (slot.fenced_range(), slot.piece.kind, slot.tag);
        let id = IoId { slot: index, generation: slot.generation };
        self.counters.running_now -= 1;
        self.counters.orphans_total += 1;
        self.counters.orphans_now += 1;
        if fenced {
            self.fences.raise(index, range);
            self.counters.fences_total += 1;
        }
        self.note(now, TraceKind::Orphan(fenced), kind, tag, range);
        self.backend.cancel_hint(id);
        if sabotaged!(OrphanSlotReused) {
            let slot = self.slots.get_mut(index);
            slot.buf.get_or_insert_with(|| IoBuf::new(index, self.cutter.buf_bytes as usize));
            self.counters.orphans_now -= 1;
            self.slots.give_back(index);
        }
    }

    /// Ends a batch of submissions.
    pub fn kick(&mut self, now: Nanos) {
        self.backend.kick(now);
    }

    /// Takes what the backend has completed, moves data, answers, and starts what can start.
    pub fn poll(&mut self, now: Nanos, client: &mut dyn Client) {
        let mut done = core::mem::take(&mut self.done);
        self.backend.poll(now, &mut done);
        for completion in done.drain(..) {
            self.complete(completion, now, client);
        }
        self.done = done;
        self.release_held(now);
        self.dispatch(now, client);
        self.backend.kick(now);
        while let Some(token) = self.answers.pop_front() {
            let Some(operation) = self.operations.remove(token) else {
                continue;
            };
            let ok = operation.failed.is_none();
            if ok {
                self.counters.completed_total += 1;
            } else {
                self.counters.failed_total += 1;
            }
            let request = &operation.request;
            let range = request.ranges.first().copied().unwrap_or_default();
            self.note(now, TraceKind::Answer(ok), request.kind, request.tag, range);
            client.answer(token, request.tag, operation.failed.map_or(Ok(()), Err));
        }
    }

    /// When [`Engine::poll`] is due even if nothing woke the owner's loop.
    pub fn next_wakeup(&self) -> Option<Nanos> {
        if !self.answers.is_empty() || self.recheck_held {
            return Some(Nanos(0));
        }
        self.backend.next_wakeup()
    }
}
