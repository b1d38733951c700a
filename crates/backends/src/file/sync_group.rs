//! Everybody who waits for durability, and the one `fdatasync` at a time that serves them.
//!
//! Linux reports an error in writing a file's pages back *once* per open file. Of two `fdatasync`
//! calls at the same time, one learns of it and the other returns success, without knowing any
//! better. So there is never more than one: whoever asks while one runs waits for the next (the
//! running one may have started too early to cover it), together with all others who asked
//! meanwhile.
//!
//! A pure state machine; the caller runs the call that [`SyncGroup::start`] asks for.

use freewheel_block::{Done, Io, IoError, IoId};

use super::sabotage::Sabotage;
use super::sync::sabotaged;

/// EIO, as every Linux architecture has it.
const EIO: i32 = 5;
const ECANCELED: i32 = 125;

/// A request that has done its work but for durability.
#[derive(Debug)]
struct Waiter {
    io: Io,
    transferred_bytes: u64,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct SyncGroup {
    waiting: Vec<Waiter>,
    served: Vec<Waiter>,
    running: bool,
    failed: bool,
}

impl SyncGroup {
    /// `io` is to complete, with `transferred_bytes`, once a sync that starts from now on has
    /// ended.
    pub(super) fn join(&mut self, io: Io, transferred_bytes: u64) {
        let too_late = self.running && sabotaged(Sabotage::SyncServesLateComers);
        let list = if too_late { &mut self.served } else { &mut self.waiting };
        list.push(Waiter { io, transferred_bytes });
    }

    /// The error with which everything that asks for durability has to fail: an earlier sync
    /// failed, and what it was to save may be lost.
    pub(super) fn latched(&self) -> Option<IoError> {
        self.failed.then_some(IoError::Os(EIO))
    }

    /// Whether to run an `fdatasync` now. After `true`, [`SyncGroup::finish`] must follow.
    pub(super) fn start(&mut self) -> bool {
        let busy = self.running && !sabotaged(Sabotage::TwoSyncs);
        if busy || self.waiting.is_empty() || self.failed {
            return false;
        }
        self.running = true;
        std::mem::swap(&mut self.waiting, &mut self.served);
        true
    }

    /// The `fdatasync` has ended. Completes whom it served; after a failure, everybody.
    pub(super) fn finish(&mut self, result: Result<(), IoError>, done: &mut Vec<Done>) {
        self.running = false;
        if let Err(error) = result {
            if !self.failed {
                tracing::error!(
                    %error,
                    "a flush of the image failed: writes since the last good flush may be lost. \
                     Flushes and durable writes fail from now on; check the storage and open the \
                     image again"
                );
            }
            self.failed = true;
        }
        done.extend(
            self.served
                .drain(..)
                .map(|waiter| waiter.io.done(result.map(|()| waiter.transferred_bytes))),
        );
        self.fail_waiting(done);
    }

    /// After a failure, nobody needs to wait.
    pub(super) fn fail_waiting(&mut self, done: &mut Vec<Done>) {
        if let Some(error) = self.latched() {
            done.extend(self.waiting.drain(..).map(|waiter| waiter.io.done(Err(error))));
        }
    }

    /// Nobody waits for `id` any more. What it did is done, and the sync, if it runs, goes on
    /// without it (and its failure still counts), so it can be let go at once.
    pub(super) fn cancel(&mut self, id: IoId) -> Option<Done> {
        for list in [&mut self.waiting, &mut self.served] {
            if let Some(at) = list.iter().position(|waiter| waiter.io.id == id) {
                return Some(list.swap_remove(at).io.done(Err(IoError::Os(ECANCELED))));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use freewheel_block::{ByteRange, OpKind};

    use super::*;

    fn flush(slot: u16) -> Io {
        Io {
            id: IoId { slot, generation: 1 },
            kind: OpKind::Flush,
            range: ByteRange::default(),
            fua: false,
            buf: None,
            buf_offset_bytes: 0,
        }
    }

    fn slots(done: &[Done]) -> Vec<(u16, bool)> {
        done.iter().map(|done| (done.io.id.slot, done.result.is_ok())).collect()
    }

    #[test]
    fn a_sync_serves_only_those_who_asked_before_it_began() {
        let (mut group, mut done) = (SyncGroup::default(), Vec::new());
        assert!(!group.start());
        group.join(flush(0), 0);
        assert!(group.start());
        group.join(flush(1), 0);
        group.join(flush(2), 0);
        assert!(!group.start(), "one at a time");
        group.finish(Ok(()), &mut done);
        assert_eq!(slots(&done), [(0, true)]);
        done.clear();
        assert!(group.start());
        group.finish(Ok(()), &mut done);
        assert_eq!(slots(&done), [(1, true), (2, true)]);
        assert!(!group.start());
    }

    #[test]
    fn a_failure_is_kept_even_if_nobody_waits_for_it() {
        let (mut group, mut done) = (SyncGroup::default(), Vec::new());
        group.join(flush(0), 0);
        assert!(group.start());
        group.join(flush(1), 0);
        assert!(group.cancel(flush(0).id).is_some());
        assert!(group.cancel(flush(0).id).is_none());
        group.finish(Err(IoError::Os(EIO)), &mut done);
        assert_eq!(slots(&done), [(1, false)]);
        assert!(group.latched().is_some());
        done.clear();
        group.join(flush(2), 0);
        assert!(!group.start(), "a second fdatasync would lie");
        group.fail_waiting(&mut done);
        assert_eq!(slots(&done), [(2, false)]);
    }
}
