//! Which port each disk and drive gets.

use crate::exit::{self, UserError};
use crate::place::{PORTS_MAX, Place};

/// Ports that a controller has at least, as guests expect of one.
const PORTS_LEAST: usize = 6;

/// The ports of a controller.
pub(super) struct PortPlan {
    pub(super) count: usize,
    /// In the order of what was asked for.
    pub(super) places: Vec<Place>,
}

/// Gives a place to each of `asked`, which may name one.
pub(super) fn assign(
    asked: &[Option<Place>],
    wanted: Option<usize>,
) -> Result<PortPlan, UserError> {
    let usage = |cause: String, remedy: &str| UserError::new(exit::USAGE, cause, remedy);
    let mut taken: Vec<Place> = Vec::new();
    for place in asked.iter().flatten() {
        if let Some(other) = taken.iter().find(|other| place.excludes(**other)) {
            let remedy = "give each disk a port of its own, or none";
            let cause = if other == place {
                format!("port {place} is given to two disks")
            } else {
                format!("ports {other} and {place}: a port takes a disk or a port multiplier")
            };
            return Err(usage(cause, remedy));
        }
        taken.push(*place);
    }
    let mut places = Vec::new();
    for wish in asked {
        let Some(place) = wish.or_else(|| next_free(PORTS_MAX, &taken)) else {
            return Err(usage("a controller has 32 ports".into(), "start another controller"));
        };
        taken.push(place);
        places.push(place);
    }
    let needed = places.iter().map(|place| place.port + 1).max().unwrap_or(1);
    let count = wanted.unwrap_or(needed.max(PORTS_LEAST));
    if count < needed {
        let cause = format!("--ports {count} has no port {}", needed - 1);
        return Err(usage(cause, "raise --ports, or give the disk a lower port"));
    }
    Ok(PortPlan { count, places })
}

/// The lowest of `count` ports on which nothing is.
pub(super) fn next_free(count: usize, taken: &[Place]) -> Option<Place> {
    let free = |place: &Place| !taken.iter().any(|other| place.excludes(*other));
    (0..count).map(Place::on_port).find(free)
}
