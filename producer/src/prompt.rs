//! `manimq prompt|plan|templates|template`: films without code.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use manimq_shared::job::{CodeUse, Fallback, JobInput, Lane};
use serde_json::{Map, Value, json};

use crate::admin::{Answer, conclude};
use crate::cli::ServerArgs;
use crate::client::{Client, ClientError};
use crate::exit::{Exit, Failure};
use crate::render::args::{JobFlags, OutputArgs, parse_duration};
use crate::render::follow::Logs;
use crate::render::place::Place;
use crate::render::progress::{Mode, Screen};
use crate::render::source::Source;
use crate::render::with::With;
use crate::render::{More, Plan, Which, carry_out};
use crate::term::{Paint, visible};

/// Longest prompt that is read from standard input, in bytes.
const PROMPT_BYTES_MAX: u64 = 16 * 1024;

/// Longest name of a film that is made of its prompt.
const FILM_NAME_BYTES_MAX: usize = 60;

/// Flags of `manimq prompt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Makes a film of a sentence: a template is chosen, its parameters are read from the sentence. `manimq plan` says \
beforehand what is understood; `manimq templates` lists what there is.

Examples:
  manimq prompt \"Explain the Pythagorean theorem with a triangle\"
  manimq prompt -ql \"derivative of x^2 at 1\"
  manimq prompt --template sorting --param array='[5,2,9,1]'
  echo \"bubble sort 5 2 9 1, vertical\" | manimq prompt -
  manimq prompt --code \"a cycloid drawn by a rolling wheel\"

The last one needs a language model on the server (MANIMQ_LLM_URL of `manimq serve`). The film is named by the \
first words of its prompt; another film of that name stays, and the new one gets a number.

Exit status:
  0 rendered · 1 the job failed · 2 wrong use, or the prompt fits no template
  3 quota reached · 4 --wait-timeout passed · 5 canceled (Ctrl-C)
  6 the server cannot be reached")]
pub struct PromptArgs {
    /// The sentence, or - for standard input
    #[arg(value_name = "PROMPT", required_unless_present = "template")]
    prompt: Option<String>,
    /// A card with the prompt's own words if it fits no template
    #[arg(long)]
    explainer: bool,
    /// Code that the server's language model writes, before templates are tried
    #[arg(long, conflicts_with = "no_code")]
    code: bool,
    /// No such code, even if no template fits
    #[arg(long)]
    no_code: bool,
    /// This template instead of a sentence
    #[arg(long, value_name = "ID", conflicts_with_all = ["prompt", "explainer", "code", "no_code"])]
    template: Option<String>,
    /// A parameter of the template: JSON, or a text; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "template", value_parser = parse_param)]
    param: Vec<(String, Value)>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    job: JobFlags,
    /// Name of the file, instead of one made of the prompt's first words
    #[arg(
        short,
        long = "output_file",
        value_name = "FILE",
        help_heading = "Output"
    )]
    output_file: Option<PathBuf>,
    /// Folder for the file
    #[arg(
        long = "media_dir",
        value_name = "DIR",
        default_value = "media",
        help_heading = "Output"
    )]
    media_dir: PathBuf,
    /// Stop waiting after this long (exit status 4); the job goes on
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration, help_heading = "Job")]
    wait_timeout: Duration,
    /// The job as JSON on standard output, with the file's path
    #[arg(long)]
    json: bool,
    /// Where the server is
    #[command(flatten)]
    server: ServerArgs,
}

fn parse_param(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "write NAME=VALUE, such as a=3 or f='[\"x^2\"]'".to_owned())?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    Ok((name.to_owned(), value))
}

/// The prompt itself, from standard input for `-`.
fn read_prompt(prompt: &str) -> Result<String, Failure> {
    if prompt != "-" {
        return Ok(prompt.to_owned());
    }
    let mut text = String::new();
    let read = std::io::stdin()
        .lock()
        .take(PROMPT_BYTES_MAX)
        .read_to_string(&mut text);
    read.map_err(|error| {
        Failure::usage(format!(
            "cannot read the prompt from standard input: {error}"
        ))
    })?;
    Ok(text)
}

/// A name for the film of a prompt: its first words; `film` if it has no letters and no digits.
fn film_name(prompt: &str) -> String {
    let mut name = String::new();
    let words = prompt.split(|c: char| !c.is_alphanumeric());
    for word in words.filter(|word| !word.is_empty()) {
        let word = word.to_lowercase();
        if !name.is_empty() && name.len() + word.len() >= FILM_NAME_BYTES_MAX {
            break;
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.extend(word.chars().take(FILM_NAME_BYTES_MAX / 4));
    }
    if name.is_empty() {
        name.push_str("film");
    }
    name
}

impl PromptArgs {
    fn plan(&self) -> Result<Plan, Failure> {
        let (shown, film, input) = match (&self.prompt, &self.template) {
            (Some(prompt), _) => {
                let prompt = read_prompt(prompt)?;
                let shown: String = prompt.trim().chars().take(60).collect();
                let film = film_name(&prompt);
                let fallback = self.explainer.then_some(Fallback::Explainer);
                let code = match (self.code, self.no_code) {
                    (true, _) => Some(CodeUse::Prefer),
                    (_, true) => Some(CodeUse::Never),
                    _ => None,
                };
                let input = JobInput::Prompt {
                    fallback,
                    code,
                    prompt,
                };
                (shown, film, input)
            }
            (None, template) => {
                let id = template.clone().unwrap_or_default();
                let params = self.param.iter().cloned().collect();
                (
                    id.clone(),
                    film_name(&id),
                    JobInput::Template {
                        id,
                        version: None,
                        params,
                    },
                )
            }
        };
        let source = Source {
            text: String::new(),
            shown,
            file_name: None,
            stem: PathBuf::from("prompt"),
            lines_added: 0,
        };
        Ok(Plan {
            input: Some(input),
            which: Which::Unsaid,
            place: Place {
                media_dir: self.media_dir.clone(),
                stem: source.stem.clone(),
                output_file: self.output_file.clone(),
                film: Some(film),
            },
            source,
            with: With::find(&self.job.with)?,
            output: self.output.spec()?,
            timeout_s: self.job.timeout_s(),
            lane: self.job.lane.unwrap_or(Lane::Interactive),
            cache: self.job.cache(),
            strict: self.job.strict,
            more: More {
                metadata: BTreeMap::new(),
                ..More::default()
            },
            wait_max: self.wait_timeout,
            logs: Logs::OnFailure,
            can_ask: false,
            json: self.json,
        })
    }

    /// Runs the command.
    pub async fn run(self) -> Exit {
        let paint = Paint::stderr();
        let mode = match Mode::of_stderr() {
            Mode::Lines if self.json => Mode::Quiet,
            mode => mode,
        };
        let screen = Screen::new(mode, paint);
        let ready = self
            .plan()
            .and_then(|plan| Ok((plan, self.server.client()?)));
        match ready {
            Ok((plan, client)) => carry_out(&plan, &client, &screen).await,
            Err(failure) => {
                if self.json {
                    screen.data(&failure.to_json().to_string());
                } else {
                    screen.say(&failure.report(paint));
                }
                failure.exit
            }
        }
    }
}

/// Flags of `manimq plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Says which template a sentence becomes, with which parameters, and what decided that; no job. Exit status 1 if it fits \
no template or several.

Examples:
  manimq plan \"area under x^2 from 0 to 2\"
  manimq plan --json \"bubble sort 5 2 9 1\" | jq .params")]
pub struct PlanArgs {
    /// The sentence, or - for standard input
    #[arg(value_name = "PROMPT")]
    prompt: String,
    /// A card with the prompt's own words if it fits no template
    #[arg(long)]
    explainer: bool,
    /// Answer with one JSON document, errors too
    #[arg(long)]
    json: bool,
    /// Where the server is
    #[command(flatten)]
    server: ServerArgs,
}

impl PlanArgs {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let act = async {
            let prompt = read_prompt(&self.prompt)?;
            let fallback = self.explainer.then_some(Fallback::Explainer);
            let client = self.server.client()?;
            match client
                .post_thinking("v1/plan", &json!({"prompt": prompt, "fallback": fallback}))
                .await
            {
                Ok(plan) => Ok(Answer::ok(shown_plan(&plan, Paint::stdout()), plan)),
                Err(ClientError::Problem { problem, .. }) if problem.kind == "prompt-ambiguous" => {
                    Ok(Answer {
                        text: format!(
                            "{}\n{}",
                            visible(&problem.detail),
                            shown_candidates(&problem.candidates, Paint::stdout())
                        ),
                        json: json!(problem),
                        exit: Exit::Failed,
                    })
                }
                Err(error) => Err(Failure::from(error)),
            }
        };
        conclude(act.await, self.json)
    }
}

fn text_of<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn shown_plan(plan: &Value, paint: Paint) -> String {
    let id = visible(text_of(plan, "template"));
    let percent = plan["confidence"].as_f64().unwrap_or(0.0) * 100.0;
    let sure = match text_of(plan, "by") {
        "model" => "proposed by the server's language model".to_owned(),
        _ => format!("sure to {percent:.0} %"),
    };
    let mut text = format!(
        "{} {} ({sure})\n",
        paint.strong(&id),
        text_of(plan, "version")
    );
    for (name, value) in plan["params"].as_object().into_iter().flatten() {
        text.push_str(&format!(
            "  {} = {}\n",
            visible(name),
            visible(&value.to_string())
        ));
    }
    for (name, value) in plan["output"].as_object().into_iter().flatten() {
        text.push_str(&format!(
            "  {} {}: {}\n",
            paint.dim("output"),
            visible(name),
            visible(&value.to_string())
        ));
    }
    for note in plan["notes"].as_array().into_iter().flatten() {
        let note = visible(note.as_str().unwrap_or_default());
        text.push_str(&format!("  {} {note}\n", paint.warning("note:")));
    }
    let evidence = plan["evidence"].as_array().map_or(&[][..], Vec::as_slice);
    if !evidence.is_empty() {
        text.push_str(&format!(
            "  {}\n",
            paint.dim("understood from these words:")
        ));
    }
    for found in evidence {
        let (kind, piece) = (
            visible(text_of(found, "kind")),
            visible(text_of(found, "text")),
        );
        text.push_str(&format!(
            "    {}\n",
            paint.dim(format!("{kind}: {piece:?}"))
        ));
    }
    for other in plan["alternatives"].as_array().into_iter().flatten() {
        let id = visible(text_of(other, "template"));
        text.push_str(&format!("  {}\n", paint.dim(format!("or {id}"))));
    }
    text
}

/// What to type in place of a prompt that was refused.
pub(crate) fn shown_candidates(candidates: &[Value], paint: Paint) -> String {
    let mut text = String::new();
    for candidate in candidates {
        let id = text_of(candidate, "template");
        let mut command = format!("manimq prompt --template {id}");
        for (name, value) in candidate["params"].as_object().into_iter().flatten() {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            command.push_str(&format!(
                " --param {name}='{}'",
                value.replace('\'', "'\\''")
            ));
        }
        for name in candidate["missing"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            command.push_str(&format!(" --param {name}=…"));
        }
        let title = paint.strong(visible(text_of(candidate, "title")));
        text.push_str(&format!("  {title}\n    {}\n", visible(&command)));
    }
    text
}

/// Flags of `manimq templates`.
#[derive(Debug, Args)]
pub struct TemplatesArgs {
    /// Answer with one JSON document, errors too
    #[arg(long)]
    json: bool,
    /// Where the server is
    #[command(flatten)]
    server: ServerArgs,
}

impl TemplatesArgs {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let act = async {
            let list: Value = self.server.client()?.fetch("v1/templates").await?;
            Ok::<_, Failure>(Answer::ok(shown_list(&list, Paint::stdout()), list))
        };
        conclude(act.await, self.json)
    }
}

fn shown_list(list: &Value, paint: Paint) -> String {
    let mut text = String::new();
    for group in ["maths", "computing", "general"] {
        let templates = list["templates"].as_array().into_iter().flatten();
        let mut first = true;
        for template in templates.filter(|template| text_of(template, "group") == group) {
            if std::mem::take(&mut first) {
                text.push_str(&format!("{}\n", paint.strong(group)));
            }
            let (id, summary) = (
                visible(text_of(template, "id")),
                visible(text_of(template, "summary")),
            );
            text.push_str(&format!("  {id:<20} {summary}\n"));
        }
    }
    text.push_str("`manimq template show ID` tells a template's parameters.\n");
    text
}

/// Flags of `manimq template`.
#[derive(Debug, Args)]
pub struct TemplateArgs {
    /// What to do.
    #[command(subcommand)]
    command: TemplateCommand,
}

#[derive(Debug, Subcommand)]
enum TemplateCommand {
    /// Show a template: what it takes, and prompts for it
    Show {
        /// The template's id
        #[arg(value_name = "ID")]
        id: String,
        /// Answer with one JSON document, errors too
        #[arg(long)]
        json: bool,
        /// Where the server is
        #[command(flatten)]
        server: ServerArgs,
    },
}

impl TemplateArgs {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let TemplateCommand::Show { id, json, server } = self.command;
        let act = async {
            let is_id = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            if !is_id {
                return Err(Failure::usage(format!("{id:?} is no template's id"))
                    .hint("`manimq templates` lists them"));
            }
            let client: Client = server.client()?;
            let template: Value = client.fetch(&format!("v1/templates/{id}")).await?;
            Ok(Answer::ok(
                shown_template(&template, Paint::stdout()),
                template,
            ))
        };
        conclude(act.await, json)
    }
}

fn shown_template(template: &Value, paint: Paint) -> String {
    let text = |name: &str| visible(text_of(template, name));
    let mut shown = format!(
        "{} {}\n{}\n\n",
        paint.strong(text("id")),
        text("version"),
        text("summary")
    );
    let empty = Map::new();
    let schema = &template["parameters"];
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, property) in properties {
        let mut about = visible(text_of(property, "description")).into_owned();
        if let Some(words) = property["enum"].as_array() {
            let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
            about.push_str(&format!(" One of {}.", words.join(", ")));
        }
        match (required.contains(&name.as_str()), property.get("default")) {
            (true, _) => about.push_str(" Must be given."),
            (false, Some(default)) => about.push_str(&format!(" Default {default}.")),
            (false, None) => {}
        }
        shown.push_str(&format!("  {:<16} {about}\n", visible(name)));
    }
    shown.push_str("\nPrompts:\n");
    for example in template["examples"].as_array().into_iter().flatten() {
        shown.push_str(&format!("  {}\n", visible(text_of(example, "prompt"))));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_is_named_by_the_first_words_of_its_prompt() {
        for (prompt, name) in [
            ("Derivative of x^2 at 1", "derivative-of-x-2-at-1"),
            ("  bubble sort\n5, 2 ", "bubble-sort-5-2"),
            ("../../etc/passwd", "etc-passwd"),
            ("Flächen unter x²", "flächen-unter-x²"),
            ("√?!", "film"),
            ("function-plot", "function-plot"),
        ] {
            assert_eq!(film_name(prompt), name, "{prompt}");
        }
        for long in ["word ".repeat(100), "w".repeat(5000), "中".repeat(5000)] {
            let name = film_name(&long);
            assert!(name.len() <= FILM_NAME_BYTES_MAX, "{name}");
        }
    }
}
