//! The trait that storage implements, and what passes through it.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{ByteRange, IoBuf, IoError, Nanos, OpKind};

/// Names one hand-over of an [`Io`] to a backend. The generation differs at each hand-over, so a
/// completion that arrives twice, or for a slot that has been used again, is recognised (C2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IoId {
    /// The engine's slot.
    pub slot: u16,
    /// Counts the slot's uses.
    pub generation: u32,
}

impl IoId {
    /// The identity packed into 64 bits, for queues that carry such a word (io_uring, NBD).
    pub fn to_u64(self) -> u64 {
        u64::from(self.generation) << 16 | u64::from(self.slot)
    }

    /// The reverse of [`IoId::to_u64`].
    pub fn from_u64(word: u64) -> Self {
        Self { slot: word as u16, generation: (word >> 16) as u32 }
    }
}

/// One request to a backend. It owns its buffer and comes back, whole, in a [`Done`].
#[derive(Debug)]
pub struct Io {
    /// Its name.
    pub id: IoId,
    /// What to do.
    pub kind: OpKind,
    /// Where on the medium. Within its size and, for reads, writes and write-zeroes, on multiples
    /// of [`BackendInfo::io_align_bytes`]; for discards on multiples of
    /// [`DiscardSupport::align_bytes`]. Empty for a flush.
    pub range: ByteRange,
    /// For a write: complete only once durable. Set only if [`BackendInfo::fua`].
    pub fua: bool,
    /// The buffer, for reads and writes only.
    pub buf: Option<IoBuf>,
    /// Where in the buffer the data starts, in bytes; a multiple of the alignment. `range` fits.
    pub buf_offset_bytes: usize,
}

impl Io {
    /// The part of the buffer that a write takes its data from. Empty without a buffer.
    pub fn data(&self) -> &[u8] {
        let span = self.span();
        self.buf.as_ref().map_or(&[], |buf| &buf.bytes()[span])
    }

    /// The part of the buffer that a read fills. Empty without a buffer.
    pub fn data_mut(&mut self) -> &mut [u8] {
        let span = self.span();
        self.buf.as_mut().map_or(&mut [], |buf| &mut buf.bytes_mut()[span])
    }

    fn span(&self) -> core::ops::Range<usize> {
        self.buf_offset_bytes..self.buf_offset_bytes + self.range.len_bytes as usize
    }

    /// The completion of this request: `Ok` holds the number of bytes transferred, which counts
    /// for reads and writes only.
    pub fn done(self, result: Result<u64, IoError>) -> Done {
        Done { io: self, result }
    }
}

/// A completed [`Io`].
#[derive(Debug)]
pub struct Done {
    /// What was asked, with its buffer.
    pub io: Io,
    /// Bytes transferred, from the start of the range (may fall short: the engine asks for the
    /// rest), or why not.
    pub result: Result<u64, IoError>,
}

/// How a backend discards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscardSupport {
    /// Ranges are on multiples of this power of two, in bytes.
    pub align_bytes: u64,
    /// Whether discarded ranges read as zeroes afterwards, always.
    pub reads_zeroes: bool,
}

/// What a backend is able to do. Fixed once it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendInfo {
    /// What does the work, for people: `io_uring`, `threads`, `memory`.
    pub engine_name: String,
    /// Size of the medium in bytes; a multiple of `io_align_bytes`.
    pub size_bytes: u64,
    /// Reads, writes and write-zeroes are on multiples of this power of two (at most
    /// [`PAGE_BYTES`](crate::PAGE_BYTES)), in bytes. 1 where anything goes.
    pub io_align_bytes: u64,
    /// Writes, discards and write-zeroes are refused.
    pub read_only: bool,
    /// A write can be made durable by itself ([`Io::fua`]). Otherwise the engine adds a flush.
    pub fua: bool,
    /// Discards, if it can.
    pub discard: Option<DiscardSupport>,
    /// Zeroes without being sent zeroes. Otherwise the engine writes them.
    pub write_zeroes: bool,
    /// How many requests it accepts at a time, those included that it never lets go of.
    pub queue_depth: u16,
}

/// Storage that executes [`Io`]s, asynchronously.
///
/// The engine calls every method on the device thread: **none may block**, whatever the storage
/// does. A backend may complete late, never, in any order, short, or with an error; it may not
/// touch a buffer after it gave it back.
///
/// # Correctness
/// A `Done` says that the backend has let go: after it, this request changes nothing any more. A
/// backend that is not sure (a time-out at its server, a lost connection) must not report an
/// error: it keeps the request until it knows.
pub trait Backend: Send {
    /// What it is able to do.
    fn info(&self) -> &BackendInfo;

    /// Called once, before the first request, with all buffers that requests will ever carry, in
    /// the order of their index. They stay at their addresses until the backend is dropped.
    fn register_buffers(&mut self, _bufs: &mut [IoBuf]) {}

    /// Takes a request. May only note it down until [`Backend::kick`].
    fn submit(&mut self, io: Io, now: Nanos);

    /// Ends a batch of submissions: everything noted down is on its way when this returns.
    fn kick(&mut self, _now: Nanos) {}

    /// Appends what has completed since.
    fn poll(&mut self, now: Nanos, done: &mut Vec<Done>);

    /// A hint that nobody waits for `id` any more. The request still completes (or never does),
    /// exactly as before; it may do so sooner.
    fn cancel_hint(&mut self, _id: IoId) {}

    /// When [`Backend::poll`] should be called even if nothing woke the owner's loop.
    fn next_wakeup(&self) -> Option<Nanos> {
        None
    }

    /// Whether this is, or holds, a [`FaultLayer`](crate::fault::FaultLayer), to steer it at run
    /// time.
    fn fault_layer(&mut self) -> Option<&mut crate::fault::FaultLayer> {
        None
    }
}
