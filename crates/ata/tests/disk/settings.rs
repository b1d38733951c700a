use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D};
use freewheel_ata::{Device, DiskConfig};
use freewheel_block::{IoError, OpKind};

use crate::support::*;

const WRITE_CACHE: u16 = 1 << 5;
const LOOK_AHEAD: u16 = 1 << 6;

fn set(subcommand: u16, count: u16) -> RegisterH2D {
    RegisterH2D { features: subcommand, count, ..command(0xef) }
}

#[test]
fn without_the_write_cache_each_write_is_durable() {
    let mut rig = Rig::default();
    rig.good(set(0x82, 0));
    assert_eq!(rig.ram().log[0].0, OpKind::Flush, "what the cache held comes first");
    assert_eq!(rig.identify()[85] & WRITE_CACHE, 0);
    rig.good(at48(0x35, 0, 1));
    assert!(rig.ram().log[1].2);
    rig.good(set(0x02, 0));
    assert_ne!(rig.identify()[85] & WRITE_CACHE, 0);
    rig.good(at48(0x35, 0, 1));
    assert!(!rig.ram().log[2].2);
}

#[test]
fn a_disk_may_start_without_its_write_cache() {
    let config = DiskConfig { write_cache: false, ..DiskConfig::default() };
    let mut rig = Setup { config, ..Setup::default() }.build();
    rig.good(at48(0x35, 0, 1));
    assert!(rig.ram().log[0].2);
    let words = rig.identify();
    assert_eq!((words[82] & WRITE_CACHE, words[85] & WRITE_CACHE), (WRITE_CACHE, 0));
}

#[test]
fn the_write_cache_stays_enabled_if_it_cannot_be_flushed() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Flush, 0, IoError::Os(5)));
    rig.bad(set(0x82, 0), Error::ABRT);
    assert_ne!(rig.identify()[85] & WRITE_CACHE, 0);
    rig.good(at48(0x35, 0, 1));
    assert!(!rig.ram().log[0].2);
}

#[test]
fn a_reset_amid_disabling_the_write_cache_leaves_it_enabled() {
    let mut rig = Rig::default();
    rig.ram().hangs = true;
    rig.issue(0, set(0x82, 0));
    assert_eq!(rig.disk.abort_all(rig.now), 1);
    rig.ram().hangs = false;
    rig.settle();
    assert!(rig.fises().is_empty());
    assert_ne!(rig.identify()[85] & WRITE_CACHE, 0);
    rig.good(at48(0x35, 0, 1));
    assert!(!rig.ram().log.last().unwrap().2);
}

#[test]
fn transfer_modes_are_selected_and_reported() {
    let mut rig = Rig::default();
    for mode in [0x00, 0x01, 0x08, 0x0c] {
        rig.good(set(0x03, mode));
    }
    rig.good(set(0x03, 0x45));
    let words = rig.identify();
    assert_eq!((words[63], words[88]), (0x0007, 0x207f));
    rig.good(set(0x03, 0x22));
    let words = rig.identify();
    assert_eq!((words[63], words[88]), (0x0407, 0x007f));
    for mode in [0x02, 0x0d, 0x10, 0x23, 0x47, 0xff] {
        rig.bad(set(0x03, mode), Error::ABRT);
    }
}

#[test]
fn features_that_are_not_offered_are_aborted() {
    let mut rig = Rig::default();
    // CFA, write-read-verify, removable media, acoustics, data transfer after an error, free fall,
    // release interrupts, sense data, and what is reserved.
    let absent = [
        0x01, 0x81, 0x0a, 0x8a, 0x0b, 0x8b, 0x09, 0x31, 0x95, 0x33, 0x41, 0xc1, 0x42, 0xc2, 0x43,
        0x44, 0x54, 0x77, 0x88, 0x5d, 0xdd, 0x5e, 0xde, 0x63, 0x69, 0x96, 0x99, 0x9a, 0xab, 0xbb,
        0xc3, 0x00, 0xff,
    ];
    for subcommand in absent {
        rig.bad(set(subcommand, 1), Error::ABRT);
    }
    // Non-zero offsets, auto-activation, the device's own power management of the link, order,
    // notification, automatic Slumber, hardware feature control, hybrid information, power
    // disable.
    for count in [0, 1, 2, 3, 4, 5, 7, 8, 10, 11, 255] {
        rig.bad(set(0x10, count), Error::ABRT);
        rig.bad(set(0x90, count), Error::ABRT);
    }
}

#[test]
fn settings_outlive_a_comreset_while_preservation_is_enabled() {
    let mut rig = Rig::default();
    rig.good(set(0x82, 0));
    rig.good(set(0x55, 0));
    rig.disk.comreset(rig.now, &mut rig.host);
    let words = rig.identify();
    assert_eq!(words[85] & (WRITE_CACHE | LOOK_AHEAD), 0);
    assert_eq!(words[79], 0x40);
    rig.good(set(0x90, 6));
    assert_eq!(rig.identify()[79], 0);
    rig.disk.comreset(rig.now, &mut rig.host);
    let words = rig.identify();
    assert_eq!(words[85] & (WRITE_CACHE | LOOK_AHEAD), WRITE_CACHE | LOOK_AHEAD);
    assert_eq!(words[79], 0x40, "and that itself is a default");
    rig.good(at48(0x35, 0, 1));
    assert!(!rig.ram().log.last().unwrap().2);
}

#[test]
fn a_soft_reset_reverts_settings_only_if_asked_to() {
    let mut rig = Rig::default();
    rig.good(set(0x55, 0));
    let soft_reset = |rig: &mut Rig| {
        rig.disk.control(4, rig.now, &mut rig.host);
        rig.disk.control(0, rig.now, &mut rig.host);
        rig.identify()[85] & LOOK_AHEAD
    };
    assert_eq!(soft_reset(&mut rig), 0);
    rig.good(set(0xcc, 0));
    assert_eq!(soft_reset(&mut rig), LOOK_AHEAD);
    rig.good(set(0xcc, 0));
    rig.good(set(0x66, 0));
    rig.good(set(0x55, 0));
    assert_eq!(soft_reset(&mut rig), 0);
    rig.good(set(0xaa, 0));
    assert_eq!(soft_reset(&mut rig), LOOK_AHEAD);
}

#[test]
fn the_diagnostic_ends_with_the_signature() {
    let mut rig = Rig::default();
    let fises = rig.run_all(command(0x90));
    let [DeviceFis::RegisterD2H { interrupt: true, registers }] = fises[..] else {
        panic!("{fises:?}");
    };
    assert_eq!((registers.lba, registers.count, registers.device), (1, 1, 0));
    assert_eq!((registers.status.bits(), registers.error.bits()), (0x50, 1));
    rig.good(command(0x10));
}

#[test]
fn device_sleep_is_enabled_by_the_host_and_told() {
    const DEVICE_SLEEP: u16 = 1 << 8;
    let mut rig = Rig::default();
    let words = rig.identify();
    assert_eq!((words[78] & DEVICE_SLEEP, words[79] & DEVICE_SLEEP), (DEVICE_SLEEP, 0));
    rig.good(set(0x10, 9));
    assert_eq!(rig.identify()[79] & DEVICE_SLEEP, DEVICE_SLEEP);
    rig.pio_in(at48(0x2f, 0x0830, 1));
    let quad = |rig: &Rig, at: usize| {
        u64::from_le_bytes(*rig.host.memory[0][at..].first_chunk().expect("a page"))
    };
    // Supported, enabled; and how long it takes, as Linux reads it: MDAT, DETO, and that both are valid.
    assert_eq!((quad(&rig, 8) >> 25 & 1, quad(&rig, 16) >> 10 & 1), (1, 1));
    assert_eq!(quad(&rig, 48), 1 << 63 | 20 << 8 | 10);
    rig.disk.comreset(rig.now, &mut rig.host);
    assert_eq!(rig.identify()[79] & DEVICE_SLEEP, DEVICE_SLEEP, "software settings preservation");
    rig.good(set(0x90, 9));
    assert_eq!(rig.identify()[79] & DEVICE_SLEEP, 0);
}
