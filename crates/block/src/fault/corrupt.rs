//! `corrupt`: damages data, a write's on its way down, a read's on its way up.
//!
//! In each sector that moves, one byte changes; which, and into what, a generator decides that
//! starts from the seed. Nothing reports an error: only a guest that verifies its data can notice.
//! The generator goes on with each sector, so that damage to a write is not undone by damage to the
//! read of it.

use alloc::vec::Vec;

use super::random::Random;
use super::rules::{Planned, Shape};
use crate::{Done, Io, IoId, OpKind};

/// What damages, and which reads are to be damaged when they come back.
pub(super) struct Corrupt {
    random: Random,
    sector_bytes: usize,
    /// At most one a slot, since a slot hands over one request at a time.
    reads: Vec<IoId>,
}

impl Corrupt {
    pub(super) fn new(seed: u64, shape: Shape) -> Self {
        // Draws of its own: a fault here changes no other fault's chances.
        let random = Random::new(!seed);
        let sector_bytes = usize::try_from(shape.sector_bytes).unwrap_or(usize::MAX);
        Self { random, sector_bytes, reads: Vec::new() }
    }

    /// Damages a write now; remembers a read.
    pub(super) fn down(&mut self, request: &mut Planned) {
        let io = &mut request.io;
        // What a slot is used for anew has come back, or never will.
        self.reads.retain(|id| id.slot != io.id.slot);
        match io.kind {
            OpKind::Write if request.plan.corrupt => self.damage(io, io.range.len_bytes),
            OpKind::Read if request.plan.corrupt => self.reads.push(io.id),
            _ => {}
        }
    }

    /// Damages what a read has brought, if it is to be.
    pub(super) fn up(&mut self, done: &mut Done) {
        let Some(at) = self.reads.iter().position(|id| *id == done.io.id) else {
            return;
        };
        self.reads.swap_remove(at);
        if let Ok(count) = done.result {
            self.damage(&mut done.io, count);
        }
    }

    fn damage(&mut self, io: &mut Io, len_bytes: u64) {
        // A backend may have brought back anything (C8): nothing is taken for granted.
        let start = io.buf_offset_bytes;
        let len = usize::try_from(len_bytes.min(io.range.len_bytes)).unwrap_or(usize::MAX);
        let bytes = io.buf.as_mut().and_then(|buf| {
            let bytes = buf.bytes_mut().get_mut(start..)?;
            let len = len.min(bytes.len());
            Some(&mut bytes[..len])
        });
        for sector in bytes.into_iter().flat_map(|it| it.chunks_mut(self.sector_bytes)) {
            let word = self.random.next();
            let index = (word >> 32) as usize % sector.len();
            // Never 0, which would change nothing.
            sector[index] ^= (word % 255) as u8 + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Plan;
    use super::*;
    use crate::{ByteRange, IoBuf};

    const SHAPE: Shape = Shape { sector_bytes: 512, align_bytes: 512 };
    const BUF_OFFSET: usize = 512;

    fn request(kind: OpKind, sectors: u64) -> Planned {
        let io = Io {
            id: IoId { slot: 3, generation: 1 },
            kind,
            range: ByteRange::new(0, sectors * 512),
            fua: false,
            buf: Some(IoBuf::new(3, 8192)),
            buf_offset_bytes: BUF_OFFSET,
        };
        Planned { io, plan: Plan { corrupt: true, ..Plan::default() } }
    }

    /// How many bytes differ from zero in each sector of the buffer.
    fn damaged(io: &Io) -> Vec<usize> {
        let bytes = io.buf.as_ref().expect("a buffer").bytes();
        bytes.chunks(512).map(|it| it.iter().filter(|byte| **byte != 0).count()).collect()
    }

    #[test]
    fn a_write_is_damaged_in_each_sector_and_nowhere_else() {
        let mut request = request(OpKind::Write, 3);
        Corrupt::new(1, SHAPE).down(&mut request);
        let mut expected = [0; 16];
        expected[1..4].fill(1);
        assert_eq!(damaged(&request.io), expected);
    }

    #[test]
    fn a_read_is_damaged_as_far_as_it_came_and_only_on_its_way_up() {
        let mut corrupt = Corrupt::new(1, SHAPE);
        let mut request = request(OpKind::Read, 3);
        corrupt.down(&mut request);
        assert_eq!(damaged(&request.io), [0; 16]);
        let mut done = request.io.done(Ok(1024));
        corrupt.up(&mut done);
        let mut expected = [0; 16];
        expected[1..3].fill(1);
        assert_eq!(damaged(&done.io), expected);
        corrupt.up(&mut done);
        assert_eq!(damaged(&done.io), expected, "a repeated completion is not damaged again");
    }

    #[test]
    fn damage_is_the_same_for_the_same_seed_and_differs_for_another() {
        let damage = |seed| {
            let mut request = request(OpKind::Write, 3);
            Corrupt::new(seed, SHAPE).down(&mut request);
            request.io.buf.expect("a buffer").bytes().to_vec()
        };
        assert_eq!(damage(5), damage(5));
        assert_ne!(damage(5), damage(6));
    }

    #[test]
    fn no_sector_gets_away() {
        let mut corrupt = Corrupt::new(1, SHAPE);
        for _ in 0..1000 {
            let mut request = request(OpKind::Write, 15);
            corrupt.down(&mut request);
            assert_eq!(damaged(&request.io)[1..], [1; 15]);
        }
    }

    #[test]
    fn what_never_comes_back_is_forgotten_when_its_slot_is_used_again() {
        let mut corrupt = Corrupt::new(1, SHAPE);
        for generation in 0..100 {
            let mut request = request(OpKind::Read, 1);
            request.io.id.generation = generation;
            corrupt.down(&mut request);
        }
        assert_eq!(corrupt.reads.len(), 1);
    }

    #[test]
    fn damage_on_the_way_down_is_not_undone_on_the_way_up() {
        let mut corrupt = Corrupt::new(1, SHAPE);
        let mut write = request(OpKind::Write, 4);
        corrupt.down(&mut write);
        let mut read = Planned { io: Io { kind: OpKind::Read, ..write.io }, plan: write.plan };
        corrupt.down(&mut read);
        let mut done = read.io.done(Ok(2048));
        corrupt.up(&mut done);
        assert!(damaged(&done.io)[1..5].iter().all(|count| *count > 0));
    }

    #[test]
    fn a_completion_that_makes_no_sense_harms_nothing() {
        for (offset, len, count) in [(usize::MAX, 512, 512), (8000, 9000, u64::MAX), (9000, 1, 1)] {
            let mut corrupt = Corrupt::new(1, SHAPE);
            let mut request = request(OpKind::Read, 3);
            corrupt.down(&mut request);
            let mut done = request.io.done(Ok(count));
            done.io.buf_offset_bytes = offset;
            done.io.range.len_bytes = len;
            corrupt.up(&mut done);
            let mut bare = Done { io: Io { buf: None, ..done.io }, result: Ok(1) };
            corrupt.up(&mut bare);
        }
    }
}
