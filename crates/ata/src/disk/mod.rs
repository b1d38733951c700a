//! An ATA disk: the general feature set, 28 and 48-bit addressing, native command queueing, TRIM,
//! power management, general purpose logging, SMART, security, sanitizing, a protected area and
//! uncorrectable sectors of ACS-4.
//!
//! This file holds what all commands share: the table of slots, how a command is taken, how it
//! ends, and resets. Each family of commands has a file of its own; `command.rs` is their table.
//!
//! # How a command ends
//! Exactly one FIS ends each command, unless a reset (or [`Device::abort_all`]) forgets it:
//!
//! | protocol | ends with | if it fails |
//! |---|---|---|
//! | no data, DMA, PIO to the device | D2H, I = 1 | D2H, I = 1, ERR |
//! | PIO to the host | the last PIO Setup (E_Status without BSY and DRQ) | D2H, I = 1, ERR |
//! | queued | Set Device Bits, I = 1, its bit in ACT | Set Device Bits with ERR, or, before it was accepted, D2H with ERR |
//!
//! # Queued commands
//! DMA Setup FISes are not sent. What a host could see of them is the DSFIS area and PxIS.DSS (only
//! if the I bit is set, which devices do not set); data moves in order and without phases here, so
//! they would say nothing, and would cost a write to guest memory for each command.
//!
//! # The error state of the queue (SATA 3.x, native command queueing)
//! After a queued command failed, or the host broke the rules of the queue, every queued command is
//! cancelled and each further command is aborted until the host reads log 10h or resets. A host
//! that has sent a command into a slot that is still busy with one that is not queued has broken
//! the protocol in a way no FIS can tell apart from noise: that FIS is ignored, as BSY demands.

mod absent;
mod access;
mod background;
mod buffer;
mod command;
mod config;
mod diagnostic;
mod epc;
mod error;
mod features;
mod flush;
mod identify;
mod log;
mod multiple;
mod ncq_dsm;
mod ncq_nondata;
mod power;
mod protected_area;
mod queued;
mod sanitize;
mod saved;
mod security;
mod settings;
mod smart;
mod transfer;
mod trim;
mod uncorrectable;
mod verify;
mod zero;

use alloc::vec::Vec;
use core::mem;

use freewheel_block::{
    ByteRange, Client, Engine, EngineStatus, GuestMemoryError, Nanos, OpError, OpToken, Request,
};

pub use command::command_name;
pub use config::{ConfigError, DiskConfig, Rotation};
pub use protected_area::CapacityControl;
pub use saved::{SAVED_STATE_MAX_BYTES, SavedStateError};

use crate::fis::{CONTROL_SRST, DeviceFis, Error, RegisterH2D, Registers, Status};
use crate::{Device, Link, LinkError};
use background::Background;
use command::{Addressing, Call, Fault, Protocol, Reply};
use config::Shape;
use epc::Epc;
use flush::AfterFlush;
use log::ErrorLog;
use power::PowerUp;
use protected_area::ProtectedArea;
use sanitize::Sanitize;
use saved::{PowerOn, Saved};
use security::Security;
use settings::{Power, PowerMode, Settings};
use smart::Smart;
use transfer::Extent;
use uncorrectable::Uncorrectable;

/// Command slots of a port, and tags of a queue.
const SLOTS: usize = 32;

/// The status of a device at ease.
const READY: Status = Status::DRDY.union(Status::DSC);

/// What a command in a slot waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// The medium's data goes to the host, in DRQ blocks of this size if the protocol is PIO.
    Read { block_bytes: u32 },
    /// The host's data goes to the medium.
    Write { block_bytes: u32 },
    /// The medium's data is read and goes nowhere.
    Verify,
    /// Everything written becomes durable; then comes the rest of the command.
    Flush(AfterFlush),
    /// Ranges are discarded.
    Trim,
    /// A range becomes zeroes.
    Zero,
    /// All user data becomes zeroes, and the user password goes.
    Erase,
    /// A captive self-test, which has the engine on its own account.
    SelfTest,
    /// Nothing: the disk sleeps, and only a reset ends the command.
    Silence,
}

/// A command that has not ended.
#[derive(Clone, Copy)]
struct Pending {
    call: Call,
    work: Work,
    /// Bytes that move, or become zeroes.
    len_bytes: u64,
    /// The sector that cannot be read, where the data ends.
    unreadable: Option<u64>,
    /// The engine's name for it; none while it is being submitted, and for silence.
    token: Option<OpToken>,
}

type Slots = [Option<Pending>; SLOTS];

/// An answer of the engine.
struct Answer {
    token: OpToken,
    tag: u32,
    result: Result<(), OpError>,
}

/// What the engine sees of the host: the slots' data, by way of the link.
struct Lane<'a> {
    link: &'a mut dyn Link,
    slots: &'a Slots,
    background: &'a Background,
    crc_errors: &'a mut u32,
    answers: &'a mut Vec<Answer>,
}

impl Lane<'_> {
    fn work(&self, tag: u32) -> Option<(u8, Work)> {
        let pending = self.slots.get(tag as usize)?.as_ref()?;
        Some((pending.call.slot, pending.work))
    }

    /// The engine only learns that data did not move; why not is kept for the command's end.
    fn note(&mut self, slot: u8, moved: Result<(), LinkError>) -> Result<(), GuestMemoryError> {
        if moved == Err(LinkError::Crc) {
            *self.crc_errors |= 1 << slot;
        }
        moved.map_err(|_| GuestMemoryError)
    }
}

impl Client for Lane<'_> {
    fn gather(&mut self, tag: u32, offset: u64, buf: &mut [u8]) -> Result<(), GuestMemoryError> {
        if tag >= SLOTS as u32 {
            return self.background.gather(tag, offset, buf);
        }
        match self.work(tag) {
            Some((slot, Work::Write { .. })) => {
                let moved = self.link.data_out(slot, offset, buf);
                self.note(slot, moved)
            }
            _ => Err(GuestMemoryError),
        }
    }

    fn scatter(&mut self, tag: u32, offset: u64, buf: &[u8]) -> Result<(), GuestMemoryError> {
        if tag >= SLOTS as u32 {
            return self.background.scatter(tag);
        }
        match self.work(tag) {
            Some((slot, Work::Read { .. })) => {
                let moved = self.link.data_in(slot, offset, buf);
                self.note(slot, moved)
            }
            Some((_, Work::Verify)) => Ok(()),
            _ => Err(GuestMemoryError),
        }
    }

    fn answer(&mut self, token: OpToken, tag: u32, result: Result<(), OpError>) {
        self.answers.push(Answer { token, tag, result });
    }
}

/// An ATA disk on an engine of its own.
pub struct Disk {
    engine: Engine,
    config: DiskConfig,
    shape: Shape,
    settings: Settings,
    power: Power,
    power_up: PowerUp,
    epc: Epc,
    /// What WRITE BUFFER has left.
    buffer: buffer::Buffer,
    slots: Slots,
    background: Background,
    /// Tags of the queued commands that have not ended.
    queued: u32,
    /// Slots whose data was damaged on the link.
    crc_errors: u32,
    error_log: ErrorLog,
    uncorrectable: Uncorrectable,
    security: Security,
    protected_area: ProtectedArea,
    sanitize: Sanitize,
    saved: Saved,
    power_on: PowerOn,
    smart: Smart,
    /// SRST is set.
    held_in_reset: bool,
    /// Something was submitted that the backend has not been told to start.
    kick_due: Option<Nanos>,
    /// Kept for its allocation.
    answers: Vec<Answer>,
}

impl Disk {
    /// A disk on `engine`'s medium, as after power-on; no signature is sent until
    /// [`Device::comreset`]. The engine's `max_operations` should be 34 at least: one for
    /// each slot, and one for each job of `background.rs`.
    pub fn new(config: DiskConfig, mut engine: Engine) -> Result<Self, ConfigError> {
        let shape = config.shape(engine.info())?;
        let settings = Settings::power_on(&config, &shape);
        engine.set_write_through(!settings.write_cache);
        Ok(Self {
            engine,
            config,
            shape,
            settings,
            power: Power::active(Nanos::default()),
            power_up: PowerUp::default(),
            epc: Epc::default(),
            buffer: buffer::EMPTY,
            slots: [None; SLOTS],
            background: Background::default(),
            queued: 0,
            crc_errors: 0,
            error_log: ErrorLog::default(),
            uncorrectable: Uncorrectable::default(),
            security: Security::default(),
            protected_area: ProtectedArea::default(),
            sanitize: Sanitize::default(),
            saved: Saved::new(),
            power_on: PowerOn::first(),
            smart: Smart::default(),
            held_in_reset: false,
            kick_due: None,
            answers: Vec::with_capacity(SLOTS),
        })
    }

    /// The configuration it was built with.
    pub fn config(&self) -> &DiskConfig {
        &self.config
    }

    /// The engine beneath.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Gives the engine back, for an orderly end.
    pub fn into_engine(self) -> Engine {
        self.engine
    }

    // --- what handlers use -------------------------------------------------------------------

    /// Hands `request` to the engine on behalf of `call`.
    fn start(
        &mut self,
        call: &Call,
        work: Work,
        len_bytes: u64,
        mut request: Request,
        link: &mut dyn Link,
    ) -> Reply {
        if !matches!(work, Work::Flush(_)) {
            if self.power_up.is_waiting() {
                return Reply::Fail(Fault::ABORT);
            }
            self.power.enter(PowerMode::Active, call.now);
        }
        if !self.allows(work) {
            return Reply::Fail(Fault::ABORT);
        }
        let unreadable = match self.heed_marks(call.slot, &mut request) {
            Ok(unreadable) => unreadable,
            Err(fault) => return fault.into(),
        };
        let slot = usize::from(call.slot);
        // The engine may ask for the data at once, so the slot has to know whose it is.
        self.slots[slot] = Some(Pending { call: *call, work, len_bytes, unreadable, token: None });
        let mut lane = Lane {
            link,
            slots: &self.slots,
            background: &self.background,
            crc_errors: &mut self.crc_errors,
            answers: &mut self.answers,
        };
        match self.engine.submit(request, call.now, &mut lane) {
            Ok(token) => {
                if let Some(pending) = &mut self.slots[slot] {
                    pending.token = Some(token);
                }
                self.kick_due = Some(call.now);
                Reply::Pending
            }
            Err(error) => {
                self.slots[slot] = None;
                Reply::Fail(error::of_submission(error, self.shape.sectors))
            }
        }
    }

    /// The bytes of `extent`, or IDNF with the first LBA that is not there.
    fn bytes_of(&self, extent: Extent) -> Result<ByteRange, Fault> {
        let sectors = self.shape.sectors;
        let fits = extent.lba < sectors && extent.count <= sectors - extent.lba;
        if !fits {
            return Err(Fault::not_found(extent.lba.max(sectors)));
        }
        let sector_bytes = u64::from(self.shape.sector_bytes);
        Ok(ByteRange::new(extent.lba * sector_bytes, extent.count * sector_bytes))
    }

    /// How many sectors the medium has, those included that the host cannot reach.
    fn native_sectors(&self) -> u64 {
        self.engine.info().size_bytes / u64::from(self.shape.sector_bytes)
    }

    /// Accepts a queued command: its slot is free for the host's purposes, the data comes later.
    fn accept_queued(&mut self, call: &Call, link: &mut dyn Link) {
        self.queued |= 1 << call.slot;
        let registers = self.registers(call, READY, Error::empty(), None);
        link.fis(Some(call.slot), DeviceFis::RegisterD2H { interrupt: false, registers });
    }

    // --- how commands end --------------------------------------------------------------------

    /// The registers that `call` ends with.
    fn registers(
        &self,
        call: &Call,
        status: Status,
        error: Error,
        failed_lba: Option<u64>,
    ) -> Registers {
        let (lba, device) = transfer::registers_of_lba(call, failed_lba, self.settings.geometry);
        Registers { status, error, lba, device, count: 0 }
    }

    fn end(&self, call: &Call, registers: Registers, link: &mut dyn Link) {
        link.fis(Some(call.slot), DeviceFis::RegisterD2H { interrupt: true, registers });
    }

    fn end_well(&self, call: &Call, link: &mut dyn Link) {
        let registers = self.registers(call, READY, Error::empty(), None);
        self.end(call, registers, link);
    }

    fn end_badly(&mut self, call: &Call, fault: Fault, link: &mut dyn Link) {
        let registers = self.registers(call, READY | fault.status, fault.error, fault.lba);
        self.note_failure(call, &fault, &registers);
        self.end(call, registers, link);
    }

    fn reply(&mut self, call: &Call, reply: Reply, link: &mut dyn Link) {
        match reply {
            Reply::Pending => {}
            Reply::Good => self.end_well(call, link),
            Reply::GoodCount(count) => {
                let registers = self.registers(call, READY, Error::empty(), None);
                self.end(call, Registers { count, ..registers }, link);
            }
            Reply::GoodLba { lba, count } => {
                let registers = self.registers(call, READY, Error::empty(), Some(lba));
                self.end(call, Registers { count, ..registers }, link);
            }
            Reply::GoodKey(lba) => {
                let registers = self.registers(call, READY, Error::empty(), None);
                self.end(call, Registers { lba, ..registers }, link);
            }
            Reply::Signature => self.end(call, signature(), link),
            Reply::Data(data) => match link.data_in(call.slot, 0, &data) {
                Err(failure) => self.end_badly(call, error::of_link(failure), link),
                Ok(()) if call.row.protocol == Protocol::Dma => self.end_well(call, link),
                Ok(()) => self.pio_to_host(call, 512, data.len() as u64, link),
            },
            Reply::Fail(fault) if call.row.protocol == Protocol::Queued => {
                self.refuse_queued(call, fault, link);
            }
            Reply::Fail(fault) => self.end_badly(call, fault, link),
        }
    }

    /// Ends a command of which the engine says how it went.
    fn finish(
        &mut self,
        pending: &Pending,
        result: Result<(), Fault>,
        now: Nanos,
        link: &mut dyn Link,
    ) {
        let call = &pending.call;
        if let Work::Flush(after) = pending.work {
            self.after_flush(after, result.is_ok(), now);
        }
        if let Err(fault) = result {
            if let Work::Flush(_) = pending.work {
                self.note_failed_flush(call, &fault);
            }
            return self.end_badly(call, fault, link);
        }
        if pending.work == Work::Erase {
            self.erased();
        }
        let is_pio = matches!(call.row.protocol, Protocol::Pio | Protocol::PioMultiple);
        match pending.work {
            Work::Read { block_bytes } if is_pio => {
                self.pio_to_host(call, block_bytes, pending.len_bytes, link);
            }
            Work::Write { block_bytes } if is_pio => {
                self.pio_from_host_rest(call, block_bytes, pending.len_bytes, link);
                if verify::verifies_what_it_wrote(call) {
                    let reply = verify::read_verify(self, call, link);
                    return self.reply(call, reply, link);
                }
                self.end_well(call, link);
            }
            _ => self.end_well(call, link),
        }
    }

    // --- the queue ---------------------------------------------------------------------------

    /// Ends a command that breaks the queue before it was accepted. Everything queued goes.
    fn refuse_queued(&mut self, call: &Call, fault: Fault, link: &mut dyn Link) {
        let registers = self.registers(call, READY | fault.status, fault.error, fault.lba);
        self.note_failure(call, &fault, &registers);
        let tag = (call.row.protocol == Protocol::Queued).then(|| queued::tag(&call.fis));
        self.error_log.record(tag, &registers, call.fis.count);
        self.drop_queue(call.now);
        self.end(call, registers, link);
    }

    /// Ends what completed in one poll, and, if one failed, that one and the whole queue with it.
    fn end_queued(
        &mut self,
        completed: u32,
        failed: Option<(Call, Fault)>,
        now: Nanos,
        link: &mut dyn Link,
    ) {
        let mut status = READY;
        let mut error = Error::empty();
        if let Some((call, fault)) = failed {
            status |= fault.status;
            error = fault.error;
            let registers = self.registers(&call, status, error, fault.lba);
            self.note_failure(&call, &fault, &registers);
            self.error_log.record(Some(call.slot), &registers, call.fis.count);
            self.drop_queue(now);
        } else if completed == 0 {
            return;
        }
        link.fis(
            None,
            DeviceFis::SetDeviceBits {
                interrupt: true,
                notification: false,
                status,
                error,
                active: completed,
            },
        );
    }

    fn drop_queue(&mut self, now: Nanos) {
        for slot in 0..SLOTS {
            if self.queued & 1 << slot != 0 {
                self.cancel_slot(slot, now);
            }
        }
        self.queued = 0;
    }

    // --- cancelling --------------------------------------------------------------------------

    fn cancel_slot(&mut self, slot: usize, now: Nanos) {
        self.crc_errors &= !(1 << slot);
        if let Some(token) = self.slots[slot].take().and_then(|pending| pending.token) {
            self.engine.cancel(token, now);
        }
    }

    /// Forgets every command of the host, whatever the storage does (C1), and says how many there were.
    fn cancel_everything(&mut self, now: Nanos) -> usize {
        let count = self.slots.iter().flatten().count();
        for slot in 0..SLOTS {
            self.cancel_slot(slot, now);
        }
        self.queued = 0;
        self.interrupt_captive_self_test(now);
        self.smart.note_cancelled(count);
        // A cancelled SET FEATURES may have changed the engine before the setting.
        self.engine.set_write_through(!self.settings.write_cache);
        count
    }

    fn send_signature(&mut self, link: &mut dyn Link) {
        link.fis(None, DeviceFis::RegisterD2H { interrupt: true, registers: signature() });
    }

    fn has_unqueued(&self) -> bool {
        self.slots.iter().flatten().any(|pending| pending.call.row.protocol != Protocol::Queued)
    }
}

/// What an ATA device shows after a reset (ACS-4, device signatures): error 01h is "no fault".
fn signature() -> Registers {
    Registers { status: READY, error: Error::from_bits_retain(1), lba: 1, device: 0, count: 1 }
}

impl Device for Disk {
    fn execute(
        &mut self,
        slot: u8,
        command: &RegisterH2D,
        _packet: &[u8; 16],
        now: Nanos,
        link: &mut dyn Link,
    ) {
        if usize::from(slot) >= SLOTS || self.held_in_reset {
            return;
        }
        let row = command::lookup(command.command).unwrap_or(&ABORTED);
        let call = Call { slot, fis: *command, row, now };
        let is_queued = row.protocol == Protocol::Queued;
        let occupied = self.slots[usize::from(slot)].is_some();
        if occupied && self.queued & 1 << slot == 0 {
            return;
        }
        self.power_on.begin(now);
        self.smart.note_command(command, self.power_on.cycle_ms(now));
        if self.power.mode(None, now) == PowerMode::Sleep {
            let (work, len_bytes) = (Work::Silence, 0);
            let silence = Pending { call, work, len_bytes, unreadable: None, token: None };
            self.slots[usize::from(slot)] = Some(silence);
            return;
        }
        if self.error_log.blocks_commands() && !log::reads_error_log(&call) {
            return self.end_badly(&call, Fault::ABORT, link);
        }
        if self.queued != 0 && (occupied || !is_queued) {
            // A tag in use, or a command of another kind among queued ones (SATA 3.x, native
            // command queueing).
            return self.refuse_queued(&call, Fault::ABORT, link);
        }
        if self.has_unqueued() {
            return self.end_badly(&call, Fault::ABORT, link);
        }
        self.before_command(&call);
        let reply = match self.refusal(&call) {
            Some(fault) => Reply::Fail(fault),
            None => (row.run)(self, &call, link),
        };
        self.reply(&call, reply, link);
    }

    fn control(&mut self, control: u8, now: Nanos, link: &mut dyn Link) {
        let srst = control & CONTROL_SRST != 0;
        let was_held = mem::replace(&mut self.held_in_reset, srst);
        if srst {
            if !freewheel_block::sabotaged!(SrstForgetsCommands) {
                self.cancel_everything(now);
            }
            self.interrupt_self_test(now);
            self.error_log = ErrorLog::default();
            self.power.reset();
        } else if was_held {
            if self.settings.revert {
                self.restore_settings();
            }
            self.send_signature(link);
        }
    }

    fn comreset(&mut self, now: Nanos, link: &mut dyn Link) {
        self.cancel_everything(now);
        self.interrupt_self_test(now);
        self.smart.note_comreset();
        self.held_in_reset = false;
        self.error_log = ErrorLog::default();
        self.power_on.begin(now);
        self.power.reset();
        let preserve = self.settings.preserve;
        if !preserve {
            self.restore_settings();
            self.security.lose_volatile_state();
        }
        self.reset_accessible_sectors(preserve);
        self.sanitize.reset_by_hardware();
        self.send_signature(link);
    }

    fn abort_all(&mut self, now: Nanos) -> usize {
        // The error state of the queue stays: hosts stop the port, start it, and read log 10h.
        self.cancel_everything(now)
    }

    fn poll(&mut self, now: Nanos, link: &mut dyn Link) {
        if self.kick_due.take().is_some() {
            self.engine.kick(now);
        }
        let mut answers = mem::take(&mut self.answers);
        let crc_errors = &mut self.crc_errors;
        let (slots, background) = (&self.slots, &self.background);
        let mut lane = Lane { link, slots, background, crc_errors, answers: &mut answers };
        self.engine.poll(now, &mut lane);

        let mut completed = 0;
        let mut failed = None;
        for answer in answers.drain(..) {
            if let Some(job) = self.background.take(answer.tag, answer.token) {
                self.background_ended(job, answer.result, now, link);
                continue;
            }
            let Some(entry) = self.slots.get_mut(answer.tag as usize) else { continue };
            // The engine answers nothing that was cancelled; that the token is right costs
            // nothing to check, and a mistake here would end another command (C2).
            let Some(pending) = entry.take_if(|it| {
                it.token == Some(answer.token) || freewheel_block::sabotaged!(AnswerAfterCancel)
            }) else {
                continue;
            };
            let damaged = self.crc_errors & 1 << pending.call.slot != 0;
            self.crc_errors &= !(1 << pending.call.slot);
            let result = answer.result.map_err(|it| match damaged {
                true => Fault::INTERFACE_CRC,
                false => error::of_operation(it, pending.work, &self.shape),
            });
            if self.uncorrectable.end_repair(pending.call.slot, result.is_ok()) {
                self.saved.note_change();
            }
            let result = result.and_then(|()| match pending.unreadable {
                Some(lba) => Err(uncorrectable::unreadable(lba)),
                None => Ok(()),
            });
            if result.is_ok() {
                self.note_success(&pending);
            }
            if pending.call.row.protocol != Protocol::Queued {
                self.finish(&pending, result, now, link);
                continue;
            }
            self.queued &= !(1 << pending.call.slot);
            if let Work::Flush(after) = pending.work {
                self.after_flush(after, result.is_ok(), now);
            }
            match result {
                Ok(()) => completed |= 1 << pending.call.slot,
                // The log has room for one; the others that failed count as aborted with it.
                Err(fault) => failed = failed.or(Some((pending.call, fault))),
            }
        }
        self.answers = answers;
        self.end_queued(completed, failed, now, link);
        self.run_background(now, link);
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        let due = [self.kick_due, self.engine.next_wakeup(), self.background_wakeup()];
        due.into_iter().flatten().min()
    }

    fn engine_status(&self, now: Nanos) -> Option<EngineStatus> {
        Some(self.engine.status(now))
    }

    fn engine_mut(&mut self) -> Option<&mut Engine> {
        Some(&mut self.engine)
    }

    fn retire(&mut self, now: Nanos) {
        self.stop_background(now);
    }

    fn take_saved_state(&mut self, now: Nanos) -> Option<Vec<u8>> {
        self.take_changed_state(now)
    }

    fn saved_state(&self, now: Nanos) -> Option<Vec<u8>> {
        Some(self.encode_state(now))
    }
}

/// The row of every opcode that has none.
static ABORTED: command::Row = command::Row {
    opcode: 0,
    name: "",
    protocol: Protocol::NonData,
    addressing: Addressing::Bits48,
    run: |_, _, _| Reply::Fail(Fault::ABORT),
};
