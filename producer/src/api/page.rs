//! `GET /`: where to go, until there is a page.

use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse as _, Response};

use super::App;

const PAGE: &str = r#"<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>manimq</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color-scheme:light dark}
pre{overflow-x:auto;padding:.8rem;border:1px solid #8886;border-radius:.4rem}td{padding:.1rem 1rem .1rem 0;vertical-align:top;overflow-wrap:anywhere}td:first-child{white-space:nowrap}
@media (max-width:40rem){body{margin:1rem auto}td,td:first-child{display:block;white-space:normal;padding:0}td:first-child{padding-top:.6rem}}</style>
<h1>manimq</h1>
<p>This server renders <a href="https://www.manim.community">Manim</a> animations. From a shell:</p>
<pre>manimq render --server {base} -ql scene.py MyScene</pre>
<p>or over HTTP:</p>
<pre>curl -sS {base}/v1/jobs -H 'content-type: application/json' -d '{
  "input": {"kind": "code", "source": "from manim import *\nclass Hello(Scene):\n    def construct(self):\n        self.play(Write(Text(\"Hello\")))\n"},
  "output": {"quality": "low"}}'</pre>
<p>or without code, from a sentence:</p>
<pre>manimq prompt --server {base} -ql "bubble sort 5 2 9"</pre>
<p>Where the server wants a key, put it into <code>MANIMQ_API_KEY</code>; <code>curl</code> sends it with
<code>-H "authorization: Bearer $MANIMQ_API_KEY"</code>.</p>
<table>
<tr><td><code>POST /v1/jobs</code><td>submit a job: <code>code</code>, a <code>template</code> with parameters, or a <code>prompt</code>
<tr><td><code>POST /v1/jobs/batch</code><td>submit up to 100 jobs
<tr><td><code>GET /v1/jobs</code><td>list your jobs; <code>?status=failed&amp;q=TEXT</code> and more
<tr><td><code>GET /v1/jobs/{id}</code><td>read it; <code>?wait=20&amp;since=REVISION</code> waits for a change; <code>resultUrl</code> is the film
<tr><td><code>GET /v1/jobs/{id}/events</code><td>follow it (server-sent events)
<tr><td><code>GET /v1/jobs/{id}/logs</code><td>what the scene printed
<tr><td><code>POST /v1/jobs/{id}/cancel</code><td>cancel it
<tr><td><code>POST /v1/jobs/{id}/rerun</code><td>run it again, perhaps with another output
<tr><td><code>DELETE /v1/jobs/{id}</code><td>delete it with its files
<tr><td><code>GET /v1/jobs/{id}/artifacts/{name}</code><td>a file of the result
<tr><td><code>GET /v1/events</code><td>what happens to all your jobs (server-sent events)
<tr><td><a href="/v1/templates"><code>GET /v1/templates</code></a><td>films that need no code, and what each takes
<tr><td><code>POST /v1/plan</code><td>which template and parameters a sentence becomes; no job
<tr><td><code>POST /v1/validate</code><td>what is wrong with a source; no job
<tr><td><code>POST /api/manim/generate</code><td>a job from <code>{"prompt", "quality"}</code>, as the prototype took it; poll <code>/api/manim/jobs/{id}</code>
<tr><td><code>POST /v1/webhooks</code><td>have a server of yours called when jobs end
<tr><td><code>GET /v1/usage</code><td>your quotas, and what is used of them
<tr><td><a href="/docs"><code>GET /docs</code></a><td>all of it, to read and to try out
<tr><td><a href="/openapi.json"><code>GET /openapi.json</code></a><td>all of it, for programs
<tr><td><a href="/readyz"><code>GET /readyz</code></a><td>whether a job would run now
<tr><td><a href="/healthz"><code>GET /healthz</code></a><td>whether this server answers
</table>
</html>
"#;

pub(super) async fn index(State(app): State<App>) -> Response {
    (
        [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (
                CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            ),
        ],
        PAGE.replace("{base}", &escape(&app.parts().public_url)),
    )
        .into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
