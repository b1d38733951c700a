//! READ and WRITE FPDMA QUEUED (ACS-4, commands 60h, 61h; SATA 3.x, native command
//! queueing).

use freewheel_block::Request;

use super::command::{Call, Fault, Reply};
use super::transfer::{Extent, full_count};
use super::{Disk, Work};
use crate::Link;
use crate::fis::RegisterH2D;

/// Device register: force unit access.
const DEVICE_FUA: u8 = 0x80;

/// The tag of a queued command: bits 7:3 of its count register.
pub(crate) fn tag(fis: &RegisterH2D) -> u8 {
    (fis.count >> 3) as u8 & 0x1f
}

/// READ FPDMA QUEUED. FUA asks for data from the medium rather than from a cache that might differ
/// from it; there is none such here, so each read honours it.
pub(crate) fn read(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    run(disk, call, false, link)
}

/// WRITE FPDMA QUEUED.
pub(crate) fn write(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    run(disk, call, true, link)
}

fn run(disk: &mut Disk, call: &Call, is_write: bool, link: &mut dyn Link) -> Reply {
    let fis = &call.fis;
    let tag = tag(fis);
    if tag != call.slot || tag >= disk.config.queue_depth {
        return Reply::Fail(Fault::ABORT);
    }
    if is_write && disk.shape.read_only {
        return Reply::Fail(Fault::ABORT);
    }
    let extent = Extent { lba: fis.lba, count: full_count(fis.features) };
    let range = match disk.bytes_of(extent) {
        Ok(range) => range,
        Err(fault) => return fault.into(),
    };
    disk.accept_queued(call, link);
    let block_bytes = disk.shape.sector_bytes;
    let (work, request) = if is_write {
        let fua = fis.device & DEVICE_FUA != 0 && !freewheel_block::sabotaged!(FuaOfQueueIgnored);
        (Work::Write { block_bytes }, Request::write(u32::from(tag), range, fua))
    } else {
        (Work::Read { block_bytes }, Request::read(u32::from(tag), range))
    };
    // Accepted is accepted: from here on only a Set Device Bits FIS can end it.
    if let Reply::Fail(fault) = disk.start(call, work, range.len_bytes, request, link) {
        disk.queued &= !(1 << tag);
        disk.end_queued(0, Some((*call, fault)), call.now, link);
    }
    Reply::Pending
}
