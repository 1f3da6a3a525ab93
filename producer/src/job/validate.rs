//! `manimq validate`.

use std::path::PathBuf;

use clap::Args;
use manimq_shared::api::{ValidateRequest, Validation};
use serde_json::json;

use super::Call;
use crate::admin::Answer;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::render::report;
use crate::render::source::Source;
use crate::term::{Paint, visible};

/// Flags of `manimq validate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Asks the server what it would say of a scene file, without a job. Exit status 1 if it would be refused.

Examples:
  manimq validate scene.py
  manimq validate --json scene.py MyScene | jq '.findings[] | {line, message}'")]
pub struct ValidateArgs {
    /// The Python file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The scene that would be rendered
    #[arg(value_name = "SCENE")]
    scene: Option<String>,
    #[command(flatten)]
    call: Call,
}

impl ValidateArgs {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let act = async |client: &Client, paint: Paint| {
            let source = Source::read(&self.file)?;
            let request = ValidateRequest {
                source: source.text.clone(),
                scene: self.scene.clone(),
            };
            let judged = client.validate(&request).await?;
            Ok::<_, Failure>(Answer {
                text: show(&judged, &source, paint),
                exit: if judged.ok { Exit::Ok } else { Exit::Failed },
                json: json!(judged),
            })
        };
        self.call.answer(act).await
    }
}

fn show(judged: &Validation, source: &Source, paint: Paint) -> String {
    let findings: Vec<_> = judged
        .findings
        .iter()
        .filter_map(|finding| serde_json::to_value(finding).ok())
        .collect();
    let mut text = report::findings(&findings, source, paint);
    if judged.omitted > 0 {
        text.push_str(&format!("and {} more\n", judged.omitted));
    }
    let shown = visible(&source.shown);
    if let Some(problem) = &judged.scene_problem {
        text.push_str(&format!(
            "{} {shown}: {}\n",
            paint.error("error:"),
            visible(problem)
        ));
    }
    let names: Vec<_> = judged
        .scenes
        .iter()
        .map(|scene| visible(&scene.name))
        .collect();
    match (judged.ok, &judged.scene) {
        (true, Some(scene)) => text.push_str(&format!(
            "{} {shown}: {} would be rendered\n",
            paint.good("ok:"),
            visible(scene)
        )),
        (true, None) => text.push_str(&format!(
            "{} {shown}: its scene is found when it is run\n",
            paint.good("ok:")
        )),
        (false, _) if judged.scene_problem.is_none() => {
            text.push_str(&format!(
                "{} {shown} would be refused\n",
                paint.error("error:")
            ));
        }
        (false, _) => {}
    }
    if names.len() > 1 {
        text.push_str(&format!("scenes: {}\n", names.join(", ")));
    }
    text
}
