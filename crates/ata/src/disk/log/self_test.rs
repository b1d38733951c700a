//! The SMART self-test log (ACS-4, log 06h) and its extended form (log 07h): circular buffers whose
//! index names the latest entry.

use super::{PAGE_BYTES, Page, seal};
use crate::disk::smart::{SelfTestResult, SelfTests};

/// Entries of log 06h.
const ENTRIES: usize = 21;
/// Entries of a page of log 07h.
const EXTENDED_ENTRIES: usize = 19;

/// What both kinds of entry start with.
fn put_head(entry: &mut [u8], result: &SelfTestResult) {
    entry[0] = result.subcommand;
    entry[1] = result.status;
    entry[2..4].copy_from_slice(&result.life_timestamp.to_le_bytes());
}

/// Log 06h.
pub(super) fn standard(tests: &SelfTests) -> Page {
    let mut page = [0; PAGE_BYTES];
    page[0] = 1;
    let (entries, _) = page[2..506].as_chunks_mut::<24>();
    for (place, result) in tests.in_ring(ENTRIES) {
        let Some(entry) = entries.get_mut(place) else { continue };
        put_head(entry, result);
        // An LBA that needs more than 32 bits stands in log 07h only.
        let lba = result.failing_lba.map_or(0, |lba| u32::try_from(lba).unwrap_or(u32::MAX));
        entry[5..9].copy_from_slice(&lba.to_le_bytes());
    }
    page[508] = tests.index(ENTRIES) as u8;
    seal(page)
}

/// Log 07h.
pub(super) fn extended(tests: &SelfTests) -> Page {
    let mut page = [0; PAGE_BYTES];
    page[0] = 1;
    page[2..4].copy_from_slice(&tests.index(EXTENDED_ENTRIES).to_le_bytes());
    let (entries, _) = page[4..498].as_chunks_mut::<26>();
    for (place, result) in tests.in_ring(EXTENDED_ENTRIES) {
        let Some(entry) = entries.get_mut(place) else { continue };
        put_head(entry, result);
        entry[5..11].copy_from_slice(&result.failing_lba.unwrap_or(0).to_le_bytes()[..6]);
    }
    seal(page)
}
