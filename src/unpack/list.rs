//! `list`: the images of a layout or an archive, for people or as JSON.

use serde::Serialize;

use super::cli::Query;
use super::image::digest::Digest;
use super::image::platform::Platform;
use super::image::saved::{Documents, Held, Listed, Saved};
use super::text::{printable, size, table};
use crate::error::{Context, Result};

/// A line of the list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    names: Vec<String>,
    /// Of the manifest; of the config in a docker-archive.
    digest: String,
    /// `image`, `artifact` or `absent`.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    /// Of all layers, as they are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<usize>,
    /// What it is if it is no image.
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
}

/// Prints what is saved; with a name or a platform, what of it is meant.
///
/// # Errors
/// Those of opening it; what is wrong in a document.
pub fn list(query: &Query) -> Result<()> {
    let saved = Saved::open(&query.image)?;
    let held = saved.held(query.image.name.as_deref(), query.platform.as_ref());
    let rows: Vec<Row> = held.into_iter().map(|held| row(&saved, held)).collect::<Result<_>>()?;
    if query.is_json {
        return super::print_json(&rows);
    }
    super::print(&for_people(&rows))
}

fn row(saved: &Saved, held: Held) -> Result<Row> {
    let mut row = Row {
        names: held.names,
        digest: held.digest.as_ref().map(Digest::to_string).unwrap_or_default(),
        kind: "absent",
        platform: held.platform.as_ref().map(Platform::to_string),
        size: None,
        layers: None,
        what: None,
    };
    match held.listed? {
        Listed::Absent => {}
        Listed::Artifact(what, _) => {
            row.kind = "artifact";
            row.what = Some(what);
        }
        Listed::Image(documents, platform) => {
            row.kind = "image";
            row.platform = Some(platform.to_string());
            row.layers = Some(documents.layers.len());
            row.size = Some(stored(saved, &documents)?);
        }
    }
    Ok(row)
}

fn stored(saved: &Saved, documents: &Documents) -> Result<u64> {
    documents.layers.iter().try_fold(0_u64, |sum, place| {
        let size = saved.stored_size(place).context(|| format!("layer {place}"))?;
        Ok(sum.saturating_add(size))
    })
}

/// Artifacts are left out: they are attached to images.
fn for_people(rows: &[Row]) -> String {
    let head = ["NAME", "PLATFORM", "LAYERS", "SIZE", "DIGEST"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in rows.iter().filter(|row| row.kind != "artifact") {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let name = if row.names.is_empty() { None } else { Some(row.names.join(", ")) };
        let absent = || "not here".to_owned();
        lines.push(vec![
            printable(&or_none(name)),
            printable(&or_none(row.platform.clone())),
            or_none(row.layers.map(|count| count.to_string())),
            row.size.map_or_else(absent, size),
            row.digest.clone(),
        ]);
    }
    table(&lines)
}
