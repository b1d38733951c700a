//! The NCQ command error log (SATA 3.x, log 10h), and the error state of the queue that goes with
//! it.

use super::{PAGE_BYTES, Page, seal};
use crate::fis::Registers;

/// The NCQ command error log (ACS-4, log address 10h), and the error state of the queue that goes
/// with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ErrorLog {
    blocks: bool,
    record: Option<Record>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    /// The tag that failed; none if the command was not queued.
    tag: Option<u8>,
    registers: Registers,
    count: u16,
}

impl ErrorLog {
    /// Notes how a command failed; commands are aborted from now on.
    pub(crate) fn record(&mut self, tag: Option<u8>, registers: &Registers, count: u16) {
        self.blocks = true;
        self.record = Some(Record { tag, registers: *registers, count });
    }

    /// Whether commands are aborted until the log is read.
    pub(crate) fn blocks_commands(&self) -> bool {
        self.blocks
    }

    /// Ends that state; says whether it was one.
    pub(super) fn unblock(&mut self) -> bool {
        core::mem::take(&mut self.blocks)
    }

    /// The page as the host reads it. Without an error its tag is not valid (NQ).
    pub(super) fn page(&self) -> Page {
        const NOT_QUEUED: u8 = 0x80;
        let mut page = [0; PAGE_BYTES];
        page[0] = NOT_QUEUED;
        if let Some(Record { tag, registers, count }) = self.record {
            let lba = registers.lba.to_le_bytes();
            page[0] = tag.map_or(NOT_QUEUED, |tag| tag & 0x1f);
            page[2] = registers.status.bits();
            page[3] = registers.error.bits();
            page[4..7].copy_from_slice(&lba[..3]);
            page[7] = registers.device;
            page[8..11].copy_from_slice(&lba[3..6]);
            page[12..14].copy_from_slice(&count.to_le_bytes());
        }
        seal(page)
    }
}
