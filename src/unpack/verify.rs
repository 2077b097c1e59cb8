//! `verify`: every blob is read, and its size, digest and diff id compared. Nothing is written.

use std::collections::HashSet;
use std::io::BufRead;

use serde_json::{Value, json};

use super::cli::Query;
use super::image::Image;
use super::image::digest::Digest;
use super::image::document::Descriptor;
use super::image::saved::{Held, Listed, Saved};
use super::progress::Progress;
use super::text::{printable, size};
use crate::error::{Call, Context, Error, Result};

/// What was found of one thing.
struct Finding {
    /// What it is, as errors say it.
    what: String,
    /// In bytes, as it is stored; none of a document, which is small.
    size: Option<u64>,
    result: Result<()>,
}

/// Verifies all that is saved; with a name or a platform, what of it is meant.
///
/// # Errors
/// Those of opening it; how much of it is wrong.
pub fn verify(query: &Query) -> Result<()> {
    let saved = Saved::open(&query.image)?;
    let progress = match query.is_json {
        // The findings are the document; records would be more than one.
        true => Progress::None,
        false => Progress::new(query.is_quiet, false),
    };
    let mut verifier =
        Verifier { saved: &saved, progress, seen: HashSet::new(), findings: Vec::new() };
    for held in saved.held(query.image.name.as_deref(), query.platform.as_ref()) {
        verifier.verify(held);
    }
    let findings = verifier.findings;
    if query.is_json {
        super::print_json(&findings.iter().map(Finding::json).collect::<Vec<_>>())?;
    } else if !query.is_quiet {
        super::print(&findings.iter().map(Finding::line).collect::<String>())?;
    }
    let mut wrong = findings.iter().filter_map(|finding| finding.result.as_ref().err());
    let count = wrong.clone().count();
    match wrong.next() {
        _ if findings.is_empty() => Err(Error::new("there is nothing to verify")),
        None => Ok(()),
        Some(first) => {
            let all = findings.len();
            Err(Error::new(format!("{count} of {all} are wrong, the first: {first}")))
        }
    }
}

struct Verifier<'a> {
    saved: &'a Saved,
    progress: Progress,
    /// Layers that were read for another image.
    seen: HashSet<(Digest, Option<Digest>)>,
    findings: Vec<Finding>,
}

impl Verifier<'_> {
    fn verify(&mut self, held: Held) {
        let name = if held.names.is_empty() { "no name".to_owned() } else { held.names.join(", ") };
        let digest =
            held.digest.map_or_else(|| "no digest".to_owned(), |digest| digest.to_string());
        let platform = held.platform.map_or_else(String::new, |platform| format!(", {platform}"));
        let what = format!("{digest} ({name}{platform})");
        match held.listed {
            Err(error) => self.find(what, None, Err(error)),
            // The index may list what was never copied here (image-layout.md, "Content").
            Ok(Listed::Absent) => self.find(format!("{what} is not here"), None, Ok(())),
            Ok(Listed::Artifact(kind, blobs)) => {
                self.find(format!("{what} is {kind}"), None, Ok(()));
                self.artifact(&blobs);
            }
            Ok(Listed::Image(documents, platform)) => {
                match Image::assemble(self.saved, *documents, held.names, platform) {
                    Err(error) => self.find(what, None, Err(error)),
                    Ok(image) => {
                        self.find(format!("{what}: documents"), None, Ok(()));
                        self.image(&image);
                    }
                }
            }
        }
    }

    fn image(&mut self, image: &Image) {
        let is_new = |layer: &&super::image::Layer| {
            self.seen.insert((layer.diff_id.clone(), layer.digest.clone()))
        };
        let layers: Vec<_> = image.layers.iter().filter(is_new).collect();
        for (layer, stream) in layers.iter().zip(image.streams(layers.iter().copied())) {
            let result = stream.and_then(|stream| {
                let mut watched = self.progress.watch(image, layer, stream, "verified", None)?;
                read_to_end(&mut watched)?;
                watched.finish()
            });
            self.find(image.describe(layer), Some(layer.size()), result);
        }
    }

    fn artifact(&mut self, blobs: &[Descriptor]) {
        for descriptor in blobs {
            let what = format!("blob {}", descriptor.digest);
            let result = self.saved.blob(descriptor).and_then(|blob| match blob {
                None => Err(Error::new("is not here")),
                Some(blob) => blob.verify(&descriptor.digest),
            });
            self.find(what, Some(descriptor.size), result);
        }
    }

    fn find(&mut self, what: String, size: Option<u64>, result: Result<()>) {
        let result = result.context(|| what.clone());
        self.findings.push(Finding { what, size, result });
    }
}

fn read_to_end(stream: &mut impl BufRead) -> Result<()> {
    loop {
        match stream.fill_buf().call(|| "read")?.len() {
            0 => return Ok(()),
            length => stream.consume(length),
        }
    }
}

impl Finding {
    fn line(&self) -> String {
        let size = self.size.map_or_else(String::new, |bytes| format!(", {}", size(bytes)));
        printable(&match &self.result {
            Ok(()) => format!("ok     {}{size}", self.what),
            Err(error) => format!("WRONG  {error}"),
        }) + "\n"
    }

    fn json(&self) -> Value {
        let error = self.result.as_ref().err().map(Error::to_string);
        json!({ "what": self.what, "size": self.size, "ok": error.is_none(), "error": error })
    }
}
