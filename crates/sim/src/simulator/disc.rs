//! Images for the simulated drive: storage that answers when it is told to, and whose every block
//! says which disc it is of.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freewheel_block::{
    Backend, BackendInfo, Client, Done, Engine, EngineConfig, GuestMemoryError, Io, IoError, Nanos,
    OpError, OpKind, OpToken,
};

use super::step::How;
use super::violation::{Kind, Violation};

/// Bytes of a block.
pub(super) const BLOCK: u64 = 2048;
/// Blocks of every disc.
pub(super) const BLOCKS: u32 = 48;
/// Slots of a disc's engine.
const SLOTS: u16 = 3;

/// What block `lba` of `disc` consists of.
pub(super) fn word(disc: u32, lba: u32) -> u64 {
    0xcd << 56 | u64::from(disc) << 16 | u64::from(lba)
}

/// What the two halves share.
pub(super) struct DiscState {
    disc: u32,
    waiting: Vec<Io>,
    done: Vec<Done>,
    /// Calls of the engine but for hints.
    pub(super) calls: u64,
    pub(super) violation: Option<Violation>,
}

/// A handle to a disc; one goes to the engine.
#[derive(Clone)]
pub(super) struct Disc {
    info: BackendInfo,
    state: Arc<Mutex<DiscState>>,
}

impl Disc {
    pub(super) fn new(disc: u32) -> Self {
        let info = BackendInfo {
            engine_name: String::new(),
            size_bytes: u64::from(BLOCKS) * BLOCK,
            io_align_bytes: 1,
            read_only: true,
            fua: false,
            discard: None,
            write_zeroes: false,
            queue_depth: 64,
        };
        let (waiting, done) = (Vec::new(), Vec::new());
        let state = DiscState { disc, waiting, done, calls: 0, violation: None };
        Self { info, state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn engine(&self) -> Engine {
        let config = EngineConfig {
            slots: SLOTS,
            buf_bytes: 4096,
            max_operations: 4,
            window: 2,
            write_through: false,
        };
        Engine::new(Box::new(self.clone()), config)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, DiscState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiscState {
    pub(super) fn outstanding(&self) -> usize {
        self.waiting.len()
    }

    /// Requests that the engine has lent and not taken back.
    pub(super) fn lent(&self) -> usize {
        self.waiting.len() + self.done.len()
    }

    /// Ends the request at `index`. Says whether it has failed.
    pub(super) fn end(&mut self, index: usize, how: How) -> bool {
        let mut io = self.waiting.remove(index);
        if io.kind != OpKind::Read {
            let what = format!("a drive asks its disc for a {}", io.kind);
            self.violation.get_or_insert(Violation::new(Kind::Request, what));
        }
        let first = (io.range.offset_bytes / 8) as usize;
        let (words, _) = io.data_mut().as_chunks_mut::<8>();
        for (at, bytes) in words.iter_mut().enumerate() {
            let lba = ((first + at) as u64 * 8 / BLOCK) as u32;
            *bytes = word(self.disc, lba).to_le_bytes();
        }
        let len_bytes = io.range.len_bytes;
        let result = match how {
            How::Fails => Err(IoError::Os(5)),
            How::Short => Ok((len_bytes / 2).next_multiple_of(BLOCK).min(len_bytes)),
            _ => Ok(len_bytes),
        };
        self.done.push(io.done(result));
        how == How::Fails
    }
}

impl Backend for Disc {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn submit(&mut self, io: Io, _now: Nanos) {
        let mut state = self.state();
        state.calls += 1;
        state.waiting.push(io);
    }

    fn poll(&mut self, _now: Nanos, done: &mut Vec<Done>) {
        let mut state = self.state();
        state.calls += 1;
        done.append(&mut state.done);
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        (!self.state().done.is_empty()).then_some(Nanos(0))
    }
}

/// A disc that was taken out, with the engine that may still read it: in custody.
pub(super) struct Ejected {
    pub(super) disc: Disc,
    pub(super) engine: Engine,
}

/// Nobody waits for what an ejected disc's engine has.
#[derive(Default)]
struct Nobody(Option<Violation>);

impl Client for Nobody {
    fn gather(&mut self, _tag: u32, _offset: u64, _buf: &mut [u8]) -> Result<(), GuestMemoryError> {
        Err(GuestMemoryError)
    }

    fn scatter(&mut self, tag: u32, _offset: u64, data: &[u8]) -> Result<(), GuestMemoryError> {
        let what = format!("an ejected disc has {} bytes for slot {tag}", data.len());
        self.0.get_or_insert(Violation::new(Kind::Memory, what));
        Err(GuestMemoryError)
    }

    fn answer(&mut self, _token: OpToken, tag: u32, _result: Result<(), OpError>) {
        let what = format!("an ejected disc answers slot {tag}");
        self.0.get_or_insert(Violation::new(Kind::Answer, what));
    }
}

impl Ejected {
    /// Lets it come to rest. Says whether it has.
    pub(super) fn poll(&mut self, now: Nanos) -> Result<bool, Violation> {
        let mut nobody = Nobody::default();
        self.engine.poll(now, &mut nobody);
        if let Some(violation) = nobody.0 {
            return Err(violation);
        }
        if self.disc.state().lent() > 0 {
            return Ok(false);
        }
        match at_rest(&self.engine, now) {
            true => Ok(true),
            false => {
                let what = format!("an ejected disc leaves {:?}", self.engine.counters());
                Err(Violation::new(Kind::Leftover, what))
            }
        }
    }
}

/// Whether nothing is left in it.
pub(super) fn at_rest(engine: &Engine, now: Nanos) -> bool {
    let (counters, status) = (engine.counters(), engine.status(now));
    let left = counters.orphans_now + counters.queued_now + counters.running_now;
    left == 0 && status.free_slots == status.slots
}
