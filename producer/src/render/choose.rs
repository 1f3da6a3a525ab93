//! Which scenes of a file with several.

use std::io::Write as _;

use crate::exit::Failure;
use crate::term::visible;

/// How often a wrong answer is asked for again.
const TRIES: u32 = 3;

/// The failure that lists the scenes.
#[must_use]
pub fn list(file: &str, scenes: &[String]) -> Failure {
    let names: Vec<_> = scenes.iter().map(|s| format!("  {s}")).collect();
    Failure::new(
        crate::exit::Exit::Usage,
        "scene-not-named",
        format!(
            "{file} has {} scenes; say which to render:\n{}",
            scenes.len(),
            names.join("\n")
        ),
    )
    .hint(format!(
        "manimq render {file} {}, or -a for all",
        scenes.first().map_or("SCENE", |s| s)
    ))
}

/// The scene that a mistyped name most likely means.
#[must_use]
pub fn nearest<'a>(name: &str, scenes: &'a [String]) -> Option<&'a str> {
    let same = |a: &str, b: &str| strsim::damerau_levenshtein(&a.to_lowercase(), &b.to_lowercase());
    scenes
        .iter()
        .map(|scene| (same(name, scene), scene.as_str()))
        .filter(|(distance, scene)| *distance <= scene.chars().count().max(3) / 3)
        .min()
        .map(|(_, scene)| scene)
}

/// Asks on the terminal: numbers, a list of them with commas, or `*`.
///
/// # Errors
/// The list, if there is no usable answer.
pub async fn ask(file: &str, scenes: &[String]) -> Result<Vec<String>, Failure> {
    let (owned, file_owned) = (scenes.to_vec(), file.to_owned());
    let asked = tokio::task::spawn_blocking(move || prompt(&file_owned, &owned)).await;
    asked.ok().flatten().ok_or_else(|| list(file, scenes))
}

fn prompt(file: &str, scenes: &[String]) -> Option<Vec<String>> {
    // No lock is held while waiting for the answer: Ctrl-C has something to say as well.
    let mut list = format!("{} has {} scenes:\n", visible(file), scenes.len());
    for (n, scene) in scenes.iter().enumerate() {
        list.push_str(&format!("  {}: {}\n", n + 1, visible(scene)));
    }
    say(&list)?;
    for _ in 0..TRIES {
        say("Which? (a number, several as 1,3, or * for all) ")?;
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).ok()? == 0 {
            say("\n")?;
            return None;
        }
        match parse(&line, scenes) {
            Ok(chosen) => return Some(chosen),
            Err(why) => say(&format!("{why}\n"))?,
        }
    }
    None
}

fn say(text: &str) -> Option<()> {
    let mut err = std::io::stderr().lock();
    err.write_all(text.as_bytes())
        .and_then(|()| err.flush())
        .ok()
}

fn parse(answer: &str, scenes: &[String]) -> Result<Vec<String>, String> {
    let answer = answer.trim();
    if answer == "*" {
        return Ok(scenes.to_vec());
    }
    let mut chosen: Vec<String> = Vec::new();
    for word in answer.split([',', ' ']).filter(|w| !w.is_empty()) {
        let by_number = word
            .parse::<usize>()
            .ok()
            .and_then(|n| scenes.get(n.checked_sub(1)?));
        let scene = by_number.or_else(|| scenes.iter().find(|s| *s == word));
        match scene {
            Some(scene) if chosen.contains(scene) => {}
            Some(scene) => chosen.push(scene.clone()),
            None => {
                return Err(format!(
                    "{} is not one of 1 to {}",
                    visible(word),
                    scenes.len()
                ));
            }
        }
    }
    if chosen.is_empty() {
        Err("nothing chosen".to_owned())
    } else {
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_the_nearest() {
        let scenes: Vec<String> = ["SquareToCircle", "Zoom"].map(String::from).into();
        assert_eq!(nearest("squaretocircel", &scenes), Some("SquareToCircle"));
        assert_eq!(nearest("Zom", &scenes), Some("Zoom"));
        assert_eq!(nearest("Other", &scenes), None);
    }

    #[test]
    fn numbers_names_and_the_star_are_understood() {
        let scenes: Vec<String> = ["A", "B", "C"].map(String::from).into();
        assert_eq!(parse(" 2\n", &scenes).unwrap(), ["B"]);
        assert_eq!(parse("3, 1,3", &scenes).unwrap(), ["C", "A"]);
        assert_eq!(parse("B 1", &scenes).unwrap(), ["B", "A"]);
        assert_eq!(parse("*", &scenes).unwrap(), scenes);
        for bad in ["", "0", "4", "x", "1,9", "-1"] {
            assert!(parse(bad, &scenes).is_err(), "{bad}");
        }
    }
}
