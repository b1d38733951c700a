//! The slots: what has been handed to the backend, with the buffers.
//!
//! A slot is *free* (its buffer parks in it), *submitted* (for a live operation) or *orphaned* (the
//! operation was cancelled; the backend still has the buffer). There is no other way out of
//! *orphaned* than the backend's completion.

use alloc::vec::Vec;

use super::operations::OpToken;
use super::probe::Probe;
use crate::{ByteRange, IoBuf, IoId, Nanos, OpKind};

/// How a piece is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// One request to the backend.
    Direct,
    /// An unaligned write: the surroundings are being read.
    ModifyRead,
    /// An unaligned write: the merged whole is being written.
    ModifyWrite,
}

/// A part of an operation, small enough for one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// What the backend is to do in the end.
    pub(super) kind: OpKind,
    /// The part of the medium that the operation is about.
    pub(super) range: ByteRange,
    /// The same, widened to the backend's alignment: what is transferred.
    pub(super) wide: ByteRange,
    /// Where the piece's data starts within the operation's data, in bytes.
    pub(super) data_offset_bytes: u64,
    /// The data is zeroes, not the guest's.
    pub(super) zero_fill: bool,
}

impl Piece {
    /// Whether it is a write that has to read its surroundings first.
    pub(super) fn is_modify(&self) -> bool {
        self.kind == OpKind::Write && self.range != self.wide
    }

    /// What may not be changed by an orphan while this runs. A write covers all that it transfers;
    /// a read only what the guest will see.
    pub(super) fn guarded(&self) -> ByteRange {
        if self.kind == OpKind::Read { self.range } else { self.wide }
    }

    /// Where the operation's part lies in the buffer.
    pub(super) fn span_in_buffer(&self) -> core::ops::Range<usize> {
        let start = (self.range.offset_bytes - self.wide.offset_bytes) as usize;
        start..start + self.range.len_bytes as usize
    }
}

/// Who a slot works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    Free,
    Submitted { op: OpToken },
    Orphaned { since: Nanos, fenced: bool },
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) state: SlotState,
    /// `None` only while the backend holds it.
    pub(super) buf: Option<IoBuf>,
    pub(super) piece: Piece,
    pub(super) phase: Phase,
    pub(super) tag: u32,
    pub(super) fua: bool,
    /// How much of `piece.wide` has been transferred in this phase, in bytes.
    pub(super) progress_bytes: u64,
    /// A read that has failed, and is being narrowed down.
    pub(super) probe: Option<Probe>,
    /// When it was first handed to the backend.
    pub(super) started: Nanos,
}

impl Slot {
    /// A free slot, with its buffer.
    fn idle(buf: IoBuf) -> Self {
        let piece = Piece {
            kind: OpKind::Flush,
            range: ByteRange::default(),
            wide: ByteRange::default(),
            data_offset_bytes: 0,
            zero_fill: false,
        };
        Self {
            generation: 0,
            state: SlotState::Free,
            buf: Some(buf),
            piece,
            phase: Phase::Direct,
            tag: 0,
            fua: false,
            progress_bytes: 0,
            probe: None,
            started: Nanos(0),
        }
    }

    /// What has not been transferred yet in this phase.
    pub(super) fn left(&self) -> ByteRange {
        let wide = self.piece.wide;
        let offset_bytes = wide.offset_bytes + self.progress_bytes;
        ByteRange::new(offset_bytes, wide.len_bytes - self.progress_bytes)
    }

    /// What an orphan's fence covers: all that is written, not only what was asked for.
    pub(super) fn fenced_range(&self) -> ByteRange {
        if sabotaged!(FenceNotWide) { self.piece.range } else { self.piece.wide }
    }

    /// Whether what the backend has right now may change the medium.
    pub(super) fn may_change_medium(&self) -> bool {
        self.state != SlotState::Free
            && self.piece.kind.changes_medium()
            && self.phase != Phase::ModifyRead
    }
}

/// A fixed number of slots, with a list of the free ones (last used first: its buffer is warm).
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u16>,
}

impl Slots {
    pub(super) fn new(bufs: Vec<IoBuf>) -> Self {
        let free = (0..bufs.len() as u16).rev().collect();
        let slots = bufs.into_iter().map(Slot::idle).collect();
        Self { slots, free }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn free_count(&self) -> usize {
        self.free.len()
    }

    pub(super) fn take(&mut self) -> Option<u16> {
        if sabotaged!(BudgetIgnored) && self.free.is_empty() {
            let index = self.slots.len() as u16;
            let len_bytes = self.slots[0].buf.as_ref().map_or(1 << 17, |buf| buf.bytes().len());
            self.slots.push(Slot::idle(IoBuf::new(index, len_bytes)));
            self.free.push(index);
        }
        self.free.pop()
    }

    /// Gives a slot back, with the buffer parked in it again.
    pub(super) fn give_back(&mut self, index: u16) {
        let slot = &mut self.slots[usize::from(index)];
        debug_assert!(slot.buf.is_some(), "a free slot holds its buffer");
        slot.state = SlotState::Free;
        self.free.push(index);
    }

    pub(super) fn get(&self, index: u16) -> &Slot {
        &self.slots[usize::from(index)]
    }

    pub(super) fn get_mut(&mut self, index: u16) -> &mut Slot {
        &mut self.slots[usize::from(index)]
    }

    /// The slot that `id` names, if the backend holds exactly this hand-over.
    pub(super) fn awaiting(&mut self, id: IoId) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(id.slot)).filter(|slot| {
            (slot.generation == id.generation || sabotaged!(SlotGenerationIgnored))
                && slot.state != SlotState::Free
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Slot)> {
        self.slots.iter().enumerate().map(|(index, slot)| (index as u16, slot))
    }

    /// The slots that work for `op`, as indices.
    pub(super) fn of(&self, op: OpToken) -> impl Iterator<Item = u16> {
        self.iter()
            .filter(move |(_, slot)| slot.state == SlotState::Submitted { op })
            .map(|(index, _)| index)
    }
}
