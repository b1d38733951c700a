//! The vocabulary: what can be asked of a disk, where, and how it can end.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// A point in monotonic time, in nanoseconds since an arbitrary origin that one process keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The time that has passed since `earlier`, in nanoseconds; 0 if it lies in the future.
    pub fn since(self, earlier: Nanos) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This point in time, moved on by `delta_ns` nanoseconds.
    pub fn plus(self, delta_ns: u64) -> Nanos {
        Nanos(self.0.saturating_add(delta_ns))
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// Medium to memory.
    Read,
    /// Memory to medium.
    Write,
    /// Makes every write that was completed before durable.
    Flush,
    /// Tells the medium that the content is no longer needed (TRIM, UNMAP).
    Discard,
    /// Makes the content read as zeroes.
    WriteZeroes,
}

impl OpKind {
    /// Whether a backend that executes this late could change what a later read returns. Such an
    /// orphan is fenced (contract C4).
    pub fn changes_medium(self) -> bool {
        matches!(self, OpKind::Write | OpKind::Discard | OpKind::WriteZeroes)
    }

    /// Whether data moves, so that a buffer is needed.
    pub fn has_data(self) -> bool {
        matches!(self, OpKind::Read | OpKind::Write)
    }

    /// The name as the fault grammar and the control socket spell it.
    pub fn name(self) -> &'static str {
        match self {
            OpKind::Read => "read",
            OpKind::Write => "write",
            OpKind::Flush => "flush",
            OpKind::Discard => "discard",
            OpKind::WriteZeroes => "write-zeroes",
        }
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A range of the medium, in bytes. May be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteRange {
    /// Where it starts, in bytes from the start of the medium.
    pub offset_bytes: u64,
    /// How long it is, in bytes.
    pub len_bytes: u64,
}

impl ByteRange {
    /// The range of `len_bytes` bytes at `offset_bytes`.
    pub fn new(offset_bytes: u64, len_bytes: u64) -> Self {
        Self { offset_bytes, len_bytes }
    }

    /// The first byte behind the range; saturates at the end of the number space.
    pub fn end_bytes(self) -> u64 {
        self.offset_bytes.saturating_add(self.len_bytes)
    }

    /// Whether the two share a byte.
    pub fn overlaps(self, other: ByteRange) -> bool {
        self.len_bytes > 0
            && other.len_bytes > 0
            && self.offset_bytes < other.end_bytes()
            && other.offset_bytes < self.end_bytes()
    }

    /// The smallest range on multiples of `align_bytes` (a power of two) that contains this one.
    pub fn widened(self, align_bytes: u64) -> ByteRange {
        let start = self.offset_bytes & !(align_bytes - 1);
        let end = self.end_bytes().next_multiple_of(align_bytes);
        ByteRange::new(start, end - start)
    }

    /// The largest range on multiples of `align_bytes` (a power of two) inside this one; empty if
    /// there is none.
    pub fn narrowed(self, align_bytes: u64) -> ByteRange {
        let start = self.offset_bytes.next_multiple_of(align_bytes);
        let end = self.end_bytes() & !(align_bytes - 1);
        ByteRange::new(start, end.saturating_sub(start))
    }
}

/// What a device model asks of the engine; answered exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub kind: OpKind,
    /// Where: one range for reads, writes and write-zeroes, any number for a discard, none for a
    /// flush. Ranges are executed in no particular order.
    pub ranges: Vec<ByteRange>,
    /// Force unit access: answered only once the data is durable.
    pub fua: bool,
    /// The device model's own name for it (an NCQ tag, a descriptor index), handed back with each
    /// call to [`Client`](crate::Client).
    pub tag: u32,
}

impl Request {
    /// Reads `range`.
    pub fn read(tag: u32, range: ByteRange) -> Self {
        Self { kind: OpKind::Read, ranges: vec![range], fua: false, tag }
    }

    /// Writes `range`, durably before the answer if `fua`.
    pub fn write(tag: u32, range: ByteRange, fua: bool) -> Self {
        Self { kind: OpKind::Write, ranges: vec![range], fua, tag }
    }

    /// Makes all writes that were answered before durable.
    pub fn flush(tag: u32) -> Self {
        Self { kind: OpKind::Flush, ranges: Vec::new(), fua: false, tag }
    }

    /// Discards `ranges`.
    pub fn discard(tag: u32, ranges: Vec<ByteRange>) -> Self {
        Self { kind: OpKind::Discard, ranges, fua: false, tag }
    }

    /// Zeroes `range`, durably before the answer if `fua`.
    pub fn write_zeroes(tag: u32, range: ByteRange, fua: bool) -> Self {
        Self { kind: OpKind::WriteZeroes, ranges: vec![range], fua, tag }
    }
}

/// How an operation fails. Device models map it to what their specification defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IoError {
    /// The operating system refused or failed it, with this `errno`.
    #[error("the operating system reports error {0}")]
    Os(i32),
    /// The storage under the image is full.
    #[error("no space is left on the storage")]
    NoSpace,
    /// The medium may not be written.
    #[error("the medium is read-only")]
    ReadOnly,
    /// The backend has no such operation for this medium.
    #[error("the backend does not support the operation")]
    Unsupported,
    /// The backend transferred nothing although data was due (a truncated image).
    #[error("the backend transferred less than was asked and no more is to come")]
    ShortTransfer,
    /// The backend gave an answer that makes no sense.
    #[error("the backend broke its protocol")]
    BackendProtocol,
    /// Guest memory for the data is not there (any more), or not writable.
    #[error("guest memory for the data is not accessible")]
    GuestMemory,
}

impl IoError {
    /// The error for an `errno` value.
    pub fn from_errno(errno: i32) -> Self {
        // The values are Linux's, the same on every architecture Rust supports there.
        const EROFS: i32 = 30;
        const ENOSPC: i32 = 28;
        const EDQUOT: i32 = 122;
        const EOPNOTSUPP: i32 = 95;
        const ENOSYS: i32 = 38;
        match errno {
            ENOSPC | EDQUOT => IoError::NoSpace,
            EROFS => IoError::ReadOnly,
            EOPNOTSUPP | ENOSYS => IoError::Unsupported,
            other => IoError::Os(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_ranges_overlap_nothing() {
        let all = ByteRange::new(0, u64::MAX);
        assert!(!ByteRange::new(5, 0).overlaps(all));
        assert!(ByteRange::new(5, 1).overlaps(all));
        assert!(!ByteRange::new(5, 1).overlaps(ByteRange::new(6, 1)));
    }

    #[test]
    fn widening_contains_and_narrowing_is_contained() {
        let range = ByteRange::new(513, 9000);
        assert_eq!(range.widened(4096), ByteRange::new(0, 12288));
        assert_eq!(range.narrowed(4096), ByteRange::new(4096, 4096));
        assert_eq!(ByteRange::new(513, 100).narrowed(4096).len_bytes, 0);
        assert_eq!(ByteRange::new(4096, 4096).widened(4096), ByteRange::new(4096, 4096));
    }
}
