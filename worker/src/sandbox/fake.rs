//! A sandbox that renders nothing: scripted answers, for tests of the pool.
//!
//! Never the default of anything, and never chosen silently.

use std::collections::VecDeque;
use std::io::{Seek, Write};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::layout::LayoutWarning;

use super::{
    ArtifactRole, ConnectError, Content, EventSender, FailureClass, Progress, RenderError,
    RenderEvent, RenderFailure, RenderRequest, Rendered, RenderedFile, Sandbox, Stage, TexUse,
    Timings, Usage, Versions,
};

/// What a [`FakeSandbox`] does with one job.
#[derive(Debug)]
pub enum FakeStep {
    /// Takes so long, with one progress event, and delivers a file of these bytes.
    Render {
        /// Time it takes; the request's stop token is heeded.
        takes: Duration,
        /// Content of `video.mp4`.
        content: Vec<u8>,
    },
    /// Delivers at once, with these remarks about the picture.
    Warn(Vec<LayoutWarning>),
    /// Fails, after the 30th frame of its second animation was told of.
    Fail(RenderError),
    /// Fails, and says in its message which limits it was given.
    TellLimits,
    /// Panics, as a bug would.
    Panic,
    /// Never ends unless stopped.
    Hang,
    /// Dies as soon as it waits for a job, and cancels this to say so.
    Die(CancellationToken),
}

/// Scripted answers, one per job; when the script is used up, small instant renders.
#[derive(Debug)]
pub struct FakeSandbox {
    versions: Versions,
    script: VecDeque<FakeStep>,
    resets: u32,
}

impl FakeSandbox {
    /// A sandbox that answers with these steps, in order.
    #[must_use]
    pub fn new(script: impl IntoIterator<Item = FakeStep>) -> Self {
        let version = || "fake".to_owned();
        Self {
            versions: Versions {
                renderer: version(),
                python: version(),
                manim: version(),
                ffmpeg: version(),
                latex: None,
                dvisvgm: None,
            },
            script: script.into_iter().collect(),
            resets: 0,
        }
    }

    /// How often it was reset.
    #[must_use]
    pub fn resets(&self) -> u32 {
        self.resets
    }
}

impl Sandbox for FakeSandbox {
    fn versions(&self) -> &Versions {
        &self.versions
    }

    async fn render(
        &mut self,
        request: RenderRequest,
        events: EventSender,
    ) -> Result<Rendered, RenderError> {
        let step = self.script.pop_front().unwrap_or(FakeStep::Render {
            takes: Duration::ZERO,
            content: b"fake".to_vec(),
        });
        let mut layout = Vec::new();
        let (takes, content) = match step {
            FakeStep::Render { takes, content } => (takes, content),
            FakeStep::Warn(warnings) => {
                layout = warnings;
                (Duration::ZERO, b"odd".to_vec())
            }
            FakeStep::Fail(error) => {
                let _ = events.offer(RenderEvent::Started);
                let _ = events.offer(RenderEvent::Progress(Progress {
                    stage: Stage::Rendering,
                    animation: 2,
                    animations_total: None,
                    frames: 30,
                    frames_total: None,
                    animation_frames: 10,
                    animation_frames_total: None,
                    eta_s: None,
                }));
                return Err(error);
            }
            FakeStep::TellLimits => {
                let limits = format!("{:?}", request.limits);
                return Err(RenderFailure::new(FailureClass::OutputLimit, limits).into());
            }
            FakeStep::Panic => panic!("the fake sandbox was told to panic"),
            FakeStep::Hang => (Duration::MAX, Vec::new()),
            FakeStep::Die(_) => {
                let reason = "it died while it waited".to_owned();
                return Err(RenderError::SandboxLost { reason });
            }
        };
        let _ = events.offer(RenderEvent::Started);
        tokio::select! {
            () = tokio::time::sleep(takes) => {}
            () = request.stop.cancelled() => return Err(RenderError::Interrupted),
        }
        let _ = events.offer(RenderEvent::Progress(Progress {
            stage: Stage::Encoding,
            animation: 1,
            animations_total: Some(1),
            frames: 1,
            frames_total: Some(1),
            animation_frames: 1,
            animation_frames_total: Some(1),
            eta_s: Some(0.0),
        }));
        rendered(&request, &content, layout).map_err(|error| RenderError::SandboxLost {
            reason: error.to_string(),
        })
    }

    async fn verify(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn reset(&mut self) -> Result<(), ConnectError> {
        self.resets += 1;
        Ok(())
    }

    async fn gone(&mut self) {
        let Some(FakeStep::Die(said)) = self
            .script
            .pop_front_if(|step| matches!(step, FakeStep::Die(_)))
        else {
            return std::future::pending().await;
        };
        said.cancel();
    }

    async fn close(self) {}
}

fn rendered(
    request: &RenderRequest,
    content: &[u8],
    layout: Vec<LayoutWarning>,
) -> std::io::Result<Rendered> {
    let mut file = tempfile::tempfile()?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(Rendered {
        artifacts: vec![RenderedFile {
            name: "video.mp4".into(),
            role: ArtifactRole::Video,
            mime: "video/mp4".into(),
            bytes: content.len() as u64,
            frames: 1,
            width: request.output.width,
            height: request.output.height,
            fps: request.output.fps,
            duration_s: 1.0 / request.output.fps,
            file: Content::Here(file),
        }],
        timings: Timings::default(),
        usage: Usage {
            frames: 1,
            animations: 1,
            ..Usage::default()
        },
        tex: TexUse::default(),
        warnings: Vec::new(),
        layout,
    })
}
