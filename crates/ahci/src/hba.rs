//! The HBA: generic host control (3.1), the ports, and the interrupt (10.7).

mod coalescing;
mod enclosure;
mod hand_off;
mod hot_plug;
mod interrupt;

use alloc::boxed::Box;
use alloc::vec::Vec;

use freewheel_ata::Device;
use freewheel_block::Nanos;
use freewheel_block::fault::LinkFault;

use coalescing::Coalescing;
use enclosure::Enclosure;
pub use enclosure::Leds;
use hand_off::HandOff;
pub use hot_plug::HotPlug;
pub use interrupt::Interrupt;
use interrupt::Interrupts;

use crate::memory::GuestMemory;
use crate::port::pmp::PlugError;
use crate::port::{Attachment, LinkFaultError, Port, PortStatus, ResetKind};
use crate::registers::*;

/// Bytes of register space that 32 ports need; a BAR's size is the power of two above.
pub const ABAR_LEN_BYTES: u64 = (PORTS + 32 * PORT_STRIDE) as u64;

/// What an HBA is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HbaConfig {
    /// Command slots a port, 1 to 32.
    pub command_slots: u8,
    /// Devices spin up when software tells them to (CAP.SSS), not at power-on and reset.
    pub staggered_spin_up: bool,
    /// What the ports have to notice devices that come and go.
    pub hot_plug: HotPlug,
}

impl Default for HbaConfig {
    fn default() -> Self {
        Self { command_slots: 32, staggered_spin_up: false, hot_plug: HotPlug::None }
    }
}

/// An AHCI host bus adapter. See the [crate's documentation](crate).
pub struct Hba {
    config: HbaConfig,
    ports: Vec<Port>,
    interrupts: Interrupts,
    coalescing: Coalescing,
    enclosure: Enclosure,
    hand_off: HandOff,
}

impl Hba {
    /// An HBA with one port for each entry of `devices`, 1 to 32.
    ///
    /// # Panics
    /// If there are no ports, more than 32, or `config` is out of range: belongs to start-up.
    pub fn new(config: HbaConfig, devices: Vec<Option<Box<dyn Device>>>, now: Nanos) -> Self {
        let attach = |device: Option<_>| device.map(Attachment::Device);
        Self::with_attachments(config, devices.into_iter().map(attach).collect(), now)
    }

    /// An HBA with one port for each entry of `devices`, 1 to 32, some of which may be port
    /// multipliers.
    ///
    /// # Panics
    /// As [`Hba::new`].
    pub fn with_attachments(
        config: HbaConfig,
        devices: Vec<Option<Attachment>>,
        now: Nanos,
    ) -> Self {
        assert!((1..=32).contains(&devices.len()), "1 to 32 ports");
        assert!((1..=32).contains(&config.command_slots), "1 to 32 command slots");
        let coalescing = Coalescing::new(devices.len());
        let sources = devices.len() + usize::from(coalescing.is_supported());
        let interrupts = Interrupts::new(sources.next_power_of_two() as u32);
        let ports: Vec<Port> =
            devices.into_iter().map(|device| Port::new(device, &config, now)).collect();
        let (enclosure, hand_off) = (Enclosure::new(), HandOff::default());
        Self { config, ports, interrupts, coalescing, enclosure, hand_off }
    }

    /// Reads registers. Any offset and length: what is not there reads as zero.
    pub fn mmio_read(&mut self, offset_bytes: u64, data: &mut [u8]) {
        let mut at = offset_bytes;
        let mut rest = data;
        while !rest.is_empty() {
            let within = (at % 4) as usize;
            let count = rest.len().min(4 - within);
            let (part, tail) = rest.split_at_mut(count);
            let value = self.read_dword(at - within as u64).to_le_bytes();
            part.copy_from_slice(&value[within..within + count]);
            at = at.wrapping_add(count as u64);
            rest = tail;
        }
    }

    /// Writes registers. Any offset and length; bytes that are not written keep their value.
    pub fn mmio_write(
        &mut self,
        offset_bytes: u64,
        data: &[u8],
        now: Nanos,
        memory: &dyn GuestMemory,
    ) {
        let mut at = offset_bytes;
        let mut rest = data;
        while !rest.is_empty() {
            let within = (at % 4) as usize;
            let count = rest.len().min(4 - within);
            let (mut value, mut mask) = ([0; 4], [0; 4]);
            value[within..within + count].copy_from_slice(&rest[..count]);
            mask[within..within + count].fill(0xff);
            let (value, mask) = (u32::from_le_bytes(value), u32::from_le_bytes(mask));
            self.write_dword(at - within as u64, value, mask, now, memory);
            at = at.wrapping_add(count as u64);
            rest = &rest[count..];
        }
        self.update_interrupt(now);
    }

    fn port_at(&mut self, offset: u64) -> Option<(&mut Port, u32)> {
        let within = offset.checked_sub(u64::from(PORTS))?;
        let index = usize::try_from(within / u64::from(PORT_STRIDE)).ok()?;
        let port = self.ports.get_mut(index)?;
        Some((port, (within % u64::from(PORT_STRIDE)) as u32))
    }

    fn read_dword(&mut self, offset: u64) -> u32 {
        if let Some((port, register)) = self.port_at(offset) {
            return port.read(register);
        }
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        match offset {
            CAP => self.capabilities(),
            GHC => {
                let mut ghc = Ghc::AE;
                ghc.set(Ghc::IE, self.interrupts.is_enabled());
                ghc.set(Ghc::MRSM, self.interrupts.is_reverted());
                ghc.bits()
            }
            IS => self.interrupts.is(),
            PI => self.ports_implemented(),
            VS => 0x0001_0301,
            CCC_CTL => self.coalescing.read_control(),
            CCC_PORTS => self.coalescing.ports(),
            EM_LOC => Enclosure::location(),
            EM_CTL => Enclosure::read_control(),
            CAP2 => (Cap2::BOH | Cap2::SDS | Cap2::SADM).bits(),
            BOHC => self.hand_off.read(),
            _ => self.enclosure.buffer_mut(offset).map_or(0, |dword| *dword),
        }
    }

    fn ports_implemented(&self) -> u32 {
        u32::MAX >> (32 - self.ports.len())
    }

    fn capabilities(&self) -> u32 {
        let multipliers = Cap::SPM | Cap::FBSS | Cap::SSNTF;
        let mut flags = Cap::PMD | Cap::SAM | Cap::ISS_GEN3 | Cap::SCLO | Cap::SNCQ | Cap::S64A;
        flags |= multipliers;
        flags |= Cap::PSC | Cap::SSC | Cap::SALP | Cap::EMS;
        flags.set(Cap::CCCS, self.coalescing.is_supported());
        flags.set(Cap::SSS, self.config.staggered_spin_up);
        flags.set(Cap::SMPS, self.config.hot_plug == HotPlug::PresenceSwitch);
        let slots = u32::from(self.config.command_slots) - 1;
        flags.bits() | slots << 8 | (self.ports.len() as u32 - 1)
    }

    fn write_dword(
        &mut self,
        offset: u64,
        value: u32,
        mask: u32,
        now: Nanos,
        memory: &dyn GuestMemory,
    ) {
        if let Some((port, register)) = self.port_at(offset) {
            port.write(register, value, mask, now, memory);
            if register == PX_IS {
                let index = (offset - u64::from(PORTS)) / u64::from(PORT_STRIDE);
                self.interrupts.acknowledge_port(index as usize);
            }
            return;
        }
        let merged = self.read_dword(offset) & !mask | value & mask;
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        match offset {
            GHC => {
                let ghc = Ghc::from_bits_truncate(merged);
                if ghc.contains(Ghc::HR) {
                    self.reset(ResetKind::HbaReset, now);
                } else {
                    self.interrupts.enable(ghc.contains(Ghc::IE));
                }
            }
            IS => {
                let pending = self.pending_ports();
                self.interrupts.acknowledge(value & mask, pending);
            }
            CCC_CTL => {
                let completed_total = self.completed_total(self.coalescing.ports());
                self.coalescing.write_control(merged, completed_total);
            }
            CCC_PORTS => {
                let ports = merged & self.ports_implemented();
                self.coalescing.select(ports, self.completed_total(ports));
            }
            EM_CTL => self.enclosure.write_control(value & mask),
            BOHC => self.hand_off.write(value, mask),
            _ => {
                if let Some(dword) = self.enclosure.buffer_mut(offset) {
                    *dword = merged;
                }
            }
        }
    }

    fn pending_ports(&self) -> u32 {
        let mut pending = 0;
        for (index, port) in self.ports.iter().enumerate() {
            let shown = port.interrupts() && !freewheel_block::sabotaged!(InterruptLost);
            pending |= u32::from(shown) << index;
        }
        pending
    }

    /// The ports with a bit in `mask`.
    fn select_ports(&self, mask: u32) -> impl Iterator<Item = &Port> {
        let indexed = self.ports.iter().enumerate();
        indexed.filter(move |(index, _)| mask & 1 << index != 0).map(|(_, port)| port)
    }

    fn completed_total(&self, ports: u32) -> u64 {
        self.select_ports(ports).map(|port| port.counters().completed_total).sum()
    }

    fn update_interrupt(&mut self, now: Nanos) {
        let pending = self.pending_ports();
        let coalesced = self.coalescing.ports();
        let completed_total = self.completed_total(coalesced);
        let outstanding = self.select_ports(coalesced).any(Port::has_outstanding);
        let events = self.coalescing.follow(completed_total, outstanding, now);
        self.interrupts.follow(pending, events);
    }

    fn reset(&mut self, kind: ResetKind, now: Nanos) {
        for port in &mut self.ports {
            port.reset(kind, now);
        }
        self.coalescing = Coalescing::new(self.ports.len());
        self.interrupts.reset();
    }

    /// Resets the function: everything is cancelled and as it was at power-on. Touches no guest
    /// memory and never waits; also for when the VMM has gone.
    pub fn reset_function(&mut self, now: Nanos) {
        self.reset(ResetKind::FunctionReset, now);
        self.interrupts = Interrupts::new(self.interrupts.requested());
        self.enclosure = Enclosure::new();
        self.hand_off = HandOff::default();
    }

    /// Lets what the devices have finished reach memory and registers. All that completes in one
    /// call causes one interrupt.
    pub fn poll(&mut self, now: Nanos, memory: &dyn GuestMemory) {
        for port in &mut self.ports {
            port.poll(now, memory);
        }
        self.update_interrupt(now);
    }

    /// Injects a fault into the link of `port`. A drop happens at once, and cancels at once; the
    /// others wait for their occasion, and one that waits already is the same one. May cause an
    /// interrupt, and moves [`Hba::next_wakeup`].
    pub fn inject_link_fault(
        &mut self,
        port: usize,
        fault: LinkFault,
        now: Nanos,
    ) -> Result<(), LinkFaultError> {
        let target = self.ports.get_mut(port).ok_or(LinkFaultError::NoPort(port))?;
        if !target.has_device() {
            return Err(LinkFaultError::NoDevice(port));
        }
        target.inject(fault, now);
        self.update_interrupt(now);
        Ok(())
    }

    /// Takes back the link faults of every port that have not happened yet. A link that has dropped
    /// stays down for its time, a silent device stays silent.
    pub fn clear_link_faults(&mut self) {
        self.ports.iter_mut().for_each(Port::clear_link_faults);
    }

    /// Ends the link faults that are happening: dropped links come up, silent devices send their
    /// signature. Returns on how many ports. May cause an interrupt.
    pub fn release_link_faults(&mut self, now: Nanos, memory: &dyn GuestMemory) -> usize {
        let released = self.ports.iter_mut().map(|port| port.release_link(now, memory));
        let count = released.filter(|released| *released).count();
        self.update_interrupt(now);
        count
    }

    /// How many interrupt messages the HBA asks for, a power of two up to 32: what the function's
    /// MSI capability has as Multiple Message Capable.
    pub fn messages_requested(&self) -> u32 {
        self.interrupts.requested()
    }

    /// The guest has allocated so many interrupt messages; 0 if messages are disabled. With fewer than
    /// were asked for, the first one is for everything (GHC.MRSM).
    pub fn set_messages(&mut self, allocated: u32) {
        self.interrupts.allocate(allocated);
    }

    /// Takes the state of the interrupt; a message is reported once.
    pub fn take_interrupt(&mut self) -> Interrupt {
        self.interrupts.take()
    }

    /// When [`Hba::poll`] is due even if nothing woke the owner.
    pub fn next_wakeup(&self) -> Option<Nanos> {
        let ports = self.ports.iter().filter_map(Port::next_wakeup);
        ports.chain(self.coalescing.next_wakeup()).min()
    }

    /// Stops and resets so far, of all ports: to be compared around a register write.
    pub fn resets_total(&self) -> u64 {
        self.ports.iter().map(|port| port.counters().resets_total).sum()
    }

    /// The state of every port.
    pub fn status(&self, now: Nanos) -> Vec<PortStatus> {
        let indexed = self.ports.iter().enumerate();
        let status = indexed.map(|(index, port)| PortStatus {
            leds: self.enclosure.leds(index, port.has_outstanding()),
            ..port.status(index, now)
        });
        status.collect()
    }

    /// The device on `port`.
    pub fn device_mut(&mut self, port: usize) -> Option<&mut dyn Device> {
        self.ports.get_mut(port)?.device_mut()
    }

    /// The device on device port `pm_port` of the port multiplier on `port`.
    pub fn device_behind_mut(&mut self, port: usize, pm_port: u8) -> Option<&mut dyn Device> {
        self.ports.get_mut(port)?.device_behind_mut(pm_port)
    }

    /// Plugs `device` into device port `pm_port` of the port multiplier on `port`. It is silent
    /// until software resets it. May cause an interrupt.
    pub fn plug_behind(
        &mut self,
        port: usize,
        pm_port: u8,
        device: Box<dyn Device>,
        now: Nanos,
        memory: &dyn GuestMemory,
    ) -> Result<(), PlugError> {
        let target = self.ports.get_mut(port).ok_or(PlugError::NoMultiplier(port))?;
        let plugged = target.plug_behind(pm_port, device, now, memory);
        plugged.ok_or(PlugError::NoMultiplier(port))??;
        self.update_interrupt(now);
        Ok(())
    }

    /// Pulls the device out of device port `pm_port` of the port multiplier on `port`: what it has
    /// in flight is cancelled at once, whatever its storage does. May cause an interrupt.
    pub fn unplug_behind(
        &mut self,
        port: usize,
        pm_port: u8,
        now: Nanos,
        memory: &dyn GuestMemory,
    ) -> Option<Box<dyn Device>> {
        let device = self.ports.get_mut(port)?.unplug_behind(pm_port, now, memory);
        self.update_interrupt(now);
        device
    }
}
