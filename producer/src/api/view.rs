//! The job object as clients see it: the record, with URLs that are signed afresh on each read.

use jiff::Timestamp;
use manimq_shared::api::{ArtifactView, InputView, JobView, Links, QueueView, ResolvedView};
use manimq_shared::ids::JobId;
use manimq_shared::job::{
    EARLY_POSTER, EarlyPoster, JobInput, JobRecord, Progress, Stage, Status, StoredArtifact,
    Timings, Usage,
};
use manimq_shared::queue::ListedJob;
use manimq_shared::storage::ArtifactKey;

use super::App;

/// The URL of a job.
pub(super) fn job_path(record: &JobRecord) -> String {
    format!("/v1/jobs/{}", record.id)
}

/// The job object.
pub(super) fn job(app: &App, record: &JobRecord) -> JobView {
    let base = format!("{}{}", app.parts().public_url, job_path(record));
    let request = &record.payload.request;
    let input = &request.input;
    let result = record.result.as_ref();
    let artifacts = artifacts(app, record);
    let result_url = main(record).and_then(|main| {
        let name = main.name.as_str();
        let view = artifacts.iter().find(|view| view.name == name)?;
        Some(view.url.clone())
    });
    JobView {
        id: record.id,
        revision: record.revision,
        status: record.status,
        stage: stage(record),
        tenant: record.tenant.clone(),
        created_at: record.created_at,
        started_at: record.started_at,
        finished_at: record.finished_at,
        expires_at: record.expires_at,
        cancel_requested_at: record.cancel_requested_at,
        input: InputView {
            kind: input.kind().to_owned(),
            scene: input.scene().map(str::to_owned),
            file_name: input.file_name().map(str::to_owned),
            source_bytes: input.source().map_or(0, str::len) as u64,
            files: input.files().to_vec(),
            prompt: match input {
                JobInput::Prompt { prompt, .. } => Some(prompt.clone()),
                JobInput::Code { .. } | JobInput::Template { .. } => None,
            },
        },
        resolved: resolved(record),
        by_model: record.payload.by_model.clone(),
        output: request.output.clone(),
        timeout_s: request.timeout_s,
        cache: request.cache,
        strict: request.strict,
        queue: (record.status == Status::Queued).then_some(QueueView {
            lane: record.lane,
            position: record.position,
            paused: record.paused,
            not_before: record.not_before,
            expected_wait_s: record.expected_wait.map(|wait| wait.as_secs()),
        }),
        progress: progress(app, record),
        attempts: record.attempts.clone(),
        artifacts,
        warnings: result.map(|r| r.warnings.clone()).unwrap_or_default(),
        error: result.and_then(|r| r.error.clone()),
        timings: timings(record),
        usage: result.map(|r| r.usage).filter(|usage| {
            // Nobody could say what a job used whose worker was lost.
            record.status == Status::Succeeded || *usage != Usage::default()
        }),
        tags: request.tags.clone(),
        metadata: request.metadata.clone(),
        parent: record.payload.parent,
        rendered_by: record.rendered_by,
        cached: record.cached,
        result_url,
        links: Links {
            events: format!("{base}/events"),
            logs: format!("{base}/logs"),
            cancel: format!("{base}/cancel"),
            rerun: format!("{base}/rerun"),
            this: base,
        },
    }
}

/// Where the time went. A job for which another's render answers waited for no slot but until that was under way.
fn timings(record: &JobRecord) -> Option<Timings> {
    let mut timings = record.result.as_ref()?.timings;
    if record.status != Status::Succeeded && timings == Timings::default() {
        return None;
    }
    if let (Some(_), Some(started)) = (record.rendered_by, record.started_at) {
        let queued = started.duration_since(record.created_at).as_secs_f64();
        timings.queued_s = queued.max(0.0);
    }
    Some(timings)
}

/// What a template or a prompt became.
fn resolved(record: &JobRecord) -> Option<ResolvedView> {
    let payload = &record.payload;
    let template = payload.template.as_ref()?;
    let params = match &payload.request.input {
        JobInput::Template { params, .. } => Some(params),
        JobInput::Prompt { .. } => payload.planned.as_ref(),
        JobInput::Code { .. } => None,
    };
    Some(ResolvedView {
        id: template.id.clone(),
        version: template.version.clone(),
        params: params.cloned(),
        notes: payload.notes.clone(),
    })
}

/// The job object of a list, whose record lacks the source, the prompt and the parameters.
pub(super) fn listed(app: &App, listed: &ListedJob) -> JobView {
    let mut view = job(app, &listed.record);
    view.input.source_bytes = listed.source_bytes;
    view.input.prompt = None;
    view.by_model = None;
    if let Some(resolved) = &mut view.resolved {
        resolved.params = None;
        resolved.notes.clear();
    }
    view
}

/// How far it is, or came.
fn progress(app: &App, record: &JobRecord) -> Progress {
    match &record.result {
        Some(result) if record.status == Status::Succeeded => Progress {
            stage: Some(Stage::Uploading),
            fraction: Some(1.0),
            frames_done: result.usage.frames,
            frames_total: Some(result.usage.frames),
            animation: result.usage.animations,
            animations_total: Some(result.usage.animations),
            ..Progress::default()
        },
        Some(result) if record.status == Status::Failed => Progress {
            stage: Some(stage(record)),
            frames_done: result.usage.frames,
            animation: result.usage.animations,
            ..Progress::default()
        },
        _ => {
            let mut progress = record.progress.clone();
            let drawn = record.status == Status::Running && record.cancel_requested_at.is_none();
            let attempt = record.attempts.last().map(|attempt| attempt.epoch);
            let poster = progress.poster.take();
            // Who waits for another's render has no attempts of its own.
            let poster = poster.filter(|told| drawn && attempt.is_none_or(|own| own == told.epoch));
            let renders = record.rendered_by.unwrap_or(record.id);
            progress.poster = poster.and_then(|poster| early_poster(app, renders, poster));
            progress
        }
    }
}

/// What a worker told of the still of a film that it draws, with the URL. Its key is of our making: a worker can
/// make nobody read another job's files.
pub(super) fn early_poster(app: &App, job: JobId, poster: EarlyPoster) -> Option<EarlyPoster> {
    let key = ArtifactKey::new(job, poster.epoch, EARLY_POSTER.parse().ok()?);
    let store = app.store();
    let file_name = format!("{job}-{EARLY_POSTER}");
    let url = store.get_url(
        &app.parts().public_url,
        key,
        file_name,
        store.get_expiry_s(),
    );
    Some(EarlyPoster {
        url: Some(url),
        ..poster
    })
}

/// What is being done, or what was done last.
pub(super) fn stage(record: &JobRecord) -> Stage {
    match record.status {
        Status::Queued => Stage::Accepted,
        Status::Running => record.progress.stage.unwrap_or(Stage::Preparing),
        Status::Succeeded => Stage::Uploading,
        Status::Failed | Status::Canceled | Status::Expired => {
            let told = record.result.as_ref().and_then(|result| result.stage);
            told.unwrap_or(if record.attempts.is_empty() {
                Stage::Accepted
            } else {
                Stage::Rendering
            })
        }
    }
}

/// The job's main file.
fn main(record: &JobRecord) -> Option<&StoredArtifact> {
    published(record).find(|artifact| {
        artifact
            .key
            .parse::<ArtifactKey>()
            .is_ok_and(|key| key.name().is_main())
    })
}

/// What was published; nothing before the job succeeded.
pub(super) fn published(record: &JobRecord) -> impl Iterator<Item = &StoredArtifact> {
    record
        .result
        .iter()
        .filter(|_| record.status == Status::Succeeded)
        .flat_map(|result| &result.artifacts)
}

/// A fresh URL for an artifact, and when it expires. `None` if what lies in Redis names no file
/// of this job: a worker can make nobody read another job's files.
pub(super) fn url(
    app: &App,
    record: &JobRecord,
    artifact: &StoredArtifact,
) -> Option<(String, Timestamp)> {
    let key: ArtifactKey = artifact.key.parse().ok()?;
    // Jobs of one tenant that ask for the same work share a file.
    if key.job() != record.rendered_by.unwrap_or(record.id) {
        tracing::warn!(job.id = %record.id, "an artifact of {} has a key of another job", record.id);
        return None;
    }
    let store = app.store();
    let expires_s = store.get_expiry_s();
    let file_name = file_name(record, &key);
    let url = store.get_url(&app.parts().public_url, key, file_name, expires_s);
    let expires_at = Timestamp::from_second(i64::try_from(expires_s).ok()?).ok()?;
    Some((url, expires_at))
}

pub(super) fn artifacts(app: &App, record: &JobRecord) -> Vec<ArtifactView> {
    published(record)
        .filter_map(|artifact| {
            let (url, url_expires_at) = url(app, record, artifact)?;
            Some(ArtifactView {
                name: artifact.name.clone(),
                role: artifact.role,
                mime: artifact.mime.clone(),
                bytes: artifact.bytes,
                sha256: artifact.sha256.clone(),
                width: artifact.width,
                height: artifact.height,
                fps: artifact.fps,
                duration_s: artifact.duration_s,
                frames: artifact.frames,
                url,
                url_expires_at,
            })
        })
        .collect()
}

/// The name under which a browser saves it: `MyScene.mp4`, `MyScene-poster.png`.
fn file_name(record: &JobRecord, key: &ArtifactKey) -> String {
    let payload = &record.payload;
    let template = payload
        .template
        .as_ref()
        .map(|template| template.id.as_str());
    let stem = payload.request.input.scene().or(template);
    let stem = stem.map_or_else(|| record.id.to_string(), str::to_owned);
    if key.name().is_main() {
        format!("{stem}.{}", key.name().extension())
    } else {
        format!("{stem}-{}", key.name())
    }
}

/// The entity tag: the revision, and what else shows in the object without changing it (the
/// place in the queue, and the period for which the URLs are signed).
pub(super) fn etag(app: &App, record: &JobRecord) -> String {
    let mut tag = format!("\"{}", record.revision);
    if let Some(position) = record.position {
        tag.push_str(&format!(".p{position}"));
    }
    if let Some(paused) = record.paused {
        tag.push_str(&format!(".h{paused}"));
    }
    if let Some(wait) = record.expected_wait {
        tag.push_str(&format!(".w{}", wait.as_secs()));
    }
    if record.status == Status::Succeeded {
        tag.push_str(&format!(".u{}", app.store().get_expiry_s()));
    }
    tag.push('"');
    tag
}
