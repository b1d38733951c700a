//! What has been taken off the controller while its storage may still owe something: detached
//! disks, ejected media.
//!
//! Orphans outlive the device that they came from, and so does the fence on their image (contract
//! C4): the engine stays here, with the image open and locked, until the storage owes nothing any
//! more. Until then the image cannot be attached again, which is said by name. What was completed
//! to the guest is flushed meanwhile.

use freewheel_ata::Device;
use freewheel_block::{ByteRange, Engine, Nanos};

use super::opener::Claim;
use super::plug::{Answer, Refusal, Ticket};
use super::shutdown::{self, Flush};
use super::state_file::Writer;
use super::unit::Image;

/// An engine without a place on the controller.
pub(super) enum Held {
    /// Of a disk or drive that was detached.
    Device(Box<dyn Device>),
    /// Of a medium that was ejected.
    Medium(Box<Engine>),
}

/// Who is told once it is settled, or not by then.
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) deadline: Nanos,
}

/// One image in custody.
pub(super) struct Case {
    pub(super) image: Image,
    pub(super) sector_bytes: u64,
    pub(super) since: Nanos,
    pub(super) flush: Flush,
    held: Held,
    state: Option<Writer>,
    waiter: Option<Waiter>,
}

impl Case {
    pub(super) fn new(
        image: Image,
        sector_bytes: u64,
        held: Held,
        state: Option<Writer>,
        now: Nanos,
    ) -> Self {
        // There is nothing to flush on what was only read.
        let flush = if image.read_only { Flush::Done } else { Flush::Due };
        Self { image, sector_bytes, since: now, flush, held, state, waiter: None }
    }

    /// Has somebody told of the end.
    pub(super) fn tell(mut self, waiter: Option<Waiter>) -> Self {
        self.waiter = waiter;
        self
    }

    /// Its engine, to be looked at and for faults to be released.
    pub(super) fn engine_mut(&mut self) -> Option<&mut Engine> {
        match &mut self.held {
            Held::Device(device) => device.engine_mut(),
            Held::Medium(engine) => Some(engine),
        }
    }

    /// The ranges in doubt.
    pub(super) fn doubts(&mut self) -> Vec<ByteRange> {
        self.engine_mut().map_or(Vec::new(), |engine| engine.ranges_in_doubt())
    }

    /// Moves on; whether the storage owes nothing any more. Reads count: they have its buffers.
    fn is_settled(&mut self, now: Nanos) -> bool {
        let mut flush = self.flush;
        let storage = self.engine_mut().is_none_or(|engine| {
            shutdown::advance(engine, &mut flush, now);
            flush != Flush::Submitted && engine.counters().orphans_now == 0
        });
        self.flush = flush;
        storage && !self.state.as_ref().is_some_and(|writer| writer.report().is_busy())
    }

    /// What is still owed, in words.
    fn describe(&mut self) -> String {
        let sector_bytes = self.sector_bytes;
        let lba = |range: ByteRange| {
            let (first, last) = shutdown::sectors(range, sector_bytes);
            format!("LBA {first} to {last}")
        };
        let ranges: Vec<String> = self.doubts().into_iter().map(lba).collect();
        match ranges.is_empty() {
            true => "its storage has not answered yet, and nothing is in doubt".to_owned(),
            false => format!("in doubt: {}", ranges.join(", ")),
        }
    }
}

/// All that is in custody.
#[derive(Default)]
pub(super) struct Custody {
    cases: Vec<Case>,
}

impl Custody {
    pub(super) fn take(&mut self, case: Case) {
        tracing::info!("{}: taken off; its storage is being settled", case.image.path);
        self.cases.push(case);
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Case> {
        self.cases.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.cases.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// The state files that may still be written.
    pub(super) fn writers(&self) -> impl Iterator<Item = &Writer> {
        self.cases.iter().filter_map(|case| case.state.as_ref())
    }

    /// Lets every engine go on, and gives out what is settled; `answers` are for those who wait.
    pub(super) fn poll(&mut self, now: Nanos, answers: &mut Vec<(Ticket, Answer)>) -> Vec<Case> {
        let mut settled: Vec<Case> =
            self.cases.extract_if(.., |case| case.is_settled(now)).collect();
        for case in &mut settled {
            let path = &case.image.path;
            let answer = if case.flush == Flush::Done {
                tracing::info!("{path}: settled, nothing is in doubt");
                Ok(serde_json::json!({ "path": path, "settled": true }))
            } else {
                tracing::error!("{path}: closed; writes since its last flush may not be durable");
                Err(Refusal::new(
                    format!("{path} is off, but its last flush failed: writes may not be durable"),
                    "check the storage, and the file systems on it",
                ))
            };
            answers.extend(case.waiter.take().map(|waiter| (waiter.ticket, answer)));
        }
        for case in &mut self.cases {
            if let Some(waiter) = case.waiter.take_if(|waiter| waiter.deadline <= now) {
                let (path, what) = (case.image.path.clone(), case.describe());
                let why = format!("{path} is off, but its storage is not settled; {what}");
                let remedy = "`freewheel ctl status` shows it in `custody` until it is";
                answers.push((waiter.ticket, Err(Refusal::new(why, remedy))));
            }
        }
        settled
    }

    /// When [`Custody::poll`] is due even if no engine wakes the loop.
    pub(super) fn next_wakeup(&mut self) -> Option<Nanos> {
        let due = |case: &mut Case| {
            let deadline = case.waiter.as_ref().map(|waiter| waiter.deadline);
            let engine = case.engine_mut().and_then(|engine| engine.next_wakeup());
            [deadline, engine].into_iter().flatten().min()
        };
        self.cases.iter_mut().filter_map(due).min()
    }

    /// The images, for whoever wants to open one.
    pub(super) fn claims(&mut self, now: Nanos) -> Vec<Claim> {
        let claim = |case: &mut Case| {
            let age_s = now.since(case.since) / 1_000_000_000;
            let (path, what) = (case.image.path.clone(), case.describe());
            Some(Claim {
                identity: case.image.identity?,
                read_only: case.image.read_only,
                why: format!(
                    "{path} was taken off {age_s} s ago and its storage is not settled; {what}"
                ),
                remedy: "wait until `freewheel ctl status` does not show it in `custody` any more",
            })
        };
        self.cases.iter_mut().filter_map(claim).collect()
    }
}
