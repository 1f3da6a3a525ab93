//! Lists the templates that lie in the renderer, so that the program has their descriptions and previews in it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let folder = here.join("../worker/renderer/manimq_templates");
    // A folder's own time changes with what is added and removed.
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut code = String::new();
    let common = watched(&folder.join("common.json"));
    writeln!(
        code,
        "pub(super) const COMMON: &str = include_str!({common:?});"
    )?;
    writeln!(code, "pub(super) const FILES: &[Files] = &[")?;
    let mut folders: Vec<PathBuf> = fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("template.json").is_file())
        .collect();
    folders.sort();
    for folder in folders {
        println!("cargo::rerun-if-changed={}", folder.display());
        let template = watched(&folder.join("template.json"));
        let fixtures = watched(&folder.join("fixtures.json"));
        let preview = folder.join("preview.jpg");
        let preview = if preview.is_file() {
            format!("Some(include_bytes!({:?}))", watched(&preview))
        } else {
            "None".to_owned()
        };
        writeln!(
            code,
            "Files {{ template: include_str!({template:?}), fixtures: include_str!({fixtures:?}), preview: {preview} }},"
        )?;
    }
    writeln!(code, "];")?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("templates.rs"), code)?;
    Ok(())
}

fn watched(path: &Path) -> String {
    println!("cargo::rerun-if-changed={}", path.display());
    path.display().to_string()
}
