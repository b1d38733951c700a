//! IDENTIFY PACKET DEVICE (ACS-4, command A1h).

use super::Drive;
use super::config::put_ascii;

/// Bits 15:14 of a word that holds flags: 01b says that the word means something.
const VALID: u16 = 1 << 14;

// Words 82 and 85.
const NOP: u16 = 1 << 14;
const DEVICE_RESET: u16 = 1 << 9;
const PACKET: u16 = 1 << 4;
const POWER_MANAGEMENT: u16 = 1 << 3;
/// Words 84 and 87.
const WORLD_WIDE_NAME: u16 = 1 << 8;
// Words 78 and 79.
const NOTIFICATION: u16 = 1 << 5;
const SETTINGS_PRESERVATION: u16 = 1 << 6;

impl Drive {
    /// The 512 bytes.
    pub(crate) fn identify_data(&self) -> [u8; 512] {
        let mut data = [0; 512];
        let (pairs, _) = data.as_chunks_mut::<2>();
        for (pair, word) in pairs.iter_mut().zip(self.identify_words()) {
            *pair = word.to_le_bytes();
        }
        data[510] = 0xa5;
        let sum = data[..511].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        data[511] = sum.wrapping_neg();
        data
    }

    fn identify_words(&self) -> [u16; 256] {
        let (config, settings) = (&self.config, &self.settings);
        let mut words = [0; 256];
        // A packet device, of the CD/DVD class, removable, DRQ within 50 us, packets of 12 bytes.
        words[0] = 0b10 << 14 | 0x05 << 8 | 1 << 7 | 0b10 << 5;
        put_string(&mut words[10..20], &config.serial);
        put_string(&mut words[23..27], &config.firmware);
        let mut model = [b' '; 40];
        put_ascii(&mut model[..8], &config.vendor);
        put_ascii(&mut model[9..25], &config.product);
        put_bytes(&mut words[27..47], &model);
        // IORDY, LBA, DMA.
        words[49] = 1 << 11 | 1 << 9 | 1 << 8;
        words[50] = VALID;
        // Words 88 and 64 to 70 are valid.
        words[53] = 0b110;
        // Multiword DMA 0 to 2 and Ultra DMA 0 to 6; the one that is selected in the upper byte.
        words[63] = 0x0007;
        words[88] = 0x007f;
        let selected = 1 << (8 + (settings.dma_mode & 0x07));
        words[if settings.dma_mode & 0x40 != 0 { 88 } else { 63 }] |= selected;
        words[64] = 0x0003;
        words[65..69].fill(120);
        words[76] = 0b1110;
        words[77] = u16::from(config.sata_generation) << 1;
        words[78] = NOTIFICATION | SETTINGS_PRESERVATION;
        words[79] = if settings.notification { NOTIFICATION } else { 0 }
            | if settings.preserve { SETTINGS_PRESERVATION } else { 0 };
        words[80] = 0x0ff0;
        words[81] = 0x005e;
        let wwn = if config.wwn.is_some() { WORLD_WIDE_NAME } else { 0 };
        words[82] = NOP | DEVICE_RESET | PACKET | POWER_MANAGEMENT;
        words[83] = VALID;
        words[84] = VALID | wwn;
        words[85] = words[82];
        words[87] = VALID | wwn;
        if let Some(wwn) = config.wwn {
            for (index, word) in words[108..112].iter_mut().enumerate() {
                *word = (wwn >> (48 - 16 * index)) as u16;
            }
        }
        // A serial transport: SATA, revisions 1.0a to 3.2 (bits 1 to 7) and ATA8-AST (bit 0).
        words[222] = 0x10ff;
        words
    }
}

/// ATA strings have two characters in a word, the first in its upper byte.
fn put_string(words: &mut [u16], text: &str) {
    let mut bytes = [b' '; 40];
    put_ascii(&mut bytes, text);
    put_bytes(words, &bytes);
}

fn put_bytes(words: &mut [u16], bytes: &[u8]) {
    let (pairs, _) = bytes.as_chunks::<2>();
    for (word, pair) in words.iter_mut().zip(pairs) {
        *word = u16::from_be_bytes(*pair);
    }
}
