//! The errors of guest memory: what an access may answer, and why a mapping is refused.
//!
//! Errors of the codec are in [`crate::codec`], those of the socket in [`crate::server`].

use rustix::io::Errno;
use thiserror::Error;

/// Why an access to guest memory did not happen. None of its bytes were read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DmaError {
    /// The guest has not set Bus Master Enable, or put the function into D3hot.
    #[error("the function may not master the bus (Bus Master Enable is off, or it is in D3hot)")]
    BusMasterDisabled,
    /// The range runs past the end of the address space.
    #[error("the range at {address:#x} wraps around the address space")]
    Wraps {
        /// Where the access began.
        address: u64,
    },
    /// No mapping covers this address.
    #[error("no memory is mapped at {address:#x}")]
    Unmapped {
        /// The first address that is not mapped.
        address: u64,
    },
    /// The memory is there, but came without a file descriptor.
    #[error("memory at {address:#x} came without a descriptor (is it share=on?)")]
    Unreachable {
        /// An address in the range that cannot be reached.
        address: u64,
    },
    /// The mapping does not allow this kind of access.
    #[error("memory at {address:#x} may not be {}", if *.write { "written" } else { "read" })]
    Denied {
        /// An address in the mapping that refuses.
        address: u64,
        /// Whether the access was a write.
        write: bool,
    },
}

/// Why a DMA_MAP or DMA_UNMAP was refused. The map is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MapError {
    /// A size of zero.
    #[error("the range is empty")]
    Empty,
    /// Address, size or file offset is no multiple of the page size.
    #[error("address, size or offset is not a multiple of 4096")]
    Misaligned,
    /// Address or offset plus size does not fit into 64 bits.
    #[error("the range wraps around the address space")]
    Wraps,
    /// Flags that are unknown, or that allow neither reading nor writing.
    #[error("the flags make no sense or ask for something unsupported")]
    Flags,
    /// Part of the range is mapped already.
    #[error("the range overlaps one that is mapped")]
    Overlaps,
    /// The range of an unmap cuts a mapping in two.
    #[error("the range cuts a mapping in two")]
    Bisects,
    /// There are [`crate::codec::MAX_DMA_MAPS`] mappings already.
    #[error("too many mappings")]
    TooMany,
    /// The file behind the descriptor ends before the range does.
    #[error("the file is shorter than the range")]
    FileTooShort,
    /// The descriptor is not a file with a size.
    #[error("the descriptor is not a regular file")]
    NotAFile,
    /// The file could not be examined or mapped.
    #[error("the file could not be mapped: {0}")]
    Os(#[from] Errno),
}

impl MapError {
    /// The errno for the reply.
    #[must_use]
    pub fn errno(self) -> Errno {
        match self {
            Self::Overlaps => Errno::EXIST,
            Self::TooMany => Errno::NOSPC,
            Self::Os(errno) => errno,
            Self::Empty
            | Self::Misaligned
            | Self::Wraps
            | Self::Flags
            | Self::Bisects
            | Self::FileTooShort
            | Self::NotAFile => Errno::INVAL,
        }
    }
}
