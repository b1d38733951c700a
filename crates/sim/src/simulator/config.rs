//! What kind of controller, disk and storage a seed is about.

use super::rng::Rng;

/// Sectors of every simulated disk: few, so that commands meet.
pub(super) const SECTORS: usize = 128;

/// The configuration of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldConfig {
    /// Disks, each on a port of its own.
    pub disks: usize,
    /// There is a drive behind them.
    pub drive: bool,
    /// Slots of the engine.
    pub slots: u16,
    /// Pieces of an operation at a time.
    pub window: u16,
    /// Size of the engine's buffers in bytes.
    pub buf_bytes: u32,
    /// The backend's alignment in bytes.
    pub io_align_bytes: u64,
    /// The backend's granularity of discards in bytes; `None` if it cannot.
    pub discard_align_bytes: Option<u64>,
    /// The backend can make a write durable by itself.
    pub fua: bool,
    /// The disk has a volatile write cache. Without one, every change is durable when it completes.
    pub write_cache: bool,
    /// Logical sector size in bytes.
    pub sector_bytes: u32,
    /// Tags of native command queueing, and command slots of the port.
    pub tags: u8,
    /// The seed of the fault layers, in runs that have them, and faults of the link.
    pub faults: Option<u64>,
}

impl WorldConfig {
    /// The configuration that `rng` decides on.
    pub fn random(rng: &mut Rng) -> Self {
        let sector_bytes = if rng.percent(10) { 4096 } else { 512 };
        let io_align_bytes = if rng.percent(50) { 4096 } else { 1 };
        let discard_align_bytes = match rng.below(10) {
            0 => None,
            1..=3 => Some(4096),
            _ => Some(512),
        };
        Self {
            disks: if rng.percent(15) { 2 } else { 1 },
            drive: rng.percent(10),
            slots: 2 + rng.below(11) as u16,
            window: 1 + rng.below(4) as u16,
            buf_bytes: rng.pick(&[4096, 4096, 8192]),
            io_align_bytes,
            discard_align_bytes,
            fua: rng.percent(40),
            write_cache: rng.percent(80),
            sector_bytes,
            tags: rng.pick(&[32, 32, 8, 4]),
            faults: None,
        }
    }
}
