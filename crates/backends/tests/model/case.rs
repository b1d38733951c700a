//! What both checkers run.

use super::sync::{Scenario, begin};

/// One little program, run once for each schedule.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

impl Case {
    /// The case of that name.
    pub(crate) fn named(name: &str) -> Self {
        let found = all().find(|case| case.name == name);
        found.unwrap_or_else(|| panic!("no case is called {name}"))
    }

    /// One schedule.
    pub(crate) fn run_once(self, scenario: Scenario) {
        begin(scenario);
        (self.run)();
    }
}

/// Every case.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    use super::{backend_cases, queue_cases};
    [queue_cases::CASES, backend_cases::CASES, backend_cases::LARGE].into_iter().flatten().copied()
}

/// Whether the case has more threads than an exhaustive search can take.
pub(crate) fn is_large(name: &str) -> bool {
    super::backend_cases::LARGE.iter().any(|case| case.name == name)
}
