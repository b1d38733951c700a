//! MODE SENSE (10) and MODE SELECT (10) with the pages of MMC-6, annex D.
//!
//! | page | | can be changed |
//! |---|---|---|
//! | 01h | read error recovery | recovery parameter, retry count: kept, without effect on an image |
//! | 1Ah | power condition | no: there are no timers |
//! | 1Dh | time-out and protect | no |
//! | 2Ah | capabilities and mechanical status | no |

use alloc::vec::Vec;

use super::Drive;
use super::command::{Call, Outcome};
use super::sense::Sense;
use crate::Link;

const RECOVERY: u8 = 0x01;
const POWER_CONDITION: u8 = 0x1a;
const TIME_OUT: u8 = 0x1d;
const CAPABILITIES: u8 = 0x2a;
const ALL: u8 = 0x3f;
const PAGES: [u8; 4] = [RECOVERY, POWER_CONDITION, TIME_OUT, CAPABILITIES];

const HEADER_BYTES: usize = 8;
/// 40 times the speed of an audio CD, in kB/s: what is claimed, for an image has no speed.
const SPEED_MAX_KB: u16 = 7056;

/// What MODE SELECT and SET CD SPEED have set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModePages {
    recovery: u8,
    retries: u8,
    speed_kb: u16,
}

impl ModePages {
    pub(crate) fn power_on() -> Self {
        Self { recovery: 0, retries: 5, speed_kb: SPEED_MAX_KB }
    }

    /// FFFFh asks for the highest.
    pub(crate) fn set_speed(&mut self, kb_per_second: u16) {
        self.speed_kb = kb_per_second.clamp(176, SPEED_MAX_KB);
    }

    fn page(&self, page: u8, locked: bool) -> Vec<u8> {
        match page {
            RECOVERY => alloc::vec![page, 10, self.recovery, self.retries, 0, 0, 0, 0, 0, 0, 0, 0],
            POWER_CONDITION => alloc::vec![page, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            TIME_OUT => alloc::vec![page, 8, 0, 0, 0, 0, 0, 0, 0, 0],
            _ => self.capabilities(locked),
        }
    }

    fn capabilities(&self, locked: bool) -> Vec<u8> {
        let mut page = alloc::vec![0; 26];
        page[0] = CAPABILITIES;
        page[1] = 24;
        // Reads CD-R, CD-RW, DVD-ROM, DVD-R and DVD-RAM: whatever the image was.
        page[2] = 0x3b;
        // Can lock and eject; a tray.
        page[6] = 0b001 << 5 | 1 << 3 | if locked { 1 << 1 } else { 0 } | 1 << 0;
        page[8..10].copy_from_slice(&SPEED_MAX_KB.to_be_bytes());
        // A buffer of 2,048 KiB.
        page[12..14].copy_from_slice(&2048u16.to_be_bytes());
        page[14..16].copy_from_slice(&self.speed_kb.to_be_bytes());
        page
    }

    /// The bits of a page that MODE SELECT may change.
    fn changeable(page: u8) -> Vec<u8> {
        let mut mask = Self::power_on().page(page, false);
        mask[2..].fill(0);
        if page == RECOVERY {
            mask[2..4].fill(0xff);
        }
        mask
    }
}

/// MODE SENSE (10) (SPC-3, 6.10).
pub(crate) fn mode_sense_10(drive: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    let (control, wanted) = (call.packet[2] >> 6, call.packet[2] & 0x3f);
    let wanted = match wanted {
        ALL => &PAGES[..],
        _ => match PAGES.iter().position(|page| *page == wanted) {
            Some(at) => &PAGES[at..=at],
            None => return Sense::INVALID_FIELD.into(),
        },
    };
    // There are no subpages.
    if !matches!(call.packet[3], 0 | 0xff) {
        return Sense::INVALID_FIELD.into();
    }
    let mut data = alloc::vec![0; HEADER_BYTES];
    for page in wanted {
        data.extend(match control {
            0 => drive.modes.page(*page, drive.bay.is_locked()),
            1 => ModePages::changeable(*page),
            2 => ModePages::power_on().page(*page, false),
            _ => return Sense::NO_SAVING.into(),
        });
    }
    let len_bytes = (data.len() - 2) as u16;
    data[..2].copy_from_slice(&len_bytes.to_be_bytes());
    Outcome::data(data, usize::from(call.be16(7)))
}

/// MODE SELECT (10) (SPC-3, 6.8).
pub(crate) fn mode_select_10(drive: &mut Drive, call: &Call, link: &mut dyn Link) -> Outcome {
    const PAGE_FORMAT: u8 = 1 << 4;
    const SAVE_PAGES: u8 = 1 << 0;
    if call.packet[1] & (PAGE_FORMAT | SAVE_PAGES) != PAGE_FORMAT {
        return Sense::INVALID_FIELD.into();
    }
    let selected = drive
        .data_from_host(call, call.be16(7), link)
        .and_then(|list| select(&list, drive.modes, drive.bay.is_locked()));
    match selected {
        Ok(modes) => {
            drive.modes = modes;
            Outcome::Good
        }
        Err(sense) => sense.into(),
    }
}

/// The settings after a parameter list; all of it counts or none.
fn select(list: &[u8], mut modes: ModePages, locked: bool) -> Result<ModePages, Sense> {
    if list.is_empty() {
        return Ok(modes);
    }
    let (header, mut rest) = list.split_at_checked(HEADER_BYTES).ok_or(Sense::LIST_LENGTH)?;
    // No block descriptors.
    if header[6..] != [0, 0] {
        return Err(Sense::INVALID_PARAMETER);
    }
    while let [page, len, ..] = *rest {
        let page = page & 0x3f;
        let (new, tail) = rest.split_at_checked(2 + usize::from(len)).ok_or(Sense::LIST_LENGTH)?;
        if !PAGES.contains(&page) {
            return Err(Sense::INVALID_PARAMETER);
        }
        let (old, mask) = (modes.page(page, locked), ModePages::changeable(page));
        if new.len() != old.len() {
            return Err(Sense::INVALID_PARAMETER);
        }
        let same = |at: usize| (new[at] ^ old[at]) & !mask[at] == 0;
        if !(2..new.len()).all(same) {
            return Err(Sense::INVALID_PARAMETER);
        }
        if page == RECOVERY {
            (modes.recovery, modes.retries) = (new[2], new[3]);
        }
        rest = tail;
    }
    if rest.is_empty() { Ok(modes) } else { Err(Sense::LIST_LENGTH) }
}
