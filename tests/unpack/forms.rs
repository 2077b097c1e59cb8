//! Each form in which images are saved, and which of several images is meant.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::archive::{Entry, file, link, symlink, tar};
use crate::case::table;
use crate::saved::{
    INDEX, Layout, config, for_platform, gzip, hull_unpack, index, layers, named, zstd,
};
use crate::tree::Scratch;

table!(;
    a_layout_is_read_from_a_directory_and_from_a_tar,
    the_compression_is_seen_whatever_the_media_type_says,
    a_docker_archive_has_its_layers_in_folders_or_behind_links,
    a_docker_archive_of_today_is_a_layout_too,
    of_several_names_one_is_chosen_and_none_lists_them,
    of_several_platforms_the_hosts_is_chosen_or_the_one_asked_for,
    a_digest_chooses_a_manifest_or_an_index,
    what_is_attached_to_an_image_is_passed_over,
    a_platform_whose_blobs_were_not_saved_is_passed_over,
    history_and_layers_stand_side_by_side,
    a_terminal_obeys_nothing_that_an_image_says,
    what_buildah_makes_and_engines_save_is_read[Root, Program("buildah"), Program("podman"), Program("skopeo")],
);

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn a_layout_is_read_from_a_directory_and_from_a_tar() {
    let layout = Layout::of(&layers());
    let archive = layout.archive();
    let directory = layout.path("");
    let directory = text(&directory).trim_end_matches('/');
    let expected = layout.ask("inspect", &["--json"]).json();
    assert_eq!(expected["layers"].as_array().unwrap().len(), 2);
    for reference in [
        format!("oci:{directory}"),
        format!("oci:{directory}:tag"),
        text(&archive).to_owned(),
        format!("oci-archive:{}:tag", text(&archive)),
    ] {
        assert_eq!(hull_unpack(&["inspect", "--json", &reference]).json(), expected);
        hull_unpack(&["verify", &reference]).succeeds();
    }
    hull_unpack(&["list", &format!("oci:{}", text(&archive))]).fails(&["is a file"]);
    hull_unpack(&["list", &format!("oci-archive:{directory}")]).fails(&["is a directory"]);
    hull_unpack(&["list", &format!("docker-archive:{directory}")]).fails(&["no manifest.json"]);
    // `docker save | gzip` is common.
    let compressed = layout.scratch.write("image.tar.gz", &gzip(&fs::read(&archive).unwrap()));
    hull_unpack(&["list", text(&compressed)]).fails(&["gunzip it first"]);
}

fn the_compression_is_seen_whatever_the_media_type_says() {
    let [first, second] = layers().try_into().unwrap();
    // Members and frames one after the other are one layer; eStargz and zstd:chunked are made so.
    let (start, end) = second.split_at(700);
    let members = [gzip(start), gzip(end)].concat();
    let skipped = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], &zstd(start), &zstd(end)].concat();
    let layout = Layout::new();
    let diff_ids = [&first, &second].map(|layer| hull::unpack::image::digest::Digest::of(layer));
    for (number, compressed) in
        [gzip(&second), zstd(&second), members, skipped, second.clone()].iter().enumerate()
    {
        for media_type in [
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ] {
            let layers =
                json!([layout.blob(media_type, &first), layout.blob(media_type, compressed)]);
            let manifest = layout.manifest(&config("amd64", &json!(diff_ids)), &layers);
            layout.index(&[manifest]);
            let answer = layout.ask("verify", &[]);
            assert!(answer.is_success, "{number}: {}", answer.error);
        }
    }
    // Of CVE-2021-20291 a decompressor that none of these needs.
    for (start, name) in [
        (&b"BZh91AY&SY"[..], "bzip2"),
        (b"\xfd7zXZ\0\0\x04", "xz"),
        (b"\x04\x22\x4d\x18\x64", "lz4"),
    ] {
        let other = layout.image("amd64", &[start.to_vec()]);
        layout.index(&[other]);
        let what = format!("is compressed by {name}");
        layout.ask("verify", &[]).fails(&["layer 1 of 1", what.as_str()]);
    }
}

/// A docker-archive whose second layer lies where `second` says.
fn docker_archive(scratch: &Scratch, name: &str, second: &[Entry], tags: &Value) -> String {
    let layers = layers();
    let diff_ids: Vec<_> =
        layers.iter().map(|layer| hull::unpack::image::digest::Digest::of(layer)).collect();
    let config = config("amd64", &json!(diff_ids)).to_string();
    let id = hull::unpack::image::digest::Digest::of(config.as_bytes());
    let config_name = format!("{}.json", id.encoded());
    let manifest = json!([{
        "Config": config_name, "RepoTags": tags, "Layers": ["one/layer.tar", "two/layer.tar"],
    }]);
    let mut entries = vec![file("one/layer.tar", &layers[0]), file("kept/layer.tar", &layers[1])];
    entries.extend_from_slice(second);
    entries.push(file(config_name, config));
    entries.push(file("manifest.json", manifest.to_string()));
    text(&scratch.write(name, &tar(entries))).to_owned()
}

fn a_docker_archive_has_its_layers_in_folders_or_behind_links() {
    let scratch = Scratch::new();
    let plain = layers().remove(1);
    for (number, second) in [
        file("two/layer.tar", &plain),
        file("./two//layer.tar", gzip(&plain)),
        symlink("two/layer.tar", "../kept/layer.tar"),
        symlink("two", "kept-not-followed")
            .patch(0, b"two/layer.tar")
            .patch(157, b"/kept/layer.tar\0\0"),
        link("two/layer.tar", "kept/layer.tar"),
        symlink("two/layer.tar", "../../../../kept/layer.tar"),
    ]
    .into_iter()
    .enumerate()
    {
        let archive = docker_archive(
            &scratch,
            &format!("{number}.tar"),
            &[second],
            &json!(["localhost/a:1"]),
        );
        for reference in [archive.clone(), format!("docker-archive:{archive}:a:1")] {
            let answer = hull_unpack(&["verify", &reference]);
            assert!(answer.is_success, "{number}: {}", answer.error);
        }
        hull_unpack(&["inspect", &format!("docker-archive:{archive}:b")])
            .fails(&["no image is named \"b\"", "localhost/a:1"]);
    }
    for (second, says) in [
        (vec![], "\"two/layer.tar\" is not in the archive"),
        (vec![symlink("two/layer.tar", "../../etc/passwd")], "is not in the archive"),
        (vec![symlink("two/layer.tar", "layer.tar")], "is a link that leads nowhere"),
        (vec![crate::archive::fifo("two/layer.tar")], "is no regular file"),
        (
            vec![file("two/layer.tar", &plain), file("two/./layer.tar", "x")],
            "two entries are named",
        ),
        (vec![file("two/layer.tar", layers().remove(0))], "its digest is"),
    ] {
        let archive = docker_archive(&scratch, "wrong.tar", &second, &Value::Null);
        hull_unpack(&["verify", &archive]).fails(&[says]);
    }
}

fn a_docker_archive_of_today_is_a_layout_too() {
    let layers = layers();
    let layout = Layout::new();
    let manifest = layout.image("amd64", &layers);
    let read: Value =
        serde_json::from_slice(&fs::read(layout.blob_path(&manifest)).unwrap()).unwrap();
    let path = |descriptor: &Value| {
        format!("blobs/{}", descriptor["digest"].as_str().unwrap().replace(':', "/"))
    };
    let docker = json!([{
        "Config": path(&read["config"]), "RepoTags": ["a:1"],
        "Layers": [path(&read["layers"][0]), path(&read["layers"][1])],
    }]);
    layout.write("manifest.json", docker.to_string().as_bytes());
    let mut descriptor = named(manifest, "1");
    descriptor["annotations"]["io.containerd.image.name"] = json!("docker.io/library/a:1");
    layout.index(&[descriptor]);
    let directory = layout.path("");
    let directory = text(&directory).trim_end_matches('/');
    let id =
        |reference: String| hull_unpack(&["inspect", "--json", &reference]).json()["id"].clone();
    let expected = id(format!("oci:{directory}:1"));
    assert!(expected.is_string());
    assert_eq!(id(format!("oci:{directory}:a:1")), expected);
    assert_eq!(id(format!("docker-archive:{directory}:a:1")), expected);
}

fn of_several_names_one_is_chosen_and_none_lists_them() {
    let layout = Layout::new();
    let [first, second] = layers().try_into().unwrap();
    let (a, b) = (layout.image("amd64", &[first]), layout.image("amd64", &[second]));
    layout.index(&[named(a.clone(), "a"), named(b, "b"), named(a.clone(), "c")]);
    layout.ask("inspect", &["--platform", "linux/amd64"]).fails(&[
        "several images are meant",
        "a (linux/amd64, sha256:",
        "; b (",
    ]);
    let directory = layout.path("");
    let reference = |name: &str| format!("oci:{}:{name}", text(&directory).trim_end_matches('/'));
    for name in ["a", "c"] {
        let answer = hull_unpack(&["inspect", "--json", &reference(name)]).json();
        assert_eq!(answer["manifest"], a["digest"]);
    }
    hull_unpack(&["inspect", &reference("d")])
        .fails(&["no image is named \"d\"; there are: a, b, c"]);
    let list = layout.ask("list", &["--json"]).json();
    assert_eq!(list.as_array().unwrap().len(), 3);
}

fn of_several_platforms_the_hosts_is_chosen_or_the_one_asked_for() {
    let layout = Layout::new();
    let [first, second] = layers().try_into().unwrap();
    let (s390x, riscv) = (layout.image("s390x", &[first]), layout.image("riscv64", &[second]));
    let nested = index(&[s390x.clone(), for_platform(riscv.clone(), "linux/riscv64")]);
    layout.index(&[named(layout.document(INDEX, &nested), "tag")]);
    for (platform, expected) in [("linux/s390x", s390x), ("linux/riscv64", riscv)] {
        let answer = layout.ask("inspect", &["--json", "--platform", platform]).json();
        assert_eq!(answer["manifest"], expected["digest"]);
        let list = layout.ask("list", &["--json", "--platform", platform]).json();
        assert_eq!(list.as_array().unwrap().len(), 1);
        assert_eq!(list[0]["names"], json!(["tag"]));
    }
    layout
        .ask("inspect", &["--platform", "linux/mips"])
        .fails(&["no image is for linux/mips", "tag (linux/s390x"]);
}

fn a_digest_chooses_a_manifest_or_an_index() {
    let layout = Layout::new();
    let [first, second] = layers().try_into().unwrap();
    let (a, b) = (layout.image("amd64", &[first]), layout.image("amd64", &[second]));
    let nested = layout.document(INDEX, &index(std::slice::from_ref(&a)));
    layout.index(&[nested.clone(), b]);
    let directory = layout.path("");
    for descriptor in [&a, &nested] {
        let digest = descriptor["digest"].as_str().unwrap();
        let reference = format!("oci:{}:{digest}", text(&directory).trim_end_matches('/'));
        let answer = hull_unpack(&["inspect", "--json", &reference]).json();
        assert_eq!(answer["manifest"], a["digest"]);
    }
}

fn what_is_attached_to_an_image_is_passed_over() {
    let layout = Layout::new();
    let image = layout.image("amd64", &layers());
    let statement = layout.blob("application/vnd.in-toto+json", b"{}");
    let attestation = layout.manifest(&config("unknown", &json!([])), &json!([statement]));
    let empty = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let mut artifact = crate::saved::manifest(&empty, &json!([empty]));
    artifact["artifactType"] = json!("application/vnd.example");
    let artifact = layout.document(crate::saved::MANIFEST, &artifact);
    layout.index(&[
        image.clone(),
        for_platform(attestation.clone(), "unknown/unknown"),
        attestation,
        artifact.clone(),
    ]);
    assert_eq!(layout.ask("inspect", &["--json"]).json()["manifest"], image["digest"]);
    layout.ask("verify", &[]).succeeds();
    let list = layout.ask("list", &["--json"]).json();
    let kinds: Vec<_> = list.as_array().unwrap().iter().map(|row| &row["kind"]).collect();
    assert_eq!(kinds, ["image", "artifact", "artifact", "artifact"]);
    layout.index(std::slice::from_ref(&artifact));
    layout.ask("inspect", &[]).fails(&["there is no image", "application/vnd.example"]);
    // Of what is no image too each blob is read.
    fs::write(layout.blob_path(&empty), "[]").unwrap();
    layout.ask("verify", &[]).fails(&["its digest is"]);
}

fn a_platform_whose_blobs_were_not_saved_is_passed_over() {
    let layout = Layout::new();
    let here = layout.image("amd64", &layers());
    let absent = layout.image("s390x", &[]);
    layout.index(&[for_platform(here, "linux/amd64"), for_platform(absent.clone(), "linux/s390x")]);
    fs::remove_file(layout.blob_path(&absent)).unwrap();
    layout.ask("inspect", &["--platform", "linux/amd64"]).succeeds();
    layout.ask("inspect", &["--platform", "linux/s390x"]).fails(&["are not here"]);
    layout.ask("verify", &[]).succeeds();
    assert!(layout.ask("list", &[]).out.contains("not here"));
}

fn history_and_layers_stand_side_by_side() {
    let layout = Layout::new();
    let layers = layers();
    let diff_ids: Vec<_> =
        layers.iter().map(|layer| hull::unpack::image::digest::Digest::of(layer)).collect();
    let mut config = config("amd64", &json!(diff_ids));
    config["history"] = json!([
        { "created": "2026-01-01T00:00:00Z", "created_by": "ADD a /" },
        { "created_by": "ENV A=b", "empty_layer": true },
        { "created_by": "RUN make" },
    ]);
    let layers: Vec<_> =
        layers.iter().map(|layer| layout.blob(crate::saved::LAYER, layer)).collect();
    layout.index(&[layout.manifest(&config, &json!(layers))]);
    let history = layout.ask("inspect", &["--json"]).json()["history"].clone();
    let made: Vec<_> = history.as_array().unwrap().iter().map(|step| &step["layer"]).collect();
    assert_eq!(made, [&json!(1), &Value::Null, &json!(2)]);
    let text = layout.ask("inspect", &[]).out;
    let line = |word: &str| text.lines().find(|line| line.contains(word)).unwrap().to_owned();
    assert!(line("ADD a /").starts_with("1 ") && line("RUN make").starts_with("2 "));
    assert!(line("ENV A=b").starts_with('-') && line("ENV A=b").contains("empty"));
}

fn a_terminal_obeys_nothing_that_an_image_says() {
    let layout = Layout::new();
    let mut config = config("amd64", &json!([]));
    config["author"] = json!("\u{1b}[2Jgone");
    config["config"]["Labels"] = json!({ "a\u{9b}b": "\u{202e}c" });
    layout.index(&[named(layout.manifest(&config, &json!([])), "\u{7}tag")]);
    for command in ["list", "inspect", "verify"] {
        let answer = layout.ask(command, &[]);
        let is_obeyed =
            |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
        assert!(!answer.out.contains(is_obeyed) && !answer.error.contains(is_obeyed), "{command}");
        answer.succeeds();
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).env("STORAGE_DRIVER", "vfs").output().expect(program);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

fn what_buildah_makes_and_engines_save_is_read() {
    let scratch = Scratch::new();
    let path = |name: &str| text(&scratch.path(name)).to_owned();
    let store = ["--root".to_owned(), path("store"), "--runroot".to_owned(), path("run")];
    let engine = |program: &str, arguments: &[&str]| {
        let store = store.iter().map(String::as_str);
        run(program, &store.chain(arguments.iter().copied()).collect::<Vec<_>>())
    };
    // 1. An image of two layers, made by buildah.
    for layer in ["one", "two"] {
        scratch.directory(layer);
        scratch.write(&format!("{layer}/{layer}"), layer.as_bytes());
    }
    let mut from = "scratch".to_owned();
    for layer in ["one", "two"] {
        let container = engine("buildah", &["from", &from]);
        engine("buildah", &["add", "-q", &container, &path(layer), "/"]);
        engine("buildah", &["config", "--cmd", &format!("/{layer}"), &container]);
        from = format!("localhost/image:{layer}");
        engine("buildah", &["commit", "-q", &container, &from]);
    }
    // 2. Saved in each form, by podman and by skopeo.
    let (docker, archive, layout) = (path("docker.tar"), path("oci.tar"), path("oci"));
    for (form, file) in
        [("docker-archive", &docker), ("oci-archive", &archive), ("oci-dir", &layout)]
    {
        engine("podman", &["save", "-q", "--format", form, "-o", file, "localhost/image:two"]);
    }
    let many = path("many.tar");
    engine(
        "podman",
        &["save", "-q", "-m", "-o", &many, "localhost/image:two", "localhost/image:one"],
    );
    let (plain, zstd, copied) = (path("docker-dir"), path("zstd"), path("copied.tar"));
    run("skopeo", &["copy", "-q", &format!("oci:{layout}"), &format!("oci:{plain}:a")]);
    run(
        "skopeo",
        &[
            "copy",
            "-q",
            "--dest-compress-format",
            "zstd",
            &format!("oci:{layout}"),
            &format!("oci:{zstd}:a"),
        ],
    );
    run(
        "skopeo",
        &["copy", "-q", &format!("oci:{layout}"), &format!("docker-archive:{copied}:x/y:1")],
    );
    // 3. Every form verifies, and holds what skopeo finds in it.
    for reference in [
        format!("docker-archive:{docker}"),
        format!("oci-archive:{archive}"),
        format!("oci:{layout}"),
        format!("docker-archive:{many}:localhost/image:two"),
        format!("oci:{plain}:a"),
        format!("oci:{zstd}:a"),
        format!("docker-archive:{copied}:docker.io/x/y:1"),
    ] {
        hull_unpack(&["verify", &reference]).succeeds();
        let ours = hull_unpack(&["inspect", "--json", &reference]).json();
        let config: Value =
            serde_json::from_str(&run("skopeo", &["inspect", "--config", &reference]))
                .expect("JSON");
        assert_eq!(ours["config"]["rootfs"], config["rootfs"], "{reference}");
        assert_eq!(ours["config"]["config"]["Cmd"], config["config"]["Cmd"], "{reference}");
        let ids = config["rootfs"]["diff_ids"].as_array().unwrap();
        let ours: Vec<_> =
            ours["layers"].as_array().unwrap().iter().map(|layer| &layer["diffId"]).collect();
        assert_eq!(ours, ids.iter().collect::<Vec<_>>(), "{reference}");
    }
    let list = hull_unpack(&["list", "--json", &many]).json();
    assert_eq!(list.as_array().unwrap().len(), 2);
}
