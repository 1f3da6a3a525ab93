//! Whose fault it is that a job failed: the scene's, or the sandbox's it was in.

use manimq_shared::job::FailureClass;

use crate::sandbox::{Limits, RenderFailure};

/// What the sandbox was short of while a job ran.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Machine {
    /// It had no room left at some time.
    pub disk_was_full: bool,
    /// Processes that its kernel killed for want of memory.
    pub oom_kills: u64,
}

impl Machine {
    /// Why the scene is not to blame for its failure, if it is not.
    pub(super) fn is_to_blame(
        self,
        failure: &RenderFailure,
        limits: &Limits,
    ) -> Option<&'static str> {
        if self.disk_was_full && fits_full_disk(failure) {
            return Some("the sandbox's disk was full while it ran");
        }
        // A scene is the first to die when the machine's memory runs out, whoever used it up: no
        // cgroup bounds a job there. Below its own limit it was not the one.
        let of_memory = failure.class == FailureClass::OutOfMemory;
        if of_memory && self.oom_kills > 0 && failure.peak_memory_bytes < limits.memory_bytes {
            return Some(
                "the sandbox's memory ran out while it ran; give it more memory, or fewer slots (--slots-per-sandbox)",
            );
        }
        None
    }
}

/// Whether a full disk could be why a scene failed. It makes nothing slow, large or forbidden: a scene that ran into
/// such a limit beside it pays for that. (A write that finds no room is told as `output_limit`.)
fn fits_full_disk(failure: &RenderFailure) -> bool {
    !matches!(
        failure.class,
        FailureClass::Timeout
            | FailureClass::Stalled
            | FailureClass::OutOfMemory
            | FailureClass::SandboxDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn failed(class: FailureClass, peak: u64) -> RenderFailure {
        RenderFailure {
            peak_memory_bytes: peak,
            ..RenderFailure::new(class, "x")
        }
    }

    #[test]
    fn who_dies_for_want_of_memory_below_its_own_limit_is_not_to_blame() {
        let limits = Limits {
            memory_bytes: 2 * GIB,
            ..Limits::default()
        };
        let blamed = |kills, class, peak| {
            let machine = Machine {
                oom_kills: kills,
                ..Machine::default()
            };
            machine.is_to_blame(&failed(class, peak), &limits).is_some()
        };
        use FailureClass::{OutOfMemory, SceneError, Timeout};
        assert!(blamed(1, OutOfMemory, GIB));
        assert!(
            !blamed(0, OutOfMemory, GIB),
            "nobody was killed: its own limit"
        );
        assert!(!blamed(3, OutOfMemory, 2 * GIB), "it had all it may have");
        assert!(!blamed(1, SceneError, GIB) && !blamed(1, Timeout, GIB));
    }

    #[test]
    fn a_full_disk_is_to_blame_for_what_it_can_cause() {
        let machine = Machine {
            disk_was_full: true,
            ..Machine::default()
        };
        let blamed = |class| {
            let failure = failed(class, GIB);
            machine.is_to_blame(&failure, &Limits::default()).is_some()
        };
        assert!(blamed(FailureClass::OutputLimit) && blamed(FailureClass::SceneError));
        assert!(!blamed(FailureClass::Timeout) && !blamed(FailureClass::OutOfMemory));
    }
}
