//! IDENTIFY DEVICE (ACS-4, command ECh): the 256 words by which a disk says what it is.

use super::Disk;
use super::command::{Call, Reply};
use super::config::Rotation;
use super::trim;
use crate::Link;

/// Bits 15:14 of a word that holds flags: 01b says that the word means something.
const VALID: u16 = 1 << 14;

// Words 82 and 85: command sets supported, enabled.
const NOP: u16 = 1 << 14;
const LOOK_AHEAD: u16 = 1 << 6;
const WRITE_CACHE: u16 = 1 << 5;
const POWER_MANAGEMENT: u16 = 1 << 3;
const SMART: u16 = 1 << 0;
// Words 83 and 86.
const FLUSH_CACHE_EXT: u16 = 1 << 13;
const FLUSH_CACHE: u16 = 1 << 12;
const LBA_48: u16 = 1 << 10;
/// Word 86: words 119 and 120 are valid.
const WORDS_119_120: u16 = 1 << 15;
// Words 84 and 87.
const WORLD_WIDE_NAME: u16 = 1 << 8;
const FUA_EXT: u16 = 1 << 6;
const LOGGING: u16 = 1 << 5;
const SMART_SELF_TEST: u16 = 1 << 1;
const SMART_ERROR_LOGGING: u16 = 1 << 0;
/// Words 119 and 120: READ and WRITE LOG DMA EXT.
const LOG_DMA: u16 = 1 << 3;
/// Words 78 and 79: software settings preservation.
const SETTINGS_PRESERVATION: u16 = 1 << 6;
/// The same: device sleep.
const DEVICE_SLEEP: u16 = 1 << 8;

/// IDENTIFY DEVICE.
pub(crate) fn identify_device(disk: &mut Disk, _call: &Call, _link: &mut dyn Link) -> Reply {
    Reply::Data(disk.identify_data().to_vec())
}

impl Disk {
    /// The 512 bytes of IDENTIFY DEVICE data.
    pub(crate) fn identify_data(&self) -> [u8; 512] {
        let words = self.identify_words();
        let mut data = [0; 512];
        let (pairs, _) = data.as_chunks_mut::<2>();
        for (pair, word) in pairs.iter_mut().zip(words) {
            *pair = word.to_le_bytes();
        }
        // Integrity word: the signature, and what makes the sum of all bytes zero.
        data[510] = 0xa5;
        let sum = data[..511].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        data[511] = sum.wrapping_neg();
        data
    }

    pub(crate) fn identify_words(&self) -> [u16; 256] {
        let mut words = [0; 256];
        self.put_identity(&mut words);
        self.put_capacity(&mut words);
        self.put_transfer_modes(&mut words);
        self.put_features(&mut words);
        self.put_uncorrectable_words(&mut words);
        self.put_security_words(&mut words);
        self.put_protected_area_words(&mut words);
        self.put_sanitize_words(&mut words);
        self.put_non_data_words(&mut words);
        self.put_send_receive_words(&mut words);
        self.put_power_words(&mut words);
        self.put_buffer_words(&mut words);
        words
    }

    fn put_identity(&self, words: &mut [u16; 256]) {
        let config = &self.config;
        // An ATA device (bit 15 clear) with complete data (bit 2 clear); bit 6 is what ATA-3 called
        // a fixed disk.
        words[0] = 1 << 6;
        put_string(&mut words[10..20], &config.serial);
        put_string(&mut words[23..27], &config.firmware);
        put_string(&mut words[27..47], &config.model);
        // ATA/ATAPI-4 to ACS-4; ACS-4 revision 5 (T13/BSR INCITS 529).
        words[80] = 0x0ff0;
        words[81] = 0x005e;
        if let Some(wwn) = config.wwn {
            for (index, word) in words[108..112].iter_mut().enumerate() {
                *word = (wwn >> (48 - 16 * index)) as u16;
            }
        }
        words[217] = match config.rotation {
            Rotation::Ssd => 1,
            // 0000h, 0002h to 0400h and FFFFh mean nothing or are reserved.
            Rotation::Rpm(rpm @ 0x0401..=0xfffe) => rpm,
            Rotation::Rpm(_) => 0,
        };
        // A serial transport: SATA, revisions 1.0a to 3.2 (bits 1 to 7) and ATA8-AST (bit 0).
        words[222] = 0x10ff;
    }

    fn put_capacity(&self, words: &mut [u16; 256]) {
        let sectors = self.shape.sectors;
        // CHS, obsolete, in the default and in the current translation (valid by word 53 bit 0).
        let default = super::settings::Geometry::of_disk(sectors);
        words[1] = default.cylinders;
        words[3] = u16::from(default.heads);
        words[6] = u16::from(default.sectors_per_track);
        let current = self.settings.geometry;
        words[54] = current.cylinders;
        words[55] = u16::from(current.heads);
        words[56] = u16::from(current.sectors_per_track);
        let reachable = u64::from(current.capacity()).min(sectors) as u32;
        put_u32(&mut words[57..59], reachable);
        put_u32(&mut words[60..62], sectors.min(0x0fff_ffff) as u32);
        // 48 bits cannot say 2^48 itself, so the very last sector of such a disk goes unsaid.
        let sectors = sectors.min((1 << 48) - 1);
        put_u32(&mut words[100..102], sectors as u32);
        put_u32(&mut words[102..104], (sectors >> 32) as u32);
        let logical = self.shape.sector_bytes;
        let physical = self.config.physical_sector_bytes / logical;
        words[106] = VALID | physical.trailing_zeros() as u16;
        if physical > 1 {
            words[106] |= 1 << 13;
        }
        if logical > 512 {
            words[106] |= 1 << 12;
            put_u32(&mut words[117..119], logical / 2);
        }
        // LBA 0 is at the start of a physical sector.
        words[209] = VALID;
    }

    fn put_transfer_modes(&self, words: &mut [u16; 256]) {
        words[47] = 0x8000 | u16::from(self.shape.multiple_max);
        // Standby timer as the standard has it, IORDY (may be disabled), LBA, DMA.
        words[49] = 1 << 13 | 1 << 11 | 1 << 10 | 1 << 9 | 1 << 8;
        words[50] = VALID;
        // Words 88, 64 to 70, and 54 to 58 are valid.
        words[53] = 0b111;
        words[59] = 1 << 8 | u16::from(self.settings.multiple);
        // Multiword DMA 0 to 2 and Ultra DMA 0 to 6; the one that is selected in the upper byte.
        words[63] = 0x0007;
        words[88] = 0x007f;
        let mode = self.settings.dma_mode;
        let selected = 1 << (8 + (mode & 0x07));
        words[if mode & 0x40 != 0 { 88 } else { 63 }] |= selected;
        // PIO 3 and 4, and cycles of 120 ns wherever a cycle time is asked for.
        words[64] = 0x0003;
        words[65..69].fill(120);
    }

    fn put_features(&self, words: &mut [u16; 256]) {
        let settings = &self.settings;
        // Trusted computing: none.
        words[48] = VALID;
        if self.shape.trim {
            words[169] = 1;
            words[105] = trim::MAX_BLOCKS;
            words[69] |= if self.shape.trim_is_deterministic { 1 << 14 } else { 0 };
            words[69] |= if self.shape.trim_reads_zeroes { 1 << 5 } else { 0 };
        }
        words[75] = u16::from(self.config.queue_depth - 1);
        // READ LOG DMA EXT is as good as READ LOG EXT, Phy event counters, native command queueing,
        // generations 1 to 3.
        words[76] = 1 << 15 | 1 << 10 | 1 << 8 | 0b1110;
        words[77] = u16::from(self.config.sata_generation) << 1;
        words[78] = SETTINGS_PRESERVATION | DEVICE_SLEEP;
        words[79] = if settings.preserve { SETTINGS_PRESERVATION } else { 0 };
        words[79] |= if settings.device_sleep { DEVICE_SLEEP } else { 0 };

        let wwn = if self.config.wwn.is_some() { WORLD_WIDE_NAME } else { 0 };
        words[82] = NOP | LOOK_AHEAD | WRITE_CACHE | POWER_MANAGEMENT | SMART;
        words[83] = VALID | FLUSH_CACHE_EXT | FLUSH_CACHE | LBA_48;
        words[84] = VALID | wwn | FUA_EXT | LOGGING | SMART_SELF_TEST | SMART_ERROR_LOGGING;
        words[85] = NOP | POWER_MANAGEMENT;
        words[85] |= if self.smart.enabled { SMART } else { 0 };
        words[85] |= if settings.look_ahead { LOOK_AHEAD } else { 0 };
        words[85] |= if settings.write_cache { WRITE_CACHE } else { 0 };
        words[86] = WORDS_119_120 | FLUSH_CACHE_EXT | FLUSH_CACHE | LBA_48;
        words[87] = words[84];
        words[119] = VALID | LOG_DMA;
        words[120] = VALID | LOG_DMA;
        // Zero, and meant: 93 (hardware reset results, a parallel matter), 206 (no SCT), 168 (form
        // factor not reported).
    }
}

/// Puts the low word first.
fn put_u32(words: &mut [u16], value: u32) {
    words[0] = value as u16;
    words[1] = (value >> 16) as u16;
}

/// ATA strings: printable ASCII, two characters in a word, the first in its upper byte, padded with
/// spaces on the right (ACS-4, 3.4.9).
fn put_string(words: &mut [u16], text: &str) {
    let printable =
        text.chars().map(|char| if matches!(char, ' '..='~') { char as u8 } else { b'?' });
    let mut bytes = printable.chain(core::iter::repeat(b' '));
    for word in words {
        let mut next = || u16::from(bytes.next().unwrap_or(b' '));
        *word = next() << 8 | next();
    }
}
