//! The schema in words, made from the migrations: `docs/schema.md`.

use super::schema::MIGRATIONS;

/// A table, as the migrations leave it.
#[derive(Default)]
struct Table {
    name: String,
    comment: String,
    columns: String,
    indexes: Vec<String>,
}

/// Markdown: why there is each migration, every table with its comment, every column with its type and comment.
pub fn describe_schema() -> String {
    let mut out = String::from(
        "# The store\n\n`runs.db` is one SQLite file. This page is made from `migrations/` by `unmute export schema store`.\n\
         Ask it with `unmute query 'SELECT ...'`, or with any SQLite client.\n",
    );
    let mut tables: Vec<Table> = Vec::new();
    for (file, sql) in MIGRATIONS {
        out += &format!("\n<!-- {file} -->\n");
        let mut comment: Vec<&str> = Vec::new();
        let mut inside = false;
        for line in sql.lines() {
            let text = line.trim();
            if let Some(name) = text.strip_prefix("CREATE TABLE ").and_then(|t| t.strip_suffix(" (")) {
                tables.push(Table { name: name.into(), comment: comment.join(" "), ..Table::default() });
                comment.clear();
                inside = true;
            } else if text.starts_with(')') {
                inside = false;
            } else if let (true, Some(table)) = (inside, tables.last_mut()) {
                table.columns += &column(text);
            } else if let Some((name, added)) =
                text.strip_prefix("ALTER TABLE ").and_then(|t| t.split_once(" ADD COLUMN "))
            {
                if let Some(table) = tables.iter_mut().find(|t| t.name == name) {
                    table.columns += &column(&added.replacen(';', "", 1));
                }
                comment.clear();
            } else if let Some(words) = text.strip_prefix("--") {
                comment.push(words.trim());
            } else if text.is_empty() && !comment.is_empty() {
                // A paragraph of its own, such as the reason that a migration opens with.
                out += &format!("\n{}\n", comment.join(" "));
                comment.clear();
            } else if let Some(index) = text.strip_prefix("CREATE INDEX ") {
                let of = index.split_once(" ON ").and_then(|(_, on)| on.split(' ').next()).unwrap_or_default();
                if let Some(table) = tables.iter_mut().find(|t| t.name == of) {
                    table.indexes.push(index.trim_end_matches(';').replacen(" ON ", " on ", 1));
                }
                comment.clear();
            } else if !text.is_empty() {
                // What fills a table says why beside itself, not here.
                comment.clear();
            }
        }
    }
    for table in tables {
        let Table { name, comment, columns, indexes } = table;
        out += &format!("\n## {name}\n\n{comment}\n\n| column | type | |\n| --- | --- | --- |\n{columns}");
        out.extend(indexes.iter().map(|index| format!("\nIndex {index}.\n")));
    }
    out
}

/// A row of Markdown for a line of `CREATE TABLE`.
fn column(line: &str) -> String {
    let (code, comment) = line.split_once("--").unwrap_or((line, ""));
    let code = code.trim().trim_end_matches(',');
    let mut words = code.split_whitespace();
    let (name, rest) = (words.next().unwrap_or_default(), words.collect::<Vec<_>>().join(" "));
    match name {
        "" => String::new(),
        "PRIMARY" | "UNIQUE" | "FOREIGN" | "CHECK" => format!("| | {} | {} |\n", escape(code), escape(comment.trim())),
        _ => format!("| `{name}` | {} | {} |\n", escape(&rest), escape(comment.trim())),
    }
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_schema_md_is_what_the_migrations_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == describe_schema(), "docs/schema.md is old: unmute export schema store > docs/schema.md");
    }

    #[test]
    fn every_table_and_column_is_described() {
        let text = describe_schema();
        for table in ["dataset", "view", "experiment", "cell", "environment", "run", "epoch", "value", "score", "bank"]
        {
            assert!(text.contains(&format!("\n## {table}\n")), "{table}");
        }
        let run = text.split("\n## ").find(|part| part.starts_with("run\n")).unwrap();
        assert!(
            run.contains("| `accepted_from` | TEXT | the older run whose")
                && run.contains("Index run_by_creation on run")
        );
        assert!(text.contains("| `seed` | INTEGER | NULL where the result does not depend on one |"));
    }
}
