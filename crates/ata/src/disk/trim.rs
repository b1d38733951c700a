//! DATA SET MANAGEMENT with TRIM (ACS-4, command 06h).

use alloc::vec::Vec;

use freewheel_block::{ByteRange, Request};

use super::command::{Call, Fault, Reply};
use super::transfer::Extent;
use super::{Disk, Work, error};
use crate::Link;

/// The largest payload, in blocks of 512 bytes (IDENTIFY DEVICE word 105).
pub(crate) const MAX_BLOCKS: u16 = 8;
/// Ranges in a block.
const RANGES_PER_BLOCK: usize = 64;
/// Features register: TRIM. All other bits are reserved.
pub(crate) const FEATURE_TRIM: u16 = 1;

/// DATA SET MANAGEMENT. Every range is checked before the first one is discarded.
pub(crate) fn data_set_management(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    let blocks = call.fis.count;
    let is_known = call.fis.features == FEATURE_TRIM && (1..=MAX_BLOCKS).contains(&blocks);
    if !disk.shape.trim || !is_known {
        return Reply::Fail(Fault::ABORT);
    }
    // Fetched once: what is checked is what is executed.
    let mut payload = [0; MAX_BLOCKS as usize * 512];
    let payload = &mut payload[..usize::from(blocks) * 512];
    if let Err(failure) = link.data_out(call.slot, 0, payload) {
        return Reply::Fail(error::of_link(failure));
    }
    let ranges = match ranges_of(disk, payload) {
        Ok(ranges) => ranges,
        Err(fault) => return fault.into(),
    };
    if ranges.is_empty() {
        return Reply::Good;
    }
    let request = Request::discard(u32::from(call.slot), ranges);
    disk.start(call, Work::Trim, 0, request, link)
}

/// The ranges of a payload. Entries of length 0 are void; an entry that goes on where the one
/// before it ended is joined to it, because a host cuts a long range at 65,535 sectors, which is
/// no multiple of any backend's granularity.
pub(crate) fn ranges_of(disk: &Disk, payload: &[u8]) -> Result<Vec<ByteRange>, Fault> {
    let mut ranges: Vec<ByteRange> = Vec::with_capacity(RANGES_PER_BLOCK);
    let (entries, _) = payload.as_chunks::<8>();
    for entry in entries {
        let word = u64::from_le_bytes(*entry);
        let extent = Extent { lba: word & 0xffff_ffff_ffff, count: word >> 48 };
        if extent.count == 0 {
            continue;
        }
        let range = disk.bytes_of(extent)?;
        match ranges.last_mut() {
            Some(last) if last.end_bytes() == range.offset_bytes => {
                last.len_bytes += range.len_bytes;
            }
            _ => ranges.push(range),
        }
    }
    if freewheel_block::sabotaged!(LastRangeForgotten) && ranges.len() > 1 {
        ranges.pop();
    }
    Ok(ranges)
}
