//! How a failure of the storage looks to an ATA host.
//!
//! | [`IoError`] | read, verify | write, TRIM, flush | why |
//! |---|---|---|---|
//! | `Os`, `ShortTransfer` | UNC, LBA | ABRT, LBA | UNC is for data that cannot be *read* (ACS-4, ERROR field); hosts take IDNF on a write for an address error and give up, ABRT for something to try again |
//! | `NoSpace` | UNC, LBA | ABRT, LBA | ATA has no word for thin provisioning that ran out |
//! | `ReadOnly`, `Unsupported` | ABRT | ABRT | the command is not possible |
//! | `BackendProtocol` | DF, ABRT | DF, ABRT | the device itself cannot be trusted (ACS-4, Device Fault bit) |
//! | `GuestMemory` | ABRT | ABRT | the controller has recorded the cause in its own registers |
//!
//! Data that was damaged on the link ends its command with ICRC and ABRT, whatever it was.
//!
//! ERR is set in every case, since that is what makes a controller stop. The LBA is that of the
//! first sector that failed: exactly for reads and verifies, where the engine finds it out; for
//! anything else, where the part that failed begins.

use freewheel_block::{IoError, OpError, SubmitError};

use super::Work;
use super::command::Fault;
use super::config::Shape;
use crate::LinkError;
use crate::fis::{Error, Status};

/// The fault of an operation that the engine executed.
pub(crate) fn of_operation(failure: OpError, work: Work, shape: &Shape) -> Fault {
    let lba = (failure.offset_bytes / u64::from(shape.sector_bytes)).min(shape.sectors - 1);
    let has_lba = !matches!(work, Work::Flush(_));
    let located = has_lba.then_some(lba);
    match failure.error {
        IoError::Os(_) | IoError::ShortTransfer | IoError::NoSpace => {
            let error = match work {
                Work::Read { .. } | Work::Verify => Error::UNC,
                _ => Error::ABRT,
            };
            Fault { status: Status::ERR, error, lba: located }
        }
        IoError::BackendProtocol => {
            Fault { status: Status::ERR | Status::DF, error: Error::ABRT, lba: located }
        }
        IoError::ReadOnly | IoError::Unsupported | IoError::GuestMemory => Fault::ABORT,
    }
}

/// The fault of a transfer that the link did not bring to its end.
pub(crate) fn of_link(failure: LinkError) -> Fault {
    match failure {
        LinkError::Crc => Fault::INTERFACE_CRC,
        LinkError::Overflow | LinkError::HostBus => Fault::ABORT,
    }
}

/// The fault of a request that the engine would not take. Commands are checked before they get
/// that far, so this is a second line.
pub(crate) fn of_submission(error: SubmitError, sectors: u64) -> Fault {
    match error {
        SubmitError::OutOfRange => Fault::not_found(sectors),
        _ => Fault::ABORT,
    }
}
