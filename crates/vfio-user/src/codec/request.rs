//! Requests of the client, decoded.

use super::header::{Command, Header};
use super::layout::{
    IrqSetFlags, RawDeviceInfo, RawDmaMap, RawDmaUnmap, RawIndexed, RawRegionAccess, RawRegionInfo,
    RawSetIrqs, RawSingleWrite,
};
use super::version::VersionRequest;
use super::{MAX_DATA_XFER, MAX_MULTI_WRITES};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

bitflags::bitflags! {
    /// Section *VFIO_USER_DMA_MAP*.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct DmaMapFlags: u32 {
        /// The device may read the range.
        const READABLE = 1;
        /// The device may write the range.
        const WRITEABLE = 1 << 1;
    }

    /// Section *VFIO_USER_DMA_UNMAP*, and `<linux/vfio.h>`, which QEMU takes the values from.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct DmaUnmapFlags: u32 {
        /// Also report which pages were written. Not supported.
        const GET_DIRTY_BITMAP = 1;
        /// Remove everything; address and size are zero.
        const ALL = 1 << 1;
    }
}

/// Why the payload of a command is malformed. The stream itself is still in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// The payload ends before the structure does.
    #[error("payload of {got} bytes, at least {need} needed")]
    TooShort {
        /// What came.
        got: usize,
        /// What the command needs.
        need: usize,
    },
    /// `argsz` is less than the structure's size.
    #[error("argsz {0} is too small")]
    ArgSize(u32),
    /// A count in the payload disagrees with the payload's length.
    #[error("count {count} disagrees with a payload of {got} bytes")]
    Count {
        /// The count in the payload.
        count: u64,
        /// The payload's length.
        got: usize,
    },
    /// A count is larger than this server accepts.
    #[error("count {0} is too large")]
    TooMany(u64),
    /// Flags that contradict each other.
    #[error("bad flags {0:#x}")]
    Flags(u32),
    /// The capabilities are no JSON, or not of the specified form.
    #[error("malformed capabilities")]
    Capabilities,
}

/// A range to be mapped (section *VFIO_USER_DMA_MAP*). The file comes as a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaMap {
    /// What the device may do. Unknown bits are kept, to be refused.
    pub flags: DmaMapFlags,
    /// Where the range begins in the file.
    pub offset: u64,
    /// Where it begins in the device's address space.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// A range to be unmapped (section *VFIO_USER_DMA_UNMAP*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaUnmap {
    /// Variants of the request. Unknown bits are kept, to be refused.
    pub flags: DmaUnmapFlags,
    /// Where the range begins.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// Which bytes of which region (sections *VFIO_USER_REGION_READ*, *VFIO_USER_REGION_WRITE*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionAccess {
    /// Offset in the region.
    pub offset: u64,
    /// Index of the region.
    pub region: u32,
    /// How many bytes; at most [`MAX_DATA_XFER`].
    pub count: u32,
}

/// What to do with interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IrqAction {
    /// Hold them back.
    Mask,
    /// Let them through.
    Unmask,
    /// Trigger them, or say how they are triggered.
    Trigger,
}

/// What comes with a SET_IRQS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IrqData<'a> {
    /// Nothing: the action is unconditional.
    None,
    /// One byte a vector; zero means to leave it alone.
    Bool(&'a [u8]),
    /// Eventfds, among the message's descriptors; if there are none, to be de-assigned.
    EventFd,
}

/// Section *VFIO_USER_DEVICE_SET_IRQS*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetIrqs<'a> {
    /// Type of interrupt.
    pub index: u32,
    /// The first vector.
    pub start: u32,
    /// How many vectors.
    pub count: u32,
    /// What to do.
    pub action: IrqAction,
    /// With what.
    pub data: IrqData<'a>,
}

/// One write of a REGION_WRITE_MULTI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SingleWrite<'a> {
    /// Offset in the region.
    pub offset: u64,
    /// Index of the region.
    pub region: u32,
    /// Up to eight bytes.
    pub data: &'a [u8],
}

/// The writes of a REGION_WRITE_MULTI, in order; their counts have been checked.
#[derive(Debug, Clone, Copy)]
pub struct WriteMulti<'a>(&'a [RawSingleWrite]);

impl<'a> WriteMulti<'a> {
    /// The writes.
    pub fn iter(&self) -> impl Iterator<Item = SingleWrite<'a>> + use<'a> {
        self.0.iter().map(|raw| SingleWrite {
            offset: raw.offset.get(),
            region: raw.region.get(),
            data: &raw.data[..(raw.count.get() as usize).min(raw.data.len())],
        })
    }

    /// How many writes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A request of the client.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// Agree on a version; must come first.
    Version(VersionRequest),
    /// Make memory available.
    DmaMap(DmaMap),
    /// Take memory away.
    DmaUnmap(DmaUnmap),
    /// Describe the device.
    DeviceGetInfo,
    /// Describe a region.
    DeviceGetRegionInfo {
        /// Index of the region.
        index: u32,
    },
    /// Name descriptors for parts of a region.
    DeviceGetRegionIoFds {
        /// Index of the region.
        index: u32,
    },
    /// Describe a type of interrupt.
    DeviceGetIrqInfo {
        /// Index of the type.
        index: u32,
    },
    /// Set up, mask, unmask or trigger interrupts.
    DeviceSetIrqs(SetIrqs<'a>),
    /// Read from a region.
    RegionRead(RegionAccess),
    /// Write to a region.
    RegionWrite(RegionAccess, &'a [u8]),
    /// Write to regions several times.
    RegionWriteMulti(WriteMulti<'a>),
    /// Reset the device.
    DeviceReset,
    /// A command that this server does not support, or that no client sends.
    Unsupported(u16),
}

/// The structure at the beginning of a payload, and what follows it.
fn prefix<T>(payload: &[u8]) -> Result<(&T, &[u8]), PayloadError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(payload)
        .map_err(|_| PayloadError::TooShort { got: payload.len(), need: size_of::<T>() })
}

/// `argsz` says how large the client's structure is: at least as large as ours.
fn check_argsz<T>(argsz: u32) -> Result<(), PayloadError> {
    if (argsz as usize) < size_of::<T>() { Err(PayloadError::ArgSize(argsz)) } else { Ok(()) }
}

impl<'a> Request<'a> {
    /// Decodes a command. The payload is what [`Header::payload_len`] announced.
    pub fn decode(header: &Header, payload: &'a [u8]) -> Result<Self, PayloadError> {
        let Some(command) = Command::from_number(header.command) else {
            return Ok(Self::Unsupported(header.command));
        };
        Ok(match command {
            Command::Version => Self::Version(VersionRequest::decode(payload)?),
            Command::DmaMap => Self::DmaMap(decode_dma_map(payload)?),
            Command::DmaUnmap => Self::DmaUnmap(decode_dma_unmap(payload)?),
            Command::DeviceGetInfo => {
                let (raw, _) = prefix::<RawDeviceInfo>(payload)?;
                check_argsz::<RawDeviceInfo>(raw.argsz.get())?;
                Self::DeviceGetInfo
            }
            Command::DeviceGetRegionInfo => {
                let (raw, _) = prefix::<RawRegionInfo>(payload)?;
                check_argsz::<RawRegionInfo>(raw.argsz.get())?;
                Self::DeviceGetRegionInfo { index: raw.index.get() }
            }
            Command::DeviceGetRegionIoFds => {
                Self::DeviceGetRegionIoFds { index: decode_index(payload)? }
            }
            Command::DeviceGetIrqInfo => Self::DeviceGetIrqInfo { index: decode_index(payload)? },
            Command::DeviceSetIrqs => Self::DeviceSetIrqs(decode_set_irqs(payload)?),
            Command::RegionRead => {
                let (access, rest) = decode_access(payload)?;
                if !rest.is_empty() {
                    let count = access.count.into();
                    return Err(PayloadError::Count { count, got: payload.len() });
                }
                Self::RegionRead(access)
            }
            Command::RegionWrite => {
                let (access, data) = decode_access(payload)?;
                if data.len() != access.count as usize {
                    let count = access.count.into();
                    return Err(PayloadError::Count { count, got: payload.len() });
                }
                Self::RegionWrite(access, data)
            }
            Command::RegionWriteMulti => Self::RegionWriteMulti(decode_multi(payload)?),
            Command::DeviceReset => Self::DeviceReset,
            // DMA_READ and DMA_WRITE go from server to client; the rest is migration.
            Command::DmaRead
            | Command::DmaWrite
            | Command::DeviceFeature
            | Command::MigDataRead
            | Command::MigDataWrite => Self::Unsupported(header.command),
        })
    }
}

fn decode_dma_map(payload: &[u8]) -> Result<DmaMap, PayloadError> {
    let (raw, _) = prefix::<RawDmaMap>(payload)?;
    check_argsz::<RawDmaMap>(raw.argsz.get())?;
    Ok(DmaMap {
        flags: DmaMapFlags::from_bits_retain(raw.flags.get()),
        offset: raw.offset.get(),
        address: raw.address.get(),
        size: raw.size.get(),
    })
}

fn decode_dma_unmap(payload: &[u8]) -> Result<DmaUnmap, PayloadError> {
    let (raw, _) = prefix::<RawDmaUnmap>(payload)?;
    check_argsz::<RawDmaUnmap>(raw.argsz.get())?;
    Ok(DmaUnmap {
        flags: DmaUnmapFlags::from_bits_retain(raw.flags.get()),
        address: raw.address.get(),
        size: raw.size.get(),
    })
}

fn decode_index(payload: &[u8]) -> Result<u32, PayloadError> {
    let (raw, _) = prefix::<RawIndexed>(payload)?;
    check_argsz::<RawIndexed>(raw.argsz.get())?;
    Ok(raw.index.get())
}

fn decode_access(payload: &[u8]) -> Result<(RegionAccess, &[u8]), PayloadError> {
    let (raw, rest) = prefix::<RawRegionAccess>(payload)?;
    let count = raw.count.get();
    if count as usize > MAX_DATA_XFER {
        return Err(PayloadError::TooMany(count.into()));
    }
    Ok((RegionAccess { offset: raw.offset.get(), region: raw.region.get(), count }, rest))
}

fn decode_set_irqs(payload: &[u8]) -> Result<SetIrqs<'_>, PayloadError> {
    let (raw, rest) = prefix::<RawSetIrqs>(payload)?;
    check_argsz::<RawSetIrqs>(raw.argsz.get())?;
    let bits = raw.flags.get();
    let flags = IrqSetFlags::from_bits(bits).ok_or(PayloadError::Flags(bits))?;
    let data_flags = IrqSetFlags::DATA_NONE | IrqSetFlags::DATA_BOOL | IrqSetFlags::DATA_EVENTFD;
    let action = match flags - data_flags {
        IrqSetFlags::ACTION_MASK => IrqAction::Mask,
        IrqSetFlags::ACTION_UNMASK => IrqAction::Unmask,
        IrqSetFlags::ACTION_TRIGGER => IrqAction::Trigger,
        _ => return Err(PayloadError::Flags(bits)),
    };
    let count = raw.count.get();
    let data = match flags & data_flags {
        IrqSetFlags::DATA_NONE => IrqData::None,
        IrqSetFlags::DATA_EVENTFD => IrqData::EventFd,
        IrqSetFlags::DATA_BOOL => IrqData::Bool(
            rest.get(..count as usize)
                .ok_or(PayloadError::Count { count: count.into(), got: payload.len() })?,
        ),
        _ => return Err(PayloadError::Flags(bits)),
    };
    Ok(SetIrqs { index: raw.index.get(), start: raw.start.get(), count, action, data })
}

fn decode_multi(payload: &[u8]) -> Result<WriteMulti<'_>, PayloadError> {
    let (count, rest) = prefix::<zerocopy::little_endian::U64>(payload)?;
    let count = count.get();
    if count > MAX_MULTI_WRITES as u64 {
        return Err(PayloadError::TooMany(count));
    }
    let mismatch = PayloadError::Count { count, got: payload.len() };
    let writes = <[RawSingleWrite]>::ref_from_bytes(rest).map_err(|_| mismatch)?;
    if writes.len() as u64 != count {
        return Err(mismatch);
    }
    if let Some(large) = writes.iter().find(|write| write.count.get() > 8) {
        return Err(PayloadError::TooMany(large.count.get().into()));
    }
    Ok(WriteMulti(writes))
}
