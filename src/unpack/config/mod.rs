//! The image config becomes config.json: image-spec conversion.md. Pure, and the same image with the
//! same wishes gives the same bytes.
//!
//! Not here: a seccomp profile and resource limits, which are an engine's policy.

pub mod annotations;
pub mod passwd;
pub mod user;
pub mod volumes;

use serde_json::{Value, json};

use self::user::Account;
use super::image::document::ImageConfig;
use super::owners::{Owners, Range};
use crate::error::{Error, Result};
use crate::spec::defaults;

/// What the caller wants otherwise than the image.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Instead of the image's program and all of its arguments.
    pub args: Vec<String>,
    /// `NAME=value`, instead of the image's variables of these names, or in addition.
    pub env: Vec<String>,
    /// Instead of the image's user, in the same forms.
    pub user: Option<String>,
    /// Instead of the image's working directory.
    pub cwd: Option<String>,
    /// The host name; otherwise `hull`.
    pub hostname: Option<String>,
    /// The process gets a terminal.
    pub tty: bool,
    /// The root filesystem is read-only inside.
    pub readonly: bool,
}

/// The name of the root filesystem's directory in the bundle.
pub const ROOTFS: &str = "rootfs";

/// The oldest version of the specification that has all that is written here: crun 1.8 of Debian 12
/// refuses 1.3.0.
const OLDEST: &str = "1.0.2";

/// What podman gives a container: what a package manager and a daemon of a distribution need.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The group of terminals in every distribution, that of devpts's mount.
const TTY: u32 = 5;

/// config.json, and what the caller should hear about it.
#[derive(Debug)]
pub struct Document {
    /// The bytes of the file.
    pub text: String,
    /// Sentences.
    pub remarks: Vec<String>,
}

/// Makes config.json.
///
/// # Errors
/// A JSON pointer into the image config, or a flag, and what is wrong there.
pub fn document(
    image: &ImageConfig,
    wishes: &Wishes,
    account: &Account,
    owners: &Owners,
) -> Result<Document> {
    let mut remarks = Vec::new();
    let (annotations, left_out) = annotations::annotations(image);
    remarks.extend(left_out.iter().map(|name| {
        format!("the label {name:?} is left out: a runtime would take it for an order")
    }));
    let mappings = owners.mappings();
    let without_privileges = owners.is_unprivileged();
    if let Some((uids, _)) = mappings
        && !uids.iter().any(|range| range.contains(account.uid))
    {
        remarks.push(format!("user {} does not exist in the user namespace", account.uid));
    }
    let has_tty_group =
        mappings.is_none_or(|(_, gids)| gids.iter().any(|range| range.contains(TTY)));
    // Before the default mounts: a symbolic link of the image may lead a volume to /proc, and then
    // the procfs comes on top.
    let (mut mounts, left_out) = volumes::volumes(&image.config.volumes)?;
    remarks.extend(left_out);
    mounts.extend(defaults::mounts(!without_privileges, has_tty_group));

    let document = json!({
        "ociVersion": OLDEST,
        "process": process(image, wishes, account, &mut remarks)?,
        "root": { "path": ROOTFS, "readonly": wishes.readonly },
        "hostname": text("--hostname", wishes.hostname.as_deref().unwrap_or("hull"))?,
        "mounts": mounts,
        "annotations": annotations,
        "linux": linux(mappings, without_privileges),
    });
    let text = serde_json::to_string_pretty(&document).expect("a value is JSON") + "\n";
    Ok(Document { text, remarks })
}

fn process(
    image: &ImageConfig,
    wishes: &Wishes,
    account: &Account,
    remarks: &mut Vec<String>,
) -> Result<Value> {
    let execution = &image.config;
    let mut args = wishes.args.clone();
    if args.is_empty() {
        args = execution.entrypoint.iter().chain(&execution.cmd).cloned().collect();
    }
    if args.is_empty() {
        remarks.push("the image names no program: config.json names sh".to_owned());
        args.push("sh".to_owned());
    }
    for arg in &args {
        text("the program's arguments", arg)?;
    }
    let (place, cwd) = match &wishes.cwd {
        Some(cwd) => ("--cwd", cwd),
        None => ("/config/WorkingDir", &execution.working_dir),
    };
    // config.md of the runtime: "This value MUST be an absolute path."
    let cwd = if cwd.starts_with('/') { cwd.to_owned() } else { format!("/{cwd}") };
    let mut user = json!({ "uid": account.uid, "gid": account.gid });
    if !account.additional_gids.is_empty() {
        user["additionalGids"] = json!(account.additional_gids);
    }
    Ok(json!({
        "terminal": wishes.tty,
        "user": user,
        "args": args,
        "env": environment(&execution.env, wishes)?,
        "cwd": text(place, &cwd)?,
        "capabilities": {
            "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
        },
        "noNewPrivileges": false,
    }))
}

/// The image's variables in their order; a wish takes the place of the variable of its name.
fn environment(image: &[String], wishes: &Wishes) -> Result<Vec<String>> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut environment = image.to_vec();
    for (at, variable) in environment.iter().enumerate() {
        text(&format!("/config/Env/{at}"), variable)?;
    }
    for wish in &wishes.env {
        if !text("--env", wish)?.contains('=') || wish.starts_with('=') {
            return Err(Error::new(format!("--env {wish:?} is not NAME=value")));
        }
        match environment.iter_mut().rev().find(|variable| name(variable) == name(wish)) {
            Some(variable) => variable.clone_from(wish),
            None => environment.push(wish.clone()),
        }
    }
    let term = wishes.tty.then_some("TERM=xterm");
    for default in [Some(defaults::PATH), term].into_iter().flatten() {
        if !environment.iter().any(|variable| name(variable) == name(default)) {
            environment.push(default.to_owned());
        }
    }
    Ok(environment)
}

fn linux(mappings: Option<(&[Range], &[Range])>, without_privileges: bool) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    if !without_privileges {
        namespaces.push("network");
    }
    if mappings.is_some() {
        namespaces.push("user");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": defaults::MASKED_PATHS,
        "readonlyPaths": defaults::READONLY_PATHS,
    });
    if !without_privileges {
        // A layer may bring the device file of a disk: all but the default devices are denied.
        linux["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    }
    if let Some((uids, gids)) = mappings {
        let list = |ranges: &[Range]| -> Vec<Value> { ranges.iter().map(mapping).collect() };
        linux["uidMappings"] = list(uids).into();
        linux["gidMappings"] = list(gids).into();
    }
    linux
}

fn mapping(range: &Range) -> Value {
    json!({ "containerID": range.container, "hostID": range.host, "size": range.size })
}

/// A text that a system call can take.
fn text<'a>(place: &str, text: &'a str) -> Result<&'a str> {
    if text.contains('\0') {
        return Err(Error::new(format!("{place}: {text:?} holds a NUL byte")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::image::document::parse;

    fn image(execution: &str) -> ImageConfig {
        let text = format!(
            r#"{{"os": "linux", "architecture": "amd64",
            "rootfs": {{"type": "layers", "diff_ids": []}}, "config": {execution}}}"#
        );
        parse(text.as_bytes()).unwrap()
    }

    fn converted(execution: &str, wishes: &Wishes) -> Value {
        let owners = Owners::default();
        let document = document(&image(execution), wishes, &Account::default(), &owners);
        serde_json::from_str(&document.unwrap().text).unwrap()
    }

    const WEB: &str = r#"{"Env": ["A=1", "PATH=/bin", "B=2"], "Entrypoint": ["/web"],
        "Cmd": ["--port", "80"], "WorkingDir": "/srv"}"#;

    #[test]
    fn the_process_is_the_images() {
        let process = &converted(WEB, &Wishes::default())["process"];
        assert_eq!(process["args"], json!(["/web", "--port", "80"]));
        assert_eq!(process["env"], json!(["A=1", "PATH=/bin", "B=2"]));
        assert_eq!(process["cwd"], "/srv");
        assert_eq!(process["terminal"], false);
        assert_eq!(process["user"], json!({ "uid": 0, "gid": 0 }));
    }

    #[test]
    fn the_process_is_what_the_caller_wishes() {
        let wishes = Wishes {
            args: vec!["sh".to_owned(), "-i".to_owned()],
            env: vec!["B=".to_owned(), "C=3".to_owned()],
            cwd: Some("/tmp".to_owned()),
            hostname: Some("web".to_owned()),
            tty: true,
            readonly: true,
            user: None,
        };
        let config = converted(WEB, &wishes);
        let process = &config["process"];
        assert_eq!(process["args"], json!(["sh", "-i"]));
        assert_eq!(process["env"], json!(["A=1", "PATH=/bin", "B=", "C=3", "TERM=xterm"]));
        assert_eq!([&process["cwd"], &config["hostname"]], ["/tmp", "web"]);
        assert_eq!([&process["terminal"], &config["root"]["readonly"]], [true, true]);
    }

    #[test]
    fn an_image_that_says_nothing_gets_the_defaults() {
        let process = &converted("null", &Wishes::default())["process"];
        assert_eq!(process["args"], json!(["sh"]));
        assert_eq!(process["env"], json!([defaults::PATH]));
        assert_eq!(process["cwd"], "/");
    }

    #[test]
    fn a_text_that_no_call_can_take_is_refused() {
        let refused = |execution: &str, wishes: &Wishes| {
            let (account, owners) = (Account::default(), Owners::default());
            document(&image(execution), wishes, &account, &owners).is_err()
        };
        for execution in
            [r#"{"Cmd": ["\u0000"]}"#, r#"{"Env": ["A=\u0000"]}"#, r#"{"WorkingDir": "/\u0000"}"#]
        {
            assert!(refused(execution, &Wishes::default()), "{execution}");
        }
        for env in ["A", "=1", ""] {
            let wishes = Wishes { env: vec![env.to_owned()], ..Wishes::default() };
            assert!(refused("{}", &wishes), "{env:?}");
        }
        let wishes = Wishes { cwd: Some("/\0".to_owned()), ..Wishes::default() };
        let (account, owners) = (Account::default(), Owners::default());
        let error = document(&image("{}"), &wishes, &account, &owners).unwrap_err().to_string();
        assert!(error.starts_with("--cwd: "), "{error}");
        assert!(!refused("{}", &Wishes::default()));
    }

    #[test]
    fn ranges_become_a_user_namespace() {
        let ranges = |text: &str| vec![text.parse::<Range>().unwrap()];
        let owners = Owners::moved(ranges("0:100000:5"), ranges("0:200000:65536")).unwrap();
        let account = Account { uid: 33, gid: 34, additional_gids: vec![4, 34] };
        let document = document(&image("{}"), &Wishes::default(), &account, &owners).unwrap();
        let config: Value = serde_json::from_str(&document.text).unwrap();
        let expected = json!([{ "containerID": 0, "hostID": 200_000, "size": 65_536 }]);
        assert_eq!(config["linux"]["gidMappings"], expected);
        assert!(config["linux"]["namespaces"].to_string().contains("user"));
        assert_eq!(config["process"]["user"]["additionalGids"], json!([4, 34]));
        assert!(document.remarks.contains(&"user 33 does not exist in the user namespace".into()));
    }

    #[test]
    fn one_user_alone_has_no_group_of_terminals_and_the_hosts_network() {
        let owners = Owners::own(1000, 1000);
        let (wishes, account) = (Wishes::default(), Account::default());
        let document = document(&image("{}"), &wishes, &account, &owners).unwrap();
        assert!(!document.text.contains("gid=5") && !document.text.contains("network"));
        assert!(document.text.contains("rbind"));
        assert!(!document.text.contains("resources"));
    }

    #[test]
    fn the_same_image_gives_the_same_bytes() {
        let text = |_| {
            let (wishes, account, owners) = Default::default();
            document(&image(WEB), &wishes, &account, &owners).unwrap().text
        };
        assert_eq!(text(1), text(2));
    }
}
