//! One call.

use std::time::Duration;

use jiff::Timestamp;
use manimq_shared::queue::DueDelivery;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use reqwest::redirect::Policy;

use super::address::{Target, Targets};

/// Longest call, the answer's beginning included, beside looking up the name.
const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What is kept of an answer.
const ANSWER_BYTES_MAX: usize = 1024;

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub status: Option<u16>,
    pub retry_after: Option<Duration>,
    pub text: Option<String>,
    /// Why there is no status.
    pub failure: Option<String>,
}

impl Answer {
    fn none(failure: String) -> Self {
        Self {
            failure: Some(failure),
            ..Self::default()
        }
    }

    pub fn is_taken(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }

    /// What is wrong with it, for its owner.
    pub fn error(&self) -> Option<String> {
        if self.is_taken() {
            return None;
        }
        let of_status = |status: u16| match status {
            300..400 => format!("HTTP {status}: redirections are not followed; give the final URL"),
            410 => "HTTP 410: it wants no more calls".to_owned(),
            _ => format!("HTTP {status}"),
        };
        self.status.map(of_status).or_else(|| self.failure.clone())
    }
}

/// Calls a delivery's endpoint with a signed body.
pub(super) async fn make(
    targets: &Targets,
    delivery: &DueDelivery,
    now: Timestamp,
    body: Vec<u8>,
) -> Answer {
    let target = match targets.find(&delivery.settings.url).await {
        Ok(target) => target,
        Err(refusal) => return Answer::none(refusal.to_string()),
    };
    match send(targets, target, delivery, now, body).await {
        Ok(answer) => answer,
        Err(error) => Answer::none(reason(&error)),
    }
}

async fn send(
    targets: &Targets,
    target: Target,
    delivery: &DueDelivery,
    now: Timestamp,
    body: Vec<u8>,
) -> Result<Answer, reqwest::Error> {
    // A client of its own for each call: it knows exactly the addresses that were judged, and keeps
    // no connection for a later one.
    let mut client = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .pool_max_idle_per_host(0)
        .tls_backend_preconfigured(targets.tls.clone());
    if let Some(name) = &target.name {
        client = client.resolve_to_addrs(name, &target.addresses);
    }
    let id = format!("msg_{}", delivery.id);
    let timestamp = now.as_second();
    let signatures: Vec<_> = delivery
        .settings
        .secrets_at(now)
        .map(|secret| secret.sign(&id, timestamp, &body))
        .collect();
    let mut response = client
        .build()?
        .post(target.url)
        .header(USER_AGENT, concat!("manimq/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signatures.join(" "))
        .body(body)
        .send()
        .await?;
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let mut text = Vec::new();
    // The status counts, whatever becomes of the rest.
    while text.len() < ANSWER_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        text.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - text.len())]);
    }
    let mut text = String::from_utf8_lossy(&text)
        .chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect::<String>();
    // What is no UTF-8 has grown by being made readable.
    text.truncate(text.floor_char_boundary(ANSWER_BYTES_MAX));
    Ok(Answer {
        status: Some(status),
        retry_after,
        text: (!text.is_empty()).then_some(text),
        failure: None,
    })
}

/// Why a call got no answer, without the URL, which may hold a secret.
fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.is_timeout() {
        format!("no answer within {} s", TIMEOUT.as_secs())
    } else if error.is_connect() {
        format!("no connection: {innermost}")
    } else {
        format!("no answer: {innermost}")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::tests::delivery_to;
    use super::*;

    /// A name may lead elsewhere a moment after it was judged: what was judged is what is called.
    #[tokio::test]
    async fn a_call_goes_to_the_addresses_that_were_judged_wherever_the_name_leads_by_then() {
        let judged = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = judged.local_addr().unwrap();
        // Where the names lead if somebody looks them up: the first to this machine, the second nowhere.
        let elsewhere = TcpListener::bind(("127.0.0.1", address.port())).await;
        for name in ["localhost", "never.invalid"] {
            let url = format!("http://{name}:{}/hook", address.port());
            let delivery = delivery_to(&url, 0);
            let targets = Targets {
                allowed: Vec::new(),
                tls: manimq_shared::tls::client_config(None).unwrap(),
            };
            let target = Target {
                url: url.parse().unwrap(),
                name: Some(name.to_owned()),
                addresses: vec![address],
            };
            let taken = async {
                let (mut stream, _) = judged.accept().await.unwrap();
                let mut request = [0; 1024];
                let n = stream.read(&mut request).await.unwrap();
                let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                String::from_utf8_lossy(&request[..n]).into_owned()
            };
            let sent = send(&targets, target, &delivery, Timestamp::now(), Vec::new());
            let both = async { tokio::join!(taken, sent) };
            let (request, answer) = tokio::time::timeout(TIMEOUT * 2, both)
                .await
                .expect("somebody else was called");
            assert_eq!(answer.unwrap().status, Some(204));
            assert!(request.contains(&format!("host: {name}:")), "{request}");
        }
        drop(elsewhere);
    }
}
