//! The two system calls that no safe wrapper has.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// `BLKDISCARD` of `<linux/fs.h>`: `_IO(0x12, 119)`. Takes `[start, length]` in bytes.
const BLKDISCARD: libc::Ioctl = 0x1277;

/// Asks for a lock on the whole file that belongs to the open file description (not, as POSIX
/// locks do, to the process), without waiting.
pub(super) fn ofd_lock(fd: BorrowedFd<'_>, exclusive: bool) -> Result<(), Errno> {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0, // to the end, wherever that is
        l_pid: 0, // required for OFD locks
    };
    // SAFETY: `fd` is open for the duration of the call; the kernel only reads `lock`, which is a
    // valid `flock` that outlives the call.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    check(result)
}

/// Tells a block device that `len_bytes` from `offset_bytes` on are no longer needed.
pub(super) fn blk_discard(
    fd: BorrowedFd<'_>,
    offset_bytes: u64,
    len_bytes: u64,
) -> Result<(), Errno> {
    let range = [offset_bytes, len_bytes];
    // SAFETY: `fd` is open for the duration of the call; BLKDISCARD only reads two u64 from the
    // pointer, and `range` outlives the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), BLKDISCARD, range.as_ptr()) };
    check(result)
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result >= 0 {
        return Ok(());
    }
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Err(Errno::from_raw_os_error(errno))
}
