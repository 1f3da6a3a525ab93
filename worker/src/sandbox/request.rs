//! What both kinds of sandbox ask a renderer, and what they make of its answer.

use std::time::Duration;

use super::wire::{DoneMessage, JobMessage, LimitsMessage};
use super::{
    Encoder, FailureClass, Limits, OutputFormat, OutputSpec, RenderError, RenderFailure,
    RenderRequest, Rendered, RenderedFile, Usage,
};

/// No job runs longer, whatever its limits say.
pub(super) const WALL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Largest scene that is passed on. The API refuses far smaller ones.
const SOURCE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Refuses what must never reach a sandbox. The API has checked before.
pub(super) fn check(request: &RenderRequest) -> Result<(), RenderError> {
    let invalid = |message: &str| Err(RenderFailure::new(FailureClass::Validation, message).into());
    let name = &request.file_name;
    let plain = name.ends_with(".py")
        && name.len() <= 128
        && !name.starts_with('.')
        && !name.contains(['/', '\0'])
        && !name.chars().any(char::is_control);
    let OutputSpec {
        format,
        width,
        height,
        fps,
        transparent,
        sections,
        ..
    } = request.output;
    if !plain {
        return invalid("the file name must be a plain name that ends in .py");
    }
    if request.source.len() > SOURCE_BYTES_MAX {
        return invalid("the source is larger than 4 MiB");
    }
    if request.source.contains('\0') {
        return invalid("the source contains a NUL character");
    }
    if !(1..=16384).contains(&width) || !(1..=16384).contains(&height) {
        return invalid("width and height must be between 1 and 16384 pixels");
    }
    if u64::from(width) * u64::from(height) > request.limits.pixels {
        return invalid(&format!(
            "pictures of {width}×{height} pixels are too large: {} pixels are the limit",
            request.limits.pixels
        ));
    }
    if !fps.is_finite() || !(0.01..=1000.0).contains(&fps) {
        return invalid("the frame rate must be between 0.01 and 1000");
    }
    if transparent && format == OutputFormat::Mp4 {
        return invalid("mp4 has no alpha channel: ask for mov or webm");
    }
    if sections && !format.can_have_sections() {
        return invalid("sections are films of their own: ask for mp4, webm or mov");
    }
    Ok(())
}

/// The message that starts a job.
pub(super) fn job_message(request: &RenderRequest) -> JobMessage<'_> {
    let limits = &request.limits;
    JobMessage {
        job_id: &request.job_id,
        attempt: request.attempt,
        file_name: &request.file_name,
        template: request.template,
        scene: request.scene.as_deref(),
        output: &request.output,
        formulas: request.formulas.is_some(),
        cores: request.cores.max(1),
        files: request.files.as_ref().map_or_else(Vec::new, |files| {
            let entries = files.entries.iter();
            entries
                .map(|file| (file.name.as_str(), file.bytes))
                .collect()
        }),
        limits: LimitsMessage {
            wall_s: limits.wall.min(WALL_MAX).as_secs_f64(),
            cpu_s: limits.cpu.as_secs().max(1),
            memory_bytes: limits.memory_bytes,
            output_bytes: limits.output_bytes,
            disk_bytes: limits.disk_bytes,
            disk_files: limits.disk_files,
            open_files: limits.open_files,
            threads: limits.threads,
            frames: limits.frames,
            pixels: limits.pixels,
            stall_s: limits.stall.map(|stall| stall.as_secs_f64()),
        },
    }
}

/// Id of the job of [`Sandbox::verify`]; no tenant's is called so.
pub(super) const VERIFY: &str = "verify";

/// The job of [`Sandbox::verify`]: three frames, and every wall tried.
pub(super) fn verification(wall: Duration) -> RenderRequest {
    RenderRequest {
        job_id: VERIFY.into(),
        attempt: 1,
        file_name: "verify.py".into(),
        source: include_str!("verify.py").into(),
        template: false,
        scene: None,
        output: OutputSpec {
            encoder: Encoder::Fast,
            ..OutputSpec::default()
        },
        limits: Limits {
            wall,
            ..Limits::default()
        },
        files: None,
        formulas: None,
        cores: 1,
        stop: tokio_util::sync::CancellationToken::new(),
    }
}

/// What a scene that printed without end is told.
pub(super) fn wrote_too_much(request: &RenderRequest) -> RenderFailure {
    RenderFailure {
        hint: Some("print less: look for a print in a loop or in an updater".into()),
        ..RenderFailure::new(
            FailureClass::OutputLimit,
            format!(
                "the scene wrote more than {} bytes of text",
                request.limits.log_bytes
            ),
        )
    }
}

/// A render that came to its end, with its results.
pub(super) fn finished(
    done: DoneMessage,
    artifacts: Vec<RenderedFile>,
    request: &RenderRequest,
) -> Rendered {
    let streamed = done.engine == "stream";
    let wanted_stream = request.output.encoder == Encoder::Fast;
    let mut warnings = done.warnings;
    if wanted_stream && !streamed && request.output.format != OutputFormat::Png {
        warnings.push("rendered with Manim's own writer: the fast one does not cover the codec that the scene has chosen".into());
    }
    Rendered {
        artifacts,
        timings: done.timings,
        usage: Usage {
            cpu_s: done.cpu_s,
            peak_memory_bytes: done.peak_memory_bytes,
            frames: done.frames,
            animations: done.animations,
            formulas_set: done.formulas_set,
        },
        tex: done.tex,
        warnings,
        layout: done.layout,
    }
}
