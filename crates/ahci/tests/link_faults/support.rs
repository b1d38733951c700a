//! A controller with one ATA disk on a RAM backend under a fault layer, and as much of a driver as
//! the tests need.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use freewheel_ahci::registers::*;
use freewheel_ahci::{BusError, GuestMemory, Hba, HbaConfig, LinkState, PortStatus};
use freewheel_ata::fis::RegisterH2D;
use freewheel_ata::{Device, Disk, DiskConfig};
use freewheel_block::fault::{FaultLayer, FaultSpec, LinkFault};
use freewheel_block::{
    Backend, BackendInfo, Done, Engine, EngineConfig, EngineStatus, Io, Nanos, OpKind,
};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const SECTOR: usize = 512;
const MEMORY_BYTES: usize = 1 << 20;
const LIST: u64 = 0x1000;
const FIS_AREA: u64 = 0x2000;
const TABLES: u64 = 0x10000;
const TABLE_STRIDE: u64 = 0x400;
const DATA: u64 = 0x40000;
/// Room for the data of one slot.
pub(crate) const DATA_BYTES: u64 = 0x1000;

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

/// The medium, and what waits to be polled.
#[derive(Default)]
struct Medium {
    bytes: Vec<u8>,
    done: Vec<Done>,
}

struct Ram {
    info: BackendInfo,
    medium: Arc<Mutex<Medium>>,
}

impl Backend for Ram {
    fn info(&self) -> &BackendInfo {
        &self.info
    }
    fn submit(&mut self, mut io: Io, _now: Nanos) {
        let mut medium = self.medium.lock().expect("medium");
        let len = io.range.len_bytes;
        let span = io.range.offset_bytes as usize..io.range.end_bytes() as usize;
        match io.kind {
            OpKind::Read => io.data_mut().copy_from_slice(&medium.bytes[span]),
            OpKind::Write => medium.bytes[span].copy_from_slice(io.data()),
            OpKind::Discard | OpKind::WriteZeroes => medium.bytes[span].fill(0),
            OpKind::Flush => {}
        }
        medium.done.push(io.done(Ok(len)));
    }
    fn poll(&mut self, _now: Nanos, done: &mut Vec<Done>) {
        done.append(&mut self.medium.lock().expect("medium").done);
    }
    fn next_wakeup(&self) -> Option<Nanos> {
        let has_done = !self.medium.lock().expect("medium").done.is_empty();
        has_done.then_some(Nanos(0))
    }
}

pub(crate) struct Rig {
    pub(crate) hba: Hba,
    pub(crate) now: Nanos,
    pub(crate) memory: Memory,
    medium: Arc<Mutex<Medium>>,
}

impl Rig {
    /// A started port with the given faults of the storage. Port 1 has no device.
    pub(crate) fn new(faults: &[&str]) -> Self {
        let medium = Medium { bytes: vec![0x11; MEMORY_BYTES], ..Medium::default() };
        let medium = Arc::new(Mutex::new(medium));
        let info = BackendInfo {
            engine_name: "memory".into(),
            size_bytes: MEMORY_BYTES as u64,
            io_align_bytes: 1,
            read_only: false,
            fua: true,
            discard: None,
            write_zeroes: true,
            queue_depth: 64,
        };
        let ram = Ram { info, medium: Arc::clone(&medium) };
        let faults = faults.iter().map(|text| text.parse::<FaultSpec>().expect("a fault"));
        let layer = FaultLayer::new(Box::new(ram), SECTOR as u64, faults, 1).expect("a layer");
        let config = EngineConfig { buf_bytes: 4096, ..EngineConfig::default() };
        let engine = Engine::new(Box::new(layer), config);
        let config = DiskConfig { physical_sector_bytes: 512, ..DiskConfig::default() };
        let disk: Box<dyn Device> = Box::new(Disk::new(config, engine).expect("a disk"));
        let now = Nanos(SECOND);
        let hba = Hba::new(HbaConfig::default(), vec![Some(disk), None], now);
        let memory = Memory(RefCell::new(vec![0; MEMORY_BYTES]));
        let mut rig = Self { hba, now, memory, medium };
        rig.write_global(GHC, (Ghc::IE | Ghc::AE).bits());
        rig.start();
        rig
    }

    pub(crate) fn read(&mut self, register: u32) -> u32 {
        let mut bytes = [0; 4];
        self.hba.mmio_read(u64::from(PORTS + register), &mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn write(&mut self, register: u32, value: u32) {
        self.write_global(PORTS + register, value);
    }

    pub(crate) fn write_global(&mut self, register: u32, value: u32) {
        let bytes = value.to_le_bytes();
        self.hba.mmio_write(u64::from(register), &bytes, self.now, &self.memory);
        self.check();
    }

    /// Sets the port up from nothing and starts it.
    pub(crate) fn start(&mut self) {
        self.write(PX_CLB, LIST as u32);
        self.write(PX_FB, FIS_AREA as u32);
        self.write(PX_SERR, u32::MAX);
        self.write(PX_IS, u32::MAX);
        self.write(PX_IE, u32::MAX);
        self.write(PX_CMD, (PxCmd::FRE | PxCmd::ST).bits());
        self.hba.take_interrupt();
    }

    pub(crate) fn stop(&mut self) {
        self.write(PX_CMD, PxCmd::FRE.bits());
    }

    /// Stops, clears what is reported, starts: how a driver gets over an error.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start();
    }

    pub(crate) fn comreset(&mut self) {
        self.write(PX_SCTL, DET_COMRESET);
        self.write(PX_SCTL, 0);
    }

    /// Lets time pass in one step, and whatever is due happen.
    pub(crate) fn pass(&mut self, ns: u64) {
        self.now = self.now.plus(ns);
        for _ in 0..64 {
            self.hba.poll(self.now, &self.memory);
            self.check();
            if self.hba.next_wakeup().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("the controller never comes to rest");
    }

    pub(crate) fn inject(&mut self, fault: LinkFault) {
        self.hba.inject_link_fault(0, fault, self.now).expect("injected");
        self.check();
    }

    /// Puts a command into `slot` without issuing it.
    pub(crate) fn prepare(&mut self, slot: u8, fis: RegisterH2D, data_bytes: u64) {
        let table = TABLES + u64::from(slot) * TABLE_STRIDE;
        let put = |address: u64, bytes: &[u8]| self.memory.write(address, bytes).expect("memory");
        let flags = 5 | 1u32 << 16;
        let header = [flags, 0, table as u32, 0].map(u32::to_le_bytes).concat();
        put(LIST + u64::from(slot) * COMMAND_HEADER_BYTES, &header);
        put(table, &fis.encode());
        let prd = [self.data_at(slot) as u32, 0, 0, data_bytes as u32 - 1];
        put(table + PRDT_OFFSET_BYTES as u64, &prd.map(u32::to_le_bytes).concat());
    }

    pub(crate) fn issue(&mut self, slot: u8, fis: RegisterH2D) {
        self.prepare(slot, fis, DATA_BYTES);
        self.write(PX_CI, 1 << slot);
    }

    pub(crate) fn issue_queued(&mut self, slot: u8, opcode: u8, lba: u64, sectors: u16) {
        let fis = RegisterH2D {
            features: sectors,
            count: u16::from(slot) << 3,
            ..command(opcode, lba, 0)
        };
        self.prepare(slot, fis, DATA_BYTES);
        self.write(PX_SACT, 1 << slot);
        self.write(PX_CI, 1 << slot);
    }

    /// Runs READ DMA EXT of one sector in slot 0; says whether it ended well.
    pub(crate) fn can_read(&mut self, lba: u64) -> bool {
        self.issue(0, command(0x25, lba, 1));
        self.pass(1);
        self.read(PX_CI) == 0 && self.read(PX_TFD) == 0x50
    }

    fn data_at(&self, slot: u8) -> u64 {
        DATA + u64::from(slot) * DATA_BYTES
    }

    pub(crate) fn fill_data(&mut self, slot: u8, value: u8) {
        let bytes = [value; DATA_BYTES as usize];
        self.memory.write(self.data_at(slot), &bytes).expect("memory");
    }

    pub(crate) fn data(&self, slot: u8) -> Vec<u8> {
        let mut bytes = vec![0; DATA_BYTES as usize];
        self.memory.read(self.data_at(slot), &mut bytes).expect("memory");
        bytes
    }

    pub(crate) fn whole_memory(&self) -> Vec<u8> {
        self.memory.0.borrow().clone()
    }

    pub(crate) fn on_medium(&self, lba: usize) -> Vec<u8> {
        self.medium.lock().expect("medium").bytes[lba * SECTOR..(lba + 1) * SECTOR].to_vec()
    }

    fn engine(&mut self) -> &mut Engine {
        self.hba.device_mut(0).and_then(|device| device.engine_mut()).expect("an engine")
    }

    /// Takes every fault off the storage and lets go what it holds.
    pub(crate) fn release_storage(&mut self) -> usize {
        let now = self.now;
        let layer = self.engine().backend_mut().fault_layer().expect("a fault layer");
        layer.clear();
        layer.release(now)
    }

    pub(crate) fn status(&self) -> PortStatus {
        self.hba.status(self.now).swap_remove(0)
    }

    pub(crate) fn storage(&self) -> EngineStatus {
        self.status().engine.expect("an engine")
    }

    /// What holds after every event.
    fn check(&mut self) {
        self.engine().assert_consistent();
        let status = self.status();
        if !matches!(status.link, LinkState::Up) {
            assert!(self.storage().operations.is_empty(), "nothing runs without a link");
        }
        let det = self.read(PX_SSTS) & 0xf;
        assert_eq!(det == 3, matches!(status.link, LinkState::Up | LinkState::Silent));
    }
}

/// A command FIS with a 48-bit LBA.
pub(crate) fn command(opcode: u8, lba: u64, count: u16) -> RegisterH2D {
    RegisterH2D {
        is_command: true,
        command: opcode,
        device: 0x40,
        lba,
        count,
        ..RegisterH2D::default()
    }
}
