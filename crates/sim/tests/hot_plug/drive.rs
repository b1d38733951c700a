//! A drive behind the registers of a port, and discs that are taken out of it while it reads.

use freewheel_ahci::registers::*;
use freewheel_ata::{Drive, DriveConfig, Locked};
use freewheel_block::{Client, Engine, EngineConfig, GuestMemoryError, OpError, OpToken};
use freewheel_sim::{Command, DriverError, MemoryDisk, MemoryDiskConfig};

use crate::support::*;

const BLOCK: usize = 2048;
const READY: [u8; 12] = [0; 12];
const LOCK: [u8; 12] = [0x1e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
const CHANGED: (u8, u8, u8) = (6, 0x28, 0);
const TRAY_OPEN: (u8, u8, u8) = (2, 0x3a, 2);

fn read_10(lba: u32, count: u16) -> Command {
    let mut packet = [0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    packet[2..6].copy_from_slice(&lba.to_be_bytes());
    packet[7..9].copy_from_slice(&count.to_be_bytes());
    Command::packet(packet, u64::from(count) * BLOCK as u64)
}

/// A disc full of `value`.
fn disc(value: u8) -> (MemoryDisk, Engine) {
    let config = MemoryDiskConfig { size_bytes: 1 << 20, read_only: true, ..Default::default() };
    let disc = MemoryDisk::new(&config);
    disc.overwrite(0, &vec![value; 1 << 20]);
    let engine = Engine::new(Box::new(disc.clone()), EngineConfig::default());
    (disc, engine)
}

/// Nobody is there for an ejected disc.
struct Nobody;

impl Client for Nobody {
    fn gather(&mut self, _: u32, _: u64, _: &mut [u8]) -> Result<(), GuestMemoryError> {
        panic!("nothing is written")
    }
    fn scatter(&mut self, _: u32, _: u64, _: &[u8]) -> Result<(), GuestMemoryError> {
        panic!("data of a disc that was ejected")
    }
    fn answer(&mut self, _: OpToken, _: u32, _: Result<(), OpError>) {
        panic!("an answer of a disc that was ejected")
    }
}

impl Rig {
    fn with_drive() -> Self {
        let mut rig = Rig::empty();
        rig.attach(Box::new(Drive::new(DriveConfig::default())));
        assert_eq!(rig.px(PX_SIG), 0xeb14_0101);
        rig.run(0, &Command::identify_packet());
        assert_eq!(rig.driver.data(&rig.machine, 0, 2), [0xc0, 0x85]);
        assert_eq!(rig.check(&Command::packet(READY, 0)), (6, 0x29, 0));
        rig
    }

    fn drive(&mut self) -> &mut Drive {
        let device = self.machine.hba.device_mut(0).expect("a device");
        device.drive_mut().expect("it is a drive")
    }

    fn insert(&mut self, value: u8) -> MemoryDisk {
        let (disc, engine) = disc(value);
        assert!(self.drive().insert(engine).is_ok());
        disc
    }

    /// What a command ends with that does not end well.
    fn check(&mut self, command: &Command) -> (u8, u8, u8) {
        let error = self.driver.run(&mut self.machine, 0, command, AMPLE_NS);
        assert!(matches!(error, Err(DriverError::Port { .. })), "{error:?}");
        self.sense()
    }

    fn sense(&mut self) -> (u8, u8, u8) {
        self.driver.forget(&self.machine);
        assert!(self.driver.bring_up(&mut self.machine));
        let mut packet = [0; 12];
        (packet[0], packet[4]) = (0x03, 18);
        self.run(0, &Command::packet(packet, 18));
        let data = self.driver.data(&self.machine, 0, 18);
        (data[2], data[12], data[13])
    }

    fn expect(&mut self, value: u8) {
        self.run(2, &read_10(100, 4));
        let data = self.driver.data(&self.machine, 2, 4 * BLOCK);
        assert!(data.iter().all(|byte| *byte == value));
    }
}

#[test]
fn a_disc_that_hangs_is_exchanged_for_another_which_is_read_at_once() {
    let mut rig = Rig::with_drive();
    let hung = rig.insert(1);
    assert_eq!(rig.check(&read_10(0, 1)), CHANGED);
    rig.expect(1);
    hung.hold(true);
    rig.driver.fill(&rig.machine, 0, &[0xcc; 8192]);
    rig.driver.issue(&mut rig.machine, 0, &read_10(0, 4));
    rig.machine.poll();
    assert!(!hung.pending().is_empty());

    let now = rig.machine.now();
    let mut engine = rig.drive().eject(false, now).expect("no lock").expect("a disc");
    assert!(engine.counters().orphans_now > 0);
    let error = rig.driver.wait_for(&mut rig.machine, 1, A_WHILE_NS);
    assert!(matches!(error, Err(DriverError::Port { .. })), "the read fails: {error:?}");
    rig.driver.forget(&rig.machine);
    hung.complete_all();
    engine.poll(rig.machine.now(), &mut Nobody);
    assert_eq!(engine.counters().orphans_now, 0);
    let data = rig.driver.data(&rig.machine, 0, 8192);
    assert!(data.iter().all(|byte| *byte == 0xcc), "nothing of it has arrived");
    assert_eq!(rig.sense(), TRAY_OPEN);

    rig.insert(2);
    assert_eq!(rig.check(&Command::packet(READY, 0)), CHANGED);
    rig.expect(2);
    rig.no_breach();
}

#[test]
fn a_lock_is_honoured_and_force_overrides_it() {
    let mut rig = Rig::with_drive();
    rig.insert(1);
    assert_eq!(rig.check(&Command::packet(READY, 0)), CHANGED);
    rig.run(0, &Command::packet(LOCK, 0));
    let now = rig.machine.now();
    assert!(matches!(rig.drive().eject(false, now), Err(Locked)));
    rig.expect(1);
    assert!(rig.drive().eject(true, now).is_ok_and(|engine| engine.is_some()));
    assert_eq!(rig.check(&Command::packet(READY, 0)), TRAY_OPEN);
    rig.no_breach();
}

#[test]
fn a_drive_that_is_pulled_out_while_it_reads_comes_back_with_its_disc() {
    let mut rig = Rig::with_drive();
    let disc = rig.insert(7);
    assert_eq!(rig.check(&Command::packet(READY, 0)), CHANGED);
    for _ in 0..100 {
        disc.hold(true);
        rig.driver.issue(&mut rig.machine, 2, &read_10(8, 4));
        rig.machine.poll();
        let mut device = rig.detach();
        disc.complete_all();
        device.poll(rig.machine.now(), &mut LooseEnd);
        assert_eq!(counters(device.as_mut()).orphans_now, 0);
        disc.hold(false);
        rig.attach(device);
        assert_eq!(rig.check(&Command::packet(READY, 0)), (6, 0x29, 0));
        rig.expect(7);
        rig.no_breach();
    }
}
