//! GET CONFIGURATION (MMC-6, 6.6 and chapter 5): profiles and features, and which of them count for
//! the medium in the drive.

use alloc::vec::Vec;

use super::Drive;
use super::command::{Call, Outcome};
use super::config::put_ascii;
use super::medium::Disc;
use super::sense::Sense;
use crate::Link;

/// Profiles: CD-ROM, DVD-ROM, BD-ROM, the one with the most to offer first.
const PROFILES: [(u16, Disc); 3] = [(0x0040, Disc::Bd), (0x0010, Disc::Dvd), (0x0008, Disc::Cd)];

struct Feature {
    code: u16,
    version: u8,
    /// Always current.
    persistent: bool,
    current: bool,
    data: Vec<u8>,
}

/// GET CONFIGURATION.
pub(crate) fn get_configuration(drive: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    let (wanted, first) = (call.packet[1] & 0b11, call.be16(2));
    let disc = drive.bay.ready().ok().map(|medium| medium.disc());
    let profile = PROFILES.iter().find(|(_, of)| Some(*of) == disc).map_or(0, |(code, _)| *code);
    let mut content = alloc::vec![0, 0];
    content.extend_from_slice(&profile.to_be_bytes());
    for feature in drive.features(disc, profile) {
        let is_wanted = match wanted {
            // All from `first` on, the current ones of them, that one.
            0 => feature.code >= first,
            1 => feature.code >= first && (feature.current || feature.persistent),
            2 => feature.code == first,
            _ => return Sense::INVALID_FIELD.into(),
        };
        if is_wanted {
            let current = feature.current || feature.persistent;
            let flags =
                feature.version << 2 | u8::from(feature.persistent) << 1 | u8::from(current);
            content.extend_from_slice(&feature.code.to_be_bytes());
            content.extend_from_slice(&[flags, feature.data.len() as u8]);
            content.extend_from_slice(&feature.data);
        }
    }
    let data = [&(content.len() as u32).to_be_bytes()[..], &content].concat();
    Outcome::data(data, usize::from(call.be16(7)))
}

impl Drive {
    /// Every feature, in the order of their codes.
    fn features(&self, disc: Option<Disc>, profile: u16) -> Vec<Feature> {
        let always =
            |code, version, data| Feature { code, version, persistent: true, current: true, data };
        let when = |code, version, current, data| Feature {
            code,
            version,
            persistent: false,
            current,
            data,
        };
        let profiles = PROFILES.iter().flat_map(|(code, _)| {
            let [high, low] = code.to_be_bytes();
            [high, low, u8::from(*code == profile), 0]
        });
        let mut serial = [0; 20];
        put_ascii(&mut serial, &self.config.serial);
        let is = |of| disc == Some(of);
        // Blocks of 2,048 bytes, one at a time readable, read error recovery page present.
        let random_readable = alloc::vec![0, 0, 8, 0, 0, 1, 1, 0];
        alloc::vec![
            // Profile list; core (physical interface: Serial ATAPI, DBE); morphing; removable
            // medium (tray, ejects, locks; loads).
            always(0x0000, 0, profiles.collect()),
            always(0x0001, 2, alloc::vec![0, 0, 0, 7, 1, 0, 0, 0]),
            always(0x0002, 1, alloc::vec![0, 0, 0, 0]),
            always(0x0003, 2, alloc::vec![0b001 << 5 | 1 << 4 | 1 << 3 | 1 << 0, 0, 0, 0]),
            // Random readable, multi-read, CD read, DVD read, BD read.
            when(0x0010, 0, disc.is_some(), random_readable),
            when(0x001d, 0, is(Disc::Cd), Vec::new()),
            when(0x001e, 2, is(Disc::Cd), alloc::vec![0, 0, 0, 0]),
            when(0x001f, 0, is(Disc::Dvd), alloc::vec![0, 0, 0, 0]),
            when(0x0040, 0, is(Disc::Bd), bd_read()),
            // Power management, time-out, logical unit serial number.
            always(0x0100, 0, Vec::new()),
            always(0x0105, 1, alloc::vec![0, 0, 0, 0]),
            always(0x0108, 0, serial.to_vec()),
        ]
    }
}

/// BD read: BD-ROM of class 0, version 1; nothing that can be written.
fn bd_read() -> Vec<u8> {
    let mut data = alloc::vec![0; 28];
    data[21] = 0b10;
    data
}
