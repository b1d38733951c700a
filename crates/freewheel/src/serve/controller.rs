//! The HBA as the vfio-user server drives it, and what the device thread measures of itself.

use freewheel_ahci::{BusError, GuestMemory, Hba};
use freewheel_block::Nanos;
use freewheel_sim::Usage;
use freewheel_vfio_user::{Device, DmaSpace, Interrupt};

use crate::clock::Clock;
use crate::usage;

/// How many durations of stops and resets are kept for the status.
const DURATIONS_KEPT: usize = 256;
/// How long one turn of the loop may serve register accesses before it looks at everything else.
const TURN_BUDGET_NS: u64 = 2_000_000;

/// Guest memory as the vfio-user peer has mapped it; none if nobody is connected.
#[derive(Clone, Copy)]
pub(super) struct Bus<'a>(pub(super) Option<&'a DmaSpace>);

impl GuestMemory for Bus<'_> {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), BusError> {
        let dma = self.0.ok_or(BusError { address })?;
        dma.read(address, buf).map_err(|_| BusError { address })
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), BusError> {
        let dma = self.0.ok_or(BusError { address })?;
        dma.write(address, data).map_err(|_| BusError { address })
    }
}

/// The turns of the poll loop so far, the wait for events excluded.
///
/// A turn that took long either computed for long, or waited for something (which no turn should),
/// or was preempted on a busy machine. What a turn took by the clock can't tell these apart; its
/// processor time, and whether the thread gave the processor away by itself, can.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The longest by the clock.
    pub(super) max_ns: u64,
    /// What that one computed.
    pub(super) max_cpu_ns: u64,
    /// The most that any one computed.
    pub(super) cpu_max_ns: u64,
    /// Those in which the thread waited, and the longest of them by the clock.
    pub(super) blocked_total: u64,
    pub(super) blocked_max_ns: u64,
}

impl Turns {
    fn add(&mut self, took_ns: u64, usage: Option<(Usage, Usage)>) {
        let (cpu_ns, waited) = usage.map_or((0, false), |(before, after)| {
            (after.cpu_ns.saturating_sub(before.cpu_ns), after.waits != before.waits)
        });
        if took_ns >= self.max_ns {
            (self.max_ns, self.max_cpu_ns) = (took_ns, cpu_ns);
        }
        self.cpu_max_ns = self.cpu_max_ns.max(cpu_ns);
        if waited {
            self.blocked_total += 1;
            self.blocked_max_ns = self.blocked_max_ns.max(took_ns);
        }
    }
}

/// One controller, owned by the device thread.
pub(super) struct Controller {
    pub(super) hba: Hba,
    pub(super) clock: Clock,
    /// How long each stop or reset took, from the register write to its completion.
    stop_ns: std::collections::VecDeque<u64>,
    pub(super) stop_max_ns: u64,
    pub(super) turns: Turns,
    /// When the current turn began, and what the thread had used until then.
    turn_start: Nanos,
    turn_usage: Option<Usage>,
}

impl Controller {
    pub(super) fn new(hba: Hba, clock: Clock) -> Self {
        Self {
            hba,
            clock,
            stop_ns: std::collections::VecDeque::with_capacity(DURATIONS_KEPT),
            stop_max_ns: 0,
            turns: Turns::default(),
            turn_start: Nanos(0),
            turn_usage: None,
        }
    }

    pub(super) fn begin_turn(&mut self) {
        self.turn_usage = usage::of_this_thread();
        self.turn_start = self.clock.now();
    }

    pub(super) fn end_turn(&mut self) {
        let took_ns = self.clock.now().since(self.turn_start);
        self.turns.add(took_ns, self.turn_usage.zip(usage::of_this_thread()));
    }

    /// Runs `action` and notes how long it took if it stopped or reset a port.
    pub(super) fn timed<T>(&mut self, action: impl FnOnce(&mut Hba, Nanos) -> T) -> T {
        let resets_before = self.hba.resets_total();
        let start = self.clock.now();
        let result = action(&mut self.hba, start);
        if self.hba.resets_total() != resets_before {
            self.note_stop(self.clock.now().since(start));
        }
        result
    }

    /// Runs `action`, which takes something from the guest, and notes how long it
    /// took.
    pub(super) fn measured<T>(&mut self, action: impl FnOnce(&mut Hba, Nanos) -> T) -> T {
        let start = self.clock.now();
        let result = action(&mut self.hba, start);
        self.note_stop(self.clock.now().since(start));
        result
    }

    fn note_stop(&mut self, took_ns: u64) {
        self.stop_max_ns = self.stop_max_ns.max(took_ns);
        if self.stop_ns.len() == DURATIONS_KEPT {
            self.stop_ns.pop_front();
        }
        self.stop_ns.push_back(took_ns);
    }

    pub(super) fn stop_durations_ns(&self) -> impl Iterator<Item = u64> {
        self.stop_ns.iter().copied()
    }

    /// Everything in flight is cancelled; for when the peer has gone or the end has come.
    pub(super) fn reset_function(&mut self) {
        self.timed(|hba, now| hba.reset_function(now));
    }
}

impl Device for Controller {
    fn mmio_read(&mut self, _dma: &DmaSpace, offset: u64, data: &mut [u8]) {
        self.hba.mmio_read(offset, data);
    }

    fn mmio_write(&mut self, dma: &DmaSpace, offset: u64, data: &[u8]) {
        self.timed(|hba, now| hba.mmio_write(offset, data, now, &Bus(Some(dma))));
    }

    fn reset(&mut self, _dma: &DmaSpace) {
        self.reset_function();
    }

    fn is_over_time(&self) -> bool {
        self.clock.now().since(self.turn_start) > TURN_BUDGET_NS
    }

    fn interrupt(&mut self) -> Option<Interrupt> {
        let interrupt = self.hba.take_interrupt();
        Some(Interrupt { level: interrupt.level, messages: interrupt.messages })
    }

    fn messages_allocated(&mut self, count: u32) {
        self.hba.set_messages(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_waits_is_told_from_one_that_computes_and_from_one_that_is_preempted() {
        let usage = |cpu_ns, waits| Usage { cpu_ns, waits };
        let mut turns = Turns::default();
        turns.add(400, Some((usage(1000, 7), usage(1390, 7))));
        assert_eq!((turns.max_ns, turns.max_cpu_ns, turns.blocked_total), (400, 390, 0));
        // Preempted: long by the clock alone.
        turns.add(9000, Some((usage(2000, 8), usage(2100, 8))));
        assert_eq!((turns.max_ns, turns.max_cpu_ns, turns.cpu_max_ns), (9000, 100, 390));
        assert_eq!((turns.blocked_total, turns.blocked_max_ns), (0, 0));
        turns.add(600, Some((usage(3000, 8), usage(3001, 9))));
        assert_eq!((turns.blocked_total, turns.blocked_max_ns), (1, 600));
        assert_eq!(turns.max_ns, 9000);
    }

    #[test]
    fn sleeping_in_a_turn_shows() {
        let hba = Hba::new(freewheel_ahci::HbaConfig::default(), vec![None], Nanos(0));
        let mut controller = Controller::new(hba, Clock::start());
        controller.begin_turn();
        std::thread::sleep(std::time::Duration::from_millis(5));
        controller.end_turn();
        assert_eq!(controller.turns.blocked_total, 1);
        assert!(controller.turns.max_ns >= 5_000_000);
        assert!(controller.turns.max_cpu_ns < controller.turns.max_ns);
    }
}
