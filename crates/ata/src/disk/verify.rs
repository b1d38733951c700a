//! READ VERIFY SECTOR(S) (ACS-4, commands 40h, 42h), and the movements of heads that older hosts
//! ask for.

use freewheel_block::Request;

use super::command::{Call, Reply};
use super::transfer::{self, Extent, lba_of};
use super::{Disk, Work};
use crate::Link;

/// READ VERIFY SECTOR(S), READ VERIFY SECTOR(S) EXT: reads all of it, and throws it away.
pub(crate) fn read_verify(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    let range = Extent::of(call, disk.settings.geometry).and_then(|extent| disk.bytes_of(extent));
    match range {
        Ok(range) => {
            let request = Request::read(u32::from(call.slot), range);
            disk.start(call, Work::Verify, range.len_bytes, request, link)
        }
        Err(fault) => fault.into(),
    }
}

/// The command register of WRITE VERIFY.
const WRITE_VERIFY: u8 = 0x3c;

/// WRITE VERIFY (obsolete since ATA/ATAPI-4): WRITE SECTOR(S), and what was written is read before
/// the command ends.
pub(crate) fn write_verify(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    transfer::write(disk, call, link)
}

/// Whether what `call` has written is still to be verified.
pub(crate) fn verifies_what_it_wrote(call: &Call) -> bool {
    call.fis.command == WRITE_VERIFY
}

/// SEEK (obsolete since ATA/ATAPI-7): says whether the sector is there.
pub(crate) fn seek(disk: &mut Disk, call: &Call, _link: &mut dyn Link) -> Reply {
    let sought = lba_of(call, disk.settings.geometry)
        .and_then(|lba| disk.bytes_of(Extent { lba, count: 1 }));
    match sought {
        Ok(_) => Reply::Good,
        Err(fault) => fault.into(),
    }
}

/// RECALIBRATE (ATA-3): to cylinder 0, where a disk without heads always is.
pub(crate) fn recalibrate(_disk: &mut Disk, _call: &Call, _link: &mut dyn Link) -> Reply {
    Reply::Good
}
