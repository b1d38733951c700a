//! What a disk says about itself, and how it behaves after power-on.

use alloc::string::String;

use freewheel_block::BackendInfo;

use super::protected_area::CapacityControl;
use super::transfer::DRQ_BLOCK_MAX_BYTES;

/// Nominal media rotation rate (ACS-4, IDENTIFY DEVICE word 217).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Not a rotating medium.
    Ssd,
    /// Rotations per minute; meaningful from 1025 to 65,534.
    Rpm(u16),
}

/// Everything about a disk but its medium. `Default` is a good SSD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// Logical sector size in bytes: 512 or 4096.
    pub logical_sector_bytes: u32,
    /// Physical sector size in bytes: the logical size times a power of two, at most 2^15.
    pub physical_sector_bytes: u32,
    /// Serial number; 20 characters are reported.
    pub serial: String,
    /// Model number; 40 characters are reported.
    pub model: String,
    /// Firmware revision; 8 characters are reported.
    pub firmware: String,
    /// World Wide Name (NAA, 64 bits), if the disk has one.
    pub wwn: Option<u64>,
    /// Rotation rate.
    pub rotation: Rotation,
    /// Depth of native command queueing: 1 to 32.
    pub queue_depth: u8,
    /// Whether the volatile write cache is enabled after power-on.
    pub write_cache: bool,
    /// Whether TRIM is offered, where the backend can discard.
    pub discard: bool,
    /// The generation of the SATA link: 1, 2 or 3 (1.5, 3 or 6 Gb/s), reported as current.
    pub sata_generation: u8,
    /// How the host may hide the end of the disk.
    pub capacity_control: CapacityControl,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            serial: String::from("FW00000000"),
            model: String::from("Freewheel Disk"),
            firmware: String::from(env!("CARGO_PKG_VERSION")),
            wwn: None,
            rotation: Rotation::Ssd,
            queue_depth: 32,
            write_cache: true,
            discard: true,
            sata_generation: 3,
            capacity_control: CapacityControl::default(),
        }
    }
}

/// Why a disk cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Logical sectors have 512 or 4096 bytes.
    #[error("the logical sector size is {0} bytes; it can be 512 or 4096")]
    LogicalSector(u32),
    /// Physical sectors are a power of two of logical ones.
    #[error(
        "the physical sector size is {0} bytes; it must be the logical size times a power of two, at most 32768"
    )]
    PhysicalSector(u32),
    /// The queue depth is a tag count.
    #[error("the queue depth is {0}; it can be 1 to 32")]
    QueueDepth(u8),
    /// The link has a generation.
    #[error("the SATA generation is {0}; it can be 1, 2 or 3")]
    SataGeneration(u8),
    /// The medium ends within a sector.
    #[error(
        "the medium has {size_bytes} bytes, which is no multiple of the sector size of {sector_bytes}"
    )]
    Ragged {
        /// Size of the medium.
        size_bytes: u64,
        /// Logical sector size.
        sector_bytes: u32,
    },
    /// The medium has no sector.
    #[error("the medium is empty")]
    Empty,
    /// ATA numbers sectors with 48 bits.
    #[error("the medium has more sectors than ATA can number (2^48)")]
    TooLarge,
}

/// The facts of one disk, derived once. None ever changes but the number of sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Logical sector size.
    pub(crate) sector_bytes: u32,
    /// How many logical sectors the host can reach (`protected_area.rs`).
    pub(crate) sectors: u64,
    /// Largest DRQ block of the MULTIPLE commands, in sectors.
    pub(crate) multiple_max: u8,
    /// TRIM is offered.
    pub(crate) trim: bool,
    /// Whatever TRIM took reads as the same data each time (DRAT).
    pub(crate) trim_is_deterministic: bool,
    /// Whatever TRIM took, to the last sector, reads as zeroes (RZAT).
    pub(crate) trim_reads_zeroes: bool,
    /// Writes are refused.
    pub(crate) read_only: bool,
}

impl DiskConfig {
    /// Checks the configuration against the medium.
    pub(crate) fn shape(&self, medium: &BackendInfo) -> Result<Shape, ConfigError> {
        let sector_bytes = self.logical_sector_bytes;
        if !matches!(sector_bytes, 512 | 4096) {
            return Err(ConfigError::LogicalSector(sector_bytes));
        }
        let physical = self.physical_sector_bytes;
        let ratio = physical / sector_bytes;
        if !physical.is_multiple_of(sector_bytes) || !ratio.is_power_of_two() || ratio > 1 << 15 {
            return Err(ConfigError::PhysicalSector(physical));
        }
        if !(1..=32).contains(&self.queue_depth) {
            return Err(ConfigError::QueueDepth(self.queue_depth));
        }
        if !(1..=3).contains(&self.sata_generation) {
            return Err(ConfigError::SataGeneration(self.sata_generation));
        }
        let size_bytes = medium.size_bytes;
        if !size_bytes.is_multiple_of(u64::from(sector_bytes)) {
            return Err(ConfigError::Ragged { size_bytes, sector_bytes });
        }
        let sectors = size_bytes / u64::from(sector_bytes);
        if sectors == 0 {
            return Err(ConfigError::Empty);
        }
        if sectors > 1 << 48 {
            return Err(ConfigError::TooLarge);
        }
        let discard = medium.discard.filter(|_| self.discard && !medium.read_only);
        let reads_zeroes = discard.is_some_and(|discard| discard.reads_zeroes);
        Ok(Shape {
            sector_bytes,
            sectors,
            // A Data FIS carries at most 8192 bytes (SATA 3.x, Data FIS), and a DRQ block is one.
            multiple_max: (DRQ_BLOCK_MAX_BYTES / sector_bytes) as u8,
            trim: discard.is_some(),
            trim_is_deterministic: reads_zeroes,
            // A discard is narrowed to the backend's granularity, so the rest of a range keeps its
            // data. Only a granularity of one sector makes the promise true for each sector.
            trim_reads_zeroes: reads_zeroes
                && discard.is_some_and(|discard| discard.align_bytes <= u64::from(sector_bytes)),
            read_only: medium.read_only,
        })
    }
}
