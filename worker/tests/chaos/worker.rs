//! A worker of a run: the real pool, slots, lease keeper and uploads; only the render is none.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use manimq_worker::config::RunArgs;
use manimq_worker::run::run_with;
use manimq_worker::sandbox::fake::{FakeSandbox, FakeStep};
use manimq_worker::sandbox::{
    ConnectError, EventSender, FailureClass, RenderError, RenderFailure, RenderRequest, Rendered,
    Sandbox, Versions,
};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::history::{Fate, History, Recipe, What};
use crate::part::Task;

/// What a worker needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Role {
    pub slots: u16,
    /// Where its uploads go.
    pub api_url: String,
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: RunArgs,
}

/// Works until SIGTERM.
pub async fn run(
    task: &Task,
    role: &Role,
    history: History,
    mut term: Signal,
) -> anyhow::Result<()> {
    tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(Recorder(history))
        .with(
            tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(std::io::stderr),
        )
        .init();
    let args = Cli::parse_from([
        "worker",
        "--redis-url",
        &task.redis_url,
        "--redis-prefix",
        &task.redis_prefix,
        "--api-url",
        &role.api_url,
        "--slots",
        &role.slots.to_string(),
        "--metrics-listen",
        "127.0.0.1:0",
        "--drain-timeout",
        "300ms",
        "--scene-policy",
        "off",
    ])
    .args;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        term.recv().await;
        told.cancel();
    });
    let connect = |_| std::future::ready(Ok(NoRender(FakeSandbox::new([]))));
    run_with(args, connect, stop, CancellationToken::new()).await
}

/// The sandbox of a run: does what the job's [`Recipe`] says.
struct NoRender(FakeSandbox);

/// Target of the line that says that a render starts; its span says of which attempt.
const STARTED: &str = "chaos::started";

impl Sandbox for NoRender {
    fn versions(&self) -> &Versions {
        self.0.versions()
    }

    async fn render(
        &mut self,
        mut request: RenderRequest,
        events: EventSender,
    ) -> Result<Rendered, RenderError> {
        tracing::info!(target: STARTED, "starts");
        let recipe = Recipe::of(&request.source);
        let first = request.attempt == 1;
        let takes = if first {
            recipe.takes_ms
        } else {
            recipe.again_ms
        };
        let good = FakeStep::Render {
            takes: Duration::from_millis(takes),
            content: format!(
                "{} attempt {} of process {}",
                request.job_id,
                request.attempt,
                std::process::id()
            )
            .into_bytes(),
        };
        let step = match recipe.fate {
            Fate::Good => good,
            Fate::Stubborn => {
                request.stop = CancellationToken::new();
                good
            }
            Fate::SceneError => FakeStep::Fail(
                RenderFailure::new(FailureClass::SceneError, "as the recipe says").into(),
            ),
            Fate::PanicsOnce if first => FakeStep::Panic,
            Fate::BreaksOnce if !first => good,
            Fate::BreaksOnce | Fate::BreaksAlways => FakeStep::Fail(RenderError::SandboxLost {
                reason: "as the recipe says".to_owned(),
            }),
            Fate::PanicsOnce => good,
        };
        FakeSandbox::new([step]).render(request, events).await
    }

    async fn verify(&mut self) -> Result<(), ConnectError> {
        self.0.verify().await
    }

    async fn reset(&mut self) -> Result<(), ConnectError> {
        self.0.reset().await
    }

    async fn close(self) {
        self.0.close().await;
    }
}

/// Writes the worker's own log lines about attempts into the history.
struct Recorder(History);

#[derive(Default, Clone)]
struct Fields(HashMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Fields {
    fn get<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.0.get(name)?.parse().ok()
    }

    /// What the line says, if it is one of those that count.
    fn what(&self, target: &str) -> Option<What> {
        if let Some(worker) = self.get("worker.id") {
            return Some(What::WorkerIs { worker });
        }
        let job = self.get("job.id")?;
        let epoch = manimq_shared::ids::Epoch(self.get("lease.epoch")?);
        if target == STARTED {
            Some(What::Started { job, epoch })
        } else if let Some(outcome) = self.get("outcome") {
            Some(What::Ended {
                job,
                epoch,
                outcome,
            })
        } else if target == "manimq_worker::pool" {
            Some(What::Claimed { job, epoch })
        } else {
            None
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Arc::new(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Arc<Fields>>() {
                fields.0.extend(outer.0.clone());
            }
        }
        event.record(&mut fields);
        if let Some(what) = fields.what(event.metadata().target()) {
            self.0.note(what);
        }
    }
}
