//! `manimq top`: queue, slots and tenants as they are now, in a terminal. The same numbers as the metrics of the
//! fleet, from Redis itself, so no API is needed.

mod draw;
mod model;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use manimq_shared::queue::Queue;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::json;
use tokio::sync::mpsc;

use self::model::{Sort, View};
use crate::admin::{Answer, Place, conclude};
use crate::exit::{Exit, Failure};

/// How long a key is waited for before it is looked whether the program ends.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Keys that may wait to be looked at.
const KEYS: usize = 64;
/// Least time between two looks.
const EVERY_MIN: Duration = Duration::from_millis(200);

/// Flags of `manimq top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: q quits, s sorts the tenants by something else, r looks again at once.

A tenant's jobs are running, waiting (a claim could take them) or following (they wait for another \
job's render of the same). Ages are since the submit.

Examples:
  manimq top
  manimq top --once --sort oldest
  manimq top --json | jq '.tenants[] | select(.waiting > 100)'")]
pub struct TopArgs {
    /// Look once, print it and end; so it does without a terminal, too
    #[arg(long)]
    once: bool,
    /// How often to look again
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration, value_name = "TIME")]
    every: Duration,
    /// What the tenants are sorted by
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    sort: SortArg,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum SortArg {
    #[default]
    Running,
    Waiting,
    Oldest,
    Name,
}

impl From<SortArg> for Sort {
    fn from(sort: SortArg) -> Self {
        match sort {
            SortArg::Running => Self::Running,
            SortArg::Waiting => Self::Waiting,
            SortArg::Oldest => Self::Oldest,
            SortArg::Name => Self::Name,
        }
    }
}

/// Runs the command.
pub async fn run(args: TopArgs) -> Exit {
    let json = args.place.json();
    conclude(watch(args).await, json)
}

async fn watch(args: TopArgs) -> Result<Answer, Failure> {
    if args.every < EVERY_MIN {
        return Err(Failure::usage("--every is less than 200ms")
            .hint("each look costs Redis some work; take 200ms or more"));
    }
    let place = &args.place;
    let queue = place.open().await?;
    let sort = Sort::from(args.sort);
    if args.once || place.json() || !std::io::stdout().is_terminal() {
        let view = View::look(&queue, place.prefix()).await?;
        let text = draw::as_text(&view, sort);
        return Ok(Answer::ok(text, json!(view.sorted(sort))));
    }
    screen(&queue, place.prefix(), args.every, sort).await?;
    Ok(Answer::ok("", json!(null)))
}

/// What somebody at the terminal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Quit,
    Sort,
    Look,
    /// Draw it again: the terminal has another size.
    Draw,
}

fn wish(event: &Event) -> Option<Wish> {
    match event {
        Event::Resize(..) => Some(Wish::Draw),
        Event::Key(KeyEvent {
            code,
            modifiers,
            kind: KeyEventKind::Press,
            ..
        }) => match code {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Quit),
            KeyCode::Char('q') | KeyCode::Esc => Some(Wish::Quit),
            KeyCode::Char('s') => Some(Wish::Sort),
            KeyCode::Char('r') => Some(Wish::Look),
            _ => None,
        },
        _ => None,
    }
}

/// Reads keys on a thread of its own until `end`: they are waited for where nothing else can be.
fn keys(end: Arc<AtomicBool>) -> mpsc::Receiver<Wish> {
    let (sender, receiver) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        while !end.load(Ordering::Relaxed) {
            let read = match event::poll(KEY_WAIT) {
                Ok(true) => event::read(),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            // A terminal that is gone ends the program, as `q` does.
            let wish = read.map_or(Some(Wish::Quit), |event| wish(&event));
            if let Some(wish) = wish
                && sender.blocking_send(wish).is_err()
            {
                return;
            }
        }
    });
    receiver
}

async fn screen(
    queue: &Queue,
    prefix: &str,
    every: Duration,
    mut sort: Sort,
) -> Result<(), Failure> {
    // Before the terminal is changed: what cannot be read is said on it as it is.
    let mut view = View::look(queue, prefix).await?;
    let mut trouble = None;
    let stop = crate::cli::interrupts();
    let broken = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            "terminal",
            format!("the terminal cannot be used: {error}"),
        )
        .hint("`manimq top --once` needs none")
    };
    let mut terminal = ratatui::try_init().map_err(broken)?;
    let end = Arc::new(AtomicBool::new(false));
    let mut wishes = keys(Arc::clone(&end));
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let result = loop {
        let drawn = terminal.draw(|frame| draw::draw(frame, &view, sort, trouble.as_deref()));
        if let Err(error) = drawn {
            break Err(broken(error));
        }
        let look = tokio::select! {
            _ = ticks.tick() => true,
            wish = wishes.recv() => match wish {
                None | Some(Wish::Quit) => break Ok(()),
                Some(Wish::Sort) => {
                    sort = sort.next();
                    false
                }
                Some(Wish::Look) => true,
                Some(Wish::Draw) => false,
            },
            () = stop.cancelled() => break Ok(()),
        };
        if look {
            match View::look(queue, prefix).await {
                Ok(fresh) => {
                    view = fresh;
                    trouble = None;
                }
                // What was seen last stays, and is said to be old.
                Err(error) => trouble = Some(error.to_string()),
            }
        }
    };
    end.store(true, Ordering::Relaxed);
    ratatui::restore();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_what_the_help_says_and_others_nothing() {
        let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(wish(&key(KeyCode::Char('q'))), Some(Wish::Quit));
        assert_eq!(wish(&key(KeyCode::Esc)), Some(Wish::Quit));
        assert_eq!(wish(&key(KeyCode::Char('s'))), Some(Wish::Sort));
        assert_eq!(wish(&key(KeyCode::Char('r'))), Some(Wish::Look));
        assert_eq!(wish(&key(KeyCode::Char('c'))), None);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(wish(&Event::Key(interrupt)), Some(Wish::Quit));
        assert_eq!(wish(&Event::Resize(80, 24)), Some(Wish::Draw));
    }
}
