//! A second reading of SATA 3.x, 10.5: a device's FISes from their bytes, field by field at the
//! offsets of the specification's figures, and nothing shared with the crate's encoder.
//!
//! Shared with the fuzz target `fis` (`fuzz/`).

use freewheel_ata::fis::{DeviceFis, Error, Registers, Status};

/// The FIS in the first `len` of `bytes`; `None` if it is none that a disk sends, has another
/// length than its type, or has something in a field that is reserved.
pub(crate) fn decode(bytes: &[u8; 28], len: usize) -> Option<DeviceFis> {
    let byte = |at: usize| u64::from(bytes[at]);
    let flag = |bit: u8| bytes[1] & 1 << bit != 0;
    let zero = |at: core::ops::Range<usize>| bytes[at].iter().all(|byte| *byte == 0);
    let registers = || Registers {
        status: Status::from_bits_retain(bytes[2]),
        error: Error::from_bits_retain(bytes[3]),
        lba: byte(10) << 40
            | byte(9) << 32
            | byte(8) << 24
            | byte(6) << 16
            | byte(5) << 8
            | byte(4),
        device: bytes[7],
        count: u16::from(bytes[13]) << 8 | u16::from(bytes[12]),
    };
    let dword = |at: usize| {
        u32::from(bytes[at + 3]) << 24
            | u32::from(bytes[at + 2]) << 16
            | u32::from(bytes[at + 1]) << 8
            | u32::from(bytes[at])
    };
    match (bytes[0], len) {
        (0x34, 20) if bytes[1] & !0x40 == 0 && bytes[11] == 0 && zero(14..28) => {
            Some(DeviceFis::RegisterD2H { interrupt: flag(6), registers: registers() })
        }
        // The status field is in two parts, around the places of BSY and DRQ, which are reserved.
        (0xa1, 8) if bytes[1] & !0xc0 == 0 && bytes[2] & 0x88 == 0 && zero(8..28) => {
            Some(DeviceFis::SetDeviceBits {
                interrupt: flag(6),
                notification: flag(7),
                status: Status::from_bits_retain(bytes[2]),
                error: Error::from_bits_retain(bytes[3]),
                active: dword(4),
            })
        }
        (0x5f, 20) if bytes[1] & !0x60 == 0 && bytes[11] == 0 && bytes[14] == 0 && zero(18..28) => {
            Some(DeviceFis::PioSetup {
                interrupt: flag(6),
                to_host: flag(5),
                registers: registers(),
                ending_status: Status::from_bits_retain(bytes[15]),
                transfer_count_bytes: u16::from(bytes[17]) << 8 | u16::from(bytes[16]),
            })
        }
        (0x41, 28) if bytes[1] & !0x60 == 0 && zero(2..4) && zero(5..20) && zero(24..28) => {
            Some(DeviceFis::DmaSetup {
                interrupt: flag(6),
                tag: bytes[4],
                to_host: flag(5),
                transfer_count_bytes: dword(20),
            })
        }
        _ => None,
    }
}
