//! The bell: how idle workers wait for work.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::connection::Blocking;
use super::{Queue, QueueError};

/// Waits for work without polling. One per worker process.
pub struct Bell {
    /// The shards' lines on which nobody waits now.
    lines: Vec<Blocking>,
    /// The waits that go on; each ends by itself within `block` and gives its line back.
    waits: FuturesUnordered<Wait>,
    /// Longest wait on a line.
    block: Duration,
}

type Wait = Pin<Box<dyn Future<Output = (Blocking, Result<bool, QueueError>)> + Send>>;

/// Waits on the bell of one shard, at most as long as `limit`.
async fn wait_on(line: &mut Blocking, limit: Duration) -> Result<bool, QueueError> {
    Ok(line.pop(limit).await?.is_some())
}

impl Bell {
    /// Waits until the bell rings (true) or `limit` (at most [`super::PARK`]) passed. Never drop this future:
    /// the token that an abandoned wait takes is lost until the next look.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: make a new bell.
    pub async fn wait(&mut self, limit: Duration) -> Result<bool, QueueError> {
        if let ([line], true) = (&mut self.lines[..], self.waits.is_empty()) {
            return wait_on(line, limit).await;
        }
        // Several shards: a wait that this call does not see through goes on in the next one, so
        // that no token is taken in vain.
        let (end, block) = (Instant::now() + limit, self.block);
        loop {
            for mut line in self.lines.drain(..) {
                self.waits.push(Box::pin(async move {
                    let answer = wait_on(&mut line, block).await;
                    (line, answer)
                }));
            }
            match timeout_at(end, self.waits.next()).await {
                Ok(Some((line, answer))) => {
                    self.lines.push(line);
                    if answer? {
                        return Ok(true);
                    }
                }
                Ok(None) | Err(_) => return Ok(false),
            }
        }
    }

    /// What to do while nobody waits: a token that is still taken is given back, for whoever is parked. Ends
    /// only with an error, which calls for a new bell; may be dropped at any time.
    pub async fn pass_on(&mut self) -> QueueError {
        while let Some((mut line, answer)) = self.waits.next().await {
            match answer {
                Ok(false) => self.lines.push(line),
                Ok(true) => self.waits.push(Box::pin(async move {
                    let answer = line.give_back().await.map(|()| false);
                    (line, answer)
                })),
                Err(error) => return error,
            }
        }
        std::future::pending().await
    }
}

impl Queue {
    /// A waiter on the bell, with a connection of its own.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn bell(&self) -> Result<Bell, QueueError> {
        let block = self.longest_wait(false);
        let mut lines = Vec::with_capacity(self.keys.len());
        for keys in self.keys.iter() {
            lines.push(self.shared.blocking(&keys.bell(), block).await?);
        }
        Ok(Bell {
            lines,
            waits: FuturesUnordered::new(),
            block,
        })
    }
}
