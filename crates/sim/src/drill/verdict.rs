//! Verdicts: for each clause of the contract, how often it was checked and what violated it.

/// How many violations of a clause are kept in words; all are counted.
const VIOLATIONS_KEPT: usize = 16;

/// A clause of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Clause {
    /// Bounded reset.
    C1,
    /// One answer.
    C2,
    /// No late memory.
    C3,
    /// The fence.
    C4,
    /// Flush means flush.
    C5,
    /// Bounded resources.
    C6,
    /// An honest end.
    C7,
    /// The backend may do anything.
    C8,
    /// It is visible.
    C9,
}

impl Clause {
    /// Every clause, in order.
    pub const ALL: [Clause; 9] = [
        Clause::C1,
        Clause::C2,
        Clause::C3,
        Clause::C4,
        Clause::C5,
        Clause::C6,
        Clause::C7,
        Clause::C8,
        Clause::C9,
    ];

    /// `C1` to `C9`.
    pub fn name(self) -> &'static str {
        ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9"][self as usize]
    }

    /// The clause in two words.
    pub fn title(self) -> &'static str {
        [
            "bounded reset",
            "one answer",
            "no late memory",
            "the fence",
            "flush means flush",
            "bounded resources",
            "an honest end",
            "any backend",
            "visible",
        ][self as usize]
    }

    /// What it means if the verdict is good, in a sentence.
    pub fn promise(self) -> &'static str {
        [
            "every reset ended while the storage still held every request",
            "tags were used again at once, and no orphan completed a new command",
            "not one byte of a cancelled command's memory was read or written",
            "what overlapped an orphan waited, the rest went on, newer data won",
            "a flush reached the storage at once, did not wait for orphans, was not answered early",
            "a spent budget queued and cancelled, a second disk went on, every slot came back",
            "the ranges in doubt were exactly those that orphans could still change",
            "errors, lateness and completions in the middle of a cancel lost nothing",
            "every cancel, orphan and fence was shown with its range and age, and all sums agreed",
        ][self as usize]
    }
}

/// What was found about a clause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many observations were made.
    pub checks: u64,
    /// How many of them violated the clause.
    pub violations_total: u64,
    /// The first of them, in words.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Whether the clause holds: it was checked, and nothing violated it.
    pub fn ok(&self) -> bool {
        self.checks > 0 && self.violations_total == 0
    }
}

/// The verdict on each clause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts([Verdict; 9]);

impl Verdicts {
    /// The verdict on `clause`.
    pub fn of(&self, clause: Clause) -> &Verdict {
        &self.0[clause as usize]
    }

    /// Whether every clause holds.
    pub fn all_ok(&self) -> bool {
        self.0.iter().all(Verdict::ok)
    }

    /// Violations of all clauses.
    pub fn violations_total(&self) -> u64 {
        self.0.iter().map(|verdict| verdict.violations_total).sum()
    }

    /// Counts an observation; `words` says what is wrong if it is not `good`.
    pub(super) fn check(&mut self, clause: Clause, good: bool, words: impl FnOnce() -> String) {
        let verdict = &mut self.0[clause as usize];
        verdict.checks += 1;
        if !good {
            verdict.violations_total += 1;
            if verdict.violations.len() < VIOLATIONS_KEPT {
                verdict.violations.push(words());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_checked_is_not_good() {
        let mut verdicts = Verdicts::default();
        assert!(!verdicts.of(Clause::C5).ok());
        verdicts.check(Clause::C5, true, String::new);
        assert!(verdicts.of(Clause::C5).ok());
        for _ in 0..100 {
            verdicts.check(Clause::C5, false, || "broken".into());
        }
        let verdict = verdicts.of(Clause::C5);
        assert!(!verdict.ok());
        assert_eq!((verdict.checks, verdict.violations_total), (101, 100));
        assert_eq!(verdict.violations.len(), VIOLATIONS_KEPT);
    }
}
