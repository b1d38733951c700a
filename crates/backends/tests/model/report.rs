//! What all searches saw, as tables.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One search.
pub(crate) struct Row {
    pub(crate) name: String,
    /// Whether a mistake was made on purpose.
    pub(crate) sabotage: bool,
    pub(crate) schedules: u64,
    pub(crate) complete: bool,
    pub(crate) took: Duration,
    pub(crate) failure: Option<String>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Report(Mutex<Vec<Row>>);

impl Report {
    pub(crate) fn add(&self, row: Row) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(row);
    }

    pub(crate) fn print(&self) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.sort_by(|a, b| (a.sabotage, &a.name).cmp(&(b.sabotage, &b.name)));
        println!("{:>10}  {:>8}  search", "schedules", "seconds");
        for row in rows.iter() {
            let found = row.failure.as_deref().map(|failure| {
                let short: String = failure.chars().take(60).collect();
                format!(": {short}")
            });
            let note = if row.complete || row.failure.is_some() { "" } else { " (not to its end)" };
            println!(
                "{:>10}  {:>8.1}  {}{note}{}",
                row.schedules,
                row.took.as_secs_f64(),
                row.name,
                found.unwrap_or_default()
            );
        }
        let sum = |sabotage| {
            rows.iter().filter(|row| row.sabotage == sabotage).map(|row| row.schedules).sum::<u64>()
        };
        println!("{} schedules, and {} until each mistake was found", sum(false), sum(true));
    }
}
