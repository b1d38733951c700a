//! Replies of the server, encoded.

use super::header::{Header, HeaderFlags};
use super::layout::{
    DeviceInfo, IrqInfo, RawDeviceInfo, RawDmaUnmap, RawIndexed, RawRegionAccess, RawRegionInfo,
    RegionInfo,
};
use super::request::{DmaUnmap, RegionAccess};
use rustix::io::Errno;
use zerocopy::IntoBytes;

/// What a successful reply carries.
#[derive(Debug, Clone, Copy)]
pub enum Reply<'a> {
    /// Nothing: DMA_MAP, DEVICE_SET_IRQS, DEVICE_RESET.
    Empty,
    /// The version's payload, from [`super::VersionRequest::answer`].
    Version(&'a [u8]),
    /// The range that was unmapped, as it was requested.
    DmaUnmap(DmaUnmap),
    /// DEVICE_GET_INFO.
    DeviceInfo(DeviceInfo),
    /// DEVICE_GET_REGION_INFO.
    RegionInfo(RegionInfo),
    /// DEVICE_GET_REGION_IO_FDS: the region has no such descriptors.
    NoRegionIoFds {
        /// Index of the region.
        index: u32,
    },
    /// DEVICE_GET_IRQ_INFO.
    IrqInfo(IrqInfo),
    /// REGION_READ, with the data.
    RegionRead(RegionAccess, &'a [u8]),
    /// REGION_WRITE.
    RegionWrite(RegionAccess),
    /// REGION_WRITE_MULTI: how many writes were done.
    RegionWriteMulti(u64),
}

/// Replaces `out` by the reply to the command with this header.
pub fn encode_reply(out: &mut Vec<u8>, command: &Header, reply: &Reply<'_>) {
    out.clear();
    out.extend([0; Header::SIZE]);
    encode_payload(out, reply);
    let header = Header {
        id: command.id,
        command: command.command,
        // No reply is longer than a header and MAX_PAYLOAD, which fits.
        size: out.len() as u32,
        flags: HeaderFlags::REPLY,
        error: 0,
    };
    out[..Header::SIZE].copy_from_slice(&header.encode());
}

/// Replaces `out` by an error reply to the command with this header.
pub fn encode_error(out: &mut Vec<u8>, command: &Header, errno: Errno) {
    out.clear();
    let header = Header {
        id: command.id,
        command: command.command,
        size: Header::SIZE as u32,
        flags: HeaderFlags::REPLY | HeaderFlags::ERROR,
        error: errno.raw_os_error().unsigned_abs(),
    };
    out.extend(header.encode());
}

fn encode_payload(out: &mut Vec<u8>, reply: &Reply<'_>) {
    match *reply {
        Reply::Empty => {}
        Reply::Version(payload) => out.extend(payload),
        Reply::DmaUnmap(unmap) => {
            let raw = RawDmaUnmap {
                argsz: (size_of::<RawDmaUnmap>() as u32).into(),
                flags: unmap.flags.bits().into(),
                address: unmap.address.into(),
                size: unmap.size.into(),
            };
            out.extend(raw.as_bytes());
        }
        Reply::DeviceInfo(info) => {
            let raw = RawDeviceInfo {
                argsz: (size_of::<RawDeviceInfo>() as u32).into(),
                flags: info.flags.bits().into(),
                num_regions: info.num_regions.into(),
                num_irqs: info.num_irqs.into(),
            };
            out.extend(raw.as_bytes());
        }
        Reply::RegionInfo(info) => {
            let raw = RawRegionInfo {
                argsz: (size_of::<RawRegionInfo>() as u32).into(),
                flags: info.flags.bits().into(),
                index: info.index.into(),
                cap_offset: 0.into(),
                size: info.size.into(),
                offset: 0.into(),
            };
            out.extend(raw.as_bytes());
        }
        Reply::NoRegionIoFds { index } => out.extend(indexed(0, index, 0).as_bytes()),
        Reply::IrqInfo(info) => {
            out.extend(indexed(info.flags.bits(), info.index, info.count).as_bytes());
        }
        Reply::RegionRead(access, data) => {
            out.extend(raw_access(access, data.len() as u32).as_bytes());
            out.extend(data);
        }
        Reply::RegionWrite(access) => out.extend(raw_access(access, access.count).as_bytes()),
        Reply::RegionWriteMulti(done) => out.extend(done.to_le_bytes()),
    }
}

fn indexed(flags: u32, index: u32, count: u32) -> RawIndexed {
    RawIndexed {
        argsz: (size_of::<RawIndexed>() as u32).into(),
        flags: flags.into(),
        index: index.into(),
        count: count.into(),
    }
}

fn raw_access(access: RegionAccess, count: u32) -> RawRegionAccess {
    RawRegionAccess {
        offset: access.offset.into(),
        region: access.region.into(),
        count: count.into(),
    }
}
