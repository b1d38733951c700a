//! NCQ NON-DATA, SEND and RECEIVE FPDMA QUEUED: other commands in the queue. And ZERO EXT, in the
//! queue and out of it.

use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D, Status};
use freewheel_ata::{Device, DiskConfig};
use freewheel_block::{IoError, OpKind};

use crate::support::*;

const READY: Status = Status::DRDY.union(Status::DSC);
const BAD: Status = READY.union(Status::ERR);

fn non_data(tag: u8, features: u16, lba: u64) -> RegisterH2D {
    RegisterH2D { lba, features, count: u16::from(tag) << 3, ..command(0x63) }
}

fn trim(tag: u8, blocks: u16) -> RegisterH2D {
    RegisterH2D { auxiliary: 1, ..queued(0x64, tag, 0, blocks) }
}

fn read_log(tag: u8, log: u64, pages: u16) -> RegisterH2D {
    RegisterH2D { lba: log, features: pages, count: 1 << 8 | u16::from(tag) << 3, ..command(0x65) }
}

fn put_ranges(rig: &mut Rig, slot: usize, ranges: &[(u64, u64)]) {
    rig.host.memory[slot][..512].fill(0);
    for (index, (lba, count)) in ranges.iter().enumerate() {
        let entry = (lba | count << 48).to_le_bytes();
        rig.host.memory[slot][index * 8..][..8].copy_from_slice(&entry);
    }
}

/// Takes a command that was accepted to its end.
fn ends_well(rig: &mut Rig, slot: u8, fis: RegisterH2D) {
    rig.fises();
    rig.issue(slot, fis);
    rig.settle();
    let fises = rig.fises();
    assert!(is_acceptance(&fises[0], slot), "{fises:?}");
    assert!(
        matches!(fises[1..], [(None, DeviceFis::SetDeviceBits { interrupt: true, status: READY, active, .. })]
            if active == 1 << slot),
        "{fises:?}"
    );
}

/// Has a command refused before it is accepted.
fn is_refused(rig: &mut Rig, slot: u8, fis: RegisterH2D) {
    rig.fises();
    rig.issue(slot, fis);
    let fises = rig.fises();
    assert!(
        matches!(fises[..], [(Some(_), DeviceFis::RegisterD2H { interrupt: true, registers })]
            if registers.status == BAD),
        "{fis:x?}: {fises:?}"
    );
    rig.error_log();
}

#[test]
fn a_queued_trim_discards_among_other_queued_commands() {
    let mut rig = Rig::default();
    put_ranges(&mut rig, 1, &[(8, 8), (0, 0), (64, 8)]);
    rig.issue(0, queued(0x60, 0, 0, 1));
    rig.issue(1, trim(1, 1));
    rig.fises();
    rig.settle();
    assert_eq!(rig.set_device_bits(), (READY, Error::empty(), 0b11));
    let ram = rig.ram();
    assert!(ram.data[8 * SECTOR..16 * SECTOR].iter().all(|byte| *byte == 0));
    assert!(ram.data[64 * SECTOR..72 * SECTOR].iter().all(|byte| *byte == 0));
    assert!(ram.data[16 * SECTOR..64 * SECTOR].iter().any(|byte| *byte != 0));
}

#[test]
fn a_queued_trim_of_nothing_ends_well() {
    let mut rig = Rig::default();
    put_ranges(&mut rig, 3, &[]);
    ends_well(&mut rig, 3, trim(3, 1));
    assert!(rig.ram().log.is_empty());
}

#[test]
fn a_queued_trim_behind_the_end_discards_nothing_and_ends_the_queue() {
    let mut rig = Rig::default();
    put_ranges(&mut rig, 1, &[(8, 8), (2047, 2)]);
    rig.issue(1, trim(1, 1));
    rig.settle();
    let fises = rig.fises();
    assert!(is_acceptance(&fises[0], 1));
    assert!(matches!(
        fises[1],
        (None, DeviceFis::SetDeviceBits { status: BAD, error: Error::IDNF, active: 0, .. })
    ));
    assert_eq!(rig.error_log()[..7], [1, 0, 0x51, 0x10, 0, 8, 0]);
    assert!(rig.ram().log.is_empty());
}

#[test]
fn a_queued_trim_whose_data_is_damaged_or_missing_ends_the_queue() {
    let mut rig = Rig::default();
    rig.host.crc = true;
    rig.issue(1, trim(1, 1));
    assert!(is_acceptance(&rig.fises().remove(0), 1));
    assert_eq!(rig.error_log()[..4], [1, 0, 0x51, 0x84]);
    rig.host.memory[1].truncate(500);
    rig.issue(1, trim(1, 1));
    assert_eq!(rig.error_log()[..4], [1, 0, 0x51, 0x04]);
}

#[test]
fn a_queued_trim_that_fails_names_its_tag() {
    let mut rig = Rig::default();
    put_ranges(&mut rig, 1, &[(8, 8)]);
    rig.ram().fails = Some((OpKind::Discard, 8 * 512, IoError::Os(5)));
    rig.issue(1, trim(1, 1));
    rig.fises();
    rig.settle();
    assert_eq!(rig.set_device_bits(), (BAD, Error::ABRT, 0));
    assert_eq!(rig.error_log()[0], 1);
}

#[test]
fn what_send_and_receive_do_not_offer_is_refused() {
    let mut rig = Rig::default();
    for fis in [
        RegisterH2D { auxiliary: 0, ..trim(1, 1) },
        RegisterH2D { auxiliary: 3, ..trim(1, 1) },
        trim(1, 0),
        trim(1, 9),
        trim(2, 1),
        RegisterH2D { count: 2 << 8 | 1 << 3, ..trim(1, 1) },
        read_log(1, 0x13, 2),
        read_log(1, 0x77, 1),
        RegisterH2D { count: 1 << 3, ..read_log(1, 0x13, 1) },
    ] {
        is_refused(&mut rig, 1, fis);
    }
    let config = DiskConfig { discard: false, ..DiskConfig::default() };
    let mut rig = Setup { config, ..Setup::default() }.build();
    is_refused(&mut rig, 1, trim(1, 1));
    assert_eq!(rig.pio_in(at48(0x2f, 0x13, 1)), [512]);
    assert_eq!(rig.host.memory[0][..12], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn a_log_is_read_in_the_queue() {
    let mut rig = Rig::default();
    assert_eq!(rig.pio_in(at48(0x2f, 0x30, 2)), [512, 512]);
    let expected = rig.host.memory[0][..1024].to_vec();
    ends_well(&mut rig, 5, read_log(5, 0x30, 2));
    assert_eq!(rig.host.memory[5][..1024], expected);
    rig.host.memory[5].truncate(600);
    rig.issue(5, read_log(5, 0x30, 2));
    assert!(is_acceptance(&rig.fises().remove(0), 5));
    assert_eq!(rig.error_log()[..4], [5, 0, 0x51, 0x04]);
}

#[test]
fn the_logs_and_identify_say_what_there_is() {
    let mut rig = Rig::default();
    let words = rig.identify();
    assert_eq!((words[76] >> 12 & 1, words[77] >> 5 & 1, words[77] >> 6 & 1), (1, 1, 1));
    assert_eq!(rig.pio_in(at48(0x2f, 0x13, 1)), [512]);
    assert_eq!(rig.host.memory[0][..12], [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(rig.pio_in(at48(0x2f, 0x12, 1)), [512]);
    let page = &rig.host.memory[0];
    assert_eq!((page[0], page[4], page[20], page[24]), (0x1f, 7, 1, 1));
    assert!([8, 12, 16, 28].iter().all(|at| page[*at] == 0));
}

/// Tags 0 and 1 are isochronous, 2 and 3 are not; all are stuck.
fn stuck_queue() -> Rig {
    let mut rig = Rig::default();
    rig.ram().hangs = true;
    for tag in 0..4u8 {
        let priority = if tag < 2 { 1 << 14 } else { 0 };
        let fis = queued(if tag % 2 == 0 { 0x60 } else { 0x61 }, tag, u64::from(tag) * 8, 8);
        rig.issue(tag, RegisterH2D { count: fis.count | priority, icc: 9, ..fis });
    }
    assert!(rig.fises().iter().enumerate().all(|(tag, fis)| is_acceptance(fis, tag as u8)));
    rig
}

#[test]
fn the_queue_is_aborted_whole_by_kind_or_by_tag_and_late_answers_never_surface() {
    for (features, lba, aborted) in
        [(0x00, 0, 0b1111), (0x10, 0, 0b0011), (0x20, 0, 0b1100), (0x30, 2 << 3, 0b0100)]
    {
        let mut rig = stuck_queue();
        rig.issue(9, non_data(9, features, lba));
        let fises = rig.fises();
        assert!(is_acceptance(&fises[0], 9));
        assert!(
            matches!(fises[1..], [(None, DeviceFis::SetDeviceBits { status: READY, active, .. })]
                if active == 1 << 9 | aborted),
            "{features:x}: {fises:?}"
        );
        let moved = (rig.host.in_bytes, rig.host.out_bytes);
        rig.ram().hangs = false;
        rig.settle();
        let left = 0b1111 & !aborted;
        let ended = rig.fises().iter().fold(0, |ended, (_, fis)| match fis {
            DeviceFis::SetDeviceBits { status: READY, active, .. } => ended | active,
            other => panic!("{other:?}"),
        });
        assert_eq!(ended, left);
        if left == 0 {
            assert_eq!((rig.host.in_bytes, rig.host.out_bytes), moved);
        }
        rig.good(at48(0x25, 0, 64));
    }
}

#[test]
fn a_tag_that_is_not_queued_can_be_aborted_but_not_ones_own() {
    let mut rig = Rig::default();
    ends_well(&mut rig, 9, non_data(9, 0x30, 4 << 3));
    is_refused(&mut rig, 9, non_data(9, 0x30, 9 << 3));
    is_refused(&mut rig, 9, non_data(9, 0x40, 0));
}

#[test]
fn other_subcommands_do_what_they_do_outside_the_queue_or_are_refused() {
    let mut rig = Rig::default();
    for features in [0x01, 0x11, 0x21, 0x31] {
        ends_well(&mut rig, 4, non_data(4, features, 0));
    }
    assert_eq!(rig.identify()[85] >> 6 & 1, 1);
    ends_well(&mut rig, 4, non_data(4, 0x5505, 0));
    assert_eq!(rig.identify()[85] >> 6 & 1, 0);
    for subcommand in [2, 3, 4, 7, 8, 15, 0x8205] {
        is_refused(&mut rig, 4, non_data(4, subcommand, 0));
    }
    // Not offered, which only shows once it is accepted.
    rig.issue(4, non_data(4, 0xff05, 0));
    let fises = rig.fises();
    assert!(is_acceptance(&fises[0], 4));
    assert!(matches!(fises[1], (None, DeviceFis::SetDeviceBits { status: BAD, .. })));
    assert_eq!(rig.error_log()[0], 4);
}

#[test]
fn zeroes_are_written_without_being_sent() {
    for features in [0, 1] {
        let mut rig = Rig::default();
        rig.good(RegisterH2D { features, ..at48(0x44, 8, 8) });
        assert!(rig.ram().data[8 * SECTOR..16 * SECTOR].iter().all(|byte| *byte == 0));
        assert_ne!(rig.ram().data[16 * SECTOR], 0);
        assert_eq!(rig.host.out_bytes, 0);
        assert_eq!(rig.ram().log[0].0, OpKind::WriteZeroes);
    }
    let mut rig = Setup { size_bytes: 65_536 * 512, ..Setup::default() }.build();
    rig.good(at48(0x44, 0, 0));
    assert!(rig.ram().data.iter().all(|byte| *byte == 0));
}

#[test]
fn zeroes_are_written_in_the_queue() {
    let mut rig = Setup { size_bytes: 65_536 * 512, ..Setup::default() }.build();
    let fis = non_data(2, 0x0106, 8);
    ends_well(&mut rig, 2, RegisterH2D { count: fis.count | 1 << 8, ..fis });
    let ram = rig.ram.lock().unwrap();
    assert!(ram.data[8 * SECTOR..(8 + 0x101) * SECTOR].iter().all(|byte| *byte == 0));
    assert_ne!(ram.data[(8 + 0x101) * SECTOR], 0);
}

#[test]
fn zeroes_are_offered_where_they_can_be_written() {
    for (read_only, expected) in [(false, 1), (true, 0)] {
        let mut rig = Setup { read_only, ..Setup::default() }.build();
        assert_eq!(rig.pio_in(at48(0x2f, 0x0330, 1)), [512]);
        let page = &rig.host.memory[0];
        // Bit 48 of the supported capabilities, whose bit 63 says that they mean something.
        assert_eq!((page[8 + 6] & 1, page[8 + 7] >> 7), (expected, 1));
        assert_eq!(rig.pio_in(at48(0x2f, 0x12, 1)), [512]);
        assert_eq!(rig.host.memory[0][24], expected);
    }
}

#[test]
fn zeroes_have_their_limits() {
    let mut rig = Rig::default();
    assert_eq!(rig.bad(at48(0x44, 2047, 2), Error::IDNF).lba, 2048);
    rig.bad(RegisterH2D { features: 2, ..at48(0x44, 0, 1) }, Error::ABRT);
    is_refused(&mut rig, 2, non_data(2, 0x0106, 2048));
    rig.ram().fails = Some((OpKind::WriteZeroes, 8 * 512, IoError::Os(5)));
    assert_eq!(rig.bad(at48(0x44, 8, 1), Error::ABRT).lba, 8);
    let mut rig = Setup { read_only: true, ..Setup::default() }.build();
    rig.bad(at48(0x44, 0, 1), Error::ABRT);
    is_refused(&mut rig, 2, non_data(2, 0x0106, 0));
}

#[test]
fn zeroes_repair_uncorrectable_sectors() {
    let mut rig = Rig::default();
    rig.good(RegisterH2D { features: 0x55, ..at48(0x45, 5, 2) });
    rig.good(at48(0x44, 5, 1));
    rig.good(at48(0x25, 5, 1));
    assert_eq!(rig.bad(at48(0x25, 0, 64), Error::UNC).lba, 6);
}

#[test]
fn a_locked_disk_lets_none_of_them_at_the_medium() {
    let mut rig = Rig::default();
    rig.host.memory[0][..512].fill(0);
    rig.good(command(0xf1));
    let state = rig.disk.saved_state(rig.now).expect("a state");
    let mut rig = Rig::default();
    rig.disk.restore(&state).expect("restored");
    put_ranges(&mut rig, 1, &[(8, 8)]);
    is_refused(&mut rig, 1, trim(1, 1));
    is_refused(&mut rig, 1, non_data(1, 0x0106, 0));
    rig.bad(at48(0x44, 0, 1), Error::ABRT);
    ends_well(&mut rig, 1, read_log(1, 0x30, 1));
    assert!(rig.ram().log.is_empty());
}

#[test]
fn zeroes_end_what_is_pending() {
    let mut rig = Rig::default();
    let pending = |rig: &mut Rig| {
        let data = crate::smart::smart_data(rig);
        let at = (2..362).step_by(12).find(|at| data[*at] == 197).expect("attribute 197");
        data[at + 5]
    };
    rig.ram().fails = Some((OpKind::Read, 300 * 512, IoError::Os(5)));
    for is_queued in [false, true] {
        rig.bad(at48(0x25, 300, 1), Error::UNC);
        assert_eq!(pending(&mut rig), 1);
        if is_queued {
            ends_well(&mut rig, 2, non_data(2, 0x0806, 296));
        } else {
            rig.good(at48(0x44, 296, 8));
        }
        assert_eq!(pending(&mut rig), 0, "queued: {is_queued}");
    }
}
