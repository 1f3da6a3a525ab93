//! Follows what a program of ours says, over as many streams as it takes.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::data::Data;
use super::error::{ApiError, Kind};
use super::frames::{Frames, Gap};

/// The server says `[keepalive]` every 30 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Streams that are opened for one process, at most. Some servers cut them every ten minutes.
const STREAMS_MAX: u32 = 60;
/// How often the whole output is read because a stream was damaged.
const CATCH_UPS_MAX: u32 = 20;
/// Pause before the next stream.
const PAUSE: Duration = Duration::from_millis(200);
/// All that is read for one process: the scene's output is cut long before.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The frames of one process, in order, none twice.
#[derive(Debug)]
pub(super) struct Follower {
    data: Data,
    name: String,
    stream: Option<Response>,
    frames: Frames,
    ready: VecDeque<Value>,
    streams: u32,
    catch_ups: u32,
    bytes: u64,
    over: bool,
}

/// A process that is followed. Dropping it stops that, not the process.
#[derive(Debug)]
pub(super) struct Following {
    said: mpsc::Receiver<Result<Option<Value>, ApiError>>,
    task: JoinHandle<()>,
}

impl Following {
    /// The next thing that it says; `None` when it has ended and nothing is left. May be dropped
    /// at any time and called again.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, ApiError> {
        self.said.recv().await.unwrap_or(Ok(None))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // One that is just reading the end of its stream is left to do so.
        self.said.close();
        if !self.task.is_finished() {
            let task = self.task.abort_handle();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                task.abort();
            });
        }
    }
}

impl Follower {
    pub(super) fn new(data: Data, name: String) -> Self {
        Self {
            data,
            name,
            stream: None,
            frames: Frames::default(),
            ready: VecDeque::new(),
            streams: 0,
            catch_ups: 0,
            bytes: 0,
            over: false,
        }
    }

    /// Follows in a task of its own, so that who listens may do other things between.
    pub(super) fn begin(mut self) -> Following {
        let (sender, said) = mpsc::channel(64);
        let task = tokio::spawn(async move {
            loop {
                let next = self.next().await;
                let is_last = !matches!(next, Ok(Some(_)));
                if sender.send(next).await.is_err() {
                    // Nobody listens any more: what is left is read, so that the connection can
                    // be used again.
                    self.drain().await;
                    return;
                }
                if is_last {
                    return;
                }
            }
        });
        Following { said, task }
    }

    /// The next thing that it says; `None` when it has ended and nothing is left.
    async fn next(&mut self) -> Result<Option<Value>, ApiError> {
        loop {
            if let Some(value) = self.ready.pop_front() {
                return Ok(Some(value));
            }
            if self.over {
                return Ok(None);
            }
            let Some(stream) = &mut self.stream else {
                self.open().await?;
                continue;
            };
            match timeout(SILENCE_MAX, stream.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    self.bytes += bytes.len() as u64;
                    if self.bytes > BYTES_MAX {
                        return Err(self.error(Kind::Garbled, "it says far too much"));
                    }
                    let ready = &mut self.ready;
                    if self.frames.push(&bytes, |value| ready.push_back(value)) == Gap::Missing {
                        self.catch_up().await?;
                    }
                }
                Ok(Ok(None) | Err(_)) | Err(_) => {
                    self.stream = None;
                    self.frames.begin_again();
                    self.see_whether_it_ended().await?;
                }
            }
        }
    }

    async fn drain(&mut self) {
        if let Some(stream) = &mut self.stream {
            let rest = async { while let Ok(Some(_)) = stream.chunk().await {} };
            let _ = timeout(Duration::from_secs(1), rest).await;
        }
    }

    async fn open(&mut self) -> Result<(), ApiError> {
        if self.streams >= STREAMS_MAX {
            return Err(self.error(Kind::NoAnswer, "its streams break again and again"));
        }
        if self.streams > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        self.streams += 1;
        match self.data.follow(&self.name).await {
            Ok(stream) => self.stream = Some(stream),
            Err(error) if error.is_passing() => self.see_whether_it_ended().await?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// After the end of a stream, which may have been cut.
    async fn see_whether_it_ended(&mut self) -> Result<(), ApiError> {
        if self.data.process(&self.name).await?.has_ended() {
            self.catch_up().await?;
            self.over = true;
        }
        Ok(())
    }

    /// Reads the whole output, which is never damaged.
    async fn catch_up(&mut self) -> Result<(), ApiError> {
        self.catch_ups += 1;
        if self.catch_ups > CATCH_UPS_MAX {
            return Err(self.error(Kind::Garbled, "its streams are damaged again and again"));
        }
        let logs = self.data.logs(&self.name).await?;
        self.frames.begin_again();
        let text = logs.stdout.unwrap_or_default();
        let ready = &mut self.ready;
        let gap = self
            .frames
            .push(text.as_bytes(), |value| ready.push_back(value));
        self.frames.begin_again();
        match gap {
            Gap::None => Ok(()),
            Gap::Missing => Err(self.error(Kind::Garbled, "a part of its output is lost")),
        }
    }

    fn error(&self, kind: Kind, what: &str) -> ApiError {
        ApiError::new("following a process", kind, what)
    }
}
