//! What the guest knows of one port: its commands in flight, its memory, and what a reset has ended.
//! Pure bookkeeping; [`World`](super::world) does the register writes.

use super::config::SECTORS;
use super::links::Expected;
use super::oracle::{Mask, Oracle, add};
use super::step::Op;

/// Bytes of a piece of guest memory that commands use for data.
pub(super) const CHUNK: u64 = 4096;
/// Pieces that a port has.
const CHUNKS: u8 = 40;
/// Bytes of guest memory that a port has.
pub(super) const PORT_BYTES: u64 = 0x8000 + CHUNKS as u64 * CHUNK;
/// Bytes of a command table.
const TABLE: u64 = 0x200;
/// How many ended commands a guest remembers to try again.
const LOST: usize = 16;

/// A command in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    /// The number of the change, for the oracle.
    pub(super) id: u32,
    pub(super) op: Op,
    pub(super) queued: bool,
    /// First sector and how many, but for TRIM.
    pub(super) lba: usize,
    pub(super) count: usize,
    /// All that it is about.
    pub(super) mask: Mask,
    /// The part of `mask` that it changes for certain if it completes.
    pub(super) sure: Mask,
    /// What is written.
    pub(super) stamp: u32,
    /// Where its data is.
    pub(super) chunks: [u8; 2],
    pub(super) chunk_count: usize,
    /// The write cache was off when it was issued.
    pub(super) through: bool,
    /// When it was issued.
    pub(super) issued: u32,
    /// The controller has ended it, and the guest has not looked yet.
    pub(super) ended: bool,
    /// It is no command of the driver's workload: READ LOG EXT, a control FIS.
    pub(super) service: bool,
}

/// A command that a reset has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) op: Op,
    pub(super) lba: usize,
    pub(super) count: usize,
    pub(super) stamp: u32,
}

/// A guest's knowledge of one port.
pub(super) struct Guest {
    base: u64,
    pub(super) live: [Option<Live>; 32],
    /// The commands in flight, as bits.
    pub(super) busy: u32,
    /// Free memory; what was freed last is used first.
    chunks: Vec<u8>,
    pub(super) lost: Vec<Lost>,
    pub(super) running: bool,
    /// The bases are set.
    pub(super) ready: bool,
    pub(super) halted: bool,
    pub(super) masked: bool,
    /// A control FIS has set SRST.
    pub(super) in_reset: bool,
    /// The device has been pulled out.
    pub(super) gone: bool,
    /// PxSCTL.DET is 1.
    pub(super) dark: bool,
    /// The write cache is on, as far as the guest knows.
    pub(super) write_cache: bool,
    /// Holds and releases that the engine has counted so far.
    pub(super) holds: (u64, u64),
    pub(super) oracle: Oracle,
    /// What was injected into its link.
    pub(super) link: Expected,
    /// Faults may have damaged what it reads.
    pub(super) corrupts: bool,
}

impl Guest {
    pub(super) fn new(port: usize, write_cache: bool) -> Self {
        Self {
            base: port as u64 * PORT_BYTES,
            live: [None; 32],
            busy: 0,
            chunks: (0..CHUNKS).rev().collect(),
            lost: Vec::with_capacity(LOST),
            running: false,
            ready: false,
            halted: false,
            masked: false,
            in_reset: false,
            gone: false,
            dark: false,
            write_cache,
            holds: (0, 0),
            oracle: Oracle::new(),
            link: Expected::default(),
            corrupts: false,
        }
    }

    pub(super) fn list(&self) -> u64 {
        self.base
    }

    pub(super) fn header(&self, slot: u8) -> u64 {
        self.base + u64::from(slot) * 32
    }

    pub(super) fn fis_area(&self) -> u64 {
        self.base + 0x400
    }

    pub(super) fn table(&self, slot: u8) -> u64 {
        self.base + 0x1000 + u64::from(slot) * TABLE
    }

    pub(super) fn chunk(&self, index: u8) -> u64 {
        self.base + 0x8000 + u64::from(index) * CHUNK
    }

    /// Where byte `at` of the data of `live` is.
    pub(super) fn data(&self, live: &Live, at: u64) -> u64 {
        self.chunk(live.chunks[(at / CHUNK) as usize]) + at % CHUNK
    }

    pub(super) fn take_chunks(&mut self, count: usize) -> Option<[u8; 2]> {
        let mut taken = [0; 2];
        if self.chunks.len() < count {
            return None;
        }
        for chunk in &mut taken[..count] {
            *chunk = self.chunks.pop()?;
        }
        Some(taken)
    }

    pub(super) fn give_chunks(&mut self, live: &Live) {
        for chunk in &live.chunks[..live.chunk_count] {
            self.chunks.push(*chunk);
        }
    }

    /// Whether a command that changes `mask`, or reads it, may be in flight beside the others.
    pub(super) fn may_issue(&self, mask: &Mask, changes: bool) -> bool {
        !self
            .live
            .iter()
            .flatten()
            .any(|live| (changes || live.op.changes()) && super::oracle::meet(&live.mask, mask))
    }

    pub(super) fn remember(&mut self, live: &Live) {
        if live.service || matches!(live.op, Op::Flush | Op::CacheOff | Op::CacheOn) {
            return;
        }
        if self.lost.len() == LOST {
            self.lost.remove(0);
        }
        let Live { op, lba, count, stamp, .. } = *live;
        self.lost.push(Lost { op, lba, count, stamp });
    }

    /// A free tag below `tags`: the lowest, or any.
    pub(super) fn free_tag(&self, tags: u8, extra: u32) -> Option<u8> {
        let free = !self.busy & (u32::MAX >> (32 - u32::from(tags)));
        if free == 0 {
            return None;
        }
        let turn = if extra & 3 == 0 { (extra >> 2) % 32 } else { 0 };
        let tag = (free.rotate_right(turn).trailing_zeros() + turn) % 32;
        Some(tag as u8)
    }

    pub(super) fn any_queued(&self) -> bool {
        self.live.iter().flatten().any(|live| live.queued)
    }
}

impl Op {
    /// Whether it changes the medium.
    pub(super) fn changes(self) -> bool {
        matches!(self, Op::Write | Op::WriteFua | Op::Trim)
    }
}

/// What is written to `sector` by the command with this stamp.
pub(super) fn word(op: Op, stamp: u32, sector: usize) -> u64 {
    if op == Op::Trim { 0 } else { u64::from(stamp) << 16 | sector as u64 }
}

/// The ranges of a TRIM, as its payload has them, with the sectors that they name and those of them
/// that a granularity of `align` sectors leaves.
pub(super) fn trim(lba: usize, extra: u32, align: usize) -> (Vec<(usize, usize)>, Mask, Mask) {
    let count = match extra >> 24 {
        0..=3 => 512,
        4..=11 => 65 + (extra >> 16 & 0x7f) as usize,
        12..=63 => 8,
        _ => 1 + (extra >> 20 & 3) as usize,
    };
    let (mut mask, mut sure) = (Mask::default(), Mask::default());
    let mut ranges = Vec::with_capacity(count);
    let mut at = lba;
    for index in 0..count {
        let len = if count <= 8 { (extra >> (index % 8)) as usize % 17 } else { 1 + index % 2 };
        let len = len.min(SECTORS - at);
        ranges.push((at, len));
        add(&mut mask, at, len);
        let inner = at.next_multiple_of(align);
        let end = (at + len) / align * align;
        add(&mut sure, inner, end.saturating_sub(inner));
        at = (at + len + 5 + (extra >> 8) as usize % 3) % SECTORS;
    }
    (ranges, mask, sure)
}
