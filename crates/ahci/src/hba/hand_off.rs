//! BIOS/OS hand-off (10.6), without a BIOS that could hold on to anything: whatever the operating
//! system asks for is granted within the write, and no SMI is ever sent.

const BIOS_OWNED: u32 = 1 << 0;
const OS_OWNED: u32 = 1 << 1;
/// SOOE: an SMI when the ownership changes; it can be set, and sends none.
const SMI_ENABLE: u32 = 1 << 2;
/// OOC: the operating system has taken over; cleared by writing 1.
const OS_CHANGE: u32 = 1 << 3;

/// BOHC. An HBA reset leaves it alone.
#[derive(Debug, Default)]
pub(super) struct HandOff(u32);

impl HandOff {
    pub(super) fn read(&self) -> u32 {
        self.0
    }

    pub(super) fn write(&mut self, value: u32, mask: u32) {
        let (old, written) = (self.0, value & mask);
        let writable = BIOS_OWNED | OS_OWNED | SMI_ENABLE;
        let mut new = (old & !mask | written) & writable | old & OS_CHANGE & !written;
        if new & OS_OWNED != 0 {
            new &= !BIOS_OWNED;
            if old & OS_OWNED == 0 {
                new |= OS_CHANGE;
            }
        }
        self.0 = new;
    }
}
