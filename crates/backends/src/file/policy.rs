//! What may go through io_uring, and how, so that the device thread never waits (contract C1).
//!
//! `io_uring_enter` runs each new request up to the point where it would wait, and leaves the rest
//! to a completion. "Would wait" is what the file system and the block layer make of `IOCB_NOWAIT`,
//! and they make little of it:
//!
//! * ext4 reads extent blocks from the disk while it maps a file, with or without the flag.
//!   Measured (Linux 6.18, a fragmented file, a disk that hangs): `io_uring_enter` waited for as
//!   long as the disk did, with the page cache and with O_DIRECT.
//! * A buffered read with the flag still starts read-ahead itself, which maps the file, and waits
//!   for a free request of the device if all are taken; on a device that hangs, they are.
//! * Direct I/O by way of iomap (ext4, xfs, btrfs) doesn't pass the flag on to the block layer:
//!   again the wait for a free request.
//! * FUSE waits for its server (measured). NFS, CIFS, 9p and overlayfs, which asks whatever is
//!   beneath it, are no better.
//! * Direct I/O on a *block device* passes it on as `REQ_NOWAIT`: a device without a free request
//!   says EAGAIN, and io_uring gives the request to a worker. Drivers that can't do that (some
//!   device mapper targets) don't announce it, and io_uring gives them to a worker at once.
//!
//! So only the last is submitted inline; everything else carries `IOSQE_ASYNC`, and a kernel worker
//! does it. (Left over: an `io.cost` or `io.latency` limit of a cgroup throttles in the submitter
//! whatever the flag. That delay is the operator's own and bounded.)
//!
//! Workers have a trap of their own. For *hashed* work, that is writes and fallocates of regular
//! files, one worker runs at a time for each of 64 hash buckets of the inode's address, and the
//! buckets are shared by all rings of the submitting thread. A hung write would hold up every later
//! write of its own disk (contract C4: what doesn't overlap goes on) and, with bad luck, that of
//! another disk (C6). Whether `IOSQE_ASYNC` work is hashed depends on the kernel: up to 5.18 the
//! file is known when the work is queued, and it is; since then it isn't known, and it isn't
//! (measured on 6.18), which nobody promises. Hence requests that could be hashed go to our own
//! pool of threads. Direct writes never are where the file system announces parallel direct
//! writes: ext4 and xfs.
//!
//! A worker does not stay with direct I/O until it ends; that is the gain over the pool.
//!
//! Sources: Linux `io_uring/io-wq.c` (`IO_WQ_HASH_ORDER`, `io_get_next_work`),
//! `io_uring/io_uring.c` (`io_prep_async_work`), `fs/ext4/file.c` and `fs/xfs/xfs_file.c`
//! (`FOP_DIO_PARALLEL_WRITE`). The measurements are `tests/hanging_storage` with the routes below
//! changed to `Inline`.

use freewheel_block::OpKind;

use super::detect::{FileSystem, MediumKind};

/// How one kind of request is executed by the io_uring engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Through the ring, run within `io_uring_enter` as far as it goes.
    Inline,
    /// Through the ring, by a kernel worker from the start.
    Worker,
    /// By our own threads.
    Pool,
}

/// What the routes depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) kind: MediumKind,
    pub(super) file_system: FileSystem,
    pub(super) direct: bool,
}

impl Policy {
    /// Where requests of `kind` go.
    pub(super) fn route(self, kind: OpKind) -> Route {
        match kind {
            OpKind::Read | OpKind::Write if self.direct && self.kind == MediumKind::Block => {
                Route::Inline
            }
            OpKind::Read => Route::Worker,
            OpKind::Write if self.kind == MediumKind::Block || self.direct_in_parallel() => {
                Route::Worker
            }
            OpKind::Write => Route::Pool,
            // Never hashed.
            OpKind::Flush => Route::Worker,
            // Hashed on files; BLKDISCARD has no opcode.
            OpKind::Discard | OpKind::WriteZeroes => Route::Pool,
        }
    }

    /// Whether a write can be made durable by itself (`RWF_DSYNC`).
    ///
    /// Not where its data may pass through the page cache: an error in writing pages back is
    /// reported once per open file, so of two durable writes at the same time the wrong one could
    /// learn of it, and the other count as durable.
    pub(super) fn native_fua(self) -> bool {
        self.direct && (self.kind == MediumKind::Block || self.direct_in_parallel())
    }

    /// Whether to pass on the hint that nobody waits any more.
    ///
    /// Cancelling interrupts a worker. On a local file system, what it was doing is then over. A
    /// network file system might answer with EINTR while its server still has the request, and
    /// that would be a completion that isn't one.
    pub(super) fn may_cancel(self) -> bool {
        self.kind == MediumKind::Block || self.file_system != FileSystem::Other
    }

    fn direct_in_parallel(self) -> bool {
        self.direct && matches!(self.file_system, FileSystem::Ext4 | FileSystem::Xfs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(kind: MediumKind, file_system: FileSystem, direct: bool) -> Policy {
        Policy { kind, file_system, direct }
    }

    #[test]
    fn only_direct_io_on_block_devices_is_inline() {
        for file_system in [
            FileSystem::Ext4,
            FileSystem::Xfs,
            FileSystem::Btrfs,
            FileSystem::Tmpfs,
            FileSystem::Other,
        ] {
            for direct in [false, true] {
                let policy = policy(MediumKind::File, file_system, direct);
                for kind in [
                    OpKind::Read,
                    OpKind::Write,
                    OpKind::Flush,
                    OpKind::Discard,
                    OpKind::WriteZeroes,
                ] {
                    assert_ne!(policy.route(kind), Route::Inline, "{policy:?} {kind}");
                }
            }
        }
        let device = policy(MediumKind::Block, FileSystem::Other, true);
        assert_eq!(device.route(OpKind::Read), Route::Inline);
        assert_eq!(device.route(OpKind::Flush), Route::Worker);
        let cached_device = policy(MediumKind::Block, FileSystem::Other, false);
        assert_eq!(cached_device.route(OpKind::Write), Route::Worker);
    }

    #[test]
    fn hashed_requests_go_to_the_pool() {
        assert_eq!(
            policy(MediumKind::File, FileSystem::Ext4, false).route(OpKind::Write),
            Route::Pool
        );
        assert_eq!(
            policy(MediumKind::File, FileSystem::Btrfs, true).route(OpKind::Write),
            Route::Pool
        );
        assert_eq!(
            policy(MediumKind::File, FileSystem::Ext4, true).route(OpKind::Write),
            Route::Worker
        );
        assert_eq!(
            policy(MediumKind::File, FileSystem::Xfs, true).route(OpKind::Discard),
            Route::Pool
        );
    }

    #[test]
    fn fua_in_one_step_needs_direct_io() {
        assert!(policy(MediumKind::File, FileSystem::Ext4, true).native_fua());
        assert!(!policy(MediumKind::File, FileSystem::Ext4, false).native_fua());
        assert!(!policy(MediumKind::File, FileSystem::Btrfs, true).native_fua());
        assert!(policy(MediumKind::Block, FileSystem::Other, true).native_fua());
    }
}
