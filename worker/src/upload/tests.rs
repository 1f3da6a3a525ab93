//! What is counted of uploads, with a stand-in for API and bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::{post, put};
use manimq_shared::ids::TenantId;

use super::*;
use crate::board::Board;

/// A store that fails so often before it takes a file. `bucket`: the worker looks afterwards what lies there.
async fn store_that_fails(times: u32, bucket: bool) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let url = format!("{api}/bucket/film.mp4");
    let grant = async move |Json(request): Json<UploadRequest>| {
        let grants = request.files.into_iter().map(|file| UploadGrant {
            md5: false,
            check: bucket.then(|| UploadCheck {
                url: url.clone(),
                headers: [].into(),
            }),
            url: url.clone(),
            key: "film.mp4".to_owned(),
            name: file.name,
            headers: [].into(),
        });
        let grants = grants.collect();
        Json(UploadGrants { grants })
    };
    let failures = Arc::new(AtomicU32::new(times));
    let take = async move || {
        let failures = failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        });
        failures.map_or(StatusCode::OK, |_| StatusCode::SERVICE_UNAVAILABLE)
    };
    let look = async || [("content-length", "4")];
    let routes = Router::new()
        .route("/internal/v1/uploads", post(grant))
        .route("/bucket/film.mp4", put(take).head(look));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    api
}

/// Stores a film of four bytes; the lines of the metric.
async fn counted(api: &str) -> Vec<String> {
    let metrics = WorkerMetrics::default();
    let uploader = Uploader::new(api).unwrap().measured(metrics.clone());
    let mut film = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut film, b"film").unwrap();
    let uploads = vec![Upload {
        name: "film.mp4".into(),
        mime: "video/mp4".into(),
        bytes: 4,
        content: Content::Here(film),
    }];
    let job = JobId::generate(&TenantId::default());
    let token = LeaseToken::generate();
    let stored = uploader.store(job, Epoch(1), &token, uploads).await;
    assert_eq!(stored.unwrap().len(), 1);
    let board = Board::new(manimq_shared::ids::WorkerId::generate(), 1);
    let text = String::from_utf8(metrics.render(&board)).unwrap();
    let lines = text.lines();
    lines
        .filter(|line| line.starts_with("manimq_storage_operations_total"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn each_try_to_store_in_a_bucket_is_counted_by_whether_it_works() {
    manimq_shared::tls::choose_cryptography();
    let failing = store_that_fails(2, true).await;
    assert_eq!(
        counted(&failing).await,
        [
            r#"manimq_storage_operations_total{op="upload",result="error"} 2"#,
            r#"manimq_storage_operations_total{op="upload",result="ok"} 1"#
        ]
    );
}

#[tokio::test]
async fn what_goes_to_the_api_is_not_counted_twice() {
    manimq_shared::tls::choose_cryptography();
    let folder = store_that_fails(0, false).await;
    assert_eq!(
        counted(&folder).await,
        [
            r#"manimq_storage_operations_total{op="upload",result="error"} 0"#,
            r#"manimq_storage_operations_total{op="upload",result="ok"} 0"#
        ]
    );
}
