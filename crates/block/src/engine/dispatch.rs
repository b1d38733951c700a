//! Starting pieces: in turn, while there are slots, and only where no fence and no unaligned write
//! stands in the way.

use alloc::vec::Vec;

use super::operations::{Next, OpToken, Place};
use super::slots::{Phase, Piece, SlotState};
use super::{Client, Engine, GuestMemoryError};
use crate::{Io, IoBuf, IoError, IoId, Nanos, OpKind, TraceKind};

impl Engine {
    /// Starts pieces while there are slots, one of each ready operation in turn.
    pub(super) fn dispatch(&mut self, now: Nanos, client: &mut dyn Client) {
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
        if self.cutter.align_bytes == 1
            || !piece.kind.changes_medium()
            || sabotaged!(UnalignedTogether)
        {
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
            || self.held.iter().filter_map(|other| self.operations.get(*other)?.held_piece).any(
                |(earlier, held)| {
                    // Whoever a fence stops keeps nobody waiting: it may stand for ever.
                    earlier < ticket
                        && !self.fences.blocks(held.guarded())
                        && held.kind.changes_medium()
                        && (held.is_modify() || piece.is_modify())
                        && held.wide.overlaps(guarded)
                },
            )
    }

    fn hold(&mut self, op: OpToken, piece: &Piece, now: Nanos) {
        let Some(operation) = self.operations.get_mut(op) else {
            return;
        };
        operation.place = Place::Held;
        self.held.push_back(op);
        self.counters.held_total += 1;
        // If it was released a moment ago and something else came first, it keeps its turn.
        operation.held_piece.get_or_insert((self.counters.held_total, *piece));
        let (kind, tag) = (operation.request.kind, operation.request.tag);
        self.note(now, TraceKind::Hold, kind, tag, piece.range);
    }

    /// Moves what is held by nothing any more to the front of the ready queue, oldest first.
    pub(super) fn release_held(&mut self, now: Nanos) {
        if !core::mem::take(&mut self.recheck_held) || sabotaged!(HeldNeverReleased) {
            return;
        }
        let mut released = Vec::new();
        for op in self.held.iter().copied() {
            let held = self.operations.get(op).and_then(|operation| operation.held_piece);
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
        slot.probe = None;
        slot.started = now;
        slot.phase = if piece.is_modify() { Phase::ModifyRead } else { Phase::Direct };
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
            // Others may have waited behind this piece.
            self.recheck_held |= !self.held.is_empty();
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
        self.note(now, TraceKind::Start, piece.kind, self.slots.get(index).tag, piece.range);
        self.hand_over(index, now);
    }

    /// Hands the rest of a slot's current phase to the backend, under a new generation.
    pub(super) fn hand_over(&mut self, index: u16, now: Nanos) {
        let slot = self.slots.get_mut(index);
        slot.generation = slot.generation.wrapping_add(1);
        let kind = match slot.phase {
            Phase::ModifyRead => OpKind::Read,
            Phase::Direct | Phase::ModifyWrite => slot.piece.kind,
        };
        let wide = slot.piece.wide;
        let range = slot.probe.map_or(slot.left(), |probe| probe.question());
        let io = Io {
            id: IoId { slot: index, generation: slot.generation },
            kind,
            range,
            fua: slot.fua && kind == OpKind::Write,
            buf: if kind.has_data() { slot.buf.take() } else { None },
            buf_offset_bytes: (range.offset_bytes - wide.offset_bytes) as usize,
        };
        self.backend.submit(io, now);
    }
}

/// Puts a write's data into its buffer.
pub(super) fn fill(
    buf: &mut IoBuf,
    tag: u32,
    piece: &Piece,
    client: &mut dyn Client,
) -> Result<(), IoError> {
    let target = &mut buf.bytes_mut()[piece.span_in_buffer()];
    if piece.zero_fill {
        target.fill(0);
        return Ok(());
    }
    client
        .gather(tag, piece.data_offset_bytes, target)
        .map_err(|GuestMemoryError| IoError::GuestMemory)
}
