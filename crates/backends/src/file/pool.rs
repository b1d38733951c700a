//! Threads that execute requests with blocking system calls.
//!
//! One for each request that there can be at a time, so that those that hang take none from the
//! others (contract C4). All are started when the image is opened: starting one later would cost
//! the device thread its time, and would fail or wait just when storage hangs and memory is short.
//! An idle one costs a few pages, less than the buffer of the request that it is there for.
//!
//! The device thread waits for no thread and for no lock. What it submits stays on a list of its
//! own until [`Pool::hand_over`], once a batch. Dropping the pool tells the threads to end, and
//! leaves those that hang behind, with the request and the file they hold.

use std::io;
use std::sync::PoisonError;

use freewheel_block::{Io, IoError, IoId};

use super::medium::Medium;
use super::queue::Queue;
use super::sabotage::Sabotage;
use super::sync::{Arc, Mutex, MutexGuard, sabotaged, start_worker, try_lock};
use super::wake::Wake;

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
    /// Submitted and not handed over yet.
    staged: Vec<Job>,
}

impl Pool {
    /// A pool of `threads`, which is the number of requests at a time.
    pub(super) fn new(medium: Arc<Medium>, wake: Arc<Wake>, threads: usize) -> io::Result<Self> {
        let shared = Shared {
            queue: Queue::new(threads),
            finished: Mutex::new(Vec::with_capacity(threads)),
            wake,
        };
        // If one can't be started, dropping it ends the others.
        let pool = Self { shared: Arc::new(shared), medium, staged: Vec::with_capacity(threads) };
        for _ in 0..threads {
            let shared = Arc::clone(&pool.shared);
            start_worker(move || work(&shared))?;
        }
        Ok(pool)
    }

    /// Has `io` executed. The caller bounds how many there are.
    pub(super) fn submit(&mut self, io: Io) {
        self.stage(Task::Io(io));
    }

    /// Has an `fdatasync` made.
    pub(super) fn sync(&mut self) {
        self.stage(Task::Sync);
    }

    fn stage(&mut self, task: Task) {
        self.staged.push(Job { medium: Arc::clone(&self.medium), task });
    }

    /// Puts everything submitted on its way. If a worker has the queue's lock just now, the owner
    /// is signalled, and so comes back to try again.
    pub(super) fn hand_over(&mut self) {
        if !self.staged.is_empty()
            && !self.shared.queue.try_append(&mut self.staged)
            && !sabotaged(Sabotage::LockedMeansDone)
        {
            self.shared.wake.signal();
        }
    }

    /// Takes out `id` if no thread has begun it.
    pub(super) fn cancel(&mut self, id: IoId) -> Option<Io> {
        let of_id = |job: &Job| matches!(&job.task, Task::Io(io) if io.id == id);
        let job = match self.staged.iter().position(of_id) {
            Some(at) => self.staged.remove(at),
            None => self.shared.queue.try_take(of_id)?,
        };
        match job.task {
            Task::Io(io) => {
                if sabotaged(Sabotage::WithdrawnJobStays) {
                    self.stage(Task::Io(Io { buf: None, ..io }));
                }
                Some(io)
            }
            Task::Sync => None,
        }
    }

    /// Swaps `into`, which is empty, for what has finished. If a worker has the list's lock just
    /// now, it will signal when it has let go of it, and there is nothing until then.
    pub(super) fn take_finished(&mut self, into: &mut Vec<Finished>) {
        if let Some(mut finished) = try_lock(&self.shared.finished) {
            std::mem::swap(&mut *finished, into);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

fn work(shared: &Shared) {
    while let Some(Job { medium, task }) = shared.queue.pop() {
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
        let mut list = lock(&shared.finished);
        list.push(finished);
        if sabotaged(Sabotage::SignalUnderLock) {
            shared.wake.signal();
        }
        drop(list);
        // Only now: whoever looks may find the lock taken, once, and has no other reason to return.
        if !sabotaged(Sabotage::SignalBeforeFinished) && !sabotaged(Sabotage::SignalUnderLock) {
            shared.wake.signal();
        }
        drop(too_late);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
