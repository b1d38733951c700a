//! The queue between the device thread and the pool's workers.
//!
//! Two rules keep the device thread from ever waiting here (contract C1):
//!
//! * It *tries* the lock, once a batch. A worker holds it for a push or a pop and never during I/O,
//!   but on a busy machine the kernel may take the processor away from it just then, for
//!   milliseconds. The batch then stays with the device thread, which comes back for it.
//! * It wakes one worker a batch, with the lock free again. Each worker that takes a job and leaves
//!   others behind wakes the next, before it begins.
//!
//! Knows nothing of files, and starts no threads.

use std::collections::VecDeque;
use std::sync::PoisonError;

use super::sabotage::Sabotage;
use super::sync::{Condvar, Mutex, MutexGuard, sabotaged, try_lock};

struct State<T> {
    jobs: VecDeque<T>,
    closed: bool,
}

/// A queue of jobs for a fixed number of workers.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
}

impl<T> Queue<T> {
    /// An empty queue with room for `capacity` jobs; more make it grow.
    pub(super) fn new(capacity: usize) -> Self {
        let state = State { jobs: VecDeque::with_capacity(capacity), closed: false };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Moves all of `batch` into the queue, and wakes a worker. `false` if the lock was taken just
    /// now: then nothing has moved, and the caller has to try again.
    #[must_use]
    pub(super) fn try_append(&self, batch: &mut Vec<T>) -> bool {
        if sabotaged(Sabotage::NotifyBeforeAppend) {
            self.wake.notify_one();
        }
        let Some(mut state) = try_lock(&self.state) else { return false };
        state.jobs.extend(batch.drain(..));
        drop(state);
        if !sabotaged(Sabotage::NotifyBeforeAppend) {
            self.wake.notify_one();
        }
        true
    }

    /// The next job; waits for one. `None` tells the worker to end: the queue is closed.
    pub(super) fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                let more = !state.jobs.is_empty();
                drop(state);
                if more && !sabotaged(Sabotage::WakeNotPassedOn) {
                    self.wake.notify_one();
                }
                return Some(job);
            }
            if sabotaged(Sabotage::WaitWithoutLock) {
                drop(state);
                state = self.lock();
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            if sabotaged(Sabotage::WokenMeansJob) && !state.closed {
                assert!(!state.jobs.is_empty(), "woken without a job");
            }
        }
    }

    /// Takes out a job that no worker has begun, unless the lock is taken just now.
    pub(super) fn try_take(&self, mut wanted: impl FnMut(&T) -> bool) -> Option<T> {
        let mut state = try_lock(&self.state)?;
        let at = state.jobs.iter().position(&mut wanted)?;
        state.jobs.remove(at)
    }

    /// Drops what no worker has begun, and ends the workers as they come back.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        if !sabotaged(Sabotage::CloseInSilence) {
            self.wake.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics while it is held, and if it did, each field would still make sense.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_come_out_in_order_but_for_those_taken_back() {
        let queue = Queue::new(2);
        let mut batch = vec![1, 2, 3];
        assert!(queue.try_append(&mut batch));
        assert!(batch.is_empty());
        assert_eq!(queue.try_take(|job| *job == 2), Some(2));
        assert_eq!(queue.try_take(|job| *job == 2), None);
        assert_eq!((queue.pop(), queue.pop()), (Some(1), Some(3)));
    }

    #[test]
    fn the_device_thread_never_waits_for_whoever_has_the_lock() {
        let queue = Queue::new(2);
        assert!(queue.try_append(&mut vec![1]));
        let taken = queue.lock();
        let mut batch = vec![2];
        assert!(!queue.try_append(&mut batch), "it would have had to wait");
        assert_eq!(batch, [2], "nothing is lost");
        assert_eq!(queue.try_take(|_| true), None);
        drop(taken);
        assert!(queue.try_append(&mut batch));
        assert_eq!((queue.pop(), queue.pop()), (Some(1), Some(2)));
    }

    #[test]
    fn closing_drops_jobs_and_ends_workers() {
        let queue = Queue::new(2);
        assert!(queue.try_append(&mut vec![1]));
        queue.close();
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn every_job_is_popped_once() {
        let queue = Queue::new(4);
        let seen = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(job) = queue.pop() {
                        seen.lock().unwrap().push(job);
                    }
                });
            }
            for job in 0..1000 {
                let mut batch = vec![job];
                while !queue.try_append(&mut batch) {}
            }
            while seen.lock().unwrap().len() < 1000 {
                std::thread::yield_now();
            }
            queue.close();
        });
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }
}
