//! Threads that execute requests with blocking system calls.
//!
//! A thread is started whenever a request finds none idle, up to the queue depth: if some hang,
//! others must still find one (contract C4). Idle threads end after some seconds. Nobody ever waits
//! for a thread: dropping the pool tells them to end, and leaves those that hang behind, with the
//! request and the file they hold.

use std::sync::PoisonError;
use std::time::Duration;

use freewheel_block::{Io, IoError, IoId, Nanos};

use super::medium::Medium;
use super::queue::{Pushed, Queue};
use super::sabotage::Sabotage;
use super::sync::{Arc, Mutex, MutexGuard, sabotaged, start_worker};
use super::wake::Wake;

/// How long a thread stays without work.
const PATIENCE: Duration = Duration::from_secs(5);
/// When to look again after a thread could not be started.
const RETRY_NS: u64 = 10_000_000;

/// What a worker is asked to do.
///
/// Each job brings the image along, and an idle thread has none: otherwise a thread that is slow to
/// notice the end would keep the image locked.
struct Job {
    medium: Arc<Medium>,
    task: Task,
}

enum Task {
    Io(Io),
    Sync,
}

/// What a worker has done.
pub(super) enum Finished {
    /// A request, and how it ended.
    Io(Io, Result<u64, IoError>),
    /// The sync.
    Sync(Result<(), IoError>),
}

struct Shared {
    queue: Queue<Job>,
    finished: Mutex<Vec<Finished>>,
    wake: Arc<Wake>,
}

/// See the module's description.
pub(super) struct Pool {
    shared: Arc<Shared>,
    medium: Arc<Medium>,
    retry_at: Option<Nanos>,
}

impl Pool {
    /// A pool without threads yet. `max_threads` is the number of requests at a time.
    pub(super) fn new(medium: Arc<Medium>, wake: Arc<Wake>, max_threads: usize) -> Self {
        let shared = Shared {
            queue: Queue::new(max_threads),
            finished: Mutex::new(Vec::with_capacity(max_threads)),
            wake,
        };
        Self { shared: Arc::new(shared), medium, retry_at: None }
    }

    /// Has `io` executed. The caller bounds how many there are.
    pub(super) fn submit(&mut self, io: Io, now: Nanos) {
        self.push(Task::Io(io), now);
    }

    /// Has an `fdatasync` made.
    pub(super) fn sync(&mut self, now: Nanos) {
        self.push(Task::Sync, now);
    }

    /// Takes out `id` if no thread has begun it.
    pub(super) fn cancel(&mut self, id: IoId) -> Option<Io> {
        let of_id = |job: &Job| matches!(&job.task, Task::Io(io) if io.id == id);
        match self.shared.queue.take_if(of_id)?.task {
            Task::Io(io) => {
                if sabotaged(Sabotage::WithdrawnJobStays) {
                    let task = Task::Io(Io { buf: None, ..io });
                    self.shared.queue.push(Job { medium: Arc::clone(&self.medium), task });
                }
                Some(io)
            }
            Task::Sync => None,
        }
    }

    /// Swaps `into`, which is empty, for what has finished.
    pub(super) fn take_finished(&mut self, into: &mut Vec<Finished>, now: Nanos) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            let pushed = self.shared.queue.recheck();
            if pushed == Pushed::NeedWorker && !sabotaged(Sabotage::RetryOnce) {
                // As many may be missing as jobs wait, and this starts but one: look again.
                self.retry_at = Some(now.plus(RETRY_NS));
            }
            self.after_push(pushed, now);
        }
        std::mem::swap(&mut *lock(&self.shared.finished), into);
    }

    /// When [`Pool::take_finished`] wants to be called, whatever happens.
    pub(super) fn next_wakeup(&self) -> Option<Nanos> {
        self.retry_at
    }

    fn push(&mut self, task: Task, now: Nanos) {
        let pushed = self.shared.queue.push(Job { medium: Arc::clone(&self.medium), task });
        self.after_push(pushed, now);
    }

    fn after_push(&mut self, pushed: Pushed, now: Nanos) {
        if pushed != Pushed::NeedWorker {
            return;
        }
        let shared = Arc::clone(&self.shared);
        if let Err(error) = start_worker(move || work(&shared)) {
            let others = self.shared.queue.worker_failed();
            tracing::warn!(%error, others, "an I/O thread could not be started; trying again");
            self.retry_at = Some(now.plus(RETRY_NS));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

fn work(shared: &Shared) {
    while let Some(Job { medium, task }) = shared.queue.pop(PATIENCE) {
        let too_long = sabotaged(Sabotage::LockDuringIo).then(|| lock(&shared.finished));
        let finished = match task {
            Task::Io(mut io) => {
                let result = medium.execute(&mut io);
                Finished::Io(io, result)
            }
            Task::Sync => Finished::Sync(medium.sync()),
        };
        drop(too_long);
        let too_late = sabotaged(Sabotage::SayBeforeLettingGo).then(|| Arc::clone(&medium));
        // First let go of the image, then say so.
        drop(medium);
        if sabotaged(Sabotage::SignalBeforeFinished) {
            shared.wake.signal();
        }
        if sabotaged(Sabotage::GiveBackTwice)
            && let Finished::Io(io, result) = &finished
        {
            lock(&shared.finished).push(Finished::Io(Io { buf: None, ..*io }, *result));
        }
        lock(&shared.finished).push(finished);
        if !sabotaged(Sabotage::SignalBeforeFinished) {
            shared.wake.signal();
        }
        drop(too_late);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
