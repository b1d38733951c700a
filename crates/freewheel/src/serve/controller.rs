//! The HBA as the vfio-user server drives it, and what the device thread measures of itself.

use freewheel_ahci::{BusError, GuestMemory, Hba};
use freewheel_block::Nanos;
use freewheel_vfio_user::{Device, DmaSpace, Interrupt};

use crate::clock::Clock;

/// How many durations of stops and resets are kept for the status.
const DURATIONS_KEPT: usize = 256;
/// How long one turn of the loop may serve register accesses before it looks at everything else.
const TURN_BUDGET_NS: u64 = 2_000_000;

/// Guest memory as the vfio-user peer has mapped it.
pub(super) struct Bus<'a>(pub(super) &'a DmaSpace);

impl GuestMemory for Bus<'_> {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), BusError> {
        self.0.read(address, buf).map_err(|_| BusError { address })
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), BusError> {
        self.0.write(address, data).map_err(|_| BusError { address })
    }
}

/// No guest memory at all: nobody is connected.
pub(super) struct NoMemory;

impl GuestMemory for NoMemory {
    fn read(&self, address: u64, _buf: &mut [u8]) -> Result<(), BusError> {
        Err(BusError { address })
    }

    fn write(&self, address: u64, _data: &[u8]) -> Result<(), BusError> {
        Err(BusError { address })
    }
}

/// One controller, owned by the device thread.
pub(super) struct Controller {
    pub(super) hba: Hba,
    pub(super) clock: Clock,
    /// How long each stop or reset took, from the register write to its completion.
    stop_ns: std::collections::VecDeque<u64>,
    pub(super) stop_max_ns: u64,
    /// The longest turn of the poll loop, waiting excluded.
    pub(super) turn_max_ns: u64,
    /// When the current turn began.
    turn_start: Nanos,
}

impl Controller {
    pub(super) fn new(hba: Hba, clock: Clock) -> Self {
        Self {
            hba,
            clock,
            stop_ns: std::collections::VecDeque::with_capacity(DURATIONS_KEPT),
            stop_max_ns: 0,
            turn_max_ns: 0,
            turn_start: Nanos(0),
        }
    }

    pub(super) fn begin_turn(&mut self) {
        self.turn_start = self.clock.now();
    }

    pub(super) fn end_turn(&mut self) {
        let took_ns = self.clock.now().since(self.turn_start);
        self.turn_max_ns = self.turn_max_ns.max(took_ns);
    }

    /// Runs `action` and notes how long it took if it stopped or reset a port.
    pub(super) fn timed<T>(&mut self, action: impl FnOnce(&mut Hba, Nanos) -> T) -> T {
        let resets_before = self.hba.resets_total();
        let start = self.clock.now();
        let result = action(&mut self.hba, start);
        if self.hba.resets_total() != resets_before {
            let took_ns = self.clock.now().since(start);
            self.stop_max_ns = self.stop_max_ns.max(took_ns);
            if self.stop_ns.len() == DURATIONS_KEPT {
                self.stop_ns.pop_front();
            }
            self.stop_ns.push_back(took_ns);
        }
        result
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
        self.timed(|hba, now| hba.mmio_write(offset, data, now, &Bus(dma)));
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
