//! What `--help` says is part of the product: kept in files, so that a change is seen.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p manimq --test cli help` writes them.

use crate::support::{manimq, run};

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

#[tokio::test]
async fn each_operator_command_teaches_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    for command in [
        "queue",
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
