//! Large windows of zstd, one at a time: a layer that has one waits until all layers before it are
//! decompressed. It cannot take the one that is read now out of turn, which would wait for it, while
//! it waits for its reader.

use std::sync::mpsc::{Receiver, Sender, channel};

/// A layer's place among those that are decompressed at once.
pub struct Turn {
    /// Gone when the layers before this one are decompressed.
    before: Option<Receiver<()>>,
    _end: Sender<()>,
}

/// What the next layer waits for.
pub struct End(Receiver<()>);

impl Turn {
    /// The next one, after what another one ended with, if there is one.
    #[must_use]
    pub fn after(before: Option<End>) -> (Self, End) {
        let (sender, end) = channel();
        (Self { before: before.map(|end| end.0), _end: sender }, End(end))
    }

    /// Waits for the layers before it.
    pub fn wait(&mut self) {
        if let Some(before) = self.before.take() {
            // Nothing is ever sent: it ends when the sender is gone.
            before.recv().ok();
        }
    }

    /// This one is done, and with it all that come before the next one.
    pub fn end(mut self) {
        self.wait();
    }
}
