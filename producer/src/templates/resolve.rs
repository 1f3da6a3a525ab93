//! Checks the parameters that a user wrote, fills in defaults, and makes of them what the scene gets.

use jsonschema::error::ValidationErrorKind;
use manimq_shared::job::{FieldError, TemplateRef};
use serde_json::{Map, Value, json};

use super::{SEQUENCE, Template, find, formats, nearest};

/// Most errors that are told at once.
const ERRORS_MAX: usize = 20;

/// Most values in a template's parameters; those of a sequence's parts are among them.
const VALUES_MAX: usize = 4_000;

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// What a worker needs of a template's job.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The template.
    pub template: TemplateRef,
    /// What its scene gets.
    pub params: Value,
}

/// Checks and resolves. `pointer`: where the parameters are in the body, for errors.
///
/// # Errors
/// Each parameter that is wrong, with the reason and the remedy.
pub fn resolve(
    template: &Template,
    params: &Map<String, Value>,
    pointer: &str,
) -> Result<Resolved, Vec<FieldError>> {
    // The validator tells every error of every value before the first can be read.
    if params.values().map(count).sum::<usize>() > VALUES_MAX {
        return Err(vec![FieldError {
            pointer: pointer.to_owned(),
            detail: format!("more than {VALUES_MAX} values in all; no template takes so many"),
        }]);
    }
    let written = Value::Object(params.clone());
    let mut errors: Vec<FieldError> = template
        .validator
        .iter_errors(&written)
        .take(ERRORS_MAX)
        .map(|error| told(template, &error, pointer))
        .collect();
    let mut resolved = Value::Null;
    if errors.is_empty() {
        let mut walk = Walk {
            root: &template.schema,
            errors: &mut errors,
        };
        resolved = walk.value(&template.schema, &written, pointer);
    }
    if errors.is_empty() && template.id == SEQUENCE {
        parts(&mut resolved, params, pointer, &mut errors);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Resolved {
        template: TemplateRef {
            id: template.id.clone(),
            version: template.version.clone(),
        },
        params: resolved,
    })
}

/// The parts of a sequence are templates with parameters of their own.
fn parts(
    resolved: &mut Value,
    params: &Map<String, Value>,
    pointer: &str,
    errors: &mut Vec<FieldError>,
) {
    let written = params.get("parts").and_then(Value::as_array);
    for (n, part) in written.into_iter().flatten().enumerate() {
        let pointer = format!("{pointer}/parts/{n}");
        let id = part["template"].as_str().unwrap_or_default();
        let template = match find(id) {
            Ok(template) if template.id != SEQUENCE => template,
            found => {
                let detail = found.err();
                errors.push(FieldError {
                    pointer: format!("{pointer}/template"),
                    detail: detail.unwrap_or_else(|| {
                        "a sequence has no sequences as parts; write out its parts".into()
                    }),
                });
                continue;
            }
        };
        let empty = Map::new();
        let params = part["params"].as_object().unwrap_or(&empty);
        match resolve(template, params, &format!("{pointer}/params")) {
            Ok(part) => {
                resolved["parts"][n] = json!({"template": id, "version": part.template.version, "params": part.params});
            }
            Err(more) => errors.extend(more),
        }
    }
}

/// What is wrong with a parameter, and what would be right.
fn told(template: &Template, error: &jsonschema::ValidationError<'_>, base: &str) -> FieldError {
    let path = error.instance_path().to_string();
    let name = path.split('/').nth(1).unwrap_or_default();
    let names = || template.properties().map(|(name, _)| name.as_str());
    let (mut pointer, mut detail) = (format!("{base}{path}"), error.to_string());
    detail = shorten(&detail, 300);
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } if path.is_empty() => {
            let first: String = unexpected
                .first()
                .map_or_else(String::new, |name| shorten(name, 60));
            let near = nearest(&first, names());
            let near = near.map_or_else(
                || ".".to_owned(),
                |near| format!("; did you mean `{near}`?"),
            );
            let all: Vec<&str> = names().collect();
            let id = &template.id;
            detail = format!(
                "{id} has no parameter `{first}`{near} It takes {}",
                all.join(", ")
            );
            pointer = format!("{base}/{}", first.replace('~', "~0").replace('/', "~1"));
        }
        ValidationErrorKind::Required { property } if path.is_empty() => {
            let name = property.as_str().unwrap_or_default();
            detail = format!("it is missing; {}", wanted(template.property(name)));
            pointer = format!("{base}/{name}");
        }
        _ => {
            detail = format!("{detail}; {}", wanted(template.property(name)));
        }
    }
    FieldError { pointer, detail }
}

fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most).chain(['…']).collect()
}

/// What a parameter is, from its schema.
fn wanted(schema: Option<&Value>) -> String {
    let Some(schema) = schema else {
        return "see the template's parameters".into();
    };
    let text = |name: &str| schema[name].as_str().unwrap_or_default();
    let mut wanted = format!("wanted: {}. {}", text("title"), text("description"));
    if let Some(default) = schema.get("default") {
        wanted.push_str(&format!(" Such as {default}"));
    }
    wanted
}

struct Walk<'a> {
    root: &'a Value,
    errors: &'a mut Vec<FieldError>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &'a Value, value: &Value, pointer: &str) -> Value {
        let schema = self.choose(schema, value);
        if let Some(format) = schema["format"].as_str()
            && let Some(resolved) = formats::resolve(format, schema, value)
        {
            return resolved.unwrap_or_else(|detail| {
                self.errors.push(FieldError {
                    pointer: pointer.to_owned(),
                    detail,
                });
                Value::Null
            });
        }
        match value {
            Value::Object(fields) => self.object(schema, fields, pointer),
            Value::Array(items) => self.array(schema, items, pointer),
            Value::String(text) => Value::String(clean(text)),
            other => other.clone(),
        }
    }

    /// The schema behind references and choices.
    fn choose(&self, schema: &'a Value, value: &Value) -> &'a Value {
        let mut schema = schema;
        // A reference leads on at most this often.
        for _ in 0..8 {
            if let Some(path) = schema["$ref"]
                .as_str()
                .and_then(|path| path.strip_prefix('#'))
            {
                let Some(next) = self.root.pointer(path) else {
                    break;
                };
                schema = next;
                continue;
            }
            let choices = schema.get("oneOf").or_else(|| schema.get("anyOf"));
            let Some(choices) = choices.and_then(Value::as_array) else {
                break;
            };
            let fits = choices.iter().find(|choice| {
                let mut alone = (*choice).clone();
                if let (Some(fields), Some(defs)) = (alone.as_object_mut(), self.root.get("$defs"))
                {
                    fields.insert("$defs".into(), defs.clone());
                }
                jsonschema::is_valid(&alone, value)
            });
            let Some(next) = fits else {
                break;
            };
            schema = next;
        }
        schema
    }

    fn object(&mut self, schema: &'a Value, fields: &Map<String, Value>, pointer: &str) -> Value {
        let mut resolved = Map::new();
        let properties = schema["properties"].as_object();
        for (name, schema) in properties.into_iter().flatten() {
            if let Some(value) = fields.get(name).or_else(|| schema.get("default")) {
                let pointer = format!("{pointer}/{name}");
                let value = self.value(schema, value, &pointer);
                self.range(name, &value, &pointer);
                resolved.insert(name.clone(), value);
            }
        }
        let rest = &schema["additionalProperties"];
        for (name, value) in fields {
            if !resolved.contains_key(name) {
                let value = self.value(rest, value, &format!("{pointer}/{name}"));
                resolved.insert(clean(name), value);
            }
        }
        Value::Object(resolved)
    }

    fn array(&mut self, schema: &'a Value, items: &[Value], pointer: &str) -> Value {
        let first = schema["prefixItems"].as_array();
        let items = items.iter().enumerate().map(|(n, item)| {
            let schema = first
                .and_then(|first| first.get(n))
                .unwrap_or(&schema["items"]);
            self.value(schema, item, &format!("{pointer}/{n}"))
        });
        Value::Array(items.collect())
    }

    /// A range goes up: JSON Schema cannot say that.
    fn range(&mut self, name: &str, value: &Value, pointer: &str) {
        let number = |value: &Value| value["value"].as_f64().or_else(|| value.as_f64());
        if let Some([from, to]) = value.as_array().map(Vec::as_slice)
            && (name == "range" || name.ends_with("_range"))
            && let (Some(from), Some(to)) = (number(from), number(to))
            && from > to
        {
            self.errors.push(FieldError {
                pointer: pointer.to_owned(),
                detail: format!(
                    "{from} is more than {to}; a range goes from the smaller to the larger number"
                ),
            });
        }
    }
}

/// Whether a character cannot be drawn or changes the direction of others.
pub(super) fn is_unwanted(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Text without such characters.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|c| !is_unwanted(*c)).collect()
}
