//! The interrupt (10.7): IS, its level, and the messages that announce it.
//!
//! With as many messages as were asked for, each port has its own, and command completion coalescing
//! the one of its number. A driver then need not look at IS, nor clear it: a message is sent when
//! something becomes pending on a port, and when something is left after PxIS was written. With fewer,
//! the first message is for all (GHC.MRSM), and IS decides.

/// The interrupt, for the owner to pass on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupt {
    /// The level of the interrupt pin.
    pub level: bool,
    /// The messages to be sent, a bit each, where messages are enabled (10.7.2).
    pub messages: u32,
}

/// IS, GHC.IE and messages.
#[derive(Debug)]
pub(super) struct Interrupts {
    enabled: bool,
    is: u32,
    /// The ports that had something to say at the last look.
    pending: u32,
    messages: u32,
    requested: u32,
    /// How many messages the guest has allocated; 0 if they are off.
    allocated: u32,
}

impl Interrupts {
    pub(super) fn new(requested: u32) -> Self {
        Self { enabled: false, is: 0, pending: 0, messages: 0, requested, allocated: 0 }
    }

    pub(super) fn requested(&self) -> u32 {
        self.requested
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub(super) fn is(&self) -> u32 {
        self.is
    }

    /// GHC.MRSM: more than one message was asked for, and got, but not as many (3.1.2).
    pub(super) fn is_reverted(&self) -> bool {
        self.allocated > 1 && self.allocated < self.requested
    }

    /// One message is for all.
    fn is_single(&self) -> bool {
        self.requested == 1 || self.allocated < self.requested
    }

    fn send(&mut self, sources: u32) {
        if self.enabled && sources != 0 {
            self.messages |= if self.is_single() { 1 } else { sources };
        }
    }

    /// Takes over which ports have something to say, and what has happened that is no port's.
    pub(super) fn follow(&mut self, pending: u32, events: u32) {
        let before = self.is;
        self.is |= pending | events;
        let rising = pending & !self.pending | events;
        self.pending = pending;
        if !self.is_single() || before == 0 {
            self.send(if self.is_single() { self.is } else { rising });
        }
    }

    /// PxIS has been written: if something is left it is to be said again.
    pub(super) fn acknowledge_port(&mut self, port: usize) {
        self.pending &= !(1 << (port % 32));
    }

    /// A write to IS. A port that still has something to say says it again; what is left after a
    /// write is announced by a new message (10.7.2.1).
    pub(super) fn acknowledge(&mut self, bits: u32, pending: u32) {
        self.is &= !bits;
        self.is |= pending;
        self.send(if self.is_single() { self.is } else { pending & bits });
    }

    /// GHC.IE.
    pub(super) fn enable(&mut self, enabled: bool) {
        let was_enabled = core::mem::replace(&mut self.enabled, enabled);
        if !was_enabled {
            self.send(self.is);
        }
    }

    /// The guest has allocated so many messages, 0 for none. What there is to say is said again.
    pub(super) fn allocate(&mut self, messages: u32) {
        if self.allocated != messages {
            self.allocated = messages;
            self.messages = 0;
            self.send(self.is);
        }
    }

    /// An HBA reset: nothing is pending or enabled.
    pub(super) fn reset(&mut self) {
        *self = Self { allocated: self.allocated, ..Self::new(self.requested) };
    }

    pub(super) fn take(&mut self) -> Interrupt {
        let level = self.enabled && self.is != 0;
        Interrupt { level, messages: core::mem::take(&mut self.messages) }
    }
}
