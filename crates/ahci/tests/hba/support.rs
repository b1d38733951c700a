//! A controller with scripted devices, and as much of a driver as the tests need.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use freewheel_ahci::registers::*;
use freewheel_ahci::{BusError, GuestMemory, Hba, HbaConfig, Interrupt, PortStatus};
use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D, Registers, Status};
use freewheel_ata::{Device, Link, LinkError};
use freewheel_block::{EngineStatus, Nanos};

pub(crate) const MILLISECOND: u64 = 1_000_000;
const MEMORY_BYTES: usize = 4 << 20;
/// Each port has its own stretch of memory.
const PORT_BYTES: u64 = 0x2_0000;
pub(crate) const FIS_AREA: u64 = 0x800;
pub(crate) const TABLES: u64 = 0x1000;
pub(crate) const TABLE_STRIDE: u64 = 0x400;
pub(crate) const DATA: u64 = 0x1_0000;

/// Guest memory.
pub(crate) struct Memory(RefCell<Vec<u8>>);

impl GuestMemory for Memory {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), BusError> {
        let memory = self.0.borrow();
        let at = usize::try_from(address).map_err(|_| BusError { address })?;
        let end = at.checked_add(buf.len()).ok_or(BusError { address })?;
        buf.copy_from_slice(memory.get(at..end).ok_or(BusError { address })?);
        Ok(())
    }
    fn write(&self, address: u64, data: &[u8]) -> Result<(), BusError> {
        let mut memory = self.0.borrow_mut();
        let at = usize::try_from(address).map_err(|_| BusError { address })?;
        let end = at.checked_add(data.len()).ok_or(BusError { address })?;
        memory.get_mut(at..end).ok_or(BusError { address })?.copy_from_slice(data);
        Ok(())
    }
}

/// Guest memory that is all zero.
pub(crate) fn memory() -> Memory {
    Memory(RefCell::new(vec![0; MEMORY_BYTES]))
}

/// What a scripted device does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends a FIS for the command.
    Fis(DeviceFis),
    /// Sends a FIS that belongs to no command.
    Loose(DeviceFis),
    /// Sends data to the host.
    In(u64, Vec<u8>),
    /// Takes data from the host.
    Out(u64, usize),
    /// Sends a FIS of a type of its own.
    Unknown(Vec<u8>),
}

/// What a test and its device share.
#[derive(Default)]
pub(crate) struct Script {
    /// What each command that comes does; one without an entry ends well at once.
    pub(crate) commands: VecDeque<Vec<Act>>,
    /// What happens at the next poll, for the command in this slot.
    pub(crate) later: Vec<(u8, Act)>,
    pub(crate) taken: Vec<(u8, RegisterH2D)>,
    pub(crate) results: Vec<Result<(), LinkError>>,
    pub(crate) running: usize,
    pub(crate) aborted: usize,
}

struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn act(&self, slot: u8, act: Act, link: &mut dyn Link) {
        let result = match act {
            Act::Fis(fis) => {
                link.fis(Some(slot), fis);
                Ok(())
            }
            Act::Loose(fis) => {
                link.fis(None, fis);
                Ok(())
            }
            Act::In(offset, data) => link.data_in(slot, offset, &data),
            Act::Out(offset, len) => link.data_out(slot, offset, &mut vec![0; len]),
            Act::Unknown(bytes) => {
                link.unknown_fis(&bytes);
                Ok(())
            }
        };
        self.0.lock().expect("script").results.push(result);
    }
}

impl Device for Scripted {
    fn execute(
        &mut self,
        slot: u8,
        command: &RegisterH2D,
        _packet: &[u8; 16],
        _now: Nanos,
        link: &mut dyn Link,
    ) {
        let acts = {
            let mut script = self.0.lock().expect("script");
            script.taken.push((slot, *command));
            script.running += 1;
            script.commands.pop_front().unwrap_or_else(|| vec![Act::Fis(good())])
        };
        acts.into_iter().for_each(|act| self.act(slot, act, link));
    }
    fn control(&mut self, control: u8, now: Nanos, link: &mut dyn Link) {
        if control & 4 == 0 {
            self.comreset(now, link);
        }
    }
    fn comreset(&mut self, now: Nanos, link: &mut dyn Link) {
        self.abort_all(now);
        let registers = Registers {
            status: Status::DRDY | Status::DSC,
            error: Error::from_bits_retain(1),
            lba: 1,
            count: 1,
            device: 0,
        };
        link.fis(None, DeviceFis::RegisterD2H { interrupt: true, registers });
    }
    fn abort_all(&mut self, _now: Nanos) -> usize {
        let mut script = self.0.lock().expect("script");
        script.later.clear();
        script.aborted += 1;
        std::mem::take(&mut script.running)
    }
    fn poll(&mut self, _now: Nanos, link: &mut dyn Link) {
        let later = std::mem::take(&mut self.0.lock().expect("script").later);
        later.into_iter().for_each(|(slot, act)| self.act(slot, act, link));
    }
    fn next_wakeup(&self) -> Option<Nanos> {
        (!self.0.lock().expect("script").later.is_empty()).then_some(Nanos(0))
    }
    fn engine_status(&self, _now: Nanos) -> Option<EngineStatus> {
        None
    }
}

/// A device, and the script that it follows.
pub(crate) fn scripted() -> (Box<dyn Device>, Arc<Mutex<Script>>) {
    let script = Arc::new(Mutex::new(Script::default()));
    (Box::new(Scripted(Arc::clone(&script))), script)
}

/// A Register FIS that ends a command well.
pub(crate) fn good() -> DeviceFis {
    register(Status::DRDY | Status::DSC)
}

/// A Register FIS with this status.
pub(crate) fn register(status: Status) -> DeviceFis {
    let registers = Registers { status, ..Registers::default() };
    DeviceFis::RegisterD2H { interrupt: true, registers }
}

/// A Set Device Bits FIS that ends these tags well.
pub(crate) fn set_device_bits(active: u32) -> DeviceFis {
    DeviceFis::SetDeviceBits {
        interrupt: true,
        notification: false,
        status: Status::DRDY,
        error: Error::empty(),
        active,
    }
}

pub(crate) struct Rig {
    pub(crate) hba: Hba,
    pub(crate) now: Nanos,
    pub(crate) memory: Memory,
    pub(crate) scripts: Vec<Arc<Mutex<Script>>>,
}

impl Rig {
    /// Two ports with a device each, and one without; port 0 is started.
    pub(crate) fn new() -> Self {
        Self::with(HbaConfig::default())
    }

    pub(crate) fn with(config: HbaConfig) -> Self {
        let mut rig = Self::stopped(config);
        rig.start(0);
        rig
    }

    /// The same, but nothing is started.
    pub(crate) fn stopped(config: HbaConfig) -> Self {
        let (first, second) = (scripted(), scripted());
        let now = Nanos(1_000 * MILLISECOND);
        let hba = Hba::new(config, vec![Some(first.0), Some(second.0), None], now);
        let memory = memory();
        let mut rig = Self { hba, now, memory, scripts: vec![first.1, second.1] };
        rig.write_global(GHC, (Ghc::IE | Ghc::AE).bits());
        rig
    }

    pub(crate) fn script(&self, port: usize) -> MutexGuard<'_, Script> {
        self.scripts[port].lock().expect("script")
    }

    pub(crate) fn read_global(&mut self, register: u32) -> u32 {
        let mut bytes = [0; 4];
        self.hba.mmio_read(u64::from(register), &mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn write_global(&mut self, register: u32, value: u32) {
        self.hba.mmio_write(u64::from(register), &value.to_le_bytes(), self.now, &self.memory);
    }

    pub(crate) fn read(&mut self, port: usize, register: u32) -> u32 {
        self.read_global(PORTS + port as u32 * PORT_STRIDE + register)
    }

    pub(crate) fn write(&mut self, port: usize, register: u32, value: u32) {
        self.write_global(PORTS + port as u32 * PORT_STRIDE + register, value);
    }

    /// Where a port's structures are.
    pub(crate) fn base(port: usize) -> u64 {
        port as u64 * PORT_BYTES
    }

    /// Sets a port up from nothing and starts it.
    pub(crate) fn start(&mut self, port: usize) {
        self.write(port, PX_CLB, Self::base(port) as u32);
        self.write(port, PX_FB, (Self::base(port) + FIS_AREA) as u32);
        self.write(port, PX_SERR, u32::MAX);
        self.write(port, PX_IS, u32::MAX);
        self.write_global(IS, u32::MAX);
        self.write(port, PX_IE, u32::MAX);
        self.command(port, PxCmd::FRE | PxCmd::ST | PxCmd::SUD | PxCmd::POD);
        self.take_interrupt();
    }

    pub(crate) fn command(&mut self, port: usize, bits: PxCmd) {
        self.write(port, PX_CMD, bits.bits());
    }

    pub(crate) fn stop(&mut self, port: usize) {
        self.command(port, PxCmd::FRE | PxCmd::SUD | PxCmd::POD);
    }

    pub(crate) fn comreset(&mut self, port: usize) {
        self.write(port, PX_SCTL, DET_COMRESET);
        self.write(port, PX_SCTL, 0);
    }

    /// Lets time pass in one step, and whatever is due happen.
    pub(crate) fn pass(&mut self, ns: u64) {
        self.now = self.now.plus(ns);
        for _ in 0..64 {
            self.hba.poll(self.now, &self.memory);
            if self.hba.next_wakeup().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("the controller never comes to rest");
    }

    pub(crate) fn take_interrupt(&mut self) -> Interrupt {
        self.hba.take_interrupt()
    }

    pub(crate) fn put(&self, address: u64, bytes: &[u8]) {
        self.memory.write(address, bytes).expect("memory");
    }

    pub(crate) fn get(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(address, &mut bytes).expect("memory");
        bytes
    }

    /// The received FIS at an offset of the port's area.
    pub(crate) fn received(&self, port: usize, offset: u64, len: usize) -> Vec<u8> {
        self.get(Self::base(port) + FIS_AREA + offset, len)
    }

    /// Puts a command with these PRDT entries (address, dword 3) into a slot.
    pub(crate) fn prepare_with(
        &self,
        port: usize,
        slot: u8,
        fis: &RegisterH2D,
        prdt: &[(u64, u32)],
    ) {
        let base = Self::base(port);
        let table = base + TABLES + u64::from(slot) * TABLE_STRIDE;
        let header = [5 | (prdt.len() as u32) << 16, 0, table as u32, 0];
        self.put(
            base + u64::from(slot) * COMMAND_HEADER_BYTES,
            &header.map(u32::to_le_bytes).concat(),
        );
        self.put(table, &fis.encode());
        for (index, (address, count)) in prdt.iter().enumerate() {
            let entry = [*address as u32, (*address >> 32) as u32, 0, *count];
            let at = table + (PRDT_OFFSET_BYTES + index * PRD_BYTES) as u64;
            self.put(at, &entry.map(u32::to_le_bytes).concat());
        }
    }

    /// Puts a command with one page of data into a slot.
    pub(crate) fn prepare(&self, port: usize, slot: u8, fis: &RegisterH2D) {
        self.prepare_with(port, slot, fis, &[(Self::base(port) + DATA, 0xfff)]);
    }

    /// Issues a command whose content does not matter.
    pub(crate) fn issue(&mut self, port: usize, slot: u8) {
        self.prepare(port, slot, &command(0x25));
        self.write(port, PX_CI, 1 << slot);
    }

    /// Issues a command that does this.
    pub(crate) fn perform(&mut self, port: usize, slot: u8, acts: Vec<Act>) {
        self.script(port).commands.push_back(acts);
        self.issue(port, slot);
    }

    /// Issues a queued command, which the device accepts.
    pub(crate) fn issue_queued(&mut self, port: usize, slot: u8) {
        let accept = register(Status::DRDY);
        self.script(port).commands.push_back(vec![Act::Fis(accept)]);
        self.prepare(port, slot, &command(0x60));
        self.write(port, PX_SACT, 1 << slot);
        self.write(port, PX_CI, 1 << slot);
    }

    /// Whether a command goes through and ends well.
    pub(crate) fn works(&mut self, port: usize) -> bool {
        let before = self.script(port).taken.len();
        self.issue(port, 0);
        let taken = self.script(port).taken.len() == before + 1;
        taken && self.read(port, PX_CI) == 0 && self.read(port, PX_TFD) == 0x50
    }

    pub(crate) fn is(&mut self, port: usize) -> PxIs {
        PxIs::from_bits_retain(self.read(port, PX_IS))
    }

    pub(crate) fn serr(&mut self, port: usize) -> PxSerr {
        PxSerr::from_bits_retain(self.read(port, PX_SERR))
    }

    pub(crate) fn status(&self, port: usize) -> PortStatus {
        self.hba.status(self.now).swap_remove(port)
    }
}

/// A command FIS.
pub(crate) fn command(opcode: u8) -> RegisterH2D {
    RegisterH2D { is_command: true, command: opcode, device: 0x40, ..RegisterH2D::default() }
}
