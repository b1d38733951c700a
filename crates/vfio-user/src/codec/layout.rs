//! The layouts of fixed size in payloads, as they lie in memory, and their flags.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

bitflags::bitflags! {
    /// Section *VFIO_USER_DEVICE_GET_INFO*.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct DeviceFlags: u32 {
        /// DEVICE_RESET is supported.
        const RESET = 1;
        /// The device is a PCI function.
        const PCI = 1 << 1;
    }

    /// Section *VFIO_USER_DEVICE_GET_REGION_INFO*.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct RegionFlags: u32 {
        /// The region can be read.
        const READ = 1;
        /// The region can be written.
        const WRITE = 1 << 1;
    }

    /// Section *VFIO_USER_DEVICE_GET_IRQ_INFO*.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct IrqInfoFlags: u32 {
        /// Interrupts can be signalled through an eventfd.
        const EVENTFD = 1;
        /// MASK and UNMASK are supported.
        const MASKABLE = 1 << 1;
        /// The interrupt masks itself when it fires.
        const AUTOMASKED = 1 << 2;
        /// Vectors can only be set up all at once.
        const NORESIZE = 1 << 3;
    }

    /// Section *VFIO_USER_DEVICE_SET_IRQS*: exactly one `DATA` and one `ACTION`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct IrqSetFlags: u32 {
        /// The action is unconditional.
        const DATA_NONE = 1;
        /// An array of booleans says for which vectors.
        const DATA_BOOL = 1 << 1;
        /// Eventfds come with the message.
        const DATA_EVENTFD = 1 << 2;
        /// Mask.
        const ACTION_MASK = 1 << 3;
        /// Unmask.
        const ACTION_UNMASK = 1 << 4;
        /// Trigger.
        const ACTION_TRIGGER = 1 << 5;
    }
}

macro_rules! layout {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $type),* }
    };
}

layout!(
    /// Section *VFIO_USER_VERSION*; JSON follows.
    RawVersion { major: U16, minor: U16 }
);
layout!(
    /// Section *VFIO_USER_DMA_MAP*.
    RawDmaMap { argsz: U32, flags: U32, offset: U64, address: U64, size: U64 }
);
layout!(
    /// Section *VFIO_USER_DMA_UNMAP*.
    RawDmaUnmap { argsz: U32, flags: U32, address: U64, size: U64 }
);
layout!(
    /// Section *VFIO_USER_DEVICE_GET_INFO*.
    RawDeviceInfo { argsz: U32, flags: U32, num_regions: U32, num_irqs: U32 }
);
layout!(
    /// Section *VFIO_USER_DEVICE_GET_REGION_INFO*.
    RawRegionInfo {
        argsz: U32, flags: U32, index: U32, cap_offset: U32, size: U64, offset: U64,
    }
);
layout!(
    /// Sections *VFIO_USER_DEVICE_GET_IRQ_INFO* and *VFIO_USER_DEVICE_GET_REGION_IO_FDS*.
    RawIndexed { argsz: U32, flags: U32, index: U32, count: U32 }
);
layout!(
    /// Section *VFIO_USER_DEVICE_SET_IRQS*; booleans may follow.
    RawSetIrqs { argsz: U32, flags: U32, index: U32, start: U32, count: U32 }
);
layout!(
    /// Sections *VFIO_USER_REGION_READ* and *VFIO_USER_REGION_WRITE*; data may follow.
    RawRegionAccess { offset: U64, region: U32, count: U32 }
);
layout!(
    /// Section *Single Device Write Format*.
    RawSingleWrite { offset: U64, region: U32, count: U32, data: [u8; 8] }
);

/// What DEVICE_GET_INFO answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceInfo {
    /// What the device can do.
    pub flags: DeviceFlags,
    /// How many regions it has.
    pub num_regions: u32,
    /// How many types of interrupts it has.
    pub num_irqs: u32,
}

/// What DEVICE_GET_REGION_INFO answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionInfo {
    /// How the region can be accessed.
    pub flags: RegionFlags,
    /// Which region it is.
    pub index: u32,
    /// Its size in bytes; zero if it is not there.
    pub size: u64,
}

/// What DEVICE_GET_IRQ_INFO answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IrqInfo {
    /// What the interrupt can do.
    pub flags: IrqInfoFlags,
    /// Which type of interrupt it is.
    pub index: u32,
    /// How many vectors of it there are; zero if it is not there.
    pub count: u32,
}
