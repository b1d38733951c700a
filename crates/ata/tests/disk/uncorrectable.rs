//! WRITE UNCORRECTABLE EXT: marked sectors cannot be read until they are written.

use freewheel_ata::fis::{Error, RegisterH2D, Status};
use freewheel_ata::{Device, DiskConfig};
use freewheel_block::{DiscardSupport, IoError, OpKind};

use crate::support::*;

const READY: Status = Status::DRDY.union(Status::DSC);
const READS: [u8; 6] = [0x25, 0x24, 0x29, 0x42, 0xc8, 0x20];

fn mark(lba: u64, count: u16) -> RegisterH2D {
    RegisterH2D { features: 0x55, ..at48(0x45, lba, count) }
}

#[test]
fn a_marked_sector_fails_each_kind_of_read_at_exactly_its_address() {
    for (kind, opcode) in [0x55, 0xaa].into_iter().flat_map(|kind| READS.map(|read| (kind, read))) {
        let mut rig = Rig::default();
        rig.good(RegisterH2D { features: kind, ..mark(300, 2) });
        assert_eq!(rig.bad(at28(opcode, 290, 20), Error::UNC).lba, 300, "{opcode:x}");
        assert_eq!(rig.bad(at28(opcode, 300, 1), Error::UNC).lba, 300, "{opcode:x}");
        assert_eq!(rig.bad(at28(opcode, 301, 4), Error::UNC).lba, 301, "{opcode:x}");
    }
    let mut rig = Rig::default();
    rig.good(mark(300, 2));
    rig.good(at48(0x25, 290, 10));
    rig.good(at48(0x25, 302, 10));
}

#[test]
fn what_lies_before_a_marked_sector_is_read_since_linux_takes_it_as_read() {
    let mut rig = Rig::default();
    rig.good(mark(20, 1));
    rig.bad(at48(0x25, 0, 64), Error::UNC);
    assert_eq!(rig.host.in_bytes, 20 * 512);
    assert_eq!(rig.host.memory[0][..20 * 512], rig.ram().data[..20 * 512]);
}

#[test]
fn a_queued_read_of_a_marked_sector_is_in_the_log() {
    for lba in [18, 21] {
        let mut rig = Rig::default();
        rig.good(mark(21, 1));
        rig.fises();
        rig.issue(3, queued(0x60, 3, lba, 8));
        rig.settle();
        let fises = rig.fises();
        assert!(is_acceptance(&fises[0], 3), "{fises:?}");
        assert_eq!(fises.len(), 2);
        assert_eq!(rig.error_log()[..8], [3, 0, 0x51, 0x40, 21, 0, 0, 0x40]);
    }
}

#[test]
fn a_write_repairs_what_it_covers() {
    for write in [
        at48(0x34, 11, 1),
        at48(0x35, 11, 1),
        at28(0xca, 11, 1),
        RegisterH2D { features: 0, ..at48(0x3d, 11, 1) },
    ] {
        let mut rig = Rig::default();
        rig.good(mark(10, 3));
        rig.good(write);
        rig.good(at48(0x25, 11, 1));
        assert_eq!(rig.bad(at48(0x25, 10, 3), Error::UNC).lba, 10);
        assert_eq!(rig.bad(at48(0x25, 11, 3), Error::UNC).lba, 12);
    }
}

#[test]
fn a_queued_write_repairs() {
    let mut rig = Rig::default();
    rig.good(mark(10, 1));
    rig.fises();
    rig.issue(0, queued(0x61, 0, 8, 4));
    rig.settle();
    rig.good(at48(0x25, 8, 4));
}

#[test]
fn a_trim_repairs() {
    let mut rig = Rig::default();
    rig.good(mark(64, 8));
    rig.host.memory[0][..512].fill(0);
    rig.host.memory[0][..8].copy_from_slice(&(64u64 | 8 << 48).to_le_bytes());
    rig.good(RegisterH2D { features: 1, ..at48(0x06, 0, 1) });
    rig.good(at48(0x25, 64, 8));
}

#[test]
fn a_write_that_fails_repairs_nothing() {
    let mut rig = Rig::default();
    rig.good(mark(10, 1));
    rig.ram().fails = Some((OpKind::Write, 10 * 512, IoError::Os(5)));
    rig.bad(at48(0x35, 10, 1), Error::ABRT);
    rig.ram().fails = None;
    rig.bad(at48(0x25, 10, 1), Error::UNC);
}

#[test]
fn a_write_that_was_cancelled_repairs_nothing_even_if_it_lands() {
    let mut rig = Rig::default();
    rig.good(mark(10, 1));
    rig.ram().hangs = true;
    rig.issue(0, at48(0x35, 10, 1));
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.ram().hangs = false;
    rig.settle();
    rig.bad(at48(0x25, 10, 1), Error::UNC);
    // Nor does another command in its slot.
    rig.good(at48(0x35, 100, 1));
    rig.bad(at48(0x25, 10, 1), Error::UNC);
}

#[test]
fn the_whole_physical_sector_is_marked() {
    let config = DiskConfig { physical_sector_bytes: 4096, ..DiskConfig::default() };
    let mut rig = Setup { config, ..Setup::default() }.build();
    rig.good(mark(13, 1));
    rig.good(at48(0x25, 7, 1));
    assert_eq!(rig.bad(at48(0x25, 0, 64), Error::UNC).lba, 8);
    assert_eq!(rig.bad(at48(0x25, 15, 1), Error::UNC).lba, 15);
    rig.good(at48(0x25, 16, 8));
}

#[test]
fn what_cannot_be_marked_is_refused() {
    let mut rig = Rig::default();
    for features in [0, 0x5a, 0xa5, 0x155] {
        rig.bad(RegisterH2D { features, ..mark(0, 1) }, Error::ABRT);
    }
    assert_eq!(rig.bad(mark(2048, 1), Error::IDNF).lba, 2048);
    assert_eq!(rig.bad(mark(2047, 2), Error::IDNF).lba, 2048);
    rig.good(at48(0x25, 0, 64));
    let mut rig = Setup { size_bytes: 65_536 * 512, ..Setup::default() }.build();
    rig.bad(mark(0, 0), Error::ABRT);
    rig.good(mark(0, 4096));
    rig.bad(mark(4096, 1), Error::ABRT);
    assert_eq!((rig.identify()[119] >> 2 & 1, rig.identify()[120] >> 2 & 1), (1, 1));
    let mut rig = Setup { read_only: true, ..Setup::default() }.build();
    rig.bad(mark(0, 1), Error::ABRT);
    assert_eq!(rig.identify()[119] >> 2 & 1, 0);
}

#[test]
fn marks_outlive_resets_and_power() {
    let mut rig = Rig::default();
    rig.good(mark(10, 1));
    rig.disk.comreset(rig.now, &mut rig.host);
    let state = rig.disk.saved_state(rig.now).expect("a state");
    let mut rig = Rig::default();
    rig.disk.restore(&state).expect("restored");
    assert_eq!(rig.bad(at48(0x25, 0, 64), Error::UNC).lba, 10);
}

#[test]
fn a_discard_that_the_backend_narrows_to_nothing_still_ends_the_mark() {
    let discard = Some(DiscardSupport { align_bytes: 65_536, reads_zeroes: true });
    let mut rig = Setup { discard, ..Setup::default() }.build();
    rig.good(mark(3, 1));
    rig.host.memory[0][..512].fill(0);
    rig.host.memory[0][..8].copy_from_slice(&(3u64 | 1 << 48).to_le_bytes());
    rig.good(RegisterH2D { features: 1, ..at48(0x06, 0, 1) });
    assert_eq!(rig.good(at48(0x25, 3, 1)).status, READY);
}
