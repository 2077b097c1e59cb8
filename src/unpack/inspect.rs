//! `inspect`: what an image says of itself, and which instruction made which layer.

use std::fmt::Write;

use serde_json::{Value, json};

use super::cli::Query;
use super::image::document::History;
use super::image::{Image, Layer};
use super::text::{printable, size, table};
use crate::error::{Error, Result};

/// Prints an image's config, its layers and its history.
///
/// # Errors
/// Those of opening it.
pub fn inspect(query: &Query) -> Result<()> {
    let image = Image::open(&query.image, query.platform.as_ref())?;
    if query.is_json {
        super::print_json(&document(&image)?)
    } else {
        super::print(&for_people(&image))
    }
}

/// A row of the history: a step of the build, and the layer that it made. Either may be missing:
/// builders that squash layers leave the steps, and others write none.
struct Step<'a> {
    history: Option<&'a History>,
    layer: Option<&'a Layer>,
}

/// Steps and layers side by side: config.md, "history".
fn steps(image: &Image) -> Vec<Step<'_>> {
    let mut layers = image.layers.iter();
    let mut steps: Vec<Step<'_>> = image
        .config
        .history
        .iter()
        .map(|step| Step {
            history: Some(step),
            layer: if step.empty_layer { None } else { layers.next() },
        })
        .collect();
    steps.extend(layers.map(|layer| Step { history: None, layer: Some(layer) }));
    steps
}

fn for_people(image: &Image) -> String {
    let mut text = String::new();
    for (name, value) in facts(image) {
        writeln!(text, "{name:14}{}", printable(&value)).expect("a String takes all");
    }
    let head = ["LAYER", "SIZE", "DIGEST", "CREATED", "INSTRUCTION"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for Step { history, layer } in steps(image) {
        let says = |text: fn(&History) -> &str| history.map_or("", text);
        let created = history.and_then(|step| step.created.as_deref()).unwrap_or("-");
        let instruction = match says(|step| &step.created_by) {
            "" => says(|step| &step.comment),
            instruction => instruction,
        };
        let is_empty = history.is_some_and(|step| step.empty_layer);
        let nothing = || if is_empty { "empty".to_owned() } else { "no layer".to_owned() };
        rows.push(vec![
            layer.map_or_else(|| "-".to_owned(), |layer| layer.number.to_string()),
            layer.map_or_else(nothing, |layer| size(layer.size())),
            layer.map_or_else(
                || "-".to_owned(),
                |layer| layer.digest.as_ref().unwrap_or(&layer.diff_id).short().to_owned(),
            ),
            printable(created),
            printable(instruction),
        ]);
    }
    text.push('\n');
    text + &table(&rows)
}

/// What is said, without what is not.
fn facts(image: &Image) -> Vec<(&'static str, String)> {
    let config = &image.config.config;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let words = |words: &[String]| {
        if words.is_empty() { String::new() } else { Value::from(words.to_vec()).to_string() }
    };
    let mut facts = vec![
        ("Names", image.names.join(", ")),
        ("Manifest", image.manifest.as_ref().map_or_else(String::new, ToString::to_string)),
        ("Id", image.id.to_string()),
        ("Platform", image.platform.to_string()),
        ("OS version", image.config.os_version.clone()),
        ("OS features", image.config.os_features.join(", ")),
        ("Created", text(&image.config.created)),
        ("Author", text(&image.config.author)),
        ("User", config.user.clone()),
        ("Directory", config.working_dir.clone()),
        ("Entrypoint", words(&config.entrypoint)),
        ("Command", words(&config.cmd)),
        ("Stop signal", config.stop_signal.clone()),
        ("Ports", config.exposed_ports.join(", ")),
        ("Volumes", config.volumes.join(", ")),
    ];
    facts.extend(config.env.iter().map(|variable| ("Environment", variable.clone())));
    let labels = config.labels.iter().map(|(name, value)| ("Label", format!("{name}={value}")));
    facts.extend(labels);
    let stored = image.layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size()));
    facts.push(("Size", format!("{} in {} layers", size(stored), image.layers.len())));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

fn document(image: &Image) -> Result<Value> {
    let config: Value = serde_json::from_slice(&image.config_bytes)
        .map_err(|error| Error::new(format!("config {}: {error}", image.id)))?;
    let history = steps(image).into_iter().map(|Step { history, layer }| {
        json!({
            "layer": layer.map(|layer| layer.number),
            "empty": history.is_some_and(|step| step.empty_layer),
            "created": history.and_then(|step| step.created.as_deref()),
            "createdBy": history.map(|step| &step.created_by),
            "comment": history.map(|step| &step.comment),
        })
    });
    let layers = image.layers.iter().map(|layer| {
        json!({
            "number": layer.number,
            "digest": layer.digest,
            "size": layer.size(),
            "mediaType": layer.media_type,
            "diffId": layer.diff_id,
            "chainId": layer.chain_id,
        })
    });
    Ok(json!({
        "names": image.names,
        "manifest": image.manifest,
        "id": image.id,
        "platform": image.platform,
        "layers": layers.collect::<Vec<_>>(),
        "history": history.collect::<Vec<_>>(),
        "config": config,
    }))
}
