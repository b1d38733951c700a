//! The end of the disk that a host hides, by SET MAX ADDRESS or its successor.

use freewheel_ata::fis::{Error, RegisterH2D};
use freewheel_ata::{CapacityControl, Device, DiskConfig};

use crate::support::*;

const SECTORS: u64 = 2048;

fn keep(fis: RegisterH2D) -> RegisterH2D {
    RegisterH2D { count: 1, ..fis }
}

fn power_cycle(rig: Rig) -> Rig {
    let state = rig.disk.saved_state(rig.now).expect("a state");
    let config = rig.disk.config().clone();
    let mut again = Setup { config, ..Setup::default() }.build();
    again.disk.restore(&state).expect("restored");
    again
}

/// What `hdparm -N` does.
fn set_max_ext(rig: &mut Rig, sectors: u64, is_kept: bool) {
    rig.good(at48(0x27, 0, 0));
    rig.good(at48(0x37, sectors - 1, is_kept.into()));
}

fn capacity(rig: &mut Rig) -> u64 {
    let words = rig.identify();
    let at_28 = u64::from(words[61]) << 16 | u64::from(words[60]);
    let at_48 = u64::from(words[101]) << 16 | u64::from(words[100]);
    assert_eq!(at_28, at_48);
    at_48
}

fn accessible_max() -> Rig {
    let config = DiskConfig {
        capacity_control: CapacityControl::AccessibleMaxAddress,
        physical_sector_bytes: 512,
        ..DiskConfig::default()
    };
    Setup { config, ..Setup::default() }.build()
}

#[test]
fn the_native_maximum_is_the_last_sector_whatever_is_accessible() {
    let mut rig = Rig::default();
    for sectors in [SECTORS, 1000] {
        assert_eq!(rig.good(command(0xf8)).lba, 2047);
        assert_eq!(rig.good(at48(0x27, 0, 0)).lba, 2047);
        set_max_ext(&mut rig, sectors, false);
        assert_eq!(capacity(&mut rig), sectors);
    }
    assert_eq!((rig.identify()[82] >> 10 & 1, rig.identify()[85] >> 10 & 1), (1, 1));
}

#[test]
fn hidden_sectors_are_not_there_for_any_command() {
    let mut rig = Rig::default();
    set_max_ext(&mut rig, 1000, false);
    rig.good(at48(0x25, 999, 1));
    for opcode in [0x25, 0x35, 0x24, 0x34, 0x42, 0xc8, 0xca, 0x70] {
        assert_eq!(rig.bad(at28(opcode, 1000, 1), Error::IDNF).lba, 1000, "{opcode:x}");
    }
    rig.bad(RegisterH2D { features: 0x55, ..at48(0x45, 1000, 1) }, Error::IDNF);
    rig.host.memory[0][..8].copy_from_slice(&(999u64 | 2 << 48).to_le_bytes());
    rig.bad(RegisterH2D { features: 1, ..at48(0x06, 0, 1) }, Error::IDNF);
    rig.issue(0, queued(0x60, 0, 999, 2));
    assert_eq!(rig.error_log()[2..7], [0x51, 0x10, 0xe8, 0x03, 0]);
    set_max_ext(&mut rig, SECTORS, false);
    rig.good(at48(0x25, 2047, 1));
}

#[test]
fn a_maximum_is_set_only_just_after_the_native_one_was_read() {
    let mut rig = Rig::default();
    rig.bad(at48(0x37, 999, 0), Error::ABRT);
    rig.bad(at28(0xf9, 999, 0), Error::ABRT);
    rig.good(at48(0x27, 0, 0));
    rig.identify();
    rig.bad(at48(0x37, 999, 0), Error::ABRT);
    rig.good(command(0xf8));
    rig.bad(at48(0x37, 999, 0), Error::ABRT);
    rig.good(command(0xf8));
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.bad(at28(0xf9, 999, 0), Error::ABRT);
    assert_eq!(capacity(&mut rig), SECTORS);
}

#[test]
fn a_maximum_behind_the_native_one_is_not_found() {
    let mut rig = Rig::default();
    rig.good(at48(0x27, 0, 0));
    rig.bad(at48(0x37, SECTORS, 0), Error::IDNF);
    rig.good(command(0xf8));
    rig.bad(at28(0xf9, SECTORS, 0), Error::IDNF);
}

#[test]
fn what_28_bits_set_is_not_for_48_bits_to_change() {
    let mut rig = Rig::default();
    rig.good(command(0xf8));
    rig.good(at28(0xf9, 999, 0));
    rig.good(at48(0x27, 0, 0));
    rig.bad(at48(0x37, 899, 0), Error::ABRT);
    rig.good(command(0xf8));
    rig.good(at28(0xf9, 2047, 0));
    set_max_ext(&mut rig, 900, false);
    rig.good(command(0xf8));
    rig.bad(at28(0xf9, 2047, 0), Error::ABRT);
}

#[test]
fn a_volatile_maximum_lasts_for_a_life_and_a_kept_one_for_good() {
    let mut rig = Rig::default();
    set_max_ext(&mut rig, 1500, true);
    set_max_ext(&mut rig, 1000, false);
    rig.disk.comreset(rig.now, &mut rig.host);
    assert_eq!(capacity(&mut rig), 1000, "settings are preserved");
    let mut rig = power_cycle(rig);
    assert_eq!(capacity(&mut rig), 1500);
    rig.bad(at48(0x25, 1500, 1), Error::IDNF);
    set_max_ext(&mut rig, SECTORS, true);
    assert_eq!(capacity(&mut power_cycle(rig)), SECTORS);
}

#[test]
fn without_settings_preservation_a_comreset_ends_a_volatile_maximum() {
    let mut rig = Rig::default();
    set_max_ext(&mut rig, 1000, false);
    rig.good(RegisterH2D { features: 0x90, count: 0x06, ..command(0xef) });
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.fises();
    assert_eq!(capacity(&mut rig), SECTORS);
}

#[test]
fn a_second_maximum_is_kept_only_after_a_reset() {
    let mut rig = Rig::default();
    set_max_ext(&mut rig, 1500, true);
    rig.good(at48(0x27, 0, 0));
    rig.bad(keep(at48(0x37, 1400, 0)), Error::IDNF);
    rig.disk.comreset(rig.now, &mut rig.host);
    set_max_ext(&mut rig, 1400, true);
}

fn password(rig: &mut Rig, features: u16, password: &[u8]) -> RegisterH2D {
    rig.host.memory[0][..512].fill(0);
    rig.host.memory[0][2..2 + password.len()].copy_from_slice(password);
    RegisterH2D { features, ..command(0xf9) }
}

#[test]
fn set_max_can_be_locked_with_a_password_and_frozen() {
    let mut rig = Rig::default();
    for features in [2, 3, 4, 5] {
        rig.bad(RegisterH2D { features, ..command(0xf9) }, Error::ABRT);
    }
    assert_eq!((rig.identify()[83] >> 8 & 1, rig.identify()[86] >> 8 & 1), (1, 0));
    let fis = password(&mut rig, 1, b"secret");
    rig.good(fis);
    assert_eq!(rig.identify()[86] >> 8 & 1, 1);
    rig.good(RegisterH2D { features: 2, ..command(0xf9) });
    rig.good(at48(0x27, 0, 0));
    rig.bad(at48(0x37, 999, 0), Error::ABRT);
    let fis = password(&mut rig, 3, b"wrong");
    rig.bad(fis, Error::ABRT);
    let fis = password(&mut rig, 3, b"secret");
    rig.good(fis);
    set_max_ext(&mut rig, 1000, false);
    rig.good(RegisterH2D { features: 2, ..command(0xf9) });
    for _ in 0..5 {
        let fis = password(&mut rig, 3, b"wrong");
        rig.bad(fis, Error::ABRT);
    }
    let fis = password(&mut rig, 3, b"secret");
    rig.bad(fis, Error::ABRT);
    rig.good(RegisterH2D { features: 4, ..command(0xf9) });
    rig.bad(RegisterH2D { features: 4, ..command(0xf9) }, Error::ABRT);
    let mut rig = power_cycle(rig);
    set_max_ext(&mut rig, 1000, false);
}

#[test]
fn an_erase_reaches_what_is_hidden() {
    let mut rig = Rig::default();
    rig.host.memory[0][..512].fill(0);
    rig.good(command(0xf1));
    set_max_ext(&mut rig, 1000, false);
    rig.good(command(0xf3));
    rig.good(command(0xf4));
    assert!(rig.ram().data.iter().all(|byte| *byte == 0));
}

#[test]
fn only_one_of_the_two_feature_sets_is_offered() {
    let mut rig = Rig::default();
    rig.bad(at48(0x78, 0, 0), Error::ABRT);
    assert_eq!(rig.identify()[119] >> 8 & 1, 0);
    let mut rig = accessible_max();
    let words = rig.identify();
    assert_eq!((words[119] >> 8 & 1, words[120] >> 8 & 1), (1, 1));
    assert_eq!((words[82] >> 10 & 1, words[85] >> 10 & 1, words[83] >> 8 & 1), (0, 0, 0));
    for opcode in [0x27, 0xf8, 0x37, 0xf9] {
        rig.bad(command(opcode), Error::ABRT);
    }
}

#[test]
fn the_accessible_maximum_is_kept_and_set_once_in_a_life() {
    let mut rig = accessible_max();
    assert_eq!(rig.good(at48(0x78, 0, 0)).lba, 2047);
    let set = |lba| RegisterH2D { features: 1, ..at48(0x78, lba, 0) };
    rig.bad(set(SECTORS), Error::IDNF);
    rig.good(set(999));
    assert_eq!(capacity(&mut rig), 1000);
    rig.bad(set(899), Error::ABRT);
    let mut rig = power_cycle(rig);
    assert_eq!(capacity(&mut rig), 1000);
    assert_eq!(rig.good(at48(0x78, 0, 0)).lba, 2047);
    rig.good(RegisterH2D { features: 2, ..at48(0x78, 0, 0) });
    rig.bad(set(2047), Error::ABRT);
    let mut rig = power_cycle(rig);
    rig.good(set(2047));
    assert_eq!(capacity(&mut rig), SECTORS);
}
