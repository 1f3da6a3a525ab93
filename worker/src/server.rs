//! The worker's own small HTTP server: `/metrics` and `/healthz`.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use manimq_shared::metrics::CONTENT_TYPE;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::board::{Board, SlotState};
use crate::metrics::WorkerMetrics;

/// Serves until `stop`.
///
/// # Errors
/// If the listener breaks.
pub async fn serve(
    listener: TcpListener,
    board: Board,
    metrics: WorkerMetrics,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let health_board = board.clone();
    let routes = Router::new()
        .route(
            "/metrics",
            get(async move || {
                (
                    [(header::CONTENT_TYPE, CONTENT_TYPE)],
                    metrics.render(&board),
                )
            }),
        )
        .route("/healthz", get(async move || health(&health_board)));
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

/// 200 while at least one slot can render or is on its way, else 503 with the reason.
fn health(board: &Board) -> impl IntoResponse + use<> {
    let info = board.info();
    if info.slots_ready > 0 || board.count(SlotState::Starting) > 0 {
        let text = format!("ok: {} of {} slots ready\n", info.slots_ready, info.slots);
        (StatusCode::OK, text)
    } else {
        let reason = info
            .trouble
            .unwrap_or_else(|| "all slots have stopped".to_owned());
        (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"))
    }
}
