//! What a job needs of the machine that it is on, and whose fault a failure is: the scene's, or the machine's.

use manimq_shared::job::FailureClass;

use crate::sandbox::{Limits, RenderFailure};

/// Room on its disk without which no job is begun.
pub(super) const DISK_MIN_BYTES: u64 = 96 * 1024 * 1024;
/// Room below which writes may fail: a job writes some MiB between two looks.
const DISK_FULL_BYTES: u64 = 16 * 1024 * 1024;

/// Whether a disk with so much room may take a job; else what is wrong with `place`.
pub(super) fn has_room(place: &str, free_bytes: u64) -> Result<(), String> {
    if free_bytes >= DISK_MIN_BYTES {
        return Ok(());
    }
    Err(format!(
        "the disk of {place} is full: {} MiB are left, a job wants {}",
        free_bytes >> 20,
        DISK_MIN_BYTES >> 20
    ))
}

/// What the machine was short of while a job ran.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Machine {
    /// The least room that its disk had, if that is known.
    pub disk_least_bytes: Option<u64>,
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
        let disk_was_full = self
            .disk_least_bytes
            .is_some_and(|least| least < DISK_FULL_BYTES);
        if disk_was_full && fits_full_disk(failure) {
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
        let blamed = |least, class| {
            let machine = Machine {
                disk_least_bytes: least,
                ..Machine::default()
            };
            let failure = failed(class, GIB);
            machine.is_to_blame(&failure, &Limits::default()).is_some()
        };
        use FailureClass::{OutOfMemory, OutputLimit, SceneError, Timeout};
        let full = Some(DISK_FULL_BYTES - 1);
        assert!(blamed(full, OutputLimit) && blamed(full, SceneError));
        assert!(!blamed(full, Timeout) && !blamed(full, OutOfMemory));
        assert!(!blamed(Some(DISK_FULL_BYTES), OutputLimit) && !blamed(None, OutputLimit));
    }

    #[test]
    fn no_job_begins_on_a_disk_with_little_room() {
        assert_eq!(has_room("it", DISK_MIN_BYTES), Ok(()));
        let said = has_room("it", 3 << 20).unwrap_err();
        assert!(said.contains("3 MiB are left"), "{said}");
    }
}
