//! The drill on a disk in memory: good on an honest stack, and red, clause by clause, on stacks
//! that are broken on purpose. The checker is itself checked.

mod sabotage;
mod support;

use freewheel_ata::DiskConfig;
use freewheel_block::EngineConfig;
use freewheel_sim::drill::{Clause, DrillConfig, DrillError, EventKind, Phase};
use freewheel_sim::{MemoryDisk, MemoryDiskConfig, ResetWay};

use support::*;

#[test]
fn an_honest_stack_is_good_in_every_clause() {
    let report = Stack::new().drill(4);
    for clause in Clause::ALL {
        let verdict = report.verdicts.of(clause);
        assert!(verdict.ok(), "{clause:?}: {verdict:#?}");
        assert!(verdict.checks > 10, "{clause:?}: {verdict:#?}");
    }
    assert!(report.ok());
    assert_eq!(report.commands_hung, 32);
    assert_eq!(report.backend, "memory");
    assert_eq!(report.ways.len(), ResetWay::ALL.len());
    assert!(report.ways.iter().all(|(_, times)| times.count() >= 4));
    assert!(report.orphans_total > 0 && report.fences_total > 0 && report.held_total > 0);
}

#[test]
fn one_round_is_enough_to_check_every_clause() {
    let report = Stack::new().drill(1);
    assert!(report.ok(), "{:#?}", report.verdicts);
}

#[test]
fn the_same_drill_takes_the_same_course() {
    let course = || {
        let mut events = Vec::new();
        let report = Stack::new().drill_telling(2, &mut |event| events.push(event.clone()));
        (events, report)
    };
    let (events, report) = course();
    assert_eq!((events.clone(), report), course());
    for way in ResetWay::ALL {
        let phase = EventKind::Phase(Phase::Way(way));
        assert!(events.iter().any(|event| event.kind == phase), "{way:?}");
    }
    assert!(events.iter().any(|event| matches!(event.kind, EventKind::BudgetSpent { .. })));
}

#[test]
fn other_disks_are_good_too() {
    let config = |logical: u32, queue_depth: u8, discard: bool| DiskConfig {
        logical_sector_bytes: logical,
        physical_sector_bytes: 4096,
        queue_depth,
        discard,
        ..DiskConfig::default()
    };
    let medium = MemoryDiskConfig {
        io_align_bytes: 4096,
        discard_align_bytes: Some(4096),
        ..MemoryDiskConfig::default()
    };
    for (disk, medium, slots) in [
        (config(4096, 32, true), medium.clone(), 64),
        (config(512, 8, true), medium.clone(), 20),
        (config(512, 4, true), MemoryDiskConfig { fua: true, ..medium.clone() }, 9),
        (config(512, 32, false), MemoryDiskConfig { discard_align_bytes: None, ..medium }, 100),
    ] {
        let engine = EngineConfig { slots, max_operations: 64, ..EngineConfig::default() };
        let stack = Stack { disk: disk.clone(), medium, engine, ..Stack::new() };
        let report = stack.drill(2);
        assert!(report.ok(), "{disk:?}: {:#?}", report.verdicts);
        assert_eq!(report.commands_hung, usize::from(disk.queue_depth));
    }
}

#[test]
fn a_disk_that_cannot_be_drilled_says_why() {
    let medium = MemoryDiskConfig { size_bytes: 1 << 20, ..MemoryDiskConfig::default() };
    let result = Stack { medium, ..Stack::new() }.try_drill(DrillConfig::default(), &mut |_| {});
    assert!(matches!(result, Err(DrillError::TooSmall { has_bytes: 0x10_0000, .. })), "{result:?}");

    let disk = DiskConfig { queue_depth: 2, ..DiskConfig::default() };
    let result = Stack { disk, ..Stack::new() }.try_drill(DrillConfig::default(), &mut |_| {});
    assert_eq!(result, Err(DrillError::ShortQueue { depth: 2 }));

    let medium = MemoryDiskConfig { read_only: true, ..MemoryDiskConfig::default() };
    let result = Stack { medium, ..Stack::new() }.try_drill(DrillConfig::default(), &mut |_| {});
    assert_eq!(result, Err(DrillError::ReadOnly));

    let bare = |disk: &MemoryDisk| Box::new(disk.clone()) as Box<dyn freewheel_block::Backend>;
    let result =
        Stack { backend: bare, ..Stack::new() }.try_drill(DrillConfig::default(), &mut |_| {});
    assert_eq!(result, Err(DrillError::NoFaultLayer));
}
