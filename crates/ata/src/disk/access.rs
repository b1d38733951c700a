//! Commands that the state of the disk forbids: a locked disk gives no user data away and takes
//! none (ACS-4, Security feature set, security command actions).
//!
//! Commands that are not named here hold no user data and are left to themselves. That a
//! request of such a disk never reaches the medium is made sure once more in [`Disk::start`], for
//! commands that somebody adds and forgets here.

use super::command::{Call, Fault};
use super::{Disk, Work};

impl Disk {
    /// Why `call` is refused in the state that the disk is in.
    pub(crate) fn refusal(&mut self, call: &Call) -> Option<Fault> {
        self.security.note_command(call.fis.command);
        self.protected_area.note_command(call.fis.command);
        let is_refused = self.security.is_locked() && is_refused_when_locked(call);
        is_refused.then_some(Fault::ABORT)
    }

    /// Whether `work` may touch the medium at all.
    pub(super) fn allows(&self, work: Work) -> bool {
        // An erase has had its password checked, and a flush moves nothing of the host's.
        matches!(work, Work::Erase | Work::Flush(_)) || !self.security.is_locked()
    }
}

/// "Command aborted" in the column of the locked state. SECURITY SET PASSWORD and its like say so
/// themselves.
fn is_refused_when_locked(call: &Call) -> bool {
    match call.fis.command {
        // READ and WRITE in all forms, READ VERIFY, DATA SET MANAGEMENT, ZERO EXT, WRITE
        // UNCORRECTABLE EXT.
        0x20..=0x26 | 0x29..=0x2b | 0x30..=0x36 | 0x38..=0x3e | 0x40..=0x45 => true,
        0x60 | 0x61 | 0x64 | 0xc4 | 0xc5 | 0xc7..=0xcc | 0xce => true,
        0x06 => true,
        // SET MAX ADDRESS, SET MAX ADDRESS EXT; ACCESSIBLE MAX ADDRESS CONFIGURATION, but for GET
        // NATIVE.
        0xf9 | 0x37 => true,
        0x78 => call.fis.features != 0,
        // FLUSH CACHE, FLUSH CACHE EXT.
        0xe7 | 0xea => true,
        _ => false,
    }
}
