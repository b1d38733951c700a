//! The whole stack under an engine: what a guest sees of each fault, and that cancelling, clearing
//! and releasing keep the contract while requests are kept here.

use alloc::boxed::Box;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

use super::FaultLayer;
use crate::{
    Backend, BackendInfo, ByteRange, Client, DiscardSupport, Done, Engine, EngineConfig,
    GuestMemoryError, Io, IoError, Nanos, OpError, OpKind, OpToken, Request,
};

const SECTOR: u64 = 512;
const SECOND: u64 = 1_000_000_000;

/// A medium in memory that carries requests out when it is kicked.
#[derive(Default)]
struct Medium {
    bytes: Vec<u8>,
    noted: Vec<Io>,
    log: Vec<(OpKind, ByteRange)>,
    done: Vec<Done>,
}

struct Ram {
    info: BackendInfo,
    medium: Arc<Mutex<Medium>>,
}

impl Backend for Ram {
    fn info(&self) -> &BackendInfo {
        &self.info
    }
    fn submit(&mut self, io: Io, _now: Nanos) {
        self.medium.lock().expect("medium").noted.push(io);
    }
    fn kick(&mut self, _now: Nanos) {
        let mut medium = self.medium.lock().expect("medium");
        for io in core::mem::take(&mut medium.noted) {
            medium.carry_out(io);
        }
    }
    fn poll(&mut self, _now: Nanos, done: &mut Vec<Done>) {
        done.append(&mut self.medium.lock().expect("medium").done);
    }
}

impl Medium {
    fn carry_out(&mut self, mut io: Io) {
        self.log.push((io.kind, io.range));
        let len = io.range.len_bytes;
        let span = io.range.offset_bytes as usize..io.range.end_bytes() as usize;
        match io.kind {
            OpKind::Read => io.data_mut().copy_from_slice(&self.bytes[span]),
            OpKind::Write => self.bytes[span].copy_from_slice(io.data()),
            OpKind::Discard | OpKind::WriteZeroes => self.bytes[span].fill(0),
            OpKind::Flush => {}
        }
        self.done.push(io.done(Ok(len)));
    }
}

#[derive(Default)]
struct Guest {
    memory: BTreeMap<u32, Vec<u8>>,
    answers: Vec<(u32, Result<(), OpError>)>,
}

impl Client for Guest {
    fn gather(&mut self, tag: u32, at: u64, buf: &mut [u8]) -> Result<(), GuestMemoryError> {
        let area = &self.memory[&tag];
        buf.copy_from_slice(&area[at as usize..at as usize + buf.len()]);
        Ok(())
    }
    fn scatter(&mut self, tag: u32, at: u64, data: &[u8]) -> Result<(), GuestMemoryError> {
        let area = self.memory.get_mut(&tag).expect("memory of the tag");
        area[at as usize..at as usize + data.len()].copy_from_slice(data);
        Ok(())
    }
    fn answer(&mut self, _token: OpToken, tag: u32, result: Result<(), OpError>) {
        self.answers.push((tag, result));
    }
}

struct Rig {
    engine: Engine,
    medium: Arc<Mutex<Medium>>,
    guest: Guest,
    now: Nanos,
}

impl Rig {
    fn new(faults: &[&str]) -> Self {
        Self::build(faults, 1, SECTOR)
    }

    fn build(faults: &[&str], seed: u64, align_bytes: u64) -> Self {
        let size_bytes = 1 << 20;
        let medium = Medium { bytes: (0..size_bytes).map(pattern).collect(), ..Medium::default() };
        let medium = Arc::new(Mutex::new(medium));
        let info = BackendInfo {
            engine_name: "test".into(),
            size_bytes,
            io_align_bytes: align_bytes,
            read_only: false,
            fua: true,
            discard: Some(DiscardSupport { align_bytes: 1, reads_zeroes: true }),
            write_zeroes: true,
            queue_depth: 256,
        };
        let ram = Ram { info, medium: Arc::clone(&medium) };
        let faults = faults.iter().map(|fault| fault.parse().expect("a fault"));
        let layer = FaultLayer::new(Box::new(ram), SECTOR, faults, seed).expect("a layer");
        let config = EngineConfig { buf_bytes: 16 << 10, ..EngineConfig::default() };
        let engine = Engine::new(Box::new(layer), config);
        Self { engine, medium, guest: Guest::default(), now: Nanos(SECOND) }
    }

    fn layer(&mut self) -> &mut FaultLayer {
        self.engine.backend_mut().fault_layer().expect("a fault layer")
    }

    fn submit(&mut self, request: Request) -> OpToken {
        let token = self.engine.submit(request, self.now, &mut self.guest).expect("submitted");
        self.engine.assert_consistent();
        token
    }

    fn write(&mut self, tag: u32, lba: u64, sectors: u64, value: u8) -> OpToken {
        self.guest.memory.insert(tag, vec![value; (sectors * SECTOR) as usize]);
        self.submit(Request::write(tag, sector_range(lba, sectors), false))
    }

    fn read(&mut self, tag: u32, lba: u64, sectors: u64) -> OpToken {
        self.guest.memory.insert(tag, vec![0xee; (sectors * SECTOR) as usize]);
        self.submit(Request::read(tag, sector_range(lba, sectors)))
    }

    fn pass(&mut self, ns: u64) {
        self.now = self.now.plus(ns);
        self.engine.poll(self.now, &mut self.guest);
        self.engine.assert_consistent();
    }

    /// Polls for a while without letting much time pass.
    fn settle(&mut self) {
        (0..64).for_each(|_| self.pass(1));
    }

    fn answered(&self, tag: u32) -> Vec<Result<(), OpError>> {
        let of_tag = self.guest.answers.iter().filter(|(other, _)| *other == tag);
        of_tag.map(|(_, result)| *result).collect()
    }

    fn log(&self) -> Vec<(OpKind, ByteRange)> {
        self.medium.lock().expect("medium").log.clone()
    }

    fn on_medium(&self, lba: u64, sectors: u64) -> Vec<u8> {
        let range = sector_range(lba, sectors);
        let medium = self.medium.lock().expect("medium");
        medium.bytes[range.offset_bytes as usize..range.end_bytes() as usize].to_vec()
    }
}

fn pattern(at: u64) -> u8 {
    (at / SECTOR + 1) as u8 ^ at as u8
}

fn sector_range(lba: u64, sectors: u64) -> ByteRange {
    ByteRange::new(lba * SECTOR, sectors * SECTOR)
}

fn original(lba: u64, sectors: u64) -> Vec<u8> {
    (lba * SECTOR..(lba + sectors) * SECTOR).map(pattern).collect()
}

/// In how many sectors the two differ.
fn differing_sectors(one: &[u8], other: &[u8]) -> usize {
    one.chunks(512).zip(other.chunks(512)).filter(|(one, other)| one != other).count()
}

#[test]
fn without_faults_everything_passes() {
    let mut rig = Rig::new(&[]);
    rig.write(1, 0, 8, 0xaa);
    rig.read(2, 16, 8);
    rig.settle();
    assert_eq!((rig.answered(1), rig.answered(2)), (vec![Ok(())], vec![Ok(())]));
    assert_eq!(rig.on_medium(0, 8), vec![0xaa; 4096]);
    assert_eq!(rig.guest.memory[&2], original(16, 8));
}

#[test]
fn a_short_write_is_continued_until_it_is_whole() {
    let mut rig = Rig::new(&["write:short"]);
    rig.write(1, 0, 8, 0xaa);
    rig.settle();
    assert_eq!(rig.answered(1), vec![Ok(())]);
    assert_eq!(rig.on_medium(0, 8), vec![0xaa; 4096]);
    let pieces: Vec<_> = rig.log().iter().map(|(_, range)| range.len_bytes / SECTOR).collect();
    assert_eq!(pieces, [4, 2, 1, 1], "each rest is cut again, until one sector is left");
    assert_eq!(rig.engine.counters().short_total, 3);
}

#[test]
fn the_engine_gets_back_what_it_handed_over() {
    let mut rig = Rig::new(&["any:short"]);
    rig.write(1, 0, 8, 0xaa);
    rig.engine.kick(rig.now);
    let (now, mut done) = (rig.now, Vec::new());
    rig.layer().poll(now, &mut done);
    let [completion] = &done[..] else { panic!("{done:?}") };
    assert_eq!(completion.io.range, sector_range(0, 8));
    assert_eq!(completion.result, Ok(4 * SECTOR));
}

#[test]
fn a_short_read_brings_all_its_data_at_any_alignment() {
    for align_bytes in [1, 512, 4096] {
        let mut rig = Rig::build(&["read:short"], 1, align_bytes);
        rig.read(1, 3, 70);
        rig.settle();
        assert_eq!(rig.answered(1), vec![Ok(())]);
        assert_eq!(rig.guest.memory[&1], original(3, 70), "alignment {align_bytes}");
        assert!(rig.engine.counters().short_total > 0);
    }
}

#[test]
fn a_short_transfer_within_an_unaligned_write_leaves_its_neighbours_alone() {
    let mut rig = Rig::build(&["any:short"], 1, 4096);
    rig.write(1, 7, 2, 0xaa);
    rig.settle();
    assert_eq!(rig.answered(1), vec![Ok(())]);
    assert_eq!(rig.on_medium(7, 2), vec![0xaa; 1024]);
    assert_eq!((rig.on_medium(0, 7), rig.on_medium(9, 7)), (original(0, 7), original(9, 7)));
}

#[test]
fn a_corrupt_write_shows_in_each_sector_when_it_is_read_back() {
    let mut rig = Rig::new(&["write:corrupt"]);
    rig.write(1, 0, 8, 0xaa);
    rig.settle();
    assert_eq!(rig.answered(1), vec![Ok(())], "nothing reports an error");
    assert_eq!(rig.guest.memory[&1], vec![0xaa; 4096], "the guest's memory is its own");
    rig.read(2, 0, 8);
    rig.settle();
    assert_eq!(differing_sectors(&rig.guest.memory[&2], &vec![0xaa; 4096]), 8);
    assert_eq!(rig.on_medium(8, 8), original(8, 8));
}

#[test]
fn a_corrupt_read_leaves_the_medium_alone_and_the_next_one_is_right() {
    let mut rig = Rig::new(&["read#1:corrupt"]);
    rig.read(1, 0, 8);
    rig.settle();
    assert_eq!(rig.answered(1), vec![Ok(())]);
    assert_eq!(differing_sectors(&rig.guest.memory[&1], &original(0, 8)), 8);
    rig.read(2, 0, 8);
    rig.settle();
    assert_eq!(rig.guest.memory[&2], original(0, 8));
}

#[test]
fn a_short_and_corrupt_transfer_is_both() {
    let mut rig = Rig::new(&["any:short", "read#2:corrupt"]);
    rig.read(1, 0, 8);
    rig.settle();
    let read = &rig.guest.memory[&1];
    assert_eq!(read[..2048], original(0, 4), "the first part came whole");
    assert_eq!(differing_sectors(&read[2048..3072], &original(4, 2)), 2);
    assert_eq!(read[3072..], original(6, 2));
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let life = |seed| {
        let faults = ["write/0.3:corrupt", "read/0.5:error=EIO", "any/0.4:short"];
        let mut rig = Rig::build(&faults, seed, SECTOR);
        for tag in 0..40 {
            rig.write(tag, u64::from(tag) * 16, 16, tag as u8);
            rig.settle();
            rig.read(100 + tag, u64::from(tag) * 16, 16);
            rig.settle();
        }
        let medium = rig.on_medium(0, 640);
        (rig.guest.answers, rig.guest.memory, medium)
    };
    assert_eq!(life(3), life(3));
    assert_ne!(life(3).2, life(4).2);
}

#[test]
fn a_failed_request_is_not_carried_out_and_the_guest_is_told() {
    let mut rig = Rig::new(&["write@8+8:error=ENOSPC"]);
    rig.write(1, 8, 8, 0xaa);
    rig.write(2, 0, 8, 0xbb);
    assert!(rig.engine.next_wakeup().is_some(), "an answer waits");
    rig.settle();
    let failure = OpError { error: IoError::NoSpace, offset_bytes: 4096 };
    assert_eq!(rig.answered(1), vec![Err(failure)]);
    assert_eq!(rig.answered(2), vec![Ok(())]);
    assert_eq!(rig.on_medium(8, 8), original(8, 8));
}

#[test]
fn a_delayed_request_is_carried_out_when_its_time_comes() {
    let mut rig = Rig::new(&["discard#1:delay=35s"]);
    rig.submit(Request::discard(1, vec![sector_range(0, 8)]));
    rig.settle();
    assert!(rig.log().is_empty(), "not carried out yet");
    assert_eq!(rig.engine.next_wakeup(), Some(Nanos(36 * SECOND)));
    rig.pass(34 * SECOND);
    assert!(rig.answered(1).is_empty());
    rig.pass(SECOND);
    rig.settle();
    assert_eq!(rig.answered(1), vec![Ok(())]);
}

#[test]
fn a_cancelled_write_that_hangs_keeps_its_fence_until_it_is_released() {
    let mut rig = Rig::new(&["write#1:hang"]);
    let token = rig.write(1, 0, 8, 0xaa);
    rig.settle();
    assert!(rig.engine.cancel(token, rig.now), "at once, whatever hangs");
    rig.write(2, 4, 8, 0xbb);
    rig.read(3, 0, 4);
    rig.read(4, 100, 8);
    rig.settle();
    assert_eq!(rig.answered(4), vec![Ok(())], "what does not overlap goes on");
    assert!(rig.answered(2).is_empty() && rig.answered(3).is_empty(), "the fence holds them");
    assert_eq!((rig.layer().parked(), rig.engine.counters().fences_now), (1, 1));

    let now = rig.now;
    assert_eq!(rig.layer().release(now), 1);
    rig.settle();
    assert_eq!((rig.answered(2), rig.answered(3)), (vec![Ok(())], vec![Ok(())]));
    assert!(rig.answered(1).is_empty(), "cancelled is cancelled");
    assert_eq!(rig.on_medium(4, 8), vec![0xbb; 4096], "newer data stands");
    assert_eq!(rig.guest.memory[&3], vec![0xaa; 2048], "the range was read after the orphan");
    assert_eq!(rig.engine.counters().orphans_now, 0);
}

#[test]
fn what_is_due_or_released_is_on_its_way_when_the_call_returns() {
    let mut rig = Rig::new(&["write:delay=1s", "discard:hang"]);
    rig.write(1, 0, 8, 0xaa);
    rig.submit(Request::discard(2, vec![sector_range(8, 8)]));
    let (now, mut done) = (rig.now, Vec::new());
    rig.layer().poll(now.plus(SECOND), &mut done);
    assert_eq!(rig.log(), [(OpKind::Write, sector_range(0, 8))]);
    rig.layer().release(now);
    assert_eq!(rig.log().len(), 2);
}

#[test]
fn clearing_removes_faults_and_leaves_parked_what_is_parked() {
    let mut rig = Rig::new(&["write:hang", "read:delay=5s"]);
    rig.write(1, 0, 8, 0xaa);
    rig.read(2, 100, 8);
    rig.layer().clear();
    rig.write(3, 50, 8, 0xcc);
    rig.settle();
    assert_eq!(rig.answered(3), vec![Ok(())], "no fault is left");
    assert!(rig.answered(1).is_empty() && rig.answered(2).is_empty());
    assert_eq!(rig.layer().parked(), 2);
    let now = rig.now;
    assert_eq!(rig.layer().release(now), 2, "delayed ones too, before their time");
    rig.settle();
    assert_eq!((rig.answered(1), rig.answered(2)), (vec![Ok(())], vec![Ok(())]));
    assert_eq!(rig.layer().release(now), 0);
}

#[test]
fn a_released_request_meets_the_other_faults_that_were_meant_for_it() {
    let mut rig = Rig::new(&["write#1:hang", "write#1:delay=5s", "write#1:error=EIO"]);
    rig.write(1, 0, 8, 0xaa);
    rig.settle();
    let now = rig.now;
    assert_eq!(rig.layer().release(now), 1);
    rig.settle();
    let failure = OpError { error: IoError::Os(5), offset_bytes: 0 };
    assert_eq!(rig.answered(1), vec![Err(failure)]);
    assert_eq!(rig.on_medium(0, 8), original(0, 8));
}

#[test]
fn nothing_is_kept_beyond_what_the_engine_may_have_in_flight() {
    let mut rig = Rig::new(&["any:hang"]);
    let slots = rig.engine.status(rig.now).slots;
    for round in 0..50 {
        for tag in 0..32 {
            rig.write(tag, u64::from(round * 32 + tag) % 100, 1, 1);
        }
        rig.settle();
        let now = rig.now;
        assert_eq!(rig.engine.cancel_all(now), 32);
        assert!(rig.layer().parked() <= slots);
    }
    let now = rig.now;
    rig.layer().clear();
    rig.layer().release(now);
    rig.settle();
    assert_eq!(rig.engine.status(now).free_slots, slots, "every slot came home");
}
