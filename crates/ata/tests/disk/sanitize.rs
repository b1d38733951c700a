//! The Sanitize Device feature set: all user data goes, in the background, whatever the host does.

use freewheel_ata::fis::{Error, RegisterH2D, Registers};
use freewheel_ata::{Device, DiskConfig};
use freewheel_block::{ByteRange, IoError, OpKind};
use proptest::prelude::*;

use crate::support::*;

const FAILURE_MODE: u16 = 1 << 4;
const INVERT: u16 = 1 << 7;

const COMPLETED: u16 = 1 << 15;
const IN_PROGRESS: u16 = 1 << 14;
const FROZEN: u16 = 1 << 13;
const ANTIFREEZE: u16 = 1 << 12;

const CHUNK: u64 = 32 << 20;

fn sanitize(features: u16, lba: u64, count: u16) -> RegisterH2D {
    RegisterH2D { features, ..at48(0xb4, lba, count) }
}

fn status() -> RegisterH2D {
    sanitize(0, 0, 0)
}

fn block_erase(count: u16) -> RegisterH2D {
    sanitize(0x12, 0x426b_4572, count)
}

fn overwrite(pattern: u32, count: u16) -> RegisterH2D {
    sanitize(0x14, 0x4f57 << 32 | u64::from(pattern), count)
}

fn freeze_lock() -> RegisterH2D {
    sanitize(0x20, 0x4672_4c6b, 0)
}

fn antifreeze_lock() -> RegisterH2D {
    sanitize(0x40, 0x416e_7469, 0)
}

/// Runs a command without letting the operation go on.
fn at_once(rig: &mut Rig, fis: RegisterH2D) -> Registers {
    rig.fises();
    rig.issue(0, fis);
    let fises = rig.fises();
    let Some((Some(0), freewheel_ata::fis::DeviceFis::RegisterD2H { registers, .. })) =
        fises.last()
    else {
        panic!("{fises:?}");
    };
    *registers
}

fn large() -> Rig {
    Setup { size_bytes: 5 * CHUNK / 2, ..Setup::default() }.build()
}

/// The same medium under a disk that was switched off and on.
fn power_cycle(rig: Rig) -> Rig {
    let state = rig.disk.saved_state(rig.now).expect("a state");
    let size_bytes = rig.disk.engine().info().size_bytes;
    let mut again = Setup { size_bytes, ..Setup::default() }.build();
    let data = rig.ram().data.clone();
    again.ram().data = data;
    again.disk.restore(&state).expect("restored");
    again
}

#[test]
fn a_block_erase_makes_everything_read_as_zeroes_and_says_so() {
    let mut rig = Rig::default();
    assert_eq!(rig.identify()[59] & 0xfc00, 0xdc00);
    let registers = rig.good(status());
    assert_eq!((registers.lba, registers.count), (0xffff, 0));
    let registers = at_once(&mut rig, block_erase(0));
    assert_eq!((registers.lba, registers.count), (0, IN_PROGRESS));
    rig.settle();
    let registers = rig.good(status());
    assert_eq!((registers.lba, registers.count), (0xffff, COMPLETED));
    assert!(rig.ram().data.iter().all(|byte| *byte == 0));
    assert!(
        rig.ram().log.iter().all(|(kind, ..)| *kind != OpKind::Discard),
        "a hint is not enough"
    );
    assert_eq!(rig.ram().log.last().expect("something").0, OpKind::Flush);
    rig.good(at48(0x25, 0, 64));
}

#[test]
fn an_overwrite_writes_its_pattern_as_often_as_asked() {
    for (count, passes, last) in [
        (1, 1, [0x11, 0x22, 0x33, 0x44]),
        (3, 3, [0x11, 0x22, 0x33, 0x44]),
        (2 | INVERT, 2, [0xee, 0xdd, 0xcc, 0xbb]),
        (0, 16, [0x11, 0x22, 0x33, 0x44]),
    ] {
        let mut rig = Rig::default();
        rig.good(overwrite(0x4433_2211, count));
        assert_eq!(rig.good(status()).count, COMPLETED);
        assert!(rig.ram().data.chunks(4).all(|bytes| bytes == last), "{count:x}");
        let ram = rig.ram();
        let flushes = ram.log.iter().filter(|(kind, ..)| *kind == OpKind::Flush).count();
        let written: u64 = ram.log.iter().map(|(_, range, _)| range.len_bytes).sum();
        assert_eq!((flushes, written), (passes, passes as u64 * (1 << 20)), "{count:x}");
    }
}

#[test]
fn hidden_and_uncorrectable_sectors_are_sanitized_too() {
    let mut rig = Rig::default();
    rig.good(RegisterH2D { features: 0x55, ..at48(0x45, 5, 1) });
    rig.good(at48(0x27, 0, 0));
    rig.good(at48(0x37, 99, 0));
    rig.good(block_erase(0));
    assert!(rig.ram().data.iter().all(|byte| *byte == 0));
    rig.good(at48(0x25, 0, 64));
}

#[test]
fn progress_is_told_in_65536ths() {
    let mut rig = large();
    at_once(&mut rig, overwrite(7, 2));
    let mut seen = vec![0];
    for _ in 0..10_000 {
        rig.now = rig.now.plus(1);
        rig.disk.poll(rig.now, &mut rig.host);
        let registers = at_once(&mut rig, status());
        if registers.count & IN_PROGRESS == 0 {
            break;
        }
        if *seen.last().expect("one") != registers.lba {
            seen.push(registers.lba);
        }
    }
    // Of five chunks in two passes, each of which ends with half a one.
    assert_eq!(seen, [0, 13107, 26214, 32768, 45875, 58982, 65534]);
}

#[test]
fn the_medium_is_out_of_reach_while_it_is_sanitized() {
    let mut rig = Rig::default();
    rig.ram().hangs = true;
    at_once(&mut rig, block_erase(0));
    rig.settle();
    for opcode in [
        0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x3d, 0x40, 0x42, 0x45, 0xc4, 0xc5, 0xc8,
        0xca, 0xce, 0x06, 0xe7, 0xea, 0x27, 0xf8, 0xf1, 0xf4, 0x70, 0x91, 0xc6,
    ] {
        let registers = at_once(&mut rig, RegisterH2D { features: 1, ..at28(opcode, 0, 1) });
        assert_eq!(registers.error, Error::ABRT, "{opcode:x}");
    }
    for opcode in [0x60, 0x61] {
        rig.issue(0, queued(opcode, 0, 0, 1));
        assert!(!is_acceptance(&rig.fises()[0], 0));
        rig.error_log();
    }
    for fis in [
        command(0xe5),
        command(0x98),
        command(0xe1),
        RegisterH2D { features: 3, count: 0x46, ..command(0xef) },
    ] {
        assert_eq!(at_once(&mut rig, fis).error, Error::empty());
    }
    rig.identify();
    let registers = at_once(&mut rig, overwrite(1, 1));
    assert_eq!((registers.error, registers.lba), (Error::ABRT, 0), "one at a time");
    rig.ram().hangs = false;
    rig.settle();
    rig.good(at48(0x25, 0, 1));
}

#[test]
fn a_reset_returns_at_once_and_a_stuck_operation_goes_on() {
    let mut rig = large();
    rig.ram().hangs = true;
    at_once(&mut rig, block_erase(0));
    rig.settle();
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.disk.control(4, rig.now, &mut rig.host);
    rig.disk.control(0, rig.now, &mut rig.host);
    assert_eq!(rig.disk.abort_all(rig.now), 0, "it is no command");
    assert_eq!(rig.fises().len(), 2, "both signatures");
    assert_eq!(at_once(&mut rig, status()).count, IN_PROGRESS);
    assert_eq!(at_once(&mut rig, at48(0x25, 0, 1)).error, Error::ABRT);
    rig.ram().hangs = false;
    rig.settle();
    assert_eq!(rig.good(status()).count, COMPLETED);
    assert!(rig.ram().data.iter().all(|byte| *byte == 0));
    let log = rig.ram().log.clone();
    assert_eq!(log.len(), 4, "three chunks and a flush: nothing was done twice: {log:?}");
}

#[test]
fn an_orphaned_write_does_not_land_on_the_sanitized_medium() {
    let mut rig = large();
    rig.ram().hangs = true;
    let beginning = 8 * CHUNK / 512 / 5;
    rig.host.memory[0].fill(0xaa);
    rig.issue(0, at48(0x35, beginning, 64));
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.fises();
    at_once(&mut rig, block_erase(0));
    // The chunk over the orphan is held until the orphan ends, though the rest could go on.
    rig.settle();
    rig.ram().hangs = false;
    rig.settle();
    let log: Vec<(OpKind, ByteRange)> =
        rig.ram().log.iter().map(|(kind, range, _)| (*kind, *range)).collect();
    let orphan = log.iter().position(|(kind, _)| *kind == OpKind::Write).expect("it landed");
    let over_it = log
        .iter()
        .position(|(kind, range)| *kind == OpKind::WriteZeroes && range.overlaps(log[orphan].1))
        .expect("it was erased");
    assert!(orphan < over_it, "{log:?}");
    assert!(rig.ram().data.iter().all(|byte| *byte == 0));
}

#[test]
fn an_operation_goes_on_after_a_loss_of_power() {
    let mut rig = large();
    at_once(&mut rig, overwrite(0x5a5a_5a5a, 2));
    while at_once(&mut rig, status()).lba == 0 {
        rig.now = rig.now.plus(1);
        rig.disk.poll(rig.now, &mut rig.host);
    }
    let mut rig = power_cycle(rig);
    let registers = at_once(&mut rig, status());
    assert_eq!(registers.count, IN_PROGRESS);
    assert_eq!(registers.lba, 0, "what has not been flushed counts as not done");
    assert_eq!(at_once(&mut rig, at48(0x25, 0, 1)).error, Error::ABRT);
    while at_once(&mut rig, status()).lba <= 0x8000 {
        rig.now = rig.now.plus(1);
        rig.disk.poll(rig.now, &mut rig.host);
    }
    let mut rig = power_cycle(rig);
    assert_eq!(at_once(&mut rig, status()).lba, 0x8000, "a pass that has ended is not repeated");
    rig.settle();
    assert_eq!(rig.good(status()).count, COMPLETED);
    assert!(rig.ram().data.iter().all(|byte| *byte == 0x5a));
}

#[test]
fn a_disk_that_retires_leaves_its_chunk_fenced_and_starts_no_other() {
    let mut rig = large();
    rig.ram().hangs = true;
    at_once(&mut rig, overwrite(0x5a5a_5a5a, 1));
    rig.settle();
    rig.disk.retire(rig.now);
    assert!(rig.disk.engine_status(rig.now).unwrap().operations.is_empty());
    assert!(!rig.disk.engine().ranges_in_doubt().is_empty(), "what storage has is in doubt");
    let state = rig.disk.saved_state(rig.now).expect("a state");
    rig.ram().hangs = false;
    rig.settle();
    assert!(rig.disk.engine().ranges_in_doubt().is_empty());
    assert!(rig.disk.engine_status(rig.now).unwrap().operations.is_empty());
    assert_eq!(at_once(&mut rig, at48(0x25, 0, 1)).error, Error::ABRT);
    let mut rig = Setup { size_bytes: 5 * CHUNK / 2, ..Setup::default() }.build();
    rig.disk.restore(&state).expect("restored");
    rig.settle();
    assert_eq!(rig.good(status()).count, COMPLETED);
}

#[test]
fn an_operation_waits_for_a_medium_that_can_be_written() {
    let mut rig = Rig::default();
    rig.ram().hangs = true;
    at_once(&mut rig, block_erase(0));
    let state = rig.disk.saved_state(rig.now).expect("a state");
    let mut rig = Setup { read_only: true, ..Setup::default() }.build();
    rig.disk.restore(&state).expect("restored");
    rig.settle();
    rig.bad(at48(0x25, 0, 1), Error::ABRT);
    let state = rig.disk.saved_state(rig.now).expect("a state");
    let mut rig = Rig::default();
    rig.disk.restore(&state).expect("restored");
    rig.settle();
    assert_eq!(rig.good(status()).count, COMPLETED);
}

#[test]
fn a_failed_operation_bars_the_medium_until_it_is_cleared() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::WriteZeroes, 0, IoError::Os(5)));
    rig.good(block_erase(FAILURE_MODE));
    let registers = rig.bad(status(), Error::ABRT);
    assert_eq!(registers.lba, 1, "sanitize command unsuccessful");
    rig.bad(at48(0x25, 0, 1), Error::ABRT);
    rig.disk.comreset(rig.now, &mut rig.host);
    let mut rig = power_cycle(rig);
    rig.bad(at48(0x25, 0, 1), Error::ABRT);
    assert_eq!(rig.good(sanitize(0, 0, 1)).count, 0);
    rig.good(at48(0x25, 0, 1));
}

#[test]
fn without_failure_mode_only_another_operation_ends_a_failure() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Flush, 0, IoError::Os(5)));
    rig.good(block_erase(0));
    rig.bad(sanitize(0, 0, 1), Error::ABRT);
    rig.bad(at48(0x25, 0, 1), Error::ABRT);
    rig.ram().fails = None;
    rig.bad(block_erase(FAILURE_MODE), Error::ABRT);
    rig.good(block_erase(0));
    assert_eq!(rig.good(status()).count, COMPLETED);
    rig.good(at48(0x25, 0, 1));
}

#[test]
fn freezing_bars_operations_until_a_hardware_reset_and_can_be_barred_itself() {
    let mut rig = Rig::default();
    assert_eq!(rig.good(freeze_lock()).count, FROZEN);
    assert_eq!(rig.bad(block_erase(0), Error::ABRT).lba, 3);
    assert_eq!(rig.bad(antifreeze_lock(), Error::ABRT).lba, 3);
    rig.good(at48(0x25, 0, 1));
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.fises();
    assert_eq!(rig.good(antifreeze_lock()).count, ANTIFREEZE);
    assert_eq!(rig.bad(freeze_lock(), Error::ABRT).lba, 4);
    let mut rig = power_cycle(rig);
    assert_eq!(rig.good(freeze_lock()).count, FROZEN);
}

#[test]
fn what_is_not_meant_or_not_offered_is_refused_with_a_reason() {
    let mut rig = Rig::default();
    for (fis, reason) in [
        (sanitize(0x12, 0, 0), 0),
        (sanitize(0x14, 0, 1), 0),
        (sanitize(0x20, 0, 0), 0),
        (sanitize(0x40, 0, 0), 0),
        (sanitize(0x11, 0x4372_7970, 0), 2),
        (sanitize(0x99, 0, 0), 2),
    ] {
        assert_eq!(rig.bad(fis, Error::ABRT).lba, reason, "{fis:x?}");
    }
    assert!(rig.ram().log.is_empty());
    let mut rig = Setup { read_only: true, ..Setup::default() }.build();
    rig.bad(block_erase(0), Error::ABRT);
    assert_eq!(rig.identify()[59] & 0xfc00, 0);
}

#[test]
fn a_locked_disk_is_not_sanitized() {
    let mut rig = Rig::default();
    rig.host.memory[0][..512].fill(0);
    rig.good(command(0xf1));
    let mut rig = power_cycle(rig);
    rig.bad(block_erase(0), Error::ABRT);
    rig.good(status());
    assert!(rig.ram().log.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_host_sends_nothing_moves_while_the_medium_is_sanitized(
        sent in prop::collection::vec(
            (any::<u8>(), 0u16..32, 0u64..64, 0u16..32, any::<bool>(), 0u8..32), 1..100),
        hangs in any::<bool>(),
    ) {
        let config = DiskConfig { physical_sector_bytes: 512, ..DiskConfig::default() };
        let mut rig = Setup { config, ..Setup::default() }.build();
        rig.ram().data.fill(0x5b);
        for memory in &mut rig.host.memory {
            memory.fill(0xc4);
        }
        rig.ram().hangs = hangs;
        // Fails in the end, so that the medium stays out of reach.
        rig.ram().fails = Some((OpKind::Flush, 0, IoError::Os(5)));
        at_once(&mut rig, overwrite(0x7777_7777, 1));
        for (command, features, lba, count, resets, slot) in sent {
            let fis = RegisterH2D {
                is_command: true, command, features, lba, count, device: 0x40,
                ..RegisterH2D::default()
            };
            rig.issue(slot, fis);
            rig.settle();
            if resets && command % 8 == 0 {
                rig.disk.comreset(rig.now, &mut rig.host);
            }
            let memory = &rig.host.memory[usize::from(slot)];
            let seen = memory.chunks(64).any(|it| it == [0x5b; 64] || it == [0x77; 64]);
            prop_assert!(!seen, "{:x?}", fis);
            rig.error_log();
        }
        rig.ram().hangs = false;
        rig.settle();
        prop_assert!(rig.ram().data.iter().all(|byte| *byte == 0x77));
    }
}
