//! The thread that writes one state file, and the mailbox between it and the device thread.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::place;

/// How soon a write that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// How a writer is doing.
#[derive(Clone, Debug, Default)]
pub(in crate::serve) struct Report {
    pub(in crate::serve) written_total: u64,
    pub(in crate::serve) failed_total: u64,
    /// How the latest write failed, if it did.
    pub(in crate::serve) error: Option<String>,
    /// For how long the write at hand has been going on.
    pub(in crate::serve) writing_for: Option<Duration>,
    waiting: bool,
}

impl Report {
    /// Whether something is being written or waits for it.
    pub(in crate::serve) fn is_busy(&self) -> bool {
        self.waiting || self.writing_for.is_some()
    }
}

#[derive(Default)]
struct Mail {
    /// What is to be written next; the latest wins.
    next: Option<Vec<u8>>,
    /// Nothing comes after it, and a failure is final.
    last: bool,
    /// The writer is gone: the thread ends once it has nothing to write.
    closed: bool,
    writing_since: Option<Instant>,
    written_total: u64,
    failed_total: u64,
    error: Option<String>,
}

/// Shared with the thread. The lock is held for moments: never while anything is written.
#[derive(Default)]
struct Mailbox {
    mail: Mutex<Mail>,
    posted: Condvar,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes one state file, in a thread that nobody ever waits for.
pub(in crate::serve) struct Writer {
    path: PathBuf,
    mailbox: Arc<Mailbox>,
}

impl Writer {
    /// Starts the thread. It adds to `wake`, an eventfd, whenever it has ended something.
    pub(in crate::serve) fn start(path: PathBuf, wake: Arc<OwnedFd>) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let (of_thread, to) = (Arc::clone(&mailbox), path.clone());
        std::thread::Builder::new()
            .name("fw-state".into())
            .spawn(move || work(&of_thread, &to, &wake))?;
        Ok(Self { path, mailbox })
    }

    pub(in crate::serve) fn path(&self) -> &Path {
        &self.path
    }

    /// Has `state` written, soon.
    pub(in crate::serve) fn post(&self, state: Vec<u8>) {
        self.put(state, false);
    }

    /// The same, as the last thing.
    pub(in crate::serve) fn post_last(&self, state: Vec<u8>) {
        self.put(state, true);
    }

    fn put(&self, state: Vec<u8>, last: bool) {
        let mut mail = self.mailbox.lock();
        let outdated = mail.next.replace(state);
        mail.last |= last;
        drop(mail);
        drop(outdated);
        self.mailbox.posted.notify_one();
    }

    /// Whether something is being written or waits for it.
    pub(in crate::serve) fn is_busy(&self) -> bool {
        let mail = self.mailbox.lock();
        mail.next.is_some() || mail.writing_since.is_some()
    }

    pub(in crate::serve) fn report(&self) -> Report {
        let mail = self.mailbox.lock();
        Report {
            written_total: mail.written_total,
            failed_total: mail.failed_total,
            error: mail.error.clone(),
            writing_for: mail.writing_since.map(|since| since.elapsed()),
            waiting: mail.next.is_some(),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.mailbox.lock().closed = true;
        self.mailbox.posted.notify_one();
    }
}

fn work(mailbox: &Mailbox, path: &Path, wake: &OwnedFd) {
    // What could not be written, and is tried again unless something newer comes.
    let mut failed: Option<Vec<u8>> = None;
    loop {
        let mut mail = mailbox.lock();
        let retry_at = Instant::now() + RETRY_AFTER;
        while mail.next.is_none() {
            if mail.closed {
                return;
            }
            let wait = retry_at.saturating_duration_since(Instant::now());
            match failed.take_if(|_| wait.is_zero()) {
                Some(state) => mail.next = Some(state),
                None if failed.is_none() => {
                    mail = mailbox.posted.wait(mail).unwrap_or_else(PoisonError::into_inner);
                }
                None => {
                    let waited = mailbox.posted.wait_timeout(mail, wait);
                    mail = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        let Some(state) = mail.next.take() else { continue };
        mail.writing_since = Some(Instant::now());
        drop(mail);

        let result = place::replace(path, &state);

        let mut mail = mailbox.lock();
        mail.writing_since = None;
        match result {
            Ok(()) => {
                mail.written_total += 1;
                failed = None;
                if mail.error.take().is_some() {
                    tracing::info!("state file {}: written again", path.display());
                }
            }
            Err(error) => {
                mail.failed_total += 1;
                failed = Some(state).filter(|_| !mail.last);
                if mail.error.as_ref() != Some(&error) {
                    tracing::error!("state file {}: {error}", path.display());
                }
                mail.error = Some(error);
            }
        }
        drop(mail);
        let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    fn settled(writer: &Writer) -> Report {
        let start = Instant::now();
        loop {
            let report = writer.report();
            if !report.is_busy() {
                return report;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{report:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn start(path: PathBuf) -> Writer {
        let wake = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        Writer::start(path, Arc::new(wake)).expect("a thread")
    }

    #[test]
    fn the_latest_state_wins() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let writer = start(path.clone());
        for round in 0..100u8 {
            writer.post(vec![round; 100]);
        }
        let report = settled(&writer);
        assert_eq!(std::fs::read(&path).expect("the file"), [99; 100]);
        assert!((1..=100).contains(&report.written_total), "{report:?}");
        assert_eq!((report.failed_total, report.error), (0, None));
    }

    #[test]
    fn the_thread_ends_with_its_writer() {
        let dir = tempfile::tempdir().expect("a directory");
        let writer = start(dir.path().join("s"));
        let mailbox = Arc::downgrade(&writer.mailbox);
        drop(writer);
        let start = Instant::now();
        while mailbox.strong_count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(30), "the thread does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_failure_is_counted_and_over_once_a_write_succeeds() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("later");
        let writer = start(folder.join("s"));
        writer.post(vec![1]);
        let report = settled(&writer);
        assert_eq!((report.written_total, report.failed_total), (0, 1));
        assert!(report.error.expect("an error").contains("later"));
        std::fs::create_dir(&folder).expect("a folder");
        writer.post(vec![2]);
        let report = settled(&writer);
        assert_eq!((report.written_total, report.failed_total), (1, 1));
        assert_eq!(report.error, None);
        assert_eq!(std::fs::read(folder.join("s")).expect("the file"), [2]);
    }
}
