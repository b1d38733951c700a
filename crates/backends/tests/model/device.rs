//! The device thread: submits, waits at the eventfd, polls, and checks what comes back.

use freewheel_block::{
    Backend, BackendInfo, ByteRange, DiscardSupport, Done, Io, IoError, IoId, Nanos, OpKind,
};

use super::backend::FileBackend;
use super::base::Arc;
use super::detect::{FileSystem, MediumKind};
use super::medium::{HANGS_AT_BYTES, Medium, Storage};
use super::policy::Policy;
use super::pool::Pool;
use super::ring::Ring;
use super::sync::join_workers;
use super::wake::Wake;

const ECANCELED: IoError = IoError::Os(125);
const LEN_BYTES: u64 = 512;

/// What to open.
#[derive(Clone, Copy, Default)]
pub(super) struct Setting {
    pub(super) slots: u16,
    /// Of the pool. The real one has one more than slots; what a case doesn't need would only
    /// multiply its schedules.
    pub(super) threads: usize,
    pub(super) write_through: bool,
    pub(super) ring: bool,
}

/// A request that has not come back.
struct Pending {
    id: IoId,
    kind: OpKind,
    /// For a flush: the writes that were completed when it was submitted (C5).
    promises: Vec<IoId>,
}

/// The device thread.
pub(super) struct Device {
    backend: FileBackend,
    storage: Arc<Storage>,
    wake: Arc<Wake>,
    write_through: bool,
    pending: Vec<Pending>,
    completed_writes: Vec<IoId>,
    withdrawn: Vec<IoId>,
    generation: u32,
    now: Nanos,
}

impl Device {
    pub(super) fn new(setting: Setting) -> Self {
        let storage = Arc::new(Storage::new());
        let wake = Arc::new(Wake::new());
        let medium = Arc::new(Medium::new(Arc::clone(&storage)));
        let ring = setting.ring.then(|| Ring::new(&medium, &wake));
        let info = BackendInfo {
            engine_name: String::new(),
            size_bytes: u64::MAX,
            io_align_bytes: 1,
            read_only: false,
            fua: setting.write_through,
            discard: Some(DiscardSupport { align_bytes: 1, reads_zeroes: true }),
            write_zeroes: true,
            queue_depth: setting.slots,
        };
        let policy =
            Policy { kind: MediumKind::File, file_system: FileSystem::Ext4, direct: setting.ring };
        let pool = Pool::new(medium, Arc::clone(&wake), setting.threads).expect("threads");
        let write_through = setting.write_through;
        let backend = FileBackend::new(info, policy, write_through, ring, pool, Arc::clone(&wake));
        Self {
            backend,
            storage,
            wake,
            write_through,
            pending: Vec::new(),
            completed_writes: Vec::new(),
            withdrawn: Vec::new(),
            generation: 0,
            now: Nanos(0),
        }
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Hands over a discard, which the pool executes with either engine.
    pub(super) fn discard(&mut self, slot: u16) -> IoId {
        self.submit(slot, OpKind::Discard, 0)
    }

    /// Hands over a discard that hangs until [`Storage::release`].
    pub(super) fn hanging_discard(&mut self, slot: u16) -> IoId {
        self.submit(slot, OpKind::Discard, HANGS_AT_BYTES)
    }

    /// Hands over a request without data, and kicks.
    pub(super) fn submit(&mut self, slot: u16, kind: OpKind, offset_bytes: u64) -> IoId {
        self.generation += 1;
        let id = IoId { slot, generation: self.generation };
        let flush = kind == OpKind::Flush;
        let len_bytes = if flush { 0 } else { LEN_BYTES };
        let io = Io {
            id,
            kind,
            range: ByteRange { offset_bytes, len_bytes },
            fua: false,
            buf: kind.has_data().then(|| freewheel_block::IoBuf::new(slot, LEN_BYTES as usize)),
            buf_offset_bytes: 0,
        };
        let promises = if flush { self.completed_writes.clone() } else { Vec::new() };
        self.pending.push(Pending { id, kind, promises });
        self.backend.submit(io, self.now);
        self.backend.kick(self.now);
        id
    }

    pub(super) fn cancel_hint(&mut self, id: IoId) {
        self.backend.cancel_hint(id);
    }

    /// Whether `id` has come back.
    pub(super) fn is_back(&self, id: IoId) -> bool {
        self.pending.iter().all(|pending| pending.id != id)
    }

    /// Runs the poll loop until `id` is back.
    pub(super) fn wait_for(&mut self, id: IoId) {
        while !self.is_back(id) {
            self.turn();
        }
    }

    /// Runs the poll loop until everything is back.
    pub(super) fn wait_for_all(&mut self) {
        while !self.pending.is_empty() {
            self.turn();
        }
    }

    /// One turn of the poll loop.
    fn turn(&mut self) {
        match self.backend.next_wakeup() {
            // Nothing came before that time.
            Some(at) => self.now = self.now.max(at),
            None => self.wake.wait_readable(),
        }
        self.poll();
    }

    /// Polls, as the loop does after any event, and checks what comes back.
    pub(super) fn poll(&mut self) {
        let mut done = Vec::new();
        self.backend.poll(self.now, &mut done);
        for Done { io, result } in done {
            let at = self.pending.iter().position(|pending| pending.id == io.id);
            let at = at.unwrap_or_else(|| panic!("{:?} came back twice", io.id));
            let pending = self.pending.remove(at);
            assert!(
                pending.kind.has_data() == io.buf.is_some(),
                "{:?} came back without its buffer",
                io.id
            );
            self.check(&pending, result);
        }
    }

    fn check(&mut self, pending: &Pending, result: Result<u64, IoError>) {
        let id = pending.id;
        match (pending.kind, result) {
            (OpKind::Flush, Ok(_)) => {
                for write in &pending.promises {
                    assert!(self.storage.is_durable(*write), "{id:?} has not made {write:?} last");
                }
            }
            (kind, Ok(_)) => {
                assert!(self.storage.has_begun(id), "{id:?} was not executed");
                if kind.changes_medium() {
                    assert!(
                        !self.write_through || self.storage.is_durable(id),
                        "{id:?} is not durable"
                    );
                    self.completed_writes.push(id);
                }
            }
            // It was taken out of the queue; but what waits for the sync has been executed.
            (kind, Err(ECANCELED)) if kind != OpKind::Flush && !self.write_through => {
                self.withdrawn.push(id);
            }
            (_, Err(_)) => {}
        }
    }

    /// Drops the backend, whatever is still pending, and looks at what is left behind.
    pub(super) fn finish(self) {
        let Self { backend, storage, wake, pending, withdrawn, .. } = self;
        // Waits for nobody: what hangs is released only further down.
        drop(backend);
        if pending.is_empty() {
            assert!(storage.is_closed(), "everything is back, and the image is still locked");
        }
        storage.release();
        join_workers();
        assert!(storage.is_closed(), "all threads have ended, and the image is still locked");
        for id in withdrawn {
            assert!(!storage.has_begun(id), "{id:?} was taken out of the queue, and executed");
        }
        drop(wake);
    }
}
