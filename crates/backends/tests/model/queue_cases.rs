//! The queue by itself: fewer steps than with a backend around it, so the search goes deeper.

use std::time::Duration;

use super::base::{self, Arc};
use super::case::Case;
use super::queue::{Pushed, Queue};
use super::sync::{join_workers, start_worker};

const PATIENCE: Duration = Duration::from_secs(5);

pub(super) const CASES: &[Case] = &[
    Case { name: "queue::one_worker", run: one_worker },
    Case { name: "queue::two_workers", run: two_workers },
    Case { name: "queue::idle_worker", run: idle_worker },
    Case { name: "queue::two_idle_workers", run: two_idle_workers },
    Case { name: "queue::others_go_on", run: others_go_on },
    Case { name: "queue::others_go_on_after_idling", run: others_go_on_after_idling },
    Case { name: "queue::withdraw", run: withdraw },
    Case { name: "queue::close", run: close },
];

/// A queue, and what its workers have done.
struct Desk {
    queue: Queue<u8>,
    seen: base::Mutex<Vec<u8>>,
    changed: base::Condvar,
}

impl Desk {
    fn new(max_workers: usize) -> Arc<Self> {
        let queue = Queue::new(max_workers);
        Arc::new(Self { queue, seen: base::Mutex::default(), changed: base::Condvar::new() })
    }

    /// `hangs` is a job that lasts until others are done: until `self.seen` isn't empty.
    fn work(&self, hangs: Option<u8>) {
        while let Some(job) = self.queue.pop(PATIENCE) {
            let mut seen = base::lock(&self.seen);
            while hangs == Some(job) && seen.is_empty() {
                seen = base::wait(&self.changed, seen);
            }
            assert!(!seen.contains(&job), "job {job} was done twice");
            seen.push(job);
            self.changed.notify_all();
        }
    }

    fn wait_for(&self, count: usize) -> Vec<u8> {
        let mut seen = base::lock(&self.seen);
        while seen.len() < count {
            seen = base::wait(&self.changed, seen);
        }
        seen.clone()
    }
}

fn push(desk: &Arc<Desk>, job: u8, hangs: Option<u8>) {
    if desk.queue.push(job) == Pushed::NeedWorker {
        let worker = Arc::clone(desk);
        start_worker(move || worker.work(hangs)).expect("nobody refuses here");
    }
}

/// Ends the workers, and returns what has been done in all.
fn finish(desk: &Desk) -> Vec<u8> {
    desk.queue.close();
    join_workers();
    base::lock(&desk.seen).clone()
}

fn one_worker() {
    let desk = Desk::new(1);
    push(&desk, 0, None);
    push(&desk, 1, None);
    assert_eq!(desk.wait_for(2), [0, 1], "in order");
    finish(&desk);
}

fn two_workers() {
    let desk = Desk::new(2);
    push(&desk, 0, None);
    push(&desk, 1, None);
    desk.wait_for(2);
    finish(&desk);
}

fn idle_worker() {
    let desk = Desk::new(2);
    push(&desk, 0, None);
    desk.wait_for(1);
    push(&desk, 1, None);
    desk.wait_for(2);
    finish(&desk);
}

fn two_idle_workers() {
    let desk = Desk::new(2);
    push(&desk, 0, None);
    push(&desk, 1, None);
    desk.wait_for(2);
    push(&desk, 2, None);
    push(&desk, 3, None);
    desk.wait_for(4);
    finish(&desk);
}

fn others_go_on() {
    let desk = Desk::new(2);
    push(&desk, 0, Some(0));
    push(&desk, 1, Some(0));
    assert_eq!(desk.wait_for(2), [1, 0]);
    finish(&desk);
}

/// A worker is idle, and one is not enough.
fn others_go_on_after_idling() {
    let desk = Desk::new(2);
    push(&desk, 0, Some(1));
    desk.wait_for(1);
    base::lock(&desk.seen).clear();
    push(&desk, 1, Some(1));
    push(&desk, 2, Some(1));
    assert_eq!(desk.wait_for(2), [2, 1]);
    finish(&desk);
}

fn withdraw() {
    let desk = Desk::new(1);
    push(&desk, 0, None);
    push(&desk, 1, None);
    let withdrawn = desk.queue.take_if(|job| *job == 1);
    desk.wait_for(2 - withdrawn.iter().count());
    let seen = finish(&desk);
    assert_eq!(seen.contains(&1), withdrawn.is_none(), "either withdrawn or done");
}

fn close() {
    let desk = Desk::new(2);
    push(&desk, 0, None);
    push(&desk, 1, None);
    finish(&desk);
}
