//! Interrupts: what VFIO calls indexes, their eventfds, and when they fire.
//!
//! INTA is level-triggered but signalled by an eventfd: it fires when the line is asserted and
//! masks itself, the monitor unmasks it when the guest has acknowledged it, and if the line is
//! still asserted it fires again. A message of MSI fires once for each event; one that comes while it
//! cannot be sent (masked, no eventfd yet, the bus may not be mastered) is kept, and sent when it can.

use super::device::Interrupt;
use crate::codec::{IrqAction, IrqData, IrqInfo, IrqInfoFlags, SetIrqs};
use crate::pci::InterruptRoute;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::Errno;
use thiserror::Error;

/// How many interrupt indexes a VFIO PCI device has: INTX, MSI, MSI-X, ERR, REQ.
pub(super) const NUM_IRQS: u32 = 5;
/// Index of INTA.
pub(super) const INTX: u32 = 0;
/// Index of MSI.
pub(super) const MSI: u32 = 1;

/// Why a SET_IRQS was refused. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IrqError {
    /// There is no such index, or it has no vectors.
    #[error("interrupt index {0} does not exist")]
    Index(u32),
    /// There are no such vectors.
    #[error("vectors {start} to {start}+{count} do not exist")]
    Vectors {
        /// The first vector.
        start: u32,
        /// How many.
        count: u32,
    },
    /// The number of descriptors is neither zero nor the number of vectors.
    #[error("{0} descriptors do not fit the vectors")]
    Descriptors(usize),
    /// The combination of action and data is not supported.
    #[error("this combination of action and data is not supported")]
    Unsupported,
    /// The descriptor is something whose writes could block.
    #[error("the descriptor is not an eventfd")]
    NotAnEventFd,
    /// The descriptor could not be set up.
    #[error("the eventfd could not be set up: {0}")]
    Os(#[from] Errno),
}

impl IrqError {
    pub(super) fn errno(self) -> Errno {
        match self {
            Self::Unsupported => Errno::NOTSUP,
            Self::Os(errno) => errno,
            Self::Index(_) | Self::Vectors { .. } | Self::Descriptors(_) | Self::NotAnEventFd => {
                Errno::INVAL
            }
        }
    }
}

/// An eventfd of the peer's.
#[derive(Debug)]
struct EventFd(OwnedFd);

impl EventFd {
    /// Takes a descriptor, if writing to it cannot block. An eventfd has no file type.
    fn new(fd: OwnedFd) -> Result<Self, IrqError> {
        let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
        if matches!(kind, FileType::RegularFile | FileType::Directory | FileType::BlockDevice) {
            return Err(IrqError::NotAnEventFd);
        }
        let flags = fcntl_getfl(&fd)?;
        if !flags.contains(OFlags::NONBLOCK) {
            fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        }
        Ok(Self(fd))
    }

    /// Signals it. A counter that is full is signalled already.
    fn fire(&self) {
        match rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(errno) => tracing::debug!("interrupt eventfd: {errno}"),
        }
    }
}

/// One interrupt vector.
#[derive(Debug, Default)]
struct Vector {
    trigger: Option<EventFd>,
    masked: bool,
}

impl Vector {
    /// The eventfd, if it may be fired.
    fn open(&self) -> Option<&EventFd> {
        self.trigger.as_ref().filter(|_| !self.masked)
    }

    fn act(&mut self, action: IrqAction) {
        match action {
            IrqAction::Mask => self.masked = true,
            IrqAction::Unmask => self.masked = false,
            // The client's own test of the way; the device's state is not concerned.
            IrqAction::Trigger => self.trigger.iter().for_each(EventFd::fire),
        }
    }
}

/// All interrupts of the function.
#[derive(Debug)]
pub(super) struct Interrupts {
    intx: Vector,
    /// As many as the function asks for, up to 32.
    msi: Vec<Vector>,
    route: InterruptRoute,
    level: bool,
    /// The messages that are due, a bit each.
    msi_pending: u32,
}

impl Interrupts {
    /// For a function that asks for so many messages.
    pub(super) fn new(messages: u32) -> Self {
        Self {
            intx: Vector::default(),
            msi: (0..messages.clamp(1, 32)).map(|_| Vector::default()).collect(),
            route: InterruptRoute::default(),
            level: false,
            msi_pending: 0,
        }
    }

    /// Describes an index.
    pub(super) fn info(&self, index: u32) -> Result<IrqInfo, IrqError> {
        let (flags, count) = match index {
            INTX => {
                let flags = IrqInfoFlags::MASKABLE | IrqInfoFlags::AUTOMASKED;
                (IrqInfoFlags::EVENTFD | flags, 1)
            }
            MSI => (IrqInfoFlags::EVENTFD | IrqInfoFlags::NORESIZE, self.msi.len() as u32),
            2..NUM_IRQS => (IrqInfoFlags::empty(), 0),
            _ => return Err(IrqError::Index(index)),
        };
        Ok(IrqInfo { flags, index, count })
    }

    /// Whether the device requests service.
    pub(super) fn level(&self) -> bool {
        self.level
    }

    /// Follows the device.
    pub(super) fn set(&mut self, interrupt: Interrupt) {
        self.level = interrupt.level;
        if self.route.msi_enabled {
            // What the guest has not allocated goes the way of the first.
            let allocated = u32::MAX.checked_shr(32 - self.route.messages.min(32)).unwrap_or(0);
            let others = u32::from(interrupt.messages & !allocated != 0);
            self.msi_pending |= interrupt.messages & allocated | others;
        }
        self.deliver();
    }

    /// Follows the configuration space. If MSI is enabled while the device requests service, the
    /// event that led to it may have been lost on the way, so a message is due.
    pub(super) fn set_route(&mut self, route: InterruptRoute) {
        if route.msi_enabled != self.route.msi_enabled {
            self.msi_pending = u32::from(route.msi_enabled && self.level);
        }
        self.route = route;
        self.deliver();
    }

    /// The function is reset: no request for service, nothing pending, nothing masked. The
    /// eventfds are the monitor's set-up, and stay.
    pub(super) fn reset(&mut self, route: InterruptRoute) {
        self.level = false;
        self.msi_pending = 0;
        self.intx.masked = false;
        self.msi.iter_mut().for_each(|vector| vector.masked = false);
        self.route = route;
    }

    /// Fires what is due and may be fired.
    fn deliver(&mut self) {
        if self.route.msi_open && self.msi_pending != 0 {
            for (message, vector) in self.msi.iter().enumerate() {
                if self.msi_pending & 1 << message != 0
                    && let Some(eventfd) = vector.open()
                {
                    eventfd.fire();
                    self.msi_pending &= !(1 << message);
                }
            }
        }
        if self.level
            && self.route.intx_open
            && let Some(eventfd) = self.intx.open()
        {
            eventfd.fire();
            self.intx.masked = true;
        }
    }

    /// DEVICE_SET_IRQS.
    pub(super) fn configure(
        &mut self,
        request: &SetIrqs<'_>,
        fds: &mut Vec<OwnedFd>,
    ) -> Result<(), IrqError> {
        let SetIrqs { index, start, count, action, data } = *request;
        let vectors = self.info(index)?.count;
        let disable = (start, count, action, data) == (0, 0, IrqAction::Trigger, IrqData::None);
        if !disable && (count == 0 || start.checked_add(count).is_none_or(|end| end > vectors)) {
            return Err(IrqError::Vectors { start, count });
        }
        let expected = if data == IrqData::EventFd { count as usize } else { 0 };
        if !fds.is_empty() && fds.len() != expected {
            return Err(IrqError::Descriptors(fds.len()));
        }
        // Whatever can fail comes first.
        let triggers = match data {
            IrqData::EventFd => Some(new_triggers(action, std::mem::take(fds))?),
            _ => None,
        };
        let vectors = match index {
            INTX => std::slice::from_mut(&mut self.intx),
            MSI => self.msi.as_mut_slice(),
            _ => return Ok(()),
        };
        if disable {
            vectors.fill_with(Vector::default);
            return Ok(());
        }
        let Some(vectors) = vectors.get_mut(start as usize..(start + count) as usize) else {
            return Err(IrqError::Vectors { start, count });
        };
        match (data, triggers) {
            // There are no events of masking; that there are none to be had can be accepted.
            (IrqData::EventFd, _) if action != IrqAction::Trigger => return Ok(()),
            (_, Some(triggers)) => {
                let mut triggers = triggers.into_iter();
                vectors.fill_with(|| Vector { trigger: triggers.next(), masked: false });
            }
            (data, None) => {
                for (at, vector) in vectors.iter_mut().enumerate() {
                    let wanted = match data {
                        IrqData::Bool(bools) => bools.get(at).is_some_and(|&wanted| wanted != 0),
                        _ => true,
                    };
                    if wanted {
                        vector.act(action);
                    }
                }
            }
        }
        self.deliver();
        Ok(())
    }
}

/// The eventfds of a request, one a vector or none at all.
fn new_triggers(action: IrqAction, fds: Vec<OwnedFd>) -> Result<Vec<EventFd>, IrqError> {
    if action != IrqAction::Trigger && !fds.is_empty() {
        return Err(IrqError::Unsupported);
    }
    fds.into_iter().map(EventFd::new).collect()
}

#[cfg(test)]
#[path = "irq_tests.rs"]
mod tests;
