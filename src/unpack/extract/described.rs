//! What the headers before an entry's own say of it: pax's, for one entry or for all that follow, and
//! GNU's long names (tar(5)). Pure.

use super::header::Header;
use super::pax::Records;
use crate::error::{Error, Result};

/// What was said so far.
#[derive(Debug, Default)]
pub struct Described {
    /// What global pax headers said.
    globals: Records,
    pax: Option<Records>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// An entry with what was said of it before.
#[derive(Debug)]
pub struct Meant {
    /// Not yet clean.
    pub name: Vec<u8>,
    /// What it leads to if it is a link; not yet clean.
    pub link: Vec<u8>,
    /// The rest.
    pub records: Records,
}

impl Described {
    /// Whether a header of this kind only describes others.
    pub fn is_by(kind: u8) -> bool {
        matches!(kind, b'x' | b'X' | b'g' | b'L' | b'K')
    }

    /// Whether nothing was said of an entry that would have to follow.
    pub fn is_empty(&self) -> bool {
        self.pax.is_none() && self.name.is_none() && self.link.is_none()
    }

    /// Takes the data of a header of this kind.
    ///
    /// # Errors
    /// What is wrong in it; that something is said twice, or of every entry what cannot be.
    pub fn take(&mut self, kind: u8, mut data: Vec<u8>) -> Result<()> {
        let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
        match kind {
            b'g' => {
                self.globals.read(&data)?;
                if self.globals.is_of_one_entry() {
                    return Err(Error::new(
                        "a global pax header gives every entry the same name, size or attributes",
                    ));
                }
                Ok(())
            }
            b'L' | b'K' => {
                data.truncate(end);
                once(if kind == b'L' { &mut self.name } else { &mut self.link }, data)
            }
            _ => {
                let mut records = self.globals.clone();
                records.read(&data)?;
                once(&mut self.pax, records)
            }
        }
    }

    /// The entry that follows.
    ///
    /// # Errors
    /// Two long names.
    pub fn meant(&mut self, header: &Header<'_>) -> Result<Meant> {
        let mut records = self.pax.take().unwrap_or_else(|| self.globals.clone());
        let path = records.path.take();
        let path = records.sparse.name.take().or(path);
        let name = one_of(self.name.take(), path)?.unwrap_or_else(|| header.name());
        let link = one_of(self.link.take(), records.link.take())?;
        Ok(Meant { name, link: link.unwrap_or_else(|| header.link().to_vec()), records })
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new("an entry that is described twice")),
    }
}

/// Of GNU's long name and pax's: no tool writes both, and readers differ in which one counts.
fn one_of(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    match (gnu, pax) {
        (Some(_), Some(_)) => Err(Error::new("an entry with two long names")),
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}
