//! A disk is pulled out while its storage hangs, and comes back before that has settled.

use freewheel_block::{ByteRange, OpKind};
use freewheel_sim::{Command, LogEntry, MemoryDisk, MemoryDiskConfig};

use crate::support::*;

fn hung() -> (Rig, MemoryDisk) {
    let medium = MemoryDisk::new(&MemoryDiskConfig { size_bytes: 1 << 20, ..Default::default() });
    let mut rig = Rig::empty();
    let device = rig.disk(&medium);
    rig.attach(device);
    medium.hold(true);
    let commands: Vec<_> = (0..32)
        .map(|slot| (slot, Command::write_queued(u64::from(slot) * 16, 8, SECTOR)))
        .collect();
    for slot in 0..32 {
        rig.driver.fill(&rig.machine, slot, &[0xaa; 4096]);
    }
    rig.driver.issue_all(&mut rig.machine, &commands);
    rig.machine.poll();
    assert_eq!(medium.pending().len(), 32);
    medium.take_log();
    (rig, medium)
}

#[test]
fn a_detach_asks_nothing_of_storage_that_hangs_and_names_what_is_in_doubt() {
    let (mut rig, medium) = hung();
    let before = rig.machine.now();
    let mut device = rig.detach();
    assert!(rig.machine.now().since(before) < A_WHILE_NS);
    let log = medium.take_log();
    assert_eq!(log.len(), 32);
    assert!(log.iter().all(|entry| matches!(entry, LogEntry::Hinted(_))), "{log:?}");
    let doubt = device.engine_mut().expect("an engine").ranges_in_doubt();
    let expected: Vec<_> = (0..32).map(|slot| ByteRange::new(slot * 8192, 4096)).collect();
    assert_eq!(doubt, expected, "whoever attaches the image again can say why it has to wait");
    assert_eq!(counters(device.as_mut()).orphans_now, 32);

    medium.complete_all();
    device.poll(rig.machine.now(), &mut LooseEnd);
    assert!(device.engine_mut().expect("an engine").ranges_in_doubt().is_empty());
    rig.no_breach();
}

#[test]
fn ranges_in_doubt_are_not_served_before_they_are_settled_and_the_rest_is() {
    let (mut rig, medium) = hung();
    let device = rig.detach();
    rig.attach(device);
    rig.driver.fill(&rig.machine, 0, &[0; 4096]);
    rig.driver.issue(&mut rig.machine, 0, &Command::read_queued(4, 8, SECTOR));
    rig.driver.fill(&rig.machine, 1, &[0x77; 4096]);
    rig.driver.issue(&mut rig.machine, 1, &Command::write_queued(8, 8, SECTOR));
    rig.machine.run_for(A_WHILE_NS);
    let engine = rig.machine.engine(0).expect("an engine");
    assert_eq!(engine.counters().held_now, 1, "the read is behind the fence of the first write");
    assert_eq!(engine.ranges_in_doubt().len(), 32);
    let elsewhere = medium.pending().iter().position(|io| io.range.offset_bytes == 8 * 512);
    medium.complete(elsewhere.expect("nothing is in doubt there"));
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.driver.collect(&mut rig.machine).ended, 0b10);

    let reads = |medium: &MemoryDisk| medium.pending().iter().any(|io| io.kind == OpKind::Read);
    assert!(!reads(&medium), "the storage has not been asked");
    let orphan = medium.pending().iter().position(|io| io.range.offset_bytes == 0);
    medium.complete(orphan.expect("it hangs there"));
    rig.machine.run_for(A_WHILE_NS);
    assert!(reads(&medium), "it is settled");
    medium.complete_all();
    rig.driver.wait_for(&mut rig.machine, 1, AMPLE_NS).expect("the read");
    let data = rig.driver.data(&rig.machine, 0, 4096);
    let half = [[0xaa; 2048], [0x77; 2048]].concat();
    assert_eq!(data, half, "what was in doubt has happened, and then the write beside it");
    rig.no_breach();
}
