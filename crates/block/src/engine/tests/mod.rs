//! The engine against a backend whose every completion the test decides. The rig is here; the tests
//! are in the files below.

mod alignment;
mod chaos;
mod contract;
mod counters;
mod life;
mod probe;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

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
