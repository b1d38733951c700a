//! What a guest prints: each line with the host's time of its arrival, into a log and to whoever
//! listens.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc::Sender;
use std::time::Instant;

use super::marker::{self, Marker};

/// Something the guest did.
pub(crate) struct Event {
    pub(crate) at: Instant,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// A marker line on the second serial port.
    Marker(Marker),
    /// A line of a command's output, for the host to judge.
    Output { name: String, line: String },
    /// A line on the console.
    Console(String),
    /// The console has closed: QEMU has ended.
    Closed,
}

/// Read a port to its end, on a thread of its own. `console` tells which of the two ports it is.
pub(crate) fn listen(
    port: impl Read + Send + 'static,
    console: bool,
    start: Instant,
    mut log: File,
    events: Sender<Event>,
) {
    std::thread::spawn(move || {
        let mut port = BufReader::new(port);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            match port.read_until(b'\n', &mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            let at = Instant::now();
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end();
            let t = at.saturating_duration_since(start).as_secs_f64();
            let _ = writeln!(log, "{t:9.3} {line}");
            let what = if console {
                What::Console(line.to_owned())
            } else if let Some(marker) = Marker::parse(line) {
                What::Marker(marker)
            } else if let Some((name, line)) = marker::output(line) {
                What::Output { name, line }
            } else {
                continue;
            };
            if events.send(Event { at, what }).is_err() {
                break;
            }
        }
        if console {
            let at = Instant::now();
            let what = What::Closed;
            let _ = events.send(Event { at, what });
        }
    });
}
