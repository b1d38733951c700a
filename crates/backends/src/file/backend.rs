//! The backend itself: where each request goes, and how it comes back.

use freewheel_block::{Backend, BackendInfo, Done, Io, IoBuf, IoError, IoId, Nanos, OpKind};
use rustix::io::Errno;

use super::policy::{Policy, Route};
use super::pool::{Finished, Pool};
use super::ring::{Ring, RingEvent};
use super::sabotage::Sabotage;
use super::sync::{Arc, sabotaged};
use super::sync_group::SyncGroup;
use super::wake::Wake;

/// When to try again after the kernel didn't take all entries of the ring.
const RETRY_NS: u64 = 1_000_000;

/// A file or block device. See [the module above](super).
pub(super) struct FileBackend {
    info: BackendInfo,
    policy: Policy,
    /// Every change is to be durable before it completes.
    write_through: bool,
    ring: Option<Ring>,
    pool: Pool,
    sync: SyncGroup,
    /// By slot: whether a request is here.
    busy: Box<[bool]>,
    /// Completed without ado, for the next poll.
    ready: Vec<Done>,
    wake: Arc<Wake>,
    retry_at: Option<Nanos>,
    // Empty between polls; kept for their capacity.
    events: Vec<RingEvent>,
    finished: Vec<Finished>,
}

impl FileBackend {
    pub(super) fn new(
        info: BackendInfo,
        policy: Policy,
        write_through: bool,
        ring: Option<Ring>,
        pool: Pool,
        wake: Arc<Wake>,
    ) -> Self {
        let slots = usize::from(info.queue_depth);
        Self {
            policy,
            write_through,
            ring,
            pool,
            sync: SyncGroup::default(),
            busy: vec![false; slots].into_boxed_slice(),
            ready: Vec::new(),
            wake,
            retry_at: None,
            events: Vec::with_capacity(slots),
            finished: Vec::with_capacity(slots),
            info,
        }
    }

    /// Refuses what the trait rules out. An engine never asks for it; a write beyond the end would
    /// make the image grow.
    fn check(&self, io: &Io) -> Result<(), IoError> {
        let range = io.range;
        if io.kind.changes_medium() && self.info.read_only {
            return Err(IoError::ReadOnly);
        }
        let unsupported = (io.kind == OpKind::Discard && self.info.discard.is_none())
            || (io.kind == OpKind::WriteZeroes && !self.info.write_zeroes)
            || (io.fua && !self.info.fua);
        if unsupported {
            return Err(IoError::Unsupported);
        }
        let inside = range
            .offset_bytes
            .checked_add(range.len_bytes)
            .is_some_and(|end| end <= self.info.size_bytes);
        let aligned = !io.kind.has_data()
            || (range.offset_bytes | range.len_bytes | io.buf_offset_bytes as u64)
                .is_multiple_of(self.info.io_align_bytes);
        let fits = !io.kind.has_data()
            || io.buf.as_ref().is_some_and(|buf| {
                (io.buf_offset_bytes as u64)
                    .checked_add(range.len_bytes)
                    .is_some_and(|end| end <= buf.bytes().len() as u64)
            });
        if !(inside && aligned && fits) {
            return Err(IoError::from_errno(Errno::INVAL.raw_os_error()));
        }
        let must_be_durable =
            io.kind == OpKind::Flush || io.fua || (self.write_through && io.kind.changes_medium());
        match self.sync.latched() {
            Some(error) if must_be_durable => Err(error),
            _ => Ok(()),
        }
    }

    fn route(&self, io: &Io) -> Route {
        if self.ring.is_some() { self.policy.route(io.kind) } else { Route::Pool }
    }

    /// Completes `done` at the next poll.
    fn complete_soon(&mut self, done: Done) {
        self.ready.push(done);
        self.wake.signal();
    }

    /// `io` has been executed; what may be missing is durability.
    fn executed(&mut self, io: Io, result: Result<u64, IoError>, done: &mut Vec<Done>) {
        match result {
            Ok(transferred) if self.write_through && io.kind.changes_medium() => {
                match self.sync.latched() {
                    None => self.sync.join(io, transferred),
                    Some(error) => done.push(io.done(Err(error))),
                }
            }
            result => done.push(io.done(result)),
        }
    }

    fn on_ring_event(&mut self, event: RingEvent, done: &mut Vec<Done>) {
        // The kernel put it off although it was given all the time in the world.
        let put_off =
            |errno: i32| [Errno::AGAIN, Errno::INTR].iter().any(|e| e.raw_os_error() == errno);
        match event {
            RingEvent::Io { io, result, cancelled } => match u64::try_from(result) {
                Ok(transferred) => self.executed(io, Ok(transferred), done),
                Err(_) if put_off(-result) && !cancelled => self.pool.submit(io),
                Err(_) => self.executed(io, Err(IoError::from_errno(-result)), done),
            },
            RingEvent::Sync(0..) => self.sync.finish(Ok(()), done),
            RingEvent::Sync(result) if put_off(-result) => self.pool.sync(),
            RingEvent::Sync(result) => {
                self.sync.finish(Err(IoError::from_errno(-result)), done);
            }
        }
    }

    /// Sets off what is due: a sync, the ring's new entries, the pool's new jobs.
    fn advance(&mut self, now: Nanos) {
        if self.sync.start() && !self.ring.as_mut().is_some_and(Ring::sync) {
            self.pool.sync();
        }
        let handed_over = self.ring.as_mut().is_none_or(Ring::enter);
        self.retry_at = (!handed_over).then(|| now.plus(RETRY_NS));
        self.pool.hand_over();
    }
}

impl Backend for FileBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn register_buffers(&mut self, bufs: &mut [IoBuf]) {
        if let Some(ring) = &mut self.ring {
            ring.register_buffers(bufs);
        }
    }

    fn submit(&mut self, io: Io, _now: Nanos) {
        let slot = usize::from(io.id.slot);
        if self.busy.get(slot) != Some(&false) {
            // Not completed through the table: the slot belongs to another request.
            return self.complete_soon(io.done(Err(IoError::BackendProtocol)));
        }
        if let Err(error) = self.check(&io) {
            return self.complete_soon(io.done(Err(error)));
        }
        if io.range.len_bytes == 0 && io.kind != OpKind::Flush {
            return self.complete_soon(io.done(Ok(0)));
        }
        self.busy[slot] = true;
        if io.kind == OpKind::Flush {
            return self.sync.join(io, 0);
        }
        let route = self.route(&io);
        match &mut self.ring {
            Some(ring) if route != Route::Pool => {
                if let Err(io) = ring.submit(io, route == Route::Worker) {
                    self.pool.submit(io);
                }
            }
            _ => self.pool.submit(io),
        }
    }

    fn kick(&mut self, now: Nanos) {
        self.advance(now);
    }

    fn poll(&mut self, now: Nanos, done: &mut Vec<Done>) {
        // First the signal, then the work: what finishes in between signals again.
        if !sabotaged(Sabotage::ClearAfterTaking) {
            self.wake.clear();
        }
        done.append(&mut self.ready);
        let already_freed = done.len();

        let mut events = std::mem::take(&mut self.events);
        if let Some(ring) = &mut self.ring {
            ring.harvest(&mut events);
        }
        for event in events.drain(..) {
            self.on_ring_event(event, done);
        }
        self.events = events;

        let mut finished = std::mem::take(&mut self.finished);
        self.pool.take_finished(&mut finished);
        for event in finished.drain(..) {
            match event {
                Finished::Io(io, result) => self.executed(io, result, done),
                Finished::Sync(result) => self.sync.finish(result, done),
            }
        }
        self.finished = finished;
        if sabotaged(Sabotage::ClearAfterTaking) {
            self.wake.clear();
        }

        for done in &done[already_freed..] {
            self.busy[usize::from(done.io.id.slot)] = false;
        }
        self.advance(now);
    }

    fn cancel_hint(&mut self, id: IoId) {
        const ECANCELED: IoError = IoError::Os(Errno::CANCELED.raw_os_error());
        let ended = match self.pool.cancel(id) {
            Some(io) => Some(io.done(Err(ECANCELED))),
            None => self.sync.cancel(id),
        };
        if let Some(done) = ended {
            self.busy[usize::from(id.slot)] = false;
            self.complete_soon(done);
        } else if self.policy.may_cancel()
            && let Some(ring) = &mut self.ring
        {
            ring.cancel(id);
            ring.enter();
        }
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        self.retry_at
    }
}
