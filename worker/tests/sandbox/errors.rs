//! Each failure has its class, and names the author's own line.

use std::time::{Duration, SystemTime};

use manimq_worker::sandbox::{Encoder, FailureClass, OutputFormat, RenderFailure, RenderRequest};

use crate::support::*;

/// Renders lines that must fail, and checks class and the line that holds `at`.
#[track_caller]
fn fails(lines: &str, class: FailureClass, at: &str) -> RenderFailure {
    let request = constructing(lines);
    let line = line_of(&request, at);
    let failure = failure(render(request));
    assert_class(&failure, class);
    assert_eq!(failure.line, line, "{failure:#?}");
    assert_eq!(failure.file.as_deref(), Some("scene.py"));
    failure
}

#[test]
fn a_syntax_error_has_line_and_column() {
    let failure = failure(render(request_for(
        "from manim import *\nclass A(Scene):\n    def construct(self)\n        pass\n",
    )));
    assert_class(&failure, FailureClass::SceneError);
    assert_eq!(
        (failure.line, failure.column),
        (Some(3), Some(24)),
        "{failure:#?}"
    );
    assert!(failure.message.contains("SyntaxError"), "{failure:#?}");
    assert_eq!(failure.code.as_deref(), Some("    def construct(self)"));
}

/// Renders lines that print when their error is due, and fail by it: how long it took from then until the failure was
/// known and the sandbox was ready for another job.
fn time_to_tell(lines: &str, wall: Duration, class: FailureClass) -> Duration {
    let mut request = constructing(lines);
    request.limits.wall = wall;
    let (result, events) = render_with_events(request);
    let now = SystemTime::now();
    assert_class(&failure(result), class);
    let log = log_of(&events);
    let at = log.trim().strip_prefix("due ").expect("the scene's line");
    let at = Duration::from_secs_f64(at.parse().expect("a time"));
    now.duration_since(SystemTime::UNIX_EPOCH + at)
        .unwrap_or_default()
}

#[test]
fn an_error_and_a_time_limit_are_told_a_moment_after_they_came() {
    // Usual: 0.2 s.
    let bound = Duration::from_secs(2);
    let error = time_to_tell(
        "import time\nself.play(Create(Square()), run_time=0.4)\nprint('due', time.time())\nraise ValueError('no')",
        Duration::from_secs(60),
        FailureClass::SceneError,
    );
    let limit = time_to_tell(
        "import time\nprint('due', time.time() + 2)\nwhile True: pass",
        Duration::from_secs(2),
        FailureClass::Timeout,
    );
    tell(&format!(
        "error told after {error:?}, time limit after {limit:?}"
    ));
    assert!(error < bound && limit < bound, "{error:?}, {limit:?}");
}

#[test]
fn an_exception_has_line_caret_and_message() {
    let failure = fails(
        "x = 1\ny = x / 0\nself.wait()",
        FailureClass::SceneError,
        "x / 0",
    );
    assert_eq!(failure.message, "ZeroDivisionError: division by zero");
    assert_eq!(
        (failure.column, failure.end_column),
        (Some(13), Some(18)),
        "{failure:#?}"
    );
    assert_eq!(failure.code.as_deref(), Some("        y = x / 0"));
    assert_eq!(failure.function.as_deref(), Some("construct"));
}

#[test]
fn the_column_counts_characters() {
    let failure = fails(
        "name = 'äöü€'; y = 1 / 0",
        FailureClass::SceneError,
        "1 / 0",
    );
    assert_eq!(failure.column, Some(28), "{failure:#?}");
}

#[test]
fn an_error_inside_manim_names_the_line_that_called_it() {
    let failure = fails(
        "square = Square()\nself.play(Create(square), run_time=0)",
        FailureClass::SceneError,
        "run_time=0",
    );
    assert!(failure.message.contains("run_time"), "{failure:#?}");
}

#[test]
fn an_error_in_a_helper_has_both_lines_in_its_stack() {
    let request = request_for(
        "from manim import *\ndef helper():\n    raise KeyError('lost')\n\
         class A(Scene):\n    def construct(self):\n        helper()\n",
    );
    let failure = failure(render(request));
    assert_eq!(failure.line, Some(3));
    let lines: Vec<u64> = failure.stack.iter().map(|frame| frame.line).collect();
    assert_eq!(lines, [6, 3], "{failure:#?}");
}

#[test]
fn a_misspelt_name_gets_the_nearest_one() {
    let hint = |lines, at| fails(lines, FailureClass::SceneError, at).hint;
    assert_eq!(
        hint("s = Sqare()", "Sqare").as_deref(),
        Some("did you mean 'Square'?")
    );
    assert_eq!(
        hint("self.paly(Wait())", "paly").as_deref(),
        Some("did you mean 'play'?")
    );
}

#[test]
fn a_missing_module_and_a_missing_file_have_their_line() {
    let failure = fails("import pandas", FailureClass::SceneError, "pandas");
    assert!(failure.message.contains("pandas"));
}

#[test]
fn a_missing_asset_is_named_and_nothing_of_where_it_was_looked_for() {
    for lines in [
        "ImageMobject('nowhere.png')",
        "SVGMobject('nowhere.png')",
        "self.add_sound('nowhere.png')",
        "open('nowhere.png')",
    ] {
        let failure = fails(lines, FailureClass::SceneError, "nowhere");
        assert_eq!(failure.message, "there is no file 'nowhere.png'");
        assert!(
            failure
                .hint
                .is_some_and(|hint| hint.contains("--with nowhere.png")),
            "{lines}"
        );
    }
}

#[test]
fn a_file_outside_the_scenes_folder_is_to_be_named_by_what_it_is_called_inside() {
    for name in ["../logo.png", "/home/me/logo.png"] {
        let lines = format!("ImageMobject('{name}')");
        let failure = fails(&lines, FailureClass::SceneError, "logo");
        let hint = failure.hint.unwrap_or_default();
        assert!(hint.contains(&format!("--with {name}")), "{hint}");
        assert!(hint.contains("write 'logo.png' in the scene"), "{hint}");
    }
}

#[test]
fn a_missing_font_is_a_warning_with_the_nearest_name() {
    let rendered = render(constructing(
        "for _ in range(2): self.add(Text('a', font='DejaVu Sanss'))\nself.add(Text('b', font='Klingon'))\nself.wait(0.1)",
    ))
    .expect("a film, as the command makes it");
    assert_eq!(rendered.warnings.len(), 2, "{:?}", rendered.warnings);
    assert!(
        rendered.warnings[0].contains("'DejaVu Sanss' is not installed")
            && rendered.warnings[0].contains("did you mean 'DejaVu Sans'?"),
        "{:?}",
        rendered.warnings
    );
    assert!(rendered.warnings[1].contains("'Klingon'"));
}

#[test]
fn a_character_that_no_font_has_is_a_warning_on_one_core_and_in_a_picture() {
    let missing = '\u{3fffd}';
    let mut request = constructing(&format!(
        "self.add(Text('a{missing}→'), MarkupText('{missing}'))\nself.wait(0.1)"
    ));
    for format in [OutputFormat::Mp4, OutputFormat::Png] {
        request.output.format = format;
        let rendered = render(request.clone()).expect("a film, as the command makes it");
        let [warning] = rendered.warnings.as_slice() else {
            panic!("{:?}", rendered.warnings);
        };
        assert!(
            warning.starts_with(&format!(
                "no font on this worker has {missing} (U+3FFFD): drawn as boxes"
            )) && warning.contains("apt install"),
            "{warning}"
        );
    }
}

#[test]
fn text_on_text_and_over_the_edge_is_told_with_its_moment_on_one_core_and_on_several() {
    let lines = "self.play(FadeIn(Text('first')))\nself.play(FadeIn(Text('second')))\n\
                 self.play(FadeIn(Text('cut\x1b off').shift(7 * LEFT + UP)))\nself.wait()";
    for cores in [1, 2] {
        let request = RenderRequest {
            cores,
            ..constructing(lines)
        };
        let rendered = render(request).expect("a film, as the command makes it");
        let told: Vec<String> = rendered.layout.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "text_overlap at 2.0 s: the texts “first” and “second” lie on each other",
                "outside_frame at 3.0 s: the text “cut\\u{1b} off” is cut off at the left edge of the picture",
            ]
        );
    }
}

#[test]
fn an_argument_that_is_not_known_gets_the_nearest_one() {
    for (lines, nearest) in [
        ("Square(colour=RED)", "color"),
        ("Circle(radus=2)", "radius"),
        ("self.play(Create(Square(), runtime=2))", "run_time"),
        ("Square().next_to(ORIGIN, dirction=UP)", "direction"),
        ("Text('a', font_sise=2)", "font_size"),
    ] {
        let failure = fails(lines, FailureClass::SceneError, lines);
        let hint = format!("did you mean '{nearest}'?");
        assert_eq!(failure.hint.as_deref(), Some(hint.as_str()), "{failure:#?}");
    }
}

#[test]
fn tex_errors_show_formula_and_what_tex_said() {
    let failure = fails(
        r"self.add(MathTex(r'x = \undefinedmacro{2}'))",
        FailureClass::LatexError,
        "undefinedmacro",
    );
    let latex = failure.latex.expect("what LaTeX said");
    assert_eq!(latex.formula.as_deref(), Some(r"x = \undefinedmacro{2}"));
    let told = r"Undefined control sequence \undefinedmacro (at: x = \undefinedmacro)";
    assert_eq!(latex.errors, [told]);
    assert!(failure.message.ends_with(told), "{}", failure.message);
}

#[test]
fn formulas_of_several_parts_are_shown_as_they_were_written() {
    let failure = fails(
        r"self.add(MathTex('a', '=', r'\frac{1}', '{{ b }}'))",
        FailureClass::LatexError,
        "frac",
    );
    let latex = failure.latex.expect("what LaTeX said");
    let formula = latex.formula.expect("formula");
    assert!(
        formula.contains(r"\frac{1}") && !formula.contains("special"),
        "{formula}"
    );
    assert!(!failure.message.contains("special"), "{}", failure.message);
}

#[test]
fn the_macro_that_is_unknown_is_named_in_parts_of_formulas_and_in_text() {
    for made in [
        r"MathTex(r'\int_0^1 x^2 dx', '=', r'\frac{1}{2} + \unknown + c', 'd')",
        r"MathTex(r'a {{ b }} + \unknown {{ c }}')",
        r"MathTex(r'a^2 + \unknown = c^2', substrings_to_isolate=['a', 'c'])",
        r"Tex(r'some text \unknown and more')",
    ] {
        let failure = fails(
            &format!("self.add({made})"),
            FailureClass::LatexError,
            "Tex(",
        );
        let told = format!("{} {:?}", failure.message, failure.latex);
        assert!(
            failure
                .message
                .contains(r"Undefined control sequence \unknown (at: "),
            "{told}"
        );
        assert!(
            !told.contains("special") && !told.contains("dvisvgm"),
            "{told}"
        );
    }
}

#[test]
fn a_file_without_scene_is_a_validation_error() {
    let failure = failure(render(request_for("from manim import *\nx = 1\n")));
    assert_class(&failure, FailureClass::Validation);
}

fn two_scenes(wanted: Option<&str>) -> RenderRequest {
    let mut request = request_for(
        "from manim import *\nclass Alpha(Scene):\n    def construct(self):\n        self.wait(0.1)\n\
         class Beta(Alpha):\n    pass\n",
    );
    request.scene = wanted.map(Into::into);
    request
}

#[test]
fn several_scenes_and_none_chosen_lists_them() {
    let failure = failure(render(two_scenes(None)));
    assert_class(&failure, FailureClass::Validation);
    assert_eq!(failure.scenes, ["Alpha", "Beta"]);
    render(two_scenes(Some("Beta"))).expect("a chosen scene renders");
}

#[test]
fn an_unknown_scene_gets_the_nearest_name() {
    let failure = failure(render(two_scenes(Some("Betta"))));
    assert_class(&failure, FailureClass::Validation);
    assert_eq!(failure.hint.as_deref(), Some("did you mean 'Beta'?"));
}

#[test]
fn a_scene_name_with_a_path_is_only_an_unknown_name() {
    for name in [
        "../../etc/passwd",
        "/etc/passwd",
        "Alpha/../Beta",
        "\u{202e}",
    ] {
        let failure = failure(render(two_scenes(Some(name))));
        assert_class(&failure, FailureClass::Validation);
    }
}

#[test]
fn a_film_without_animation_is_a_validation_error_and_a_picture_is_not() {
    let failure = failure(render(constructing("self.add(Square())")));
    assert_class(&failure, FailureClass::Validation);
    assert!(failure.message.contains("no animation"), "{failure:#?}");
    let mut request = constructing("self.add(Square())");
    request.output.format = OutputFormat::Png;
    let rendered = render(request).expect("a picture");
    assert_eq!(rendered.artifacts[0].mime, "image/png");
}

#[test]
fn a_scene_whose_animations_are_all_skipped_is_a_validation_error() {
    for encoder in [Encoder::Fast, Encoder::Manim] {
        let mut request = constructing("self.next_section(skip_animations=True)\nself.wait(1)");
        request.output.encoder = encoder;
        let failure = failure(render(request));
        assert_class(&failure, FailureClass::Validation);
    }
}

#[test]
fn leaving_early_is_a_validation_error() {
    let leaving = [
        "import sys; sys.exit(0)",
        "exit()",
        "import os; os._exit(0)",
    ];
    for lines in leaving {
        assert_class(
            &failure(render(constructing(lines))),
            FailureClass::Validation,
        );
    }
}

#[test]
fn a_crash_of_the_interpreter_names_the_line() {
    let failure = fails(
        "import ctypes\nctypes.string_at(0)",
        FailureClass::SceneError,
        "string_at",
    );
    assert!(failure.message.contains("SIGSEGV"), "{failure:#?}");
}

#[test]
fn what_the_walls_refuse_is_called_so() {
    let failure = fails(
        "import socket\nsocket.create_connection(('127.0.0.1', 80))",
        FailureClass::SandboxDenied,
        "create_connection",
    );
    assert!(failure.message.contains("does not allow"), "{failure:#?}");
}

#[test]
fn an_exception_that_lies_about_itself_does_no_harm() {
    let request = request_for(
        "from manim import *\nclass Evil(Exception):\n    def __str__(self):\n        raise RuntimeError\n\
         class A(Scene):\n    def construct(self):\n        raise Evil\n",
    );
    let failure = failure(render_then_check(request));
    assert_class(&failure, FailureClass::SceneError);
    assert_eq!(failure.line, Some(7));
}

#[test]
fn error_text_is_bounded() {
    let failure = failure(render(constructing("raise ValueError('x' * 10_000_000)")));
    let size = serde_json::to_vec(&failure).expect("json").len();
    assert!(size < 8 * 1024, "{size} bytes");
}

#[test]
fn a_long_error_keeps_class_line_and_beginning() {
    let failure = fails(
        "raise ValueError('x' * 1_000_000)",
        FailureClass::SceneError,
        "1_000_000",
    );
    assert!(
        failure.message.starts_with("ValueError: xxx"),
        "{failure:#?}"
    );
}

#[test]
fn error_text_shows_control_characters_and_does_not_obey_them() {
    let failure = fails(
        "raise ValueError('a\\x1b[2J\\u202eb\\ud800\\rc\\nd')",
        FailureClass::SceneError,
        "raise",
    );
    assert_eq!(
        failure.message,
        "ValueError: a\\u{1b}[2J\\u{202e}b\\u{d800}\\u{d}c\nd"
    );
}

#[test]
fn a_bottomless_recursion_is_called_so_and_never_fills_the_memory() {
    let request =
        constructing("import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1)\nf(0)");
    let line = line_of(&request, "def f");
    let failure = failure(render_then_check(request));
    assert_class(&failure, FailureClass::SceneError);
    assert!(failure.message.contains("RecursionError"), "{failure:#?}");
    assert!(
        failure
            .hint
            .as_deref()
            .is_some_and(|hint| hint.contains("calls itself")),
        "{failure:#?}"
    );
    assert_eq!(failure.line, line);
    // Filling the memory takes most of a minute, and unwinding as long again.
    assert!(failure.peak_memory_bytes < 1 << 30, "{failure:#?}");
}

#[test]
fn requests_that_make_no_sense_never_reach_a_sandbox() {
    let broken: [fn(&mut RenderRequest); 6] = [
        |r| r.file_name = "../scene.py".into(),
        |r| r.file_name = "scene.txt".into(),
        |r| r.source = "x = '\0'".into(),
        |r| r.source = " ".repeat(5 << 20).into(),
        |r| r.output.width = 0,
        |r| r.output.transparent = true,
    ];
    for change in broken {
        let mut request = request_for(GOOD);
        change(&mut request);
        assert_class(&failure(render(request)), FailureClass::Validation);
    }
}
