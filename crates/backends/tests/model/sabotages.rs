//! Which mistake shows in which case.

use super::sabotage::Sabotage;

/// A mistake, and where it has to be found.
#[derive(Clone, Copy)]
pub(crate) struct Hunt {
    sabotage: Sabotage,
    pub(crate) case: &'static str,
    pub(crate) spurious: u8,
    /// What the failure says, one of these.
    pub(crate) findings: &'static [&'static str],
}

impl Hunt {
    const fn new(
        sabotage: Sabotage,
        case: &'static str,
        findings: &'static [&'static str],
    ) -> Self {
        Self { sabotage, case, spurious: 0, findings }
    }

    /// Only shows if so many waits end for no reason.
    const fn with_spurious(mut self, spurious: u8) -> Self {
        self.spurious = spurious;
        self
    }

    pub(crate) fn name(&self) -> String {
        format!("{:?}", self.sabotage)
    }
}

/// Every mistake.
pub(crate) const HUNTS: &[Hunt] = &[
    Hunt::new(Sabotage::NotifyBeforeAppend, "queue::one_worker", &["deadlock"]),
    Hunt::new(Sabotage::WakeNotPassedOn, "queue::others_of_a_batch_go_on", &["deadlock"]),
    Hunt::new(Sabotage::WaitWithoutLock, "queue::one_worker", &["deadlock"]),
    Hunt::new(Sabotage::WokenMeansJob, "queue::one_worker", &["woken without"]).with_spurious(1),
    Hunt::new(Sabotage::CloseInSilence, "backend::one", &["deadlock"]),
    Hunt::new(Sabotage::LockedMeansDone, "backend::one", &["deadlock"]),
    Hunt::new(Sabotage::LockDuringIo, "backend::others_go_on", &["deadlock"]),
    Hunt::new(Sabotage::SignalBeforeFinished, "backend::one", &["deadlock"]),
    Hunt::new(Sabotage::SignalUnderLock, "backend::one", &["deadlock"]),
    Hunt::new(Sabotage::GiveBackTwice, "backend::one", &["came back twice"]),
    Hunt::new(Sabotage::SayBeforeLettingGo, "backend::one", &["still locked"]),
    Hunt::new(
        Sabotage::WithdrawnJobStays,
        "backend::withdraw",
        &["came back twice", "and executed"],
    ),
    Hunt::new(Sabotage::ClearAfterTaking, "backend::two", &["deadlock"]),
    Hunt::new(Sabotage::TwoSyncs, "backend::late_flush", &["two syncs at a time", "has not made"]),
    Hunt::new(Sabotage::SyncServesLateComers, "backend::late_flush", &["has not made"]),
];

/// The mistake of that name.
pub(super) fn sabotage(name: &str) -> Option<Sabotage> {
    HUNTS.iter().map(|hunt| hunt.sabotage).find(|sabotage| format!("{sabotage:?}") == name)
}
