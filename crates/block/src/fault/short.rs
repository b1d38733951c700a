//! `short`: a read or write completes with fewer bytes than were asked.
//!
//! The backend is asked for the first half, rounded down to its alignment, and that is what the
//! completion reports. A request of one unit cannot be cut and passes whole, so that even with every
//! request cut, an operation comes to its end.

use alloc::vec::Vec;

use super::rules::{Planned, Shape};
use crate::{Done, IoId};

/// The requests that were cut, with the length that they had.
pub(super) struct Short {
    shape: Shape,
    /// At most one a slot, since a slot hands over one request at a time.
    cut: Vec<(IoId, u64)>,
}

impl Short {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, cut: Vec::new() }
    }

    /// Cuts the request, if it is to be and can be.
    pub(super) fn down(&mut self, request: &mut Planned) {
        let io = &mut request.io;
        // What a slot is used for anew has come back, or never will.
        self.cut.retain(|(id, _)| id.slot != io.id.slot);
        let whole_bytes = io.range.len_bytes;
        if request.plan.short && self.shape.can_cut(io.range) {
            io.range.len_bytes = whole_bytes / 2 / self.shape.align_bytes * self.shape.align_bytes;
            self.cut.push((io.id, whole_bytes));
        }
    }

    /// Gives a request that was cut its length again. What it transferred stays as reported.
    pub(super) fn up(&mut self, done: &mut Done) {
        if let Some(at) = self.cut.iter().position(|(id, _)| *id == done.io.id) {
            done.io.range.len_bytes = self.cut.swap_remove(at).1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Plan;
    use super::*;
    use crate::{ByteRange, Io, OpKind};

    fn request(len_bytes: u64) -> Planned {
        let io = Io {
            id: IoId { slot: 3, generation: 1 },
            kind: OpKind::Write,
            range: ByteRange::new(4096, len_bytes),
            fua: true,
            buf: None,
            buf_offset_bytes: 0,
        };
        Planned { io, plan: Plan { short: true, ..Plan::default() } }
    }

    fn short(align_bytes: u64) -> Short {
        Short::new(Shape { sector_bytes: 512, align_bytes })
    }

    #[test]
    fn half_is_asked_for_on_a_multiple_of_the_alignment_but_never_nothing() {
        for (align, whole, cut) in [
            (512, 4096, 2048),
            (512, 1536, 512),
            (512, 1024, 512),
            (512, 512, 512),
            (512, 1000, 1000),
            (4096, 12288, 4096),
            (1, 3, 1),
            (1, 1, 1),
        ] {
            let mut request = request(whole);
            short(align).down(&mut request);
            assert_eq!(request.io.range, ByteRange::new(4096, cut), "{whole} in units of {align}");
        }
    }

    #[test]
    fn the_request_comes_back_whole_with_what_was_transferred() {
        let mut short = short(512);
        let mut request = request(4096);
        short.down(&mut request);
        let mut done = request.io.done(Ok(2048));
        short.up(&mut done);
        assert_eq!(done.io.range, ByteRange::new(4096, 4096));
        assert_eq!(done.result, Ok(2048));
        assert!(short.cut.is_empty());
    }

    #[test]
    fn what_never_comes_back_is_forgotten_when_its_slot_is_used_again() {
        let mut short = short(512);
        for generation in 0..100 {
            let mut request = request(4096);
            request.io.id.generation = generation;
            short.down(&mut request);
        }
        assert_eq!(short.cut.len(), 1);
    }
}
