//! Errors of a scene, told as a compiler would: the place, the user's own line, a caret, what
//! happened, what to do. Everything that a scene or a server wrote passes through
//! [`crate::term::visible`].

use std::fmt::Write as _;

use manimq_shared::api::JobView;
use manimq_shared::job::{FailureClass, JobError, SourceLocation};
use serde::Deserialize;

use super::source::Source;
use crate::admin::show::plural;
use crate::term::{Paint, columns, visible, visible_lines};

/// Most findings and stack frames that are shown.
const ITEMS_MAX: usize = 20;
/// Longest piece of a source line that is shown.
const LINE_CHARS_MAX: usize = 160;
/// How much of a long line is shown before the marked place.
const LINE_CHARS_BEFORE: usize = 60;

/// What to mark in which line, as the server counts it.
struct Mark<'a> {
    line: u32,
    column: Option<u32>,
    end_column: Option<u32>,
    file: Option<&'a str>,
    code: Option<&'a str>,
    function: Option<&'a str>,
}

impl<'a> From<&'a SourceLocation> for Mark<'a> {
    fn from(at: &'a SourceLocation) -> Self {
        Self {
            line: at.line,
            column: at.column,
            end_column: at.end_column,
            file: Some(&at.file),
            code: at.code.as_deref(),
            function: at.function.as_deref().filter(|name| *name != "<module>"),
        }
    }
}

/// Where the time of a finished job went and what it took, in a line; `None` if the server does
/// not say. A result that was there already cost nothing.
#[must_use]
pub fn cost(job: &JobView) -> Option<String> {
    let (timings, usage) = (job.timings.filter(|_| !job.cached)?, job.usage?);
    let seconds = [
        ("queued", timings.queued_s),
        ("prepared", timings.prepare_s),
        ("drawn", timings.render_s),
        ("encoded", timings.encode_s),
        ("stored", timings.upload_s),
    ];
    let stages: Vec<String> = seconds
        .iter()
        .map(|(stage, seconds)| format!("{stage} {seconds:.2}"))
        .collect();
    Some(format!(
        "  {}, {}; seconds: {}; {} MiB at most, {:.1} s of processor time",
        plural(usage.frames, "frame"),
        plural(usage.animations, "animation"),
        stages.join(", "),
        usage.peak_memory_bytes >> 20,
        usage.cpu_s,
    ))
}

/// Why a job failed.
#[must_use]
pub fn job_error(error: &JobError, scene: &str, source: &Source, paint: Paint) -> String {
    let mut out = String::new();
    let mut message = visible_lines(error.message.trim());
    let first = message.next().unwrap_or_default();
    let title = match &error.exception {
        // The message may or may not begin with the exception's name already.
        Some(name) if !first.starts_with(name.as_str()) => format!("{}: {first}", visible(name)),
        _ => first.into_owned(),
    };
    let title = if title.is_empty() {
        words(error.class).to_owned()
    } else {
        title
    };
    let class = format!("error[{}]:", error.class);
    let _ = writeln!(out, "{} {}", paint.error(class), paint.strong(title));
    for line in message {
        let _ = writeln!(out, "  {line}");
    }
    let mut gutter = 2;
    if let Some(at) = &error.location {
        gutter = snippet(&mut out, &at.into(), source, paint);
    }
    let note = |out: &mut String, text: &str| {
        let _ = writeln!(out, "{:gutter$} {} {text}", "", paint.frame("="));
    };
    if let Some(latex) = error
        .latex
        .as_deref()
        .map(str::trim)
        .filter(|l| !l.is_empty())
    {
        for (i, line) in visible_lines(latex).take(ITEMS_MAX).enumerate() {
            if i == 0 {
                note(&mut out, &format!("TeX: {line}"));
            } else {
                let _ = writeln!(out, "{:gutter$}        {line}", "");
            }
        }
    }
    // The innermost frame is the one shown above.
    let callers = error.stack.split_last().map_or(&[][..], |(_, rest)| rest);
    for at in callers.iter().rev().take(ITEMS_MAX) {
        let place = place(&at.into(), source);
        let function = at
            .function
            .as_deref()
            .map_or(String::new(), |f| format!(" in {}", visible(f)));
        let code = source
            .line(at.line)
            .or(at.code.as_deref())
            .map_or(String::new(), |c| {
                format!(
                    ": {}",
                    visible(&crate::term::shorten(c.trim(), LINE_CHARS_MAX))
                )
            });
        note(&mut out, &format!("called at {place}{function}{code}"));
    }
    if callers.len() > ITEMS_MAX {
        note(
            &mut out,
            &format!("and {} more calls", callers.len() - ITEMS_MAX),
        );
    }
    if let Some(hint) = error.hint.as_deref().or_else(|| default_hint(error.class)) {
        hint_lines(&mut out, hint, paint);
    }
    if error.class.is_ours() {
        let _ = writeln!(
            out,
            "  {} this is a fault of the service, not of {}",
            paint.warning("note:"),
            visible(scene)
        );
    }
    out
}

const fn words(class: FailureClass) -> &'static str {
    match class {
        FailureClass::SceneError => "the scene raised an exception",
        FailureClass::LatexError => "LaTeX refused a formula",
        FailureClass::Validation => "the scene cannot be rendered as asked",
        FailureClass::Timeout => "the time limit was reached",
        FailureClass::Stalled => "no frame was made for too long",
        FailureClass::OutOfMemory => "the memory limit was reached",
        FailureClass::OutputLimit => "the limit of the output was reached",
        FailureClass::SandboxDenied => "the scene tried what the sandbox forbids",
        FailureClass::LostWorker => "the worker was lost",
        FailureClass::SandboxUnavailable => "no sandbox was available",
        FailureClass::Storage => "the file could not be stored",
        FailureClass::Internal => "an internal error",
    }
}

const fn default_hint(class: FailureClass) -> Option<&'static str> {
    match class {
        FailureClass::Timeout => Some(
            "make the scene shorter, render at a lower quality, or give more time with --timeout",
        ),
        FailureClass::OutOfMemory => Some("use fewer or simpler objects, or a lower quality"),
        FailureClass::LostWorker
        | FailureClass::SandboxUnavailable
        | FailureClass::Storage
        | FailureClass::Internal => {
            Some("try again; if it comes back, the server's log tells more")
        }
        FailureClass::Stalled => {
            Some("look for a loop or a wait in the scene that makes no frame and does not end")
        }
        FailureClass::OutputLimit => Some(
            "make fewer or smaller frames and files; an operator can raise the limit with `manimq admin tenants limits`",
        ),
        FailureClass::SceneError
        | FailureClass::LatexError
        | FailureClass::Validation
        | FailureClass::SandboxDenied => None,
    }
}

fn hint_lines(out: &mut String, hint: &str, paint: Paint) {
    for (i, line) in visible_lines(hint.trim()).enumerate() {
        let _ = if i == 0 {
            writeln!(out, "  {} {line}", paint.good("hint:"))
        } else {
            writeln!(out, "        {line}")
        };
    }
}

fn place(mark: &Mark<'_>, source: &Source) -> String {
    let file = match (mark.file, &source.file_name) {
        (Some(file), Some(own)) if file != own => visible(file).into_owned(),
        _ => visible(&source.shown).into_owned(),
    };
    let line = source.own_line(mark.line);
    match mark.column {
        Some(column) => format!("{file}:{line}:{column}"),
        None => format!("{file}:{line}"),
    }
}

/// Writes the place and the marked line; gives the width of the line numbers.
fn snippet(out: &mut String, mark: &Mark<'_>, source: &Source, paint: Paint) -> usize {
    let number = source.own_line(mark.line).to_string();
    let gutter = number.len().max(2);
    let function = mark
        .function
        .map_or(String::new(), |f| format!(", in {}", visible(f)));
    let _ = writeln!(
        out,
        "{:gutter$}{} {}{function}",
        "",
        paint.frame("-->"),
        place(mark, source)
    );
    let own = mark.file.is_none()
        || source.file_name.is_none()
        || mark.file == source.file_name.as_deref();
    // Python's tracebacks strip the indentation that columns count, so our own copy comes first.
    let Some(line) = own.then(|| source.line(mark.line)).flatten().or(mark.code) else {
        return gutter;
    };
    let line = line.trim_end();
    let chars = line.chars().count();
    let indent = line.chars().take_while(|c| c.is_whitespace()).count();
    let (start, end) = match mark.column {
        Some(column) => {
            let start = (column.max(1) as usize - 1).min(chars);
            let end = mark
                .end_column
                .map_or(start + 1, |end| end.max(1) as usize - 1);
            (start, end.clamp(start + 1, chars.max(start + 1)))
        }
        None => (indent, chars.max(indent + 1)),
    };
    let from = if chars > LINE_CHARS_MAX {
        start.saturating_sub(LINE_CHARS_BEFORE)
    } else {
        0
    };
    let shown: String = line.chars().skip(from).take(LINE_CHARS_MAX).collect();
    let (start, end) = (start - from, (end - from).min(LINE_CHARS_MAX));
    let (before, after) = (
        if from > 0 { "…" } else { "" },
        if chars > from + LINE_CHARS_MAX {
            "…"
        } else {
            ""
        },
    );
    let left = columns(&shown, start) + before.chars().count();
    let width = (columns(&shown, end) - columns(&shown, start)).max(1);
    let bar = paint.frame("|").to_string();
    let _ = writeln!(out, "{:gutter$} {bar}", "");
    let _ = writeln!(
        out,
        "{:>gutter$} {bar} {before}{}{after}",
        paint_number(&number, gutter, paint),
        visible(&shown)
    );
    let _ = writeln!(
        out,
        "{:gutter$} {bar} {:left$}{}",
        "",
        "",
        paint.error("^".repeat(width))
    );
    gutter
}

fn paint_number(number: &str, gutter: usize, paint: Paint) -> String {
    paint.frame(format!("{number:>gutter$}")).to_string()
}

/// One finding of the scene policy, as far as a person is concerned.
#[derive(Debug, Deserialize)]
struct Finding {
    code: String,
    #[serde(default)]
    severity: Option<String>,
    line: u32,
    #[serde(default)]
    column: Option<u32>,
    #[serde(default)]
    end_line: Option<u32>,
    #[serde(default)]
    end_column: Option<u32>,
    message: String,
    #[serde(default)]
    hint: Option<String>,
}

/// The findings for which the server refused a scene. Empty if it sent none that can be read.
#[must_use]
pub fn findings(findings: &[serde_json::Value], source: &Source, paint: Paint) -> String {
    let mut out = String::new();
    let read = |value: &serde_json::Value| Finding::deserialize(value).ok();
    let mut shown = 0;
    for finding in findings.iter().filter_map(read).take(ITEMS_MAX) {
        let code = visible(&finding.code);
        let head = match finding.severity.as_deref() {
            Some("warn" | "warning") => paint.warning(format!("warning[{code}]:")).to_string(),
            _ => paint.error(format!("error[{code}]:")).to_string(),
        };
        let mut message = visible_lines(&finding.message);
        let _ = writeln!(
            out,
            "{head} {}",
            paint.strong(message.next().unwrap_or_default())
        );
        for line in message {
            let _ = writeln!(out, "  {line}");
        }
        let one_line = finding.end_line.is_none_or(|end| end == finding.line);
        let end_of_line = || {
            source
                .line(finding.line)
                .map(|l| l.trim_end().chars().count() as u32 + 1)
        };
        let mark = Mark {
            line: finding.line,
            column: finding.column,
            end_column: if one_line {
                finding.end_column
            } else {
                end_of_line()
            },
            file: None,
            code: None,
            function: None,
        };
        snippet(&mut out, &mark, source, paint);
        if let Some(hint) = &finding.hint {
            hint_lines(&mut out, hint, paint);
        }
        shown += 1;
    }
    if findings.len() > shown && shown > 0 {
        let _ = writeln!(out, "and {} more", findings.len() - shown);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source {
            text: text.to_owned(),
            shown: "lessons/scene.py".to_owned(),
            file_name: Some("scene.py".to_owned()),
            stem: "scene".into(),
            lines_added: 0,
        }
    }

    fn at(
        line: u32,
        column: Option<u32>,
        end_column: Option<u32>,
        function: &str,
    ) -> SourceLocation {
        SourceLocation {
            file: "scene.py".to_owned(),
            line,
            column,
            end_column,
            function: Some(function.to_owned()),
            code: Some("stripped = True".to_owned()),
        }
    }

    #[test]
    fn a_scene_error_reads_like_a_compilers() {
        let source = source(
            "a\nclass A(Scene):\n    def construct(self):\n        self.go(1)\n    def go(self, n):\n        x = n / 0\n",
        );
        let error = JobError {
            exception: Some("ZeroDivisionError".to_owned()),
            location: Some(at(6, Some(13), Some(18), "go")),
            stack: vec![at(4, None, None, "construct"), at(6, None, None, "go")],
            ..JobError::new(
                FailureClass::SceneError,
                "division by zero\nsecond \x1b[31mline",
            )
            .with_hint("divide by something else")
        };
        let text = job_error(&error, "A", &source, Paint::PLAIN);
        assert_eq!(
            text,
            "error[scene_error]: ZeroDivisionError: division by zero
  second \\u{1b}[31mline
  --> lessons/scene.py:6:13, in go
   |
 6 |         x = n / 0
   |             ^^^^^
   = called at lessons/scene.py:4 in construct: self.go(1)
  hint: divide by something else
"
        );
    }

    #[test]
    fn a_latex_error_shows_the_formula_and_what_tex_says() {
        let source = source("\n\n\n\n\n\n\n\n\n\n    eq = MathTex(r\"\\frac{1}{\")\n");
        let error = JobError {
            location: Some(at(11, None, None, "construct")),
            latex: Some("! Missing } inserted.\n<inserted text>".to_owned()),
            ..JobError::new(
                FailureClass::LatexError,
                "LaTeX could not compile \\frac{1}{",
            )
        };
        assert_eq!(
            job_error(&error, "A", &source, Paint::PLAIN),
            "error[latex_error]: LaTeX could not compile \\frac{1}{
  --> lessons/scene.py:11, in construct
   |
11 |     eq = MathTex(r\"\\frac{1}{\")
   |     ^^^^^^^^^^^^^^^^^^^^^^^^^^
   = TeX: ! Missing } inserted.
          <inserted text>
  hint: correct the formula; packages beyond Manim's own need a TexTemplate that loads them
"
        );
    }

    #[test]
    fn the_caret_stands_under_wide_characters_and_tabs() {
        let source = source("\tText(\"你好\", wrong)\n");
        let error = JobError {
            location: Some(at(1, Some(13), Some(18), "<module>")),
            ..JobError::new(FailureClass::SceneError, "NameError: name 'wrong'")
        };
        let text = job_error(&error, "A", &source, Paint::PLAIN);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[3], " 1 |     Text(\"你好\", wrong)");
        assert_eq!(lines[4], "   |                  ^^^^^");
    }

    #[test]
    fn places_that_do_not_exist_are_no_panic() {
        let source = source("x = 1\n");
        for (line, column, end) in [
            (1, Some(400), Some(2)),
            (0, Some(0), Some(0)),
            (99, Some(1), None),
            (1, None, Some(3)),
        ] {
            let error = JobError {
                location: Some(at(line, column, end, "f")),
                ..JobError::new(FailureClass::SceneError, "")
            };
            assert!(job_error(&error, "A", &source, Paint::PLAIN).contains("lessons/scene.py"));
        }
        let long = Source {
            text: format!("{}BAD{}", "x".repeat(5_000), "y".repeat(5_000)),
            ..source
        };
        let error = JobError {
            location: Some(at(1, Some(5_001), Some(5_004), "f")),
            ..JobError::new(FailureClass::SceneError, "e")
        };
        let text = job_error(&error, "A", &long, Paint::PLAIN);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[3].find("BAD").map(|i| lines[3][..i].chars().count()),
            lines[4].find('^').map(|i| lines[4][..i].chars().count()),
            "{text}"
        );
        assert!(text.len() < 1_000);
    }

    #[test]
    fn findings_are_listed_each_with_its_place() {
        let source = source("import os\nopen('x')\n");
        let json = serde_json::json!([
            {"code": "import", "severity": "deny", "line": 1, "column": 8, "end_line": 1, "end_column": 10, "message": "os is not allowed", "hint": "leave it out"},
            {"code": "call", "line": 2, "column": 1, "end_line": 2, "end_column": 5, "message": "open is not allowed"},
            {"nonsense": true}
        ]);
        assert_eq!(
            findings(json.as_array().unwrap(), &source, Paint::PLAIN),
            "error[import]: os is not allowed
  --> lessons/scene.py:1:8
   |
 1 | import os
   |        ^^
  hint: leave it out
error[call]: open is not allowed
  --> lessons/scene.py:2:1
   |
 2 | open('x')
   | ^^^^
and 1 more
"
        );
    }

    #[test]
    fn a_finished_job_says_where_its_time_went_and_one_that_was_there_already_does_not() {
        let mut job: JobView = serde_json::from_value(serde_json::json!({
            "id": "job_0199d3c06f2a7c41b8d2a3e64f0b9c01", "revision": 9, "status": "succeeded", "stage": "uploading",
            "tenant": "default", "created_at": "2026-01-02T03:04:05Z",
            "input": {"kind": "code", "source_bytes": 1}, "output": {}, "timeout_s": 600, "cache": "use",
            "progress": {}, "attempts": [], "artifacts": [], "tags": [], "metadata": {},
            "timings": {"queued_s": 0.004, "prepare_s": 0.02, "render_s": 3.456, "encode_s": 0.1, "upload_s": 0.03},
            "usage": {"cpu_s": 5.92, "peak_memory_bytes": 254_803_968, "frames": 120, "animations": 4},
            "links": {"self": "", "events": "", "logs": "", "cancel": ""}
        }))
        .expect("a job");
        assert_eq!(
            cost(&job).as_deref(),
            Some(
                "  120 frames, 4 animations; seconds: queued 0.00, prepared 0.02, drawn 3.46, \
                 encoded 0.10, stored 0.03; 243 MiB at most, 5.9 s of processor time"
            )
        );
        job.cached = true;
        assert_eq!(cost(&job), None);
    }
}
