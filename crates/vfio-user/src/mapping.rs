//! Guest memory as this process sees it: a shared mapping of a file that the peer has sent.
//!
//! The only module of the crate with unsafe code. A mapping is never lent out as a slice, since
//! the guest's CPUs write it at any time; bytes are copied in and out.
//!
//! Taking a large mapping down costs time for each page that was touched (a second for 64 GiB), in
//! which the device thread must not stand still (contract C1). A mapping of [`LARGE`] bytes or
//! more is therefore taken down by a thread of its own, in steps, so that the process's map is
//! never locked for long.
//!
//! Limitation: the file must not shrink while it is mapped, or an access raises SIGBUS. Its size
//! is checked when it is mapped, and virtual machine monitors seal their memfds against shrinking
//! (or never shrink them); a hostile one can stop only the process that serves it.

#![allow(unsafe_code)]

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// Mappings from this size on are taken down in the background.
const LARGE: usize = 64 << 20;
/// How much of a large mapping is let go in one step.
const STEP: usize = 16 << 20;

/// One file, mapped from its beginning.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: the mapping belongs to no thread; the kernel lets every thread of the process use it.
unsafe impl Send for Mapping {}
// SAFETY: all access is through raw copies in `read` and `write`. Concurrent accesses, of other
// threads as of the guest, race as on real memory: bytes may be torn, but no reference to the
// memory ever exists that the race could invalidate.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of the file; the caller has checked that it is that long.
    pub(crate) fn new(file: BorrowedFd<'_>, len: usize, writable: bool) -> Result<Self, Errno> {
        let mut prot = ProtFlags::READ;
        if writable {
            prot |= ProtFlags::WRITE;
        }
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: with a null hint and without MAP_FIXED the kernel picks an unused range, so no
        // existing memory of this process is replaced.
        let base = unsafe { mmap(ptr::null_mut(), len, prot, flags, file, 0)? };
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        Ok(Self { base, len, writable })
    }

    /// How many bytes are mapped.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of `len` bytes at `offset`.
    ///
    /// # Panics
    /// If they are not inside the mapping: the DMA map has been corrupted, and going on would
    /// corrupt this process.
    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        let end = offset.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.len), "access outside a mapping");
        // SAFETY: offset <= self.len, so the result is inside the mapping or one past its end.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// Copies guest memory out. Aligned words of 2, 4 and 8 bytes are read in one access.
    pub(crate) fn read(&self, offset: usize, buf: &mut [u8]) {
        let from = self.at(offset, buf.len());
        // SAFETY: `at` checked that `buf.len()` bytes at `from` are inside the mapping, which is
        // readable and lives as long as `self`; `buf` is private memory and cannot overlap it.
        // The volatile reads are of plain integers at addresses checked for their alignment.
        unsafe {
            match buf.len() {
                2 if from.cast::<u16>().is_aligned() => {
                    buf.copy_from_slice(&from.cast::<u16>().read_volatile().to_ne_bytes());
                }
                4 if from.cast::<u32>().is_aligned() => {
                    buf.copy_from_slice(&from.cast::<u32>().read_volatile().to_ne_bytes());
                }
                8 if from.cast::<u64>().is_aligned() => {
                    buf.copy_from_slice(&from.cast::<u64>().read_volatile().to_ne_bytes());
                }
                len => ptr::copy_nonoverlapping(from, buf.as_mut_ptr(), len),
            }
        }
    }

    /// Copies into guest memory. Aligned words of 2, 4 and 8 bytes are written in one access.
    ///
    /// # Panics
    /// If the mapping is read-only: the DMA map has been corrupted.
    pub(crate) fn write(&self, offset: usize, data: &[u8]) {
        assert!(self.writable, "write to a read-only mapping");
        let to = self.at(offset, data.len());
        // SAFETY: `at` checked that `data.len()` bytes at `to` are inside the mapping, which is
        // writable and lives as long as `self`; `data` is private memory and cannot overlap it.
        // The volatile writes are of plain integers at addresses checked for their alignment.
        unsafe {
            if let Ok(word) = <[u8; 2]>::try_from(data)
                && to.cast::<u16>().is_aligned()
            {
                to.cast::<u16>().write_volatile(u16::from_ne_bytes(word));
            } else if let Ok(word) = <[u8; 4]>::try_from(data)
                && to.cast::<u32>().is_aligned()
            {
                to.cast::<u32>().write_volatile(u32::from_ne_bytes(word));
            } else if let Ok(word) = <[u8; 8]>::try_from(data)
                && to.cast::<u64>().is_aligned()
            {
                to.cast::<u64>().write_volatile(u64::from_ne_bytes(word));
            } else {
                ptr::copy_nonoverlapping(data.as_ptr(), to, data.len());
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let area = Area { base: self.base, len: self.len };
        if self.len >= LARGE {
            let release = std::thread::Builder::new().name("dma-release".to_owned());
            // If there is no thread to be had, dropping the closure takes the area down here.
            if let Err(error) = release.spawn(move || area.release()) {
                tracing::debug!("no thread to release a mapping: {error}");
            }
        }
    }
}

/// What is left of a mapping when nothing refers to it any more: a range to be unmapped.
struct Area {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an area is a range of addresses that no thread uses any more; any may unmap it.
unsafe impl Send for Area {}

impl Area {
    /// Lets the pages go step by step, and then the range.
    fn release(self) {
        for offset in (0..self.len).step_by(STEP) {
            let len = STEP.min(self.len - offset);
            // SAFETY: the step lies inside the range, which came from `mmap` and to which no
            // reference and no other user is left. Dropping pages of a shared mapping changes
            // nothing in the file.
            let dropped = unsafe {
                let step = self.base.as_ptr().add(offset).cast::<c_void>();
                madvise(step, len, Advice::LinuxDontNeed)
            };
            if dropped.is_err() {
                // Huge pages may not fit the step; the range goes as a whole.
                break;
            }
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the range came from `mmap` in `Mapping::new`, is unmapped only here, and no
        // reference into it was ever given out.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast::<c_void>(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}
