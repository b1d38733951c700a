//! `delay=TIME`: keeps requests for a time.
//!
//! A delayed request has *not* been carried out: that happens when its time has come. Holds no more
//! than the engine hands over at a time, since a request that is kept here keeps its slot.

use alloc::vec::Vec;
use core::mem;

use super::rules::Planned;
use crate::Nanos;

/// What is late.
#[derive(Default)]
pub(super) struct Delay {
    kept: Vec<(Nanos, Planned)>,
}

impl Delay {
    /// Keeps the request until its time comes, or gives it back to go on.
    pub(super) fn down(&mut self, request: Planned, now: Nanos) -> Option<Planned> {
        match request.plan.delay_ns {
            Some(delay_ns) => {
                self.kept.push((now.plus(delay_ns), request));
                None
            }
            None => Some(request),
        }
    }

    /// The requests whose time has come, in the order in which they came.
    pub(super) fn due(&mut self, now: Nanos) -> Vec<Planned> {
        let due = self.kept.extract_if(.., |(until, _)| *until <= now);
        due.map(|(_, request)| request).collect()
    }

    /// Lets everything go.
    pub(super) fn release(&mut self) -> Vec<Planned> {
        mem::take(&mut self.kept).into_iter().map(|(_, request)| request).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn next_wakeup(&self) -> Option<Nanos> {
        self.kept.iter().map(|(until, _)| *until).min()
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

    fn slots(requests: &[Planned]) -> Vec<u16> {
        requests.iter().map(|it| it.io.id.slot).collect()
    }

    #[test]
    fn a_request_goes_on_when_its_time_has_come_and_not_before() {
        let mut delay = Delay::default();
        for (slot, delay_ns) in [(0, 30), (1, 10), (2, 10)] {
            let late = Plan { delay_ns: Some(delay_ns), ..Plan::default() };
            assert!(delay.down(request(slot, late), Nanos(100)).is_none());
        }
        assert!(delay.down(request(3, Plan::default()), Nanos(100)).is_some());
        assert_eq!(delay.next_wakeup(), Some(Nanos(110)));
        assert!(delay.due(Nanos(109)).is_empty());
        assert_eq!(slots(&delay.due(Nanos(110))), [1, 2]);
        assert_eq!((delay.len(), delay.next_wakeup()), (1, Some(Nanos(130))));
        assert_eq!(slots(&delay.release()), [0], "released before its time");
    }

    #[test]
    fn a_delay_beyond_the_end_of_time_is_no_overflow() {
        let mut delay = Delay::default();
        let late = Plan { delay_ns: Some(u64::MAX), ..Plan::default() };
        assert!(delay.down(request(0, late), Nanos(100)).is_none());
        assert!(delay.due(Nanos(u64::MAX - 1)).is_empty());
    }
}
