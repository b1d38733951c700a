//! The engine against a backend whose every completion the test decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{DiscardSupport, Done, Io, IoError};

const SECTOR: u64 = 512;

/// A medium in memory that executes and completes requests only when told to.
#[derive(Default)]
struct Medium {
    bytes: Vec<u8>,
    pending: Vec<Io>,
    done: Vec<Done>,
    hints: Vec<IoId>,
    durable_below: usize,
}

#[derive(Clone)]
struct Disk {
    medium: Arc<Mutex<Medium>>,
    info: BackendInfo,
}

impl Disk {
    fn new(sectors: u64, align_bytes: u64) -> Self {
        let size_bytes = sectors * SECTOR;
        let medium = Medium { bytes: vec![0; size_bytes as usize], ..Medium::default() };
        Self {
            medium: Arc::new(Mutex::new(medium)),
            info: BackendInfo {
                engine_name: "test".into(),
                size_bytes,
                io_align_bytes: align_bytes,
                read_only: false,
                fua: true,
                discard: Some(DiscardSupport { align_bytes: 1, reads_zeroes: true }),
                write_zeroes: true,
                queue_depth: 256,
            },
        }
    }

    fn pending(&self) -> Vec<(OpKind, ByteRange, bool)> {
        let medium = self.medium.lock().expect("medium");
        medium.pending.iter().map(|io| (io.kind, io.range, io.fua)).collect()
    }

    /// Executes and completes the pending request at `index`.
    fn finish(&self, index: usize) {
        self.finish_with(index, None);
    }

    fn finish_with(&self, index: usize, result: Option<Result<u64, IoError>>) {
        let mut medium = self.medium.lock().expect("medium");
        let mut io = medium.pending.remove(index);
        let len = match result {
            Some(Ok(count)) => count,
            Some(Err(_)) => 0,
            None => io.range.len_bytes,
        };
        let start = io.range.offset_bytes as usize;
        let span = start..start + len as usize;
        match io.kind {
            OpKind::Read => {
                let data = medium.bytes[span].to_vec();
                io.data_mut()[..data.len()].copy_from_slice(&data);
            }
            OpKind::Write => medium.bytes[span].copy_from_slice(&io.data()[..len as usize]),
            OpKind::Discard | OpKind::WriteZeroes => medium.bytes[span].fill(0),
            OpKind::Flush => medium.durable_below += 1,
        }
        medium.done.push(io.done(result.unwrap_or(Ok(len))));
    }

    fn finish_all(&self) {
        while !self.pending().is_empty() {
            self.finish(0);
        }
    }
}

impl Backend for Disk {
    fn info(&self) -> &BackendInfo {
        &self.info
    }
    fn submit(&mut self, io: Io, _now: Nanos) {
        self.medium.lock().expect("medium").pending.push(io);
    }
    fn poll(&mut self, _now: Nanos, done: &mut Vec<Done>) {
        done.append(&mut self.medium.lock().expect("medium").done);
    }
    fn cancel_hint(&mut self, id: IoId) {
        self.medium.lock().expect("medium").hints.push(id);
    }
}

/// Guest memory, one area a tag, and the answers so far.
#[derive(Default)]
struct Guest {
    memory: BTreeMap<u32, Vec<u8>>,
    answers: Vec<(u32, Result<(), OpError>)>,
    unmapped: bool,
    touched: Vec<u32>,
}

impl Client for Guest {
    fn gather(&mut self, tag: u32, at: u64, buf: &mut [u8]) -> Result<(), GuestMemoryError> {
        if self.unmapped {
            return Err(GuestMemoryError);
        }
        self.touched.push(tag);
        let area = self.memory.get(&tag).expect("memory of the tag");
        buf.copy_from_slice(&area[at as usize..at as usize + buf.len()]);
        Ok(())
    }
    fn scatter(&mut self, tag: u32, at: u64, data: &[u8]) -> Result<(), GuestMemoryError> {
        if self.unmapped {
            return Err(GuestMemoryError);
        }
        self.touched.push(tag);
        let area = self.memory.get_mut(&tag).expect("memory of the tag");
        area[at as usize..at as usize + data.len()].copy_from_slice(data);
        Ok(())
    }
    fn answer(&mut self, _token: OpToken, tag: u32, result: Result<(), OpError>) {
        self.answers.push((tag, result));
    }
}

struct Rig {
    disk: Disk,
    engine: Engine,
    guest: Guest,
    now: Nanos,
}

impl Rig {
    fn new(disk: Disk, config: EngineConfig) -> Self {
        let engine = Engine::new(Box::new(disk.clone()), config);
        Self { disk, engine, guest: Guest::default(), now: Nanos(0) }
    }

    fn small() -> Self {
        Self::new(Disk::new(1024, 1), EngineConfig { buf_bytes: 4096, ..EngineConfig::default() })
    }

    fn submit(&mut self, request: Request) -> OpToken {
        self.try_submit(request).expect("submitted")
    }

    fn try_submit(&mut self, request: Request) -> Result<OpToken, SubmitError> {
        let result = self.engine.submit(request, self.now, &mut self.guest);
        self.engine.assert_consistent();
        result
    }

    fn write(&mut self, tag: u32, lba: u64, sectors: u64, value: u8) -> OpToken {
        self.guest.memory.insert(tag, vec![value; (sectors * SECTOR) as usize]);
        self.submit(Request::write(tag, sector_range(lba, sectors), false))
    }

    fn read(&mut self, tag: u32, lba: u64, sectors: u64) -> OpToken {
        self.guest.memory.insert(tag, vec![0xee; (sectors * SECTOR) as usize]);
        self.submit(Request::read(tag, sector_range(lba, sectors)))
    }

    fn cancel(&mut self, token: OpToken) -> bool {
        let was_live = self.engine.cancel(token, self.now);
        self.engine.assert_consistent();
        was_live
    }

    fn poll(&mut self) {
        self.now = self.now.plus(1);
        self.engine.poll(self.now, &mut self.guest);
        self.engine.assert_consistent();
    }

    fn answered(&self, tag: u32) -> Vec<Result<(), OpError>> {
        let of_tag = self.guest.answers.iter().filter(|(other, _)| *other == tag);
        of_tag.map(|(_, result)| *result).collect()
    }
}

fn sector_range(lba: u64, sectors: u64) -> ByteRange {
    ByteRange::new(lba * SECTOR, sectors * SECTOR)
}

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
    rig.disk.finish_all();
    rig.poll();
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

/// One step of a random life.
#[derive(Clone, Debug)]
enum Step {
    Write { lba: u64, sectors: u64 },
    Read { lba: u64, sectors: u64 },
    Discard { lba: u64, sectors: u64 },
    Flush,
    Finish { which: usize, short: bool },
    Fail { which: usize },
    Cancel { which: usize },
    Reset,
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0u64..48, 1u64..16);
    prop_oneof![
        4 => place().prop_map(|(lba, sectors)| Step::Write { lba, sectors }),
        4 => place().prop_map(|(lba, sectors)| Step::Read { lba, sectors }),
        1 => place().prop_map(|(lba, sectors)| Step::Discard { lba, sectors }),
        1 => Just(Step::Flush),
        8 => (any::<usize>(), proptest::bool::weighted(0.1))
            .prop_map(|(which, short)| Step::Finish { which, short }),
        1 => any::<usize>().prop_map(|which| Step::Fail { which }),
        2 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        1 => Just(Step::Reset),
        6 => Just(Step::Poll),
    ]
}

/// What each sector may hold, as far as the guest can know.
struct Oracle {
    allowed: Vec<BTreeSet<u8>>,
}

#[derive(Clone, Copy)]
struct Live {
    token: OpToken,
    kind: OpKind,
    lba: u64,
    sectors: u64,
    value: u8,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The guest issues no two live operations that overlap (it could expect nothing then), but
    /// cancels and retries over orphans as it likes. Every read must be explained.
    #[test]
    fn whatever_is_cancelled_a_guest_never_sees_old_data_after_new(
        steps in proptest::collection::vec(step(), 1..200),
        align in prop_oneof![Just(1u64), Just(4096)],
        slots in 1u16..12,
    ) {
        let config = EngineConfig { slots, buf_bytes: 4096, window: 3, ..EngineConfig::default() };
        let mut rig = Rig::new(Disk::new(64, align), config);
        let mut oracle = Oracle { allowed: vec![BTreeSet::from([0]); 64] };
        let mut live: BTreeMap<u32, Live> = BTreeMap::new();
        let mut next_tag = 0u32;
        let mut next_value = 0u8;
        // At the end everything is allowed to settle, and is read back whole.
        let ending = (0..600).map(|round| match round % 2 {
            0 => Step::Finish { which: 0, short: false },
            _ => Step::Poll,
        });
        for step in steps.into_iter().chain(ending) {
            let free = |lba: u64, sectors: u64| {
                live.values().all(|op| op.lba + op.sectors <= lba || lba + sectors <= op.lba)
            };
            let pending = rig.disk.pending().len();
            match step {
                Step::Write { lba, sectors } | Step::Read { lba, sectors }
                | Step::Discard { lba, sectors } if live.len() < 40 && free(lba, sectors) => {
                    next_tag += 1;
                    next_value = next_value.wrapping_add(1).max(1);
                    let (token, kind, value) = match step {
                        Step::Write { .. } => {
                            (rig.write(next_tag, lba, sectors, next_value), OpKind::Write, next_value)
                        }
                        Step::Read { .. } => (rig.read(next_tag, lba, sectors), OpKind::Read, 0),
                        _ => {
                            let request = Request::discard(next_tag, vec![sector_range(lba, sectors)]);
                            (rig.submit(request), OpKind::Discard, 0)
                        }
                    };
                    live.insert(next_tag, Live { token, kind, lba, sectors, value });
                }
                Step::Flush if live.len() < 40 => {
                    next_tag += 1;
                    let token = rig.submit(Request::flush(next_tag));
                    let op = Live { token, kind: OpKind::Flush, lba: 64, sectors: 0, value: 0 };
                    live.insert(next_tag, op);
                }
                Step::Finish { which, short } if pending > 0 => {
                    let which = which % pending;
                    let (kind, range, _) = rig.disk.pending()[which];
                    // Storage tears between sectors, not within.
                    let half = (range.len_bytes / 2) & !(align.max(SECTOR) - 1);
                    let halves = short && kind.has_data() && half > 0;
                    rig.disk.finish_with(which, halves.then_some(Ok(half)));
                }
                Step::Fail { which } if pending > 0 => {
                    rig.disk.finish_with(which % pending, Some(Err(IoError::Os(5))));
                }
                Step::Cancel { which } if !live.is_empty() => {
                    let tag = *live.keys().nth(which % live.len()).expect("a live one");
                    let op = live.remove(&tag).expect("live");
                    prop_assert!(rig.cancel(op.token));
                    may_hold(&mut oracle, op);
                }
                Step::Reset => {
                    let count = rig.engine.cancel_all(rig.now);
                    rig.engine.assert_consistent();
                    prop_assert_eq!(count, live.len());
                    for (_, op) in core::mem::take(&mut live) {
                        may_hold(&mut oracle, op);
                    }
                }
                Step::Poll => rig.poll(),
                _ => {}
            }
            for (tag, result) in core::mem::take(&mut rig.guest.answers) {
                let op = live.remove(&tag);
                prop_assert!(op.is_some(), "an answer to what is not live: tag {}", tag);
                let op = op.expect("live");
                match (op.kind, result) {
                    (OpKind::Write | OpKind::Discard, Ok(())) => {
                        for sector in op.lba..op.lba + op.sectors {
                            oracle.allowed[sector as usize] = BTreeSet::from([op.value]);
                        }
                    }
                    (OpKind::Write | OpKind::Discard, Err(_)) => may_hold(&mut oracle, op),
                    (OpKind::Read, Ok(())) => check_read(&mut oracle, &rig.guest.memory[&tag], op)?,
                    _ => {}
                }
            }
        }
        prop_assert!(live.is_empty(), "everything that is live ends once the backend works");
        prop_assert_eq!(rig.engine.counters().orphans_now, 0);
        prop_assert_eq!(rig.engine.counters().fences_now, 0);
        let medium = rig.disk.medium.lock().expect("medium").bytes.clone();
        check_read(&mut oracle, &medium, Live {
            token: rig.engine.submit(Request::flush(0), rig.now, &mut rig.guest).expect("idle"),
            kind: OpKind::Read, lba: 0, sectors: 64, value: 0,
        })?;
    }
}

/// A change that was cancelled or failed may have happened, in part, or not at all.
fn may_hold(oracle: &mut Oracle, op: Live) {
    if op.kind.changes_medium() {
        for sector in op.lba..op.lba + op.sectors {
            oracle.allowed[sector as usize].insert(op.value);
        }
    }
}

/// What is read must be allowed, whole sectors of one value, and from then on certain.
fn check_read(oracle: &mut Oracle, data: &[u8], op: Live) -> Result<(), TestCaseError> {
    for (index, bytes) in data.chunks(SECTOR as usize).enumerate() {
        let sector = op.lba as usize + index;
        let value = bytes[0];
        prop_assert!(bytes.iter().all(|byte| *byte == value), "sector {} is torn", sector);
        prop_assert!(
            oracle.allowed[sector].contains(&value),
            "sector {} holds {} but may hold {:?}",
            sector,
            value,
            oracle.allowed[sector]
        );
        oracle.allowed[sector] = BTreeSet::from([value]);
    }
    Ok(())
}
