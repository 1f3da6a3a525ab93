//! How a render is shown while it goes on: bars on a terminal, a line now and then elsewhere.
//! All of it on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use manimq_shared::job::{Progress, Stage};

use crate::term::{Paint, visible};

/// Shortest time between two lines about one job where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Most lines of a scene's output that are shown while it runs, unless all are asked for.
pub const LOG_LINES_MAX: usize = 200;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bars on a terminal.
    Bars,
    /// Calm lines.
    Lines,
    /// Not at all.
    Quiet,
}

impl Mode {
    /// What suits standard error: bars on a terminal, lines elsewhere.
    #[must_use]
    pub fn of_stderr() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stderr().is_terminal() && !dumb {
            Self::Bars
        } else {
            Self::Lines
        }
    }
}

/// The screen that all jobs of one command share.
pub struct Screen {
    mode: Mode,
    bars: MultiProgress,
    paint: Paint,
    sink: Option<Sink>,
}

/// Takes what would go to standard error.
pub type Sink = Box<dyn Fn(String)>;

impl Screen {
    /// A screen on standard error.
    #[must_use]
    pub fn new(mode: Mode, paint: Paint) -> Self {
        let target = match mode {
            Mode::Bars => ProgressDrawTarget::stderr(),
            Mode::Lines | Mode::Quiet => ProgressDrawTarget::hidden(),
        };
        Self {
            mode,
            bars: MultiProgress::with_draw_target(target),
            paint,
            sink: None,
        }
    }

    /// A screen whose text goes to `sink`, line by line. Never with bars.
    #[must_use]
    pub fn to(mode: Mode, paint: Paint, sink: Sink) -> Self {
        let mode = if mode == Mode::Bars {
            Mode::Lines
        } else {
            mode
        };
        Self {
            sink: Some(sink),
            ..Self::new(mode, paint)
        }
    }

    /// The colours of this screen.
    #[must_use]
    pub const fn paint(&self) -> Paint {
        self.paint
    }

    /// Prints text to standard error without tearing the bars.
    pub fn say(&self, text: &str) {
        let text = text.trim_end_matches('\n');
        if let Some(sink) = &self.sink {
            return sink(text.to_owned());
        }
        self.bars.suspend(|| {
            // Nothing can be done for a reader who has gone away.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        });
    }

    /// Says something that is good to know, on standard error as all of [`Self::say`].
    pub fn note(&self, text: &str) {
        self.say(&format!("{} {text}", self.paint.warning("note:")));
    }

    /// Prints a line of data to standard output without tearing the bars.
    pub fn data(&self, line: &str) {
        self.bars.suspend(|| {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        });
    }

    /// A place for one job. `label` names it where there are several.
    #[must_use]
    pub fn job(&self, label: &str) -> JobDisplay<'_> {
        let label = visible(label).into_owned();
        let bar = match self.mode {
            Mode::Bars => {
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_style(style(false));
                bar.set_prefix(label.clone());
                bar.set_message("submitting");
                bar.enable_steady_tick(Duration::from_millis(120));
                Some(bar)
            }
            Mode::Lines | Mode::Quiet => None,
        };
        JobDisplay {
            screen: self,
            label,
            bar,
            state: Mutex::new(State::default()),
        }
    }
}

fn style(with_total: bool) -> ProgressStyle {
    let template = if with_total {
        "{spinner:.blue} {prefix:.bold} {bar:24.blue/dim} {percent:>3}% {msg}"
    } else {
        "{spinner:.blue} {prefix:.bold} {msg}"
    };
    ProgressStyle::with_template(template)
        .expect("the template is valid")
        .progress_chars("━╸─")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

#[derive(Default)]
struct State {
    text: String,
    last_progress_line: Option<Instant>,
    with_total: bool,
    log_lines: usize,
    speed: Speed,
}

/// Frames a second over the last few seconds.
#[derive(Default)]
struct Speed {
    base: Option<(Instant, u64)>,
    last: Option<(Instant, u64)>,
}

impl Speed {
    const WINDOW: Duration = Duration::from_secs(4);

    fn add(&mut self, now: Instant, frames: u64) -> Option<f64> {
        match (self.base, self.last) {
            (None, _) => self.base = Some((now, frames)),
            // Fewer frames than before: a new attempt.
            (_, Some((_, last))) if frames < last => self.base = Some((now, frames)),
            (Some((at, _)), last) if now - at > Self::WINDOW * 2 => self.base = last,
            (Some(_), _) => {}
        }
        self.last = Some((now, frames));
        let (at, base) = self.base?;
        let seconds = (now - at).as_secs_f64();
        (seconds > 0.4 && frames > base).then(|| (frames - base) as f64 / seconds)
    }
}

/// One job's place on the screen.
pub struct JobDisplay<'a> {
    screen: &'a Screen,
    label: String,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

impl JobDisplay<'_> {
    /// The screen it is on.
    #[must_use]
    pub const fn screen(&self) -> &Screen {
        self.screen
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Says what the job is doing, in words: waiting, cancelling, downloading.
    pub fn status(&self, text: &str) {
        self.show(text.to_owned(), true, None);
    }

    /// Says how far it is.
    pub fn progress(&self, progress: &Progress) {
        let speed = self.state().speed.add(Instant::now(), progress.frames_done);
        let text = describe(progress, speed, self.bar.is_none());
        let no_counts = progress.frames_done == 0 && progress.animation == 0;
        self.show(text, no_counts, fraction(progress));
    }

    fn show(&self, text: String, is_words: bool, fraction: Option<f64>) {
        let mut state = self.state();
        if state.text == text {
            return;
        }
        match (&self.bar, self.screen.mode) {
            (Some(bar), _) => {
                if fraction.is_some() != state.with_total {
                    state.with_total = fraction.is_some();
                    bar.set_length(1_000);
                    bar.set_style(style(state.with_total));
                }
                if let Some(fraction) = fraction {
                    bar.set_position((fraction * 1_000.0) as u64);
                }
                bar.set_message(text.clone());
            }
            (None, Mode::Lines) => {
                // Words are rare; counts come twice a second and are shown calmly.
                let due = |at: Instant| at.elapsed() >= LINE_EVERY;
                if !is_words {
                    if !state.last_progress_line.is_none_or(due) {
                        return;
                    }
                    state.last_progress_line = Some(Instant::now());
                }
                self.screen.say(&format!("{}: {text}", self.label));
            }
            (None, Mode::Bars | Mode::Quiet) => {}
        }
        state.text = text;
    }

    /// Prints what the scene printed. `all`: however much it is.
    pub fn log(&self, text: &str, all: bool) {
        for line in text.lines() {
            let mut state = self.state();
            state.log_lines += 1;
            let n = state.log_lines;
            drop(state);
            let paint = self.screen.paint;
            if all || n <= LOG_LINES_MAX {
                let line = format!("{} | {}", self.label, visible(line));
                self.screen.say(&paint.dim(line).to_string());
            } else if n == LOG_LINES_MAX + 1 {
                let line = format!(
                    "{} | … more output is not shown; --logs shows all of it",
                    self.label
                );
                self.screen.say(&paint.dim(line).to_string());
            }
        }
    }
}

impl Drop for JobDisplay<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            self.screen.bars.remove(bar);
        }
    }
}

/// The share that is done, if it is known and not made up.
fn fraction(progress: &Progress) -> Option<f64> {
    let of_frames = || {
        let total = progress.frames_total.filter(|&total| total > 0)?;
        Some(progress.frames_done as f64 / total as f64)
    };
    progress
        .fraction
        .or_else(of_frames)
        .filter(|f| f.is_finite())
        .map(|f| f.clamp(0.0, 1.0))
}

fn describe(progress: &Progress, speed: Option<f64>, with_percent: bool) -> String {
    let stage = match progress.stage {
        None if progress.frames_done == 0 && progress.animation == 0 => {
            return "started".to_owned();
        }
        None | Some(Stage::Rendering) => "rendering",
        Some(Stage::Accepted) => return "accepted".to_owned(),
        Some(Stage::Validating) => return "checking the source".to_owned(),
        Some(Stage::Preparing) => return "preparing".to_owned(),
        Some(Stage::Encoding) => "finishing the file",
        Some(Stage::Uploading) => return "storing the file".to_owned(),
    };
    let mut parts = vec![stage.to_owned()];
    match (progress.animation, progress.animations_total) {
        (0, None) => {}
        (n, Some(total)) => parts.push(format!("animation {n}/{total}")),
        (n, None) => parts.push(format!("animation {n}")),
    }
    match (progress.frames_done, progress.frames_total) {
        (0, None) => {}
        (n, Some(total)) => parts.push(format!("frame {n}/{total}")),
        (n, None) => parts.push(format!("frame {n}")),
    }
    if with_percent && let Some(fraction) = fraction(progress) {
        parts.push(format!("{:.0} %", (fraction * 100.0).floor()));
    }
    if let Some(speed) = speed {
        parts.push(format!("{speed:.0} fps"));
    }
    if progress.stage != Some(Stage::Encoding) {
        let left = progress.eta_s.or_else(|| {
            let left = progress.frames_total?.checked_sub(progress.frames_done)?;
            Some(left as f64 / speed?)
        });
        if let Some(left) = left.filter(|s| s.is_finite() && *s >= 0.0) {
            parts.push(format!("{} left", short(left)));
        }
    }
    parts.join(", ")
}

/// `8 s`, `2 min 5 s`, `1 h 3 min`.
#[must_use]
pub fn short(seconds: f64) -> String {
    let s = seconds.clamp(0.0, 1e9).ceil() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_totals_there_are_counts_and_no_percentage() {
        let progress = Progress {
            stage: Some(Stage::Rendering),
            frames_done: 120,
            animation: 3,
            ..Progress::default()
        };
        assert_eq!(
            describe(&progress, Some(42.6), true),
            "rendering, animation 3, frame 120, 43 fps"
        );
        assert_eq!(fraction(&progress), None);
    }

    #[test]
    fn with_totals_there_is_all_of_it() {
        let progress = Progress {
            stage: Some(Stage::Rendering),
            frames_done: 120,
            frames_total: Some(260),
            animation: 3,
            animations_total: Some(7),
            ..Progress::default()
        };
        assert_eq!(
            describe(&progress, Some(40.0), true),
            "rendering, animation 3/7, frame 120/260, 46 %, 40 fps, 4 s left"
        );
    }

    #[test]
    fn odd_numbers_from_the_server_are_no_panic() {
        for fraction_sent in [f64::NAN, -1.0, 7.0] {
            let progress = Progress {
                fraction: Some(fraction_sent),
                frames_done: 9,
                frames_total: Some(3),
                eta_s: Some(f64::INFINITY),
                ..Progress::default()
            };
            assert!(fraction(&progress).is_none_or(|f| (0.0..=1.0).contains(&f)));
            assert!(!describe(&progress, None, true).contains("left"));
        }
        let empty = Progress {
            frames_total: Some(0),
            ..Progress::default()
        };
        assert_eq!(fraction(&empty), None);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(short(7.2), "8 s");
        assert_eq!(short(125.0), "2 min 5 s");
        assert_eq!(short(3_780.0), "1 h 3 min");
    }

    #[test]
    fn a_new_attempt_starts_the_speed_anew() {
        let start = Instant::now();
        let mut speed = Speed::default();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        assert_eq!(speed.add(at(0.0), 0), None);
        assert_eq!(speed.add(at(1.0), 50), Some(50.0));
        assert_eq!(speed.add(at(2.0), 10), None);
        assert_eq!(speed.add(at(3.0), 40), Some(30.0));
    }
}
