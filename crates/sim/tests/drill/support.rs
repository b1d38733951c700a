//! A stack whose every layer can be exchanged.

use freewheel_ata::{Device, Disk, DiskConfig};
use freewheel_block::fault::FaultLayer;
use freewheel_block::{Backend, Engine, EngineConfig};
use freewheel_sim::drill::{self, DrillConfig, DrillError, Event, Report};
use freewheel_sim::{MemoryDisk, MemoryDiskConfig, VirtualClock};

/// What a drill runs on.
pub(crate) struct Stack {
    pub(crate) disk: DiskConfig,
    pub(crate) medium: MemoryDiskConfig,
    pub(crate) engine: EngineConfig,
    /// What stands between the engine and the disk in memory.
    pub(crate) backend: fn(&MemoryDisk) -> Box<dyn Backend>,
    /// What stands between the controller and the ATA disk.
    pub(crate) device: fn(Box<dyn Device>, &VirtualClock) -> Box<dyn Device>,
}

/// An honest backend: a fault layer over the disk.
pub(crate) fn honest(disk: &MemoryDisk) -> Box<dyn Backend> {
    Box::new(FaultLayer::new(Box::new(disk.clone()), 512, [], 1).expect("no faults"))
}

impl Stack {
    pub(crate) fn new() -> Self {
        Self {
            disk: DiskConfig::default(),
            medium: MemoryDiskConfig::default(),
            engine: EngineConfig::default(),
            backend: honest,
            device: |device, _| device,
        }
    }

    pub(crate) fn try_drill(
        &self,
        config: DrillConfig,
        on_event: &mut dyn FnMut(&Event),
    ) -> Result<Report, DrillError> {
        let clock = VirtualClock::default();
        let build = |backend: Box<dyn Backend>| -> Box<dyn Device> {
            let engine = Engine::new(backend, self.engine);
            Box::new(Disk::new(self.disk.clone(), engine).expect("a good disk"))
        };
        let stuck = build((self.backend)(&MemoryDisk::new(&self.medium)));
        let neighbour = build(honest(&MemoryDisk::new(&self.medium)));
        let stuck = (self.device)(stuck, &clock);
        drill::run(stuck, neighbour, Box::new(clock), config, on_event)
    }

    pub(crate) fn drill_telling(&self, rounds: u32, on_event: &mut dyn FnMut(&Event)) -> Report {
        let config = DrillConfig { rounds, patience_ns: 100_000_000, ..DrillConfig::default() };
        self.try_drill(config, on_event).expect("a drill")
    }

    pub(crate) fn drill(&self, rounds: u32) -> Report {
        self.drill_telling(rounds, &mut |_| {})
    }
}
