//! LaTeX through the broker. What it must not do is in the corpus, `tests/attacks/tex/`.

use manimq_worker::sandbox::formulas::FormulaStore;
use manimq_worker::sandbox::{FailureClass, RenderError, RenderRequest};

use crate::support::*;

fn formula(tex: &str) -> RenderRequest {
    constructing(&format!("self.add(Tex(r'''{tex}'''))\nself.wait(0.2)"))
}

#[test]
fn a_template_of_ones_own_works() {
    render(constructing(
        "template = TexTemplate()\ntemplate.add_to_preamble(r'\\usepackage{xcolor}')\n\
         self.add(Tex(r'\\textcolor{red}{x}', tex_template=template))\nself.wait(0.2)",
    ))
    .expect("a film");
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
