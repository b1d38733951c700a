//! A port's PxCMD and bases: what software may write, and what a command list override does; and the
//! causes of ends that are good (AHCI 3.3.1 to 3.3.7).

use freewheel_ahci::registers::*;
use freewheel_sim::Command;

use crate::support::*;

fn read_cmd(rig: &mut Rig) -> PxCmd {
    PxCmd::from_bits_truncate(rig.driver.read(&mut rig.machine, PX_CMD))
}

#[test]
fn what_software_says_of_the_drive_is_kept_and_what_the_hba_says_is_not_writable() {
    let mut rig = Rig::new();
    let before = read_cmd(&mut rig);
    let told = PxCmd::ATAPI | PxCmd::DLAE;
    rig.driver.write(&mut rig.machine, PX_CMD, (before | told).bits());
    assert!(read_cmd(&mut rig).contains(told));
    let without = before - (PxCmd::FR | PxCmd::CR);
    rig.driver.write(&mut rig.machine, PX_CMD, without.bits());
    assert_eq!(read_cmd(&mut rig), before, "FR and CR follow FRE and ST, the rest is off again");
    assert!(before.contains(PxCmd::FRE | PxCmd::FR | PxCmd::ST | PxCmd::CR));
    assert!(before.contains(PxCmd::SUD | PxCmd::POD));
}

#[test]
fn a_command_list_override_takes_the_busy_bit_of_a_stopped_port_only() {
    const BUSY: u32 = 0x80;
    let mut rig = Rig::new();
    rig.disk.hold(true);
    rig.driver.issue(&mut rig.machine, 0, &Command::read_dma(0, 8, SECTOR));
    rig.machine.poll();
    let cmd = read_cmd(&mut rig);
    rig.driver.write(&mut rig.machine, PX_CMD, (cmd | PxCmd::CLO).bits());
    assert_ne!(rig.driver.read(&mut rig.machine, PX_TFD) & BUSY, 0, "the port runs");
    rig.driver.stop(&mut rig.machine);
    assert_ne!(rig.driver.read(&mut rig.machine, PX_TFD) & BUSY, 0, "nothing has ended it");
    let cmd = read_cmd(&mut rig);
    rig.driver.write(&mut rig.machine, PX_CMD, (cmd | PxCmd::CLO).bits());
    assert_eq!(rig.driver.read(&mut rig.machine, PX_TFD) & BUSY, 0);
    assert!(!read_cmd(&mut rig).contains(PxCmd::CLO), "it is over at once");
    rig.disk.hold(false);
    rig.driver.bring_up(&mut rig.machine);
    rig.write(0, &pattern(0, 8));
}

#[test]
fn bases_are_aligned_and_have_64_bits() {
    let mut rig = Rig::new();
    rig.driver.stop(&mut rig.machine);
    for (low, high, aligned) in [(PX_CLB, PX_CLBU, 0xffff_fc00), (PX_FB, PX_FBU, 0xffff_ff00)] {
        rig.driver.write(&mut rig.machine, low, u32::MAX);
        rig.driver.write(&mut rig.machine, high, 0x1234_5678);
        assert_eq!(rig.driver.read(&mut rig.machine, low), aligned);
        assert_eq!(rig.driver.read(&mut rig.machine, high), 0x1234_5678);
    }
}

#[test]
fn each_way_to_end_a_command_has_its_cause() {
    let mut rig = Rig::new();
    for (command, cause) in [
        (Command::read_dma(0, 8, SECTOR), PxIs::DHRS),
        (Command::read_pio(0, 1, SECTOR), PxIs::PSS),
        (Command::read_queued(0, 8, SECTOR), PxIs::SDBS),
    ] {
        rig.driver.issue(&mut rig.machine, 0, &command);
        rig.machine.settle();
        let is = PxIs::from_bits_retain(rig.driver.read(&mut rig.machine, PX_IS));
        assert_eq!(is, cause, "{command:?}");
        rig.driver.collect(&mut rig.machine);
        assert_eq!(rig.driver.read(&mut rig.machine, PX_IS), 0);
    }
}
