//! A disk in memory. It completes whatever it is given at the next poll, or, *held*, only what it
//! is told to, in the way it is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freewheel_block::{
    Backend, BackendInfo, ByteRange, DiscardSupport, Done, Io, IoError, IoId, Nanos, OpKind,
};

/// What a [`MemoryDisk`] is able to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryDiskConfig {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Alignment of reads and writes in bytes.
    pub io_align_bytes: u64,
    /// Refuses changes.
    pub read_only: bool,
    /// Writes can be durable by themselves.
    pub fua: bool,
    /// Alignment of discards in bytes; `None` if it cannot discard.
    pub discard_align_bytes: Option<u64>,
    /// Requests at a time.
    pub queue_depth: u16,
}

impl Default for MemoryDiskConfig {
    fn default() -> Self {
        Self {
            size_bytes: 64 << 20,
            io_align_bytes: 512,
            read_only: false,
            fua: false,
            discard_align_bytes: Some(512),
            queue_depth: 256,
        }
    }
}

/// A request that waits for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingIo {
    /// Its name.
    pub id: IoId,
    /// What it does.
    pub kind: OpKind,
    /// Where.
    pub range: ByteRange,
    /// It is to be durable.
    pub fua: bool,
}

/// What happened at the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEntry {
    /// A request arrived.
    Arrived(PendingIo),
    /// A request was carried out.
    CarriedOut(PendingIo),
    /// The engine said that nobody waits for it any more.
    Hinted(IoId),
}

#[derive(Default)]
struct Medium {
    bytes: Vec<u8>,
    /// What a loss of power would leave.
    durable: Option<Vec<u8>>,
    held: bool,
    pending: Vec<Io>,
    done: Vec<Done>,
    log: Vec<LogEntry>,
}

/// A disk in memory. Clones are handles to the same disk: one goes to the engine, another steers.
#[derive(Clone)]
pub struct MemoryDisk {
    info: BackendInfo,
    medium: Arc<Mutex<Medium>>,
}

impl MemoryDisk {
    /// A disk full of zeroes.
    pub fn new(config: &MemoryDiskConfig) -> Self {
        let bytes = vec![0; config.size_bytes as usize];
        let info = BackendInfo {
            engine_name: "memory".into(),
            size_bytes: config.size_bytes,
            io_align_bytes: config.io_align_bytes,
            read_only: config.read_only,
            fua: config.fua,
            discard: config
                .discard_align_bytes
                .map(|align_bytes| DiscardSupport { align_bytes, reads_zeroes: true }),
            write_zeroes: true,
            queue_depth: config.queue_depth,
        };
        Self { info, medium: Arc::new(Mutex::new(Medium { bytes, ..Medium::default() })) }
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.medium.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests wait for [`MemoryDisk::complete`] and its like, or complete at each poll.
    pub fn hold(&self, held: bool) {
        self.medium().held = held;
    }

    /// Starts to keep track of what is durable: from now on a flush, and nothing else but a FUA
    /// write, makes changes last.
    pub fn track_durability(&self) {
        let mut medium = self.medium();
        medium.durable = Some(medium.bytes.clone());
    }

    /// What a loss of power would leave, if that is tracked.
    pub fn durable(&self) -> Option<Vec<u8>> {
        self.medium().durable.clone()
    }

    /// The requests that wait, in the order of their arrival.
    pub fn pending(&self) -> Vec<PendingIo> {
        self.medium().pending.iter().map(summary).collect()
    }

    /// What happened since the last call.
    pub fn take_log(&self) -> Vec<LogEntry> {
        std::mem::take(&mut self.medium().log)
    }

    /// The content of `range`.
    ///
    /// # Panics
    /// If it is not on the disk: a mistake of the test.
    pub fn content(&self, range: ByteRange) -> Vec<u8> {
        self.medium().bytes[range.offset_bytes as usize..range.end_bytes() as usize].to_vec()
    }

    /// Overwrites the content at `offset_bytes`, behind everybody's back.
    ///
    /// # Panics
    /// If it is not on the disk: a mistake of the test.
    pub fn overwrite(&self, offset_bytes: u64, data: &[u8]) {
        let start = offset_bytes as usize;
        self.medium().bytes[start..start + data.len()].copy_from_slice(data);
    }

    /// Carries out the waiting request at `index`, and completes it.
    ///
    /// # Panics
    /// If there is none, as in all methods that take an index: a mistake of the test.
    pub fn complete(&self, index: usize) {
        let mut medium = self.medium();
        let io = medium.pending.remove(index);
        let done = medium.carry_out(io, u64::MAX);
        medium.done.push(done);
    }

    /// Carries out the first `len_bytes` bytes of a request, and completes it as short.
    pub fn complete_short(&self, index: usize, len_bytes: u64) {
        let mut medium = self.medium();
        let io = medium.pending.remove(index);
        let done = medium.carry_out(io, len_bytes);
        medium.done.push(done);
    }

    /// Fails a request without carrying it out.
    pub fn fail(&self, index: usize, error: IoError) {
        let mut medium = self.medium();
        let io = medium.pending.remove(index);
        medium.done.push(io.done(Err(error)));
    }

    /// Carries out a request and completes it twice; the second completion has no buffer.
    pub fn complete_twice(&self, index: usize) {
        let mut medium = self.medium();
        let io = medium.pending.remove(index);
        let again = summary(&io);
        let done = medium.carry_out(io, u64::MAX);
        medium.done.push(done);
        drop(medium);
        self.repeat(again);
    }

    /// Reports once more that `io`, which has long ended, is complete, or was never there.
    pub fn repeat(&self, io: PendingIo) {
        let PendingIo { id, kind, range, fua } = io;
        let again = Io { id, kind, range, fua, buf: None, buf_offset_bytes: 0 };
        self.medium().done.push(Done { io: again, result: Ok(range.len_bytes) });
    }

    /// Carries out and completes all that wait, in order.
    pub fn complete_all(&self) {
        while !self.pending().is_empty() {
            self.complete(0);
        }
    }

    /// Carries out and completes all that wait, last come first served.
    pub fn complete_all_reversed(&self) {
        while let Some(last) = self.pending().len().checked_sub(1) {
            self.complete(last);
        }
    }
}

impl Medium {
    fn carry_out(&mut self, mut io: Io, at_most_bytes: u64) -> Done {
        self.log.push(LogEntry::CarriedOut(summary(&io)));
        let len_bytes = io.range.len_bytes.min(at_most_bytes);
        let start = io.range.offset_bytes as usize;
        let span = start..start + len_bytes as usize;
        match io.kind {
            OpKind::Read => io.data_mut()[..span.len()].copy_from_slice(&self.bytes[span]),
            OpKind::Write => {
                let data = &io.data()[..span.len()];
                self.bytes[span.clone()].copy_from_slice(data);
                if let (Some(durable), true) = (&mut self.durable, io.fua) {
                    durable[span].copy_from_slice(data);
                }
            }
            OpKind::Discard | OpKind::WriteZeroes => self.bytes[span].fill(0),
            OpKind::Flush => {
                if let Some(durable) = &mut self.durable {
                    durable.copy_from_slice(&self.bytes);
                }
            }
        }
        io.done(Ok(len_bytes))
    }
}

fn summary(io: &Io) -> PendingIo {
    PendingIo { id: io.id, kind: io.kind, range: io.range, fua: io.fua }
}

impl Backend for MemoryDisk {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn submit(&mut self, io: Io, _now: Nanos) {
        let mut medium = self.medium();
        medium.log.push(LogEntry::Arrived(summary(&io)));
        medium.pending.push(io);
    }

    fn poll(&mut self, _now: Nanos, done: &mut Vec<Done>) {
        let mut medium = self.medium();
        done.append(&mut medium.done);
        if !medium.held {
            for io in std::mem::take(&mut medium.pending) {
                done.push(medium.carry_out(io, u64::MAX));
            }
        }
    }

    fn cancel_hint(&mut self, id: IoId) {
        self.medium().log.push(LogEntry::Hinted(id));
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        let medium = self.medium();
        let has_work = !medium.done.is_empty() || !medium.held && !medium.pending.is_empty();
        has_work.then_some(Nanos(0))
    }
}
