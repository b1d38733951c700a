//! `hang`: keeps requests until they are released.
//!
//! A request that hangs has *not* been carried out: that happens when it is released, late, as with
//! storage that comes back. Holds no more than the engine hands over at a time, since a request that
//! is kept here keeps its slot.

use alloc::vec::Vec;
use core::mem;

use super::rules::Planned;

/// What hangs.
#[derive(Default)]
pub(super) struct Hang {
    kept: Vec<Planned>,
}

impl Hang {
    /// Keeps the request, or gives it back to go on.
    pub(super) fn down(&mut self, request: Planned) -> Option<Planned> {
        if request.plan.hang {
            self.kept.push(request);
            None
        } else {
            Some(request)
        }
    }

    /// Lets everything go.
    pub(super) fn release(&mut self) -> Vec<Planned> {
        mem::take(&mut self.kept)
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Plan;
    use super::*;
    use crate::{ByteRange, Io, IoId, OpKind};

    fn request(slot: u16, plan: Plan) -> Planned {
        let io = Io {
            id: IoId { slot, generation: 1 },
            kind: OpKind::Write,
            range: ByteRange::new(0, 512),
            fua: false,
            buf: None,
            buf_offset_bytes: 0,
        };
        Planned { io, plan }
    }

    #[test]
    fn what_hangs_stays_until_it_is_released_and_the_rest_passes() {
        let mut hang = Hang::default();
        let hangs = Plan { hang: true, ..Plan::default() };
        assert!(hang.down(request(0, hangs)).is_none());
        assert!(hang.down(request(1, Plan::default())).is_some());
        assert!(hang.down(request(2, hangs)).is_none());
        assert_eq!(hang.len(), 2);
        let slots: Vec<u16> = hang.release().iter().map(|it| it.io.id.slot).collect();
        assert_eq!(slots, [0, 2]);
        assert_eq!(hang.len(), 0);
    }
}
