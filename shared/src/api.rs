//! The HTTP API's bodies, as server, command line and worker share them.
//!
//! Field names follow the job model of [`crate::job`]; URLs are minted on each read and never stored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{Epoch, JobId, LeaseToken, TenantId};
use crate::job::{
    ArtifactRole, Attempt, CacheMode, FieldError, JobError, JobFile, Lane, OutputSpec, Progress,
    Stage, Status, Timings, Usage,
};

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
    /// What the result should be.
    pub output: OutputSpec,
    /// Wall-clock limit of one attempt.
    pub timeout_s: u32,
    /// Whether an earlier result may answer.
    pub cache: CacheMode,
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
    /// `code`.
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
    /// Rough guess of the seconds until it starts; missing while nothing can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_wait_s: Option<u64>,
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
    /// Names of the quotas that refused it (429).
    #[serde(
        rename = "violated-policies",
        default,
        skip_serializing_if = "Vec::is_empty"
    )]
    pub violated_policies: Vec<String>,
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
    /// The files, at most 16.
    pub files: Vec<UploadFile>,
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
