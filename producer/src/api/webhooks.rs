//! `/v1/webhooks`: endpoints that are told when jobs end, and what they were told.
//!
//! The calls themselves are made in [`crate::webhooks`].

use std::str::FromStr as _;

use axum::Json;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::{SignedDuration, Timestamp};
use manimq_shared::api::{
    Deliveries, DeliveryView, NewWebhook, RotateSecret, WebhookChanges, WebhookView, Webhooks,
};
use manimq_shared::ids::{TenantId, WebhookId};
use manimq_shared::job::FieldError;
use manimq_shared::queue::{Delivery, DueDelivery, Sent, WebhookChange};
use manimq_shared::webhook::{
    DESCRIPTION_CHARS_MAX, DatedSecret, WEBHOOKS_MAX, Webhook, WebhookEvent, WebhookSecret,
    WebhookSettings,
};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use super::App;
use super::extract::{PerhapsJson, Query, StrictJson, Tenant};
use super::openapi::Problems;
use super::problem::{ApiError, Kind};
use crate::webhooks::OVERLAP_DEFAULT;

/// Deliveries in one answer.
const DELIVERIES_MAX: usize = 200;
const DELIVERIES_DEFAULT: usize = 50;
/// Longest time for which a replaced secret may go on signing.
const OVERLAP_S_MAX: u32 = 7 * 86_400;
/// How often a change is made anew because another one came between.
const REVISIONS_MAX: usize = 10;
/// Longest text of an error in a call.
const MESSAGE_CHARS_MAX: usize = 2000;

/// Make a webhook.
///
/// Calls are signed by the Standard Webhooks scheme with the `secret` of the answer, which is shown
/// only here: verify `webhook-signature` before you trust a call. A call that gets no 2xx is tried
/// again for 28 hours; the same message keeps its `webhook-id`.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "webhooks", operation_id = "createWebhook",
    request_body(content = NewWebhook, content_type = "application/json"),
    responses(
        (status = 201, description = "Made; the only answer with the secret", body = WebhookView,
            headers(("Location" = String, description = "The webhook"))),
        (status = 409, description = "There are as many as there may be (`too-many`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The URL may not be called, or another value is wrong (`invalid-params`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn create(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    StrictJson(new): StrictJson<NewWebhook>,
) -> Result<Response, ApiError> {
    let id = WebhookId::generate();
    let secret = WebhookSecret::generate();
    let settings = WebhookSettings {
        url: new.url,
        events: new.events.unwrap_or_else(|| WebhookEvent::DEFAULT.to_vec()),
        description: new.description.unwrap_or_default(),
        created_at: Timestamp::now(),
        secrets: vec![DatedSecret {
            secret: secret.clone(),
            until: None,
        }],
        revision: 0,
    };
    check(&app, &settings)?;
    let made = app.queue().make_webhook(&tenant, id, &settings);
    stored(id, app.redis("hook_set", made).await?)?;
    tracing::info!(tenant.id = %tenant, webhook.id = %id, "made {id}");
    let webhook = Webhook {
        id,
        settings,
        failing_since: None,
        off: None,
    };
    let mut response = (
        StatusCode::CREATED,
        [(CACHE_CONTROL, "no-store")],
        Json(view(&app, &webhook, Some(&secret))),
    )
        .into_response();
    if let Ok(location) = HeaderValue::from_str(&path(id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// List webhooks.
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "webhooks", operation_id = "listWebhooks",
    responses((status = 200, description = "All of them, oldest first", body = Webhooks), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    Tenant(tenant): Tenant,
) -> Result<Json<Webhooks>, ApiError> {
    let all = app.queue().webhooks(&tenant);
    let all = app.redis("hooks", all).await?;
    Ok(Json(Webhooks {
        webhooks: all
            .iter()
            .map(|webhook| view(&app, webhook, None))
            .collect(),
    }))
}

/// Read a webhook.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}", tag = "webhooks", operation_id = "getWebhook",
    params(("id" = String, Path, description = "The webhook's id")),
    responses((status = 200, description = "The webhook, without its secret", body = WebhookView), Problems)
)]
pub(super) async fn read(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    WebhookPath { id, .. }: WebhookPath,
) -> Result<Json<WebhookView>, ApiError> {
    let webhook = load(&app, &tenant, id).await?;
    Ok(Json(view(&app, &webhook, None)))
}

/// Change a webhook.
///
/// What is left out stays. `enabled: true` switches one on that was switched off because it failed.
#[utoipa::path(
    patch, path = "/v1/webhooks/{id}", tag = "webhooks", operation_id = "changeWebhook",
    params(("id" = String, Path, description = "The webhook's id")),
    request_body(content = WebhookChanges, content_type = "application/json"),
    responses(
        (status = 200, description = "The webhook as it is now", body = WebhookView),
        (status = 422, description = "The URL may not be called, or another value is wrong (`invalid-params`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn change(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    WebhookPath { id, .. }: WebhookPath,
    StrictJson(changes): StrictJson<WebhookChanges>,
) -> Result<Json<WebhookView>, ApiError> {
    let webhook = revise(&app, &tenant, id, changes.enabled, |settings| {
        if let Some(url) = &changes.url {
            settings.url.clone_from(url);
        }
        if let Some(events) = &changes.events {
            settings.events.clone_from(events);
        }
        if let Some(description) = &changes.description {
            settings.description.clone_from(description);
        }
        check(&app, settings)
    })
    .await?;
    Ok(Json(view(&app, &webhook, None)))
}

/// Delete a webhook.
///
/// With it go its deliveries; a call that was begun may still be made.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", tag = "webhooks", operation_id = "deleteWebhook",
    params(("id" = String, Path, description = "The webhook's id")),
    responses((status = 204, description = "It is gone"), Problems)
)]
pub(super) async fn delete(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    WebhookPath { id, .. }: WebhookPath,
) -> Result<StatusCode, ApiError> {
    let gone = app.queue().delete_webhook(&tenant, id);
    if app.redis("hook_set", gone).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(unknown(id))
    }
}

/// Replace the secret.
///
/// The answer has the new one. The present one signs beside it for `overlap_s` (a day), so that
/// receivers can be changed without losing a call; one that was replaced before stops at once.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/rotate-secret", tag = "webhooks", operation_id = "rotateWebhookSecret",
    params(("id" = String, Path, description = "The webhook's id")),
    request_body(content = Option<RotateSecret>, content_type = "application/json"),
    responses(
        (status = 200, description = "The webhook, with its new secret", body = WebhookView),
        (status = 422, description = "A value is wrong (`invalid-params`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn rotate(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    WebhookPath { id, .. }: WebhookPath,
    PerhapsJson(rotation): PerhapsJson<RotateSecret>,
) -> Result<Response, ApiError> {
    let overlap = rotation
        .overlap_s
        .map_or(OVERLAP_DEFAULT, |s| SignedDuration::from_secs(s.into()));
    if rotation.overlap_s.is_some_and(|s| s > OVERLAP_S_MAX) {
        return Err(ApiError::invalid_field(
            "/overlap_s",
            format!("more than {OVERLAP_S_MAX}, a week"),
        ));
    }
    let secret = WebhookSecret::generate();
    let until = Timestamp::now()
        .saturating_add(overlap)
        .unwrap_or(Timestamp::MAX);
    let webhook = revise(&app, &tenant, id, None, |settings| {
        settings.rotate(secret.clone(), until);
        Ok(())
    })
    .await?;
    tracing::info!(tenant.id = %tenant, webhook.id = %id, "{id} has a new secret");
    Ok((
        [(CACHE_CONTROL, "no-store")],
        Json(view(&app, &webhook, Some(&secret))),
    )
        .into_response())
}

/// Send a test.
///
/// Calls the webhook once with the event `webhook.test`, as it would be called of a job; see its
/// deliveries for what came of it.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/test", tag = "webhooks", operation_id = "testWebhook",
    params(("id" = String, Path, description = "The webhook's id")),
    responses(
        (status = 202, description = "It will be called", body = manimq_shared::api::DeliveryRef),
        (status = 409, description = "It is switched off (`webhook-disabled`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn test(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    WebhookPath { id, .. }: WebhookPath,
) -> Result<Response, ApiError> {
    send(&app, &tenant, id, None).await
}

/// How many deliveries.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    /// At most this many, newest first (50; up to 200).
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// List deliveries.
///
/// What the webhook was told, or will be, and what it answered. Kept for 14 days, at most 1,000.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}/deliveries", tag = "webhooks", operation_id = "listDeliveries",
    params(("id" = String, Path, description = "The webhook's id"), DeliveriesQuery),
    responses(
        (status = 200, description = "The deliveries, newest first", body = Deliveries),
        (status = 422, description = "A parameter is wrong (`invalid-params`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn deliveries(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    WebhookPath { id, .. }: WebhookPath,
    Query(query): Query<DeliveriesQuery>,
) -> Result<Json<Deliveries>, ApiError> {
    let limit = query.limit.unwrap_or(DELIVERIES_DEFAULT);
    if !(1..=DELIVERIES_MAX).contains(&limit) {
        return Err(ApiError::invalid_field(
            "/limit",
            format!("{limit} is not from 1 to {DELIVERIES_MAX}"),
        ));
    }
    load(&app, &tenant, id).await?;
    let list = app.queue().deliveries(&tenant, id, limit);
    let list = app.redis("deliveries", list).await?;
    Ok(Json(Deliveries {
        deliveries: list.into_iter().map(delivery_view).collect(),
    }))
}

/// Send a delivery again.
///
/// At once, with the id that it had; if it fails, it is tried again as before.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/deliveries/{delivery}/redeliver", tag = "webhooks", operation_id = "redeliver",
    params(("id" = String, Path, description = "The webhook's id"), ("delivery" = String, Path, description = "The delivery's id")),
    responses(
        (status = 202, description = "It will be sent", body = manimq_shared::api::DeliveryRef),
        (status = 409, description = "The webhook is switched off (`webhook-disabled`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn redeliver(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    WebhookPath { id, delivery }: WebhookPath,
) -> Result<Response, ApiError> {
    send(&app, &tenant, id, Some(&delivery)).await
}

async fn send(
    app: &App,
    tenant: &TenantId,
    id: WebhookId,
    delivery: Option<&str>,
) -> Result<Response, ApiError> {
    let sent = app.queue().send_webhook(tenant, id, delivery);
    match app.redis("hook_send", sent).await? {
        Sent::Soon(delivery) => {
            let body = manimq_shared::api::DeliveryRef { delivery };
            Ok((StatusCode::ACCEPTED, Json(body)).into_response())
        }
        Sent::Off => Err(ApiError::new(
            Kind::WebhookDisabled,
            format!(
                "{id} is switched off; switch it on with PATCH {} and {{\"enabled\": true}}",
                path(id)
            ),
        )),
        Sent::Full => Err(ApiError::new(
            Kind::ReducedCapacity,
            "too many of your events wait for their webhooks; try again when these were told",
        )
        .retry_after(10)),
        Sent::NotFound if delivery.is_some() => Err(ApiError::new(
            Kind::NotFound,
            format!(
                "{id} has no such delivery; GET {}/deliveries lists them (kept for 14 days, at most 1,000)",
                path(id)
            ),
        )),
        Sent::NotFound => Err(unknown(id)),
    }
}

/// What the path names. What is no id of a webhook names none: 404.
pub(super) struct WebhookPath {
    id: WebhookId,
    delivery: String,
}

impl FromRequestParts<App> for WebhookPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, app).await.ok();
        let param = |name: &str| {
            let found = params.iter().flatten().find(|(key, _)| *key == name);
            found.map_or_else(String::new, |(_, value)| value.to_owned())
        };
        let id = WebhookId::from_str(&param("id"))
            .map_err(|error| ApiError::new(Kind::NotFound, error.to_string()))?;
        // Ids of deliveries are ours; anything else names none, and is no part of a Redis key.
        let mut delivery = param("delivery");
        if !delivery
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_')
            || delivery.len() > 100
        {
            "-".clone_into(&mut delivery);
        }
        Ok(Self { id, delivery })
    }
}

fn path(id: WebhookId) -> String {
    format!("/v1/webhooks/{id}")
}

fn unknown(id: WebhookId) -> ApiError {
    ApiError::new(
        Kind::NotFound,
        format!("there is no webhook {id}; GET /v1/webhooks lists yours"),
    )
}

async fn load(app: &App, tenant: &TenantId, id: WebhookId) -> Result<Webhook, ApiError> {
    let webhook = app.queue().webhook(tenant, id);
    app.redis("hooks", webhook)
        .await?
        .ok_or_else(|| unknown(id))
}

/// Changes a webhook, and says what it is then. Two who change it at one time come one after the
/// other: a secret that one of them was told is never lost to the other's change.
async fn revise(
    app: &App,
    tenant: &TenantId,
    id: WebhookId,
    on: Option<bool>,
    change: impl Fn(&mut WebhookSettings) -> Result<(), ApiError>,
) -> Result<Webhook, ApiError> {
    for _ in 0..REVISIONS_MAX {
        let mut settings = load(app, tenant, id).await?.settings;
        change(&mut settings)?;
        let changed = app.queue().change_webhook(tenant, id, settings, on);
        let changed = app.redis("hook_set", changed).await?;
        if changed != WebhookChange::Stale {
            stored(id, changed)?;
            return load(app, tenant, id).await;
        }
    }
    Err(ApiError::new(
        Kind::ReducedCapacity,
        format!("{id} is being changed by others all the time; try again"),
    )
    .retry_after(1))
}

fn stored(id: WebhookId, change: WebhookChange) -> Result<(), ApiError> {
    match change {
        // What is new has an id of its own: it is there because an answer was lost.
        WebhookChange::Done | WebhookChange::Stale => Ok(()),
        WebhookChange::NotFound => Err(unknown(id)),
        WebhookChange::Full => Err(ApiError::new(
            Kind::TooMany,
            format!(
                "there are {WEBHOOKS_MAX} webhooks, the most that there may be; delete one, or change its URL"
            ),
        )),
    }
}

fn check(app: &App, settings: &WebhookSettings) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let mut wrong = |pointer: &str, detail: String| {
        errors.push(FieldError {
            pointer: pointer.to_owned(),
            detail,
        });
    };
    if let Err(refusal) = app.parts().webhook_targets.check(&settings.url) {
        wrong("/url", refusal.to_string());
    }
    if settings.events.is_empty() {
        wrong(
            "/events",
            "name at least one event, or leave it out for all that end a job".into(),
        );
    }
    for (i, event) in settings.events.iter().enumerate() {
        if *event == WebhookEvent::Test {
            wrong(
                &format!("/events/{i}"),
                "every webhook gets tests, and nothing else causes them".into(),
            );
        } else if settings.events[..i].contains(event) {
            wrong(
                &format!("/events/{i}"),
                format!("{} is there twice", event.as_str()),
            );
        }
    }
    if settings.description.chars().count() > DESCRIPTION_CHARS_MAX {
        wrong(
            "/description",
            format!("longer than {DESCRIPTION_CHARS_MAX} characters"),
        );
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(errors))
    }
}

fn view(app: &App, webhook: &Webhook, secret: Option<&WebhookSecret>) -> WebhookView {
    let settings = &webhook.settings;
    WebhookView {
        id: webhook.id,
        url: settings.url.clone(),
        events: settings.events.clone(),
        description: settings.description.clone(),
        created_at: settings.created_at,
        enabled: webhook.off.is_none(),
        disabled_reason: webhook.off.clone(),
        failing_since: webhook.failing_since,
        secret: secret.map(|secret| secret.expose().to_owned()),
        previous_secret_until: settings
            .secrets
            .iter()
            .filter_map(|dated| dated.until)
            .find(|until| *until > Timestamp::now()),
        deliveries: format!("{}{}/deliveries", app.parts().public_url, path(webhook.id)),
    }
}

fn delivery_view(delivery: Delivery) -> DeliveryView {
    DeliveryView {
        message: format!("msg_{}", delivery.id),
        id: delivery.id,
        event: delivery.event,
        job: delivery.job,
        at: delivery.at,
        state: delivery.state,
        attempts: delivery.attempts,
        log: delivery.log,
    }
}

/// The body of a call: small, and the same for each try as long as the job is. Who wants more asks
/// for the job.
pub(crate) async fn body(app: &App, delivery: &DueDelivery) -> Result<Vec<u8>, ApiError> {
    let mut data = json!({});
    if let Some(id) = delivery.job {
        let record = app.redis("read", app.queue().read(id)).await?;
        data["id"] = json!(id);
        let base = &app.parts().public_url;
        data["links"] = json!({ "self": format!("{base}/v1/jobs/{id}") });
        data["status"] = json!(match delivery.event {
            WebhookEvent::Started => "running",
            other => other.as_str().trim_start_matches("job."),
        });
        // It may be gone: erased by its owner, or expired.
        if let Some(record) = record.filter(|record| record.tenant == delivery.tenant) {
            let request = &record.payload.request;
            data["created_at"] = json!(record.created_at);
            data["tags"] = json!(request.tags);
            data["metadata"] = json!(request.metadata);
            let error = record
                .result
                .as_ref()
                .and_then(|result| result.error.as_ref());
            if let Some(error) = error.filter(|_| delivery.event == WebhookEvent::Failed) {
                let message: String = error.message.chars().take(MESSAGE_CHARS_MAX).collect();
                data["error"] = json!({ "class": error.class, "message": message });
            }
        }
    }
    let body = json!({ "type": delivery.event, "timestamp": delivery.at, "data": data });
    Ok(body.to_string().into_bytes())
}
