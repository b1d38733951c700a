//! WRITE UNCORRECTABLE EXT (ACS-4, command 45h), and what it does to later reads and writes.
//!
//! Marked sectors are remembered in a sorted set of at most [`MAX_SECTORS`]; a command that would
//! exceed it is aborted. Whoever reads or verifies one gets UNC with exactly its LBA, and the
//! data of the sectors before it: Linux takes those as read once it knows the LBA. The mark of a
//! sector goes once a write, TRIM or erase of it has *succeeded*; what is cancelled leaves it, even if
//! its orphan reaches the medium later, since nobody was told that it did.
//!
//! A mark is made on whole physical sectors and repaired by logical ones, as SBC-4 has it for WRITE
//! LONG with PBLOCK; ACS-4 only says that a write repairs.
//!
//! Left out: the vendor-specific kinds (features 5Ah, A5h).

use alloc::vec::Vec;

use freewheel_block::{ByteRange, OpKind, Request};

use super::Disk;
use super::command::{Call, Fault, Reply};
use super::saved::Reader;
use super::transfer::Extent;
use crate::Link;
use crate::fis::{Error, Status};

/// How many logical sectors can be marked at a time. Ranges are never more than sectors, so this
/// bounds everything else; their saved form stays within the 64 KiB of a section.
pub(crate) const MAX_SECTORS: u64 = 4096;

/// Words 119 and 120: WRITE UNCORRECTABLE EXT.
const WRITE_UNCORRECTABLE: u16 = 1 << 2;

/// Features register: a pseudo uncorrectable error, which is logged when it is met.
const PSEUDO: u16 = 0x55;
/// Features register: a flagged error, which is not.
const FLAGGED: u16 = 0xaa;

/// Saved: the kind is in the top bit of a range's first LBA.
const SAVED_FLAGGED: u64 = 1 << 63;

/// Marked sectors, from `first` up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    end: u64,
    is_flagged: bool,
}

/// A write under way that repairs sectors if it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Repair {
    slot: u8,
    first: u64,
    end: u64,
}

/// The sectors that cannot be read until they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uncorrectable {
    /// In order; none is empty, no two share a sector.
    ranges: Vec<Range>,
    repairs: Vec<Repair>,
}

impl Uncorrectable {
    /// How many sectors are marked: what SMART counts as pending.
    pub(crate) fn sector_count(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.first).sum()
    }

    /// The first marked sector of `first..end`.
    pub(crate) fn first_marked(&self, first: u64, end: u64) -> Option<u64> {
        let at = self.ranges.partition_point(|range| range.end <= first);
        let marked = self.ranges.get(at)?.first.max(first);
        (marked < end).then_some(marked)
    }

    /// Every marked sector, in order.
    pub(crate) fn sectors(&self) -> impl Iterator<Item = u64> {
        self.ranges.iter().flat_map(|range| range.first..range.end)
    }

    /// Whether `lba` is marked as flagged.
    pub(crate) fn is_flagged(&self, lba: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.end <= lba);
        self.ranges.get(at).is_some_and(|range| range.first <= lba && range.is_flagged)
    }

    /// Marks `first..end`; says whether there was room.
    fn mark(&mut self, first: u64, end: u64, is_flagged: bool) -> bool {
        let mut next = self.clone();
        next.clear(first, end);
        if next.sector_count() + (end - first) > MAX_SECTORS {
            return false;
        }
        let at = next.ranges.partition_point(|range| range.first < first);
        next.ranges.insert(at, Range { first, end, is_flagged });
        next.ranges.dedup_by(|later, earlier| {
            let joins = earlier.end == later.first && earlier.is_flagged == later.is_flagged;
            if joins {
                earlier.end = later.end;
            }
            joins
        });
        *self = next;
        true
    }

    /// Forgets every mark in `first..end`.
    pub(crate) fn clear(&mut self, first: u64, end: u64) {
        let from = self.ranges.partition_point(|range| range.end <= first);
        let to = self.ranges.partition_point(|range| range.first < end);
        if from >= to {
            return;
        }
        let before = Range { end: first, ..self.ranges[from] };
        let behind = Range { first: end, ..self.ranges[to - 1] };
        let rest = [before, behind].into_iter().filter(|range| range.first < range.end);
        self.ranges.splice(from..to, rest);
    }

    /// A command of `slot` that changes `range` of the medium has begun.
    fn begin_repair(&mut self, slot: u8, first: u64, end: u64) {
        if self.first_marked(first, end).is_some() {
            self.repairs.push(Repair { slot, first, end });
        }
    }

    /// The command of `slot` has ended, or never will. Says whether a mark went.
    pub(crate) fn end_repair(&mut self, slot: u8, succeeded: bool) -> bool {
        if self.repairs.is_empty() {
            return false;
        }
        let (of_slot, rest): (Vec<_>, _) =
            self.repairs.drain(..).partition(|repair| repair.slot == slot);
        self.repairs = rest;
        if succeeded {
            of_slot.iter().for_each(|repair| self.clear(repair.first, repair.end));
        }
        succeeded && !of_slot.is_empty()
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        for range in &self.ranges {
            let kind = if range.is_flagged { SAVED_FLAGGED } else { 0 };
            out.extend_from_slice(&(range.first | kind).to_le_bytes());
            out.extend_from_slice(&range.end.to_le_bytes());
        }
    }

    pub(crate) fn load(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut loaded = Self::default();
        let mut last_end = 0;
        while !reader.is_empty() {
            let (first, end) = (reader.u64()?, reader.u64()?);
            let is_flagged = first & SAVED_FLAGGED != 0;
            let first = first & !SAVED_FLAGGED;
            let in_order = last_end <= first && first < end && end <= 1 << 48;
            if !in_order {
                return None;
            }
            loaded.ranges.push(Range { first, end, is_flagged });
            last_end = end;
        }
        (loaded.sector_count() <= MAX_SECTORS).then_some(loaded)
    }
}

/// WRITE UNCORRECTABLE EXT.
pub(crate) fn write_uncorrectable(disk: &mut Disk, call: &Call, _link: &mut dyn Link) -> Reply {
    let is_flagged = match call.fis.features {
        PSEUDO => false,
        FLAGGED => true,
        _ => return Reply::Fail(Fault::ABORT),
    };
    if disk.shape.read_only {
        return Reply::Fail(Fault::ABORT);
    }
    let extent = match Extent::of(call, disk.settings.geometry) {
        Ok(extent) => extent,
        Err(fault) => return fault.into(),
    };
    if let Err(fault) = disk.bytes_of(extent) {
        return fault.into();
    }
    let per_physical = u64::from(disk.config.physical_sector_bytes / disk.shape.sector_bytes);
    let first = extent.lba - extent.lba % per_physical;
    let end = (extent.lba + extent.count).next_multiple_of(per_physical).min(disk.native_sectors());
    if !disk.uncorrectable.mark(first, end, is_flagged) {
        return Reply::Fail(Fault::ABORT);
    }
    // From now on they count as marked, not as sectors that turned out bad.
    disk.smart.defects.heal(first, end - first);
    disk.saved.note_change();
    Reply::Good
}

impl Disk {
    /// Words 119 and 120.
    pub(crate) fn put_uncorrectable_words(&self, words: &mut [u16; 256]) {
        if !self.shape.read_only {
            words[119] |= WRITE_UNCORRECTABLE;
            words[120] |= WRITE_UNCORRECTABLE;
        }
    }

    /// Looks at a request of `slot` on its way to the engine. A read ends before its first marked
    /// sector, whose LBA is given back, or fails at once if that is all it asks for; what changes
    /// the medium is noted.
    pub(crate) fn heed_marks(
        &mut self,
        slot: u8,
        request: &mut Request,
    ) -> Result<Option<u64>, Fault> {
        // What this slot did before has no more to say, if it was cancelled.
        self.uncorrectable.end_repair(slot, false);
        let sector_bytes = u64::from(self.shape.sector_bytes);
        let sectors = |range: &ByteRange| {
            (range.offset_bytes / sector_bytes, range.end_bytes() / sector_bytes)
        };
        if request.kind.changes_medium() {
            for range in &request.ranges {
                let (first, end) = sectors(range);
                self.uncorrectable.begin_repair(slot, first, end);
            }
            return Ok(None);
        }
        let (OpKind::Read, Some(range)) = (request.kind, request.ranges.first_mut()) else {
            return Ok(None);
        };
        let (first, end) = sectors(range);
        match self.uncorrectable.first_marked(first, end) {
            Some(lba) if lba == first => Err(unreadable(lba)),
            Some(lba) => {
                range.len_bytes = (lba - first) * sector_bytes;
                Ok(Some(lba))
            }
            None => Ok(None),
        }
    }
}

/// The sector at `lba` cannot be read.
pub(crate) fn unreadable(lba: u64) -> Fault {
    Fault { status: Status::ERR, error: Error::UNC, lba: Some(lba) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn saved(marks: &Uncorrectable) -> Vec<u8> {
        let mut bytes = Vec::new();
        marks.save(&mut bytes);
        bytes
    }

    #[test]
    fn no_more_sectors_are_marked_than_there_is_room_for() {
        let mut marks = Uncorrectable::default();
        assert!(marks.mark(0, MAX_SECTORS, false));
        assert!(!marks.mark(MAX_SECTORS, MAX_SECTORS + 1, false));
        assert!(marks.mark(5, 6, true), "one that is marked already takes no room");
        marks.clear(9, 10);
        assert!(marks.mark(9000, 9001, false));
        assert_eq!(marks.sector_count(), MAX_SECTORS);
    }

    #[test]
    fn damaged_marks_are_not_loaded() {
        let mut marks = Uncorrectable::default();
        marks.mark(3, 9, true);
        marks.mark(20, 21, false);
        let bytes = saved(&marks);
        assert_eq!(Uncorrectable::load(&bytes), Some(marks));
        assert_eq!(Uncorrectable::load(&bytes[..31]), None, "cut off");
        let swapped: Vec<u8> = bytes[16..].iter().chain(&bytes[..16]).copied().collect();
        assert_eq!(Uncorrectable::load(&swapped), None, "out of order");
        let huge: Vec<u8> =
            [0u64, MAX_SECTORS + 1].iter().flat_map(|it| it.to_le_bytes()).collect();
        assert_eq!(Uncorrectable::load(&huge), None, "more than can be marked");
    }

    proptest! {
        #[test]
        fn the_set_is_what_a_map_of_sectors_says(
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0u64..200, 1u64..40), 0..60),
        ) {
            let mut marks = Uncorrectable::default();
            let mut model = BTreeMap::new();
            for (is_mark, is_flagged, first, count) in steps {
                let end = first + count;
                if is_mark {
                    prop_assert!(marks.mark(first, end, is_flagged));
                } else {
                    marks.clear(first, end);
                }
                for lba in first..end {
                    if is_mark { model.insert(lba, is_flagged); } else { model.remove(&lba); }
                }
                prop_assert_eq!(marks.sector_count(), model.len() as u64);
                for from in 0..250 {
                    let expected = model.range(from..from + 8).next().map(|(lba, _)| *lba);
                    prop_assert_eq!(marks.first_marked(from, from + 8), expected);
                }
                let kinds = marks.ranges.iter().flat_map(|it| (it.first..it.end).map(|lba| (lba, it.is_flagged)));
                prop_assert!(kinds.eq(model.iter().map(|(lba, kind)| (*lba, *kind))));
            }
            prop_assert_eq!(Uncorrectable::load(&saved(&marks)), Some(marks));
        }
    }
}
