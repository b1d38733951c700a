//! The header that each message begins with.

use super::MAX_PAYLOAD;
use thiserror::Error;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

bitflags::bitflags! {
    /// The `Flags` field of the header (section *Header*).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct HeaderFlags: u32 {
        /// Type is *Reply*; without it, *Command*.
        const REPLY = 1;
        /// The sender of the command wants no reply.
        const NO_REPLY = 1 << 4;
        /// The reply reports an error, and carries no payload.
        const ERROR = 1 << 5;
    }
}

/// The four bits of `Flags` that are the type of the message.
const TYPE_MASK: u32 = 0xf;

/// The numbers of the commands (section *Commands*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[expect(missing_docs, reason = "the names are the specification's, and say it all")]
pub enum Command {
    Version = 1,
    DmaMap = 2,
    DmaUnmap = 3,
    DeviceGetInfo = 4,
    DeviceGetRegionInfo = 5,
    DeviceGetRegionIoFds = 6,
    DeviceGetIrqInfo = 7,
    DeviceSetIrqs = 8,
    RegionRead = 9,
    RegionWrite = 10,
    DmaRead = 11,
    DmaWrite = 12,
    DeviceReset = 13,
    RegionWriteMulti = 15,
    DeviceFeature = 16,
    MigDataRead = 17,
    MigDataWrite = 18,
}

impl Command {
    /// The command of a number, if there is one.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Version,
            2 => Self::DmaMap,
            3 => Self::DmaUnmap,
            4 => Self::DeviceGetInfo,
            5 => Self::DeviceGetRegionInfo,
            6 => Self::DeviceGetRegionIoFds,
            7 => Self::DeviceGetIrqInfo,
            8 => Self::DeviceSetIrqs,
            9 => Self::RegionRead,
            10 => Self::RegionWrite,
            11 => Self::DmaRead,
            12 => Self::DmaWrite,
            13 => Self::DeviceReset,
            15 => Self::RegionWriteMulti,
            16 => Self::DeviceFeature,
            17 => Self::MigDataRead,
            18 => Self::MigDataWrite,
            _ => return None,
        })
    }
}

/// The header of a message (section *Header*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the sender of the command, echoed in the reply.
    pub id: u16,
    /// The command's number; see [`Command`].
    pub command: u16,
    /// Size of the whole message, header included.
    pub size: u32,
    /// Type, no-reply and error.
    pub flags: HeaderFlags,
    /// In a reply with [`HeaderFlags::ERROR`], an errno.
    pub error: u32,
}

/// Why a header cannot be that of a message. The stream is not to be trusted from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The size does not even cover the header.
    #[error("message size {0} is less than a header's")]
    TooShort(u32),
    /// The size is larger than any message may be.
    #[error("message size {0} is larger than any message may be")]
    TooLong(u32),
    /// The type bits are neither command nor reply.
    #[error("unknown message type {0}")]
    Type(u32),
}

/// The header's layout in memory.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    id: U16,
    command: U16,
    size: U32,
    flags: U32,
    error: U32,
}

impl Header {
    /// Size of a header in bytes.
    pub const SIZE: usize = 16;

    /// Decodes a header and checks what concerns the stream: its size and its type.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, HeaderError> {
        let raw: Raw = zerocopy::transmute!(*bytes);
        let size = raw.size.get();
        let payload = (size as usize).checked_sub(Self::SIZE).ok_or(HeaderError::TooShort(size))?;
        if payload > MAX_PAYLOAD {
            return Err(HeaderError::TooLong(size));
        }
        let flags = raw.flags.get();
        let kind = flags & TYPE_MASK;
        if kind > HeaderFlags::REPLY.bits() {
            return Err(HeaderError::Type(kind));
        }
        Ok(Self {
            id: raw.id.get(),
            command: raw.command.get(),
            size,
            // Reserved bits are ignored, as the specification's own implementation does.
            flags: HeaderFlags::from_bits_truncate(flags),
            error: raw.error.get(),
        })
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let raw = Raw {
            id: self.id.into(),
            command: self.command.into(),
            size: self.size.into(),
            flags: self.flags.bits().into(),
            error: self.error.into(),
        };
        zerocopy::transmute!(raw)
    }

    /// How many bytes follow the header; at most [`MAX_PAYLOAD`].
    #[must_use]
    pub fn payload_len(&self) -> usize {
        (self.size as usize).saturating_sub(Self::SIZE).min(MAX_PAYLOAD)
    }

    /// Whether the message is a reply.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        self.flags.contains(HeaderFlags::REPLY)
    }

    /// Whether the sender wants no reply.
    #[must_use]
    pub fn no_reply(&self) -> bool {
        self.flags.contains(HeaderFlags::NO_REPLY)
    }
}
