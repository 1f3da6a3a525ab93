//! Settings of the language model.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::LlmConfig;

/// Largest file with a key.
const KEY_BYTES_MAX: u64 = 16 * 1024;
/// Longest time that a prompt may take, seconds: clients wait a little longer.
pub(crate) const TIMEOUT_S_MAX: u64 = 120;
/// Fewer tokens an hour would not do for one film.
const TOKENS_MIN: u32 = 20_000;

/// Settings of the language model; off unless the URL is set.
#[derive(Clone, Args)]
pub struct LlmArgs {
    /// Endpoint of a language model that speaks OpenAI's chat completions, up to what stands before
    /// /chat/completions, such as https://api.example.com/v1 or http://127.0.0.1:11434/v1. It is asked
    /// where no template fits a prompt for sure: it fills in templates, and, for tenants and keys that may
    /// send code, writes a scene if none fits. Prompts are sent to it. Off without it.
    #[arg(
        long,
        env = "MANIMQ_LLM_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Language model"
    )]
    pub llm_url: Option<String>,

    /// The model's name there.
    #[arg(
        long,
        env = "MANIMQ_LLM_MODEL",
        value_name = "NAME",
        help_heading = "Language model"
    )]
    pub llm_model: Option<String>,

    /// The key, sent as `Authorization: Bearer KEY`; better as variable than as flag, which others on
    /// this machine can see.
    #[arg(
        long,
        env = "MANIMQ_LLM_KEY",
        value_name = "KEY",
        hide_env_values = true,
        help_heading = "Language model"
    )]
    pub llm_key: Option<SecretString>,

    /// A file with the key, instead of it.
    #[arg(
        long,
        env = "MANIMQ_LLM_KEY_FILE",
        value_name = "FILE",
        help_heading = "Language model"
    )]
    pub llm_key_file: Option<PathBuf>,

    /// Longest time that one prompt may take with it, all questions together; 1 to 120 seconds. After it
    /// the answer is what it would be without a model.
    #[arg(
        long,
        env = "MANIMQ_LLM_TIMEOUT_S",
        value_name = "SECONDS",
        default_value_t = 25,
        help_heading = "Language model"
    )]
    pub llm_timeout_s: u64,

    /// Most tokens an hour, of questions and answers, for this process; at least 20000. One tenant alone
    /// gets four fifths, several get equal parts.
    #[arg(
        long,
        env = "MANIMQ_LLM_TOKENS_PER_HOUR",
        value_name = "TOKENS",
        default_value_t = 500_000,
        help_heading = "Language model"
    )]
    pub llm_tokens_per_hour: u32,
}

/// Without the URL, in which somebody may have put a secret.
impl fmt::Debug for LlmArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmArgs")
            .field("on", &self.llm_url.is_some())
            .field("llm_model", &self.llm_model)
            .field("llm_timeout_s", &self.llm_timeout_s)
            .field("llm_tokens_per_hour", &self.llm_tokens_per_hour)
            .finish_non_exhaustive()
    }
}

impl LlmArgs {
    /// What they say; `None` if there shall be no model.
    ///
    /// # Errors
    /// A setting is missing or cannot be; the text names it, and never repeats URL or key.
    pub fn config(&self, rest_min: Duration) -> anyhow::Result<Option<LlmConfig>> {
        let text = |value: &Option<String>| {
            let value = value.as_deref().map(str::trim);
            value.filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let Some(url) = text(&self.llm_url) else {
            return Ok(None);
        };
        let Some(model) = text(&self.llm_model) else {
            bail!(
                "MANIMQ_LLM_URL is set, but MANIMQ_LLM_MODEL is not: name the model that is to be asked"
            );
        };
        let url = Url::parse(&url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .context("MANIMQ_LLM_URL names no endpoint: write it as https://HOST/v1")?;
        if !url.username().is_empty() || url.password().is_some() {
            bail!("MANIMQ_LLM_URL has a user or a password in it: give the key as MANIMQ_LLM_KEY");
        }
        if !(1..=TIMEOUT_S_MAX).contains(&self.llm_timeout_s) {
            bail!(
                "MANIMQ_LLM_TIMEOUT_S must be 1 to {TIMEOUT_S_MAX} seconds: somebody waits for the answer"
            );
        }
        if self.llm_tokens_per_hour < TOKENS_MIN {
            bail!(
                "MANIMQ_LLM_TOKENS_PER_HOUR must be at least {TOKENS_MIN}: one film may take as many"
            );
        }
        Ok(Some(LlmConfig {
            url,
            model,
            key: self.key()?,
            timeout: Duration::from_secs(self.llm_timeout_s),
            tokens_per_hour: self.llm_tokens_per_hour,
            rest_min,
        }))
    }

    fn key(&self) -> anyhow::Result<Option<SecretString>> {
        let given = self.llm_key.as_ref().map(|key| key.expose_secret().trim());
        let given = given.filter(|key| !key.is_empty());
        let key = match (given, &self.llm_key_file) {
            (Some(_), Some(_)) => {
                bail!("MANIMQ_LLM_KEY and MANIMQ_LLM_KEY_FILE are both set: unset one of them")
            }
            (Some(key), None) => key.to_owned(),
            (None, Some(path)) => read_key(path)?,
            (None, None) => return Ok(None),
        };
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!(
                "the key of the language model (MANIMQ_LLM_KEY or its file) has characters that no key has"
            );
        }
        Ok(Some(key.into()))
    }
}

fn read_key(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let read = || -> std::io::Result<String> {
        let size = std::fs::metadata(path)?.len();
        if size > KEY_BYTES_MAX {
            return Err(std::io::Error::other("it is too large for a key"));
        }
        std::fs::read_to_string(path)
    };
    let key = read().with_context(|| {
        format!("MANIMQ_LLM_KEY_FILE: cannot read {shown}; name a readable file with the key alone in it")
    })?;
    let key = key.trim();
    if key.is_empty() {
        bail!("MANIMQ_LLM_KEY_FILE: {shown} is empty; put the key into it");
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> LlmArgs {
        LlmArgs {
            llm_url: Some("https://models.example/v1".into()),
            llm_model: Some("m".into()),
            llm_key: Some("very-secret".into()),
            llm_key_file: None,
            llm_timeout_s: 25,
            llm_tokens_per_hour: 500_000,
        }
    }

    #[test]
    fn wrong_settings_are_named_with_the_remedy_and_never_show_a_secret() {
        type Change = fn(&mut LlmArgs);
        let cases: [(Change, &str); 8] = [
            (|a| a.llm_model = None, "MANIMQ_LLM_MODEL"),
            (
                |a| a.llm_url = Some("very-secret".into()),
                "https://HOST/v1",
            ),
            (
                |a| a.llm_url = Some("https://u:very-secret@h/v1".into()),
                "give the key as MANIMQ_LLM_KEY",
            ),
            (|a| a.llm_timeout_s = 0, "1 to 120"),
            (|a| a.llm_tokens_per_hour = 1, "at least 20000"),
            (
                |a| a.llm_key = Some("very-secret two".into()),
                "characters that no key has",
            ),
            (|a| a.llm_key_file = Some("x".into()), "both set"),
            (
                |a| (a.llm_key, a.llm_key_file) = (None, Some("/nowhere/x".into())),
                "/nowhere/x",
            ),
        ];
        for (change, words) in cases {
            let mut args = args();
            change(&mut args);
            let error = args.config(Duration::ZERO).expect_err("wrong");
            let text = format!("{error:#} {error:?} {args:?}");
            assert!(text.contains(words), "{text}");
            assert!(!text.contains("very-secret"), "{text}");
        }
    }

    #[test]
    fn without_a_url_there_is_no_model_and_a_key_may_lie_in_a_file() {
        let mut args = args();
        args.llm_url = Some(" ".into());
        assert!(args.config(Duration::ZERO).unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "word-from-file\n").unwrap();
        (args.llm_url, args.llm_key) = (Some("http://127.0.0.1:1/v1/".into()), None);
        args.llm_key_file = Some(path);
        let config = args.config(Duration::ZERO).unwrap().unwrap();
        assert_eq!(
            config.key.as_ref().unwrap().expose_secret(),
            "word-from-file"
        );
        assert!(!format!("{config:?}").contains("word-from-file"));
    }
}
