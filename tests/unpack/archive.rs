//! Tars made byte by byte, so that they can be as wrong as a test needs them.

/// One entry, or what only looks like one.
#[derive(Clone, Debug)]
pub struct Entry {
    name: Vec<u8>,
    kind: u8,
    mode: u32,
    owner: (u32, u32),
    mtime: u64,
    link: Vec<u8>,
    device: (u32, u32),
    data: Vec<u8>,
    /// What the header says, if it is not the length of the data.
    size: Option<Vec<u8>>,
    pax: Vec<(String, Vec<u8>)>,
    /// For the last change of the header, before its checksum.
    patches: Vec<(usize, Vec<u8>)>,
}

pub fn entry(kind: u8, name: impl AsRef<[u8]>) -> Entry {
    Entry {
        name: name.as_ref().to_vec(),
        kind,
        mode: 0o755,
        owner: (0, 0),
        mtime: 1_000_000_000,
        link: Vec::new(),
        device: (0, 0),
        data: Vec::new(),
        size: None,
        pax: Vec::new(),
        patches: Vec::new(),
    }
}

pub fn file(name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Entry {
    Entry { data: data.as_ref().to_vec(), mode: 0o644, ..entry(b'0', name) }
}

pub fn directory(name: impl AsRef<[u8]>) -> Entry {
    entry(b'5', name)
}

pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry { link: target.as_ref().to_vec(), mode: 0o777, ..entry(b'2', name) }
}

pub fn link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry { link: target.as_ref().to_vec(), ..entry(b'1', name) }
}

pub fn fifo(name: impl AsRef<[u8]>) -> Entry {
    entry(b'6', name)
}

pub fn character(name: impl AsRef<[u8]>, major: u32, minor: u32) -> Entry {
    Entry { device: (major, minor), ..entry(b'3', name) }
}

/// `x`, `g` or `L`, by hand.
pub fn description(kind: u8, data: impl AsRef<[u8]>) -> Entry {
    Entry { data: data.as_ref().to_vec(), ..entry(kind, "description") }
}

/// Records as a pax header has them.
pub fn records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        bytes.extend_from_slice(format!("{length} {key}=").as_bytes());
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
    }
    bytes
}

impl Entry {
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub fn owner(self, uid: u32, gid: u32) -> Self {
        Self { owner: (uid, gid), ..self }
    }

    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn attribute(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    pub fn size(self, field: impl AsRef<[u8]>) -> Self {
        Self { size: Some(field.as_ref().to_vec()), ..self }
    }

    pub fn data(self, data: impl AsRef<[u8]>) -> Self {
        Self { data: data.as_ref().to_vec(), ..self }
    }

    pub fn patch(mut self, at: usize, bytes: impl AsRef<[u8]>) -> Self {
        self.patches.push((at, bytes.as_ref().to_vec()));
        self
    }

    fn write(mut self, tar: &mut Vec<u8>) {
        if self.name.len() > 100 {
            let name = self.name.clone();
            self = self.pax("path", name);
        }
        if self.link.len() > 100 {
            let link = self.link.clone();
            self = self.pax("linkpath", link);
        }
        if !self.pax.is_empty() {
            let all: Vec<_> = self.pax.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
            description(b'x', records(&all)).write(tar);
        }
        let mut block = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8], most: usize| {
            let length = bytes.len().min(most);
            block[at..at + length].copy_from_slice(&bytes[..length]);
        };
        put(0, &self.name, 100);
        put(100, format!("{:07o}\0", self.mode).as_bytes(), 8);
        put(108, format!("{:07o}\0", self.owner.0).as_bytes(), 8);
        put(116, format!("{:07o}\0", self.owner.1).as_bytes(), 8);
        let size = format!("{:011o}\0", self.data.len()).into_bytes();
        put(124, self.size.as_ref().unwrap_or(&size), 12);
        put(136, format!("{:011o}\0", self.mtime).as_bytes(), 12);
        put(156, &[self.kind], 1);
        put(157, &self.link, 100);
        put(257, b"ustar\x0000", 8);
        put(329, format!("{:07o}\0", self.device.0).as_bytes(), 8);
        put(337, format!("{:07o}\0", self.device.1).as_bytes(), 8);
        for (at, bytes) in &self.patches {
            put(*at, bytes, 512);
        }
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum::<u32>()
            - block[148..156].iter().map(|byte| u32::from(*byte)).sum::<u32>()
            + 8 * u32::from(b' ');
        // A patch of the checksum is what a test wants to be wrong.
        if !self.patches.iter().any(|(at, _)| *at == 148) {
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        tar.extend_from_slice(&block);
        tar.extend_from_slice(&self.data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
}

/// A tar without the blocks at its end.
pub fn open_tar(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut tar = Vec::new();
    entries.into_iter().for_each(|entry| entry.write(&mut tar));
    tar
}

/// A whole tar.
pub fn tar(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut tar = open_tar(entries);
    tar.resize(tar.len() + 1024, 0);
    tar
}
