//! The SMART error logs (ACS-4): summary (01h) and comprehensive (02h) with registers of 28-bit
//! commands, extended comprehensive (03h) with those of 48-bit ones.
//!
//! All three have every error; the first two with the upper halves of the registers cut off, which
//! is how drives do it. They are circular buffers whose index (from 1) names the latest entry.

use super::{PAGE_BYTES, Page, seal};
use crate::disk::smart::{CommandRecord, ErrorRecord, Errors};

/// Entries of a page of logs 01h and 02h, and of log 03h.
const ENTRIES: usize = 5;
const EXTENDED_ENTRIES: usize = 4;
/// Entries of logs 02h and 03h.
const ALL: usize = 20;
/// Pages of log 02h.
pub(super) const COMPREHENSIVE_PAGES: u16 = (ALL / ENTRIES) as u16;
/// Pages of log 03h.
pub(super) const EXTENDED_PAGES: u16 = (ALL / EXTENDED_ENTRIES) as u16;

const VERSION: u8 = 1;

/// Log 01h.
pub(super) fn summary(errors: &Errors) -> Page {
    standard(errors, ENTRIES, 0)
}

/// Page `number` of log 02h.
pub(super) fn comprehensive(errors: &Errors, number: u16) -> Page {
    standard(errors, ALL, number)
}

fn standard(errors: &Errors, ring: usize, number: u16) -> Page {
    let mut page = [0; PAGE_BYTES];
    page[0] = VERSION;
    let first = usize::from(number) * ENTRIES;
    let (entries, _) = page[2..452].as_chunks_mut::<90>();
    for (place, record) in errors.in_ring(ring) {
        let entry = place.checked_sub(first).and_then(|place| entries.get_mut(place));
        if let Some(entry) = entry {
            *entry = standard_entry(record);
        }
    }
    if number == 0 {
        page[1] = errors.index(ring) as u8;
        page[452..454].copy_from_slice(&errors.device_error_count().to_le_bytes());
    }
    seal(page)
}

fn standard_entry(record: &ErrorRecord) -> [u8; 90] {
    let mut entry = [0; 90];
    let (places, _) = entry[..60].as_chunks_mut::<12>();
    for (place, command) in places.iter_mut().zip(&record.commands) {
        let [low, mid, high, ..] = command.lba.to_le_bytes();
        place[..8].copy_from_slice(&[
            command.control,
            command.features as u8,
            command.count as u8,
            low,
            mid,
            high,
            command.device,
            command.command,
        ]);
        place[8..].copy_from_slice(&command.timestamp_ms.to_le_bytes());
    }
    let [low, mid, high, ..] = record.lba.to_le_bytes();
    let count = record.count as u8;
    let registers = [0, record.error, count, low, mid, high, record.device, record.status];
    entry[60..68].copy_from_slice(&registers);
    entry[87] = record.state;
    entry[88..].copy_from_slice(&record.life_timestamp.to_le_bytes());
    entry
}

/// Page `number` of log 03h.
pub(super) fn extended(errors: &Errors, number: u16) -> Page {
    let mut page = [0; PAGE_BYTES];
    page[0] = VERSION;
    let first = usize::from(number) * EXTENDED_ENTRIES;
    let (entries, _) = page[4..500].as_chunks_mut::<124>();
    for (place, record) in errors.in_ring(ALL) {
        let entry = place.checked_sub(first).and_then(|place| entries.get_mut(place));
        if let Some(entry) = entry {
            *entry = extended_entry(record);
        }
    }
    if number == 0 {
        page[2..4].copy_from_slice(&errors.index(ALL).to_le_bytes());
        page[500..502].copy_from_slice(&errors.device_error_count().to_le_bytes());
    }
    seal(page)
}

/// The LBA register, as each of its halves takes turns: 7:0, 31:24, 15:8, 39:32, 23:16, 47:40.
fn interleaved(lba: u64) -> [u8; 6] {
    let lba = lba.to_le_bytes();
    [lba[0], lba[3], lba[1], lba[4], lba[2], lba[5]]
}

fn extended_entry(record: &ErrorRecord) -> [u8; 124] {
    let mut entry = [0; 124];
    let (places, _) = entry[..90].as_chunks_mut::<18>();
    for (place, command) in places.iter_mut().zip(&record.commands) {
        *place = extended_command(command);
    }
    let registers = &mut entry[90..];
    registers[1] = record.error;
    registers[2..4].copy_from_slice(&record.count.to_le_bytes());
    registers[4..10].copy_from_slice(&interleaved(record.lba));
    registers[10] = record.device;
    registers[11] = record.status;
    registers[31] = record.state;
    registers[32..].copy_from_slice(&record.life_timestamp.to_le_bytes());
    entry
}

fn extended_command(command: &CommandRecord) -> [u8; 18] {
    let mut place = [0; 18];
    place[0] = command.control;
    place[1..3].copy_from_slice(&command.features.to_le_bytes());
    place[3..5].copy_from_slice(&command.count.to_le_bytes());
    place[5..11].copy_from_slice(&interleaved(command.lba));
    place[11] = command.device;
    place[12] = command.command;
    place[14..].copy_from_slice(&command.timestamp_ms.to_le_bytes());
    place
}
