//! What happens when the backend lets go of a request: data moves, the piece ends or goes on, and
//! the operation takes its next step.

use super::dispatch::fill;
use super::operations::{Next, OpToken, Place};
use super::probe::{Finding, Probe};
use super::slots::{Phase, SlotState};
use super::{Client, Engine, GuestMemoryError};
use crate::{Done, IoBuf, IoError, Nanos, OpKind, TraceKind};

/// Whether a piece goes on or has ended.
enum Progress {
    Continues,
    Ended,
}

impl Engine {
    pub(super) fn complete(&mut self, completion: Done, now: Nanos, client: &mut dyn Client) {
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
        let result = if lost_buffer { Err(IoError::BackendProtocol) } else { result };
        match slot.state {
            SlotState::Free => {}
            SlotState::Orphaned { fenced, .. } => {
                if sabotaged!(LateReadCopied) {
                    self.copy_late(io.id.slot, client);
                }
                self.end_orphan(io.id.slot, fenced, now);
            }
            SlotState::Submitted { op } => self.end_request(io.id.slot, op, result, now, client),
        }
    }

    fn end_orphan(&mut self, index: u16, fenced: bool, now: Nanos) {
        let slot = self.slots.get(index);
        let (range, kind, tag) = (slot.fenced_range(), slot.piece.kind, slot.tag);
        if fenced {
            self.fences.drop_fence(index, range);
        }
        if !sabotaged!(OrphanNotCounted) {
            self.counters.orphans_now -= 1;
        }
        self.recheck_held |= !self.held.is_empty();
        self.note(now, TraceKind::OrphanEnd, kind, tag, range);
        self.slots.give_back(index);
    }

    fn copy_late(&mut self, index: u16, client: &mut dyn Client) {
        let slot = self.slots.get(index);
        if let (Some(buf), OpKind::Read) = (&slot.buf, slot.piece.kind) {
            let data = &buf.bytes()[slot.piece.span_in_buffer()];
            let _ = client.scatter(slot.tag, slot.piece.data_offset_bytes, data);
        }
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
        if slot.probe.is_some() {
            return self.learn(index, op, result, now);
        }
        let result = match result {
            Ok(count) if piece.kind.has_data() => {
                let left_bytes = piece.wide.len_bytes - slot.progress_bytes;
                if count > left_bytes {
                    Err(IoError::BackendProtocol)
                } else if count == left_bytes || sabotaged!(ShortIsWhole) {
                    Ok(())
                } else {
                    let usable_bytes = count & !(align_bytes - 1);
                    if usable_bytes == 0 {
                        // The medium ends here: there is nothing to find out.
                        let byte = slot.left().offset_bytes;
                        return self.end_failed(index, op, IoError::ShortTransfer, byte, now);
                    } else {
                        slot.progress_bytes += usable_bytes;
                        self.counters.short_total += 1;
                        return self.hand_over(index, now);
                    }
                }
            }
            Err(_) if sabotaged!(ErrorSwallowed) && piece.kind == OpKind::Write => Ok(()),
            other => other.map(|_| ()),
        };
        let result = result.and_then(|()| self.after_transfer(index, client));
        match result {
            Ok(Progress::Continues) => self.hand_over(index, now),
            Ok(Progress::Ended) => self.end_piece(index, op, Ok(()), now),
            Err(error) => self.find_failure(index, op, error, now),
        }
    }

    /// A piece has failed: where, if that is worth finding out.
    fn find_failure(&mut self, index: u16, op: OpToken, error: IoError, now: Nanos) {
        let slot = self.slots.get_mut(index);
        let left = slot.left();
        let probe = Probe::new(error, left, self.cutter.align_bytes, now);
        if slot.piece.kind == OpKind::Read
            && probe.is_worthwhile()
            && let Some(operation) = self.operations.get_mut(op)
            // Whatever is found would not be the first.
            && operation.failed.is_none_or(|failed| left.offset_bytes < failed.offset_bytes)
        {
            operation.probing = true;
            return self.ask(index, op, probe, now);
        }
        self.end_failed(index, op, error, left.offset_bytes, now);
    }

    /// Reads what `probe` asks for, unless it takes too long, or an orphan has come to change it
    /// meanwhile (C4): the failure is known, and all before that can be read.
    fn ask(&mut self, index: u16, op: OpToken, probe: Probe, now: Nanos) {
        let question = probe.question();
        if self.fences.blocks(question) || probe.is_over_time(now) {
            return self.end_failed(index, op, probe.error, question.offset_bytes, now);
        }
        self.slots.get_mut(index).probe = Some(probe);
        self.hand_over(index, now);
    }

    /// The answer to a probe.
    fn learn(&mut self, index: u16, op: OpToken, result: Result<u64, IoError>, now: Nanos) {
        let align_bytes = self.cutter.align_bytes;
        let slot = self.slots.get_mut(index);
        let first_byte = slot.left().offset_bytes;
        let Some(mut probe) = slot.probe.take() else {
            return;
        };
        let usable = match result {
            Ok(count) if count > probe.question().len_bytes => Err(IoError::BackendProtocol),
            Ok(count) => Ok(count & !(align_bytes - 1)),
            Err(error) => Err(error),
        };
        let finding = probe.learn(usable);
        let error = probe.error;
        match finding {
            Finding::Unsure => self.ask(index, op, probe, now),
            Finding::At(byte) => self.end_failed(index, op, error, byte, now),
            // It failed all the same, and the host may repeat it.
            Finding::Vanished => self.end_failed(index, op, error, first_byte, now),
        }
    }

    fn end_failed(&mut self, index: u16, op: OpToken, error: IoError, byte: u64, now: Nanos) {
        let range = self.slots.get(index).piece.range;
        // A backend's block may begin before what was asked for.
        let byte = byte.clamp(range.offset_bytes, range.end_bytes().max(1) - 1);
        self.end_piece(index, op, Err((error, byte)), now);
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

    fn end_piece(
        &mut self,
        index: u16,
        op: OpToken,
        result: Result<(), (IoError, u64)>,
        now: Nanos,
    ) {
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
            Err((IoError::Unsupported, _)) if piece.kind == OpKind::WriteZeroes => {
                // The file system refuses: send zeroes from now on, this piece included.
                self.cutter.native_zeroes = false;
                operation.retry(&piece);
            }
            // The flush behind a durable change fails for that change.
            Err((error, _)) if piece.kind == OpKind::Flush => {
                let range = operation.request.ranges.first().copied().unwrap_or_default();
                operation.fail(error, range.offset_bytes);
            }
            Err((error, byte)) => operation.fail(error, byte),
        }
        self.move_on(op);
    }

    /// Puts an operation that has just lost a piece in flight where it belongs now.
    pub(super) fn move_on(&mut self, op: OpToken) {
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
}
