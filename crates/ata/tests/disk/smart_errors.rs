//! The SMART error logs: which commands get there, and field by field how.

use freewheel_ata::Device;
use freewheel_ata::fis::{Error, RegisterH2D};
use freewheel_block::{IoError, Nanos, OpKind};

use crate::smart::{sealed, smart};
use crate::support::*;

fn summary(rig: &mut Rig) -> Vec<u8> {
    sealed(rig, smart(0xd5, 0x01, 1))
}

fn error_count(rig: &mut Rig) -> u16 {
    let page = summary(rig);
    u16::from_le_bytes([page[452], page[453]])
}

/// Reads sector `lba` of a disk that cannot.
fn fail_at(rig: &mut Rig, lba: u64) {
    rig.ram().fails = Some((OpKind::Read, lba * 512, IoError::Os(5)));
    rig.bad(at48(0x25, lba, 1), Error::UNC);
}

#[test]
fn a_disk_without_errors_has_empty_logs() {
    let mut rig = Rig::default();
    let mut empty = [0; 512];
    (empty[0], empty[511]) = (1, 0xff);
    assert_eq!(summary(&mut rig), empty);
    for page in sealed(&mut rig, smart(0xd5, 0x02, 4)).chunks(512) {
        assert_eq!(page, empty);
    }
    for page in sealed(&mut rig, at48(0x2f, 0x03, 5)).chunks(512) {
        assert_eq!(page, empty);
    }
}

#[test]
fn a_failed_command_stands_there_with_the_four_before_it() {
    let mut rig = Rig::default();
    // The power cycle begins with the first command.
    rig.good(command(0xe5));
    rig.now = Nanos(3 * 3_600_000_000_000);
    for lba in [1, 2, 3] {
        rig.good(at48(0x42, lba, 1));
    }
    rig.good(at28(0x40, 0x0123, 0x45));
    rig.now = rig.now.plus(77_000_000);
    let ms = (rig.now.0 / 1_000_000) as u32;
    rig.ram().fails = Some((OpKind::Read, 0x0703 * 512, IoError::Os(5)));
    let fis = RegisterH2D { features: 0xabcd, control: 8, ..at48(0x25, 0x0703, 0x0001) };
    rig.bad(fis, Error::UNC);
    let page = summary(&mut rig);
    assert_eq!((page[0], page[1]), (1, 1));
    let commands: Vec<&[u8]> = page[2..62].chunks_exact(12).collect();
    assert_eq!(commands[0][..8], [0, 0, 1, 1, 0, 0, 0x40, 0x42]);
    assert_eq!(commands[3][..8], [0, 0, 0x45, 0x23, 0x01, 0, 0x40, 0x40]);
    assert_eq!(commands[4][..8], [8, 0xcd, 1, 0x03, 0x07, 0, 0x40, 0x25]);
    assert_eq!(commands[4][8..], ms.to_le_bytes());
    let error = &page[62..92];
    assert_eq!(error[..8], [0, 0x40, 0, 0x03, 0x07, 0, 0x40, 0x51]);
    assert_eq!(error[8..27], [0; 19]);
    assert_eq!((error[27], &error[28..]), (3, &[3, 0][..]));
    assert_eq!(page[92..452], [0; 360]);
    assert_eq!(page[452..454], [1, 0]);

    let page = sealed(&mut rig, at48(0x2f, 0x03, 1));
    assert_eq!(page[..4], [1, 0, 1, 0]);
    let last = &page[4 + 4 * 18..4 + 5 * 18];
    assert_eq!(last[..14], [8, 0xcd, 0xab, 1, 0, 0x03, 0, 0x07, 0, 0, 0, 0x40, 0x25, 0]);
    assert_eq!(last[14..], ms.to_le_bytes());
    let error = &page[94..128];
    assert_eq!(error[..12], [0, 0x40, 0, 0, 0x03, 0, 0x07, 0, 0, 0, 0x40, 0x51]);
    assert_eq!((error[31], &error[32..]), (3, &[3, 0][..]));
    assert_eq!(page[500..502], [1, 0]);
}

#[test]
fn the_logs_are_rings_whose_index_is_the_latest() {
    let mut rig = Rig::default();
    for lba in 0..23u64 {
        fail_at(&mut rig, lba);
    }
    // The LBA of each error, by its place.
    let page = summary(&mut rig);
    assert_eq!((page[1], page[452]), (3, 23));
    let lbas: Vec<u8> = page[2..452].chunks_exact(90).map(|entry| entry[63]).collect();
    assert_eq!(lbas, [20, 21, 22, 18, 19]);
    let pages = sealed(&mut rig, smart(0xd5, 0x02, 4));
    assert_eq!((pages[1], pages[452]), (3, 23));
    assert_eq!((pages[512 + 1], pages[512 + 452]), (0, 0), "only on the first page");
    let entries = pages.chunks(512).flat_map(|page| page[2..452].chunks_exact(90));
    let lbas: Vec<u8> = entries.map(|entry| entry[63]).collect();
    assert_eq!(lbas[..6], [20, 21, 22, 3, 4, 5]);
    assert_eq!(lbas[19], 19);
    let pages = sealed(&mut rig, at48(0x2f, 0x03, 5));
    assert_eq!((pages[2], pages[500]), (3, 23));
    let entries = pages.chunks(512).flat_map(|page| page[4..500].chunks_exact(124));
    let lbas: Vec<u8> = entries.map(|entry| entry[94]).collect();
    assert_eq!(lbas[..6], [20, 21, 22, 3, 4, 5]);
    assert_eq!(lbas[19], 19);
    let fourth = at48(0x2f, 0x0403, 1);
    assert_eq!(sealed(&mut rig, fourth), pages[4 * 512..]);
}

#[test]
fn errors_of_disk_and_link_are_logged_and_those_of_the_host_are_not() {
    fn logged<T>(provoke: fn(&mut Rig) -> T) -> u16 {
        let mut rig = Rig::default();
        provoke(&mut rig);
        error_count(&mut rig)
    }
    assert_eq!(logged(|rig| fail_at(rig, 9)), 1);
    let write = |rig: &mut Rig| {
        rig.ram().fails = Some((OpKind::Write, 0, IoError::NoSpace));
        rig.bad(at48(0x35, 0, 1), Error::ABRT);
    };
    assert_eq!(logged(write), 1);
    let flush = |rig: &mut Rig| {
        rig.ram().fails = Some((OpKind::Flush, 0, IoError::Os(5)));
        rig.bad(command(0xea), Error::ABRT);
    };
    assert_eq!(logged(flush), 1);
    let crc = |rig: &mut Rig| {
        rig.host.crc = true;
        rig.bad(at48(0x35, 0, 1), Error::ICRC | Error::ABRT);
    };
    assert_eq!(logged(crc), 1);
    let fault = |rig: &mut Rig| {
        rig.ram().fails = Some((OpKind::Read, 0, IoError::BackendProtocol));
        rig.run(at48(0x25, 0, 1));
    };
    assert_eq!(logged(fault), 1);
    assert_eq!(logged(|rig| rig.bad(at48(0x25, 1 << 40, 1), Error::IDNF)), 0);
    assert_eq!(logged(|rig| rig.bad(command(0x00), Error::ABRT)), 0);
    assert_eq!(logged(|rig| rig.bad(smart(0xd5, 0x77, 1), Error::ABRT)), 0);
    let overflow = |rig: &mut Rig| {
        rig.host.memory[0].truncate(100);
        rig.bad(at48(0x25, 0, 1), Error::ABRT);
        rig.host.memory[0].resize(512, 0);
    };
    assert_eq!(logged(overflow), 0);
    let flush_among_queued = |rig: &mut Rig| {
        rig.issue(1, queued(0x60, 1, 0, 1));
        rig.issue(0, command(0xea));
        rig.settle();
        rig.disk.comreset(rig.now, &mut rig.host);
        rig.fises();
    };
    assert_eq!(logged(flush_among_queued), 0);
}

#[test]
fn a_queued_command_that_fails_has_those_that_came_before_it() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Read, 40 * 512, IoError::Os(5)));
    rig.good(command(0xe5));
    for tag in 0..8u8 {
        rig.issue(tag, queued(0x60, tag, u64::from(tag) * 10, 1));
    }
    rig.settle();
    rig.fises();
    rig.issue(0, at48(0x2f, 0x10, 1));
    rig.fises();
    let page = summary(&mut rig);
    assert_eq!(page[452..454], [1, 0]);
    let lbas: Vec<u8> = page[2..62].chunks_exact(12).map(|command| command[3]).collect();
    assert_eq!(lbas, [0, 10, 20, 30, 40]);
    assert_eq!((page[62 + 1], page[62 + 3]), (0x40, 40));
}

#[test]
fn the_extended_log_goes_with_smart() {
    let mut rig = Rig::default();
    rig.good(smart(0xd9, 0, 0));
    rig.bad(at48(0x2f, 0x03, 1), Error::ABRT);
    rig.bad(at48(0x2f, 0x07, 1), Error::ABRT);
    rig.good(smart(0xd8, 0, 0));
    sealed(&mut rig, at48(0x2f, 0x07, 1));
}

#[test]
fn a_sector_that_the_host_flagged_as_uncorrectable_is_not_logged() {
    for (features, logged) in [(0x55, 1), (0xaa, 0)] {
        let mut rig = Rig::default();
        rig.good(RegisterH2D { features, ..at48(0x45, 300, 1) });
        rig.bad(at48(0x25, 300, 1), Error::UNC);
        assert_eq!(error_count(&mut rig), logged);
    }
}
