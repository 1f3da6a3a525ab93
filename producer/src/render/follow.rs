//! Follows one job to its end: through restarts of the server, broken streams and proxies that
//! do not stream, and through the user's Ctrl-C.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use manimq_shared::api::JobView;
use manimq_shared::ids::JobId;
use manimq_shared::job::Status;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::progress::JobDisplay;
use crate::client::{Backoff, Client, ClientError, Event, News};
use crate::exit::{Exit, Failure};

/// How long the server may be away before the job is given up (it goes on without us).
const AWAY_MAX: Duration = Duration::from_secs(120);
/// How long it may be away before that is worth a word.
const AWAY_SILENT: Duration = Duration::from_secs(2);
/// How often a waiting job's place in the queue is asked for.
const PLACE_EVERY: Duration = Duration::from_secs(2);
/// How long a job may wait for a slot before the server is asked whether any could take it.
const SLOT_SILENT: Duration = Duration::from_secs(5);
/// Longest wait for a cancelled job to end.
const CANCEL_MAX: Duration = Duration::from_secs(20);
/// Lines of the scene's output that are kept for a failure.
pub const TAIL_LINES: usize = 20;

/// What the scene printed, as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logs {
    /// Shown up to a bound.
    Some,
    /// All shown.
    All,
    /// Only the tail, when the job failed.
    OnFailure,
}

/// The end of a job, and the last lines that its scene printed (empty if they were shown).
#[derive(Debug)]
pub struct Ended {
    /// The job, terminal.
    pub job: JobView,
    /// The last lines that were not shown yet.
    pub tail: Vec<String>,
}

/// Follows one job.
pub struct Follower<'a> {
    /// The server.
    pub client: &'a Client,
    /// Where to show it.
    pub display: &'a JobDisplay<'a>,
    /// Cancelled by the first Ctrl-C.
    pub interrupt: &'a CancellationToken,
    /// When to stop waiting.
    pub give_up_at: Instant,
    /// What to show of the scene's output.
    pub logs: Logs,
}

#[derive(Default)]
struct Seen {
    after: Option<String>,
    tail: VecDeque<String>,
    running: bool,
    canceling: bool,
    /// Whether it was told why no slot takes the job.
    told_why: bool,
    /// Whether it was told what an operator has paused.
    told_paused: bool,
}

impl Follower<'_> {
    /// Waits for the end of a job that [`Client::submit`] returned.
    ///
    /// # Errors
    /// The wait ended before the job: interrupted, timed out, or the server went away.
    pub async fn follow(&self, job: &JobView) -> Result<Ended, Failure> {
        let id = job.id;
        let seen = std::cell::RefCell::new(Seen::default());
        let mut watch = pin!(self.watch(job, &seen));
        tokio::select! {
            ended = &mut watch => return ended,
            () = tokio::time::sleep_until(self.give_up_at) => return Err(timed_out(id)),
            () = self.interrupt.cancelled() => {}
        }
        seen.borrow_mut().canceling = true;
        self.display
            .status("canceling (Ctrl-C again leaves at once)");
        let mut cancel = pin!(tokio::time::timeout(CANCEL_MAX, self.cancel(id)));
        let mut told = false;
        let deadline = Instant::now() + CANCEL_MAX;
        loop {
            tokio::select! {
                ended = &mut watch => return ended,
                answer = &mut cancel, if !told => {
                    // The watch sees the end; what matters here is that the server was told.
                    match answer {
                        Ok(Ok(())) => told = true,
                        Ok(Err(error)) => return Err(Failure::from(error).hint(still_there(id))),
                        Err(_) => return Err(not_canceled(id)),
                    }
                }
                () = tokio::time::sleep_until(deadline) => return Err(not_canceled(id)),
            }
        }
    }

    async fn cancel(&self, id: JobId) -> Result<(), ClientError> {
        let mut backoff = Backoff::new();
        loop {
            match self.client.cancel(id).await {
                Ok(_) => return Ok(()),
                Err(error) if is_final(&error) => return Err(error),
                Err(_) => tokio::time::sleep(backoff.wait()).await,
            }
        }
    }

    async fn watch(
        &self,
        job: &JobView,
        seen: &std::cell::RefCell<Seen>,
    ) -> Result<Ended, Failure> {
        let id = job.id;
        let ended = |job: JobView| Ended {
            job,
            tail: seen.take().tail.into(),
        };
        if job.status.is_terminal() {
            return Ok(ended(job.clone()));
        }
        self.show(job, seen);
        let mut backoff = Backoff::new();
        let began = Instant::now();
        let mut contact = Instant::now();
        loop {
            let after = seen.borrow().after.clone();
            if let Ok(mut events) = self.client.events(id, after.as_deref()).await {
                contact = Instant::now();
                let mut tick = tokio::time::interval_at(contact + PLACE_EVERY, PLACE_EVERY);
                tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    let queued = !seen.borrow().running;
                    let event = tokio::select! {
                        event = events.next() => event,
                        _ = tick.tick(), if queued => {
                            // Events do not tell the place in the queue; an answer that does not
                            // come is no trouble while the stream is alive.
                            if let Ok(job) = self.client.read(id).await {
                                self.show(&job, seen);
                            }
                            if began.elapsed() >= SLOT_SILENT {
                                self.say_why_it_waits(seen).await;
                            }
                            continue;
                        }
                    };
                    // A closed or broken stream: ask for the job, then connect again.
                    let Ok(Some(event)) = event else { break };
                    contact = Instant::now();
                    backoff.reset();
                    let done = matches!(event.news, News::Done);
                    self.take(event, seen);
                    if done {
                        break;
                    }
                }
            }
            match self.client.read(id).await {
                Ok(job) if job.status.is_terminal() => return Ok(ended(job)),
                Ok(job) => {
                    contact = Instant::now();
                    self.show(&job, seen);
                }
                Err(error) if error.is_not_found() => {
                    return Err(Failure::new(
                        Exit::Failed,
                        "job-lost",
                        format!("the server does not know {id} any more"),
                    )
                    .hint("it may have been started anew with other data; render again"));
                }
                Err(error) if is_final(&error) => return Err(error.into()),
                Err(error) => {
                    if contact.elapsed() > AWAY_MAX {
                        return Err(Failure::new(
                            Exit::Unreachable,
                            "server-away",
                            format!(
                                "{error}\nno answer for {} s; {id} goes on without this command",
                                AWAY_MAX.as_secs()
                            ),
                        )
                        .hint(still_there(id)));
                    }
                    if contact.elapsed() > AWAY_SILENT {
                        self.display
                            .status("the server does not answer; trying again");
                    }
                }
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Asks once why a job may be waiting for long; says it if no worker could take any job.
    async fn say_why_it_waits(&self, seen: &std::cell::RefCell<Seen>) {
        if std::mem::replace(&mut seen.borrow_mut().told_why, true) {
            return;
        }
        if let Ok((false, body)) = self.client.ready().await
            && let Ok(problem) = serde_json::from_str::<manimq_shared::api::Problem>(&body)
        {
            let screen = self.display.screen();
            let why = crate::term::visible(&problem.detail);
            screen.say(&format!("{} {why}", screen.paint().warning("warning:")));
        }
    }

    fn take(&self, event: Event, seen: &std::cell::RefCell<Seen>) {
        let mut seen = seen.borrow_mut();
        if event.id.is_some() {
            seen.after = event.id;
        }
        match event.news {
            News::Status {
                status: Some(Status::Queued),
                reason: Some(reason),
                ..
            } => {
                seen.running = false;
                let reason = crate::term::visible(&reason);
                self.display
                    .status(&format!("waiting to be tried again ({reason})"));
            }
            News::Status {
                status: Some(Status::Running),
                attempt,
                ..
            } => {
                seen.running = true;
                if !seen.canceling {
                    match attempt {
                        Some(n) if n > 1 => {
                            self.display.status(&format!("started again, attempt {n}"))
                        }
                        Some(_) => self.display.status("started"),
                        None => {}
                    }
                }
            }
            News::Progress(progress) => {
                seen.running = true;
                if !seen.canceling {
                    self.display.progress(&progress);
                }
            }
            News::Log(text) => {
                if self.logs == Logs::OnFailure {
                    for line in text.lines() {
                        if seen.tail.len() == TAIL_LINES {
                            seen.tail.pop_front();
                        }
                        seen.tail.push_back(line.to_owned());
                    }
                } else {
                    self.display.log(&text, self.logs == Logs::All);
                }
            }
            News::Warning(text) => {
                let screen = self.display.screen();
                let text = crate::term::visible(&text);
                screen.say(&format!("{} {text}", screen.paint().warning("warning:")));
            }
            News::Status { .. } | News::Done | News::Other => {}
        }
    }

    fn show(&self, job: &JobView, seen: &std::cell::RefCell<Seen>) {
        if seen.borrow().canceling {
            return;
        }
        match job.status {
            Status::Queued => {
                let text = match job.queue.as_ref() {
                    Some(queue) if queue.paused.is_some() => "waiting, paused".to_owned(),
                    Some(queue) if queue.not_before.is_some() => {
                        "waiting to be tried again".to_owned()
                    }
                    Some(queue) => match queue.position {
                        Some(1) | None => "waiting for a free slot".to_owned(),
                        Some(n) => format!("waiting, place {n} in the queue"),
                    },
                    None => "waiting".to_owned(),
                };
                self.display.status(&text);
                let paused = job.queue.as_ref().and_then(|queue| queue.paused);
                // Once for each pause.
                let told = std::mem::replace(&mut seen.borrow_mut().told_paused, paused.is_some());
                if let Some(paused) = paused.filter(|_| !told) {
                    let why = crate::admin::show::paused_words(paused, &job.tenant);
                    let screen = self.display.screen();
                    screen.say(&format!("{} {why}", screen.paint().warning("warning:")));
                }
            }
            Status::Running => {
                seen.borrow_mut().running = true;
                self.display.progress(&job.progress);
            }
            Status::Succeeded | Status::Failed | Status::Canceled | Status::Expired => {}
        }
    }
}

/// Whether trying again is useless: the server understood and refuses.
fn is_final(error: &ClientError) -> bool {
    matches!(error, ClientError::Problem { problem, .. } if matches!(problem.status, 400..=404))
}

fn still_there(id: JobId) -> String {
    format!("look after it with `manimq get {id}`, stop it with `manimq cancel {id}`")
}

fn timed_out(id: JobId) -> Failure {
    Failure::new(
        Exit::WaitTimedOut,
        "wait-timed-out",
        format!("{id} has not ended within --wait-timeout; it goes on"),
    )
    .hint(still_there(id))
}

fn not_canceled(id: JobId) -> Failure {
    Failure::new(
        Exit::Canceled,
        "cancel-unconfirmed",
        format!(
            "{id} has not ended {} s after it was asked to",
            CANCEL_MAX.as_secs()
        ),
    )
    .hint(still_there(id))
}
