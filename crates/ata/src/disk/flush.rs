//! FLUSH CACHE and FLUSH CACHE EXT (ACS-4, commands E7h, EAh), and the commands that flush before
//! they do what they are for.

use freewheel_block::{Nanos, Request};

use super::command::{Call, Reply};
use super::settings::PowerMode;
use super::{Disk, Work};
use crate::Link;

/// What a command does once everything written is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFlush {
    /// Nothing more: FLUSH CACHE.
    End,
    /// Enters a power mode: STANDBY, SLEEP.
    Enter(PowerMode),
    /// Leaves the write cache disabled: SET FEATURES 82h.
    DisableWriteCache,
}

/// FLUSH CACHE, FLUSH CACHE EXT.
pub(crate) fn flush_cache(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    flush_then(disk, call, AfterFlush::End, link)
}

/// Flushes on behalf of `call`, then goes on with `after`.
pub(crate) fn flush_then(
    disk: &mut Disk,
    call: &Call,
    after: AfterFlush,
    link: &mut dyn Link,
) -> Reply {
    if freewheel_block::sabotaged!(FlushUnasked) {
        return Reply::Good;
    }
    disk.start(call, Work::Flush(after), 0, Request::flush(u32::from(call.slot)), link)
}

impl Disk {
    /// The second half of a command that flushed.
    pub(crate) fn after_flush(&mut self, after: AfterFlush, flushed: bool, now: Nanos) {
        match after {
            AfterFlush::End => {}
            AfterFlush::Enter(mode) => {
                if flushed {
                    self.power.enter(mode, now);
                }
            }
            AfterFlush::DisableWriteCache => {
                // If the flush failed the command did, and the cache is as it was.
                if flushed {
                    self.settings.write_cache = false;
                }
                self.engine.set_write_through(!self.settings.write_cache);
            }
        }
    }
}
