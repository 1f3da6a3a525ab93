//! The worker's own small HTTP server: `/metrics` and `/healthz`.

use std::time::Instant;

use axum::Router;
use axum::http::{StatusCode, header};
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
        .route(
            "/healthz",
            get(async move || health(&health_board, Instant::now())),
        );
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

/// 200 while at least one slot can render or is on its way and the queue answers, else 503 with the reason.
fn health(board: &Board, now: Instant) -> (StatusCode, String) {
    let info = board.info();
    if let Some(silence) = board.deaf_for(now) {
        let (idle, silence) = (board.count(SlotState::Idle), silence.as_secs());
        let reason = format!(
            "{idle} of {} slots are idle, and Redis has answered no claim for {silence} s: look at the log\n",
            info.slots
        );
        return (StatusCode::SERVICE_UNAVAILABLE, reason);
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use manimq_shared::ids::WorkerId;

    use super::*;
    use crate::board::DEAF_AFTER;

    #[test]
    fn a_worker_whose_claims_get_no_answer_is_unwell_while_it_should_claim() {
        let board = Board::new(WorkerId::generate(), 2);
        let soon = || Instant::now() + DEAF_AFTER - Duration::from_secs(1);
        let late = || Instant::now() + DEAF_AFTER + Duration::from_secs(1);
        let status = |now| health(&board, now).0;
        assert_eq!(status(late()), StatusCode::OK, "its slots are starting");
        board.set(0, SlotState::Idle);
        assert_eq!(status(soon()), StatusCode::OK);
        let (code, reason) = health(&board, late());
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            reason.starts_with("1 of 2 slots are idle, and Redis has answered no claim for 76 s"),
            "{reason}"
        );
        board.answered();
        assert_eq!(status(soon()), StatusCode::OK);
        board.set(0, SlotState::Busy);
        assert_eq!(
            status(late()),
            StatusCode::OK,
            "it has nothing to claim for"
        );
        board.set(0, SlotState::Idle);
        board.set_drained(true);
        assert_eq!(status(late()), StatusCode::OK, "it shall not claim");
        board.set_drained(false);
        assert_eq!(status(soon()), StatusCode::OK);
        assert_eq!(status(late()), StatusCode::SERVICE_UNAVAILABLE);
    }
}
