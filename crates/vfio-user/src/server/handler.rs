//! What each request does to the function: configuration space, memory, interrupts, device.

use super::connection::Refusal;
use super::device::{Device, Interrupt};
use super::irq::{Interrupts, NUM_IRQS};
use crate::codec::{
    DeviceFlags, DeviceInfo, DmaUnmap, IrqInfo, RegionAccess, RegionFlags, RegionInfo, Reply,
    Request,
};
use crate::dma::DmaSpace;
use crate::pci::{CONFIG_SIZE, PciConfig};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// The regions of a VFIO PCI device: six BARs, ROM, configuration space, VGA.
const NUM_REGIONS: u32 = 9;
const REGION_BAR5: u32 = 5;
const REGION_CONFIG: u32 = 7;

/// What a request has led to; becomes a [`Reply`].
#[derive(Debug)]
pub(super) enum Outcome {
    Empty,
    Version(Vec<u8>),
    DmaUnmap(DmaUnmap),
    DeviceInfo(DeviceInfo),
    RegionInfo(RegionInfo),
    NoRegionIoFds {
        index: u32,
    },
    IrqInfo(IrqInfo),
    /// The data is in the function's buffer.
    RegionRead(RegionAccess),
    RegionWrite(RegionAccess),
    RegionWriteMulti(u64),
}

impl Outcome {
    pub(super) fn borrow<'a>(&'a self, function: &'a Function) -> Reply<'a> {
        match *self {
            Self::Empty => Reply::Empty,
            Self::Version(ref payload) => Reply::Version(payload),
            Self::DmaUnmap(unmap) => Reply::DmaUnmap(unmap),
            Self::DeviceInfo(info) => Reply::DeviceInfo(info),
            Self::RegionInfo(info) => Reply::RegionInfo(info),
            Self::NoRegionIoFds { index } => Reply::NoRegionIoFds { index },
            Self::IrqInfo(info) => Reply::IrqInfo(info),
            Self::RegionRead(access) => Reply::RegionRead(access, &function.data),
            Self::RegionWrite(access) => Reply::RegionWrite(access),
            Self::RegionWriteMulti(done) => Reply::RegionWriteMulti(done),
        }
    }
}

/// The PCI function that a connection serves.
#[derive(Debug)]
pub(super) struct Function {
    config: PciConfig,
    dma: DmaSpace,
    interrupts: Interrupts,
    /// What the last REGION_READ has read; never larger than the largest region.
    data: Vec<u8>,
}

fn refuse<T>(errno: Errno, why: impl ToString) -> Result<T, Refusal> {
    Err(Refusal { errno, why: why.to_string() })
}

impl Function {
    pub(super) fn new(config: PciConfig) -> Self {
        let mut interrupts = Interrupts::new(config.identity().messages);
        interrupts.reset(config.interrupt_route());
        Self { config, dma: DmaSpace::new(), interrupts, data: Vec::new() }
    }

    pub(super) fn dma(&self) -> &DmaSpace {
        &self.dma
    }

    pub(super) fn pci(&self) -> &PciConfig {
        &self.config
    }

    pub(super) fn set_interrupt(&mut self, interrupt: Interrupt) {
        self.interrupts.set(interrupt);
        self.config.set_interrupt_status(self.interrupts.level());
    }

    /// Does what a request asks for. `room` is the length of its payload, which the answer to
    /// VERSION may not exceed.
    pub(super) fn handle(
        &mut self,
        request: &Request<'_>,
        fds: &mut Vec<OwnedFd>,
        room: usize,
        device: &mut dyn Device,
    ) -> Result<Outcome, Refusal> {
        if !fds.is_empty() && !matches!(request, Request::DmaMap(_) | Request::DeviceSetIrqs(_)) {
            return refuse(Errno::INVAL, "descriptors with a command that takes none");
        }
        match request {
            Request::Version(version) if version.acceptable() => {
                tracing::info!("vfio-user {}.{} peer", version.major, version.minor);
                Ok(Outcome::Version(version.answer(room)))
            }
            Request::Version(version) => {
                refuse(Errno::NOTSUP, format_args!("major version {}", version.major))
            }
            Request::DmaMap(map) => {
                let file = fds.pop();
                if !fds.is_empty() {
                    return refuse(Errno::INVAL, "more than one descriptor for a DMA range");
                }
                match self.dma.map(map, file) {
                    Ok(()) => Ok(Outcome::Empty),
                    Err(error) => refuse(error.errno(), format_args!("{error} ({map:x?})")),
                }
            }
            Request::DmaUnmap(unmap) => match self.dma.unmap(unmap) {
                Ok(removed) => {
                    if removed > 0 {
                        // The whole space, if the request was for all.
                        let size = if unmap.size == 0 { u64::MAX } else { unmap.size };
                        device.dma_unmapped(unmap.address, size);
                        self.follow(device);
                    }
                    Ok(Outcome::DmaUnmap(*unmap))
                }
                Err(error) => refuse(error.errno(), format_args!("{error} ({unmap:x?})")),
            },
            Request::DeviceGetInfo => Ok(Outcome::DeviceInfo(DeviceInfo {
                flags: DeviceFlags::RESET | DeviceFlags::PCI,
                num_regions: NUM_REGIONS,
                num_irqs: NUM_IRQS,
            })),
            Request::DeviceGetRegionInfo { index } => {
                self.region_info(*index).map(Outcome::RegionInfo)
            }
            Request::DeviceGetRegionIoFds { index } => {
                let RegionInfo { index, .. } = self.region_info(*index)?;
                Ok(Outcome::NoRegionIoFds { index })
            }
            Request::DeviceGetIrqInfo { index } => match self.interrupts.info(*index) {
                Ok(info) => Ok(Outcome::IrqInfo(info)),
                Err(error) => refuse(error.errno(), error),
            },
            Request::DeviceSetIrqs(set) => match self.interrupts.configure(set, fds) {
                Ok(()) => Ok(Outcome::Empty),
                Err(error) => refuse(error.errno(), error),
            },
            Request::RegionRead(access) => {
                self.region_read(access, device)?;
                Ok(Outcome::RegionRead(*access))
            }
            Request::RegionWrite(access, data) => {
                self.region_write(access.region, access.offset, data, device)?;
                Ok(Outcome::RegionWrite(*access))
            }
            Request::RegionWriteMulti(writes) => {
                // Each is a posted write of its own: one that is refused does not stop the next.
                let mut done = 0;
                for write in writes.iter() {
                    match self.region_write(write.region, write.offset, write.data, device) {
                        Ok(()) => done += 1,
                        Err(refusal) => tracing::debug!("refused one of many: {}", refusal.why),
                    }
                }
                Ok(Outcome::RegionWriteMulti(done))
            }
            Request::DeviceReset => {
                self.reset(device);
                Ok(Outcome::Empty)
            }
            Request::Unsupported(_) => refuse(Errno::NOTSUP, "not supported"),
        }
    }

    /// A function reset. Memory stays mapped and eventfds assigned: they are the monitor's.
    fn reset(&mut self, device: &mut dyn Device) {
        tracing::info!("function reset");
        self.config.reset();
        self.dma.set_bus_master(false);
        self.interrupts.reset(self.config.interrupt_route());
        device.reset(&self.dma);
        device.messages_allocated(self.config.interrupt_route().messages);
        self.follow(device);
    }

    fn region_info(&self, index: u32) -> Result<RegionInfo, Refusal> {
        let access = RegionFlags::READ | RegionFlags::WRITE;
        let (size, flags) = match index {
            REGION_BAR5 => (self.config.identity().bar5_size.into(), access),
            REGION_CONFIG => (CONFIG_SIZE as u64, access),
            0..NUM_REGIONS => (0, RegionFlags::empty()),
            _ => return refuse(Errno::INVAL, format_args!("region {index} does not exist")),
        };
        Ok(RegionInfo { flags, index, size })
    }

    /// Checks that an access is inside its region.
    fn bound(&self, region: u32, offset: u64, len: usize) -> Result<(), Refusal> {
        let size = self.region_info(region)?.size;
        match offset.checked_add(len as u64) {
            Some(end) if size > 0 && end <= size => Ok(()),
            _ => refuse(
                Errno::INVAL,
                format_args!("{len} bytes at {offset:#x} are outside region {region}"),
            ),
        }
    }

    fn region_read(
        &mut self,
        access: &RegionAccess,
        device: &mut dyn Device,
    ) -> Result<(), Refusal> {
        let RegionAccess { region, offset, count } = *access;
        let len = count as usize;
        self.bound(region, offset, len)?;
        self.data.clear();
        // `bound` has checked the length against the region's size.
        self.data.resize(len, 0xff);
        if region == REGION_BAR5 {
            if self.config.memory_open() {
                for (at, range) in split(offset, len) {
                    device.mmio_read(&self.dma, at, &mut self.data[range]);
                }
                self.follow(device);
            }
        } else if let Some(pair) = self.config.data_access(offset, len) {
            device.mmio_read(&self.dma, pair.offset, &mut self.data);
            self.follow(device);
        } else {
            // Offsets in configuration space fit.
            self.config.read(offset as usize, &mut self.data);
        }
        Ok(())
    }

    fn region_write(
        &mut self,
        region: u32,
        offset: u64,
        data: &[u8],
        device: &mut dyn Device,
    ) -> Result<(), Refusal> {
        self.bound(region, offset, data.len())?;
        if region == REGION_BAR5 {
            if self.config.memory_open() {
                for (at, range) in split(offset, data.len()) {
                    device.mmio_write(&self.dma, at, &data[range]);
                }
                self.follow(device);
            }
        } else if let Some(pair) = self.config.data_access(offset, data.len()) {
            device.mmio_write(&self.dma, pair.offset, data);
            self.follow(device);
        } else {
            let messages = self.config.interrupt_route().messages;
            self.config.write(offset as usize, data);
            let bus_master = self.config.bus_master();
            let changed = bus_master != self.dma.bus_master();
            self.dma.set_bus_master(bus_master);
            let route = self.config.interrupt_route();
            self.interrupts.set_route(route);
            if route.messages != messages {
                device.messages_allocated(route.messages);
                self.follow(device);
            }
            if changed {
                device.bus_master_changed(bus_master);
                self.follow(device);
            }
        }
        Ok(())
    }

    /// Takes over the device's interrupt after a call to it.
    fn follow(&mut self, device: &mut dyn Device) {
        if let Some(interrupt) = device.interrupt() {
            self.set_interrupt(interrupt);
        }
    }
}

/// Splits an access into ones of 1, 2, 4 or 8 bytes that are aligned to their sizes: itself if it
/// is one, else pieces of up to a dword, as a bus would. Yields offsets and ranges of the data.
fn split(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let whole = matches!(len, 1 | 2 | 4 | 8) && offset.is_multiple_of(len as u64);
    let largest = if whole { len } else { 4 };
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = len - done;
        if left == 0 {
            return None;
        }
        let at = offset + done as u64;
        let mut size = largest;
        while size > left || !at.is_multiple_of(size as u64) {
            size /= 2;
        }
        let range = done..done + size;
        done += size;
        Some((at, range))
    })
}

#[cfg(test)]
mod tests {
    use super::split;

    fn sizes(offset: u64, len: usize) -> Vec<(u64, usize)> {
        split(offset, len).map(|(at, range)| (at, range.len())).collect()
    }

    #[test]
    fn natural_accesses_stay_whole() {
        for len in [1, 2, 4, 8] {
            assert_eq!(sizes(0x118, len), [(0x118, len)]);
        }
    }

    #[test]
    fn others_are_split_at_their_alignment() {
        assert_eq!(sizes(1, 3), [(1, 1), (2, 2)]);
        assert_eq!(sizes(2, 8), [(2, 2), (4, 4), (8, 2)]);
        assert_eq!(sizes(4, 8), [(4, 4), (8, 4)]);
        assert_eq!(sizes(0, 16), [(0, 4), (4, 4), (8, 4), (12, 4)]);
        assert_eq!(sizes(7, 0), []);
    }

    #[test]
    fn the_pieces_cover_the_access() {
        for offset in 0..16 {
            for len in 0..40 {
                let mut next = 0;
                for (at, range) in split(offset, len) {
                    assert_eq!((at, range.start), (offset + next as u64, next));
                    assert!(at.is_multiple_of(range.len() as u64));
                    next = range.end;
                }
                assert_eq!(next, len);
            }
        }
    }
}
