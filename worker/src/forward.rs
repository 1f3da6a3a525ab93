//! Passes a render's events on to the job's stream, and stores the still that comes while the film is being drawn.

use std::fs::File;
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use manimq_shared::job::{EARLY_POSTER, EarlyPoster, JobResult, Progress, Stage, Timings, Usage};
use manimq_shared::queue::{Claim, EventKind};

use crate::attempt::Context;
use crate::convert;
use crate::leases::Held;
use crate::sandbox::{Content, EventReceiver, RenderEvent, Still};
use crate::upload::Upload;

/// Most of a job's output that goes into Redis, where it lives as long as the job's record: a
/// tenant whose scenes print and fail must not fill it.
const LOG_BYTES_MAX: usize = 64 * 1024;

/// The still of an attempt that goes on.
#[derive(Debug, Default)]
pub(crate) struct Early {
    /// One has come; it may be stored even if nobody heard so.
    came: AtomicBool,
    stored: OnceLock<EarlyPoster>,
}

impl Early {
    /// The stored one, as progress tells of it.
    pub(crate) fn poster(&self) -> Option<EarlyPoster> {
        self.stored.get().cloned()
    }

    /// Removes it: the job ends, and what its result shows is better.
    pub(crate) async fn remove(&self, context: &Context, claim: &Claim) {
        if self.came.load(Ordering::Relaxed) {
            context
                .uploader
                .discard(claim.job, claim.epoch, &claim.token, EARLY_POSTER)
                .await;
        }
    }
}

/// How far a render came, by what was heard of it.
pub(crate) struct Reached {
    stage: Stage,
    frames: u64,
    animations: u32,
    began: Instant,
    /// When the first frame was on its way.
    drew: Option<Instant>,
}

impl Reached {
    /// A render that begins now.
    pub(crate) fn nothing() -> Self {
        Self {
            stage: Stage::Preparing,
            frames: 0,
            animations: 0,
            began: Instant::now(),
            drew: None,
        }
    }

    fn hear(&mut self, progress: &Progress) {
        self.stage = progress.stage.unwrap_or(self.stage);
        self.frames = self.frames.max(progress.frames_done);
        self.animations = self.animations.max(progress.animation);
        if self.stage != Stage::Preparing {
            self.drew.get_or_insert_with(Instant::now);
        }
    }

    /// Puts it into what a render came to that failed now.
    pub(crate) fn told_in(&self, result: JobResult) -> JobResult {
        let drew = self.drew.unwrap_or_else(Instant::now);
        JobResult {
            stage: Some(self.stage),
            timings: Timings {
                prepare_s: drew.duration_since(self.began).as_secs_f64(),
                render_s: drew.elapsed().as_secs_f64(),
                ..result.timings
            },
            usage: Usage {
                frames: self.frames,
                animations: self.animations,
                ..result.usage
            },
            ..result
        }
    }
}

/// Passes a render's events on to the job's stream until the render is over, and notes in `reached` how far it came.
/// A still is stored meanwhile, and is given up when the render is faster.
pub(crate) async fn forward(
    context: &Context,
    claim: &Claim,
    held: &Held,
    mut events: EventReceiver,
    early: &Early,
    reached: &mut Reached,
) {
    let mut kept = 0;
    let mut last = Progress::default();
    let mut storing: Option<Pin<Box<dyn Future<Output = Option<EarlyPoster>> + Send + '_>>> = None;
    loop {
        let stored = async {
            match &mut storing {
                Some(storing) => storing.await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            event = events.recv() => event,
            poster = stored => {
                storing = None;
                if let Some(poster) = poster {
                    last.poster = Some(early.stored.get_or_init(|| poster).clone());
                    send(held, EventKind::Progress, &last);
                }
                continue;
            }
        };
        let Some(event) = event else {
            return;
        };
        match event {
            RenderEvent::Started => {
                last.stage = Some(Stage::Preparing);
                send(held, EventKind::Progress, &last);
            }
            RenderEvent::Progress(progress) => {
                last = Progress {
                    poster: early.poster(),
                    ..convert::progress(&progress)
                };
                reached.hear(&last);
                send(held, EventKind::Progress, &last);
            }
            // One at most, whatever a sandbox says.
            RenderEvent::Still(still) => {
                if !early.came.swap(true, Ordering::Relaxed) {
                    storing = Some(Box::pin(store(context, claim, still)));
                }
            }
            RenderEvent::Log { text, truncated } => {
                if kept > LOG_BYTES_MAX {
                    continue;
                }
                kept += text.len();
                send(held, EventKind::Log, &serde_json::json!({ "text": text }));
                if truncated || kept > LOG_BYTES_MAX {
                    kept = usize::MAX;
                    let text = "(the rest of the output is not kept)\n";
                    send(held, EventKind::Log, &serde_json::json!({ "text": text }));
                }
            }
        }
    }
}

/// Adds an event to the job's stream.
pub(crate) fn send(held: &Held, kind: EventKind, data: &impl serde::Serialize) {
    match serde_json::to_string(data) {
        Ok(text) => held.event(kind, text),
        Err(error) => tracing::error!(error = %error, "an event cannot be written as JSON"),
    }
}

/// Stores the still of an attempt that goes on. Without it nothing is amiss.
async fn store(context: &Context, claim: &Claim, still: Still) -> Option<EarlyPoster> {
    let bytes = still.jpeg.len() as u64;
    let upload = Upload {
        name: EARLY_POSTER.to_owned(),
        mime: "image/jpeg".to_owned(),
        bytes,
        content: Content::Here(unnamed(&still.jpeg).ok()?),
    };
    let stored = context
        .uploader
        .store(claim.job, claim.epoch, &claim.token, vec![upload])
        .await;
    match stored {
        Ok(_) => Some(EarlyPoster {
            width: still.width,
            height: still.height,
            epoch: claim.epoch,
            url: None,
        }),
        Err(error) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "no still of {} while it is drawn",
                claim.job
            );
            None
        }
    }
}

fn unnamed(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    Ok(file)
}
