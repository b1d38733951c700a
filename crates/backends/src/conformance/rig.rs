//! Drives one backend as an engine would, and checks what must hold at every completion.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use freewheel_block::{
    Backend, BackendInfo, ByteRange, Done, Io, IoBuf, IoError, IoId, Nanos, OpKind,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::{Fixture, Subject};

/// The longest that a case waits for a completion.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The length of each buffer, in bytes.
pub(super) const BUF_BYTES: usize = 128 << 10;
const MAX_SLOTS: u16 = 32;

/// What is known of a request in flight.
struct Expected {
    kind: OpKind,
    range: ByteRange,
    address: Option<usize>,
}

/// A backend, its buffers, and the requests in flight.
pub struct Rig {
    backend: Box<dyn Backend>,
    wake: Option<OwnedFd>,
    start: Instant,
    bufs: Vec<Option<IoBuf>>,
    free: Vec<u16>,
    generations: Vec<u32>,
    in_flight: HashMap<IoId, Expected>,
    arrived: HashMap<IoId, Done>,
}

impl Rig {
    /// Opens the medium to read and write, with registered buffers.
    pub fn new(fixture: &dyn Fixture) -> Self {
        Self::with(fixture, false, true)
    }

    /// Opens the medium.
    pub fn with(fixture: &dyn Fixture, read_only: bool, register: bool) -> Self {
        let Subject { mut backend, wake } = fixture.open(read_only);
        let slots = backend.info().queue_depth.min(MAX_SLOTS);
        assert!(slots > 0, "a queue depth of 0");
        let mut bufs: Vec<IoBuf> = (0..slots).map(|index| IoBuf::new(index, BUF_BYTES)).collect();
        if register {
            backend.register_buffers(&mut bufs);
        }
        Self {
            backend,
            wake,
            start: Instant::now(),
            bufs: bufs.into_iter().map(Some).collect(),
            free: (0..slots).rev().collect(),
            generations: vec![0; usize::from(slots)],
            in_flight: HashMap::new(),
            arrived: HashMap::new(),
        }
    }

    /// What the backend says it can do.
    pub fn info(&self) -> BackendInfo {
        self.backend.info().clone()
    }

    /// The smallest range that can be read and written, in bytes; at least a sector.
    pub fn unit(&self) -> u64 {
        self.backend.info().io_align_bytes.max(512)
    }

    /// How many requests can be in flight.
    pub fn slots(&self) -> usize {
        self.generations.len()
    }

    /// How many more requests can be in flight.
    pub fn free_slots(&self) -> usize {
        self.free.len()
    }

    pub(super) fn set_generation(&mut self, generation: u32) {
        self.generations.fill(generation);
    }

    /// Submits a request whose data, for a write, is `data`, `buf_offset_bytes` into its buffer.
    pub fn submit_at(
        &mut self,
        kind: OpKind,
        range: ByteRange,
        fua: bool,
        data: &[u8],
        buf_offset_bytes: usize,
    ) -> IoId {
        let slot = self.free.pop().expect("a free slot");
        let generation = &mut self.generations[usize::from(slot)];
        *generation = generation.wrapping_add(1);
        let id = IoId { slot, generation: *generation };
        let mut buf = kind
            .has_data()
            .then(|| self.bufs[usize::from(slot)].take().expect("the slot's buffer"));
        if let Some(buf) = &mut buf {
            buf.bytes_mut().fill(0xee);
            buf.bytes_mut()[buf_offset_bytes..][..data.len()].copy_from_slice(data);
        }
        let address = buf.as_ref().map(|buf| buf.bytes().as_ptr().addr());
        self.in_flight.insert(id, Expected { kind, range, address });
        let now = self.now();
        self.backend.submit(Io { id, kind, range, fua, buf, buf_offset_bytes }, now);
        id
    }

    /// Submits a request.
    pub fn submit(&mut self, kind: OpKind, range: ByteRange, fua: bool, data: &[u8]) -> IoId {
        self.submit_at(kind, range, fua, data, 0)
    }

    /// Ends a batch of submissions.
    pub fn kick(&mut self) {
        let now = self.now();
        self.backend.kick(now);
    }

    /// Passes on that nobody waits for `id`.
    pub fn cancel_hint(&mut self, id: IoId) {
        self.backend.cancel_hint(id);
    }

    /// Waits for `id`, returns its result and, for a read that succeeded, the data.
    pub fn wait(&mut self, id: IoId) -> (Result<u64, IoError>, Vec<u8>) {
        let mut done = self.wait_done(id);
        let data = match (done.io.kind, done.result) {
            (OpKind::Read, Ok(len)) => done.io.data()[..len as usize].to_vec(),
            _ => Vec::new(),
        };
        if let Some(buf) = done.io.buf.take() {
            self.bufs[usize::from(id.slot)] = Some(buf);
        }
        self.free.push(id.slot);
        (done.result, data)
    }

    /// Whether `id` completes within `time`. It is still to be waited for.
    pub fn completes_within(&mut self, id: IoId, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            self.poll();
            if self.arrived.contains_key(&id) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.wait_for_signal(left);
        }
    }

    /// Waits for `id`, returns the completion whole. The slot is not used again.
    pub(super) fn wait_done(&mut self, id: IoId) -> Done {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(done) = self.arrived.remove(&id) {
                return done;
            }
            assert!(self.in_flight.contains_key(&id), "{id:?} was never submitted");
            assert!(Instant::now() < deadline, "{id:?} has not completed within {PATIENCE:?}");
            self.wait_for_signal(Duration::from_millis(500));
            self.poll();
        }
    }

    /// Submits, kicks and waits.
    pub fn run(
        &mut self,
        kind: OpKind,
        range: ByteRange,
        data: &[u8],
    ) -> (Result<u64, IoError>, Vec<u8>) {
        let id = self.submit(kind, range, false, data);
        self.kick();
        self.wait(id)
    }

    /// Writes all of `data`, or panics.
    pub fn write(&mut self, offset_bytes: u64, data: &[u8]) {
        for (at, chunk) in chunks(offset_bytes, data.len() as u64) {
            let from = (at - offset_bytes) as usize;
            let piece = &data[from..from + chunk as usize];
            let (result, _) = self.run(OpKind::Write, ByteRange::new(at, chunk), piece);
            assert_eq!(result, Ok(chunk), "writing {chunk} bytes at {at}");
        }
    }

    /// Reads `len_bytes`, or panics.
    pub fn read(&mut self, offset_bytes: u64, len_bytes: u64) -> Vec<u8> {
        let mut all = Vec::new();
        for (at, chunk) in chunks(offset_bytes, len_bytes) {
            let (result, data) = self.run(OpKind::Read, ByteRange::new(at, chunk), &[]);
            assert_eq!(result, Ok(chunk), "reading {chunk} bytes at {at}");
            all.extend(data);
        }
        all
    }

    /// Flushes, or panics.
    pub fn flush(&mut self) {
        let (result, _) = self.run(OpKind::Flush, ByteRange::default(), &[]);
        assert!(result.is_ok(), "flush: {result:?}");
    }

    /// Panics if the backend completes anything although nothing is in flight.
    pub fn expect_silence(&mut self, time: Duration) {
        assert!(self.in_flight.is_empty() && self.arrived.is_empty());
        let end = Instant::now() + time;
        while Instant::now() < end {
            let signalled = self.wait_for_signal(Duration::from_millis(10));
            self.poll();
            if signalled {
                // Allowed: a signal for what an earlier poll had found already, once.
                assert!(!self.wait_for_signal(Duration::ZERO), "poll doesn't clear the signal");
            }
        }
    }

    /// Whether the backend signals within `time` that there is something to poll for.
    pub(super) fn wait_for_signal(&mut self, time: Duration) -> bool {
        let now = self.now();
        let until_wakeup = self
            .backend
            .next_wakeup()
            .map_or(time, |at| time.min(Duration::from_nanos(at.since(now))));
        let Some(wake) = &self.wake else {
            std::thread::sleep(until_wakeup.min(Duration::from_millis(1)));
            return false;
        };
        let timeout = Timespec {
            tv_sec: until_wakeup.as_secs() as i64,
            tv_nsec: i64::from(until_wakeup.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(wake, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => ready > 0,
            Err(Errno::INTR) => false,
            Err(errno) => panic!("poll: {errno}"),
        }
    }

    /// Whether the backend has to be polled without a signal: it has none, or wants it by time.
    pub(super) fn must_poll_anyway(&self) -> bool {
        self.wake.is_none() || self.backend.next_wakeup().is_some()
    }

    /// Takes what has completed, and checks it. Returns how many there were.
    pub(super) fn poll(&mut self) -> usize {
        let mut all = Vec::new();
        let now = self.now();
        self.backend.poll(now, &mut all);
        let count = all.len();
        for done in all {
            let id = done.io.id;
            let expected = self
                .in_flight
                .remove(&id)
                .unwrap_or_else(|| panic!("{id:?} is not in flight (or completed twice)"));
            assert_eq!(done.io.kind, expected.kind, "{id:?} came back as another kind");
            assert_eq!(done.io.range, expected.range, "{id:?} came back with another range");
            let address = done.io.buf.as_ref().map(|buf| buf.bytes().as_ptr().addr());
            assert_eq!(address, expected.address, "{id:?} came back with another buffer");
            if let Ok(len) = done.result
                && done.io.kind.has_data()
            {
                assert!(len <= done.io.range.len_bytes, "{id:?} transferred too much");
            }
            self.arrived.insert(id, done);
        }
        count
    }

    fn now(&self) -> Nanos {
        Nanos(self.start.elapsed().as_nanos() as u64)
    }
}

fn chunks(offset_bytes: u64, len_bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = offset_bytes + len_bytes;
    (offset_bytes..end).step_by(BUF_BYTES).map(move |at| (at, (end - at).min(BUF_BYTES as u64)))
}
