//! Storage that misbehaves exactly as told. It keeps one word a sector instead of the sector's
//! bytes: the simulated guest writes nothing else, and what is not one word over and over is torn.
//!
//! It judges what it is given, too: nothing beyond its own rules. What the engine may hand over, and
//! when, is judged above the fault layers, in [`witness`](super::witness).
//!
//! Durability is as mean as a real disk may be: a flush makes durable what had been carried out
//! when the flush *arrived*, and nothing else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freewheel_block::{
    Backend, BackendInfo, ByteRange, DiscardSupport, Done, Io, IoBuf, IoError, IoId, Nanos, OpKind,
};

use super::config::{SECTORS, WorldConfig};
use super::coverage::{Coverage, SlotEvent, SlotState};
use super::memory::uniform;
use super::step::How;
use super::violation::{Kind, Violation};
use super::witness::Lent;

/// The word of a sector that no longer consists of one.
const TORN: u64 = u64::MAX;

/// How many completed requests can be repeated.
const PAST: usize = 8;

/// A request that has not been completed.
pub(super) struct Waiting {
    pub(super) io: Io,
    pub(super) hangs: bool,
    /// The engine has said that nobody waits for it: an orphan.
    pub(super) cancelled: bool,
    carried_out: bool,
    /// Which of the engines that this medium has had has handed it over.
    pub(super) era: u32,
    arrived: u32,
    /// For a flush: the medium when it arrived.
    snapshot: Vec<u64>,
}

/// The state that the engine's half and the world's half share.
pub(super) struct DiskState {
    pub(super) info: BackendInfo,
    pub(super) sector_bytes: u64,
    pub(super) budget: usize,
    /// What the engine has lent to the layers and the storage.
    pub(super) lent: Vec<Lent>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) era: u32,
    /// What former engines, by number, have lent and the storage still has.
    pub(super) stale: Vec<(u32, Lent)>,
    done: Vec<Done>,
    volatile: Vec<u64>,
    durable: Vec<u64>,
    /// When each sector was changed, and when what is durable of it was.
    changed: Vec<u32>,
    settled: Vec<u32>,
    time: u32,
    past: Vec<(IoId, OpKind, ByteRange)>,
    /// Calls of the engine but for hints.
    pub(super) calls: u64,
    pub(super) hints: u64,
    /// Completions that were reported once more.
    pub(super) repeats: u64,
    repeats_untaken: usize,
    /// Requests that a fault layer has kept, and failed in the storage's place.
    pub(super) parked: u64,
    pub(super) failed: u64,
    pub(super) violation: Option<Violation>,
    pub(super) coverage: Coverage,
}

/// A handle to the disk; one goes to the engine.
#[derive(Clone)]
pub(super) struct FaultyDisk {
    info: BackendInfo,
    state: Arc<Mutex<DiskState>>,
}

impl FaultyDisk {
    pub(super) fn new(config: &WorldConfig) -> Self {
        let sector_bytes = u64::from(config.sector_bytes);
        let info = BackendInfo {
            engine_name: String::new(),
            size_bytes: SECTORS as u64 * sector_bytes,
            io_align_bytes: config.io_align_bytes,
            read_only: false,
            fua: config.fua,
            discard: config
                .discard_align_bytes
                .map(|align_bytes| DiscardSupport { align_bytes, reads_zeroes: true }),
            write_zeroes: true,
            queue_depth: 64,
        };
        let state = DiskState {
            info: info.clone(),
            sector_bytes,
            budget: usize::from(config.slots),
            lent: Vec::with_capacity(usize::from(config.slots)),
            waiting: Vec::with_capacity(usize::from(config.slots)),
            era: 0,
            stale: Vec::new(),
            done: Vec::with_capacity(16),
            volatile: vec![0; SECTORS],
            durable: vec![0; SECTORS],
            changed: vec![0; SECTORS],
            settled: vec![0; SECTORS],
            time: 1,
            past: Vec::with_capacity(PAST),
            calls: 0,
            hints: 0,
            repeats: 0,
            repeats_untaken: 0,
            parked: 0,
            failed: 0,
            violation: None,
            coverage: Coverage::default(),
        };
        Self { info, state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request does to its slot.
pub(super) fn busy(cancelled: bool, kind: OpKind) -> SlotState {
    match (cancelled, kind) {
        (true, kind) if kind.changes_medium() => SlotState::OrphanFenced,
        (true, _) => SlotState::OrphanFree,
        (false, OpKind::Read) => SlotState::Reading,
        (false, OpKind::Write) => SlotState::Writing,
        (false, OpKind::Flush) => SlotState::Flushing,
        (false, _) => SlotState::Discarding,
    }
}

impl Waiting {
    pub(super) fn state(&self) -> SlotState {
        busy(self.cancelled, self.io.kind)
    }
}

impl DiskState {
    pub(super) fn object(&mut self, kind: Kind, what: String) {
        self.violation.get_or_insert(Violation::new(kind, what));
    }

    fn arrive(&mut self, io: Io) {
        self.time += 1;
        let align = match io.kind {
            OpKind::Discard => self.info.discard.map_or(1, |discard| discard.align_bytes),
            _ => self.info.io_align_bytes,
        };
        let (range, kind) = (io.range, io.kind);
        if range.end_bytes() > self.info.size_bytes
            || !range.offset_bytes.is_multiple_of(align)
            || !range.len_bytes.is_multiple_of(align)
            || io.fua && !self.info.fua
        {
            self.object(Kind::Request, format!("a {kind} of {range:?} is against the rules"));
        }
        let cancelled = self.note_arrival(io.id);
        let snapshot = if kind == OpKind::Flush { self.volatile.clone() } else { Vec::new() };
        self.waiting.push(Waiting {
            io,
            hangs: false,
            cancelled,
            carried_out: false,
            era: self.era,
            arrived: self.time,
            snapshot,
        });
    }

    /// The index of one of those that wait and do not hang.
    pub(super) fn choose(&self, which: u8) -> Option<usize> {
        let able = || self.waiting.iter().enumerate().filter(|(_, waiting)| !waiting.hangs);
        let count = able().count();
        (count > 0).then(|| able().nth(usize::from(which) % count).map(|(index, _)| index))?
    }

    /// Ends, or only carries out, the request at `index`.
    pub(super) fn end(&mut self, index: usize, how: How) {
        let sectors = self.waiting[index].io.range.len_bytes / self.sector_bytes;
        let state = self.waiting[index].state();
        let part = match how {
            How::Short | How::Fails => sectors / 2,
            _ => sectors,
        };
        // A read that is carried out has its data; a part would not be more honest.
        let first_time = !self.waiting[index].carried_out;
        if first_time {
            self.carry_out(index, part);
            self.waiting[index].carried_out = how == How::Silently;
        }
        let event = match how {
            How::Silently => SlotEvent::CarriedOut,
            How::Fails => SlotEvent::Failed,
            How::Short => SlotEvent::Short,
            How::Twice => SlotEvent::Twice,
            How::Well => SlotEvent::Done,
        };
        self.coverage.slot(state, event);
        if how == How::Silently {
            return;
        }
        let Waiting { io, era, .. } = self.waiting.remove(index);
        if era != self.era {
            // Nobody is there to be told.
            self.stale.retain(|(of, lent)| (*of, lent.id) != (era, io.id));
            return;
        }
        if self.past.len() == PAST {
            self.past.remove(0);
        }
        self.past.push((io.id, io.kind, io.range));
        let counted = if first_time { part * self.sector_bytes } else { io.range.len_bytes };
        let result = match how {
            How::Fails => Err(IoError::Os(5)),
            How::Short if io.kind.has_data() => Ok(counted),
            _ => Ok(io.range.len_bytes),
        };
        // What is short without data counts as whole, so it has to be.
        let short = how == How::Short && !io.kind.has_data() && first_time;
        let (kind, range) = (io.kind, io.range);
        self.done.push(io.done(result));
        if short {
            self.apply(kind, range, None);
        }
        if how == How::Twice {
            self.repeat(u8::MAX);
        }
    }

    /// Reports one of the latest completions once more; the largest number is the latest.
    pub(super) fn repeat(&mut self, which: u8) {
        let Some(last) = self.past.len().checked_sub(1) else { return };
        let (id, kind, range) = self.past[last.min(usize::from(which))];
        let in_use = self.of_now().find(|waiting| waiting.io.id.slot == id.slot);
        let in_use = in_use.map(Waiting::state);
        self.coverage.slot(in_use.unwrap_or(SlotState::Free), SlotEvent::Repeated);
        // Now and then the repetition has a buffer, which can't be the one that was lent.
        let buf = (kind.has_data() && which % 4 == 1).then(|| IoBuf::new(id.slot, 4096));
        let io = Io { id, kind, range, fua: false, buf, buf_offset_bytes: 0 };
        self.done.push(io.done(Ok(range.len_bytes)));
        self.repeats += 1;
        self.repeats_untaken += 1;
    }

    fn span(&self, range: ByteRange) -> std::ops::Range<usize> {
        (range.offset_bytes / self.sector_bytes) as usize
            ..(range.end_bytes() / self.sector_bytes) as usize
    }

    fn apply(&mut self, kind: OpKind, range: ByteRange, words: Option<(&[u64], bool)>) {
        self.time += 1;
        for (at, sector) in self.span(range).enumerate() {
            let (word, durable) = match (kind, words) {
                (OpKind::Write, Some((words, durable))) => match words.get(at) {
                    Some(word) => (*word, durable),
                    None => return,
                },
                _ => (0, false),
            };
            self.volatile[sector] = word;
            self.changed[sector] = self.time;
            if durable {
                self.durable[sector] = word;
                self.settled[sector] = self.time;
            }
        }
    }

    fn carry_out(&mut self, index: usize, sectors: u64) {
        let size = self.sector_bytes as usize;
        let waiting = &mut self.waiting[index];
        let (kind, range, fua) = (waiting.io.kind, waiting.io.range, waiting.io.fua);
        let len_bytes = (sectors * self.sector_bytes).min(range.len_bytes);
        let part = ByteRange::new(range.offset_bytes, len_bytes);
        match kind {
            OpKind::Read => {
                let first = (range.offset_bytes / self.sector_bytes) as usize;
                let data = waiting.io.data_mut().chunks_exact_mut(size);
                for (at, sector) in data.take(sectors as usize).enumerate() {
                    let word = self.volatile[first + at].to_le_bytes();
                    let (words, _) = sector.as_chunks_mut::<8>();
                    words.fill(word);
                }
            }
            OpKind::Write => {
                let mut words = [0; 64];
                let data = waiting.io.data().chunks_exact(size).take(sectors as usize);
                let mut count = 0;
                for (word, sector) in words.iter_mut().zip(data) {
                    *word = uniform(sector).unwrap_or(TORN);
                    count += 1;
                }
                self.apply(kind, part, Some((&words[..count], fua)));
            }
            OpKind::Discard | OpKind::WriteZeroes => self.apply(kind, part, None),
            OpKind::Flush => {
                let arrived = waiting.arrived;
                let snapshot = std::mem::take(&mut waiting.snapshot);
                for (sector, word) in snapshot.iter().enumerate() {
                    if self.settled[sector] <= arrived {
                        self.durable[sector] = *word;
                        self.settled[sector] = arrived;
                    }
                }
            }
        }
    }

    /// Writes back what the cache holds of a part of the medium.
    pub(super) fn write_back(&mut self, which: u8) {
        self.time += 1;
        for sector in (usize::from(which % 8)..SECTORS).step_by(8) {
            self.durable[sector] = self.volatile[sector];
            self.settled[sector] = self.time;
        }
    }

    pub(super) fn durable(&self) -> &[u64] {
        &self.durable
    }

    pub(super) fn medium(&self) -> &[u64] {
        &self.volatile
    }

    /// The requests of the engine that the medium has now.
    fn of_now(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter().filter(|waiting| waiting.era == self.era)
    }

    /// Requests that the engine has lent and not got back.
    pub(super) fn outstanding(&self) -> usize {
        self.lent.len()
    }

    /// Another engine gets the medium. What the storage still has of the former one's may still
    /// happen.
    pub(super) fn renew(&mut self) {
        for lent in std::mem::take(&mut self.lent) {
            if self.of_now().any(|waiting| waiting.io.id == lent.id) {
                self.stale.push((self.era, lent));
            }
        }
        self.era += 1;
        self.done.clear();
        self.past.clear();
        (self.hints, self.repeats, self.repeats_untaken) = (0, 0, 0);
    }

    /// True completions that the engine has not taken yet.
    pub(super) fn untaken(&self) -> usize {
        self.done.len() - self.repeats_untaken
    }
}

impl Backend for FaultyDisk {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn submit(&mut self, io: Io, _now: Nanos) {
        self.state().arrive(io);
    }

    fn poll(&mut self, _now: Nanos, done: &mut Vec<Done>) {
        let mut state = self.state();
        state.calls += 1;
        state.repeats_untaken = 0;
        done.append(&mut state.done);
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        (!self.state().done.is_empty()).then_some(Nanos(0))
    }
}
