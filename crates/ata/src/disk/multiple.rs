//! SET MULTIPLE MODE (ACS-4, command C6h).

use super::Disk;
use super::command::{Call, Fault, Reply};
use crate::Link;

/// SET MULTIPLE MODE: how many sectors a DRQ block has; 0 disables READ and WRITE MULTIPLE.
pub(crate) fn set_multiple_mode(disk: &mut Disk, call: &Call, _link: &mut dyn Link) -> Reply {
    let sectors = call.fis.count as u8;
    let is_supported =
        sectors == 0 || sectors.is_power_of_two() && sectors <= disk.shape.multiple_max;
    if !is_supported {
        return Reply::Fail(Fault::ABORT);
    }
    disk.settings.multiple = sectors;
    Reply::Good
}
