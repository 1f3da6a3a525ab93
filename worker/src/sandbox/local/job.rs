//! One job in a local sandbox, driven from the worker.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::filters;
use super::launch::SlotProcess;
use super::slot::Slot;
use crate::sandbox::formulas::FormulaKey;
use crate::sandbox::logs::LogText;
use crate::sandbox::machine::Machine;
use crate::sandbox::request::{WALL_MAX, finished, job_message, wrote_too_much};
use crate::sandbox::wire::{self, DoneMessage, GuardMessage, Seqpacket, WorkerMessage};
use crate::sandbox::{
    Content, EventSender, RenderError, RenderEvent, RenderFailure, RenderRequest, Rendered,
    RenderedFile,
};

/// How much longer than the guard's timers the worker waits before it ends the slot:
/// the guard's grace, a TeX run being killed, the probe of a large file.
const GUARD_MARGIN: Duration = Duration::from_secs(40);
/// From `cancel` to the end of the guard.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Answers about formulas that wait for a guard: it announces at most 64 at once.
const ANSWERS_MAX: usize = 128;

pub(super) fn lost(reason: impl Into<String>) -> RenderError {
    RenderError::SandboxLost {
        reason: reason.into(),
    }
}

/// One running job, seen from the worker.
pub(super) struct Job {
    pub(super) channel: Seqpacket,
    log: pipe::Receiver,
    /// Of the job's second run, if it has one.
    next_log: Option<pipe::Receiver>,
    text: LogText,
    progress: Option<RenderEvent>,
    /// Answers about formulas that the guard has not taken yet.
    answers: VecDeque<Vec<u8>>,
    artifacts: Vec<RenderedFile>,
    /// What the guard said last: the outcome.
    outcome: Option<Result<DoneMessage, RenderFailure>>,
    machine: Machine,
    /// Why the worker ends it.
    ending: Option<Ending>,
    log_open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Interrupted,
    LogLimit,
}

impl Job {
    pub(super) async fn start(slot: &mut Slot, request: &RenderRequest) -> io::Result<Self> {
        let message = serde_json::to_vec(&job_message(request))?;
        let (channel, log) = if let Some(files) = &request.files {
            // What comes with a scene lies on disk and would fill the waiting guard's file in memory.
            slot.dismiss_spare().await?;
            let content = files.with_source(&request.source)?;
            let (channel, log) = slot.fork_guard(content.as_fd()).await?;
            channel.send(&message, &[]).await?;
            (channel, log)
        } else {
            let mut spare = slot.take_spare().await?;
            filters::fill(&mut spare.source, request.source.as_bytes())?;
            if let Err(error) = spare.channel.send(&message, &[]).await {
                // A machine that ran out of memory ends first who only waits.
                tracing::warn!(error = %error, "the waiting guard is gone; another one is forked");
                spare = slot.fork_spare().await?;
                filters::fill(&mut spare.source, request.source.as_bytes())?;
                spare.channel.send(&message, &[]).await?;
            }
            (spare.channel, spare.log)
        };
        Ok(Self {
            channel,
            log,
            next_log: None,
            text: LogText::default(),
            progress: None,
            answers: VecDeque::new(),
            artifacts: Vec::new(),
            outcome: None,
            machine: Machine::default(),
            ending: None,
            log_open: true,
        })
    }

    /// Drives the job until the guard has said what came of it, and is gone if it had to end it.
    pub(super) async fn run(
        &mut self,
        process: &SlotProcess,
        request: &RenderRequest,
        events: &EventSender,
    ) -> Result<Rendered, RenderError> {
        let wall = request.limits.wall.min(WALL_MAX);
        let mut deadline = tokio::time::Instant::now() + wall + GUARD_MARGIN;
        let mut chunk = vec![0; 64 * 1024];
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The job is dead when its guard tells the outcome; what that has to tidy up is waited
        // for before the next one.
        while self.outcome.is_none() || self.ending.is_some() {
            tokio::select! {
                // A guard's last messages come before its end of file.
                received = self.channel.receive() => match received {
                    Ok(Some((message, fds))) => self.take(&message, fds, request, events)?,
                    Ok(None) => break,
                    Err(error) => return Err(lost(format!("the guard's channel: {error}"))),
                },
                read = self.log.read(&mut chunk), if self.log_open => match read {
                    Ok(count) if count > 0 => {
                        self.text.push(&chunk[..count]);
                        if self.text.read_bytes() > request.limits.log_bytes {
                            self.end(Ending::LogLimit, &mut deadline).await?;
                        }
                    }
                    Ok(_) | Err(_) => self.log_ended(),
                },
                // In a turn of its own, so that neither side waits for the other to read.
                sent = self.channel.send(self.answers.front().map_or(&[], Vec::as_slice), &[]),
                    if !self.answers.is_empty() =>
                {
                    self.answers.pop_front();
                    // A guard that has just ended needs no answer.
                    if sent.is_err() {
                        self.answers.clear();
                    }
                }
                _ = tick.tick() => self.text.offer(&mut self.progress, events),
                () = request.stop.cancelled(), if self.ending.is_none() => {
                    self.end(Ending::Interrupted, &mut deadline).await?;
                }
                () = process.ended() => return Err(lost("the zygote ended during the job")),
                () = tokio::time::sleep_until(deadline) => {
                    return Err(lost("the guard did not answer in time; the slot was ended"));
                }
            }
        }
        self.publish_last(events, &mut chunk).await;
        self.verdict(request)
    }

    /// All of a run's text is read; another run may follow it.
    fn log_ended(&mut self) {
        match self.next_log.take() {
            Some(next) => {
                self.log = next;
                self.log_open = true;
                self.text.begin_again();
            }
            None => self.log_open = false,
        }
    }

    /// Asks the guard to kill the job, once.
    async fn end(
        &mut self,
        why: Ending,
        deadline: &mut tokio::time::Instant,
    ) -> Result<(), RenderError> {
        if self.ending.is_none() {
            self.ending = Some(why);
            *deadline = tokio::time::Instant::now() + INTERRUPT_TIMEOUT;
            self.answers.clear();
            let cancel = serde_json::to_vec(&WorkerMessage::Cancel)
                .map_err(|error| lost(error.to_string()))?;
            match self.channel.send(&cancel, &[]).await {
                Ok(()) => {}
                // It has just ended by itself.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) => return Err(lost(format!("the guard's channel: {error}"))),
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        message: &[u8],
        fds: Vec<OwnedFd>,
        request: &RenderRequest,
        events: &EventSender,
    ) -> Result<(), RenderError> {
        let message = serde_json::from_slice(message)
            .map_err(|error| lost(format!("the guard said something unknown: {error}")))?;
        match message {
            GuardMessage::Started => {
                let _ = events.offer(RenderEvent::Started);
            }
            GuardMessage::Again => {
                let fd = fds
                    .into_iter()
                    .next()
                    .ok_or_else(|| lost("another run without its log"))?;
                self.next_log = pipe::Receiver::from_owned_fd(fd)
                    .map(Some)
                    .map_err(|error| lost(format!("the log of another run: {error}")))?;
                if !self.log_open {
                    self.log_ended();
                }
            }
            GuardMessage::Progress(progress) => {
                self.progress = Some(RenderEvent::Progress(progress));
                self.text.offer(&mut self.progress, events);
            }
            GuardMessage::Still(still) => {
                if let Some(still) = still.picture() {
                    let _ = events.offer(RenderEvent::Still(still));
                }
            }
            GuardMessage::Artifact(artifact) => {
                let fd = fds
                    .into_iter()
                    .next()
                    .ok_or_else(|| lost("an artifact without a file"))?;
                self.artifacts
                    .push(artifact.rendered(Content::Here(fd.into())));
            }
            GuardMessage::Failed(failed) => {
                self.machine.disk_least_bytes = failed.disk_free_bytes;
                self.outcome = Some(Err(failed.failure));
            }
            GuardMessage::Done(done) => self.outcome = Some(Ok(done)),
            GuardMessage::Interrupted => {}
            GuardMessage::FormulaWanted { key } => self.answer(request, &key)?,
            GuardMessage::FormulaMade { key, svg } => {
                if let (Some(shelf), Some(key)) = (&request.formulas, FormulaKey::parse(&key)) {
                    shelf.put(key, &svg);
                }
            }
        }
        Ok(())
    }

    /// Says whether a formula was set for this tenant before, with its picture.
    fn answer(&mut self, request: &RenderRequest, key: &str) -> Result<(), RenderError> {
        if self.answers.len() >= ANSWERS_MAX {
            return Ok(()); // the guard waits a moment, then sets it
        }
        let kept = request.formulas.as_ref().zip(FormulaKey::parse(key));
        let picture = kept.and_then(|(shelf, key)| shelf.get(key));
        let svg = picture.as_deref();
        let message = serde_json::to_vec(&WorkerMessage::Formula { key, svg })
            .map_err(|error| lost(error.to_string()))?;
        // Pictures come in messages of the same limit, so they fit.
        debug_assert!(message.len() < wire::MESSAGE_BYTES_MAX);
        self.answers.push_back(message);
        Ok(())
    }

    /// Passes on what is left: the job is dead, so the pipe ends.
    async fn publish_last(&mut self, events: &EventSender, chunk: &mut [u8]) {
        while self.log_open {
            match tokio::time::timeout(Duration::from_secs(1), self.log.read(chunk)).await {
                Ok(Ok(count)) if count > 0 => self.text.push(&chunk[..count]),
                Ok(_) | Err(_) => self.log_ended(),
            }
        }
        self.text.offer_last(&mut self.progress, events).await;
    }

    fn verdict(&mut self, request: &RenderRequest) -> Result<Rendered, RenderError> {
        match (self.ending, self.outcome.take()) {
            (Some(Ending::Interrupted), _) => Err(RenderError::Interrupted),
            (Some(Ending::LogLimit), _) => Err(wrote_too_much(request).into()),
            (None, Some(Ok(done))) if !self.artifacts.is_empty() => {
                let artifacts = std::mem::take(&mut self.artifacts);
                Ok(finished(done, artifacts, request))
            }
            (None, Some(Err(failure))) => {
                match self.machine.is_to_blame(&failure, &request.limits) {
                    Some(why) => Err(lost(why)),
                    None => Err(failure.into()),
                }
            }
            (None, Some(Ok(_)) | None) => Err(lost("the guard ended without a result")),
        }
    }
}
