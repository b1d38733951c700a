//! Self-tests: what they read, how they end, and that they keep out of the way.

use freewheel_ata::Device;
use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D, Status};
use freewheel_block::{ByteRange, IoError, OpKind};

use crate::smart::{read, sealed, smart, smart_data};
use crate::support::*;

const SHORT: u8 = 0x01;
const EXTENDED: u8 = 0x02;
const SELECTIVE: u8 = 0x04;
const ABORT: u8 = 0x7f;
const CAPTIVE: u8 = 0x80;

/// 256 MiB: more than a short test reads.
fn large() -> Rig {
    Setup { size_bytes: 256 << 20, ..Setup::default() }.build()
}

fn start(rig: &mut Rig, test: u8) {
    rig.good(smart(0xd4, test, 0));
}

fn status(rig: &mut Rig) -> u8 {
    smart_data(rig)[363]
}

/// Lets time pass until the test has ended; gives back its status.
fn wait(rig: &mut Rig) -> u8 {
    for _ in 0..10_000 {
        rig.settle();
        match rig.disk.next_wakeup() {
            Some(at) => rig.now = rig.now.max(at),
            None => return status(rig),
        }
    }
    panic!("the test never ends");
}

/// Lets `ns` pass.
fn pass(rig: &mut Rig, ns: u64) {
    let end = rig.now.plus(ns);
    loop {
        rig.settle();
        match rig.disk.next_wakeup() {
            Some(at) if at <= end => rig.now = rig.now.max(at),
            _ => break,
        }
    }
    rig.now = end;
}

/// The entries of log 06h from the latest on: subcommand, status, hours, failing LBA.
fn log(rig: &mut Rig) -> Vec<(u8, u8, u16, u32)> {
    let page = sealed(rig, smart(0xd5, 0x06, 1));
    assert_eq!(page[..2], [1, 0]);
    let index = usize::from(page[508]);
    let entries: Vec<&[u8]> = page[2..506].chunks_exact(24).collect();
    let latest = (0..21).map(|age| (index + 2 * 21 - 1 - age) % 21);
    latest
        .map(|place| entries[place])
        .filter(|entry| index > 0 && entry[0] != 0)
        .map(|it| {
            let lba = u32::from_le_bytes([it[5], it[6], it[7], it[8]]);
            assert!(it[9..].iter().all(|byte| *byte == 0));
            (it[0], it[1], u16::from_le_bytes([it[2], it[3]]), lba)
        })
        .collect()
}

/// The ranges that have been read since the last look, joined where they meet.
fn reads(rig: &mut Rig) -> Vec<ByteRange> {
    let mut log = std::mem::take(&mut rig.ram().log);
    log.sort_by_key(|(_, range, _)| range.offset_bytes);
    let mut joined: Vec<ByteRange> = Vec::new();
    for (kind, range, _) in log {
        assert_eq!(kind, OpKind::Read);
        match joined.last_mut() {
            Some(last) if last.end_bytes() == range.offset_bytes => {
                last.len_bytes += range.len_bytes;
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// Writes log 09h with `spans`.
fn select(rig: &mut Rig, spans: &[(u64, u64)]) {
    let mut page = vec![0; 512];
    page[0] = 1;
    for (place, (first, last)) in page[2..82].chunks_exact_mut(16).zip(spans) {
        place[..8].copy_from_slice(&first.to_le_bytes());
        place[8..].copy_from_slice(&last.to_le_bytes());
    }
    let sum = page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    page[511] = sum.wrapping_neg();
    rig.host.memory[0][..512].copy_from_slice(&page);
    rig.good(smart(0xd6, 0x09, 1));
}

#[test]
fn an_extended_test_reads_every_sector_once() {
    let mut rig = large();
    start(&mut rig, EXTENDED);
    assert_eq!(wait(&mut rig), 0x00);
    assert_eq!(reads(&mut rig), [ByteRange::new(0, 256 << 20)]);
    assert_eq!(log(&mut rig), [(EXTENDED, 0, 0, 0)]);
}

#[test]
fn a_short_test_reads_the_ends_and_much_between() {
    let mut rig = large();
    start(&mut rig, SHORT);
    let began = rig.now;
    assert_eq!(wait(&mut rig), 0x00);
    assert!((5_000_000_000..60_000_000_000).contains(&rig.now.since(began)));
    let reads = reads(&mut rig);
    assert_eq!(reads.len(), 64);
    assert!(reads.iter().all(|range| range.len_bytes == 1 << 20));
    assert_eq!((reads[0].offset_bytes, reads[63].end_bytes()), (0, 256 << 20));
    assert_eq!(log(&mut rig), [(SHORT, 0, 0, 0)]);
}

#[test]
fn progress_is_shown_in_tenths() {
    let mut rig = large();
    start(&mut rig, SHORT);
    let mut seen = Vec::new();
    for _ in 0..80 {
        seen.push(status(&mut rig));
        pass(&mut rig, 100_000_000);
    }
    seen.dedup();
    assert_eq!(seen, [0xf9, 0xf8, 0xf7, 0xf6, 0xf5, 0xf4, 0xf3, 0xf2, 0xf1, 0xf0, 0x00]);
}

#[test]
fn a_test_that_finds_a_bad_sector_names_it() {
    for (test, lba) in [(EXTENDED, 1), (EXTENDED, 300_001), (EXTENDED, 524_287), (SHORT, 2047)] {
        let mut rig = large();
        rig.ram().fails = Some((OpKind::Read, lba * 512 + 5, IoError::Os(5)));
        start(&mut rig, test);
        let ended = wait(&mut rig);
        assert_eq!(ended >> 4, 7, "read element");
        assert_eq!(log(&mut rig), [(test, ended, 0, lba as u32)]);
        let page = sealed(&mut rig, at48(0x2f, 0x07, 1));
        assert_eq!(page[..4], [1, 0, 1, 0]);
        assert_eq!((page[4], page[5]), (test, ended));
        assert_eq!(page[9..15], lba.to_le_bytes()[..6]);
        let data = smart_data(&mut rig);
        let found = data[2..362].chunks_exact(12).filter(|it| matches!(it[0], 197 | 198));
        assert!(found.into_iter().all(|it| it[5] == 1));
        assert_eq!(rig.good(smart(0xda, 0, 0)).lba, 0xc2_4f00);
    }
}

#[test]
fn a_test_that_the_storage_fails_otherwise_is_fatal() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Read, 0, IoError::BackendProtocol));
    start(&mut rig, SHORT);
    assert_eq!(wait(&mut rig), 0x39);
}

#[test]
fn a_selective_test_reads_its_spans_and_shows_where_it_is() {
    let mut rig = large();
    select(&mut rig, &[(10, 19), (0, 0), (100_000, 300_000), (524_287, 524_287)]);
    start(&mut rig, SELECTIVE);
    pass(&mut rig, 20_000_000);
    let page = sealed(&mut rig, smart(0xd5, 0x09, 1));
    let lba = u64::from_le_bytes(page[492..500].try_into().unwrap());
    assert!((100_001..300_000).contains(&lba), "{lba}");
    assert_eq!(page[500..504], [3, 0, 0, 0]);
    assert_eq!(status(&mut rig) >> 4, 0xf);
    assert_eq!(wait(&mut rig), 0x00);
    let expected = [
        ByteRange::new(10 * 512, 10 * 512),
        ByteRange::new(100_000 * 512, 200_001 * 512),
        ByteRange::new(524_287 * 512, 512),
    ];
    assert_eq!(reads(&mut rig), expected);
    let page = sealed(&mut rig, smart(0xd5, 0x09, 1));
    assert_eq!(page[492..502], [0; 10]);
    assert_eq!(page[2..10], 10u64.to_le_bytes());
    assert_eq!(page[66..74], [0; 8]);
    assert_eq!(page[58..66], 524_287u64.to_le_bytes());
    assert_eq!(log(&mut rig), [(SELECTIVE, 0, 0, 0)]);
}

#[test]
fn a_selective_test_without_sane_spans_is_aborted() {
    let spans: [&[(u64, u64)]; 4] = [&[], &[(5, 4)], &[(0, 2048)], &[(1, 2), (3, u64::MAX)]];
    for spans in spans {
        let mut rig = Rig::default();
        select(&mut rig, spans);
        rig.bad(smart(0xd4, SELECTIVE, 0), Error::ABRT);
        assert!(log(&mut rig).is_empty());
    }
}

#[test]
fn a_selective_log_that_is_damaged_or_in_use_is_not_taken() {
    let mut rig = large();
    select(&mut rig, &[(1, 300_000)]);
    for (at, value) in [(0, 2), (511, 0), (100, 1)] {
        let mut page = sealed(&mut rig, smart(0xd5, 0x09, 1));
        page[at] = value;
        rig.host.memory[0][..512].copy_from_slice(&page);
        rig.bad(smart(0xd6, 0x09, 1), Error::ABRT);
    }
    start(&mut rig, SELECTIVE);
    sealed(&mut rig, smart(0xd5, 0x09, 1));
    rig.bad(smart(0xd6, 0x09, 1), Error::ABRT);
    assert_eq!(wait(&mut rig), 0);
}

#[test]
fn tests_that_are_not_offered_are_aborted_and_leave_a_test_alone() {
    let mut rig = large();
    start(&mut rig, EXTENDED);
    for test in [0x03, 0x05, 0x40, 0x7e, 0x80, 0x83, 0x90, 0xff] {
        rig.bad(smart(0xd4, test, 0), Error::ABRT);
    }
    assert_eq!(status(&mut rig) >> 4, 0xf);
}

#[test]
fn the_off_line_routine_is_done_at_once() {
    let mut rig = Rig::default();
    start(&mut rig, 0x00);
    assert_eq!(smart_data(&mut rig)[362], 0x02);
    assert!(log(&mut rig).is_empty(), "no self-test");
}

#[test]
fn the_host_ends_a_test_in_several_ways() {
    let ways = [smart(0xd4, ABORT, 0), smart(0xd9, 0, 0), command(0xe0), smart(0xd4, 0, 0)];
    for way in ways {
        let mut rig = large();
        start(&mut rig, EXTENDED);
        rig.good(way);
        rig.good(smart(0xd8, 0, 0));
        let [(EXTENDED, status, 0, 0)] = log(&mut rig)[..] else { panic!("{way:x?}") };
        assert_eq!(status >> 4, 1, "aborted by the host");
        assert_eq!(rig.disk.next_wakeup(), None, "nothing runs on");
    }
}

#[test]
fn another_test_takes_the_place_of_the_first() {
    let mut rig = large();
    start(&mut rig, EXTENDED);
    start(&mut rig, SHORT);
    assert_eq!(wait(&mut rig), 0);
    assert_eq!(log(&mut rig), [(SHORT, 0, 0, 0), (EXTENDED, 0x19, 0, 0)]);
}

#[test]
fn resets_interrupt_a_test_even_if_the_storage_is_stuck() {
    for comreset in [true, false] {
        let mut rig = large();
        rig.ram().hangs = true;
        start(&mut rig, EXTENDED);
        pass(&mut rig, 10_000_000);
        let stuck = rig.disk.engine_status(rig.now).unwrap();
        assert_eq!(stuck.operations.len(), 1);
        if comreset {
            rig.disk.comreset(rig.now, &mut rig.host);
        } else {
            rig.disk.control(4, rig.now, &mut rig.host);
            rig.disk.control(0, rig.now, &mut rig.host);
        }
        assert!(matches!(rig.fises()[..], [(None, DeviceFis::RegisterD2H { .. })]), "signature");
        assert!(rig.disk.engine_status(rig.now).unwrap().operations.is_empty());
        assert_eq!(log(&mut rig), [(EXTENDED, 0x29, 0, 0)]);
        rig.ram().hangs = false;
        rig.settle();
        assert_eq!(status(&mut rig), 0x29, "its late answer reaches nobody");
        start(&mut rig, EXTENDED);
        assert_eq!(wait(&mut rig), 0);
    }
}

#[test]
fn a_stuck_test_keeps_no_command_waiting() {
    let mut rig = large();
    rig.ram().hangs = true;
    start(&mut rig, EXTENDED);
    pass(&mut rig, 10_000_000);
    assert_eq!(status(&mut rig), 0xf9);
    rig.identify();
    start(&mut rig, ABORT);
    assert_eq!(status(&mut rig), 0x19);
}

#[test]
fn dropping_the_commands_leaves_a_background_test_alone() {
    let mut rig = large();
    start(&mut rig, EXTENDED);
    rig.settle();
    assert_eq!(rig.disk.abort_all(rig.now), 0);
    assert_eq!(wait(&mut rig), 0);
}

#[test]
fn a_captive_test_ends_its_command() {
    for test in [SHORT, EXTENDED] {
        let mut rig = large();
        let registers = rig.good(smart(0xd4, test | CAPTIVE, 0));
        assert_eq!(registers.lba, 0xc2_4f00 | u64::from(test | CAPTIVE));
        assert_eq!(log(&mut rig), [(test | CAPTIVE, 0, 0, 0)]);
    }
}

#[test]
fn a_captive_test_that_fails_says_so() {
    let mut rig = large();
    rig.ram().fails = Some((OpKind::Read, 70_000 * 512, IoError::Os(5)));
    let registers = rig.bad(smart(0xd4, EXTENDED | CAPTIVE, 0), Error::ABRT);
    assert_eq!(registers.lba, 0x2c_f482);
    assert_eq!(log(&mut rig)[0].3, 70_000);
}

#[test]
fn a_captive_test_is_busy_until_it_is_dropped() {
    let mut rig = large();
    rig.ram().hangs = true;
    rig.issue(0, smart(0xd4, EXTENDED | CAPTIVE, 0));
    rig.settle();
    rig.issue(1, command(0xec));
    let fises = rig.fises();
    let [(Some(1), DeviceFis::RegisterD2H { registers, .. })] = fises[..] else {
        panic!("{fises:?}");
    };
    assert!(registers.status.contains(Status::ERR));
    assert_eq!(rig.disk.abort_all(rig.now), 1);
    assert_eq!(log(&mut rig), [(EXTENDED | CAPTIVE, 0x29, 0, 0)]);
    rig.ram().hangs = false;
    rig.settle();
    assert!(rig.fises().is_empty(), "nobody is answered");
}

#[test]
fn the_host_goes_first_but_not_for_ever() {
    let mut rig = large();
    start(&mut rig, EXTENDED);
    rig.settle();
    rig.ram().hangs = true;
    rig.issue(0, at48(0x25, 0, 1));
    rig.settle();
    let turn = rig.disk.next_wakeup().expect("the test goes on");
    let wait_ns = turn.since(rig.now);
    assert!((50_000_000..=101_000_000).contains(&wait_ns), "{wait_ns}");
    rig.disk.abort_all(rig.now);
    let turn = rig.disk.next_wakeup().expect("the test goes on");
    assert!(turn.since(rig.now) <= 1_000_000, "the host has nothing to do");
    rig.ram().hangs = false;
    assert_eq!(wait(&mut rig), 0);
}

#[test]
fn the_logs_hold_the_latest_tests_in_order() {
    let mut rig = Rig::default();
    for number in 0..50u64 {
        rig.now = rig.now.plus(3_600_000_000_000);
        start(&mut rig, if number % 2 == 0 { SHORT } else { EXTENDED });
        assert_eq!(wait(&mut rig), 0);
    }
    let entries = log(&mut rig);
    assert_eq!(entries.len(), 21);
    let hours = entries.iter().map(|entry| entry.2);
    assert!(hours.eq((30..=50).rev().map(|hour| hour - 1)), "{entries:?}");
    let page = read(&mut rig, at48(0x2f, 0x07, 1));
    let index = usize::from(page[2]);
    assert_eq!(index, (50 - 1) % 19 + 1);
    let latest = &page[4 + (index - 1) * 26..][..26];
    assert_eq!((latest[0], latest[2]), (EXTENDED, 49));
}

#[test]
fn a_sector_that_is_marked_as_uncorrectable_fails_a_test() {
    for lba in [0, 5000] {
        let mut rig = large();
        rig.good(RegisterH2D { features: 0x55, ..at48(0x45, lba, 1) });
        start(&mut rig, EXTENDED);
        assert_eq!(wait(&mut rig) >> 4, 7);
        assert_eq!(u64::from(log(&mut rig)[0].3), lba);
        assert_eq!(reads(&mut rig).iter().map(|range| range.len_bytes).sum::<u64>(), lba * 512);
        rig.good(at48(0x35, lba, 1));
        rig.ram().log.clear();
        start(&mut rig, EXTENDED);
        assert_eq!(wait(&mut rig), 0);
    }
}

#[test]
fn a_sanitize_operation_ends_a_test() {
    let mut rig = large();
    start(&mut rig, EXTENDED);
    rig.settle();
    // BLOCK ERASE.
    let erase = RegisterH2D { features: 0x12, ..at48(0xb4, 0x426b_4572, 0) };
    rig.good(erase);
    assert_eq!(wait(&mut rig), 0x19);
    let [(EXTENDED, 0x19, ..)] = log(&mut rig)[..] else { panic!("one result") };
}

#[test]
fn the_power_commands_of_ata_1_end_a_test_too() {
    for opcode in [0x94, 0x99] {
        let mut rig = large();
        start(&mut rig, EXTENDED);
        rig.good(command(opcode));
        rig.disk.comreset(rig.now, &mut rig.host);
        rig.settle();
        rig.fises();
        assert_eq!(log(&mut rig)[0].1 >> 4, 1, "{opcode:x}: aborted by the host");
    }
}

#[test]
fn a_test_of_sectors_that_the_host_hides_is_aborted_by_the_host() {
    let mut rig = large();
    start(&mut rig, EXTENDED);
    pass(&mut rig, 10_000_000);
    rig.good(at48(0x27, 0, 0));
    rig.good(at48(0x37, 9, 0));
    assert_eq!(wait(&mut rig) >> 4, 1);
}

#[test]
fn a_disk_is_not_in_standby_while_it_tests_itself() {
    let mut rig = large();
    // The shortest Standby timer, 5 s; a short test takes 6 s.
    rig.good(at28(0xe3, 0, 1));
    start(&mut rig, SHORT);
    pass(&mut rig, 6_000_000_000);
    assert_eq!(status(&mut rig) >> 4, 0xf);
    assert_eq!(rig.good(command(0xe5)).count, 0xff);
    wait(&mut rig);
    pass(&mut rig, 6_000_000_000);
    assert_eq!(rig.good(command(0xe5)).count, 0x00);
}
