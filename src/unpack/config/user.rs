//! `Config.User` (image-spec config.md, "Properties"; conversion.md, "Config.User"): whom the process
//! runs as. A number is that number and is never looked up as a name (CVE-2026-46680); names are
//! looked up in the image's own passwd and group.

use std::io::BufRead;
use std::str::FromStr;

use super::passwd;
use crate::error::{Context, Error, Result};

/// The greatest id: what a signed number of 32 bits holds, as with the engines (CVE-2024-40635).
pub const MAX_ID: u32 = i32::MAX as u32;

/// Where passwd and group are looked for in the image.
pub const PASSWD: &str = "etc/passwd";
/// See [`PASSWD`].
pub const GROUP: &str = "etc/group";

/// `user`, `uid`, `user:group`, `uid:gid`, `uid:group` or `user:gid`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserName {
    user: Option<Name>,
    group: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Number(u32),
    Text(String),
}

/// `process.user` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups.
    pub additional_gids: Vec<u32>,
}

impl UserName {
    /// Looks up what is a name. `open` opens a file of the image, `None` if it has none.
    ///
    /// # Errors
    /// That there is no such user or group, naming it; those of `open` and of the files.
    pub fn resolve<R: BufRead>(
        &self,
        mut open: impl FnMut(&str) -> Result<Option<R>>,
    ) -> Result<Account> {
        let mut account = self.resolve_user(&mut open)?;
        match &self.group {
            None => {}
            // config.md: "If group/GID is specified, supplementary groups from the container are
            // ignored."
            Some(Name::Number(gid)) => {
                account.gid = *gid;
                account.additional_gids.clear();
            }
            Some(Name::Text(name)) => {
                let by_name = |file| passwd::group_by_name(file, name);
                let gid = look_up(&mut open, GROUP, by_name)?;
                let missing = || Error::new(format!("the image has no group {name:?}"));
                account.gid = gid.flatten().ok_or_else(missing)?;
                account.additional_gids.clear();
            }
        }
        Ok(account)
    }

    fn resolve_user<R: BufRead>(
        &self,
        open: &mut impl FnMut(&str) -> Result<Option<R>>,
    ) -> Result<Account> {
        match &self.user {
            None => Ok(Account::default()),
            Some(Name::Number(uid)) if self.group.is_some() => {
                Ok(Account { uid: *uid, ..Account::default() })
            }
            Some(Name::Number(uid)) => {
                let by_number = |file| passwd::group_of_user(file, *uid);
                let gid = look_up(open, PASSWD, by_number)?.flatten().unwrap_or(0);
                Ok(Account { uid: *uid, gid, additional_gids: Vec::new() })
            }
            Some(Name::Text(name)) => {
                let user = look_up(open, PASSWD, |file| passwd::user_by_name(file, name))?;
                let missing = || Error::new(format!("the image has no user {name:?}"));
                let user = user.flatten().ok_or_else(missing)?;
                let mut account = Account { uid: user.uid, gid: user.gid, ..Account::default() };
                if self.group.is_none() {
                    // The own group too, or a process that changes its group loses it, and with it
                    // what the group may not do (CVE-2023-25173).
                    let groups = look_up(open, GROUP, |file| passwd::groups_of_member(file, name))?;
                    account.additional_gids.push(user.gid);
                    account.additional_gids.extend(groups.unwrap_or_default());
                    account.additional_gids.sort_unstable();
                    account.additional_gids.dedup();
                }
                Ok(account)
            }
        }
    }
}

/// `None`: the image has no such file.
fn look_up<R, T>(
    open: &mut impl FnMut(&str) -> Result<Option<R>>,
    path: &str,
    find: impl FnOnce(R) -> Result<T>,
) -> Result<Option<T>> {
    let file = open(path).context(|| format!("{path:?} of the image"))?;
    file.map(find).transpose().context(|| format!("{path:?} of the image"))
}

impl FromStr for UserName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let part = |part| name(part).map_err(|error| error.context(format!("user {text:?}")));
        Ok(Self { user: part(user)?, group: part(group)? })
    }
}

/// An empty part is one that is not there.
fn name(text: &str) -> Result<Option<Name>> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.contains([':', '\n', '\0']) {
            true => Err(Error::new(format!("{text:?} is no name"))),
            false => Ok(Some(Name::Text(text.to_owned()))),
        };
    }
    match text.parse() {
        Ok(id) if id <= MAX_ID => Ok(Some(Name::Number(id))),
        _ => Err(Error::new(format!("{text} is no id: more than {MAX_ID} (CVE-2024-40635)"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD_TEXT: &str = "root:x:0:0::/root:/bin/sh\n1000:x:0:0::/:/bin/sh\n\
        web:x:33:34::/:/bin/false\nnumber:x:1001:55::/:/bin/sh\n";
    const GROUP_TEXT: &str = "root:x:0:\nadm:x:4:web\nwww:x:34:\n1000:x:0:\nlog:x:3:web,root\n";

    fn resolve(text: &str) -> Result<Account> {
        text.parse::<UserName>()?.resolve(|path| {
            Ok(Some(if path == PASSWD { PASSWD_TEXT } else { GROUP_TEXT }.as_bytes()))
        })
    }

    fn resolved(text: &str) -> (u32, u32, Vec<u32>) {
        let account = resolve(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        (account.uid, account.gid, account.additional_gids)
    }

    #[test]
    fn each_form_of_a_user_is_understood() {
        assert_eq!(resolved(""), (0, 0, vec![]));
        assert_eq!(resolved("web"), (33, 34, vec![3, 4, 34]));
        assert_eq!(resolved("web:"), (33, 34, vec![3, 4, 34]));
        assert_eq!(resolved("web:adm"), (33, 4, vec![]));
        assert_eq!(resolved("web:7"), (33, 7, vec![]));
        assert_eq!(resolved("7:adm"), (7, 4, vec![]));
        assert_eq!(resolved("7:8"), (7, 8, vec![]));
        assert_eq!(resolved(":8"), (0, 8, vec![]));
        assert_eq!(resolved(":adm"), (0, 4, vec![]));
        assert_eq!(resolved("1001"), (1001, 55, vec![]));
        assert_eq!(resolved("0001"), (1, 0, vec![]));
        assert_eq!(resolved("2147483647:2147483647"), (MAX_ID, MAX_ID, vec![]));
    }

    #[test]
    fn cve_2026_46680_a_number_is_never_looked_up_as_a_name() {
        assert_eq!(resolved("1000"), (1000, 0, vec![]));
        assert_eq!(resolved("web:1000"), (33, 1000, vec![]));
    }

    #[test]
    fn cve_2024_40635_a_number_that_wraps_is_refused() {
        for text in
            ["2147483648", "4294967295", "4294967296", "18446744073709551616", "1:4294967296"]
        {
            assert!(resolve(text).unwrap_err().to_string().contains("is no id"), "{text}");
        }
    }

    #[test]
    fn a_name_that_the_image_does_not_know_is_an_error() {
        for text in ["nobody", "-1", "+1", "1e3", "web:staff", "web:adm:x", "web:-1", " web"] {
            assert!(resolve(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_image_without_files_has_numbers_alone() {
        let resolve = |text: &str| {
            let user: UserName = text.parse().unwrap();
            user.resolve(|_| Ok(None::<&[u8]>))
        };
        assert_eq!(resolve("7").unwrap().uid, 7);
        assert_eq!(resolve("root").unwrap_err().to_string(), "the image has no user \"root\"");
        assert!(resolve("7:adm").is_err());
    }
}
