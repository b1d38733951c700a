//! Seeing into the engine (contract C9), and checking it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::operations::{OpToken, Place};
use super::slots::SlotState;
use super::{Engine, TRACE_CAPACITY};
use crate::{
    ByteRange, Counters, EngineStatus, Nanos, OpKind, OpState, OpStatus, OrphanStatus, TraceEvent,
    TraceKind,
};

impl Engine {
    /// Ranges of the medium that an orphan may still change, in order and without overlap: what is
    /// in doubt if the process ended now (C7).
    pub fn ranges_in_doubt(&self) -> Vec<ByteRange> {
        let mut ranges: Vec<ByteRange> = self
            .slots
            .iter()
            .filter(|(_, slot)| matches!(slot.state, SlotState::Orphaned { fenced: true, .. }))
            .filter(|(_, slot)| !(sabotaged!(DoubtForgotten) && slot.piece.kind == OpKind::Discard))
            .map(|(_, slot)| slot.piece.wide)
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<ByteRange> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.offset_bytes <= last.end_bytes() => {
                    last.len_bytes = last.end_bytes().max(range.end_bytes()) - last.offset_bytes;
                }
                _ => merged.push(range),
            }
        }
        merged
    }

    /// The totals.
    pub fn counters(&self) -> Counters {
        Counters {
            fences_now: self.fences.len() as u64,
            held_now: self.held.len() as u64,
            queued_now: self.ready.len() as u64,
            ..self.counters
        }
    }

    /// The whole state at one moment.
    pub fn status(&self, now: Nanos) -> EngineStatus {
        let operations = self.operations.iter().map(|(_, operation)| OpStatus {
            tag: operation.request.tag,
            kind: operation.request.kind,
            range: operation.request.ranges.first().copied().unwrap_or_default(),
            state: match operation.place {
                Place::Ready => OpState::Queued,
                Place::Held => OpState::Held,
                Place::InFlight | Place::Done => OpState::Running,
            },
            age_ns: now.since(operation.submitted),
        });
        let orphans = self.slots.iter().filter_map(|(_, slot)| match slot.state {
            SlotState::Orphaned { since, fenced } => Some(OrphanStatus {
                kind: slot.piece.kind,
                range: slot.piece.wide,
                fenced,
                age_ns: now.since(slot.started),
                orphaned_ns: now.since(since),
            }),
            _ => None,
        });
        EngineStatus {
            backend: self.info.engine_name.clone(),
            size_bytes: self.info.size_bytes,
            free_slots: self.slots.free_count(),
            slots: self.slots.len(),
            counters: self.counters(),
            operations: operations.collect(),
            orphans: orphans.collect(),
        }
    }

    /// What happened lately, oldest first; a fixed number of events is kept.
    pub fn trace(&self) -> impl Iterator<Item = &TraceEvent> {
        self.trace.iter()
    }

    pub(super) fn note(
        &mut self,
        at: Nanos,
        kind: TraceKind,
        op: OpKind,
        tag: u32,
        range: ByteRange,
    ) {
        if self.trace.len() == TRACE_CAPACITY {
            self.trace.pop_front();
        }
        self.trace.push_back(TraceEvent { at, kind, op, tag, range });
    }

    /// Checks that the tables agree with one another. For tests and simulators, after any call.
    ///
    /// # Panics
    /// If they don't.
    pub fn assert_consistent(&self) {
        let mut free = 0;
        let mut orphans = 0;
        let mut running = 0;
        let mut fenced = 0;
        for (_, slot) in self.slots.iter() {
            match slot.state {
                SlotState::Free => {
                    free += 1;
                    assert!(slot.buf.is_some(), "a free slot has its buffer");
                }
                SlotState::Submitted { op } => {
                    running += 1;
                    assert!(self.operations.get(op).is_some(), "a submitted slot has an operation");
                }
                SlotState::Orphaned { fenced: raised, .. } => {
                    orphans += 1;
                    fenced += usize::from(raised);
                    if raised {
                        assert!(self.fences.blocks(slot.piece.wide), "an orphan's fence stands");
                    }
                }
            }
        }
        assert_eq!(free, self.slots.free_count(), "free slots");
        assert_eq!(orphans, self.counters.orphans_now, "orphans");
        assert_eq!(running, self.counters.running_now, "running requests");
        assert_eq!(fenced, self.fences.len(), "fences");
        for (token, operation) in self.operations.iter() {
            let in_flight = self.slots.of(token).count();
            assert_eq!(in_flight, usize::from(operation.in_flight), "pieces in flight");
            let listed = |list: &VecDeque<OpToken>| list.iter().filter(|op| **op == token).count();
            let expected = match operation.place {
                Place::Ready => (1, 0, 0),
                Place::Held => (0, 1, 0),
                Place::InFlight => (0, 0, 0),
                Place::Done => (0, 0, 1),
            };
            let found = (listed(&self.ready), listed(&self.held), listed(&self.answers));
            assert_eq!(found, expected, "an operation stands in the list of its place");
            if operation.place == Place::InFlight {
                assert!(in_flight > 0, "an operation in flight has something in flight");
            }
        }
        let listed = self.ready.len() + self.held.len() + self.answers.len();
        assert!(listed <= self.operations.iter().count(), "no list names what is gone");
    }
}
