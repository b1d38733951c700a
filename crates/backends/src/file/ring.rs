//! The io_uring ring, driven by the device thread.
//!
//! The only module that lends memory to the kernel. An [`Io`] is parked in a table while the kernel
//! has it, so that its buffer stays where it is and nobody touches it; it leaves the table when its
//! completion arrives. Completions name it by [`IoId`], generation included; one that names nothing
//! parked is counted and otherwise ignored.
//!
//! `io_uring_enter` is only ever asked to submit, never to wait. Which requests may run inside it is
//! decided in [`policy`](super::policy).
//!
//! # Dropping
//! The ring is closed, which does not wait, and the parked requests are leaked: the kernel may
//! still write to their buffers, at any time.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use freewheel_block::{Io, IoBuf, IoId, OpKind};
use io_uring::{IoUring, opcode, squeue, types};

use super::medium::Medium;
use super::sync::Arc;
use super::wake::Wake;

/// Kernel workers for the whole device thread, for all its rings: more than it can have requests,
/// so that those that hang take none from the others (the default is four for each CPU).
const MAX_WORKERS: u32 = 4096;

/// User data outside the 48 bits of an [`IoId`].
const SYNC_MARK: u64 = 1 << 63;
const CANCEL_MARK: u64 = 1 << 62;

/// The place of the image in the ring's table of files.
const IMAGE: types::Fixed = types::Fixed(0);

/// The most that Linux transfers in one call (`MAX_RW_COUNT`).
const MAX_TRANSFER_BYTES: u64 = 0x7fff_f000;

struct Parked {
    io: Io,
    cancelled: bool,
}

/// Something the ring has finished.
pub(super) enum RingEvent {
    /// A request: bytes, or a negative errno. `cancelled` if nobody waits for it any more.
    Io { io: Io, result: i32, cancelled: bool },
    /// The `fdatasync`: 0, or a negative errno.
    Sync(i32),
}

/// See the module's description.
pub(super) struct Ring {
    ring: IoUring,
    parked: Box<[Option<Parked>]>,
    /// Address and length of the registered buffers, by index.
    registered: Vec<(usize, usize)>,
    cancels: usize,
    syncing: bool,
    strays: u64,
    // Keeps the file open; the ring's own reference would do, but this one is visible.
    _medium: Arc<Medium>,
}

impl Ring {
    /// A ring for `slots` requests on `medium`, which signals `wake`.
    pub(super) fn new(medium: Arc<Medium>, wake: &Wake, slots: u16) -> io::Result<Self> {
        // Room for each request, a cancel for each, and a sync: neither queue can overflow.
        let entries = (u32::from(slots) * 2 + 1).next_power_of_two();
        let ring = IoUring::builder().setup_cqsize(entries * 2).dontfork().build(entries)?;
        let submitter = ring.submitter();
        submitter.register_files(&[medium.file().as_raw_fd()])?;
        submitter.register_eventfd(wake.as_raw_fd())?;
        // Without it (Linux before 5.15), a few requests that hang would stop all.
        submitter.register_iowq_max_workers(&mut [MAX_WORKERS, 0])?;
        Ok(Self {
            ring,
            parked: (0..slots).map(|_| None).collect(),
            registered: Vec::new(),
            cancels: 0,
            syncing: false,
            strays: 0,
            _medium: medium,
        })
    }

    /// Registers the buffers, which spares the kernel pinning them for each request. Goes on
    /// without if the limit on locked memory forbids it.
    pub(super) fn register_buffers(&mut self, bufs: &mut [IoBuf]) {
        let vectors: Vec<libc::iovec> = bufs
            .iter_mut()
            .map(|buf| {
                let bytes = buf.bytes_mut();
                libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
            })
            .collect();
        // SAFETY: the vectors describe live allocations, which stay at their addresses until the
        // backend is dropped (the trait promises that) and are only written to by requests that
        // own them.
        match unsafe { self.ring.submitter().register_buffers(&vectors) } {
            Ok(()) => {
                self.registered = vectors.iter().map(|v| (v.iov_base.addr(), v.iov_len)).collect();
            }
            Err(error) => tracing::info!(
                %error,
                buffers = vectors.len(),
                "buffers are not registered with io_uring, each request pins its own; raise the \
                 limit on locked memory (ulimit -l) to change that"
            ),
        }
    }

    /// Notes `io` down; by a worker from the start if `worker`. Gives it back if its slot is taken.
    pub(super) fn submit(&mut self, io: Io, worker: bool) -> Result<(), Io> {
        let Some(place) = self.parked.get_mut(usize::from(io.id.slot)) else {
            return Err(io);
        };
        if place.is_some() {
            return Err(io);
        }
        let user_data = io.id.to_u64();
        // Parked before the pointer is taken, so that nothing moves under it.
        let parked = place.insert(Parked { io, cancelled: false });
        let Some(entry) = entry(&mut parked.io, &self.registered) else {
            return Err(place.take().expect("just parked").io);
        };
        let flags = if worker { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        let entry = entry.user_data(user_data).flags(flags);
        if self.push(&entry) {
            return Ok(());
        }
        Err(self.parked[usize::from(IoId::from_u64(user_data).slot)].take().expect("parked").io)
    }

    /// Notes an `fdatasync` down. `false` if there is no room, which can't be.
    pub(super) fn sync(&mut self) -> bool {
        let entry = opcode::Fsync::new(IMAGE)
            .flags(types::FsyncFlags::DATASYNC)
            .build()
            .flags(squeue::Flags::ASYNC)
            .user_data(SYNC_MARK);
        self.syncing = self.push(&entry);
        self.syncing
    }

    /// Asks the kernel to cancel `id`, if it is here.
    pub(super) fn cancel(&mut self, id: IoId) {
        let slots = self.parked.len();
        let Some(Some(parked)) = self.parked.get_mut(usize::from(id.slot)) else {
            return;
        };
        if parked.io.id != id || parked.cancelled || self.cancels >= slots {
            return;
        }
        parked.cancelled = true;
        let entry =
            opcode::AsyncCancel::new(id.to_u64()).build().user_data(CANCEL_MARK | id.to_u64());
        if self.push(&entry) {
            self.cancels += 1;
        }
    }

    /// Hands over what has been noted down, without waiting. `false` if something is left, for
    /// later: the kernel is short of memory or was interrupted.
    pub(super) fn enter(&mut self) -> bool {
        loop {
            if self.ring.submission().is_empty() {
                return true;
            }
            match self.ring.submit() {
                // A bad entry ends a batch early; the next call goes on behind it.
                Ok(taken) if taken > 0 => {}
                Ok(_) => return false,
                Err(error) => {
                    tracing::debug!(%error, "io_uring_enter; trying again");
                    return false;
                }
            }
        }
    }

    /// Appends what has been completed.
    pub(super) fn harvest(&mut self, events: &mut Vec<RingEvent>) {
        let Self { ring, parked, cancels, syncing, strays, .. } = self;
        for completion in ring.completion() {
            let (user_data, result) = (completion.user_data(), completion.result());
            if user_data == SYNC_MARK {
                *syncing = false;
                events.push(RingEvent::Sync(result));
                continue;
            }
            if user_data & CANCEL_MARK != 0 {
                *cancels = cancels.saturating_sub(1);
                continue;
            }
            let id = IoId::from_u64(user_data);
            match parked.get_mut(usize::from(id.slot)) {
                Some(place) if place.as_ref().is_some_and(|parked| parked.io.id == id) => {
                    let Parked { io, cancelled } = place.take().expect("just seen");
                    events.push(RingEvent::Io { io, result, cancelled });
                }
                _ => {
                    *strays += 1;
                    tracing::warn!(user_data, result, strays, "a completion names no request");
                }
            }
        }
    }

    fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the entry's memory is the buffer of a parked request, which stays in place,
        // untouched, until the completion arrives, and is leaked if the ring is dropped before;
        // or it has none. The registered file lives as long as the ring.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }
}

/// The ring's entry for a read or a write; `None` for anything else.
fn entry(io: &mut Io, registered: &[(usize, usize)]) -> Option<squeue::Entry> {
    let offset = io.range.offset_bytes;
    let len = io.range.len_bytes.min(MAX_TRANSFER_BYTES) as u32;
    let rw_flags = if io.fua { libc::RWF_DSYNC } else { 0 };
    let (kind, buf) = (io.kind, io.buf.as_ref()?);
    // By address and not by index alone: a buffer that was never registered goes the plain way.
    let (index, bytes) = (buf.index(), buf.bytes());
    let fixed = registered.get(usize::from(index)) == Some(&(bytes.as_ptr().addr(), bytes.len()));
    let entry = match (kind, fixed) {
        (OpKind::Read, true) => {
            opcode::ReadFixed::new(IMAGE, io.data_mut().as_mut_ptr(), len, index)
                .offset(offset)
                .build()
        }
        (OpKind::Read, false) => {
            opcode::Read::new(IMAGE, io.data_mut().as_mut_ptr(), len).offset(offset).build()
        }
        (OpKind::Write, true) => opcode::WriteFixed::new(IMAGE, io.data().as_ptr(), len, index)
            .offset(offset)
            .rw_flags(rw_flags)
            .build(),
        (OpKind::Write, false) => opcode::Write::new(IMAGE, io.data().as_ptr(), len)
            .offset(offset)
            .rw_flags(rw_flags)
            .build(),
        _ => return None,
    };
    Some(entry)
}

impl Drop for Ring {
    fn drop(&mut self) {
        let leaked = self.parked.iter_mut().filter_map(Option::take).map(std::mem::forget).count();
        if leaked > 0 {
            tracing::warn!(
                requests = leaked,
                "the image is closed while the kernel still works on it; their buffers are given up"
            );
        } else if !self.syncing {
            // The kernel takes a closed ring apart in its own time. This lets go of the image, and
            // its lock, at once. Not with requests in flight: some kernels would wait for them.
            let _ = self.ring.submitter().unregister_files();
        }
    }
}
