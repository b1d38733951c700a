//! The Sanitize Device feature set (ACS-4, command B4h): all user data becomes irretrievable, hidden
//! sectors included, while the disk does little else.
//!
//! A sanitize operation is a job of `background.rs`. It goes over the medium in chunks, one at a time:
//! BLOCK ERASE makes each read as zeroes, OVERWRITE writes a pattern over it as often as asked; each
//! pass ends with a flush. No reset stops it, and none has to wait for it (C1): the chunk that
//! storage has goes on, and the host cannot reach the medium in the meantime. Whatever the host wrote
//! before and a reset turned into an orphan is fenced, so the chunk over it waits (C4), and no old data
//! lands on the sanitized medium. Switching the disk off interrupts it only: where it is, is saved.
//!
//! | state | in ACS-4 | how it comes to be |
//! |---|---|---|
//! | idle | SD0 | |
//! | frozen | SD1 | SANITIZE FREEZE LOCK EXT, until COMRESET or power-on |
//! | running | SD2 | BLOCK ERASE EXT, OVERWRITE EXT |
//! | failed | SD3 | the storage failed; left by another operation, or by status if failure mode allows |
//! | succeeded | SD4 | |
//!
//! Left out: CRYPTO SCRAMBLE EXT, since nothing is encrypted. "Irretrievable" is what the backend
//! makes of a zeroed range: copies elsewhere (snapshots, a thin pool's freed blocks) are out of
//! reach here.

use alloc::vec::Vec;

use freewheel_block::{ByteRange, Nanos, OpError, Request, SubmitError};

use super::Disk;
use super::background::Job;
use super::command::{Call, Fault, Reply};
use super::saved::Reader;
use crate::Link;
use crate::fis::{Error, Status};

/// How much of the medium one operation covers, in bytes.
const CHUNK_BYTES: u64 = 32 << 20;
/// How much may be done again after a loss of power.
const SAVE_EVERY_BYTES: u64 = 1 << 30;
/// How long to wait for room in the engine.
const RETRY_NS: u64 = 1_000_000;

/// The command's opcode.
pub(crate) const SANITIZE_DEVICE: u8 = 0xb4;

// Features register: which command it is.
const STATUS: u16 = 0x0000;
const BLOCK_ERASE: u16 = 0x0012;
const OVERWRITE: u16 = 0x0014;
const FREEZE_LOCK: u16 = 0x0020;
const ANTIFREEZE_LOCK: u16 = 0x0040;

// LBA register: the key that says that it is meant, in ASCII.
const BLOCK_ERASE_KEY: u64 = 0x426b_4572;
const OVERWRITE_KEY: u64 = 0x4f57;
const FREEZE_LOCK_KEY: u64 = 0x4672_4c6b;
const ANTIFREEZE_LOCK_KEY: u64 = 0x416e_7469;

// Count register.
const CLEAR_FAILED: u16 = 1 << 0;
const OVERWRITE_COUNT: u16 = 0x000f;
const FAILURE_MODE: u16 = 1 << 4;
const INVERT_PATTERN: u16 = 1 << 7;

// Count register at the end.
const COMPLETED_WITHOUT_ERROR: u16 = 1 << 15;
const IN_PROGRESS: u16 = 1 << 14;
const IS_FROZEN: u16 = 1 << 13;
const IS_ANTIFREEZE: u16 = 1 << 12;

// Word 59.
const BLOCK_ERASE_SUPPORTED: u16 = 1 << 15;
const OVERWRITE_SUPPORTED: u16 = 1 << 14;
const SANITIZE_SUPPORTED: u16 = 1 << 12;
/// The commands that work during an operation are those of ACS-3 and later.
const ACS_3_COMMANDS: u16 = 1 << 11;
const ANTIFREEZE_SUPPORTED: u16 = 1 << 10;

/// SANITIZE DEVICE ERROR REASON: LBA bits 7:0 of a command that fails.
#[derive(Clone, Copy)]
enum Reason {
    NotReported = 0,
    Unsuccessful = 1,
    Unsupported = 2,
    Frozen = 3,
    Antifreeze = 4,
}

impl From<Reason> for Reply {
    fn from(reason: Reason) -> Self {
        let lba = Some(reason as u64);
        Reply::Fail(Fault { status: Status::ERR, error: Error::ABRT, lba })
    }
}

/// What is done to each chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    BlockErase,
    Overwrite { pattern: u32, passes: u8, invert: bool },
}

impl Method {
    fn passes(self) -> u8 {
        match self {
            Method::BlockErase => 1,
            Method::Overwrite { passes, .. } => passes,
        }
    }

    /// What pass number `pass` writes.
    fn pattern(self, pass: u8) -> [u8; 4] {
        match self {
            Method::Overwrite { pattern, invert: true, .. } if pass % 2 == 1 => {
                (!pattern).to_le_bytes()
            }
            Method::Overwrite { pattern, .. } => pattern.to_le_bytes(),
            Method::BlockErase => [0; 4],
        }
    }
}

/// A sanitize operation under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Task {
    method: Method,
    /// FAILURE MODE: once it has failed, SANITIZE STATUS EXT may clear that.
    may_clear: bool,
    /// Passes that are complete.
    pass: u8,
    /// Where the next chunk begins, or the one under way.
    next_byte: u64,
    /// What comes before it in this pass is durable: from here it goes on after a loss of power.
    durable_byte: u64,
}

impl Task {
    fn new(method: Method, may_clear: bool) -> Self {
        Self { method, may_clear, pass: 0, next_byte: 0, durable_byte: 0 }
    }

    /// Whether a flush is due: at the end of a pass, and before it is saved how far it is.
    fn must_flush(&self, size_bytes: u64) -> bool {
        self.next_byte >= size_bytes || self.next_byte - self.durable_byte >= SAVE_EVERY_BYTES
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Frozen,
    Running(Task),
    Failed {
        may_clear: bool,
    },
    Succeeded,
}

/// The state of the feature set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sanitize {
    state: State,
    /// SANITIZE FREEZE LOCK EXT is refused until power-on.
    antifreeze: bool,
    /// The last operation completed without error.
    succeeded: bool,
    /// The engine had no room.
    retry_at: Option<Nanos>,
}

impl Sanitize {
    /// Whether the medium is out of the host's reach.
    pub(crate) fn bars_medium(&self) -> bool {
        matches!(self.state, State::Running(_) | State::Failed { .. })
    }

    /// COMRESET: only a freeze ends.
    pub(crate) fn reset_by_hardware(&mut self) {
        if self.state == State::Frozen {
            self.state = State::Idle;
        }
    }

    /// Count register at the end of a command.
    fn flags(&self) -> u16 {
        let flags = [
            (COMPLETED_WITHOUT_ERROR, self.succeeded),
            (IN_PROGRESS, matches!(self.state, State::Running(_))),
            (IS_FROZEN, self.state == State::Frozen),
            (IS_ANTIFREEZE, self.antifreeze),
        ];
        flags.iter().fold(0, |word, (flag, is_set)| if *is_set { word | flag } else { word })
    }

    /// LBA register at the end of a command: 65,536ths of the operation, FFFFh if there is none.
    fn progress(&self, size_bytes: u64) -> u64 {
        let State::Running(task) = self.state else { return 0xffff };
        let total = u128::from(size_bytes) * u128::from(task.method.passes());
        let done = u128::from(size_bytes) * u128::from(task.pass) + u128::from(task.next_byte);
        ((done << 16) / total.max(1)).min(0xfffe) as u64
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        let idle = Task::new(Method::BlockErase, false);
        let (state, task) = match self.state {
            State::Running(task) => (1, task),
            State::Failed { may_clear } => (2, Task { may_clear, ..idle }),
            State::Idle | State::Frozen | State::Succeeded => (0, idle),
        };
        let (is_overwrite, pattern, passes, invert) = match task.method {
            Method::BlockErase => (false, 0, 1, false),
            Method::Overwrite { pattern, passes, invert } => (true, pattern, passes, invert),
        };
        let flags = [self.succeeded, task.may_clear, is_overwrite, invert];
        out.push(state);
        out.push(flags.iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(*flag)));
        out.extend_from_slice(&[passes, task.pass]);
        out.extend_from_slice(&pattern.to_le_bytes());
        out.extend_from_slice(&task.durable_byte.to_le_bytes());
    }

    /// Loading is switching on: a freeze is over, an operation goes on.
    pub(crate) fn load(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (state, flags) = (reader.u8()?, reader.u8()?);
        let (passes, pass) = (reader.u8()?, reader.u8()?);
        let (pattern, next_byte) = (reader.u32()?, reader.u64()?);
        let flag = |index: u8| flags >> index & 1 != 0;
        let may_clear = flag(1);
        let method = match flag(2) {
            true => Method::Overwrite { pattern, passes, invert: flag(3) },
            false => Method::BlockErase,
        };
        let is_sane = flags < 16 && (1..=16).contains(&passes) && pass < passes.max(1);
        if !is_sane || passes != method.passes() || !reader.is_empty() {
            return None;
        }
        let state = match state {
            0 => State::Idle,
            1 => {
                let next_byte = next_byte - next_byte % CHUNK_BYTES;
                State::Running(Task { method, may_clear, pass, next_byte, durable_byte: next_byte })
            }
            2 => State::Failed { may_clear },
            _ => return None,
        };
        Some(Self { state, succeeded: flag(0), ..Self::default() })
    }
}

/// SANITIZE DEVICE: six commands, of which the features register names one.
pub(crate) fn sanitize_device(disk: &mut Disk, call: &Call, _link: &mut dyn Link) -> Reply {
    if disk.shape.read_only {
        return Reply::Fail(Fault::ABORT);
    }
    let fis = &call.fis;
    let may_clear = fis.count & FAILURE_MODE != 0;
    match fis.features {
        STATUS => return status(disk, call),
        FREEZE_LOCK => return freeze_lock(disk, call),
        ANTIFREEZE_LOCK => return antifreeze_lock(disk, call),
        _ => {}
    }
    let method = match fis.features {
        BLOCK_ERASE if fis.lba == BLOCK_ERASE_KEY => Method::BlockErase,
        OVERWRITE if fis.lba >> 32 == OVERWRITE_KEY => Method::Overwrite {
            pattern: fis.lba as u32,
            passes: match (fis.count & OVERWRITE_COUNT) as u8 {
                0 => 16,
                passes => passes,
            },
            invert: fis.count & INVERT_PATTERN != 0,
        },
        BLOCK_ERASE | OVERWRITE => return Reason::NotReported.into(),
        _ => return Reason::Unsupported.into(),
    };
    match disk.sanitize.state {
        State::Idle | State::Succeeded => {}
        // What may not be cleared is not left by an operation that could be.
        State::Failed { may_clear: was } if was || !may_clear => {}
        State::Failed { .. } | State::Running(_) => return Reason::NotReported.into(),
        State::Frozen => return Reason::Frozen.into(),
    }
    disk.sanitize.state = State::Running(Task::new(method, may_clear));
    disk.sanitize.succeeded = false;
    // From the next poll on, which is due at once.
    disk.kick_due = Some(call.now);
    disk.saved.note_change();
    disk.sanitize_outputs()
}

/// SANITIZE STATUS EXT.
fn status(disk: &mut Disk, call: &Call) -> Reply {
    if let State::Failed { may_clear } = disk.sanitize.state {
        if !may_clear || call.fis.count & CLEAR_FAILED == 0 {
            return Reason::Unsuccessful.into();
        }
        disk.sanitize.state = State::Idle;
        disk.saved.note_change();
    }
    disk.sanitize_outputs()
}

/// SANITIZE FREEZE LOCK EXT.
fn freeze_lock(disk: &mut Disk, call: &Call) -> Reply {
    match disk.sanitize.state {
        _ if call.fis.lba != FREEZE_LOCK_KEY => Reason::NotReported.into(),
        _ if disk.sanitize.antifreeze => Reason::Antifreeze.into(),
        State::Running(_) | State::Failed { .. } => Reason::NotReported.into(),
        State::Idle | State::Succeeded | State::Frozen => {
            disk.sanitize.state = State::Frozen;
            disk.sanitize_outputs()
        }
    }
}

/// SANITIZE ANTIFREEZE LOCK EXT.
fn antifreeze_lock(disk: &mut Disk, call: &Call) -> Reply {
    match disk.sanitize.state {
        _ if call.fis.lba != ANTIFREEZE_LOCK_KEY => Reason::NotReported.into(),
        State::Frozen => Reason::Frozen.into(),
        _ => {
            disk.sanitize.antifreeze = true;
            disk.sanitize_outputs()
        }
    }
}

impl Disk {
    fn sanitize_outputs(&self) -> Reply {
        let lba = self.sanitize.progress(self.engine.info().size_bytes);
        Reply::GoodLba { lba, count: self.sanitize.flags() }
    }

    /// Starts the next chunk, if an operation is under way and none is with the engine.
    pub(crate) fn run_sanitize(&mut self, now: Nanos, link: &mut dyn Link) {
        let State::Running(task) = self.sanitize.state else { return };
        let is_early = self.sanitize.retry_at.is_some_and(|at| at > now);
        if is_early || !self.may_run_sanitize() {
            return;
        }
        let tag = Job::Sanitize.tag();
        let size_bytes = self.engine.info().size_bytes;
        let left_bytes = size_bytes.saturating_sub(task.next_byte);
        let chunk = ByteRange::new(task.next_byte, left_bytes.min(CHUNK_BYTES));
        let request = match task.method {
            _ if task.must_flush(size_bytes) => Request::flush(tag),
            Method::BlockErase => Request::write_zeroes(tag, chunk, false),
            Method::Overwrite { .. } => Request::write(tag, chunk, false),
        };
        let pattern = task.method.pattern(task.pass);
        self.sanitize.retry_at = None;
        match self.start_background(Job::Sanitize, request, pattern, now, link) {
            Ok(()) => {}
            Err(SubmitError::TooMany) => self.sanitize.retry_at = Some(now.plus(RETRY_NS)),
            Err(_) => self.sanitize_failed(task),
        }
    }

    /// One that was under way when power went waits if the medium has become read-only.
    fn may_run_sanitize(&self) -> bool {
        !self.background.is_busy(Job::Sanitize) && !self.shape.read_only
    }

    /// When [`Disk::run_sanitize`] is due.
    pub(crate) fn sanitize_wakeup(&self) -> Option<Nanos> {
        let is_due = matches!(self.sanitize.state, State::Running(_)) && self.may_run_sanitize();
        is_due.then_some(self.sanitize.retry_at.unwrap_or_default())
    }

    /// A chunk, or the flush that ends a pass, has ended.
    pub(crate) fn sanitize_step_ended(&mut self, result: Result<(), OpError>) {
        let State::Running(mut task) = self.sanitize.state else { return };
        if result.is_err() {
            return self.sanitize_failed(task);
        }
        let size_bytes = self.engine.info().size_bytes;
        if !task.must_flush(size_bytes) {
            let end_bytes = (task.next_byte + CHUNK_BYTES).min(size_bytes);
            let sector_bytes = u64::from(self.shape.sector_bytes);
            let (first, end) = (task.next_byte / sector_bytes, end_bytes / sector_bytes);
            self.uncorrectable.clear(first, end);
            self.smart.defects.heal(first, end.saturating_sub(first));
            task.next_byte = end_bytes;
        } else if task.next_byte < size_bytes {
            task.durable_byte = task.next_byte;
            self.saved.note_change();
        } else {
            task = Task { pass: task.pass + 1, next_byte: 0, durable_byte: 0, ..task };
            self.saved.note_change();
        }
        self.sanitize.state = State::Running(task);
        if task.pass == task.method.passes() {
            self.sanitize.state = State::Succeeded;
            self.sanitize.succeeded = true;
        }
    }

    fn sanitize_failed(&mut self, task: Task) {
        self.sanitize.state = State::Failed { may_clear: task.may_clear };
        self.saved.note_change();
    }

    /// Word 59.
    pub(crate) fn put_sanitize_words(&self, words: &mut [u16; 256]) {
        if !self.shape.read_only {
            words[59] |= BLOCK_ERASE_SUPPORTED
                | OVERWRITE_SUPPORTED
                | SANITIZE_SUPPORTED
                | ACS_3_COMMANDS
                | ANTIFREEZE_SUPPORTED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_survives_saving_and_a_freeze_does_not() {
        let method = Method::Overwrite { pattern: 0x1234_5678, passes: 16, invert: true };
        let at = 3 * CHUNK_BYTES;
        let task = Task { method, may_clear: true, pass: 15, next_byte: at, durable_byte: at };
        for (state, expected) in [
            (State::Running(task), State::Running(task)),
            (State::Failed { may_clear: true }, State::Failed { may_clear: true }),
            (State::Failed { may_clear: false }, State::Failed { may_clear: false }),
            (State::Succeeded, State::Idle),
            (State::Frozen, State::Idle),
        ] {
            let sanitize = Sanitize { state, succeeded: true, antifreeze: true, retry_at: None };
            let mut bytes = Vec::new();
            sanitize.save(&mut bytes);
            let expected = Sanitize { state: expected, succeeded: true, ..Sanitize::default() };
            assert_eq!(Sanitize::load(&bytes), Some(expected));
            for length in 0..bytes.len() {
                assert_eq!(Sanitize::load(&bytes[..length]), None);
            }
        }
    }

    #[test]
    fn a_flush_comes_before_progress_is_saved_and_at_the_end_of_a_pass() {
        const SIZE: u64 = 5 << 29;
        let mut task = Task::new(Method::BlockErase, false);
        assert!(!task.must_flush(SIZE));
        task.next_byte = SAVE_EVERY_BYTES - CHUNK_BYTES;
        assert!(!task.must_flush(SIZE));
        task.next_byte = SAVE_EVERY_BYTES;
        assert!(task.must_flush(SIZE));
        task.durable_byte = SAVE_EVERY_BYTES;
        assert!(!task.must_flush(SIZE));
        task.next_byte = SIZE;
        assert!(task.must_flush(SIZE));
    }

    #[test]
    fn nonsense_is_not_loaded() {
        let mut bytes = Vec::new();
        Sanitize::default().save(&mut bytes);
        for (index, value) in [(0, 3), (1, 16), (2, 0), (2, 17), (3, 1)] {
            let mut bad = bytes.clone();
            bad[index] = value;
            assert_eq!(Sanitize::load(&bad), None, "byte {index}");
        }
    }
}
