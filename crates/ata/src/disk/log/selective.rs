//! The selective self-test log (ACS-4, log 09h), by which a host says what a selective self-test is
//! to read.

use alloc::vec::Vec;

use super::{PAGE_BYTES, Page, seal, sum};
use crate::disk::transfer::Extent;

const REVISION: [u8; 2] = [1, 0];
/// Test spans in the log.
pub(crate) const SPANS: usize = 5;

/// What the host has written. The read scan after the test, its flags and its pending time are not
/// offered (SMART READ DATA, byte 367), so they read as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selective {
    /// First and last LBA of each span; zero if it is not in use.
    pub(crate) spans: [(u64, u64); SPANS],
}

impl Selective {
    /// What `page` says; `None` if revision or checksum are wrong.
    pub(super) fn parse(page: &Page) -> Option<Self> {
        if page[..2] != REVISION || sum(page) != 0 {
            return None;
        }
        let mut selective = Self::default();
        let (words, _) = page[2..82].as_chunks::<8>();
        let (pairs, _) = words.as_chunks::<2>();
        for (span, [first, last]) in selective.spans.iter_mut().zip(pairs) {
            *span = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        }
        Some(selective)
    }

    /// What there is to read on a disk of so many sectors; `None` if that is nothing, or a span is
    /// not on the disk.
    pub(crate) fn extents(&self, sectors: u64) -> Option<Vec<Extent>> {
        let mut extents = Vec::with_capacity(SPANS);
        for (first, last) in self.spans.into_iter().filter(|span| *span != (0, 0)) {
            if first > last || last >= sectors {
                return None;
            }
            extents.push(Extent { lba: first, count: last - first + 1 });
        }
        (!extents.is_empty()).then_some(extents)
    }

    /// The log, while the test is at the given span (from 1) and LBA.
    pub(super) fn page(&self, progress: Option<(u16, u64)>) -> Page {
        let mut page = [0; PAGE_BYTES];
        page[..2].copy_from_slice(&REVISION);
        let (places, _) = page[2..82].as_chunks_mut::<16>();
        for (place, (first, last)) in places.iter_mut().zip(self.spans) {
            place[..8].copy_from_slice(&first.to_le_bytes());
            place[8..].copy_from_slice(&last.to_le_bytes());
        }
        if let Some((span, lba)) = progress {
            page[492..500].copy_from_slice(&lba.to_le_bytes());
            page[500..502].copy_from_slice(&span.to_le_bytes());
        }
        seal(page)
    }
}
