//! LaTeX is a programming language with file access: held by the broker.

use std::time::Instant;

use manimq_worker::sandbox::formulas::FormulaStore;
use manimq_worker::sandbox::{FailureClass, RenderError, RenderRequest, Rendered};

use crate::support::*;

fn formula(tex: &str) -> RenderRequest {
    constructing(&format!("self.add(Tex(r'''{tex}'''))\nself.wait(0.2)"))
}

/// Renders; the picture must have as many parts as that of `like`.
fn looks_like(tex: &str, like: &str) -> Result<Rendered, RenderError> {
    render_then_check(constructing(&format!(
        "tested = len(Tex(r'''{tex}''').family_members_with_points())\n\
         plain = len(Tex(r'''{like}''').family_members_with_points())\n\
         if tested != plain: raise RuntimeError(f'BREACH: {{tested}} parts, not {{plain}}')\n\
         self.wait(0.2)"
    )))
}

#[test]
fn write18_runs_nothing() {
    looks_like(
        r"\immediate\write18{echo A > planted.tex}A\IfFileExists{planted.tex}{BREACH}{}",
        "A",
    )
    .expect("held, and the formula is set");
}

#[test]
fn files_outside_cannot_be_read() {
    for tex in [
        r"\input{/etc/passwd}",
        r"\input{/opt/sbx/main.py}",
        r"\input{../opt/sbx/main.py}",
        r"\input{/proc/self/environ}",
        r#"\input{|"id"}"#,
    ] {
        assert_class(
            &failure(render_then_check(formula(tex))),
            FailureClass::LatexError,
        );
    }
    looks_like(
        r"\newread\f\openin\f=/opt/sbx/main.py \ifeof\f A\else BREACH\fi\openin\f=/job/scene.py \ifeof\f B\else BREACH\fi",
        "AB",
    )
    .expect("held");
}

#[test]
fn files_outside_cannot_be_written() {
    for path in ["/tmp/planted.tex", "/job/planted.tex", "../job/planted.tex"] {
        let result = render_then_check(constructing(&format!(
            "import os\n\
             try: Tex(r'''\\newwrite\\f\\immediate\\openout\\f={path} \\immediate\\write\\f{{x}}A''')\n\
             except ValueError: pass\n\
             if os.path.exists('/job/planted.tex') or os.path.exists('/tmp/planted.tex'): raise RuntimeError('BREACH')\n\
             self.wait(0.2)"
        )));
        result.expect("held");
    }
}

#[test]
fn postscript_specials_do_nothing() {
    // Without --no-specials=ps the first draws a line, the second runs a program.
    looks_like(
        r"A\special{ps: newpath 0 0 moveto 100 100 lineto stroke}",
        "A",
    )
    .expect("held");
    let began = Instant::now();
    looks_like(
        r"\catcode37=12 A\special{ps: (%pipe%sleep 30) (r) file closefile}",
        "A",
    )
    .expect("held");
    assert!(began.elapsed().as_secs() < 20, "the pipe ran");
    looks_like(
        r#"A\special{ps: (planted.svg) (w) file closefile}\special{psfile=/etc/passwd}"#,
        "A",
    )
    .expect("held");
}

#[test]
fn endless_tex_ends() {
    let began = Instant::now();
    let failure = failure(render_then_check(formula(r"\loop\iftrue\repeat")));
    assert_class(&failure, FailureClass::LatexError);
    assert!(failure.message.contains("stopped"), "{failure:#?}");
    assert!(began.elapsed().as_secs() < 25);
}

#[test]
fn a_flood_of_tex_ends() {
    for tex in [
        r"\loop\iftrue\message{xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}\repeat",
        r"\newwrite\f\immediate\openout\f=big.tex \loop\iftrue\immediate\write\f{xxxxxxxxxxxxxxxxxxx}\repeat",
        r"\def\a{\a\a}\a",
    ] {
        assert_class(
            &failure(render_then_check(formula(tex))),
            FailureClass::LatexError,
        );
    }
}

#[test]
fn other_engines_are_refused_by_name() {
    let failure = failure(render_then_check(constructing(
        "template = TexTemplate(tex_compiler='lualatex', output_format='.pdf')\n\
         self.add(Tex(r'\\directlua{os.execute(\"id\")}', tex_template=template))",
    )));
    assert_class(&failure, FailureClass::LatexError);
    assert!(failure.message.contains("lualatex"), "{failure:#?}");
}

#[test]
fn a_template_of_ones_own_works() {
    render(constructing(
        "template = TexTemplate()\ntemplate.add_to_preamble(r'\\usepackage{xcolor}')\n\
         self.add(Tex(r'\\textcolor{red}{x}', tex_template=template))\nself.wait(0.2)",
    ))
    .expect("a film");
}

#[test]
fn requests_to_the_broker_are_checked() {
    for request in [
        r#"{"e": "tex"}"#,
        r#"{"e": "tex", "text": 1, "compiler": "latex", "extension": ".dvi"}"#,
        r#"{"e": "tex", "text": "x", "compiler": "../latex", "extension": ".dvi"}"#,
        r#"{"e": "tex", "text": "x", "compiler": ["latex"], "extension": ".dvi"}"#,
        r#"{"e": "tex", "text": "x", "compiler": "latex", "extension": ".dvi; id"}"#,
    ] {
        render_then_check(constructing(&format!(
            "import json, os\n\
             os.write(3, b'{request}\\n')\n\
             answer = json.loads(os.read(4, 4096))\n\
             if answer['ok']: raise RuntimeError('BREACH')\n\
             self.wait(0.2)"
        )))
        .expect("held");
    }
    // Two at once: the second is not waited for.
    let failure = failure(render_then_check(constructing(
        "import os, time\n\
         line = b'{\"e\": \"tex\", \"text\": \"x\", \"compiler\": \"latex\", \"extension\": \".dvi\"}\\n'\n\
         os.write(3, line + line)\ntime.sleep(20)",
    )));
    assert_class(&failure, FailureClass::SandboxDenied);
}

/// Calls as people write them: what is announced must be what is asked for.
const CONSTANTS: &str = r#"
from manim import *
import manim as mn
class Other(Scene):
    def construct(self): MathTex("not this one")
class Chosen(Scene):
    def construct(self):
        all_of_them = [
            MathTex(r"\frac{a}{b}", "=", "c", color=RED), Tex(r"Hello \LaTeX", font_size=30),
            MathTex("{{ x }} + y", arg_separator=","), mn.MathTex("z_1", substrings_to_isolate=["z"]),
            Title("A title"), BulletedList("one", "two"), Tex("$x$", tex_environment="center"),
            MathTex("w", tex_to_color_map={"w": RED}),
        ]
        self.add(*all_of_them)
        self.wait(0.1)
"#;

#[test]
fn formulas_that_are_announced_are_those_that_are_asked_for() {
    let mut request = request_for(CONSTANTS);
    request.scene = Some("Chosen".into());
    let rendered = render(request).expect("a film");
    assert_eq!(
        rendered.usage.formulas_set, 9,
        "one run for each of them, and one for the dots of the list"
    );
}

#[test]
fn a_tenants_formulas_are_set_once_and_never_given_to_another() {
    let store = FormulaStore::default();
    let film = |tenant: &str| {
        let mut request = request_for(CONSTANTS);
        request.scene = Some("Chosen".into());
        request.formulas = Some(store.shelf(tenant));
        let rendered = render(request).expect("a film");
        let folder = tempfile::tempdir().expect("a folder");
        let frames = frame_sums(&save(&rendered, folder.path()));
        (rendered.usage.formulas_set, frames)
    };
    let first = film("one");
    assert_eq!(first.0, 9);
    assert_eq!(film("one"), (0, first.1.clone()));
    assert_eq!(film("two"), first, "another tenant's are set anew");
}

#[test]
fn a_formula_that_failed_fails_again_and_is_not_kept() {
    let store = FormulaStore::default();
    for _ in 0..2 {
        let mut request = formula(r"\undefinedcommand");
        request.formulas = Some(store.shelf("one"));
        assert_class(&failure(render(request)), FailureClass::LatexError);
    }
}

#[test]
fn announcements_are_checked_like_requests() {
    for flood in [
        r#"while True: os.write(3, b'{"e": "tex_soon", "text": "x", "compiler": "latex", "extension": ".dvi"}\n')"#,
        r#"os.write(3, b'{"e": "tex_soon", "text": 7}\n' * 100); self.wait(0.1)"#,
        r#"os.write(3, b'{"e": "tex_soon"}\n' * 2000); self.wait(0.1)"#,
    ] {
        let result = render_then_check(constructing(&format!("import os\n{flood}")));
        match result {
            Ok(_) => {}
            Err(RenderError::Failed(failure)) => {
                assert_class(&failure, FailureClass::SandboxDenied)
            }
            Err(error) => panic!("{flood}: {error}"),
        }
    }
}
