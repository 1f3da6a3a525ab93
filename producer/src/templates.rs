//! The catalogue of templates: films that we wrote, which people fill with parameters.
//!
//! A template's scene lies in the renderer; what it is called, which parameters it takes (JSON Schema) and how it
//! looks is in this program, put there by `build.rs`. [`resolve()`] checks what a user wrote and makes of it what the
//! scene gets: texts of formulas become trees, so that a scene never parses anything.

mod colour;
mod formats;
mod latex;
mod logic;
mod resolve;

use std::sync::LazyLock;

use jsonschema::Validator;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub use colour::is_name as is_colour;
pub(crate) use formats::{is_complex, variables};
pub use resolve::{Resolved, resolve};

include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// The template whose parts are other templates.
pub const SEQUENCE: &str = "sequence";

/// Most parts of one; its schema says the same.
pub const PARTS_MAX: usize = 8;

/// The files of a template that are in the program.
pub(super) struct Files {
    template: &'static str,
    fixtures: &'static str,
    preview: Option<&'static [u8]>,
}

/// What it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Mathematics.
    Maths,
    /// Computing.
    Computing,
    /// Anything.
    General,
}

/// A prompt, and the parameters that it stands for.
#[derive(Debug, Clone, Deserialize, serde::Serialize, utoipa::ToSchema)]
pub struct Example {
    /// The sentence.
    pub prompt: String,
    /// The parameters.
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
}

/// What a version brought.
#[derive(Debug, Clone, Deserialize, serde::Serialize, utoipa::ToSchema)]
pub struct Change {
    /// The version.
    pub version: String,
    /// What is different.
    pub changes: String,
}

/// `template.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    id: String,
    version: String,
    title: String,
    summary: String,
    group: Group,
    needs_tex: bool,
    parameters: Value,
    examples: Vec<Example>,
    changelog: Vec<Change>,
}

/// A template.
pub struct Template {
    /// Its id, such as `derivative-tangent`.
    pub id: String,
    /// Its version (semver).
    pub version: String,
    /// What people call it.
    pub title: String,
    /// What it shows, in a sentence.
    pub summary: String,
    /// What it is about.
    pub group: Group,
    /// Whether it sets formulas with LaTeX.
    pub needs_tex: bool,
    /// JSON Schema of its parameters, those that all templates share among them.
    pub schema: Value,
    /// Prompts for it.
    pub examples: Vec<Example>,
    /// What its versions brought, the newest first.
    pub changelog: Vec<Change>,
    /// A picture of it (JPEG).
    pub preview: Option<&'static [u8]>,
    /// Sets of parameters that it is tested with: `minimal`, `default`, `maximal`, `hostile`.
    pub fixtures: Map<String, Value>,
    validator: Validator,
}

impl Template {
    /// Its parameters' schemas by name.
    pub fn properties(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.schema["properties"].as_object().into_iter().flatten()
    }

    /// The schema of a parameter.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&Value> {
        self.schema["properties"].get(name)
    }

    /// Names of the parameters that must be given.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        let names = self.schema["required"].as_array().into_iter().flatten();
        names.filter_map(Value::as_str)
    }

    fn read(files: &Files, common: &Value) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| error.to_string();
        let told: Description = serde_json::from_str(files.template).map_err(|e| wrong(&e))?;
        let schema = with_common(told.parameters, common);
        let validator =
            jsonschema::validator_for(&schema).map_err(|error| format!("{}: {error}", told.id))?;
        Ok(Self {
            fixtures: serde_json::from_str(files.fixtures).map_err(|e| wrong(&e))?,
            preview: files.preview,
            validator,
            schema,
            id: told.id,
            version: told.version,
            title: told.title,
            summary: told.summary,
            group: told.group,
            needs_tex: told.needs_tex,
            examples: told.examples,
            changelog: told.changelog,
        })
    }
}

/// A template's schema with the parameters that all share; nothing else is taken.
fn with_common(mut own: Value, common: &Value) -> Value {
    let mut properties = own["properties"].take();
    if let (Some(all), Some(shared)) =
        (properties.as_object_mut(), common["properties"].as_object())
    {
        for (name, schema) in shared {
            all.entry(name).or_insert_with(|| schema.clone());
        }
    }
    own["properties"] = properties;
    own["additionalProperties"] = json!(false);
    own
}

static CATALOGUE: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let common: Value = serde_json::from_str(COMMON).unwrap_or_default();
    // They were read by a test before they came here.
    FILES
        .iter()
        .filter_map(|files| match Template::read(files, &common) {
            Ok(template) => Some(template),
            Err(error) => {
                tracing::error!(error, "a template of this program cannot be read");
                None
            }
        })
        .collect()
});

/// Whether all templates have this parameter.
#[must_use]
pub fn is_common(name: &str) -> bool {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let common: Value = serde_json::from_str(COMMON).unwrap_or_default();
        let names = common["properties"].as_object().into_iter().flatten();
        names.map(|(name, _)| name.clone()).collect()
    });
    NAMES.iter().any(|known| known == name)
}

/// All templates, by id.
#[must_use]
pub fn all() -> &'static [Template] {
    &CATALOGUE
}

/// The template of an id.
#[must_use]
pub fn get(id: &str) -> Option<&'static Template> {
    all().iter().find(|template| template.id == id)
}

/// The template of an id that a user wrote.
///
/// # Errors
/// There is none; the text names the nearest.
pub fn find(id: &str) -> Result<&'static Template, String> {
    get(id).ok_or_else(|| {
        let shown: String = id.chars().take(60).collect();
        let near = nearest(&shown, all().iter().map(|template| template.id.as_str()));
        let near = near.map_or_else(
            || ".".to_owned(),
            |near| format!("; did you mean {near:?}?"),
        );
        format!(
            "there is no template {shown:?}{near} GET /v1/templates (`manimq templates`) lists them"
        )
    })
}

/// The name that is most like what was written, if one is.
fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::jaro_winkler(written, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests;
