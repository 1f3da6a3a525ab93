"""E. How prompts become scenes, and whether the scenes look right."""

from .model import Dashboard, Row, Target, graph, quantile, sel, table, total

ROUTED = "manimq_prompt_routed_total"


def part(decision: str) -> list[Target]:
    """The part of prompts that were decided so."""
    return [Target(f"{total(ROUTED, decision=decision)} / ({total(ROUTED)} > 0)", decision)]


prompts = Dashboard(
    uid="manimq-prompts",
    title="manimq / Prompts",
    description="How prompts become scenes, and whether the scenes look right.",
    tags=("prompts",),
    rows=[
        Row("Routing", [
            graph("Decisions, per minute", "exact: a template fits. model, code: a language model filled one in, or wrote a scene. ambiguous: none or several fit, and candidates were offered. "
                  "fallback: none fits, and the card that was asked for was made.", "cpm", [Target("60 * " + total(ROUTED, "decision"), "{{decision}}")],
                  stack=True),
            graph("Ambiguous", "Part of the prompts that were refused with candidates. High: templates overlap, or people want something that is missing.",
                  "percentunit", part("ambiguous"), maximum=1),
            graph("Fallback", "Part of the prompts that became a card. High: people want something that is missing.",
                  "percentunit", part("fallback"), maximum=1),
            table("Templates", "Prompts in the chosen time, by template.", "short",
                  [("Prompts", f"topk(20, sum by (template) (increase({sel(ROUTED)}[$__range])))")], sort="Prompts",
                  width=12),
            graph("Templates, per minute", "The ten most used.", "cpm",
                  [Target(f"topk(10, 60 * {total(ROUTED, 'template')})", "{{template}}")], stack=True, width=12),
        ]),
        Row("Language model (empty without one)", [
            graph("Questions, per minute", "ok, or why not: late, away, limited (429), refused, nonsense, cut_off. Not sent: resting (it failed "
                  "lately), budget (the hour's tokens are used up), busy.", "cpm",
                  [Target("60 * " + total("manimq_llm_calls_total", "outcome"), "{{outcome}}")], stack=True),
            graph("Time of an answer", "p50 and p95 of the questions that were sent. Near MANIMQ_LLM_TIMEOUT_S prompts fall back to templates alone.",
                  "s", [Target(quantile(q, "manimq_llm_call_duration_seconds"), name) for q, name in ((0.5, "p50"), (0.95, "p95"))]),
            graph("Proposals, per minute", "What prompts got of it. unusable: its answers never held, even after they were sent back.", "cpm",
                  [Target("60 * " + total("manimq_llm_proposals_total", "purpose, result"), "{{purpose}} {{result}}")], stack=True),
            graph("Tokens, per minute", "Of questions and answers, by what for. MANIMQ_LLM_TOKENS_PER_HOUR bounds them in each API process.", "cpm",
                  [Target("60 * " + total("manimq_llm_tokens_total", "purpose"), "{{purpose}}")], stack=True, width=12),
            graph("Left alone", "1 while an API process asks it nothing because it failed; that process's log says why.", "short",
                  [Target(f"max by (instance) ({sel('manimq_llm_breaker_open')})", "{{instance}}")], width=12),
        ]),
        Row("What came of it", [
            graph("Layout remarks, per minute", "What the layout check says of finished renders, by kind: outside the frame, "
                  "overlapping, too small.", "cpm",
                  [Target("60 * " + total("manimq_layout_warnings_total", "kind"), "{{kind}}")], stack=True,
                  width=12),
            graph("Accepted by kind, per minute", "Submits by what they brought: code, template, prompt.", "cpm",
                  [Target("60 * " + total("manimq_jobs_submitted_total", "kind", lane="$lane"), "{{kind}}")], stack=True,
                  width=12),
        ]),
    ],
)
