//! What must be inside a sandbox before anything can be rendered there: Manim, room, the renderer.

use std::time::Duration;

use super::bundle::{Bundle, COMPLETE};
use super::data::{Data, Health};
use super::error::{ApiError, Kind};
use super::parts::UPLOADS;
use super::place::{Place, quoted, unique};
use crate::sandbox::{ConnectError, machine};

/// A short command in the sandbox.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(25);
/// Room on the sandbox's disk below which what can be made again is removed.
pub(super) const DISK_LOW_BYTES: u64 = 512 * 1024 * 1024;
/// Where Manim may be, if nobody says.
const PYTHONS: [&str; 3] = [
    "/opt/manimq/python/bin/python3",
    "/opt/venv/bin/python3",
    "python3",
];

impl Place {
    /// What is installed in it.
    pub(super) async fn look(&self, data: &Data, health: &Health) -> Result<String, ConnectError> {
        let ours = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        if !health.arch.is_empty() && health.arch != ours {
            return Err(self.unfit(
                format!("its processor is {}, this worker's {ours}", health.arch),
                "run the worker on a machine of the same architecture: the filters that it brings are made for its own",
            ));
        }
        let candidates: Vec<String> = match &self.config.python {
            Some(python) => vec![quoted(python)],
            None => PYTHONS.iter().map(|python| quoted(python)).collect(),
        };
        let test = "import importlib.util as u, sys; sys.exit(0 if u.find_spec(\"manim\") and u.find_spec(\"av\") else 1)";
        let command = format!(
            "for p in {}; do q=$(command -v \"$p\") || continue; \"$q\" -I -c {} && {{ echo \"$q\"; exit 0; }}; done; exit 3",
            candidates.join(" "),
            quoted(test)
        );
        let ran = data
            .run(unique("look"), command, COMMAND_TIMEOUT)
            .await
            .map_err(|error| self.explain(&error))?;
        let python = ran.stdout.unwrap_or_default().trim().to_owned();
        if ran.exit_code == Some(0) && python.starts_with('/') {
            return Ok(python);
        }
        let said = super::error::harmless(ran.stderr.unwrap_or_default().trim());
        Err(self.unfit(
            format!(
                "no Python with Manim and the FFmpeg libraries (PyAV) was found there; tried {} {said}",
                candidates.join(", ")
            ),
            "deploy the image of deploy/sandbox (deploy/deploy_sandbox.sh --server-image IMAGE), or name the interpreter in MANIM_SANDBOX_PYTHON",
        ))
    }

    /// How much room the sandbox's disk has. If that is little, what can be made again and what
    /// nobody uses any more is removed first: formulas, jobs and uploads of workers that died.
    pub(super) async fn make_room(&self, data: &Data) -> Result<u64, ApiError> {
        let command = format!(
            "mkdir -p {folder}; free() {{ set -- $(df -Pk {folder} | tail -1); echo $4; }}; \
             if [ $(free) -lt {low} ]; then rm -rf {folder}/tex/*; \
             find {folder}/jobs {UPLOADS} -mindepth 1 -maxdepth 1 -mmin +180 -exec rm -rf {{}} + 2>/dev/null; \
             fi; free",
            folder = quoted(&self.config.folder),
            low = DISK_LOW_BYTES / 1024,
        );
        let ran = data.run(unique("room"), command, COMMAND_TIMEOUT).await?;
        let said = ran.stdout.unwrap_or_default();
        let kib = said.trim().parse::<u64>().map_err(|_| {
            let errors = super::error::harmless(ran.stderr.unwrap_or_default().trim());
            let what = format!("it does not tell how full its disk is: {errors}");
            ApiError::new("looking at the disk", Kind::Refused, what)
        })?;
        Ok(kib * 1024)
    }

    /// Whether that is enough to begin a job.
    pub(super) fn has_room(&self, free_bytes: u64) -> Result<(), ConnectError> {
        let name = self.name();
        let place = format!("sandbox '{name}'");
        machine::has_room(&place, free_bytes).map_err(|reason| ConnectError::CustomVerification {
            reason,
            remedy: format!(
                "its disk is half of its memory: give it more memory, or see what lies there (`bl connect sandbox {name}`)"
            ),
        })
    }

    /// Puts the renderer there, if it is not there yet.
    pub(super) async fn bring(&self, data: &Data) -> Result<String, ConnectError> {
        let dir = self.config.renderer_dir.clone();
        let bundle = tokio::task::spawn_blocking(move || Bundle::read(&dir))
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|error| ConnectError::NotFound {
                what: format!(
                    "the renderer {} ({error})",
                    self.config.renderer_dir.display()
                ),
                remedy: "name its folder in MANIMQ_RENDERER_DIR".into(),
            })?;
        let folder = &self.config.folder;
        let there = format!("{folder}/renderer-{}", bundle.hash);
        let brought = async {
            if data.exists(&format!("{there}/{COMPLETE}")).await? {
                return Ok(None);
            }
            let aside = format!("{folder}/{}", unique("new"));
            data.write_texts(&aside, &bundle.files).await?;
            // Others may read it or bring it at this moment: it appears whole. What nobody has
            // used for a week goes.
            let command = format!(
                "chmod -R a+rX {aside}; chmod 711 {folder}; mv -T {aside} {there} || rm -rf {aside}; \
                 find {folder} -maxdepth 1 \\( -name 'renderer-*' -o -name 'manimq-new-*' \\) ! -path {there} -mtime +7 -exec rm -rf {{}} +; \
                 test -e {there}/{COMPLETE}",
                aside = quoted(&aside),
                there = quoted(&there),
                folder = quoted(folder),
            );
            data.run(unique("bring"), command, COMMAND_TIMEOUT)
                .await
                .map(Some)
        };
        match brought.await {
            Ok(None) => Ok(there),
            Ok(Some(ran)) if ran.exit_code == Some(0) => {
                tracing::info!("the renderer {} was brought to sandbox {}", bundle.hash, self.name());
                Ok(there)
            }
            Ok(Some(ran)) => Err(self.unfit(
                format!(
                    "the renderer could not be put to {there}: {}",
                    super::error::harmless(ran.stderr.unwrap_or_default().trim())
                ),
                "free room in the sandbox, or name a folder that can be written in MANIMQ_SANDBOX_DIR",
            )),
            Err(error) => Err(self.explain(&error)),
        }
    }
}
