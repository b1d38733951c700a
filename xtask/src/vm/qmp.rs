//! QEMU's monitor: asked for the VM's state every 0.2 s, to see how long it takes to answer. A VM
//! whose big lock is held does not answer at all, so each question's time is kept, answered or not.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Samples {
    /// When each question was asked, and how long the answer took.
    answered: Vec<(Instant, Duration)>,
    /// The question that is being waited for.
    pending: Option<Instant>,
    connected: bool,
}

/// The monitor being asked, on a thread of its own, until QEMU closes the socket.
pub(crate) struct Poller {
    samples: Arc<Mutex<Samples>>,
}

impl Poller {
    pub(crate) fn start(socket: PathBuf) -> Self {
        let samples = Arc::new(Mutex::new(Samples::default()));
        let shared = samples.clone();
        std::thread::spawn(move || {
            // Ends with the socket; until QEMU has made it there is nothing to ask.
            let until = Instant::now() + Duration::from_secs(60);
            while Instant::now() < until {
                if let Ok(stream) = UnixStream::connect(&socket) {
                    let _ = ask(&stream, &shared);
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self { samples }
    }

    /// Whether the monitor ever answered.
    pub(crate) fn connected(&self) -> bool {
        lock(&self.samples).connected
    }

    /// The longest time that an answer took, of the questions asked from `begin` to `end`; one
    /// that isn't answered yet counts with its age.
    pub(crate) fn longest(&self, begin: Instant, end: Instant) -> Duration {
        let samples = lock(&self.samples);
        let pending = samples.pending.map(|at| (at, at.elapsed()));
        longest(samples.answered.iter().copied().chain(pending), begin, end)
    }
}

fn lock(samples: &Mutex<Samples>) -> std::sync::MutexGuard<'_, Samples> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

fn longest(
    samples: impl Iterator<Item = (Instant, Duration)>,
    begin: Instant,
    end: Instant,
) -> Duration {
    samples
        .filter(|(asked, took)| *asked <= end && *asked + *took >= begin)
        .map(|(_, took)| took)
        .max()
        .unwrap_or_default()
}

fn ask(stream: &UnixStream, samples: &Mutex<Samples>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    let mut line = String::new();
    reader.read_line(&mut line)?; // the greeting
    for command in
        ["qmp_capabilities", "query-status"].into_iter().chain(std::iter::repeat("query-status"))
    {
        let asked = Instant::now();
        lock(samples).pending = Some(asked);
        writer.write_all(format!("{{\"execute\":\"{command}\"}}\n").as_bytes())?;
        // Events come in between; an answer has one of these two.
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                lock(samples).pending = None;
                return Ok(());
            }
            if line.contains("\"return\"") || line.contains("\"error\"") {
                break;
            }
        }
        let took = asked.elapsed();
        {
            let mut samples = lock(samples);
            samples.pending = None;
            samples.connected = true;
            samples.answered.push((asked, took));
        }
        std::thread::sleep(EVERY.saturating_sub(took));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_counts_what_overlaps() {
        let t0 = Instant::now();
        let s = Duration::from_secs;
        let samples = [(t0, s(9)), (t0 + s(10), s(1)), (t0 + s(12), s(20)), (t0 + s(40), s(99))];
        let got = |b, e| longest(samples.iter().copied(), t0 + s(b), t0 + s(e));
        assert_eq!(got(10, 11), s(1));
        assert_eq!(got(10, 30), s(20));
        assert_eq!(got(33, 35), s(0));
        assert_eq!(got(5, 6), s(9));
    }
}
