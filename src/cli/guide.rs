//! Owns `guide`: the steps of fetching a model by hand, or the script that does them.
//!
//! Never makes the guide: the engine does, and `domain` has its words.

use super::args::GuideArgs;
use super::document;
use super::exit::{Ending, Work, judge};
use super::follow::{Console, Session, follow};
use super::output::{Format, Output};
use super::remedy::Subject;
use crate::domain::Command;
use crate::store::{Store, size};

/// Runs `guide`; the exit code.
pub async fn guide(session: Session<'_>, args: GuideArgs, output: Output) -> u8 {
    run(session, &args, Console::new(output).at(Work::Looking)).await
}

async fn run(mut session: Session<'_>, args: &GuideArgs, mut console: Console<'_>) -> u8 {
    let mut store = Store::default();
    let ending = match args.request() {
        Err(failure) => Ending::refused(*failure),
        Ok(request) => {
            (session.commands)(Command::Guide(request));
            let followed = follow(&mut session, &mut store, &mut console).await;
            judge(console.work, followed.outcome.as_ref(), followed.caught)
        }
    };
    console.talk.settle();
    let guide = store.guided().and_then(|guided| guided.guide.as_ref());
    let call = args.call();
    let subject = Subject {
        repo: Some(&args.repo),
        command: "guide",
        call: Some(&call),
    };
    if let Some(guide) = guide.filter(|_| console.output.format == Format::Human) {
        if args.script {
            console.printer.text(&guide.script(&args.places));
        } else {
            for line in guide.steps(&size, &args.places) {
                console.printer.line(&line);
            }
        }
    }
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::guide(guide, &args.places, closing, is_line)
    })
}
