//! What can be found wrong.

/// The kinds of violation. Shrinking keeps to one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// C1: a reset left something running in the device, or asked something of the storage.
    Reset,
    /// C2: a command that was not issued or had ended was answered, or one not at all.
    Answer,
    /// C3: guest memory was touched that no live command lends.
    Memory,
    /// C4, C8: data that a guest may not see, or that is lost.
    Data,
    /// C4: storage was given a request over a fence.
    Fence,
    /// C5: what was promised to be durable is not.
    Durability,
    /// C6: more than the budget, or a slot in use twice.
    Budget,
    /// C7: a range in doubt was not named.
    Doubt,
    /// C8: something was left over after storage had let go of everything.
    Leftover,
    /// C9: counters or status do not agree with the truth.
    Counters,
    /// A register of the controller contradicts the specification.
    Register,
    /// Storage was given a request that its own rules exclude.
    Request,
    /// The code under test panicked.
    Panic,
}

impl Kind {
    /// Whether a guest can notice: by its data, its memory, its registers, what survives a crash.
    /// The others need a look at what the storage was asked, or at what the engine says of itself.
    pub fn guest_notices(self) -> bool {
        !matches!(
            self,
            Kind::Reset
                | Kind::Leftover
                | Kind::Fence
                | Kind::Budget
                | Kind::Doubt
                | Kind::Counters
                | Kind::Request
                | Kind::Panic
        )
    }
}

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its kind.
    pub kind: Kind,
    /// What was seen.
    pub what: String,
}

impl Violation {
    /// A violation of `kind`.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into() }
    }
}

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}
