//! The PACKET protocol, the ATA commands of a packet device, and resets.

use freewheel_ata::Device;
use freewheel_ata::fis::{CONTROL_SRST, DeviceFis, Error, RegisterH2D, Registers, Status};

use crate::support::{Rig, ata, content, packet, packet_fis, read_10};

fn is_signature(registers: &Registers) -> bool {
    registers.lba == 0xeb_1401 && registers.count == 1
}

fn only_signature(rig: &mut Rig) {
    let fises = rig.fises();
    let [(None, DeviceFis::RegisterD2H { interrupt: true, registers })] = fises[..] else {
        panic!("{fises:?}");
    };
    assert!(is_signature(&registers));
    assert_eq!((registers.status, registers.error.bits()), (Status::empty(), 1));
}

#[test]
fn pio_moves_in_blocks_of_at_most_the_byte_count_limit() {
    let mut rig = Rig::loaded();
    let (setups, registers) = rig.run(packet_fis(Some(3000)), &read_10(7, 2));
    assert_eq!(registers.status, Status::DRDY);
    assert_eq!(registers.count, 3, "command complete");
    assert_eq!(rig.host.memory[..4096], content("A", 7, 2));
    let sizes: Vec<_> = setups
        .iter()
        .map(|setup| match *setup {
            DeviceFis::PioSetup {
                interrupt,
                to_host,
                registers,
                ending_status,
                transfer_count_bytes,
            } => {
                assert!(interrupt && to_host);
                assert_eq!(registers.status, Status::DRDY | Status::DRQ);
                assert_eq!(registers.count, 2, "data to the host");
                assert_eq!(registers.lba >> 8, u64::from(transfer_count_bytes));
                assert!(ending_status.contains(Status::BSY), "a Register FIS follows");
                transfer_count_bytes
            }
            ref other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [3000, 1096]);
}

#[test]
fn a_tiny_byte_count_limit_costs_no_more_fises_than_a_large_one() {
    let mut rig = Rig::loaded();
    let (setups, registers) = rig.run(packet_fis(Some(2)), &read_10(0, 100));
    assert_eq!((setups.len(), registers.status), (2, Status::DRDY));
    assert_eq!(rig.host.memory[..100 * 2048], content("A", 0, 100));
}

#[test]
fn pio_data_with_a_limit_of_zero_is_refused_and_no_data_needs_none() {
    let mut rig = Rig::loaded();
    let (_, registers) = rig.run(packet_fis(Some(0)), &read_10(0, 1));
    assert_eq!((registers.status, registers.error.bits()), (Status::DRDY | Status::ERR, 0x50));
    let (_, registers) = rig.run(packet_fis(Some(0)), &[0]);
    assert_eq!(registers.status, Status::DRDY);
}

#[test]
fn identify_packet_device_says_what_hosts_look_for() {
    let mut rig = Rig::empty();
    rig.host.fises.clear();
    rig.issue(ata(0xa1), packet(&[]));
    assert!(matches!(
        rig.fises()[..],
        [(
            Some(3),
            DeviceFis::PioSetup {
                interrupt: true,
                to_host: true,
                ending_status: Status::DRDY,
                transfer_count_bytes: 512,
                ..
            }
        )]
    ));
    let word =
        |at: usize| u16::from_le_bytes([rig.host.memory[2 * at], rig.host.memory[2 * at + 1]]);
    assert_eq!(word(0), 0x85c0);
    assert_eq!(word(49) & 0x0b00, 0x0b00, "DMA, LBA, IORDY");
    assert_eq!(word(62), 0, "needs no DMADIR");
    assert_eq!(word(78) & 1 << 5, 1 << 5, "asynchronous notification");
    assert_eq!(word(82) & 0x0210, 0x0210, "DEVICE RESET, PACKET");
    assert_eq!(word(88), 0x407f);
    assert_eq!(&rig.host.memory[54..62], b"RFEEHW L");
    let sum = rig.host.memory[..512].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    assert_eq!(sum, 0);
}

#[test]
fn commands_of_disks_are_aborted_with_the_signature_where_hosts_probe() {
    let mut rig = Rig::empty();
    for (opcode, shows) in [(0x20, true), (0xec, true), (0x25, false), (0x00, false), (0x60, false)]
    {
        let (_, registers) = rig.run(ata(opcode), &[]);
        assert_eq!((registers.status, registers.error), (Status::DRDY | Status::ERR, Error::ABRT));
        assert_eq!(is_signature(&registers), shows, "{opcode:x}");
    }
}

#[test]
fn every_reset_returns_at_once_and_sends_the_signature_while_storage_hangs() {
    let resets: [fn(&mut Rig); 3] = [
        |rig| rig.drive.comreset(rig.now, &mut rig.host),
        |rig| {
            rig.drive.control(CONTROL_SRST, rig.now, &mut rig.host);
            rig.drive.control(0, rig.now, &mut rig.host);
        },
        |rig| {
            assert_eq!(rig.drive.abort_all(rig.now), 1);
            rig.drive.comreset(rig.now, &mut rig.host);
        },
    ];
    for reset in resets {
        let mut rig = Rig::loaded();
        rig.hang(true);
        rig.issue(packet_fis(None), packet(&read_10(0, 32)));
        rig.drive.poll(rig.now, &mut rig.host);
        rig.host.fises.clear();
        reset(&mut rig);
        only_signature(&mut rig);
        // What comes late reaches nobody (C2, C3).
        rig.host.memory.fill(0xcc);
        rig.hang(false);
        rig.settle();
        assert_eq!(rig.fises(), []);
        assert!(rig.host.memory.iter().all(|byte| *byte == 0xcc));
        assert_eq!(rig.check(&[0]), (6, 0x29, 0), "the reset is reported");
        rig.good(&read_10(5, 1), 2048);
    }
}

#[test]
fn a_command_for_a_sleeping_drive_ends_by_a_reset_alone() {
    let mut rig = Rig::loaded();
    rig.run(ata(0xe6), &[]);
    rig.host.fises.clear();
    rig.issue(packet_fis(None), packet(&[0]));
    rig.settle();
    assert_eq!(rig.fises(), []);
    rig.drive.comreset(rig.now, &mut rig.host);
    only_signature(&mut rig);
    let (_, registers) = rig.run(ata(0xe5), &[]);
    assert_eq!(registers.count, 0, "standby");
}

#[test]
fn power_modes_are_told_and_a_read_wakes_the_drive() {
    let mut rig = Rig::loaded();
    for (opcode, code) in [(0xe0, 0), (0xe1, 0x80), (0xe2, 0), (0xe3, 0x80)] {
        rig.run(ata(opcode), &[]);
        assert_eq!(rig.run(ata(0xe5), &[]).1.count, code);
    }
    rig.good(&read_10(0, 1), 2048);
    assert_eq!(rig.run(ata(0xe5), &[]).1.count, 0xff);
}

#[test]
fn settings_outlive_comreset_while_they_are_preserved() {
    let mut rig = Rig::empty();
    let set = |feature: u16, count| RegisterH2D { features: feature, count, ..ata(0xef) };
    assert_eq!(rig.run(set(0x03, 0x42), &[]).1.status, Status::DRDY);
    assert_eq!(rig.run(set(0x03, 0x47), &[]).1.error, Error::ABRT);
    let mode = |rig: &mut Rig| {
        rig.issue(ata(0xa1), packet(&[]));
        rig.host.memory[177]
    };
    rig.drive.comreset(rig.now, &mut rig.host);
    assert_eq!(mode(&mut rig), 1 << 2);
    rig.run(set(0x90, 0x06), &[]);
    rig.drive.comreset(rig.now, &mut rig.host);
    assert_eq!(mode(&mut rig), 1 << 6);
}

#[test]
fn damage_on_the_link_is_told_as_such() {
    let mut rig = Rig::loaded();
    rig.host.crc = true;
    assert_eq!(rig.check(&read_10(0, 1)), (0xb, 0x08, 3));
    rig.host.crc = true;
    assert_eq!(rig.check(&[0x12, 0, 0, 0, 36]), (0xb, 0x08, 3));
}

#[test]
fn a_buffer_that_is_too_short_ends_the_command_and_the_next_one_works() {
    let mut rig = Rig::loaded();
    rig.host.memory.truncate(4096);
    assert_eq!(rig.check(&read_10(0, 16)), (0xb, 0x4b, 0));
    rig.host.memory.resize(1 << 20, 0);
    rig.good(&read_10(0, 16), 16 * 2048);
}

#[test]
fn device_reset_wakes_a_sleeping_drive_and_frees_a_busy_one() {
    let mut rig = Rig::loaded();
    rig.run(ata(0xe6), &[]);
    assert!(is_signature(&rig.run(ata(0x08), &[]).1), "asleep");
    assert_eq!(rig.run(ata(0xe5), &[]).1.count, 0, "standby");
    rig.run(ata(0xe6), &[]);
    rig.issue(packet_fis(None), packet(&[0]));
    assert!(is_signature(&rig.run(ata(0x08), &[]).1), "asleep, with a command that it swallowed");
    assert_eq!(rig.check(&[0]), (6, 0x29, 0), "the reset is reported");
    rig.hang(true);
    rig.host.memory.fill(0xcc);
    rig.issue(packet_fis(None), packet(&read_10(0, 32)));
    rig.drive.poll(rig.now, &mut rig.host);
    assert!(is_signature(&rig.run(ata(0x08), &[]).1), "busy");
    rig.hang(false);
    rig.settle();
    assert_eq!(rig.fises(), []);
    assert!(rig.host.memory.iter().all(|byte| *byte == 0xcc));
}
