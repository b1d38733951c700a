//! Opens images while the controller runs, in threads of its own: opening may wait for the storage
//! for ever, and the device thread may not (contract C1).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use freewheel_ata::Device;
use freewheel_block::Engine;
use freewheel_block::fault::LinkFault;
use rustix::event::{EventfdFlags, eventfd};

use super::shutdown::Flush;
use super::state_file::{self, StateFiles, Writer};
use super::unit::{Identity, Image, Unit};
use crate::cdrom::{self, BLOCK_BYTES, CdromSpec, ImageOptions};
use crate::disk::{self, DiskSpec};
use crate::exit::{self, UserError};
use crate::place::Place;

const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What is to be opened.
pub(super) enum Job {
    Disk(Box<DiskSpec>),
    /// A drive for this port, with its first medium if it is to have one.
    Drive(Box<CdromSpec>, usize),
    /// A medium for a drive.
    Medium(PathBuf, ImageOptions),
}

/// A disk or drive, ready for its port.
pub(super) struct OpenDevice {
    pub(super) device: Box<dyn Device>,
    pub(super) link_faults: Vec<LinkFault>,
    image: Option<Image>,
    drive: Option<ImageOptions>,
    sector_bytes: u64,
    state: Option<Writer>,
}

impl OpenDevice {
    /// Takes it apart: what goes to the port, and what the loop keeps.
    pub(super) fn at(self, place: Place) -> (Box<dyn Device>, Unit) {
        let Self { device, image, drive, sector_bytes, state, .. } = self;
        (device, Unit { place, image, drive, sector_bytes, state, flush: Flush::Due })
    }
}

/// What came of a job.
pub(super) enum Opened {
    Device(Box<OpenDevice>),
    Medium(Box<Engine>, Image),
}

/// An image that somebody here has.
pub(super) struct Claim {
    pub(super) identity: Identity,
    /// Others may read it too.
    pub(super) read_only: bool,
    pub(super) why: String,
    pub(super) remedy: &'static str,
}

/// What is taken already.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) images: Vec<Claim>,
    pub(super) state_files: Vec<PathBuf>,
    /// How long an image that somebody has locked is tried again: closing takes a moment.
    pub(super) patience: Duration,
}

impl Claims {
    /// The image at `path`, unless it is somebody's.
    fn check(&self, path: &Path, read_only: bool) -> Result<Option<Identity>, UserError> {
        let identity = Identity::of(path);
        let in_the_way =
            |claim: &&Claim| Some(claim.identity) == identity && !(claim.read_only && read_only);
        match self.images.iter().find(in_the_way) {
            Some(claim) => Err(UserError::new(exit::DISK, claim.why.clone(), claim.remedy)),
            None => Ok(identity),
        }
    }
}

/// A job with its name, and what it may not have.
struct Order {
    id: u64,
    job: Job,
    claims: Claims,
}

/// The name of a job, and what came of it.
pub(super) type Outcome = (u64, Result<Opened, UserError>);

/// The thread that takes jobs. Each is done in a thread of its own.
pub(super) struct Opener {
    orders: mpsc::Sender<Order>,
    results: mpsc::Receiver<Outcome>,
    wake: Arc<OwnedFd>,
}

impl Opener {
    pub(super) fn start(state_files: &StateFiles) -> anyhow::Result<Self> {
        let (orders, to_do) = mpsc::channel::<Order>();
        let (done, results) = mpsc::channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (bell, state_wake) = (Arc::clone(&wake), state_files.wake());
        // Starting a thread may wait for memory: not even that is the device thread's.
        std::thread::Builder::new().name("fw-opener".into()).spawn(move || {
            for order in to_do {
                let id = order.id;
                let (sender, chime) = (done.clone(), Arc::clone(&bell));
                let state_wake = Arc::clone(&state_wake);
                let say = move |outcome| {
                    // Nobody may be left to hear it.
                    let _ = sender.send((id, outcome));
                    let _ = rustix::io::write(&*chime, &1u64.to_ne_bytes());
                };
                let too_bad = say.clone();
                let work = move || say(open(order.job, &order.claims, state_wake));
                let thread = std::thread::Builder::new().name("fw-open".into()).spawn(work);
                if let Err(error) = thread {
                    too_bad(Err(no_thread(&error)));
                }
            }
        })?;
        Ok(Self { orders, results, wake })
    }

    /// To be watched.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Has something opened; the outcome carries `id`.
    pub(super) fn order(&self, id: u64, job: Job, claims: Claims) {
        let _ = self.orders.send(Order { id, job, claims });
    }

    /// What has been opened, or could not be.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut count);
        self.results.try_iter().collect()
    }
}

fn no_thread(error: &std::io::Error) -> UserError {
    let cause = format!("no thread can be started: {error}");
    UserError::new(exit::FAILURE, cause, "raise the limit on threads (ulimit -u, pids.max)")
}

fn patiently<T>(
    patience: Duration,
    mut open: impl FnMut() -> Result<T, UserError>,
) -> Result<T, UserError> {
    let start = Instant::now();
    loop {
        match open() {
            Err(error) if error.locked && start.elapsed() < patience => {
                std::thread::sleep(LOCK_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// Opens something, in the calling thread.
pub(super) fn open(
    job: Job,
    claims: &Claims,
    state_wake: Arc<OwnedFd>,
) -> Result<Opened, UserError> {
    match job {
        Job::Disk(spec) => open_disk(&spec, claims, state_wake),
        Job::Drive(spec, port) => {
            let mut drive = spec.drive(port);
            let mut image = None;
            if let Some(path) = &spec.path {
                let (engine, opened) = open_medium(path, &spec.images, claims)?;
                cdrom::insert(&mut drive, engine, path)?;
                image = Some(opened);
            }
            Ok(Opened::Device(Box::new(OpenDevice {
                device: Box::new(drive),
                link_faults: spec.link_faults,
                image,
                drive: Some(spec.images),
                sector_bytes: BLOCK_BYTES,
                state: None,
            })))
        }
        Job::Medium(path, options) => {
            let (engine, image) = open_medium(&path, &options, claims)?;
            Ok(Opened::Medium(Box::new(engine), image))
        }
    }
}

fn open_disk(
    spec: &DiskSpec,
    claims: &Claims,
    state_wake: Arc<OwnedFd>,
) -> Result<Opened, UserError> {
    let name = spec.path.display().to_string();
    let identity = claims.check(&spec.path, spec.read_only)?;
    let mut opened = patiently(claims.patience, || disk::open(spec))?;
    let state = match state_file::restore(spec, &mut opened.device)? {
        Some(path) if claims.state_files.contains(&path) => {
            let cause = format!("disk {name} has the state file of another");
            return Err(UserError::new(
                exit::USAGE,
                cause,
                "give each disk a state file of its own",
            ));
        }
        Some(path) => Some(Writer::start(path, state_wake).map_err(|error| no_thread(&error))?),
        None => None,
    };
    Ok(Opened::Device(Box::new(OpenDevice {
        device: Box::new(opened.device),
        link_faults: opened.link_faults,
        image: Some(Image { path: name, identity, read_only: spec.read_only, wake: opened.wake }),
        drive: None,
        sector_bytes: u64::from(spec.config.logical_sector_bytes),
        state,
    })))
}

fn open_medium(
    path: &Path,
    options: &ImageOptions,
    claims: &Claims,
) -> Result<(Engine, Image), UserError> {
    let identity = claims.check(path, true)?;
    let opened = patiently(claims.patience, || cdrom::open_image(path, options))?;
    let path = path.display().to_string();
    Ok((opened.engine, Image { path, identity, read_only: true, wake: opened.wake }))
}
