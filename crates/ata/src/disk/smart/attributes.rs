//! SMART READ DATA and READ THRESHOLDS: the attributes, as ATA-3 laid them out and every host still
//! reads them (ACS-4 calls them vendor specific), and what ACS-4 defines behind them.

use super::self_test::SHORT_MINUTES;
use super::{Smart, Vitals};
use crate::disk::log::{PAGE_BYTES, Page, seal};

/// Both structures have the same revision.
const REVISION: u16 = 0x0010;

// Flags of an attribute.
const PRE_FAILURE: u16 = 1 << 0;
const ONLINE: u16 = 1 << 1;
const ERROR_RATE: u16 = 1 << 3;
const EVENT_COUNT: u16 = 1 << 4;
const SELF_PRESERVING: u16 = 1 << 5;

const COUNTER: u16 = ONLINE | EVENT_COUNT | SELF_PRESERVING;

/// An attribute with a value that is known.
struct Attribute {
    id: u8,
    flags: u16,
    /// 100 is best; at or below the threshold the attribute has failed.
    value: u8,
    worst: u8,
    threshold: u8,
    raw: u64,
}

/// 100, less one for each of `count`, at least 1.
fn less(count: u32) -> u8 {
    100 - count.min(99) as u8
}

impl Smart {
    #[rustfmt::skip]
    fn attributes(&self, vitals: &Vitals) -> [Attribute; 10] {
        let it = &self.counters;
        let (pending, found) = (vitals.pending, self.defects.found_by_tests());
        let most_pending = pending.max(it.most_pending);
        let counter = |id, raw| {
            Attribute { id, flags: COUNTER, value: 100, worst: 100, threshold: 0, raw }
        };
        let errors = |id, flags, count: u32| {
            let value = less(count);
            Attribute { id, flags, value, worst: value, threshold: 0, raw: count.into() }
        };
        [
            // Reallocated sectors: an image has no spare ones, so none ever is. Said, because
            // whoever watches disks looks for it first.
            Attribute { id: 5, flags: PRE_FAILURE | COUNTER, value: 100, worst: 100, threshold: 10, raw: 0 },
            // Power-on hours, power cycles.
            counter(9, vitals.hours),
            counter(12, u64::from(vitals.power_cycles)),
            // Reported uncorrectable errors; commands that the host gave up on.
            errors(187, COUNTER, it.uncorrectable),
            errors(188, COUNTER, it.cancelled),
            // Current pending sectors. Ninety-nine at a time are a disk on its way out.
            Attribute { id: 197, flags: PRE_FAILURE | ONLINE | EVENT_COUNT, value: less(pending), worst: less(most_pending), threshold: 1, raw: pending.into() },
            // Those that a self-test has found.
            Attribute { id: 198, flags: EVENT_COUNT, value: less(found), worst: less(it.most_found_by_tests), threshold: 0, raw: found.into() },
            // CRC errors on the link.
            errors(199, COUNTER | ERROR_RATE, it.crc_errors),
            // Total LBAs written, read.
            counter(241, it.sectors_written),
            counter(242, it.sectors_read),
        ]
    }

    /// Whether an attribute that foretells failure is at or below its threshold.
    pub(crate) fn threshold_is_exceeded(&self, vitals: &Vitals) -> bool {
        self.attributes(vitals)
            .iter()
            .any(|it| it.flags & PRE_FAILURE != 0 && it.value <= it.threshold)
    }

    /// SMART READ DATA. An extended self-test takes about `extended_minutes`.
    pub(crate) fn data_page(&self, vitals: &Vitals, extended_minutes: u16) -> Page {
        let mut page = [0; PAGE_BYTES];
        page[..2].copy_from_slice(&REVISION.to_le_bytes());
        let (entries, _) = page[2..362].as_chunks_mut::<12>();
        for (entry, it) in entries.iter_mut().zip(self.attributes(vitals)) {
            entry[0] = it.id;
            entry[1..3].copy_from_slice(&it.flags.to_le_bytes());
            entry[3] = it.value;
            entry[4] = it.worst;
            entry[5..11].copy_from_slice(&it.raw.to_le_bytes()[..6]);
        }
        // Off-line data collection: never started, or completed. It takes no time at all, since
        // attributes are up to date at any moment.
        page[362] = if self.offline_done { 0x02 } else { 0x00 };
        page[363] = self.self_test_status();
        // EXECUTE OFF-LINE IMMEDIATE is there, with the short and extended self-test (bit 4) and
        // the selective one (bit 6); no conveyance test, no off-line read scan.
        page[367] = 1 << 0 | 1 << 4 | 1 << 6;
        // Attributes are saved before a power mode change, and by autosave.
        page[368] = 0b11;
        // Error logging.
        page[370] = 1;
        page[372] = SHORT_MINUTES;
        // From 255 minutes on the byte says to look at the word.
        page[373] = extended_minutes.min(0xff) as u8;
        if extended_minutes >= 0xff {
            page[375..377].copy_from_slice(&extended_minutes.to_le_bytes());
        }
        seal(page)
    }

    /// SMART READ THRESHOLDS.
    pub(crate) fn thresholds_page(&self, vitals: &Vitals) -> Page {
        let mut page = [0; PAGE_BYTES];
        page[..2].copy_from_slice(&REVISION.to_le_bytes());
        let (entries, _) = page[2..362].as_chunks_mut::<12>();
        for (entry, it) in entries.iter_mut().zip(self.attributes(vitals)) {
            entry[0] = it.id;
            entry[1] = it.threshold;
        }
        seal(page)
    }
}
