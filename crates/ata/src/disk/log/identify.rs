//! IDENTIFY DEVICE data log (ACS-4, log 30h; page 08h: SATA 3.x): what IDENTIFY DEVICE says, in
//! fields of 64 bits. Everything is taken from the IDENTIFY DEVICE words, so both say the same.
//!
//! | page | content |
//! |---|---|
//! | 00h | list of pages |
//! | 01h | copy of IDENTIFY DEVICE data |
//! | 02h | capacity |
//! | 03h | supported capabilities |
//! | 04h | current settings |
//! | 05h | strings |
//! | 06h | security |
//! | 08h | serial ATA |
//!
//! Page 07h is of parallel ATA; it is not there, and reads as zero.

use super::{PAGE_BYTES, Page};
use crate::disk::Disk;

/// One more than the highest page.
pub(super) const PAGES: u16 = 9;
const LIST: [u8; 8] = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x08];

/// A quad word means something.
const VALID: u64 = 1 << 63;

type Words = [u16; 256];

/// A bit of a quad word, and the word and bit of IDENTIFY DEVICE data that it comes from.
type Bit = (u8, usize, u8);

/// Page 03h, supported capabilities.
#[rustfmt::skip]
const CAPABILITIES: &[Bit] = &[
    (44, 119, 9), (41, 119, 8), (39, 69, 14), (38, 69, 13), (36, 69, 11), (35, 69, 10),
    (33, 69, 8), (32, 69, 6), (31, 69, 5), (29, 82, 14), (28, 82, 13), (27, 82, 12),
    (25, 82, 6), (24, 82, 5), (23, 82, 0), (22, 83, 13), (20, 83, 10), (18, 83, 6),
    (17, 83, 5), (16, 83, 3), (14, 83, 0), (13, 84, 13), (12, 84, 6), (11, 84, 5),
    (10, 84, 4), (8, 84, 1), (7, 84, 0), (6, 119, 7), (5, 119, 6), (4, 119, 5),
    (3, 119, 4), (2, 119, 3), (1, 119, 2), (0, 119, 1),
];
/// Page 04h, current settings.
#[rustfmt::skip]
const SETTINGS: &[Bit] = &[
    (16, 120, 9), (15, 120, 7), (13, 85, 5), (10, 120, 6), (8, 69, 2), (7, 85, 6), (6, 85, 0),
    (3, 86, 5), (2, 86, 3), (1, 120, 5), (0, 120, 1),
];
/// Page 06h, security status.
const SECURITY: &[Bit] =
    &[(6, 128, 0), (5, 128, 8), (4, 128, 5), (3, 128, 4), (2, 128, 3), (1, 128, 2), (0, 128, 1)];
/// Page 06h, security capabilities: sanitize, and encryption of everything.
#[rustfmt::skip]
const SANITIZE: &[Bit] = &[
    (6, 59, 11), (5, 59, 10), (4, 59, 15), (3, 59, 14), (2, 59, 13), (1, 59, 12), (0, 69, 4),
];
/// Page 08h, SATA capabilities.
#[rustfmt::skip]
const SATA: &[Bit] = &[
    (29, 78, 11), (27, 78, 9), (26, 77, 7), (25, 78, 8), (24, 78, 7), (23, 78, 6), (22, 78, 5),
    (21, 78, 4), (20, 78, 3), (19, 78, 2), (18, 78, 1), (17, 77, 6), (16, 77, 5), (15, 77, 4),
    (14, 76, 15), (13, 76, 14), (12, 76, 13), (11, 76, 12), (10, 76, 11), (9, 76, 10),
    (8, 76, 9), (7, 76, 8), (2, 76, 3), (1, 76, 2), (0, 76, 1),
];
/// Page 08h, current SATA settings; bits 2:0 are the speed.
#[rustfmt::skip]
const SATA_SETTINGS: &[Bit] = &[
    (13, 79, 9), (12, 79, 11), (10, 79, 8), (9, 79, 7), (8, 79, 6), (7, 79, 5), (6, 79, 4),
    (5, 79, 3), (4, 79, 2), (3, 79, 1), (2, 77, 3), (1, 77, 2), (0, 77, 1),
];

/// A quad word of flags.
fn flags(words: &Words, bits: &[Bit]) -> u64 {
    let flag = |(to, word, from): &Bit| u64::from(words[*word] >> from & 1) << to;
    VALID | bits.iter().map(flag).fold(0, |flags, flag| flags | flag)
}

/// A number in a quad word.
fn number(value: impl Into<u64>) -> u64 {
    VALID | value.into()
}

/// A page starts with its number and revision.
fn header(number: u16) -> Page {
    let mut page = [0; PAGE_BYTES];
    put(&mut page, 0, VALID | u64::from(number) << 16 | 1);
    page
}

fn put(page: &mut Page, at: usize, quad_word: u64) {
    page[at..at + 8].copy_from_slice(&quad_word.to_le_bytes());
}

impl Disk {
    /// Page `page` of the log.
    pub(super) fn identify_page(&self, page: u16) -> Page {
        if page == 0x01 {
            return self.identify_data();
        }
        let words = self.identify_words();
        let fields = match page {
            0x00 => return list(),
            0x02 => self.capacity_fields(),
            0x03 => {
                let mut fields = capability_fields(&words);
                fields[0].1 |= self.zero_capability();
                fields.to_vec()
            }
            0x04 => self.setting_fields(&words).to_vec(),
            0x05 => return strings(&words),
            0x06 => security_fields(&words).to_vec(),
            0x08 => sata_fields(&words).to_vec(),
            _ => return [0; PAGE_BYTES],
        };
        let mut data = header(page);
        for (at, quad_word) in fields {
            put(&mut data, at, quad_word);
        }
        data
    }

    /// Page 02h: capacity and sector sizes. How large a buffer there is is not said.
    fn capacity_fields(&self) -> alloc::vec::Vec<(usize, u64)> {
        let physical = self.config.physical_sector_bytes / self.shape.sector_bytes;
        let relation = 1 << 62 | 1 << 61 | u64::from(physical.trailing_zeros()) << 16;
        alloc::vec![
            (8, number(self.shape.sectors)),
            (16, number(relation)),
            (24, number(self.shape.sector_bytes / 2)),
        ]
    }

    /// Page 04h. Reverting to power-on defaults (bit 11) is what no word tells.
    fn setting_fields(&self, words: &Words) -> [(usize, u64); 2] {
        let settings = flags(words, SETTINGS) | u64::from(self.settings.revert) << 11;
        // The level of advanced power management, where it is enabled.
        let apm = if words[86] >> 3 & 1 != 0 { words[91] & 0xff } else { 0 };
        [(8, settings), (16, number(apm << 8))]
    }
}

/// Page 00h: which pages there are.
fn list() -> Page {
    let mut page = header(0);
    page[8] = LIST.len() as u8;
    page[9..9 + LIST.len()].copy_from_slice(&LIST);
    page
}

/// Page 03h. What is not there keeps bit 63 clear.
fn capability_fields(words: &Words) -> [(usize, u64); 8] {
    let microcode = if words[83] & 1 != 0 {
        let offsets = u64::from(words[119] >> 4 & 1) << 32;
        VALID | 1 << 33 | offsets | u64::from(words[235]) << 16 | u64::from(words[234])
    } else {
        0
    };
    let wwn = words[108..112].iter().fold(0, |wwn, word| wwn << 16 | u64::from(*word));
    let has_wwn = words[84] >> 8 & 1 != 0;
    let form_factor = words[168] & 0xf;
    [
        (8, flags(words, CAPABILITIES)),
        (16, microcode),
        (24, number(words[217])),
        (32, if form_factor != 0 { number(form_factor) } else { 0 }),
        // The name has 128 bits, of which the upper half holds the flag.
        (56, wwn),
        (64, if has_wwn { VALID } else { 0 }),
        // DATA SET MANAGEMENT: TRIM.
        (72, number(words[169] & 1)),
        (136, number(words[75] & 0x1f)),
    ]
}

/// Page 05h: the strings as the words have them, two characters each.
fn strings(words: &Words) -> Page {
    let mut page = header(0x05);
    let strings = [(8, 10..20), (32, 23..27), (48, 27..47), (96, 170..174)];
    for (at, range) in strings {
        for (index, word) in words[range].iter().enumerate() {
            let at = at + index * 2;
            page[at..at + 2].copy_from_slice(&word.to_le_bytes());
        }
    }
    page
}

/// Page 06h.
fn security_fields(words: &Words) -> [(usize, u64); 6] {
    [
        // Master password identifier; times of an enhanced and a normal erase.
        (8, number(words[92])),
        (16, flags(words, SECURITY)),
        (24, number(words[90])),
        (32, number(words[89])),
        // Trusted computing.
        (40, number(words[48] & 1)),
        (48, flags(words, SANITIZE)),
    ]
}

/// Page 08h.
fn sata_fields(words: &Words) -> [(usize, u64); 3] {
    // Device sleep: the signal has to stand for 10 ms at least (bits 4:0), and the device is back
    // within 20 ms (bits 15:8) of its end. Those are what a host takes where a device says nothing
    // (AHCI 1.3.1, PxDEVSLP); here waking takes no time.
    const DEVICE_SLEEP_TIMING: u64 = VALID | 20 << 8 | 10;
    [(8, flags(words, SATA)), (16, flags(words, SATA_SETTINGS)), (48, DEVICE_SLEEP_TIMING)]
}
