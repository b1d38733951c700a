//! What a disk does on its own account: operations of the engine that belong to no command slot.
//!
//! A *job* (a self-test, say) has at most one operation at a time, whose tag is above those of the
//! slots. It reads into nothing, or writes a pattern; no memory of the host is involved. Jobs are
//! started and paced by [`Disk::run_background`], called at the end of each poll, and get their
//! answers through [`Disk::background_ended`].
//!
//! A job is no command: clearing PxCMD.ST does not touch it. What a reset does to it is the job's
//! own affair; whoever ends a job early cancels its operation, which never waits (C1).

use freewheel_block::{GuestMemoryError, Nanos, OpError, OpToken, Request, SubmitError};

use super::settings::PowerMode;
use super::{Disk, Lane, SLOTS};
use crate::Link;

/// Whose operation it is. Each has a tag of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// A SMART self-test.
    SelfTest,
    /// A sanitize operation.
    Sanitize,
}

/// How many jobs there are, which is how many operations an engine needs beyond the slots'.
pub(crate) const JOBS: usize = 2;

impl Job {
    const ALL: [Job; JOBS] = [Job::SelfTest, Job::Sanitize];

    /// The engine's tag of its operation.
    pub(crate) fn tag(self) -> u32 {
        SLOTS as u32 + self as u32
    }

    fn of_tag(tag: u32) -> Option<Job> {
        Job::ALL.into_iter().find(|job| job.tag() == tag)
    }
}

/// What an operation writes: four bytes, over and over. Reads have no use for it.
pub(crate) type Pattern = [u8; 4];

#[derive(Clone, Copy)]
struct Operation {
    pattern: Pattern,
    /// None while it is being submitted.
    token: Option<OpToken>,
}

/// The operations of all jobs.
#[derive(Default)]
pub(crate) struct Background {
    operations: [Option<Operation>; JOBS],
    /// The disk is at its end; nothing starts any more.
    stopped: bool,
}

impl Background {
    /// Data for a write of `tag`'s job.
    pub(crate) fn gather(
        &self,
        tag: u32,
        offset_bytes: u64,
        buf: &mut [u8],
    ) -> Result<(), GuestMemoryError> {
        let job = Job::of_tag(tag).ok_or(GuestMemoryError)?;
        let operation = self.operations[job as usize].ok_or(GuestMemoryError)?;
        let pattern = operation.pattern.iter().cycle().skip(offset_bytes as usize % 4);
        for (byte, value) in buf.iter_mut().zip(pattern) {
            *byte = *value;
        }
        Ok(())
    }

    /// Data that `tag`'s job has read; it goes nowhere.
    pub(crate) fn scatter(&self, tag: u32) -> Result<(), GuestMemoryError> {
        Job::of_tag(tag).map(|_| ()).ok_or(GuestMemoryError)
    }

    /// Whether `job` waits for an answer.
    pub(crate) fn is_busy(&self, job: Job) -> bool {
        self.operations[job as usize].is_some()
    }

    /// The job that an answer is for, if it still waits for exactly that one.
    pub(crate) fn take(&mut self, tag: u32, token: OpToken) -> Option<Job> {
        let job = Job::of_tag(tag)?;
        self.operations[job as usize].take_if(|it| it.token == Some(token)).map(|_| job)
    }
}

impl Disk {
    /// Hands the engine an operation of `job`, which must have none: `request` is one with
    /// [`Job::tag`], and writes `pattern` if it writes.
    pub(crate) fn start_background(
        &mut self,
        job: Job,
        request: Request,
        pattern: Pattern,
        now: Nanos,
        link: &mut dyn Link,
    ) -> Result<(), SubmitError> {
        debug_assert!(request.tag == job.tag() && !self.background.is_busy(job));
        // A disk that is at work is not in Standby, whatever its timers say.
        if self.power.mode(None, now) != PowerMode::Sleep {
            self.power.enter(PowerMode::Active, now);
        }
        // The engine may ask for the data at once, so it has to be known whose it is.
        self.background.operations[job as usize] = Some(Operation { pattern, token: None });
        let mut lane = Lane {
            link,
            slots: &self.slots,
            background: &self.background,
            crc_errors: &mut self.crc_errors,
            answers: &mut self.answers,
        };
        let submitted = self.engine.submit(request, now, &mut lane);
        let entry = &mut self.background.operations[job as usize];
        match submitted {
            Ok(token) => {
                *entry = Some(Operation { pattern, token: Some(token) });
                self.kick_due = Some(now);
                Ok(())
            }
            Err(error) => {
                *entry = None;
                Err(error)
            }
        }
    }

    /// Cancels the operation of `job`, if there is one; never waits.
    pub(crate) fn cancel_background(&mut self, job: Job, now: Nanos) {
        if let Some(token) = self.background.operations[job as usize].take().and_then(|it| it.token)
        {
            self.engine.cancel(token, now);
        }
    }

    /// Cancels the operations of all jobs, and lets none start any more; never waits.
    pub(crate) fn stop_background(&mut self, now: Nanos) {
        for job in Job::ALL {
            self.cancel_background(job, now);
        }
        self.background.stopped = true;
    }

    /// Tells `job` how its operation went.
    pub(crate) fn background_ended(
        &mut self,
        job: Job,
        result: Result<(), OpError>,
        now: Nanos,
        link: &mut dyn Link,
    ) {
        match job {
            Job::SelfTest => self.self_test_answered(result, now, link),
            Job::Sanitize => self.sanitize_step_ended(result),
        }
    }

    /// Whether jobs rest: at the disk's end, and until a disk that powered up in standby is told to
    /// spin up.
    fn is_background_at_rest(&self) -> bool {
        self.background.stopped || self.power_up.is_waiting()
    }

    /// Lets each job go on, if it is time for that.
    pub(crate) fn run_background(&mut self, now: Nanos, link: &mut dyn Link) {
        if self.is_background_at_rest() {
            return;
        }
        self.run_self_test(now, link);
        self.run_sanitize(now, link);
    }

    /// When [`Disk::run_background`] is due.
    pub(crate) fn background_wakeup(&self) -> Option<Nanos> {
        if self.is_background_at_rest() {
            return None;
        }
        [self.self_test_wakeup(), self.sanitize_wakeup()].into_iter().flatten().min()
    }
}
