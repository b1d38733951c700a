//! FISes: what is read is what was written, for any bytes and any content (SATA 3.x, 10.5).

use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D, Registers, Status, TYPE_REGISTER_H2D};

use crate::{Input, Writer};

#[path = "../../crates/ata/tests/fis/decode.rs"]
mod decode;

const LBA_MASK: u64 = (1 << 48) - 1;

/// One input: a selector and content.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    while !input.is_empty() {
        match input.u8() % 8 {
            0 => host_bytes(input.array()),
            1 => host_fields(&mut input),
            2 => written(DeviceFis::RegisterD2H {
                interrupt: flag(&mut input),
                registers: registers(&mut input),
            }),
            3 => set_device_bits(&mut input),
            4 => written(DeviceFis::PioSetup {
                interrupt: flag(&mut input),
                to_host: flag(&mut input),
                registers: registers(&mut input),
                ending_status: Status::from_bits_retain(input.u8()),
                transfer_count_bytes: input.u16(),
            }),
            5 => written(DeviceFis::DmaSetup {
                interrupt: flag(&mut input),
                tag: input.u8(),
                to_host: flag(&mut input),
                transfer_count_bytes: input.u32(),
            }),
            6 => {
                // Whatever the bytes are, the second reading finds a FIS that is written as they are.
                let bytes: [u8; 28] = input.array();
                for len in [8, 20, 28] {
                    if let Some(fis) = decode::decode(&bytes, len) {
                        assert_eq!(fis.encode(), (bytes, len));
                    }
                }
            }
            _ => {
                let mut bytes: [u8; 20] = input.array();
                bytes[0] = TYPE_REGISTER_H2D;
                host_bytes(bytes);
            }
        }
    }
}

fn flag(input: &mut Input) -> bool {
    input.u8() & 1 != 0
}

fn registers(input: &mut Input) -> Registers {
    Registers {
        status: Status::from_bits_retain(input.u8()),
        error: Error::from_bits_retain(input.u8()),
        lba: input.u64() & LBA_MASK,
        device: input.u8(),
        count: input.u16(),
    }
}

fn written(fis: DeviceFis) {
    let (bytes, len) = fis.encode();
    assert_eq!(decode::decode(&bytes, len), Some(fis), "{bytes:02x?}");
}

fn set_device_bits(input: &mut Input) {
    let carried = !(Status::BSY | Status::DRQ).bits();
    let status = input.u8();
    let fis = |status| DeviceFis::SetDeviceBits {
        interrupt: status & 1 != 0,
        notification: status & 2 != 0,
        status: Status::from_bits_retain(status),
        error: Error::from_bits_retain(status.rotate_left(3)),
        active: u32::from(status).rotate_left(29),
    };
    written(fis(status & carried));
    let DeviceFis::SetDeviceBits { interrupt, notification, error, active, .. } = fis(status)
    else {
        unreachable!("it has just been made");
    };
    let all = Status::from_bits_retain(status);
    let wide = DeviceFis::SetDeviceBits { interrupt, notification, status: all, error, active };
    assert_eq!(wide.encode().0[2], status & carried);
}

fn host_bytes(bytes: [u8; 20]) {
    let Some(fis) = RegisterH2D::parse(&bytes) else {
        assert_ne!(bytes[0], TYPE_REGISTER_H2D);
        return;
    };
    let mut expected = bytes;
    // Bits 6:4 of byte 1 are reserved.
    expected[1] &= 0x8f;
    assert_eq!(fis.encode(), expected);
    assert_eq!(RegisterH2D::parse(&fis.encode()), Some(fis));
}

fn host_fields(input: &mut Input) {
    let fis = RegisterH2D {
        pm_port: input.u8(),
        is_command: flag(input),
        command: input.u8(),
        features: input.u16(),
        lba: input.u64(),
        device: input.u8(),
        count: input.u16(),
        icc: input.u8(),
        control: input.u8(),
        auxiliary: input.u32(),
    };
    let fitting = RegisterH2D { pm_port: fis.pm_port & 0x0f, lba: fis.lba & LBA_MASK, ..fis };
    assert_eq!(RegisterH2D::parse(&fis.encode()), Some(fitting));
}

/// One of each.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let command = RegisterH2D { is_command: true, command: 0x60, ..RegisterH2D::default() };
    let ramp: Vec<u8> = (1..=40).collect();
    let seed =
        |selector: u8, content: &[u8]| Writer::default().bytes(&[selector]).bytes(content).finish();
    vec![
        ("host-bytes", seed(0, &command.encode())),
        ("host-fields", seed(1, &ramp)),
        ("register", seed(2, &ramp)),
        ("set-device-bits", seed(3, &ramp)),
        ("pio-setup", seed(4, &ramp)),
        ("dma-setup", seed(5, &ramp)),
        ("device-bytes", seed(6, &[0x34, 0x40, 0x50, 0, 1, 2, 3, 0x40, 4, 5, 6, 0, 7, 8])),
    ]
}
