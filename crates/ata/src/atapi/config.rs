//! What a drive says about itself.

use alloc::string::String;

/// Everything about a drive but its medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveConfig {
    /// Serial number; 20 characters are reported.
    pub serial: String,
    /// Vendor; 8 characters are reported.
    pub vendor: String,
    /// Product; 16 characters are reported.
    pub product: String,
    /// Firmware revision; 4 characters are reported to packet commands, 8 to IDENTIFY.
    pub firmware: String,
    /// World Wide Name (NAA, 64 bits), if the drive has one.
    pub wwn: Option<u64>,
    /// The generation of the SATA link: 1, 2 or 3 (1.5, 3 or 6 Gb/s), reported as current.
    pub sata_generation: u8,
}

impl Default for DriveConfig {
    fn default() -> Self {
        Self {
            serial: String::from("FW00000000"),
            vendor: String::from("FREEWHL"),
            product: String::from("BD-ROM"),
            firmware: String::from(env!("CARGO_PKG_VERSION")),
            wwn: None,
            sata_generation: 3,
        }
    }
}

/// Printable ASCII, padded with spaces, at the start of `field` (SPC-3, 4.4.1).
pub(crate) fn put_ascii(field: &mut [u8], text: &str) {
    let printable =
        text.chars().map(|char| if matches!(char, ' '..='~') { char as u8 } else { b'?' });
    for (byte, char) in field.iter_mut().zip(printable.chain(core::iter::repeat(b' '))) {
        *byte = char;
    }
}
