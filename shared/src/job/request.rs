//! What a producer asks for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Lane;
use super::files::{JobFile, check_files};
use super::objects;
use super::rate::FrameRate;
use super::text::text_enum;
use crate::characters::is_harmful;
use crate::ids::JobId;
/// Wall-clock limit of one render when the job names none, in seconds.
pub const TIMEOUT_S_DEFAULT: u32 = 600;
/// Largest wall-clock limit of one render, in seconds.
pub const TIMEOUT_S_MAX: u32 = 3_600;
/// Largest time a job may wait before it expires, in seconds (a week).
pub const DEADLINE_S_MAX: u32 = 604_800;
/// Longest side of a picture, in pixels.
pub const SIDE_MAX: u32 = 16_384;
/// Most tags of a job.
pub const TAGS_MAX: usize = 16;
/// Longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 64;
/// Most keys in a job's metadata.
pub const METADATA_KEYS_MAX: usize = 16;
/// Longest metadata key plus value, in bytes.
pub const METADATA_BYTES_MAX: usize = 512;
/// Longest name of a source file, in bytes.
pub const SOURCE_FILE_NAME_BYTES_MAX: usize = 128;
/// The name of a source file that has none.
pub const SOURCE_FILE_NAME_DEFAULT: &str = "scene.py";

text_enum! {
    /// Picture size and rate, with Manim's own names.
    Quality {
        /// `-ql`: 854×480 at 15 frames a second.
        Low = "low",
        /// `-qm`: 1280×720 at 30.
        Medium = "medium",
        /// `-qh`: 1920×1080 at 60.
        High = "high",
        /// `-qp`: 2560×1440 at 60.
        Production = "production",
        /// `-qk`: 3840×2160 at 60.
        FourK = "4k",
    }
}

impl Quality {
    /// Width, height and frames per second of a 16:9 picture
    /// (Manim 0.22, `manim/constants.py`, `QUALITIES`).
    #[must_use]
    pub const fn size(self) -> (u32, u32, u32) {
        match self {
            Self::Low => (854, 480, 15),
            Self::Medium => (1280, 720, 30),
            Self::High => (1920, 1080, 60),
            Self::Production => (2560, 1440, 60),
            Self::FourK => (3840, 2160, 60),
        }
    }
}

text_enum! {
    /// File type of the main artifact.
    Format {
        /// H.264 in MP4.
        Mp4 = "mp4",
        /// VP9 in WebM; can be transparent.
        Webm = "webm",
        /// QuickTime; can be transparent.
        Mov = "mov",
        /// Animated GIF.
        Gif = "gif",
        /// The last frame as a picture (`-s`).
        Png = "png",
    }
}

impl Format {
    /// The MIME type under which such a file is served.
    #[must_use]
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::Webm => "video/webm",
            Self::Mov => "video/quicktime",
            Self::Gif => "image/gif",
            Self::Png => "image/png",
        }
    }

    /// Whether the format can hold a transparent background.
    #[must_use]
    pub const fn can_be_transparent(self) -> bool {
        match self {
            Self::Webm | Self::Mov | Self::Gif | Self::Png => true,
            Self::Mp4 => false,
        }
    }

    /// Whether the sections of a scene can be films of their own.
    #[must_use]
    pub const fn can_have_sections(self) -> bool {
        match self {
            Self::Mp4 | Self::Webm | Self::Mov => true,
            Self::Gif | Self::Png => false,
        }
    }
}

text_enum! {
    /// How frames become a file.
    Encoder {
        /// One continuous stream, x264 `veryfast`, crf 23. The frames before encoding are the bare command's.
        Fast = "fast",
        /// The bare command's own settings and pieces: the decoded file is frame-identical to its file.
        Manim = "manim",
    }
}

text_enum! {
    /// Shape of the picture.
    Aspect {
        /// Landscape, the default.
        Wide = "16:9",
        /// Portrait.
        Tall = "9:16",
        /// Square.
        Square = "1:1",
    }
}

text_enum! {
    /// Whether an earlier result may answer a job.
    CacheMode {
        /// Use one if there is one.
        Use = "use",
        /// Render anew.
        Refresh = "refresh",
        /// Never render; fail if there is none.
        Only = "only",
    }
}

/// Most characters of a prompt.
pub const PROMPT_CHARS_MAX: usize = 2_000;

text_enum! {
    /// What a prompt becomes that fits no template.
    Fallback {
        /// A card with the prompt's own words.
        Explainer = "explainer",
    }
}

text_enum! {
    /// Whether a language model may write code for a prompt. It does only if the server has one, and for keys and tenants that may send code of their own.
    CodeUse {
        /// No.
        Never = "never",
        /// If no template fits; so it is if nothing is said.
        IfNeeded = "if_needed",
        /// Before templates are tried.
        Prefer = "prefer",
    }
}

/// What to render.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum JobInput {
    /// One of the templates that `GET /v1/templates` lists. No code of yours is run.
    Template {
        /// The template's id.
        id: String,
        /// The version that is wanted; without it the present one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// Its parameters, as `GET /v1/templates/{id}` describes them.
        #[serde(default)]
        #[schema(value_type = Object)]
        params: Map<String, Value>,
    },
    /// A sentence, of which a template with parameters is made (`POST /v1/plan` tells which).
    Prompt {
        /// What to make of a sentence that fits no template; without it such a one is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fallback: Option<Fallback>,
        /// Whether a language model may write code for it; then the job becomes one of `code`. Where it was to be tried
        /// first (`prefer`) and none came of it, a template is looked for as if nothing had been said; the job's
        /// `input.kind` says which it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<CodeUse>,
        /// The sentence, at most 2,000 characters.
        #[schema(max_length = 2000)]
        prompt: String,
    },
    /// Manim source. Runs only in a sandbox.
    Code {
        /// Which scene class; may be left out when the file has exactly one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scene: Option<String>,
        /// The name under which errors speak of the file: a plain name that ends in `.py`, at
        /// most 128 bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file_name: Option<String>,
        /// Files that the scene finds in its working directory, by content that was sent before.
        /// To send contents, submit a form: the job as its part `job`, each file as a part `files`.
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            deserialize_with = "objects::objects"
        )]
        files: Vec<JobFile>,
        /// One Python file, at most 256 KiB of UTF-8.
        source: String,
    },
}

impl JobInput {
    /// The input's kind as text.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Code { .. } => "code",
            Self::Template { .. } => "template",
            Self::Prompt { .. } => "prompt",
        }
    }

    /// Whether it is a sentence, of which is still to be made what is rendered.
    #[must_use]
    pub const fn is_prompt(&self) -> bool {
        matches!(self, Self::Prompt { .. })
    }

    /// The source, if it is code.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Code { source, .. } => Some(source),
            Self::Template { .. } | Self::Prompt { .. } => None,
        }
    }

    /// The scene class, if it is code and the class is known.
    #[must_use]
    pub fn scene(&self) -> Option<&str> {
        match self {
            Self::Code { scene, .. } => scene.as_deref(),
            Self::Template { .. } | Self::Prompt { .. } => None,
        }
    }

    /// The name of the source file, if it is code that has one.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        match self {
            Self::Code { file_name, .. } => file_name.as_deref(),
            Self::Template { .. } | Self::Prompt { .. } => None,
        }
    }

    /// The files that come with it.
    #[must_use]
    pub fn files(&self) -> &[JobFile] {
        match self {
            Self::Code { files, .. } => files,
            Self::Template { .. } | Self::Prompt { .. } => &[],
        }
    }
}

/// What the result should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// File type.
    #[serde(default = "default_format")]
    pub format: Format,
    /// Size and rate.
    #[serde(default = "default_quality")]
    pub quality: Quality,
    /// Width of the picture in pixels, in place of the quality's; `height` goes with it. Even where the film is mp4, or mov
    /// or gif with a background. What a tenant may ask for, and 33,177,600 pixels where nothing else was set, is the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 16384)]
    pub width: Option<u32>,
    /// Height of the picture in pixels; `width` goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 16384)]
    pub height: Option<u32>,
    /// Frames per second, 1 to 120, to the thousandth (29.97); overrides the quality's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, minimum = 1, maximum = 120)]
    pub fps: Option<FrameRate>,
    /// Shape of the picture.
    #[serde(default = "default_aspect")]
    pub aspect: Aspect,
    /// Leave the background out (formats that can).
    #[serde(default)]
    pub transparent: bool,
    /// Each section of the scene, of the first 12, as a film of its own as well (mp4, webm, mov).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sections: bool,
    /// How frames become a file.
    #[serde(default = "default_encoder")]
    pub encoder: Encoder,
    /// Seed of Python's and NumPy's random numbers, as `config.seed`. Without one they follow from the request: the same
    /// one gives the same film, unless it is to be rendered anew (`"cache": "refresh"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, maximum = 4_294_967_295u32)]
    pub seed: Option<u32>,
}

impl Default for OutputSpec {
    fn default() -> Self {
        Self {
            format: default_format(),
            quality: default_quality(),
            width: None,
            height: None,
            fps: None,
            aspect: default_aspect(),
            transparent: false,
            sections: false,
            encoder: default_encoder(),
            seed: None,
        }
    }
}

impl OutputSpec {
    /// Width, height in pixels and frames per second of what will be drawn.
    #[must_use]
    pub fn size(&self) -> (u32, u32, FrameRate) {
        let (width, height, fps) = self.quality.size();
        let (width, height) = match (self.exact_size(), self.aspect) {
            (Some(size), _) => size,
            (None, Aspect::Wide) => (width, height),
            (None, Aspect::Tall) => (height, width),
            (None, Aspect::Square) => (height, height),
        };
        let fps = self.fps.unwrap_or(FrameRate::whole(fps));
        (width, height, fps)
    }

    /// Width and height, if they were asked for in pixels.
    #[must_use]
    pub fn exact_size(&self) -> Option<(u32, u32)> {
        self.width.zip(self.height)
    }

    /// The picture in a word, for people: its quality, or its size if that was asked for in pixels.
    #[must_use]
    pub fn picture(&self) -> String {
        match self.exact_size() {
            Some((width, height)) => format!("{width}x{height}"),
            None => self.quality.to_string(),
        }
    }

    /// The quality that allowances and metrics go by: of an exact size the least that has as many pixels, or the
    /// largest.
    #[must_use]
    pub fn counted_quality(&self) -> Quality {
        let pixels = |(width, height)| u64::from(width) * u64::from(height);
        let Some(asked) = self.exact_size().map(pixels) else {
            return self.quality;
        };
        let holds = |quality: &&Quality| {
            let (width, height, _) = quality.size();
            pixels((width, height)) >= asked
        };
        let least = Quality::ALL.iter().find(holds);
        least.copied().unwrap_or(Quality::FourK)
    }

    /// Whether the pictures' sides must be even: H.264 keeps one colour for two by two pixels.
    const fn must_be_even(&self) -> bool {
        match self.format {
            Format::Mp4 => true,
            // Made of a film in H.264, for its palette.
            Format::Mov | Format::Gif => !self.transparent,
            Format::Webm | Format::Png => false,
        }
    }

    /// Says what is wrong with it, each by a JSON pointer into the request.
    fn check(&self, mut wrong: impl FnMut(&str, String)) {
        let sides = [("width", self.width), ("height", self.height)];
        for ((name, side), (_, other)) in sides.into_iter().zip(sides.into_iter().rev()) {
            let pointer = format!("/output/{name}");
            match side {
                None if other.is_some() => {
                    wrong(&pointer, "width and height go together".to_owned())
                }
                Some(side) if !(1..=SIDE_MAX).contains(&side) => {
                    wrong(&pointer, format!("{side} is not in 1 to {SIDE_MAX}"));
                }
                Some(side) if self.must_be_even() && !side.is_multiple_of(2) => wrong(
                    &pointer,
                    format!(
                        "{side} is odd, and the pictures of {} have even sides",
                        self.format
                    ),
                ),
                _ => {}
            }
        }
        if self.exact_size().is_some() && self.aspect != default_aspect() {
            wrong(
                "/output/aspect",
                "width and height say the shape: leave aspect out".to_owned(),
            );
        }
        if let Some(fps) = self.fps
            && !fps.is_allowed()
        {
            wrong(
                "/output/fps",
                format!("{fps} is not in {} to {}", FrameRate::MIN, FrameRate::MAX),
            );
        }
        if self.transparent && !self.format.can_be_transparent() {
            wrong(
                "/output/transparent",
                format!(
                    "{} cannot be transparent; use mov, webm, gif or png",
                    self.format
                ),
            );
        }
        if self.sections && !self.format.can_have_sections() {
            wrong(
                "/output/sections",
                format!(
                    "{} has no films of sections; use mp4, webm or mov",
                    self.format
                ),
            );
        }
    }
}
const fn default_format() -> Format {
    Format::Mp4
}
const fn default_quality() -> Quality {
    Quality::Medium
}
const fn default_aspect() -> Aspect {
    Aspect::Wide
}
const fn default_encoder() -> Encoder {
    Encoder::Fast
}
const fn default_lane() -> Lane {
    Lane::Normal
}
const fn default_timeout() -> u32 {
    TIMEOUT_S_DEFAULT
}
const fn default_cache() -> CacheMode {
    CacheMode::Use
}

/// The body of `POST /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// What the result should be.
    #[serde(default, deserialize_with = "objects::object")]
    pub output: OutputSpec,
    /// Priority class within the tenant.
    #[serde(default = "default_lane")]
    pub lane: Lane,
    /// Wall-clock limit of one attempt in seconds, 1 to 3600.
    #[serde(default = "default_timeout")]
    #[schema(minimum = 1, maximum = 3600)]
    pub timeout_s: u32,
    /// Give up if no worker took the job within this many seconds, 1 to 604800.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub deadline_s: Option<u32>,
    /// Whether an earlier result may answer.
    #[serde(default = "default_cache")]
    pub cache: CacheMode,
    /// Fail (`validation`) where the film would come with warnings: cut off, overlapping or tiny text, nothing to see.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Words to find the job by: at most 16 of at most 64 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Your own data, echoed everywhere: at most 16 keys, each with its value at most 512 bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// What to render.
    #[serde(deserialize_with = "objects::object")]
    pub input: JobInput,
}

impl JobRequest {
    /// Checks what the types alone cannot: ranges, lengths and combinations.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn validate(&self) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut wrong = |pointer: &str, detail: String| {
            errors.push(FieldError {
                pointer: pointer.to_owned(),
                detail,
            });
        };
        let (file_name, files) = (self.input.file_name(), self.input.files());
        if let JobInput::Prompt { prompt, .. } = &self.input {
            let count = prompt.chars().count();
            if prompt.trim().is_empty() || count > PROMPT_CHARS_MAX {
                wrong(
                    "/input/prompt",
                    format!(
                        "{count} characters; a prompt has 1 to {PROMPT_CHARS_MAX}, such as \"plot sin x from 0 to 2π\""
                    ),
                );
            }
        }
        if let Some(Err(problem)) = file_name.map(check_source_file_name) {
            wrong("/input/file_name", problem);
        }
        self.output.check(&mut wrong);
        if !(1..=TIMEOUT_S_MAX).contains(&self.timeout_s) {
            wrong(
                "/timeout_s",
                format!("{} is not in 1 to {TIMEOUT_S_MAX}", self.timeout_s),
            );
        }
        if let Some(deadline) = self.deadline_s
            && !(1..=DEADLINE_S_MAX).contains(&deadline)
        {
            wrong(
                "/deadline_s",
                format!("{deadline} is not in 1 to {DEADLINE_S_MAX}"),
            );
        }
        if self.tags.len() > TAGS_MAX {
            wrong(
                "/tags",
                format!("{} tags, at most {TAGS_MAX}", self.tags.len()),
            );
        }
        for (i, tag) in self.tags.iter().enumerate().take(TAGS_MAX) {
            if tag.is_empty() || tag.len() > TAG_BYTES_MAX || tag.chars().any(char::is_control) {
                wrong(
                    &format!("/tags/{i}"),
                    format!("a tag has 1 to {TAG_BYTES_MAX} bytes and no control characters"),
                );
            }
        }
        if self.metadata.len() > METADATA_KEYS_MAX {
            wrong(
                "/metadata",
                format!("{} keys, at most {METADATA_KEYS_MAX}", self.metadata.len()),
            );
        }
        if self
            .metadata
            .iter()
            .any(|(key, value)| key.len() + value.len() > METADATA_BYTES_MAX)
        {
            wrong(
                "/metadata",
                format!("a key with its value has at most {METADATA_BYTES_MAX} bytes"),
            );
        }
        let source_name = file_name.unwrap_or(SOURCE_FILE_NAME_DEFAULT);
        errors.extend(check_files(files, source_name, "/input/files"));
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

/// One thing wrong with a request, with a JSON pointer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer, such as `/output/fps`.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// What is wrong with the name of a source file: it must be a plain name that ends in `.py`,
/// since the sandbox makes a file of it.
///
/// # Errors
/// What to change, for the user.
pub fn check_source_file_name(name: &str) -> Result<(), String> {
    let problem = if name.contains(['/', '\\']) {
        "send the name alone, without its folder".to_owned()
    } else if name.chars().any(is_harmful) {
        "a file name has no control or invisible characters".to_owned()
    } else if name.starts_with('.') {
        "the name of a source file does not begin with a dot".to_owned()
    } else if !name.ends_with(".py") {
        "the name of a source file ends in .py".to_owned()
    } else if name.len() > SOURCE_FILE_NAME_BYTES_MAX {
        format!(
            "{} bytes, a file name has at most {SOURCE_FILE_NAME_BYTES_MAX}",
            name.len()
        )
    } else {
        return Ok(());
    };
    Err(problem)
}

/// A job as the worker gets it: the immutable part, written once, into its record in Redis.
///
/// The fields are in an order that lets lists read the front of it alone ([`JobPayload::parse_front`]): the
/// request last, of that the input, of that what may be long (source, parameters, prompt), and after it what only
/// workers need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPayload {
    /// The job that this one runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// W3C trace context of the submit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The template that renders it, if it is no code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateRef>,
    /// The request after validation, with the scene chosen.
    #[serde(flatten)]
    pub request: JobRequest,
    /// What the template gets: its parameters, checked, filled up and resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// Of a prompt: the parameters that the planner chose, as a user would write them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Map<String, Value>>,
    /// Of a prompt: what to know of what was made of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What a language model did for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_model: Option<ByModel>,
}

text_enum! {
    /// What a language model made of a prompt.
    ModelPart {
        /// It chose a template and filled in its parameters.
        Parameters = "parameters",
        /// It wrote the code.
        Code = "code",
    }
}

/// What a language model did for a job. It is not asked again when the job is run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ByModel {
    /// The model's name.
    pub model: String,
    /// What it made.
    pub made: ModelPart,
    /// How often it had to mend that, at most three times for code.
    pub repairs: u32,
    /// The sentence, where the job's input does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// A template as it was when the job was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateRef {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
}

impl JobPayload {
    /// The payload without what may be long in it (source, parameters, prompt), from the front of its JSON; `None`
    /// if that ends before.
    #[must_use]
    pub fn parse_front(text: &[u8]) -> Option<Self> {
        const INPUT: &[u8] = b"\"input\":{";
        const KIND: &[u8] = b"\"input\":{\"kind\":\"";
        let find = |from: usize, what: &[u8]| {
            let rest = text.get(from..)?;
            let at = rest.windows(what.len()).position(|part| part == what)?;
            Some(from + at)
        };
        // Quotes within strings are escaped, so neither can be part of one.
        let input = find(0, INPUT)?;
        let kind = text.get(input + KIND.len()..)?;
        let (last, empty): (&[u8], &[u8]) = match kind.first()? {
            b't' => (b",\"params\":", b"{}}}"),
            b'p' => (b",\"prompt\":", b"\"\"}}"),
            _ => (b",\"source\":", b"\"\"}}"),
        };
        let end = find(input, last)? + last.len();
        serde_json::from_slice(&[&text[..end], empty].concat()).ok()
    }
}

impl From<JobRequest> for JobPayload {
    /// A first run, of which no trace is kept.
    fn from(request: JobRequest) -> Self {
        Self {
            request,
            parent: None,
            traceparent: None,
            template: None,
            params: None,
            planned: None,
            notes: Vec::new(),
            by_model: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_of_a_template_tells_all_but_its_parameters() {
        for (input, cut) in [
            (
                serde_json::json!({"kind": "template", "id": "a-b", "version": "1.0.0", "params": {"x": ",\"params\":", "input": {}}}),
                serde_json::json!({"kind": "template", "id": "a-b", "version": "1.0.0", "params": {}}),
            ),
            (
                serde_json::json!({"kind": "prompt", "fallback": "explainer", "prompt": "\"input\":{\"kind\":\"code"}),
                serde_json::json!({"kind": "prompt", "fallback": "explainer", "prompt": ""}),
            ),
        ] {
            let whole: JobPayload = serde_json::from_value(serde_json::json!({
                "input": input, "tags": ["\"input\":{\"kind\":\"code"],
                "template": {"id": "a-b", "version": "1.0.0"}, "params": {"long": "x".repeat(5000)}, "planned": {},
            }))
            .unwrap();
            let text = serde_json::to_vec(&whole).unwrap();
            let front = JobPayload::parse_front(&text[..600]).expect("the front is short");
            let expected: JobInput = serde_json::from_value(cut).unwrap();
            assert_eq!(front.request.input, expected);
            assert_eq!(front.template, whole.template);
            assert_eq!((front.params, front.planned), (None, None));
        }
    }

    #[test]
    fn the_front_of_a_payload_tells_all_but_the_source() {
        let whole: JobPayload = serde_json::from_value(serde_json::json!({
            "input": {"kind": "code", "source": "x = '\"input\":{,\"source\":\"'", "scene": "A", "file_name": "a,\"source\":\".py"},
            "tags": ["\"input\":{", ",\"source\":\""], "metadata": {"input": "{", "source": "mine"},
            "lane": "batch", "parent": "job_0198f7c1d2e37b6a9c1f2e3d4c5b6a79",
        }))
        .unwrap();
        let text = serde_json::to_vec(&whole).unwrap();
        let end = text.len() - 10;
        let front = JobPayload::parse_front(&text[..end]).unwrap();
        let JobInput::Code {
            scene,
            file_name,
            source,
            ..
        } = &front.request.input
        else {
            unreachable!("it is code")
        };
        assert_eq!((scene.as_deref(), source.as_str()), (Some("A"), ""));
        assert_eq!(file_name.as_deref(), Some("a,\"source\":\".py"));
        assert_eq!(
            (&front.request.tags, &front.request.metadata),
            (&whole.request.tags, &whole.request.metadata)
        );
        assert_eq!(
            (front.parent, front.request.lane),
            (whole.parent, Lane::Batch)
        );
        let cut = text
            .windows(9)
            .rposition(|part| part == b"\"source\":")
            .unwrap();
        assert_eq!(
            JobPayload::parse_front(&text[..cut]),
            None,
            "the source has not begun"
        );
    }

    #[test]
    fn a_minimal_request_gets_the_documented_defaults() {
        let request: JobRequest =
            serde_json::from_str(r#"{"input":{"kind":"code","source":"x"}}"#).unwrap();
        assert_eq!(request.output, OutputSpec::default());
        assert_eq!(request.lane, Lane::Normal);
        assert_eq!(request.timeout_s, 600);
        assert_eq!(request.cache, CacheMode::Use);
        assert!(request.validate().is_ok());
    }

    #[test]
    fn unknown_fields_and_words_are_refused_by_name() {
        for (body, word) in [
            (
                r#"{"input":{"kind":"code","source":"x"},"colour":1}"#,
                "colour",
            ),
            (
                r#"{"input":{"kind":"code","source":"x","sauce":1}}"#,
                "sauce",
            ),
            (
                r#"{"input":{"kind":"code","source":"x"},"output":{"quality":"ultra"}}"#,
                "ultra",
            ),
        ] {
            let error = serde_json::from_str::<JobRequest>(body).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_source_file_has_a_plain_name_that_ends_in_py() {
        let long = |n: usize| format!("{}.py", "x".repeat(n - 3));
        for good in ["a.py", "lesson 7.py", "Übung.py", &long(128)] {
            assert_eq!(check_source_file_name(good), Ok(()), "{good}");
        }
        for (bad, words) in [
            ("", ".py"),
            ("scene.txt", ".py"),
            ("scene.PY", ".py"),
            (".py", "dot"),
            (".hidden.py", "dot"),
            ("../a.py", "folder"),
            ("a\\b.py", "folder"),
            ("a\0.py", "control"),
            ("a\n.py", "control"),
            ("a\u{202e}b.py", "invisible"),
            (&long(129), "129 bytes"),
            (&format!("{}.py", "é".repeat(63)), "129 bytes"),
        ] {
            let problem = check_source_file_name(bad).unwrap_err();
            assert!(problem.contains(words), "{bad:?}: {problem}");
        }
    }

    #[test]
    fn every_wrong_field_is_reported_at_once() {
        let mut request: JobRequest =
            serde_json::from_str(r#"{"input":{"kind":"code","source":"x"}}"#).unwrap();
        request.output.fps = Some(FrameRate::whole(0));
        request.output.transparent = true;
        request.timeout_s = 0;
        request.deadline_s = Some(0);
        request.tags = vec![String::new()];
        let pointers: Vec<_> = request
            .validate()
            .unwrap_err()
            .into_iter()
            .map(|e| e.pointer)
            .collect();
        assert_eq!(
            pointers,
            [
                "/output/fps",
                "/output/transparent",
                "/timeout_s",
                "/deadline_s",
                "/tags/0"
            ]
        );
    }

    #[test]
    fn an_exact_size_is_whole_even_where_it_must_be_and_says_the_shape_alone() {
        let wrong = |output: serde_json::Value| {
            let request: JobRequest = serde_json::from_value(serde_json::json!({
                "input": {"kind": "code", "source": "x"}, "output": output,
            }))
            .unwrap();
            let errors = request.validate().err().unwrap_or_default();
            let pointers: Vec<_> = errors.into_iter().map(|error| error.pointer).collect();
            (pointers.join(" "), request.output)
        };
        for (output, pointers) in [
            (serde_json::json!({"width": 640, "height": 480}), ""),
            (serde_json::json!({"width": 640}), "/output/height"),
            (serde_json::json!({"height": 480}), "/output/width"),
            (
                serde_json::json!({"width": 0, "height": 16386}),
                "/output/width /output/height",
            ),
            (
                serde_json::json!({"width": 641, "height": 480}),
                "/output/width",
            ),
            (
                serde_json::json!({"width": 641, "height": 481, "format": "mov"}),
                "/output/width /output/height",
            ),
            (
                serde_json::json!({"width": 641, "height": 481, "format": "mov", "transparent": true}),
                "",
            ),
            (
                serde_json::json!({"width": 640, "height": 481, "format": "gif"}),
                "/output/height",
            ),
            (
                serde_json::json!({"width": 641, "height": 481, "format": "webm"}),
                "",
            ),
            (
                serde_json::json!({"width": 641, "height": 481, "format": "png"}),
                "",
            ),
            (
                serde_json::json!({"width": 640, "height": 480, "aspect": "1:1"}),
                "/output/aspect",
            ),
            (serde_json::json!({"fps": 120.001}), "/output/fps"),
        ] {
            assert_eq!(wrong(output.clone()).0, pointers, "{output}");
        }
        let (_, exact) = wrong(serde_json::json!({"width": 640, "height": 480, "fps": 29.97}));
        assert_eq!((exact.size().0, exact.size().1), (640, 480));
        assert_eq!(
            (exact.size().2.to_string(), exact.picture()),
            ("29.97".to_owned(), "640x480".to_owned())
        );
    }

    #[test]
    fn an_exact_size_counts_as_the_least_quality_with_as_many_pixels() {
        for (width, height, quality) in [
            (2, 2, Quality::Low),
            (480, 854, Quality::Low),
            (854, 481, Quality::Medium),
            (1080, 1920, Quality::High),
            (3840, 2160, Quality::FourK),
            (16_384, 2_000, Quality::FourK),
        ] {
            let output = OutputSpec {
                quality: Quality::Low,
                width: Some(width),
                height: Some(height),
                ..OutputSpec::default()
            };
            assert_eq!(output.counted_quality(), quality, "{width}x{height}");
        }
    }

    #[test]
    fn text_forms_round_trip() {
        for quality in Quality::ALL {
            assert_eq!(quality.as_str().parse::<Quality>().unwrap(), *quality);
            assert_eq!(
                serde_json::to_value(quality).unwrap(),
                serde_json::Value::from(quality.as_str())
            );
        }
        for lane in Lane::ALL {
            assert_eq!(Lane::from_digit(lane.digit()), Some(*lane));
        }
        let error = "ultra".parse::<Quality>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"ultra\" is not one of low, medium, high, production, 4k"
        );
    }
}
