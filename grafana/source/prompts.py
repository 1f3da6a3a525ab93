"""E. How prompts become scenes, and whether the scenes look right."""

from .model import Dashboard, Row, Target, graph, sel, table, total

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
            graph("Decisions, per minute", "exact: one template fits. ambiguous: several do. fallback: none does. llm: a "
                  "language model wrote the scene.", "cpm", [Target("60 * " + total(ROUTED, "decision"), "{{decision}}")],
                  stack=True),
            graph("Ambiguous", "Part of the prompts that several templates fit. High: the templates' words overlap.",
                  "percentunit", part("ambiguous"), maximum=1),
            graph("Fallback", "Part of the prompts that no template fits. High: people want something that is missing.",
                  "percentunit", part("fallback"), maximum=1),
            table("Templates", "Prompts in the chosen time, by template.", "short",
                  [("Prompts", f"topk(20, sum by (template) (increase({sel(ROUTED)}[$__range])))")], sort="Prompts",
                  width=12),
            graph("Templates, per minute", "The ten most used.", "cpm",
                  [Target(f"topk(10, 60 * {total(ROUTED, 'template')})", "{{template}}")], stack=True, width=12),
        ]),
        Row("Language model", [
            graph("Calls, per minute", "By outcome. Nothing unless a model is configured.", "cpm",
                  [Target("60 * " + total("manimq_llm_requests_total", "outcome"), "{{outcome}}")], stack=True),
            graph("Tokens, per minute", "What is paid for.", "cpm",
                  [Target("60 * " + total("manimq_llm_tokens_total", "outcome"), "{{outcome}}")], stack=True),
            graph("Repairs, per minute", "Answers that were sent back because the scene did not work.", "cpm",
                  [Target("60 * " + total("manimq_llm_repairs_total", "outcome"), "{{outcome}}")], stack=True),
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
