//! The flags of `manim render` that mean nothing here, or nothing yet: known, so that each gets
//! an answer of its own instead of "unexpected argument".

use clap::Args;

use crate::exit::Failure;

/// Flags of `manim render` that are recognised but not offered.
#[derive(Debug, Default, Args)]
pub struct ManimFlags {
    // Harmless: the render is the same without them.
    #[arg(short = 'p', long = "preview", hide = true)]
    preview: bool,
    #[arg(
        long = "show_in_file_browser",
        alias = "show-in-file-browser",
        hide = true
    )]
    show_in_file_browser: bool,
    #[arg(long = "preview_command", alias = "preview-command", hide = true)]
    preview_command: Option<String>,
    #[arg(short = 'v', long = "verbosity", hide = true)]
    verbosity: Option<String>,
    #[arg(long = "silent", hide = true)]
    silent: bool,
    #[arg(
        long = "notify_outdated_version",
        alias = "notify-outdated-version",
        hide = true
    )]
    notify_outdated_version: bool,
    #[arg(
        long = "max-inflight-encoders",
        alias = "max_inflight_encoders",
        hide = true
    )]
    max_inflight_encoders: Option<u32>,
    #[arg(long = "encoder-queue-size", alias = "encoder_queue_size", hide = true)]
    encoder_queue_size: Option<u32>,
    #[arg(long = "no_latex_cleanup", alias = "no-latex-cleanup", hide = true)]
    no_latex_cleanup: bool,
    #[arg(long = "gui_location", alias = "gui-location", hide = true)]
    gui_location: Option<String>,
    #[arg(long = "fullscreen", hide = true)]
    fullscreen: bool,

    // They would change the result: refused rather than dropped.
    #[arg(
        short = 'n',
        long = "from_animation_number",
        alias = "from-animation-number",
        hide = true
    )]
    from_animation_number: Option<String>,
    #[arg(long = "renderer", hide = true)]
    renderer: Option<String>,
    #[arg(long = "dry_run", alias = "dry-run", hide = true)]
    dry_run: bool,
    #[arg(short = 'c', long = "config_file", alias = "config-file", hide = true)]
    config_file: Option<String>,
    #[arg(long = "tex_template", alias = "tex-template", hide = true)]
    tex_template: Option<String>,
    #[arg(long = "log_to_file", alias = "log-to-file", hide = true)]
    log_to_file: bool,
    #[arg(long = "log_dir", alias = "log-dir", hide = true)]
    log_dir: Option<String>,
    #[arg(short = '0', long = "zero_pad", alias = "zero-pad", hide = true)]
    zero_pad: Option<String>,
    #[arg(long = "video-codec", alias = "video_codec", hide = true)]
    video_codec: Option<String>,
    #[arg(long = "pixel-format", alias = "pixel_format", hide = true)]
    pixel_format: Option<String>,
    #[arg(long = "encoder-option", alias = "encoder_option", hide = true)]
    encoder_option: Vec<String>,
    #[arg(
        short = 'l',
        long = "live-preview",
        alias = "live_preview",
        hide = true
    )]
    live_preview: bool,
    #[arg(long = "enable_gui", alias = "enable-gui", hide = true)]
    enable_gui: bool,
    #[arg(long = "enable_wireframe", alias = "enable-wireframe", hide = true)]
    enable_wireframe: bool,
    #[arg(
        long = "use_projection_fill_shaders",
        alias = "use-projection-fill-shaders",
        hide = true
    )]
    fill_shaders: bool,
    #[arg(
        long = "use_projection_stroke_shaders",
        alias = "use-projection-stroke-shaders",
        hide = true
    )]
    stroke_shaders: bool,
    #[arg(long = "jupyter", hide = true)]
    jupyter: bool,
}

/// What to tell of a `manim.cfg` in the working directory, which `manim render` would read.
#[must_use]
pub fn config_file() -> Option<&'static str> {
    std::path::Path::new("manim.cfg").exists().then_some(
        "manim.cfg is not read: give -q, -r, --fps, --format, -t or --seed, and set the rest in the scene \
         (config.background_color = …)",
    )
}

impl ManimFlags {
    /// What to tell the user of flags that are ignored.
    ///
    /// # Errors
    /// The first flag that would change the result and is not supported.
    pub fn check(&self) -> Result<Vec<String>, Failure> {
        let later = |flag: &str, instead: &str| {
            Err(Failure::usage(format!(
                "{flag} of `manim render` is not yet supported by manimq"
            ))
            .hint(instead))
        };
        let never = |flag: &str, why: &str, instead: &str| {
            Err(Failure::usage(format!("{flag} cannot work here: {why}")).hint(instead))
        };
        const LOCAL: &str = "the scene is rendered by a server, not on this screen";

        if self.from_animation_number.is_some() {
            return later(
                "-n/--from_animation_number",
                "leave it out to render the whole scene",
            );
        }
        match self.renderer.as_deref() {
            None => {}
            Some(name) if name.eq_ignore_ascii_case("cairo") => {}
            Some(name) if name.eq_ignore_ascii_case("opengl") => {
                return later(
                    "--renderer=opengl",
                    "leave it out to render with cairo, as manim does by default",
                );
            }
            Some(name) => {
                return Err(Failure::usage(format!(
                    "--renderer={name} is not one of cairo, opengl"
                )));
            }
        }
        if self.dry_run {
            return later(
                "--dry_run",
                "-ql -s renders the last frame only, which is quick",
            );
        }
        if self.config_file.is_some() {
            return later(
                "-c/--config_file",
                "give -q, -r, --fps, --format, -t or --seed, and set the rest in the scene: config.background_color = …",
            );
        }
        if self.tex_template.is_some() {
            return later(
                "--tex_template",
                "pass tex_template=TexTemplate(…) to MathTex or Tex in the scene",
            );
        }
        if self.log_to_file || self.log_dir.is_some() {
            return later("--log_to_file", "`manimq logs ID` prints a job's log");
        }
        if self.zero_pad.is_some() {
            return later("-0/--zero_pad", "it only matters for --format=png-sequence");
        }
        if self.video_codec.is_some()
            || self.pixel_format.is_some()
            || !self.encoder_option.is_empty()
        {
            return later(
                "--video-codec, --pixel-format and --encoder-option",
                "--encoder manim uses manim's own encoder settings",
            );
        }
        if self.live_preview {
            return never("-l/--live-preview", LOCAL, "for low quality write -ql");
        }
        if self.enable_gui || self.enable_wireframe || self.fill_shaders || self.stroke_shaders {
            return never("the OpenGL window", LOCAL, "leave the flag out");
        }
        if self.jupyter {
            return never(
                "--jupyter",
                LOCAL,
                "use the `%%manim` magic of manim itself",
            );
        }

        let mut notes = Vec::new();
        if self.preview || self.show_in_file_browser || self.preview_command.is_some() {
            notes.push("-p/--preview is ignored: the scene is rendered by a server; open the printed path yourself".to_owned());
        }
        if self.max_inflight_encoders.is_some() || self.encoder_queue_size.is_some() {
            notes.push(
                "--max-inflight-encoders and --encoder-queue-size are ignored: the server decides"
                    .to_owned(),
            );
        }
        Ok(notes)
    }
}
