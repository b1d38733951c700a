//! The queue between the device thread and the pool's workers.
//!
//! Holds its lock for a push or a pop, never during I/O, so the device thread waits for no worker.
//! Knows nothing of files and starts no threads: [`Queue::push`] says when one is needed.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

use super::sabotage::Sabotage;
use super::sync::{Condvar, Mutex, MutexGuard, sabotaged};

/// What the device thread has to do after a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Nothing: an idle worker has been woken.
    Woken,
    /// Start a worker: it has been counted already; [`Queue::worker_failed`] takes that back.
    NeedWorker,
    /// Nothing: as many workers as allowed are busy, and the job waits for one of them.
    Queued,
}

struct State<T> {
    jobs: VecDeque<T>,
    /// Workers inside [`Queue::pop`], those included that are about to wake up.
    idle: usize,
    /// Workers that exist, or are about to.
    workers: usize,
    closed: bool,
}

/// A queue of jobs for a growing and shrinking number of workers.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    max_workers: usize,
}

impl<T> Queue<T> {
    /// An empty queue for at most `max_workers` workers.
    pub(super) fn new(max_workers: usize) -> Self {
        Self {
            state: Mutex::new(State { jobs: VecDeque::new(), idle: 0, workers: 0, closed: false }),
            wake: Condvar::new(),
            max_workers,
        }
    }

    /// Adds a job.
    pub(super) fn push(&self, job: T) -> Pushed {
        if sabotaged(Sabotage::NotifyBeforePush) {
            self.wake.notify_one();
        }
        let mut state = self.lock();
        state.jobs.push_back(job);
        Self::claim(&mut state, self.max_workers, &self.wake)
    }

    /// Asks again what there is to do for the jobs that wait, after a worker couldn't be started.
    pub(super) fn recheck(&self) -> Pushed {
        let mut state = self.lock();
        if state.jobs.is_empty() {
            return Pushed::Woken;
        }
        Self::claim(&mut state, self.max_workers, &self.wake)
    }

    fn claim(state: &mut State<T>, max_workers: usize, wake: &Condvar) -> Pushed {
        // Idle workers are spoken for by the jobs that were there before.
        let enough = state.jobs.len() <= state.idle
            || (sabotaged(Sabotage::OneIdleWorkerForAll) && state.idle > 0);
        if enough {
            if !sabotaged(Sabotage::NotifyBeforePush) {
                wake.notify_one();
            }
            Pushed::Woken
        } else if state.workers < max_workers {
            state.workers += 1;
            Pushed::NeedWorker
        } else {
            Pushed::Queued
        }
    }

    /// The worker that a push asked for couldn't be started. Returns whether others exist, who will
    /// get to the job.
    pub(super) fn worker_failed(&self) -> bool {
        let mut state = self.lock();
        state.workers -= 1;
        state.workers > 0
    }

    /// The next job. `None` tells the worker to end: the queue is closed, or there was nothing to
    /// do for as long as `patience`.
    pub(super) fn pop(&self, patience: Duration) -> Option<T> {
        let mut state = self.lock();
        state.idle += 1;
        let mut timed_out = false;
        let job = loop {
            if state.closed {
                break None;
            }
            if timed_out && sabotaged(Sabotage::NoLookAfterTimeOut) {
                break None;
            }
            if let Some(job) = state.jobs.pop_front() {
                break Some(job);
            }
            if timed_out {
                break None;
            }
            if sabotaged(Sabotage::WaitWithoutLock) {
                drop(state);
                state = self.lock();
            }
            let (guard, timeout) =
                self.wake.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            timed_out = timeout.timed_out();
            if sabotaged(Sabotage::WokenMeansJob) && !timed_out && !state.closed {
                assert!(!state.jobs.is_empty(), "woken without a job");
            }
        };
        state.idle -= 1;
        if job.is_none() {
            state.workers -= 1;
        }
        job
    }

    /// Takes out a job that no worker has begun.
    pub(super) fn take_if(&self, mut wanted: impl FnMut(&T) -> bool) -> Option<T> {
        let mut state = self.lock();
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

    const NO_TIME: Duration = Duration::ZERO;

    #[test]
    fn asks_for_workers_until_the_limit() {
        let queue = Queue::new(2);
        assert_eq!(queue.push(1), Pushed::NeedWorker);
        assert_eq!(queue.push(2), Pushed::NeedWorker);
        assert_eq!(queue.push(3), Pushed::Queued);
        assert_eq!(queue.pop(NO_TIME), Some(1));
        assert_eq!(queue.take_if(|job| *job == 3), Some(3));
        assert_eq!(queue.take_if(|job| *job == 3), None);
        assert_eq!(queue.pop(NO_TIME), Some(2));
        assert_eq!(queue.pop(NO_TIME), None, "an idle worker ends");
        assert_eq!(queue.push(4), Pushed::NeedWorker, "and makes room for another");
    }

    #[test]
    fn a_worker_that_could_not_be_started_is_asked_for_again() {
        let queue = Queue::new(1);
        assert_eq!(queue.push(1), Pushed::NeedWorker);
        assert!(!queue.worker_failed());
        assert_eq!(queue.recheck(), Pushed::NeedWorker);
    }

    /// Why the pool looks again after it has started one.
    #[test]
    fn several_workers_that_could_not_be_started_are_asked_for_one_by_one() {
        let queue = Queue::new(2);
        for job in [1, 2] {
            assert_eq!(queue.push(job), Pushed::NeedWorker);
            queue.worker_failed();
        }
        assert_eq!(queue.recheck(), Pushed::NeedWorker);
        assert_eq!(queue.pop(NO_TIME), Some(1));
        assert_eq!(queue.recheck(), Pushed::NeedWorker, "the first may hang, and 2 still waits");
        assert_eq!(queue.pop(NO_TIME), Some(2));
        assert_eq!(queue.recheck(), Pushed::Woken);
    }

    #[test]
    fn closing_drops_jobs_and_ends_workers() {
        let queue = Queue::new(2);
        queue.push(1);
        queue.close();
        assert_eq!(queue.pop(Duration::from_secs(60)), None);
    }

    #[test]
    fn every_job_is_popped_once() {
        let queue = Queue::new(4);
        let seen = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for job in 0..1000 {
                if queue.push(job) == Pushed::NeedWorker {
                    scope.spawn(|| {
                        while let Some(job) = queue.pop(Duration::from_millis(20)) {
                            seen.lock().unwrap().push(job);
                        }
                    });
                }
            }
        });
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }
}
