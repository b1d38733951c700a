//! A device that fails, among others that do not (9.3.6).

use freewheel_ahci::registers::*;
use freewheel_block::IoError;
use freewheel_sim::{Command, NcqError};

use crate::support::*;

const EIO: IoError = IoError::Os(5);

/// All devices have two queued commands each, slots 2n and 2n + 1, which wait.
fn loaded(count: usize) -> Rig {
    let mut rig = Rig::switched(count);
    rig.disks.iter().flatten().for_each(|disk| disk.hold(true));
    for slot in 0..2 * count as u8 {
        let pm_port = slot / 2;
        rig.issue(slot, pm_port, Command::write_queued(u64::from(slot) * 8, 8, SECTOR));
    }
    rig.machine.run_for(A_WHILE_NS);
    rig
}

#[test]
fn one_device_fails_and_the_others_go_on() {
    let mut rig = loaded(4);
    rig.disk(1).fail(0, EIO);
    rig.machine.run_for(A_WHILE_NS);
    assert!(rig.take_is().contains(PxIs::TFES));
    assert_eq!(rig.driver.device_with_error(&mut rig.machine), Some(1));
    assert_eq!(rig.px(PX_TFD) & 1, 1, "of the device with the error");
    // The others complete what they have, and take more.
    for pm_port in [0, 2, 3] {
        rig.disk(pm_port).hold(false);
        rig.disk(pm_port).complete_all();
    }
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.px(PX_SACT), 0b1100, "device 1 keeps its commands");
    rig.take_is();
    rig.verify(20, 0, 0);
    assert_eq!(rig.px(PX_TFD) & 1, 1, "still");
    // What is issued to the failed device waits.
    rig.issue(21, 1, Command::read_queued(0, 1, SECTOR));
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.px(PX_CI), 1 << 21);
    assert_eq!(rig.driver.clear_device_error(&mut rig.machine), 1 << 21 | 0b1100);
    assert_eq!(rig.driver.device_with_error(&mut rig.machine), None);
    assert_eq!((rig.px(PX_SACT), rig.px(PX_CI)), (0, 0));
    // The log says which command it was; then the device works again.
    rig.disk(1).hold(false);
    rig.issue(5, 1, Command::read_log(0x10));
    rig.wait(1 << 5);
    let page = rig.driver.data(&rig.machine, 5, 512);
    assert_eq!(NcqError::parse(&page).expect("a page").tag, Some(2));
    rig.verify(6, 1, 0);
}

#[test]
fn devices_that_fail_together_are_shown_one_after_the_other() {
    let mut rig = loaded(3);
    for pm_port in [2, 0] {
        rig.disk(pm_port).fail(0, EIO);
        rig.machine.run_for(A_WHILE_NS);
    }
    assert_eq!(rig.driver.device_with_error(&mut rig.machine), Some(2), "the first");
    rig.take_is();
    assert_eq!(rig.driver.clear_device_error(&mut rig.machine), 0b11_0000);
    let is = PxIs::from_bits_retain(rig.px(PX_IS));
    let cleared = rig.driver.device_with_error(&mut rig.machine);
    assert_eq!(cleared, Some(0));
    // The driver's look at PxIS after DEC has taken the new TFES; an interrupt handler sees it.
    assert!(!is.contains(PxIs::TFES));
    assert_eq!(rig.driver.clear_device_error(&mut rig.machine), 0b11);
    assert_eq!(rig.driver.device_with_error(&mut rig.machine), None);
    assert_eq!(rig.px(PX_SACT), 0b1100, "device 1 never noticed");
    rig.disk(1).hold(false);
    rig.disk(1).complete_all();
    rig.wait(0b1100);
}

#[test]
fn the_next_error_raises_its_own_interrupt() {
    let mut rig = loaded(2);
    rig.disk(0).fail(0, EIO);
    rig.disk(1).fail(0, EIO);
    rig.machine.run_for(A_WHILE_NS);
    rig.take_is();
    let fbs = rig.px(PX_FBS);
    rig.driver.write(&mut rig.machine, PX_FBS, fbs | PxFbs::DEC.bits());
    assert_eq!(rig.px(PX_FBS) & PxFbs::DEC.bits(), 0, "it is over at once");
    assert!(rig.take_is().contains(PxIs::TFES));
    let fbs = rig.px(PX_FBS);
    rig.driver.write(&mut rig.machine, PX_FBS, fbs | PxFbs::DEC.bits());
    assert!(!rig.take_is().contains(PxIs::TFES));
}

#[test]
fn a_command_that_is_not_queued_fails_alone_too() {
    let mut rig = Rig::switched(2);
    rig.disk(1).hold(true);
    rig.issue(0, 0, Command::without_data(0x00));
    rig.issue(1, 1, Command::read_dma(0, 8, SECTOR));
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.driver.device_with_error(&mut rig.machine), Some(0));
    rig.take_is();
    assert_eq!(rig.driver.clear_device_error(&mut rig.machine), 1);
    rig.verify(2, 0, 0);
    rig.disk(1).hold(false);
    rig.disk(1).complete_all();
    rig.wait(0b10);
}

#[test]
fn stopping_the_port_clears_what_devices_have_done_wrong() {
    let mut rig = loaded(2);
    rig.disk(1).fail(0, EIO);
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.driver.device_with_error(&mut rig.machine), Some(1));
    assert!(rig.driver.stop(&mut rig.machine));
    assert_eq!(rig.driver.device_with_error(&mut rig.machine), None);
    assert_eq!((rig.px(PX_SACT), rig.px(PX_CI)), (0, 0));
}

#[test]
fn an_error_of_the_port_is_not_one_devices() {
    let mut rig = loaded(2);
    rig.machine.ram.unmap_all();
    rig.disk(1).hold(false);
    rig.disk(1).complete_all();
    rig.machine.run_for(A_WHILE_NS);
    assert!(rig.take_is().contains(PxIs::HBFS));
    assert_eq!(rig.driver.device_with_error(&mut rig.machine), None);
    rig.machine.ram.map_all();
}

#[test]
fn without_switching_an_error_halts_the_port() {
    let mut rig = Rig::enumerated(2);
    rig.issue(0, 1, Command::without_data(0x00));
    rig.machine.run_for(A_WHILE_NS);
    assert!(rig.take_is().contains(PxIs::TFES));
    rig.issue(1, 0, Command::identify());
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.px(PX_CI), 0b11, "nothing is fetched any more");
    assert!(rig.driver.recover(&mut rig.machine));
    rig.verify(0, 0, 0);
    rig.verify(0, 1, 0);
}

#[test]
fn a_command_for_a_device_that_is_not_there_is_not_acknowledged() {
    for switched in [false, true] {
        let mut rig = Rig::with_ports(&[true, false]);
        rig.enumerate();
        if switched {
            assert!(rig.driver.enable_switching(&mut rig.machine));
        }
        rig.issue(0, 1, Command::identify());
        assert!(rig.take_is().contains(PxIs::IFS));
        let alone = rig.driver.device_with_error(&mut rig.machine);
        assert_eq!(alone, switched.then_some(1));
        if switched {
            rig.driver.clear_device_error(&mut rig.machine);
        } else {
            rig.driver.bring_up(&mut rig.machine);
        }
        rig.verify(0, 0, 0);
    }
}
