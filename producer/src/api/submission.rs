//! The body of a submit: the job as JSON, or a form of the job and the files that come with it.
//!
//! A form has one part `job` (the JSON) and any number of parts `files`, each with a file name:
//! the path under which the scene finds it. Files go straight to disk, a piece at a time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::BodyDataStream;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use manimq_shared::job::{FieldError, JobFile, JobInput, JobRequest, check_file_name};
use multer::{Field, Multipart};
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
/// How much of a form waits in memory for its parser: more is no content, which is handed on at once, but a part
/// without a beginning or a head without an end.
const HELD_BYTES_MAX: usize = 128 * 1024;
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
        let inflow = Inflow::new(body.into_data_stream());
        let mut parts = Parts {
            form: Multipart::new(inflow.stream(), boundary),
            inflow: inflow.clone(),
        };
        let read = timeout(FORM_TIME, Form::default().read(app, &mut parts)).await;
        let read = read.unwrap_or_else(|_| Err(late(FORM_TIME)));
        if read.is_err() {
            let _ = timeout(DRAIN_TIME, inflow.drain()).await;
        }
        read
    }
}

/// A form's bytes on their way to its parser, which keeps what it cannot hand on and looks through all of that for each
/// piece that comes. So it is given no more than [`HELD_BYTES_MAX`] ahead.
#[derive(Clone)]
struct Inflow(Arc<Mutex<Held>>);

/// A part of a form does not begin, or its head does not end.
#[derive(Debug, thiserror::Error)]
#[error("no content comes")]
struct NoContent;

struct Held {
    body: BodyDataStream,
    /// Bytes that the parser has and did not hand on. Heads and boundaries stay in the count: they are few and short.
    bytes: usize,
    /// Whether the parser was asked to do with what it has.
    asked: bool,
}

impl Inflow {
    fn new(body: BodyDataStream) -> Self {
        Self(Arc::new(Mutex::new(Held {
            body,
            bytes: 0,
            asked: false,
        })))
    }

    fn with<T>(&self, visit: impl FnOnce(&mut Held) -> T) -> T {
        visit(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// For the parser.
    fn stream(&self) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
        let inflow = self.clone();
        stream::poll_fn(move |context| inflow.with(|held| held.next(context)))
    }

    /// So many bytes of content were handed on.
    fn handed_on(&self, bytes: usize) {
        self.with(|held| {
            held.bytes = held.bytes.saturating_sub(bytes);
            held.asked = false;
        });
    }

    /// Reads some of a form that is refused, so that its sender, who may be in the middle of it, hears
    /// why.
    async fn drain(self) {
        let mut rest =
            stream::poll_fn(|context| self.with(|held| held.body.poll_next_unpin(context)));
        let mut bytes = 0;
        while let Some(Ok(chunk)) = rest.next().await {
            bytes += chunk.len();
            if bytes > DRAIN_BYTES_MAX {
                return;
            }
        }
    }
}

impl Held {
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if self.bytes >= HELD_BYTES_MAX {
            if self.asked {
                return Poll::Ready(Some(Err(NoContent.into())));
            }
            self.asked = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.body.poll_next_unpin(context).map(|next| {
            next.map(|piece| {
                let piece = piece?;
                self.bytes += piece.len();
                Ok(piece)
            })
        })
    }
}

/// A form, part by part.
struct Parts {
    form: Multipart<'static>,
    inflow: Inflow,
}

impl Parts {
    async fn next(&mut self) -> Result<Option<Part>, ApiError> {
        let field = timeout(STALL, self.form.next_field())
            .await
            .map_err(|_| late(STALL))?
            .map_err(broken)?;
        let inflow = self.inflow.clone();
        Ok(field.map(|field| Part { field, inflow }))
    }
}

/// A part of a form.
struct Part {
    field: Field<'static>,
    inflow: Inflow,
}

impl Part {
    /// The next piece of its content.
    async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let chunk = timeout(STALL, self.field.chunk())
            .await
            .map_err(|_| late(STALL))?
            .map_err(broken)?;
        if let Some(chunk) = &chunk {
            self.inflow.handed_on(chunk.len());
        }
        Ok(chunk)
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
    let what = match &error {
        multer::Error::StreamReadFailed(cause) if cause.is::<NoContent>() => format!(
            "the form has {} before its first part, or in the head of a part; nothing was submitted",
            size(HELD_BYTES_MAX)
        ),
        _ => "the form cannot be read, or ended too early; nothing was submitted".to_owned(),
    };
    ApiError::new(Kind::Malformed, what).because(error)
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
    async fn read(mut self, app: &App, parts: &mut Parts) -> Result<Submission, ApiError> {
        while let Some(part) = parts.next().await? {
            match part.field.name() {
                Some("job") if self.job.is_none() => {
                    let text = self.job_text(app, part).await?;
                    self.job = Some(parse(&text)?);
                }
                Some("job") => {
                    return Err(ApiError::new(
                        Kind::Malformed,
                        "the form has the part `job` twice",
                    ));
                }
                Some("files") => self.file(app, part).await?,
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

    async fn job_text(&self, app: &App, mut part: Part) -> Result<Vec<u8>, ApiError> {
        let most = app.limits().body_bytes_max;
        let mut text = Vec::new();
        while let Some(chunk) = part.chunk().await? {
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

    async fn file(&mut self, app: &App, mut part: Part) -> Result<(), ApiError> {
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
        let Some(name) = part.field.file_name().map(str::to_owned) else {
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
        while let Some(chunk) = part.chunk().await? {
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
