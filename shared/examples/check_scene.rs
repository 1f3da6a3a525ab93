//! Shows what the scene policy says of files, in the words that their authors get.
//!
//! `cargo run -p manimq-shared --example check_scene -- [--mode warn] [--scene Name] scene.py …`
//!
//! Exit status 1 if a file is refused or no scene can be selected.

use std::error::Error;
use std::process::ExitCode;

use manimq_shared::scene_policy::{CheckError, PolicyMode, check};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut mode = PolicyMode::Enforce;
    let mut scene = None;
    let mut refused = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--mode" => mode = arguments.next().unwrap_or_default().parse()?,
            "--scene" => scene = arguments.next(),
            file => refused |= !show(file, mode, scene.as_deref())?,
        }
    }
    Ok(if refused {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Returns whether the file was accepted and a scene selected.
fn show(file: &str, mode: PolicyMode, scene: Option<&str>) -> Result<bool, Box<dyn Error>> {
    let checked = match check(&std::fs::read(file)?, mode) {
        Ok(checked) => checked,
        Err(CheckError::Rejected(rejected)) => {
            println!("{}", rejected.in_file(file));
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    for warning in &checked.warnings {
        println!("{file}:{warning}");
    }
    match checked.select_scene(scene) {
        Ok(selected) => {
            println!("{file}: accepted, scene {selected:?}");
            Ok(true)
        }
        Err(error) => {
            println!(
                "{file}: {error} [{}]\n  hint: {}",
                error.code(),
                error.hint()
            );
            Ok(false)
        }
    }
}
