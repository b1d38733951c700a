//! How the program ends: exit codes, and errors as people read them.

use std::process::ExitCode;

/// Something went wrong while running, or a verdict is negative.
pub(crate) const FAILURE: u8 = 1;
/// The command line is wrong. (`clap` uses the same.)
pub(crate) const USAGE: u8 = 2;
/// A disk image cannot be used: missing, locked, of a bad size.
pub(crate) const DISK: u8 = 3;
/// A socket cannot be used: the path is taken, too long, or nobody answers.
pub(crate) const SOCKET: u8 = 4;
/// Ended by its deadline while storage was stuck, or with something that could not be saved: what is
/// printed is in doubt.
pub(crate) const IN_DOUBT: u8 = 5;

/// The table for `--help`.
pub(crate) const TABLE: &str = "Exit codes:
  0  success; for `serve`: everything is flushed and nothing is in doubt
  1  failure at run time, or a negative verdict of `drill`
  2  wrong command line
  3  a disk image cannot be used
  4  a socket cannot be used
  5  ended while storage was stuck: the state of the printed LBA ranges or state files is in doubt";

/// An error for people: one line of cause, one of remedy.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct UserError {
    /// What is wrong, naming the thing.
    pub(crate) cause: String,
    /// What to do.
    pub(crate) remedy: String,
    /// The exit code.
    pub(crate) code: u8,
    /// It is only that somebody else has the image open.
    pub(crate) locked: bool,
}

impl UserError {
    pub(crate) fn new(code: u8, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: remedy.into(), code, locked: false }
    }
}

/// Prints an error to standard error and gives its exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<UserError>() {
        Some(user) => {
            eprintln!("freewheel: {}", user.cause);
            eprintln!("remedy: {}", user.remedy);
            ExitCode::from(user.code)
        }
        None => {
            eprintln!("freewheel: {error:#}");
            ExitCode::from(FAILURE)
        }
    }
}
