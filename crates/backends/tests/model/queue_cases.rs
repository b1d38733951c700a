//! The queue by itself: fewer steps than with a backend around it, so the search goes deeper.

use super::base::{self, Arc};
use super::case::Case;
use super::queue::Queue;
use super::sync::{join_workers, start_worker};

pub(super) const CASES: &[Case] = &[
    Case { name: "queue::one_worker", run: one_worker },
    Case { name: "queue::two_workers", run: two_workers },
    Case { name: "queue::batch", run: batch },
    Case { name: "queue::others_go_on", run: others_go_on },
    Case { name: "queue::others_of_a_batch_go_on", run: others_of_a_batch_go_on },
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
    /// With so many workers; `hangs` is a job that lasts until others are done: until `self.seen`
    /// isn't empty.
    fn new(workers: usize, hangs: Option<u8>) -> Arc<Self> {
        let queue = Queue::new(4);
        let (seen, changed) = (base::Mutex::default(), base::Condvar::new());
        let desk = Arc::new(Self { queue, seen, changed });
        for _ in 0..workers {
            let worker = Arc::clone(&desk);
            start_worker(move || worker.work(hangs)).expect("nobody refuses here");
        }
        desk
    }

    fn work(&self, hangs: Option<u8>) {
        while let Some(job) = self.queue.pop() {
            let mut seen = base::lock(&self.seen);
            while hangs == Some(job) && seen.is_empty() {
                seen = base::wait(&self.changed, seen);
            }
            assert!(!seen.contains(&job), "job {job} was done twice");
            seen.push(job);
            self.changed.notify_all();
        }
    }

    fn push(&self, jobs: &[u8]) {
        let mut batch = jobs.to_vec();
        while !self.queue.try_append(&mut batch) {}
        assert!(batch.is_empty());
    }

    fn wait_for(&self, count: usize) -> Vec<u8> {
        let mut seen = base::lock(&self.seen);
        while seen.len() < count {
            seen = base::wait(&self.changed, seen);
        }
        seen.clone()
    }
}

/// Ends the workers, and returns what has been done in all.
fn finish(desk: &Desk) -> Vec<u8> {
    desk.queue.close();
    join_workers();
    base::lock(&desk.seen).clone()
}

fn one_worker() {
    let desk = Desk::new(1, None);
    desk.push(&[0]);
    desk.push(&[1]);
    assert_eq!(desk.wait_for(2), [0, 1], "in order");
    finish(&desk);
}

fn two_workers() {
    let desk = Desk::new(2, None);
    desk.push(&[0]);
    desk.wait_for(1);
    desk.push(&[1]);
    desk.wait_for(2);
    finish(&desk);
}

fn batch() {
    let desk = Desk::new(2, None);
    desk.push(&[0, 1, 2]);
    desk.wait_for(3);
    finish(&desk);
}

fn others_go_on() {
    let desk = Desk::new(2, Some(0));
    desk.push(&[0]);
    desk.push(&[1]);
    assert_eq!(desk.wait_for(2), [1, 0]);
    finish(&desk);
}

/// Only one worker is woken for all of it.
fn others_of_a_batch_go_on() {
    let desk = Desk::new(2, Some(0));
    desk.push(&[0, 1]);
    assert_eq!(desk.wait_for(2), [1, 0]);
    finish(&desk);
}

fn withdraw() {
    let desk = Desk::new(1, None);
    desk.push(&[0, 1]);
    let withdrawn = desk.queue.try_take(|job| *job == 1);
    desk.wait_for(2 - withdrawn.iter().count());
    let seen = finish(&desk);
    assert_eq!(seen.contains(&1), withdrawn.is_none(), "either withdrawn or done");
}

fn close() {
    let desk = Desk::new(2, None);
    desk.push(&[0]);
    desk.push(&[1]);
    finish(&desk);
}
