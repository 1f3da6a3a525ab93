//! One attempt at one job, from the claim to its settlement.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use backon::{ExponentialBuilder, Retryable as _};
use manimq_shared::ids::JobId;
use manimq_shared::job::{
    ArtifactRole, CacheMode, FailureClass, JobError, JobFile, JobInput, JobPayload, JobRequest,
    JobResult, Progress, SOURCE_FILE_NAME_DEFAULT, Stage, StoredArtifact,
};
use manimq_shared::queue::{
    Claim, EventKind, LEASE, Queue, QueueError, RenderKey, RenderLimit, RenderLimits, Renewal,
    Settled, failed,
};
use manimq_shared::scene_policy::{self, CheckError, ScenePolicy};
use manimq_shared::traces::{Span, Traces};
use tokio_util::sync::CancellationToken;

use crate::assets::{self, AssetError};
use crate::board::Board;
use crate::ceilings::Ceilings;
use crate::convert;
use crate::cores::{Cores, Taken};
use crate::forward::{Early, Reached, forward, send};
use crate::layout;
use crate::leases::{Held, Leases, Verdict};
use crate::metrics::WorkerMetrics;
use crate::sandbox::formulas::FormulaStore;
use crate::sandbox::{EventSender, Files, Limits, RenderError, RenderRequest, Rendered, Sandbox};
use crate::spans::{Spans, trace_of};
use crate::upload::{Upload, UploadError, Uploader};

/// How long an answer of Redis is waited for when a finished attempt is to be settled: a
/// restarted Redis must not cost a finished render.
const SETTLE_FOR: Duration = Duration::from_secs(120);
/// Events of a render that may wait to be read.
const EVENTS: usize = 64;

/// What every attempt needs. Clones share it.
#[derive(Clone)]
pub struct Context {
    /// The queue.
    pub queue: Queue,
    /// The worker's leases.
    pub leases: Leases,
    /// The worker's slots.
    pub board: Board,
    /// Where results go.
    pub uploader: Uploader,
    /// How the source is checked again.
    pub policy: ScenePolicy,
    /// What one render of a tenant may use.
    pub ceilings: Ceilings,
    /// Formulas of earlier jobs, by tenant.
    pub formulas: FormulaStore,
    /// The machine's, for renders that can use several.
    pub cores: Cores,
    /// What is counted.
    pub metrics: WorkerMetrics,
    /// Where traces of jobs go.
    pub traces: Traces,
    /// Cancelled when running renders must end now.
    pub kill: CancellationToken,
}

/// What the render came to, before it is settled.
enum Outcome {
    Done(JobResult),
    Failed(JobResult),
    Canceled,
    Released(&'static str),
    Lost,
}

/// Runs a claimed job in `sandbox` and settles the claim.
#[tracing::instrument(skip_all, fields(job.id = %claim.job, attempt.n = claim.attempt, lease.epoch = %claim.epoch, trace_id = trace_of(&claim).id()))]
pub async fn run<S: Sandbox>(context: &Context, sandbox: &mut S, claim: Claim) {
    let started = Instant::now();
    let spans = Spans::begin(&context.traces, &claim);
    context.metrics.tenants.began(&claim.tenant);
    let held = context.leases.hold(claim.job, claim.epoch);
    let request = claim.payload.as_ref().ok().map(|payload| &payload.request);
    let early = Early::default();
    let mut outcome = match &claim.payload {
        Ok(payload) => render(context, sandbox, &claim, &held, &spans, payload, &early).await,
        Err(error) => {
            tracing::error!(error = %error, "cannot read the job");
            let text = "what Redis holds of this job cannot be read by this worker";
            Outcome::Failed(failed(JobError::new(FailureClass::Internal, text)))
        }
    };
    if let Outcome::Failed(result) = &mut outcome {
        // Also of what failed before it was rendered.
        result.stage.get_or_insert(Stage::Preparing);
    }
    if let Outcome::Done(result) | Outcome::Failed(result) = &mut outcome {
        result.timings.queued_s = queued_s(&claim);
    }
    if !matches!(outcome, Outcome::Lost) {
        early.remove(context, &claim).await;
    }
    let settling = SystemTime::now();
    let settled = settle(context, &claim, &held, &outcome).await;
    drop(held);
    spans.tell(|| Span::since(outcome.transition(), settling));
    let took = started.elapsed();
    let ended = count(context, &claim, request, &outcome, settled, took);
    if ended == "canceled" {
        tell_cancel(context, &claim).await;
    }
    spans.end(&claim, &context.board.info().id.to_string(), ended, settled);
}

impl Outcome {
    /// The transition that settles it.
    fn transition(&self) -> &'static str {
        match self {
            Self::Done(_) => "finish",
            Self::Failed(_) => "fail",
            Self::Canceled => "cancel",
            Self::Released(_) => "release",
            Self::Lost => "lost",
        }
    }
}

/// Says in metrics how long the cancel took. Redis has noted both ends by its own clock, after the render was dead.
async fn tell_cancel(context: &Context, claim: &Claim) {
    let read = context.queue.read(claim.job);
    let Ok(Some(record)) = context.metrics.redis("read", read).await else {
        return;
    };
    if let (Some(asked), Some(ended)) = (record.cancel_requested_at, record.finished_at) {
        let took = ended.duration_since(asked).as_secs_f64();
        context.metrics.cancel.observe(took.max(0.0));
    }
}

/// Says in metrics and in the log how the attempt ended.
fn count(
    context: &Context,
    claim: &Claim,
    request: Option<&JobRequest>,
    outcome: &Outcome,
    settled: Settled,
    took: Duration,
) -> &'static str {
    let metrics = &context.metrics;
    // The canary's are told apart, so that nobody takes them for users' jobs.
    let lane = match request {
        _ if claim.tenant.is_canary() => "canary",
        Some(request) => request.lane.as_str(),
        None => "unknown",
    };
    let quality = request.map_or("unknown", |request| {
        request.output.counted_quality().as_str()
    });
    if claim.attempt == 1 {
        metrics
            .pickup
            .with_label_values(&[lane])
            .observe(queued_s(claim));
    }
    metrics.tenants.attempted(&claim.tenant, took);
    let since_submit_s = queued_s(claim) + took.as_secs_f64();
    let finished = |status: &str, class: &str| {
        metrics
            .jobs_finished
            .with_label_values(&[lane, status, class])
            .inc();
        metrics
            .tenants
            .ended(&claim.tenant, status, class, since_submit_s);
    };
    let ended = match (outcome, settled) {
        // Counted by who heard it.
        (Outcome::Lost, _) => "lost",
        (_, Settled::Lost) => {
            metrics.leases_lost.with_label_values(&["superseded"]).inc();
            "lost"
        }
        (_, Settled::Canceled) | (Outcome::Canceled, _) => {
            finished("canceled", "");
            "canceled"
        }
        (_, Settled::WillRetry) => "will be tried again",
        (Outcome::Released(_), _) => "released",
        (Outcome::Failed(result), _) => {
            let class = result
                .error
                .as_ref()
                .map_or("internal", |error| error.class.as_str());
            finished("failed", class);
            class
        }
        (Outcome::Done(result), _) => {
            finished("succeeded", "");
            metrics
                .submit_to_done
                .with_label_values(&[lane, quality])
                .observe(since_submit_s);
            metrics
                .job
                .with_label_values(&[lane, quality])
                .observe(took.as_secs_f64());
            let film_s = result.artifacts.first().and_then(|film| film.duration_s);
            if let Some(film_s) = film_s.filter(|seconds| *seconds > 0.0) {
                metrics
                    .realtime_ratio
                    .with_label_values(&[quality])
                    .observe(took.as_secs_f64() / film_s);
            }
            metrics
                .frames
                .with_label_values(&[quality])
                .inc_by(result.usage.frames);
            for (stage, seconds) in [
                ("preparing", result.timings.prepare_s),
                ("rendering", result.timings.render_s),
                ("encoding", result.timings.encode_s),
                ("uploading", result.timings.upload_s),
            ] {
                metrics.stage.with_label_values(&[stage]).observe(seconds);
            }
            if let Some(request) = request {
                let bytes = result.artifacts.iter().map(|artifact| artifact.bytes).sum();
                let format = request.output.format.as_str();
                metrics
                    .output_bytes
                    .with_label_values(&[format])
                    .inc_by(bytes);
            }
            "succeeded"
        }
    };
    tracing::info!(
        outcome = ended,
        duration_ms = took.as_millis(),
        "{}: {ended}",
        claim.job
    );
    ended
}

async fn render<S: Sandbox>(
    context: &Context,
    sandbox: &mut S,
    claim: &Claim,
    held: &Held,
    spans: &Spans,
    payload: &JobPayload,
    early: &Early,
) -> Outcome {
    // Given back before the result is stored.
    let cores = context.cores.take();
    let mut request = match prepare(context, claim, held, payload, &cores).await {
        Ok(request) => request,
        Err(error) => return Outcome::Failed(failed(error)),
    };
    let files = payload.request.input.files();
    if !files.is_empty() {
        request.files = match fetch(context, claim, held, files).await {
            Ok(files) => Some(files),
            Err(outcome) => return outcome,
        };
    }
    let stop = request.stop.clone();
    let (sender, receiver) = EventSender::channel(EVENTS);
    let began = SystemTime::now();
    let mut reached = Reached::nothing();
    let result = {
        // Killed renders end through the same token as cancelled ones.
        let killer = async {
            context.kill.cancelled().await;
            stop.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            (result, ()) = async { tokio::join!(sandbox.render(request, sender), forward(context, claim, held, receiver, early, &mut reached)) } => result,
            () = killer => unreachable!("the killer never ends"),
        }
    };
    drop(cores);
    spans.rendered(began, &result);
    let quality = payload.request.output.counted_quality().as_str();
    match &result {
        Ok(rendered) => context.metrics.rendered(quality, rendered),
        Err(RenderError::Failed(failure)) => context.metrics.render_failed(quality, failure),
        Err(RenderError::Interrupted | RenderError::SandboxLost { .. }) => {}
    }
    match result {
        Ok(mut rendered) => {
            for warning in &rendered.layout {
                let kind = warning.kind.as_str();
                context
                    .metrics
                    .layout_warnings
                    .with_label_values(&[kind])
                    .inc();
            }
            rendered.warnings = layout::warnings(rendered.warnings, &rendered.layout);
            if payload.request.strict && !rendered.layout.is_empty() {
                return Outcome::Failed(refused(rendered));
            }
            publish(context, claim, held, spans, rendered, early).await
        }
        Err(RenderError::Failed(failure)) => {
            Outcome::Failed(reached.told_in(convert::failure(&failure)))
        }
        Err(RenderError::Interrupted) => match held.verdict() {
            Some(Verdict::Canceled) => Outcome::Canceled,
            Some(Verdict::Lost) => Outcome::Lost,
            None => Outcome::Released("the worker is stopping"),
        },
        Err(RenderError::SandboxLost { reason }) => {
            tracing::warn!(reason, "lost the sandbox during {}", claim.job);
            Outcome::Failed(reached.told_in(failed(JobError::new(
                FailureClass::SandboxUnavailable,
                "the sandbox broke during the render; the job is tried again",
            ))))
        }
    }
}

/// A strict job whose film has warnings: nothing of it is stored.
fn refused(rendered: Rendered) -> JobResult {
    JobResult {
        error: Some(layout::strict_failure(&rendered.layout)),
        stage: Some(Stage::Encoding),
        timings: convert::timings(rendered.timings, 0.0),
        usage: convert::usage(rendered.usage),
        warnings: rendered.warnings,
        ..JobResult::default()
    }
}

/// Checks the source once more and makes the sandbox's request of it.
async fn prepare(
    context: &Context,
    claim: &Claim,
    held: &Held,
    payload: &JobPayload,
    cores: &Taken,
) -> Result<RenderRequest, JobError> {
    let input = &payload.request.input;
    let file_name = input.file_name().unwrap_or(SOURCE_FILE_NAME_DEFAULT);
    let file_name = file_name.to_owned();
    let source: Arc<str> = match input {
        JobInput::Code { source, .. } => checked(context, source, &file_name).await?,
        // Our own code, which the policy does not concern; the walls are the same.
        JobInput::Template { .. } | JobInput::Prompt { .. } => convert::template(payload)?.into(),
    };
    let ceilings = context.ceilings.of(&context.queue, &claim.tenant).await;
    let ceilings = ceilings.map_err(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot read the limits of a tenant"
        );
        JobError::new(
            FailureClass::Internal,
            "the worker could not read what this render may use",
        )
    })?;
    Ok(RenderRequest {
        job_id: claim.job.to_string(),
        attempt: claim.attempt,
        file_name,
        source,
        template: input.source().is_none(),
        scene: input.scene().map(str::to_owned),
        output: convert::output(&payload.request.output, chance(claim.job, payload)),
        limits: limits(payload.request.timeout_s, &ceilings, cores.count()),
        files: None,
        formulas: Some(context.formulas.shelf(claim.tenant.to_string())),
        cores: cores.count(),
        stop: held.stop().child_token(),
    })
}

/// What a scene's random numbers follow from where it has no seed: what is asked for, so that it is the same film
/// again after a lost worker and for whoever asks next; the job where it is to be rendered anew.
fn chance(job: JobId, payload: &JobPayload) -> String {
    let anew = payload.request.cache == CacheMode::Refresh;
    let key = RenderKey::of(payload).filter(|_| !anew);
    key.map_or_else(|| job.to_string(), |key| key.as_str().to_owned())
}

/// The source as the policy decoded it.
async fn checked(context: &Context, source: &str, file_name: &str) -> Result<Arc<str>, JobError> {
    let checked = scene_policy::check_async(source.as_bytes(), context.policy.clone()).await;
    match checked {
        Ok(checked) => Ok(Arc::from(checked.source.as_str())),
        Err(CheckError::Rejected(rejected)) => {
            let text = rejected.in_file(file_name).to_string();
            Err(JobError::new(FailureClass::Validation, text))
        }
        Err(other) => Err(JobError::new(FailureClass::Internal, other.to_string())),
    }
}

/// The files that came with the job.
async fn fetch(
    context: &Context,
    claim: &Claim,
    held: &Held,
    files: &[JobFile],
) -> Result<Files, Outcome> {
    let (job, epoch, token) = (claim.job, claim.epoch, &claim.token);
    let fetching = assets::fetch(&context.uploader, job, epoch, token, files);
    let fetched = tokio::select! {
        fetched = fetching => fetched,
        () = held.stop().cancelled() => return Err(match held.verdict() {
            Some(Verdict::Canceled) => Outcome::Canceled,
            Some(Verdict::Lost) | None => Outcome::Lost,
        }),
        () = context.kill.cancelled() => return Err(Outcome::Released("the worker is stopping")),
    };
    fetched.map_err(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot fetch the files of {}",
            claim.job
        );
        let class = match &error {
            AssetError::Invalid(_) => FailureClass::Validation,
            AssetError::Store(_) => FailureClass::Storage,
        };
        Outcome::Failed(failed(JobError::new(class, error.to_string())))
    })
}

/// What one attempt may use. Drawing and encoding run side by side, so the processor time that
/// goes with a wall time is about twice as much; it must never be what ends an honest render.
fn limits(timeout_s: u32, ceilings: &RenderLimits, cores: u32) -> Limits {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    let wall = Duration::from_secs(u64::from(timeout_s));
    let usual = Limits::default();
    let of = |limit, unit: u64, usual: u64| {
        ceilings
            .get(limit)
            .map_or(usual, |value| u64::from(value) * unit)
    };
    Limits {
        wall,
        cpu: Duration::from_secs(of(
            RenderLimit::CpuSeconds,
            1,
            wall.as_secs() * u64::from(cores + 1).max(4),
        )),
        memory_bytes: of(RenderLimit::MemoryMib, MIB, usual.memory_bytes),
        output_bytes: of(RenderLimit::OutputMib, MIB, usual.output_bytes),
        disk_bytes: of(RenderLimit::DiskMib, MIB, usual.disk_bytes),
        disk_files: of(RenderLimit::DiskFiles, 1, usual.disk_files),
        open_files: of(RenderLimit::OpenFiles, 1, usual.open_files),
        threads: of(RenderLimit::Threads, 1, usual.threads),
        frames: of(RenderLimit::Frames, 1, usual.frames),
        pixels: of(RenderLimit::Pixels, 1, usual.pixels),
        log_bytes: of(RenderLimit::LogKib, KIB, usual.log_bytes),
        stall: usual.stall,
    }
}

async fn publish(
    context: &Context,
    claim: &Claim,
    held: &Held,
    spans: &Spans,
    rendered: Rendered,
    early: &Early,
) -> Outcome {
    let progress = Progress {
        stage: Some(Stage::Uploading),
        fraction: Some(1.0),
        frames_done: rendered.usage.frames,
        frames_total: Some(rendered.usage.frames),
        animation: rendered.usage.animations,
        animations_total: Some(rendered.usage.animations),
        poster: early.poster(),
        ..Progress::default()
    };
    send(held, EventKind::Progress, &progress);
    let (started, began) = (Instant::now(), SystemTime::now());
    let mut artifacts = Vec::new();
    let mut uploads = Vec::new();
    for file in rendered.artifacts {
        let moving = matches!(file.role, ArtifactRole::Video | ArtifactRole::Section);
        artifacts.push(StoredArtifact {
            name: file.name.clone(),
            role: file.role,
            mime: file.mime.clone(),
            key: String::new(),
            bytes: file.bytes,
            sha256: String::new(),
            width: (file.width > 0).then_some(file.width),
            height: (file.height > 0).then_some(file.height),
            fps: moving.then_some(file.fps),
            duration_s: moving.then_some(file.duration_s),
            frames: moving.then_some(file.frames),
        });
        uploads.push(Upload {
            name: file.name,
            mime: file.mime,
            bytes: file.bytes,
            content: file.file,
        });
    }
    let storing = context
        .uploader
        .store(claim.job, claim.epoch, &claim.token, uploads);
    let stored = tokio::select! {
        stored = storing => stored,
        () = held.stop().cancelled() => return match held.verdict() {
            Some(Verdict::Canceled) => Outcome::Canceled,
            Some(Verdict::Lost) | None => Outcome::Lost,
        },
        () = context.kill.cancelled() => return Outcome::Released("the worker is stopping"),
    };
    spans.tell(|| {
        let bytes: u64 = artifacts.iter().map(|artifact| artifact.bytes).sum();
        Span::since("upload", began)
            .with("artifact.bytes", i64::try_from(bytes).unwrap_or(i64::MAX))
            .failed(stored.is_err().then(|| "storage".to_owned()))
    });
    let came_to = JobResult {
        stage: Some(Stage::Uploading),
        timings: convert::timings(rendered.timings, started.elapsed().as_secs_f64()),
        usage: convert::usage(rendered.usage),
        ..JobResult::default()
    };
    match stored {
        Ok(stored) => {
            for (artifact, stored) in artifacts.iter_mut().zip(stored) {
                artifact.key = stored.key;
                artifact.sha256 = stored.sha256;
            }
            Outcome::Done(JobResult {
                artifacts,
                warnings: rendered.warnings,
                stage: None,
                ..came_to
            })
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot store {}",
                claim.job
            );
            if let UploadError::Sandbox(_) = &error {
                let text = "the sandbox broke before the result was stored; the job is tried again";
                let class = FailureClass::SandboxUnavailable;
                return Outcome::Failed(JobResult {
                    error: Some(JobError::new(class, text)),
                    ..came_to
                });
            }
            let text = match &error {
                UploadError::Later { what, .. } => format!("{what} did not work"),
                UploadError::Stale(text) | UploadError::Refused(text) => text.clone(),
                UploadError::File(_) | UploadError::Sandbox(_) => {
                    "the rendered file could not be read".to_owned()
                }
            };
            Outcome::Failed(JobResult {
                error: Some(JobError::new(FailureClass::Storage, text)),
                ..came_to
            })
        }
    }
}

/// Seconds from submit to claim.
fn queued_s(claim: &Claim) -> f64 {
    let queued = claim.claimed_at.duration_since(claim.created_at);
    queued.as_secs_f64().max(0.0)
}

/// Tells the queue how the attempt ended; keeps trying for [`SETTLE_FOR`] while Redis is away.
async fn settle(context: &Context, claim: &Claim, held: &Held, outcome: &Outcome) -> Settled {
    let (queue, job, epoch) = (&context.queue, claim.job, claim.epoch);
    if matches!(outcome, Outcome::Lost) {
        return Settled::Lost;
    }
    // What the scene said last goes up before the job's last event.
    let events = held.take_events();
    if !events.is_empty() {
        let news = Renewal { job, epoch, events };
        if let Err(error) = queue.renew(&context.board.info(), LEASE, &[news]).await {
            tracing::debug!(error = %error, "the last events are lost");
        }
    }
    let jitter = jitter();
    let settling = || async {
        let call = async {
            match outcome {
                Outcome::Done(result) => queue.finish(job, epoch, result).await,
                Outcome::Failed(result) => queue.fail(job, epoch, result, jitter).await,
                Outcome::Canceled => queue.finish_canceled(job, epoch).await,
                Outcome::Released(reason) => queue.release(job, epoch, reason).await,
                Outcome::Lost => Ok(Settled::Lost),
            }
        };
        context.metrics.redis("settle", call).await
    };
    settling
        .retry(
            ExponentialBuilder::default()
                .with_jitter()
                .with_min_delay(Duration::from_millis(50))
                .with_max_delay(Duration::from_secs(2))
                .without_max_times()
                .with_total_delay(Some(SETTLE_FOR)),
        )
        .when(|error: &QueueError| matches!(error, QueueError::Unavailable(_)))
        .notify(|error, pause| {
            let shown = error as &dyn std::error::Error;
            tracing::warn!(error = shown, ?pause, "cannot settle the job yet");
        })
        .await
        .unwrap_or_else(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "gave up settling; the lease will run out and the job runs again"
            );
            Settled::Lost
        })
}

/// A random number from 0 to 1, good enough to spread retries.
fn jitter() -> f64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let bits = std::hash::RandomState::new().build_hasher().finish();
    #[allow(clippy::cast_precision_loss)]
    let fraction = (bits >> 11) as f64 / (1u64 << 53) as f64;
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use manimq_shared::job::TIMEOUT_S_MAX;

    #[test]
    fn chance_is_the_same_for_the_same_film_and_another_where_it_is_rendered_anew() {
        let payload = |cache: &str, fps: u32| -> JobPayload {
            serde_json::from_value(serde_json::json!({
                "input": {"kind": "code", "source": "x"}, "output": {"fps": fps}, "cache": cache,
            }))
            .expect("a payload")
        };
        let (one, other) = (
            JobId::generate(&Default::default()),
            JobId::generate(&Default::default()),
        );
        let of = |job, cache, fps| chance(job, &payload(cache, fps));
        assert_eq!(of(one, "use", 24), of(other, "use", 24));
        assert_ne!(of(one, "use", 24), of(one, "use", 25));
        assert_eq!(
            of(one, "refresh", 24),
            of(one, "refresh", 24),
            "after a lost worker"
        );
        assert_ne!(of(one, "refresh", 24), of(other, "refresh", 24));
        assert_ne!(of(one, "refresh", 24), of(one, "use", 24));
    }

    #[test]
    fn a_ceiling_takes_the_place_of_the_default_and_the_rest_stays() {
        let ceilings = "cpu_s=7,memory_mib=100,log_kib=3".parse().expect("limits");
        let limits = limits(60, &ceilings, 1);
        assert_eq!(limits.cpu, Duration::from_secs(7));
        assert_eq!(limits.memory_bytes, 100 << 20);
        assert_eq!(limits.log_bytes, 3 << 10);
        assert_eq!(limits.frames, Limits::default().frames);
        let none = super::limits(60, &RenderLimits::default(), 1);
        let usual = Limits {
            wall: Duration::from_secs(60),
            cpu: Duration::from_secs(240),
            ..Limits::default()
        };
        assert_eq!(none, usual);
    }

    #[test]
    fn processor_time_never_ends_a_render_before_its_wall_time() {
        for (timeout_s, cores) in [(1, 1), (600, 4), (TIMEOUT_S_MAX, 32)] {
            let limits = limits(timeout_s, &RenderLimits::default(), cores);
            assert_eq!(limits.wall.as_secs(), u64::from(timeout_s));
            assert!(limits.cpu >= limits.wall * (cores + 1));
        }
    }
}
