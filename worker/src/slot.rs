//! A slot: one sandbox connection that renders one job at a time, for as long as the worker lives.

use std::time::{Duration, Instant};

use manimq_shared::queue::Claim;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::attempt::{self, Context};
use crate::board::SlotState;
use crate::sandbox::{ConnectError, RecycleCause, Sandbox};

/// Pause before a failed sandbox is connected again: doubles from the first to the second.
const QUARANTINE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A slot that waits for a job says so by sending one of these.
pub type Ready = oneshot::Sender<Claim>;

/// Lives until `stop` is cancelled: connect, then render job after job; on a failure of the
/// sandbox pause and connect again. A panic costs one attempt, not the slot.
pub async fn live<S, Connect, Connecting>(
    index: usize,
    context: Context,
    connect: Connect,
    ready: mpsc::Sender<Ready>,
    stop: CancellationToken,
) where
    S: Sandbox + 'static,
    Connect: Fn(usize) -> Connecting,
    Connecting: Future<Output = Result<S, ConnectError>>,
{
    let mut pause = QUARANTINE.0;
    while !stop.is_cancelled() {
        context.board.set(index, SlotState::Starting);
        let began = Instant::now();
        let connected = tokio::select! {
            connected = connect(index) => connected,
            () = stop.cancelled() => break,
        };
        match &connected {
            Ok(_) => context.metrics.sandbox_started(began.elapsed()),
            Err(_) => context.metrics.recycled(RecycleCause::Start),
        }
        let trouble = match connected {
            Ok(sandbox) => {
                pause = QUARANTINE.0;
                let versions = serde_json::to_string(sandbox.versions()).unwrap_or_default();
                context.board.renderer(versions);
                let serving = serve(index, context.clone(), sandbox, ready.clone(), stop.clone());
                match tokio::spawn(serving).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => format!("a bug ended an attempt: {panic}"),
                }
            }
            Err(error) => error.to_string(),
        };
        tracing::error!(slot.index = index, retry_in = ?pause, "slot {index} has no sandbox: {trouble}");
        context.board.trouble(trouble);
        context.board.set(index, SlotState::Quarantined);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => break,
        }
        pause = (pause * 2).min(QUARANTINE.1);
    }
    context.board.set(index, SlotState::Stopped);
}

/// Renders job after job until `stop` (then `Ok`) or until the sandbox cannot be made ready.
async fn serve<S: Sandbox>(
    index: usize,
    context: Context,
    mut sandbox: S,
    ready: mpsc::Sender<Ready>,
    stop: CancellationToken,
) -> Result<(), ConnectError> {
    loop {
        context.board.set(index, SlotState::Starting);
        let reset = tokio::select! {
            reset = sandbox.reset() => reset,
            () = stop.cancelled() => break,
        };
        if let Err(error) = reset {
            context.metrics.recycled(RecycleCause::Start);
            sandbox.close().await;
            return Err(error);
        }
        if let Some(recycled) = sandbox.take_recycled() {
            context.metrics.recycled(recycled.cause);
            context.metrics.sandbox_started(recycled.took);
        }
        context.board.set(index, SlotState::Idle);
        let (sender, mut claim) = oneshot::channel();
        if ready.send(sender).await.is_err() {
            break;
        }
        // No `stop` here: a claim may be on its way, and the claimer lets waiting slots go.
        let claim = tokio::select! {
            biased;
            claim = &mut claim => claim.ok(),
            () = sandbox.gone() => {
                tracing::warn!(slot.index = index, "the sandbox of slot {index} died while it waited for a job");
                claim.close();
                match claim.try_recv() {
                    // The render finds no sandbox, and starts one.
                    Ok(claim) => Some(claim),
                    Err(_) => {
                        // What killed it may kill the next one: not as fast as one starts after another.
                        context.board.set(index, SlotState::Quarantined);
                        tokio::select! {
                            () = tokio::time::sleep(QUARANTINE.0) => continue,
                            () = stop.cancelled() => break,
                        }
                    }
                }
            }
        };
        let Some(claim) = claim else {
            break;
        };
        context.board.set(index, SlotState::Busy);
        attempt::run(&context, &mut sandbox, claim).await;
    }
    sandbox.close().await;
    Ok(())
}
