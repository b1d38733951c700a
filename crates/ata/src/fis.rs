//! Frame Information Structures between host and device (SATA 3.x, section 10.5), typed.
//!
//! Layouts only; what the fields mean is the business of the command that carries them.

/// Type byte of a Register Host-to-Device FIS (SATA 3.x, 10.5.5).
pub const TYPE_REGISTER_H2D: u8 = 0x27;
/// Type byte of a Register Device-to-Host FIS (10.5.6).
pub const TYPE_REGISTER_D2H: u8 = 0x34;
/// Type byte of a DMA Setup FIS (10.5.9).
pub const TYPE_DMA_SETUP: u8 = 0x41;
/// Type byte of a PIO Setup FIS (10.5.11).
pub const TYPE_PIO_SETUP: u8 = 0x5f;
/// Type byte of a Set Device Bits FIS (10.5.7).
pub const TYPE_SET_DEVICE_BITS: u8 = 0xa1;

bitflags::bitflags! {
    /// The ATA status register (ACS-4, 6.1; the field's old names).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Status: u8 {
        /// An error; the error register says which.
        const ERR = 0x01;
        /// Data is ready to move (PIO).
        const DRQ = 0x08;
        /// Seek complete; always set when idle.
        const DSC = 0x10;
        /// Device fault.
        const DF = 0x20;
        /// Device ready.
        const DRDY = 0x40;
        /// Busy; every other bit is void.
        const BSY = 0x80;
    }
}

bitflags::bitflags! {
    /// The ATA error register (ACS-4, 6.2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Error: u8 {
        /// Command aborted: not supported, or its parameters are.
        const ABRT = 0x04;
        /// The LBA is not there.
        const IDNF = 0x10;
        /// Uncorrectable data.
        const UNC = 0x40;
        /// Interface CRC error.
        const ICRC = 0x80;
    }
}

/// Device control register: software reset.
pub const CONTROL_SRST: u8 = 0x04;

/// A Register Host-to-Device FIS (SATA 3.x, 10.5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegisterH2D {
    /// Port multiplier port (4 bits).
    pub pm_port: u8,
    /// C: the FIS carries a command; otherwise a write to the control register.
    pub is_command: bool,
    /// Command register.
    pub command: u8,
    /// Features register (16 bits; the lower 8 for 28-bit commands).
    pub features: u16,
    /// LBA register (48 bits).
    pub lba: u64,
    /// Device register.
    pub device: u8,
    /// Count register (16 bits; the lower 8 for 28-bit commands).
    pub count: u16,
    /// Isochronous command completion.
    pub icc: u8,
    /// Device control register.
    pub control: u8,
    /// Auxiliary register.
    pub auxiliary: u32,
}

impl RegisterH2D {
    /// Reads the FIS from its 20 bytes; `None` if the type byte is another.
    pub fn parse(bytes: &[u8; 20]) -> Option<Self> {
        if bytes[0] != TYPE_REGISTER_H2D {
            return None;
        }
        Some(Self {
            pm_port: bytes[1] & 0x0f,
            is_command: bytes[1] & 0x80 != 0,
            command: bytes[2],
            features: u16::from_le_bytes([bytes[3], bytes[11]]),
            lba: lba48(bytes),
            device: bytes[7],
            count: u16::from_le_bytes([bytes[12], bytes[13]]),
            icc: bytes[14],
            control: bytes[15],
            auxiliary: u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]),
        })
    }

    /// Writes the FIS as its 20 bytes (what a driver does).
    pub fn encode(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[0] = TYPE_REGISTER_H2D;
        bytes[1] = self.pm_port & 0x0f | if self.is_command { 0x80 } else { 0 };
        bytes[2] = self.command;
        [bytes[3], bytes[11]] = self.features.to_le_bytes();
        put_lba48(&mut bytes, self.lba);
        bytes[7] = self.device;
        [bytes[12], bytes[13]] = self.count.to_le_bytes();
        bytes[14] = self.icc;
        bytes[15] = self.control;
        bytes[16..20].copy_from_slice(&self.auxiliary.to_le_bytes());
        bytes
    }
}

/// The shadow registers as a device reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Status register.
    pub status: Status,
    /// Error register.
    pub error: Error,
    /// LBA register (48 bits).
    pub lba: u64,
    /// Device register.
    pub device: u8,
    /// Count register.
    pub count: u16,
}

/// A FIS from a device to its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFis {
    /// Register Device-to-Host (10.5.6).
    RegisterD2H {
        /// I: interrupt the host.
        interrupt: bool,
        /// The registers.
        registers: Registers,
    },
    /// Set Device Bits (10.5.7).
    SetDeviceBits {
        /// I: interrupt the host.
        interrupt: bool,
        /// N: asynchronous notification.
        notification: bool,
        /// Status register; BSY and DRQ are not carried.
        status: Status,
        /// Error register.
        error: Error,
        /// SActive: the queued commands that have completed.
        active: u32,
    },
    /// PIO Setup (10.5.11). The data itself moves through [`Link`](crate::Link).
    PioSetup {
        /// I: interrupt the host.
        interrupt: bool,
        /// D: the data goes to the host.
        to_host: bool,
        /// The registers before the data; status has DRQ.
        registers: Registers,
        /// Status register after the data.
        ending_status: Status,
        /// How many bytes this data FIS moves.
        transfer_count_bytes: u16,
    },
    /// DMA Setup (10.5.9), first-party DMA of a queued command.
    DmaSetup {
        /// I: interrupt the host, once the data has moved.
        interrupt: bool,
        /// The tag whose data moves.
        tag: u8,
        /// D: the data goes to the host.
        to_host: bool,
        /// How many bytes move.
        transfer_count_bytes: u32,
    },
}

impl DeviceFis {
    /// The bytes of the FIS and how many of them count, as they stand in the received-FIS area.
    pub fn encode(&self) -> ([u8; 28], usize) {
        let mut bytes = [0u8; 28];
        let len = match *self {
            DeviceFis::RegisterD2H { interrupt, registers } => {
                bytes[0] = TYPE_REGISTER_D2H;
                bytes[1] = flag(interrupt, 0x40);
                put_registers(&mut bytes, &registers);
                20
            }
            DeviceFis::SetDeviceBits { interrupt, notification, status, error, active } => {
                bytes[0] = TYPE_SET_DEVICE_BITS;
                bytes[1] = flag(interrupt, 0x40) | flag(notification, 0x80);
                bytes[2] = status.bits() & !(Status::BSY | Status::DRQ).bits();
                bytes[3] = error.bits();
                bytes[4..8].copy_from_slice(&active.to_le_bytes());
                8
            }
            DeviceFis::PioSetup {
                interrupt,
                to_host,
                registers,
                ending_status,
                transfer_count_bytes,
            } => {
                bytes[0] = TYPE_PIO_SETUP;
                bytes[1] = flag(interrupt, 0x40) | flag(to_host, 0x20);
                put_registers(&mut bytes, &registers);
                bytes[15] = ending_status.bits();
                bytes[16..18].copy_from_slice(&transfer_count_bytes.to_le_bytes());
                20
            }
            DeviceFis::DmaSetup { interrupt, tag, to_host, transfer_count_bytes } => {
                bytes[0] = TYPE_DMA_SETUP;
                bytes[1] = flag(interrupt, 0x40) | flag(to_host, 0x20);
                bytes[4..8].copy_from_slice(&u32::from(tag).to_le_bytes());
                bytes[20..24].copy_from_slice(&transfer_count_bytes.to_le_bytes());
                28
            }
        };
        (bytes, len)
    }
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn put_registers(bytes: &mut [u8; 28], registers: &Registers) {
    bytes[2] = registers.status.bits();
    bytes[3] = registers.error.bits();
    put_lba48(bytes, registers.lba);
    bytes[7] = registers.device;
    [bytes[12], bytes[13]] = registers.count.to_le_bytes();
}

fn lba48(bytes: &[u8]) -> u64 {
    u64::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[8], bytes[9], bytes[10], 0, 0])
}

fn put_lba48(bytes: &mut [u8], lba: u64) {
    let lba = lba.to_le_bytes();
    bytes[4..7].copy_from_slice(&lba[..3]);
    bytes[8..11].copy_from_slice(&lba[3..6]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_fis_survives_encoding_and_parsing() {
        let fis = RegisterH2D {
            pm_port: 3,
            is_command: true,
            command: 0x61,
            features: 0xabcd,
            lba: 0x1234_5678_9abc,
            device: 0x40,
            count: 0xf1e2,
            icc: 9,
            control: 8,
            auxiliary: 0xdead_beef,
        };
        assert_eq!(RegisterH2D::parse(&fis.encode()), Some(fis));
        assert_eq!(RegisterH2D::parse(&[0; 20]), None);
    }

    #[test]
    fn the_signature_of_a_disk_stands_where_the_specification_puts_it() {
        let registers = Registers {
            status: Status::DRDY | Status::DSC,
            error: Error::from_bits_retain(1),
            lba: 1,
            device: 0,
            count: 1,
        };
        let (bytes, len) = DeviceFis::RegisterD2H { interrupt: true, registers }.encode();
        assert_eq!(len, 20);
        assert_eq!(&bytes[..16], &[0x34, 0x40, 0x50, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    }
}
