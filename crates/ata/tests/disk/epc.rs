//! Extended Power Conditions: SET FEATURES 4Ah, its log, and what time does.

use freewheel_ata::fis::{Error, RegisterH2D};
use freewheel_block::OpKind;

use crate::support::*;

const SECOND: u64 = 1_000_000_000;

const IDLE_A: u16 = 0x81;
const IDLE_B: u16 = 0x82;
const IDLE_C: u16 = 0x83;
const STANDBY_Y: u16 = 0x01;
const STANDBY_Z: u16 = 0x00;
const ALL: u16 = 0xff;
const ACTIVE: u16 = 0xff;

const RESTORE: u64 = 0;
const GO_TO: u64 = 1;
const TIMER: u64 = 2;
const STATE: u64 = 3;
const ENABLE_EPC: u64 = 4;
const DISABLE_EPC: u64 = 5;
const SAVE: u64 = 1 << 4;
const ENABLE: u64 = 1 << 5;
const DEFAULT: u64 = 1 << 6;
const MINUTES: u64 = 1 << 7;

fn epc(condition: u16, lba: u64) -> RegisterH2D {
    RegisterH2D { features: 0x4a, count: condition, lba, ..command(0xef) }
}

fn enabled() -> Rig {
    let mut rig = Rig::default();
    rig.good(epc(0, ENABLE_EPC));
    rig
}

fn mode(rig: &mut Rig) -> u16 {
    rig.good(command(0xe5)).count
}

fn mode_after(rig: &mut Rig, seconds: u64) -> u16 {
    rig.now = rig.now.plus(seconds * SECOND);
    mode(rig)
}

/// The descriptor of a condition: flags, and default, saved and current timer.
fn descriptor(rig: &mut Rig, page: u64, place: usize) -> (u8, [u32; 3]) {
    assert_eq!(rig.pio_in(at48(0x2f, page << 8 | 0x08, 1)), [512]);
    let bytes = &rig.host.memory[0][place * 64..][..64];
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((word(16), word(20), word(24)), (0, 1, 65_535 * 600));
    (bytes[1], [word(4), word(8), word(12)])
}

#[test]
fn nothing_but_enabling_is_done_while_it_is_disabled() {
    let mut rig = Rig::default();
    for subcommand in [RESTORE, GO_TO, TIMER | 1 << 8, STATE, DISABLE_EPC, 6, 7, 15] {
        rig.bad(epc(IDLE_A, subcommand), Error::ABRT);
    }
    assert_eq!(mode_after(&mut rig, 1_000_000), ACTIVE);
    rig.good(epc(0, ENABLE_EPC));
    assert_ne!(rig.identify()[120] & 1 << 7, 0);
    rig.good(epc(0, DISABLE_EPC));
    assert_eq!(rig.identify()[120] & 1 << 7, 0);
}

#[test]
fn time_without_access_goes_through_the_conditions_and_an_access_comes_back() {
    let mut rig = enabled();
    rig.good(epc(ALL, STATE | ENABLE));
    let mut at = 0;
    for (seconds, condition) in [
        (1, ACTIVE),
        (3, IDLE_A),
        (119, IDLE_A),
        (121, IDLE_B),
        (601, IDLE_C),
        (901, STANDBY_Y),
        (1801, STANDBY_Z),
        (99_999, STANDBY_Z),
    ] {
        assert_eq!(mode_after(&mut rig, seconds - at), condition, "after {seconds} s");
        at = seconds;
    }
    rig.good(at48(0x25, 0, 1));
    assert_eq!(mode(&mut rig), ACTIVE);
    assert_eq!(mode_after(&mut rig, 3), IDLE_A);
    rig.identify();
    assert_eq!(mode(&mut rig), IDLE_A, "that is no access");
}

#[test]
fn timers_are_set_in_tenths_of_a_second_or_in_minutes() {
    let mut rig = enabled();
    rig.good(epc(ALL, STATE));
    assert_eq!(mode_after(&mut rig, 99_999), ACTIVE, "none is enabled");
    rig.good(epc(IDLE_B, TIMER | ENABLE | 50 << 8));
    assert_eq!(mode_after(&mut rig, 4), ACTIVE);
    assert_eq!(mode_after(&mut rig, 2), IDLE_B);
    rig.good(epc(STANDBY_Y, TIMER | ENABLE | MINUTES | 2 << 8));
    assert_eq!(mode_after(&mut rig, 119), IDLE_B);
    assert_eq!(mode_after(&mut rig, 2), STANDBY_Y);
    rig.good(epc(STANDBY_Y, TIMER | 7 << 8));
    assert_eq!(mode_after(&mut rig, 99), IDLE_B, "set, and not enabled");
    assert_eq!(descriptor(&mut rig, 1, 6), (0xe2, [9_000, 9_000, 7]));
    for nonsense in [TIMER | ENABLE, TIMER | ENABLE | MINUTES] {
        rig.bad(epc(IDLE_B, nonsense), Error::ABRT);
    }
    for condition in [0x02, 0x80, 0x84, 0xfe] {
        rig.bad(epc(condition, TIMER | ENABLE | 1 << 8), Error::ABRT);
    }
}

#[test]
fn a_condition_is_entered_at_once() {
    let mut rig = enabled();
    for condition in [IDLE_C, IDLE_A, IDLE_B] {
        rig.good(epc(condition, GO_TO));
        assert_eq!(mode(&mut rig), condition);
    }
    assert!(rig.ram().log.is_empty());
    for condition in [STANDBY_Y, STANDBY_Z] {
        rig.good(epc(condition, GO_TO));
        assert_eq!(mode(&mut rig), condition);
        assert_eq!(rig.ram().log.pop().map(|it| it.0), Some(OpKind::Flush));
    }
    rig.bad(epc(ALL, GO_TO), Error::ABRT);
    // Held, delayed.
    rig.bad(epc(IDLE_A, GO_TO | 1 << 24), Error::ABRT);
    rig.bad(epc(IDLE_A, GO_TO | 1 << 25), Error::ABRT);
    rig.bad(epc(IDLE_A, 6), Error::ABRT);
}

#[test]
fn settings_are_saved_and_restored() {
    let mut rig = enabled();
    assert_eq!(descriptor(&mut rig, 0, 0), (0xfe, [20, 20, 20]));
    rig.good(epc(IDLE_A, TIMER | SAVE | 70 << 8));
    assert_eq!(descriptor(&mut rig, 0, 0), (0xf2, [20, 70, 70]));
    rig.good(epc(IDLE_A, TIMER | ENABLE | 90 << 8));
    assert_eq!(descriptor(&mut rig, 0, 0), (0xf6, [20, 70, 90]));
    rig.good(epc(IDLE_A, RESTORE));
    assert_eq!(descriptor(&mut rig, 0, 0), (0xf2, [20, 70, 70]));
    rig.good(epc(ALL, RESTORE | DEFAULT));
    assert_eq!(descriptor(&mut rig, 0, 0), (0xf6, [20, 70, 20]));
    rig.good(epc(ALL, RESTORE | DEFAULT | SAVE));
    assert_eq!(descriptor(&mut rig, 0, 0), (0xfe, [20, 20, 20]));
    assert_eq!(descriptor(&mut rig, 0, 2), (0xe2, [6_000; 3]));
    assert_eq!(descriptor(&mut rig, 1, 7), (0xe2, [18_000; 3]));
}

#[test]
fn what_is_saved_outlives_power_and_what_is_not_does_not() {
    let mut rig = enabled();
    rig.disk_state();
    rig.good(epc(IDLE_A, TIMER | ENABLE | SAVE | 70 << 8));
    let state = rig.disk_state().expect("a change to be saved");
    rig.good(epc(IDLE_A, TIMER | ENABLE | 300 << 8));
    assert_eq!(rig.disk_state(), None, "a setting of today");
    let mut next = Rig::default();
    next.disk.restore(&state).expect("restored");
    assert_ne!(next.identify()[120] & 1 << 7, 0, "enabled, as it was");
    assert_eq!(descriptor(&mut next, 0, 0), (0xfe, [20, 70, 70]));
    assert_eq!(mode_after(&mut next, 8), IDLE_A);
}

#[test]
fn the_older_commands_mean_its_conditions() {
    let mut rig = enabled();
    rig.good(command(0xe1));
    assert_eq!(mode(&mut rig), IDLE_A);
    rig.good(command(0xe0));
    assert_eq!(mode(&mut rig), STANDBY_Z);
    // IDLE with a Standby timer of 10 s.
    rig.good(at28(0xe3, 0, 2));
    assert_eq!(descriptor(&mut rig, 1, 7), (0xe6, [18_000, 18_000, 100]));
    assert_eq!(mode_after(&mut rig, 9), IDLE_A);
    assert_eq!(mode_after(&mut rig, 2), STANDBY_Z);
}

#[test]
fn advanced_power_management_and_it_exclude_each_other() {
    let mut rig = Rig::default();
    let apm = |level| RegisterH2D { features: 0x05, count: level, ..command(0xef) };
    rig.good(apm(0x80));
    rig.good(epc(0, ENABLE_EPC));
    let words = rig.identify();
    assert_eq!((words[86] & 1 << 3, words[120] & 1 << 7), (0, 1 << 7));
    rig.bad(apm(0x80), Error::ABRT);
    rig.good(epc(0, DISABLE_EPC));
    rig.good(apm(0x80));
}

#[test]
fn its_log_has_two_pages() {
    let mut rig = Rig::default();
    rig.pio_in(at48(0x2f, 0, 1));
    assert_eq!(rig.host.memory[0][16], 2);
    assert_eq!(rig.pio_in(at48(0x2f, 0x08, 2)), [512, 512]);
    rig.bad(at48(0x2f, 0x208, 1), Error::ABRT);
}
