//! The operations that a device model has submitted, and how each is cut into pieces.

use alloc::vec::Vec;

use super::slots::Piece;
use crate::{BackendInfo, ByteRange, IoError, Nanos, OpKind, Request};

/// Names one operation. The generation differs at each use of the same index, so a token that has
/// been answered or cancelled names nothing for ever after (C2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpToken {
    index: u16,
    generation: u32,
}

/// How an operation failed, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error} (at byte {offset_bytes} of the medium)")]
pub struct OpError {
    /// The cause.
    pub error: IoError,
    /// The lowest byte of the medium for which it is known to have failed. For a read that fails
    /// again when it is repeated in parts, exactly the first sector (of 512 bytes, or as large as
    /// the backend's alignment) that cannot be read; otherwise where the piece that failed begins.
    pub offset_bytes: u64,
}

/// Where an operation waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the ready queue: it has a piece to start.
    Ready,
    /// In the held list: its next piece may not start yet.
    Held,
    /// Nowhere: only completions can move it on.
    InFlight,
    /// In the answer queue.
    Done,
}

/// What an operation wants to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Start this piece.
    Piece(Piece),
    /// Wait for pieces in flight.
    Wait,
    /// Be answered.
    Finish,
}

#[derive(Debug)]
pub(super) struct Operation {
    pub(super) request: Request,
    pub(super) place: Place,
    pub(super) submitted: Nanos,
    pub(super) failed: Option<OpError>,
    /// A piece has failed, and where is being found out: no other starts.
    pub(super) probing: bool,
    /// Pieces that the backend has.
    pub(super) in_flight: u16,
    /// A flush follows the last piece, for FUA that the backend cannot do by itself.
    pub(super) flush_pending: bool,
    /// The piece that was held and has not started since, with its place in the order of holds.
    pub(super) held_piece: Option<(u64, Piece)>,
    /// The range that is being cut, and how far.
    range_index: usize,
    cut_bytes: u64,
    data_offset_bytes: u64,
}

/// Sizes that bound a piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutter {
    pub(super) buf_bytes: u64,
    pub(super) align_bytes: u64,
    pub(super) discard_align_bytes: u64,
    pub(super) native_zeroes: bool,
    pub(super) window: u16,
}

/// The longest discard or write-zeroes handed to a backend in one go, in bytes: bounds how much of
/// the medium a single stuck one fences.
const LONGEST_DATALESS_BYTES: u64 = 256 << 20;

impl Cutter {
    pub(super) fn new(info: &BackendInfo, buf_bytes: u32, window: u16) -> Self {
        Self {
            buf_bytes: u64::from(buf_bytes),
            align_bytes: info.io_align_bytes.max(1),
            discard_align_bytes: info.discard.map_or(1, |discard| discard.align_bytes.max(1)),
            native_zeroes: info.write_zeroes,
            window,
        }
    }
}

impl Operation {
    fn new(request: Request, submitted: Nanos, flush_after: bool) -> Self {
        Self {
            flush_pending: flush_after || request.kind == OpKind::Flush,
            request,
            place: Place::Ready,
            submitted,
            failed: None,
            probing: false,
            in_flight: 0,
            held_piece: None,
            range_index: 0,
            cut_bytes: 0,
            data_offset_bytes: 0,
        }
    }

    /// Notes a failure; the one at the lowest offset is reported.
    pub(super) fn fail(&mut self, error: IoError, offset_bytes: u64) {
        if self.failed.is_none_or(|failed| offset_bytes < failed.offset_bytes) {
            self.failed = Some(OpError { error, offset_bytes });
        }
    }

    /// What to do next. Does not consume the piece: [`Operation::advance`] does.
    pub(super) fn next(&mut self, cutter: &Cutter) -> Next {
        if self.failed.is_none() && !self.probing {
            if self.in_flight >= cutter.window {
                return Next::Wait;
            }
            if let Some(piece) = self.next_cut(cutter) {
                return Next::Piece(piece);
            }
            if self.flush_pending && (self.in_flight == 0 || sabotaged!(FlushOvertakes)) {
                return Next::Piece(Piece {
                    kind: OpKind::Flush,
                    range: ByteRange::default(),
                    wide: ByteRange::default(),
                    data_offset_bytes: 0,
                    zero_fill: false,
                });
            }
        }
        if self.in_flight == 0 { Next::Finish } else { Next::Wait }
    }

    /// Has a piece that ended without effect done again, cut anew.
    pub(super) fn retry(&mut self, piece: &Piece) {
        self.request.ranges.push(piece.range);
    }

    /// Counts `piece`, which [`Operation::next`] gave, as started.
    pub(super) fn advance(&mut self, piece: &Piece) {
        self.in_flight += 1;
        self.held_piece = None;
        if piece.kind == OpKind::Flush {
            self.flush_pending = false;
        } else {
            let consumed = piece.range.end_bytes() - self.left_of_range().offset_bytes;
            self.cut_bytes += consumed;
            self.data_offset_bytes += consumed;
        }
    }

    fn left_of_range(&self) -> ByteRange {
        let range = self.request.ranges[self.range_index];
        ByteRange::new(range.offset_bytes + self.cut_bytes, range.len_bytes - self.cut_bytes)
    }

    fn next_cut(&mut self, cutter: &Cutter) -> Option<Piece> {
        while self.range_index < self.request.ranges.len() {
            let left = self.left_of_range();
            if let Some(piece) = self.cut(left, cutter) {
                return Some(piece);
            }
            self.range_index += 1;
            self.cut_bytes = 0;
        }
        None
    }

    /// The first piece of what is `left` of a range; `None` if nothing (more) is to be done there.
    fn cut(&self, left: ByteRange, cutter: &Cutter) -> Option<Piece> {
        if left.len_bytes == 0 {
            return None;
        }
        let kind = self.request.kind;
        match kind {
            OpKind::Flush => None,
            OpKind::Read | OpKind::Write => Some(self.data_piece(kind, left, cutter, false)),
            OpKind::Discard => {
                let inner = left.narrowed(cutter.discard_align_bytes);
                (inner.len_bytes > 0).then(|| self.dataless_piece(inner))
            }
            OpKind::WriteZeroes => {
                let inner = left.narrowed(cutter.align_bytes);
                if !cutter.native_zeroes || inner.len_bytes == 0 {
                    return Some(self.data_piece(OpKind::Write, left, cutter, true));
                }
                let before_bytes = inner.offset_bytes - left.offset_bytes;
                if before_bytes > 0 {
                    let head = ByteRange::new(left.offset_bytes, before_bytes);
                    return Some(self.data_piece(OpKind::Write, head, cutter, true));
                }
                Some(self.dataless_piece(inner))
            }
        }
    }

    fn dataless_piece(&self, range: ByteRange) -> Piece {
        let range = ByteRange::new(range.offset_bytes, range.len_bytes.min(LONGEST_DATALESS_BYTES));
        Piece {
            kind: self.request.kind,
            range,
            wide: range,
            data_offset_bytes: self.data_offset_bytes,
            zero_fill: false,
        }
    }

    /// Ends at a multiple of the buffer's size at the latest, so that widening still fits in.
    fn data_piece(&self, kind: OpKind, left: ByteRange, cutter: &Cutter, zero_fill: bool) -> Piece {
        let boundary = (left.offset_bytes / cutter.buf_bytes + 1) * cutter.buf_bytes;
        let end_bytes = left.end_bytes().min(boundary);
        let range = ByteRange::new(left.offset_bytes, end_bytes - left.offset_bytes);
        Piece {
            kind,
            range,
            wide: range.widened(cutter.align_bytes),
            data_offset_bytes: self.data_offset_bytes,
            zero_fill,
        }
    }
}

/// A fixed number of operations.
#[derive(Debug)]
pub(super) struct Operations {
    entries: Vec<(u32, Option<Operation>)>,
    free: Vec<u16>,
}

impl Operations {
    pub(super) fn new(capacity: u16) -> Self {
        Self {
            entries: (0..capacity).map(|_| (0, None)).collect(),
            free: (0..capacity).rev().collect(),
        }
    }

    pub(super) fn insert(
        &mut self,
        request: Request,
        now: Nanos,
        flush_after: bool,
    ) -> Option<OpToken> {
        let index = self.free.pop()?;
        let (generation, entry) = &mut self.entries[usize::from(index)];
        *generation = generation.wrapping_add(1);
        *entry = Some(Operation::new(request, now, flush_after));
        Some(OpToken { index, generation: *generation })
    }

    pub(super) fn get_mut(&mut self, token: OpToken) -> Option<&mut Operation> {
        let (generation, entry) = self.entries.get_mut(usize::from(token.index))?;
        if *generation == token.generation { entry.as_mut() } else { None }
    }

    pub(super) fn get(&self, token: OpToken) -> Option<&Operation> {
        let (generation, entry) = self.entries.get(usize::from(token.index))?;
        if *generation == token.generation { entry.as_ref() } else { None }
    }

    pub(super) fn remove(&mut self, token: OpToken) -> Option<Operation> {
        let (generation, entry) = self.entries.get_mut(usize::from(token.index))?;
        if *generation != token.generation {
            return None;
        }
        let operation = entry.take()?;
        self.free.push(token.index);
        Some(operation)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (OpToken, &Operation)> {
        self.entries.iter().enumerate().filter_map(|(index, (generation, entry))| {
            let token = OpToken { index: index as u16, generation: *generation };
            entry.as_ref().map(|operation| (token, operation))
        })
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }
}
