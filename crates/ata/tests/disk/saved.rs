//! State that outlives the process.

use freewheel_ata::{Device, DiskConfig, SAVED_STATE_MAX_BYTES, SavedStateError};
use freewheel_block::Nanos;

use crate::support::*;

/// The head of the section on power-on time.
const POWER_ON: [u8; 6] = [2, 0, 12, 0, 0, 0];
const MINUTE: u64 = 60_000_000_000;

fn state(rig: &Rig) -> Vec<u8> {
    rig.disk.saved_state(rig.now).expect("a disk has a state")
}

/// CRC-32, the slow and obvious way.
fn seal(bytes: &mut Vec<u8>) {
    let body = (bytes.len() - 16) as u32;
    bytes[12..16].copy_from_slice(&body.to_le_bytes());
    let mut crc = !0u32;
    for byte in bytes.iter() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    bytes.extend_from_slice(&(!crc).to_le_bytes());
}

/// `state` with another section at its end.
fn with_section(mut state: Vec<u8>, id: u16, length: u32, content: &[u8]) -> Vec<u8> {
    state.truncate(state.len() - 4);
    state.extend_from_slice(&id.to_le_bytes());
    state.extend_from_slice(&length.to_le_bytes());
    state.extend_from_slice(content);
    seal(&mut state);
    state
}

#[test]
fn a_state_comes_back_and_is_the_same_but_for_one_power_cycle() {
    let mut rig = Rig::default();
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.now = rig.now.plus(90 * MINUTE);
    let first = state(&rig);
    let mut second = Rig::default();
    second.disk.restore(&first).expect("restored");
    let again = state(&second);
    assert_ne!(again, first, "one power cycle more");
    assert_eq!(again.len(), first.len());
    let section = |state: &[u8]| {
        let at = state.windows(6).position(|window| window == POWER_ON).expect("there") + 6;
        state[at..at + 12].to_vec()
    };
    assert_eq!(section(&first)[..8], (90 * MINUTE).to_le_bytes());
    assert_eq!(section(&again)[..8], (90 * MINUTE).to_le_bytes());
    assert_eq!((section(&first)[8], section(&again)[8]), (1, 2));
}

#[test]
fn a_state_is_given_at_the_start_and_then_only_every_few_minutes() {
    let mut rig = Rig::default();
    assert!(rig.disk.take_saved_state(rig.now).is_some(), "it has been switched on");
    for _ in 0..9 {
        rig.now = rig.now.plus(MINUTE);
        rig.good(at48(0x25, 0, 1));
        assert_eq!(rig.disk.take_saved_state(rig.now), None);
    }
    rig.now = rig.now.plus(MINUTE);
    assert!(rig.disk.take_saved_state(rig.now).is_some());
    assert_eq!(rig.disk.take_saved_state(rig.now), None);
}

#[test]
fn sections_of_a_later_version_are_kept() {
    let mut rig = Rig::default();
    let later = with_section(state(&rig), 0xfffe, 5, b"later");
    rig.disk.restore(&later).expect("restored");
    let kept = state(&rig);
    assert!(kept.windows(11).any(|window| window == b"\xfe\xff\x05\0\0\0later"));
    Rig::default().disk.restore(&kept).expect("restored");
}

#[test]
fn another_disks_state_is_refused() {
    let rig = Rig::default();
    let own = state(&rig);
    let with = |config: DiskConfig, size_bytes: u64| {
        let mut rig = Setup { config, size_bytes, ..Setup::default() }.build();
        rig.disk.restore(&own).expect_err("refused")
    };
    let other = DiskConfig { serial: "OTHER".into(), ..DiskConfig::default() };
    let error = with(other, 1 << 20);
    assert!(matches!(error, SavedStateError::OtherSerial { .. }), "{error}");
    assert!(error.to_string().contains("FW00000000") && error.to_string().contains("OTHER"));
    let error = with(DiskConfig::default(), 2 << 20);
    assert!(matches!(error, SavedStateError::OtherSize { .. }), "{error}");
    let native = DiskConfig { logical_sector_bytes: 4096, ..DiskConfig::default() };
    assert!(matches!(with(native, 1 << 20), SavedStateError::OtherSize { .. }));
}

#[test]
fn whatever_is_damaged_is_noticed_and_changes_nothing() {
    let mut rig = Rig::default();
    let good = state(&rig);
    for length in 0..good.len() {
        assert!(rig.disk.restore(&good[..length]).is_err(), "cut off at {length}");
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(rig.disk.restore(&bad).is_err(), "bit {bit}");
    }
    let mut long = good.clone();
    long.push(0);
    assert!(matches!(rig.disk.restore(&long), Err(SavedStateError::Length { .. })));
    let huge = vec![0; SAVED_STATE_MAX_BYTES + 1];
    assert!(matches!(rig.disk.restore(&huge), Err(SavedStateError::TooLong(_))));
    let mut later = good.clone();
    later[8] = 2;
    assert_eq!(rig.disk.restore(&later), Err(SavedStateError::Version(2)));
    assert_eq!(rig.disk.restore(b"something else entirely"), Err(SavedStateError::NotAState));
    assert_eq!(state(&rig), good);
}

#[test]
fn a_checksum_that_is_right_does_not_make_nonsense_good() {
    let mut rig = Rig::default();
    let good = state(&rig);
    // A section that is longer than what is there, one that is there twice, half a head.
    let cases = [
        with_section(good.clone(), 0xfffe, 100, b"short"),
        with_section(with_section(good.clone(), 0xfffe, 0, b""), 0xfffe, 0, b""),
        with_section(good.clone(), 0xfffe, u32::MAX, b""),
    ];
    for bad in cases {
        let error = rig.disk.restore(&bad).expect_err("refused");
        assert!(matches!(error, SavedStateError::Sections { .. }), "{error}");
    }
    let mut empty = good[..16].to_vec();
    seal(&mut empty);
    assert_eq!(rig.disk.restore(&empty), Err(SavedStateError::NoIdentity));
    // A power-on time without its end.
    let at = good.windows(6).position(|window| window == POWER_ON).expect("there");
    let mut cut = good[..good.len() - 4].to_vec();
    cut.remove(at + 6);
    cut[at + 2] = 11;
    seal(&mut cut);
    assert_eq!(rig.disk.restore(&cut), Err(SavedStateError::Section("power-on time")));
    assert_eq!(state(&rig), good);
    assert_eq!(rig.now, Nanos(1));
}

#[test]
fn a_state_of_countless_sections_is_refused() {
    let mut rig = Rig::default();
    let mut many = state(&rig);
    for id in 0..1000 {
        many = with_section(many, 0x4000 + id, 0, &[]);
    }
    assert!(matches!(rig.disk.restore(&many), Err(SavedStateError::Sections { .. })));
}
