//! The Security feature set: what a password opens, and what it closes.

use freewheel_ata::Device;
use freewheel_ata::fis::{Error, RegisterH2D};
use freewheel_block::{IoError, OpKind, OpState};
use proptest::prelude::*;

use crate::support::*;

const USER: u16 = 0;
const MASTER: u16 = 1;
const ENHANCED: u16 = 2;
const MAXIMUM: u16 = 1 << 8;

const SET_PASSWORD: u8 = 0xf1;
const UNLOCK: u8 = 0xf2;
const ERASE_PREPARE: u8 = 0xf3;
const ERASE_UNIT: u8 = 0xf4;
const FREEZE_LOCK: u8 = 0xf5;
const DISABLE_PASSWORD: u8 = 0xf6;

/// Puts the data of a security command where the host has it.
fn form(rig: &mut Rig, selector: u16, password: &[u8]) {
    let block = &mut rig.host.memory[0][..512];
    block.fill(0);
    block[..2].copy_from_slice(&selector.to_le_bytes());
    block[2..2 + password.len()].copy_from_slice(password);
}

fn secure(rig: &mut Rig, opcode: u8, selector: u16, password: &[u8]) {
    form(rig, selector, password);
    rig.good(command(opcode));
}

fn refuse(rig: &mut Rig, opcode: u8, selector: u16, password: &[u8]) {
    form(rig, selector, password);
    rig.bad(command(opcode), Error::ABRT);
}

/// The same disk, switched off and on.
fn power_cycle(rig: Rig) -> Rig {
    let state = rig.disk.saved_state(rig.now).expect("a state");
    let mut again = Rig::default();
    let data = rig.ram().data.clone();
    again.ram().data = data;
    again.disk.restore(&state).expect("restored");
    again
}

fn locked(level: u16) -> Rig {
    let mut rig = Rig::default();
    secure(&mut rig, SET_PASSWORD, MASTER, b"master");
    secure(&mut rig, SET_PASSWORD, USER | level, b"user");
    power_cycle(rig)
}

fn word_128(rig: &mut Rig) -> u16 {
    rig.identify()[128]
}

#[test]
fn without_a_password_the_feature_set_is_offered_and_disabled() {
    let mut rig = power_cycle(Rig::default());
    let words = rig.identify();
    assert_eq!((words[82] >> 1 & 1, words[85] >> 1 & 1), (1, 0));
    assert_eq!((words[92], words[128]), (0xfffe, 0x21));
    refuse(&mut rig, UNLOCK, MASTER, b"");
    refuse(&mut rig, DISABLE_PASSWORD, MASTER, b"");
}

#[test]
fn a_user_password_locks_the_disk_when_it_is_switched_on_again() {
    let mut rig = Rig::default();
    secure(&mut rig, SET_PASSWORD, USER, b"user");
    assert_eq!(word_128(&mut rig), 0x23, "enabled, not locked");
    rig.good(at48(0x25, 0, 1));
    let mut rig = power_cycle(rig);
    assert_eq!(word_128(&mut rig), 0x27);
    assert_eq!(rig.identify()[85] >> 1 & 1, 1);
    rig.bad(at48(0x25, 0, 1), Error::ABRT);
    secure(&mut rig, UNLOCK, USER, b"user");
    assert_eq!(word_128(&mut rig), 0x23);
    rig.good(at48(0x25, 0, 1));
}

#[test]
fn a_password_moves_by_pio() {
    let mut rig = Rig::default();
    form(&mut rig, USER, b"user");
    let fises = rig.run_all(command(SET_PASSWORD));
    assert_eq!(fises.len(), 2, "one request for data, one end: {fises:?}");
    assert_eq!(rig.host.out_bytes, 512);
}

#[test]
fn a_master_password_unlocks_at_the_high_level_only() {
    let mut rig = locked(0);
    secure(&mut rig, UNLOCK, MASTER, b"master");
    secure(&mut rig, DISABLE_PASSWORD, MASTER, b"master");
    assert_eq!(word_128(&mut rig), 0x21);

    let mut rig = locked(MAXIMUM);
    assert_eq!(word_128(&mut rig), 0x127);
    refuse(&mut rig, UNLOCK, MASTER, b"master");
    secure(&mut rig, UNLOCK, USER, b"user");
    refuse(&mut rig, DISABLE_PASSWORD, MASTER, b"master");
    secure(&mut rig, DISABLE_PASSWORD, USER, b"user");
}

#[test]
fn a_master_password_has_an_identifier() {
    let mut rig = Rig::default();
    for (identifier, expected) in [(0, 0xfffe), (0xffff, 0xfffe), (0x1234, 0x1234)] {
        form(&mut rig, MASTER, b"master");
        rig.host.memory[0][34..36].copy_from_slice(&u16::to_le_bytes(identifier));
        rig.good(command(SET_PASSWORD));
        assert_eq!(rig.identify()[92], expected);
    }
    assert_eq!(word_128(&mut rig), 0x21, "a master password alone locks nothing");
    assert_eq!(power_cycle(rig).identify()[92], 0x1234);
}

#[test]
fn five_wrong_passwords_end_all_attempts_in_this_life() {
    let mut rig = locked(0);
    for attempt in 0..5u16 {
        assert_eq!(word_128(&mut rig) >> 4 & 1, 0);
        refuse(&mut rig, UNLOCK, attempt & MASTER, b"wrong");
    }
    assert_eq!(word_128(&mut rig), 0x37);
    refuse(&mut rig, UNLOCK, USER, b"user");
    rig.good(command(ERASE_PREPARE));
    refuse(&mut rig, ERASE_UNIT, USER, b"user");
    rig.disk.comreset(rig.now, &mut rig.host);
    refuse(&mut rig, UNLOCK, USER, b"user");
    let mut rig = power_cycle(rig);
    secure(&mut rig, UNLOCK, USER, b"user");
    for _ in 0..9 {
        refuse(&mut rig, UNLOCK, USER, b"wrong");
    }
    secure(&mut rig, UNLOCK, USER, b"user");
}

#[test]
fn a_locked_disk_keeps_user_data_to_itself() {
    let mut rig = locked(0);
    let before = rig.ram().data.clone();
    for opcode in [
        0x20, 0x21, 0x24, 0x25, 0x29, 0x30, 0x31, 0x34, 0x35, 0x39, 0x3d, 0x40, 0x41, 0x42, 0x45,
        0xc4, 0xc5, 0xc8, 0xc9, 0xca, 0xcb, 0xce, 0x06, 0xe7, 0xea,
    ] {
        let features = if opcode == 0x45 { 0x55 } else { 1 };
        rig.bad(RegisterH2D { features, ..at28(opcode, 0, 1) }, Error::ABRT);
    }
    for opcode in [0x60, 0x61] {
        rig.issue(0, queued(opcode, 0, 0, 1));
        assert!(!is_acceptance(&rig.fises()[0], 0), "refused before it is accepted");
        rig.error_log();
    }
    for opcode in [SET_PASSWORD, DISABLE_PASSWORD] {
        refuse(&mut rig, opcode, USER, b"user");
    }
    rig.bad(command(FREEZE_LOCK), Error::ABRT);
    for fis in [command(0xe5), command(0x90), command(0xe0), command(0xe1), command(0xc6)] {
        rig.run(fis);
    }
    rig.identify();
    assert_eq!(rig.pio_in(at48(0x2f, 0x30, 1)), [512]);
    rig.good(RegisterH2D { features: 0x03, count: 0x46, ..command(0xef) });
    assert!(rig.ram().log.iter().all(|(kind, ..)| *kind == OpKind::Flush));
    assert_eq!(rig.ram().data, before);
}

#[test]
fn a_frozen_disk_takes_no_security_command_until_it_is_switched_on_again() {
    let mut rig = Rig::default();
    secure(&mut rig, SET_PASSWORD, USER, b"user");
    rig.good(command(FREEZE_LOCK));
    rig.good(command(FREEZE_LOCK));
    assert_eq!(word_128(&mut rig), 0x2b);
    for opcode in [SET_PASSWORD, UNLOCK, ERASE_PREPARE, ERASE_UNIT, DISABLE_PASSWORD] {
        refuse(&mut rig, opcode, USER, b"user");
    }
    rig.good(at48(0x25, 0, 1));
    rig.disk.comreset(rig.now, &mut rig.host);
    assert_eq!(word_128(&mut rig), 0x2b, "preserved, as SATA has it");
    assert_eq!(word_128(&mut power_cycle(rig)), 0x27);
}

#[test]
fn without_settings_preservation_a_comreset_locks_again() {
    let mut rig = Rig::default();
    secure(&mut rig, SET_PASSWORD, USER, b"user");
    rig.good(command(FREEZE_LOCK));
    rig.good(RegisterH2D { features: 0x90, count: 0x06, ..command(0xef) });
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.fises();
    assert_eq!(word_128(&mut rig), 0x27);
}

#[test]
fn an_erase_zeroes_everything_and_ends_the_password() {
    for (selector, password) in
        [(USER, &b"user"[..]), (MASTER, b"master"), (USER | ENHANCED, b"user")]
    {
        let mut rig = locked(MAXIMUM);
        rig.good(command(ERASE_PREPARE));
        secure(&mut rig, ERASE_UNIT, selector, password);
        assert!(rig.ram().data.iter().all(|byte| *byte == 0));
        assert_eq!(rig.ram().log.last().expect("something was done").0, OpKind::Flush);
        assert_eq!(word_128(&mut rig), 0x21);
        rig.good(at48(0x25, 0, 1));
        assert_eq!(word_128(&mut power_cycle(rig)), 0x21);
    }
}

#[test]
fn an_orphaned_write_does_not_bring_data_back_after_an_erase() {
    let mut rig = Rig::default();
    secure(&mut rig, SET_PASSWORD, USER, b"user");
    rig.ram().hangs = true;
    rig.host.memory[0].fill(0xaa);
    rig.issue(0, at48(0x35, 1000, 64));
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.good(command(ERASE_PREPARE));
    form(&mut rig, USER, b"user");
    rig.fises();
    rig.issue(0, command(ERASE_UNIT));
    rig.settle();
    let status = rig.disk.engine_status(rig.now).expect("an engine");
    assert!(!status.orphans.is_empty());
    let states: Vec<OpState> = status.operations.iter().map(|it| it.state).collect();
    assert_eq!(states, [OpState::Held], "the erase waits for it");
    assert_eq!(rig.fises().len(), 1, "and has only asked for its data");
    rig.ram().hangs = false;
    rig.settle();
    assert_eq!(rig.fises().len(), 1, "it has ended");
    assert_eq!(word_128(&mut rig), 0x21);
    assert!(rig.ram().data.iter().all(|byte| *byte == 0));
}

#[test]
fn an_erase_needs_its_preparation_just_before_it() {
    let mut rig = locked(0);
    refuse(&mut rig, ERASE_UNIT, USER, b"user");
    rig.good(command(ERASE_PREPARE));
    rig.identify();
    refuse(&mut rig, ERASE_UNIT, USER, b"user");
    rig.good(command(ERASE_PREPARE));
    refuse(&mut rig, ERASE_UNIT, USER, b"wrong");
    refuse(&mut rig, ERASE_UNIT, USER, b"user");
    assert!(rig.ram().log.is_empty());
}

#[test]
fn an_erase_that_fails_or_is_cut_short_leaves_the_password() {
    let mut rig = locked(0);
    rig.ram().fails = Some((OpKind::WriteZeroes, 0, IoError::Os(5)));
    rig.good(command(ERASE_PREPARE));
    refuse(&mut rig, ERASE_UNIT, USER, b"user");
    assert_eq!(word_128(&mut rig), 0x27);
    rig.ram().fails = None;
    rig.ram().hangs = true;
    rig.good(command(ERASE_PREPARE));
    form(&mut rig, USER, b"user");
    rig.issue(0, command(ERASE_UNIT));
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.ram().hangs = false;
    rig.settle();
    assert_eq!(word_128(&mut rig), 0x27);
}

#[test]
fn an_erase_repairs_uncorrectable_sectors() {
    let mut rig = Rig::default();
    secure(&mut rig, SET_PASSWORD, USER, b"user");
    rig.good(RegisterH2D { features: 0x55, ..at48(0x45, 5, 1) });
    rig.good(command(ERASE_PREPARE));
    secure(&mut rig, ERASE_UNIT, USER, b"user");
    rig.good(at48(0x25, 0, 64));
}

#[test]
fn a_read_only_medium_can_be_unlocked_but_not_erased() {
    let state = {
        let mut rig = Rig::default();
        secure(&mut rig, SET_PASSWORD, USER, b"user");
        rig.disk.saved_state(rig.now).expect("a state")
    };
    let mut rig = Setup { read_only: true, ..Setup::default() }.build();
    rig.disk.restore(&state).expect("restored");
    rig.good(command(ERASE_PREPARE));
    refuse(&mut rig, ERASE_UNIT, USER, b"user");
    secure(&mut rig, UNLOCK, USER, b"user");
    rig.good(at48(0x25, 0, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_host_sends_a_locked_disk_lets_no_user_data_in_or_out(
        sent in prop::collection::vec(
            (any::<u8>(), 0u16..9, 0u64..64, 0u16..9, 0u32..3, any::<bool>()), 1..120),
    ) {
        let mut rig = locked(MAXIMUM);
        // A pattern that nothing but the medium has.
        rig.ram().data.fill(0x5b);
        for memory in &mut rig.host.memory {
            memory.fill(0xc4);
        }
        for (command, features, lba, count, auxiliary, resets) in sent {
            let fis = RegisterH2D {
                is_command: true, command, features, lba, count, auxiliary, device: 0x40,
                ..RegisterH2D::default()
            };
            rig.issue(0, fis);
            rig.settle();
            if resets && command % 8 == 0 {
                rig.disk.comreset(rig.now, &mut rig.host);
            }
            let seen = rig.host.memory[0].chunks(64).any(|bytes| bytes == [0x5b; 64]);
            prop_assert!(!seen, "{:x?}", fis);
            rig.error_log();
            rig.host.memory[0].fill(0xc4);
        }
        prop_assert!(rig.ram().data.iter().all(|byte| *byte == 0x5b));
    }
}
