//! Owns stdout: the only writer of data. Stderr is `progress`'s.
//!
//! **Law**: a reader that goes away ends the printing quietly and nothing else.

use std::io::{self, ErrorKind, Write};

use crate::domain::{Failure, FailureCode};

/// Prints data.
pub(super) struct Printer<'a> {
    sink: Box<dyn Write + 'a>,
    /// Why nothing is printed any more.
    ended: Option<ErrorKind>,
}

impl<'a> Printer<'a> {
    /// To standard output.
    pub(super) fn stdout() -> Printer<'static> {
        Printer::new(io::stdout())
    }

    /// To any writer.
    pub(super) fn new(sink: impl Write + 'a) -> Self {
        Self {
            sink: Box::new(sink),
            ended: None,
        }
    }

    /// Prints text as it is.
    pub(super) fn text(&mut self, text: &str) {
        if self.ended.is_some() {
            return;
        }
        let written = self
            .sink
            .write_all(text.as_bytes())
            .and_then(|()| self.sink.flush());
        if let Err(error) = written {
            self.ended = Some(error.kind());
        }
    }

    /// Prints one line.
    pub(super) fn line(&mut self, text: &str) {
        self.text(&format!("{text}\n"));
    }

    /// Why not all was shown, a reader that had read enough included.
    pub(super) fn unshown(&self) -> Option<Failure> {
        let kind = self.ended?;
        Some(self.failure().unwrap_or_else(|| {
            Failure::new(
                FailureCode::Refused,
                "what is to be done could not be shown, so nothing was done",
            )
            .because(kind.to_string())
        }))
    }

    /// What went wrong, if it was more than a reader that had read enough.
    pub(super) fn failure(&self) -> Option<Failure> {
        match self.ended {
            None | Some(ErrorKind::BrokenPipe) => None,
            Some(kind) => Some(
                Failure::new(
                    FailureCode::NotWritable,
                    "standard output cannot be written",
                )
                .because(kind.to_string()),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind, usize);

    impl Write for Broken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            assert!(self.1 == 1, "nothing is written after an error");
            let _ = bytes;
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() {
        let mut closed = Printer::new(Broken(ErrorKind::BrokenPipe, 0));
        closed.line("a");
        closed.line("b");
        assert_eq!(closed.failure(), None);
        let mut full = Printer::new(Broken(ErrorKind::StorageFull, 0));
        full.line("a");
        full.line("b");
        assert_eq!(full.failure().unwrap().code.exit_code(), 7);
    }

    #[test]
    fn lines_arrive_whole() {
        let mut bytes = Vec::new();
        let mut printer = Printer::new(&mut bytes);
        printer.line("a");
        printer.text("b");
        assert_eq!(printer.failure(), None);
        drop(printer);
        assert_eq!(bytes, b"a\nb");
    }
}
