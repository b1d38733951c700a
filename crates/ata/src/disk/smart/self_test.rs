//! Self-tests (ACS-4, SMART EXECUTE OFF-LINE IMMEDIATE): they read the medium, in the background or
//! (captive) while their command lasts.
//!
//! A test reads one chunk at a time, as a [`Job`] of the engine, and lets the host go first. It ends
//!
//! | by | with status |
//! |---|---|
//! | reading everything it meant to | 0h |
//! | another EXECUTE OFF-LINE IMMEDIATE, DISABLE OPERATIONS, STANDBY IMMEDIATE, SLEEP, a sanitize operation, SET MAX ADDRESS | 1h, aborted by the host |
//! | SRST, COMRESET; a captive one also when its command is dropped | 2h, interrupted by a reset |
//! | an error that is none of the medium | 3h |
//! | a sector that cannot be read | 7h, read element failed, with its LBA |
//!
//! A reset cancels the operation in flight and waits for nothing, so a backend that is stuck holds
//! up the test but no reset.

use alloc::vec::Vec;

use freewheel_block::{IoError, Nanos, OpError, Request, SubmitError};

use super::{BAD_KEY, SelfTestResult, Smart, life_timestamp};
use crate::Link;
use crate::disk::background::Job;
use crate::disk::command::{Call, Fault, Reply};
use crate::disk::config::Shape;
use crate::disk::transfer::Extent;
use crate::disk::{Disk, Pending, READY, Work};
use crate::fis::{Error, Registers, Status};

/// A short test is said to take, and with an idle disk takes less than, this long.
pub(crate) const SHORT_MINUTES: u8 = 1;
/// It reads this many chunks all over the medium, ten a second.
const SHORT_CHUNKS: u64 = 64;
const SHORT_PERIOD_NS: u64 = 100_000_000;
/// A chunk is this long.
const CHUNK_BYTES: u64 = 1 << 20;
/// An extended test rests after each chunk as long as that took, and at least this long.
const PAUSE_NS: u64 = 1_000_000;
/// The host goes first for this long, then the test has a turn.
const PATIENCE_NS: u64 = 100_000_000;
/// When the engine has no room.
const RETRY_NS: u64 = 10_000_000;
/// What an extended test reads in a minute at a rate that most storage has: 64 MiB/s.
const EXTENDED_BYTES_PER_MINUTE: u64 = 60 * (64 << 20);

// Self-test execution status, bits 7:4.
const COMPLETED: u8 = 0x0;
const ABORTED_BY_HOST: u8 = 0x1;
const INTERRUPTED: u8 = 0x2;
const FATAL: u8 = 0x3;
const READ_FAILED: u8 = 0x7;
const IN_PROGRESS: u8 = 0xf;

/// EXECUTE OFF-LINE IMMEDIATE: a captive test.
const CAPTIVE: u8 = 0x80;

/// How long an extended test is said to take.
pub(crate) fn extended_minutes(shape: &Shape) -> u16 {
    let bytes = shape.sectors.saturating_mul(u64::from(shape.sector_bytes));
    (bytes / EXTENDED_BYTES_PER_MINUTE + 1).min(u64::from(u16::MAX)) as u16
}

/// A test that has not ended.
pub(crate) struct Running {
    pub(super) subcommand: u8,
    /// What is to be read, never empty.
    spans: Vec<Extent>,
    /// Which of them, and which sector, comes next.
    span: usize,
    lba: u64,
    /// How many sectors to read at a time.
    chunk: u64,
    /// What is being read.
    reading: Extent,
    /// Sectors read and to be read.
    tested: u64,
    total: u64,
    /// When the chunk that is being read was started.
    started: Nanos,
    /// When the next one is due.
    due: Nanos,
    /// Power-on hours at which it began.
    life_timestamp: u16,
}

impl Running {
    fn is_captive(&self) -> bool {
        self.subcommand & CAPTIVE != 0
    }

    /// The next chunk.
    fn next(&self) -> Option<Extent> {
        let span = self.spans.get(self.span)?;
        let left = (span.lba + span.count).saturating_sub(self.lba);
        Some(Extent { lba: self.lba, count: left.min(self.chunk) })
    }

    /// Moves on by `count` sectors; says whether anything is left.
    fn advance(&mut self, count: u64) -> bool {
        self.tested += count;
        self.lba += count;
        while let Some(span) = self.spans.get(self.span) {
            if self.lba < span.lba + span.count {
                return true;
            }
            self.span += 1;
            self.lba = self.spans.get(self.span).map_or(self.lba, |next| next.lba);
        }
        false
    }

    /// Tenths that are left, at most 9.
    fn remaining(&self) -> u8 {
        let done = u128::from(self.tested) * 10 / u128::from(self.total.max(1));
        9 - done.min(9) as u8
    }

    /// When the next chunk may start: at its time, or, if the host is busy, some time later.
    fn turn(&self, host_is_busy: bool) -> Nanos {
        if host_is_busy && !self.is_captive() { self.due.plus(PATIENCE_NS) } else { self.due }
    }
}

/// What a short test reads: the first and the last chunk, and others evenly between them.
fn short_spans(sectors: u64, chunk: u64) -> Vec<Extent> {
    if sectors <= SHORT_CHUNKS * chunk {
        return Vec::from([Extent { lba: 0, count: sectors }]);
    }
    let stride =
        |index: u64| u128::from(sectors - chunk) * u128::from(index) / u128::from(SHORT_CHUNKS - 1);
    (0..SHORT_CHUNKS).map(|index| Extent { lba: stride(index) as u64, count: chunk }).collect()
}

impl Smart {
    /// The self-test execution status byte.
    pub(crate) fn self_test_status(&self) -> u8 {
        match &self.running {
            Some(running) => IN_PROGRESS << 4 | running.remaining(),
            None => self.tests.latest_status(),
        }
    }

    /// The entry for the log if power goes now: the test that is under way is interrupted.
    pub(super) fn interrupted(&self) -> Option<SelfTestResult> {
        self.running.as_ref().map(|running| SelfTestResult {
            subcommand: running.subcommand,
            status: INTERRUPTED << 4 | running.remaining(),
            life_timestamp: running.life_timestamp,
            failing_lba: None,
        })
    }

    /// Whether the selective test is under way, and with which span (from 1) and LBA.
    pub(crate) fn selective_progress(&self) -> Option<(u16, u64)> {
        let running = self.running.as_ref().filter(|it| it.subcommand & !CAPTIVE == 0x04)?;
        let start = running.spans.get(running.span)?.lba;
        let number = self.selective.spans.iter().position(|span| span.0 == start)? as u16;
        Some((number + 1, running.lba))
    }

    /// Whether a test is under way.
    pub(crate) fn is_testing(&self) -> bool {
        self.running.is_some()
    }
}

impl Disk {
    /// SMART EXECUTE OFF-LINE IMMEDIATE with `subcommand`.
    pub(crate) fn execute_off_line_immediate(&mut self, call: &Call, subcommand: u8) -> Reply {
        let sectors = self.shape.sectors;
        let chunk = CHUNK_BYTES / u64::from(self.shape.sector_bytes);
        let spans = match subcommand & !CAPTIVE {
            // The off-line routine: attributes are up to date at any moment.
            0x00 if subcommand == 0x00 => {
                self.abort_self_test(call.now);
                self.smart.offline_done = true;
                return Reply::Good;
            }
            0x7f if subcommand == 0x7f => {
                self.abort_self_test(call.now);
                return Reply::Good;
            }
            0x01 => short_spans(sectors, chunk),
            0x02 => Vec::from([Extent { lba: 0, count: sectors }]),
            0x04 => match self.smart.selective.extents(sectors) {
                Some(spans) => spans,
                None => return Reply::Fail(Fault::ABORT),
            },
            // Conveyance, and what is reserved.
            _ => return Reply::Fail(Fault::ABORT),
        };
        self.abort_self_test(call.now);
        let first = spans.first().map_or(0, |span| span.lba);
        let total = spans.iter().map(|span| span.count).sum();
        let now = call.now;
        let running = Running {
            subcommand,
            spans,
            span: 0,
            lba: first,
            chunk,
            reading: Extent { lba: first, count: 0 },
            life_timestamp: life_timestamp(self.power_on.hours(now)),
            tested: 0,
            total,
            started: now,
            due: now,
        };
        let is_captive = running.is_captive();
        self.smart.running = Some(running);
        if is_captive {
            let pending = Pending {
                call: *call,
                work: Work::SelfTest,
                len_bytes: 0,
                unreadable: None,
                token: None,
            };
            self.slots[usize::from(call.slot)] = Some(pending);
            return Reply::Pending;
        }
        Reply::Good
    }

    /// Starts the next chunk, if it is time for that.
    pub(crate) fn run_self_test(&mut self, now: Nanos, link: &mut dyn Link) {
        if self.background.is_busy(Job::SelfTest) {
            return;
        }
        if self.sanitize.bars_medium() {
            return self.abort_self_test(now);
        }
        let host_is_busy = self.host_is_busy();
        let Some(running) = &mut self.smart.running else { return };
        if running.turn(host_is_busy) > now {
            return;
        }
        let Some(mut extent) = running.next() else {
            return self.end_self_test(COMPLETED, None, now, Some(link));
        };
        // Sectors that are marked as uncorrectable cannot be read here either.
        let marked = self.uncorrectable.first_marked(extent.lba, extent.lba + extent.count);
        if let Some(lba) = marked {
            if lba == extent.lba {
                return self.fail_self_test(lba, now, link);
            }
            extent.count = lba - extent.lba;
        }
        running.started = now;
        running.reading = extent;
        let submitted = match self.bytes_of(extent) {
            Ok(range) => {
                let request = Request::read(Job::SelfTest.tag(), range);
                self.start_background(Job::SelfTest, request, [0; 4], now, link)
            }
            Err(_) => Err(SubmitError::OutOfRange),
        };
        match submitted {
            Ok(()) => {}
            Err(SubmitError::TooMany) => {
                if let Some(running) = &mut self.smart.running {
                    running.due = now.plus(RETRY_NS);
                }
            }
            // The host has hidden what was still to be read (SET MAX ADDRESS).
            Err(SubmitError::OutOfRange) => {
                self.end_self_test(ABORTED_BY_HOST, None, now, Some(link));
            }
            Err(_) => self.end_self_test(FATAL, None, now, Some(link)),
        }
    }

    /// When [`Disk::run_self_test`] is due.
    pub(crate) fn self_test_wakeup(&self) -> Option<Nanos> {
        let running = self.smart.running.as_ref()?;
        (!self.background.is_busy(Job::SelfTest)).then(|| running.turn(self.host_is_busy()))
    }

    fn host_is_busy(&self) -> bool {
        self.slots.iter().flatten().any(|it| it.work != Work::Silence)
    }

    /// A chunk has been read, or not.
    pub(crate) fn self_test_answered(
        &mut self,
        result: Result<(), OpError>,
        now: Nanos,
        link: &mut dyn Link,
    ) {
        let Some(running) = &mut self.smart.running else { return };
        let extent = running.reading;
        let took_ns = now.since(running.started);
        running.due = match running.subcommand {
            _ if running.is_captive() => now,
            0x01 => running.started.plus(SHORT_PERIOD_NS).max(now),
            _ => now.plus(took_ns.max(PAUSE_NS)),
        };
        match result {
            Ok(()) => {
                let goes_on = running.advance(extent.count);
                self.smart.defects.heal(extent.lba, extent.count);
                if !goes_on {
                    self.end_self_test(COMPLETED, None, now, Some(link));
                }
            }
            Err(OpError {
                error: IoError::Os(_) | IoError::ShortTransfer | IoError::NoSpace,
                offset_bytes,
            }) => self.fail_self_test(offset_bytes / u64::from(self.shape.sector_bytes), now, link),
            Err(_) => self.end_self_test(FATAL, None, now, Some(link)),
        }
    }

    /// A sector cannot be read.
    fn fail_self_test(&mut self, lba: u64, now: Nanos, link: &mut dyn Link) {
        self.note_unreadable(lba, true);
        self.end_self_test(READ_FAILED, Some(lba), now, Some(link));
    }

    /// The host ends the test, if there is one.
    pub(crate) fn abort_self_test(&mut self, now: Nanos) {
        self.stop_self_test(ABORTED_BY_HOST, now);
    }

    /// A reset ends the test, if there is one.
    pub(crate) fn interrupt_self_test(&mut self, now: Nanos) {
        self.stop_self_test(INTERRUPTED, now);
    }

    /// The host has dropped its commands: a captive test was one.
    pub(crate) fn interrupt_captive_self_test(&mut self, now: Nanos) {
        if self.smart.running.as_ref().is_some_and(Running::is_captive) {
            self.interrupt_self_test(now);
        }
    }

    fn stop_self_test(&mut self, status: u8, now: Nanos) {
        self.cancel_background(Job::SelfTest, now);
        self.end_self_test(status, None, now, None);
    }

    /// Enters the result into the log, and ends the command of a captive test if it is to be
    /// answered.
    fn end_self_test(
        &mut self,
        status: u8,
        failing_lba: Option<u64>,
        now: Nanos,
        link: Option<&mut dyn Link>,
    ) {
        let Some(running) = self.smart.running.take() else { return };
        let remaining = if status == COMPLETED { 0 } else { running.remaining() };
        let life_timestamp = life_timestamp(self.power_on.hours(now));
        let status = status << 4 | remaining;
        let subcommand = running.subcommand;
        self.smart.tests.push(SelfTestResult { subcommand, status, life_timestamp, failing_lba });
        self.saved.note_change();
        let Some(link) = link else { return };
        let captive = |it: &mut Pending| it.work == Work::SelfTest;
        let Some(pending) = self.slots.iter_mut().find_map(|slot| slot.take_if(captive)) else {
            return;
        };
        let call = &pending.call;
        if status >> 4 == COMPLETED {
            return self.end_well(call, link);
        }
        let registers = self.registers(call, READY | Status::ERR, Error::ABRT, None);
        let lba = BAD_KEY << 8 | call.fis.lba & 0xff;
        self.end(call, Registers { lba, ..registers }, link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_test_reads_the_first_and_the_last_sector() {
        for sectors in [1, 2048, 131_072, 131_073, 1 << 40, (1 << 48) - 1] {
            let spans = short_spans(sectors, 2048);
            let last = spans.last().map(|span| span.lba + span.count);
            assert_eq!((spans[0].lba, last), (0, Some(sectors)));
            assert!(spans.iter().map(|span| span.count).sum::<u64>() <= 131_072);
        }
    }
}
