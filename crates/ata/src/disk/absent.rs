//! Commands that are refused on purpose, and why. What has no row in the command table is aborted,
//! which is what the standards ask of a command that is not supported; IDENTIFY DEVICE reports none
//! of them.
//!
//! | command | why |
//! |---|---|
//! | 00h NOP | ends with an error by definition: subcommand 00h is its whole use today. The others (auto poll) went with overlap. IDENTIFY DEVICE reports it as supported, as it shall |
//! | 03h, 38h, 87h, C0h, CDh: CFA REQUEST EXTENDED ERROR, WRITE SECTORS WITHOUT ERASE, TRANSLATE SECTOR, ERASE SECTORS, WRITE MULTIPLE WITHOUT ERASE | of CompactFlash cards (word 83 bit 2). A disk that knew them would have to have erase blocks |
//! | 08h DEVICE RESET | of ATAPI devices; a disk aborts it |
//! | 0Bh REQUEST SENSE DATA EXT | of Sense Data Reporting (word 119 bit 6) |
//! | 22h, 23h, 32h, 33h READ and WRITE LONG | obsolete since ATA/ATAPI-4: there are no ECC bytes to give |
//! | 26h, 36h, C7h, CCh READ and WRITE DMA QUEUED (EXT), A2h SERVICE | tagged queueing of parallel disks (word 83 bit 1), obsolete |
//! | 2Ah, 2Bh, 3Ah, 3Bh, 51h streaming | no time limit could be kept that storage does not give (word 84 bit 4) |
//! | 50h CONFIGURE STREAM, 5Bh to 5Fh TRUSTED … | feature sets that are not there |
//! | 92h, 93h DOWNLOAD MICROCODE (DMA) | the firmware is this program (word 83 bit 0) |
//! | A0h, A1h PACKET, IDENTIFY PACKET DEVICE | of ATAPI devices |
//! | B1h DEVICE CONFIGURATION | obsolete since ACS-3 (word 83 bit 11): disk keys configure this disk |
//! | C2h, 42h of SET FEATURES | acoustics, see `power.rs` |
//! | D1h, DAh, DEh, DFh, EDh media status and locks | the medium cannot be taken out |

use super::Disk;
use super::command::{Call, Fault, Reply};
use crate::Link;

/// NOP: ends with an error, and changes nothing.
pub(crate) fn nop(_disk: &mut Disk, _call: &Call, _link: &mut dyn Link) -> Reply {
    Reply::Fail(Fault::ABORT)
}
