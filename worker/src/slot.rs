//! A slot: one sandbox connection that renders one job at a time, for as long as the worker lives.

use std::time::Duration;

use manimq_shared::queue::Claim;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::attempt::{self, Context};
use crate::board::SlotState;
use crate::sandbox::{ConnectError, Sandbox};

/// Pause before a failed sandbox is connected again: doubles from the first to the second.
const QUARANTINE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A slot that waits for a job says so by sending one of these.
pub type Ready = oneshot::Sender<Claim>;

/// Lives until `stop` is cancelled: connect, then render job after job; on a failure of the
/// sandbox pause and connect again.
pub async fn live<S, Connect, Connecting>(
    index: usize,
    context: Context,
    connect: Connect,
    ready: mpsc::Sender<Ready>,
    stop: CancellationToken,
) where
    S: Sandbox,
    Connect: Fn(usize) -> Connecting,
    Connecting: Future<Output = Result<S, ConnectError>>,
{
    let mut pause = QUARANTINE.0;
    while !stop.is_cancelled() {
        context.board.set(index, SlotState::Starting);
        let connected = tokio::select! {
            connected = connect(index) => connected,
            () = stop.cancelled() => break,
        };
        let error = match connected {
            Ok(sandbox) => {
                match serve(index, &context, sandbox, &ready, &stop, &mut pause).await {
                    Ok(()) => break,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        tracing::error!(slot.index = index, error = %error, retry_in = ?pause, "slot {index} has no sandbox");
        context.board.trouble(error.to_string());
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
    context: &Context,
    mut sandbox: S,
    ready: &mpsc::Sender<Ready>,
    stop: &CancellationToken,
    pause: &mut Duration,
) -> Result<(), ConnectError> {
    loop {
        let reset = tokio::select! {
            reset = sandbox.reset() => reset,
            () = stop.cancelled() => break,
        };
        if let Err(error) = reset {
            sandbox.close().await;
            return Err(error);
        }
        *pause = QUARANTINE.0;
        context.board.set(index, SlotState::Idle);
        let (sender, mut claim) = oneshot::channel();
        if ready.send(sender).await.is_err() {
            break;
        }
        // A claim that was already on its way when the stop came is received: the claimer
        // drops the sender of a slot that it gives nothing.
        let Ok(claim) = (&mut claim).await else {
            break;
        };
        context.board.set(index, SlotState::Busy);
        attempt::run(context, &mut sandbox, claim).await;
        context.board.set(index, SlotState::Starting);
    }
    sandbox.close().await;
    Ok(())
}
