//! ZERO EXT (ACS-4, command 44h): zeroes without sending them.
//!
//! Its TRIM bit (features, bit 0) allows the disk to trim instead, and asks nothing: what is
//! written here are zeroes, which the backend may well store as a hole.

use freewheel_block::Request;

use super::command::{Call, Fault, Reply};
use super::transfer::Extent;
use super::{Disk, Work};
use crate::Link;

const FEATURE_TRIM: u16 = 1;

/// Log 30h, page 03h, supported capabilities: ZERO EXT. No word of IDENTIFY DEVICE data tells of it.
const CAPABILITY: u64 = 1 << 48;

/// ZERO EXT.
pub(crate) fn zero_ext(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if call.fis.features & !FEATURE_TRIM != 0 {
        return Reply::Fail(Fault::ABORT);
    }
    let extent = Extent::of(call, disk.settings.geometry);
    match extent.and_then(|extent| request(disk, call, extent)) {
        Ok(request) => {
            let len_bytes = request.ranges.iter().map(|range| range.len_bytes).sum();
            disk.start(call, Work::Zero, len_bytes, request, link)
        }
        Err(fault) => fault.into(),
    }
}

impl Disk {
    /// The flag of supported capabilities, if it is true.
    pub(crate) fn zero_capability(&self) -> u64 {
        if self.shape.read_only { 0 } else { CAPABILITY }
    }
}

/// What zeroes `extent` on behalf of `call`.
pub(crate) fn request(disk: &Disk, call: &Call, extent: Extent) -> Result<Request, Fault> {
    if disk.shape.read_only {
        return Err(Fault::ABORT);
    }
    Ok(Request::write_zeroes(u32::from(call.slot), disk.bytes_of(extent)?, false))
}
