//! Renders one file many times in one warm sandbox and prints how long each took:
//! `time_render FILE.py RUNS low|medium|high [fast|manim] [FORMAT]`.
//!
//! The sandbox alone, without queue and storage: what a render costs from the
//! request to the open file.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use manimq_worker::sandbox::formulas::FormulaStore;
use manimq_worker::sandbox::local::{LocalConfig, LocalSandbox};
use manimq_worker::sandbox::{
    Encoder, EventSender, Limits, OutputFormat, OutputSpec, RenderEvent, RenderRequest, Sandbox,
    Stage,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, runs, quality, rest @ ..] = arguments.as_slice() else {
        anyhow::bail!("usage: time_render FILE.py RUNS low|medium|high [fast|manim] [FORMAT]");
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let from_env =
        |name: &str, default: PathBuf| std::env::var_os(name).map_or(default, PathBuf::from);
    let config = LocalConfig::new(
        from_env("MANIMQ_PYTHON_ENV", here.join("../.manimq/python")),
        from_env("MANIMQ_RENDERER_DIR", here.join("renderer")),
        std::process::id() % 1_000_000,
    );
    let (width, height, fps) = match quality.as_str() {
        "low" => (854, 480, 15.0),
        "medium" => (1280, 720, 30.0),
        "high" => (1920, 1080, 60.0),
        other => anyhow::bail!("no quality {other}: low, medium or high"),
    };
    let output = OutputSpec {
        width,
        height,
        fps,
        encoder: match rest.first().map(String::as_str) {
            Some("manim") => Encoder::Manim,
            _ => Encoder::Fast,
        },
        format: match rest.get(1).map(String::as_str) {
            Some("webm") => OutputFormat::Webm,
            Some("mov") => OutputFormat::Mov,
            Some("gif") => OutputFormat::Gif,
            Some("png") => OutputFormat::Png,
            _ => OutputFormat::Mp4,
        },
        ..OutputSpec::default()
    };
    let source: std::sync::Arc<str> = std::fs::read_to_string(file)?.into();
    let mut sandbox = LocalSandbox::connect(config).await?;
    // As a worker has it; without, each run sets its formulas anew.
    let shelf = std::env::var_os("KEEP_FORMULAS").map(|_| FormulaStore::default().shelf("bench"));
    let (mut took, mut walls) = (Vec::new(), Vec::new());
    for run in 0..runs.parse()? {
        sandbox.reset().await?;
        let (events, mut incoming) = EventSender::channel(64);
        // When the totals were known, and when the time left, if before the end.
        let listener = tokio::spawn(async move {
            let (mut totals, mut eta) = (None, None);
            while let Some(event) = incoming.recv().await {
                match event {
                    RenderEvent::Log { text, .. } => print!("{text}"),
                    RenderEvent::Progress(progress) if progress.stage == Stage::Rendering => {
                        let now = Instant::now();
                        totals = totals.or(progress.frames_total.map(|_| now));
                        eta = eta.or(progress.eta_s.map(|_| now));
                    }
                    _ => {}
                }
            }
            (totals, eta)
        });
        let request = RenderRequest {
            job_id: format!("run-{run}"),
            attempt: 1,
            file_name: "scene.py".into(),
            source: source.clone(),
            template: false,
            scene: None,
            output: output.clone(),
            limits: Limits::default(),
            files: None,
            formulas: shelf.clone(),
            cores: std::env::var("CORES").map_or(1, |n| n.parse().expect("CORES is a number")),
            stop: tokio_util::sync::CancellationToken::new(),
        };
        // As long as a slot waits for a job; none: the next one is there already.
        if let Ok(pause) = std::env::var("PAUSE_MS") {
            tokio::time::sleep(Duration::from_millis(pause.parse()?)).await;
        }
        let began = Instant::now();
        let rendered = sandbox.render(request, events).await;
        let wall = began.elapsed().as_secs_f64();
        let known = listener.await?;
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(error) => {
                println!("{:.1} ms; {error:?}", wall * 1e3);
                continue;
            }
        };
        let timings = rendered.timings;
        println!(
            "{:.1} ms, {:.1} of them beside the scene; {timings:?} cpu {:.3} s, {} MiB",
            wall * 1e3,
            (wall - timings.prepare_s - timings.render_s - timings.encode_s) * 1e3,
            rendered.usage.cpu_s,
            rendered.usage.peak_memory_bytes >> 20
        );
        let after =
            |at: Option<Instant>| at.map_or(-1.0, |at| at.duration_since(began).as_secs_f64());
        println!(
            "   totals after {:.2} s, time left after {:.2} s (-1: not before the end)",
            after(known.0),
            after(known.1)
        );
        for warning in &rendered.warnings {
            println!("   {warning}");
        }
        took.push(wall);
        walls.push(timings.walls_s);
    }
    sandbox.close().await;
    took.sort_by(f64::total_cmp);
    walls.sort_by(f64::total_cmp);
    anyhow::ensure!(!took.is_empty(), "no render succeeded");
    let middle = took.len() / 2;
    println!(
        "median {:.1} ms of {}; walls {:.1} ms",
        took[middle] * 1e3,
        took.len(),
        walls[middle] * 1e3
    );
    Ok(())
}
