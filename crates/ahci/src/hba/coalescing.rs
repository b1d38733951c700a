//! Command completion coalescing (11): one interrupt for so many completions, or after so long.
//!
//! It has the interrupt of a port that does not exist, and needs one to be left. It silences nothing:
//! software masks the causes that it does not want to hear any more in PxIE (11.6).
//!
//! The timer runs while commands of selected ports are outstanding, and interrupts when it ends even
//! if none of them is complete (3.1.6, TV). A command that is complete counts as outstanding until
//! that has been told: otherwise the last ones would never be.

use freewheel_block::Nanos;

const MILLISECOND_NS: u64 = 1_000_000;
/// CCC_CTL.EN.
const ENABLE: u32 = 1;

/// CCC_CTL, CCC_PORTS, and the state behind them.
#[derive(Debug)]
pub(super) struct Coalescing {
    /// Its interrupt; `None` if all 32 belong to ports.
    interrupt: Option<u8>,
    enabled: bool,
    timeout_ms: u16,
    completions: u8,
    ports: u32,
    /// hCccComplete.
    complete: u64,
    /// What of hCccTimer was left when it was last looked at.
    left_ns: u64,
    /// Since when it runs.
    since: Option<Nanos>,
    /// Completions of the selected ports that have been taken note of.
    counted_total: u64,
}

impl Coalescing {
    /// For an HBA with so many ports.
    pub(super) fn new(port_count: usize) -> Self {
        Self {
            interrupt: u8::try_from(port_count).ok().filter(|number| *number < 32),
            enabled: false,
            timeout_ms: 1,
            completions: 1,
            ports: 0,
            complete: 0,
            left_ns: 0,
            since: None,
            counted_total: 0,
        }
    }

    /// CAP.CCCS.
    pub(super) fn is_supported(&self) -> bool {
        self.interrupt.is_some()
    }

    pub(super) fn ports(&self) -> u32 {
        self.ports
    }

    pub(super) fn read_control(&self) -> u32 {
        let Some(interrupt) = self.interrupt else {
            return 0;
        };
        u32::from(self.timeout_ms) << 16
            | u32::from(self.completions) << 8
            | u32::from(interrupt) << 3
            | u32::from(self.enabled)
    }

    /// TV and CC can be changed only while EN is clear. `completed_total` is of the selected ports.
    pub(super) fn write_control(&mut self, value: u32, completed_total: u64) {
        if !self.is_supported() {
            return;
        }
        if !self.enabled {
            self.timeout_ms = (value >> 16) as u16;
            self.completions = (value >> 8) as u8;
            self.complete = 0;
            self.left_ns = self.timeout_ns();
            self.since = None;
            self.counted_total = completed_total;
        }
        self.enabled = value & ENABLE != 0;
    }

    /// Selects ports, of those that there are. `completed_total` is of these.
    pub(super) fn select(&mut self, ports: u32, completed_total: u64) {
        if self.is_supported() {
            self.ports = ports;
            self.counted_total = completed_total;
        }
    }

    fn timeout_ns(&self) -> u64 {
        u64::from(self.timeout_ms) * MILLISECOND_NS
    }

    /// Takes over what the selected ports have done. Returns the bit of IS if it is to be set.
    pub(super) fn follow(&mut self, completed_total: u64, outstanding: bool, now: Nanos) -> u32 {
        let (true, Some(interrupt)) = (self.enabled, self.interrupt) else {
            return 0;
        };
        self.complete += completed_total.saturating_sub(self.counted_total);
        self.counted_total = completed_total;
        let ran_out = self.since.is_some_and(|since| {
            self.left_ns = self.left_ns.saturating_sub(now.since(since));
            self.left_ns == 0
        });
        let enough = self.completions != 0 && self.complete >= u64::from(self.completions);
        if enough || ran_out {
            self.complete = 0;
            self.left_ns = self.timeout_ns();
        }
        // A timeout of 0 is reserved: no timer.
        let runs = (outstanding || self.complete > 0) && self.timeout_ms != 0;
        self.since = runs.then_some(now);
        u32::from(enough || ran_out) << interrupt
    }

    pub(super) fn next_wakeup(&self) -> Option<Nanos> {
        let since = self.since.filter(|_| self.enabled)?;
        Some(since.plus(self.left_ns))
    }
}
