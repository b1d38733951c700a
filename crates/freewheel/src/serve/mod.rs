//! `freewheel serve`: one controller, served over vfio-user by one thread.
//!
//! The poll loop below *is* the device thread. It owns the controller, waits for the vfio-user
//! socket, the backends' eventfds, the control socket, signals and timers, and never for anything
//! else: images are opened before it or by threads of their own, logging has one too, sockets don't
//! block.

mod control;
mod controller;
mod custody;
mod opener;
mod plug;
mod ports;
mod shutdown;
mod state_file;
mod status;
mod unit;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use freewheel_ahci::{Hba, HbaConfig, HotPlug};
use freewheel_ata::Device;
use freewheel_block::Nanos;
use freewheel_block::fault::LinkFault;
use freewheel_vfio_user::server::ListenError;
use freewheel_vfio_user::{Connection, Listener, PciConfig, PciIdentity};
use rustix::event::epoll;
use rustix::io::Errno;

use crate::cli::ServeArgs;
use crate::clock::Clock;
use crate::exit::{self, UserError};
use crate::log;
use crate::place::{self, Place};
use control::{ControlServer, Subject, Wish};
use controller::{Bus, Controller};
use opener::{Claims, Job, Opened, Opener};
use plug::{Bench, Plugs};
use shutdown::Ending;
use state_file::StateFiles;
use unit::Unit;

/// What epoll's 64 bits mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Listener,
    Peer,
    Signal,
    Control,
    ControlClient(u64),
    Disk,
    StateFiles,
    Opener,
}

impl Source {
    fn to_data(self) -> epoll::EventData {
        let (kind, id) = match self {
            Source::Listener => (0, 0),
            Source::Peer => (1, 0),
            Source::Signal => (2, 0),
            Source::Control => (3, 0),
            Source::ControlClient(id) => (4, id),
            Source::Disk => (5, 0),
            Source::StateFiles => (6, 0),
            Source::Opener => (7, 0),
        };
        epoll::EventData::new_u64(kind << 56 | id)
    }

    fn from_data(data: epoll::EventData) -> Option<Self> {
        let id = data.u64() & ((1 << 56) - 1);
        Some(match data.u64() >> 56 {
            0 => Source::Listener,
            1 => Source::Peer,
            2 => Source::Signal,
            3 => Source::Control,
            4 => Source::ControlClient(id),
            5 => Source::Disk,
            6 => Source::StateFiles,
            7 => Source::Opener,
            _ => return None,
        })
    }
}

/// Runs the command until its end.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let log_guard = log::start();
    let of_disks = args.disks.iter().map(|disk| disk.port);
    let of_drives = args.cdroms.iter().map(|drive| drive.port.map(Place::on_port));
    let asked: Vec<Option<Place>> = of_disks.chain(of_drives).collect();
    let plan = ports::assign(&asked, args.ports.map(usize::from))?;
    // Sockets first: they are quickly refused, and nothing has been opened yet.
    let listener =
        Listener::bind(&args.socket).map_err(|error| socket_error("vfio-user", &error))?;
    let control = args.control.as_deref().map(ControlServer::bind).transpose()?;
    let clock = Clock::start();
    let state_files = StateFiles::new()?;
    let Outset { devices, units, link_faults } = open_all(args, &plan.places, &state_files)?;
    // Until here a signal ends the process at once, even if an image cannot be opened for ever.
    let signals = signals()?;
    let attachments = place::attachments(plan.count, devices);
    let mut hba = Hba::with_attachments(CONFIG, attachments, clock.now());
    for (port, fault) in link_faults {
        hba.inject_link_fault(port, fault, clock.now())?;
    }
    let messages = hba.messages_requested();
    let server = Server {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        controller: Controller::new(hba, clock),
        plugs: Plugs::new(units, Opener::start(&state_files)?, plan.count),
        state_files,
        listener,
        peer: None,
        identity: PciIdentity {
            bar5_size: PciIdentity::bar5_size_for(plan.count as u32),
            messages,
            ..PciIdentity::default()
        },
        control,
        signals,
        keep: args.keep,
        patience: Duration::from_secs(args.deadline),
        paused_until: None,
        ending: None,
        impatient: false,
    };
    let code = server.serve()?;
    drop(log_guard);
    Ok(code)
}

/// Devices come and go (PxCMD.HPCP): Linux leaves the links of such ports out of the power states in
/// which a new device would not be noticed. No presence switch: Linux does not ask for its
/// interrupt, and the link tells anyway.
const CONFIG: HbaConfig =
    HbaConfig { command_slots: 32, staggered_spin_up: false, hot_plug: HotPlug::Connector };

/// What is on the controller at the start.
#[derive(Default)]
struct Outset {
    devices: Vec<(Place, Box<dyn Device>)>,
    units: Vec<Unit>,
    link_faults: Vec<(usize, LinkFault)>,
}

fn open_all(
    args: &ServeArgs,
    places: &[Place],
    state_files: &StateFiles,
) -> Result<Outset, UserError> {
    let disks = args.disks.iter().map(|disk| Job::Disk(Box::new(disk.clone())));
    let drives = args.cdroms.iter().zip(&places[args.disks.len()..]);
    let drives = drives.map(|(drive, place)| Job::Drive(Box::new(drive.clone()), place.port));
    let mut outset = Outset::default();
    let mut claims = Claims::default();
    for (job, place) in disks.chain(drives).zip(places) {
        let Opened::Device(mut open) = opener::open(job, &claims, state_files.wake())? else {
            continue;
        };
        let link_faults = std::mem::take(&mut open.link_faults);
        if place.pm_port.is_some() && !link_faults.is_empty() {
            let remedy =
                "add it to the port of the port multiplier, with `freewheel ctl fault add`";
            return Err(UserError::new(exit::USAGE, link_fault_behind(*place), remedy));
        }
        outset.link_faults.extend(link_faults.into_iter().map(|fault| (place.port, fault)));
        let (device, unit) = open.at(*place);
        claims.state_files.extend(unit.state.as_ref().map(|writer| writer.path().to_owned()));
        outset.devices.push((*place, device));
        outset.units.push(unit);
    }
    Ok(outset)
}

/// Why a fault cannot be injected.
fn link_fault_behind(place: Place) -> String {
    let port = place.port;
    format!("port {place}: faults of links behind a port multiplier are not available; use {port}")
}

fn socket_error(what: &str, error: &ListenError) -> UserError {
    let remedy = match error {
        ListenError::InUse(_) => "stop that server, or choose another path",
        ListenError::NotASocket(_) => "choose another path; the file is left alone",
        ListenError::TooLong(_) => "choose a shorter path",
        ListenError::Os { .. } => "check that the directory exists and may be written",
    };
    UserError::new(exit::SOCKET, format!("{what} {error}"), remedy)
}

/// A pipe that becomes readable at SIGTERM and SIGINT.
fn signals() -> anyhow::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    Ok(reader)
}

/// How long a peer may take to say who it is.
const VERSION_TIMEOUT_NS: u64 = 5_000_000_000;
/// How long the listeners rest after an error, such as a lack of descriptors.
const LISTEN_PAUSE_NS: u64 = 100_000_000;

struct Peer {
    connection: Connection,
    since: Nanos,
}

struct Server {
    epoll: OwnedFd,
    controller: Controller,
    plugs: Plugs,
    state_files: StateFiles,
    listener: Listener,
    peer: Option<Peer>,
    identity: PciIdentity,
    control: Option<ControlServer>,
    signals: UnixStream,
    keep: bool,
    patience: Duration,
    /// The listeners are not polled until then.
    paused_until: Option<Nanos>,
    ending: Option<Ending>,
    impatient: bool,
}

impl Server {
    /// Serves until the end, and ends honestly even if the loop itself fails.
    fn serve(mut self) -> anyhow::Result<ExitCode> {
        let mut outcome = self.watch_all();
        if outcome.is_ok() {
            tracing::info!("serving on {}", self.listener.path().display());
            outcome = self.run();
        }
        if outcome.is_err() && self.ending.is_none() {
            self.begin_end();
            let start = self.controller.clock.now();
            while !self.step_end() && self.controller.clock.now().since(start) < self.patience_ns()
            {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let ending = self.ending.take();
        let code = ending.map_or(0, |ending| {
            ending.verdict(&mut self.controller, &self.plugs.units, &mut self.plugs.custody)
        });
        outcome?;
        Ok(ExitCode::from(code))
    }

    fn patience_ns(&self) -> u64 {
        u64::try_from(self.patience.as_nanos()).unwrap_or(u64::MAX)
    }

    fn watch_all(&self) -> anyhow::Result<()> {
        let epoll = self.epoll.as_fd();
        watch(epoll, self.listener.as_fd(), Source::Listener)?;
        watch(epoll, self.signals.as_fd(), Source::Signal)?;
        watch(epoll, self.state_files.fd(), Source::StateFiles)?;
        watch(epoll, self.plugs.fd(), Source::Opener)?;
        for image in self.plugs.units.iter().filter_map(|unit| unit.image.as_ref()) {
            watch(epoll, image.wake.as_fd(), Source::Disk)?;
        }
        if let Some(control) = &self.control {
            watch(epoll, control.listener_fd(), Source::Control)?;
        }
        Ok(())
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(32);
        loop {
            let backlog = self.control.as_ref().map_or(Vec::new(), ControlServer::backlog);
            let timeout = if backlog.is_empty() { self.timeout() } else { Some(Duration::ZERO) };
            wait(&self.epoll, &mut events, timeout)?;
            self.controller.begin_turn();
            for event in events.drain(..) {
                if let Some(source) = Source::from_data(event.data) {
                    let flags = event.flags;
                    let hung_up = flags.contains(epoll::EventFlags::HUP);
                    self.on_event(source, hung_up)?;
                }
            }
            for id in backlog {
                self.on_control(id, false);
            }
            self.on_time()?;
            let ended = self.turn();
            self.pass_on_answers();
            self.controller.end_turn();
            if ended {
                return Ok(());
            }
        }
    }

    /// How long the loop may sleep.
    fn timeout(&mut self) -> Option<Duration> {
        let strangers_end = self.stranger().map(|peer| peer.since.plus(VERSION_TIMEOUT_NS));
        let work = self.ending.as_ref().map(Ending::next_wakeup);
        let save = self.state_files.next_wakeup(&self.plugs.units);
        let plug = self.plugs.next_wakeup();
        let hba = self.controller.hba.next_wakeup();
        let due = [hba, strangers_end, self.paused_until, work, save, plug];
        let due = due.into_iter().flatten().min()?;
        Some(Duration::from_nanos(due.since(self.controller.clock.now())))
    }

    /// The peer, as long as it has not said who it is.
    fn stranger(&self) -> Option<&Peer> {
        self.peer.as_ref().filter(|peer| !peer.connection.negotiated())
    }

    fn on_event(&mut self, source: Source, hung_up: bool) -> anyhow::Result<()> {
        match source {
            Source::Listener => self.accept()?,
            Source::Peer => self.on_peer()?,
            Source::Signal => {
                if drain_signals(&self.signals) {
                    self.impatient |= self.ending.is_some();
                    tracing::info!("a signal ends the service");
                    self.begin_end();
                }
            }
            Source::Control => self.accept_control()?,
            Source::ControlClient(id) => self.on_control(id, hung_up),
            // Each turn polls the devices anyway.
            Source::Disk => {}
            Source::StateFiles => self.state_files.drain(),
            Source::Opener => {
                let (plugs, mut bench) = self.bench();
                plugs.take_opened(&mut bench);
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        if self.peer.is_some() || self.ending.is_some() {
            return match self.listener.refuse() {
                Ok(_) => Ok(()),
                Err(errno) => self.pause(errno),
            };
        }
        match self.listener.accept() {
            Ok(Some(socket)) => {
                tracing::info!("a VMM has connected");
                let connection = Connection::new(socket, PciConfig::new(self.identity));
                watch(self.epoll.as_fd(), connection.as_fd(), Source::Peer)?;
                self.peer = Some(Peer { connection, since: self.controller.clock.now() });
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(errno) => self.pause(errno),
        }
    }

    fn accept_control(&mut self) -> anyhow::Result<()> {
        let Some(control) = &mut self.control else { return Ok(()) };
        let id = match control.accept() {
            Ok(Some(id)) => id,
            Ok(None) => return Ok(()),
            Err(errno) => return self.pause(errno),
        };
        if let Some(fd) = control.client_fd(id)
            && watch(self.epoll.as_fd(), fd, Source::ControlClient(id)).is_err()
        {
            control.remove(id);
        }
        Ok(())
    }

    /// Lets the listeners rest: a connection that cannot be accepted stays readable.
    fn pause(&mut self, errno: Errno) -> anyhow::Result<()> {
        tracing::warn!("a connection could not be accepted: {errno}");
        self.paused_until = Some(self.controller.clock.now().plus(LISTEN_PAUSE_NS));
        self.listen(epoll::EventFlags::empty())
    }

    fn listen(&self, interest: epoll::EventFlags) -> anyhow::Result<()> {
        epoll::modify(&self.epoll, self.listener.as_fd(), Source::Listener.to_data(), interest)?;
        if let Some(control) = &self.control {
            let fd = control.listener_fd();
            epoll::modify(&self.epoll, fd, Source::Control.to_data(), interest)?;
        }
        Ok(())
    }

    /// What is due by the clock.
    fn on_time(&mut self) -> anyhow::Result<()> {
        let now = self.controller.clock.now();
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            self.listen(epoll::EventFlags::IN)?;
        }
        if self.stranger().is_some_and(|peer| now.since(peer.since) >= VERSION_TIMEOUT_NS) {
            tracing::warn!("a peer was cut off: it did not say which version it speaks");
            self.peer = None;
        }
        Ok(())
    }

    fn on_peer(&mut self) -> anyhow::Result<()> {
        let Some(Peer { connection, .. }) = &mut self.peer else { return Ok(()) };
        match connection.on_ready(&mut self.controller) {
            Ok(()) => {
                let interest = if connection.wants_write() {
                    epoll::EventFlags::OUT
                } else {
                    epoll::EventFlags::IN
                };
                epoll::modify(&self.epoll, connection.as_fd(), Source::Peer.to_data(), interest)?;
            }
            Err(_) => {
                // Its memory goes first: what is late finds nothing to write to.
                let was_vmm = connection.negotiated();
                self.peer = None;
                if was_vmm {
                    self.controller.reset_function();
                    if !self.keep {
                        self.begin_end();
                    }
                }
            }
        }
        Ok(())
    }

    fn on_control(&mut self, id: u64, hung_up: bool) {
        let Some(mut control) = self.control.take() else {
            return;
        };
        let (connected, ending) = (self.peer.is_some(), self.ending.is_some());
        let (plugs, bench) = self.bench();
        let mut subject = Subject { bench, plugs, connected, ending };
        let wish = control.on_ready(id, hung_up, &mut subject);
        match wish {
            Ok(Some(Wish::Shutdown)) => self.begin_end(),
            Ok(None) => {}
            Err(()) => control.remove(id),
        }
        self.control = Some(control);
        self.poll_client(id);
    }

    /// Has epoll wait for what the client is to do next.
    fn poll_client(&mut self, id: u64) {
        let Some(control) = &mut self.control else { return };
        let Some(fd) = control.client_fd(id) else { return };
        let interest = if control.is_blocked(id) {
            epoll::EventFlags::OUT
        } else if control.is_half_closed(id) {
            epoll::EventFlags::empty()
        } else {
            epoll::EventFlags::IN
        };
        // A client's trouble is its own.
        let data = Source::ControlClient(id).to_data();
        if epoll::modify(&self.epoll, fd, data, interest).is_err() {
            control.remove(id);
        }
    }

    /// Gives clients the answers that have come since they asked.
    fn pass_on_answers(&mut self) {
        for (ticket, answer) in self.plugs.take_answers() {
            if let Some(control) = &mut self.control {
                control.reply(&ticket, answer);
                // Sends it.
                self.on_control(ticket.client, false);
            }
        }
    }

    /// What comes and goes, and what it needs.
    fn bench(&mut self) -> (&mut Plugs, Bench<'_>) {
        let memory = Bus(self.peer.as_ref().map(|peer| peer.connection.dma()));
        let epoll = self.epoll.as_fd();
        (&mut self.plugs, Bench { controller: &mut self.controller, memory, epoll })
    }

    /// Lets the devices take completions and start what is waiting, then passes on the interrupt.
    /// True at the end of the service.
    fn turn(&mut self) -> bool {
        if self.ending.is_some() {
            return self.step_end() || self.impatient;
        }
        let (plugs, mut bench) = self.bench();
        plugs.step(&mut bench);
        let now = self.controller.clock.now();
        match &mut self.peer {
            Some(Peer { connection, .. }) => {
                self.controller.hba.poll(now, &Bus(Some(connection.dma())));
                let interrupt = self.controller.hba.take_interrupt();
                connection.set_interrupt(interrupt.level, interrupt.messages);
            }
            None => self.controller.hba.poll(now, &Bus(None)),
        }
        self.state_files.collect(&mut self.controller, &self.plugs.units);
        false
    }

    fn begin_end(&mut self) {
        self.peer = None;
        if self.ending.is_none() {
            let units = &self.plugs.units;
            self.ending = Some(Ending::begin(&mut self.controller, units, self.patience));
            state_file::collect_last(&mut self.controller, units);
            self.plugs.end();
        }
    }

    fn step_end(&mut self) -> bool {
        let Some(ending) = &mut self.ending else { return true };
        self.plugs.settle(self.epoll.as_fd(), self.controller.clock.now());
        ending.step(&mut self.controller, &mut self.plugs.units, &mut self.plugs.custody)
    }
}

fn watch(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, source: Source) -> anyhow::Result<()> {
    epoll::add(epoll, fd, source.to_data(), epoll::EventFlags::IN)?;
    Ok(())
}

fn wait(
    epoll: &OwnedFd,
    events: &mut Vec<epoll::Event>,
    timeout: Option<Duration>,
) -> anyhow::Result<()> {
    let timeout = timeout.and_then(|timeout| rustix::event::Timespec::try_from(timeout).ok());
    match epoll::wait(epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes the signals that have come; whether there were any.
fn drain_signals(signals: &UnixStream) -> bool {
    use std::io::Read;
    let mut bytes = [0; 16];
    let mut any = false;
    while matches!((&mut &*signals).read(&mut bytes), Ok(count) if count > 0) {
        any = true;
    }
    any
}
