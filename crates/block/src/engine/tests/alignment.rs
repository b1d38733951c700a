//! Writes smaller than the backend's blocks, and zeroes.

use std::vec;

use super::*;

#[test]
fn unaligned_writes_keep_their_neighbours_and_exclude_one_another() {
    let mut rig = Rig::new(Disk::new(64, 4096), EngineConfig::default());
    rig.disk.medium.lock().expect("medium").bytes.fill(0x11);
    rig.write(1, 1, 1, 0xaa);
    rig.write(2, 2, 1, 0xbb);
    rig.write(3, 0, 8, 0xcc);
    rig.write(4, 8, 8, 0xdd);
    assert_eq!(rig.engine.counters().held_now, 2, "the second and the whole-block write wait");
    for _ in 0..6 {
        rig.disk.finish_all();
        rig.poll();
    }
    for tag in 1..=4 {
        assert_eq!(rig.answered(tag), vec![Ok(())]);
    }
    let medium = rig.disk.medium.lock().expect("medium");
    assert!(medium.bytes[..4096].iter().all(|byte| *byte == 0xcc), "the last one came last");
    assert!(medium.bytes[4096..8192].iter().all(|byte| *byte == 0xdd));
    assert!(medium.bytes[8192..].iter().all(|byte| *byte == 0x11));
}

#[test]
fn an_unaligned_write_cancelled_while_it_reads_never_writes() {
    let mut rig = Rig::new(Disk::new(64, 4096), EngineConfig::default());
    let token = rig.write(1, 1, 1, 0xaa);
    assert_eq!(rig.disk.pending()[0].0, OpKind::Read);
    rig.cancel(token);
    assert_eq!(rig.engine.counters().fences_now, 0);
    rig.disk.finish_all();
    rig.poll();
    assert!(rig.disk.pending().is_empty());
    assert!(rig.disk.medium.lock().expect("medium").bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn an_orphaned_unaligned_write_fences_its_whole_block() {
    let mut rig = Rig::new(Disk::new(64, 4096), EngineConfig::default());
    let token = rig.write(1, 1, 1, 0xaa);
    rig.disk.finish(0);
    rig.poll();
    assert_eq!(rig.disk.pending()[0].0, OpKind::Write);
    rig.cancel(token);
    rig.write(2, 7, 1, 0xbb);
    assert_eq!(rig.engine.counters().held_now, 1);
    assert_eq!(rig.engine.ranges_in_doubt(), vec![ByteRange::new(0, 4096)]);
    for _ in 0..4 {
        rig.disk.finish_all();
        rig.poll();
    }
    let medium = rig.disk.medium.lock().expect("medium");
    assert_eq!((medium.bytes[512], medium.bytes[7 * 512]), (0xaa, 0xbb));
}

#[test]
fn zeroes_are_written_where_the_backend_has_no_better_way() {
    let mut disk = Disk::new(64, 4096);
    for native in [true, false] {
        disk.info.write_zeroes = native;
        disk.medium.lock().expect("medium").bytes.fill(0x77);
        let mut rig = Rig::new(disk.clone(), EngineConfig::default());
        rig.submit(Request::write_zeroes(1, sector_range(3, 20), false));
        if native {
            // The first is refused by the file system and has to be done again by hand.
            let index =
                rig.disk.pending().iter().position(|(kind, ..)| *kind == OpKind::WriteZeroes);
            rig.disk.finish_with(index.expect("a native one"), Some(Err(IoError::Unsupported)));
        }
        for _ in 0..8 {
            rig.disk.finish_all();
            rig.poll();
        }
        assert_eq!(rig.answered(1), vec![Ok(())]);
        let medium = rig.disk.medium.lock().expect("medium");
        for sector in 0..64 {
            let expected = if (3..23).contains(&sector) { 0 } else { 0x77 };
            assert_eq!(medium.bytes[sector * 512], expected, "sector {sector}, native {native}");
        }
    }
}

#[test]
fn a_held_write_that_fails_as_it_starts_lets_those_behind_it_go() {
    let mut rig = Rig::new(Disk::new(64, 4096), EngineConfig::default());
    rig.write(1, 1, 1, 0xaa); // reads its block first
    rig.write(2, 0, 8, 0xbb); // waits for it
    rig.write(3, 2, 1, 0xcc); // waits for both
    assert_eq!(rig.engine.counters().held_now, 2);
    rig.disk.finish(0);
    rig.poll();
    rig.disk.finish(0);
    rig.guest.unmapped = true;
    rig.poll();
    rig.guest.unmapped = false;
    assert_eq!(rig.answered(1), vec![Ok(())]);
    assert!(rig.answered(2)[0].is_err(), "its memory was gone when its turn came");
    for _ in 0..4 {
        rig.disk.finish_all();
        rig.poll();
    }
    assert_eq!(rig.answered(3), vec![Ok(())], "nothing is left that could hold it");
    assert_eq!(rig.engine.counters().held_now, 0);
}

#[test]
fn what_only_touches_a_write_that_a_fence_holds_is_not_held_by_the_fence() {
    let mut rig = Rig::new(Disk::new(64, 4096), EngineConfig::default());
    let orphan = rig.write(1, 0, 8, 0xaa);
    rig.cancel(orphan);
    rig.write(2, 0, 16, 0xbb); // overlaps the fence
    rig.write(3, 9, 1, 0xcc); // does not
    for _ in 0..4 {
        while rig.disk.pending().len() > 1 {
            rig.disk.finish(1);
        }
        rig.poll();
    }
    assert!(rig.answered(2).is_empty());
    assert_eq!(rig.answered(3), vec![Ok(())], "C4: what does not overlap an orphan goes on");
}

#[test]
fn an_orphaned_unaligned_write_fences_the_neighbours_that_it_writes_back() {
    let mut rig = Rig::new(Disk::new(64, 4096), EngineConfig::default());
    rig.disk.medium.lock().expect("medium").bytes.fill(0x11);
    let token = rig.write(1, 1, 1, 0xaa);
    rig.disk.finish(0);
    rig.poll();
    rig.cancel(token); // its whole block is on the way, with the old neighbours
    rig.submit(Request::discard(2, vec![sector_range(7, 1)]));
    assert_eq!(rig.engine.counters().held_now, 1);
    for _ in 0..4 {
        rig.disk.finish_all();
        rig.poll();
    }
    assert_eq!(rig.answered(2), vec![Ok(())]);
    assert_eq!(rig.disk.medium.lock().expect("medium").bytes[7 * 512], 0);
}

#[test]
fn cancelling_a_held_write_lets_those_go_that_waited_behind_it() {
    let mut rig = Rig::new(Disk::new(64, 4096), EngineConfig::default());
    rig.write(1, 1, 1, 0xaa); // block 0, in flight for the whole test
    let between = rig.write(2, 0, 16, 0xbb); // blocks 0 and 1
    rig.write(3, 9, 1, 0xcc); // block 1
    assert_eq!(rig.engine.counters().held_now, 2);
    rig.cancel(between);
    assert_eq!(rig.engine.next_wakeup(), Some(Nanos(0)), "the owner has to know");
    rig.poll();
    assert_eq!(rig.engine.counters().held_now, 0);
    assert_eq!(rig.disk.pending().len(), 2);
}

#[test]
fn a_stream_of_whole_writes_does_not_keep_an_unaligned_one_out() {
    let mut rig = Rig::new(Disk::new(64, 4096), EngineConfig::default());
    rig.write(1, 0, 8, 0xaa);
    rig.write(2, 1, 1, 0xbb);
    for tag in 3..20 {
        rig.write(tag, 0, 8, tag as u8);
        rig.disk.finish(0);
        rig.poll();
        if !rig.answered(2).is_empty() {
            return;
        }
    }
    panic!("the unaligned write never had its turn");
}

/// What was released, but found something else in its way when a slot became free, was held again;
/// both are counted.
#[test]
fn whatever_is_released_was_held_as_often() {
    let config = EngineConfig { slots: 1, buf_bytes: 8192, window: 1, ..EngineConfig::default() };
    let mut rig = Rig::new(Disk::new(64, 4096), config);
    let orphan = rig.write(1, 0, 16, 1);
    rig.cancel(orphan);
    for (tag, lba) in [(2, 1), (3, 9), (4, 11)] {
        rig.write(tag, lba, 1, tag as u8);
    }
    for _ in 0..20 {
        rig.disk.finish_all();
        rig.poll();
        let counters = rig.engine.counters();
        assert_eq!(counters.held_total - counters.released_total, counters.held_now);
    }
    assert!([2, 3, 4].iter().all(|tag| rig.answered(*tag) == [Ok(())]));
    assert_eq!(rig.engine.counters().held_total, 4, "one of the three was held twice");
}

#[test]
fn a_fence_beside_a_write_in_its_block_holds_the_write_and_no_read() {
    let mut rig = Rig::new(Disk::new(64, 4096), EngineConfig::default());
    rig.disk.medium.lock().expect("medium").bytes.fill(0x11);
    let orphan = rig.submit(Request::discard(1, vec![sector_range(0, 1)]));
    rig.cancel(orphan);
    rig.read(2, 5, 1); // its block has the fence, its sector has not
    rig.write(3, 6, 1, 0xcc); // writes the fenced sector back
    assert_eq!(rig.engine.counters().held_now, 1);
    assert_eq!(rig.disk.pending().len(), 2, "the orphan and the read");
    rig.disk.finish(1);
    rig.poll();
    assert_eq!(rig.answered(2), vec![Ok(())]);
    for _ in 0..4 {
        rig.disk.finish_all();
        rig.poll();
    }
    assert_eq!(rig.answered(3), vec![Ok(())]);
    let medium = rig.disk.medium.lock().expect("medium");
    let at = |sector: usize| medium.bytes[sector * 512];
    assert_eq!((at(0), at(1), at(6)), (0, 0x11, 0xcc));
}

#[test]
fn a_read_does_not_wait_for_an_unaligned_write_in_its_block() {
    let mut rig = Rig::new(Disk::new(64, 4096), EngineConfig::default());
    rig.write(1, 1, 1, 0xaa);
    rig.read(2, 5, 1);
    assert_eq!(rig.engine.counters().held_now, 0, "ATA gives live commands no order");
    assert_eq!(rig.disk.pending().len(), 2);
}
