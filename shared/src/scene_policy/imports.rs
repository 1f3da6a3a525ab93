//! What an operator lets scenes import beside what every scene may.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::names::PATH_CHARS_MAX;
use super::{rules, short};

/// Modules by their dotted paths, each with all below it: plugins of Manim, say, that the workers have.
///
/// Text form, for flags and variables: `manim_slides,shapely.geometry`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SceneImports(Arc<[String]>);

impl SceneImports {
    /// Whether `path` is one of these modules, or lies in one.
    pub(super) fn admit(&self, path: &str) -> bool {
        self.0.iter().any(|module| rules::lies_in(path, module))
    }
}

impl FromStr for SceneImports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut modules = Vec::new();
        for module in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let is_name = |part: &str| {
                part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if module.len() > PATH_CHARS_MAX || !module.split('.').all(is_name) {
                return Err(format!(
                    "{:?} is no module: write names such as manim_slides,shapely.geometry",
                    short(module)
                ));
            }
            if rules::is_in_allowed_package(module) {
                return Err(format!(
                    "{module} belongs to what every scene has, whose parts are not a setting"
                ));
            }
            modules.push(module.to_owned());
        }
        Ok(Self(modules.into()))
    }
}

impl fmt::Display for SceneImports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_admitted_with_what_is_below_them_and_nothing_else() {
        let imports: SceneImports = " manim_slides, shapely.geometry,".parse().unwrap();
        assert_eq!(imports.to_string(), "manim_slides,shapely.geometry");
        for (path, admitted) in [
            ("manim_slides", true),
            ("manim_slides.slide", true),
            ("manim_slidesx", false),
            ("shapely.geometry", true),
            ("shapely", false),
            ("os", false),
        ] {
            assert_eq!(imports.admit(path), admitted, "{path}");
        }
        assert!(!SceneImports::default().admit("") && "".parse() == Ok(SceneImports::default()));
    }

    #[test]
    fn what_is_no_module_or_no_setting_is_refused_by_name() {
        for (wrong, words) in [
            ("manim-slides", "\"manim-slides\" is no module"),
            ("a..b", "is no module"),
            ("a,3d", "\"3d\" is no module"),
            ("numpy.f2py", "numpy.f2py belongs to what every scene has"),
        ] {
            let problem = wrong.parse::<SceneImports>().unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}
