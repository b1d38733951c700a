//! Guest memory by guest-physical address (or, behind a virtual IOMMU, by I/O virtual address).
//!
//! The peer adds ranges with DMA_MAP and takes them away with DMA_UNMAP. [`DmaSpace::read`] and
//! [`DmaSpace::write`] copy from and to them, all or nothing: one access may span several adjacent
//! ranges, and if any of it is missing or refuses, no byte is moved.
//!
//! A range that is unmapped is out of reach when [`DmaSpace::unmap`] returns. It waits for
//! nothing, and has nothing to wait for: nobody holds a reference to guest memory, and only the
//! thread that owns the space copies (contract C1 and C3). The process's own mapping of a large
//! file that is no longer needed is taken down in the background.
//!
//! Mappings of one file share one `mmap`, so that tens of thousands of small maps (a virtual IOMMU)
//! stay far from the kernel's limit of mappings a process, and cost no system call each.
//!
//! Limitation: memory that the monitor keeps in a file on slow storage is as slow here as it is for
//! the guest's own CPUs; a page fault waits for it. So does examining a descriptor of such a file.
//!
//! Left out: DMA by messages to the peer (DMA_READ, DMA_WRITE). Ranges that came without a
//! descriptor, such as ROMs, are known but cannot be accessed.

use crate::codec::{DmaMap, DmaMapFlags, DmaUnmap, DmaUnmapFlags, MAX_DMA_MAPS, PAGE_SIZE};
use crate::error::{DmaError, MapError};
use crate::mapping::Mapping;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, fstat};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// A range this large that arrives without a descriptor is likely the guest's RAM.
const RAM_SIZED: u64 = 1 << 20;

/// The memory that the function can reach.
#[derive(Debug, Default)]
pub struct DmaSpace {
    /// Ranges by their first address; they never overlap.
    ranges: BTreeMap<u64, Range>,
    /// The live mapping of each file, by device, inode and whether it is writable.
    files: HashMap<(u64, u64, bool), Weak<Mapping>>,
    bus_master: bool,
    generation: u64,
    /// A RAM-sized writable range with a descriptor has been seen: the guest's RAM is shared.
    has_ram: bool,
    warned_map: bool,
    warned_access: AtomicBool,
}

#[derive(Debug)]
struct Range {
    size: u64,
    flags: DmaMapFlags,
    memory: Option<Memory>,
}

#[derive(Debug)]
struct Memory {
    mapping: Arc<Mapping>,
    /// Where the range begins in the mapping. `offset + size` was checked against its length.
    offset: usize,
}

/// The part of an access that falls into one range.
struct Piece<'a> {
    memory: &'a Memory,
    /// Offset in the mapping.
    offset: usize,
    len: usize,
}

impl DmaSpace {
    /// An empty space that may not be used yet: Bus Master Enable is off.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads guest memory. On an error, `buf` is untouched.
    pub fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), DmaError> {
        self.check(address, buf.len(), DmaMapFlags::READABLE)?;
        let mut done = 0;
        while done < buf.len() {
            let at = address + done as u64;
            let piece = self.piece(at, buf.len() - done, DmaMapFlags::READABLE)?;
            piece.memory.mapping.read(piece.offset, &mut buf[done..done + piece.len]);
            done += piece.len;
        }
        Ok(())
    }

    /// Writes guest memory. On an error, no byte of it has changed.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), DmaError> {
        self.check(address, data.len(), DmaMapFlags::WRITEABLE)?;
        let mut done = 0;
        while done < data.len() {
            let at = address + done as u64;
            let piece = self.piece(at, data.len() - done, DmaMapFlags::WRITEABLE)?;
            piece.memory.mapping.write(piece.offset, &data[done..done + piece.len]);
            done += piece.len;
        }
        Ok(())
    }

    /// Whether all of a range could be read (or written) at this moment.
    pub fn check_access(&self, address: u64, len: usize, write: bool) -> Result<(), DmaError> {
        let need = if write { DmaMapFlags::WRITEABLE } else { DmaMapFlags::READABLE };
        self.check(address, len, need)
    }

    /// Changes with each map and unmap, so that a cached look-up knows when it is stale.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the guest lets the function master the bus. If not, each access is refused.
    #[must_use]
    pub fn bus_master(&self) -> bool {
        self.bus_master
    }

    /// Sets whether the function may master the bus; follows the configuration space.
    pub fn set_bus_master(&mut self, enabled: bool) {
        self.bus_master = enabled;
    }

    /// How many ranges are mapped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Adds a range. Without a file it is known but unreachable. On an error nothing changes.
    pub fn map(&mut self, map: &DmaMap, file: Option<OwnedFd>) -> Result<(), MapError> {
        let last = self.validate(map)?;
        let memory = match file {
            Some(file) => Some(self.open(map, &file)?),
            None => None,
        };
        self.note_ram(map, memory.is_some());
        let DmaMap { address, size, flags, .. } = *map;
        tracing::debug!(
            "DMA map {address:#x}..={last:#x} {flags:?}{}",
            if memory.is_some() { "" } else { " without descriptor" }
        );
        self.ranges.insert(address, Range { size, flags, memory });
        self.generation += 1;
        Ok(())
    }

    /// Removes all mappings that lie in the range, or all there are; returns how many.
    ///
    /// As in the kernel's VFIO (type 1, version 2), the range may cover several mappings or none,
    /// since virtual IOMMUs invalidate large ranges with one call, but may not cut one in two.
    pub fn unmap(&mut self, unmap: &DmaUnmap) -> Result<usize, MapError> {
        let DmaUnmap { flags, address, size } = *unmap;
        if flags.contains(DmaUnmapFlags::ALL) {
            if flags != DmaUnmapFlags::ALL || address != 0 || size != 0 {
                return Err(MapError::Flags);
            }
            return Ok(self.unmap_all());
        }
        if !flags.is_empty() {
            return Err(MapError::Flags);
        }
        if size == 0 {
            return Err(MapError::Empty);
        }
        let last = address.checked_add(size - 1).ok_or(MapError::Wraps)?;
        let cut_at_start = self.find(address).is_some_and(|(start, _)| start != address);
        let cut_at_end = self.find(last).is_some_and(|(start, range)| range.last(start) != last);
        if cut_at_start || cut_at_end {
            return Err(MapError::Bisects);
        }
        let mut removed = 0;
        while let Some((&start, _)) = self.ranges.range(address..=last).next() {
            self.ranges.remove(&start);
            removed += 1;
        }
        self.generation += 1;
        self.forget_files();
        tracing::debug!("DMA unmap {address:#x}..={last:#x}: {removed} range(s)");
        Ok(removed)
    }

    /// Removes everything; returns how many ranges there were.
    pub fn unmap_all(&mut self) -> usize {
        let removed = self.ranges.len();
        self.ranges.clear();
        self.files.clear();
        self.generation += 1;
        tracing::debug!("DMA unmap of all {removed} range(s)");
        removed
    }

    /// Checks all that can be checked without the file; returns the range's last address.
    fn validate(&self, map: &DmaMap) -> Result<u64, MapError> {
        let DmaMap { address, size, offset, flags } = *map;
        if size == 0 {
            return Err(MapError::Empty);
        }
        if (address | size | offset) % PAGE_SIZE != 0 {
            return Err(MapError::Misaligned);
        }
        let access = DmaMapFlags::READABLE | DmaMapFlags::WRITEABLE;
        if !DmaMapFlags::all().contains(flags) || !flags.intersects(access) {
            return Err(MapError::Flags);
        }
        let last = address.checked_add(size - 1).ok_or(MapError::Wraps)?;
        offset.checked_add(size).ok_or(MapError::Wraps)?;
        let before = self.ranges.range(..=last).next_back();
        if before.is_some_and(|(&start, range)| range.last(start) >= address) {
            return Err(MapError::Overlaps);
        }
        if self.ranges.len() >= MAX_DMA_MAPS {
            return Err(MapError::TooMany);
        }
        Ok(last)
    }

    /// Finds or makes the mapping of the file behind a range.
    fn open(&mut self, map: &DmaMap, file: &OwnedFd) -> Result<Memory, MapError> {
        let stat = fstat(file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(MapError::NotAFile);
        }
        let file_size = u64::try_from(stat.st_size).map_err(|_| MapError::NotAFile)?;
        let end = map.offset.checked_add(map.size).ok_or(MapError::Wraps)?;
        if end > file_size {
            return Err(MapError::FileTooShort);
        }
        let to_usize = |n: u64| usize::try_from(n).map_err(|_| MapError::Wraps);
        let offset = to_usize(map.offset)?;
        let writable = map.flags.contains(DmaMapFlags::WRITEABLE);
        let key = (stat.st_dev, stat.st_ino, writable);
        let known = self.files.get(&key).and_then(Weak::upgrade);
        // A file that has grown since is mapped again, whole.
        if let Some(mapping) = known
            && mapping.len() as u64 >= end
        {
            return Ok(Memory { mapping, offset });
        }
        let mapping = Arc::new(Mapping::new(file.as_fd(), to_usize(file_size)?, writable)?);
        self.files.insert(key, Arc::downgrade(&mapping));
        Ok(Memory { mapping, offset })
    }

    /// Drops the entries of files that no range uses any more.
    fn forget_files(&mut self) {
        self.files.retain(|_, mapping| mapping.strong_count() > 0);
    }

    /// Warns, once, if what looks like the guest's RAM cannot be reached.
    fn note_ram(&mut self, map: &DmaMap, reachable: bool) {
        if map.size < RAM_SIZED || !map.flags.contains(DmaMapFlags::WRITEABLE) {
            return;
        }
        if reachable {
            self.has_ram = true;
        } else if !self.has_ram && !self.warned_map {
            self.warned_map = true;
            tracing::warn!(
                "{} MiB of guest memory at {:#x} came without a file descriptor, so the disk cannot \
                 reach it; start QEMU with -object memory-backend-memfd,id=mem,size=SIZE,share=on \
                 -machine memory-backend=mem (Cloud Hypervisor: --memory size=SIZE,shared=on)",
                map.size >> 20,
                map.address,
            );
        }
    }

    /// The range that contains an address.
    fn find(&self, address: u64) -> Option<(u64, &Range)> {
        let (&start, range) = self.ranges.range(..=address).next_back()?;
        (range.last(start) >= address).then_some((start, range))
    }

    /// The part of an access at `address` that falls into one range.
    fn piece(&self, address: u64, len: usize, need: DmaMapFlags) -> Result<Piece<'_>, DmaError> {
        let (start, range) = self.find(address).ok_or(DmaError::Unmapped { address })?;
        if !range.flags.contains(need) {
            return Err(DmaError::Denied { address, write: need == DmaMapFlags::WRITEABLE });
        }
        let memory = range.memory.as_ref().ok_or(DmaError::Unreachable { address })?;
        let into = address - start;
        let left = usize::try_from(range.size - into).unwrap_or(usize::MAX);
        // `into` is less than the range's size, and the whole range is inside the mapping.
        Ok(Piece { memory, offset: memory.offset + into as usize, len: len.min(left) })
    }

    /// Checks the whole of an access before any of it happens.
    fn check(&self, address: u64, len: usize, need: DmaMapFlags) -> Result<(), DmaError> {
        if !self.bus_master {
            return Err(DmaError::BusMasterDisabled);
        }
        if len == 0 {
            return Ok(());
        }
        address.checked_add(len as u64 - 1).ok_or(DmaError::Wraps { address })?;
        let mut done = 0;
        while done < len {
            let at = address + done as u64;
            let piece = self.piece(at, len - done, need).inspect_err(|error| self.note(*error))?;
            done += piece.len;
        }
        Ok(())
    }

    /// Tells the operator, once, of an access to memory that the monitor did not share.
    fn note(&self, error: DmaError) {
        if let DmaError::Unreachable { address } = error
            && !self.warned_access.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "the guest asked for a transfer to or from {address:#x}, memory that came without a \
                 file descriptor; give the guest memory that is share=on"
            );
        }
    }
}

impl Range {
    /// The range's last address, given its first.
    fn last(&self, start: u64) -> u64 {
        start + (self.size - 1)
    }
}

#[cfg(test)]
mod tests;
