//! Rust's text as words and paths (the Rust reference, "Lexical structure"), as
//! far as a rule that looks for names needs them.

/// A word, `::`, or one other character. Comments, literals of text and lifetimes are none.
#[derive(Clone)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// The paths of the code with their lines; a group becomes one path for each member.
pub fn paths(tokens: &[Token]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let leads = tokens.get(at + 1).is_some_and(|next| next.text == "::");
        // `use libc;` brings in a crate by one word.
        let is_use = at > 0 && tokens[at - 1].text == "use";
        let is_path = tokens[at].is_word() && (leads || is_use);
        at = if is_path { path(tokens, at, "", &mut found) } else { at + 1 };
    }
    found
}

/// Reads the path, or the member of a group, that starts here; returns where it ends.
fn path(tokens: &[Token], start: usize, group: &str, found: &mut Vec<(String, usize)>) -> usize {
    let mut path = group.to_owned();
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        let expects_name = path.is_empty() || path.ends_with("::");
        if token.text == "{" && path.ends_with("::") {
            at += 1;
            while tokens.get(at).is_some_and(|token| token.text != "}") {
                at = self::path(tokens, at, &path, found);
            }
            return at + 1;
        }
        if token.text != "::" && !(expects_name && (token.is_word() || token.text == "*")) {
            break;
        }
        path.push_str(&token.text);
        at += 1;
    }
    found.push((path.trim_end_matches("::self").to_owned(), tokens[start].line));
    if !group.is_empty() {
        // To the next member, past `as other`.
        while tokens.get(at).is_some_and(|token| token.text != "," && token.text != "}") {
            at += 1;
        }
        at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
    }
    at
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

pub fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (length, keep) = if let Some(length) = length_of_no_code(rest) {
            (length, false)
        } else if is_of_a_word(first) {
            (length_of_word(rest), true)
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        let (token, behind) = rest.split_at(length);
        if keep {
            found.push(Token { text: token.to_owned(), line });
        }
        line += token.matches('\n').count();
        rest = behind;
    }
    found
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn length_of_word(text: &str) -> usize {
    text.find(|c: char| !is_of_a_word(c)).unwrap_or(text.len())
}

/// The length of the comment, literal of text or lifetime at the start of a text.
fn length_of_no_code(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(length_of_block_comment(text));
    }
    let literal = text.strip_prefix(['b', 'c']).unwrap_or(text);
    if let Some(inside) = literal.strip_prefix('"') {
        return Some(text.len() - behind_quote(inside, '"').len());
    }
    if let Some(raw) = literal.strip_prefix('r') {
        let inside = raw.trim_start_matches('#');
        let end = format!("\"{}", "#".repeat(raw.len() - inside.len()));
        // r#name is a word.
        let inside = inside.strip_prefix('"')?;
        let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
        return Some(text.len() - inside.len() + length);
    }
    let inside = literal.strip_prefix('\'')?;
    let mut characters = inside.chars();
    let (first, second) = (characters.next(), characters.next());
    if first == Some('\\') || second == Some('\'') {
        return Some(text.len() - behind_quote(inside, '\'').len());
    }
    Some(text.len() - inside.len() + length_of_word(inside))
}

/// What follows the closing quote; an escaped one does not close.
fn behind_quote(inside: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if c == quote && !escaped {
            return &inside[at + 1..];
        }
        escaped = c == '\\' && !escaped;
    }
    ""
}

/// They nest.
fn length_of_block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}
