//! From one scene to its file: submit, follow, download.

use std::path::{Path, PathBuf};
use std::time::Duration;

use manimq_shared::api::{JobView, RerunRequest};
use manimq_shared::job::{Format, JobInput, JobRequest, ModelPart, Status};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::follow::{self, Ended, Follower, Logs};
use super::place::{Content, NUMBER_MAX, not_another};
use super::progress::Screen;
use super::{Outcome, Plan, Which, Work, choose, report};
use crate::client::{Backoff, Client, ClientError};
use crate::exit::{Exit, Failure};
use crate::llm::REPAIRS_MAX;
use crate::prompt::shown_candidates;
use crate::term::{Paint, visible};

/// How long a submit is repeated when the server is there but not well.
const SUBMIT_PATIENCE: Duration = Duration::from_secs(60);

/// Why a submit came to nothing.
pub(super) enum Refused {
    /// The scene's name: missing, ambiguous or unknown.
    Scene {
        scenes: Vec<String>,
        failure: Failure,
    },
    /// Anything else.
    Other(Failure),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Scene { failure, .. } | Refused::Other(failure) => failure,
        }
    }
}

pub(super) fn canceled_early() -> Failure {
    Failure::new(
        Exit::Canceled,
        "canceled",
        "canceled before anything was rendered",
    )
}

/// Why a film whose name was made of its prompt cannot be put anywhere.
fn all_taken(path: &Path) -> Failure {
    let message = format!(
        "{} and its numbers up to {NUMBER_MAX} are other films, which are not replaced",
        path.display()
    );
    Failure::new(Exit::Failed, "name-taken", message)
        .hint("give this film a name of its own with -o NAME, or another folder with --media_dir")
}

/// One command at work.
pub(super) struct Session<'a> {
    pub(super) plan: &'a Plan,
    pub(super) client: &'a Client,
    pub(super) screen: &'a Screen,
    pub(super) interrupt: &'a CancellationToken,
    pub(super) give_up_at: Instant,
}

impl Session<'_> {
    fn request(&self, scene: Option<&str>) -> JobRequest {
        let plan = self.plan;
        JobRequest {
            input: plan.input.clone().unwrap_or_else(|| JobInput::Code {
                source: plan.source.text.clone(),
                scene: scene.map(str::to_owned),
                file_name: plan.source.file_name.clone(),
                files: Vec::new(),
            }),
            output: plan.output.clone(),
            lane: plan.lane,
            timeout_s: plan.timeout_s,
            deadline_s: plan.more.deadline_s,
            cache: plan.cache,
            strict: plan.strict,
            tags: plan.more.tags.clone(),
            metadata: plan.more.metadata.clone(),
        }
    }

    /// Submits a job for each scene of the plan.
    ///
    /// # Errors
    /// Nothing was accepted, or nobody was there to say which scene is meant.
    pub(super) async fn submit_all(&self) -> Result<Vec<Work>, Failure> {
        let mut work: Vec<Work> = Vec::new();
        let names = match &self.plan.which {
            Which::Named(names) => names.clone(),
            Which::All | Which::Unsaid => match self.submit(None).await {
                Ok(job) => {
                    let scene = job.shown_name().unwrap_or(&self.plan.source.shown);
                    let scene = scene.to_owned();
                    work.push((scene, Ok(job)));
                    Vec::new()
                }
                Err(Refused::Scene { scenes, .. }) if scenes.len() > 1 => match self.plan.which {
                    Which::All => scenes,
                    _ if self.plan.can_ask => tokio::select! {
                        chosen = choose::ask(&self.plan.source.shown, &scenes) => chosen?,
                        () = self.interrupt.cancelled() => return Err(canceled_early()),
                    },
                    _ => return Err(choose::list(&self.plan.source.shown, &scenes)),
                },
                Err(refused) => return Err(refused.into()),
            },
        };
        if names.len() > 1 && self.plan.place.output_file.is_some() {
            return Err(Failure::usage("-o can only be used with exactly one scene"));
        }
        for name in names {
            let submitted = match self.submit(Some(&name)).await {
                // Nothing runs yet and the others would meet the same: stop here.
                Err(refused) if work.is_empty() => return Err(refused.into()),
                other => other.map_err(Failure::from),
            };
            let stop = submitted.as_ref().is_err_and(|f| f.exit == Exit::Canceled);
            work.push((name, submitted));
            if stop {
                break;
            }
        }
        Ok(work)
    }

    /// Submits once, however often the call must be repeated: the key makes repetitions find the
    /// first one's job. A server that is not there at all is not waited for.
    pub(super) async fn submit(&self, scene: Option<&str>) -> Result<JobView, Refused> {
        let plan = self.plan;
        let request = self.request(scene);
        let key = match (&self.plan.more.key, scene) {
            (None, _) => Uuid::now_v7().simple().to_string(),
            (Some(key), Some(scene)) if self.plan.which.is_several() => format!("{key}.{scene}"),
            (Some(key), _) => key.clone(),
        };
        let started = Instant::now();
        let mut backoff = Backoff::new();
        let mut was_there = false;
        let mut told = false;
        let display = self.screen.job(scene.unwrap_or(&self.plan.source.shown));
        loop {
            if self.interrupt.is_cancelled() {
                return Err(Refused::Other(canceled_early()));
            }
            // Not raced against Ctrl-C: a job that was accepted must be known to be cancelled.
            let files = &plan.with.files;
            let error = match self.client.submit_with(&request, files, &key).await {
                Ok(job) => return Ok(job),
                Err(error) => error,
            };
            was_there |= !matches!(error, ClientError::Unreachable { .. });
            if !(was_there && error.is_passing()) || started.elapsed() > SUBMIT_PATIENCE {
                return Err(self.refused(error, scene));
            }
            if !std::mem::replace(&mut told, true) {
                display.status(&format!("{}; trying again", visible(&error.to_string())));
            }
            let wait = error
                .retry_after()
                .unwrap_or_else(|| backoff.wait())
                .min(SUBMIT_PATIENCE);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.interrupt.cancelled() => {}
            }
        }
    }

    fn refused(&self, error: ClientError, scene: Option<&str>) -> Refused {
        let source = &self.plan.source;
        if let ClientError::Problem { problem, .. } = &error
            && !problem.candidates.is_empty()
        {
            let candidates = shown_candidates(&problem.candidates, Paint::PLAIN);
            return Refused::Other(Failure::from(error).hint(format!(
                "say it in other words, add --explainer for a card with these words, or type one of:\n{candidates}"
            )));
        }
        if let ClientError::Problem { problem, .. } = &error {
            // What is wrong with the source is not a matter of JSON pointers.
            let detail = match problem.errors.as_slice() {
                [only] if only.pointer.starts_with("/input") => &only.detail,
                _ => &problem.detail,
            };
            // What the scene policy says begins with the file's name already.
            let named = source.file_name.as_deref().unwrap_or(&source.shown);
            let message = match detail.strip_prefix(named) {
                Some(rest) => format!("{}{rest}", source.shown),
                None => format!("{}: {detail}", source.shown),
            };
            if !problem.scenes.is_empty() {
                let names: Vec<_> = problem.scenes.iter().map(|s| format!("  {s}")).collect();
                // In our own words: the server's name the scenes as well, in one long line.
                let message = match scene {
                    Some(scene) => format!("{} has no scene {scene}", source.shown),
                    None => message,
                };
                let message = format!("{message}; its scenes:\n{}", names.join("\n"));
                let mut failure = Failure::new(Exit::Usage, problem.kind.clone(), message);
                if let Some(nearest) = scene.and_then(|s| choose::nearest(s, &problem.scenes)) {
                    failure = failure.hint(format!("did you mean {nearest}?"));
                }
                failure.problem = Some(problem.clone());
                return Refused::Scene {
                    scenes: problem.scenes.clone(),
                    failure,
                };
            }
            let findings = report::findings(&problem.findings, source, self.screen.paint());
            let of_source = problem
                .errors
                .iter()
                .all(|e| e.pointer.starts_with("/input"));
            if !findings.is_empty() || (of_source && !problem.errors.is_empty()) {
                let exit = if findings.is_empty() {
                    Exit::Usage
                } else {
                    Exit::Failed
                };
                let mut failure = Failure::new(exit, problem.kind.clone(), message);
                failure.problem = Some(problem.clone());
                if !findings.is_empty() && !self.plan.json {
                    // The problem's detail repeats the first finding.
                    let paint = self.screen.paint();
                    let verdict = format!("{} was refused", visible(&source.shown));
                    self.screen.say(&findings);
                    self.screen
                        .say(&format!("{} {verdict}", paint.error("error:")));
                    failure.told = true;
                }
                return Refused::Other(failure);
            }
        }
        Refused::Other(error.into())
    }

    /// From the accepted job to the file on disk.
    pub(super) async fn finish(
        &self,
        scene: String,
        submitted: Result<JobView, Failure>,
        several: bool,
    ) -> Outcome {
        let job = match submitted {
            Ok(job) => job,
            Err(failure) => {
                return Outcome {
                    scene,
                    job: None,
                    result: Err(failure),
                };
            }
        };
        let mut outcome = self.follow_to_end(&scene, job, several).await;
        // A scene that the server's language model wrote for a prompt, it may mend.
        for _ in 0..REPAIRS_MAX {
            let Some(next) = self.repaired(&outcome).await else {
                break;
            };
            outcome = self.follow_to_end(&scene, next, several).await;
        }
        outcome
    }

    /// The job of a mended scene, if this one failed and was written by the server's language model.
    async fn repaired(&self, outcome: &Outcome) -> Option<JobView> {
        let failed = outcome.job.as_ref().filter(|job| {
            let ours = job.error.as_ref().is_none_or(|error| error.class.is_ours());
            job.status == Status::Failed && !ours
        })?;
        let written = failed.by_model.as_ref();
        let written =
            written.filter(|by| by.made == ModelPart::Code && by.repairs < REPAIRS_MAX)?;
        if self.interrupt.is_cancelled() || Instant::now() >= self.give_up_at {
            return None;
        }
        self.note(&format!(
            "the server's language model ({}) mends the scene",
            visible(&written.model)
        ));
        let change = RerunRequest {
            repair: true,
            ..RerunRequest::default()
        };
        let key = Uuid::now_v7().simple().to_string();
        // Not raced against Ctrl-C, as a submit is not.
        let next = self.client.rerun(failed.id, &change, &key).await;
        if let Err(error) = &next {
            let why = error.to_string();
            self.note(&format!("it was not mended: {}", visible(&why)));
        }
        next.ok()
    }

    fn note(&self, text: &str) {
        if !self.plan.json {
            self.screen.note(text);
        }
    }

    async fn follow_to_end(&self, scene: &str, job: JobView, several: bool) -> Outcome {
        let scene = scene.to_owned();
        let display = self.screen.job(&scene);
        let follower = Follower {
            client: self.client,
            display: &display,
            interrupt: self.interrupt,
            give_up_at: self.give_up_at,
            logs: self.plan.logs,
        };
        let ended = match follower.follow(&job).await {
            Ok(ended) => ended,
            Err(failure) => {
                return Outcome {
                    scene,
                    job: Some(job),
                    result: Err(failure),
                };
            }
        };
        let result = match ended.job.status {
            Status::Succeeded if self.interrupt.is_cancelled() => Err(Failure::new(
                Exit::Canceled,
                "canceled",
                format!(
                    "{} had ended before it could be canceled; its file was not downloaded",
                    ended.job.id
                ),
            )),
            Status::Succeeded => {
                display.status("downloading");
                let fetched = self.fetch(&scene, &ended.job).await;
                if ended.job.cached {
                    self.note(&format!(
                        "{} is the film of an earlier render of the same; --disable_caching renders it anew",
                        visible(&scene)
                    ));
                }
                fetched
            }
            Status::Canceled => Err(Failure::new(
                Exit::Canceled,
                "canceled",
                format!("{} was canceled", ended.job.id),
            )),
            Status::Failed => Err(self.failed(&scene, &ended, several).await),
            Status::Expired | Status::Queued | Status::Running => Err(Failure::new(
                Exit::Failed,
                "expired",
                format!("no worker took {} before its deadline", ended.job.id),
            )),
        };
        drop(display);
        Outcome {
            scene,
            job: Some(ended.job),
            result,
        }
    }

    async fn failed(&self, scene: &str, ended: &Ended, several: bool) -> Failure {
        let job = &ended.job;
        let message = job
            .error
            .as_ref()
            .map_or("the job failed".to_owned(), |e| e.message.clone());
        let mut failure = Failure::new(Exit::Failed, "job-failed", message);
        failure.told = true;
        let paint = self.screen.paint();
        let mut text = String::new();
        let mut tail = ended.tail.clone();
        if tail.is_empty() && self.plan.logs == Logs::OnFailure {
            // The events may have been cut off; the log is kept.
            let lines = u32::try_from(follow::TAIL_LINES).unwrap_or(u32::MAX);
            if let Ok(log) = self.client.logs(job.id, Some(lines)).await {
                tail = log.lines().map(str::to_owned).collect();
                tail.drain(..tail.len().saturating_sub(follow::TAIL_LINES));
            }
        }
        for line in &tail {
            text.push_str(&format!(
                "{}\n",
                paint.dim(format!("{} | {}", visible(scene), visible(line)))
            ));
        }
        if several {
            text.push_str(&format!(
                "{}\n",
                paint.strong(format!("{}:", visible(scene)))
            ));
        }
        match &job.error {
            Some(error) => {
                text.push_str(&report::job_error(error, scene, &self.plan.source, paint))
            }
            None => text.push_str(&failure.report(paint)),
        }
        text.push_str(&format!(
            "{}",
            paint.dim(format!("  log: manimq logs {}", job.id))
        ));
        if !self.plan.json {
            self.screen.say(&text);
        }
        failure
    }

    async fn fetch(&self, scene: &str, job: &JobView) -> Result<PathBuf, Failure> {
        use manimq_shared::job::ArtifactRole;
        let main = job
            .artifacts
            .iter()
            .find(|a| a.role == ArtifactRole::Video)
            .or_else(|| job.artifacts.iter().find(|a| a.role == ArtifactRole::Image));
        let Some(artifact) = main else {
            return Err(Failure::new(
                Exit::Failed,
                "no-artifact",
                format!("{} succeeded without a file", job.id),
            ));
        };
        // The name comes from the server and becomes part of a path here.
        let name = job.shown_name().unwrap_or(scene).replace('-', "_");
        let name = name.as_str();
        if !is_identifier(name) {
            return Err(Failure::new(
                Exit::Failed,
                "odd-scene",
                format!("the server names the scene {name:?}, which cannot be one"),
            ));
        }
        let format = Format::ALL
            .iter()
            .copied()
            .find(|f| f.mime() == artifact.mime)
            .unwrap_or(job.output.format);
        let place = &self.plan.place;
        let mut path = place.path(name, &job.output, format);
        if place.output_file.is_none() && place.film.is_some() {
            let content = Content {
                bytes: artifact.bytes,
                sha256: &artifact.sha256,
            };
            path = not_another(&path, content, NUMBER_MAX).ok_or_else(|| all_taken(&path))?;
        }
        if format != job.output.format {
            self.note(&format!(
                "{} has no animation, so the result is a picture",
                visible(name)
            ));
        }
        for note in job.resolved.iter().flat_map(|resolved| &resolved.notes) {
            self.note(&visible(note));
        }
        for warning in &job.warnings {
            self.screen.say(&format!(
                "{} {}",
                self.screen.paint().warning("warning:"),
                visible(warning)
            ));
        }
        let sections = job.artifacts.iter();
        let sections = sections.filter(|a| a.role == ArtifactRole::Section);
        let mut files = vec![(artifact, path.clone())];
        files.extend(
            sections
                .enumerate()
                .map(|(n, section)| (section, super::place::section(&path, n))),
        );
        let subtitles = job.artifacts.iter();
        let subtitles = subtitles.filter(|a| a.role == ArtifactRole::Subtitles);
        files.extend(subtitles.map(|file| (file, super::place::subtitles(&path))));
        for (artifact, path) in files {
            tokio::select! {
                done = self.client.download(job.id, artifact, &path) => done?,
                () = self.interrupt.cancelled() => {
                    return Err(Failure::new(Exit::Canceled, "canceled", "the download was interrupted"));
                }
            }
        }
        Ok(path)
    }
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_alphabetic())
        && chars.all(|c| c == '_' || c.is_alphanumeric())
        && name.len() <= 200
}
