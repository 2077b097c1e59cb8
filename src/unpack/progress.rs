//! How far a command is: a bar for each layer on a terminal, else a line when one is done, or
//! records of JSON. All but these go to standard error.

use std::io::{self, BufRead, IsTerminal, Read};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::image::stream::LayerStream;
use super::image::{Image, Layer};
use super::interrupt::Interrupt;
use super::text::{say, size};
use crate::error::Result;

/// A record says how far a layer is at each of so many equal steps.
const STEPS: u64 = 10;
/// How often a signal is looked for while a layer gives no bytes, as zeros behind a gzip member give
/// none: nothing waits for a channel and for a signal at once. Who presses a key does not notice it.
const LOOK: Duration = Duration::from_millis(100);

/// How it is shown.
pub enum Progress {
    /// `--quiet`.
    None,
    /// Bars.
    Bars(MultiProgress),
    /// A line for each layer.
    Lines,
    /// `--json`: a record a line, on standard output.
    Records,
}

impl Progress {
    /// Bars if standard error is a terminal.
    #[must_use]
    pub fn new(is_quiet: bool, is_json: bool) -> Self {
        match (is_quiet, is_json) {
            (_, true) => Self::Records,
            (true, _) => Self::None,
            _ if io::stderr().is_terminal() => Self::Bars(MultiProgress::new()),
            _ => Self::Lines,
        }
    }

    /// Shows how far a layer is while it is read. `done`: what was done to it then. With `interrupt` a
    /// signal ends it.
    ///
    /// # Errors
    /// Those of writing a record.
    pub fn watch<'a>(
        &self,
        image: &Image,
        layer: &Layer,
        stream: LayerStream,
        done: &'static str,
        interrupt: Option<&'a Interrupt>,
    ) -> Result<Watched<'a>> {
        let title = format!("layer {} of {}", layer.number, image.layers.len());
        let digest = layer.digest.as_ref().unwrap_or(&layer.diff_id);
        let shown = match self {
            Self::None => Shown::Nothing,
            Self::Lines => {
                Shown::Line(format!("{title} ({}, {}): {done}", digest.short(), size(layer.size())))
            }
            Self::Bars(bars) => {
                let bar = bars.add(ProgressBar::new(layer.size()));
                let template = "{prefix} {msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes}";
                let style =
                    ProgressStyle::with_template(template).expect("a template of this file");
                bar.set_style(style.progress_chars("=> "));
                bar.set_prefix(title);
                bar.set_message(digest.short().to_owned());
                Shown::Bar(bar)
            }
            Self::Records => Shown::Records {
                number: layer.number,
                of: image.layers.len(),
                digest: digest.to_string(),
                done,
                step: 0,
            },
        };
        let mut watched = Watched { stream, size: layer.size(), shown, interrupt };
        watched.record("started")?;
        Ok(watched)
    }
}

/// A layer's bytes, watched while they are read.
pub struct Watched<'a> {
    stream: LayerStream,
    size: u64,
    shown: Shown,
    interrupt: Option<&'a Interrupt>,
}

enum Shown {
    Nothing,
    Line(String),
    Bar(ProgressBar),
    Records { number: usize, of: usize, digest: String, done: &'static str, step: u64 },
}

impl Watched<'_> {
    /// The layer was read to its end.
    ///
    /// # Errors
    /// Those of writing a record.
    pub fn finish(mut self) -> Result<()> {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Line(line) => say(line),
            Shown::Bar(bar) => bar.finish(),
            Shown::Records { done, .. } => {
                let done = *done;
                self.record(done)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, status: &str) -> Result<()> {
        let Shown::Records { number, of, digest, .. } = &self.shown else { return Ok(()) };
        let record = json!({
            "layer": number, "of": of, "digest": digest, "size": self.size,
            "position": self.stream.position(), "status": status,
        });
        super::print(&format!("{record}\n"))
    }

    fn show(&mut self) {
        let position = self.stream.position();
        match &mut self.shown {
            Shown::Nothing | Shown::Line(_) => {}
            Shown::Bar(bar) => bar.set_position(position),
            Shown::Records { step, .. } => {
                let now = position.saturating_mul(STEPS) / self.size.max(1);
                if now > *step && now < STEPS {
                    *step = now;
                    // The record at the end says whether standard output is gone.
                    self.record("reading").ok();
                }
            }
        }
    }
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let mut is_there = !self.stream.is_used_up();
        while !is_there {
            if let Some(interrupt) = self.interrupt {
                interrupt.check().map_err(|error| io::Error::other(error.to_string()))?;
            }
            self.show();
            is_there = self.stream.wait(LOOK);
        }
        self.stream.fill()
    }

    fn consume(&mut self, count: usize) {
        self.stream.consume(count);
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}
