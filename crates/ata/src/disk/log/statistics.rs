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
                (8, vitals.power_cycles.into()),
                (16, vitals.hours.min(u64::from(u32::MAX))),
                // Logical sectors written, write commands, sectors read, read commands.
                (24, it.sectors_written),
                (32, it.write_commands),
                (40, it.sectors_read),
                (48, it.read_commands),
                // Pending errors.
                (64, vitals.pending.into()),
            ],
        ),
        0x04 => statistics(
            0x04,
            // Reported uncorrectable errors, resets between acceptance and completion.
            &[(8, it.uncorrectable.into()), (16, it.resets_with_commands.into())],
        ),
        0x06 => statistics(
            0x06,
            // Hardware resets, interface CRC errors.
            &[(8, it.hardware_resets.into()), (24, it.crc_errors.into())],
        ),
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

/// A page with values at their offsets.
fn statistics(number: u8, values: &[(usize, u64)]) -> Page {
    let mut page = header(number);
    for (at, value) in values {
        // A value has 48 bits at most.
        let statistic = VALID | (*value).min((1 << 48) - 1);
        page[*at..*at + 8].copy_from_slice(&statistic.to_le_bytes());
    }
    page
}
