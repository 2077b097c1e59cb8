//! Images made byte by byte, so that they can be as wrong as a test needs them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use hull::unpack::image::digest::Digest;
use serde_json::{Value, json};
use zlib_rs::{Deflate, DeflateFlush};

use crate::archive::{directory, file, tar};
use crate::tree::Scratch;

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image layout in a folder.
pub struct Layout {
    pub scratch: Scratch,
}

impl Layout {
    pub fn new() -> Self {
        let layout = Self { scratch: Scratch::new() };
        layout.scratch.directory("image");
        fs::create_dir_all(layout.path("blobs/sha256")).expect("create blobs/sha256");
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        layout
    }

    /// With one image of these layers, named `tag`.
    pub fn of(layers: &[Vec<u8>]) -> Self {
        let layout = Self::new();
        let manifest = layout.image("amd64", layers);
        layout.index(&[named(manifest, "tag")]);
        layout
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path("image").join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("write a file of the layout");
    }

    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.write(&format!("blobs/sha256/{}", digest.encoded()), bytes);
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    pub fn document(&self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().as_bytes())
    }

    /// Where the blob of a descriptor lies.
    pub fn blob_path(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().expect("a digest");
        self.path(&format!("blobs/{}", digest.replace(':', "/")))
    }

    /// An image whose layers are as compressed as they are given; the diff ids are of what is in them.
    pub fn image(&self, architecture: &str, layers: &[Vec<u8>]) -> Value {
        let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(&plain(layer))).collect();
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(LAYER, layer)).collect();
        self.manifest(&config(architecture, &json!(diff_ids)), &json!(layers))
    }

    pub fn manifest(&self, config: &Value, layers: &Value) -> Value {
        let config = self.document(CONFIG, config);
        self.document(MANIFEST, &manifest(&config, layers))
    }

    pub fn index(&self, manifests: &[Value]) {
        self.write("index.json", index(manifests).to_string().as_bytes());
    }

    /// The same layout as a tar.
    pub fn archive(&self) -> PathBuf {
        let path = self.scratch.path("image.tar");
        let mut entries = vec![directory("./"), directory("blobs/"), directory("blobs/sha256/")];
        for name in ["oci-layout", "index.json"] {
            entries.push(file(format!("./{name}"), fs::read(self.path(name)).expect("read it")));
        }
        for blob in fs::read_dir(self.path("blobs/sha256")).expect("list the blobs") {
            let path = blob.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            entries.push(file(format!("blobs/sha256/{name}"), fs::read(&path).expect("read it")));
        }
        fs::write(&path, tar(entries)).expect("write the archive");
        path
    }

    /// Asks for what is in it.
    pub fn ask(&self, command: &str, arguments: &[&str]) -> Answer {
        let mut all = vec![command];
        all.extend_from_slice(arguments);
        let path = self.path("");
        let path = path.to_str().expect("a path").trim_end_matches('/');
        all.push(path);
        hull_unpack(&all)
    }
}

pub fn config(architecture: &str, diff_ids: &Value) -> Value {
    json!({
        "os": "linux", "architecture": architecture, "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
}

pub fn manifest(config: &Value, layers: &Value) -> Value {
    json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers })
}

pub fn index(manifests: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}

pub fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    descriptor
}

pub fn for_platform(mut descriptor: Value, platform: &str) -> Value {
    let (os, architecture) = platform.split_once('/').expect("os/architecture");
    descriptor["platform"] = json!({ "os": os, "architecture": architecture });
    descriptor
}

/// Two small layers.
pub fn layers() -> Vec<Vec<u8>> {
    vec![tar([file("a", "1")]), tar([directory("d"), file("d/b", vec![7; 100_000])])]
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut output = vec![0; bytes.len() + bytes.len() / 10 + 1000];
    // With gzip's header (zlib.h, deflateInit2).
    let mut deflate = Deflate::new(6, true, 15 + 16);
    deflate.compress(bytes, &mut output, DeflateFlush::Finish).expect("it fits");
    output.truncate(usize::try_from(deflate.total_out()).expect("a length"));
    output
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut output = vec![0; zstd_safe::compress_bound(bytes.len())];
    let length = zstd_safe::compress(&mut output[..], bytes, 3).expect("it fits");
    output.truncate(length);
    output
}

/// The tar in a layer of [`gzip`], [`zstd`] or neither, of at most 16 MB.
fn plain(layer: &[u8]) -> Vec<u8> {
    let mut output = vec![0; 16_000_000];
    let length = match layer {
        [0x1f, 0x8b, ..] => {
            let mut inflate = zlib_rs::Inflate::new(true, 15 + 16);
            inflate.decompress(layer, &mut output, zlib_rs::InflateFlush::Finish).expect("gzip");
            usize::try_from(inflate.total_out()).expect("a length")
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd_safe::decompress(&mut output[..], layer).expect("zstd")
        }
        plain => return plain.to_vec(),
    };
    output.truncate(length);
    output
}

/// What the program said.
pub struct Answer {
    pub out: String,
    pub error: String,
    pub is_success: bool,
}

pub fn hull_unpack(arguments: &[&str]) -> Answer {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_hull-unpack"))
        .args(arguments)
        .output()
        .expect("run hull-unpack");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Answer { out: text(stdout), error: text(stderr), is_success: status.success() }
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        assert!(self.is_success, "{}", self.error);
        serde_json::from_str(&self.out).expect("JSON")
    }

    #[track_caller]
    pub fn succeeds(&self) {
        assert!(self.is_success, "{}{}", self.out, self.error);
    }

    /// It failed, and said each of these.
    #[track_caller]
    pub fn fails(&self, says: &[&str]) {
        assert!(!self.is_success, "it succeeded: {}", self.out);
        for text in says {
            assert!(self.error.contains(text), "no {text:?} in: {}", self.error);
        }
    }
}
