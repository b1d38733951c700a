//! What happens to a disk, counted over its life. How long it has been on is counted elsewhere
//! ([`PowerOn`](crate::disk::saved::PowerOn)).

/// Totals over the life of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Logical sectors that commands have written, and how many commands those were.
    pub(crate) sectors_written: u64,
    pub(crate) write_commands: u64,
    /// The same of reads.
    pub(crate) sectors_read: u64,
    pub(crate) read_commands: u64,
    /// Commands that ended with UNC.
    pub(crate) uncorrectable: u32,
    /// Commands that ended with ICRC.
    pub(crate) crc_errors: u32,
    /// Commands that a reset, or a host that gave up on them, has cancelled.
    pub(crate) cancelled: u32,
    /// Resets that have cancelled commands.
    pub(crate) resets_with_commands: u32,
    /// COMRESETs.
    pub(crate) hardware_resets: u32,
    /// The most sectors that were unreadable at a time, and those of them that self-tests found.
    pub(crate) most_pending: u32,
    pub(crate) most_found_by_tests: u32,
}

/// What SMART tells beside that, as it is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    /// Power-on hours, and power cycles with this one.
    pub(crate) hours: u64,
    pub(crate) power_cycles: u32,
    /// Sectors that cannot be read.
    pub(crate) pending: u32,
}

/// A number of hours as a life timestamp in logs.
pub(crate) fn life_timestamp(hours: u64) -> u16 {
    hours.min(u64::from(u16::MAX)) as u16
}

/// One more, unless that is more than can be counted.
pub(crate) fn count(counter: &mut u32, more: usize) {
    *counter = counter.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
}
