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

mod operations;
mod slots;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use operations::{Cutter, Next, Operations, Place};
pub use operations::{OpError, OpToken};
use slots::{Phase, Piece, SlotState, Slots};

use crate::fence::Fences;
use crate::{
    Backend, BackendInfo, ByteRange, Counters, Done, EngineStatus, Io, IoBuf, IoError, IoId, Nanos,
    OpKind, OpState, OpStatus, OrphanStatus, PAGE_BYTES, Request, TraceEvent, TraceKind,
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
        let mut bufs: Vec<IoBuf> = (0..slot_count)
            .map(|index| IoBuf::new(index, config.buf_bytes as usize))
            .collect();
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
        request.fua |= self.write_through;
        let flush_after = request.fua && request.kind.changes_medium() && !native_fua;
        let (kind, tag) = (request.kind, request.tag);
        let range = request.ranges.first().copied().unwrap_or_default();
        let token = self
            .operations
            .insert(request, now, flush_after)
            .ok_or(SubmitError::TooMany)?;
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
        if request.ranges.iter().all(fits) {
            Ok(())
        } else {
            Err(SubmitError::OutOfRange)
        }
    }

    /// Cancels an operation: it is never answered, and from now on touches no guest memory.
    /// Returns whether it was still live. Never waits: what the backend has already is orphaned.
    pub fn cancel(&mut self, token: OpToken, now: Nanos) -> bool {
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
        let range = operation
            .request
            .ranges
            .first()
            .copied()
            .unwrap_or_default();
        self.note(
            now,
            TraceKind::Cancel,
            operation.request.kind,
            operation.request.tag,
            range,
        );
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
        live.iter()
            .filter(|token| self.cancel(**token, now))
            .count()
    }

    fn orphan(&mut self, index: u16, now: Nanos) {
        let slot = self.slots.get_mut(index);
        let fenced = slot.may_change_medium();
        slot.state = SlotState::Orphaned { since: now, fenced };
        let (range, kind, tag) = (slot.piece.wide, slot.piece.kind, slot.tag);
        let id = IoId {
            slot: index,
            generation: slot.generation,
        };
        self.counters.running_now -= 1;
        self.counters.orphans_total += 1;
        self.counters.orphans_now += 1;
        if fenced {
            self.fences.raise(index, range);
            self.counters.fences_total += 1;
        }
        self.note(now, TraceKind::Orphan(fenced), kind, tag, range);
        self.backend.cancel_hint(id);
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

    // --- completions ---

    fn complete(&mut self, completion: Done, now: Nanos, client: &mut dyn Client) {
        let Done { io, result } = completion;
        let Some(slot) = self.slots.awaiting(io.id) else {
            self.counters.spurious_total += 1;
            self.note(now, TraceKind::Spurious, io.kind, 0, io.range);
            return;
        };
        // A backend that loses or swaps a buffer must not cost us the slot.
        let returned = io.buf.filter(|buf| buf.index() == io.id.slot);
        let lost_buffer = slot.buf.is_none() && returned.is_none();
        if slot.buf.is_none() {
            let len_bytes = self.cutter.buf_bytes as usize;
            slot.buf = Some(returned.unwrap_or_else(|| IoBuf::new(io.id.slot, len_bytes)));
        }
        let result = if lost_buffer {
            Err(IoError::BackendProtocol)
        } else {
            result
        };
        match slot.state {
            SlotState::Free => {}
            SlotState::Orphaned { fenced, .. } => self.end_orphan(io.id.slot, fenced, now),
            SlotState::Submitted { op } => self.end_request(io.id.slot, op, result, now, client),
        }
    }

    fn end_orphan(&mut self, index: u16, fenced: bool, now: Nanos) {
        let slot = self.slots.get(index);
        let (range, kind, tag) = (slot.piece.wide, slot.piece.kind, slot.tag);
        if fenced {
            self.fences.drop_fence(index, range);
        }
        self.counters.orphans_now -= 1;
        self.recheck_held |= !self.held.is_empty();
        self.note(now, TraceKind::OrphanEnd, kind, tag, range);
        self.slots.give_back(index);
    }

    /// A live request came back: carry on with it, or end the piece.
    fn end_request(
        &mut self,
        index: u16,
        op: OpToken,
        result: Result<u64, IoError>,
        now: Nanos,
        client: &mut dyn Client,
    ) {
        let align_bytes = self.cutter.align_bytes;
        let slot = self.slots.get_mut(index);
        let piece = slot.piece;
        let result = match result {
            Ok(count) if piece.kind.has_data() => {
                let left_bytes = piece.wide.len_bytes - slot.progress_bytes;
                if count > left_bytes {
                    Err(IoError::BackendProtocol)
                } else if count == left_bytes {
                    Ok(())
                } else {
                    let usable_bytes = count & !(align_bytes - 1);
                    if usable_bytes == 0 {
                        Err(IoError::ShortTransfer)
                    } else {
                        slot.progress_bytes += usable_bytes;
                        self.counters.short_total += 1;
                        return self.hand_over(index, now);
                    }
                }
            }
            other => other.map(|_| ()),
        };
        let result = result.and_then(|()| self.after_transfer(index, client));
        match result {
            Ok(Progress::Continues) => self.hand_over(index, now),
            Ok(Progress::Ended) => self.end_piece(index, op, Ok(()), now),
            Err(error) => self.end_piece(index, op, Err(error), now),
        }
    }

    /// The transfer of a phase is whole: move data to the guest, or merge and go on to write.
    fn after_transfer(&mut self, index: u16, client: &mut dyn Client) -> Result<Progress, IoError> {
        let slot = self.slots.get_mut(index);
        let piece = slot.piece;
        let buf = slot.buf.as_mut().ok_or(IoError::BackendProtocol)?;
        match (piece.kind, slot.phase) {
            (OpKind::Read, _) => {
                self.counters.read_bytes_total += piece.range.len_bytes;
                let data = &buf.bytes()[piece.span_in_buffer()];
                client
                    .scatter(slot.tag, piece.data_offset_bytes, data)
                    .map_err(|GuestMemoryError| IoError::GuestMemory)?;
                Ok(Progress::Ended)
            }
            (OpKind::Write, Phase::ModifyRead) => {
                fill(buf, slot.tag, &piece, client)?;
                slot.phase = Phase::ModifyWrite;
                slot.progress_bytes = 0;
                Ok(Progress::Continues)
            }
            (OpKind::Write, _) => {
                self.counters.written_bytes_total += piece.range.len_bytes;
                Ok(Progress::Ended)
            }
            _ => Ok(Progress::Ended),
        }
    }

    fn end_piece(&mut self, index: u16, op: OpToken, result: Result<(), IoError>, now: Nanos) {
        let slot = self.slots.get(index);
        let (piece, tag) = (slot.piece, slot.tag);
        // Others may have waited for these blocks.
        self.recheck_held |= piece.kind.changes_medium() && !self.held.is_empty();
        self.counters.running_now -= 1;
        self.note(now, TraceKind::Finish, piece.kind, tag, piece.range);
        self.slots.give_back(index);
        let Some(operation) = self.operations.get_mut(op) else {
            return;
        };
        operation.in_flight -= 1;
        match result {
            Ok(()) => {}
            Err(IoError::Unsupported) if piece.kind == OpKind::WriteZeroes => {
                // The file system refuses: send zeroes from now on, this piece included.
                self.cutter.native_zeroes = false;
                operation.retry(&piece);
            }
            Err(error) => operation.fail(error, piece.range.offset_bytes),
        }
        self.move_on(op);
    }

    /// Puts an operation that has just lost a piece in flight where it belongs now.
    fn move_on(&mut self, op: OpToken) {
        let Some(operation) = self.operations.get_mut(op) else {
            return;
        };
        let failed = operation.failed.is_some();
        match (operation.place, operation.next(&self.cutter)) {
            (Place::InFlight, Next::Piece(_)) => {
                operation.place = Place::Ready;
                self.ready.push_back(op);
            }
            (Place::InFlight | Place::Ready | Place::Held, Next::Finish) => {
                let place = core::mem::replace(&mut operation.place, Place::Done);
                self.leave(op, place);
                self.answers.push_back(op);
            }
            (Place::Ready | Place::Held, Next::Wait) if failed => {
                let place = core::mem::replace(&mut operation.place, Place::InFlight);
                self.leave(op, place);
            }
            _ => {}
        }
    }

    fn leave(&mut self, op: OpToken, place: Place) {
        match place {
            Place::Ready => self.ready.retain(|other| *other != op),
            Place::Held => {
                self.held.retain(|other| *other != op);
                self.recheck_held |= !self.held.is_empty();
            }
            Place::InFlight | Place::Done => {}
        }
    }

    // --- starting ---

    /// Starts pieces while there are slots, one of each ready operation in turn.
    fn dispatch(&mut self, now: Nanos, client: &mut dyn Client) {
        while let Some(op) = self.ready.pop_front() {
            let Some(operation) = self.operations.get_mut(op) else {
                continue;
            };
            match operation.next(&self.cutter) {
                Next::Wait => operation.place = Place::InFlight,
                Next::Finish => {
                    operation.place = Place::Done;
                    self.answers.push_back(op);
                }
                Next::Piece(piece) => {
                    if self.conflicts(op, &piece) {
                        self.hold(op, &piece, now);
                        continue;
                    }
                    let Some(index) = self.slots.take() else {
                        self.ready.push_front(op);
                        return;
                    };
                    self.start(index, op, piece, now, client);
                }
            }
        }
    }

    /// Whether `piece` may not start yet: an orphan may still change its range, or an unaligned
    /// write and another change would meet in one block.
    fn conflicts(&self, op: OpToken, piece: &Piece) -> bool {
        let guarded = piece.guarded();
        if self.fences.blocks(guarded) {
            return true;
        }
        if self.cutter.align_bytes == 1 || !piece.kind.changes_medium() {
            return false;
        }
        let meets_in_flight = self.slots.iter().any(|(_, slot)| {
            matches!(slot.state, SlotState::Submitted { .. })
                && slot.piece.kind.changes_medium()
                && (slot.piece.is_modify() || piece.is_modify())
                && slot.piece.wide.overlaps(guarded)
        });
        // First come, first served, so that a stream of writes cannot keep an unaligned one out.
        let ticket = self
            .operations
            .get(op)
            .and_then(|operation| operation.held_piece)
            .map_or(u64::MAX, |(ticket, _)| ticket);
        meets_in_flight
            || self
                .held
                .iter()
                .filter_map(|other| self.operations.get(*other)?.held_piece)
                .any(|(earlier, held)| {
                    earlier < ticket
                        && held.kind.changes_medium()
                        && (held.is_modify() || piece.is_modify())
                        && held.wide.overlaps(guarded)
                })
    }

    fn hold(&mut self, op: OpToken, piece: &Piece, now: Nanos) {
        let Some(operation) = self.operations.get_mut(op) else {
            return;
        };
        operation.place = Place::Held;
        self.held.push_back(op);
        if operation.held_piece.is_some() {
            return; // released a moment ago, and something else came first
        }
        self.counters.held_total += 1;
        operation.held_piece = Some((self.counters.held_total, *piece));
        let (kind, tag) = (operation.request.kind, operation.request.tag);
        self.note(now, TraceKind::Hold, kind, tag, piece.range);
    }

    /// Moves what is held by nothing any more to the front of the ready queue, oldest first.
    fn release_held(&mut self, now: Nanos) {
        if !core::mem::take(&mut self.recheck_held) {
            return;
        }
        let mut released = Vec::new();
        for op in self.held.iter().copied() {
            let held = self
                .operations
                .get(op)
                .and_then(|operation| operation.held_piece);
            if let Some((ticket, piece)) = held
                && !self.conflicts(op, &piece)
            {
                released.push((ticket, op, piece));
            }
        }
        released.sort_unstable_by_key(|(ticket, ..)| *ticket);
        for (_, op, piece) in released.into_iter().rev() {
            self.held.retain(|other| *other != op);
            let Some(operation) = self.operations.get_mut(op) else {
                continue;
            };
            operation.place = Place::Ready;
            let (kind, tag) = (operation.request.kind, operation.request.tag);
            self.ready.push_front(op);
            self.counters.released_total += 1;
            self.note(now, TraceKind::Release, kind, tag, piece.range);
        }
    }

    fn start(
        &mut self,
        index: u16,
        op: OpToken,
        piece: Piece,
        now: Nanos,
        client: &mut dyn Client,
    ) {
        let Some(operation) = self.operations.get_mut(op) else {
            return;
        };
        operation.advance(&piece);
        let fua = piece.kind == OpKind::Write && self.info.fua && operation.request.fua;
        let slot = self.slots.get_mut(index);
        slot.state = SlotState::Submitted { op };
        slot.piece = piece;
        slot.tag = operation.request.tag;
        slot.fua = fua;
        slot.progress_bytes = 0;
        slot.started = now;
        slot.phase = if piece.is_modify() {
            Phase::ModifyRead
        } else {
            Phase::Direct
        };
        let filled = match (slot.buf.as_mut(), piece.kind, slot.phase) {
            (Some(buf), OpKind::Write, Phase::Direct) => fill(buf, slot.tag, &piece, client),
            (None, _, _) => Err(IoError::BackendProtocol),
            _ => Ok(()),
        };
        if let Err(error) = filled {
            operation.in_flight -= 1;
            operation.fail(error, piece.range.offset_bytes);
            operation.place = Place::InFlight;
            self.slots.give_back(index);
            self.move_on(op);
            return;
        }
        // One piece of each operation in turn.
        if matches!(operation.next(&self.cutter), Next::Piece(_)) {
            operation.place = Place::Ready;
            self.ready.push_back(op);
        } else {
            operation.place = Place::InFlight;
        }
        self.counters.running_now += 1;
        self.note(
            now,
            TraceKind::Start,
            piece.kind,
            self.slots.get(index).tag,
            piece.range,
        );
        self.hand_over(index, now);
    }

    /// Hands the rest of a slot's current phase to the backend, under a new generation.
    fn hand_over(&mut self, index: u16, now: Nanos) {
        let slot = self.slots.get_mut(index);
        slot.generation = slot.generation.wrapping_add(1);
        let kind = match slot.phase {
            Phase::ModifyRead => OpKind::Read,
            Phase::Direct | Phase::ModifyWrite => slot.piece.kind,
        };
        let wide = slot.piece.wide;
        let io = Io {
            id: IoId {
                slot: index,
                generation: slot.generation,
            },
            kind,
            range: ByteRange::new(
                wide.offset_bytes + slot.progress_bytes,
                wide.len_bytes - slot.progress_bytes,
            ),
            fua: slot.fua && kind == OpKind::Write,
            buf: if kind.has_data() {
                slot.buf.take()
            } else {
                None
            },
            buf_offset_bytes: slot.progress_bytes as usize,
        };
        self.backend.submit(io, now);
    }

    // --- sight ---

    /// Ranges of the medium that an orphan may still change, in order and without overlap: what is
    /// in doubt if the process ended now (C7).
    pub fn ranges_in_doubt(&self) -> Vec<ByteRange> {
        let mut ranges: Vec<ByteRange> = self
            .slots
            .iter()
            .filter(|(_, slot)| matches!(slot.state, SlotState::Orphaned { fenced: true, .. }))
            .map(|(_, slot)| slot.piece.wide)
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<ByteRange> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.offset_bytes <= last.end_bytes() => {
                    last.len_bytes = last.end_bytes().max(range.end_bytes()) - last.offset_bytes;
                }
                _ => merged.push(range),
            }
        }
        merged
    }

    /// The totals.
    pub fn counters(&self) -> Counters {
        Counters {
            fences_now: self.fences.len() as u64,
            held_now: self.held.len() as u64,
            queued_now: self.ready.len() as u64,
            ..self.counters
        }
    }

    /// The whole state at one moment.
    pub fn status(&self, now: Nanos) -> EngineStatus {
        let operations = self.operations.iter().map(|(_, operation)| OpStatus {
            tag: operation.request.tag,
            kind: operation.request.kind,
            range: operation
                .request
                .ranges
                .first()
                .copied()
                .unwrap_or_default(),
            state: match operation.place {
                Place::Ready => OpState::Queued,
                Place::Held => OpState::Held,
                Place::InFlight | Place::Done => OpState::Running,
            },
            age_ns: now.since(operation.submitted),
        });
        let orphans = self.slots.iter().filter_map(|(_, slot)| match slot.state {
            SlotState::Orphaned { since, fenced } => Some(OrphanStatus {
                kind: slot.piece.kind,
                range: slot.piece.wide,
                fenced,
                age_ns: now.since(slot.started),
                orphaned_ns: now.since(since),
            }),
            _ => None,
        });
        EngineStatus {
            backend: self.info.engine_name.clone(),
            size_bytes: self.info.size_bytes,
            free_slots: self.slots.free_count(),
            slots: self.slots.len(),
            counters: self.counters(),
            operations: operations.collect(),
            orphans: orphans.collect(),
        }
    }

    /// What happened lately, oldest first; a fixed number of events is kept.
    pub fn trace(&self) -> impl Iterator<Item = &TraceEvent> {
        self.trace.iter()
    }

    fn note(&mut self, at: Nanos, kind: TraceKind, op: OpKind, tag: u32, range: ByteRange) {
        if self.trace.len() == TRACE_CAPACITY {
            self.trace.pop_front();
        }
        self.trace.push_back(TraceEvent {
            at,
            kind,
            op,
            tag,
            range,
        });
    }

    /// Checks that the tables agree with one another. For tests and simulators, after any call.
    ///
    /// # Panics
    /// If they don't.
    pub fn assert_consistent(&self) {
        let mut free = 0;
        let mut orphans = 0;
        let mut running = 0;
        let mut fenced = 0;
        for (_, slot) in self.slots.iter() {
            match slot.state {
                SlotState::Free => {
                    free += 1;
                    assert!(slot.buf.is_some(), "a free slot has its buffer");
                }
                SlotState::Submitted { op } => {
                    running += 1;
                    assert!(
                        self.operations.get(op).is_some(),
                        "a submitted slot has an operation"
                    );
                }
                SlotState::Orphaned { fenced: raised, .. } => {
                    orphans += 1;
                    fenced += usize::from(raised);
                    if raised {
                        assert!(
                            self.fences.blocks(slot.piece.wide),
                            "an orphan's fence stands"
                        );
                    }
                }
            }
        }
        assert_eq!(free, self.slots.free_count(), "free slots");
        assert_eq!(orphans, self.counters.orphans_now, "orphans");
        assert_eq!(running, self.counters.running_now, "running requests");
        assert_eq!(fenced, self.fences.len(), "fences");
        for (token, operation) in self.operations.iter() {
            let in_flight = self.slots.of(token).count();
            assert_eq!(
                in_flight,
                usize::from(operation.in_flight),
                "pieces in flight"
            );
            let listed = |list: &VecDeque<OpToken>| list.iter().filter(|op| **op == token).count();
            let expected = match operation.place {
                Place::Ready => (1, 0, 0),
                Place::Held => (0, 1, 0),
                Place::InFlight => (0, 0, 0),
                Place::Done => (0, 0, 1),
            };
            let found = (
                listed(&self.ready),
                listed(&self.held),
                listed(&self.answers),
            );
            assert_eq!(
                found, expected,
                "an operation stands in the list of its place"
            );
            if operation.place == Place::InFlight {
                assert!(
                    in_flight > 0,
                    "an operation in flight has something in flight"
                );
            }
        }
        let listed = self.ready.len() + self.held.len() + self.answers.len();
        assert!(
            listed <= self.operations.iter().count(),
            "no list names what is gone"
        );
    }
}

/// Whether a piece goes on or has ended.
enum Progress {
    Continues,
    Ended,
}

/// Puts a write's data into its buffer.
fn fill(buf: &mut IoBuf, tag: u32, piece: &Piece, client: &mut dyn Client) -> Result<(), IoError> {
    let target = &mut buf.bytes_mut()[piece.span_in_buffer()];
    if piece.zero_fill {
        target.fill(0);
        return Ok(());
    }
    client
        .gather(tag, piece.data_offset_bytes, target)
        .map_err(|GuestMemoryError| IoError::GuestMemory)
}
