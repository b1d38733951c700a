use freewheel_ata::fis::{DeviceFis, Error, Status};
use freewheel_ata::{Device, DiskConfig};
use freewheel_block::{IoError, OpKind};

use crate::support::*;

const READY: Status = Status::DRDY.union(Status::DSC);
const BAD: Status = READY.union(Status::ERR);

/// Reads log 10h and gives back its page; checks that the queue is acknowledged as empty if it was
/// in the error state.
fn read_error_log(rig: &mut Rig, was_blocked: bool) -> Vec<u8> {
    rig.fises();
    rig.issue(0, at48(0x2f, 0x10, 1));
    let fises = rig.fises();
    if was_blocked {
        assert!(matches!(
            fises[0],
            (None, DeviceFis::SetDeviceBits { interrupt: false, active: u32::MAX, .. })
        ));
    }
    assert!(matches!(fises.last(), Some((Some(0), DeviceFis::PioSetup { .. }))), "{fises:?}");
    let page = rig.host.memory[0][..512].to_vec();
    assert_eq!(page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    page
}

#[test]
fn all_that_completed_in_one_poll_is_reported_at_once() {
    let mut rig = Rig::default();
    for tag in 0..8u8 {
        rig.host.memory[usize::from(tag)].fill(tag + 1);
        let opcode = if tag % 2 == 0 { 0x61 } else { 0x60 };
        rig.issue(tag, queued(opcode, tag, u64::from(tag), 1));
    }
    let fises = rig.fises();
    for tag in 0..8 {
        assert!(is_acceptance(&fises[usize::from(tag)], tag));
    }
    rig.settle();
    assert_eq!(rig.set_device_bits(), (READY, Error::empty(), 0xff));
    assert_eq!(rig.ram().data[4 * SECTOR..5 * SECTOR], [5; SECTOR]);
    assert_eq!(rig.host.memory[3][..SECTOR], rig.ram.lock().unwrap().data[3 * SECTOR..4 * SECTOR]);
}

#[test]
fn thirty_two_tags_are_taken_at_a_time() {
    let mut rig = Rig::default();
    for tag in 0..32 {
        rig.issue(tag, queued(0x60, tag, 64 * u64::from(tag), 64));
    }
    assert_eq!(rig.fises().len(), 32);
    rig.settle();
    let mut ended = 0;
    for (slot, fis) in rig.fises() {
        let DeviceFis::SetDeviceBits { status: READY, active, .. } = fis else { panic!("{fis:?}") };
        assert_eq!((slot, ended & active), (None, 0), "each tag ends once");
        ended |= active;
    }
    assert_eq!(ended, u32::MAX);
}

#[test]
fn a_queued_write_with_fua_is_durable_by_itself() {
    let mut rig = Rig::default();
    let mut fis = queued(0x61, 0, 0, 1);
    fis.device |= 0x80;
    rig.issue(0, fis);
    rig.settle();
    assert!(rig.ram().log[0].2);
}

#[test]
fn a_queued_count_of_zero_is_65536() {
    let mut rig = Setup { size_bytes: 65_536 * 512, ..Setup::default() }.build();
    rig.host.memory[1] = vec![0; 65_536 * 512];
    rig.issue(1, queued(0x60, 1, 0, 0));
    rig.fises();
    rig.settle();
    assert_eq!(rig.set_device_bits(), (READY, Error::empty(), 2));
    assert_eq!(rig.host.in_bytes, 65_536 * 512);
}

/// A command that breaks the queue, in the slot it comes in, and the log that tells of it.
fn refused(breaking: (u8, freewheel_ata::fis::RegisterH2D), error: Error) -> (Rig, Vec<u8>) {
    let mut rig = Rig::default();
    rig.ram().hangs = true;
    rig.issue(2, queued(0x60, 2, 0, 8));
    rig.issue(5, queued(0x61, 5, 8, 8));
    rig.fises();
    rig.issue(breaking.0, breaking.1);
    let fises = rig.fises();
    let [(Some(slot), DeviceFis::RegisterD2H { interrupt: true, registers })] = fises[..] else {
        panic!("{fises:?}");
    };
    assert_eq!((slot, registers.status, registers.error), (breaking.0, BAD, error));
    let status = rig.disk.engine_status(rig.now).unwrap();
    assert!(status.operations.is_empty(), "all that was queued is cancelled");
    // Everything is aborted until the log is read, and that changes nothing in the log.
    for fis in [queued(0x60, 9, 0, 1), command(0xec), at48(0x2f, 0, 1), command(0xe7)] {
        rig.issue(9, fis);
        let fises = rig.fises();
        assert!(
            matches!(fises[..], [(Some(9), DeviceFis::RegisterD2H { registers, .. })]
                if registers.status == BAD && registers.error == Error::ABRT),
            "{fises:?}"
        );
    }
    rig.ram().hangs = false;
    rig.settle();
    assert!(rig.fises().is_empty(), "late answers never surface");
    let page = read_error_log(&mut rig, true);
    (rig, page)
}

#[test]
fn a_bad_lba_ends_the_whole_queue_and_is_in_the_log() {
    let (mut rig, page) = refused((7, queued(0x60, 7, 0x1234_5678_9abc, 3)), Error::IDNF);
    assert_eq!(page[0], 7);
    assert_eq!(page[2..4], [BAD.bits(), Error::IDNF.bits()]);
    assert_eq!(page[4..11], [0xbc, 0x9a, 0x78, 0x40, 0x56, 0x34, 0x12]);
    assert_eq!(page[12..14], [7 << 3, 0]);
    rig.issue(1, queued(0x60, 1, 0, 1));
    rig.fises();
    rig.settle();
    assert_eq!(rig.set_device_bits(), (READY, Error::empty(), 2));
}

#[test]
fn the_last_queued_sector_is_there_and_the_next_is_not() {
    let mut rig = Rig::default();
    rig.issue(0, queued(0x61, 0, 2047, 1));
    rig.fises();
    rig.settle();
    assert_eq!(rig.set_device_bits(), (READY, Error::empty(), 1));
    let (_, page) = refused((7, queued(0x61, 7, 2047, 2)), Error::IDNF);
    assert_eq!(page[4..7], [0x00, 0x08, 0x00], "the first sector that is not there");
}

#[test]
fn a_tag_that_is_not_the_slot_is_refused() {
    let (_, page) = refused((7, queued(0x60, 8, 0, 1)), Error::ABRT);
    assert_eq!(page[0], 8);
}

#[test]
fn a_tag_in_use_is_refused() {
    let (_, page) = refused((5, queued(0x60, 5, 0, 1)), Error::ABRT);
    assert_eq!(page[0], 5);
}

#[test]
fn a_tag_at_the_queue_depth_is_refused() {
    let config = DiskConfig { queue_depth: 4, physical_sector_bytes: 512, ..DiskConfig::default() };
    let mut rig = Setup { config, ..Setup::default() }.build();
    rig.issue(3, queued(0x60, 3, 0, 1));
    assert!(is_acceptance(&rig.fises()[0], 3));
    rig.settle();
    rig.fises();
    rig.issue(4, queued(0x60, 4, 0, 1));
    assert!(!is_acceptance(&rig.fises()[0], 4));
    assert_eq!(read_error_log(&mut rig, true)[0], 4);
}

#[test]
fn an_unqueued_command_among_queued_ones_ends_them_all() {
    for fis in [at48(0x25, 0, 1), command(0xec), at48(0x2f, 0x10, 1), command(0xff)] {
        let (_, page) = refused((7, fis), Error::ABRT);
        assert_eq!(page[0], 0x80, "the log has no tag to name");
    }
}

#[test]
fn a_failed_read_names_its_first_bad_sector_and_ends_the_queue() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Read, 21 * 512, IoError::Os(5)));
    rig.issue(0, queued(0x60, 0, 0, 1));
    rig.issue(1, queued(0x60, 1, 21, 4));
    rig.fises();
    rig.now = rig.now.plus(1);
    rig.disk.poll(rig.now, &mut rig.host);
    let (_, error, active) = rig.set_device_bits();
    assert_eq!((error, active), (Error::empty(), 1), "the good one has ended");
    rig.settle();
    assert_eq!(rig.set_device_bits(), (BAD, Error::UNC, 0));
    let page = read_error_log(&mut rig, true);
    assert_eq!(page[0], 1);
    assert_eq!(page[2..8], [BAD.bits(), Error::UNC.bits(), 21, 0, 0, 0x40]);
}

#[test]
fn one_that_ends_well_and_one_that_fails_at_once_share_a_fis() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Read, 21 * 512, IoError::Os(5)));
    rig.issue(0, queued(0x60, 0, 0, 1));
    rig.issue(1, queued(0x60, 1, 21, 1));
    rig.fises();
    rig.settle();
    let (status, error, active) = rig.set_device_bits();
    assert_eq!((status, error), (BAD, Error::UNC));
    assert_eq!(active, 1, "the good one is reported, the bad one is not");
}

#[test]
fn the_log_names_a_bad_sector_deep_in_a_long_read_exactly() {
    for bad in [1000, 1001, 1127, 1128, 1254, 1255] {
        let mut rig = Rig::default();
        rig.ram().fails = Some((OpKind::Read, bad * 512, IoError::Os(5)));
        rig.issue(3, queued(0x60, 3, 1000, 256));
        rig.fises();
        rig.settle();
        assert_eq!(rig.set_device_bits(), (BAD, Error::UNC, 0));
        let page = read_error_log(&mut rig, true);
        assert_eq!(page[0], 3);
        assert_eq!(u32::from_le_bytes([page[4], page[5], page[6], 0]), bad as u32);
    }
}

#[test]
fn what_else_was_queued_when_one_failed_is_cancelled() {
    let mut rig = Setup {
        engine: freewheel_block::EngineConfig { slots: 1, buf_bytes: 4096, ..Default::default() },
        ..Setup::default()
    }
    .build();
    rig.ram().fails = Some((OpKind::Write, 0, IoError::Os(5)));
    rig.issue(0, queued(0x61, 0, 0, 1));
    rig.issue(1, queued(0x61, 1, 100, 1));
    rig.fises();
    rig.settle();
    assert_eq!(rig.set_device_bits(), (BAD, Error::ABRT, 0));
    rig.settle();
    assert!(rig.fises().is_empty());
    assert!(rig.disk.engine_status(rig.now).unwrap().operations.is_empty());
}

#[test]
fn a_scatter_list_that_is_too_short_ends_the_command_with_an_error() {
    for opcode in [0x60, 0x61] {
        let mut rig = Rig::default();
        rig.host.memory[4].truncate(1000);
        rig.issue(4, queued(opcode, 4, 0, 2));
        assert!(is_acceptance(&rig.fises()[0], 4));
        rig.settle();
        assert_eq!(rig.set_device_bits(), (BAD, Error::ABRT, 0));
    }
}

#[test]
fn the_error_state_survives_a_stop_of_the_port() {
    let mut rig = Rig::default();
    rig.issue(0, queued(0x60, 0, 1 << 40, 1));
    rig.disk.abort_all(rig.now);
    rig.bad(command(0xec), Error::ABRT);
    assert_eq!(read_error_log(&mut rig, true)[0], 0);
    rig.identify();
}

#[test]
fn a_write_to_a_read_only_medium_is_refused() {
    let mut rig = Setup { read_only: true, ..Setup::default() }.build();
    rig.issue(0, queued(0x61, 0, 0, 1));
    let fises = rig.fises();
    assert!(matches!(fises[..], [(Some(0), DeviceFis::RegisterD2H { interrupt: true, .. })]));
}

#[test]
fn without_an_error_the_log_names_no_tag() {
    let mut rig = Rig::default();
    assert_eq!(read_error_log(&mut rig, false)[0], 0x80);
}
