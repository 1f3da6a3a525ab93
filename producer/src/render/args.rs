//! The flags of `manimq render`, and the plan that they make.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};
use clap::{ArgAction, Args};
use manimq_shared::job::{
    Aspect, CacheMode, Encoder, Format, FrameRate, Lane, OutputSpec, Quality, TIMEOUT_S_MAX,
};

use super::flags::ManimFlags;
use super::follow::Logs;
use super::place::{self, Place};
use super::source::Source;
use super::with::With;
use super::{More, Plan, Which};
use crate::cli::ServerArgs;
use crate::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  manimq render scene.py MyScene                 1080p60
  manimq render -ql scene.py MyScene             quick preview: 480p15
  manimq render -qm --format gif scene.py A B    two scenes, 720p30, as GIFs
  manimq render -s scene.py MyScene              the last frame as a picture
  manimq render -t -o logo scene.py Logo         transparent, to …/logo.mov
  manimq render -a scene.py                      every scene of the file
  manimq render scene.py A --with logo.png       with a file or a folder it uses
  cat scene.py | manimq render -ql - MyScene     from standard input
  manimq render --json scene.py A | jq -r .path  for scripts

A film lies where `manim render` puts it, such as media/videos/scene/1080p60/MyScene.mp4, and replaces an \
earlier one of the same scene and quality, as there.

Environment:
  MANIMQ_SERVER    the server, as --server
  MANIMQ_API_KEY   your key, if the server wants one; never printed
  NO_COLOR         no colours

Exit status:
  0 rendered · 1 the job failed · 2 wrong use · 3 quota reached
  4 --wait-timeout passed · 5 canceled (Ctrl-C) · 6 the server cannot be reached";

/// What a result should be, as `manim render` has it.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// l 854x480@15, m 1280x720@30, h 1920x1080@60, p 2560x1440@60, k 3840x2160@60
    #[arg(short, long, value_name = "l|m|h|p|k", default_value = "h", hide_possible_values = true,
          value_parser = quality_parser(), help_heading = "Output")]
    pub quality: Quality,

    /// Width and height of the picture in pixels, instead of the quality's own
    #[arg(short, long, value_name = "W,H", value_parser = parse_resolution, allow_hyphen_values = true,
          conflicts_with = "aspect", help_heading = "Output")]
    pub resolution: Option<(u32, u32)>,

    /// Frames per second, 1 to 120 (29.97 too), instead of the quality's own
    #[arg(
        long,
        visible_alias = "frame_rate",
        alias = "frame-rate",
        value_name = "N",
        help_heading = "Output"
    )]
    pub fps: Option<FrameRate>,

    /// File type: mp4 (default), gif, webm, mov (default with -t) or png (last frame, as -s)
    #[arg(long, value_name = "FORMAT", hide_possible_values = true, ignore_case = true,
          value_parser = format_parser(),
          help_heading = "Output")]
    pub format: Option<String>,

    /// Leave the background out
    #[arg(short, long, help_heading = "Output")]
    pub transparent: bool,

    /// Only the last frame, as a PNG
    #[arg(
        short,
        long = "save_last_frame",
        alias = "save-last-frame",
        help_heading = "Output"
    )]
    pub save_last_frame: bool,

    /// Each section of the scene as a film of its own, too, in the folder sections/ beside the film
    #[arg(
        long = "save_sections",
        alias = "save-sections",
        help_heading = "Output"
    )]
    pub save_sections: bool,

    /// Shape of the picture: 16:9, 9:16 or 1:1
    #[arg(long, value_name = "SHAPE", default_value = "16:9", hide_possible_values = true,
          value_parser = words::<Aspect>(Aspect::ALL.iter().map(|v| v.as_str())),
          help_heading = "Output")]
    pub aspect: Aspect,

    /// fast: one stream, quick; manim: manim's own settings, frame-identical to its file
    #[arg(long, value_name = "fast|manim", default_value = "fast", hide_possible_values = true,
          value_parser = words::<Encoder>(Encoder::ALL.iter().map(|v| v.as_str())),
          help_heading = "Output")]
    pub encoder: Encoder,

    /// Seed of random numbers; without it the same scene is the same film each time
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub seed: Option<u32>,
}

/// How a job is run.
#[derive(Debug, Args)]
pub struct JobFlags {
    /// A file or folder that the scene uses (pictures, SVG, sounds, tables), sent with it and found
    /// under the path given here; may be repeated
    #[arg(long, value_name = "FILE|DIR", help_heading = "Job")]
    pub with: Vec<PathBuf>,

    /// Stop the render after this long, at most 1h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_timeout,
          help_heading = "Job")]
    pub timeout: Duration,

    /// Priority among your own jobs: interactive (default of render), normal (of submit) or batch
    #[arg(long, value_name = "LANE", hide_possible_values = true,
          value_parser = words::<Lane>(Lane::ALL.iter().map(|v| v.as_str())),
          help_heading = "Job")]
    pub lane: Option<Lane>,

    /// Render even if the same scene was rendered before
    #[arg(
        long = "disable_caching",
        alias = "disable-caching",
        help_heading = "Job"
    )]
    pub disable_caching: bool,

    /// Fail where the film would come with warnings: text that is cut off, overlaps or is too small
    #[arg(long, help_heading = "Job")]
    pub strict: bool,
}

/// Flags of `manimq render`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "manimq render [OPTIONS] FILE.py [SCENE]...")]
pub struct RenderArgs {
    /// The Python file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The scene classes; may be left out if the file has one
    #[arg(value_name = "SCENE")]
    pub scenes: Vec<String>,

    /// What the result should be
    #[command(flatten)]
    pub output: OutputArgs,

    /// Every scene of the file
    #[arg(
        short = 'a',
        long = "write_all",
        alias = "write-all",
        conflicts_with = "scenes",
        help_heading = "Output"
    )]
    pub write_all: bool,

    /// Name of the file, without its extension; an absolute path goes there
    #[arg(
        short,
        long = "output_file",
        alias = "output-file",
        value_name = "NAME",
        help_heading = "Output"
    )]
    pub output_file: Option<PathBuf>,

    /// Folder under which the files are put, as manim does
    #[arg(
        long = "media_dir",
        alias = "media-dir",
        value_name = "DIR",
        default_value = "./media",
        help_heading = "Output"
    )]
    pub media_dir: PathBuf,

    /// How it is run
    #[command(flatten)]
    pub job: JobFlags,

    /// Stop waiting after this long (exit status 4); the job goes on
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration,
          help_heading = "Job")]
    pub wait_timeout: Duration,

    /// Show all that the scene prints, however much it is
    #[arg(long, conflicts_with = "no_logs", help_heading = "Display")]
    pub logs: bool,

    /// Show what the scene prints only if the job fails
    #[arg(long, help_heading = "Display")]
    pub no_logs: bool,

    /// none: show no progress
    #[arg(long = "progress_bar", alias = "progress-bar", value_name = "display|none",
          hide_possible_values = true, value_parser = ["display", "leave", "none"],
          default_value = "display", hide_default_value = true, help_heading = "Display")]
    pub progress_bar: String,

    /// Print one JSON object per job (the job and its `path`), errors too
    #[arg(long, action = ArgAction::SetTrue, help_heading = "Display")]
    pub json: bool,

    /// Where the server is
    #[command(flatten)]
    pub server: ServerArgs,

    /// What manim has and we do not
    #[command(flatten)]
    pub manim: ManimFlags,
}

/// A parser for a closed set of words.
pub fn words<T>(
    all: impl IntoIterator<Item = &'static str>,
) -> impl clap::builder::TypedValueParser<Value = T>
where
    T: std::str::FromStr + Clone + Send + Sync + 'static,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    PossibleValuesParser::new(all).try_map(|word| word.parse::<T>())
}

/// A parser for qualities, as `manim` names them.
pub fn quality_parser() -> impl clap::builder::TypedValueParser<Value = Quality> {
    let value = |flag: &'static str, name: &'static str| PossibleValue::new(flag).aliases([name]);
    PossibleValuesParser::new([
        value("l", "low"),
        value("m", "medium"),
        value("h", "high"),
        value("p", "production"),
        value("k", "4k"),
    ])
    .map(|word| match word.as_str() {
        "l" | "low" => Quality::Low,
        "m" | "medium" => Quality::Medium,
        "p" | "production" => Quality::Production,
        "k" | "4k" => Quality::FourK,
        _ => Quality::High,
    })
}

/// A parser for formats; those that are not rendered yet are known, for their own answer, and not shown.
fn format_parser() -> PossibleValuesParser {
    let shown = ["auto", "mp4", "gif", "webm", "mov", "png"].map(PossibleValue::new);
    let later = ["none", "png-sequence"].map(|word| PossibleValue::new(word).hide(true));
    PossibleValuesParser::new(shown.into_iter().chain(later))
}

/// `W,H` as `manim` takes it: also with `;`, `-` or `x` between them.
///
/// # Errors
/// How to write it.
pub fn parse_resolution(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once([',', ';', '-', 'x']);
    let number = |side: &str| side.trim().parse::<u32>().ok();
    sides
        .and_then(|(width, height)| number(width).zip(number(height)))
        .ok_or_else(|| "write width and height like 1080,1350".to_owned())
}

/// `10m`, `1h 30m`, or a bare number of seconds.
///
/// # Errors
/// How to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.min(31_536_000))),
        Err(_) => {
            humantime::parse_duration(text).map_err(|_| "write it like 90s, 10m or 1h".to_owned())
        }
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text)?;
    let allowed = 1..=u64::from(TIMEOUT_S_MAX);
    if allowed.contains(&timeout.as_secs())
        && timeout <= Duration::from_secs(u64::from(TIMEOUT_S_MAX))
    {
        Ok(timeout)
    } else {
        Err("it must be between 1s and 1h".to_owned())
    }
}

impl JobFlags {
    /// Limit of one attempt, seconds.
    #[must_use]
    pub fn timeout_s(&self) -> u32 {
        u32::try_from(self.timeout.as_secs()).unwrap_or(TIMEOUT_S_MAX)
    }

    /// Whether an earlier result may answer.
    #[must_use]
    pub const fn cache(&self) -> CacheMode {
        if self.disable_caching {
            CacheMode::Refresh
        } else {
            CacheMode::Use
        }
    }
}

impl OutputArgs {
    /// What is asked of the server.
    ///
    /// # Errors
    /// Flags that contradict each other.
    pub fn spec(&self) -> Result<OutputSpec, Failure> {
        let asked = self.format.as_deref().map(str::to_ascii_lowercase);
        let format = match asked.as_deref() {
            Some(not_yet @ ("none" | "png-sequence")) => {
                return Err(Failure::usage(format!(
                    "--format {not_yet} of `manim render` is not yet supported by manimq"
                ))
                .hint("use mp4, gif, webm, mov, or png for the last frame"));
            }
            None | Some("auto") if self.save_last_frame => Format::Png,
            None | Some("auto") if self.transparent => Format::Mov,
            None | Some("auto") => Format::Mp4,
            Some(word) => word.parse().map_err(Failure::usage)?,
        };
        if self.save_last_frame && format != Format::Png {
            return Err(Failure::usage(format!(
                "-s makes a picture (png), --format asks for {format}"
            ))
            .hint("give one of the two"));
        }
        if self.save_sections && !format.can_have_sections() {
            return Err(Failure::usage(format!("{format} has no films of sections"))
                .hint("leave --save_sections out, or use mp4, webm or mov"));
        }
        if self.transparent && !format.can_be_transparent() {
            return Err(Failure::usage(format!("{format} cannot be transparent"))
                .hint("leave --format out (mov), or use --format webm, gif or png"));
        }
        Ok(OutputSpec {
            format,
            quality: self.quality,
            width: self.resolution.map(|(width, _)| width),
            height: self.resolution.map(|(_, height)| height),
            fps: self.fps,
            aspect: self.aspect,
            transparent: self.transparent,
            sections: self.save_sections,
            encoder: self.encoder,
            seed: self.seed,
        })
    }
}

/// Which scenes are meant, each once.
#[must_use]
pub fn which(scenes: &[String], all: bool) -> Which {
    let mut scenes = scenes.to_vec();
    let mut once = std::collections::HashSet::new();
    scenes.retain(|scene| once.insert(scene.clone()));
    match (all, scenes.is_empty()) {
        (true, _) => Which::All,
        (false, true) => Which::Unsaid,
        (false, false) => Which::Named(scenes),
    }
}

impl RenderArgs {
    /// What the command asks for, with its file read.
    ///
    /// # Errors
    /// What is wrong with the flags or the file.
    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        let output = self.output.spec()?;
        if let Some(name) = &self.output_file {
            if !place::is_file_name(name) {
                return Err(Failure::usage(format!(
                    "-o {} names no file",
                    name.display()
                )));
            }
            if self.write_all || self.scenes.len() > 1 {
                return Err(Failure::usage("-o can only be used with exactly one scene")
                    .hint("leave -o out, or name one scene"));
            }
        }
        let source = Source::read(&self.file)?;
        let with = With::find(&self.job.with)?;
        Ok(Plan {
            input: None,
            which: which(&self.scenes, self.write_all),
            place: Place {
                media_dir: self.media_dir.clone(),
                stem: source.stem.clone(),
                output_file: self.output_file.clone(),
                film: None,
            },
            source,
            with,
            output,
            timeout_s: self.job.timeout_s(),
            lane: self.job.lane.unwrap_or(Lane::Interactive),
            cache: self.job.cache(),
            strict: self.job.strict,
            more: More::default(),
            wait_max: self.wait_timeout,
            logs: match (self.logs, self.no_logs || self.json) {
                (true, _) => Logs::All,
                (false, true) => Logs::OnFailure,
                (false, false) => Logs::Some,
            },
            can_ask: !self.json
                && self.file.as_os_str() != "-"
                && std::io::stdin().is_terminal()
                && std::io::stderr().is_terminal(),
            json: self.json,
        })
    }
}
