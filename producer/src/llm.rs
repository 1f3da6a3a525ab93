//! An optional language model, behind any endpoint that speaks OpenAI's chat completions
//! (`POST …/chat/completions`).
//!
//! Off unless `MANIMQ_LLM_URL` is set. What it answers is a proposal: [`choose`] has it checked like a
//! user's own words, [`write`] sends the code it writes through the scene policy. Bounded: the time of a
//! prompt, the size of an answer, calls at a time, tokens an hour; and who fails is left alone for a while
//! ([`breaker`]). Nothing that the endpoint says is logged or told: it could repeat the key.

mod args;
mod breaker;
mod budget;
mod choose;
mod completion;
mod talk;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use manimq_shared::ids::TenantId;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout_at};
use url::Url;

pub use self::args::LlmArgs;
pub(crate) use self::args::TIMEOUT_S_MAX;
use self::breaker::{Breaker, Breakers};
use self::budget::Budget;
pub(crate) use self::choose::{Chosen, choose};
pub(crate) use self::talk::{Asker, NoUse};
pub(crate) use self::write::{REPAIRS_MAX, Written, mend, write};
use crate::client::is_this_machine;
use crate::metrics::LlmMetrics;
use crate::places::Places;

/// Calls at a time, of which one tenant may have nine.
const CALLS_MAX: usize = 10;
/// Longest time to connect.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Roughly how many bytes of text are a token; fewer than usual, so that the estimate is high.
const BYTES_PER_TOKEN: usize = 3;

/// Which model, and what it may cost.
#[derive(Debug, Clone)]
pub struct LlmConfig {
    /// Start of the endpoint, such as `https://models.example/v1`.
    pub url: Url,
    /// The model's name there.
    pub model: String,
    /// Sent as `Authorization: Bearer`.
    pub key: Option<SecretString>,
    /// Longest time of a prompt, all questions together.
    pub timeout: Duration,
    /// Most tokens in an hour, of questions and answers, in this process.
    pub tokens_per_hour: u32,
    /// How long it is left alone after the third failure in a row; later longer.
    pub rest_min: Duration,
}

/// Asks the model. Clones share connections, budget and breaker.
#[derive(Clone)]
pub struct Llm(Arc<Inner>);

struct Inner {
    config: LlmConfig,
    endpoint: Url,
    http: reqwest::Client,
    calls: Places<TenantId>,
    breaker: Breaker,
    /// Of answers that come too late.
    slow: Breakers,
    budget: Budget,
    /// Whether the endpoint refuses what not all know: then only the least is sent.
    plain: AtomicBool,
    metrics: LlmMetrics,
}

/// One thing that was said, by us (`user`) or by the model (`assistant`).
#[derive(Debug, Clone)]
struct Turn {
    role: &'static str,
    text: String,
}

/// A question.
#[derive(Debug, Clone)]
struct Question {
    /// A word for metrics.
    purpose: &'static str,
    /// What the model is to do, in our words.
    system: &'static str,
    /// What was said since, the last by us.
    turns: Vec<Turn>,
    /// Whether the answer shall be JSON; only a wish.
    json: bool,
    /// Most tokens of the answer.
    tokens_max: u32,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LlmError {
    /// It failed lately.
    #[error("the language model failed lately and is left alone for {} s", .0.as_secs().max(1))]
    Resting(Duration),
    /// The hour's tokens are used up, or this tenant's part of them.
    #[error("the language model's tokens of this hour are used up")]
    Budget,
    /// As many calls as there may be are under way.
    #[error("too many questions to the language model are under way")]
    Busy,
    /// It did not answer in time.
    #[error("the language model did not answer in time")]
    Late,
    /// It cannot be reached, or broke off.
    #[error("the language model cannot be reached")]
    Away,
    /// It refuses.
    #[error("the language model answers HTTP {0}")]
    Refused(u16),
    /// It answers something else than a completion.
    #[error("the language model's answer is no completion: {0}")]
    Nonsense(&'static str),
    /// The answer is longer than it may be.
    #[error("the language model's answer is too long")]
    CutOff,
}

impl LlmError {
    /// Every word of [`Self::outcome`], and that of an answer.
    pub(crate) const OUTCOMES: [&'static str; 10] = [
        "ok", "resting", "budget", "busy", "late", "away", "limited", "refused", "nonsense",
        "cut_off",
    ];

    /// A word for metrics.
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Resting(_) => "resting",
            Self::Budget => "budget",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Away => "away",
            Self::Refused(429) => "limited",
            Self::Refused(_) => "refused",
            Self::Nonsense(_) => "nonsense",
            Self::CutOff => "cut_off",
        }
    }
}

/// A call that failed.
struct Failed {
    error: LlmError,
    /// When it wants to be asked again.
    retry_after: Option<Duration>,
    /// Whether the endpoint is to blame rather than this one question.
    counts: bool,
}

impl Failed {
    fn by(error: LlmError) -> Self {
        Self {
            error,
            retry_after: None,
            counts: true,
        }
    }
}

impl Llm {
    /// One that trusts the system's certificates and those in `ca_file`.
    ///
    /// # Errors
    /// The key cannot be a header, or `ca_file` holds no certificates.
    pub fn new(
        config: LlmConfig,
        ca_file: Option<&Path>,
        metrics: LlmMetrics,
    ) -> anyhow::Result<Self> {
        let mut endpoint = config.url.clone();
        let path = endpoint.path().trim_end_matches('/').to_owned();
        endpoint.set_path(&format!("{path}/chat/completions"));
        let mut headers = HeaderMap::new();
        if let Some(key) = &config.key {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
                .map_err(|_| anyhow::anyhow!("MANIMQ_LLM_KEY has characters that no key has"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(manimq_shared::tls::client_config(ca_file)?)
            .connect_timeout(CONNECT_TIME)
            // Where it leads nobody knows, and the key would go with it.
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers)
            .user_agent(concat!("manimq/", env!("CARGO_PKG_VERSION")));
        if is_this_machine(&config.url) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .context("the client of the language model")?;
        Ok(Self(Arc::new(Inner {
            budget: Budget::new(config.tokens_per_hour),
            breaker: Breaker::new(config.rest_min),
            slow: Breakers::new(config.rest_min),
            calls: Places::new(CALLS_MAX, None),
            plain: AtomicBool::new(false),
            endpoint,
            http,
            config,
            metrics,
        })))
    }

    /// The model's name.
    #[must_use]
    pub(crate) fn model(&self) -> &str {
        &self.0.config.model
    }

    /// Brings the gauges up to date.
    pub(crate) fn tell(&self) {
        let open = i64::from(self.0.breaker.is_open());
        self.0.metrics.breaker_open.set(open);
    }

    /// Whether it answers at all, for `manimq doctor`; how long it took.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub(crate) async fn probe(&self) -> Result<Duration, String> {
        let began = Instant::now();
        let text = "Answer with the word yes.".to_owned();
        let question = Question {
            purpose: "probe",
            system: "You are asked whether you are there.",
            turns: vec![Turn { role: "user", text }],
            json: false,
            tokens_max: 256,
        };
        let asker = Asker::new(self, TenantId::default());
        match self.ask(&asker, &question).await {
            // Some think longer than that; they are there.
            Ok(_) | Err(LlmError::CutOff) => Ok(began.elapsed()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Asks once; nothing is repeated here. Ends with the asker's time at the latest.
    async fn ask(&self, asker: &Asker, question: &Question) -> Result<String, LlmError> {
        let began = Instant::now();
        let asked = self.ask_within(asker, question, began).await;
        let outcome = asked.as_ref().err().map_or("ok", LlmError::outcome);
        let metrics = &self.0.metrics;
        metrics.calls.with_label_values(&[outcome]).inc();
        asked
    }

    async fn ask_within(
        &self,
        asker: &Asker,
        question: &Question,
        began: Instant,
    ) -> Result<String, LlmError> {
        let inner = &self.0;
        let time = asker.end.saturating_duration_since(began);
        if time.is_zero() {
            return Err(LlmError::Late);
        }
        let place = inner.calls.take(asker.tenant.clone());
        let _place = place.map_err(|_| LlmError::Busy)?;
        let said = question.turns.iter().map(|turn| turn.text.len());
        let bytes = question.system.len() + said.sum::<usize>();
        let estimate = (bytes / BYTES_PER_TOKEN) as u64;
        let most = estimate + u64::from(question.tokens_max);
        let reserved = inner.budget.reserve(&asker.tenant, most, began);
        let reserved = reserved.ok_or(LlmError::Budget)?;
        let slow = asker.rests(began);
        if let Some(rest) = slow.or_else(|| inner.breaker.rests(began)) {
            reserved.used(0);
            return Err(LlmError::Resting(rest));
        }
        // Whoever goes away meanwhile has used all that was set aside: so it is when this is dropped.
        asker.asks();
        let called = timeout_at(asker.end, self.call(question)).await;
        let took = began.elapsed();
        let waited = asker.asked(took, matches!(called, Ok(Ok(_))), called.is_ok());
        let called = called.unwrap_or_else(|_| {
            Err(Failed {
                // Where others took the time it says nothing about the endpoint.
                counts: waited >= inner.config.timeout / 2,
                ..Failed::by(LlmError::Late)
            })
        });
        inner.metrics.duration.observe(took.as_secs_f64());
        let tokens = match &called {
            Ok((text, tokens)) => {
                tokens.unwrap_or(estimate + (text.len() / BYTES_PER_TOKEN) as u64)
            }
            Err(failed) => match failed.error {
                LlmError::CutOff | LlmError::Late | LlmError::Nonsense(_) => most,
                _ => 0,
            },
        };
        reserved.used(tokens);
        let counter = inner.metrics.tokens.with_label_values(&[question.purpose]);
        counter.inc_by(tokens.min(most.saturating_mul(4)));
        match called {
            Ok((text, _)) => {
                inner.breaker.works(began);
                Ok(text)
            }
            Err(failed) => {
                self.note(&failed, &asker.tenant, began);
                Err(failed.error)
            }
        }
    }

    /// Tells the breaker, and the log where the operator must do something.
    fn note(&self, failed: &Failed, tenant: &TenantId, began: Instant) {
        let error = &failed.error;
        if !failed.counts {
            // It answered, if not with what was wanted.
            if !matches!(error, LlmError::Late) {
                self.0.breaker.works(began);
            }
            tracing::debug!(%error, "the language model did not help");
            return;
        }
        let now = Instant::now();
        let rest = if *error == LlmError::Late {
            self.0.slow.failed(tenant, now)
        } else {
            self.0.breaker.failed(now, failed.retry_after)
        };
        if let Some(rest) = rest {
            tracing::warn!(
                rest_s = rest.as_secs(),
                "{error}; prompts are planned without it for {} s. Look at MANIMQ_LLM_URL, _MODEL and _KEY; `manimq doctor` asks it",
                rest.as_secs().max(1)
            );
        } else {
            tracing::info!("{error}");
        }
    }
}
