"""What test_api.py changes in the requests of schemathesis before they are sent."""

import os

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """A webhook leads to a receiver of the test, and to nobody's server."""
    body = case.body
    if "/v1/webhooks" in case.operation.path and isinstance(body, dict) and str(body.get("url", "")).startswith("http"):
        case.body = {**body, "url": os.environ["MANIMQ_RECEIVER"]}
