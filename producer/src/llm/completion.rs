//! One question as the endpoint gets it, and what it answers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failed, Llm, LlmError, Question};

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What a call brought: the text, and how many tokens it says that it took.
pub(super) type Said = (String, Option<u64>);

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    total_tokens: u64,
}

impl Llm {
    fn body(&self, question: &Question, plain: bool) -> Value {
        let system = json!({"role": "system", "content": question.system});
        let turns = question.turns.iter();
        let turns = turns.map(|turn| json!({"role": turn.role, "content": turn.text}));
        let mut body = json!({
            "model": self.0.config.model,
            "messages": std::iter::once(system).chain(turns).collect::<Vec<_>>(),
        });
        if plain {
            // What newer models take in place of `max_tokens`; they choose their own temperature.
            body["max_completion_tokens"] = question.tokens_max.into();
            return body;
        }
        body["max_tokens"] = question.tokens_max.into();
        body["temperature"] = 0.into();
        if question.json {
            body["response_format"] = json!({"type": "json_object"});
        }
        body
    }

    /// Asks; once more with less where the endpoint does not take what most do.
    pub(super) async fn call(&self, question: &Question) -> Result<Said, Failed> {
        let plain = self.0.plain.load(Ordering::Relaxed);
        match self.call_once(&self.body(question, plain)).await {
            Err(failed) if failed.error == LlmError::Refused(400) && !plain => {
                // It may not know a field that most know.
                let said = self.call_once(&self.body(question, true)).await?;
                self.0.plain.store(true, Ordering::Relaxed);
                Ok(said)
            }
            said => said,
        }
    }

    async fn call_once(&self, body: &Value) -> Result<Said, Failed> {
        let inner = &self.0;
        let away = |error: reqwest::Error| {
            let error = error.without_url();
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "no answer of the language model"
            );
            Failed::by(LlmError::Away)
        };
        let response = inner.http.post(inner.endpoint.clone()).json(body).send();
        let response = response.await.map_err(away)?;
        let status = response.status();
        if !status.is_success() {
            let retry_after = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs);
            // What one question meets, others need not.
            let own = matches!(
                status,
                StatusCode::BAD_REQUEST
                    | StatusCode::PAYLOAD_TOO_LARGE
                    | StatusCode::UNPROCESSABLE_ENTITY
            );
            return Err(Failed {
                retry_after,
                counts: !own,
                ..Failed::by(LlmError::Refused(status.as_u16()))
            });
        }
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(away)?);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(Failed::by(LlmError::Nonsense("it is larger than 1 MiB")));
            }
        }
        let nonsense = |what| Failed::by(LlmError::Nonsense(what));
        let completion: Completion =
            serde_json::from_slice(&bytes).map_err(|_| nonsense("it is not the JSON of one"))?;
        let choice = completion.choices.into_iter().next();
        let choice = choice.ok_or_else(|| nonsense("there is no choice in it"))?;
        let cut_off = choice.finish_reason.as_deref() == Some("length");
        match choice.message.content {
            Some(text) if !cut_off => Ok((text, completion.usage.map(|usage| usage.total_tokens))),
            _ => Err(Failed {
                counts: false,
                ..Failed::by(if cut_off {
                    LlmError::CutOff
                } else {
                    LlmError::Nonsense("there is no text in it")
                })
            }),
        }
    }
}
