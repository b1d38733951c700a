//! A machine with one port, whose device is pulled out and put back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use freewheel_ahci::registers::*;
use freewheel_ahci::{Attachment, Hba, HbaConfig};
use freewheel_ata::fis::DeviceFis;
use freewheel_ata::{Device, Disk, DiskConfig, Link, LinkError};
use freewheel_block::{
    Backend, BackendInfo, Counters, Done, Engine, EngineConfig, Io, IoId, Nanos,
};
use freewheel_sim::{Command, Driver, GuestRam, Layout, Machine, MemoryDisk, VirtualClock};

/// Time that nothing in a test needs.
pub(crate) const AMPLE_NS: u64 = 1_000_000_000;
/// Time in which something must not happen.
pub(crate) const A_WHILE_NS: u64 = 100_000;
pub(crate) const SECTOR: u32 = 512;

/// A disk in memory whose engines are counted for as long as they live.
struct Counted {
    disk: MemoryDisk,
    alive: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Backend for Counted {
    fn info(&self) -> &BackendInfo {
        self.disk.info()
    }
    fn submit(&mut self, io: Io, now: Nanos) {
        self.disk.submit(io, now);
    }
    fn poll(&mut self, now: Nanos, done: &mut Vec<Done>) {
        self.disk.poll(now, done);
    }
    fn cancel_hint(&mut self, id: IoId) {
        self.disk.cancel_hint(id);
    }
    fn next_wakeup(&self) -> Option<Nanos> {
        self.disk.next_wakeup()
    }
}

/// The end of a cable that nobody holds: a device in custody has nothing to say.
pub(crate) struct LooseEnd;

impl Link for LooseEnd {
    fn data_in(&mut self, slot: u8, _: u64, data: &[u8]) -> Result<(), LinkError> {
        panic!("{} bytes for slot {slot} of a device that was pulled out", data.len());
    }
    fn data_out(&mut self, slot: u8, _: u64, _: &mut [u8]) -> Result<(), LinkError> {
        panic!("a device that was pulled out asks for data of slot {slot}");
    }
    fn fis(&mut self, slot: Option<u8>, fis: DeviceFis) {
        panic!("a device that was pulled out says {fis:?} of {slot:?}");
    }
}

pub(crate) struct Rig {
    pub(crate) machine: Machine,
    pub(crate) driver: Driver,
    /// Engines that exist.
    pub(crate) alive: Arc<AtomicUsize>,
}

impl Rig {
    /// Nothing is on the port.
    pub(crate) fn empty() -> Self {
        let ram = GuestRam::new(Layout::memory_bytes(1));
        ram.arm();
        let hba = Hba::new(HbaConfig::default(), vec![None], Nanos(0));
        let machine = Machine::new(hba, ram, Box::new(VirtualClock::default()));
        Self { machine, driver: Driver::new(0), alive: Arc::default() }
    }

    /// A disk over `medium`, with an engine of its own.
    pub(crate) fn disk(&self, medium: &MemoryDisk) -> Box<dyn Device> {
        self.alive.fetch_add(1, Ordering::Relaxed);
        let backend = Counted { disk: medium.clone(), alive: Arc::clone(&self.alive) };
        // Small buffers: engines are made by the hundred.
        let config = EngineConfig { slots: 48, buf_bytes: 16 << 10, ..EngineConfig::default() };
        let engine = Engine::new(Box::new(backend), config);
        Box::new(Disk::new(DiskConfig::default(), engine).expect("a good disk"))
    }

    /// Plugs a device in and has the guest bring it up.
    pub(crate) fn attach(&mut self, device: Box<dyn Device>) {
        let now = self.machine.now();
        let attached = self.machine.hba.attach(0, device.into(), now, &self.machine.ram);
        assert!(attached.is_ok(), "the port is free");
        assert_eq!(self.px(PX_SSTS) & 0xf, 3);
        assert_ne!(self.px(PX_SERR) & PxSerr::DIAG_X.bits(), 0);
        assert_ne!(self.px(PX_IS) & PxIs::PCS.bits(), 0);
        if self.machine.read(GHC) & Ghc::AE.bits() == 0 {
            freewheel_sim::enable_hba(&mut self.machine);
        }
        assert!(self.driver.bring_up(&mut self.machine), "the device is ready");
    }

    /// Pulls the device out. Everything in flight has ended when that returns; the registers of
    /// commands stay as they are, until the guest stops the port, as it does here.
    pub(crate) fn detach(&mut self) -> Box<dyn Device> {
        let commands = (self.px(PX_CI), self.px(PX_SACT));
        // From here on the guest considers all of its memory its own.
        self.driver.forget(&self.machine);
        let now = self.machine.now();
        let Some(Attachment::Device(mut device)) = self.machine.hba.detach(0, now) else {
            panic!("there is a device")
        };
        let Counters { queued_now, held_now, running_now, .. } = counters(device.as_mut());
        assert_eq!((queued_now, held_now, running_now), (0, 0, 0), "all is cancelled");
        assert_eq!((self.px(PX_SSTS), self.px(PX_TFD) & 0xff), (0, 0x7f));
        assert_ne!(self.px(PX_SERR) & PxSerr::DIAG_N.bits(), 0);
        assert_ne!(self.px(PX_IS) & PxIs::PRCS.bits(), 0);
        assert_eq!((self.px(PX_CI), self.px(PX_SACT)), commands);
        assert!(self.driver.stop(&mut self.machine));
        assert_eq!((self.px(PX_CI), self.px(PX_SACT)), (0, 0));
        self.driver.clear_errors(&mut self.machine);
        device
    }

    pub(crate) fn px(&mut self, register: u32) -> u32 {
        self.driver.read(&mut self.machine, register)
    }

    pub(crate) fn run(&mut self, slot: u8, command: &Command) {
        self.driver.run(&mut self.machine, slot, command, AMPLE_NS).expect("it ends well");
    }

    /// Writes `sectors` sectors at `lba` and reads them back.
    pub(crate) fn verify(&mut self, lba: u64, sectors: u16, value: u8) {
        let data = vec![value; usize::from(sectors) * SECTOR as usize];
        self.driver.fill(&self.machine, 0, &data);
        self.run(0, &Command::write_queued(lba, sectors, SECTOR));
        self.driver.fill(&self.machine, 1, &vec![!value; data.len()]);
        self.run(1, &Command::read_queued(lba, sectors, SECTOR));
        assert_eq!(self.driver.data(&self.machine, 1, data.len()), data);
    }

    pub(crate) fn no_breach(&mut self) {
        assert_eq!(self.machine.ram.take_breaches(), (Vec::new(), 0), "memory was touched");
    }
}

pub(crate) fn counters(device: &mut dyn Device) -> Counters {
    device.engine_mut().expect("an engine").counters()
}
