use freewheel_ata::fis::{Error, RegisterH2D};

use crate::support::*;

fn log(address: u8, page: u16, count: u16) -> RegisterH2D {
    let lba = u64::from(page >> 8) << 32 | u64::from(page & 0xff) << 8 | u64::from(address);
    at48(0x2f, lba, count)
}

#[test]
fn the_directory_lists_the_logs_that_there_are() {
    let mut rig = Rig::default();
    assert_eq!(rig.pio_in(log(0, 0, 1)), [512]);
    let page = rig.host.memory[0][..512].to_vec();
    for address in 1..=255u8 {
        let at = usize::from(address) * 2;
        let pages = u16::from_le_bytes([page[at], page[at + 1]]);
        if pages == 0 {
            rig.bad(log(address, 0, 1), Error::ABRT);
        } else {
            assert_eq!(rig.pio_in(log(address, 0, pages)), vec![512; pages.into()]);
            rig.bad(log(address, pages, 1), Error::ABRT);
            rig.bad(log(address, 0, pages + 1), Error::ABRT);
            rig.bad(log(address, 0x100, 1), Error::ABRT);
        }
    }
    assert_eq!(page[..2], [1, 0]);
}

#[test]
fn nothing_is_read_of_no_pages_or_of_a_wrapping_range() {
    let mut rig = Rig::default();
    rig.bad(log(0, 0, 0), Error::ABRT);
    rig.bad(log(0x30, 0xffff, 0xffff), Error::ABRT);
}

#[test]
fn the_identify_log_agrees_with_identify_device() {
    let mut rig = Rig::default();
    rig.identify();
    let data = rig.host.memory[0][..512].to_vec();
    assert_eq!(rig.pio_in(log(0x30, 0, 3)), [512; 3]);
    let pages = rig.host.memory[0][..1536].to_vec();
    assert_eq!(pages[8..12], [3, 0, 1, 2]);
    assert_eq!(pages[512..1024], data);
    assert_eq!(pages[1024..1032], [1, 0, 2, 0, 0, 0, 0, 0x80]);
    assert_eq!(pages[1032..1040], [0, 8, 0, 0, 0, 0, 0, 0x80]);
}

#[test]
fn the_dma_form_moves_the_same_data() {
    let mut rig = Rig::default();
    rig.pio_in(log(0x30, 1, 1));
    let data = std::mem::replace(&mut rig.host.memory[0], vec![0; 512]);
    rig.good(RegisterH2D { command: 0x47, ..log(0x30, 1, 1) });
    assert_eq!(rig.host.memory[0], data[..512]);
}
