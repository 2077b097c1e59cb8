//! Where a bus listens: D-Bus Specification, "Server Addresses". Of the transports only unix sockets.

/// Where a unix socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A file.
    Path(String),
    /// A name of the abstract namespace (unix(7)).
    Abstract(String),
}

/// The addresses of a list that are unix sockets, in their order.
#[must_use]
pub fn parse(list: &str) -> Vec<Address> {
    list.split(';').filter_map(parse_one).collect()
}

fn parse_one(address: &str) -> Option<Address> {
    let keys = address.strip_prefix("unix:")?;
    keys.split(',').find_map(|pair| match pair.split_once('=')? {
        ("path", value) => unescape(value).map(Address::Path),
        ("abstract", value) => unescape(value).map(Address::Abstract),
        _ => None,
    })
}

/// `%` and two hexadecimal digits are a byte.
fn unescape(value: &str) -> Option<String> {
    let mut parts = value.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_list_of_sockets() {
        let path = |path: &str| Address::Path(path.to_owned());
        for (list, expected) in [
            ("unix:path=/run/bus", vec![path("/run/bus")]),
            ("unix:path=/a,guid=1f;unix:guid=2,path=/b", vec![path("/a"), path("/b")]),
            ("unix:abstract=/tmp/x%20y", vec![Address::Abstract("/tmp/x y".to_owned())]),
            ("tcp:host=h,port=1;unix:path=/a", vec![path("/a")]),
            ("unix:path=/a%2", Vec::new()),
            ("unix:path=/a%zz", Vec::new()),
            ("unix:path=", Vec::new()),
            ("unix:tmpdir=/tmp", Vec::new()),
            ("", Vec::new()),
        ] {
            assert_eq!(parse(list), expected, "{list:?}");
        }
    }
}
