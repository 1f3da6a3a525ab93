//! What `--help` says is part of the product: kept in files, so that a change is seen.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p manimq --test cli help` writes them.

use clap::CommandFactory as _;

use crate::support::{manimq, run};

/// Commands that end with nothing to tell: they run until they are stopped, or print a script for a shell.
const WITHOUT_JSON: [&str; 3] = ["completions", "serve", "up"];

/// The names of all commands without commands of their own that have no `--json`.
fn without_json(command: &clap::Command, path: &str, found: &mut Vec<String>) {
    let mut leaf = true;
    let subs = command.get_subcommands();
    for sub in subs.filter(|sub| sub.get_name() != "help") {
        leaf = false;
        let path = format!("{path} {}", sub.get_name());
        without_json(sub, path.trim_start(), found);
    }
    if leaf && !command.get_arguments().any(|arg| arg.get_id() == "json") {
        found.push(path.to_owned());
    }
}

#[test]
fn every_command_but_the_named_ones_answers_in_json_where_it_is_asked_to() {
    let mut command = manimq::cli::Cli::command();
    // Hands on what a command's own commands have of it.
    command.build();
    let mut found = Vec::new();
    without_json(&command, "", &mut found);
    found.sort();
    assert_eq!(found, WITHOUT_JSON);
}

#[tokio::test]
async fn help_reads_as_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let mut stale = Vec::new();
    for (name, args) in [
        ("manimq", &["--help"][..]),
        ("render", &["render", "--help"]),
        ("up", &["up", "--help"]),
        ("submit", &["submit", "--help"]),
        ("list", &["list", "--help"]),
        ("rerun", &["rerun", "--help"]),
        ("prompt", &["prompt", "--help"]),
        ("plan", &["plan", "--help"]),
        ("templates", &["templates", "--help"]),
        ("template-show", &["template", "show", "--help"]),
        ("admin", &["admin", "--help"]),
        ("admin-tenants-set", &["admin", "tenants", "set", "--help"]),
        ("admin-drain", &["admin", "drain", "--help"]),
    ] {
        let said = run(manimq(folder.path()).args(args).env("COLUMNS", "100")).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        let path = format!("{}/tests/cli/help/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&path, &said.out).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != said.out {
            stale.push(path);
        }
        assert!(
            said.out.lines().all(|line| line.chars().count() <= 100),
            "{}",
            said.out
        );
    }
    assert!(
        stale.is_empty(),
        "the help has changed and these have not; look at them with UPDATE_SNAPSHOTS=1 and git diff: {stale:?}"
    );
}

/// All commands, by their paths.
fn commands<'a>(
    command: &'a clap::Command,
    path: &str,
    found: &mut Vec<(String, &'a clap::Command)>,
) {
    for sub in command.get_subcommands() {
        commands(sub, &format!("{path} {}", sub.get_name()), found);
    }
    found.push((path.to_owned(), command));
}

#[test]
fn what_stands_below_the_flags_is_not_wrapped_twice_on_a_terminal_of_80_columns() {
    let command = manimq::cli::Cli::command();
    let mut found = Vec::new();
    commands(&command, "manimq", &mut found);
    for (path, command) in found {
        let text = command.get_after_help();
        let text = text.map(ToString::to_string).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            // What is longer must be a paragraph by itself, which clap wraps.
            let beside = [n.checked_sub(1), Some(n + 1)].map(|n| n.and_then(|n| lines.get(n)));
            let paragraph = !line.starts_with(' ')
                && beside
                    .iter()
                    .all(|line| line.is_none_or(|line| line.is_empty()));
            assert!(line.chars().count() <= 80 || paragraph, "{path}: {line}");
        }
    }
}

#[tokio::test]
async fn each_operator_command_teaches_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    for command in [
        "queue",
        "queue retention",
        "tenants list",
        "tenants show",
        "tenants set",
        "tenants limits",
        "tenants create",
        "tenants disable",
        "tenants enable",
        "tenants delete",
        "keys create",
        "keys list",
        "keys rotate",
        "keys revoke",
        "jobs list",
        "jobs show",
        "jobs cancel",
        "jobs rerun",
        "dead list",
        "dead redrive",
        "dead discard",
        "workers",
        "audit",
        "pause",
        "resume",
        "drain",
    ] {
        let words: Vec<_> = command.split(' ').collect();
        let mut program = manimq(folder.path());
        program.arg("admin").args(words).arg("--help");
        let said = run(program.env("COLUMNS", "100")).await;
        assert_eq!(said.code, Some(0), "{command}");
        let example = format!("Example:\n  manimq admin {command}");
        assert!(said.out.contains(&example), "{command}: {}", said.out);
    }
}
