//! A persistent sandbox of Blaxel's: a renderer kept warm in somebody else's cloud, by name.
//!
//! ```text
//! worker ── HTTPS ── control plane: where is the sandbox of this name?        (control.rs)
//!    └───── HTTPS ── the sandbox's own API: processes, files                  (data.rs, files.rs)
//!                       ├─ keeper.py, one for each slot, alive as long as it   (keeper.rs)
//!                       │     └─ zygote ── guard ── job: level `container`
//!                       ├─ job.py, one for each attempt; its output is frames  (job.rs, follow.rs)
//!                       └─ push.py: a result to its signed URL                (output.rs)
//! ```
//!
//! The sandbox is found, looked at and given the renderer once ([`place`]), and again only when
//! it was lost. It is never made and never deleted here.

pub mod control;
pub mod data;
pub mod error;
pub mod files;
pub mod http;
pub mod output;
pub mod place;

mod bundle;
mod follow;
mod frames;
mod inside;
mod job;
mod keeper;
mod parts;
mod said;
mod tenancy;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::data::LOGS;
use self::error::{ApiError, Kind};
use self::inside::DISK_LOW_BYTES;
use self::job::Remains;
use self::keeper::{Keeper, NotKept};
use self::parts::UPLOADS;
use self::place::{Opened, Place, quoted, unique};
use self::tenancy::Guest;
use super::request::{VERIFY, check, verification};
use super::{
    ConnectError, EventSender, RecycleCause, Recycled, RenderError, RenderRequest, Rendered,
    Sandbox, Versions,
};

/// Whole of [`Sandbox::verify`].
const VERIFY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for tidying up after a job, and for cleaning between tenants.
const TIDY_TIMEOUT: Duration = Duration::from_secs(60);
/// The command that cleans.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(20);
/// A session that was not looked at for so long is looked at before a job: its sandbox may have
/// started anew meanwhile, and nobody tells.
pub const LOOK_AFTER: Duration = Duration::from_secs(5);
/// What to do about an image that is not what it must be.
const DEPLOY: &str = "deploy the image of deploy/sandbox anew (deploy/deploy_sandbox.sh --server-image IMAGE); deploy/sandbox/README.md lists what can be wrong";
/// What to do where it may work in a moment.
const AGAIN: &str =
    "it is connected again by itself; if that does not help, the log above says what broke";

/// A slot's connection to a persistent sandbox.
#[derive(Debug)]
pub struct BlaxelSandbox {
    place: Arc<Place>,
    versions: Versions,
    /// `None` between a loss and the next [`Sandbox::reset`].
    session: Option<Session>,
    /// Renders that were begun, tests of the connection included.
    renders: u64,
    recycled: Option<Recycled>,
}

/// A warm renderer in a sandbox that is there.
#[derive(Debug)]
struct Session {
    opened: Arc<Opened>,
    keeper: Keeper,
    /// What the last job has left.
    remains: Option<Remains>,
    disk_free_bytes: Option<u64>,
    /// Set while a job runs: a render that was dropped half-way leaves it set.
    busy: bool,
    looked: Looked,
}

/// When a session was last seen to be as it should.
#[derive(Debug, Clone, Copy)]
struct Looked {
    at: Instant,
    /// How often its sandbox had been found lost by then, by any slot.
    losses: u64,
}

impl Looked {
    fn now(place: &Place) -> Self {
        Self {
            at: Instant::now(),
            losses: place.losses(),
        }
    }

    fn holds(self, place: &Place) -> bool {
        self.at.elapsed() < LOOK_AFTER && self.losses == place.losses()
    }
}

impl BlaxelSandbox {
    /// Connects a slot: the sandbox is found, a renderer is warm in it, and a real render has
    /// shown that both work.
    ///
    /// # Errors
    /// Says what is missing or refused, and what to do about it.
    pub async fn connect(place: Arc<Place>) -> Result<Self, ConnectError> {
        let name = place.name().to_owned();
        tracing::info!("Connecting to persistent sandbox: {name}");
        let session = begin(&place).await?;
        let mut sandbox = Self {
            place,
            versions: session.keeper.versions.clone(),
            session: Some(session),
            renders: 0,
            recycled: None,
        };
        if let Err(error) = sandbox.can_set_formulas() {
            sandbox.lose().await;
            return Err(error);
        }
        if let Err(error) = sandbox.verify().await {
            sandbox.lose().await;
            return Err(error);
        }
        if let Err(error) = sandbox.ready().await {
            sandbox.lose().await;
            return Err(error);
        }
        tracing::info!("✓ Custom sandbox verified: Manim and FFmpeg are available");
        tracing::info!("Successfully connected to sandbox: {name}");
        Ok(sandbox)
    }

    /// Version of the sandbox's own server, if it told.
    #[must_use]
    pub fn server(&self) -> Option<String> {
        let health = &self.session.as_ref()?.opened.health;
        Some(format!("{} ({})", health.version, health.arch))
    }

    /// Name of the process that keeps this slot's renderer warm.
    #[must_use]
    pub fn keeper(&self) -> Option<&str> {
        self.session
            .as_ref()
            .map(|session| session.keeper.name.as_str())
    }

    /// Renders that were begun here, the verification included.
    #[must_use]
    pub fn renders(&self) -> u64 {
        self.renders
    }

    fn can_set_formulas(&self) -> Result<(), ConnectError> {
        let missing = match (&self.versions.latex, &self.versions.dvisvgm) {
            (Some(_), Some(_)) => return Ok(()),
            (None, _) => "LaTeX",
            (Some(_), None) => "dvisvgm",
        };
        let reason = format!("{missing} is not there or does not run: formulas would fail");
        Err(self.place.unfit(reason, DEPLOY))
    }

    /// Gives the session up, and what runs and lies there of it, as far as the sandbox answers.
    async fn lose(&mut self) {
        if let Some(session) = self.session.take() {
            self.place.lost(&session.opened);
            session.keeper.end().await;
            if let Some(Remains { folder, process }) = &session.remains {
                let data = &session.opened.data;
                let removing =
                    async { tokio::join!(data.remove(folder), data.remove_logs(process)) };
                let _ = tokio::time::timeout(TIDY_TIMEOUT / 6, removing).await;
            }
        }
    }

    /// Makes an existing session ready for the next job, or says why it is none any more.
    async fn ready(&mut self) -> Result<(), ConnectError> {
        let Some(session) = &mut self.session else {
            return Err(ConnectError::Unavailable {
                reason: "it is not connected".into(),
                remedy: AGAIN.into(),
                retry_after: Duration::ZERO,
            });
        };
        if session.busy {
            return Err(ConnectError::Unavailable {
                reason: "the last render was given up half-way".into(),
                remedy: AGAIN.into(),
                retry_after: Duration::ZERO,
            });
        }
        let looked = Looked::now(&self.place);
        let tidied = tokio::time::timeout(TIDY_TIMEOUT, session.tidy(&self.place)).await;
        let alive = match tidied {
            Ok(Ok(alive)) => alive,
            Ok(Err(error)) => return Err(self.place.explain(&error)),
            Err(_) => {
                return Err(ConnectError::Unavailable {
                    reason: format!("tidying up took more than {} s", TIDY_TIMEOUT.as_secs()),
                    remedy: AGAIN.into(),
                    retry_after: Duration::from_secs(5),
                });
            }
        };
        if let Some(free) = session.disk_free_bytes {
            self.place.has_room(free)?;
        }
        if alive && session.keeper.is_fresh(self.place.config.recycle_after) {
            session.looked = looked;
            return Ok(());
        }
        if !alive {
            tracing::warn!(
                "the renderer in sandbox {} is gone; another is started",
                self.place.name()
            );
        }
        self.renew_keeper().await
    }

    /// A fresh renderer in the same sandbox.
    async fn renew_keeper(&mut self) -> Result<(), ConnectError> {
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        let Session {
            opened,
            keeper,
            disk_free_bytes,
            ..
        } = session;
        let cause = if keeper.is_fresh(self.place.config.recycle_after) {
            RecycleCause::Lost
        } else {
            RecycleCause::Jobs
        };
        let (began, looked) = (Instant::now(), Looked::now(&self.place));
        keeper.end().await;
        let keeper = start_keeper(&self.place, &opened).await?;
        self.recycled = Some(Recycled {
            cause,
            took: began.elapsed(),
        });
        self.versions = keeper.versions.clone();
        self.session = Some(Session {
            opened,
            keeper,
            remains: None,
            disk_free_bytes,
            busy: false,
            looked,
        });
        Ok(())
    }

    async fn run(
        &mut self,
        request: &RenderRequest,
        events: &EventSender,
    ) -> Result<Rendered, RenderError> {
        check(request)?;
        if self.place.config.tenant_affinity {
            // Who cleans must still live there.
            self.look().await?;
        }
        let guest = self.enter(request).await?.map(Arc::new);
        self.look().await?;
        let era = guest.as_ref().map(|guest| guest.era);
        if let (Some(era), Some(session)) = (era, &self.session)
            && session.keeper.era != era
        {
            self.renew_keeper().await.map_err(|error| lost(&error))?;
        }
        self.run_here(request, events, guest).await
    }

    /// Anew unless the session is there still: after hours without a job the keeper's time is nearly over, or it is gone.
    async fn look(&mut self) -> Result<(), RenderError> {
        let recycle_after = self.place.config.recycle_after;
        let is_ready = |session: &Session| {
            !session.busy
                && session.keeper.is_fresh(recycle_after)
                && session.looked.holds(&self.place)
        };
        if !self.session.as_ref().is_some_and(is_ready) {
            self.reset().await.map_err(|error| lost(&error))?;
        }
        Ok(())
    }

    /// One job in the session that there is.
    async fn run_here(
        &mut self,
        request: &RenderRequest,
        events: &EventSender,
        guest: Option<Arc<Guest>>,
    ) -> Result<Rendered, RenderError> {
        let place = self.place.clone();
        let Some(session) = &mut self.session else {
            return Err(RenderError::SandboxLost {
                reason: "there is no session".into(),
            });
        };
        self.renders += 1;
        session.busy = true;
        session.keeper.jobs += 1;
        let began = Instant::now();
        let Session {
            opened,
            keeper,
            remains,
            ..
        } = session;
        let gone = job::run(
            opened,
            keeper,
            &place.config,
            request,
            events,
            remains,
            guest,
        )
        .await;
        tracing::debug!(
            took_ms = began.elapsed().as_millis(),
            "a job in the sandbox ended"
        );
        if gone.disk_free_bytes.is_some() {
            session.disk_free_bytes = gone.disk_free_bytes;
        }
        if gone.settled {
            session.busy = false;
        }
        if let Err(RenderError::SandboxLost { reason }) = &gone.result {
            tracing::warn!(
                job.id = request.job_id,
                attempt.n = request.attempt,
                reason,
                "lost a render in sandbox {}",
                place.name()
            );
            // The next job looks at everything anew.
            session.busy = true;
        }
        gone.result
    }

    /// With `--tenant-affinity`: waits until those who render here are of the same tenant, and
    /// nothing of the one before is left.
    async fn enter(&self, request: &RenderRequest) -> Result<Option<Guest>, RenderError> {
        if !self.place.config.tenant_affinity {
            return Ok(None);
        }
        // Whoever is nobody's (a verification) disturbs nobody: it holds nothing of a tenant's.
        let Some(shelf) = &request.formulas else {
            return Ok(None);
        };
        let clean = clean(self.place.clone());
        tokio::select! {
            guest = self.place.tenancy.enter(shelf.tenant(), clean) => {
                guest.map(Some).map_err(|error| lost(&error))
            }
            () = request.stop.cancelled() => Err(RenderError::Interrupted),
        }
    }
}

impl Session {
    /// Takes away what the last job left, and looks at the keeper. False if that is gone.
    async fn tidy(&mut self, place: &Place) -> Result<bool, ApiError> {
        let data = &self.opened.data;
        let remains = self.remains.take();
        let removing = async {
            if let Some(Remains { folder, process }) = &remains {
                let (removed, ()) = tokio::join!(data.remove(folder), data.remove_logs(process));
                removed?;
            }
            Ok::<_, ApiError>(())
        };
        let (process, removed) = tokio::join!(data.process(&self.keeper.name), removing);
        removed?;
        let alive = match process {
            Ok(process) => !process.has_ended() && process.status == "running",
            Err(error) if error.kind == Kind::Missing => {
                // The server knows nothing any more: it started anew, and nothing else is as it was.
                return Err(ApiError::new(
                    "looking for the renderer",
                    Kind::NoAnswer,
                    "the sandbox started anew",
                ));
            }
            Err(error) => return Err(error),
        };
        if self
            .disk_free_bytes
            .is_some_and(|free| free < DISK_LOW_BYTES)
        {
            tracing::warn!("the disk of sandbox {} is nearly full", place.name());
            self.disk_free_bytes = Some(place.make_room(data).await?);
        }
        Ok(alive)
    }
}

impl Sandbox for BlaxelSandbox {
    fn versions(&self) -> &Versions {
        &self.versions
    }

    async fn render(
        &mut self,
        request: RenderRequest,
        events: EventSender,
    ) -> Result<Rendered, RenderError> {
        self.run(&request, &events).await
    }

    async fn verify(&mut self) -> Result<(), ConnectError> {
        let name = self.place.name().to_owned();
        let failed = |reason: String| ConnectError::CustomVerification {
            reason: format!("sandbox '{name}': {reason}"),
            remedy: DEPLOY.into(),
        };
        let (events, _unread) = EventSender::channel(1);
        let request = verification(VERIFY_TIMEOUT / 2);
        let rendered =
            tokio::time::timeout(VERIFY_TIMEOUT, self.run_here(&request, &events, None)).await;
        match rendered {
            Ok(Ok(rendered)) => match rendered.artifacts.as_slice() {
                [film, ..] if film.frames == 3 && film.width == 854 && film.height == 480 => Ok(()),
                other => Err(failed(format!("the test render gave {other:?}"))),
            },
            // The way broke, not the sandbox.
            Ok(Err(RenderError::SandboxLost { reason })) => Err(ConnectError::Unavailable {
                reason: format!("the test render was lost: {reason}"),
                remedy: AGAIN.into(),
                retry_after: Duration::from_secs(5),
            }),
            Ok(Err(error)) => Err(failed(format!("the test render failed: {error}"))),
            Err(_) => Err(failed(format!(
                "the test render took more than {} s",
                VERIFY_TIMEOUT.as_secs()
            ))),
        }
    }

    async fn reset(&mut self) -> Result<(), ConnectError> {
        if self.session.is_some() {
            match self.ready().await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(error = %error, "connecting to sandbox {} anew", self.place.name());
                }
            }
        }
        let began = Instant::now();
        self.lose().await;
        *self = Self {
            renders: self.renders,
            ..Self::connect(self.place.clone()).await?
        };
        self.recycled = Some(Recycled {
            cause: RecycleCause::Lost,
            took: began.elapsed(),
        });
        Ok(())
    }

    fn take_recycled(&mut self) -> Option<Recycled> {
        self.recycled.take()
    }

    async fn close(mut self) {
        if let Some(mut session) = self.session.take() {
            let _ = tokio::time::timeout(TIDY_TIMEOUT / 6, session.tidy(&self.place)).await;
            session.keeper.end().await;
        }
    }
}

/// The sandbox and a warm renderer in it.
async fn begin(place: &Place) -> Result<Session, ConnectError> {
    let looked = Looked::now(place);
    let opened = place.open().await?;
    match start_keeper(place, &opened).await {
        Ok(keeper) => Ok(Session {
            opened,
            keeper,
            remains: None,
            disk_free_bytes: None,
            busy: false,
            looked,
        }),
        Err(error) => {
            place.lost(&opened);
            Err(error)
        }
    }
}

async fn start_keeper(place: &Place, opened: &Arc<Opened>) -> Result<Keeper, ConnectError> {
    Keeper::start(opened, place)
        .await
        .map_err(|error| match error {
            NotKept::Taken(reason) => ConnectError::CustomVerification {
                reason: format!("sandbox '{}': {reason}", place.name()),
                remedy: "give each worker with --tenant-affinity sandboxes of its own; what a worker that died has left there ends within five minutes".into(),
            },
            NotKept::Api(error) => place.explain(&error),
            NotKept::Unusable(reason) => ConnectError::CustomVerification {
                reason: format!("sandbox '{}': the renderer does not start: {reason}", place.name()),
                remedy: DEPLOY.into(),
            },
        })
}

/// Between tenants: formulas, files, uploads and logs of the one before go. Renderers, which hold
/// nothing of a tenant's, are started anew with the next job of each slot, which kills all of its
/// user's.
async fn clean(place: Arc<Place>) -> Result<(), ConnectError> {
    tracing::info!("another tenant's turn: sandbox {} is cleaned", place.name());
    let command = format!(
        "cd {folder} && mkdir -p tex jobs && rm -rf tex/* {LOGS}/manimq-render-* && \
         {{ rm -rf {UPLOADS}/* 2>&-; find jobs -mindepth 1 -maxdepth 1 ! -name '{verify}-*' -exec rm -rf {{}} +; }}",
        folder = quoted(&place.config.folder),
        verify = VERIFY
    );
    let cleaning = async {
        let opened = place.open().await?;
        let ran = opened.data.run(unique("clean"), command, CLEAN_TIMEOUT);
        ran.await.map_err(|error| place.explain(&error))
    };
    let ran = tokio::time::timeout(TIDY_TIMEOUT, cleaning).await;
    let ran = ran.unwrap_or_else(|_| {
        Err(ConnectError::Unavailable {
            reason: format!("cleaning took more than {} s", TIDY_TIMEOUT.as_secs()),
            remedy: AGAIN.into(),
            retry_after: Duration::from_secs(5),
        })
    })?;
    if ran.exit_code == Some(0) {
        return Ok(());
    }
    let said = error::harmless(ran.stderr.unwrap_or_default().trim());
    Err(place.unfit(
        format!("what a tenant left there cannot be removed: {said}"),
        "see what lies there (deploy/sandbox/README.md, \"The disk is full\")",
    ))
}

/// Writes the renderer at `from` below `to` as it lies in a sandbox; returns its folder there.
///
/// # Errors
/// If it cannot be read or written.
pub fn write_bundle(from: &Path, to: &Path) -> std::io::Result<PathBuf> {
    let bundle = bundle::Bundle::read(from)?;
    let folder = to.join(format!("renderer-{}", bundle.hash));
    for (path, text) in &bundle.files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(folder)
}

fn lost(error: &ConnectError) -> RenderError {
    RenderError::SandboxLost {
        reason: error.to_string(),
    }
}
