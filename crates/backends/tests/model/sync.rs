//! Takes the place of `src/file/sync.rs`: primitives whose interleavings the model checker decides.
//!
//! Built on no more than a mutex, a condition variable without time-outs, and `spawn`, which every
//! checker has (`base`). The rest is here, because no checker has it: waits that end for no reason,
//! and are woken in any order.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::LockResult;

use super::base;
use super::sabotage::Sabotage;

pub(super) use super::base::Arc;

/// What may happen in a search beyond interleavings. The checker tries everything up to these
/// numbers, at every point in time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scenario {
    /// How many waits may end for no reason, at each condition variable.
    pub(crate) spurious: u8,
    /// The mistake made on purpose.
    pub(super) sabotage: Option<Sabotage>,
}

impl Scenario {
    /// Nothing wrong with the code.
    pub(crate) const fn new(spurious: u8) -> Self {
        Self { spurious, sabotage: None }
    }

    /// The same with the mistake of that name.
    pub(crate) fn with_sabotage(self, name: &str) -> Self {
        let sabotage = super::sabotages::sabotage(name);
        assert!(sabotage.is_some(), "no mistake is called {name}");
        Self { sabotage, ..self }
    }
}

// A checker runs all threads of its model on one thread of the system. The cells are set before a
// schedule begins; what changes during a schedule is only touched by the device thread's code.
std::thread_local! {
    static SCENARIO: Cell<Scenario> = const { Cell::new(Scenario::new(0)) };
    static WORKERS: RefCell<Vec<base::JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
}

/// Begins a schedule.
pub(super) fn begin(scenario: Scenario) {
    SCENARIO.set(scenario);
    // What a schedule that failed has left behind belongs to a checker that is gone.
    WORKERS.with_borrow_mut(|workers| workers.drain(..).for_each(std::mem::forget));
}

/// The production code's question.
pub(super) fn sabotaged(by: Sabotage) -> bool {
    SCENARIO.get().sabotage == Some(by)
}

/// Starts a worker.
pub(super) fn start_worker(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    start_kernel(work);
    Ok(())
}

/// Starts a thread.
pub(super) fn start_kernel(work: impl FnOnce() + Send + 'static) {
    let handle = base::spawn(work);
    WORKERS.with_borrow_mut(|workers| workers.push(handle));
}

/// Waits until every worker has ended. Production code never does; a model that ends with a worker
/// still there would not have looked at all it does.
pub(super) fn join_workers() {
    while let Some(worker) = WORKERS.with_borrow_mut(Vec::pop) {
        worker.join().expect("a worker panicked");
    }
}

/// A mutex that its guards know, for [`Condvar`].
///
/// A checker takes what a thread does after its last wait in a critical section, and the release,
/// for one step: nobody who *waits* for the lock could tell. [`try_lock`] can. So both ends of that
/// step touch `door`, and their order is a decision.
pub(super) struct Mutex<T> {
    value: base::Mutex<T>,
    door: base::Mutex<()>,
}

/// See [`Mutex`].
pub(super) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    guard: base::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: base::Mutex::new(value), door: base::Mutex::new(()) }
    }

    pub(super) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        Ok(MutexGuard { mutex: self, guard: base::lock(&self.value) })
    }

    pub(super) fn into_inner(self) -> LockResult<T> {
        Ok(self.value.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// The lock, if it is free just now. Whoever doesn't get it lets the others go on first: a checker
/// would otherwise follow the schedules in which they never do.
pub(super) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    drop(base::lock(&mutex.door));
    match mutex.value.try_lock() {
        Ok(guard) => Some(MutexGuard { mutex, guard }),
        Err(_) => {
            base::yield_now();
            None
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        drop(base::lock(&self.mutex.door));
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// A condition variable. `notify_one` wakes any one of those who wait, which one is the checker's
/// choice; it wakes nobody if nobody waits.
pub(super) struct Condvar {
    waiters: base::Mutex<Waiters>,
    changed: base::Condvar,
}

struct Waiters {
    next_ticket: u32,
    waiting: Vec<u32>,
    /// Of each `notify_one` that has woken nobody yet: the first ticket that came after it.
    notified: Vec<u32>,
    spurious: u8,
}

impl Waiters {
    /// Whether `ticket` may be the one whom a `notify_one` wakes.
    fn take_notification(&mut self, ticket: u32) -> bool {
        // The oldest that it may take: whoever came later can't take that one.
        let at = self.notified.iter().position(|end| ticket < *end);
        at.map(|at| self.notified.remove(at)).is_some()
    }

    fn leave(&mut self, ticket: u32) {
        self.waiting.retain(|other| *other != ticket);
    }
}

impl Condvar {
    pub(super) fn new() -> Self {
        let waiters = Waiters {
            next_ticket: 0,
            waiting: Vec::new(),
            notified: Vec::new(),
            spurious: SCENARIO.get().spurious,
        };
        Self { waiters: base::Mutex::new(waiters), changed: base::Condvar::new() }
    }

    pub(super) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        // On the list before the lock is let go of, so nothing comes in between.
        let mut waiters = base::lock(&self.waiters);
        let ticket = waiters.next_ticket;
        waiters.next_ticket += 1;
        waiters.waiting.push(ticket);
        drop(waiters);
        let mutex = guard.mutex;
        drop(guard);

        let mut waiters = base::lock(&self.waiters);
        while waiters.waiting.contains(&ticket) && !waiters.take_notification(ticket) {
            if waiters.spurious > 0 {
                waiters.spurious -= 1;
                break;
            }
            waiters = base::wait(&self.changed, waiters);
        }
        waiters.leave(ticket);
        drop(waiters);
        mutex.lock()
    }

    pub(super) fn notify_one(&self) {
        let mut waiters = base::lock(&self.waiters);
        if waiters.notified.len() < waiters.waiting.len() {
            let end = waiters.next_ticket;
            waiters.notified.push(end);
            // All of them, to race for it.
            self.changed.notify_all();
        }
    }

    pub(super) fn notify_all(&self) {
        let mut waiters = base::lock(&self.waiters);
        waiters.waiting.clear();
        waiters.notified.clear();
        self.changed.notify_all();
    }
}
