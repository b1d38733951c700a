//! The logs and the two ways to them.

use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D, Status};
use freewheel_ata::{Device, DiskConfig, Rotation};
use freewheel_block::{IoError, Nanos, OpKind};

use crate::smart::{read, sealed, smart};
use crate::support::*;

fn log(address: u8, page: u16, count: u16) -> RegisterH2D {
    let lba = u64::from(page >> 8) << 32 | u64::from(page & 0xff) << 8 | u64::from(address);
    at48(0x2f, lba, count)
}

fn write_log(address: u8, page: u16, count: u16) -> RegisterH2D {
    RegisterH2D { command: 0x3f, ..log(address, page, count) }
}

fn quad(page: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
}

/// Number of pages by log address.
fn pages_in(directory: &[u8]) -> Vec<u16> {
    assert_eq!(directory[..2], [1, 0], "the version");
    directory.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

#[test]
fn the_directory_lists_the_logs_that_there_are() {
    let mut rig = Rig::default();
    let directory = read(&mut rig, log(0, 0, 1));
    for (address, pages) in pages_in(&directory).into_iter().enumerate().skip(1) {
        let address = address as u8;
        if pages == 0 {
            rig.bad(log(address, 0, 1), Error::ABRT);
        } else {
            assert_eq!(rig.pio_in(log(address, 0, pages)), vec![512; pages.min(2).into()]);
            rig.bad(log(address, pages, 1), Error::ABRT);
            rig.bad(log(address, 0, pages + 1), Error::ABRT);
            rig.bad(log(address, 0x100, 1), Error::ABRT);
        }
    }
}

#[test]
fn smart_has_a_directory_of_its_own() {
    let mut rig = Rig::default();
    let directory = read(&mut rig, smart(0xd5, 0, 1));
    let pages = pages_in(&directory);
    assert_eq!((pages[1], pages[2], pages[3], pages[6], pages[7], pages[9]), (1, 4, 0, 1, 0, 1));
    for (address, pages) in pages.into_iter().enumerate().skip(1) {
        let address = address as u8;
        if pages == 0 {
            rig.bad(smart(0xd5, address, 1), Error::ABRT);
        } else {
            assert_eq!(rig.pio_in(smart(0xd5, address, pages)), vec![512; pages.min(2).into()]);
            rig.bad(smart(0xd5, address, pages + 1), Error::ABRT);
        }
        rig.bad(smart(0xd5, address, 0), Error::ABRT);
    }
}

#[test]
fn nothing_is_read_of_no_pages_or_of_a_wrapping_range() {
    let mut rig = Rig::default();
    rig.bad(log(0, 0, 0), Error::ABRT);
    rig.bad(log(0x30, 0xffff, 0xffff), Error::ABRT);
}

#[test]
fn the_dma_form_moves_the_same_data() {
    let mut rig = Rig::default();
    rig.pio_in(log(0x30, 1, 1));
    let data = std::mem::replace(&mut rig.host.memory[0], vec![0; 512]);
    rig.good(RegisterH2D { command: 0x47, ..log(0x30, 1, 1) });
    assert_eq!(rig.host.memory[0], data[..512]);
}

#[test]
fn the_identify_log_agrees_with_identify_device() {
    let mut rig = Rig::default();
    rig.identify();
    let data = rig.host.memory[0][..512].to_vec();
    let pages = read(&mut rig, log(0x30, 0, 9));
    assert_eq!(pages[8..17], [8, 0, 1, 2, 3, 4, 5, 6, 8]);
    assert_eq!(pages[512..1024], data);
    for (number, page) in pages.chunks(512).enumerate() {
        let is_listed = number == 0 || pages[9..17].contains(&(number as u8));
        match number {
            1 => {}
            _ if is_listed => assert_eq!(page[..8], [1, 0, number as u8, 0, 0, 0, 0, 0x80]),
            _ => assert_eq!(page, [0; 512], "not there"),
        }
    }
    assert_eq!(read(&mut rig, smart(0xd5, 0x30, 9)), pages, "by SMART as well");
}

const VALID: u64 = 1 << 63;

#[test]
fn the_identify_log_tells_capacity_and_capabilities() {
    let config = DiskConfig {
        wwn: Some(0x5001_2345_6789_abcd),
        rotation: Rotation::Rpm(7200),
        queue_depth: 7,
        ..DiskConfig::default()
    };
    let mut rig = Setup { config, ..Setup::default() }.build();
    let page = read(&mut rig, log(0x30, 2, 1));
    assert_eq!(quad(&page, 8), VALID | 2048);
    assert_eq!(quad(&page, 16), VALID | 3 << 61 | 3 << 16);
    assert_eq!(quad(&page, 24), VALID | 256);
    assert_eq!(quad(&page, 32), 0, "no buffer size");

    let page = read(&mut rig, log(0x30, 3, 1));
    let capabilities = quad(&page, 8);
    // SMART with error logging and self-test, 48-bit, GPL and its DMA form, FUA, flush, cache.
    for bit in [63, 39, 31, 25, 24, 23, 22, 20, 12, 11, 8, 7, 2] {
        assert_eq!(capabilities >> bit & 1, 1, "{bit}");
    }
    assert_eq!(capabilities >> 10 & 1, 0, "no streaming");
    assert_eq!(quad(&page, 24), VALID | 7200);
    assert_eq!((quad(&page, 56), quad(&page, 64)), (0x5001_2345_6789_abcd, VALID));
    assert_eq!(quad(&page, 72), VALID | 1, "TRIM");
    assert_eq!(quad(&page, 136), VALID | 6, "queue depth, less one");
}

#[test]
fn the_identify_log_follows_the_settings() {
    let mut rig = Rig::default();
    let settings = |rig: &mut Rig| quad(&read(rig, log(0x30, 4, 1)), 8);
    let before = settings(&mut rig);
    assert_eq!(before & (1 << 13 | 1 << 11 | 1 << 7 | 1 << 6), 1 << 13 | 1 << 7 | 1 << 6);
    for (bit, change) in [(13, 0x82), (7, 0x55), (11, 0xcc)] {
        let was = settings(&mut rig);
        rig.good(RegisterH2D { features: change, ..command(0xef) });
        assert_eq!(settings(&mut rig), was ^ 1 << bit, "{bit}");
    }
    rig.good(smart(0xd9, 0, 0));
    assert_eq!(settings(&mut rig) >> 6 & 1, 0, "SMART");
}

#[test]
fn the_identify_log_has_strings_security_and_the_link() {
    let config = DiskConfig { serial: "S1".into(), sata_generation: 2, ..DiskConfig::default() };
    let mut rig = Setup { config, ..Setup::default() }.build();
    let page = read(&mut rig, log(0x30, 5, 1));
    assert_eq!(page[8..12], *b"1S  ", "two characters in a word, as IDENTIFY DEVICE has them");
    assert_eq!(page[48..62], *b"rFeehwee liDks");
    let identify = rig.identify();
    let page = read(&mut rig, log(0x30, 6, 1));
    assert_eq!(quad(&page, 16) >> 6 & 1, u64::from(identify[128] & 1));
    assert_eq!(quad(&page, 48) >> 1 & 1, u64::from(identify[59] >> 12 & 1));
    let page = read(&mut rig, log(0x30, 8, 1));
    let capabilities = quad(&page, 8);
    // Settings preservation, READ LOG DMA EXT, Phy event counters, the queue, three generations.
    for bit in [63, 23, 14, 9, 7, 2, 1, 0] {
        assert_eq!(capabilities >> bit & 1, 1, "{bit}");
    }
    assert_eq!(quad(&page, 16), VALID | 1 << 8 | 2, "preservation is enabled; 3 Gb/s");
}

#[test]
fn device_statistics_are_those_of_the_commands() {
    const THERE: u64 = 3 << 62;
    let mut rig = Rig::default();
    rig.good(at48(0x25, 0, 40));
    rig.good(at48(0x35, 0, 30));
    rig.good(at48(0x35, 0, 3));
    rig.host.crc = true;
    rig.bad(at48(0x35, 0, 3), Error::ICRC | Error::ABRT);
    rig.ram().hangs = true;
    rig.issue(0, at48(0x25, 0, 1));
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.disk.comreset(rig.now, &mut rig.host);
    rig.ram().hangs = false;
    rig.settle();
    rig.now = Nanos(5 * 3_600_000_000_000 + 1_000);
    let pages = read(&mut rig, log(0x04, 0, 7));
    assert_eq!(pages[..13], [1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 4, 6]);
    let page = |number: usize| &pages[number * 512..][..512];
    for number in [1, 4, 6] {
        assert_eq!(page(number)[..8], [1, 0, number as u8, 0, 0, 0, 0, 0]);
    }
    for number in [2, 3, 5] {
        assert_eq!(page(number), [0; 512]);
    }
    let general: Vec<u64> = (0..8).map(|index| quad(page(1), 8 + index * 8)).collect();
    let counts = [1, 5, 33, 2, 40, 1].map(|count| THERE | count);
    assert_eq!(general[..6], counts);
    assert_eq!(general[6..], [0, THERE], "no clock; nothing pending");
    assert_eq!((quad(page(4), 8), quad(page(4), 16)), (THERE, THERE | 1));
    let transport: Vec<u64> = (0..3).map(|index| quad(page(6), 8 + index * 8)).collect();
    assert_eq!(transport, [THERE | 2, 0, THERE | 1]);
    assert_eq!(read(&mut rig, smart(0xd5, 0x04, 7)), pages);
}

#[test]
fn phy_event_counters_count_until_they_are_reset() {
    let mut rig = Rig::default();
    rig.host.crc = true;
    rig.bad(at48(0x25, 0, 1), Error::ICRC | Error::ABRT);
    for _ in 0..3 {
        rig.disk.comreset(rig.now, &mut rig.host);
    }
    rig.fises();
    let counters = |rig: &mut Rig, features| {
        let page = sealed(rig, RegisterH2D { features, ..log(0x11, 0, 1) });
        assert_eq!(page[..4], [0; 4]);
        assert_eq!(page[22..511], [0; 489]);
        let entries = page[4..22].chunks_exact(6);
        let entry =
            |it: &[u8]| (u16::from_le_bytes([it[0], it[1]]), quad(&[it, &[0; 4]].concat(), 2));
        entries.map(entry).collect::<Vec<_>>()
    };
    let counted = [(0x2001, 1), (0x2002, 1), (0x200a, 3)];
    assert_eq!(counters(&mut rig, 0), counted);
    assert_eq!(counters(&mut rig, 1), counted);
    assert_eq!(counters(&mut rig, 0), [(0x2001, 0), (0x2002, 0), (0x200a, 0)]);
}

#[test]
fn what_the_host_writes_into_its_logs_it_reads_back() {
    let mut rig = Rig::default();
    let fill = |rig: &mut Rig, value: u8, bytes: usize| rig.host.memory[0][..bytes].fill(value);
    fill(&mut rig, 1, 16 * 512);
    rig.good(write_log(0x80, 0, 16));
    fill(&mut rig, 2, 512);
    rig.good(RegisterH2D { command: 0x57, ..write_log(0x80, 15, 1) });
    fill(&mut rig, 3, 2 * 512);
    rig.good(smart(0xd6, 0x9f, 2));
    let first = read(&mut rig, log(0x80, 0, 16));
    assert_eq!(first[..15 * 512], [1; 15 * 512]);
    assert_eq!(first[15 * 512..], [2; 512]);
    let last = read(&mut rig, smart(0xd5, 0x9f, 3));
    assert_eq!(last[..1024], [3; 1024]);
    assert_eq!(last[1024..], [0; 512]);
    assert_eq!(read(&mut rig, log(0x81, 0, 1)), [0; 512], "another log");
}

#[test]
fn a_log_is_written_by_pio_in_blocks() {
    let mut rig = Rig::default();
    let fises = rig.run_all(write_log(0x80, 0, 3));
    let setups = fises.iter().filter(|fis| {
        matches!(fis, DeviceFis::PioSetup { to_host: false, transfer_count_bytes: 512, .. })
    });
    assert_eq!((setups.count(), fises.len()), (2, 3));
    let Some(DeviceFis::RegisterD2H { interrupt: true, registers }) = fises.last() else {
        panic!("{fises:?}");
    };
    assert_eq!(registers.status, Status::DRDY | Status::DSC);
}

#[test]
fn a_log_that_is_not_the_hosts_or_too_short_is_not_written() {
    let mut rig = Rig::default();
    for opcode in [0x3f, 0x57] {
        for address in (0..0x80).chain(0xa0..=0xff) {
            rig.bad(RegisterH2D { command: opcode, ..write_log(address, 0, 1) }, Error::ABRT);
        }
        for (page, count) in [(0, 0), (0, 17), (16, 1), (0x100, 1), (0xffff, 0xffff)] {
            rig.bad(RegisterH2D { command: opcode, ..write_log(0x80, page, count) }, Error::ABRT);
        }
    }
    for address in (0..9).chain(0x0a..0x80).chain(0xa0..=0xff) {
        rig.bad(smart(0xd6, address, 1), Error::ABRT);
    }
    for count in [0, 17, 0xff] {
        rig.bad(smart(0xd6, 0x80, count), Error::ABRT);
    }
    rig.bad(smart(0xd6, 0x09, 2), Error::ABRT);
    assert_eq!(rig.host.out_bytes, 0, "and nothing was asked for");
}

#[test]
fn a_log_whose_data_does_not_come_is_left_as_it_was() {
    for opcode in [0x3f, 0x57] {
        let mut rig = Rig::default();
        rig.good(write_log(0x80, 0, 1));
        let before = read(&mut rig, log(0x80, 0, 16));
        let fis = RegisterH2D { command: opcode, ..write_log(0x80, 0, 2) };
        rig.host.memory[0].fill(9);
        rig.host.crc = true;
        rig.bad(fis, Error::ICRC | Error::ABRT);
        rig.host.memory[0].truncate(1000);
        rig.bad(fis, Error::ABRT);
        rig.host.memory[0].resize(16 * 512, 0);
        assert_eq!(read(&mut rig, log(0x80, 0, 16)), before);
    }
}

#[test]
fn the_pending_defects_log_names_each_sector_that_cannot_be_read() {
    let mut rig = Rig::default();
    assert_eq!(read(&mut rig, log(0x0c, 0, 32)), vec![0; 32 * 512]);
    rig.good(RegisterH2D { features: 0x55, ..at48(0x45, 100, 60) });
    rig.ram().fails = Some((OpKind::Read, 7 * 512, IoError::Os(5)));
    rig.bad(at48(0x25, 7, 1), Error::UNC);
    let data = read(&mut rig, log(0x0c, 0, 3));
    assert_eq!(data[..16], [61, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let entries = data[16..].chunks_exact(16);
    assert!(entries.clone().take(61).all(|entry| entry[..8] == [255, 255, 255, 255, 0, 0, 0, 0]));
    let lbas: Vec<u64> = entries.clone().map(|entry| quad(entry, 8)).collect();
    assert!(lbas[..60].iter().copied().eq(100..160));
    assert_eq!(lbas[60], 7);
    assert!(entries.skip(61).all(|entry| *entry == [0; 16]));
    assert_eq!(quad(&read(&mut rig, log(0x04, 1, 1)), 64), 3 << 62 | 61);
    // As many as there is room for.
    rig.good(RegisterH2D { features: 0x55, ..at48(0x45, 200, 1500) });
    let data = read(&mut rig, log(0x0c, 0, 32));
    assert_eq!(data[..4], [0xff, 3, 0, 0]);
    assert_ne!(quad(&data, 32 * 512 - 8), 0);
}
