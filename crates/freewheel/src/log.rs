//! The log, on standard error, written by a thread of its own: a reader that has stopped must not
//! stop the device thread (contract C1). What does not fit into the queue is dropped.

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Starts logging at the level that `FREEWHEEL_LOG` asks for (`info` without it). The guard writes
/// out what is queued when it is dropped.
pub(crate) fn start() -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(4096)
        .lossy(true)
        .thread_name("fw-log")
        .finish(std::io::stderr());
    let filter = EnvFilter::try_from_env("FREEWHEEL_LOG").unwrap_or_else(|_| "info".into());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .finish();
    // Fails only if there is one already, as in tests.
    let _ = tracing::subscriber::set_global_default(subscriber);
    guard
}
