//! Injected faults: a layer over any backend that makes it late, stuck or failing, on demand.
//!
//! [`FaultSpec`] is the grammar that people type, [`FaultLayer`] the layer. Which faults fire is
//! decided by counting and by a seeded generator: the same run gives the same faults.

mod layer;
mod spec;

pub use layer::{FaultLayer, UnsupportedFault};
pub use spec::{FaultAction, FaultParseError, FaultSpec, LinkFault, OpMatch};
