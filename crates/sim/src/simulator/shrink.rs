//! The shortest list of steps that still fails: delta debugging, one chunk at a time, as long as
//! the same kind of violation remains.

use super::{Kind, Run};

/// How many runs shrinking may take.
const RUNS: usize = 4000;

/// A run that fails with `kind`, made as short as can be.
pub fn shrink(run: &Run, kind: Kind) -> Run {
    let mut best = run.clone();
    let mut left = RUNS;
    let mut fails = |candidate: &Run| {
        left = left.saturating_sub(1);
        let violation = candidate.execute().violation;
        left > 0 && violation.is_some_and(|violation| violation.kind == kind)
    };
    // What comes after the violation has nothing to do with it.
    let done = best.execute().steps_done;
    best.steps.truncate(done);
    let mut chunk = best.steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut removed = false;
        while at < best.steps.len() {
            let mut candidate = best.clone();
            candidate.steps.drain(at..(at + chunk).min(best.steps.len()));
            if fails(&candidate) {
                best = candidate;
                removed = true;
            } else {
                at += chunk;
            }
        }
        if chunk == 1 && !removed {
            return best;
        }
        if !removed {
            chunk = chunk.div_ceil(2).max(1);
            if chunk * 2 <= 1 {
                return best;
            }
        }
    }
}
