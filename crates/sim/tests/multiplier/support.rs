//! A machine with a port multiplier on port 0, and a disk on port 1.

use freewheel_ahci::pmp::*;
use freewheel_ahci::registers::*;
use freewheel_ahci::{Attachment, DevicePortStatus, Hba, HbaConfig};
use freewheel_ata::{Device, Disk, DiskConfig};
use freewheel_block::fault::FaultLayer;
use freewheel_block::{Engine, EngineConfig, Nanos};
use freewheel_sim::{
    Command, Driver, GuestRam, Layout, Machine, MemoryDisk, MemoryDiskConfig, VirtualClock,
    reset_hba,
};

/// Time that nothing in a test needs.
pub(crate) const AMPLE_NS: u64 = 1_000_000_000;
/// Time in which something must not happen.
pub(crate) const A_WHILE_NS: u64 = 100_000;
pub(crate) const SECTOR: u32 = 512;
pub(crate) const DISK_BYTES: u64 = 1 << 20;

/// Disk `n` calls itself `BEHIND n`.
fn device(disk: &MemoryDisk, n: usize) -> Box<dyn Device> {
    let layer = FaultLayer::new(Box::new(disk.clone()), 512, [], 1).expect("no faults");
    let engine = Engine::new(Box::new(layer), EngineConfig::default());
    let config = DiskConfig { serial: format!("BEHIND {n}"), ..DiskConfig::default() };
    Box::new(Disk::new(config, engine).expect("a good disk"))
}

pub(crate) fn memory_disk() -> MemoryDisk {
    MemoryDisk::new(&MemoryDiskConfig { size_bytes: DISK_BYTES, ..MemoryDiskConfig::default() })
}

pub(crate) fn new_device(disk: &MemoryDisk) -> Box<dyn Device> {
    device(disk, 99)
}

pub(crate) struct Rig {
    pub(crate) machine: Machine,
    pub(crate) driver: Driver,
    /// Behind the port multiplier, by device port.
    pub(crate) disks: Vec<Option<MemoryDisk>>,
}

impl Rig {
    /// Device ports with and without a disk; nothing is set up yet but the HBA and the list.
    pub(crate) fn with_ports(ports: &[bool]) -> Self {
        let disks: Vec<Option<MemoryDisk>> =
            ports.iter().map(|there| there.then(memory_disk)).collect();
        let devices = disks.iter().enumerate();
        let devices = devices.map(|(n, disk)| disk.as_ref().map(|disk| device(disk, n))).collect();
        let attachments = vec![
            Some(Attachment::from(PortMultiplier::new(devices))),
            Some(Attachment::from(new_device(&memory_disk()))),
        ];
        let hba = Hba::with_attachments(HbaConfig::default(), attachments, Nanos(0));
        let ram = GuestRam::new(Layout::memory_bytes(2));
        let machine = Machine::new(hba, ram, Box::new(VirtualClock::default()));
        let mut rig = Self { machine, driver: Driver::new(0), disks };
        reset_hba(&mut rig.machine);
        rig.driver.bring_up(&mut rig.machine);
        rig
    }

    /// The port multiplier is found and every device enabled; command-based switching.
    pub(crate) fn enumerated(count: usize) -> Self {
        let mut rig = Self::with_ports(&vec![true; count]);
        rig.enumerate();
        rig
    }

    /// The same with FIS-based switching.
    pub(crate) fn switched(count: usize) -> Self {
        let mut rig = Self::enumerated(count);
        assert!(rig.driver.enable_switching(&mut rig.machine));
        rig
    }

    pub(crate) fn enumerate(&mut self) {
        let ports = self.driver.attach_multiplier(&mut self.machine).expect("a multiplier");
        assert_eq!(usize::from(ports), self.disks.len());
        for pm_port in 0..ports {
            let there = self.driver.comreset_of(&mut self.machine, pm_port).expect("an answer");
            assert_eq!(there, self.disks[usize::from(pm_port)].is_some());
        }
        self.driver.clear_errors(&mut self.machine);
    }

    pub(crate) fn disk(&self, pm_port: u8) -> &MemoryDisk {
        self.disks[usize::from(pm_port)].as_ref().expect("a disk")
    }

    pub(crate) fn px(&mut self, register: u32) -> u32 {
        self.driver.read(&mut self.machine, register)
    }

    pub(crate) fn issue(&mut self, slot: u8, pm_port: u8, command: Command) {
        self.driver.issue_to(&mut self.machine, slot, &command.to_port(pm_port));
    }

    pub(crate) fn wait(&mut self, slots: u32) {
        self.driver.wait_for(&mut self.machine, slots, AMPLE_NS).expect("they end");
        self.check();
    }

    /// Writes eight sectors at `lba` and reads them back, by queued commands.
    pub(crate) fn verify(&mut self, slot: u8, pm_port: u8, lba: u64) {
        let data = pattern(pm_port, slot);
        self.driver.fill(&self.machine, slot, &data);
        self.issue(slot, pm_port, Command::write_queued(lba, 8, SECTOR));
        self.wait(1 << slot);
        self.driver.fill(&self.machine, slot, &[0; 4096]);
        self.issue(slot, pm_port, Command::read_queued(lba, 8, SECTOR));
        self.wait(1 << slot);
        assert_eq!(self.driver.data(&self.machine, slot, 4096), data, "PM port {pm_port}");
    }

    pub(crate) fn behind(&mut self, pm_port: u8) -> DevicePortStatus {
        let now = self.machine.now();
        self.machine.hba.status(now)[0].behind[usize::from(pm_port)].clone()
    }

    /// What holds after every event.
    pub(crate) fn check(&mut self) {
        for pm_port in 0..self.disks.len() as u8 {
            if let Some(engine) = self.machine.engine_behind(0, pm_port) {
                engine.assert_consistent();
            }
        }
    }

    /// PxIS, cleared.
    pub(crate) fn take_is(&mut self) -> PxIs {
        PxIs::from_bits_retain(self.driver.collect(&mut self.machine).is)
    }
}

/// Eight sectors that no other slot or device has.
pub(crate) fn pattern(pm_port: u8, slot: u8) -> Vec<u8> {
    let seed = u32::from(pm_port) << 8 | u32::from(slot);
    (0..1024u32).flat_map(|at| (at << 16 | seed).to_le_bytes()).collect()
}
