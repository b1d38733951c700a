//! One writer, or any number of readers.
//!
//! The lock is an OFD lock: it belongs to the open file, so a second opener in this process is
//! refused as well, and it lasts as long as anything may still write through that file. It is
//! advisory, and QEMU's own image locks (byte ranges of the same kind) conflict with it, as they
//! should.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;

use super::error::OpenError;
use super::sys;

/// Locks `file`, without waiting. Says in the second place of the result, for people, if the file
/// system knows no locks.
pub(super) fn lock(
    file: &File,
    path: &Path,
    read_only: bool,
) -> Result<Option<&'static str>, OpenError> {
    match sys::ofd_lock(file.as_fd(), !read_only) {
        Ok(()) => Ok(None),
        Err(Errno::AGAIN | Errno::ACCESS) => {
            Err(OpenError::Locked { path: path.to_owned(), read_only })
        }
        // Some network file systems have no locks at all. The image may still be served: nothing
        // would be gained by refusing every image there.
        Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => {
            Ok(Some("not locked: the file system has no locks"))
        }
        Err(errno) => {
            Err(OpenError::Io { path: path.to_owned(), doing: "locking", source: errno.into() })
        }
    }
}
