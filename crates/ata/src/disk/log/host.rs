//! Host vendor specific logs (ACS-4, log addresses 80h to 9Fh): sixteen pages each, for the host to
//! keep what it likes.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::{PAGE_BYTES, Page};

/// Pages of each log.
pub(crate) const PAGES: u16 = 16;
/// Bytes of each log.
pub(crate) const LOG_BYTES: usize = PAGES as usize * PAGE_BYTES;

/// Logs that have been written, whole. The others are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostLogs {
    pub(crate) logs: BTreeMap<u8, Vec<u8>>,
}

impl HostLogs {
    /// A page of `log`.
    pub(super) fn page(&self, log: u8, page: u16) -> Page {
        let start = usize::from(page) * PAGE_BYTES;
        let data = self.logs.get(&log).and_then(|data| data.get(start..)?.first_chunk());
        data.copied().unwrap_or([0; PAGE_BYTES])
    }

    /// Puts `data`, which fits, into `log`, from page `first` on.
    pub(super) fn write(&mut self, log: u8, first: u16, data: &[u8]) {
        let start = usize::from(first) * PAGE_BYTES;
        let entry = self.logs.entry(log).or_insert_with(|| vec![0; LOG_BYTES]);
        if let Some(place) = entry.get_mut(start..start + data.len()) {
            place.copy_from_slice(data);
        }
    }
}
