//! Settings of persistent sandboxes in Blaxel's cloud.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use reqwest::Url;

use crate::sandbox::blaxel::http::{Account, ApiKey};
use crate::sandbox::blaxel::output::SendFrom;
use crate::sandbox::blaxel::place::{FOLDER, Place, PlaceConfig, is_loopback};

/// Names of the variables that may hold the key, the first that is set counts. Not flags: what is
/// on a command line is seen by everybody on the machine.
pub const KEY_VARIABLES: [&str; 2] = ["BLAXEL_API_KEY", "BL_API_KEY"];

/// What `--sandbox blaxel` takes. The key is in BLAXEL_API_KEY or BL_API_KEY.
#[derive(Debug, Clone, Args)]
pub struct RemoteArgs {
    /// --sandbox blaxel: names of the persistent sandboxes, with commas between; slots are spread over them
    #[arg(
        long,
        env = "MANIM_SANDBOX_NAME",
        default_value = "manim-sandbox",
        value_delimiter = ',',
        value_name = "NAME,…"
    )]
    pub sandbox_name: Vec<String>,

    /// The image that they should run; another one is told in the log, not refused
    #[arg(long, env = "MANIM_SANDBOX_IMAGE", value_name = "IMAGE")]
    pub sandbox_image: Option<String>,

    /// Where each of them answers, in the order of the names; the control plane is not asked then
    #[arg(
        long,
        env = "BLAXEL_SANDBOX_URL",
        value_delimiter = ',',
        value_name = "URL,…"
    )]
    pub sandbox_url: Vec<Url>,

    /// Their workspace (needed with keys that reach several)
    #[arg(long, env = "BL_WORKSPACE", value_name = "NAME")]
    pub workspace: Option<String>,

    /// Blaxel's control plane
    #[arg(
        long,
        env = "BL_API_URL",
        default_value = "https://api.blaxel.ai/v0",
        value_name = "URL"
    )]
    pub blaxel_url: Url,

    /// Renders at a time in one sandbox; each wants a core and up to 2.8 GiB of its memory
    #[arg(long, env = "MANIMQ_SLOTS_PER_SANDBOX", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub slots_per_sandbox: u16,

    /// One tenant at a time in a sandbox, which is cleaned between tenants: all that runs in one
    /// shares a machine. For one worker per sandbox
    #[arg(long, env = "MANIMQ_TENANT_AFFINITY")]
    pub tenant_affinity: bool,

    /// Python with Manim inside them [default: that of deploy/sandbox, else python3]
    #[arg(long, env = "MANIM_SANDBOX_PYTHON", value_name = "PATH")]
    pub sandbox_python: Option<String>,

    /// Who sends results to the store
    #[arg(
        long,
        env = "MANIMQ_SANDBOX_SEND_FROM",
        value_enum,
        default_value = "auto"
    )]
    pub send_from: SendFrom,

    /// Most calls a second that this worker makes to Blaxel
    #[arg(
        long,
        env = "MANIMQ_SANDBOX_CALLS_PER_SECOND",
        default_value = "50",
        value_name = "N"
    )]
    pub calls_per_second: NonZeroU32,
}

impl RemoteArgs {
    /// Most slots that these sandboxes can take.
    #[must_use]
    pub fn slots_max(&self) -> u16 {
        let names = u16::try_from(self.sandbox_name.len()).unwrap_or(u16::MAX);
        names.saturating_mul(self.slots_per_sandbox).min(64)
    }

    /// The key, from the environment, and the variable that it is in.
    #[must_use]
    pub fn key() -> Option<(ApiKey, &'static str)> {
        KEY_VARIABLES.into_iter().find_map(|name| {
            let text = std::env::var(name).ok()?;
            Some((ApiKey::new(&text)?, name))
        })
    }

    /// The sandboxes, not yet looked for.
    ///
    /// # Errors
    /// What is missing or contradicts itself, with the variable to set.
    pub fn places(&self, shared: &Shared) -> anyhow::Result<Vec<Arc<Place>>> {
        let Some((key, variable)) = Self::key() else {
            anyhow::bail!(
                "Authentication required: no key for Blaxel; set BLAXEL_API_KEY (or BL_API_KEY) to one of the workspace's keys (console › Profile › Security)"
            );
        };
        let names: Vec<&str> = self.sandbox_name.iter().map(|name| name.trim()).collect();
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            anyhow::bail!(
                "MANIM_SANDBOX_NAME: {name:?} is no sandbox's name: at most 49 small letters, digits and single hyphens between; correct it"
            );
        }
        if let Some((at, name)) = names
            .iter()
            .enumerate()
            .find(|(at, name)| names[..*at].contains(name))
        {
            anyhow::bail!(
                "MANIM_SANDBOX_NAME: {name} is there twice (the second time as number {}); raise --slots-per-sandbox instead",
                at + 1
            );
        }
        if !self.sandbox_url.is_empty() && self.sandbox_url.len() != names.len() {
            anyhow::bail!(
                "BLAXEL_SANDBOX_URL has {} addresses for {} names; give one for each, or none",
                self.sandbox_url.len(),
                names.len()
            );
        }
        if let Some(url) = self
            .sandbox_url
            .iter()
            .chain([&self.blaxel_url])
            .find(|url| url.scheme() != "https" && !is_loopback(url))
        {
            anyhow::bail!(
                "{} would get the key over plain http, readable on the way: write the address as https://",
                url.host_str().unwrap_or("the address")
            );
        }
        let account = Account::new(
            &key,
            // An empty line in `.env` is none.
            self.workspace
                .as_deref()
                .filter(|name| !name.trim().is_empty()),
            self.calls_per_second,
            shared.ca_file.as_deref(),
        )
        .map_err(|reason| anyhow::anyhow!("cannot ask Blaxel ({variable}): {reason}"))?;
        let place = |(at, name): (usize, &&str)| {
            Arc::new(Place::new(PlaceConfig {
                name: (*name).to_owned(),
                image: self.sandbox_image.clone(),
                account: account.clone(),
                control_url: self.blaxel_url.clone(),
                sandbox_url: self.sandbox_url.get(at).cloned(),
                folder: shared.folder.clone().unwrap_or_else(|| FOLDER.to_owned()),
                python: self.sandbox_python.clone(),
                renderer_dir: shared.renderer_dir.clone(),
                uid_base: shared.uid_base,
                recycle_after: 500,
                send_from: self.send_from,
                ca_file: shared.ca_file.clone(),
                tenant_affinity: self.tenant_affinity,
            }))
        };
        Ok(names.iter().enumerate().map(place).collect())
    }
}

/// What other settings say about sandboxes of any kind.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Folder for jobs in a sandbox.
    pub folder: Option<String>,
    /// The renderer's code.
    pub renderer_dir: PathBuf,
    /// First user id for slots.
    pub uid_base: u32,
}

fn is_name(name: &str) -> bool {
    name.len() <= 49
        && !name.is_empty()
        && name.split('-').all(|part| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_a_sandbox_can_have() {
        for name in ["manim", "manim-sb-2", "0"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "Manim", "a--b", "-a", "a_b", "../x", &"a".repeat(50)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
