//! The vfio-user protocol's messages: bytes to typed requests, replies to bytes. No I/O.
//!
//! The specification is *vfio-user Protocol Specification*, version 0.9.2 (in QEMU's tree as
//! `docs/interop/vfio-user.rst`); sections are cited by their titles. All integers are little
//! endian: peers share a machine, and both that this project serves are.
//!
//! A [`Header`] is decoded first. It bounds the message: [`Header::payload_len`] refuses whatever
//! is larger than [`MAX_PAYLOAD`]. [`Request::decode`] then turns header and payload into a value
//! that borrows from the payload; nothing is allocated by a count that the peer chose.
//!
//! Left out: requests from the server to the client (DMA_READ, DMA_WRITE), migration, region
//! capabilities (no region can be mapped), the twin socket.

mod header;
mod layout;
mod reply;
mod request;
mod version;

pub use header::{Command, Header, HeaderError, HeaderFlags};
pub use layout::{
    DeviceFlags, DeviceInfo, IrqInfo, IrqInfoFlags, IrqSetFlags, RegionFlags, RegionInfo,
};
pub use reply::{Reply, encode_error, encode_reply};
pub use request::{
    DmaMap, DmaMapFlags, DmaUnmap, DmaUnmapFlags, IrqAction, IrqData, PayloadError, RegionAccess,
    Request, SetIrqs, SingleWrite, WriteMulti,
};
pub use version::{Capabilities, VersionRequest};

/// The protocol version this server speaks (section *VFIO_USER_VERSION*).
pub const VERSION: (u16, u16) = (0, 1);

/// The largest `count` of a region access that is accepted; what the specification gives as the
/// default of `max_data_xfer_size`.
pub const MAX_DATA_XFER: usize = 1 << 20;

/// The largest payload of any message: a region write of [`MAX_DATA_XFER`] bytes.
pub const MAX_PAYLOAD: usize = 16 + MAX_DATA_XFER;

/// The most file descriptors that one message may carry: an eventfd for each interrupt message.
pub const MAX_FDS: usize = 32;

/// What is told to the peer of that (capability `max_msg_fds`): QEMU refuses a peer that says more than
/// 16, and sends more in several messages. Not every client listens.
pub const AGREED_FDS: usize = 8;

/// The most DMA ranges at a time; the specification's default of `max_dma_maps`.
pub const MAX_DMA_MAPS: usize = 65_535;

/// The page size of DMA ranges (capability `pgsizes`).
pub const PAGE_SIZE: u64 = 4096;

/// The most writes in one REGION_WRITE_MULTI; QEMU sends up to 200.
pub const MAX_MULTI_WRITES: usize = 512;

#[cfg(test)]
mod tests;
