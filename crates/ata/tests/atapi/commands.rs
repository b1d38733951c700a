//! What there is, and that nothing else is taken; settings, power conditions and sense data.

use freewheel_ata::fis::{CONTROL_SRST, Error, RegisterH2D, Status};
use freewheel_ata::{Device, packet_command_name};

use crate::support::{Rig, ata, packet, packet_fis, read_10};

const SIGNATURE_LBA: u64 = 0xeb_1401;

#[test]
fn every_packet_command_that_is_not_offered_is_refused() {
    let mut rig = Rig::loaded();
    for opcode in (0..=u8::MAX).filter(|opcode| packet_command_name(*opcode).is_none()) {
        assert_eq!(rig.check(&[opcode, 0, 0, 0, 1]), (5, 0x20, 0), "{opcode:x}");
    }
}

#[test]
fn every_ata_command_that_is_not_offered_is_aborted() {
    const OFFERED: [u8; 11] = [0x08, 0x90, 0xa0, 0xa1, 0xe0, 0xe1, 0xe2, 0xe3, 0xe5, 0xe6, 0xef];
    for opcode in (0..=u8::MAX).filter(|opcode| !OFFERED.contains(opcode)) {
        let mut rig = Rig::loaded();
        let (_, registers) = rig.run(ata(opcode), &[]);
        assert_eq!(registers.status, Status::DRDY | Status::ERR, "{opcode:x}");
        assert_eq!(registers.error, Error::ABRT, "{opcode:x}");
        rig.good(&read_10(0, 1), 2048);
    }
}

#[test]
fn device_reset_and_the_diagnostic_end_with_the_signature() {
    for opcode in [0x08, 0x90] {
        let mut rig = Rig::loaded();
        rig.good(&[0x1e, 0, 0, 0, 1], 0);
        let (_, registers) = rig.run(ata(opcode), &[]);
        assert_eq!((registers.status, registers.error.bits()), (Status::empty(), 1));
        assert_eq!((registers.lba, registers.count), (SIGNATURE_LBA, 1));
        assert!(!rig.drive.is_locked(), "{opcode:x}");
        assert_eq!(rig.check(&[0]), (6, 0x29, 0));
    }
}

fn set(feature: u16, count: u16) -> RegisterH2D {
    RegisterH2D { features: feature, count, ..ata(0xef) }
}

/// Words of IDENTIFY PACKET DEVICE data.
fn word(rig: &mut Rig, at: usize) -> u16 {
    rig.issue(ata(0xa1), packet(&[]));
    u16::from_le_bytes([rig.host.memory[2 * at], rig.host.memory[2 * at + 1]])
}

#[test]
fn features_that_are_set_are_shown() {
    let mut rig = Rig::empty();
    for (bit, count) in [(1 << 5, 5), (1 << 6, 6)] {
        for (feature, shows) in [(0x10, true), (0x90, false), (0x10, true)] {
            assert_eq!(rig.run(set(feature, count), &[]).1.status, Status::DRDY);
            assert_eq!(word(&mut rig, 79) & bit != 0, shows, "{feature:x} {count}");
        }
    }
    for (feature, count) in [(0x10, 1), (0x90, 9), (0x02, 0), (0x03, 0x23), (0x03, 0x0d)] {
        assert_eq!(rig.run(set(feature, count), &[]).1.error, Error::ABRT, "{feature:x} {count}");
    }
    // PIO by its default and by number, Multiword and Ultra DMA.
    for (mode, words) in [
        (0x00, [0x0007, 0x407f]),
        (0x0c, [0x0007, 0x407f]),
        (0x22, [0x0407, 0x007f]),
        (0x45, [7, 0x207f]),
    ] {
        assert_eq!(rig.run(set(0x03, mode), &[]).1.status, Status::DRDY);
        assert_eq!([word(&mut rig, 63), word(&mut rig, 88)], words, "{mode:x}");
    }
}

#[test]
fn a_soft_reset_reverts_settings_only_if_asked_to() {
    let mut rig = Rig::empty();
    for (revert, mode) in [(0x66, 1 << 10 | 7), (0xcc, 7)] {
        rig.run(set(0x03, 0x22), &[]);
        assert_eq!(rig.run(set(revert, 0), &[]).1.status, Status::DRDY);
        rig.drive.control(CONTROL_SRST, rig.now, &mut rig.host);
        rig.drive.control(0, rig.now, &mut rig.host);
        assert_eq!(word(&mut rig, 63), mode, "{revert:x}");
    }
}

#[test]
fn start_stop_unit_sets_power_conditions() {
    let mut rig = Rig::loaded();
    let mode = |rig: &mut Rig| rig.run(ata(0xe5), &[]).1.count;
    for (flags, expected) in [(0x20, 0x80), (0x30, 0), (0x10, 0xff), (0x00, 0x80), (0x01, 0xff)] {
        rig.good(&[0x1b, 0, 0, 0, flags], 0);
        assert_eq!(mode(&mut rig), expected, "{flags:x}");
    }
    assert_eq!(rig.check(&[0x1b, 0, 0, 0, 0x50]), (5, 0x24, 0));
}

#[test]
fn a_parameter_list_that_is_wrong_or_cut_is_told_as_such() {
    let mut rig = Rig::loaded();
    let mut list = rig.good(&[0x5a, 0, 1, 0, 0, 0, 0, 0, 20], 20);
    let select = |len_bytes: u8| [0x55, 0x10, 0, 0, 0, 0, 0, 0, len_bytes];
    list[12] = 1;
    rig.host.memory[..20].copy_from_slice(&list);
    assert_eq!(rig.check(&select(20)), (5, 0x26, 0));
    rig.host.memory[..20].copy_from_slice(&list);
    assert_eq!(rig.check(&select(19)), (5, 0x1a, 0));
}

#[test]
fn storage_that_breaks_its_rules_is_a_hardware_error() {
    let mut rig = Rig::loaded();
    rig.storage.lock().unwrap().lies = true;
    assert_eq!(rig.check(&read_10(0, 1)), (4, 0x44, 0));
    rig.storage.lock().unwrap().lies = false;
    let (_, registers) = rig.run(packet_fis(None), &read_10(0, 1));
    assert_eq!(registers.status, Status::DRDY);
}
