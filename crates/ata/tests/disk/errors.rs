use freewheel_ata::Device;
use freewheel_ata::fis::{Error, RegisterH2D, Status};
use freewheel_block::{IoError, OpKind};

use crate::support::*;

const READY: Status = Status::DRDY.union(Status::DSC);

#[test]
fn a_read_that_fails_is_uncorrectable_at_its_first_bad_sector() {
    for (opcode, error) in [
        (0x25, IoError::Os(5)),
        (0xc8, IoError::ShortTransfer),
        (0x24, IoError::Os(5)),
        (0x42, IoError::Os(5)),
    ] {
        let mut rig = Rig::default();
        rig.ram().fails = Some((OpKind::Read, 300 * 512, error));
        let registers = rig.bad(at48(opcode, 290, 20), Error::UNC);
        assert_eq!(registers.lba, 300, "{opcode:x}");
    }
}

#[test]
fn a_write_that_fails_is_aborted_at_its_sector() {
    for (opcode, error) in
        [(0x35, IoError::Os(5)), (0xca, IoError::NoSpace), (0x3d, IoError::Os(28))]
    {
        let mut rig = Rig::default();
        rig.ram().fails = Some((OpKind::Write, 40 * 512, error));
        let registers = rig.bad(at48(opcode, 40, 2), Error::ABRT);
        assert_eq!(registers.lba, 40);
    }
}

#[test]
fn a_pio_write_that_fails_ends_by_its_only_register_fis() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Write, 0, IoError::Os(5)));
    let fises = rig.run_all(at28(0x30, 0, 4));
    assert_eq!(fises.len(), 2, "one request for data, one end");
}

#[test]
fn a_flush_that_fails_is_aborted() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Flush, 0, IoError::Os(5)));
    for opcode in [0xe7, 0xea, 0xe0, 0xe6] {
        rig.bad(command(opcode), Error::ABRT);
    }
}

#[test]
fn a_backend_that_makes_no_sense_is_a_device_fault() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Read, 0, IoError::BackendProtocol));
    let registers = rig.run(at48(0x25, 0, 1));
    assert_eq!(registers.status, READY | Status::ERR | Status::DF);
    assert_eq!(registers.error, Error::ABRT);
}

#[test]
fn a_scatter_list_that_is_too_short_ends_each_command_once_and_badly() {
    for opcode in [0x25, 0x35, 0x24, 0x34, 0x29, 0x39, 0xec, 0x2f, 0x47, 0x06] {
        let mut rig = Rig::default();
        rig.host.memory[0].truncate(500);
        let mut fis = at48(opcode, 0, 1);
        fis.features = 1;
        rig.bad(fis, Error::ABRT);
        rig.host.memory[0].resize(512, 0);
        rig.identify();
    }
}

#[test]
fn every_opcode_that_is_not_offered_is_aborted() {
    let mut rig = Rig::default();
    for opcode in 0..=255 {
        if freewheel_ata::command_name(opcode).is_none() {
            rig.bad(command(opcode), Error::ABRT);
        }
    }
    assert_eq!(freewheel_ata::command_name(0x60), Some("READ FPDMA QUEUED"));
}

#[test]
fn commands_that_are_refused_on_purpose_have_no_name_and_change_nothing() {
    // As `absent.rs` has them, in its order.
    let absent = [
        0x03, 0x38, 0x87, 0xc0, 0xcd, 0x08, 0x0b, 0x22, 0x23, 0x32, 0x33, 0x26, 0x36, 0xc7, 0xcc,
        0xa2, 0x2a, 0x2b, 0x3a, 0x3b, 0x51, 0x50, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x92, 0x93, 0xa0,
        0xa1, 0xb1, 0xd1, 0xda, 0xde, 0xdf, 0xed,
    ];
    let mut rig = Rig::default();
    let before = (rig.identify(), rig.ram().data.clone());
    for opcode in absent {
        assert_eq!(freewheel_ata::command_name(opcode), None, "{opcode:x}");
        rig.bad(at48(opcode, 1, 1), Error::ABRT);
    }
    for subcommand in [0x00, 0x01, 0xff] {
        rig.bad(RegisterH2D { features: subcommand, ..command(0x00) }, Error::ABRT);
    }
    assert_eq!(freewheel_ata::command_name(0x00), Some("NOP"));
    assert!((rig.identify(), rig.ram().data.clone()) == before);
    assert!(rig.ram().log.is_empty());
}

#[test]
fn data_damaged_on_the_link_ends_its_command_with_an_interface_crc_error() {
    // Reads and writes by DMA and PIO, data of the device itself, a TRIM's payload.
    for opcode in [0x25, 0x35, 0x24, 0x34, 0xec, 0x2f] {
        let mut rig = Rig::default();
        rig.host.crc = true;
        rig.bad(at48(opcode, 0, 1), Error::ICRC | Error::ABRT);
        rig.good(at48(0x25, 0, 1));
    }
    let mut rig = Rig::default();
    rig.host.crc = true;
    rig.bad(RegisterH2D { features: 1, ..at48(0x06, 0, 1) }, Error::ICRC | Error::ABRT);
}

#[test]
fn a_write_whose_data_was_damaged_on_the_link_does_not_reach_the_medium() {
    let mut rig = Rig::default();
    rig.host.crc = true;
    rig.bad(at48(0x35, 0, 8), Error::ICRC | Error::ABRT);
    assert!(rig.ram().log.is_empty());
}

#[test]
fn a_queued_command_whose_data_was_damaged_on_the_link_is_in_the_log() {
    let mut rig = Rig::default();
    for tag in 0..4 {
        rig.issue(tag, queued(0x60, tag, u64::from(tag) * 8, 8));
    }
    rig.fises();
    rig.host.crc = true;
    rig.settle();
    let (status, error, active) = rig.set_device_bits();
    assert_eq!((status, error), (READY | Status::ERR, Error::ICRC | Error::ABRT));
    assert_eq!(active, 0b1110, "the others that had their data are complete");
    rig.issue(0, at48(0x2f, 0x10, 1));
    rig.settle();
    assert_eq!(rig.host.memory[0][..4], [0, 0, 0x51, 0x84]);
}

#[test]
fn an_interface_crc_error_is_not_the_next_commands() {
    // The command before has ended.
    let mut rig = Rig::default();
    rig.host.crc = true;
    rig.bad(at48(0x35, 0, 8), Error::ICRC | Error::ABRT);
    rig.ram().fails = Some((OpKind::Write, 0, IoError::Os(5)));
    rig.bad(at48(0x35, 0, 8), Error::ABRT);

    // The port was stopped before it ended.
    let mut rig = Rig::default();
    rig.host.crc = true;
    rig.issue(0, at48(0x35, 0, 8));
    assert_eq!(rig.disk.abort_all(rig.now), 1);
    rig.ram().fails = Some((OpKind::Write, 0, IoError::Os(5)));
    rig.bad(at48(0x35, 0, 8), Error::ABRT);

    // The queue broke before it ended.
    let mut rig = Rig::default();
    rig.host.crc = true;
    rig.issue(0, queued(0x61, 0, 0, 8));
    rig.issue(1, queued(0x61, 1, u64::MAX >> 16, 8));
    rig.issue(0, at48(0x2f, 0x10, 1));
    rig.settle();
    rig.ram().fails = Some((OpKind::Write, 0, IoError::Os(5)));
    rig.bad(at48(0x35, 0, 8), Error::ABRT);
}
