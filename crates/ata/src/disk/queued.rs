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

/// Whether a queued command has the tag of its slot, and a tag of the queue.
pub(crate) fn check_tag(disk: &Disk, call: &Call) -> Result<(), Fault> {
    let tag = tag(&call.fis);
    let fits = tag == call.slot && tag < disk.config.queue_depth;
    if fits { Ok(()) } else { Err(Fault::ABORT) }
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
    if let Err(fault) = check_tag(disk, call) {
        return fault.into();
    }
    let tag = call.slot;
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
    disk.start_queued(call, work, range.len_bytes, request, link);
    Reply::Pending
}

impl Disk {
    /// Starts what a queued command that was accepted asks for. Accepted is accepted: from here on
    /// only a Set Device Bits FIS can end it.
    pub(super) fn start_queued(
        &mut self,
        call: &Call,
        work: Work,
        len_bytes: u64,
        request: Request,
        link: &mut dyn Link,
    ) {
        if let Reply::Fail(fault) = self.start(call, work, len_bytes, request, link) {
            self.end_queued_now(call, Err(fault), link);
        }
    }

    /// Ends a queued command that was accepted and needs the medium no more.
    pub(crate) fn end_queued_now(
        &mut self,
        call: &Call,
        result: Result<(), Fault>,
        link: &mut dyn Link,
    ) {
        let bit = 1 << call.slot;
        self.queued &= !bit;
        match result {
            Ok(()) => self.end_queued(bit, None, call.now, link),
            Err(fault) => self.end_queued(0, Some((*call, fault)), call.now, link),
        }
    }
}
