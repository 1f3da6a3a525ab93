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
            graph("Decisions, per minute", "exact: a template fits. ambiguous: none or several fit, and candidates were offered. "
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
