//! Devices behind a port multiplier, and what must not reach them or come from them.

use std::sync::{Arc, Mutex};

use freewheel_ahci::pmp::*;
use freewheel_ahci::registers::*;
use freewheel_ahci::{Attachment, Hba, HbaConfig};
use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D, Status};
use freewheel_block::Nanos;
use freewheel_block::fault::LinkFault;

use crate::support::*;

/// The slot of commands to the control port.
const SLOT: u8 = 31;
/// SControl without power management.
const QUIET: u32 = 0x300;

/// A port multiplier with so many devices on port 0, the port started.
fn rig(count: usize, switched: bool) -> Rig {
    let (devices, scripts): (Vec<_>, Vec<_>) = (0..count).map(|_| scripted()).unzip();
    let multiplier = PortMultiplier::new(devices.into_iter().map(Some).collect());
    let now = Nanos(1_000 * MILLISECOND);
    let attachments = vec![Some(Attachment::from(multiplier))];
    let hba = Hba::with_attachments(HbaConfig::default(), attachments, now);
    let mut rig = Rig { hba, now, memory: memory(), scripts };
    rig.write_global(GHC, (Ghc::IE | Ghc::AE).bits());
    rig.start(0);
    rig.stop(0);
    rig.command(0, PxCmd::FRE | PxCmd::PMA);
    if switched {
        rig.write(0, PX_FBS, PxFbs::EN.bits());
    }
    rig.command(0, PxCmd::FRE | PxCmd::PMA | PxCmd::ST);
    for pm_port in 0..count as u8 {
        reset(&mut rig, pm_port);
    }
    write_register(&mut rig, CONTROL_PORT, GSCR_ERROR_ENABLE, PxSerr::DIAG_N.bits());
    write_register(&mut rig, CONTROL_PORT, GSCR_FEATURES_ENABLE, FEATURE_NOTIFY);
    rig.write(0, PX_IS, u32::MAX);
    rig
}

fn issue_to(rig: &mut Rig, slot: u8, pm_port: u8, fis: RegisterH2D) {
    rig.prepare(0, slot, &RegisterH2D { pm_port, ..fis });
    let header = u64::from(slot) * COMMAND_HEADER_BYTES;
    let flags = rig.get(Rig::base(0) + header + 1, 1)[0];
    rig.put(Rig::base(0) + header + 1, &[flags & 0xf | pm_port << 4]);
    if rig.read(0, PX_FBS) & PxFbs::EN.bits() != 0 {
        rig.write(0, PX_FBS, PxFbs::EN.bits() | u32::from(pm_port) << PX_FBS_DEV_SHIFT);
    }
    rig.write(0, PX_CI, 1 << slot);
}

fn write_register(rig: &mut Rig, pm_port: u8, register: u16, value: u32) {
    let fis = RegisterH2D {
        device: pm_port,
        features: register,
        count: (value & 0xff) as u16,
        lba: u64::from(value >> 8),
        ..command(WRITE_PORT_MULTIPLIER)
    };
    issue_to(rig, SLOT, CONTROL_PORT, fis);
    assert_eq!(rig.read(0, PX_CI) & 1 << SLOT, 0, "the control port answers at once");
}

/// COMRESET of one device.
fn reset(rig: &mut Rig, pm_port: u8) {
    for det in [DET_COMRESET, 0] {
        write_register(rig, pm_port, PSCR_CONTROL, QUIET | det);
    }
    write_register(rig, pm_port, PSCR_ERROR, u32::MAX);
}

fn notice() -> DeviceFis {
    DeviceFis::SetDeviceBits {
        interrupt: true,
        notification: true,
        status: Status::DRDY,
        error: Error::empty(),
        active: 0,
    }
}

fn plug(rig: &mut Rig, pm_port: u8) -> Arc<Mutex<Script>> {
    let (device, script) = scripted();
    let plugged = rig.hba.plug_behind(0, pm_port, device, rig.now, &rig.memory);
    plugged.expect("there is room");
    script
}

fn unplug(rig: &mut Rig, pm_port: u8) {
    assert!(rig.hba.unplug_behind(0, pm_port, rig.now, &rig.memory).is_some());
}

fn works_behind(rig: &mut Rig, pm_port: u8) -> bool {
    issue_to(rig, 7, pm_port, command(0x25));
    rig.read(0, PX_CI) & 1 << 7 == 0
}

#[test]
fn a_multiplier_says_nothing_over_a_link_that_is_off() {
    for switched in [false, true] {
        let mut rig = rig(2, switched);
        rig.write(0, PX_SCTL, DET_OFFLINE);
        rig.write(0, PX_IS, u32::MAX);
        rig.write(0, PX_SERR, u32::MAX);
        let area = rig.get(Rig::base(0) + FIS_AREA, 0x1000);
        unplug(&mut rig, 1);
        plug(&mut rig, 1);
        rig.script(0).later = vec![(0, Act::Loose(notice()))];
        rig.pass(1);
        assert_eq!((rig.read(0, PX_SNTF), rig.is(0)), (0, PxIs::empty()));
        assert!(area == rig.get(Rig::base(0) + FIS_AREA, 0x1000), "nothing arrives");
    }
}

#[test]
fn a_device_whose_port_is_off_says_nothing() {
    for switched in [false, true] {
        let mut rig = rig(2, switched);
        write_register(&mut rig, 1, PSCR_CONTROL, QUIET | DET_OFFLINE);
        rig.script(1).later = vec![(0, Act::Loose(notice())), (0, Act::Loose(good()))];
        rig.write(0, PX_SNTF, 0xffff);
        rig.pass(1);
        assert_eq!(rig.read(0, PX_SNTF), 0);
        assert!(!rig.is(0).contains(PxIs::IPMS));
        reset(&mut rig, 1);
        rig.write(0, PX_SNTF, 0xffff);
        rig.script(1).later = vec![(0, Act::Loose(notice()))];
        rig.pass(1);
        assert_eq!(rig.read(0, PX_SNTF), 0b10);
    }
}

#[test]
fn a_device_that_is_plugged_in_neither_hears_nor_speaks_before_it_is_reset() {
    for switched in [false, true] {
        let mut rig = rig(2, switched);
        unplug(&mut rig, 1);
        let script = plug(&mut rig, 1);
        rig.write(0, PX_SNTF, 0xffff);
        script.lock().expect("script").later = vec![(0, Act::Loose(notice()))];
        rig.pass(1);
        assert_eq!(rig.read(0, PX_SNTF), 0);
        assert!(!works_behind(&mut rig, 1));
        assert!(rig.is(0).contains(PxIs::IFS), "nobody acknowledges it");
        assert_eq!(script.lock().expect("script").taken.len(), 0);
        rig.command(0, PxCmd::FRE | PxCmd::PMA);
        rig.command(0, PxCmd::FRE | PxCmd::PMA | PxCmd::CLO);
        rig.command(0, PxCmd::FRE | PxCmd::PMA | PxCmd::ST);
        reset(&mut rig, 1);
        assert!(works_behind(&mut rig, 1));
        assert_eq!(script.lock().expect("script").taken.len(), 1);
    }
}

#[test]
fn commands_that_waited_for_a_device_reach_no_other() {
    let mut rig = rig(2, true);
    rig.script(1).commands.push_back(vec![]);
    issue_to(&mut rig, 3, 1, command(0x25));
    issue_to(&mut rig, 5, 1, command(0x35));
    assert_eq!(rig.script(1).taken.len(), 1);
    assert_eq!(rig.read(0, PX_CI), 0b10_1000);
    unplug(&mut rig, 1);
    let script = plug(&mut rig, 1);
    reset(&mut rig, 1);
    rig.pass(1);
    assert_eq!(script.lock().expect("script").taken.len(), 0);
    assert_eq!(rig.read(0, PX_CI), 0b10_1000, "they are not complete");
    assert!(works_behind(&mut rig, 0));
    assert!(works_behind(&mut rig, 1));
    rig.stop(0);
    assert_eq!(rig.read(0, PX_CI), 0);
}

#[test]
fn commands_issued_while_a_device_port_was_empty_reach_no_device() {
    let mut rig = rig(2, true);
    unplug(&mut rig, 0);
    let drop = LinkFault::Drop(MILLISECOND);
    rig.hba.inject_link_fault(0, drop, rig.now).expect("injected");
    issue_to(&mut rig, 5, 0, command(0x35));
    let script = plug(&mut rig, 0);
    rig.pass(MILLISECOND);
    assert_eq!(script.lock().expect("script").taken.len(), 0);
    assert_eq!(rig.read(0, PX_CI), 1 << 5);
    assert!(works_behind(&mut rig, 0));
}

#[test]
fn commands_that_waited_for_a_device_that_is_reset_are_not_carried_out() {
    let mut rig = rig(2, true);
    rig.script(1).commands.push_back(vec![]);
    issue_to(&mut rig, 3, 1, command(0x25));
    issue_to(&mut rig, 5, 1, command(0x35));
    reset(&mut rig, 1);
    rig.pass(1);
    assert_eq!(rig.script(1).taken.len(), 1);
    assert_eq!(rig.read(0, PX_CI), 0b10_1000);
    assert!(works_behind(&mut rig, 1));
}

#[test]
fn a_link_that_woke_for_a_notice_rests_again() {
    let mut rig = rig(2, false);
    rig.command(0, PxCmd::FRE | PxCmd::PMA | PxCmd::ST | PxCmd::ALPE);
    assert_eq!(rig.read(0, PX_SSTS), 0x233);
    unplug(&mut rig, 1);
    assert_eq!((rig.read(0, PX_SNTF), rig.read(0, PX_SSTS)), (1 << CONTROL_PORT, 0x233));
}

#[test]
fn a_busy_device_gets_no_command_by_the_name_of_another_port() {
    let mut rig = Rig::new();
    rig.stop(0);
    rig.write(0, PX_FBS, PxFbs::EN.bits());
    rig.start(0);
    // Without a port multiplier it ignores the field, as the SRST that looks for one demands.
    issue_to(&mut rig, 0, CONTROL_PORT, command(0x25));
    assert_eq!((rig.read(0, PX_CI), rig.is(0)), (0, PxIs::DHRS));
    rig.script(0).taken.clear();
    // It never answers.
    rig.script(0).commands.push_back(vec![]);
    issue_to(&mut rig, 0, 0, command(0x25));
    issue_to(&mut rig, 1, 3, command(0x25));
    assert_eq!(rig.script(0).taken.len(), 1, "it is busy");
    assert_eq!(rig.read(0, PX_CI), 0b11);
    assert!(rig.is(0).contains(PxIs::IPMS));
}

#[test]
fn the_task_file_of_a_link_that_is_down_outweighs_that_of_a_device_with_an_error() {
    let mut rig = rig(2, true);
    rig.script(1).commands.push_back(vec![Act::Fis(register(Status::DRDY | Status::ERR))]);
    issue_to(&mut rig, 0, 1, command(0x25));
    assert_eq!(rig.read(0, PX_TFD) & 0xff, 0x41);
    rig.hba.detach(0, rig.now).expect("a multiplier");
    assert_eq!(rig.read(0, PX_TFD) & 0xff, 0x7f);
}

#[test]
fn a_software_reset_that_nobody_hears_completes_nothing() {
    let mut rig = rig(2, true);
    let before = rig.status(0).counters;
    rig.script(0).commands.push_back(vec![Act::Fis(register(Status::DRDY))]);
    rig.write(0, PX_SACT, 1 << 6);
    issue_to(&mut rig, 6, 0, command(0x60));
    rig.script(0).commands.clear();
    unplug(&mut rig, 0);
    issue_to(&mut rig, 4, 0, RegisterH2D { control: 4, is_command: false, ..command(0) });
    assert_eq!((rig.read(0, PX_CI), rig.read(0, PX_SACT)), (1 << 4, 1 << 6));
    assert!(rig.is(0).contains(PxIs::IFS));
    assert_eq!(rig.status(0).counters.completed_total, before.completed_total);
}

#[test]
fn whose_a_waiting_command_is_shows_only_once_it_is_fetched() {
    let mut rig = rig(2, false);
    issue_to(&mut rig, 5, 1, command(0x25));
    // Device 0 is busy for good; the slot was device 1's before.
    rig.script(0).commands.push_back(vec![]);
    issue_to(&mut rig, 3, 0, command(0x25));
    issue_to(&mut rig, 5, 0, command(0x25));
    assert_eq!(rig.read(0, PX_CI), 0b10_1000);
    let slots: Vec<u32> = rig.status(0).behind.iter().map(|device| device.slots).collect();
    assert_eq!(slots, [0b1000, 0]);
}
