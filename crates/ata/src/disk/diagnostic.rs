//! EXECUTE DEVICE DIAGNOSTIC (ACS-4, command 90h) and INITIALIZE DEVICE PARAMETERS (ATA/ATAPI-5,
//! command 91h).

use super::Disk;
use super::command::{Call, Fault, Reply};
use super::settings::Geometry;
use crate::Link;

/// EXECUTE DEVICE DIAGNOSTIC: nothing is wrong, and this is a disk.
pub(crate) fn execute_device_diagnostic(
    _disk: &mut Disk,
    _call: &Call,
    _link: &mut dyn Link,
) -> Reply {
    Reply::Signature
}

/// INITIALIZE DEVICE PARAMETERS: the heads and sectors that CHS addresses count with.
pub(crate) fn initialize_device_parameters(
    disk: &mut Disk,
    call: &Call,
    _link: &mut dyn Link,
) -> Reply {
    let heads = (call.fis.device & 0x0f) + 1;
    match Geometry::requested(disk.shape.sectors, heads, call.fis.count as u8) {
        Some(geometry) => {
            disk.settings.geometry = geometry;
            Reply::Good
        }
        None => Reply::Fail(Fault::ABORT),
    }
}
