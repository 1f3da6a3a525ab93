//! Renders one file in a local sandbox: `render_file FILE.py [SCENE] OUT [fast|manim]`.
//!
//! For trying the sandbox by hand, without queue and pool.

use std::path::{Path, PathBuf};

use manimq_worker::sandbox::local::{LocalConfig, render_file};
use manimq_worker::sandbox::{Encoder, EventSender, OutputSpec, RenderEvent};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, scene, out, encoder] = arguments.as_slice() else {
        anyhow::bail!("usage: render_file FILE.py SCENE|- OUT fast|manim");
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let from_env =
        |name: &str, default: PathBuf| std::env::var_os(name).map_or(default, PathBuf::from);
    let config = LocalConfig::new(
        from_env("MANIMQ_PYTHON_ENV", here.join("../.manimq/python")),
        from_env("MANIMQ_RENDERER_DIR", here.join("renderer")),
        0,
    );
    let output = OutputSpec {
        encoder: if encoder == "manim" {
            Encoder::Manim
        } else {
            Encoder::Fast
        },
        ..OutputSpec::default()
    };
    let scene = (scene != "-").then(|| scene.clone());
    let (events, mut incoming) = EventSender::channel(64);
    let printer = tokio::spawn(async move {
        while let Some(event) = incoming.recv().await {
            match event {
                RenderEvent::Log { text, .. } => print!("{text}"),
                other => eprintln!("{other:?}"),
            }
        }
    });
    let result = render_file(
        config,
        Path::new(file),
        scene,
        output,
        Path::new(out),
        events,
    )
    .await;
    printer.await?;
    match result {
        Ok(rendered) => println!("{rendered:#?}"),
        Err(error) => {
            println!("{error:#?}");
            std::process::exit(1);
        }
    }
    Ok(())
}
