//! Which mistake shows in which case.

use super::sabotage::Sabotage;

/// A mistake, and where it has to be found.
#[derive(Clone, Copy)]
pub(crate) struct Hunt {
    sabotage: Sabotage,
    pub(crate) case: &'static str,
    pub(crate) time_outs: u8,
    pub(crate) spurious: u8,
    pub(crate) refusals: u8,
    /// What the failure says, one of these.
    pub(crate) findings: &'static [&'static str],
}

impl Hunt {
    const fn new(
        sabotage: Sabotage,
        case: &'static str,
        findings: &'static [&'static str],
    ) -> Self {
        Self { sabotage, case, time_outs: 0, spurious: 0, refusals: 0, findings }
    }

    /// Only shows if this much goes wrong besides.
    const fn with(mut self, time_outs: u8, spurious: u8, refusals: u8) -> Self {
        (self.time_outs, self.spurious, self.refusals) = (time_outs, spurious, refusals);
        self
    }

    pub(crate) fn name(&self) -> String {
        format!("{:?}", self.sabotage)
    }
}

/// Every mistake.
pub(crate) const HUNTS: &[Hunt] = &[
    Hunt::new(Sabotage::NotifyBeforePush, "queue::idle_worker", &["deadlock"]),
    Hunt::new(Sabotage::OneIdleWorkerForAll, "queue::others_go_on_after_idling", &["deadlock"]),
    Hunt::new(Sabotage::WaitWithoutLock, "queue::idle_worker", &["deadlock"]),
    Hunt::new(Sabotage::NoLookAfterTimeOut, "queue::idle_worker", &["deadlock"]).with(1, 0, 0),
    Hunt::new(Sabotage::WokenMeansJob, "queue::idle_worker", &["woken without"]).with(0, 1, 0),
    Hunt::new(Sabotage::CloseInSilence, "backend::one", &["deadlock"]),
    Hunt::new(Sabotage::LockDuringIo, "backend::others_go_on", &["deadlock"]),
    Hunt::new(Sabotage::SignalBeforeFinished, "backend::one", &["deadlock"]),
    Hunt::new(Sabotage::GiveBackTwice, "backend::one", &["came back twice"]),
    Hunt::new(Sabotage::SayBeforeLettingGo, "backend::one", &["still locked"]),
    Hunt::new(
        Sabotage::WithdrawnJobStays,
        "backend::withdraw",
        &["came back twice", "and executed"],
    ),
    Hunt::new(Sabotage::RetryOnce, "backend::others_go_on", &["deadlock"]).with(0, 0, 2),
    Hunt::new(Sabotage::ClearAfterTaking, "backend::two", &["deadlock"]),
    Hunt::new(Sabotage::TwoSyncs, "backend::late_flush", &["two syncs at a time", "has not made"]),
    Hunt::new(Sabotage::SyncServesLateComers, "backend::late_flush", &["has not made"]),
];

/// The mistake of that name.
pub(super) fn sabotage(name: &str) -> Option<Sabotage> {
    HUNTS.iter().map(|hunt| hunt.sabotage).find(|sabotage| format!("{sabotage:?}") == name)
}
