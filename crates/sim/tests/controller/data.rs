//! Data arrives where it belongs.

use freewheel_block::{EngineConfig, OpKind};
use freewheel_sim::{Command, Direction, LogEntry, MemoryDiskConfig, PrdtEntry};

use crate::support::*;

#[test]
fn thirty_two_queued_writes_and_reads_in_any_order() {
    let mut rig = Rig::new();
    for reversed in [false, true] {
        rig.disk.hold(true);
        let writes: Vec<_> = (0..32u8)
            .map(|slot| {
                let lba = u64::from(slot) * 100 + u64::from(reversed);
                rig.driver.fill(&rig.machine, slot, &pattern(lba, 64));
                (slot, Command::write_queued(lba, 64, SECTOR))
            })
            .collect();
        rig.driver.issue_all(&mut rig.machine, &writes);
        rig.machine.settle();
        assert_eq!(rig.driver.collect(&mut rig.machine).ended, 0);
        if reversed {
            rig.disk.complete_all_reversed()
        } else {
            rig.disk.complete_all()
        }
        rig.wait(u32::MAX).expect("writes");

        let reads: Vec<_> = (0..32u8)
            .map(|slot| {
                rig.driver.fill(&rig.machine, slot, &[0; 64 * 512]);
                let lba = u64::from(slot) * 100 + u64::from(reversed);
                (slot, Command::read_queued(lba, 64, SECTOR))
            })
            .collect();
        rig.driver.issue_all(&mut rig.machine, &reads);
        rig.machine.settle();
        if reversed {
            rig.disk.complete_all_reversed()
        } else {
            rig.disk.complete_all()
        }
        rig.wait(u32::MAX).expect("reads");
        for slot in 0..32u8 {
            let lba = u64::from(slot) * 100 + u64::from(reversed);
            assert_eq!(rig.driver.data(&rig.machine, slot, 64 * 512), pattern(lba, 64), "{slot}");
        }
    }
}

#[test]
fn queued_commands_need_no_neighbours_and_leave_other_tags_alone() {
    let mut rig = Rig::new();
    rig.disk.hold(true);
    rig.driver.issue(&mut rig.machine, 31, &Command::read_queued(8, 8, SECTOR));
    rig.driver.issue(&mut rig.machine, 0, &Command::read_queued(0, 8, SECTOR));
    rig.machine.settle();
    rig.disk.complete(1);
    rig.wait(1).expect("tag 0");
    assert_eq!(rig.driver.in_flight(), 1 << 31);
    rig.disk.complete(0);
    rig.wait(1 << 31).expect("tag 31");
}

#[test]
fn dma_and_pio_move_the_same_bytes() {
    let mut rig = Rig::new();
    let data = pattern(77, 40);
    rig.driver.fill(&rig.machine, 3, &data);
    rig.run(3, &Command::write_dma(77, 40, SECTOR)).expect("write DMA");
    rig.driver.fill(&rig.machine, 3, &[0; 40 * 512]);
    rig.run(3, &Command::read_pio(77, 40, SECTOR)).expect("read PIO");
    assert_eq!(rig.driver.data(&rig.machine, 3, 40 * 512), data);

    let data = pattern(500, 40);
    rig.driver.fill(&rig.machine, 4, &data);
    rig.run(4, &Command::write_pio(500, 40, SECTOR)).expect("write PIO");
    rig.driver.fill(&rig.machine, 4, &[0; 40 * 512]);
    rig.run(4, &Command::read_dma(500, 40, SECTOR)).expect("read DMA");
    assert_eq!(rig.driver.data(&rig.machine, 4, 40 * 512), data);
    let header = rig.machine.ram.peek(rig.driver.layout().header(4) + 4, 4);
    assert_eq!(header, (40u32 * 512).to_le_bytes(), "PRDBC");
}

#[test]
fn a_trim_of_512_ranges_zeroes_each_and_no_other() {
    let mut rig = Rig::new();
    rig.disk.overwrite(0, &vec![0xab; 2048 * 512]);
    let ranges: Vec<_> = (0..512).map(|index| (index * 4 + 1, 2)).collect();
    let (command, payload) = Command::trim(&ranges);
    rig.driver.fill(&rig.machine, 9, &payload);
    rig.run(9, &command).expect("a TRIM");
    for index in 0..512 {
        let content = rig.disk.content(sectors(index * 4, 4));
        assert!(content[..512].iter().all(|byte| *byte == 0xab), "range {index}");
        assert!(content[512..1536].iter().all(|byte| *byte == 0), "range {index}");
        assert!(content[1536..].iter().all(|byte| *byte == 0xab), "range {index}");
    }
}

#[test]
fn a_prdt_of_65535_entries_works() {
    let mut rig = Rig::new();
    // 2 bytes an entry, each pair of bytes at another place, backwards.
    let scratch = rig.driver.layout().scratch();
    let table = scratch.start;
    let data = scratch.start + (4 << 20);
    let entries: Vec<_> = (0..65_535u64)
        .map(|index| PrdtEntry { address: data + (65_534 - index) * 2, len_bytes: 2 })
        .collect();
    let mut command = Command::read_dma(0, 255, SECTOR);
    command.prdt = Some(entries);
    command.table = Some(table);
    let content = pattern(3, 255);
    rig.disk.overwrite(0, &content);
    rig.run(1, &command).expect("a read through the longest PRDT");
    let found = rig.machine.ram.peek(data, 131_070);
    for (index, pair) in content.chunks_exact(2).enumerate() {
        let at = (65_534 - index) * 2;
        assert_eq!(found[at..at + 2], *pair, "entry {index}");
    }
    assert!(found[..2 * (65_535 - 255 * 256)].iter().all(|byte| *byte == 0));
}

#[test]
fn odd_pieces_of_memory_are_gathered() {
    let mut rig = Rig::new();
    let base = rig.driver.layout().scratch().start;
    let data = pattern(1, 3);
    rig.machine.ram.poke(base + 2, &data[..10]);
    rig.machine.ram.poke(base + 0x1ffe, &data[10..1034]);
    rig.machine.ram.poke(base + 0x5000, &data[1034..]);
    let mut command = Command::write_queued(9, 3, SECTOR);
    command.prdt = Some(vec![
        PrdtEntry { address: base + 2, len_bytes: 10 },
        PrdtEntry { address: base + 0x1ffe, len_bytes: 1024 },
        PrdtEntry { address: base + 0x5000, len_bytes: 502 + 100 },
    ]);
    rig.run(0, &command).expect("a write");
    assert_eq!(rig.disk.content(sectors(9, 3)), data);
    assert_eq!(command.direction, Direction::ToDevice);
}

#[test]
fn a_flush_follows_what_it_covers_and_fua_is_durable_by_itself() {
    let mut rig = Rig::new();
    rig.disk.track_durability();
    rig.write(0, &pattern(0, 8));
    assert_ne!(rig.disk.durable().expect("tracked")[..4096], pattern(0, 8));
    rig.run(0, &Command::flush()).expect("a flush");
    assert_eq!(rig.disk.durable().expect("tracked")[..4096], pattern(0, 8));
    for (slot, command) in
        [(0, Command::write_queued(8, 8, SECTOR).fua()), (1, Command::write_dma_fua(8, 8, SECTOR))]
    {
        let data = pattern(1000 + u64::from(slot), 8);
        rig.driver.fill(&rig.machine, slot, &data);
        rig.run(slot, &command).expect("a FUA write");
        assert_eq!(rig.disk.durable().expect("tracked")[4096..8192], data);
    }
    let log = rig.disk.take_log();
    let flushes = log
        .iter()
        .filter(|entry| matches!(entry, LogEntry::CarriedOut(io) if io.kind == OpKind::Flush));
    assert_eq!(flushes.count(), 3);
}

#[test]
fn unaligned_guests_work_on_large_blocks() {
    let config = MemoryDiskConfig { io_align_bytes: 4096, ..MemoryDiskConfig::default() };
    let mut rig = Rig::with(&config, EngineConfig { slots: 8, ..EngineConfig::default() });
    let commands: Vec<_> = (0..32u8)
        .map(|slot| {
            let lba = u64::from(slot) * 3 + 1;
            rig.driver.fill(&rig.machine, slot, &pattern(lba, 3));
            (slot, Command::write_queued(lba, 3, SECTOR))
        })
        .collect();
    rig.driver.issue_all(&mut rig.machine, &commands);
    rig.wait(u32::MAX).expect("writes");
    for slot in 0..32 {
        let lba = slot * 3 + 1;
        assert_eq!(rig.disk.content(sectors(lba, 3)), pattern(lba, 3), "{slot}");
    }
}

#[test]
fn short_transfers_are_continued() {
    let mut rig = Rig::new();
    rig.disk.overwrite(0, &pattern(0, 64));
    rig.disk.hold(true);
    rig.driver.issue(&mut rig.machine, 5, &Command::read_queued(0, 64, SECTOR));
    rig.machine.poll();
    for _ in 0..3 {
        rig.disk.complete_short(0, 1024 + 7);
        rig.machine.poll();
        assert_eq!(rig.driver.collect(&mut rig.machine).ended, 0);
    }
    rig.disk.hold(false);
    rig.wait(1 << 5).expect("a read");
    assert_eq!(rig.driver.data(&rig.machine, 5, 64 * 512), pattern(0, 64));
    assert_eq!(rig.status().counters.short_total, 3);
}

#[test]
fn unqueued_commands_wait_for_one_another_in_the_list() {
    let mut rig = Rig::new();
    rig.disk.hold(true);
    rig.driver.issue(&mut rig.machine, 7, &Command::read_dma(0, 8, SECTOR));
    rig.driver.issue(&mut rig.machine, 3, &Command::flush());
    rig.driver.issue(&mut rig.machine, 20, &Command::read_dma(8, 8, SECTOR));
    for left in [3, 2, 1] {
        rig.machine.settle();
        assert_eq!(rig.disk.pending().len(), 1, "one at a time");
        assert_eq!(rig.driver.in_flight().count_ones(), left);
        rig.disk.complete(0);
        rig.machine.settle();
        assert_eq!(rig.driver.collect(&mut rig.machine).ended.count_ones(), 1);
    }
    assert_eq!(rig.driver.in_flight(), 0);
}
