//! The query of a request, strictly: each refusal names the parameter, what was given and what may be.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use manimq_shared::job::FieldError;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::App;
use super::problem::{ApiError, Kind};
use crate::parse_fault::parse_fault;

/// Longest value that a refusal repeats, in characters.
const SHOWN_MAX: usize = 80;

/// The query, strictly: an unknown, repeated or wrong parameter is refused by name.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| {
        let text = error.inner().to_string();
        let name = named(&text).unwrap_or_else(|| error.path().to_string());
        let given = pairs.into_iter().find(|(key, _)| *key == name);
        let detail = told(&name, &text, given.map(|(_, value)| value).as_deref());
        let name: String = name.chars().take(SHOWN_MAX).collect();
        ApiError::new(
            Kind::Malformed,
            format!("the parameter {name:?} of the query: {detail}"),
        )
        .with_errors(vec![FieldError {
            pointer: format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            detail,
        }])
    })
}

/// The parameter that serde's text names by itself.
fn named(text: &str) -> Option<String> {
    ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| Some(text.strip_prefix(start)?.split_once('`')?.0.to_owned()))
}

/// Serde's text for a person who wrote a URL.
fn told(name: &str, text: &str, given: Option<&str>) -> String {
    let given: String = given.unwrap_or_default().chars().take(SHOWN_MAX).collect();
    if text.starts_with("unknown field `") {
        let rest = text.split_once("expected ").map(|(_, rest)| rest);
        return match rest {
            Some(names) => format!(
                "there is none of this name; there is {}",
                names.trim_start_matches("one of ").replace('`', "")
            ),
            None => "this route has no parameters".to_owned(),
        };
    }
    if text.starts_with("missing field `") {
        return format!("it is missing; add {name}=…");
    }
    if text.starts_with("duplicate field `") {
        return "it is given more than once; leave one".to_owned();
    }
    if let Some(what) = parse_fault(text) {
        return format!("{given:?} is {what}");
    }
    match text
        .strip_prefix("unknown variant `")
        .and_then(|rest| rest.split_once("`, expected "))
    {
        Some((_, words)) => format!(
            "{given:?} is not one of {}",
            words.trim_start_matches("one of ").replace('`', "")
        ),
        // The words of a type of ours, which say what was given and what may be.
        None => text.chars().take(600).collect(),
    }
}

#[cfg(test)]
mod tests {
    use manimq_shared::ids::TenantId;
    use manimq_shared::job::Lane;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Wish {
        limit: Option<u32>,
        dry_run: Option<bool>,
        lane: Option<Lane>,
        tenant: Option<TenantId>,
        must: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    #[test]
    fn a_refusal_names_the_parameter_what_was_given_and_what_may_be() {
        for (query, pointer, words) in [
            (
                "must=1&limit=many",
                "/limit",
                "\"many\" is not a whole number, 0 or more",
            ),
            ("must=1&limit=", "/limit", "\"\" is not a whole number"),
            (
                "must=1&limit=-1",
                "/limit",
                "\"-1\" is not a whole number, 0 or more",
            ),
            (
                "must=1&limit=99999999999",
                "/limit",
                "\"99999999999\" is too large a number",
            ),
            (
                "must=1&dry_run=yes",
                "/dry_run",
                "\"yes\" is neither true nor false",
            ),
            ("must=1&lane=fast", "/lane", "\"fast\" is not one of"),
            ("must=1&tenant=A+B", "/tenant", "A B"),
            (
                "must=1&colour=red",
                "/colour",
                "there is limit, dry_run, lane, tenant, must",
            ),
            ("must=1&must=2", "/must", "more than once"),
            ("", "/must", "it is missing; add must=…"),
        ] {
            let error = read::<Wish>(query).unwrap_err();
            let problem = error.problem();
            assert_eq!(problem.errors[0].pointer, pointer, "{problem:?}");
            assert!(problem.detail.contains(words), "{query}: {problem:?}");
            assert!(
                problem.detail.contains(&pointer[1..]),
                "{query}: {problem:?}"
            );
            for serdes in ["string", "target type", "field `", "variant"] {
                assert!(!problem.detail.contains(serdes), "{query}: {problem:?}");
            }
        }
        let error = read::<Nothing>("x=1").unwrap_err();
        assert!(
            error.problem().detail.contains("no parameters"),
            "{error:?}"
        );
    }

    #[test]
    fn a_right_query_is_read() {
        let wish: Wish = read("must=a%20b&limit=3&dry_run=true&lane=batch").unwrap();
        assert_eq!((wish.limit, wish.must.as_str()), (Some(3), "a b"));
    }
}
