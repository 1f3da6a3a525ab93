//! A talk with the model: an answer that does not hold is sent back with what is wrong with it.

use std::sync::Mutex;
use std::time::Duration;

use manimq_shared::ids::TenantId;
use serde_json::json;
use tokio::time::Instant;

use super::{Llm, LlmError, Question, Turn};

/// Longest remark on an answer, and longest answer that is shown to the model again, in characters.
const REMARK_CHARS_MAX: usize = 2_000;
const ANSWER_CHARS_MAX: usize = 40_000;

/// On whose behalf the model is asked, and until when: one prompt.
pub(crate) struct Asker {
    pub(super) llm: Llm,
    pub(super) tenant: TenantId,
    pub(super) end: Instant,
    began: Instant,
    so_far: Mutex<SoFar>,
}

/// What came of a prompt's questions so far.
#[derive(Default)]
struct SoFar {
    /// The first question was let through: those after it are of the same try.
    admitted: bool,
    /// How long the model took, all questions together.
    waited: Duration,
    answered: bool,
    /// One was not answered in time, or still is not.
    open: bool,
}

impl Drop for Asker {
    /// Only a prompt whose questions were all answered in time says that the model is not too slow for its tenant: one
    /// that spends the time on the first question leaves none for the second.
    fn drop(&mut self) {
        let so_far = self.so_far();
        if so_far.answered && !so_far.open {
            self.llm.0.slow.works(&self.tenant, self.began);
        }
    }
}

impl Asker {
    /// From now on the model has its time for a prompt.
    pub(crate) fn new(llm: &Llm, tenant: TenantId) -> Self {
        let began = Instant::now();
        Self {
            end: began + llm.0.config.timeout,
            llm: llm.clone(),
            tenant,
            began,
            so_far: Mutex::default(),
        }
    }

    fn so_far(&self) -> std::sync::MutexGuard<'_, SoFar> {
        self.so_far.lock().expect("no panic while locked")
    }

    /// How long nothing may be asked for this tenant, whose prompts took too long lately.
    pub(super) fn rests(&self, now: Instant) -> Option<Duration> {
        let mut so_far = self.so_far();
        if so_far.admitted {
            return None;
        }
        let rest = self.llm.0.slow.rests(&self.tenant, now);
        so_far.admitted = rest.is_none();
        rest
    }

    /// A question is on its way.
    pub(super) fn asks(&self) {
        self.so_far().open = true;
    }

    /// It took so long; `answered`: until something came, `in_time`: or an error that is none of time. How long all
    /// questions took together.
    pub(super) fn asked(&self, took: Duration, answered: bool, in_time: bool) -> Duration {
        let mut so_far = self.so_far();
        so_far.answered |= answered;
        so_far.open = !in_time;
        so_far.waited += took;
        so_far.waited
    }

    /// The model's name.
    pub(crate) fn model(&self) -> &str {
        self.llm.model()
    }

    /// Counts how it ended.
    pub(super) fn counted<T>(
        &self,
        purpose: &'static str,
        ended: Result<T, NoUse>,
    ) -> Result<T, NoUse> {
        let result = ended.as_ref().err().map_or("taken", NoUse::result);
        let proposals = &self.llm.0.metrics.proposals;
        proposals.with_label_values(&[purpose, result]).inc();
        ended
    }
}

/// Why a talk brought nothing; the planner's own word stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoUse {
    /// The model does not answer.
    #[error(transparent)]
    Llm(#[from] LlmError),
    /// It says that no template fits.
    #[error("the language model finds no template that fits")]
    NoneFits,
    /// None of its answers held.
    #[error("the language model's answers could not be used")]
    Unusable,
}

impl NoUse {
    /// A word for metrics.
    pub(super) const fn result(&self) -> &'static str {
        match self {
            Self::Llm(_) => "no_answer",
            Self::NoneFits => "none_fits",
            Self::Unusable => "unusable",
        }
    }
}

/// What was said so far.
pub(super) struct Talk<'a> {
    asker: &'a Asker,
    question: Question,
    /// How often an answer may still be sent back.
    left: u32,
    /// How often one was.
    pub repairs: u32,
}

/// A text as JSON writes it, so that none can look like the end of it.
pub(super) fn quoted(text: &str) -> String {
    json!(text).to_string()
}

fn shortened(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

impl<'a> Talk<'a> {
    /// `purpose`: a word for metrics.
    pub fn new(
        asker: &'a Asker,
        purpose: &'static str,
        system: &'static str,
        text: String,
        tokens_max: u32,
    ) -> Self {
        Self {
            asker,
            question: Question {
                purpose,
                system,
                turns: vec![Turn { role: "user", text }],
                json: false,
                tokens_max,
            },
            left: 0,
            repairs: 0,
        }
    }

    /// One whose answers are JSON.
    pub fn in_json(mut self) -> Self {
        self.question.json = true;
        self
    }

    /// An answer may be sent back so often.
    pub fn with_repairs(mut self, most: u32) -> Self {
        self.left = most;
        self
    }

    /// Asks for the next answer.
    pub async fn answer(&mut self) -> Result<String, NoUse> {
        Ok(self.asker.llm.ask(self.asker, &self.question).await?)
    }

    /// Sends an answer back.
    ///
    /// # Errors
    /// [`NoUse::Unusable`]: it was done often enough.
    pub fn send_back(&mut self, answer: &str, wrong: &str) -> Result<(), NoUse> {
        if self.left == 0 {
            return Err(NoUse::Unusable);
        }
        self.left -= 1;
        self.repairs += 1;
        // Of what was said between only the newest counts.
        self.question.turns.truncate(1);
        let turns = [
            ("assistant", shortened(answer, ANSWER_CHARS_MAX)),
            (
                "user",
                format!(
                    "This cannot be used: {}\nAnswer again in the same form, with nothing else.",
                    shortened(wrong, REMARK_CHARS_MAX)
                ),
            ),
        ];
        let turns = turns.map(|(role, text)| Turn { role, text });
        self.question.turns.extend(turns);
        Ok(())
    }
}
