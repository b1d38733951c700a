//! Device statistics (ACS-4, log 04h): page 00h lists the others, 01h general, 04h general errors,
//! 06h transport. Pages between them that are not there read as zero.
//!
//! Left out: what the disk does not know, such as temperature (05h), the wear of an SSD (07h) and
//! the time of day.

use super::{PAGE_BYTES, Page};
use crate::disk::smart::{Counters, Vitals};

/// One more than the highest page.
pub(super) const PAGES: u16 = 7;
const LIST: [u8; 4] = [0x00, 0x01, 0x04, 0x06];
const REVISION: u8 = 1;

/// A statistic is there (bit 63) and has a value (bit 62).
const VALID: u64 = 0b11 << 62;

/// Page `number`.
pub(super) fn page(counters: &Counters, vitals: &Vitals, number: u16) -> Page {
    let it = counters;
    match number {
        0x00 => list(),
        0x01 => statistics(
            0x01,
            &[
                // Lifetime power-on resets, power-on hours.
                vitals.power_cycles.into(),
                vitals.hours.min(u64::from(u32::MAX)),
                // Logical sectors written, write commands, sectors read, read commands.
                it.sectors_written,
                it.write_commands,
                it.sectors_read,
                it.read_commands,
            ],
        ),
        0x04 => statistics(
            0x04,
            // Reported uncorrectable errors, resets between acceptance and completion.
            &[it.uncorrectable.into(), it.resets_with_commands.into()],
        ),
        0x06 => {
            // Hardware resets; the statistic between has no meaning (ASR events): it is never
            // supported, and zero. Interface CRC errors.
            let mut page = statistics(0x06, &[it.hardware_resets.into(), 0, it.crc_errors.into()]);
            page[16..24].fill(0);
            page
        }
        _ => [0; PAGE_BYTES],
    }
}

fn header(number: u8) -> Page {
    let mut page = [0; PAGE_BYTES];
    page[0] = REVISION;
    page[2] = number;
    page
}

fn list() -> Page {
    let mut page = header(0);
    page[8] = LIST.len() as u8;
    page[9..9 + LIST.len()].copy_from_slice(&LIST);
    page
}

fn statistics(number: u8, values: &[u64]) -> Page {
    let mut page = header(number);
    let (places, _) = page[8..].as_chunks_mut::<8>();
    for (place, value) in places.iter_mut().zip(values) {
        // The value has 48 bits at most.
        *place = (VALID | (*value).min((1 << 48) - 1)).to_le_bytes();
    }
    page
}
