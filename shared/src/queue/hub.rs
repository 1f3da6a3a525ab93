//! Hints: one pub/sub connection per process tells waiting tasks that something has news.
//!
//! A hint may be lost (Redis restarts, a cut connection); whoever waits must look for itself
//! after a bounded time as well. What it saves is the polling in between.
//!
//! A connection on which nothing comes may be quiet or dead. It is tried when another connection of
//! the process was lost, and now and then.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use redis::RedisError;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::RESPONSE_TIMEOUT;
use super::connection::Shared;
use crate::keys::Topic;

/// Pause between two tries to connect, growing from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often a quiet connection is tried.
const TRY_EVERY: Duration = Duration::from_secs(60);

type Watchers = Arc<Mutex<HashMap<Topic, watch::Sender<()>>>>;
/// Length of a job's short form: a message on a channel of jobs is a row of them.
const ITEM_BYTES: usize = 22;

/// Hands out [`Watch`]es. Clones share one connection.
#[derive(Clone)]
pub struct Hub {
    watchers: Watchers,
    changes: mpsc::UnboundedSender<()>,
    _task: Arc<AbortOnDropHandle<()>>,
}

/// Interest in one topic, for as long as it lives.
pub struct Watch {
    topic: Topic,
    news: watch::Receiver<()>,
    watchers: Watchers,
    changes: mpsc::UnboundedSender<()>,
}

impl Watch {
    /// Waits for a hint. One that came since the last wait counts.
    pub async fn hinted(&mut self) {
        if self.news.changed().await.is_err() {
            // The hub is gone (the process stops); the caller's own time-out is what is left.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = self.watchers.lock().expect("no panic while locked");
        if watchers
            .get(&self.topic)
            .is_some_and(|news| news.receiver_count() == 1)
        {
            watchers.remove(&self.topic);
            let _ = self.changes.send(());
        }
    }
}

impl Hub {
    /// Starts the hub's task. It lives until the last clone of the hub is gone.
    #[must_use]
    pub fn start(shared: Arc<Shared>) -> Self {
        let watchers = Watchers::default();
        let (changes, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(shared, Arc::clone(&watchers), receiver));
        Self {
            watchers,
            changes,
            _task: Arc::new(AbortOnDropHandle::new(task)),
        }
    }

    /// Registers interest in a topic. The first hint may be for something already seen.
    #[must_use]
    pub fn watch(&self, topic: Topic) -> Watch {
        let mut watchers = self.watchers.lock().expect("no panic while locked");
        let news = if let Some(news) = watchers.get(&topic) {
            news.subscribe()
        } else {
            let (sender, receiver) = watch::channel(());
            watchers.insert(topic.clone(), sender);
            let _ = self.changes.send(());
            receiver
        };
        Watch {
            topic,
            news,
            watchers: Arc::clone(&self.watchers),
            changes: self.changes.clone(),
        }
    }
}

/// Keeps the connection's subscriptions equal to the watchers, and reconnects for ever.
async fn run(shared: Arc<Shared>, watchers: Watchers, mut changes: mpsc::UnboundedReceiver<()>) {
    let mut pause = RETRY.0;
    loop {
        let began = tokio::time::Instant::now();
        match follow(&shared, &watchers, &mut changes).await {
            Ok(()) => return,
            Err(error) => {
                // A connection that held for a while starts the pauses anew.
                if began.elapsed() > RETRY.1 {
                    pause = RETRY.0;
                }
                tracing::debug!(error = %error, "lost the hint connection, will reconnect");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }
}

async fn follow(
    shared: &Shared,
    watchers: &Watchers,
    changes: &mut mpsc::UnboundedReceiver<()>,
) -> Result<(), RedisError> {
    let (mut unrest, switches) = (shared.unrest(), shared.switches());
    let (mut sink, mut stream) = shared.subscriber().await?.split();
    let mut subscribed: HashSet<String> = HashSet::new();
    loop {
        let wanted: HashSet<String> = {
            let watchers = watchers.lock().expect("no panic while locked");
            watchers.keys().map(|topic| topic.channel.clone()).collect()
        };
        for channel in wanted.difference(&subscribed) {
            within(sink.subscribe(channel)).await?;
            // What happened before the subscription gave no hint: look once.
            wake(watchers, |topic| topic.channel == *channel);
        }
        for channel in subscribed.difference(&wanted) {
            within(sink.unsubscribe(channel)).await?;
        }
        subscribed = wanted;
        tokio::select! {
            message = stream.next() => match message {
                Some(message) => tell(watchers, message.get_channel_name(), message.get_payload_bytes()),
                None => return Err(std::io::Error::other("the connection ended").into()),
            },
            change = changes.recv() => {
                if change.is_none() {
                    return Ok(());
                }
                while changes.try_recv().is_ok() {}
            }
            _ = unrest.changed() => {
                if shared.switches() != switches {
                    return Err(std::io::Error::other("Redis has another master now").into());
                }
                within(sink.ping::<redis::Value>()).await.map(drop)?;
            }
            () = tokio::time::sleep(TRY_EVERY) => within(sink.ping::<redis::Value>()).await.map(drop)?,
        }
    }
}

async fn within<T>(call: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    let answer = tokio::time::timeout(RESPONSE_TIMEOUT, call).await;
    answer.map_err(std::io::Error::from)?
}

/// Passes a message on: to those who wait for one of the items in it, and for all of the channel.
fn tell(watchers: &Watchers, channel: &str, message: &[u8]) {
    let watchers = watchers.lock().expect("no panic while locked");
    let items = message
        .chunks_exact(ITEM_BYTES)
        .map(String::from_utf8_lossy);
    for item in items.chain([Cow::Borrowed("")]) {
        let topic = Topic {
            channel: channel.to_owned(),
            item: item.into_owned(),
        };
        if let Some(news) = watchers.get(&topic) {
            news.send_replace(());
        }
    }
}

fn wake(watchers: &Watchers, which: impl Fn(&Topic) -> bool) {
    let watchers = watchers.lock().expect("no panic while locked");
    for (_, news) in watchers.iter().filter(|(topic, _)| which(topic)) {
        news.send_replace(());
    }
}
