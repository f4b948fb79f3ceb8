//! Owns questions: asked on stderr, answered on stdin, No unless somebody says yes.
//!
//! **Law**: a question never keeps a signal waiting, and nobody is asked who cannot see it.

use std::io::BufRead as _;

use tokio::sync::oneshot;

use super::exit::Signal;
use super::follow::{Console, Session};

/// Where answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// Nobody can be asked.
    Nobody,
    /// A terminal.
    Terminal,
    /// A test answers this.
    #[cfg(test)]
    Given(&'static str),
    /// A test that never answers.
    #[cfg(test)]
    Silence,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Yes.
    Yes,
    /// Anything else, or the end of the input.
    No,
    /// A signal came instead.
    Caught(Signal),
    /// There was nobody to ask.
    Nobody,
}

/// Asks, and waits for an answer or a signal.
pub(super) async fn ask(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    question: &str,
) -> Answer {
    let question = format!("{question} [y/N] ");
    put(session, console, &question, |line| {
        matches!(line.to_ascii_lowercase().as_str(), "y" | "yes")
    })
    .await
}

/// Asks for these words, and takes nothing else for a yes.
pub(super) async fn ask_for(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    question: &str,
    words: &str,
) -> Answer {
    put(session, console, question, |line| line == words).await
}

async fn put(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    question: &str,
    is_yes: impl Fn(&str) -> bool,
) -> Answer {
    let (sender, receiver) = oneshot::channel();
    match console.answers {
        Answers::Nobody => return Answer::Nobody,
        // A thread that nobody waits for: reading a terminal cannot be called off, and must not
        // hold up the end of the process.
        Answers::Terminal => {
            std::thread::spawn(move || {
                let mut line = String::new();
                let read = std::io::stdin().lock().read_line(&mut line);
                let _ = sender.send(read.map_or_else(|_| String::new(), |_| line));
            });
        }
        #[cfg(test)]
        Answers::Given(line) => {
            sender.send(line.to_owned()).unwrap();
        }
        #[cfg(test)]
        Answers::Silence => std::mem::forget(sender),
    }
    console.talk.ask(question);
    let answer = tokio::select! {
        biased;
        signal = caught(session) => Answer::Caught(signal),
        line = receiver => {
            let line = line.unwrap_or_default();
            if is_yes(line.trim()) { Answer::Yes } else { Answer::No }
        }
    };
    if matches!(answer, Answer::Caught(_)) {
        // The answer's line was never ended.
        console.talk.ask("\n");
    }
    answer
}

/// The first signal; waits for ever where none comes.
async fn caught(session: &mut Session<'_>) -> Signal {
    loop {
        if let Some(signal) = *session.signals.borrow_and_update() {
            return signal;
        }
        if session.signals.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
