//! Messages that stay short: a value that nobody reads to its end is cut, and its length is said.

/// Letters of a line of a message that is shown, at most, and lines.
const LETTERS: usize = 1000;
const LINES: usize = 100;

/// The first letters of a text that is too long, and how many there are.
pub fn shortened(text: &str, most: usize) -> String {
    let letters = text.chars().count();
    if letters <= most {
        return text.into();
    }
    let begin: String = text.chars().take(most).collect();
    format!("{begin}... ({letters} letters)")
}

/// A message as it is shown: lines that are too long are cut, and so is what comes after very many lines, whatever made it.
pub fn in_brief(message: &str) -> String {
    let count = message.lines().count();
    let mut lines: Vec<String> = message.lines().take(LINES).map(|line| shortened(line, LETTERS)).collect();
    if count > LINES {
        // The last line says what to do next.
        lines.pop();
        lines.push(format!("... ({} lines are left out)", count - LINES));
        lines.extend(message.lines().last().map(|line| shortened(line, LETTERS)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_and_what_is_not_stays() {
        assert_eq!(in_brief("error\n  next: x"), "error\n  next: x");
        assert_eq!(shortened("äöü", 2), "äö... (3 letters)");
        let long = in_brief(&format!("a\n{}\nb", "é".repeat(70_000)));
        assert!(long.starts_with("a\néé") && long.ends_with("... (70000 letters)\nb") && long.len() < 2200);
        let many = in_brief(&format!("{}next: y", "line\n".repeat(5000)));
        assert_eq!(many.lines().count(), LINES + 1);
        assert!(many.ends_with("... (4901 lines are left out)\nnext: y"), "{many}");
    }
}
