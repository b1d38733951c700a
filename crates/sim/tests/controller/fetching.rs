//! What the HBA fetches, when, and what it leaves alone.

use freewheel_ahci::registers::{
    PRD_BYTES, PRDT_OFFSET_BYTES, PX_CI, PX_CMD, PX_CMD_CCS_SHIFT, PxCmd,
};
use freewheel_sim::{Command, PrdtEntry, ResetWay};

use crate::support::{Rig, SECTOR};

#[test]
fn the_first_command_after_a_start_is_that_of_slot_0() {
    let mut rig = Rig::new();
    rig.driver.reset(&mut rig.machine, ResetWay::Stop);
    assert!(rig.driver.come_back(&mut rig.machine, ResetWay::Stop));
    rig.disk.hold(true);
    let commands = [0, 1].map(|slot| (slot, Command::read_dma(u64::from(slot), 1, SECTOR)));
    rig.driver.issue_all(&mut rig.machine, &commands);
    let ccs = rig.driver.read(&mut rig.machine, PX_CMD) >> PX_CMD_CCS_SHIFT & 0x1f;
    assert_eq!(ccs, 0, "3.3.7, CCS: after ST is set, slot 0 has the highest priority");
}

#[test]
fn a_tag_used_again_does_not_bend_where_the_first_command_puts_its_data() {
    let mut rig = Rig::new();
    rig.disk.overwrite(0, &[0x5a; 4096]);
    rig.disk.hold(true);
    rig.driver.issue(&mut rig.machine, 0, &Command::read_queued(0, 8, SECTOR));
    rig.machine.poll();
    // The tag is active. Its new table has 65,535 entries, of which the first 64 are in memory.
    let other = rig.driver.layout().scratch().start;
    let room = (PRDT_OFFSET_BYTES + 64 * PRD_BYTES) as u64;
    let mut bad = Command::read_queued(0, 8, SECTOR);
    bad.table = Some((rig.machine.ram.len_bytes() - room) & !0x7f);
    let entry = |at: u64| PrdtEntry { address: other + at * 512, len_bytes: 512 };
    bad.prdt = Some((0..64).map(entry).collect());
    rig.driver.prepare(&rig.machine, 0, &bad);
    let header = rig.driver.layout().header(0);
    rig.machine.ram.poke(header + 2, &[0xff, 0xff]);
    rig.machine.ram.disarm();
    rig.driver.write(&mut rig.machine, PX_CI, 1);
    rig.disk.complete_all();
    rig.machine.settle();
    assert_ne!(rig.machine.ram.peek(other, 1), [0x5a], "the PRDT is fetched once");
}

#[test]
fn no_fis_is_posted_while_fis_receive_is_off() {
    let mut rig = Rig::new();
    let area = rig.driver.layout().fis_area();
    let cmd = rig.driver.read(&mut rig.machine, PX_CMD);
    rig.driver.write(&mut rig.machine, PX_CMD, cmd & !PxCmd::FRE.bits());
    rig.machine.ram.poke(area, &[0xc5; 256]);
    rig.driver.issue(&mut rig.machine, 0, &Command::read_queued(0, 1, SECTOR));
    rig.machine.settle();
    assert_eq!(rig.machine.ram.peek(area, 256), [0xc5; 256], "3.3.7, FRE");
}
