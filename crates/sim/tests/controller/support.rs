//! A machine with disks in memory.

use freewheel_ahci::{Hba, HbaConfig};
use freewheel_ata::{Device, Disk, DiskConfig};
use freewheel_block::fault::FaultLayer;
use freewheel_block::{ByteRange, Engine, EngineConfig, EngineStatus, Nanos};
use freewheel_sim::{
    Command, Driver, DriverError, GuestRam, Identity, Layout, Machine, MemoryDisk,
    MemoryDiskConfig, VirtualClock,
};

/// Time that nothing in a test needs.
pub(crate) const AMPLE_NS: u64 = 1_000_000_000;
/// Time in which something must not happen.
pub(crate) const A_WHILE_NS: u64 = 100_000;
pub(crate) const SECTOR: u32 = 512;

/// One disk on one port, and its driver.
pub(crate) struct Rig {
    pub(crate) machine: Machine,
    pub(crate) driver: Driver,
    pub(crate) disk: MemoryDisk,
}

pub(crate) fn device(disk: &MemoryDisk) -> Box<dyn Device> {
    device_with(disk, EngineConfig::default())
}

pub(crate) fn device_with(disk: &MemoryDisk, engine: EngineConfig) -> Box<dyn Device> {
    let layer = FaultLayer::new(Box::new(disk.clone()), 512, [], 1).expect("no faults");
    let engine = Engine::new(Box::new(layer), engine);
    Box::new(Disk::new(DiskConfig::default(), engine).expect("a good disk"))
}

pub(crate) fn machine(devices: Vec<Option<Box<dyn Device>>>) -> Machine {
    let ram = GuestRam::new(Layout::memory_bytes(2));
    let hba = Hba::new(HbaConfig::default(), devices, Nanos(0));
    Machine::new(hba, ram, Box::new(VirtualClock::default()))
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(&MemoryDiskConfig::default(), EngineConfig::default())
    }

    pub(crate) fn with(config: &MemoryDiskConfig, engine: EngineConfig) -> Self {
        let disk = MemoryDisk::new(config);
        let mut rig = Self {
            machine: machine(vec![Some(device_with(&disk, engine)), None]),
            driver: Driver::new(0),
            disk,
        };
        rig.power_on();
        rig
    }

    pub(crate) fn power_on(&mut self) -> Identity {
        self.driver.power_on(&mut self.machine, AMPLE_NS).expect("the disk identifies itself")
    }

    pub(crate) fn run(&mut self, slot: u8, command: &Command) -> Result<(), DriverError> {
        let result = self.driver.run(&mut self.machine, slot, command, AMPLE_NS);
        self.check();
        result
    }

    pub(crate) fn wait(&mut self, slots: u32) -> Result<(), DriverError> {
        let result = self.driver.wait_for(&mut self.machine, slots, AMPLE_NS);
        self.check();
        result
    }

    pub(crate) fn write(&mut self, lba: u64, data: &[u8]) {
        self.driver.fill(&self.machine, 0, data);
        let sectors = (data.len() / SECTOR as usize) as u16;
        self.run(0, &Command::write_queued(lba, sectors, SECTOR)).expect("a write");
    }

    pub(crate) fn read(&mut self, lba: u64, sectors: u16) -> Vec<u8> {
        self.run(0, &Command::read_queued(lba, sectors, SECTOR)).expect("a read");
        self.driver.data(&self.machine, 0, usize::from(sectors) * SECTOR as usize)
    }

    pub(crate) fn status(&mut self) -> EngineStatus {
        let now = self.machine.now();
        let device = self.machine.hba.device_mut(0).expect("a disk");
        device.engine_status(now).expect("an engine")
    }

    pub(crate) fn check(&mut self) {
        self.machine.engine(0).expect("an engine").assert_consistent();
    }

    /// Fills all 32 tags with reads and writes mixed, one chunk of 8 sectors each, which stick.
    pub(crate) fn fill_and_hang(&mut self, value: u8) {
        self.disk.hold(true);
        let mut commands = Vec::new();
        for slot in 0..32u8 {
            let lba = u64::from(slot) * 8;
            if slot % 2 == 0 {
                self.driver.fill(&self.machine, slot, &[value; 4096]);
                commands.push((slot, Command::write_queued(lba, 8, SECTOR)));
            } else {
                commands.push((slot, Command::read_queued(lba, 8, SECTOR)));
            }
        }
        self.driver.issue_all(&mut self.machine, &commands);
        self.machine.poll();
        assert_eq!(self.disk.pending().len(), 32, "all reached the storage");
    }
}

pub(crate) fn pattern(lba: u64, sectors: u64) -> Vec<u8> {
    let len = sectors * u64::from(SECTOR);
    (0..len).map(|at| ((lba * 512 + at) / 3) as u8 ^ (lba as u8)).collect()
}

pub(crate) fn sectors(lba: u64, count: u64) -> ByteRange {
    ByteRange::new(lba * u64::from(SECTOR), count * u64::from(SECTOR))
}
