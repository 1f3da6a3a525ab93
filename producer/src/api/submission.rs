//! The body of a submit: the job as JSON, or a form of the job and the files that come with it.
//!
//! A form has one part `job` (the JSON) and any number of parts `files`, each with a file name:
//! the path under which the scene finds it. Files go straight to disk, a piece at a time.

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use manimq_shared::job::{FieldError, JobFile, JobInput, JobRequest, check_file_name};
use multer::{Constraints, Field, Multipart};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::App;
use super::extract::{StrictJson, Tenant, parse, size};
use super::problem::{ApiError, Kind};
use crate::storage::Spooled;

/// Longest pause of a form's sender.
const STALL: Duration = Duration::from_secs(30);
/// How much of a refused form is read, and for how long.
const DRAIN_BYTES_MAX: usize = 128 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// Longest time of a whole form.
const FORM_TIME: Duration = Duration::from_secs(15 * 60);

/// The form of a submit.
#[derive(ToSchema)]
#[allow(dead_code, reason = "for the document only")]
pub(super) struct SubmitForm {
    /// The job as JSON.
    job: JobRequest,
    /// The files; each part's file name is the path under which the scene finds it.
    #[schema(value_type = Vec<String>, format = Binary)]
    files: Vec<Vec<u8>>,
}

/// A submit, with its files on this machine's disk.
pub(super) struct Submission {
    /// The job; its files name those that are sent with it, too.
    pub(super) request: JobRequest,
    /// Contents that were sent.
    pub(super) contents: Vec<Spooled>,
}

impl FromRequest<App> for Submission {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let Some(boundary) = boundary(request.headers())? else {
            let StrictJson(request) = StrictJson::from_request(request, app).await?;
            return Ok(Self {
                request,
                contents: Vec::new(),
            });
        };
        // Each may have a large part of its limit on disk.
        let (mut parts, body) = request.into_parts();
        let Tenant(tenant) = Tenant::from_request_parts(&mut parts, app).await?;
        let _room = app.0.forms.take(tenant).map_err(|_| {
            ApiError::new(
                Kind::ReducedCapacity,
                "too many submits with files arrive at the moment; try again",
            )
            .retry_after(2)
        })?;
        let mut form =
            Multipart::with_constraints(body.into_data_stream(), boundary, Constraints::new());
        let read = timeout(FORM_TIME, Form::default().read(app, &mut form)).await;
        let read = read.unwrap_or_else(|_| Err(late(FORM_TIME)));
        if read.is_err() {
            let _ = timeout(DRAIN_TIME, drain(&mut form)).await;
        }
        read
    }
}

/// Reads some of a form that is refused, so that its sender, who may be in the middle of it, hears
/// why.
async fn drain(form: &mut Multipart<'_>) {
    let mut bytes = 0;
    while let Ok(Some(mut field)) = form.next_field().await {
        while let Ok(Some(chunk)) = field.chunk().await {
            bytes += chunk.len();
            if bytes > DRAIN_BYTES_MAX {
                return;
            }
        }
    }
}

/// The form's boundary; `None` if the body is no form.
fn boundary(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()) else {
        return Ok(None);
    };
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("multipart/form-data") {
        return Ok(None);
    }
    multer::parse_boundary(kind).map(Some).map_err(|_| {
        ApiError::new(
            Kind::Malformed,
            "the content type of a form names its boundary: `multipart/form-data; boundary=…`",
        )
    })
}

fn late(time: Duration) -> ApiError {
    ApiError::new(
        Kind::RequestTimeout,
        format!("the form did not arrive within {} s", time.as_secs()),
    )
}

fn broken(error: multer::Error) -> ApiError {
    ApiError::new(
        Kind::Malformed,
        "the form cannot be read, or ended too early; nothing was submitted",
    )
    .because(error)
}

fn too_large(what: String) -> ApiError {
    ApiError::new(Kind::TooLarge, what)
}

#[derive(Default)]
struct Form {
    job: Option<JobRequest>,
    files: Vec<JobFile>,
    contents: Vec<Spooled>,
    bytes: u64,
}

impl Form {
    async fn read(mut self, app: &App, form: &mut Multipart<'_>) -> Result<Submission, ApiError> {
        while let Some(field) = timeout(STALL, form.next_field())
            .await
            .map_err(|_| late(STALL))?
            .map_err(broken)?
        {
            match field.name() {
                Some("job") if self.job.is_none() => {
                    let text = self.job_text(app, field).await?;
                    self.job = Some(parse(&text)?);
                }
                Some("job") => {
                    return Err(ApiError::new(
                        Kind::Malformed,
                        "the form has the part `job` twice",
                    ));
                }
                Some("files") => self.file(app, field).await?,
                other => {
                    let other: String = other.unwrap_or_default().chars().take(80).collect();
                    return Err(ApiError::new(
                        Kind::Malformed,
                        format!(
                            "the form has a part {other:?}; its parts are `job`, once, and `files`"
                        ),
                    ));
                }
            }
        }
        let mut request = self.job.ok_or_else(|| {
            ApiError::new(
                Kind::Malformed,
                "the form has no part `job`, which is the job as JSON",
            )
        })?;
        match &mut request.input {
            JobInput::Code { files, .. } => files.extend(self.files),
            JobInput::Template { .. } | JobInput::Prompt { .. } if self.files.is_empty() => {}
            JobInput::Template { .. } | JobInput::Prompt { .. } => {
                return Err(ApiError::invalid_field(
                    "/files/0",
                    "files come with code only; send this job without them",
                ));
            }
        }
        Ok(Submission {
            request,
            contents: self.contents,
        })
    }

    async fn job_text(&self, app: &App, mut field: Field<'_>) -> Result<Vec<u8>, ApiError> {
        let most = app.limits().body_bytes_max;
        let mut text = Vec::new();
        while let Some(chunk) = chunk(&mut field).await? {
            if text.len() + chunk.len() > most {
                return Err(too_large(format!(
                    "the part `job` is larger than {}, the most that is taken",
                    size(most)
                )));
            }
            text.extend_from_slice(&chunk);
        }
        Ok(text)
    }

    async fn file(&mut self, app: &App, mut field: Field<'_>) -> Result<(), ApiError> {
        let limits = app.limits().assets;
        let pointer = format!("/files/{}", self.files.len());
        let refused = |detail: String| {
            Err(ApiError::invalid(vec![FieldError {
                pointer: pointer.clone(),
                detail,
            }]))
        };
        if self.files.len() >= limits.files {
            return Err(too_large(format!(
                "more than {} files; send only those that the scene uses",
                limits.files
            )));
        }
        let Some(name) = field.file_name().map(str::to_owned) else {
            return refused(
                "a part `files` needs a file name: the path under which the scene finds it".into(),
            );
        };
        let shown: String = name.chars().take(80).collect();
        if let Err(problem) = check_file_name(&name) {
            return refused(format!("{shown:?}: {problem}"));
        }
        if self.files.iter().any(|file| file.name == name) {
            return refused(format!("{shown:?} is there twice"));
        }
        let mut spool = app.store().spool()?;
        while let Some(chunk) = chunk(&mut field).await? {
            let bytes = spool.bytes() + chunk.len() as u64;
            if bytes > limits.file_bytes {
                return Err(too_large(format!(
                    "{shown:?} is larger than {}, the most that one file may have",
                    size(usize::try_from(limits.file_bytes).unwrap_or(usize::MAX))
                )));
            }
            self.bytes += chunk.len() as u64;
            if self.bytes > limits.job_bytes {
                return Err(too_large(format!(
                    "the files have more than {} in all, the most that may come with one job",
                    size(usize::try_from(limits.job_bytes).unwrap_or(usize::MAX))
                )));
            }
            spool.write(&chunk).await?;
        }
        let spooled = spool.finish().await?;
        self.files.push(JobFile {
            name,
            bytes: spooled.bytes,
            sha256: spooled.sha256.clone(),
        });
        let known: HashSet<&str> = self.contents.iter().map(|c| c.sha256.as_str()).collect();
        if !known.contains(spooled.sha256.as_str()) {
            self.contents.push(spooled);
        }
        Ok(())
    }
}

async fn chunk(field: &mut Field<'_>) -> Result<Option<bytes::Bytes>, ApiError> {
    timeout(STALL, field.chunk())
        .await
        .map_err(|_| late(STALL))?
        .map_err(broken)
}
