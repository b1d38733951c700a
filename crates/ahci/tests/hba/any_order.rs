//! Everything in any order: ports with a device, with a port multiplier, and with nothing; register
//! writes of any width, devices that answer when they like, that come and go, links that drop, time
//! that passes. After each event the registers, the interrupt and the devices have to agree with a
//! model that is written from the specification and shares nothing with the HBA.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use freewheel_ahci::pmp::*;
use freewheel_ahci::registers::*;
use freewheel_ahci::{Attachment, BusError, GuestMemory, Hba, HbaConfig, HotPlug, ResetKind};
use freewheel_ata::fis::{DeviceFis, Error, RegisterH2D, Registers, Status};
use freewheel_ata::{Device, Link};
use freewheel_block::fault::LinkFault;
use freewheel_block::{EngineStatus, Nanos};

use crate::support::*;

const PORT_COUNT: usize = 4;
/// The port with a port multiplier.
const MULTIPLIED: usize = 2;
const BEHIND: u8 = 3;
const REGION: u64 = 0x2_0000;

/// splitmix64.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (word ^ word >> 31) % limit
    }
    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// Guest memory that knows which port's part of it was written.
struct Marked {
    bytes: RefCell<Vec<u8>>,
    written: Cell<u32>,
    unmapped: Cell<bool>,
}

impl Marked {
    fn end(&self, address: u64, len: usize) -> Result<usize, BusError> {
        let end = usize::try_from(address).ok().and_then(|at| at.checked_add(len));
        end.filter(|_| !self.unmapped.get()).ok_or(BusError { address })
    }
}

impl GuestMemory for Marked {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), BusError> {
        let bytes = self.bytes.borrow();
        let at = usize::try_from(address).map_err(|_| BusError { address })?;
        let end = self.end(address, buf.len())?;
        buf.copy_from_slice(bytes.get(at..end).ok_or(BusError { address })?);
        Ok(())
    }
    fn write(&self, address: u64, data: &[u8]) -> Result<(), BusError> {
        let mut bytes = self.bytes.borrow_mut();
        let at = usize::try_from(address).map_err(|_| BusError { address })?;
        let end = self.end(address, data.len())?;
        bytes.get_mut(at..end).ok_or(BusError { address })?.copy_from_slice(data);
        self.written.set(self.written.get() | 1 << (address / REGION));
        Ok(())
    }
}

/// What the test knows of a device.
#[derive(Default)]
struct Known {
    serial: u64,
    /// Slots of commands that it has.
    held: Vec<(u8, bool)>,
    /// The commands that it was given, by their number.
    given: Vec<u64>,
}

struct Chaotic {
    random: Random,
    known: Arc<Mutex<Known>>,
}

impl Chaotic {
    fn answer(&mut self, slot: u8, queued: bool, link: &mut dyn Link) {
        if self.random.chance(3) {
            let _ = link.data_in(slot, 0, &[0xda; 512]);
        }
        let fails = self.random.chance(12);
        if fails {
            // Like a disk, it forgets what it has.
            self.known.lock().expect("known").held.clear();
        }
        let status = Status::DRDY | if fails { Status::ERR } else { Status::empty() };
        if queued {
            let active = if fails { 0 } else { 1 << slot };
            let error = if fails { Error::ABRT } else { Error::empty() };
            let (interrupt, notification) = (true, false);
            let fis = DeviceFis::SetDeviceBits { interrupt, notification, status, error, active };
            link.fis(None, fis);
        } else {
            link.fis(Some(slot), register(status));
        }
    }
}

impl Device for Chaotic {
    fn execute(
        &mut self,
        slot: u8,
        command: &RegisterH2D,
        _packet: &[u8; 16],
        _now: Nanos,
        link: &mut dyn Link,
    ) {
        let queued = command.command == 0x60;
        let mut known = self.known.lock().expect("known");
        known.given.push(command.lba);
        known.held.retain(|(held, _)| *held != slot);
        let at_once = !queued && self.random.chance(2);
        if !at_once {
            known.held.push((slot, queued));
        }
        drop(known);
        if at_once {
            self.answer(slot, false, link);
        } else if queued {
            link.fis(Some(slot), register(Status::DRDY));
        }
    }
    fn control(&mut self, control: u8, now: Nanos, link: &mut dyn Link) {
        self.abort_all(now);
        if control & 4 == 0 {
            self.comreset(now, link);
        }
    }
    fn comreset(&mut self, now: Nanos, link: &mut dyn Link) {
        self.abort_all(now);
        let status = Status::DRDY | Status::DSC;
        let registers = Registers { status, lba: 1, count: 1, ..Registers::default() };
        link.fis(None, DeviceFis::RegisterD2H { interrupt: true, registers });
    }
    fn abort_all(&mut self, _now: Nanos) -> usize {
        std::mem::take(&mut self.known.lock().expect("known").held).len()
    }
    fn poll(&mut self, _now: Nanos, link: &mut dyn Link) {
        let count = self.known.lock().expect("known").held.len() as u64;
        if count > 0 && self.random.chance(2) {
            let at = self.random.below(count) as usize;
            let (slot, queued) = self.known.lock().expect("known").held.remove(at);
            self.answer(slot, queued, link);
        }
        if self.random.chance(8) {
            link.fis(
                None,
                DeviceFis::SetDeviceBits {
                    interrupt: true,
                    notification: true,
                    status: Status::DRDY,
                    error: Error::empty(),
                    active: 0,
                },
            );
        }
        if self.random.chance(30) {
            link.unknown_fis(&[0xc7; 8]);
        }
    }
    fn next_wakeup(&self) -> Option<Nanos> {
        None
    }
    fn engine_status(&self, _now: Nanos) -> Option<EngineStatus> {
        None
    }
}

/// What an event may do to the interrupt beyond what ports have to say.
#[derive(Default)]
struct Effects {
    /// PxIS of these ports was written.
    pxis: u32,
    /// IS was written with this.
    is: Option<u32>,
    /// The guest has allocated another number of messages.
    allocated: bool,
    /// The port, or all with bit 31, was stopped or reset by software: bits may fall.
    forgets: u32,
}

/// CCC_CTL and CCC_PORTS as 11 has them.
#[derive(Default)]
struct Ccc {
    enabled: bool,
    timeout_ns: u64,
    wanted: u64,
    ports: u32,
    complete: u64,
    left_ns: u64,
    runs: bool,
}

struct World {
    hba: Hba,
    memory: Marked,
    now: Nanos,
    random: Random,
    on_port: [Option<Arc<Mutex<Known>>>; PORT_COUNT],
    behind: [Option<Arc<Mutex<Known>>>; BEHIND as usize],
    multiplier_there: bool,
    serials: u64,
    commands: u64,
    /// For whom each command was meant: the serial, 0 for nobody; and whether that binds the HBA.
    meant: HashMap<u64, (u64, bool)>,
    slots: u32,
    messages: u32,
    is: u32,
    enabled: bool,
    pending: u32,
    ccc: Ccc,
    completed: [u64; PORT_COUNT],
    resets: [u64; PORT_COUNT],
    lists: [(u32, u32); PORT_COUNT],
    when: Nanos,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let hot_plug = [HotPlug::None, HotPlug::PresenceSwitch, HotPlug::ColdPresence];
        let config = HbaConfig {
            command_slots: if random.chance(2) { 32 } else { 19 },
            staggered_spin_up: random.chance(2),
            hot_plug: hot_plug[random.below(3) as usize],
        };
        let now = Nanos(1_000 * MILLISECOND);
        let hba = Hba::new(config, vec![None, None, None, None], now);
        let bytes = RefCell::new(vec![0; (REGION * PORT_COUNT as u64) as usize]);
        let mut world = Self {
            hba,
            memory: Marked { bytes, written: Cell::new(0), unmapped: Cell::new(false) },
            now,
            random,
            on_port: [const { None }; PORT_COUNT],
            behind: [const { None }; BEHIND as usize],
            multiplier_there: false,
            serials: 0,
            commands: 0,
            meant: HashMap::new(),
            slots: u32::MAX >> (32 - u32::from(config.command_slots)),
            messages: 0,
            is: 0,
            enabled: false,
            pending: 0,
            ccc: Ccc::default(),
            completed: [0; PORT_COUNT],
            resets: [0; PORT_COUNT],
            lists: [(0, 0); PORT_COUNT],
            when: now,
        };
        for port in 0..PORT_COUNT {
            world.attach(port);
            world.bring_up(port);
        }
        world
    }

    // --- access ------------------------------------------------------------------------------

    fn read(&mut self, offset: u32) -> u32 {
        let mut bytes = [0; 4];
        self.hba.mmio_read(offset.into(), &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn px(&mut self, port: usize, register: u32) -> u32 {
        self.read(PORTS + port as u32 * PORT_STRIDE + register)
    }

    /// A register write, as one event.
    fn write(&mut self, offset: u32, value: u32) {
        self.write_bytes(offset, &value.to_le_bytes());
    }

    fn write_bytes(&mut self, offset: u32, bytes: &[u8]) {
        let mut effects = Effects::default();
        let (dword, within) = (offset & !3, (offset % 4) as usize);
        let mut value = [0; 4];
        value[within..within + bytes.len()].copy_from_slice(bytes);
        let value = u32::from_le_bytes(value);
        let writes_low = within == 0;
        match dword {
            GHC if writes_low && value & 1 != 0 => {
                effects.forgets = u32::MAX;
                self.is = 0;
                self.ccc = Ccc::default();
            }
            IS => effects.is = Some(value),
            PORTS.. => {
                let port = (dword - PORTS) / PORT_STRIDE;
                match (dword - PORTS) % PORT_STRIDE {
                    PX_IS => effects.pxis = 1 << port,
                    PX_CMD | PX_SCTL | PX_FBS => effects.forgets = 1 << port,
                    _ => {}
                }
            }
            _ => {}
        }
        self.hba.mmio_write(offset.into(), bytes, self.now, &self.memory);
        if matches!(dword, CCC_CTL | CCC_PORTS) {
            self.follow_ccc(dword);
        }
        self.check(&effects);
    }

    fn write_px(&mut self, port: usize, register: u32, value: u32) {
        self.write(PORTS + port as u32 * PORT_STRIDE + register, value);
    }

    fn follow_ccc(&mut self, register: u32) {
        let control = self.read(CCC_CTL);
        if register == CCC_PORTS {
            self.ccc.ports = self.read(CCC_PORTS);
        } else if !self.ccc.enabled {
            self.ccc.timeout_ns = u64::from(control >> 16) * MILLISECOND;
            self.ccc.left_ns = self.ccc.timeout_ns;
            self.ccc.wanted = u64::from(control >> 8 & 0xff);
            (self.ccc.complete, self.ccc.runs) = (0, false);
        }
        self.ccc.enabled = control & 1 != 0;
    }

    // --- what people do ----------------------------------------------------------------------

    fn device(&mut self) -> (Box<dyn Device>, Arc<Mutex<Known>>) {
        self.serials += 1;
        let known = Arc::new(Mutex::new(Known { serial: self.serials, ..Known::default() }));
        let random = Random(self.random.below(u64::MAX));
        (Box::new(Chaotic { random, known: Arc::clone(&known) }), known)
    }

    fn attach(&mut self, port: usize) {
        if self.on_port[port].is_some() || port == MULTIPLIED && self.multiplier_there {
            return;
        }
        let attachment = if port == MULTIPLIED {
            let devices = (0..BEHIND).map(|at| {
                let (device, known) = self.device();
                self.behind[usize::from(at)] = Some(known);
                Some(device)
            });
            let devices = devices.collect();
            self.multiplier_there = true;
            Attachment::from(PortMultiplier::new(devices))
        } else {
            let (device, known) = self.device();
            self.on_port[port] = Some(known);
            Attachment::from(device)
        };
        let attached = self.hba.attach(port, attachment, self.now, &self.memory);
        assert!(attached.is_ok());
        self.check(&Effects::default());
    }

    fn detach(&mut self, port: usize) {
        drop(self.hba.detach(port, self.now));
        let mut gone: Vec<_> = self.on_port[port].take().into_iter().collect();
        if port == MULTIPLIED {
            self.multiplier_there = false;
            gone.extend(self.behind.iter_mut().filter_map(Option::take));
        }
        for known in gone {
            assert!(known.lock().expect("known").held.is_empty(), "C1: cancelled at once");
        }
        self.check(&Effects::default());
    }

    fn plug_or_unplug(&mut self, pm_port: u8) {
        let at = usize::from(pm_port);
        if let Some(known) = self.behind[at].take() {
            let gone = self.hba.unplug_behind(MULTIPLIED, pm_port, self.now, &self.memory);
            assert!(gone.is_some() && known.lock().expect("known").held.is_empty());
        } else if self.multiplier_there {
            let (device, known) = self.device();
            let now = self.now;
            let plugged = self.hba.plug_behind(MULTIPLIED, pm_port, device, now, &self.memory);
            assert!(plugged.is_ok());
            self.behind[at] = Some(known);
        }
        self.check(&Effects::default());
    }

    // --- what software does ------------------------------------------------------------------

    fn place(&mut self, port: usize) {
        let base = (port as u64 * REGION) as u32;
        self.write_px(port, PX_CLB, base);
        self.write_px(port, PX_FB, base + FIS_AREA as u32);
    }

    fn bring_up(&mut self, port: usize) {
        self.write_px(port, PX_CMD, 0);
        self.place(port);
        self.write_px(port, PX_SCTL, 1);
        self.write_px(port, PX_SCTL, 0);
        self.write_px(port, PX_SERR, u32::MAX);
        self.write_px(port, PX_IE, u32::MAX);
        let mut cmd = PxCmd::FRE | PxCmd::SUD | PxCmd::POD | PxCmd::CLO;
        cmd.set(PxCmd::PMA, port == MULTIPLIED);
        self.write_px(port, PX_CMD, cmd.bits());
        if port == MULTIPLIED && self.random.chance(2) {
            self.write_px(port, PX_FBS, 1);
        }
        self.write_px(port, PX_CMD, (cmd - PxCmd::CLO).union(PxCmd::ST).bits());
        if port == MULTIPLIED {
            for (pm_port, register, value) in [
                (15, GSCR_ERROR_ENABLE, PxSerr::DIAG_N.bits()),
                (15, GSCR_FEATURES_ENABLE, FEATURE_NOTIFY),
            ] {
                self.write_multiplier(pm_port, register, value);
            }
            (0..BEHIND).for_each(|pm_port| self.reset_behind(pm_port));
        }
    }

    fn reset_behind(&mut self, pm_port: u8) {
        self.write_multiplier(pm_port, PSCR_CONTROL, 0x301);
        self.write_multiplier(pm_port, PSCR_CONTROL, 0x300);
        self.write_multiplier(pm_port, PSCR_ERROR, u32::MAX);
    }

    fn write_multiplier(&mut self, pm_port: u8, register: u16, value: u32) {
        let fis = RegisterH2D {
            device: pm_port,
            features: register,
            count: (value & 0xff) as u16,
            lba: u64::from(value >> 8),
            ..command(WRITE_PORT_MULTIPLIER)
        };
        self.issue(MULTIPLIED, 18, CONTROL_PORT, fis);
    }

    /// Puts a command into a slot that is free, and issues it.
    fn issue(&mut self, port: usize, slot: u8, pm_port: u8, fis: RegisterH2D) {
        let used = self.px(port, PX_CI) | self.px(port, PX_SACT);
        if used & 1 << slot != 0 {
            return;
        }
        let base = port as u64 * REGION;
        let table = base + TABLES + u64::from(slot) * TABLE_STRIDE;
        let header_port =
            if self.random.chance(50) { self.random.below(16) as u8 } else { pm_port };
        let flags = 5 | 1 << 16 | u32::from(header_port) << 12 | u32::from(!fis.is_command) << 10;
        let header = [flags, 0, table as u32, 0].map(u32::to_le_bytes).concat();
        self.put(base + u64::from(slot) * COMMAND_HEADER_BYTES, &header);
        self.put(table, &RegisterH2D { pm_port, ..fis }.encode());
        let entry = [(base + DATA) as u32, 0, 0, 0xfff].map(u32::to_le_bytes).concat();
        self.put(table + PRDT_OFFSET_BYTES as u64, &entry);
        if fis.is_command && fis.command == 0x60 {
            self.write_px(port, PX_SACT, 1 << slot);
        }
        if self.px(port, PX_FBS) & 1 != 0 {
            self.write_px(port, PX_FBS, 1 | u32::from(pm_port) << PX_FBS_DEV_SHIFT);
        }
        self.write_px(port, PX_CI, 1 << slot);
    }

    fn put(&self, address: u64, bytes: &[u8]) {
        let at = address as usize;
        self.memory.bytes.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn issue_any(&mut self, port: usize) {
        let slot = self.random.below(32) as u8;
        let mut pm_port = if port == MULTIPLIED { self.random.below(4) as u8 } else { 0 };
        self.commands += 1;
        let opcode = [0x25, 0x60, 0x60][self.random.below(3) as usize];
        let mut fis = RegisterH2D { lba: self.commands, ..command(opcode) };
        if self.random.chance(15) {
            fis.is_command = false;
            fis.control = [0, 4][self.random.below(2) as usize];
        }
        if self.random.chance(40) {
            pm_port = self.random.below(16) as u8;
        }
        let known = match port {
            MULTIPLIED => self.behind.get(usize::from(pm_port)).and_then(Option::as_ref),
            _ => self.on_port[port].as_ref(),
        };
        let serial = known.map_or(0, |known| known.lock().expect("known").serial);
        // Without FIS-based switching the port cannot know whose the commands are that wait.
        let binds = port != MULTIPLIED || self.px(port, PX_FBS) & 1 != 0;
        self.meant.insert(self.commands, (serial, binds));
        self.issue(port, slot, pm_port, fis);
    }

    /// What a handler does, in the one order or the other.
    fn handle(&mut self) {
        let is = self.read(IS);
        if self.random.chance(2) {
            self.write(IS, is);
        }
        for port in 0..PORT_COUNT {
            let pxis = self.px(port, PX_IS);
            self.write_px(port, PX_IS, pxis);
            if self.random.chance(2) {
                self.write_px(port, PX_SERR, u32::MAX);
            }
        }
        self.write(IS, is);
    }

    fn noise(&mut self) {
        let registers = [
            PX_IS, PX_IE, PX_CMD, PX_SCTL, PX_SERR, PX_SACT, PX_CI, PX_SNTF, PX_FBS, PX_DEVSLP,
            PX_TFD, PX_SIG, PX_SSTS,
        ];
        let register = if self.random.chance(4) {
            [IS, GHC, CCC_CTL, CCC_PORTS, EM_CTL, BOHC, CAP, EM_BUFFER]
                [self.random.below(8) as usize]
        } else {
            let port = self.random.below(PORT_COUNT as u64) as u32;
            PORTS + port * PORT_STRIDE + registers[self.random.below(13) as usize]
        };
        let value = match self.random.below(3) {
            0 => 1 << self.random.below(32),
            1 => self.random.below(1 << 32) as u32 & self.random.below(1 << 32) as u32,
            _ => self.random.below(1 << 32) as u32,
        };
        // A command that is issued by itself is one that the slot had once.
        if matches!((register.wrapping_sub(PORTS)) % PORT_STRIDE, PX_CI | PX_SACT) {
            self.meant.values_mut().for_each(|meant| meant.1 = false);
        }
        if self.random.chance(3) {
            let within = self.random.below(4) as u32;
            self.write_bytes(register + within, &[value as u8]);
        } else {
            self.write(register, value);
        }
    }

    fn event(&mut self) {
        let port = self.random.below(PORT_COUNT as u64) as usize;
        match self.random.below(38) {
            36 if self.random.chance(3) => {
                self.hba.reset_function(self.now);
                (self.is, self.messages, self.ccc) = (0, 0, Ccc::default());
                self.check(&Effects { forgets: u32::MAX, ..Effects::default() });
                // Each port's memory tells who has written to it.
                (0..PORT_COUNT).for_each(|port| self.place(port));
            }
            37 => self.memory.unmapped.set(!self.memory.unmapped.get() && self.random.chance(3)),
            0 => self.detach(port),
            1 | 2 => self.attach(port),
            3 | 4 => {
                let pm_port = self.random.below(u64::from(BEHIND)) as u8;
                self.plug_or_unplug(pm_port);
            }
            5 => {
                let pm_port = self.random.below(u64::from(BEHIND)) as u8;
                self.reset_behind(pm_port);
            }
            6 | 7 => self.bring_up(port),
            8 => {
                let fbs = self.px(MULTIPLIED, PX_FBS);
                self.write_px(MULTIPLIED, PX_FBS, fbs | PxFbs::DEC.bits());
            }
            9 => {
                let faults = [
                    LinkFault::Drop(self.random.below(20 * MILLISECOND)),
                    LinkFault::Crc,
                    LinkFault::NoSignature,
                    LinkFault::UnknownFis,
                    LinkFault::BadFis,
                    LinkFault::Retry,
                    LinkFault::Stuck,
                    LinkFault::Poison,
                ];
                let fault = faults[self.random.below(8) as usize];
                let _ = self.hba.inject_link_fault(port, fault, self.now);
                self.check(&Effects::default());
            }
            10 => {
                self.hba.release_link_faults(self.now, &self.memory);
                self.check(&Effects::default());
            }
            11 => {
                let before = self.messages;
                self.messages = [0, 1, 2, 4, 8][self.random.below(5) as usize];
                self.hba.set_messages(self.messages);
                let allocated = self.messages != before;
                self.check(&Effects { allocated, ..Effects::default() });
            }
            12 => {
                let timeout = self.random.below(4) as u32;
                let wanted = self.random.below(4) as u32;
                self.write(CCC_CTL, 0);
                self.write(CCC_CTL, timeout << 16 | wanted << 8);
                self.write(CCC_PORTS, self.random.clone().below(16) as u32);
                self.write(CCC_CTL, timeout << 16 | wanted << 8 | 1);
            }
            13 => self.write(GHC, (Ghc::AE | Ghc::IE).bits()),
            14..=16 => self.noise(),
            17..=19 => self.handle(),
            20..=27 => {
                self.now = self.now.plus(self.random.below(2 * MILLISECOND));
                self.hba.poll(self.now, &self.memory);
                self.check(&Effects::default());
            }
            _ => self.issue_any(port),
        }
    }

    // --- what has to hold --------------------------------------------------------------------

    fn check(&mut self, effects: &Effects) {
        let interrupt = self.hba.take_interrupt();
        let status = self.hba.status(self.now);
        let (mut pending, mut outstanding, mut completed) = (0, 0, 0);
        for (port, status) in status.iter().enumerate() {
            let [is, ie, cmd, ssts, tfd, ci, sact] =
                [PX_IS, PX_IE, PX_CMD, PX_SSTS, PX_TFD, PX_CI, PX_SACT].map(|at| self.px(port, at));
            pending |= u32::from(is & ie != 0) << port;
            let st = cmd & PxCmd::ST.bits() != 0;
            assert_eq!(cmd & PxCmd::CR.bits() != 0, st, "port {port}: CR follows ST");
            assert!(st || ci | sact == 0, "port {port}: commands in a list that stands");
            assert!(st || cmd >> PX_CMD_CCS_SHIFT & 0x1f == 0, "port {port}: CCS");
            assert_eq!((ci | sact) & !self.slots, 0, "port {port}: slots that there are not");
            let linked = ssts & 0xf == 3;
            let mut devices: Vec<_> = self.on_port[port].iter().collect();
            if port == MULTIPLIED {
                devices.extend(self.behind.iter().flatten());
            }
            if !linked {
                assert_eq!(tfd & 0xf7, 0x77, "port {port}: a task file without a link");
            }
            for known in devices {
                let known = known.lock().expect("known");
                assert!(linked || known.held.is_empty(), "port {port}: work without a link");
                assert!(st || known.held.is_empty(), "port {port}: work for nobody");
                for number in &known.given {
                    if let Some((serial, true)) = self.meant.get(number) {
                        assert_eq!(*serial, known.serial, "port {port}: another device's command");
                    }
                }
            }
            let written = self.memory.written.get() & 1 << port != 0;
            assert!(linked || !written || effects.forgets != 0, "port {port}: late memory");
            let count = status.counters.completed_total;
            let (ci_before, sact_before) = self.lists[port];
            let fell = (ci_before | sact_before) & !(ci | sact);
            // An SRST may have waited in the list.
            let resets = status.counters.resets_total - self.resets[port];
            self.resets[port] += resets;
            let latest = status.resets.iter().rev().take(resets as usize);
            let srst = latest.into_iter().any(|reset| reset.kind == ResetKind::SoftwareReset);
            if effects.forgets & 1 << port == 0 && !srst {
                let ended = count - self.completed[port];
                assert!(u64::from(fell.count_ones()) <= ended, "port {port}: {fell:#x} fell");
            }
            let selected = self.ccc.ports & 1 << port != 0;
            if selected {
                completed += count - self.completed[port];
                outstanding |= ci | sact;
            }
            self.completed[port] = count;
            self.lists[port] = (ci, sact);
        }
        self.memory.written.set(0);
        for known in self.on_port.iter().chain(&self.behind).flatten() {
            known.lock().expect("known").given.clear();
        }
        let event = self.coalesce(completed, outstanding != 0);
        self.check_interrupt(effects, pending, event, interrupt);
    }

    fn coalesce(&mut self, completed: u64, outstanding: bool) -> u32 {
        let ccc = &mut self.ccc;
        let passed = self.now.since(self.when);
        self.when = self.now;
        if !ccc.enabled {
            return 0;
        }
        ccc.complete += completed;
        if ccc.runs {
            ccc.left_ns = ccc.left_ns.saturating_sub(passed);
        }
        let enough = ccc.wanted > 0 && ccc.complete >= ccc.wanted;
        let late = ccc.runs && ccc.left_ns == 0;
        if enough || late {
            (ccc.complete, ccc.left_ns) = (0, ccc.timeout_ns);
        }
        ccc.runs = ccc.timeout_ns > 0 && (outstanding || ccc.complete > 0);
        if ccc.runs {
            let due = self.now.plus(ccc.left_ns);
            assert!(self.hba.next_wakeup().is_some_and(|at| at <= due), "nobody will look");
        }
        u32::from(enough || late) << PORT_COUNT
    }

    fn check_interrupt(
        &mut self,
        effects: &Effects,
        pending: u32,
        event: u32,
        interrupt: freewheel_ahci::Interrupt,
    ) {
        let enabled = self.read(GHC) & Ghc::IE.bits() != 0;
        let is_before = self.is;
        self.is &= !effects.is.unwrap_or(0);
        self.is |= pending | event;
        let is = self.read(IS);
        assert_eq!(is, self.is, "IS (10.7.1.1)");
        assert_eq!(interrupt.level, enabled && is != 0, "INTA");
        let rose = pending & !self.pending | event;
        let requested = self.hba.messages_requested();
        let all_again = enabled && !self.enabled || effects.allocated;
        let due = if !enabled {
            0
        } else if self.messages < requested {
            let left = effects.is.is_some() || all_again;
            u32::from(is != 0 && (is_before == 0 || left))
        } else {
            let again = pending & (effects.pxis | effects.is.unwrap_or(0));
            rose | again | if all_again { is } else { 0 }
        };
        let sent = interrupt.messages;
        assert_eq!(sent, due, "lost: {:#x}, spurious: {:#x}", due & !sent, sent & !due);
        (self.pending, self.enabled) = (pending, enabled);
    }
}

#[test]
fn registers_interrupts_and_devices_agree_whatever_happens() {
    for seed in 0..400 {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..300 {
                world.event();
            }
            // And afterwards everything works.
            world.memory.unmapped.set(false);
            world.hba.clear_link_faults();
            world.hba.release_link_faults(world.now, &world.memory);
            world.check(&Effects::default());
            for port in 0..PORT_COUNT {
                world.attach(port);
                world.bring_up(port);
                assert_eq!(world.px(port, PX_SSTS) & 0xf, 3, "port {port}");
                let busy = world.px(port, PX_TFD) & 0x80 != 0;
                assert!(!busy || port == MULTIPLIED, "port {port}");
            }
        });
        assert!(result.is_ok(), "seed {seed}");
    }
}
