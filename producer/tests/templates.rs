//! Every template is rendered with its fixtures, as the API resolves them: `python -m manimq_templates.check`.
//!
//! Usually each template once, with sets of parameters and shapes that take turns; with `MANIMQ_SOAK_TEMPLATES=1` all
//! of them in all shapes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use manimq::templates;
use serde_json::{Value, json};

const FIXTURES: [&str; 4] = ["default", "maximal", "hostile", "minimal"];
const ASPECTS: [&str; 3] = ["16:9", "9:16", "1:1"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn jobs(all: bool) -> Vec<Value> {
    let mut jobs = Vec::new();
    for (n, template) in templates::all().iter().enumerate() {
        for (f, fixture) in FIXTURES.iter().enumerate() {
            for (a, aspect) in ASPECTS.iter().enumerate() {
                if !all && (f != n % FIXTURES.len() || a != n % ASPECTS.len()) {
                    continue;
                }
                let written = template.fixtures[*fixture].as_object().expect("an object");
                let resolved = match templates::resolve(template, written, "") {
                    Ok(resolved) => resolved,
                    // Refused with words: nothing is rendered.
                    Err(_) if *fixture == "hostile" => continue,
                    Err(errors) => panic!("{} {fixture}: {errors:?}", template.id),
                };
                jobs.push(json!({
                    "name": format!("{} {fixture} {aspect}", template.id),
                    "template": template.id, "params": resolved.params, "aspect": aspect,
                }));
            }
        }
    }
    jobs
}

#[test]
fn templates_render_with_their_fixtures_without_a_warning() {
    let all = std::env::var_os("MANIMQ_SOAK_TEMPLATES").is_some();
    let jobs = jobs(all);
    let python = manimq_shared::testing::python_env().join("bin/python");
    let mut input = tempfile::tempfile().expect("a file");
    for job in &jobs {
        writeln!(input, "{job}").expect("it is written");
    }
    std::io::Seek::rewind(&mut input).expect("it is a file");
    let output = Command::new(python)
        .args(["-B", "-m", "manimq_templates.check"])
        .current_dir(workspace().join("worker/renderer"))
        .stdin(Stdio::from(input))
        .output()
        .expect("deploy/setup has made the Python environment");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let odd: Vec<String> = lines
        .iter()
        .filter(|line| {
            line["ok"] != true || line["warnings"].as_array().is_none_or(|w| !w.is_empty())
        })
        .map(Value::to_string)
        .collect();
    println!(
        "{} of {} films without a fault",
        lines.len() - odd.len(),
        jobs.len()
    );
    assert!(odd.is_empty(), "{}", odd.join("\n"));
    assert_eq!(
        lines.len(),
        jobs.len(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success());
}
