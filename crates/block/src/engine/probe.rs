//! Where exactly a read failed.
//!
//! A backend fails a request as a whole, of 128 KiB or more; a device model has to name the first
//! sector that cannot be read, since hosts give up, remap or repair exactly that one. So the slot
//! whose read failed keeps its buffer and reads halves of what is in question until one unit is
//! left, and that one alone has failed. Nothing of this reaches the guest's memory, and to everything
//! else the slot is what it was: in flight, to be cancelled and orphaned like any other.
//!
//! Writes are not probed: a host is told that a write failed and repeats all of it.

use crate::{ByteRange, IoError, Nanos};

/// The finest that a device model can name, in bytes: the smallest sector there is.
const SECTOR_BYTES: u64 = 512;

/// How long it may take, in nanoseconds. A drive that fails may take seconds for each read, and hosts
/// wait for half a minute.
const PATIENCE_NS: u64 = 5_000_000_000;

/// What a probe has found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Not enough: [`Probe::question`] is to be read next.
    Unsure,
    /// This byte cannot be read, and all before it can.
    At(u64),
    /// All of it can be read now.
    Vanished,
}

/// The search within one piece. Offsets count bytes from the start of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// How reading fails.
    pub(super) error: IoError,
    unit_bytes: u64,
    since: Nanos,
    /// All before it can be read.
    from: u64,
    /// Somewhere before it is a byte that cannot.
    to: u64,
}

impl Probe {
    /// Reading `failed` has failed with `error`, at `now`.
    pub(super) fn new(error: IoError, failed: ByteRange, align_bytes: u64, now: Nanos) -> Self {
        let unit_bytes = align_bytes.max(SECTOR_BYTES);
        let (from, to) = (failed.offset_bytes, failed.end_bytes());
        Self { error, unit_bytes, since: now, from, to }
    }

    /// Whether it takes too long to go on.
    pub(super) fn is_over_time(&self, now: Nanos) -> bool {
        now.since(self.since) > PATIENCE_NS
    }

    /// Whether probing says more than the failure itself: there is more than one unit, and the
    /// error is about data rather than about the backend.
    pub(super) fn is_worthwhile(&self) -> bool {
        let is_of_data = matches!(self.error, IoError::Os(_) | IoError::ShortTransfer);
        is_of_data && !self.is_single()
    }

    /// What is to be read next; never empty.
    pub(super) fn question(&self) -> ByteRange {
        let middle = (self.from + (self.to - self.from) / 2) & !(self.unit_bytes - 1);
        let end = if middle > self.from { middle } else { self.end_of_unit().min(self.to) };
        ByteRange::new(self.from, end - self.from)
    }

    /// Takes the answer to [`Probe::question`]: how many bytes were read, if any.
    pub(super) fn learn(&mut self, answer: Result<u64, IoError>) -> Finding {
        let asked = self.question();
        match answer {
            Ok(count) if count > 0 => {
                self.from += count.min(asked.len_bytes);
                if self.from == self.to { Finding::Vanished } else { Finding::Unsure }
            }
            other => {
                self.error = other.err().unwrap_or(IoError::ShortTransfer);
                self.to = asked.end_bytes();
                if self.is_single() { Finding::At(self.from) } else { Finding::Unsure }
            }
        }
    }

    fn end_of_unit(&self) -> u64 {
        (self.from | (self.unit_bytes - 1)).saturating_add(1)
    }

    fn is_single(&self) -> bool {
        self.to <= self.end_of_unit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIO: IoError = IoError::Os(5);

    /// Probes `sectors` of which `bad` cannot be read; what it found, and how often it asked.
    fn search(first: u64, sectors: u64, bad: &[u64], align: u64) -> (Finding, usize) {
        let mut probe =
            Probe::new(EIO, ByteRange::new(first * 512, sectors * 512), align, Nanos(0));
        for asked in 1.. {
            let question = probe.question();
            assert!(question.len_bytes > 0);
            let fails =
                bad.iter().any(|sector| question.overlaps(ByteRange::new(sector * 512, 512)));
            match probe.learn(if fails { Err(EIO) } else { Ok(question.len_bytes) }) {
                Finding::Unsure => {}
                finding => return (finding, asked),
            }
        }
        unreachable!()
    }

    #[test]
    fn the_first_bad_sector_is_found_wherever_it_is() {
        for bad in 8..264 {
            let (finding, asked) = search(8, 256, &[bad, 263], 1);
            assert_eq!(finding, Finding::At(bad * 512));
            assert!(asked <= 9, "{asked} reads for sector {bad}");
        }
        assert_eq!(search(8, 256, &[100, 99, 200], 1).0, Finding::At(99 * 512));
        // A part of a large block, for all that can be told.
        assert_eq!(search(8, 256, &[100], 4096).0, Finding::At(96 * 512));
        // Ranges that don't begin or end with a unit.
        for bad in 3..13 {
            let (finding, _) = search(3, 10, &[bad], 4096);
            let Finding::At(at) = finding else { panic!("{finding:?}") };
            assert!(at <= bad * 512 && at / 4096 == bad / 8, "{bad}: {at}");
        }
    }

    #[test]
    fn an_error_that_does_not_come_again_has_no_place() {
        assert_eq!(search(0, 256, &[], 1).0, Finding::Vanished);
        assert_eq!(search(0, 2, &[], 1).0, Finding::Vanished);
    }

    #[test]
    fn one_unit_and_errors_of_the_backend_are_not_worth_a_probe() {
        let range = |sectors: u64| ByteRange::new(0, sectors * 512);
        assert!(!Probe::new(EIO, range(1), 1, Nanos(0)).is_worthwhile());
        assert!(!Probe::new(EIO, range(8), 4096, Nanos(0)).is_worthwhile());
        assert!(Probe::new(EIO, range(2), 1, Nanos(0)).is_worthwhile());
        assert!(Probe::new(EIO, range(9), 4096, Nanos(0)).is_worthwhile());
        assert!(!Probe::new(IoError::BackendProtocol, range(9), 1, Nanos(0)).is_worthwhile());
        assert!(!Probe::new(IoError::Unsupported, range(9), 1, Nanos(0)).is_worthwhile());
    }

    #[test]
    fn short_answers_count_for_what_they_hold() {
        let mut probe = Probe::new(EIO, ByteRange::new(0, 2048), 1, Nanos(0));
        assert_eq!(probe.question(), ByteRange::new(0, 1024));
        assert_eq!(probe.learn(Ok(100)), Finding::Unsure);
        assert_eq!(probe.question().offset_bytes, 100);
        // Nothing at all is a failure.
        while probe.learn(Ok(0)) == Finding::Unsure {}
        assert_eq!(probe.error, IoError::ShortTransfer);
        assert_eq!(probe.from, 100);
    }
}
