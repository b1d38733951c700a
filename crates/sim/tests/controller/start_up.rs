//! Power-on, identification, ports without a device.

use freewheel_ahci::registers::*;
use freewheel_sim::{Command, Driver, DriverError, MemoryDisk, MemoryDiskConfig, ResetWay};

use crate::support::*;

#[test]
fn a_driver_finds_the_disk() {
    let mut rig = Rig::new();
    let identity = rig.power_on();
    assert_eq!(identity.sectors, (64 << 20) / 512);
    assert_eq!(identity.sector_bytes, 512);
    assert_eq!(identity.queue_depth, 32);
    assert!(identity.trim && identity.trim_reads_zeroes);
    assert_eq!(identity.model, "Freewheel Disk");
    assert_eq!(rig.driver.read(&mut rig.machine, PX_SIG), 0x101);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_SSTS), SSTS_UP_GEN3);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_TFD) & 0xff, 0x50);
}

#[test]
fn the_capabilities_say_what_there_is() {
    let mut rig = Rig::new();
    let cap = rig.machine.read(CAP);
    assert_eq!(cap & 0x1f, 1, "two ports");
    assert_eq!(cap >> 8 & 0x1f, 31, "32 slots");
    assert!(Cap::from_bits_retain(cap).contains(Cap::SNCQ | Cap::S64A | Cap::SAM | Cap::SCLO));
    assert_eq!(rig.machine.read(PI), 0b11);
    assert_eq!(rig.machine.read(VS), 0x0001_0301);
}

#[test]
fn the_signature_waits_for_fis_receive() {
    let disk = MemoryDisk::new(&MemoryDiskConfig::default());
    let mut machine = machine(vec![Some(device(&disk))]);
    let mut driver = Driver::new(0);
    let area = driver.layout().fis_area();
    driver.write(&mut machine, PX_FB, area as u32);
    assert_eq!(machine.ram.peek(area + FIS_AREA_RFIS, 1), [0]);
    driver.write(&mut machine, PX_CMD, PxCmd::FRE.bits());
    let fis = machine.ram.peek(area + FIS_AREA_RFIS, 16);
    assert_eq!(fis, [0x34, 0x40, 0x50, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert!(driver.bring_up(&mut machine));
}

#[test]
fn a_port_without_a_device_takes_no_command_and_harms_nobody() {
    let mut rig = Rig::new();
    let mut empty = Driver::new(1);
    assert!(!empty.bring_up(&mut rig.machine), "no link");
    assert_eq!(empty.read(&mut rig.machine, PX_SSTS), 0);
    assert_eq!(empty.read(&mut rig.machine, PX_SIG), u32::MAX);
    assert_eq!(empty.read(&mut rig.machine, PX_TFD), 0x7f);
    empty.start(&mut rig.machine);
    let result = empty.run(&mut rig.machine, 3, &Command::identify(), A_WHILE_NS);
    assert!(matches!(result, Err(DriverError::Timeout { .. } | DriverError::Port { .. })));
    for way in ResetWay::ALL {
        let outcome = empty.reset(&mut rig.machine, way);
        let needs_a_device =
            matches!(way, ResetWay::SoftwareReset | ResetWay::SoftwareResetRunning);
        assert!(outcome.ended || needs_a_device, "{way:?}");
        assert_eq!(empty.read(&mut rig.machine, PX_CI), 0, "{way:?}");
        rig.machine.ram.map_all();
    }
    rig.power_on();
    rig.write(5, &pattern(5, 8));
    assert_eq!(rig.read(5, 8), pattern(5, 8));
}
