//! How software finds a port multiplier, and what its registers say.

use freewheel_ahci::pmp::*;
use freewheel_ahci::registers::*;
use freewheel_sim::{Command, DriverError, ResetWay};

use crate::support::*;

#[test]
fn the_capabilities_name_port_multipliers_and_switching() {
    let mut rig = Rig::with_ports(&[true]);
    let cap = Cap::from_bits_retain(rig.machine.read(CAP));
    assert!(cap.contains(Cap::SPM | Cap::FBSS | Cap::SSNTF));
    assert!(PxCmd::from_bits_retain(rig.px(PX_CMD)).contains(PxCmd::FBSCP));
    assert_eq!(rig.px(PX_FBS), 15 << PX_FBS_ADO_SHIFT);
}

#[test]
fn a_host_that_knows_nothing_of_it_talks_to_device_port_0() {
    let mut rig = Rig::with_ports(&[true, true]);
    assert_eq!(rig.px(PX_SIG), 0x101, "a disk");
    let identity = rig.driver.identify(&mut rig.machine, AMPLE_NS).expect("it answers");
    assert_eq!(identity.serial, "BEHIND 0");
    rig.verify(3, 0, 64);
}

#[test]
fn the_control_port_answers_a_software_reset_with_its_own_signature() {
    for first in [true, false] {
        let mut rig = Rig::with_ports(&[first, true]);
        rig.driver.stop(&mut rig.machine);
        rig.driver.write(&mut rig.machine, PX_SCTL, DET_COMRESET);
        rig.driver.write(&mut rig.machine, PX_SCTL, 0);
        let busy = rig.px(PX_TFD) & 0x80 != 0;
        assert_eq!(busy, !first, "without a device on port 0 nobody has spoken yet");
        assert_eq!(rig.driver.software_reset_of(&mut rig.machine, CONTROL_PORT), SIGNATURE);
        let area = rig.driver.layout().fis_area() + FIS_AREA_RFIS;
        assert_eq!(rig.machine.ram.peek(area, 2), [0x34, 0x4f], "from PM port 15");
        assert_eq!(rig.px(PX_TFD), 0x150);
        assert_eq!(rig.px(PX_CI), 0);
    }
}

#[test]
fn a_disk_ignores_the_port_of_a_software_reset() {
    let mut rig = Rig::with_ports(&[true]);
    let mut driver = freewheel_sim::Driver::new(1);
    assert!(driver.bring_up(&mut rig.machine));
    assert_eq!(driver.software_reset_of(&mut rig.machine, CONTROL_PORT), 0x101);
    assert!(driver.identify(&mut rig.machine, AMPLE_NS).is_ok());
}

#[test]
fn its_registers_say_what_there_is() {
    let mut rig = Rig::enumerated(3);
    let mut read =
        |port, register| rig.driver.read_multiplier(&mut rig.machine, port, register).expect("ok");
    assert_eq!(read(CONTROL_PORT, GSCR_PRODUCT) & 0xffff, 0x8086);
    assert_eq!(read(CONTROL_PORT, GSCR_REVISION), 0x10e);
    assert_eq!(read(CONTROL_PORT, GSCR_PORTS), 3);
    assert_eq!(read(CONTROL_PORT, GSCR_ERROR), 0);
    assert_eq!(read(CONTROL_PORT, GSCR_ERROR_ENABLE), 0x0400_ffff);
    assert_eq!(read(CONTROL_PORT, GSCR_FEATURES), FEATURE_NOTIFY);
    assert_eq!(read(CONTROL_PORT, GSCR_FEATURES_ENABLE), 0);
    assert_eq!(read(2, PSCR_STATUS), 0x133);
    assert_eq!(read(2, PSCR_CONTROL), 0x300);
}

#[test]
fn device_ports_but_the_first_are_offline_until_software_enables_them() {
    let mut rig = Rig::with_ports(&[true, true, false]);
    assert_eq!(rig.driver.attach_multiplier(&mut rig.machine), Some(3));
    let mut status =
        |port| rig.driver.read_multiplier(&mut rig.machine, port, PSCR_STATUS).expect("ok");
    assert_eq!((status(0), status(1), status(2)), (0x133, 4, 4));
    assert!(rig.driver.comreset_of(&mut rig.machine, 1).expect("ok"));
    assert!(!rig.driver.comreset_of(&mut rig.machine, 2).expect("ok"), "nothing is there");
    assert_eq!(rig.driver.software_reset_of(&mut rig.machine, 1), 0x101);
    let identity = rig.driver.identify_at(&mut rig.machine, 1, AMPLE_NS).expect("it answers");
    assert_eq!(identity.serial, "BEHIND 1");
}

#[test]
fn fifteen_devices_are_told_apart() {
    for switched in [false, true] {
        let mut rig = if switched { Rig::switched(15) } else { Rig::enumerated(15) };
        for pm_port in 0..15 {
            let identity = rig.driver.identify_at(&mut rig.machine, pm_port, AMPLE_NS);
            assert_eq!(identity.expect("it answers").serial, format!("BEHIND {pm_port}"));
            rig.verify(pm_port, pm_port, 8);
        }
        for pm_port in 0..15u8 {
            let range = freewheel_block::ByteRange::new(4096, 4096);
            assert_eq!(rig.disk(pm_port).content(range), pattern(pm_port, pm_port));
        }
    }
}

#[test]
fn errors_of_a_device_port_are_kept_until_they_are_cleared() {
    let mut rig = Rig::enumerated(2);
    let machine = &mut rig.machine;
    rig.driver.write_multiplier(machine, 1, PSCR_CONTROL, 0x301).expect("ok");
    rig.driver.write_multiplier(machine, 1, PSCR_CONTROL, 0x300).expect("ok");
    let exchanged = (PxSerr::DIAG_X | PxSerr::DIAG_N).bits();
    let mut read =
        |port, register| rig.driver.read_multiplier(machine, port, register).expect("ok");
    assert_eq!(read(1, PSCR_ERROR), exchanged);
    assert_eq!(read(CONTROL_PORT, GSCR_ERROR), 0b10);
    let phy = PxSerr::DIAG_N.bits();
    rig.driver.write_multiplier(machine, 1, PSCR_ERROR, PxSerr::DIAG_X.bits()).expect("ok");
    let mut read =
        |port, register| rig.driver.read_multiplier(machine, port, register).expect("ok");
    assert_eq!(read(1, PSCR_ERROR), phy);
    assert_eq!(read(CONTROL_PORT, GSCR_ERROR), 0, "that bit does not count");
    rig.driver.write_multiplier(machine, CONTROL_PORT, GSCR_ERROR_ENABLE, phy).expect("ok");
    let mut read =
        |port, register| rig.driver.read_multiplier(machine, port, register).expect("ok");
    assert_eq!(read(CONTROL_PORT, GSCR_ERROR), 0b10);
}

#[test]
fn what_the_control_port_does_not_have_it_refuses() {
    let mut rig = Rig::enumerated(2);
    for (port, register) in [(2, PSCR_STATUS), (0, 3), (CONTROL_PORT, 3), (CONTROL_PORT, 0x100)] {
        let error = rig.driver.read_multiplier(&mut rig.machine, port, register);
        let Err(DriverError::Port { task_file, .. }) = error else {
            panic!("port {port} register {register}: {error:?}");
        };
        assert_eq!(task_file & 0x401, 0x401, "ERR and ABRT");
        rig.driver.bring_up(&mut rig.machine);
    }
    let error = rig.driver.identify_at(&mut rig.machine, CONTROL_PORT, AMPLE_NS);
    assert!(matches!(error, Err(DriverError::Port { .. })), "{error:?}");
    rig.driver.bring_up(&mut rig.machine);
    rig.verify(0, 1, 0);
}

#[test]
fn every_reset_of_the_port_makes_it_what_it_was() {
    for way in ResetWay::ALL {
        let mut rig = Rig::enumerated(3);
        let features = FEATURE_NOTIFY;
        let machine = &mut rig.machine;
        let (port, register) = (CONTROL_PORT, GSCR_FEATURES_ENABLE);
        rig.driver.write_multiplier(machine, port, register, features).expect("ok");
        assert!(rig.driver.reset(machine, way).ended, "{way:?}");
        rig.driver.come_back(machine, way);
        let hard = way.is_global() || way == ResetWay::Comreset;
        let pma = rig.driver.read(machine, PX_CMD) & PxCmd::PMA.bits() != 0;
        assert_eq!(pma, !way.is_global(), "{way:?}");
        let read = rig.driver.read_multiplier(machine, port, register);
        assert_eq!(read, Ok(if hard { 0 } else { features }), "{way:?}");
        let status = rig.driver.read_multiplier(machine, 2, PSCR_STATUS);
        assert_eq!(status, Ok(if hard { 4 } else { 0x133 }), "{way:?}");
        rig.enumerate();
        rig.verify(0, 2, 0);
    }
}

#[test]
fn a_command_whose_header_and_fis_disagree_reaches_nobody() {
    let mut rig = Rig::enumerated(3);
    let mut command = Command::identify().to_port(1);
    command.pm_port = 2;
    rig.driver.issue(&mut rig.machine, 5, &command);
    rig.machine.run_for(A_WHILE_NS);
    assert!(rig.take_is().contains(PxIs::IPMS));
    assert_eq!(rig.px(PX_CI), 1 << 5, "and stays until software stops the port");
    assert_eq!((rig.behind(1).slots, rig.behind(2).slots), (0, 0));
    rig.driver.bring_up(&mut rig.machine);
    rig.verify(0, 1, 0);
}
