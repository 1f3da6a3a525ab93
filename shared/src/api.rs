//! The HTTP API's bodies, as server, command line and worker share them.
//!
//! Field names follow the job model of [`crate::job`]; URLs are minted on each read and never stored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{Epoch, JobId, LeaseToken, TenantId, WebhookId};
use crate::job::{
    ArtifactRole, Aspect, Attempt, ByModel, CacheMode, Encoder, FieldError, Format, FrameRate,
    JobError, JobFile, JobRequest, Lane, OutputSpec, Paused, Progress, Quality, Stage, Status,
    Timings, Usage,
};
use crate::scene_policy::Finding;
use crate::webhook::{DeliveryAttempt, DeliveryState, WebhookEvent};

/// The job object: answer to submit, read and cancel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// The job's id.
    #[schema(value_type = String)]
    pub id: JobId,
    /// Grows with each change; also the ETag.
    pub revision: u64,
    /// Where it is in its life; programs branch on this.
    pub status: Status,
    /// What is being done; people read this. Of a job that ended, what was done last.
    pub stage: Stage,
    /// Whose it is.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the present or last attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// When its record will be forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When somebody asked to cancel it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub cancel_requested_at: Option<Timestamp>,
    /// Its input, without the source.
    pub input: InputView,
    /// What a template or a prompt became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<ResolvedView>,
    /// What a language model did for it; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_model: Option<ByModel>,
    /// What the result should be.
    pub output: OutputSpec,
    /// Wall-clock limit of one attempt.
    pub timeout_s: u32,
    /// Whether an earlier result may answer.
    pub cache: CacheMode,
    /// Whether warnings make it fail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Place in the queue, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueView>,
    /// How far it is.
    pub progress: Progress,
    /// All attempts, the present one last.
    pub attempts: Vec<Attempt>,
    /// What was published. Empty until `succeeded`.
    pub artifacts: Vec<ArtifactView>,
    /// Things that are odd but no failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    /// Where the time went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// What it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The submitter's own data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The job that this one runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub parent: Option<JobId>,
    /// The job that renders, or has rendered, for this one, because it asks for the same work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub rendered_by: Option<JobId>,
    /// Whether an earlier result answered it at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// URL of the main artifact, once there is one; the earlier prototype's name for it.
    #[serde(rename = "resultUrl", default, skip_serializing_if = "Option::is_none")]
    pub result_url: Option<String>,
    /// Where to go from here.
    pub links: Links,
}

/// A job's input without the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InputView {
    /// `code`, `template` or `prompt`.
    pub kind: String,
    /// The scene class that is rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scene: Option<String>,
    /// The name of the source file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// Size of the source.
    pub source_bytes: u64,
    /// The files that came with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<JobFile>,
    /// The sentence; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// What a template or a prompt became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResolvedView {
    /// The template's id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its parameters as they were written; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub params: Option<serde_json::Map<String, serde_json::Value>>,
    /// Of a prompt: what was assumed, and what of it is not used; not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl JobView {
    /// What people call it: the scene's class or the template, if that is known.
    #[must_use]
    pub fn shown_name(&self) -> Option<&str> {
        let template = self.resolved.as_ref().map(|resolved| resolved.id.as_str());
        self.input.scene.as_deref().or(template)
    }
}

/// A waiting job's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// Its lane.
    pub lane: Lane,
    /// Place within its tenant's lane, from 1; missing while it waits for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// When it may start (delayed start or back-off).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// What an operator has paused, so that the job does not start until that is resumed; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Rough guess of the seconds until it starts; missing while nothing can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_wait_s: Option<u64>,
}

/// What makes a webhook.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where to call: https and a public host.
    #[schema(example = "https://example.com/hooks/manimq", max_length = 2048)]
    pub url: String,
    /// Of what to tell; without it of all that ends a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<WebhookEvent>>,
    /// Your own words; at most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub description: Option<String>,
}

/// What changes of a webhook.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChanges {
    /// Where to call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of what to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<WebhookEvent>>,
    /// Your own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Switches it on or off. What happens while it is off is never told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// How to replace a secret.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSecret {
    /// For how many seconds the present one signs beside the new one (a day; at most a week).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 604800)]
    pub overlap_s: Option<u32>,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: WebhookId,
    /// Where it points to.
    pub url: String,
    /// Of what it is told.
    pub events: Vec<WebhookEvent>,
    /// Its owner's words.
    pub description: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Whether it is called.
    pub enabled: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// Since when every call failed; after a day it is switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failing_since: Option<Timestamp>,
    /// What its calls are signed with; only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Until when the secret before it signs as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub previous_secret_until: Option<Timestamp>,
    /// What it was told.
    pub deliveries: String,
}

/// A tenant's webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhooks {
    /// Oldest first.
    pub webhooks: Vec<WebhookView>,
}

/// A delivery that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryRef {
    /// Its id in the list of deliveries.
    pub delivery: String,
}

/// What a webhook was told, or will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    /// Its id.
    pub id: String,
    /// The `webhook-id` of its calls.
    pub message: String,
    /// What is told.
    pub event: WebhookEvent,
    /// Of which job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub job: Option<JobId>,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What has become of it.
    pub state: DeliveryState,
    /// Tries so far.
    pub attempts: u32,
    /// The last ten of them, oldest first.
    pub log: Vec<DeliveryAttempt>,
}

/// A webhook's deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deliveries {
    /// Newest first.
    pub deliveries: Vec<DeliveryView>,
}

/// One file of a result, with a fresh URL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactView {
    /// File name, unique in the job.
    pub name: String,
    /// What it is for.
    pub role: ArtifactRole,
    /// MIME type.
    pub mime: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Frames a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// Number of frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// Signed; valid until `url_expires_at`.
    pub url: String,
    /// When the URL stops working.
    #[schema(value_type = String, format = DateTime)]
    pub url_expires_at: Timestamp,
}

/// Where to go from a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Links {
    /// The job.
    #[serde(rename = "self")]
    pub this: String,
    /// Its events (SSE).
    pub events: String,
    /// Its log (text).
    pub logs: String,
    /// Cancel it (POST).
    pub cancel: String,
    /// Run it again, perhaps with another output (POST).
    #[serde(default)]
    pub rerun: String,
}

/// Every error of the API: RFC 9457, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A slug such as `not-found`; programs branch on this.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, and what to do.
    pub detail: String,
    /// Of this request; also in the `x-request-id` header and in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Every wrong field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Findings of the scene policy (the JSON of `scene_policy::Finding`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub findings: Vec<serde_json::Value>,
    /// The scene classes of the source, where the scene's name is what is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scenes: Vec<String>,
    /// Templates that a prompt could mean, the best first, each with `template`, `title`, `confidence`, the `params`
    /// that were found and the names of those that are `missing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub candidates: Vec<serde_json::Value>,
    /// Names of the quotas that refused it (429).
    #[serde(
        rename = "violated-policies",
        default,
        skip_serializing_if = "Vec::is_empty"
    )]
    pub violated_policies: Vec<String>,
    /// After how many seconds it may be worth to try again: what the header `Retry-After` says, also for one of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

/// Answer of `/healthz`: the process answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Version of the API.
    pub version: String,
}

/// Answer of `/readyz` when a job would run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// `ready`.
    pub status: String,
    /// Live workers that take jobs.
    pub workers: u32,
    /// Their slots with a verified sandbox, idle or busy.
    pub slots_ready: u32,
    /// Those that run a job now.
    pub slots_busy: u32,
    /// Jobs that wait.
    pub jobs_waiting: u64,
    /// What an operator has paused: `all`, or lanes. Their jobs are accepted, and start when that is resumed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<Paused>,
}

/// Body of `POST /internal/v1/uploads`: a worker asks for leave to store the files of an attempt.
///
/// Not for users. The lease token is the credential: whoever holds the lease may store this
/// attempt's files and nothing else.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadRequest {
    /// The job.
    pub job: JobId,
    /// The attempt's fencing number.
    pub epoch: Epoch,
    /// The attempt's secret.
    pub lease_token: LeaseToken,
    /// The files, at most 16. None only if something is discarded.
    pub files: Vec<UploadFile>,
    /// Names of files that this attempt has stored and no longer wants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discard: Vec<String>,
}

/// One file that a worker wants to store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadFile {
    /// File name, unique in the job: `video.mp4`.
    pub name: String,
    /// MIME type under which it will be served.
    pub mime: String,
    /// Exact size.
    pub bytes: u64,
    /// SHA-256 in hex; the store refuses other content.
    pub sha256: String,
}

/// Answer to [`UploadRequest`], one per file in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UploadGrants {
    /// The grants.
    pub grants: Vec<UploadGrant>,
}

/// Leave to `PUT` one file. The URL is the credential: never log it.
#[derive(Clone, Serialize, Deserialize)]
pub struct UploadGrant {
    /// The file's name.
    pub name: String,
    /// Its key in object storage, for the result.
    pub key: String,
    /// Where to `PUT` it: a URL, or a path that begins with `/` on the API that gave the leave.
    pub url: String,
    /// Headers that must be sent with it (they are under the signature).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Whether to send `Content-MD5` as well, by which the store checks what arrives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub md5: bool,
    /// How to look at what was stored. Missing where the store's answer says that it checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<UploadCheck>,
}

/// Body of `POST /internal/v1/assets`: a worker asks for the files that came with its job.
///
/// Not for users. The lease token is the credential.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetRequest {
    /// The job.
    pub job: JobId,
    /// The attempt's fencing number.
    pub epoch: Epoch,
    /// The attempt's secret.
    pub lease_token: LeaseToken,
}

/// Answer to [`AssetRequest`]: one per file of the job, in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AssetGrants {
    /// The grants.
    pub grants: Vec<AssetGrant>,
}

/// Leave to `GET` one file. The URL is a credential: never log it.
#[derive(Clone, Serialize, Deserialize)]
pub struct AssetGrant {
    /// SHA-256 of the content.
    pub sha256: String,
    /// Where to `GET` it: a URL, or a path that begins with `/` on the API that gave the leave.
    pub url: String,
}

impl std::fmt::Debug for AssetGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AssetGrant")
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

/// A signed `HEAD` of an object. The URL is a credential: never log it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadCheck {
    /// What to ask.
    pub url: String,
    /// Headers that must be sent with it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl std::fmt::Debug for UploadCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadCheck").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for UploadGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadGrant")
            .field("name", &self.name)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Answer of `GET /v1/jobs`: a page of jobs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    /// The jobs, as `GET /v1/jobs/{id}` has them, but without attempts, their end of life and their place in the
    /// queue. Perhaps fewer than asked for although there are more: see `next`.
    pub jobs: Vec<JobView>,
    /// The `cursor` of the next page. Missing at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Body of `POST /v1/jobs/batch`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// The jobs, 1 to 100, each as `POST /v1/jobs` takes it.
    #[schema(min_items = 1, max_items = 100)]
    #[serde(deserialize_with = "crate::job::objects::objects")]
    pub jobs: Vec<JobRequest>,
    /// Accept all of them or none.
    #[serde(default)]
    pub all_or_nothing: bool,
}

/// Answer of `POST /v1/jobs/batch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// How many were accepted, those that were there before among them.
    pub accepted: u32,
    /// How many were refused.
    pub refused: u32,
    /// What became of each, in the order of the request.
    pub results: Vec<BatchResult>,
}

/// What became of one job of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchResult {
    /// The status that `POST /v1/jobs` would have answered with.
    pub status: u16,
    /// The job, if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobView>,
    /// Whether it is an earlier submit's job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Body of `POST /v1/jobs/{id}/rerun`: what shall be different. What is left out stays as it was.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RerunRequest {
    /// What the result should be.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::job::objects::perhaps_object"
    )]
    pub output: Option<OutputChange>,
    /// Priority class within the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// Wall-clock limit of one attempt in seconds, 1 to 3600.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3600)]
    pub timeout_s: Option<u32>,
    /// Give up if no worker took the job within this many seconds, 1 to 604800.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub deadline_s: Option<u32>,
    /// Whether an earlier result may answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheMode>,
    /// Words to find the job by, in place of the old ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Your own data, in place of the old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Have the language model mend the code that it wrote for this job, which failed by it: first what is wrong, then
    /// the new job. At most three times for one prompt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repair: bool,
}

/// What of an output shall be different.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutputChange {
    /// File type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Size and rate. What of `width`, `height` and `fps` is not beside it is the quality's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// Width of the picture in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 16384)]
    pub width: Option<u32>,
    /// Height of the picture in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 16384)]
    pub height: Option<u32>,
    /// Frames per second, 1 to 120, to the thousandth.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, minimum = 1, maximum = 120)]
    pub fps: Option<FrameRate>,
    /// Shape of the picture, in place of an exact size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aspect: Option<Aspect>,
    /// Leave the background out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transparent: Option<bool>,
    /// How frames become a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<Encoder>,
    /// Seed of random numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, maximum = 4_294_967_295u32)]
    pub seed: Option<u32>,
}

impl OutputChange {
    /// Applies the change.
    pub fn apply(&self, output: &mut OutputSpec) {
        output.format = self.format.unwrap_or(output.format);
        if let Some(quality) = self.quality {
            output.quality = quality;
            output.fps = None;
        }
        if self.quality.is_some() || self.aspect.is_some() {
            (output.width, output.height) = (None, None);
        }
        if self.width.or(self.height).is_some() {
            output.width = self.width.or(output.width);
            output.height = self.height.or(output.height);
            output.aspect = OutputSpec::default().aspect;
        }
        output.fps = self.fps.or(output.fps);
        output.aspect = self.aspect.unwrap_or(output.aspect);
        output.transparent = self.transparent.unwrap_or(output.transparent);
        output.encoder = self.encoder.unwrap_or(output.encoder);
        output.seed = self.seed.or(output.seed);
    }
}

/// Answer of `DELETE /v1/jobs/{id}`: what went, or would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deletion {
    /// The job.
    #[schema(value_type = String)]
    pub id: JobId,
    /// Whether nothing was deleted: it was only asked what would go.
    pub dry_run: bool,
    /// The files of its result.
    pub artifacts: Vec<DeletedArtifact>,
    /// Other jobs that show the same files. The files go with the last of them.
    pub shown_by_others: u64,
    /// Events that went with it.
    pub events: u64,
}

/// A file of a job that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedArtifact {
    /// File name.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// Whether the file is gone, or would go. If not: another job shows it, or the storage did not answer (then
    /// it is taken away later).
    pub deleted: bool,
}

/// Answer of `GET /v1/jobs/{id}/artifacts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactList {
    /// The files. Empty until the job has succeeded.
    pub artifacts: Vec<ArtifactView>,
}

/// Body of `POST /v1/validate`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidateRequest {
    /// One Python file, at most 256 KiB of UTF-8.
    pub source: String,
    /// The scene that would be rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scene: Option<String>,
}

/// Answer of `POST /v1/validate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Validation {
    /// Whether a job with this source and scene would be accepted, as far as the source goes.
    pub ok: bool,
    /// Its scenes, in the file's order.
    pub scenes: Vec<SceneView>,
    /// Whether these are certainly all: false if only running the file can tell.
    pub scenes_certain: bool,
    /// The scene that would be rendered, if it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scene: Option<String>,
    /// Why no scene can be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scene_problem: Option<String>,
    /// What was found, each with its place; those of severity `deny` refuse the source.
    pub findings: Vec<Finding>,
    /// How many more were found than are listed.
    pub omitted: u32,
}

/// A scene of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SceneView {
    /// The class.
    pub name: String,
    /// The line of its `class` statement, from 1.
    pub line: u32,
    /// Whether it draws something; else it is a base for others.
    pub has_construct: bool,
}

/// Answer of `GET /v1/usage`: the caller's quotas and what is used of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageView {
    /// Whose.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// Jobs that have not ended.
    pub active: u64,
    /// Of these, how many run.
    pub running: u64,
    /// Seconds of rendering that count for today (UTC).
    pub rendered_today_s: f64,
    /// What an operator has paused, so that none of its jobs start: `all` or `tenant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Quotas that are used up and come back, with the numbers of the RateLimit headers.
    pub limits: Vec<LimitView>,
    /// What a job may ask for, and how many may run at once; what is missing is not limited.
    pub allowed: AllowedView,
}

/// A quota that is used up and comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitView {
    /// Its name, as in headers and refusals.
    pub policy: String,
    /// The quota.
    pub limit: u64,
    /// What is used.
    pub used: u64,
    /// What is left.
    pub left: u64,
    /// Seconds over which it counts; missing if it counts what is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<u64>,
    /// Seconds until more of it is left, if nothing is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_in_s: Option<u64>,
}

/// What a job may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AllowedView {
    /// Jobs that run at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_max: Option<u32>,
    /// Largest quality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality_max: Option<Quality>,
    /// Largest time limit, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_s_max: Option<u32>,
    /// Largest source, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_bytes_max: Option<u32>,
    /// Whether jobs may bring code of their own.
    pub code: bool,
}
