//! Buffers that the engine lends to backends.
//!
//! Backends never see guest memory (contract C3): data is copied between it and these buffers on
//! the device thread. A buffer is page-aligned, stays at one address for life, and is *moved* into
//! an [`Io`](crate::Io), so that while a backend holds it nobody else can touch it.

use alloc::boxed::Box;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Alignment and granularity of every buffer, in bytes: enough for O_DIRECT on any device.
pub const PAGE_BYTES: usize = 4096;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

/// One page-aligned buffer, owned by whoever may touch it at the moment.
pub struct IoBuf {
    index: u16,
    pages: Box<[Page]>,
}

impl IoBuf {
    /// Allocates a zeroed buffer of `len_bytes` rounded up to whole pages. `index` is its number
    /// within the engine's pool, by which a backend can find its registration again.
    ///
    /// # Panics
    /// If memory is exhausted. Called only while an engine is built, never with a peer's number.
    pub fn new(index: u16, len_bytes: usize) -> Self {
        let pages = <[Page]>::new_box_zeroed_with_elems(len_bytes.div_ceil(PAGE_BYTES))
            .expect("memory for the buffers of a disk");
        Self { index, pages }
    }

    /// The buffer's number in its pool.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Its content.
    pub fn bytes(&self) -> &[u8] {
        self.pages.as_bytes()
    }

    /// Its content, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.pages.as_mut_bytes()
    }
}

impl core::fmt::Debug for IoBuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "IoBuf#{}({} bytes)", self.index, self.pages.len() * PAGE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_page_aligned_and_zeroed() {
        let buf = IoBuf::new(3, 5000);
        assert_eq!(buf.bytes().len(), 8192);
        assert_eq!(buf.bytes().as_ptr().addr() % PAGE_BYTES, 0);
        assert!(buf.bytes().iter().all(|byte| *byte == 0));
    }
}
