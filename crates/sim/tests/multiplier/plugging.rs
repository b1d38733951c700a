//! Devices that come and go behind a port multiplier, and how software is told.

use freewheel_ahci::PlugError;
use freewheel_ahci::pmp::*;
use freewheel_ahci::registers::*;
use freewheel_sim::Command;

use crate::support::*;

fn plug(rig: &mut Rig, pm_port: u8) -> Result<(), PlugError> {
    let disk = memory_disk();
    let device = new_device(&disk);
    let now = rig.machine.now();
    rig.machine.hba.plug_behind(0, pm_port, device, now, &rig.machine.ram)?;
    rig.disks[usize::from(pm_port)] = Some(disk);
    Ok(())
}

fn unplug(rig: &mut Rig, pm_port: u8) {
    let now = rig.machine.now();
    let device = rig.machine.hba.unplug_behind(0, pm_port, now, &rig.machine.ram);
    assert!(device.is_some());
    rig.disks[usize::from(pm_port)] = None;
}

fn listen(rig: &mut Rig) {
    let phy = PxSerr::DIAG_N.bits();
    for (register, value) in [(GSCR_ERROR_ENABLE, phy), (GSCR_FEATURES_ENABLE, FEATURE_NOTIFY)] {
        let machine = &mut rig.machine;
        rig.driver.write_multiplier(machine, CONTROL_PORT, register, value).expect("ok");
    }
    rig.take_is();
}

#[test]
fn software_that_has_asked_is_told_of_a_device_that_comes_and_goes() {
    for switched in [false, true] {
        let mut rig = Rig::with_ports(&[true, false]);
        rig.enumerate();
        if switched {
            assert!(rig.driver.enable_switching(&mut rig.machine));
        }
        listen(&mut rig);
        plug(&mut rig, 1).expect("there is room");
        assert_eq!(rig.px(PX_SNTF), 1 << CONTROL_PORT);
        let is = rig.take_is();
        assert!(is.contains(PxIs::SDBS) && !is.contains(PxIs::IPMS), "{is:?}");
        let area = rig.driver.fis_area_of(&mut rig.machine, CONTROL_PORT) + FIS_AREA_SDBFIS;
        assert_eq!(rig.machine.ram.peek(area, 2), [0xa1, 0xcf]);
        rig.driver.write(&mut rig.machine, PX_SNTF, 1 << CONTROL_PORT);
        assert_eq!(rig.px(PX_SNTF), 0);
        let machine = &mut rig.machine;
        let errors = rig.driver.read_multiplier(machine, CONTROL_PORT, GSCR_ERROR);
        assert_eq!(errors, Ok(0b10));
        assert!(rig.driver.comreset_of(machine, 1).expect("an answer"));
        rig.verify(0, 1, 0);
        rig.driver.write(&mut rig.machine, PX_SNTF, 0xffff);

        unplug(&mut rig, 1);
        assert_eq!(rig.px(PX_SNTF), 1 << CONTROL_PORT);
        let machine = &mut rig.machine;
        assert!(!rig.driver.comreset_of(machine, 1).expect("an answer"), "it is gone");
        rig.verify(0, 0, 0);
    }
}

#[test]
fn software_that_has_not_asked_finds_it_in_the_registers() {
    let mut rig = Rig::with_ports(&[true, false]);
    rig.enumerate();
    plug(&mut rig, 1).expect("there is room");
    assert_eq!(rig.px(PX_SNTF), 0);
    assert!(!rig.take_is().intersects(PxIs::SDBS | PxIs::IPMS));
    let machine = &mut rig.machine;
    let error = rig.driver.read_multiplier(machine, 1, PSCR_ERROR).expect("ok");
    assert_eq!(error, (PxSerr::DIAG_X | PxSerr::DIAG_N).bits());
}

#[test]
fn a_device_that_is_pulled_out_takes_its_commands_along() {
    let mut rig = Rig::switched(2);
    rig.disk(1).hold(true);
    for slot in 0..8 {
        rig.issue(slot, 1, Command::write_queued(u64::from(slot) * 8, 8, SECTOR));
    }
    rig.machine.run_for(A_WHILE_NS);
    let storage = rig.disk(1).clone();
    unplug(&mut rig, 1);
    rig.verify(10, 0, 0);
    assert_eq!(rig.px(PX_SACT), 0xff, "the port does not know");
    storage.complete_all();
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.px(PX_SACT), 0xff);
    assert!(rig.driver.stop(&mut rig.machine));
    assert_eq!(rig.px(PX_SACT), 0);
}

#[test]
fn what_cannot_be_plugged_is_refused() {
    let mut rig = Rig::enumerated(2);
    assert_eq!(plug(&mut rig, 1), Err(PlugError::Occupied(1)));
    assert_eq!(plug(&mut rig, 2), Err(PlugError::NoPort(2)));
    assert_eq!(plug(&mut rig, CONTROL_PORT), Err(PlugError::NoPort(CONTROL_PORT)));
    let device = new_device(&memory_disk());
    let now = rig.machine.now();
    let refused = rig.machine.hba.plug_behind(1, 0, device, now, &rig.machine.ram);
    assert_eq!(refused, Err(PlugError::NoMultiplier(1)));
}
