//! Clause by clause.

use std::vec;
use std::vec::Vec;

use super::*;

#[test]
fn data_written_is_read_back_across_many_pieces() {
    let mut rig = Rig::small();
    let pattern: Vec<u8> = (0..40 * SECTOR).map(|byte| (byte * 7 / 3) as u8).collect();
    rig.guest.memory.insert(1, pattern.clone());
    rig.submit(Request::write(1, sector_range(3, 40), false));
    while rig.answered(1).is_empty() {
        rig.disk.finish_all();
        rig.poll();
    }
    rig.read(2, 3, 40);
    while rig.answered(2).is_empty() {
        rig.disk.finish_all();
        rig.poll();
    }
    assert_eq!(rig.guest.memory[&2], pattern);
    assert_eq!(rig.engine.counters().read_bytes_total, 40 * SECTOR);
}

#[test]
fn a_cancelled_operation_is_never_answered_even_if_the_backend_completes_it() {
    let mut rig = Rig::small();
    let token = rig.read(1, 0, 8);
    assert!(rig.cancel(token));
    assert!(!rig.cancel(token), "a token names nothing once it is cancelled");
    rig.disk.finish_all();
    rig.poll();
    assert!(rig.answered(1).is_empty());
    assert_eq!(rig.engine.counters().orphans_now, 0);
    assert_eq!(rig.engine.counters().orphans_total, 1);
}

#[test]
fn a_late_read_touches_no_guest_memory() {
    let mut rig = Rig::small();
    let token = rig.read(1, 0, 8);
    rig.cancel(token);
    rig.guest.touched.clear();
    rig.disk.finish_all();
    rig.poll();
    assert!(rig.guest.touched.is_empty(), "C3: no byte moves once cancel has returned");
    assert!(rig.guest.memory[&1].iter().all(|byte| *byte == 0xee));
}

#[test]
fn a_late_completion_does_not_reach_the_operation_that_uses_the_entry_now() {
    let mut rig = Rig::new(
        Disk::new(64, 1),
        EngineConfig { slots: 2, max_operations: 1, ..EngineConfig::default() },
    );
    let first = rig.read(1, 0, 1);
    rig.cancel(first);
    rig.read(1, 8, 1);
    rig.disk.finish(0); // the orphan's
    rig.poll();
    assert!(rig.answered(1).is_empty(), "the tag and the entry are the same, the operation is not");
    rig.disk.finish(0);
    rig.poll();
    assert_eq!(rig.answered(1), vec![Ok(())]);
}

#[test]
fn what_overlaps_an_orphaned_write_is_held_until_it_ends_and_the_rest_goes_on() {
    let mut rig = Rig::small();
    let token = rig.write(1, 8, 8, 0xaa);
    rig.cancel(token);
    rig.write(2, 15, 1, 0xbb);
    rig.read(3, 0, 9);
    rig.submit(Request::discard(4, vec![sector_range(100, 1), sector_range(10, 2)]));
    rig.write(5, 16, 8, 0xcc);
    rig.read(6, 0, 8);
    rig.submit(Request::flush(7));
    let started: Vec<_> = rig.disk.pending();
    // The orphan; the first part of the read and of the discard, which the fence does not cover;
    // and what is beside it.
    assert_eq!(rig.engine.counters().held_now, 3);
    assert!(
        started.iter().skip(1).all(|(kind, range, _)| {
            *kind == OpKind::Flush || !range.overlaps(sector_range(8, 8))
        })
    );
    while rig.disk.pending().len() > 1 {
        rig.disk.finish(1);
        rig.poll();
    }
    for tag in [5, 6, 7] {
        assert_eq!(rig.answered(tag), vec![Ok(())], "tag {tag} does not overlap");
    }
    for tag in [2, 3, 4] {
        assert!(rig.answered(tag).is_empty(), "tag {tag} overlaps");
    }
    rig.disk.finish(0); // the orphan lands, late
    rig.poll();
    assert_eq!(rig.engine.counters().held_now, 0);
    rig.disk.finish_all();
    rig.poll();
    rig.disk.finish_all();
    rig.poll();
    for tag in [2, 3, 4] {
        assert_eq!(rig.answered(tag), vec![Ok(())]);
    }
    let medium = rig.disk.medium.lock().expect("medium");
    assert_eq!(medium.bytes[15 * 512], 0xbb, "the newer write is not overtaken by the older");
    assert_eq!(medium.bytes[10 * 512], 0, "nor is the newer discard");
    assert_eq!(medium.bytes[14 * 512], 0xaa);
}

#[test]
fn an_orphaned_read_or_flush_raises_no_fence() {
    let mut rig = Rig::small();
    let read = rig.read(1, 0, 8);
    let flush = rig.submit(Request::flush(2));
    rig.cancel(read);
    rig.cancel(flush);
    rig.write(3, 0, 8, 1);
    assert_eq!(rig.engine.counters().held_now, 0);
    assert_eq!(rig.engine.counters().fences_total, 0);
    assert_eq!(rig.engine.counters().orphans_now, 2);
}

#[test]
fn a_held_operation_is_cancelled_without_an_orphan() {
    let mut rig = Rig::small();
    let first = rig.write(1, 0, 8, 1);
    rig.cancel(first);
    let held = rig.write(2, 0, 8, 2);
    assert_eq!(rig.engine.counters().held_now, 1);
    assert!(rig.cancel(held));
    assert_eq!(rig.engine.counters().held_now, 0);
    assert_eq!(rig.engine.counters().orphans_total, 1);
    rig.disk.finish_all();
    rig.poll();
    assert!(rig.disk.pending().is_empty(), "the held one never reaches the backend");
}

#[test]
fn orphans_spend_the_budget_and_new_operations_queue_still_cancellable() {
    let config = EngineConfig { slots: 4, ..EngineConfig::default() };
    let mut rig = Rig::new(Disk::new(1024, 1), config);
    for tag in 0..4 {
        let token = rig.read(tag, u64::from(tag) * 8, 8);
        rig.cancel(token);
    }
    let queued = rig.read(10, 100, 8);
    rig.read(11, 200, 8);
    assert_eq!(rig.engine.counters().queued_now, 2);
    assert_eq!(rig.disk.pending().len(), 4);
    assert!(rig.cancel(queued));
    rig.disk.finish(2);
    rig.poll();
    assert_eq!(rig.disk.pending().len(), 4, "the slot that came back serves the one that waits");
    rig.disk.finish_all();
    rig.poll();
    assert_eq!(rig.answered(11), vec![Ok(())]);
    assert!(rig.answered(10).is_empty());
}

#[test]
fn a_completion_that_comes_twice_is_counted_and_ignored() {
    let mut rig = Rig::small();
    rig.read(1, 0, 8);
    let id = rig.disk.medium.lock().expect("medium").pending[0].id;
    rig.disk.finish(0);
    rig.poll();
    rig.read(2, 0, 8); // reuses the slot
    let again = Io {
        id,
        kind: OpKind::Read,
        range: sector_range(0, 8),
        fua: false,
        buf: None,
        buf_offset_bytes: 0,
    };
    rig.disk.medium.lock().expect("medium").done.push(again.done(Ok(8 * SECTOR)));
    rig.poll();
    assert!(rig.answered(2).is_empty());
    assert_eq!(rig.engine.counters().spurious_total, 1);
    rig.disk.finish_all();
    rig.poll();
    assert_eq!(rig.answered(2), vec![Ok(())]);
}

#[test]
fn a_completion_without_its_buffer_fails_the_operation_and_keeps_the_slot() {
    let config = EngineConfig { slots: 1, ..EngineConfig::default() };
    let mut rig = Rig::new(Disk::new(64, 1), config);
    rig.read(1, 0, 8);
    {
        let mut medium = rig.disk.medium.lock().expect("medium");
        let mut io = medium.pending.remove(0);
        io.buf = None;
        medium.done.push(io.done(Ok(8 * SECTOR)));
    }
    rig.poll();
    let expected = OpError { error: IoError::BackendProtocol, offset_bytes: 0 };
    assert_eq!(rig.answered(1), vec![Err(expected)]);
    rig.read(2, 0, 8);
    rig.disk.finish_all();
    rig.poll();
    assert_eq!(rig.answered(2), vec![Ok(())]);
}

#[test]
fn a_short_transfer_is_continued_and_an_endless_one_fails() {
    let mut rig = Rig::small();
    rig.disk.medium.lock().expect("medium").bytes[..4096].fill(0x5a);
    rig.read(1, 0, 8);
    rig.disk.finish_with(0, Some(Ok(1000)));
    rig.poll();
    assert_eq!(rig.disk.pending()[0].1, ByteRange::new(1000, 3096));
    rig.disk.finish(0);
    rig.poll();
    assert_eq!(rig.answered(1), vec![Ok(())]);
    assert!(rig.guest.memory[&1].iter().all(|byte| *byte == 0x5a));
    rig.read(2, 0, 8);
    rig.disk.finish_with(0, Some(Ok(0)));
    rig.poll();
    let expected = OpError { error: IoError::ShortTransfer, offset_bytes: 0 };
    assert_eq!(rig.answered(2), vec![Err(expected)]);
    rig.read(3, 0, 8);
    {
        let mut medium = rig.disk.medium.lock().expect("medium");
        let io = medium.pending.remove(0);
        medium.done.push(io.done(Ok(5000)));
    }
    rig.poll();
    let expected = OpError { error: IoError::BackendProtocol, offset_bytes: 0 };
    assert_eq!(rig.answered(3), vec![Err(expected)]);
}

#[test]
fn the_lowest_failing_offset_is_reported_once_nothing_is_in_flight() {
    let mut rig = Rig::small();
    rig.read(1, 0, 32);
    rig.disk.finish_with(2, Some(Err(IoError::Os(5))));
    rig.poll();
    assert!(rig.answered(1).is_empty(), "pieces are still in flight");
    rig.disk.finish_with(1, Some(Err(IoError::Os(5))));
    while !rig.disk.pending().is_empty() {
        rig.disk.finish_all();
        rig.poll();
    }
    let expected = OpError { error: IoError::Os(5), offset_bytes: 4096 };
    assert_eq!(rig.answered(1), vec![Err(expected)]);
}

#[test]
fn memory_that_is_gone_fails_the_operation_only() {
    let mut rig = Rig::small();
    rig.read(1, 0, 8);
    rig.guest.unmapped = true;
    rig.disk.finish_all();
    rig.poll();
    rig.write(2, 0, 8, 1);
    assert!(rig.engine.next_wakeup().is_some(), "an answer is due");
    rig.poll();
    rig.guest.unmapped = false;
    rig.write(3, 0, 8, 1);
    rig.disk.finish_all();
    rig.poll();
    let expected = OpError { error: IoError::GuestMemory, offset_bytes: 0 };
    assert_eq!(rig.answered(1), vec![Err(expected)]);
    assert_eq!(rig.answered(2), vec![Err(expected)]);
    assert_eq!(rig.answered(3), vec![Ok(())]);
}

#[test]
fn fua_is_passed_down_or_followed_by_a_flush() {
    let mut disk = Disk::new(64, 1);
    let mut rig = Rig::new(disk.clone(), EngineConfig::default());
    rig.guest.memory.insert(1, vec![1; 512]);
    rig.submit(Request::write(1, sector_range(0, 1), true));
    assert!(rig.disk.pending()[0].2);
    disk.info.fua = false;
    let mut rig = Rig::new(disk, EngineConfig::default());
    rig.disk.finish_all();
    rig.guest.memory.insert(1, vec![1; 512]);
    rig.submit(Request::write(1, sector_range(0, 1), true));
    assert!(!rig.disk.pending()[0].2);
    rig.disk.finish(0);
    rig.poll();
    assert!(rig.answered(1).is_empty(), "not durable yet");
    assert_eq!(rig.disk.pending()[0].0, OpKind::Flush);
    rig.disk.finish(0);
    rig.poll();
    assert_eq!(rig.answered(1), vec![Ok(())]);
}

#[test]
fn write_through_makes_every_change_durable_before_its_answer() {
    let config = EngineConfig { write_through: true, ..EngineConfig::default() };
    let mut rig = Rig::new(Disk::new(64, 1), config);
    rig.write(1, 0, 1, 1);
    assert!(rig.disk.pending()[0].2, "a write carries FUA");
    rig.disk.finish_all();
    rig.poll();
    rig.submit(Request::discard(2, vec![sector_range(4, 4)]));
    rig.disk.finish(0);
    rig.poll();
    assert_eq!(rig.disk.pending()[0].0, OpKind::Flush, "a discard is followed by a flush");
    rig.engine.set_write_through(false);
    rig.write(3, 9, 1, 1);
    assert!(!rig.disk.pending()[1].2);
}

#[test]
fn a_failed_flush_is_an_error() {
    let mut rig = Rig::small();
    rig.submit(Request::flush(1));
    rig.disk.finish_with(0, Some(Err(IoError::Os(5))));
    rig.poll();
    assert!(rig.answered(1)[0].is_err());
}

#[test]
fn what_the_caller_may_not_ask_is_refused_and_nothing_happens() {
    let mut disk = Disk::new(64, 1);
    disk.info.discard = None;
    let mut rig =
        Rig::new(disk.clone(), EngineConfig { max_operations: 1, ..EngineConfig::default() });
    let cases = [
        (Request::read(1, sector_range(64, 1)), SubmitError::OutOfRange),
        (Request::read(1, ByteRange::new(u64::MAX, 2)), SubmitError::OutOfRange),
        (Request::discard(1, vec![sector_range(0, 1)]), SubmitError::Unsupported),
        (Request { ranges: vec![], ..Request::read(1, sector_range(0, 1)) }, SubmitError::Invalid),
    ];
    for (request, error) in cases {
        assert_eq!(rig.try_submit(request), Err(error));
    }
    rig.submit(Request::flush(1));
    assert_eq!(rig.try_submit(Request::flush(2)), Err(SubmitError::TooMany));
    disk.info.read_only = true;
    let mut rig = Rig::new(disk, EngineConfig::default());
    let write = Request::write(1, sector_range(0, 1), false);
    assert_eq!(rig.try_submit(write), Err(SubmitError::ReadOnly));
}

#[test]
fn the_trace_tells_the_story_in_order_and_is_bounded() {
    let mut rig = Rig::small();
    let token = rig.write(1, 0, 1, 1);
    rig.cancel(token);
    rig.write(2, 0, 1, 2);
    rig.disk.finish_all();
    rig.poll();
    rig.disk.finish_all();
    rig.poll();
    let story: Vec<TraceKind> = rig.engine.trace().map(|event| event.kind).collect();
    assert_eq!(
        story,
        vec![
            TraceKind::Submit,
            TraceKind::Start,
            TraceKind::Cancel,
            TraceKind::Orphan(true),
            TraceKind::Submit,
            TraceKind::Hold,
            TraceKind::OrphanEnd,
            TraceKind::Release,
            TraceKind::Start,
            TraceKind::Finish,
            TraceKind::Answer(true),
        ]
    );
    for _ in 0..TRACE_CAPACITY {
        rig.submit(Request::flush(3));
        rig.disk.finish_all();
        rig.poll();
    }
    assert_eq!(rig.engine.trace().count(), TRACE_CAPACITY);
}

#[test]
fn a_durable_write_whose_flush_fails_names_its_own_place() {
    let mut disk = Disk::new(64, 1);
    disk.info.fua = false;
    let mut rig = Rig::new(disk, EngineConfig::default());
    rig.guest.memory.insert(1, vec![1; 512]);
    rig.submit(Request::write(1, sector_range(5, 1), true));
    rig.disk.finish(0);
    rig.poll();
    rig.disk.finish_with(0, Some(Err(IoError::Os(5))));
    rig.poll();
    let error = rig.answered(1)[0].expect_err("not durable");
    assert_eq!(error.offset_bytes, 5 * SECTOR, "not sector 0, which it never touched");
}

#[test]
fn a_token_that_was_answered_does_not_cancel_the_operation_that_uses_its_entry_now() {
    let config = EngineConfig { max_operations: 1, ..EngineConfig::default() };
    let mut rig = Rig::new(Disk::new(64, 1), config);
    let first = rig.read(1, 0, 1);
    rig.disk.finish_all();
    rig.poll();
    assert_eq!(rig.answered(1), vec![Ok(())]);
    rig.read(2, 8, 1);
    assert!(!rig.cancel(first), "C2: a token names nothing once it is answered");
    rig.disk.finish_all();
    rig.poll();
    assert_eq!(rig.answered(2), vec![Ok(())]);
}

#[test]
fn the_flush_of_a_durable_write_starts_only_when_all_its_pieces_are_done() {
    let mut disk = Disk::new(64, 1);
    disk.info.fua = false;
    let mut rig = Rig::new(disk, EngineConfig { buf_bytes: 4096, ..EngineConfig::default() });
    rig.guest.memory.insert(1, vec![1; 24 * 512]);
    rig.submit(Request::write(1, sector_range(0, 24), true));
    for left in [3, 2, 1] {
        let pending = rig.disk.pending();
        assert_eq!(pending.len(), left);
        assert!(pending.iter().all(|(kind, ..)| *kind == OpKind::Write), "C5: {pending:?}");
        rig.disk.finish(0);
        rig.poll();
    }
    assert_eq!(rig.disk.pending()[0].0, OpKind::Flush);
    assert!(rig.answered(1).is_empty());
    rig.disk.finish(0);
    rig.poll();
    assert_eq!(rig.answered(1), vec![Ok(())]);
}

#[test]
fn one_operation_never_has_more_pieces_in_flight_than_its_window() {
    let config = EngineConfig { buf_bytes: 4096, window: 2, ..EngineConfig::default() };
    let mut rig = Rig::new(Disk::new(128, 1), config);
    rig.write(1, 0, 64, 1);
    for _ in 0..8 {
        assert!(rig.disk.pending().len() <= 2, "C6");
        rig.disk.finish(0);
        rig.poll();
    }
    assert_eq!(rig.answered(1), vec![Ok(())]);
}
