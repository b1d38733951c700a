//! Sense data: why a packet command did not end well (SPC-3, section 4.5; MMC-6, annex F).

/// Length of the fixed format.
pub(crate) const SENSE_BYTES: usize = 18;

/// A sense key with its additional code and qualifier, and, for errors of the medium, where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sense {
    /// Sense key, four bits.
    pub(crate) key: u8,
    /// Additional sense code.
    pub(crate) asc: u8,
    /// Its qualifier.
    pub(crate) ascq: u8,
    /// The first logical block that the error is about.
    pub(crate) lba: Option<u32>,
}

const fn sense(key: u8, asc: u8, ascq: u8) -> Sense {
    Sense { key, asc, ascq, lba: None }
}

impl Sense {
    pub(crate) const NONE: Sense = sense(0x0, 0x00, 0x00);
    /// Medium not present, tray closed.
    pub(crate) const NO_MEDIUM: Sense = sense(0x2, 0x3a, 0x01);
    /// Medium not present, tray open.
    pub(crate) const TRAY_OPEN: Sense = sense(0x2, 0x3a, 0x02);
    /// Unrecovered read error.
    pub(crate) const READ_ERROR: Sense = sense(0x3, 0x11, 0x00);
    /// Internal target failure.
    pub(crate) const HARDWARE: Sense = sense(0x4, 0x44, 0x00);
    /// Parameter list length error.
    pub(crate) const LIST_LENGTH: Sense = sense(0x5, 0x1a, 0x00);
    /// Invalid command operation code.
    pub(crate) const INVALID_COMMAND: Sense = sense(0x5, 0x20, 0x00);
    /// Logical block address out of range.
    pub(crate) const OUT_OF_RANGE: Sense = sense(0x5, 0x21, 0x00);
    /// Invalid field in the command.
    pub(crate) const INVALID_FIELD: Sense = sense(0x5, 0x24, 0x00);
    /// Invalid field in the parameter list.
    pub(crate) const INVALID_PARAMETER: Sense = sense(0x5, 0x26, 0x00);
    /// Cannot read medium, incompatible format: the medium has no such structure.
    pub(crate) const INCOMPATIBLE_MEDIUM: Sense = sense(0x5, 0x30, 0x02);
    /// Saving parameters not supported.
    pub(crate) const NO_SAVING: Sense = sense(0x5, 0x39, 0x00);
    /// Medium removal prevented.
    pub(crate) const REMOVAL_PREVENTED: Sense = sense(0x5, 0x53, 0x02);
    /// Illegal mode for this track.
    pub(crate) const ILLEGAL_MODE: Sense = sense(0x5, 0x64, 0x00);
    /// Not ready to ready change, the medium may have changed.
    pub(crate) const MEDIUM_CHANGED: Sense = sense(0x6, 0x28, 0x00);
    /// Power on, reset, or bus device reset occurred.
    pub(crate) const RESET: Sense = sense(0x6, 0x29, 0x00);
    /// Logical unit communication CRC error.
    pub(crate) const LINK_CRC: Sense = sense(0xb, 0x08, 0x03);
    /// Data phase error: the host's buffer is too short, or not there.
    pub(crate) const DATA_PHASE: Sense = sense(0xb, 0x4b, 0x00);

    pub(crate) fn at(self, lba: u32) -> Sense {
        Sense { lba: Some(lba), ..self }
    }

    /// The fixed format (SPC-3, 4.5.3).
    pub(crate) fn encode(self) -> [u8; SENSE_BYTES] {
        let mut bytes = [0; SENSE_BYTES];
        bytes[0] = 0x70;
        if let Some(lba) = self.lba {
            // The INFORMATION field is valid.
            bytes[0] |= 0x80;
            bytes[3..7].copy_from_slice(&lba.to_be_bytes());
        }
        bytes[2] = self.key;
        bytes[7] = (SENSE_BYTES - 8) as u8;
        bytes[12] = self.asc;
        bytes[13] = self.ascq;
        bytes
    }
}
