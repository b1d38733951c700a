//! INQUIRY with its vital product data pages, and REPORT LUNS (SPC-3, 6.4, 6.21, 7.6).

use alloc::vec::Vec;

use super::Drive;
use super::command::{Call, Outcome};
use super::config::put_ascii;
use super::sense::Sense;
use crate::Link;

/// Peripheral device type: CD/DVD/BD.
const CD_DVD: u8 = 0x05;

const PAGE_LIST: u8 = 0x00;
const PAGE_SERIAL: u8 = 0x80;
const PAGE_IDENTIFICATION: u8 = 0x83;
const PAGES: [u8; 3] = [PAGE_LIST, PAGE_SERIAL, PAGE_IDENTIFICATION];

/// INQUIRY.
pub(crate) fn inquiry(drive: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    let vital = call.packet[1] & 1 != 0;
    let page = call.packet[2];
    let data = match (vital, page) {
        (false, 0) => drive.standard_inquiry(),
        (true, PAGE_LIST) => vital_page(page, &PAGES),
        (true, PAGE_SERIAL) => vital_page(page, &drive.serial_number()),
        (true, PAGE_IDENTIFICATION) => vital_page(page, &drive.designators()),
        _ => return Sense::INVALID_FIELD.into(),
    };
    Outcome::data(data, usize::from(call.be16(3)))
}

fn vital_page(page: u8, content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u16).to_be_bytes();
    [&[CD_DVD, page, len[0], len[1]], content].concat()
}

impl Drive {
    fn standard_inquiry(&self) -> Vec<u8> {
        let mut data = alloc::vec![0; 66];
        data[0] = CD_DVD;
        // Removable; SPC-3; response format 2.
        data[1] = 0x80;
        data[2] = 0x05;
        data[3] = 0x02;
        data[4] = (data.len() - 5) as u8;
        put_ascii(&mut data[8..16], &self.config.vendor);
        put_ascii(&mut data[16..32], &self.config.product);
        put_ascii(&mut data[32..36], &self.config.firmware);
        // Version descriptors: SPC-3, MMC-6, SATA (ATA8-AST).
        for (index, version) in [0x0300u16, 0x04e0, 0x1760].into_iter().enumerate() {
            let at = 58 + 2 * index;
            data[at..at + 2].copy_from_slice(&version.to_be_bytes());
        }
        data
    }

    fn serial_number(&self) -> [u8; 20] {
        let mut serial = [0; 20];
        put_ascii(&mut serial, &self.config.serial);
        serial
    }

    /// Page 83h: by vendor, product and serial number, and by World Wide Name if there is one.
    fn designators(&self) -> Vec<u8> {
        let mut text = [b' '; 44];
        put_ascii(&mut text[..8], &self.config.vendor);
        put_ascii(&mut text[8..24], &self.config.product);
        text[24..].copy_from_slice(&self.serial_number());
        // ASCII, of the logical unit, T10 vendor identification.
        let mut all = alloc::vec![0x02, 0x01, 0, text.len() as u8];
        all.extend_from_slice(&text);
        if let Some(wwn) = self.config.wwn {
            // Binary, of the logical unit, NAA.
            all.extend_from_slice(&[0x01, 0x03, 0, 8]);
            all.extend_from_slice(&wwn.to_be_bytes());
        }
        all
    }
}

/// REPORT LUNS: there is just LUN 0.
pub(crate) fn report_luns(_: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    let allocation_bytes = call.be32(6);
    let data = match call.packet[2] {
        0 | 2 => {
            let mut data = alloc::vec![0; 16];
            data[3] = 8;
            data
        }
        // Well known logical units: none.
        1 => alloc::vec![0; 8],
        _ => return Sense::INVALID_FIELD.into(),
    };
    if allocation_bytes < 16 {
        return Sense::INVALID_FIELD.into();
    }
    Outcome::data(data, usize::try_from(allocation_bytes).unwrap_or(usize::MAX))
}
