//! Between the job model and the sandbox's own words.

use manimq_shared::job::{self, JobError, JobResult, SourceLocation};

use crate::sandbox::{OutputSpec, Progress, RenderFailure, Stage, Timings, Usage};

/// The sandbox's request for what a job wants, its random numbers following from `chance`.
#[must_use]
pub fn output(spec: &job::OutputSpec, chance: String) -> OutputSpec {
    let (width, height, fps) = spec.size();
    OutputSpec {
        format: spec.format,
        width,
        height,
        fps: f64::from(fps),
        transparent: spec.transparent,
        sections: spec.sections,
        encoder: spec.encoder,
        seed: spec.seed.map(u64::from),
        chance: Some(chance),
    }
}

/// What the renderer gets in place of a source: the template with its parameters, as JSON.
///
/// # Errors
/// The job has no template, or none that can be written: a fault of whoever queued it.
#[allow(
    clippy::result_large_err,
    reason = "it is rare, and settles the attempt at once"
)]
pub fn template(payload: &job::JobPayload) -> Result<String, JobError> {
    let what = || {
        JobError::new(
            job::FailureClass::Internal,
            "this job has no template with resolved parameters",
        )
    };
    let template = payload.template.as_ref().ok_or_else(what)?;
    let params = payload.params.as_ref().ok_or_else(what)?;
    serde_json::to_string(&serde_json::json!({
        "id": template.id, "version": template.version, "params": params,
    }))
    .map_err(|_| what())
}

/// Progress as events carry it.
#[must_use]
pub fn progress(progress: &Progress) -> job::Progress {
    #[allow(clippy::cast_precision_loss)] // frame counts are far below 2^52
    let fraction = progress
        .frames_total
        .filter(|total| *total > 0)
        .map(|total| (progress.frames as f64 / total as f64).min(1.0));
    job::Progress {
        stage: Some(match progress.stage {
            Stage::Preparing => job::Stage::Preparing,
            Stage::Rendering => job::Stage::Rendering,
            Stage::Encoding => job::Stage::Encoding,
        }),
        fraction,
        frames_done: progress.frames,
        frames_total: progress.frames_total,
        animation: progress.animation,
        animations_total: progress.animations_total,
        animation_frames: progress.animation_frames,
        animation_frames_total: progress.animation_frames_total,
        eta_s: progress.eta_s,
        poster: None,
    }
}

/// What a failed render is to its user.
#[must_use]
pub fn failure(failure: &RenderFailure) -> JobResult {
    let place = |line: u64, function: Option<String>, code: Option<String>| SourceLocation {
        file: failure
            .file
            .clone()
            .unwrap_or_else(|| "scene.py".to_owned()),
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: None,
        end_column: None,
        function,
        code,
    };
    let column = |column: Option<u64>| column.and_then(|n| u32::try_from(n).ok());
    let location = failure.line.map(|line| SourceLocation {
        column: column(failure.column),
        end_column: column(failure.end_column),
        ..place(line, failure.function.clone(), failure.code.clone())
    });
    let latex = failure.latex.as_ref().map(|latex| {
        let formula = latex
            .formula
            .iter()
            .map(|formula| format!("formula: {formula}"));
        formula
            .chain(latex.errors.iter().cloned())
            .collect::<Vec<_>>()
            .join("\n")
    });
    let error = JobError {
        class: failure.class,
        message: failure.message.clone(),
        exception: None,
        location,
        stack: failure
            .stack
            .iter()
            .map(|frame| place(frame.line, Some(frame.function.clone()), frame.code.clone()))
            .collect(),
        latex,
        hint: Some(
            failure
                .hint
                .clone()
                .unwrap_or_else(|| failure.class.hint().to_owned()),
        ),
    };
    JobResult {
        error: Some(error),
        usage: job::Usage {
            cpu_s: failure.cpu_s,
            peak_memory_bytes: failure.peak_memory_bytes,
            ..job::Usage::default()
        },
        ..JobResult::default()
    }
}

/// Where the time went. What the render does not know, how long the job waited, is left open.
#[must_use]
pub fn timings(timings: Timings, upload_s: f64) -> job::Timings {
    job::Timings {
        queued_s: 0.0,
        prepare_s: timings.prepare_s,
        render_s: timings.render_s,
        encode_s: timings.encode_s,
        upload_s,
    }
}

/// What it took.
#[must_use]
pub fn usage(usage: Usage) -> job::Usage {
    job::Usage {
        cpu_s: usage.cpu_s,
        peak_memory_bytes: usage.peak_memory_bytes,
        frames: usage.frames,
        animations: usage.animations,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manimq_shared::job::FailureClass;

    #[test]
    fn every_failure_says_what_to_do_and_its_own_hint_comes_first() {
        for class in FailureClass::ALL {
            let mut failed = RenderFailure::new(*class, "it failed");
            let hint = |failed: &RenderFailure| failure(failed).error.and_then(|e| e.hint);
            assert_eq!(hint(&failed).as_deref(), Some(class.hint()));
            assert!(class.hint().len() > 20, "{class}");
            failed.hint = Some("do this".into());
            assert_eq!(hint(&failed).as_deref(), Some("do this"));
        }
    }
}
