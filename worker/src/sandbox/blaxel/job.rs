//! One render in a sandbox of Blaxel's, from its files to its verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::data::ProcessSpec;
use super::error::{ApiError, Kind};
use super::follow::{Follower, Following};
use super::keeper::Keeper;
use super::output::RemoteFile;
use super::place::{Opened, PlaceConfig, quoted, unique};
use super::said::{Artifact, Said};
use super::tenancy::Guest;
use crate::sandbox::logs::LogText;
use crate::sandbox::machine::{DISK_MIN_BYTES, Machine};
use crate::sandbox::request::{VERIFY, finished, job_message, wrote_too_much};
use crate::sandbox::wire::DoneMessage;
use crate::sandbox::{
    Content, EventSender, RenderError, RenderEvent, RenderFailure, RenderRequest, Rendered,
    RenderedFile,
};

/// How much longer than the guard's own timers a job is waited for: its end, the copy of its
/// results, and a sandbox that was frozen for a moment.
const MARGIN: Duration = Duration::from_secs(60);
/// The sandbox ends a job that nobody ends.
const KILL_PAUSE: Duration = Duration::from_secs(5);
const LAST_MARGIN: Duration = Duration::from_secs(120);
/// From asking a job to end to its last word.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(10);
/// No job runs longer, whatever its limits say.
const WALL_MAX: Duration = Duration::from_secs(3600 + 600);
/// Results of one job; a store takes 16 files.
const ARTIFACTS_MAX: usize = 16;

/// What is left of a job in the sandbox until it is tidied up.
#[derive(Debug)]
pub(super) struct Remains {
    pub folder: String,
    pub process: String,
}

/// How a job went.
pub(super) struct Gone {
    pub result: Result<Rendered, RenderError>,
    /// Room that was left on the sandbox's disk at its end.
    pub disk_free_bytes: Option<u64>,
    /// Its program has said all it had to say: the next job may knock.
    pub settled: bool,
}

/// One running job, seen from the worker.
struct Job<'a> {
    opened: &'a Arc<Opened>,
    request: &'a RenderRequest,
    folder: &'a str,
    text: LogText,
    progress: Option<RenderEvent>,
    artifacts: Vec<RenderedFile>,
    outcome: Option<Result<DoneMessage, RenderFailure>>,
    ending: Option<String>,
    guest: Option<Arc<Guest>>,
    disk_free_bytes: Option<u64>,
    machine: Machine,
    over: bool,
}

/// Renders in the sandbox; `remains` is noted before anything is there.
pub(super) async fn run(
    opened: &Arc<Opened>,
    keeper: &Keeper,
    config: &PlaceConfig,
    request: &RenderRequest,
    events: &EventSender,
    remains: &mut Option<Remains>,
    guest: Option<Arc<Guest>>,
) -> Gone {
    let name = unique(if request.job_id == VERIFY {
        "verify"
    } else {
        "render"
    });
    let folder = format!(
        "{}/jobs/{}-{}-{name}",
        config.folder, request.job_id, request.attempt
    );
    *remains = Some(Remains {
        folder: folder.clone(),
        process: name.clone(),
    });
    let mut job = Job {
        opened,
        request,
        folder: &folder,
        text: LogText::default(),
        progress: None,
        artifacts: Vec::new(),
        outcome: None,
        ending: None,
        guest,
        disk_free_bytes: None,
        machine: Machine::default(),
        over: false,
    };
    let wall = request.limits.wall.min(WALL_MAX);
    // Nothing runs yet: who gives up now leaves no more than files.
    let brought = tokio::select! {
        brought = job.bring(config) => brought.map(Some),
        () = request.stop.cancelled() => Ok(None),
    };
    let started = match brought {
        Ok(Some(())) => job.start(&name, keeper, wall).await.map(Some),
        other => other,
    };
    let result = match started {
        Ok(Some(())) => job.follow(&name, wall, events).await,
        Ok(None) => {
            job.over = true;
            Err(RenderError::Interrupted)
        }
        Err(error) => Err(lost(format!("the job could not be started: {error}"))),
    };
    if !job.over {
        // Nobody knows whether it runs.
        let killed = tokio::time::timeout(INTERRUPT_TIMEOUT, opened.data.kill(&name)).await;
        if !matches!(killed, Ok(Ok(_)))
            && let Some(guest) = job.guest.take()
        {
            let (opened, name, most) = (opened.clone(), name.clone(), wall + MARGIN + LAST_MARGIN);
            tokio::spawn(tokio::time::timeout(most, stay(guest, opened, name)));
        }
    }
    let result = match result {
        Err(RenderError::SandboxLost { .. }) if request.stop.is_cancelled() => {
            Err(RenderError::Interrupted)
        }
        other => other,
    };
    Gone {
        result,
        disk_free_bytes: job.disk_free_bytes,
        settled: job.over,
    }
}

/// Keeps the tenant in the sandbox until a kill was heard there: who is let in next would render beside the job.
async fn stay(guest: Arc<Guest>, opened: Arc<Opened>, name: String) {
    while opened.data.kill(&name).await.is_err() {
        tokio::time::sleep(KILL_PAUSE).await;
    }
    drop(guest);
}

impl Job<'_> {
    /// Writes what it needs into the sandbox.
    async fn bring(&self, config: &PlaceConfig) -> Result<(), ApiError> {
        let (request, folder, data) = (self.request, self.folder, &self.opened.data);
        let mut parts = Vec::new();
        if let Some(files) = &request.files {
            let size = files.entries.iter().map(|file| file.bytes).sum();
            let path = format!("{folder}/files");
            data.write_file(&path, &files.content, 0, size).await?;
            parts.push("files");
        }
        parts.push("scene");
        let tex = request.formulas.as_ref().map(|shelf| {
            let hash = crate::upload::hex_text(&Sha256::digest(shelf.tenant()));
            format!("{}/tex/{hash}", config.folder)
        });
        let asked = serde_json::json!({
            "spec": job_message(request),
            "parts": parts,
            "log_bytes": request.limits.log_bytes,
            "disk_min_bytes": DISK_MIN_BYTES,
            "tex": tex,
        });
        let texts = BTreeMap::from([
            ("job.json".to_owned(), asked.to_string()),
            ("scene".to_owned(), request.source.to_string()),
        ]);
        data.write_texts(folder, &texts).await
    }

    /// Starts it. Not given up half-way: nobody would know whether it runs.
    async fn start(&self, name: &str, keeper: &Keeper, wall: Duration) -> Result<(), ApiError> {
        let (folder, stop) = (self.folder, &self.request.stop);
        // Who claims the folder first runs; a start that arrives twice runs once.
        let command = format!(
            "mkdir {folder}/claim && exec {} -I -S -B {}/inside/job.py {} {folder} 2>{folder}/errors",
            quoted(&self.opened.python),
            quoted(&self.opened.renderer),
            quoted(&keeper.door),
            folder = quoted(folder),
        );
        let spec = ProcessSpec::new(name.to_owned(), command, wall + MARGIN + LAST_MARGIN);
        let given_up = async {
            stop.cancelled().await;
            tokio::time::sleep(INTERRUPT_TIMEOUT).await;
        };
        tokio::select! {
            started = self.opened.data.start(&spec) => started.map(|_| ()),
            () = given_up => Err(ApiError::new("starting a job", Kind::NoAnswer, "it was to end meanwhile")),
        }
    }

    /// Listens until it has ended.
    async fn follow(
        &mut self,
        name: &str,
        wall: Duration,
        events: &EventSender,
    ) -> Result<Rendered, RenderError> {
        let data = &self.opened.data;
        let stop = self.request.stop.clone();
        let mut deadline = Instant::now() + wall + MARGIN;
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut said: Following = Follower::new(data.clone(), name.to_owned()).begin();
        let mut stopping = false;
        while !self.over {
            tokio::select! {
                next = said.next() => match next {
                    Ok(Some(value)) => {
                        let said = serde_json::from_value(value)
                            .map_err(|error| lost(format!("it said something unknown: {error}")))?;
                        self.take(said, events)?;
                    }
                    Ok(None) => {
                        self.over = true;
                        if self.outcome.is_none() && !stopping {
                            return Err(lost(self.last_words(name).await));
                        }
                    }
                    Err(error) => return Err(lost(format!("its words do not arrive: {error}"))),
                },
                _ = tick.tick() => self.text.offer(&mut self.progress, events),
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    deadline = Instant::now() + INTERRUPT_TIMEOUT;
                    match tokio::time::timeout_at(deadline, data.stop(name)).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return Err(lost(format!("it cannot be stopped: {error}"))),
                        Err(_) => return Err(lost("nobody hears that it is to stop")),
                    }
                }
                () = tokio::time::sleep_until(deadline) => {
                    return Err(lost("it did not end in time"));
                }
            }
        }
        self.text.offer_last(&mut self.progress, events).await;
        if stopping {
            return Err(RenderError::Interrupted);
        }
        self.verdict()
    }

    fn take(&mut self, said: Said, events: &EventSender) -> Result<(), RenderError> {
        match said {
            Said::Started => {
                let _ = events.offer(RenderEvent::Started);
            }
            Said::Progress(progress) => {
                self.progress = Some(RenderEvent::Progress(progress));
                self.text.offer(&mut self.progress, events);
            }
            Said::Still(still) => {
                if let Some(still) = still.picture() {
                    let _ = events.offer(RenderEvent::Still(still));
                }
            }
            Said::Text { bytes } => self.text.push(&STANDARD.decode(bytes).unwrap_or_default()),
            Said::Artifact(artifact) => {
                let file = self.artifact(artifact)?;
                self.artifacts.push(file);
            }
            Said::Failed(failure) => self.outcome = Some(Err(failure)),
            Said::Done(done) => self.outcome = Some(Ok(done)),
            // One run only, where no job may fork.
            Said::Again | Said::Interrupted => {}
            Said::End {
                ending,
                disk_free_bytes,
                disk_least_bytes,
                oom_kills,
            } => {
                self.ending = ending;
                self.disk_free_bytes = Some(disk_free_bytes);
                self.machine = Machine {
                    disk_least_bytes: Some(disk_least_bytes),
                    oom_kills,
                };
                self.over = true;
            }
            Said::Trouble { message } => {
                return Err(lost(super::error::harmless(&message)));
            }
        }
        Ok(())
    }

    /// A result, as far as what is said of it can be true.
    fn artifact(&self, artifact: Artifact) -> Result<RenderedFile, RenderError> {
        let Artifact {
            what,
            path,
            copied,
            sha256,
            md5,
            trouble,
        } = artifact;
        if let Some(trouble) = trouble {
            return Err(lost(format!(
                "{}; free room in the sandbox, or give it more memory",
                super::error::harmless(&trouble)
            )));
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let md5 = hex(&md5);
        let believable = self.artifacts.len() < ARTIFACTS_MAX
            && !what.name.is_empty()
            && what.name.len() <= 64
            && what.name.chars().all(plain)
            && path == format!("{}/result-{}", self.folder, self.artifacts.len())
            && copied == what.bytes
            && copied <= self.request.limits.output_bytes
            && hex::<32>(&sha256).is_some();
        let Some(md5) = md5.filter(|_| believable) else {
            return Err(lost("it told of a result that cannot be"));
        };
        Ok(what.rendered(Content::There(RemoteFile {
            opened: self.opened.clone(),
            folder: self.folder.to_owned(),
            path,
            bytes: copied,
            sha256,
            md5,
            fetched: Arc::new(OnceCell::new()),
            _guest: self.guest.clone(),
        })))
    }

    fn verdict(&mut self) -> Result<Rendered, RenderError> {
        match (self.ending.as_deref(), self.outcome.take()) {
            (Some("log_limit"), _) => Err(wrote_too_much(self.request).into()),
            (Some(_), _) => Err(lost("somebody else in the sandbox ended it")),
            (None, Some(Ok(done))) if !self.artifacts.is_empty() => {
                let artifacts = std::mem::take(&mut self.artifacts);
                Ok(finished(done, artifacts, self.request))
            }
            (None, Some(Err(failure))) => {
                match self.machine.is_to_blame(&failure, &self.request.limits) {
                    Some(why) => Err(lost(why)),
                    None => Err(failure.into()),
                }
            }
            (None, Some(Ok(_)) | None) => Err(lost("it ended without a result")),
        }
    }

    /// Why a program ended without a word, from what it left.
    async fn last_words(&self, name: &str) -> String {
        let status = match self.opened.data.process(name).await {
            Ok(process) => format!("{} ({:?})", process.status, process.exit_code),
            Err(error) => error.to_string(),
        };
        format!("its program ended without a result: {status}")
    }
}

fn lost(reason: impl Into<String>) -> RenderError {
    RenderError::SandboxLost {
        reason: reason.into(),
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}
