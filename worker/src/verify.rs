//! `manimq-worker verify`: can scenes be rendered here? A line for each thing that must hold, and
//! what to do where it does not.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::config::remote::RemoteArgs;
use crate::config::{SandboxArgs, SandboxKind};
use crate::sandbox::blaxel::BlaxelSandbox;
use crate::sandbox::blaxel::place::Place;
use crate::sandbox::local::LocalSandbox;
use crate::sandbox::{
    ConnectError, Content, EventSender, FileEntry, Files, Limits, OutputFormat, OutputSpec,
    RenderEvent, RenderRequest, Sandbox, Versions,
};

/// The file that travels to the sandbox and back as a scene's output.
const ROUND_TRIP: &str = "manimq: there and back";
const RENDER_TIMEOUT: Duration = Duration::from_secs(60);

/// One line of the checklist.
#[derive(Debug, Serialize)]
struct Line {
    good: bool,
    /// What was looked at, and what came of it.
    text: String,
    /// What to do where it is not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// What was found so far. Lines are shown as they come.
struct Report {
    lines: Vec<Line>,
    /// Lines go to people; else all comes as JSON at the end.
    shown: bool,
}

impl Report {
    fn add(&mut self, good: bool, text: String, fix: Option<String>) {
        if self.shown {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{} {text}", if good { "✓" } else { "✗" });
            if let Some(fix) = fix.as_ref().filter(|_| !good) {
                let _ = writeln!(out, "    {fix}");
            }
        }
        self.lines.push(Line { good, text, fix });
    }

    fn good(&mut self, text: impl Into<String>) {
        self.add(true, text.into(), None);
    }

    fn bad(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.add(false, text.into(), Some(fix.into()));
    }

    fn versions(&mut self, versions: &Versions) {
        self.good(format!(
            "Manim {} (Python {}, renderer {})",
            versions.manim, versions.python, versions.renderer
        ));
        self.good(format!("FFmpeg libraries {}", versions.ffmpeg));
        match (&versions.latex, &versions.dvisvgm) {
            (Some(latex), Some(_)) => self.good(format!("LaTeX: {latex}")),
            (None, _) | (_, None) => self.bad(
                "LaTeX or dvisvgm is not there: formulas (MathTex, Tex) will fail",
                "run deploy/setup on this machine; for a sandbox deploy the image of deploy/sandbox",
            ),
        }
    }
}

/// Looks at everything, says what it finds, and fails if something does not hold.
///
/// # Errors
/// What does not hold, with the remedy: the lines above say more.
pub async fn verify(args: &SandboxArgs, json: bool) -> anyhow::Result<()> {
    let mut report = Report {
        lines: Vec::new(),
        shown: !json,
    };
    let found = match args.sandbox {
        SandboxKind::Local => local(args, &mut report).await,
        SandboxKind::Blaxel => remote(args, &mut report).await,
    };
    if json {
        let mut all = found
            .as_ref()
            .map_or_else(|_| serde_json::json!({}), Clone::clone);
        all["checks"] = serde_json::to_value(&report.lines)?;
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    found?;
    let bad: Vec<&str> = report
        .lines
        .iter()
        .filter(|line| !line.good)
        .map(|line| line.text.as_str())
        .collect();
    anyhow::ensure!(bad.is_empty(), "{}", bad.join("; "));
    Ok(())
}

/// This machine.
async fn local(args: &SandboxArgs, report: &mut Report) -> anyhow::Result<serde_json::Value> {
    let begun = Instant::now();
    let mut sandbox = match LocalSandbox::connect(args.local(0)).await {
        Ok(sandbox) => sandbox,
        Err(error) => return Err(refused(report, "the local sandbox", error)),
    };
    report.good(format!(
        "sandbox: local, level {}, warm after {:.1} s; its walls were tried",
        sandbox.level().as_str(),
        begun.elapsed().as_secs_f64()
    ));
    let mut found = serde_json::to_value(sandbox.versions())?;
    found["level"] = sandbox.level().as_str().into();
    report.versions(&sandbox.versions().clone());
    try_renders(&mut sandbox, report).await;
    sandbox.close().await;
    Ok(found)
}

/// Persistent sandboxes, each in turn.
async fn remote(args: &SandboxArgs, report: &mut Report) -> anyhow::Result<serde_json::Value> {
    let remote = &args.remote;
    match &remote.sandbox_image {
        Some(image) => report.good(format!("image configured: {image}")),
        None => {
            report.good("image configured: none, whatever the sandbox runs (MANIM_SANDBOX_IMAGE)")
        }
    }
    report.good(format!("sandbox name: {}", remote.sandbox_name.join(", ")));
    match RemoteArgs::key() {
        Some((key, variable)) => report.good(format!("key: {} ({variable})", key.shown())),
        None => report.bad(
            "key: none",
            "set BLAXEL_API_KEY (or BL_API_KEY) to one of the workspace's keys",
        ),
    }
    let places = remote.places(&args.shared(None))?;
    let mut found = serde_json::json!({});
    for place in places {
        found = one(&place, remote, report).await?;
    }
    found["level"] = "container".into();
    found["sandbox"] = "blaxel".into();
    Ok(found)
}

async fn one(
    place: &Arc<Place>,
    remote: &RemoteArgs,
    report: &mut Report,
) -> anyhow::Result<serde_json::Value> {
    if remote.sandbox_url.is_empty() {
        match place.look_up().await {
            Ok(status) => {
                report.good(format!("control plane reachable: {}", remote.blaxel_url));
                report.good(format!("sandbox '{}': {status}", place.name()));
            }
            Err(error) => return Err(refused(report, "control plane", error)),
        }
    } else {
        report.good("control plane: not asked (BLAXEL_SANDBOX_URL)");
    }
    match place.wake().await {
        Ok(took) => report.good(format!("wake-up: {} ms", took.as_millis())),
        Err(error) => return Err(refused(report, "wake-up", error)),
    }
    let mut sandbox = match BlaxelSandbox::connect(place.clone()).await {
        Ok(sandbox) => sandbox,
        Err(error) => return Err(refused(report, "connection", error)),
    };
    if let Some(server) = sandbox.server() {
        report.good(format!("sandbox's server: {server}"));
    }
    report.versions(&sandbox.versions().clone());
    report.good("Custom sandbox verified: Manim and FFmpeg are available");
    try_renders(&mut sandbox, report).await;
    let found = serde_json::to_value(sandbox.versions())?;
    sandbox.close().await;
    Ok(found)
}

/// A line for what could not be had, and the error that ends the program.
fn refused(report: &mut Report, what: &str, error: ConnectError) -> anyhow::Error {
    report.bad(
        format!("{what}: {}", error.without_remedy()),
        error.remedy(),
    );
    error.into()
}

/// A file there and back, and one frame.
async fn try_renders<S: Sandbox>(sandbox: &mut S, report: &mut Report) {
    let again = "run it again; if it stays so, the log above says what broke";
    let begun = Instant::now();
    match round_trip(sandbox).await {
        Ok(()) => {
            report.good("round trip of a file");
            report.good(format!(
                "one-frame render: {} ms",
                begun.elapsed().as_millis()
            ));
        }
        Err(reason) => report.bad(
            format!("round trip of a file and a one-frame render: {reason}"),
            again,
        ),
    }
}

/// A scene that reads a file, says what is in it, and draws one picture, which is fetched.
async fn round_trip<S: Sandbox>(sandbox: &mut S) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    sandbox.reset().await.map_err(|error| error.to_string())?;
    let mut content = tempfile::tempfile().map_err(text)?;
    content.write_all(ROUND_TRIP.as_bytes()).map_err(text)?;
    let source = "from manim import *\n\nclass Verify(Scene):\n    def construct(self):\n        \
                  print(open('trip.txt').read())\n        self.add(Square())\n";
    let request = RenderRequest {
        template: false,
        job_id: "verify".into(),
        attempt: 1,
        file_name: "verify.py".into(),
        source: source.into(),
        scene: None,
        output: OutputSpec {
            format: OutputFormat::Png,
            ..OutputSpec::default()
        },
        limits: Limits {
            wall: RENDER_TIMEOUT / 2,
            ..Limits::default()
        },
        files: Some(Files {
            entries: vec![FileEntry {
                name: "trip.txt".into(),
                bytes: ROUND_TRIP.len() as u64,
            }],
            content: Arc::new(content),
        }),
        formulas: None,
        cores: 1,
        stop: CancellationToken::new(),
    };
    let (sender, mut receiver) = EventSender::channel(64);
    let listening = async {
        let mut said = String::new();
        while let Some(event) = receiver.recv().await {
            if let RenderEvent::Log { text, .. } = event {
                said.push_str(&text);
            }
        }
        said
    };
    let both = async { tokio::join!(sandbox.render(request, sender), listening) };
    let (rendered, said) = tokio::time::timeout(RENDER_TIMEOUT, both)
        .await
        .map_err(|_| format!("no end after {} s", RENDER_TIMEOUT.as_secs()))?;
    let rendered = rendered.map_err(|error| error.to_string())?;
    if !said.contains(ROUND_TRIP) {
        return Err("the file did not arrive as it was sent".into());
    }
    let picture = rendered.artifacts.first().ok_or("no picture came")?;
    let mut magic = [0; 8];
    match &picture.file {
        Content::Here(file) => (&mut &*file).read_exact(&mut magic).map_err(text)?,
        Content::There(file) => {
            let file = file.fetch().await.map_err(|error| error.to_string())?;
            (&mut &*file).read_exact(&mut magic).map_err(text)?;
        }
    }
    if &magic != b"\x89PNG\r\n\x1a\n" {
        return Err("what came is no picture".into());
    }
    Ok(())
}
