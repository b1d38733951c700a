//! The SMART commands, attributes and thresholds.

use std::collections::BTreeMap;

use freewheel_ata::fis::{Error, RegisterH2D};
use freewheel_ata::{Device, DiskConfig};
use freewheel_block::{IoError, Nanos, OpKind};

use crate::support::*;

const HOUR_NS: u64 = 3_600_000_000_000;

/// A SMART command with `low` in LBA 7:0.
pub(crate) fn smart(subcommand: u16, low: u8, count: u16) -> RegisterH2D {
    let lba = 0xc2_4f00 | u64::from(low);
    RegisterH2D { features: subcommand, ..at28(0xb0, lba, count) }
}

/// What a PIO-in command reads.
pub(crate) fn read(rig: &mut Rig, fis: RegisterH2D) -> Vec<u8> {
    rig.host.in_bytes = 0;
    let blocks = rig.pio_in(fis);
    assert!(blocks.iter().all(|bytes| *bytes == 512), "{blocks:?}");
    rig.host.memory[0][..rig.host.in_bytes as usize].to_vec()
}

/// The same of a structure whose pages sum up to zero.
pub(crate) fn sealed(rig: &mut Rig, fis: RegisterH2D) -> Vec<u8> {
    let data = read(rig, fis);
    for page in data.chunks(512) {
        assert_eq!(page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0, "{fis:x?}");
    }
    data
}

pub(crate) fn smart_data(rig: &mut Rig) -> Vec<u8> {
    sealed(rig, smart(0xd0, 0, 1))
}

/// The attributes: flags, value, worst, raw.
fn attributes(rig: &mut Rig) -> BTreeMap<u8, (u16, u8, u8, u64)> {
    let data = smart_data(rig);
    let entries = data[2..362].chunks_exact(12).filter(|entry| entry[0] != 0);
    entries
        .map(|entry| {
            let mut raw = [0; 8];
            raw[..6].copy_from_slice(&entry[5..11]);
            let flags = u16::from_le_bytes([entry[1], entry[2]]);
            (entry[0], (flags, entry[3], entry[4], u64::from_le_bytes(raw)))
        })
        .collect()
}

fn raw(rig: &mut Rig, id: u8) -> u64 {
    attributes(rig)[&id].3
}

#[test]
fn a_smart_command_without_its_key_is_aborted() {
    for subcommand in 0xd0..=0xdb {
        for lba in [0, 0x4fc200, 0xc24e00, 0xc04f00, 0x2cf400] {
            let mut rig = Rig::default();
            let fis = RegisterH2D { lba, ..smart(subcommand, 0, 1) };
            rig.bad(fis, Error::ABRT);
        }
    }
}

#[test]
fn a_subcommand_that_is_not_offered_is_aborted() {
    let mut rig = Rig::default();
    for subcommand in (0..0xd0).chain([0xd7, 0xdb]).chain(0xdc..0x100) {
        rig.bad(smart(subcommand, 0, 1), Error::ABRT);
    }
}

#[test]
fn once_disabled_nothing_but_enable_is_taken() {
    let mut rig = Rig::default();
    rig.good(smart(0xd9, 0, 0));
    assert_eq!((rig.identify()[82] & 1, rig.identify()[85] & 1), (1, 0));
    for subcommand in (0xd0..=0xd6).chain([0xd9, 0xda]) {
        rig.bad(smart(subcommand, 0, 1), Error::ABRT);
    }
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.fises();
    rig.bad(smart(0xd0, 0, 1), Error::ABRT);
    rig.good(smart(0xd8, 0, 0));
    assert_eq!(rig.identify()[85] & 1, 1);
    smart_data(&mut rig);
}

#[test]
fn the_data_structure_says_what_the_disk_does() {
    let mut rig = Rig::default();
    let data = smart_data(&mut rig);
    assert_eq!(data[..2], [0x10, 0]);
    assert_eq!((data[362], data[363]), (0, 0), "nothing has run");
    assert_eq!(data[364..366], [0, 0]);
    assert_eq!(data[367], 0x51, "off-line immediate, self-tests, selective self-test");
    assert_eq!(data[368..370], [3, 0]);
    assert_eq!(data[370], 1, "error logging");
    assert_eq!((data[372], data[373], data[374]), (1, 1, 0));
    assert_eq!(data[375..377], [0, 0]);
    assert!(data[377..511].iter().all(|byte| *byte == 0));
}

#[test]
fn each_attribute_has_a_threshold_and_is_above_it() {
    let mut rig = Rig::default();
    let thresholds = sealed(&mut rig, smart(0xd1, 0, 1));
    assert_eq!(thresholds[..2], [0x10, 0], "the revision of the data");
    let attributes = attributes(&mut rig);
    assert_eq!(
        attributes.keys().copied().collect::<Vec<_>>(),
        [5, 9, 12, 187, 188, 197, 198, 199, 241, 242]
    );
    for entry in thresholds[2..362].chunks_exact(12).filter(|entry| entry[0] != 0) {
        let (flags, value, worst, _) = attributes[&entry[0]];
        assert!(value > entry[1] && worst > entry[1], "{}", entry[0]);
        assert_eq!(flags & 1 != 0, entry[1] > 0, "{} foretells failure", entry[0]);
        assert!(entry[2..].iter().all(|byte| *byte == 0));
    }
    assert_eq!(thresholds[2..362].chunks_exact(12).filter(|entry| entry[0] != 0).count(), 10);
}

#[test]
fn sectors_and_hours_are_counted() {
    let mut rig = Rig::default();
    rig.good(at48(0x25, 0, 40));
    rig.good(at28(0xca, 8, 3));
    rig.good(at48(0x42, 0, 100));
    rig.issue(3, queued(0x61, 3, 50, 5));
    rig.settle();
    rig.fises();
    rig.now = Nanos(2 * HOUR_NS + 100);
    assert_eq!((raw(&mut rig, 241), raw(&mut rig, 242)), (8, 40), "verify moves no data");
    assert_eq!((raw(&mut rig, 9), raw(&mut rig, 12)), (2, 1));
    assert_eq!(raw(&mut rig, 5), 0);
}

#[test]
fn large_sectors_are_counted_as_sectors() {
    let config = DiskConfig { logical_sector_bytes: 4096, ..DiskConfig::default() };
    let mut rig = Setup { config, ..Setup::default() }.build();
    rig.good(at48(0x25, 1, 6));
    assert_eq!(raw(&mut rig, 242), 6);
}

#[test]
fn a_sector_that_cannot_be_read_is_pending_until_it_is_written() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Read, 300 * 512, IoError::Os(5)));
    rig.bad(at48(0x25, 300, 1), Error::UNC);
    rig.bad(at48(0x25, 300, 1), Error::UNC);
    let after = attributes(&mut rig);
    assert_eq!((after[&187].3, after[&197].3, after[&198].3), (2, 1, 0));
    assert_eq!((after[&187].1, after[&197].1, after[&197].2), (98, 99, 99));
    rig.good(at48(0x35, 299, 1));
    assert_eq!(raw(&mut rig, 197), 1, "another sector");
    rig.good(at48(0x35, 290, 20));
    let after = attributes(&mut rig);
    assert_eq!((after[&187].3, after[&197].3), (2, 0));
    assert_eq!((after[&197].1, after[&197].2), (100, 99), "the worst stays");
}

#[test]
fn a_queued_read_that_succeeds_ends_what_is_pending() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Read, 300 * 512, IoError::Os(5)));
    rig.issue(1, queued(0x60, 1, 300, 1));
    rig.settle();
    rig.fises();
    rig.issue(0, at48(0x2f, 0x10, 1));
    rig.fises();
    assert_eq!(raw(&mut rig, 197), 1);
    rig.ram().fails = None;
    rig.issue(1, queued(0x60, 1, 296, 8));
    rig.settle();
    rig.fises();
    assert_eq!(raw(&mut rig, 197), 0);
}

#[test]
fn damage_on_the_link_and_lost_commands_are_counted() {
    let mut rig = Rig::default();
    rig.host.crc = true;
    rig.bad(at48(0x25, 0, 1), Error::ICRC | Error::ABRT);
    assert_eq!((raw(&mut rig, 199), raw(&mut rig, 187)), (1, 0));
    rig.ram().hangs = true;
    for tag in 0..3 {
        rig.issue(tag, queued(0x60, tag, 0, 1));
    }
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.ram().hangs = false;
    rig.settle();
    rig.fises();
    assert_eq!(raw(&mut rig, 188), 3);
}

#[test]
fn status_is_bad_while_too_many_sectors_cannot_be_read() {
    let mut rig = Rig::default();
    let status = |rig: &mut Rig| rig.good(smart(0xda, 0x5a, 0)).lba;
    for lba in 0..99 {
        assert_eq!(status(&mut rig), 0xc2_4f5a);
        rig.ram().fails = Some((OpKind::Read, lba * 512, IoError::Os(5)));
        rig.bad(at48(0x25, lba, 1), Error::UNC);
    }
    assert_eq!(status(&mut rig), 0x2c_f45a);
    assert_eq!(attributes(&mut rig)[&197].1, 1);
    rig.ram().fails = None;
    rig.good(at48(0x35, 0, 99));
    assert_eq!(status(&mut rig), 0xc2_4f5a);
}

#[test]
fn autosave_and_save_are_agreed_to_and_nothing_else() {
    let mut rig = Rig::default();
    rig.good(smart(0xd2, 0, 0xf1));
    rig.good(smart(0xd2, 0, 0));
    rig.bad(smart(0xd2, 0, 1), Error::ABRT);
    rig.good(smart(0xd3, 0, 0));
}

/// The disk after the process has gone and come back.
fn next_life(rig: &Rig) -> Rig {
    let state = rig.disk.saved_state(rig.now).expect("a disk has a state");
    let mut next = Rig::default();
    next.disk.restore(&state).expect("restored");
    next
}

#[test]
fn smart_remembers_over_a_power_cycle() {
    let mut rig = Rig::default();
    rig.good(command(0xe5));
    rig.now = Nanos(3 * HOUR_NS + 100);
    rig.good(at48(0x25, 0, 40));
    rig.ram().fails = Some((OpKind::Read, 300 * 512, IoError::Os(5)));
    rig.bad(at48(0x25, 300, 1), Error::UNC);
    rig.good(smart(0xd4, 0x02, 0));
    for _ in 0..100 {
        rig.settle();
        rig.now = rig.disk.next_wakeup().unwrap_or(rig.now).max(rig.now);
    }
    rig.host.memory[0][..512].fill(0x77);
    rig.good(smart(0xd6, 0x9f, 1));
    rig.good(smart(0xd9, 0, 0));
    let mut rig = next_life(&rig);
    assert_eq!(rig.identify()[85] & 1, 0, "still disabled");
    rig.good(smart(0xd8, 0, 0));
    rig.now = Nanos(2 * HOUR_NS + 100);
    let after = attributes(&mut rig);
    assert_eq!((after[&9].3, after[&12].3), (5, 2));
    assert_eq!((after[&242].3, after[&187].3, after[&197].3, after[&198].3), (40, 1, 1, 1));
    let errors = sealed(&mut rig, smart(0xd5, 0x01, 1));
    assert_eq!((errors[1], errors[452]), (1, 1));
    let tests = sealed(&mut rig, smart(0xd5, 0x06, 1));
    assert_eq!((tests[2], tests[3] >> 4, tests[508]), (0x02, 7, 1));
    assert_eq!(read(&mut rig, smart(0xd5, 0x9f, 1)), [0x77; 512]);
}

#[test]
fn a_self_test_that_power_loss_ends_is_interrupted() {
    let mut rig = Rig::default();
    rig.ram().hangs = true;
    rig.good(smart(0xd4, 0x02, 0));
    let mut rig = next_life(&rig);
    let tests = sealed(&mut rig, smart(0xd5, 0x06, 1));
    assert_eq!((tests[2], tests[3], tests[508]), (0x02, 0x29, 1));
    assert_eq!(smart_data(&mut rig)[363], 0x29);
}

#[test]
fn what_must_not_be_lost_is_saved_soon() {
    let changes = [
        (smart(0xd9, 0, 0), false),
        (smart(0xd3, 0, 0), false),
        (smart(0xd6, 0x80, 1), false),
        (smart(0xd4, 0x81, 0), false),
        // Damaged on the link.
        (at48(0x25, 0, 1), true),
    ];
    for (command, crc) in changes {
        let mut rig = Rig::default();
        assert!(rig.disk.take_saved_state(rig.now).is_some(), "it has been switched on");
        rig.run(at48(0x25, 0, 1));
        assert!(rig.disk.take_saved_state(rig.now).is_none(), "statistics can wait");
        rig.host.crc = crc;
        rig.run(command);
        assert!(rig.disk.take_saved_state(rig.now).is_some(), "{command:x?}");
    }
}

#[test]
fn sectors_marked_as_uncorrectable_are_pending_and_counted_once() {
    const MARK: u16 = 0x55;
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Read, 300 * 512, IoError::Os(5)));
    rig.bad(at48(0x25, 300, 1), Error::UNC);
    rig.ram().fails = None;
    rig.good(RegisterH2D { features: MARK, ..at48(0x45, 300, 2) });
    assert_eq!(raw(&mut rig, 197), 2);
    rig.bad(at48(0x25, 300, 1), Error::UNC);
    rig.bad(at48(0x25, 301, 1), Error::UNC);
    assert_eq!((raw(&mut rig, 197), raw(&mut rig, 187)), (2, 3));
    rig.good(at48(0x35, 300, 2));
    assert_eq!(raw(&mut rig, 197), 0);
}
