//! Disks and drives that come and go, and media, while the controller runs.
//!
//! Nothing here waits: images are opened by the [`Opener`], and what is taken off goes into
//! [`Custody`] with whatever its storage still owes (contract C1, C4). A request that cannot be
//! answered at once has a [`Ticket`], and its answer comes from a later turn of the loop.

mod leaving;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use freewheel_ahci::{Attachment, Hba};
use freewheel_ata::Device;
use freewheel_block::Nanos;
use rustix::event::epoll;
use serde_json::{Value, json};

use super::controller::{Bus, Controller};
use super::custody::{Case, Custody, Held, Waiter};
use super::opener::{Claim, Claims, Job, OpenDevice, Opened, Opener};
use super::unit::{Image, Unit};
use super::{Source, ports, shutdown, watch};
use crate::cdrom::{BLOCK_BYTES, CdromSpec};
use crate::disk::DiskSpec;
use crate::exit::UserError;
use crate::place::Place;
use leaving::Leaving;

/// Images that are being opened at a time.
const OPENING_MAX: usize = 8;
/// Images in custody beyond which none is opened: each has buffers (contract C6).
const CUSTODY_MAX: usize = 32;
/// How long an image that was closed just now may still be locked.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Whom an answer is for.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) client: u64,
    /// The request's; a notification has none, and is never answered.
    pub(super) id: Option<Value>,
}

/// Why something was not done, for people.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) cause: String,
    pub(super) remedy: String,
}

impl Refusal {
    pub(super) fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: remedy.into() }
    }
}

impl From<UserError> for Refusal {
    fn from(error: UserError) -> Self {
        Self { cause: error.cause, remedy: error.remedy }
    }
}

/// An answer that comes later.
pub(super) type Answer = Result<Value, Refusal>;

/// What the loop lends.
pub(super) struct Bench<'a> {
    pub(super) controller: &'a mut Controller,
    pub(super) memory: Bus<'a>,
    pub(super) epoll: BorrowedFd<'a>,
}

/// Something that is being opened.
pub(super) struct Opening {
    job: u64,
    ticket: Ticket,
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) since: Nanos,
}

/// Everything on the controller, on its way there, and on its way off.
pub(super) struct Plugs {
    pub(super) units: Vec<Unit>,
    pub(super) custody: Custody,
    pub(super) opening: Vec<Opening>,
    leaving: Vec<Leaving>,
    opener: Opener,
    jobs: u64,
    port_count: usize,
    /// The ports with port multipliers, which stay.
    multipliers: Vec<usize>,
    answers: Vec<(Ticket, Answer)>,
}

impl Plugs {
    pub(super) fn new(units: Vec<Unit>, opener: Opener, port_count: usize) -> Self {
        let behind = units.iter().filter(|unit| unit.place.pm_port.is_some());
        let multipliers = behind.map(|unit| unit.place.port).collect();
        Self {
            units,
            multipliers,
            custody: Custody::default(),
            opening: Vec::new(),
            leaving: Vec::new(),
            opener,
            jobs: 0,
            port_count,
            answers: Vec::new(),
        }
    }

    /// To be watched, as [`Source::Opener`].
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.opener.fd()
    }

    /// Answers that have come.
    pub(super) fn take_answers(&mut self) -> Vec<(Ticket, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// Where the unit at `place` is.
    fn find(&self, place: Place) -> Result<usize, Refusal> {
        let here = |unit: &Unit| unit.place == place;
        self.units.iter().position(here).ok_or_else(|| {
            let there: Vec<String> = self.units.iter().map(|unit| unit.place.to_string()).collect();
            let remedy = match there.is_empty() {
                true => "all ports are empty".to_owned(),
                false => format!("use one of: {}", there.join(", ")),
            };
            Refusal::new(format!("there is no disk and no drive on port {place}"), remedy)
        })
    }

    // --- onto the controller -----------------------------------------------------------------

    /// Opens a disk and attaches it.
    pub(super) fn attach_disk(
        &mut self,
        spec: DiskSpec,
        ticket: Ticket,
        now: Nanos,
    ) -> Result<(), Refusal> {
        let place = self.free_place(spec.port)?;
        if place.pm_port.is_some() && spec.has_link_faults() {
            let remedy = "add it to the port of the port multiplier with `freewheel ctl fault add`";
            return Err(Refusal::new(super::link_fault_behind(place), remedy));
        }
        let path = spec.path.display().to_string();
        self.order(Job::Disk(Box::new(spec)), place, path, ticket, now)
    }

    /// Opens a drive's first medium, if it has one, and attaches the drive.
    pub(super) fn attach_drive(
        &mut self,
        spec: CdromSpec,
        ticket: Ticket,
        now: Nanos,
    ) -> Result<(), Refusal> {
        let place = self.free_place(spec.port.map(Place::on_port))?;
        let path = spec.path.as_ref().map_or(String::new(), |path| path.display().to_string());
        self.order(Job::Drive(Box::new(spec), place.port), place, path, ticket, now)
    }

    /// Opens a medium and puts it into the drive at `place`.
    pub(super) fn insert(
        &mut self,
        place: Place,
        path: PathBuf,
        ticket: Ticket,
        controller: &mut Controller,
    ) -> Result<(), Refusal> {
        let unit = &self.units[self.find(place)?];
        let Some(options) = unit.drive.clone() else {
            return Err(no_drive(place));
        };
        check_free(unit, controller)?;
        if self.opening.iter().any(|opening| opening.place == place) {
            let cause = format!("another medium for port {place} is being opened");
            return Err(Refusal::new(cause, "wait for it (`freewheel ctl status`, `opening`)"));
        }
        let name = path.display().to_string();
        let now = controller.clock.now();
        self.order(Job::Medium(path, options), place, name, ticket, now)
    }

    /// A place on which nothing is, nor will be.
    fn free_place(&self, wanted: Option<Place>) -> Result<Place, Refusal> {
        let of_units = self.units.iter().map(|unit| unit.place);
        let taken: Vec<Place> =
            of_units.chain(self.opening.iter().map(|opening| opening.place)).collect();
        let Some(place) = wanted else {
            let multipliers = self.multipliers.iter().map(|port| Place::on_port(*port));
            let taken: Vec<Place> = taken.into_iter().chain(multipliers).collect();
            return ports::next_free(self.port_count, &taken).ok_or_else(|| {
                let cause = format!("all {} ports are taken", self.port_count);
                Refusal::new(
                    cause,
                    "detach something, or start `freewheel serve` with more --ports",
                )
            });
        };
        if place.port >= self.port_count {
            let cause = format!("there is no port {}", place.port);
            let last = self.port_count - 1;
            return Err(Refusal::new(cause, format!("use one of the ports 0 to {last}")));
        }
        if self.multipliers.contains(&place.port) != place.pm_port.is_some() {
            let port = place.port;
            return Err(if place.pm_port.is_some() {
                let cause = format!("there is no port multiplier on port {port}");
                Refusal::new(cause, "port multipliers are there from the start, or not at all")
            } else {
                let cause = format!("on port {port} is a port multiplier");
                Refusal::new(cause, format!("use one of its ports, such as {port}.0"))
            });
        }
        match taken.iter().find(|other| place.excludes(**other)) {
            Some(other) => {
                let cause = format!("port {place}: there is something on port {other} already");
                Err(Refusal::new(cause, "detach that first, or choose another port"))
            }
            None => Ok(place),
        }
    }

    fn order(
        &mut self,
        job: Job,
        place: Place,
        path: String,
        ticket: Ticket,
        now: Nanos,
    ) -> Result<(), Refusal> {
        if self.opening.len() >= OPENING_MAX {
            let cause = format!("{OPENING_MAX} images are being opened already");
            return Err(Refusal::new(cause, "check their storage (`freewheel ctl status`)"));
        }
        if self.custody.len() >= CUSTODY_MAX {
            let cause = format!("the storage of {CUSTODY_MAX} images that are off is not settled");
            return Err(Refusal::new(cause, "check it (`freewheel ctl status`, `custody`)"));
        }
        self.jobs += 1;
        let claims = self.claims(now);
        self.opener.order(self.jobs, job, claims);
        self.opening.push(Opening { job: self.jobs, ticket, place, path, since: now });
        Ok(())
    }

    fn claims(&mut self, now: Nanos) -> Claims {
        let mut images = self.custody.claims(now);
        images.extend(self.units.iter().filter_map(|unit| {
            let image = unit.image.as_ref()?;
            Some(Claim {
                identity: image.identity?,
                read_only: image.read_only,
                why: format!("{} is on port {} already", image.path, unit.place),
                remedy: "detach it first, or use another image",
            })
        }));
        let of_units = self.units.iter().filter_map(|unit| unit.state.as_ref());
        let writers = of_units.chain(self.custody.writers());
        let state_files = writers.map(|writer| writer.path().to_owned()).collect();
        Claims { images, state_files, patience: LOCK_PATIENCE }
    }

    /// Takes what the opener has done.
    pub(super) fn take_opened(&mut self, bench: &mut Bench<'_>) {
        for (job, outcome) in self.opener.outcomes() {
            let Some(index) = self.opening.iter().position(|opening| opening.job == job) else {
                continue; // the service ends
            };
            let Opening { ticket, place, .. } = self.opening.remove(index);
            let answer = match outcome {
                Ok(Opened::Device(open)) => self.plug(*open, place, bench),
                Ok(Opened::Medium(engine, image)) => self.load(*engine, image, place, bench),
                Err(error) => Err(error.into()),
            };
            self.answers.push((ticket, answer));
        }
    }

    fn plug(&mut self, mut open: OpenDevice, place: Place, bench: &mut Bench<'_>) -> Answer {
        let link_faults = std::mem::take(&mut open.link_faults);
        let (device, unit) = open.at(place);
        let memory = &bench.memory;
        let attach = |hba: &mut Hba, now| match place.pm_port {
            None => hba
                .attach(place.port, device.into(), now, memory)
                .map_err(|_| format!("port {place}: there is something on it already")),
            Some(pm_port) => hba
                .plug_behind(place.port, pm_port, device, now, memory)
                .map_err(|error| format!("port {place}: {error}")),
        };
        let attached = bench.controller.timed(attach);
        attached.map_err(|cause| Refusal::new(cause, "choose another port"))?;
        if let Some(image) = &unit.image {
            watch_image(bench.epoll, image);
        }
        for fault in link_faults {
            let inject = |hba: &mut Hba, now| hba.inject_link_fault(place.port, fault, now);
            if let Err(error) = bench.controller.timed(inject) {
                tracing::warn!("port {place}: {error}");
            }
        }
        tracing::info!("port {place}: {} attached", unit.name());
        let path = unit.image.as_ref().map(|image| image.path.clone());
        self.units.push(unit);
        Ok(json!({ "port": place.to_string(), "path": path }))
    }

    /// Puts a medium into a drive. What lies in an open tray makes room for it.
    fn load(
        &mut self,
        engine: freewheel_block::Engine,
        image: Image,
        place: Place,
        bench: &mut Bench<'_>,
    ) -> Answer {
        let index = self.find(place)?;
        check_free(&self.units[index], bench.controller)?;
        let path = image.path.clone();
        // Its old medium stays if the new one is refused.
        let fits = drive_of(bench.controller, place).ok_or_else(|| no_drive(place))?;
        let sectors = engine.info().size_bytes / BLOCK_BYTES;
        if !(1..=u64::from(u32::MAX)).contains(&sectors) {
            let why =
                format!("{path}: a medium has at least one block of 2048 bytes, at most 8 TiB");
            return Err(Refusal::new(why, "choose another image"));
        }
        if fits.has_medium() {
            self.unload(index, true, bench)?;
        }
        let drive = drive_of(bench.controller, place).ok_or_else(|| no_drive(place))?;
        crate::cdrom::insert(drive, engine, std::path::Path::new(&path))?;
        watch_image(bench.epoll, &image);
        tracing::info!("port {place}: {path} inserted");
        self.units[index].image = Some(image);
        Ok(json!({ "port": place.to_string(), "path": path }))
    }

    // --- off the controller ------------------------------------------------------------------

    /// Takes the medium out of the drive at `place`, at once.
    pub(super) fn eject(&mut self, place: Place, force: bool, bench: &mut Bench<'_>) -> Answer {
        let index = self.find(place)?;
        if self.units[index].drive.is_none() {
            return Err(no_drive(place));
        }
        let path = self.unload(index, force, bench)?;
        Ok(json!({ "port": place.to_string(), "path": path }))
    }

    fn unload(
        &mut self,
        index: usize,
        force: bool,
        bench: &mut Bench<'_>,
    ) -> Result<Option<String>, Refusal> {
        let place = self.units[index].place;
        let eject = |hba: &mut Hba, now| {
            let drive = place.device(hba).and_then(|device| device.drive_mut());
            drive.map(|drive| drive.eject(force, now))
        };
        let ejected = bench.controller.measured(eject).ok_or_else(|| no_drive(place))?;
        let engine = ejected.map_err(|locked| {
            let remedy = "try again once it has, or take it with --force";
            Refusal::new(format!("port {place}: {locked}"), remedy)
        })?;
        let Some((engine, image)) = engine.zip(self.units[index].image.take()) else {
            return Ok(None);
        };
        let path = image.path.clone();
        let now = bench.controller.clock.now();
        self.custody.take(Case::new(image, BLOCK_BYTES, Held::Medium(Box::new(engine)), None, now));
        Ok(Some(path))
    }

    /// Takes off what is at `place`, at once, as if it had been pulled out.
    pub(super) fn pull(&mut self, place: Place, bench: &mut Bench<'_>) -> Answer {
        let index = self.find(place)?;
        self.leaving.retain_mut(|leaving| {
            let other = leaving.place == place;
            if other {
                let cause = format!("port {place}: it was taken off by force meanwhile");
                let refusal = Refusal::new(cause, "see `freewheel ctl status`");
                self.answers.push((leaving.ticket.clone(), Err(refusal)));
            }
            !other
        });
        let path = self.units[index].image.as_ref().map(|image| image.path.clone());
        let in_doubt = self.take_off(index, None, bench);
        Ok(json!({ "port": place.to_string(), "path": path, "in_doubt": in_doubt }))
    }

    /// Takes a unit off; returns its LBA ranges in doubt. `waiter` hears when it is settled.
    fn take_off(
        &mut self,
        index: usize,
        waiter: Option<Waiter>,
        bench: &mut Bench<'_>,
    ) -> Vec<Value> {
        let Unit { place, image, sector_bytes, state, .. } = self.units.remove(index);
        let memory = &bench.memory;
        let detach = |hba: &mut Hba, now| -> Option<Box<dyn Device>> {
            match place.pm_port {
                Some(pm_port) => hba.unplug_behind(place.port, pm_port, now, memory),
                None => match hba.detach(place.port, now)? {
                    Attachment::Device(device) => Some(device),
                    Attachment::Multiplier(_) => None,
                },
            }
        };
        let device = bench.controller.measured(detach);
        let now = bench.controller.clock.now();
        tracing::info!("port {place}: detached");
        let (Some(mut device), Some(image)) = (device, image) else {
            // An empty drive owes nothing.
            let done = waiter.map(|waiter| (waiter.ticket, Ok(json!({ "settled": true }))));
            self.answers.extend(done);
            return Vec::new();
        };
        device.retire(now);
        if let Some(writer) = &state
            && let Some(last) = device.saved_state(now)
        {
            writer.post_last(last);
        }
        let case = Case::new(image, sector_bytes, Held::Device(device), state, now);
        let mut case = case.tell(waiter);
        let lba = |range| {
            let (first, last) = shutdown::sectors(range, sector_bytes);
            json!({ "lba": first, "sectors": last + 1 - first })
        };
        let in_doubt = case.doubts().into_iter().map(lba).collect();
        self.custody.take(case);
        in_doubt
    }

    // --- every turn --------------------------------------------------------------------------

    /// Moves on what is leaving and what is in custody.
    pub(super) fn step(&mut self, bench: &mut Bench<'_>) {
        self.step_leaving(bench);
        self.settle(bench.epoll, bench.controller.clock.now());
    }

    /// Moves on what is in custody, and closes what is settled.
    pub(super) fn settle(&mut self, epoll: BorrowedFd<'_>, now: Nanos) {
        if self.custody.is_empty() {
            return;
        }
        for case in self.custody.poll(now, &mut self.answers) {
            // A thread may hold a copy of it for a while, and wake the loop for nothing.
            let _ = epoll::delete(epoll, case.image.wake.as_fd());
        }
    }

    /// When [`Plugs::step`] is due even if nothing woke the loop.
    pub(super) fn next_wakeup(&mut self) -> Option<Nanos> {
        let leaving = self.leaving.iter().map(Leaving::next_wakeup).min();
        let answers = (!self.answers.is_empty()).then_some(Nanos(0));
        [leaving, answers, self.custody.next_wakeup()].into_iter().flatten().min()
    }

    /// Nothing comes any more, and nothing leaves by itself.
    pub(super) fn end(&mut self) {
        let opening = self.opening.drain(..).map(|opening| opening.ticket);
        let leaving = self.leaving.drain(..).map(|leaving| leaving.ticket);
        for ticket in opening.chain(leaving) {
            let refusal = Refusal::new("the service ends", "start it again");
            self.answers.push((ticket, Err(refusal)));
        }
    }
}

/// Has the loop wake when an image's storage has answered.
pub(super) fn watch_image(epoll: BorrowedFd<'_>, image: &Image) {
    if let Err(error) = watch(epoll, image.wake.as_fd(), Source::Disk) {
        tracing::error!("{}: its answers are not noticed: {error}", image.path);
    }
}

fn drive_of(controller: &mut Controller, place: Place) -> Option<&mut freewheel_ata::Drive> {
    place.device(&mut controller.hba)?.drive_mut()
}

fn no_drive(place: Place) -> Refusal {
    Refusal::new(
        format!("on port {place} is no CD drive"),
        "name the port of one: `freewheel ctl status` shows them as `drive`",
    )
}

/// Whether the drive can take a medium: what lies in an open tray is as good as out.
fn check_free(unit: &Unit, controller: &mut Controller) -> Result<(), Refusal> {
    let place = unit.place;
    let drive = drive_of(controller, place).ok_or_else(|| no_drive(place))?;
    if drive.has_medium() && !drive.is_tray_open() {
        let cause = format!("port {place}: {} is in the drive", unit.name());
        return Err(Refusal::new(cause, "eject it first: `freewheel ctl eject`"));
    }
    Ok(())
}
