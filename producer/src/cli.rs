//! The command line: what there is, and what runs it.

use std::time::{Duration, Instant};

use clap::builder::styling::AnsiColor;
use clap::builder::{StyledStr, Styles};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use futures_util::future::select_all;
use secrecy::SecretString;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::AdminArgs;
use crate::client::{Client, SERVER_DEFAULT};
use crate::doctor::DoctorArgs;
use crate::exit::{Exit, Failure};
use crate::job::{
    CancelArgs, DeleteArgs, GetArgs, ListArgs, LogsArgs, OpenArgs, RerunArgs, SubmitArgs,
    UsageArgs, ValidateArgs, WatchArgs,
};
use crate::prompt::{PlanArgs, PromptArgs, TemplateArgs, TemplatesArgs};
use crate::render::RenderArgs;
use crate::serve::ServeArgs;
use crate::top::TopArgs;
use crate::up::UpArgs;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Start here:
  manimq up                            a server here: API, page, worker, Redis
  manimq render -ql scene.py MyScene   in another terminal: your scene's film
  manimq list                          what was rendered

`manimq help COMMAND` tells more of each.";

/// Renders Manim animations on a server of your own.
#[derive(Debug, Parser)]
#[command(name = "manimq", version, styles = STYLES, after_help = EXAMPLES, max_term_width = 100,
          subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Render scenes, with the flags of `manim render`
    Render(Box<RenderArgs>),
    /// Run everything on this machine: Redis, API, page and a worker
    Up(Box<UpArgs>),
    /// Run the HTTP API alone
    Serve(Box<ServeArgs>),
    /// Make a film of a sentence, or of a template with parameters
    Prompt(Box<PromptArgs>),
    /// Say what a sentence would become, without a job
    Plan(PlanArgs),
    /// List the templates
    Templates(TemplatesArgs),
    /// Show a template
    Template(TemplateArgs),
    /// Submit a job and print its id
    Submit(Box<SubmitArgs>),
    /// Show a job
    Get(GetArgs),
    /// List jobs, newest first
    List(Box<ListArgs>),
    /// Follow jobs to their end
    Watch(WatchArgs),
    /// Cancel jobs
    Cancel(CancelArgs),
    /// Run a job again, perhaps with another output
    Rerun(RerunArgs),
    /// Print what a scene printed
    Logs(LogsArgs),
    /// Open a job's film
    Open(OpenArgs),
    /// Delete jobs that have ended, with their files
    Delete(DeleteArgs),
    /// Check a scene file without rendering it
    Validate(ValidateArgs),
    /// Show your quotas and what is used of them
    Usage(UsageArgs),
    /// Watch queue, slots and tenants in a terminal
    Top(TopArgs),
    /// Look after the queue itself: tenants, workers, dead letters, pauses
    Admin(AdminArgs),
    /// Check server, key, Redis, sandbox, Manim, LaTeX and fonts; say how to mend what is wrong
    Doctor(DoctorArgs),
    /// Print a script that completes commands in a shell
    Completions(CompletionsArgs),
}

/// Flags of `manimq completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  manimq completions bash > ~/.local/share/bash-completion/completions/manimq
  manimq completions zsh > ~/.zfunc/_manimq         (with ~/.zfunc in fpath)
  manimq completions fish > ~/.config/fish/completions/manimq.fish")]
pub struct CompletionsArgs {
    /// The shell: bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

impl CompletionsArgs {
    fn run(&self) -> Exit {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "manimq", &mut script);
        crate::admin::print(&String::from_utf8_lossy(&script));
        Exit::Ok
    }
}

/// Where the server is.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Address of the server
    #[arg(long, env = "MANIMQ_SERVER",
        hide_env_values = true, value_name = "URL", default_value = SERVER_DEFAULT,
          help_heading = "Server")]
    pub server: String,
}

impl ServerArgs {
    /// A client for it, with the key in `MANIMQ_API_KEY`. The key is no flag: flags can be read
    /// by everybody on the machine.
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.server, api_key().as_ref())?)
    }
}

/// What is set as `MANIMQ_API_KEY`, and sent.
pub fn api_key() -> Option<SecretString> {
    let key = std::env::var("MANIMQ_API_KEY").ok()?;
    let key = key.trim();
    (!key.is_empty()).then(|| key.into())
}

/// Two signals closer together than this are one: `timeout` and others signal a process and then
/// its group.
pub const SAME_PRESS: Duration = Duration::from_millis(300);

/// Takes these signals over at once; the future calls `first` at the first of them and `again` at each
/// that is not the same press.
pub fn on_signals<const N: usize>(
    kinds: [SignalKind; N],
    first: impl FnOnce(),
    again: impl Fn(),
) -> impl Future<Output = ()> {
    let streams: Result<Vec<_>, _> = kinds.into_iter().map(signal).collect();
    async move {
        // Without a handler a signal ends the program, which is what was asked for.
        let Ok(mut streams) = streams else {
            return;
        };
        let any = async |streams: &mut Vec<Signal>| {
            select_all(streams.iter_mut().map(|stream| Box::pin(stream.recv()))).await;
        };
        any(&mut streams).await;
        first();
        let asked = Instant::now();
        loop {
            any(&mut streams).await;
            if asked.elapsed() >= SAME_PRESS {
                again();
            }
        }
    }
}

/// A token that the first SIGINT or SIGTERM cancels; the second ends the program at once.
#[must_use]
pub fn interrupts() -> CancellationToken {
    let token = CancellationToken::new();
    let first = token.clone();
    // Lives as long as the program: it is what ends it.
    tokio::spawn(on_signals(
        [SignalKind::interrupt(), SignalKind::terminate()],
        move || first.cancel(),
        || std::process::exit(Exit::Canceled.code().into()),
    ));
    token
}

/// What clap says of a wrong command line, as a [`Failure`]: its message, without usage and the way to help.
fn failure(error: &clap::Error) -> Failure {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage("a command or an argument is missing").hint("see --help");
    }
    let text = error.render().to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let message = message.strip_prefix("error: ").unwrap_or(message).trim();
    let tips: Vec<_> = rest
        .lines()
        .filter_map(|line| line.trim().strip_prefix("tip: "))
        .collect();
    let failure = Failure::usage(message);
    if tips.is_empty() {
        failure
    } else {
        failure.hint(tips.join("\n"))
    }
}

/// The usage of the command that was meant. clap's own, of a wrong command line, shows what a variable sets (`REDIS_URL`)
/// as if it had to be given.
fn usage() -> StyledStr {
    let mut command = Cli::command();
    command.build();
    let mut meant = &command;
    for arg in std::env::args_os().skip(1) {
        meant = meant.find_subcommand(&arg).unwrap_or(meant);
    }
    meant.clone().render_usage()
}

/// Whether the command line asks for JSON, as far as that can be told of a wrong one.
fn wants_json() -> bool {
    std::env::args_os()
        .skip(1)
        .take_while(|arg| arg != "--")
        .any(|arg| arg == "--json")
}

impl Cli {
    /// The command line. `settings` is what came of reading `.env`.
    ///
    /// # Errors
    /// How the program ends at once: help was asked for and given, or something is wrong and was told.
    pub fn read(settings: Result<(), String>) -> Result<Self, Exit> {
        let failed = match settings {
            Ok(()) => match Self::try_parse() {
                Ok(cli) => return Ok(cli),
                Err(mut error) if !error.use_stderr() || !wants_json() => {
                    if error.get(ContextKind::Usage).is_some() {
                        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage()));
                    }
                    let _ = error.print();
                    return Err(if error.use_stderr() {
                        Exit::Usage
                    } else {
                        Exit::Ok
                    });
                }
                Err(error) => failure(&error),
            },
            Err(error) => Failure::usage(error),
        };
        Err(crate::admin::conclude(Err(failed), wants_json()))
    }

    /// Runs the command to its end.
    #[must_use]
    pub fn run(self) -> Exit {
        use tokio::runtime::Builder;
        // One thread is enough for a client, and `up` must start its children from the main
        // thread: their death is tied to the thread that started them.
        let mut builder = match self.command {
            Command::Serve(_) => Builder::new_multi_thread(),
            _ => Builder::new_current_thread(),
        };
        let runtime = match builder.enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("error: cannot start: {error}");
                return Exit::Failed;
            }
        };
        let exit = runtime.block_on(async {
            match self.command {
                Command::Render(args) => crate::render::run(*args).await,
                Command::Up(args) => crate::up::run(*args).await,
                Command::Serve(args) => serve(*args).await,
                Command::Prompt(args) => args.run().await,
                Command::Plan(args) => args.run().await,
                Command::Templates(args) => args.run().await,
                Command::Template(args) => args.run().await,
                Command::Submit(args) => args.run().await,
                Command::Get(args) => args.run().await,
                Command::List(args) => args.run().await,
                Command::Watch(args) => args.run().await,
                Command::Cancel(args) => args.run().await,
                Command::Rerun(args) => args.run().await,
                Command::Logs(args) => args.run().await,
                Command::Open(args) => args.run().await,
                Command::Delete(args) => args.run().await,
                Command::Validate(args) => args.run().await,
                Command::Usage(args) => args.run().await,
                Command::Doctor(args) => args.run().await,
                Command::Completions(args) => args.run(),
                Command::Top(args) => crate::top::run(args).await,
                Command::Admin(args) => crate::admin::run(args).await,
            }
        });
        // A thread that waits for an answer on standard input must not hold us.
        runtime.shutdown_background();
        exit
    }
}

async fn serve(args: ServeArgs) -> Exit {
    match crate::serve::run(args, interrupts()).await {
        Ok(()) => Exit::Ok,
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
