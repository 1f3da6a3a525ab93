//! `/openapi.json`: equal to what is committed, and complete.

use serde_json::Value;

use crate::support::Api;

#[test]
fn the_committed_openapi_document_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let generated = manimq::api::document().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == generated,
        "the API has changed and producer/openapi.json has not. Look at the difference, then write it with\n\n    UPDATE_SNAPSHOTS=1 cargo test -p manimq --test api openapi && git diff producer/openapi.json\n"
    );
}

#[tokio::test]
async fn the_openapi_document_is_served_and_describes_every_route() {
    let api = Api::start().await;
    let document: Value = api.get("/openapi.json").await.json().await.unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    for (method, path) in [
        ("post", "/v1/jobs"),
        ("get", "/v1/jobs/{id}"),
        ("get", "/v1/jobs/{id}/events"),
        ("get", "/v1/jobs/{id}/logs"),
        ("get", "/v1/jobs/{id}/artifacts/{name}"),
        ("get", "/v1/jobs/{id}/artifacts"),
        ("post", "/v1/jobs/{id}/cancel"),
        ("get", "/v1/events"),
        ("post", "/v1/webhooks"),
        ("get", "/v1/webhooks"),
        ("get", "/v1/webhooks/{id}"),
        ("patch", "/v1/webhooks/{id}"),
        ("delete", "/v1/webhooks/{id}"),
        ("post", "/v1/webhooks/{id}/rotate-secret"),
        ("post", "/v1/webhooks/{id}/test"),
        ("get", "/v1/webhooks/{id}/deliveries"),
        ("post", "/v1/webhooks/{id}/deliveries/{delivery}/redeliver"),
        ("post", "/v1/jobs/{id}/rerun"),
        ("delete", "/v1/jobs/{id}"),
        ("get", "/v1/jobs"),
        ("post", "/v1/jobs/batch"),
        ("post", "/v1/validate"),
        ("get", "/v1/usage"),
        ("post", "/v1/plan"),
        ("get", "/v1/templates"),
        ("get", "/v1/templates/{id}"),
        ("get", "/v1/templates/{id}/preview"),
        ("post", "/api/manim/generate"),
        ("get", "/api/manim/jobs/{id}"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/openapi.json"),
    ] {
        let operation = &paths[path][method];
        assert!(operation["operationId"].is_string(), "{method} {path}");
        assert!(operation["summary"].is_string(), "{method} {path}");
    }
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["operationId"].is_string(), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
        }
    }
    // Closed sets of words are the words that are sent.
    let words = |name: &str| document["components"]["schemas"][name]["enum"].clone();
    assert_eq!(words("Aspect"), serde_json::json!(["16:9", "9:16", "1:1"]));
    assert_eq!(words("Status")[0], "queued");
    assert_eq!(words("FailureClass")[0], "scene_error");
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn the_docs_page_needs_nothing_from_elsewhere_and_allows_nothing_else() {
    let api = Api::start().await;
    for (path, kind) in [
        ("/docs", "text/html"),
        ("/docs/app.js", "text/javascript"),
        ("/docs/style.css", "text/css"),
    ] {
        let response = api.get(path).await;
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(kind), "{path}");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let text = response.text().await.unwrap();
        for word in [
            "http://",
            "https://",
            "//cdn",
            "innerHTML",
            " style=",
            "onclick=\"",
            "eval(",
        ] {
            assert!(!text.contains(word), "{path}: {word}");
        }
    }
}
