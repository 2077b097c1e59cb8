//! The text form of GVariant: docs.gtk.org/glib/gvariant-text-format.html. Of its types those that a
//! property of a unit can have: no dictionaries, no variants in variants, no maybe.

use crate::dbus::value::{Value, signature};

/// Reads a value.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { rest: text, depth: 0 };
    let value = reader.value(None).and_then(|value| {
        reader.skip_space();
        if reader.rest.is_empty() {
            Ok(value)
        } else {
            Err(format!("{:?} is too much", reader.rest))
        }
    });
    value.map_err(|why| format!("{text:?} is no value in the text form of GVariant: {why}"))
}

/// The words for types, and their letters.
const WORDS: [(&str, &str); 10] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

/// Of arrays in arrays and structures in structures (D-Bus Specification, "Valid Signatures").
const DEEPEST: u8 = 32;

struct Reader<'a> {
    rest: &'a str,
    depth: u8,
}

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, text: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// `kind` is the signature that is already known: of an element behind the first one, or of what
    /// follows a type.
    fn value(&mut self, kind: Option<&str>) -> Result<Value, String> {
        if self.depth == DEEPEST {
            return Err("it is nested too deeply".to_owned());
        }
        self.depth += 1;
        let value = self.any_value(kind);
        self.depth -= 1;
        value
    }

    fn any_value(&mut self, kind: Option<&str>) -> Result<Value, String> {
        self.skip_space();
        match self.rest.chars().next() {
            None => Err("it ends too early".to_owned()),
            Some('@') => {
                self.take("@");
                let kind = self.take_while(|c| c.is_ascii_alphabetic() || "()".contains(c));
                self.value(Some(kind))
            }
            Some('[') => self.array(kind),
            Some('(') => self.tuple(kind),
            Some(quote @ ('\'' | '"')) => self.text(quote, kind),
            Some(c) if c.is_ascii_alphabetic() => {
                let word = self.take_while(|c| c.is_ascii_alphanumeric());
                match (word, WORDS.iter().find(|(name, _)| *name == word)) {
                    ("true" | "false", _) if matches!(kind, None | Some("b")) => {
                        Ok(Value::Boolean(word == "true"))
                    }
                    (_, Some((_, letter))) => self.value(Some(letter)),
                    _ => Err(format!("unexpected {word:?}")),
                }
            }
            Some(_) => self.number(kind),
        }
    }

    fn array(&mut self, kind: Option<&str>) -> Result<Value, String> {
        let mut element = match kind.map(|kind| kind.strip_prefix('a')) {
            Some(None) => return Err("an array, where its type says otherwise".to_owned()),
            Some(Some(element)) => Some(element.to_owned()),
            None => None,
        };
        let mut values = Vec::new();
        self.take("[");
        while !self.take("]") {
            if !values.is_empty() && !self.take(",") {
                return Err("a comma is missing".to_owned());
            }
            let value = self.value(element.as_deref())?;
            let found = value.signature();
            if *element.get_or_insert_with(|| found.clone()) != found {
                return Err("elements of several types".to_owned());
            }
            values.push(value);
        }
        let element = element.ok_or("an empty array needs a type, as in \"@as []\"")?;
        Ok(Value::Array(element, values))
    }

    fn tuple(&mut self, kind: Option<&str>) -> Result<Value, String> {
        let mut members = Vec::new();
        self.take("(");
        while !self.take(")") {
            if !members.is_empty() && !self.take(",") {
                return Err("a comma is missing".to_owned());
            }
            // A comma may stand before the end, and has to behind the only one.
            if members.is_empty() || !self.rest.trim_start().starts_with(')') {
                // Of a type that is given, the members are basic types: a letter each.
                let letter = kind.and_then(|kind| kind.get(members.len() + 1..members.len() + 2));
                members.push(self.value(letter)?);
            }
        }
        match kind {
            Some(kind) if kind != format!("({})", signature(&members)) => {
                Err("a tuple, where its type says otherwise".to_owned())
            }
            _ if members.is_empty() => Err("an empty tuple".to_owned()),
            _ => Ok(Value::Structure(members)),
        }
    }

    fn text(&mut self, quote: char, kind: Option<&str>) -> Result<Value, String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        let end = loop {
            let (at, c) = characters.next().ok_or("a quotation mark is missing")?;
            match c {
                '\\' => match characters.next().ok_or("a quotation mark is missing")?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    c @ ('\\' | '\'' | '"') => text.push(c),
                    other => return Err(format!("unexpected \"\\{other}\"")),
                },
                c if c == quote => break at + 1,
                '\0' => return Err("a NUL byte".to_owned()),
                c => text.push(c),
            }
        };
        self.rest = &self.rest[end..];
        match kind {
            None | Some("s") => Ok(Value::Text(text)),
            Some("o") => Ok(Value::Path(text)),
            Some("g") => Ok(Value::Signature(text)),
            Some(_) => Err("a text, where its type says otherwise".to_owned()),
        }
    }

    fn number(&mut self, kind: Option<&str>) -> Result<Value, String> {
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let wrong = || format!("unexpected {:?}", if word.is_empty() { self.rest } else { word });
        let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
        if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return Err(wrong());
        }
        let is_double = !unsigned.starts_with("0x") && unsigned.contains(['.', 'e', 'E']);
        let kind = kind.unwrap_or(if is_double { "d" } else { "i" });
        if kind == "d" {
            return word.parse().map(Value::Double).map_err(|_| wrong());
        }
        let magnitude = match unsigned.strip_prefix("0x") {
            Some(digits) => i128::from_str_radix(digits, 16),
            // As in C: what begins with 0 is octal.
            None if unsigned.len() > 1 && unsigned.starts_with('0') => {
                i128::from_str_radix(unsigned, 8)
            }
            None => unsigned.parse(),
        };
        let number = magnitude.map_err(|_| wrong())?;
        let number = if word.starts_with('-') { -number } else { number };
        let value = match kind {
            "y" => number.try_into().map(Value::Byte).ok(),
            "i" => number.try_into().map(Value::Int32).ok(),
            "u" => number.try_into().map(Value::Uint32).ok(),
            "x" => number.try_into().map(Value::Int64).ok(),
            "t" => number.try_into().map(Value::Uint64).ok(),
            _ => return Err("a number, where its type says otherwise".to_owned()),
        };
        value.ok_or_else(|| format!("{word} does not fit its type"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_too_deeply_is_no_value() {
        let nested = |open: &str, close: &str, depth| {
            parse(&format!("{}1{}", open.repeat(depth), close.repeat(depth)))
        };
        assert!(nested("[", "]", 31).is_ok());
        for (open, close) in [("[", "]"), ("(", ",)"), ("byte ", ""), ("@y ", "")] {
            let error = nested(open, close, 100_000).unwrap_err();
            assert!(error.ends_with("it is nested too deeply"), "{open}");
        }
    }

    #[test]
    fn a_text_is_a_value() {
        let list = |element: &str, values| Value::Array(element.to_owned(), values);
        for (text, expected) in [
            ("true", Value::Boolean(true)),
            (" 5 ", Value::Int32(5)),
            ("-5", Value::Int32(-5)),
            ("0x10", Value::Int32(16)),
            ("010", Value::Int32(8)),
            ("byte 0xff", Value::Byte(255)),
            ("uint32 5", Value::Uint32(5)),
            ("@t 18446744073709551615", Value::Uint64(u64::MAX)),
            ("int64 -1", Value::Int64(-1)),
            ("1.5", Value::Double(1.5)),
            ("1e3", Value::Double(1000.0)),
            ("double 2", Value::Double(2.0)),
            ("'it\\'s'", Value::text("it's")),
            ("\"é\\n\"", Value::text("é\n")),
            ("objectpath '/a'", Value::Path("/a".to_owned())),
            ("@as []", list("s", Vec::new())),
            ("['a', 'b']", list("s", vec![Value::text("a"), Value::text("b")])),
            ("[uint64 1, 2]", list("t", vec![Value::Uint64(1), Value::Uint64(2)])),
            (
                "[('/dev/null', 'rw')]",
                list(
                    "(ss)",
                    vec![Value::Structure(vec![Value::text("/dev/null"), Value::text("rw")])],
                ),
            ),
            ("@(st) ('a', 1)", Value::Structure(vec![Value::text("a"), Value::Uint64(1)])),
            ("(1,)", Value::Structure(vec![Value::Int32(1)])),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in [
            "",
            "x",
            "'",
            "'a",
            "'\\",
            "1 2",
            "5x",
            "--5",
            "uint32 -1",
            "byte 256",
            "[]",
            "[1, 'a']",
            "[1 2]",
            "[1",
            "(",
            "()",
            "@as ['a', 1]",
            "boolean 1",
            "string 1",
            "{'a': 1}",
            "inf",
            "double nan",
            "@(ss) ('a', 1)",
            "<1>",
            "3000000000",
            "uint64",
            "'a\\x'",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
