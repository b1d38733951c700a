//! What makes the storage stand still: the disk's fault layer, or somebody outside.

use freewheel_block::Nanos;
use freewheel_block::fault::{FaultAction, FaultLayer, FaultSpec, OpMatch};

use super::rig::STUCK;
use crate::Machine;

/// Storage that stands still on command, other than by the disk's fault layer: a request then
/// waits where a stalled disk would have it wait, in the kernel for instance. Nothing of this is
/// called from within the controller, so it may take its time.
pub trait Stall {
    /// What arrives from now on hangs, whatever it is.
    fn hang(&mut self);

    /// Nothing new hangs; what hangs goes on hanging.
    fn clear(&mut self);

    /// Nothing new hangs, and what hangs goes on. How many that were.
    fn release(&mut self) -> usize;

    /// Requests that hang. Those that are still on their way don't count, nor those that the
    /// kernel makes wait for the ones that hang.
    fn pending(&mut self) -> usize;
}

/// Which of the two it is.
pub(super) enum Staller {
    /// The fault layer: requests never get as far as the backend.
    Faults,
    /// The storage itself.
    Storage(Box<dyn Stall>),
}

fn fault_layer(machine: &mut Machine) -> Option<&mut FaultLayer> {
    machine.engine(STUCK)?.backend_mut().fault_layer()
}

impl Staller {
    pub(super) fn hang(&mut self, machine: &mut Machine) {
        match self {
            Self::Faults => {
                let any = OpMatch { kind: None, lba: None, nth: None, probability: None };
                inject(machine, any, FaultAction::Hang);
            }
            Self::Storage(stall) => stall.hang(),
        }
    }

    /// Injected faults go too.
    pub(super) fn clear(&mut self, machine: &mut Machine) {
        if let Some(layer) = fault_layer(machine) {
            layer.clear();
        }
        if let Self::Storage(stall) = self {
            stall.clear();
        }
    }

    /// What the fault layer holds goes on as well.
    pub(super) fn release(&mut self, machine: &mut Machine, now: Nanos) -> usize {
        let held = fault_layer(machine).map_or(0, |layer| layer.release(now));
        match self {
            Self::Faults => held,
            Self::Storage(stall) => held + stall.release(),
        }
    }

    /// Requests that the storage has and that don't end: those that the fault layer holds, or all
    /// that the engine has handed over. That the latter hang is for [`Stall::pending`] to say.
    pub(super) fn parked(&mut self, machine: &mut Machine) -> usize {
        match self {
            Self::Faults => fault_layer(machine).map_or(0, |layer| layer.parked()),
            Self::Storage(_) => machine.engine(STUCK).map_or(0, |engine| {
                let status = engine.status(Nanos(0));
                status.slots - status.free_slots
            }),
        }
    }
}

/// Adds a fault to the disk.
pub(super) fn inject(machine: &mut Machine, matching: OpMatch, action: FaultAction) {
    if let Some(layer) = fault_layer(machine) {
        // Hang, delay and error are always there.
        let _ = layer.add(FaultSpec::Op { matching, action });
    }
}
