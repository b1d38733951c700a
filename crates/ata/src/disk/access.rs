//! Commands that the state of the disk forbids: a locked disk gives no user data away and takes
//! none (ACS-4, Security feature set, security command actions), and one that is being sanitized, or
//! failed to be, does little else (Sanitize Device feature set, commands allowed).
//!
//! Commands that are not named for the locked state hold no user data and are left to themselves. That a
//! request of such a disk never reaches the medium is made sure once more in [`Disk::start`], for
//! commands that somebody adds and forgets here.

use super::command::{Call, Fault};
use super::{Disk, Work, sanitize};

impl Disk {
    /// Why `call` is refused in the state that the disk is in.
    pub(crate) fn refusal(&mut self, call: &Call) -> Option<Fault> {
        self.security.note_command(call.fis.command);
        self.protected_area.note_command(call.fis.command);
        let is_refused = self.security.is_locked() && is_refused_when_locked(call)
            || self.sanitize.bars_medium() && !is_allowed_when_sanitizing(call)
            || self.power_up.is_waiting() && starts_without_a_transfer(call);
        is_refused.then_some(Fault::ABORT)
    }

    /// Whether `work` may touch the medium at all.
    pub(super) fn allows(&self, work: Work) -> bool {
        match work {
            // Moves nothing of the host's.
            Work::Flush(_) => true,
            // Has had its password checked.
            Work::Erase => !self.sanitize.bars_medium(),
            _ => !self.security.is_locked() && !self.sanitize.bars_medium(),
        }
    }
}

/// "Command aborted" in the column of the locked state. SECURITY SET PASSWORD and its like say so
/// themselves.
fn is_refused_when_locked(call: &Call) -> bool {
    match call.fis.command {
        // READ and WRITE in all forms, READ VERIFY, DATA SET MANAGEMENT, ZERO EXT, WRITE
        // UNCORRECTABLE EXT.
        0x20..=0x26 | 0x29..=0x2b | 0x30..=0x36 | 0x38..=0x3e | 0x40..=0x45 => true,
        // Of NCQ NON-DATA, ZERO EXT.
        0x63 => call.fis.features & 0x0f == 6,
        0x60 | 0x61 | 0x64 | 0xc4 | 0xc5 | 0xc7..=0xcc | 0xce => true,
        0x06 => true,
        // SET MAX ADDRESS, SET MAX ADDRESS EXT; ACCESSIBLE MAX ADDRESS CONFIGURATION, but for GET
        // NATIVE.
        0xf9 | 0x37 => true,
        0x78 => call.fis.features != 0,
        // FLUSH CACHE, FLUSH CACHE EXT.
        0xe7 | 0xea => true,
        // The sanitize operations; status and the two locks work.
        sanitize::SANITIZE_DEVICE => matches!(call.fis.features, 0x11 | 0x12 | 0x14),
        _ => false,
    }
}

/// What is about the medium and moves nothing at once, so that [`Disk::start`] does not see it; a disk
/// that powered up in standby and waits for the word aborts it too: the sanitize operations, WRITE
/// UNCORRECTABLE EXT, self-tests.
fn starts_without_a_transfer(call: &Call) -> bool {
    match call.fis.command {
        sanitize::SANITIZE_DEVICE => matches!(call.fis.features, 0x11 | 0x12 | 0x14),
        0x45 => true,
        // SMART EXECUTE OFF-LINE IMMEDIATE, but for the routine that needs no medium and for the end.
        0xb0 => call.fis.features as u8 == 0xd4 && !matches!(call.fis.lba as u8, 0x00 | 0x7f),
        _ => false,
    }
}

/// What works during a sanitize operation. Of SET FEATURES, ACS-4 allows spinning up alone, and it
/// names a few logs; here all of both work, since Linux takes a disk for dead that refuses its transfer
/// mode after a reset, and no log holds user data.
fn is_allowed_when_sanitizing(call: &Call) -> bool {
    match call.fis.command {
        sanitize::SANITIZE_DEVICE => true,
        // IDENTIFY DEVICE, EXECUTE DEVICE DIAGNOSTIC, READ LOG EXT, READ LOG DMA EXT, REQUEST SENSE
        // DATA EXT, SET FEATURES.
        0xec | 0x90 | 0x2f | 0x47 | 0x0b | 0xef => true,
        // CHECK POWER MODE, IDLE, STANDBY and their immediate forms, SLEEP, in both their opcodes.
        0xe0..=0xe3 | 0xe5 | 0xe6 | 0x94..=0x99 => true,
        // SECURITY UNLOCK.
        0xf2 => true,
        // SMART RETURN STATUS, SMART READ DATA.
        0xb0 => matches!(call.fis.features as u8, 0xda | 0xd0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::vec::Vec;

    use freewheel_block::{
        Backend, BackendInfo, ByteRange, Done, Engine, EngineConfig, Io, Nanos, Request,
    };

    use super::*;
    use crate::disk::command::{Reply, lookup};
    use crate::fis::{DeviceFis, RegisterH2D};
    use crate::{DiskConfig, Link, LinkError};

    /// Storage that never answers.
    struct Stuck(BackendInfo);

    impl Backend for Stuck {
        fn info(&self) -> &BackendInfo {
            &self.0
        }
        fn submit(&mut self, _io: Io, _now: Nanos) {}
        fn poll(&mut self, _now: Nanos, _done: &mut Vec<Done>) {}
    }

    struct NoHost;

    impl Link for NoHost {
        fn data_in(&mut self, _: u8, _: u64, _: &[u8]) -> Result<(), LinkError> {
            Ok(())
        }
        fn data_out(&mut self, _: u8, _: u64, _: &mut [u8]) -> Result<(), LinkError> {
            Ok(())
        }
        fn fis(&mut self, _: Option<u8>, _: DeviceFis) {}
    }

    #[test]
    fn a_locked_disk_starts_nothing_for_a_command_that_the_table_forgot() {
        let info = BackendInfo {
            engine_name: "stuck".into(),
            size_bytes: 1 << 20,
            io_align_bytes: 1,
            read_only: false,
            fua: true,
            discard: None,
            write_zeroes: true,
            queue_depth: 8,
        };
        let engine = Engine::new(Box::new(Stuck(info)), EngineConfig::default());
        let mut disk = Disk::new(DiskConfig::default(), engine).expect("a good configuration");
        let call_of = |opcode| Call {
            slot: 0,
            fis: RegisterH2D { command: opcode, ..RegisterH2D::default() },
            row: lookup(opcode).expect("a command"),
            now: Nanos(0),
        };
        let call = call_of(0xf1);
        assert!(matches!((call.row.run)(&mut disk, &call, &mut NoHost), Reply::Good));
        let read = |disk: &mut Disk| {
            let request = Request::read(0, ByteRange::new(0, 512));
            disk.start(&call, Work::Verify, 512, request, &mut NoHost)
        };
        assert!(matches!(read(&mut disk), Reply::Pending));
        disk.security.lose_volatile_state();
        assert!(matches!(read(&mut disk), Reply::Fail(Fault::ABORT)));
    }
}
