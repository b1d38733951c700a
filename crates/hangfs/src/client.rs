//! The file system, as seen by whoever started the process that serves it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::options::Options;

/// How long [`HangFs::wait_for_pending`] waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// A mounted file system, until it is dropped.
///
/// Drop it, or [`end`](Self::end) it, only once what must still be executed has been released.
#[derive(Debug)]
pub struct HangFs {
    image: PathBuf,
    mountpoint: PathBuf,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    server: Child,
}

impl HangFs {
    /// Lets `program` serve it, which calls [`Options::serve`] with what [`Options::parse`] makes
    /// of its further arguments. The error is a cause: not everybody may mount.
    pub fn start(program: &mut Command, options: &Options) -> Result<Self, String> {
        let mut server = program
            .args(options.words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let commands = server.stdin.take();
        let answers = BufReader::new(server.stdout.take().ok_or("no standard output")?);
        let mut this = Self {
            image: options.mountpoint.join("disk"),
            mountpoint: options.mountpoint.clone(),
            commands,
            answers,
            server,
        };
        match this.answer().as_str() {
            "mounted" => Ok(this),
            other => Err(format!("no FUSE (needs root and /dev/fuse): {other}")),
        }
    }

    /// The file.
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Where it is mounted.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// The process that serves it.
    pub fn server_id(&self) -> u32 {
        self.server.id()
    }

    /// Gives a command, and returns its answer; nothing if the server is gone.
    pub fn command(&mut self, command: &str) -> String {
        let sent = self.commands.as_mut().is_some_and(|to| writeln!(to, "{command}").is_ok());
        if sent { self.answer() } else { String::new() }
    }

    /// From now on, these kinds of requests hang.
    pub fn hang(&mut self, kinds: &str) {
        self.command(&format!("hang {kinds}"));
    }

    /// Nothing new hangs; what hangs goes on hanging.
    pub fn clear(&mut self) {
        self.command("clear");
    }

    /// Executes what hangs, and everything from now on; how many hung.
    pub fn release(&mut self) -> usize {
        self.command("release").parse().unwrap_or(0)
    }

    /// How many requests hang.
    pub fn pending(&mut self) -> usize {
        self.command("pending").parse().unwrap_or(0)
    }

    /// Waits until at least `count` requests hang.
    ///
    /// # Panics
    ///
    /// If that takes too long.
    pub fn wait_for_pending(&mut self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pending = self.pending();
            if pending >= count {
                return;
            }
            assert!(Instant::now() < deadline, "only {pending} of {count} requests have arrived");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it: unmounted, and everything that hangs fails.
    pub fn end(&mut self) {
        let _ = rustix::mount::unmount(&self.mountpoint, rustix::mount::UnmountFlags::DETACH);
        self.commands = None;
        let _ = self.server.wait();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        let _ = self.answers.read_line(&mut line);
        line.trim().to_owned()
    }
}

impl Drop for HangFs {
    fn drop(&mut self) {
        self.end();
    }
}
