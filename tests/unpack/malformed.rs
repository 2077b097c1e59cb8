//! Images that are wrong or hostile: what is said of them, and what is not touched.

use std::fs;
use std::os::unix::fs::symlink;

use hull::unpack::image::digest::Digest;
use serde_json::{Value, json};

use crate::archive::{description, entry, file, open_tar, symlink as symlink_in_tar, tar};
use crate::case::table;
use crate::saved::{
    CONFIG, INDEX, LAYER, Layout, MANIFEST, config, gzip, hull_unpack, index, layers, manifest,
    zstd,
};
use crate::tree::Scratch;

table!(;
    a_blob_of_another_size_is_refused,
    a_blob_of_another_digest_is_refused,
    a_layer_of_another_diff_id_is_refused,
    a_missing_blob_is_said,
    a_layer_that_is_cut_short_is_refused,
    behind_the_last_member_only_zeros_may_follow,
    cve_2021_41190_a_document_is_of_one_type,
    sizes_that_are_none_are_refused,
    layers_and_diff_ids_are_as_many,
    cve_2023_25153_documents_are_bounded,
    an_index_in_too_many_others_and_one_that_lists_itself_end,
    indexes_that_double_at_each_depth_are_read_once,
    data_in_a_descriptor_is_verified_too,
    an_encrypted_layer_is_refused,
    a_fifo_is_refused_and_not_waited_for,
    a_link_in_a_layout_leads_to_no_file_of_the_host,
    an_archive_is_bounded_and_unambiguous,
    a_thousandfold_layer_takes_little_memory,
    many_large_configs_take_the_memory_of_one,
);

/// A layout with an image of which one thing was changed.
fn changed(change: impl FnOnce(&Layout, &mut Value, &mut Value)) -> Layout {
    let layout = Layout::new();
    let layers = layers();
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let blobs: Vec<_> = layers.iter().map(|layer| layout.blob(LAYER, &gzip(layer))).collect();
    let mut config = config("amd64", &json!(diff_ids));
    let mut manifest = manifest(&Value::Null, &json!(blobs));
    change(&layout, &mut manifest, &mut config);
    if manifest["config"].is_null() {
        manifest["config"] = layout.document(CONFIG, &config);
    }
    layout.index(&[layout.document(MANIFEST, &manifest)]);
    layout
}

fn a_blob_of_another_size_is_refused() {
    for difference in [-1, 1] {
        let layout = changed(|_, manifest, _| {
            let size = manifest["layers"][1]["size"].as_i64().unwrap();
            manifest["layers"][1]["size"] = json!(size + difference);
        });
        layout
            .ask("inspect", &[])
            .fails(&["layer 2 of 2 (sha256:", "bytes, and its descriptor says"]);
    }
    let layout = Layout::of(&layers());
    fs::write(
        layout.path("index.json"),
        index(&[json!({
            "mediaType": MANIFEST, "digest": Digest::of(b""), "size": 5,
        })])
        .to_string(),
    )
    .unwrap();
    layout.write(&format!("blobs/sha256/{}", Digest::of(b"").encoded()), b"");
    layout
        .ask("inspect", &[])
        .fails(&["manifest sha256:e3b0c442", "has 0 bytes, and its descriptor says 5"]);
}

fn a_blob_of_another_digest_is_refused() {
    let damaged = |pointer: &str, command: &str, says: &[&str]| {
        let layout = changed(|_, _, _| {});
        let index: Value =
            serde_json::from_slice(&fs::read(layout.path("index.json")).unwrap()).unwrap();
        let read = fs::read(layout.blob_path(&index["manifests"][0])).unwrap();
        let manifest: Value = serde_json::from_slice(&read).unwrap();
        let all = json!({ "manifest": index["manifests"][0], "of": manifest });
        let path = layout.blob_path(all.pointer(pointer).unwrap());
        let mut bytes = fs::read(&path).unwrap();
        layout.ask("verify", &[]).succeeds();
        // gzip keeps the time that it was made at the fifth byte: what is inside stays the same.
        bytes[4] ^= 1;
        fs::write(&path, bytes).unwrap();
        layout.ask(command, &[]).fails(says);
    };
    damaged("/manifest", "inspect", &["manifest sha256:", "its digest is sha256:"]);
    damaged("/of/config", "inspect", &["config sha256:", "its digest is sha256:"]);
    damaged(
        "/of/layers/1",
        "verify",
        &["1 of 3 are wrong", "layer 2 of 2 (sha256:", "its digest is sha256:"],
    );
}

fn a_layer_of_another_diff_id_is_refused() {
    for layer in [gzip(&tar([])), zstd(&tar([])), tar([])] {
        let layout =
            changed(|layout, manifest, _| manifest["layers"][0] = layout.blob(LAYER, &layer));
        layout.ask("verify", &[]).fails(&["layer 1 of 2 (sha256:", " not "]);
    }
}

fn a_missing_blob_is_said() {
    let layout = changed(|layout, manifest, _| {
        fs::remove_file(layout.blob_path(&manifest["layers"][1])).unwrap();
    });
    layout.ask("inspect", &[]).fails(&["layer 2 of 2 (sha256:", "is not in the image layout"]);
    let layout = Layout::of(&layers());
    fs::remove_file(layout.path("index.json")).unwrap();
    layout.ask("list", &[]).fails(&["has no index.json"]);
}

fn a_layer_that_is_cut_short_is_refused() {
    let layer = layers().remove(1);
    for (compressed, says) in
        [(gzip(&layer), "gzip: ends in its middle"), (zstd(&layer), "zstd: ends in its middle")]
    {
        for missing in [1, 4, 9, compressed.len() / 2] {
            let cut = &compressed[..compressed.len() - missing];
            let layout =
                changed(|layout, manifest, _| manifest["layers"][1] = layout.blob(LAYER, cut));
            layout.ask("verify", &[]).fails(&["layer 2 of 2 (sha256:", says]);
        }
        let mut wrong = compressed.clone();
        wrong[compressed.len() / 2] ^= 0x55;
        let layout =
            changed(|layout, manifest, _| manifest["layers"][1] = layout.blob(LAYER, &wrong));
        layout.ask("verify", &[]).fails(&["layer 2 of 2 (sha256:"]);
    }
}

fn behind_the_last_member_only_zeros_may_follow() {
    let layer = layers().remove(1);
    for compressed in [gzip(&layer), zstd(&layer)] {
        for (trailing, is_taken) in [
            (vec![0; 1], true),
            (vec![0; 1_000_000], true),
            (vec![1], false),
            (b"\x1f".to_vec(), false),
            (b"\x1f\x8bjunk".to_vec(), false),
            ([vec![0; 1_000_000], gzip(&layer)].concat(), false),
        ] {
            let blob = [compressed.clone(), trailing.clone()].concat();
            let layout =
                changed(|layout, manifest, _| manifest["layers"][1] = layout.blob(LAYER, &blob));
            let answer = layout.ask("verify", &[]);
            assert_eq!(answer.is_success, is_taken, "{} bytes: {}", trailing.len(), answer.error);
        }
    }
}

fn cve_2021_41190_a_document_is_of_one_type() {
    let image = |change: fn(&mut Value)| changed(|_, manifest, _| change(manifest));
    image(|_| {}).ask("inspect", &[]).succeeds();
    for change in [
        |manifest: &mut Value| manifest["manifests"] = json!([]),
        |manifest: &mut Value| manifest["fsLayers"] = json!([{}]),
    ] {
        image(change).ask("inspect", &[]).fails(&["manifest sha256:", "CVE-2021-41190"]);
    }
    image(|manifest| manifest["mediaType"] = json!(INDEX)).ask("inspect", &[]).fails(&[
        "/mediaType: \"application/vnd.oci.image.index.v1+json\", but its descriptor says",
    ]);
    image(|manifest| manifest["schemaVersion"] = json!(1))
        .ask("inspect", &[])
        .fails(&["/schemaVersion: 1"]);
    let layout = Layout::of(&layers());
    let whole: Value =
        serde_json::from_slice(&fs::read(layout.path("index.json")).unwrap()).unwrap();
    for key in ["config", "layers", "fsLayers"] {
        let mut index = whole.clone();
        index[key] = json!([]);
        layout.write("index.json", index.to_string().as_bytes());
        layout.ask("list", &[]).fails(&["index.json", "CVE-2021-41190"]);
    }
    // Go takes the last of two, others the first.
    let twice = whole.to_string().replacen('{', "{\"manifests\":[],", 1);
    layout.write("index.json", twice.as_bytes());
    layout.ask("list", &[]).fails(&["duplicate field `manifests`"]);
}

fn sizes_that_are_none_are_refused() {
    for size in [json!(-1), json!(1.5), json!("5"), json!(1e30), Value::Null] {
        let layout = changed(|_, manifest, _| manifest["layers"][0]["size"] = size.clone());
        layout.ask("inspect", &[]).fails(&["manifest sha256:", "/layers/0/size"]);
    }
    let layout = changed(|_, manifest, _| manifest["layers"][0]["size"] = json!(u64::MAX));
    layout.ask("inspect", &[]).fails(&["its descriptor says 18446744073709551615"]);
    let layout = changed(|_, manifest, _| {
        manifest["layers"][0]["digest"] = json!("sha256:../../index.json")
    });
    layout.ask("inspect", &[]).fails(&["/layers/0/digest", "is no digest"]);
}

fn layers_and_diff_ids_are_as_many() {
    let layout = changed(|_, manifest, _| drop(manifest["layers"].as_array_mut().unwrap().pop()));
    layout
        .ask("inspect", &[])
        .fails(&["config sha256:", "/rootfs/diff_ids: 2 of them, and the image has 1 layers"]);
    let layout = changed(|_, _, config| config["rootfs"]["type"] = json!("erofs"));
    layout.ask("inspect", &[]).fails(&["/rootfs/type: \"erofs\""]);
    let many = |count: usize| {
        changed(|layout, manifest, config| {
            let empty = layout.blob(LAYER, &tar([]));
            manifest["layers"] = vec![empty; count].into();
            config["rootfs"]["diff_ids"] = vec![json!(Digest::of(&tar([]))); count].into();
        })
    };
    many(500).ask("verify", &[]).succeeds();
    many(501).ask("inspect", &[]).fails(&["501 layers, at most 500"]);
}

fn cve_2023_25153_documents_are_bounded() {
    let layout = Layout::of(&layers());
    let index = fs::File::options().write(true).open(layout.path("index.json")).unwrap();
    index.set_len(1 << 40).unwrap();
    layout.ask("list", &[]).fails(&["has 1099511627776 bytes, at most 8388608 are read"]);
    let layout = changed(|layout, manifest, config| {
        config["padding"] = json!("x".repeat(9_000_000));
        manifest["config"] = layout.document(CONFIG, config);
    });
    layout.ask("inspect", &[]).fails(&["config sha256:", "at most 8388608 are read"]);
    let scratch = Scratch::new();
    let archive = scratch.write("archive", &tar([file("manifest.json", vec![b' '; 9_000_000])]));
    hull_unpack(&["list", archive.to_str().expect("UTF-8")])
        .fails(&["manifest.json", "has 9000000 bytes, at most 8388608 are read"]);
    let deep = "[".repeat(100_000);
    layout.write("index.json", format!("{{\"schemaVersion\":2,\"x\":{deep}").as_bytes());
    layout.ask("list", &[]).fails(&["index.json", "EOF while parsing"]);
}

fn an_index_in_too_many_others_and_one_that_lists_itself_end() {
    let nested = |depth: usize| {
        let layout = Layout::new();
        let mut descriptor = layout.image("amd64", &layers());
        for _ in 0..depth {
            descriptor = layout.document(INDEX, &index(&[descriptor]));
        }
        layout.index(&[descriptor]);
        layout
    };
    nested(8).ask("inspect", &[]).succeeds();
    nested(9).ask("inspect", &[]).fails(&["index sha256:", "lies in 8 others"]);
    // What it says of itself cannot be true; it is refused and not entered again.
    let layout = Layout::new();
    let itself = json!({ "mediaType": INDEX, "digest": Digest::of(b"itself"), "size": 0 });
    let mut bytes = index(std::slice::from_ref(&itself)).to_string();
    bytes = bytes.replace("\"size\":0", &format!("\"size\":{}", bytes.len() + 2));
    layout.write(&format!("blobs/sha256/{}", Digest::of(b"itself").encoded()), bytes.as_bytes());
    layout.write("index.json", bytes.as_bytes());
    layout.ask("inspect", &[]).fails(&["index sha256:", "its digest is"]);
}

fn indexes_that_double_at_each_depth_are_read_once() {
    let layout = Layout::new();
    let mut descriptor = layout.image("amd64", &layers());
    for _ in 0..7 {
        descriptor = layout.document(INDEX, &index(&vec![descriptor; 100]));
    }
    layout.index(&[descriptor]);
    layout.ask("inspect", &[]).succeeds();
    let image = layout.image("amd64", &layers());
    layout.index(&vec![image; 10_001]);
    layout.ask("inspect", &[]).fails(&["10001 descriptors, at most 10000"]);
}

fn data_in_a_descriptor_is_verified_too() {
    let with = |data: &str| {
        changed(|layout, manifest, config| {
            let bytes = config.to_string();
            let mut descriptor = layout.document(CONFIG, config);
            // There is no blob: the descriptor has all that is needed.
            fs::remove_file(layout.blob_path(&descriptor)).unwrap();
            let right = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
            descriptor["data"] = json!(if data.is_empty() { right } else { data.to_owned() });
            manifest["config"] = descriptor;
        })
    };
    with("").ask("verify", &[]).succeeds();
    with("e30=")
        .ask("inspect", &[])
        .fails(&["config sha256:", "has 2 bytes, and its descriptor says"]);
    with("no base64").ask("inspect", &[]).fails(&["config sha256:", "/data"]);
}

fn an_encrypted_layer_is_refused() {
    let layout = changed(|_, manifest, _| {
        manifest["layers"][0]["mediaType"] = json!(format!("{LAYER}+gzip+encrypted"));
    });
    layout.ask("inspect", &[]).fails(&["layer 1 of 2 (sha256:", "is encrypted"]);
}

fn a_fifo_is_refused_and_not_waited_for() {
    let fifo = |path: std::path::PathBuf| {
        fs::remove_file(&path).ok();
        let mode = rustix::fs::Mode::from(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    for name in ["oci-layout", "index.json"] {
        let layout = Layout::of(&layers());
        fifo(layout.path(name));
        layout.ask("list", &[]).fails(&["is no regular file"]);
    }
    let layout = changed(|layout, manifest, _| fifo(layout.blob_path(&manifest["layers"][0])));
    layout.ask("verify", &[]).fails(&["layer 1 of 2 (sha256:", "is no regular file"]);
    let path = layout.scratch.path("fifo");
    fifo(path.clone());
    hull_unpack(&["list", path.to_str().unwrap()])
        .fails(&["neither a directory nor a regular file"]);
}

fn a_link_in_a_layout_leads_to_no_file_of_the_host() {
    // A layout whose blobs are kept elsewhere in it is as good as any.
    let layout = changed(|layout, manifest, _| {
        let path = layout.blob_path(&manifest["layers"][0]);
        fs::rename(&path, layout.path("kept")).unwrap();
        symlink("../../kept", path).unwrap();
    });
    layout.ask("verify", &[]).succeeds();
    let outside = layout.scratch.write("outside", br#"{"imageLayoutVersion":"1.0.0"}"#);
    for target in ["../outside", outside.to_str().unwrap(), "/proc/self/fd/0"] {
        fs::remove_file(layout.path("oci-layout")).unwrap();
        symlink(target, layout.path("oci-layout")).unwrap();
        layout.ask("list", &[]).fails(&["openat2(\"oci-layout\""]);
    }
}

fn an_archive_is_bounded_and_unambiguous() {
    let layout = Layout::of(&layers());
    let whole = fs::read(layout.archive()).unwrap();
    let entries = &whole[..whole.len() - 1024];
    let ask = |bytes: &[u8]| {
        let path = layout.scratch.write("other.tar", bytes);
        hull_unpack(&["verify", path.to_str().unwrap()])
    };
    let and = |more: Vec<u8>| [entries, &more].concat();
    ask(&whole).succeeds();
    // Without the blocks at its end, as some writers leave it.
    ask(entries).succeeds();
    ask(&and(tar([file("other", "x"), entry(b'5', "blobs")]))).succeeds();
    ask(&and(tar([file("./index.json", "{}")]))).fails(&["two entries are named \"index.json\""]);
    ask(&whole[..whole.len() - 2048]).fails(&["the archive ends before"]);
    let long = description(b'L', vec![b'x'; 70_000]);
    ask(&and(tar([long, file("x", "")]))).fails(&["a name of 70000 bytes, at most 65536"]);
    let twice = [description(b'L', "a\0"), description(b'L', "b\0"), file("x", "")];
    ask(&and(tar(twice))).fails(&["an entry that is described twice"]);
    // As in layers: what follows a link is a header, whatever size the link gives.
    let link = symlink_in_tar("l", "x").size(b"00000001000\0");
    ask(&and(tar([link, file("index.json", "{}")]))).fails(&["two entries are named"]);
    let huge = file("x", "").size(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    ask(&and(open_tar([huge]))).fails(&["the archive ends before"]);
    let negative = file("x", "").size(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    ask(&and(open_tar([negative]))).fails(&["is negative"]);
    ask(b"no tar at all, but long enough to have a header".repeat(20).as_slice())
        .fails(&["the checksum"]);
    ask(b"").fails(&["is no image"]);
}

/// What a command says of a layout in 120 MB of addresses: what a process had at most is not to be
/// seen from outside once it ended, so what it may have is set.
fn ask_with_little_memory(layout: &Layout, arguments: &[&str]) -> std::process::Output {
    let path = layout.path("");
    std::process::Command::new("sh")
        .args(["-c", "ulimit -v 120000 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_hull-unpack")])
        .args(arguments)
        .arg(path.to_str().unwrap().trim_end_matches('/'))
        .output()
        .expect("sh")
}

fn a_thousandfold_layer_takes_little_memory() {
    let zeros = vec![0; 160 << 20];
    for compressed in [gzip(&zeros), zstd(&zeros)] {
        assert!(compressed.len() < zeros.len() / 900);
        let layout = Layout::new();
        let blob = layout.blob(LAYER, &compressed);
        let config = config("amd64", &json!([Digest::of(&zeros)]));
        layout.index(&[layout.manifest(&config, &json!([blob]))]);
        let output = ask_with_little_memory(&layout, &["verify"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn many_large_configs_take_the_memory_of_one() {
    let layout = Layout::new();
    let layers = layers();
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let blobs: Vec<_> = layers.iter().map(|layer| layout.blob(LAYER, layer)).collect();
    let image = |number: usize| {
        let mut config = config(&format!("arch{number}"), &json!(diff_ids));
        config["config"]["Labels"] = json!({ "large": "x".repeat(4 << 20) });
        layout.manifest(&config, &json!(blobs))
    };
    layout.index(&(0..40).map(image).collect::<Vec<_>>());
    for command in [&["inspect", "--platform", "linux/arch7"][..], &["list"], &["verify"]] {
        let output = ask_with_little_memory(&layout, command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
