//! Whatever is wrong with a request, on whatever route: the answer is a problem, and its status is documented.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, Setup, problem};

const KEY: &str = "k3y-0123456789abcdef";

/// One thing wrong with a request.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    NoKey,
    ForeignKey,
    Nothing,
    Query,
    NoJson,
    HalfJson,
    OtherType,
    NotUtf8,
    TooLong,
}

const ALL: [Wrong; 9] = [
    Wrong::NoKey,
    Wrong::ForeignKey,
    Wrong::Nothing,
    Wrong::Query,
    Wrong::NoJson,
    Wrong::HalfJson,
    Wrong::OtherType,
    Wrong::NotUtf8,
    Wrong::TooLong,
];

/// Sends a request with this fault; gives the status.
async fn send(api: &Api, method: &Method, path: &str, wrong: Wrong) -> StatusCode {
    let path = match wrong {
        Wrong::Query => format!("{path}?no_such_parameter=1"),
        _ => path.to_owned(),
    };
    let request = api.request(method.clone(), &path);
    let request = match wrong {
        Wrong::NoKey => request,
        Wrong::ForeignKey => request.bearer_auth("mqk_0123456789abcdef_wrong"),
        _ => request.bearer_auth(KEY),
    };
    let json = |body: Vec<u8>| (body, "application/json");
    let body = match wrong {
        Wrong::NoJson => Some(json(b"{]".to_vec())),
        Wrong::HalfJson => Some(json(br#"{"no_such_field": 1"#.to_vec())),
        Wrong::OtherType => Some((b"<job/>".to_vec(), "text/xml")),
        Wrong::NotUtf8 => Some(json(b"{\"a\": \"\xff\"}".to_vec())),
        Wrong::TooLong => Some(json(vec![b' '; (2 << 20) + 1])),
        Wrong::NoKey | Wrong::ForeignKey | Wrong::Nothing | Wrong::Query => None,
    };
    let request = match body {
        Some((body, kind)) => request.header("content-type", kind).body(body),
        None => request,
    };
    let response = request.send().await.unwrap();
    let status = response.status();
    if status.as_u16() >= 400 {
        let headers = response.headers().clone();
        assert_eq!(
            headers["content-type"], "application/problem+json",
            "{method} {path} {wrong:?}: {status}"
        );
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["status"], status.as_u16(), "{method} {path} {wrong:?}");
        assert_eq!(
            body["request_id"].as_str(),
            headers["x-request-id"].to_str().ok(),
            "{method} {path} {wrong:?}"
        );
        for name in ["type", "title", "detail"] {
            assert_ne!(body[name], json!(""), "{method} {path} {wrong:?}: {body}");
            assert!(body[name].is_string(), "{method} {path} {wrong:?}: {body}");
        }
        // No worker is there: not ready is the right answer.
        let fault = status.as_u16() >= 500 && !path.starts_with("/readyz");
        assert!(!fault, "{method} {path} {wrong:?}: {body}");
    }
    status
}

/// A path with ids that are nobody's.
fn filled(template: &str) -> String {
    template
        .replace("/jobs/{id}", "/jobs/job_0198f7c1d2e37b6a9c1f2e3d4c5b6a79")
        .replace(
            "/webhooks/{id}",
            "/webhooks/wh_0198f7c1d2e37b6a9c1f2e3d4c5b6a79",
        )
        .replace("{delivery}", "msg_x")
        .replace("{tenant}", "nobody")
        .replace("{name}", "video.mp4")
        .replace("{id}", "nothing")
}

#[tokio::test]
async fn whatever_is_wrong_on_whatever_route_the_answer_is_a_problem_that_is_documented() {
    let api = Setup::new()
        .flags(&[&format!("--api-key={KEY}"), "--rate-per-key=0"])
        .start()
        .await;
    let document: Value = api.get("/openapi.json").await.json().await.unwrap();
    let mut seen: BTreeMap<u16, u32> = BTreeMap::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        let path = filled(template);
        let operations = item.as_object().unwrap();
        for (name, operation) in operations {
            let method = Method::from_bytes(name.to_uppercase().as_bytes()).unwrap();
            for wrong in ALL {
                // With nothing wrong it is an endless stream.
                if template == "/v1/events"
                    && !matches!(wrong, Wrong::NoKey | Wrong::ForeignKey | Wrong::Query)
                {
                    continue;
                }
                let status = send(&api, &method, &path, wrong).await;
                let documented = &operation["responses"][status.as_str()];
                assert!(
                    documented.is_object(),
                    "{name} {template} {wrong:?} is answered with {status}, which its document lacks"
                );
                *seen.entry(status.as_u16()).or_default() += 1;
            }
        }
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"] {
            if operations.contains_key(&method.to_lowercase()) {
                continue;
            }
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let request = api.request(method.clone(), &path).bearer_auth(KEY);
            let response = request.send().await.unwrap();
            let allowed = response.headers()["allow"].to_str().unwrap().to_lowercase();
            for name in operations.keys() {
                assert!(
                    allowed.split(',').any(|one| one == name),
                    "{template}: {allowed}"
                );
            }
            problem(response, 405, "method-not-allowed").await;
        }
    }
    for status in [400, 401, 404, 413, 415] {
        assert!(seen.contains_key(&status), "{seen:?}");
    }
}

#[tokio::test]
async fn what_is_no_route_is_a_problem_too() {
    let api = Api::start().await;
    for path in [
        "/nothing",
        "//",
        "/v1",
        "/v1/",
        "/v1/jobs/",
        "/v2/jobs",
        "/docs/",
        "/v1/jobs/%00",
        "/v1/jobs/%ff",
        "/v1/templates/..%2f..%2fetc%2fpasswd",
        "/v1/jobs/a/b/c/d",
        "/internal",
        "/internal/v1/nothing",
    ] {
        problem(api.get(path).await, 404, "not-found").await;
    }
    // Signed addresses without a signature.
    problem(api.get("/storage/nothing").await, 400, "malformed").await;
}
