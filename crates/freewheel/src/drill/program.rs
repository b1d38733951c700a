//! Storage that an external program makes hang: `--stall-with PROGRAM`.
//!
//! The program is run by the shell. Once the storage is there it says `mounted`; from then on it
//! takes commands on its standard input, one a line, and answers each with a line: `hang read write
//! fsync fallocate`, `clear`, `release` (answer: how many requests hung), `pending` (answer: how
//! many hang). At the end of its input it ends, and nothing hangs any more. `crates/hangfs` in the
//! source is such a program.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use freewheel_sim::drill::Stall;

use crate::exit::{self, UserError};

/// All that can hang.
const HANG: &str = "hang read write fsync fallocate";

/// A running program.
pub(super) struct Program {
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    child: Child,
}

impl Program {
    /// Starts it, and waits until the storage is there.
    pub(super) fn start(command: &str) -> Result<Self, UserError> {
        let fails = |cause: String| {
            let remedy = "it has to print `mounted` and then obey commands, as hangfs does";
            UserError::new(exit::USAGE, format!("--stall-with {command}: {cause}"), remedy)
        };
        let mut child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| fails(error.to_string()))?;
        let commands = child.stdin.take();
        let answers = child.stdout.take().ok_or_else(|| fails("it has no output".into()))?;
        let mut this = Self { commands, answers: BufReader::new(answers), child };
        match this.answer().as_str() {
            "mounted" => Ok(this),
            other => Err(fails(format!("it began with {other:?} instead of \"mounted\""))),
        }
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        // A program that has gone has no answer, and the drill's checks see that nothing hangs.
        let _ = self.answers.read_line(&mut line);
        line.trim().to_owned()
    }

    fn command(&mut self, command: &str) -> String {
        if let Some(commands) = &mut self.commands {
            let _ = writeln!(commands, "{command}");
        }
        self.answer()
    }
}

impl Stall for Program {
    fn hang(&mut self) {
        self.command(HANG);
    }

    fn clear(&mut self) {
        self.command("clear");
    }

    fn release(&mut self) -> usize {
        self.command("release").parse().unwrap_or(0)
    }

    fn pending(&mut self) -> usize {
        self.command("pending").parse().unwrap_or(0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_obeys_or_is_refused() {
        let mut program =
            Program::start("echo mounted; while read c; do echo 7; done").expect("sh");
        program.hang();
        program.clear();
        assert_eq!((program.pending(), program.release()), (7, 7));
        drop(program);
        let mut gone = Program::start("echo mounted").expect("sh");
        gone.hang();
        assert_eq!(gone.pending(), 0);
        let Err(error) = Program::start("echo no") else { panic!("it is no such program") };
        assert!(error.cause.contains("\"no\""), "{}", error.cause);
        assert_eq!(error.code, exit::USAGE);
    }
}
