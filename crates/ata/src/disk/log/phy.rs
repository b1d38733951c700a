//! SATA Phy event counters (SATA 3.x, log 11h): how the link does. They count since power-on, or
//! since the host reset them by reading the log with bit 0 of the features register.
//!
//! Left out: counters of events that no link here has (the others are optional).

use super::{PAGE_BYTES, Page, seal};

/// Features register of READ LOG EXT: reset the counters once they are read.
pub(super) const RESET: u16 = 1;

/// Identifier bits 14:12: the counter has two words.
const TWO_WORDS: u16 = 2 << 12;

/// The counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Phy {
    crc_errors: u32,
    comresets: u32,
}

impl Phy {
    /// A data FIS was damaged, which got R_ERR for an answer and failed its command.
    pub(crate) fn note_crc_error(&mut self) {
        self.crc_errors = self.crc_errors.saturating_add(1);
    }

    /// A COMRESET was answered with a signature.
    pub(crate) fn note_comreset(&mut self) {
        self.comresets = self.comresets.saturating_add(1);
    }

    /// The log.
    pub(super) fn page(&self) -> Page {
        let counters: [(u16, u32); 3] = [
            // Command failed with ICRC; R_ERR for a data FIS; signatures sent for a COMRESET.
            (0x001, self.crc_errors),
            (0x002, self.crc_errors),
            (0x00a, self.comresets),
        ];
        let mut page = [0; PAGE_BYTES];
        let (entries, _) = page[4..].as_chunks_mut::<6>();
        for (entry, (identifier, value)) in entries.iter_mut().zip(counters) {
            entry[..2].copy_from_slice(&(TWO_WORDS | identifier).to_le_bytes());
            entry[2..].copy_from_slice(&value.to_le_bytes());
        }
        seal(page)
    }
}
