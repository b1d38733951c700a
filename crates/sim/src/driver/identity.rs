//! What a disk says in its IDENTIFY DEVICE data, and in the NCQ error log.

/// The part of IDENTIFY DEVICE that a driver needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Model number.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Logical sectors.
    pub sectors: u64,
    /// Logical sector size in bytes.
    pub sector_bytes: u32,
    /// Depth of native command queueing.
    pub queue_depth: u8,
    /// TRIM is supported.
    pub trim: bool,
    /// What was trimmed reads as zeroes.
    pub trim_reads_zeroes: bool,
}

impl Identity {
    /// Reads the 512 bytes.
    pub fn parse(data: &[u8]) -> Self {
        let (pairs, _) = data.as_chunks::<2>();
        let word = |index: usize| pairs.get(index).map_or(0, |pair| u16::from_le_bytes(*pair));
        let quad = |first: usize| {
            (0..4).map(|index| u64::from(word(first + index)) << (16 * index)).sum::<u64>()
        };
        let text = |words: std::ops::Range<usize>| {
            let bytes: Vec<u8> = words.flat_map(|index| word(index).to_be_bytes()).collect();
            String::from_utf8_lossy(&bytes).trim().to_owned()
        };
        let large = word(106) >> 12 & 0b1101 == 0b0101;
        let sector_words = u32::from(word(118)) << 16 | u32::from(word(117));
        Self {
            model: text(27..47),
            serial: text(10..20),
            sectors: quad(100),
            sector_bytes: if large { sector_words * 2 } else { 512 },
            queue_depth: (word(75) & 0x1f) as u8 + 1,
            trim: word(169) & 1 != 0,
            trim_reads_zeroes: word(69) & (1 << 14 | 1 << 5) == 1 << 14 | 1 << 5,
        }
    }
}

/// The NCQ command error log, log 10h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NcqError {
    /// The tag that failed; `None` if it was not a queued command.
    pub tag: Option<u8>,
    /// Status register.
    pub status: u8,
    /// Error register.
    pub error: u8,
    /// LBA registers.
    pub lba: u64,
}

impl NcqError {
    /// Reads the page; `None` if its checksum is wrong.
    pub fn parse(page: &[u8]) -> Option<Self> {
        let page: &[u8; 512] = page.first_chunk()?;
        if page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
            return None;
        }
        let lba = [page[4], page[5], page[6], page[8], page[9], page[10], 0, 0];
        Some(Self {
            tag: (page[0] & 0x80 == 0).then_some(page[0] & 0x1f),
            status: page[2],
            error: page[3],
            lba: u64::from_le_bytes(lba),
        })
    }
}
