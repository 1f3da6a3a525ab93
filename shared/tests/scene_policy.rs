//! The scene policy from outside: real scenes, hostile scenes, hostile bytes.
//!
//! `scenes/benign` holds what people write; each file must be accepted. `scenes/hostile` holds
//! ways around the rules; each line that ends in `# refused: code …` must be refused with these
//! codes, and no other line at all. All of them must be Python, or they would prove nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use manimq_shared::scene_policy::{
    CHECKS_MAX, CheckError, CheckedScene, FINDINGS_MAX, Finding, FindingCode, PolicyMode, Rejected,
    SCENE_NAME_CHARS_MAX, SOURCE_BYTES_MAX, ScenePolicy, SceneSelectError, SceneSource,
    SelectedScene, Severity, check, check_async,
};
use proptest::prelude::*;

const PYTHON: &str = "/usr/bin/python3";

fn accepted(source: &str) -> CheckedScene {
    check(source.as_bytes(), PolicyMode::Enforce).unwrap_or_else(|error| panic!("{error}"))
}

fn rejected(bytes: impl AsRef<[u8]>) -> Rejected {
    rejected_in(bytes, PolicyMode::Enforce)
}

fn rejected_in(bytes: impl AsRef<[u8]>, mode: PolicyMode) -> Rejected {
    match check(bytes.as_ref(), mode) {
        Err(CheckError::Rejected(rejected)) => rejected,
        Err(error) => panic!("not checked: {error}"),
        Ok(checked) => panic!("accepted, with {:?}", checked.warnings),
    }
}

/// A scene with `line` in its `construct`, as line 4.
fn scene_with(line: &str) -> String {
    format!("from manim import *\nclass A(Scene):\n    def construct(self):\n        {line}\n")
}

fn codes(findings: &[Finding]) -> Vec<FindingCode> {
    findings.iter().map(|finding| finding.code).collect()
}

fn scenes(kind: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scenes")
        .join(kind);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() >= 20, "the scenes of {kind} are missing");
    files
}

/// For each source: `None` if Python compiles it, else the line of its syntax error.
fn python_error_lines(sources: &[&str]) -> Vec<Option<u32>> {
    const PROGRAM: &str = r#"
import json, sys, warnings
warnings.simplefilter("ignore")
def line(source):
    try:
        compile(source, "scene.py", "exec")
    except SyntaxError as error:
        return error.lineno
print(json.dumps([line(source) for source in json.load(sys.stdin)]))
"#;
    let mut python = Command::new(PYTHON)
        .args(["-I", "-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let json = serde_json::to_vec(sources).unwrap();
    python.stdin.take().unwrap().write_all(&json).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn python_is_there() -> bool {
    let there = Path::new(PYTHON).exists();
    if !there {
        eprintln!("skipped: no {PYTHON} to compare with");
    }
    there
}

// What real scenes do.

#[test]
fn scenes_that_people_write_are_accepted() {
    for (path, source) in scenes("benign") {
        let checked = check(source.as_bytes(), PolicyMode::Enforce)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            !checked.scenes.is_empty(),
            "{} has no scene",
            path.display()
        );
        assert!(checked.scenes_certain, "{} is uncertain", path.display());
        assert_eq!(checked.source.as_str(), source);
    }
}

#[test]
fn the_test_scenes_are_python() {
    if !python_is_there() {
        return;
    }
    let files: Vec<_> = scenes("benign")
        .into_iter()
        .chain(scenes("hostile"))
        .collect();
    let sources: Vec<&str> = files.iter().map(|(_, source)| source.as_str()).collect();
    for ((path, _), line) in files.iter().zip(python_error_lines(&sources)) {
        assert_eq!(line, None, "{} is not Python", path.display());
    }
}

#[test]
fn scenes_that_only_show_code_get_no_warning() {
    let (_, source) = scenes("benign")
        .into_iter()
        .find(|(path, _)| path.ends_with("python_lesson.py"))
        .unwrap();
    assert_eq!(accepted(&source).warnings, []);
}

#[test]
fn what_an_operator_admits_may_be_imported_and_no_more() {
    let policy = ScenePolicy {
        imports: "manim_slides,shapely.geometry".parse().unwrap(),
        ..ScenePolicy::default()
    };
    let imports = |line: &str| {
        let source = format!("{line}\n{}", scene_with("self.wait()"));
        match check(source.as_bytes(), policy.clone()) {
            Ok(_) => None,
            Err(CheckError::Rejected(rejected)) => Some(rejected),
            Err(error) => panic!("not checked: {error}"),
        }
    };
    for admitted in [
        "from manim_slides import Slide",
        "import manim_slides.slide as slide",
        "import shapely.geometry",
        "from shapely import geometry",
        "from shapely.geometry import *",
    ] {
        assert_eq!(imports(admitted), None, "{admitted}");
    }
    for refused in [
        "import shapely",
        "from shapely import wkt",
        "import manim_physics",
        "import os",
    ] {
        let rejected = imports(refused).unwrap_or_else(|| panic!("{refused} was accepted"));
        assert_eq!(
            codes(&rejected.findings),
            [FindingCode::ImportNotAllowed],
            "{refused}"
        );
        let says_how = rejected.findings[0]
            .hint
            .as_deref()
            .unwrap()
            .contains("MANIMQ_SCENE_IMPORTS=manim_physics");
        assert_eq!(says_how, refused.contains("physics"), "{refused}");
    }
}

#[test]
fn a_real_time_sleep_is_accepted_with_a_warning() {
    for import in ["import time", "from time import sleep as nap"] {
        let call = if import.starts_with("from") {
            "nap"
        } else {
            "time.sleep"
        };
        let checked = accepted(&format!("{import}\n{}", scene_with(&format!("{call}(1)"))));
        assert_eq!(codes(&checked.warnings), [FindingCode::RealTimeSleep]);
        assert_eq!(checked.warnings[0].line, 5);
    }
}

#[test]
fn syntax_newer_than_the_oldest_renderer_is_accepted_with_a_warning() {
    let checked = accepted(&scene_with("x = f'{\"a\" + f\"{'b'}\"}'"));
    assert_eq!(codes(&checked.warnings), [FindingCode::NewerPython; 1]);
    let checked = accepted("from manim import *\ntype Pair = tuple[int, int]\n");
    assert_eq!(codes(&checked.warnings), [FindingCode::NewerPython]);
}

#[test]
fn a_text_with_a_dunder_that_reaches_out_is_accepted_with_a_warning() {
    let checked = accepted(&scene_with(
        "t = Text('__subclasses__') and '__glob' + 'als__'",
    ));
    assert_eq!(codes(&checked.warnings), [FindingCode::DunderString; 3]);
    assert_eq!(
        accepted(&scene_with("'''__globals__ in a comment'''")).warnings,
        []
    );
}

#[test]
fn a_main_guard_may_hold_what_a_render_never_runs() {
    let guard = "if '__main__' == __name__:\n    import os\n    os.system('id')\n    eval('1')\n";
    assert_eq!(accepted(&(scene_with("self.wait()") + guard)).warnings, []);
    let broken = scene_with("self.wait()") + "if __name__ == '__main__':\n    return 1\n";
    assert_eq!(
        codes(&rejected(broken).findings),
        [FindingCode::SyntaxError]
    );
}

// What is refused.

#[test]
fn ways_around_the_rules_are_refused_at_their_line_and_nowhere_else() {
    for (path, source) in scenes("hostile") {
        let mut expected = BTreeSet::new();
        for (index, line) in source.lines().enumerate() {
            let expectations = line
                .split_once("# refused: ")
                .map_or("", |(_, codes)| codes);
            for code in expectations.split_whitespace() {
                expected.insert((index as u32 + 1, code.to_owned()));
            }
        }
        assert!(!expected.is_empty(), "{} expects nothing", path.display());
        let found: BTreeSet<_> = rejected(&source)
            .findings
            .iter()
            .map(|finding| (finding.line, finding.code.to_string()))
            .collect();
        assert_eq!(found, expected, "{}", path.display());
    }
}

#[test]
fn in_warn_mode_the_same_findings_are_warnings() {
    for (path, source) in scenes("hostile") {
        let denied = rejected(&source).findings;
        let checked = check(source.as_bytes(), PolicyMode::Warn)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            checked
                .warnings
                .iter()
                .all(|finding| finding.severity == Severity::Warn)
        );
        for finding in denied {
            let warning = Finding {
                severity: Severity::Warn,
                ..finding
            };
            assert!(
                checked.warnings.contains(&warning),
                "{}: {warning}",
                path.display()
            );
        }
    }
}

#[test]
fn in_off_mode_only_decoding_size_syntax_and_nesting_are_checked() {
    for (path, source) in scenes("hostile") {
        let checked = check(source.as_bytes(), PolicyMode::Off)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(checked.warnings, []);
    }
    let cases: [(&[u8], FindingCode); 5] = [
        (b"\xff", FindingCode::SourceNotUtf8),
        (b"\0", FindingCode::SourceHasNul),
        (b"# coding: latin-1", FindingCode::SourceEncoding),
        (b"import os os", FindingCode::SyntaxError),
        (&[b'-'; 600], FindingCode::NestingTooDeep),
    ];
    for mode in [PolicyMode::Off, PolicyMode::Warn] {
        for (bytes, code) in cases {
            assert_eq!(codes(&rejected_in(bytes, mode).findings), [code]);
        }
    }
}

#[test]
fn all_findings_are_reported_at_once_in_the_order_of_the_file() {
    let source = "import os\nfrom manim import *\nclass A(Scene):\n    def construct(self)\n        \
                  eval('1')\n        x = = 2\nimport sys\n";
    let findings = rejected(source).findings;
    let found: Vec<_> = findings
        .iter()
        .map(|finding| (finding.line, finding.code))
        .collect();
    assert_eq!(
        found,
        [
            (1, FindingCode::ImportNotAllowed),
            (4, FindingCode::SyntaxError),
            (5, FindingCode::ForbiddenName),
            (6, FindingCode::SyntaxError),
            (7, FindingCode::ImportNotAllowed),
        ]
    );
}

#[test]
fn a_flood_of_findings_is_cut_and_counted() {
    let source = "eval\n".repeat(1000);
    let rejected = rejected(source);
    assert_eq!(rejected.findings.len(), FINDINGS_MAX);
    assert_eq!(rejected.omitted, 950);
    let lines: Vec<u32> = rejected
        .findings
        .iter()
        .map(|finding| finding.line)
        .collect();
    assert_eq!(lines, (1..=50).collect::<Vec<_>>());
    assert!(rejected.to_string().ends_with("\nand 950 more findings"));
}

#[test]
fn a_finding_says_where_in_characters() {
    let rejected = rejected("größe = 'ä'; eval(größe)");
    let Finding {
        line,
        column,
        end_line,
        end_column,
        ..
    } = rejected.findings[0];
    assert_eq!((line, column, end_line, end_column), (1, 14, 1, 18));
}

#[test]
fn a_message_names_the_input_the_reason_and_the_remedy() {
    assert_eq!(
        rejected("from manim import *\nimport os\n").to_string(),
        "scene.py:2:8: import of `os` is not allowed [import-not-allowed]\n  \
         hint: a scene runs alone, without files or programs around it: write its data into the \
         scene, or send a file along and read it with `open(\"data.csv\")`, its name written out"
    );
    assert_eq!(
        rejected("def f(:\n")
            .in_file("intro.py")
            .to_string()
            .lines()
            .next()
            .unwrap(),
        "intro.py:1:6: `(` is never closed [syntax-error]"
    );
    let hints = [
        ("import nmupy", "did you mean `numpy`?"),
        ("from manimlib import *", "ManimGL"),
        ("import sympy", "not installed"),
        (
            "from manim_voiceover import VoiceoverScene",
            "MANIMQ_SCENE_IMPORTS=manim_voiceover",
        ),
        ("from helpers.style import BLUE", "copy what you need"),
        ("open(name)", "write its data into the scene"),
        ("exit()", "return from `construct`"),
    ];
    for (source, part) in hints {
        let hint = rejected(source).findings[0].hint.clone().unwrap();
        assert!(hint.contains(part), "{source}: {hint}");
    }
}

#[test]
fn long_and_odd_names_are_cut_in_messages() {
    let name = "x".repeat(10_000);
    assert!(
        rejected(format!("import {name}"))
            .to_string()
            .chars()
            .count()
            < 400
    );
    let error = accepted("")
        .select_scene(Some("A\u{202e}\u{7}B"))
        .unwrap_err();
    assert!(!error.to_string().contains(['\u{202e}', '\u{7}']));
}

#[test]
fn findings_have_a_stable_json_form() {
    let rejected = rejected("import os");
    let json = serde_json::to_value(&rejected).unwrap();
    assert_eq!(json["omitted"], 0);
    let finding = &json["findings"][0];
    assert_eq!(finding["code"], "import-not-allowed");
    assert_eq!(finding["severity"], "deny");
    assert_eq!(
        (&finding["line"], &finding["column"]),
        (&1.into(), &8.into())
    );
    assert_eq!(
        serde_json::from_value::<Rejected>(json.clone()).unwrap(),
        rejected
    );
}

// Decoding.

#[test]
fn one_byte_order_mark_is_dropped_and_a_second_one_is_refused() {
    let checked = accepted("\u{feff}from manim import *\n");
    assert_eq!(checked.source.as_str(), "from manim import *\n");
    let twice = rejected("\u{feff}\u{feff}x = 1");
    assert_eq!(codes(&twice.findings), [FindingCode::SourceEncoding]);
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_at_their_place() {
    let finding = &rejected(b"x = 1\r\ny = '\xe4'").findings[0];
    assert_eq!(
        (finding.code, finding.line, finding.column),
        (FindingCode::SourceNotUtf8, 2, 6)
    );
    let utf16: Vec<u8> = "x".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let finding = &rejected([&b"\xff\xfe"[..], &utf16].concat()).findings[0];
    assert!(finding.hint.as_ref().unwrap().contains("UTF-16"));
    let finding = &rejected("x = 1\n\0").findings[0];
    assert_eq!((finding.code, finding.line), (FindingCode::SourceHasNul, 2));
}

#[test]
fn only_utf_8_may_be_declared_as_encoding() {
    for fine in [
        "# -*- coding: utf-8 -*-\n",
        "#!/usr/bin/env python\n# vim: set fileencoding=UTF_8 :\n",
        "# coding: utf-8-unix\n",
        "x = 1\n# coding: latin-1\n",
        "\n\n# coding: latin-1\n",
        "# encoding is nothing to declare\n",
        "'# coding: latin-1'\n",
    ] {
        accepted(fine);
    }
    for foreign in [
        "# -*- coding: latin-1 -*-\n",
        "\u{c}  # coding=utf-7\n",
        "#!/bin/sh\r# coding: rot13\r",
        "# coding: utf_16\n",
        "\n#coding:unicode_escape",
    ] {
        let finding = &rejected(foreign).findings[0];
        assert_eq!(finding.code, FindingCode::SourceEncoding, "{foreign:?}");
    }
}

#[test]
fn a_source_may_be_as_large_as_the_bound_and_no_larger() {
    let largest = "#".repeat(SOURCE_BYTES_MAX);
    accepted(&largest);
    let finding = &rejected(largest + "#").findings[0];
    assert_eq!(finding.code, FindingCode::SourceTooLarge);
}

#[test]
fn the_way_lines_end_changes_nothing() {
    for (path, source) in scenes("hostile") {
        let findings = rejected(&source).findings;
        for newline in ["\r\n", "\r"] {
            let rejected = rejected(source.replace('\n', newline));
            assert_eq!(rejected.findings, findings, "{}", path.display());
        }
    }
    let mixed = SceneSource::decode(b"a\r\rb\n\rc\r\n\n").unwrap();
    assert_eq!(mixed.as_str(), "a\n\nb\n\nc\n\n");
}

#[test]
fn sources_are_not_printed_by_debug() {
    let shown = format!("{:?}", accepted("secret = 'x'").source);
    assert_eq!(shown, "SceneSource(12 bytes)");
}

// Syntax, as Python sees it.

/// Mistakes as people make them, with the line where Python reports them.
const MISTAKES: &[(&str, u32)] = &[
    ("x = (1, 2\ny = 3\n", 1),
    ("x = [1,\n  2\n\ndef f():\n    pass\n", 1),
    ("f(1, [2, 3)\ng()\n", 1),
    ("x = 1)\n", 1),
    ("x = {1: 2]\n", 1),
    ("x = 'abc\ny = 1\n", 1),
    ("x = f('abc)\ny = 1\n", 1),
    ("x = '''abc\n\ny = 1\n", 1),
    ("class A\n    pass\n", 1),
    ("class A:\ndef f(self): pass\n", 2),
    (
        "class A:\n    def f(self):\n\n    # comment\n    def g(self):\n        pass\n",
        5,
    ),
    ("if True:\n", 1),
    ("def f():\n    x = 1\n      y = 2\n", 3),
    ("def f():\n        x = 1\n    y = 2\n", 3),
    ("x = 1\n  y = 2\n", 2),
    ("x = [1\n  2]\n", 1),
    ("f(a\n  b)\n", 1),
    ("x == 1 = 2\n", 1),
    ("f() = 1\n", 1),
    ("print 'x'\n", 1),
    ("for x range(3):\n    pass\n", 1),
    ("while x\n    pass\n", 1),
    ("else:\n    pass\n", 1),
    ("x = = 1\n", 1),
    ("x = 5 5\n", 1),
    ("import\n", 1),
    ("from manim import\n", 1),
    ("def f(a, a):\n    pass\n", 1),
    ("def f(a=1, b):\n    pass\n", 1),
    ("\n\nreturn 1\n", 3),
    ("for x in y:\n    pass\nbreak\n", 3),
    ("class A:\n    x = (yield)\n", 2),
    ("def f():\n    await g()\n", 2),
    ("x = “a”\n", 1),
    ("```python\nx = 1\n```\n", 1),
    ("x\u{a0}= 1\n", 1),
    ("x = 1 # \u{c}\n\u{c}y = = 1\n", 2),
    ("x = '''\n\u{c}\u{2028}\u{85}\n'''\ny = = 1\n", 4),
    ("\r\n\rx = = 1\r", 3),
    ("x = 1 + \\\n * 2\n", 2),
    ("x = 0777\n", 1),
    ("x = 1_\n", 1),
    ("x = $y\n", 1),
    ("%matplotlib inline\n", 1),
    ("lambda: = 1\n", 1),
    ("try:\n    pass\nx = 1\n", 3),
    ("match x:\n    case 1\n        pass\n", 2),
    ("x = {'a': 1, 'b'}\n", 1),
    ("def f(:\n    pass\n", 1),
    ("with open('x') as f\n    pass\n", 1),
    ("x = 1;; y = 2\n", 1),
    ("a, b += 1\n", 1),
    ("del f()\n", 1),
    ("x = not\n", 1),
    ("raise = 1\n", 1),
    ("None = 1\n", 1),
];

#[test]
fn syntax_errors_are_reported_on_the_line_that_python_reports() {
    let sources: Vec<&str> = MISTAKES.iter().map(|(source, _)| *source).collect();
    if python_is_there() {
        for ((source, line), python) in MISTAKES.iter().zip(python_error_lines(&sources)) {
            assert_eq!(python, Some(*line), "Python on {source:?}");
        }
    }
    for (source, line) in MISTAKES {
        let findings = rejected_in(source, PolicyMode::Off).findings;
        let first = &findings[0];
        assert_eq!(
            (first.code, first.line),
            (FindingCode::SyntaxError, *line),
            "{source:?}: {first}"
        );
    }
}

#[test]
fn common_mistakes_come_with_a_remedy() {
    for (source, message, hint) in [
        ("x = “a”", "U+201C", "straight quotes"),
        ("```python\nx = 1\n```", "`", "Markdown"),
        ("x\u{a0}= 1", "U+00A0", "plain space"),
        ("print 'x'", "does not belong", "parentheses"),
        ("x = 'abc", "no closing quote", "three quotes"),
        (
            "class A(Scene)\n    pass",
            "`:` is missing",
            "end the line with `:`",
        ),
        (
            "f(1, [2, 3)",
            "cannot close the `[` of line 1",
            "close the `[` with `]` first",
        ),
        (
            "x = [1\n 2]",
            "a comma or an operator is missing",
            "add the missing comma",
        ),
        ("x = 1)", "closes nothing", "delete this `)`"),
        ("def f():\nx = 1", "indented block", "indent the lines"),
    ] {
        let finding = rejected_in(source, PolicyMode::Off).findings.remove(0);
        assert!(finding.message.contains(message), "{finding}");
        assert!(
            finding.hint.as_ref().is_some_and(|h| h.contains(hint)),
            "{finding}"
        );
    }
}

// Which scene.

#[test]
fn scenes_are_found_as_manim_finds_them() {
    let names = |source: &str| -> Vec<String> {
        let checked = check(source.as_bytes(), PolicyMode::Off).unwrap();
        assert!(checked.scenes_certain, "{source}");
        let names = checked.scenes.iter().map(|scene| scene.name.to_string());
        names.collect()
    };
    for (source, expected) in [
        ("from manim import *\nclass A(Scene): pass", "A"),
        ("import manim\nclass A(manim.ThreeDScene): pass", "A"),
        ("import manim as m\nclass A(m.scene.scene.Scene): pass", "A"),
        (
            "from manim import Scene as S\nclass A(S): pass\nclass B(A): pass",
            "A B",
        ),
        (
            "from manim import *\nS = ZoomedScene\nclass A(S): pass",
            "A",
        ),
        (
            "from manim import *\nclass M: pass\nclass A(M, Scene): pass",
            "A",
        ),
        (
            "from manim import *\nclass A(VGroup): pass\nclass B(Exception): pass",
            "",
        ),
        (
            "from manim import *\nif 1:\n    class A(Scene): pass\nelse:\n    class B(Scene): pass",
            "A B",
        ),
        (
            "from manim import *\ntry:\n    class A(Scene): pass\nexcept E: pass",
            "A",
        ),
        (
            "from manim import *\nclass A(Scene):\n    class B(Scene): pass",
            "A",
        ),
        (
            "from manim import *\ndef f():\n    class B(Scene): pass",
            "",
        ),
        (
            "from manim import *\nif __name__ == '__main__':\n    class A(Scene): pass",
            "",
        ),
        (
            "from manim import *\nclass A(Scene): pass\nclass A(Scene): pass",
            "A",
        ),
        ("from manim import *\nclass A(Scene): pass\ndel A", ""),
        ("from manim import *\nclass A(Scene): pass\nA = 3", ""),
        ("from manim import *\nclass A(Scene): pass\nB = A", "A"),
        ("from manim import *\nclass Scene(Scene): pass", "Scene"),
        (
            "from manim import *\nclass B(Scene): pass\nclass A(Scene): pass",
            "B A",
        ),
        (
            "from manim import *\nfrom typing import Generic\nclass A(Scene, Generic[T]): pass",
            "A",
        ),
        ("import numpy as np\nclass A(np.ndarray): pass", ""),
        (
            "from manim import *\n@decorated\nclass A(Scene, metaclass=M): pass",
            "A",
        ),
        ("from manim import *\nclass Ａ(Scene): pass", "A"),
        ("", ""),
    ] {
        assert_eq!(names(source).join(" "), expected, "{source}");
    }
}

#[test]
fn a_file_whose_classes_cannot_be_told_from_the_text_is_not_refused() {
    for source in [
        "from manim import *\nfrom mine import *\nclass A(LessonScene): pass",
        "from manim_slides import Slide\nclass A(Slide): pass",
        "from mine import base\nclass A(base.Lesson): pass",
        "from manim import *\nA = type('A', (Scene,), {})",
        "from manim import *\ndef make(base):\n    class S(base): pass\n    return S\nA = make(Scene)",
        "from manim import *\nclass A(make(Scene)): pass",
        "from manim import *\nclass A(*bases): pass",
        "from manim import *\nclass A([Scene][0]): pass",
    ] {
        let checked = check(source.as_bytes(), PolicyMode::Warn).unwrap();
        assert!(!checked.scenes_certain, "{source}");
        assert_eq!(
            checked.select_scene(None),
            Ok(SelectedScene::Undetermined),
            "{source}"
        );
        let asked = checked.select_scene(Some("A")).unwrap();
        assert!(matches!(&asked, SelectedScene::Unconfirmed(name) if name.as_str() == "A"));
    }
}

#[test]
fn a_scene_is_selected_or_the_reason_is_told() {
    let two = accepted(
        "from manim import *\nclass IntroScene(Scene):\n    def construct(self): pass\n\
         class Outro(Scene):\n    def construct(self): pass\n",
    );
    let select = |scene| {
        two.select_scene(scene)
            .map(|selected| selected.name().cloned().unwrap().to_string())
    };
    assert_eq!(select(Some("Outro")).unwrap(), "Outro");
    let several = select(None).unwrap_err();
    assert_eq!(
        several.to_string(),
        "the file defines 2 scenes and none was named: `IntroScene`, `Outro`"
    );
    assert_eq!(several.hint(), "name one of them, for example `IntroScene`");
    let unknown = select(Some("introscene")).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "the file defines no scene `introscene`; it defines `IntroScene`, `Outro`"
    );
    assert_eq!(unknown.hint(), "did you mean `IntroScene`?");
    assert!(matches!(
        select(Some("Pythagoras")),
        Err(SceneSelectError::NotFound { nearest: None, .. })
    ));
    let none = accepted("from manim import *\nx = 1\n");
    assert_eq!(none.select_scene(None), Err(SceneSelectError::NoScene));
    assert_eq!(none.select_scene(Some("A")), Err(SceneSelectError::NoScene));
}

#[test]
fn a_base_without_construct_does_not_compete_with_the_scene_on_top_of_it() {
    let source = "from manim import *\nclass Base(Scene):\n    def helper(self): pass\n\
                  class Lesson(Base):\n    def construct(self): pass\n";
    let checked = accepted(source);
    assert_eq!(checked.scenes.len(), 2);
    let selected = checked.select_scene(None).unwrap();
    assert_eq!(selected.name().unwrap().as_str(), "Lesson");
    let asked = checked.select_scene(Some("Base")).unwrap();
    assert_eq!(asked.name().unwrap().as_str(), "Base");
}

#[test]
fn a_scene_name_is_one_identifier() {
    let checked =
        accepted("from manim import *\nclass Größe(Scene):\n    def construct(self): pass\n");
    for same in ["Größe", "Gro\u{308}ße", "Ｇröße"] {
        let selected = checked.select_scene(Some(same)).unwrap();
        assert_eq!(selected.name().unwrap().as_str(), "Größe", "{same}");
    }
    let longest = "S".repeat(SCENE_NAME_CHARS_MAX);
    assert!(matches!(
        checked.select_scene(Some(&longest)),
        Err(SceneSelectError::NotFound { .. })
    ));
    for bad in [
        "",
        " ",
        "A B",
        "1A",
        "A.B",
        "a/b",
        "../A",
        "A.py",
        "A\0",
        "A\n",
        " A",
        "A ",
        "(A)",
        "class",
        "None",
        "A;",
        "A#",
        "é!",
        "A\\",
        "\u{feff}A",
        "🎬",
        &(longest + "S"),
        &"ﷺ".repeat(20),
    ] {
        let error = checked.select_scene(Some(bad)).unwrap_err();
        assert!(
            matches!(error, SceneSelectError::InvalidName { .. }),
            "{bad:?}: {error}"
        );
    }
    let path = checked.select_scene(Some("lessons/intro.py")).unwrap_err();
    assert!(path.hint().contains("looks like a path"), "{}", path.hint());
}

#[test]
fn a_scene_without_an_import_of_manim_is_told_so() {
    let finding = &rejected("class A(Scene):\n    def construct(self): pass\n").findings[0];
    assert_eq!(
        (finding.code, finding.line),
        (FindingCode::MissingImport, 1)
    );
    accepted("from manim.scene.scene import *\nclass A(Scene): pass\n");
}

// Hostile sources.

/// Sources that make a careless parser overflow its stack, or take minutes.
fn bombs() -> Vec<(&'static str, String)> {
    let repeat = |part: &str| part.repeat(SOURCE_BYTES_MAX / part.len());
    let mut bombs: Vec<(&str, String)> = [
        "-",
        "not ",
        "[",
        "(",
        "{",
        "((",
        "[(",
        "{1:",
        "a[",
        "f(",
        "lambda:",
        "lambda x=",
        "a if b else ",
        "a**",
        "await ",
        "*",
        "(yield ",
        "(a:=",
        "f'{",
        "f\"{f'{",
        "f'{\n",
        "f'''{\n",
        "t'{",
        "@",
        "x:",
        "if x:",
        "try:",
        "else:\n",
        ")",
        "](",
        "]{",
        "[T\n}",
        ".",
        "'''",
        "'\n",
        "\\\n",
        "match x:",
        "case[",
        "with(",
        "from . import(",
        "class A(",
        "def f(",
        "\u{feff}",
        "\r",
        "0_",
        "\\N{",
        "a=b=",
    ]
    .into_iter()
    .map(|part| (part, repeat(part)))
    .collect();
    let half = SOURCE_BYTES_MAX / 2;
    bombs.extend([
        ("36,000 minus signs", "-".repeat(36_000)),
        ("a negated name", "-".repeat(SOURCE_BYTES_MAX - 1) + "x"),
        ("balanced brackets", "[".repeat(half) + &"]".repeat(half)),
        ("a sum", "a+".repeat(half - 1) + "a"),
        ("attributes", "a".to_owned() + &".a".repeat(half - 1)),
        (
            "attributes of a module",
            "import numpy as np\nnp".to_owned() + &".a".repeat(half - 20),
        ),
        (
            "a dotted import",
            "import numpy".to_owned() + &".a".repeat(half - 20),
        ),
        ("calls", "a".to_owned() + &"()".repeat(half - 1)),
        (
            "a format specification",
            "f'".to_owned() + &"{a:".repeat(half / 2),
        ),
        (
            "patterns",
            "match x:\n case ".to_owned() + &"[".repeat(half),
        ),
        (
            "aliases",
            "import numpy as a0\n".to_owned()
                + &(1..9000)
                    .map(|n| format!("a{n}=a{}.a{n}\n", n - 1))
                    .collect::<String>(),
        ),
        (
            "blocks",
            (0..700)
                .map(|n| format!("{}if x:\n", " ".repeat(n)))
                .collect(),
        ),
        ("a long name", "x".repeat(SOURCE_BYTES_MAX)),
        ("a long digit", "9".repeat(SOURCE_BYTES_MAX)),
        (
            "long lines of findings",
            "eval;".repeat(SOURCE_BYTES_MAX / 5),
        ),
        (
            "findings after umlauts",
            "é;".repeat(1000) + &"eval;".repeat(50_000),
        ),
        (
            "scenes",
            "from manim import *\n".to_owned()
                + &(0..11_000)
                    .map(|n| format!("class A{n}(Scene):0\n"))
                    .collect::<String>(),
        ),
        (
            "star imports",
            (0..9000)
                .map(|n| format!("from numpy.a{n} import *\n"))
                .collect(),
        ),
        ("an annotation", format!("x: '{}'", "[".repeat(half))),
    ]);
    bombs
}

#[test]
fn hostile_sources_end_soon_and_stop_nothing() {
    for (name, source) in bombs() {
        let start = Instant::now();
        match check(source.as_bytes(), PolicyMode::Enforce) {
            Ok(_) => {}
            Err(CheckError::Rejected(rejected)) => assert!(!rejected.to_string().is_empty()),
            Err(error) => panic!("{name}: {error}"),
        }
        // Each takes less than a second on a quiet machine, in a debug build.
        assert!(
            start.elapsed() < Duration::from_secs(9),
            "{name}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn nesting_is_bounded_where_it_gets_too_deep() {
    for (fine, too_deep, column) in [
        ("-".repeat(490) + "x", "-".repeat(600) + "x", 501),
        (
            "[".repeat(200) + &"]".repeat(200),
            "[".repeat(201) + &"]".repeat(201),
            201,
        ),
        (
            "x".to_owned() + &"+x".repeat(490),
            "x".to_owned() + &"+x".repeat(600),
            1,
        ),
    ] {
        accepted(&fine);
        for mode in [PolicyMode::Enforce, PolicyMode::Off] {
            let findings = rejected_in(&too_deep, mode).findings;
            assert_eq!(codes(&findings), [FindingCode::NestingTooDeep]);
            assert_eq!((findings[0].line, findings[0].column), (1, column));
        }
    }
    accepted(&format!("x = [{}]", "-1, ".repeat(50_000)));
    accepted(&format!(
        "x = [{}]",
        "a if b else (lambda: not c), ".repeat(5_000)
    ));
    accepted(&"x = ':( :('\n# (((((\n".repeat(500));
}

#[test]
fn many_checks_at_once_wait_for_each_other() {
    let source = scene_with("eval('1')") + &"x = [1, 2, 3]\n".repeat(5_000);
    std::thread::scope(|scope| {
        for _ in 0..4 * CHECKS_MAX {
            scope.spawn(|| assert_eq!(rejected(&source).findings.len(), 1));
        }
    });
}

#[tokio::test]
async fn async_checks_give_the_same_answers_and_may_be_abandoned() {
    let source = scene_with("eval('1')");
    for _ in 0..4 * CHECKS_MAX {
        // Polled once and dropped: the check goes on without anybody, and gives its place back.
        let abandoned = check_async(source.as_bytes(), PolicyMode::Enforce);
        let _ = tokio::time::timeout(Duration::ZERO, abandoned).await;
    }
    let checks = (0..4 * CHECKS_MAX).map(|_| check_async(source.as_bytes(), PolicyMode::Enforce));
    for answer in futures_util::future::join_all(checks).await {
        let Err(CheckError::Rejected(answer)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(answer, rejected(&source));
    }
    assert!(check_async(b"x = 1", PolicyMode::Enforce).await.is_ok());
}

#[test]
fn a_usual_scene_takes_milliseconds() {
    let files = scenes("benign");
    let start = Instant::now();
    for (_, source) in &files {
        check(source.as_bytes(), PolicyMode::Enforce).unwrap();
    }
    let each = start.elapsed() / files.len() as u32;
    // Measured: 1.4 ms in a debug build. The bound only catches a blunder.
    assert!(each < Duration::from_millis(200), "{each:?} for each scene");
}

#[test]
fn modes_are_read_and_shown_by_name() {
    for mode in [PolicyMode::Enforce, PolicyMode::Warn, PolicyMode::Off] {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    let error = "strict".parse::<PolicyMode>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`strict` is not a scene policy: use `enforce`, `warn` or `off`"
    );
}

/// Checks `bytes` in every mode and looks at what must hold for any answer.
fn check_any(bytes: &[u8]) {
    for mode in [PolicyMode::Enforce, PolicyMode::Warn, PolicyMode::Off] {
        let (findings, severity) = match check(bytes, mode) {
            Ok(checked) => {
                assert_eq!(SceneSource::decode(bytes).as_ref(), Ok(&checked.source));
                let _ = checked.select_scene(None);
                (checked.warnings, Severity::Warn)
            }
            Err(CheckError::Rejected(rejected)) => {
                assert!(!rejected.findings.is_empty());
                let _ = rejected.to_string();
                (rejected.findings, Severity::Deny)
            }
            Err(error) => panic!("{error}"),
        };
        for finding in findings {
            let Finding {
                line,
                column,
                end_line,
                end_column,
                ..
            } = finding;
            assert!(line >= 1 && column >= 1, "{finding}");
            assert!((line, column) <= (end_line, end_column), "{finding}");
            assert_eq!(finding.severity, severity);
        }
    }
}

/// Texts out of the pieces that Python programs are made of, which come further than random
/// bytes.
fn python_soup() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "f'",
        "f'''",
        "'",
        "\"",
        "'''",
        "{a",
        "!r",
        ":",
        ",",
        "\n",
        "\n  ",
        "\n\t",
        "\r",
        "if x:",
        "else",
        "lambda",
        "def f(",
        "class A(Scene):",
        "match x:",
        "case ",
        "with (",
        "as b",
        "async ",
        "await ",
        "for x in ",
        "try:",
        "except",
        "import ",
        "from . import ",
        "from manim import *",
        "*",
        "**",
        "-",
        "not ",
        "a",
        ".a",
        "1",
        "0x",
        "1e",
        "\\\n",
        "\\",
        "#",
        "@",
        ":=",
        "=",
        "...",
        " if b else ",
        "yield ",
        "return ",
        "global x",
        "del ",
        "type X",
        "[T",
        "é",
        "\u{3000}",
        "`",
        "$",
        "?",
        "!",
        "%",
        "rb'",
        "t'",
        "\u{c}",
        "getattr(self, ",
        "np.a",
        "eval",
        "__x__",
        ";",
        "print ",
        "\u{feff}",
        "𝐞",
        "\u{301}",
        "\"{0.__x__}\".format(",
        "__match_args__ = ",
        "x: 'eval'",
    ]);
    prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_any(&bytes);
    }

    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,200}") {
        check_any(text.as_bytes());
    }

    #[test]
    fn any_soup_of_python_gets_an_answer(text in python_soup()) {
        check_any(text.as_bytes());
    }

    #[test]
    fn any_scene_name_gets_an_answer(name in "\\PC{0,140}") {
        let checked = check(b"from manim import *\nclass A(Scene): pass\n", PolicyMode::Off).unwrap();
        let _ = checked.select_scene(Some(&name)).map_err(|error| error.hint());
    }
}

#[test]
fn a_file_that_was_sent_along_may_be_read_by_its_name_and_nothing_else_may_be_opened() {
    let allowed = |line: &str| {
        let source = format!(
            "from manim import *\nimport csv\n\nclass A(Scene):\n    def construct(self):\n        {line}\n"
        );
        check(source.as_bytes(), PolicyMode::Enforce).is_ok()
    };
    for good in [
        "rows = list(csv.reader(open('data.csv')))",
        "with open('data/points.csv', 'r', encoding='utf-8', newline='') as file: file.read()",
        "open('x.bin', mode='rb').read()",
    ] {
        assert!(allowed(good), "{good}");
    }
    for bad in [
        "open('/etc/passwd')",
        "open('../x')",
        "open('.env')",
        "open('x.py')",
        "open('x', 'w')",
        "open('x', 'r+')",
        "open('x', mode)",
        "open('x', 'r', 1)",
        "open('x', opener=print)",
        "open(*['x'])",
        "open('x', **{})",
        "open('x' + name)",
        "open(f'{name}')",
        "open(0)",
        "open()",
        "f = open",
    ] {
        assert!(!allowed(bad), "{bad}");
    }
}
