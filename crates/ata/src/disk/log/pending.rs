//! The pending defects log (ACS-4, log 0Ch): the sectors that cannot be read.

use super::{PAGE_BYTES, Page};

/// Pages of the log. More defects than it has room for are not told.
pub(super) const PAGES: u16 = 32;

const ENTRY_BYTES: usize = 16;
const ENTRIES_PER_PAGE: usize = PAGE_BYTES / ENTRY_BYTES;
/// The first entry's place has the count.
const ENTRIES: usize = PAGES as usize * ENTRIES_PER_PAGE - 1;

/// Power-on hours at which a defect was found: not known.
const NO_HOURS: u32 = u32::MAX;

/// Page `number` of the log of the defects at `lbas`.
pub(super) fn page(lbas: impl Iterator<Item = u64>, number: u16) -> Page {
    let mut page = [0; PAGE_BYTES];
    let (entries, _) = page.as_chunks_mut::<ENTRY_BYTES>();
    let first = usize::from(number) * ENTRIES_PER_PAGE;
    let mut count = 0u32;
    for (index, lba) in lbas.take(ENTRIES).enumerate() {
        count += 1;
        let place = (index + 1).checked_sub(first);
        if let Some(entry) = place.and_then(|place| entries.get_mut(place)) {
            entry[..4].copy_from_slice(&NO_HOURS.to_le_bytes());
            entry[8..].copy_from_slice(&lba.to_le_bytes());
        }
    }
    if number == 0 {
        entries[0][..4].copy_from_slice(&count.to_le_bytes());
    }
    page
}
