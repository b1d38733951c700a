//! What the file holds: bytes in memory, or those of another file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;

/// See the module's description.
pub(crate) enum Content {
    /// In memory, zeroes at first.
    Memory(Vec<u8>),
    /// In a file.
    File(File),
}

impl Content {
    /// Zeroes in memory.
    pub(crate) fn memory(size_bytes: u64) -> Self {
        Self::Memory(vec![0; size_bytes as usize])
    }

    /// An existing file, and its size.
    pub(crate) fn file(path: &Path) -> io::Result<(Self, u64)> {
        let file = File::options().read(true).write(true).open(path)?;
        let size_bytes = file.metadata()?.len();
        Ok((Self::File(file), size_bytes))
    }

    /// Up to `len` bytes; fewer at the end.
    pub(crate) fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Memory(bytes) => {
                let start = (offset as usize).min(bytes.len());
                let end = start.saturating_add(len).min(bytes.len());
                Ok(bytes[start..end].to_vec())
            }
            Self::File(file) => {
                let mut data = vec![0; len];
                let mut filled = 0;
                while filled < len {
                    match file.read_at(&mut data[filled..], offset + filled as u64)? {
                        0 => break,
                        count => filled += count,
                    }
                }
                data.truncate(filled);
                Ok(data)
            }
        }
    }

    /// Writes all of `data`, which lies within the size.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => {
                let start = offset as usize;
                let end = start.checked_add(data.len()).filter(|end| *end <= bytes.len());
                let end = end.ok_or(io::ErrorKind::StorageFull)?;
                bytes[start..end].copy_from_slice(data);
                Ok(())
            }
            Self::File(file) => file.write_all_at(data, offset),
        }
    }

    /// `fallocate` with one of the modes that make zeroes; others change nothing here.
    pub(crate) fn allocate(&mut self, offset: u64, len: u64, mode: i32) -> io::Result<()> {
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        if !mode.intersects(FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE) {
            return Ok(());
        }
        match self {
            Self::Memory(bytes) => {
                let start = (offset as usize).min(bytes.len());
                let end = start.saturating_add(len as usize).min(bytes.len());
                bytes[start..end].fill(0);
                Ok(())
            }
            Self::File(file) => Ok(rustix::fs::fallocate(file, mode, offset, len)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_ends() {
        let mut content = Content::memory(8);
        content.write(2, &[1, 2, 3]).expect("inside");
        assert!(content.write(7, &[1, 2]).is_err());
        assert!(content.write(u64::MAX, &[1, 2]).is_err());
        assert_eq!(content.read(1, 4).expect("inside"), [0, 1, 2, 3]);
        assert_eq!(content.read(6, 4).expect("its end"), [0, 0]);
        assert_eq!(content.read(60, 4).expect("beyond"), []);
        content.allocate(3, 1, 3).expect("a hole");
        content.allocate(2, 1, 0).expect("nothing to do");
        assert_eq!(content.read(1, 4).expect("inside"), [0, 1, 0, 3]);
    }
}
