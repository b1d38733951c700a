//! The open image, and the blocking system calls on it.

use std::fs::File;
use std::io::IoSlice;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use freewheel_block::{Io, IoError, OpKind};
use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use rustix::io::{Errno, ReadWriteFlags, pread, pwrite, pwritev2};

use super::detect::MediumKind;

/// A file that is closed by a thread of its own: closing may wait for the storage (FUSE asks its
/// server, NFS writes back), and the last owner is often the device thread (contract C1). The lock
/// goes with it, a moment later.
#[derive(Debug)]
struct Closing(Option<File>);

impl Closing {
    fn get(&self) -> &File {
        self.0.as_ref().expect("open until it is dropped")
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(file) = self.0.take() else { return };
        // If there can be no thread, it stays open: that waits for nobody.
        let file = ManuallyDrop::new(file);
        let close = move || drop(ManuallyDrop::into_inner(file));
        let _ = std::thread::Builder::new().name("fw-close".into()).spawn(close);
    }
}

/// The open image. Shared by the device thread and the workers; closed, and unlocked, with the
/// last of them.
#[derive(Debug)]
pub(super) struct Medium {
    file: Closing,
    kind: MediumKind,
    /// The file system turned ZERO_RANGE down: punch holes instead.
    zero_by_punching: AtomicBool,
}

impl Medium {
    pub(super) fn new(file: File, kind: MediumKind) -> Self {
        Self { file: Closing(Some(file)), kind, zero_by_punching: AtomicBool::new(false) }
    }

    /// The open image, for the ring to register.
    pub(super) fn file(&self) -> &File {
        self.file.get()
    }

    /// Executes `io`, however long that takes. For worker threads. Flushes are not for this, see
    /// [`Medium::sync`].
    pub(super) fn execute(&self, io: &mut Io) -> Result<u64, IoError> {
        let range = io.range;
        let result = match io.kind {
            OpKind::Read => retry(|| pread(self.file(), io.data_mut(), range.offset_bytes))
                .map(|len| len as u64),
            OpKind::Write if io.fua => {
                let data = [IoSlice::new(io.data())];
                retry(|| pwritev2(self.file(), &data, range.offset_bytes, ReadWriteFlags::DSYNC))
                    .map(|len| len as u64)
            }
            OpKind::Write => {
                retry(|| pwrite(self.file(), io.data(), range.offset_bytes)).map(|len| len as u64)
            }
            OpKind::Discard => self.discard(range.offset_bytes, range.len_bytes).map(|()| 0),
            OpKind::WriteZeroes => self.zero(range.offset_bytes, range.len_bytes).map(|()| 0),
            OpKind::Flush => return Err(IoError::Unsupported),
        };
        result.map_err(|errno| IoError::from_errno(errno.raw_os_error()))
    }

    /// Makes everything written so far durable. One at a time: see
    /// [`SyncGroup`](super::sync_group::SyncGroup).
    pub(super) fn sync(&self) -> Result<(), IoError> {
        retry(|| fdatasync(self.file())).map_err(|errno| IoError::from_errno(errno.raw_os_error()))
    }

    fn discard(&self, offset_bytes: u64, len_bytes: u64) -> Result<(), Errno> {
        match self.kind {
            MediumKind::File => self.punch(offset_bytes, len_bytes),
            MediumKind::Block => {
                retry(|| super::sys::blk_discard(self.file().as_fd(), offset_bytes, len_bytes))
            }
        }
    }

    fn zero(&self, offset_bytes: u64, len_bytes: u64) -> Result<(), Errno> {
        if !self.zero_by_punching.load(Ordering::Relaxed) {
            // On a block device, this is what BLKZEROOUT does.
            let mode = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
            match retry(|| fallocate(self.file(), mode, offset_bytes, len_bytes)) {
                // There is no way to ask beforehand: beyond the end of the file, unlike punching,
                // it would allocate.
                Err(Errno::OPNOTSUPP) if self.kind == MediumKind::File => {
                    self.zero_by_punching.store(true, Ordering::Relaxed);
                }
                result => return result,
            }
        }
        self.punch(offset_bytes, len_bytes)
    }

    fn punch(&self, offset_bytes: u64, len_bytes: u64) -> Result<(), Errno> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        retry(|| fallocate(self.file(), mode, offset_bytes, len_bytes))
    }
}

/// Repeats `call` for as long as signals interrupt it.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
