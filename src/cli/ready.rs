//! Owns `ready` and `wait`: the snapshot's path on stdout if the model can be loaded, else why not.
//!
//! Never looks at the disk: the engine does.

use super::args::{ReadyArgs, WaitArgs, parse_repo, revision_of, wait_limit};
use super::document;
use super::exit::{Ending, Work, judge};
use super::follow::{Console, Session, follow};
use super::output::{Format, Output};
use super::remedy::Subject;
use crate::domain::{Command, Failure, ReadyRequest, WaitLimit};
use crate::store::Store;

/// Whether to wait for whoever fetches the model.
#[derive(Clone, Copy)]
enum Patience<'a> {
    /// Say what is true now.
    None,
    /// Wait, for no longer than this if it is given.
    UpTo(Option<&'a str>),
}

/// Runs `ready`; the exit code.
pub async fn ready(session: Session<'_>, args: ReadyArgs, output: Output) -> u8 {
    run(session, &args, Patience::None, output).await
}

/// Runs `wait`; the exit code.
pub async fn wait(session: Session<'_>, args: WaitArgs, output: Output) -> u8 {
    run(
        session,
        &args.ready,
        Patience::UpTo(args.timeout.as_deref()),
        output,
    )
    .await
}

async fn run(
    mut session: Session<'_>,
    args: &ReadyArgs,
    patience: Patience<'_>,
    output: Output,
) -> u8 {
    let mut console = Console::new(output).at(Work::Looking);
    let mut store = Store::default();
    let asked = request(args, patience);
    let ending = match &asked {
        Err(failure) => Ending::refused(failure.as_ref().clone()),
        Ok(request) => {
            (session.commands)(Command::Ready(request.clone()));
            let followed = follow(&mut session, &mut store, &mut console).await;
            judge(console.work, followed.outcome.as_ref(), followed.caught)
        }
    };
    console.talk.settle();
    let command = match patience {
        Patience::None => "ready",
        Patience::UpTo(_) => "wait",
    };
    let subject = Subject {
        repo: Some(&args.repo),
        command,
        call: None,
    };
    let model = store.listing().models.first();
    if console.output.format == Format::Human
        && ending.exit_code == 0
        && let Some(model) = model
    {
        console.printer.line(&model.snapshot);
    }
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::ready(command, asked.as_ref().ok(), model, closing, is_line)
    })
}

fn request(args: &ReadyArgs, patience: Patience<'_>) -> Result<ReadyRequest, Box<Failure>> {
    let reference = parse_repo(&args.repo)?;
    let revision = revision_of(&args.repo, reference.revision, args.revision.as_deref())?;
    let wait = match patience {
        Patience::None => None,
        Patience::UpTo(None) => Some(WaitLimit { limit_ms: None }),
        Patience::UpTo(Some(text)) => Some(wait_limit(text)?),
    };
    Ok(ReadyRequest {
        repo: reference.repo,
        revision,
        is_verified: args.verified,
        wait,
    })
}
