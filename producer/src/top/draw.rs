//! How it is drawn, for a terminal of any size.

use std::time::{SystemTime, UNIX_EPOCH};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Gauge, Paragraph, Row, Table};
use ratatui::{Frame, buffer::Buffer};

use super::model::{Sort, View};
use crate::admin::show::plural;
use crate::term::{shorten, visible};

/// Columns of what is printed without a terminal.
const TEXT_COLUMNS: u16 = 100;
/// Most lines of it.
const TEXT_LINES_MAX: u16 = 500;
/// Longest name of a tenant or machine that is shown.
const NAME_MAX: usize = 32;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
const WARN: Style = Style::new().fg(Color::Yellow);

/// Draws all of it; `trouble`: why it is old.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, sort: Sort, trouble: Option<&str>) {
    let workers = u16::try_from(view.workers.len()).unwrap_or(u16::MAX);
    let [head, _, slots, _, lanes, machines, tenants, foot] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(6),
        // A third at most, or many machines would leave no room for the tenants.
        Constraint::Length(workers.saturating_add(2).min(frame.area().height / 3)),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(summary(view)), head);
    draw_slots(frame, slots, view);
    draw_lanes(frame, lanes, view);
    draw_workers(frame, machines, view);
    draw_tenants(frame, tenants, view, sort);
    let keys = match trouble {
        Some(trouble) => Line::styled(
            format!("old figures: {}", visible(trouble)),
            WARN.add_modifier(Modifier::BOLD),
        ),
        None => Line::styled("q quit   s sort   r look again", FAINT),
    };
    frame.render_widget(Paragraph::new(keys), foot);
}

/// The same as text, as wide as most terminals and as long as needed.
pub(super) fn as_text(view: &View, sort: Sort) -> String {
    let rows = view.workers.len() * 3 + view.tenants.len() + 24;
    let height = u16::try_from(rows).unwrap_or(u16::MAX).min(TEXT_LINES_MAX);
    let mut terminal = match Terminal::new(TestBackend::new(TEXT_COLUMNS, height)) {
        Ok(terminal) => terminal,
        Err(never) => match never {},
    };
    match terminal.draw(|frame| draw(frame, view, sort, None)) {
        Ok(_) => {}
        Err(never) => match never {},
    }
    let lines = lines(terminal.backend().buffer());
    // The keys are for a terminal, and what is empty below the last tenant is nothing to see.
    let text = lines[..lines.len() - 1].join("\n");
    format!("{}\n", text.trim_end())
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let Rect { width, height, .. } = buffer.area;
    (0..height)
        .map(|y| {
            let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
            line.trim_end().to_owned()
        })
        .collect()
}

fn summary(view: &View) -> Vec<Line<'static>> {
    let jobs = &view.queue.jobs;
    let mut first = vec![
        Span::styled("jobs ", FAINT),
        Span::styled(format!("{} running", jobs.running), BOLD),
        Span::raw(format!(
            "  {} waiting  {} delayed  {} following",
            jobs.ready, jobs.delayed, jobs.following
        )),
    ];
    if jobs.ready > 0 && view.queue.slots.ready == 0 {
        first.push(Span::styled("  no slot to run in", WARN));
    }
    let count = |name| view.queue.count(name);
    let second = vec![
        Span::styled("ended ", FAINT),
        Span::raw(format!(
            "{} succeeded  {} failed  {} canceled  {} expired  {} leases lost",
            count("succeeded"),
            count("failed"),
            count("canceled"),
            count("expired"),
            count("leases_lost")
        )),
    ];
    let dead = if view.dead > 0 { WARN } else { Style::new() };
    let third = vec![
        Span::styled("also ", FAINT),
        Span::styled(plural(view.dead, "dead letter"), dead),
        Span::raw(format!(
            "  {} to make  ",
            plural(view.webhooks_pending, "webhook call")
        )),
        Span::raw(canary(view)),
    ];
    let pauses = &view.queue.paused;
    let mut paused: Vec<&str> = pauses.lanes.clone();
    if pauses.all {
        paused.insert(0, "everything");
    }
    let fourth = if paused.is_empty() {
        Line::styled("nothing is paused", FAINT)
    } else {
        Line::styled(format!("paused: {}", paused.join(", ")), WARN)
    };
    vec![first.into(), second.into(), third.into(), fourth]
}

fn canary(view: &View) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    match (view.canary_succeeded_at_s, now) {
        (Some(at), Ok(now)) => format!(
            "canary {} ago, took {:.1} s",
            age((now.as_secs_f64() - at).max(0.0)),
            view.canary_took_s
        ),
        _ => "no canary".to_owned(),
    }
}

fn draw_slots(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let slots = &view.queue.slots;
    let ratio = if slots.ready == 0 {
        0.0
    } else {
        (f64::from(slots.busy) / f64::from(slots.ready)).clamp(0.0, 1.0)
    };
    let gauge = Gauge::default()
        .ratio(ratio)
        .gauge_style(Style::new().fg(Color::Cyan))
        // With room to the bar on both sides.
        .label(format!(
            " {} of {} slots busy, {} not ready ",
            slots.busy,
            slots.total,
            slots.total.saturating_sub(slots.ready)
        ));
    frame.render_widget(gauge, area);
}

fn draw_lanes(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = view.lanes.iter().map(|lane| {
        Row::new([
            lane.lane.to_owned(),
            lane.running.to_string(),
            lane.waiting.to_string(),
            oldest(lane.waiting, lane.oldest_s),
        ])
    });
    let widths = [
        Constraint::Length(14),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Min(8),
    ];
    let head = Row::new(["LANE", "RUNNING", "WAITING", "OLDEST"]).style(BOLD);
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = view.workers.iter().map(|worker| {
        let trouble = worker.trouble.as_deref().unwrap_or_default();
        let style = match worker.state {
            "working" => Style::new(),
            _ => WARN,
        };
        Row::new([
            shorten(&visible(&worker.host), NAME_MAX),
            worker.state.to_owned(),
            format!("{}/{}", worker.slots_busy, worker.slots),
            worker.version.clone(),
            visible(trouble).into_owned(),
        ])
        .style(style)
    });
    let widths = [
        Constraint::Length(24),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Min(0),
    ];
    let head = Row::new(["WORKER", "STATE", "BUSY", "VERSION", ""]).style(BOLD);
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

fn draw_tenants(frame: &mut Frame<'_>, area: Rect, view: &View, sort: Sort) {
    let sorted = view.sorted(sort);
    let rows = sorted.tenants.iter().map(|tenant| {
        Row::new([
            shorten(&visible(&tenant.tenant), NAME_MAX),
            tenant.running.to_string(),
            tenant.waiting.to_string(),
            tenant.following.to_string(),
            oldest(tenant.waiting, tenant.oldest_s),
        ])
    });
    let mark = |name: &'static str, by: Sort| {
        if by == sort {
            format!("{name} ▾")
        } else {
            name.to_owned()
        }
    };
    let first = if view.partial {
        format!("{} (some)", mark("TENANT", Sort::Name))
    } else {
        mark("TENANT", Sort::Name)
    };
    let head = Row::new([
        first,
        mark("RUNNING", Sort::Running),
        mark("WAITING", Sort::Waiting),
        "FOLLOWING".to_owned(),
        mark("OLDEST", Sort::Oldest),
    ])
    .style(BOLD);
    let widths = [
        Constraint::Length(34),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Min(8),
    ];
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

fn oldest(waiting: u64, seconds: f64) -> String {
    if waiting == 0 {
        "-".to_owned()
    } else {
        age(seconds)
    }
}

/// A time in two or three characters and a unit.
fn age(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use manimq_shared::queue::{Stats, WorkerInfo};
    use manimq_shared::testing;

    use super::super::model::{LaneView, TenantRow};
    use super::*;
    use crate::admin::view::{QueueSummary, WorkerView};

    fn tenant(name: &str, running: u64, waiting: u64, oldest_s: f64) -> TenantRow {
        TenantRow {
            tenant: name.to_owned(),
            running,
            waiting,
            following: 0,
            oldest_s,
        }
    }

    fn view() -> View {
        let worker = WorkerInfo {
            host: "render-1".to_owned(),
            slots_busy: 3,
            ..testing::worker(4)
        };
        let stats = Stats {
            ready: 12,
            running: 3,
            workers: vec![worker.clone()],
            ..Stats::default()
        };
        View {
            queue: QueueSummary::new("mq", &stats),
            lanes: vec![LaneView {
                lane: "normal",
                waiting: 12,
                running: 3,
                oldest_s: 754.0,
            }],
            workers: vec![WorkerView::from(&worker)],
            tenants: vec![
                tenant("acme", 1, 2, 3.0),
                tenant("beta", 2, 1, 754.0),
                tenant("gamma", 0, 9, 60.0),
            ],
            partial: false,
            dead: 1,
            webhooks_pending: 0,
            canary_succeeded_at_s: None,
            canary_took_s: 0.0,
        }
    }

    fn drawn(width: u16, height: u16, sort: Sort, trouble: Option<&str>) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let view = view();
        terminal
            .draw(|frame| draw(frame, &view, sort, trouble))
            .unwrap();
        lines(terminal.backend().buffer())
    }

    fn order(lines: &[String]) -> Vec<&str> {
        let names = ["acme", "beta", "gamma"];
        let first = lines.iter().filter_map(|line| line.split(' ').next());
        first.filter(|word| names.contains(word)).collect()
    }

    #[test]
    fn the_view_shows_jobs_slots_lanes_workers_and_tenants() {
        let lines = drawn(100, 30, Sort::Running, None);
        let text = lines.join("\n");
        for part in [
            "3 running  12 waiting",
            "3 of 4 slots busy, 0 not ready",
            "1 dead letter  0 webhook calls to make",
            "no canary",
            "nothing is paused",
            "RUNNING ▾",
            "render-1",
            "q quit",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        let lane: Vec<_> = lines
            .iter()
            .find(|line| line.starts_with("normal"))
            .unwrap()
            .split_whitespace()
            .collect();
        let bar = lines.iter().position(|line| line.contains("slots busy"));
        let bar = bar.unwrap();
        assert_eq!((&*lines[bar - 1], &*lines[bar + 1]), ("", ""), "{text}");
        assert!(lines[bar].contains("█ 3 of 4"), "{text}");
        assert_eq!(lane, ["normal", "3", "12", "13", "min"]);
    }

    #[test]
    fn tenants_are_sorted_by_what_was_asked_for_and_the_key_goes_through_all() {
        let mut sort = Sort::Running;
        for expected in [
            ["beta", "acme", "gamma"],
            ["gamma", "acme", "beta"],
            ["beta", "gamma", "acme"],
            ["acme", "beta", "gamma"],
        ] {
            assert_eq!(order(&drawn(100, 30, sort, None)), expected, "{sort:?}");
            sort = sort.next();
        }
        assert_eq!(sort, Sort::Running);
    }

    #[test]
    fn a_terminal_of_any_size_is_drawn_without_a_fault() {
        for width in [0, 1, 7, 40, 300] {
            for height in [0, 1, 2, 5, 12, 100] {
                let lines = drawn(width, height, Sort::Name, Some("Redis does not answer"));
                assert_eq!(lines.len(), usize::from(height));
            }
        }
    }

    #[test]
    fn figures_that_are_old_say_so() {
        let lines = drawn(100, 30, Sort::Name, Some("Redis is away"));
        assert_eq!(lines.last().unwrap(), "old figures: Redis is away");
    }

    #[test]
    fn without_a_terminal_every_tenant_is_printed_and_no_key() {
        let mut view = view();
        view.tenants = (0..200)
            .map(|n| tenant(&format!("t{n}"), 0, n, 1.0))
            .collect();
        let text = as_text(&view, Sort::Waiting);
        assert!(text.contains("\nt199 ") && text.contains("\nt0 "), "{text}");
        assert!(!text.contains("q quit"));
    }
}
