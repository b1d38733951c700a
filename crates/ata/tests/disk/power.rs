use freewheel_ata::Device;
use freewheel_ata::fis::{Error, RegisterH2D};
use freewheel_block::{Nanos, OpKind};

use crate::support::*;

const SECOND: u64 = 1_000_000_000;

fn mode(rig: &mut Rig) -> u16 {
    rig.good(command(0xe5)).count
}

#[test]
fn the_power_mode_is_told() {
    let mut rig = Rig::default();
    assert_eq!(mode(&mut rig), 0xff);
    rig.good(command(0xe1));
    assert_eq!(mode(&mut rig), 0x80);
    rig.good(command(0xe0));
    assert_eq!(mode(&mut rig), 0x00);
    rig.good(at48(0x25, 0, 1));
    assert_eq!(mode(&mut rig), 0xff, "access wakes it");
}

#[test]
fn standby_and_sleep_flush_first() {
    for opcode in [0xe0, 0xe2, 0xe6, 0x94, 0x96, 0x99] {
        let mut rig = Rig::default();
        rig.ram().hangs = true;
        rig.issue(0, command(opcode));
        rig.settle();
        assert!(rig.fises().is_empty());
        rig.ram().hangs = false;
        rig.settle();
        assert_eq!(rig.fises().len(), 1);
        assert_eq!(rig.ram().log[0].0, OpKind::Flush);
    }
}

#[test]
fn the_standby_timer_expires_and_an_access_restarts_it() {
    let mut rig = Rig::default();
    rig.good(at28(0xe3, 0, 2));
    rig.now = rig.now.plus(9 * SECOND);
    assert_eq!(mode(&mut rig), 0x80);
    rig.good(at48(0x25, 0, 1));
    rig.now = rig.now.plus(9 * SECOND);
    assert_eq!(mode(&mut rig), 0xff);
    rig.now = rig.now.plus(2 * SECOND);
    assert_eq!(mode(&mut rig), 0x00);
    rig.good(at28(0xe3, 0, 0));
    rig.now = Nanos(u64::MAX / 2);
    assert_eq!(mode(&mut rig), 0x80);
    rig.bad(at28(0xe2, 0, 254), Error::ABRT);
    rig.bad(at28(0xe3, 0, 254), Error::ABRT);
}

#[test]
fn only_a_reset_wakes_a_sleeping_disk() {
    for srst in [false, true] {
        let mut rig = Rig::default();
        rig.good(command(0xe6));
        for slot in 0..3 {
            rig.issue(slot, command(0xec));
        }
        rig.settle();
        assert!(rig.fises().is_empty());
        if srst {
            rig.disk.control(4, rig.now, &mut rig.host);
            rig.disk.control(0, rig.now, &mut rig.host);
        } else {
            assert_eq!(rig.disk.abort_all(rig.now), 3);
            rig.disk.comreset(rig.now, &mut rig.host);
        }
        assert_eq!(rig.fises().len(), 1);
        rig.identify();
        assert_eq!(mode(&mut rig), 0x00);
    }
}

#[test]
fn every_timer_code_means_its_period() {
    const MINUTE: u64 = 60;
    for (code, seconds) in [
        (1, 5),
        (12, 60),
        (240, 1200),
        (241, 30 * MINUTE),
        (251, 330 * MINUTE),
        (252, 21 * MINUTE),
        (253, 8 * 60 * MINUTE),
        (255, 21 * MINUTE + 15),
    ] {
        for opcode in [0xe3, 0x97] {
            let mut rig = Rig::default();
            rig.good(at28(opcode, 0, code));
            rig.now = rig.now.plus((seconds - 1) * SECOND);
            assert_eq!(mode(&mut rig), 0x80, "{code}");
            rig.now = rig.now.plus(2 * SECOND);
            assert_eq!(mode(&mut rig), 0x00, "{code}");
        }
    }
}

#[test]
fn the_commands_of_ata_1_do_the_same() {
    let mut rig = Rig::default();
    for (opcode, expected) in [(0x95, 0x80), (0x94, 0x00), (0x97, 0x80), (0x96, 0x00)] {
        rig.good(command(opcode));
        assert_eq!(rig.good(command(0x98)).count, expected, "{opcode:x}");
        assert_eq!(mode(&mut rig), expected);
    }
    rig.good(command(0x99));
    rig.issue(0, command(0xec));
    rig.settle();
    assert!(rig.fises().is_empty(), "it sleeps");
}

#[test]
fn heads_are_unloaded_if_the_command_says_the_word() {
    let mut rig = Rig::default();
    let unload = RegisterH2D { features: 0x44, ..at28(0xe1, 0x55_4e4c, 0) };
    let registers = rig.good(unload);
    assert_eq!(registers.lba & 0xff, 0xc4);
    assert_eq!(mode(&mut rig), 0x80);
    rig.bad(RegisterH2D { lba: 0x55_4e4d, ..unload }, Error::ABRT);
    assert_eq!(rig.good(at28(0xe1, 0x55_4e4c, 0)).lba & 0xff, 0x4c, "an ordinary one");
}

#[test]
fn the_level_of_advanced_power_management_is_kept_and_reported() {
    const APM: u16 = 1 << 3;
    let set = |subcommand, count| RegisterH2D { features: subcommand, count, ..command(0xef) };
    let mut rig = Rig::default();
    assert_eq!(rig.identify()[86] & APM, 0);
    for level in [1, 0x7f, 0x80, 0xfe] {
        rig.good(set(0x05, level));
        let words = rig.identify();
        assert_eq!((words[86] & APM, words[91]), (APM, level));
    }
    for level in [0, 0xff] {
        rig.bad(set(0x05, level), Error::ABRT);
    }
    rig.disk.comreset(rig.now, &mut rig.host);
    assert_eq!(rig.identify()[91], 0xfe);
    rig.good(set(0x85, 0));
    assert_eq!(rig.identify()[86] & APM, 0);
}

#[test]
fn a_disk_that_powers_up_in_standby_waits_for_the_word() {
    let set = |subcommand| RegisterH2D { features: subcommand, ..command(0xef) };
    let mut rig = Rig::default();
    rig.disk_state();
    rig.good(set(0x06));
    assert_ne!(rig.identify()[86] & 1 << 5, 0);
    assert_eq!(mode(&mut rig), 0xff, "not before the next power-on");
    let state = rig.disk_state().expect("a change to be saved");

    let mut rig = Rig::default();
    rig.disk.restore(&state).expect("restored");
    rig.disk.comreset(rig.now, &mut rig.host);
    assert_eq!(mode(&mut rig), 0x00);
    assert_eq!(rig.identify()[2], 0x738c);
    rig.bad(at48(0x25, 0, 1), Error::ABRT);
    rig.bad(at48(0x35, 0, 1), Error::ABRT);
    rig.good(command(0xe7));
    assert_eq!(mode(&mut rig), 0x00);
    rig.good(set(0x07));
    assert_eq!((mode(&mut rig), rig.identify()[2]), (0xff, 0xc837));
    rig.good(at48(0x25, 0, 1));
    rig.good(set(0x07));
    rig.good(set(0x86));
    let state = rig.disk_state().expect("a change to be saved");
    let mut rig = Rig::default();
    rig.disk.restore(&state).expect("restored");
    rig.good(at48(0x25, 0, 1));
}

/// A disk that waits in standby after power-on, with the state that `prepare` leaves before.
fn waiting(prepare: impl FnOnce(&mut Rig)) -> Rig {
    let mut rig = Rig::default();
    rig.good(RegisterH2D { features: 0x06, ..command(0xef) });
    prepare(&mut rig);
    let state = rig.disk.saved_state(rig.now).expect("a state");
    let mut rig = Rig::default();
    rig.disk.restore(&state).expect("restored");
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.settle();
    rig.fises();
    rig
}

#[test]
fn a_sanitize_operation_waits_with_a_disk_that_waits_in_standby() {
    let block_erase = RegisterH2D { features: 0x12, ..at48(0xb4, 0x426b_4572, 0) };
    let status = at48(0xb4, 0, 0);
    let mut rig = waiting(|rig| rig.issue(0, block_erase));
    rig.now = rig.now.plus(3600 * SECOND);
    rig.settle();
    assert!(rig.ram().log.is_empty(), "the medium is left alone");
    assert_eq!(rig.disk.next_wakeup(), None, "and nothing spins");
    assert_eq!(rig.good(status).count, 1 << 14, "in progress");
    rig.good(RegisterH2D { features: 0x07, ..command(0xef) });
    rig.settle();
    assert_eq!(rig.good(status).count, 1 << 15, "completed");
    assert!(rig.ram().data.iter().all(|byte| *byte == 0));
}

#[test]
fn a_disk_that_waits_in_standby_starts_nothing_on_its_own_account() {
    let mut rig = waiting(|_| {});
    let smart = |low: u64| RegisterH2D { features: 0xd4, lba: 0xc2_4f00 | low, ..command(0xb0) };
    // Short, extended, selective, and a captive one, whose command would never end.
    for test in [0x01, 0x02, 0x04, 0x81] {
        rig.bad(smart(test), Error::ABRT);
    }
    // Off-line data collection and ending a test need no medium.
    rig.good(smart(0x00));
    rig.good(smart(0x7f));
    for fis in [
        RegisterH2D { features: 0x12, ..at48(0xb4, 0x426b_4572, 0) },
        RegisterH2D { features: 0x14, ..at48(0xb4, 0x4f57 << 32, 1) },
        RegisterH2D { features: 0x55, ..at48(0x45, 5, 1) },
    ] {
        rig.bad(fis, Error::ABRT);
    }
    assert!(rig.ram().log.is_empty());
}
