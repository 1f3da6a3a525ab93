"""D. Requests, event streams, webhooks, stored files, Redis."""

from .model import (GREEN, ORANGE, RED, Dashboard, Row, Target, fleet, graph, quantile, sel, stat, steps, total)

REQUESTS = "manimq_http_requests_total"
STORAGE = "manimq_storage_operations_total"
WEBHOOKS = "manimq_webhook_deliveries_total"
MAXMEMORY = fleet("redis_memory_max_bytes")


service = Dashboard(
    uid="manimq-service",
    title="manimq / API, webhooks, storage, Redis",
    description="Requests, event streams, webhooks, stored files and the Redis below.",
    tags=("api",),
    rows=[
        Row("Requests", [
            graph("Requests by route", "Answered per second, by route template.", "reqps",
                  [Target(total(REQUESTS, "route"), "{{route}}")], stack=True, width=6),
            graph("Faults of ours", "Part of the answers that were 5xx, by route.", "percentunit",
                  [Target(f"{total(REQUESTS, 'route', code='5xx')} / ({total(REQUESTS, 'route')} > 0)", "{{route}}")],
                  maximum=1, width=6),
            graph("Duration, p95, by route", "From a request's head to its answer's. Long polls are long on purpose.", "s",
                  [Target(quantile(0.95, "manimq_http_request_duration_seconds", "route"), "{{route}}")], width=6),
            graph("Answers by class", "4xx are the caller's: wrong, unknown, too many.", "reqps",
                  [Target(total(REQUESTS, "code"), "{{code}}")], stack=True, width=6),
            graph("Event streams, long polls, connections", "Open now. Event streams that end at one instant mean an API or a "
                  "proxy that stopped; beside it is why they were cut off.", "short", [
                      Target(f"sum({sel('manimq_sse_connections')})", "event streams"),
                      Target(f"sum({sel('manimq_long_polls')})", "long polls"),
                      Target(f"sum({sel('manimq_http_connections')})", "connections")]),
            graph("Event streams cut off, per minute", "By us: stop (this API stopped), life (open for half an hour: they come back), "
                  "key (it ended), error, full (no place). missed: went on, but was told to list anew. stalled: connections, "
                  "downloads too, whose reader took nothing.", "cpm", [
                      Target("60 * " + total("manimq_sse_cut_off_total", "reason"), "{{reason}}"),
                      Target("60 * " + total("manimq_http_stalled_total"), "stalled")], stack=True),
            graph("Replays and refusals, per minute", "Submits answered by their idempotency key; requests refused because "
                  "one address sent too many.", "cpm", [
                      Target("60 * " + total("manimq_jobs_replayed_total"), "idempotent replays"),
                      Target("60 * " + total("manimq_http_rate_limited_total"), "rate limited")]),
        ]),
        Row("Webhooks", [
            graph("Deliveries, per minute", "retry: failed, comes again. failed: given up.", "cpm",
                  [Target("60 * " + total(WEBHOOKS, "result"), "{{result}}")], stack=True, width=6),
            graph("Success", "Part of the calls that were answered with 2xx.", "percentunit",
                  [Target(f"{total(WEBHOOKS, result='delivered')} / ({total(WEBHOOKS)} > 0)", "delivered")], maximum=1, width=6),
            stat("Pending", "Calls that are still to be made, those that wait for a repeat included.", "short",
                 [Target(f"max({fleet('manimq_webhook_pending')})")]),
            stat("Most overdue", "For how long the oldest due call has been due.", "s",
                 [Target(f"max({fleet('manimq_webhook_oldest_age_seconds')})")],
                 steps((None, GREEN), (300, ORANGE), (900, RED))),
            stat("Given up, 24 h", "Calls dropped because too many of a tenant waited.", "short",
                 [Target(f"max(increase({fleet('manimq_webhook_dropped_total')}[24h]))")], steps((None, GREEN), (1, ORANGE))),
        ]),
        Row("Stored files", [
            graph("Operations, p95", "grant: leave to upload, put: a file taken in, get: until the first byte. upload: by a worker to a bucket, its word "
                  "on what it has included.", "s",
                  [Target(quantile(0.95, "manimq_storage_operation_duration_seconds", "op"), "{{op}}")], width=6),
            graph("Errors", "Part of the operations that failed by our fault or the store's.", "percentunit",
                  [Target(f"{total(STORAGE, 'op', result='error')} / ({total(STORAGE, 'op')} > 0)", "{{op}}")], maximum=1, width=6),
            graph("Refused, per minute", "Signed URLs that were wrong, expired or used twice, and leaves that were not given.",
                  "cpm", [Target("60 * " + total(STORAGE, "op", result="refused"), "{{op}}")], stack=True, width=6),
            graph("Bytes", "In: with jobs, and from workers if the store is a folder. Out: to readers, if it is one. What goes to a bucket is "
                  "on Workers, Output.", "Bps",
                  [Target(total("manimq_storage_bytes_total", "direction"), "{{direction}}")], width=6),
        ]),
        Row("Redis, as our programs see it", [
            graph("Calls, p99", "By function, waiting for a connection included.", "s",
                  [Target(quantile(0.99, "manimq_redis_command_duration_seconds", "command"), "{{command}}")]),
            graph("Calls, per second", "How often each function is called.", "cps",
                  [Target(total("manimq_redis_command_duration_seconds_count", "command"), "{{command}}")], stack=True),
            graph("Failed calls, per minute", "By function; each was tried again as long as that was safe.", "cpm",
                  [Target("60 * " + total("manimq_redis_errors_total", "command"), "{{command}}")], stack=True),
        ]),
        Row("Redis itself", [
            graph("Memory", "Used, and the limit if one is set (0: none). At the limit submits are refused: nothing may be "
                  "evicted.", "bytes", [
                      Target(f"max by (instance) ({fleet('redis_memory_used_bytes')})", "used"),
                      Target(f"max by (instance) ({MAXMEMORY})", "limit")]),
            stat("Evicted keys, 24 h", "Must be 0: an evicted key is a lost job. Set maxmemory-policy noeviction.", "short",
                 [Target(f"sum(increase({fleet('redis_evicted_keys_total')}[24h]))")], steps((None, GREEN), (1, RED))),
            stat("Last AOF write", "Whether Redis could write its append-only file.", "none",
                 [Target(f"min({fleet('redis_aof_last_write_status')})")], steps((None, RED), (1, GREEN)),
                 mappings=[{"type": "value", "options": {"0": {"color": RED, "index": 0, "text": "FAILED"},
                                                         "1": {"color": GREEN, "index": 1, "text": "OK"}}}]),
            stat("Replicas", "Connected to this master. 0 on a single server.", "short",
                 [Target(f"max({fleet('redis_connected_slaves')})")]),
            stat("Last snapshot", "Since Redis last wrote a snapshot, which is beside the append-only file.", "s",
                 [Target(f"time() - max({fleet('redis_rdb_last_save_timestamp_seconds')})")]),
            graph("Processor time by command", "Cores that Redis spends; it has one for commands.", "none",
                  [Target(f"topk(8, sum by (cmd) (rate({fleet('redis_commands_duration_seconds_total')}[$__rate_interval])))",
                          "{{cmd}}")], stack=True, line=0.8),
            graph("Clients", "Blocked: workers that wait for the bell, one each.", "short", [
                Target(f"max({fleet('redis_connected_clients')})", "connected"),
                Target(f"max({fleet('redis_blocked_clients')})", "blocked")]),
            graph("Command latency, p99", "Of Redis alone, without the way there.", "µs",
                  [Target(f"max by (cmd) ({fleet('redis_latency_percentiles_usec', quantile='99|0.99')})", "{{cmd}}")]),
        ]),
    ],
)
