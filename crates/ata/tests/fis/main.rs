//! FISes as bytes: what is written is what the specification's figures say, for any content.

mod decode;

use decode::decode;
use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D, Registers, Status, TYPE_REGISTER_H2D};
use proptest::prelude::*;

/// What the 48 bits of an LBA can say.
const LBA_MASK: u64 = (1 << 48) - 1;

fn any_registers() -> impl Strategy<Value = Registers> {
    any::<(u8, u8, u64, u8, u16)>().prop_map(|(status, error, lba, device, count)| Registers {
        status: Status::from_bits_retain(status),
        error: Error::from_bits_retain(error),
        lba: lba & LBA_MASK,
        device,
        count,
    })
}

fn any_device_fis() -> impl Strategy<Value = DeviceFis> {
    prop_oneof![
        (any::<bool>(), any_registers())
            .prop_map(|(interrupt, registers)| DeviceFis::RegisterD2H { interrupt, registers }),
        any::<(bool, bool, u8, u8, u32)>().prop_map(
            |(interrupt, notification, status, error, active)| DeviceFis::SetDeviceBits {
                interrupt,
                notification,
                // BSY and DRQ are not carried.
                status: Status::from_bits_retain(status & !0x88),
                error: Error::from_bits_retain(error),
                active,
            }
        ),
        (any::<(bool, bool, u8, u16)>(), any_registers()).prop_map(
            |((interrupt, to_host, ending, transfer_count_bytes), registers)| {
                DeviceFis::PioSetup {
                    interrupt,
                    to_host,
                    registers,
                    ending_status: Status::from_bits_retain(ending),
                    transfer_count_bytes,
                }
            }
        ),
        any::<(bool, u8, bool, u32)>().prop_map(
            |(interrupt, tag, to_host, transfer_count_bytes)| {
                DeviceFis::DmaSetup { interrupt, tag, to_host, transfer_count_bytes }
            }
        ),
    ]
}

proptest! {
    #[test]
    fn a_device_fis_is_written_as_the_specification_reads_it(fis in any_device_fis()) {
        let (bytes, len) = fis.encode();
        prop_assert_eq!(decode(&bytes, len), Some(fis));
    }

    #[test]
    fn busy_and_data_request_are_not_carried_by_set_device_bits(status in any::<u8>()) {
        let fis = DeviceFis::SetDeviceBits {
            interrupt: false,
            notification: false,
            status: Status::from_bits_retain(status),
            error: Error::empty(),
            active: 0,
        };
        prop_assert_eq!(fis.encode().0[2], status & !0x88);
    }

    #[test]
    fn a_host_fis_survives_any_content(
        (pm_port, is_command, command, features, lba, device) in
            any::<(u8, bool, u8, u16, u64, u8)>(),
        (count, icc, control, auxiliary) in any::<(u16, u8, u8, u32)>(),
    ) {
        let fis = RegisterH2D {
            pm_port: pm_port & 0x0f,
            is_command,
            command,
            features,
            lba: lba & LBA_MASK,
            device,
            count,
            icc,
            control,
            auxiliary,
        };
        prop_assert_eq!(RegisterH2D::parse(&fis.encode()), Some(fis));
        // What does not fit in a field reaches no other one.
        let wide = RegisterH2D { pm_port, lba, ..fis };
        prop_assert_eq!(wide.encode(), fis.encode());
    }

    #[test]
    fn any_bytes_are_a_host_fis_or_none(bytes in any::<[u8; 20]>(), right_type in any::<bool>()) {
        let mut bytes = bytes;
        if right_type {
            bytes[0] = TYPE_REGISTER_H2D;
        }
        match RegisterH2D::parse(&bytes) {
            Some(fis) => {
                // Bits 6:4 of byte 1 are reserved.
                bytes[1] &= 0x8f;
                prop_assert_eq!(fis.encode(), bytes);
            }
            None => prop_assert_ne!(bytes[0], TYPE_REGISTER_H2D),
        }
    }
}
