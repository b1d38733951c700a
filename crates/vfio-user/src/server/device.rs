//! What is behind BAR5.

use crate::dma::DmaSpace;

/// The device's interrupt, as its registers define it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interrupt {
    /// Whether the device requests service: the level that INTA would have.
    pub level: bool,
    /// The messages that events since the last time call for, a bit each, even if the level never
    /// fell in between.
    pub messages: u32,
}

/// The device that a connection serves. No method may block.
pub trait Device {
    /// A read of 1, 2, 4 or 8 bytes in BAR5, aligned to its size.
    fn mmio_read(&mut self, dma: &DmaSpace, offset: u64, data: &mut [u8]);

    /// A write of 1, 2, 4 or 8 bytes in BAR5, aligned to its size.
    fn mmio_write(&mut self, dma: &DmaSpace, offset: u64, data: &[u8]);

    /// The function is reset. Ends at once, whatever is in flight (contract C1).
    fn reset(&mut self, dma: &DmaSpace);

    /// The interrupt after the call that has just returned; takes the messages. The connection asks
    /// after each call, so that an unmask in the same batch sees the level as it is. A device that
    /// answers none leaves it to its owner to call [`crate::Connection::set_interrupt`].
    fn interrupt(&mut self) -> Option<Interrupt> {
        None
    }

    /// The guest has allocated so many messages, 0 if it has disabled them. The function announces
    /// [`crate::PciIdentity::messages`]; a guest may allocate fewer.
    fn messages_allocated(&mut self, count: u32) {
        let _ = count;
    }

    /// Whether the owner wants its thread back: asked after each message, so that a guest whose
    /// register writes cost much cannot keep it busy for a whole batch.
    fn is_over_time(&self) -> bool {
        false
    }

    /// The guest has changed whether the function may master the bus, by Bus Master Enable or by
    /// its power state.
    fn bus_master_changed(&mut self, enabled: bool) {
        let _ = enabled;
    }

    /// Memory has been unmapped and is out of reach already. Whatever is in flight to it fails
    /// when it comes to copying; nothing is to be waited for.
    fn dma_unmapped(&mut self, address: u64, size: u64) {
        let _ = (address, size);
    }
}
