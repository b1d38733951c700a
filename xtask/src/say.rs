//! What a person sees while something long runs: plain lines with the time since the start, on
//! standard error, readable in a log as well as in a terminal. Leaves results (standard output)
//! to the tasks themselves.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// One line of progress.
pub(crate) fn step(what: impl std::fmt::Display) {
    let t = start().elapsed().as_secs_f64();
    eprintln!("[{t:6.1} s] {what}");
}

/// An error and its causes, one a line.
pub(crate) fn failure(err: &anyhow::Error) {
    eprintln!("error: {err}");
    for cause in err.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
}

/// Progress of something countable: overwrites its line in a terminal, and in a log writes one
/// line every few seconds.
pub(crate) struct Meter {
    what: &'static str,
    last: Option<Instant>,
    terminal: bool,
}

impl Meter {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, last: None, terminal: std::io::stderr().is_terminal() }
    }

    pub(crate) fn at(&mut self, state: impl std::fmt::Display) {
        let every = if self.terminal { Duration::from_millis(100) } else { Duration::from_secs(5) };
        let now = Instant::now();
        if *self.last.get_or_insert(now) + every > now {
            return;
        }
        self.last = Some(now);
        let t = start().elapsed().as_secs_f64();
        if self.terminal {
            eprint!("\r\x1b[K[{t:6.1} s]   {}: {state}", self.what);
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("[{t:6.1} s]   {}: {state}", self.what);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.terminal && self.last.is_some() {
            eprint!("\r\x1b[K");
            let _ = std::io::stderr().flush();
        }
    }
}
